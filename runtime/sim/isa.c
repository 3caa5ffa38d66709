/* isa.c: see isa.h. */
#include "isa.h"
#include <stdio.h>
#include <string.h>
#include "access.h"
#include "code.h"

static const isa_form forms[] = {
#define ISA(form, operands, handler, test) {form, operands, handler, #test},
#include "../../contracts/isa.def"
#undef ISA
};
#define N_FORMS ((int)(sizeof forms / sizeof forms[0]))

/* One element of a pattern: [.x], .x, [.{a|b}] or .{a|b}. Gives its alternatives and where the next begins. */
static const char *element(const char *p, const char **alt, size_t *alt_n, int *optional) {
    *optional = *p == '[';
    if (*optional) p++;
    p++; /* the dot */
    const char *end;
    if (*p == '{') {
        *alt = p + 1;
        end = strchr(p, '}');
        *alt_n = (size_t)(end - *alt);
        end++;
    } else {
        *alt = p;
        for (end = p; *end && *end != '.' && *end != '[' && *end != ']'; end++) {}
        *alt_n = (size_t)(end - p);
    }
    if (*optional && *end == ']') end++;
    return end;
}

static int is_alt(const char *alt, size_t n, const char *tok) {
    size_t k = strlen(tok);
    while (n) {
        const char *bar = memchr(alt, '|', n);
        size_t a = bar ? (size_t)(bar - alt) : n;
        if (a == k && !memcmp(alt, tok, k)) return 1;
        if (!bar) break;
        alt += a + 1;
        n -= a + 1;
    }
    return 0;
}

static int match(const char *p, const char *const *tok, int n) {
    if (!*p) return n == 0;
    const char *alt;
    size_t alt_n;
    int opt;
    const char *next = element(p, &alt, &alt_n, &opt);
    if (n && is_alt(alt, alt_n, tok[0]) && match(next, tok + 1, n - 1)) return 1;
    return opt && match(next, tok, n);
}

/* Does any form of this opcode know the word? */
static int knows(const char *p, const char *tok) {
    while (*p) {
        const char *alt;
        size_t n;
        int opt;
        p = element(p, &alt, &n, &opt);
        if (is_alt(alt, n, tok)) return 1;
    }
    return 0;
}

static const char *same_opcode(const char *form, const char *op) {
    size_t n = strlen(op);
    return !strncmp(form, op, n) && (!form[n] || form[n] == '.' || form[n] == '[') ? form + n : NULL;
}

int isa_has(const isa_match *k, const char *tok) {
    for (int i = 1; i < k->n_tok; i++)
        if (!strcmp(k->tok[i], tok)) return 1;
    return 0;
}

static const struct {
    const char *s;
    uint32_t mod;
} mods[] = {
    {"ftz", F_FTZ},
    {"sat", F_SAT},
    {"rn", F_RN},
    {"rz", F_RZ},
    {"rm", F_RM},
    {"rp", F_RP},
    {"rni", F_INT | F_RN},
    {"rzi", F_INT | F_RZ},
    {"rmi", F_INT | F_RM},
    {"rpi", F_INT | F_RP},
    {"NaN", F_NAN},
    {"trans", F_TRANS},
    {"volatile", F_VOLATILE},
    {"aligned", F_ALIGNED},
    {"relu", F_RELU},
    {"shiftamt", F_SHIFTAMT},
    {"cta", F_SCOPE_CTA},
    {"gpu", F_SCOPE_GPU},
    {"sys", F_SCOPE_GPU},
    {"gl", F_SCOPE_GPU},
    {"cluster", F_SCOPE_GPU},
    {"const", F_CONST},
    {"noinc", F_NOINC},
    {"satfinite", F_SAT},
    {"nc", F_NC},
};
static const char *const cmps[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                   "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
static const char *const atoms[] = {"", "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"};

static void interpret(isa_match *k) {
    static const char *const evict[] = {"L2::evict_normal", "L2::evict_first", "L2::evict_last", "L2::evict_unchanged"};
    if (!strcmp(k->tok[0], "ldu")) k->mod |= F_NC;
    int is_atom = !strcmp(k->tok[0], "atom") || !strcmp(k->tok[0], "red");
    int is_policy = !strcmp(k->tok[0], "createpolicy");
    int is_setp = !strcmp(k->tok[0], "setp") || !strcmp(k->tok[0], "set");
    for (int i = 1; i < k->n_tok; i++) {
        const char *t = k->tok[i];
        ptx_type ty = ptx_type_of(t);
        if (ty && k->n_ty < 4) {
            k->ty[k->n_ty++] = ty;
            continue;
        }
        for (size_t j = 0; j < sizeof mods / sizeof mods[0]; j++)
            if (!strcmp(t, mods[j].s)) k->mod |= mods[j].mod;
        if (!strcmp(t, "v2")) k->vec = 2;
        else if (!strcmp(t, "v4")) k->vec = 4;
        else if (!strcmp(t, "L2::cache_hint")) k->hint = 1;
        else if (!strcmp(t, "global") || !strcmp(t, "const")) k->space = PS_GLOBAL;
        else if (!strncmp(t, "shared", 6)) k->space = PS_SHARED;
        else if (!strcmp(t, "local")) k->space = PS_LOCAL;
        else if (!strncmp(t, "param", 5)) k->space = PS_PARAM;
        else if (!strcmp(t, "relaxed")) k->order = SIM_RELAXED;
        else if (!strcmp(t, "acquire")) k->order = SIM_ACQUIRE;
        else if (!strcmp(t, "release")) k->order = SIM_RELEASE;
        else if (!strcmp(t, "acq_rel") || !strcmp(t, "sc")) k->order = SIM_ACQ_REL;
        if (is_policy)
            for (int j = 0; j < (int)(sizeof evict / sizeof evict[0]); j++)
                if (!strcmp(t, evict[j])) k->sub = j;
        if (is_atom)
            for (int j = 1; j < (int)(sizeof atoms / sizeof atoms[0]); j++)
                if (!strcmp(t, atoms[j])) k->sub = j;
        if (is_setp && i == 1) {
            for (int j = 0; j < (int)(sizeof cmps / sizeof cmps[0]); j++)
                if (!strcmp(t, cmps[j])) k->cmp = j;
            if (!strcmp(t, "lo")) k->cmp = CMP_LT;
            if (!strcmp(t, "ls")) k->cmp = CMP_LE;
            if (!strcmp(t, "hi")) k->cmp = CMP_GT;
            if (!strcmp(t, "hs")) k->cmp = CMP_GE;
        }
        if (is_setp && i == 2)
            k->bop = !strcmp(t, "and")   ? BOOL_AND
                     : !strcmp(t, "or")  ? BOOL_OR
                     : !strcmp(t, "xor") ? BOOL_XOR
                                         : BOOL_NONE;
    }
}

static void search(ptx_unit *u, const ptx_stmt *s, isa_match *out) {
    if (strlen(s->op) >= sizeof out->buf) ptx_fail(u, s->line, "unknown opcode `%.100s...`", s->op);
    strcpy(out->buf, s->op);
    for (char *p = out->buf; p;) {
        if (out->n_tok == 16) ptx_fail(u, s->line, "too many modifiers in `%s`", s->op);
        out->tok[out->n_tok++] = p;
        p = strchr(p, '.');
        if (p) *p++ = 0;
    }
    int any = 0;
    for (int i = 0; i < N_FORMS; i++) {
        const char *rest = same_opcode(forms[i].form, out->tok[0]);
        if (!rest) continue;
        any = 1;
        if (match(rest, out->tok + 1, out->n_tok - 1)) {
            out->form = &forms[i];
            interpret(out);
            return;
        }
    }
    if (!any) ptx_fail(u, s->line, "unknown opcode `%s` in `%s`", out->tok[0], s->op);
    for (int t = 1; t < out->n_tok; t++) {
        int known = 0;
        for (int i = 0; i < N_FORMS && !known; i++) {
            const char *rest = same_opcode(forms[i].form, out->tok[0]);
            known = rest && knows(rest, out->tok[t]);
        }
        if (!known) ptx_fail(u, s->line, "unknown modifier .%s in `%s`", out->tok[t], s->op);
    }
    ptx_fail(u, s->line, "these modifiers do not go together (or one is missing): `%s`", s->op);
}

/* A text says few opcodes many times. */
typedef struct isa_known {
    const char *op;
    isa_match k;
    struct isa_known *next;
} isa_known;

void isa_find(sim_module *m, const ptx_stmt *s, isa_match *out) {
    unsigned h = 5381;
    for (const char *p = s->op; *p; p++) h = h * 33 ^ (unsigned char)*p;
    isa_known **head = &m->known[(h ^ h >> 8) & 255], *k = *head;
    while (k && strcmp(k->op, s->op)) k = k->next;
    if (!k) {
        k = ptx_alloc(&m->unit, sizeof *k);
        k->op = s->op;
        search(&m->unit, s, &k->k);
        k->next = *head;
        *head = k;
    }
    *out = k->k; /* its words stay where they are, in k */
}
