/* walk_cases: contracts/kernels.def for PTX, whose preprocessor cannot make includes out of a table. The Makefile runs it. Writes
 * walk_cases.inc: for each line a function with the op's body (FUNCTION(name), from kernels/ptx/walk.ptx, opens it), and
 * EACH_CASE(m), which is m(number, name) for all of them. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *op, *wtype, *kv;
    int head_dim;
} walk_case;
static const walk_case cases[] = {
#define QM_WALK(op, wtype, kv, head_dim) {#op, #wtype, #kv, head_dim},
#include "contracts/kernels.def"
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* QM_TYPE_Q4_K: q4_k. NULL: there is none. */
static const char *word(char to[32], const char *name, const char *prefix) {
    size_t n = strlen(prefix), i = 0;
    if (strncmp(name, prefix, n) != 0) return NULL;
    for (; name[n + i] && i < 31; i++) to[i] = (char)tolower((unsigned char)name[n + i]);
    to[i] = 0;
    return to;
}

static void name_of(char to[128], const walk_case *c) {
    char w[32], kv[32];
    int n = snprintf(to, 128, "walk_%s", c->op);
    if (word(w, c->wtype, "QM_TYPE_")) n += snprintf(to + n, 128 - (size_t)n, "_%s", w);
    if (word(kv, c->kv, "QM_KV_CACHE_")) snprintf(to + n, 128 - (size_t)n, "_%s", kv);
}

static void define(const char *macro, const char *value) {
    if (value) printf("#undef %s\n#define %s %s\n", macro, macro, value);
}

int main(void) {
    char name[128], w[32], kv[32], hd[16];
    printf("/* written by tools/walk_cases.c from contracts/kernels.def */\n#define EACH_CASE(m)");
    for (int i = 0; i < N_CASES; i++) {
        name_of(name, &cases[i]);
        printf(" m(%d, %s)", i, name);
    }
    printf("\n");
    for (int i = 0; i < N_CASES; i++) {
        const walk_case *c = &cases[i];
        name_of(name, c);
        snprintf(hd, sizeof hd, "%d", c->head_dim);
        define("W", word(w, c->wtype, "QM_TYPE_"));
        define("KV", word(kv, c->kv, "QM_KV_CACHE_"));
        define("HD", c->head_dim ? hd : NULL);
        printf("FUNCTION(%s)\n#include \"%s.inc\"\n    ret;\n}\n", name, c->op);
    }
    printf("#undef W\n#undef KV\n#undef HD\n");
    return fflush(stdout) || ferror(stdout);
}
