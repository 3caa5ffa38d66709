/* walk_cases: contracts/kernels.def for PTX, whose preprocessor cannot make includes out of a table. The Makefile runs it. Writes
 * walk_cases.inc: where WALK_GO is defined, for each line of the table a line that goes to its case; else the cases, each the op's
 * body between a label and the way back, on lines of their own, so that a program can leave out those that it does not need
 * (runtime/device/texts.h, qm_ptx_cases). */
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

static void define(const char *macro, const char *value) {
    if (value) printf("#undef %s\n#define %s %s\n", macro, macro, value);
}

/* "12_matvec_q4_k", "40_attn_f16_hd128" */
static void name_of(char to[128], int i) {
    char w[32], kv[32];
    const walk_case *c = &cases[i];
    int n = snprintf(to, 128, "%d_%s", i, c->op);
    if (word(w, c->wtype, "QM_TYPE_")) n += snprintf(to + n, 128 - (size_t)n, "_%s", w);
    if (word(kv, c->kv, "QM_KV_CACHE_")) n += snprintf(to + n, 128 - (size_t)n, "_%s", kv);
    if (c->head_dim) snprintf(to + n, 128 - (size_t)n, "_hd%d", c->head_dim);
}

int main(void) {
    char w[32], kv[32], hd[16], name[128];
    printf("/* written by tools/walk_cases.c from contracts/kernels.def */\n#ifdef WALK_GO\n");
    for (int i = 0; i < N_CASES; i++) {
        name_of(name, i);
        printf("    setp.eq.u32 p, id, %d; @p bra L_case_%s;\n", i, name);
    }
    printf("#else\n");
    for (int i = 0; i < N_CASES; i++) {
        const walk_case *c = &cases[i];
        snprintf(hd, sizeof hd, "%d", c->head_dim);
        define("W", word(w, c->wtype, "QM_TYPE_"));
        define("KV", word(kv, c->kv, "QM_KV_CACHE_"));
        define("HD", c->head_dim ? hd : NULL);
        name_of(name, i);
        printf("L_case_%s:\n{\n#include \"%s.inc\"\n}\n    bra L_next;\n", name, c->op);
    }
    printf("L_cases_end:\n#undef W\n#undef KV\n#undef HD\n#endif\n");
    return fflush(stdout) || ferror(stdout);
}
