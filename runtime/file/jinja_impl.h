/* jinja_impl.h: what the template engine's own files share. Nobody else includes it.
 *   jinja_lex.c     text into tokens: tags, whitespace control, literals
 *   jinja_parse.c   tokens into a tree; names of filters and tests are looked up here
 *   jinja_value.c   memory, errors, strings with their origin, str(), repr(), JSON, comparison
 *   jinja_eval.c    the tree into text: scopes, loops, macros;  jinja.c  qm_template_*
 *   jinja_filter.c  filters and tests;  jinja_method.c  methods and functions
 * Errors leave by longjmp to the one setjmp of compile or render: all memory is the arena's. */
#ifndef QM_JINJA_IMPL_H
#define QM_JINJA_IMPL_H
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include "jinja.h"

typedef enum { J_MISSING, J_UNDEF, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STR, J_LIST, J_TUPLE, J_DICT, J_NS, J_LOOP, J_MACRO, J_CALL } jkind;
typedef struct jnode jnode;
typedef struct jv jv;
typedef struct jc jc;
typedef struct jbuiltin jbuiltin;
typedef struct jscope jscope;
typedef struct { const char *p; const uint8_t *own; size_t n; } jstr; /* own: [n] 1 = the template's; NULL = all data */
typedef struct { jv *v; size_t n; } jlist;
typedef struct { jv *kv; size_t n, cap; } jmap; /* kv: [n][key, value], in order of insertion */
typedef struct jloop jloop;
struct jv {
    jkind k;
    union {
        int64_t i; /* J_BOOL, J_INT */
        double f;
        jstr s;    /* J_STR; of J_UNDEF what there is none of, for messages */
        jlist l;   /* J_LIST, J_TUPLE */
        jmap *m;   /* J_DICT, J_NS */
        jloop *loop;
        struct { const jnode *def; jscope *scope; } macro;
        struct { const jbuiltin *fn; jv *self; } call;
    };
};
struct jloop { jlist l; size_t i; jv last; };
typedef struct { const jv *v; size_t n; const jv *kw; size_t n_kw; } jargs; /* kw: [n_kw][name, value] */
/* sig: names of the arguments after a[0], the value; '!' marks one that must be given, "*" takes jargs as they are */
struct jbuiltin { const char *name, *sig; jv (*fn)(jc *c, jv *a, const jargs *raw); unsigned kinds; };
extern const jbuiltin j_filters[], j_tests[], j_methods[], j_functions[];

typedef enum { T_EOF, T_DATA, T_VAR, T_VAR_END, T_BLOCK, T_BLOCK_END, T_NAME, T_STR, T_NUM, T_OP } jtok_kind;
typedef struct { jtok_kind k; int line; jstr s; jv v; } jtok; /* s: the text; v: of T_STR, T_NUM */

typedef enum {
    N_LIT, N_NAME, N_LIST, N_TUPLE, N_DICT, N_ATTR, N_INDEX, N_SLICE, N_CALL, N_FILTER, N_TEST, N_NOT, N_NEG, N_POS, N_BIN, N_CMP, N_AND, N_OR,
    N_CAT, N_COND, N_OUT, N_BODY, N_FOR, N_IF, N_SET, N_SET_BODY, N_MACRO, N_FILTER_BODY, N_CAUGHT, N_BREAK, N_CONTINUE
} jnode_kind;
struct jnode {
    jnode_kind k;
    int line, op;  /* op: an operator's characters (see J_OP); N_TEST: 1 = is not */
    jnode *a, *b, *c; /* operands; N_FOR: target, sequence, condition; N_IF: condition, body, else */
    jnode **kid;      /* [n] elements, arguments, statements; NULL where a slice has none */
    jv *name;      /* [n] a call's argument names (J_MISSING: positional), a macro's parameters */
    size_t n;
    jv v;          /* literal, name */
    const jbuiltin *fn;
};
#define J_OP(a, b) ((a) | (b) << 8)

typedef struct { char *p; uint8_t *own; size_t n, cap; } jbuf;
struct jscope { jscope *up; jmap vars; };
struct jc {
    jmp_buf fail;
    qm_err *e;
    int code, line;
    struct jchunk *chunks;
    size_t n_bytes, n_steps, depth;
    qm_template_limits max;
    jtok *tok; /* compile: [n_tok], the last is T_EOF */
    size_t n_tok, cap_tok, at;
    uint8_t *ones; /* origin of the template's literals: as many 1s as it has bytes */
    int loops;
    jscope *scope; /* render */
    jbuf *out;
    jv caught; /* what N_CAUGHT stands for: the text of a {% set %} or {% filter %} body */
    const struct tm *now;
};
struct qm_template { struct jchunk *chunks; jnode *root; };

/* value */
_Noreturn void j_fail(jc *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define J_ERR(c, ...) j_fail(c, QM_ERR_ARG, __VA_ARGS__)
void *j_alloc(jc *c, size_t n);
void j_chunks_free(struct jchunk *k);
void *j_grow(jc *c, void *p, size_t n, size_t *cap, size_t size); /* room for one more than n */
void j_enter(jc *c);
void j_work(jc *c, size_t bytes);
void j_put(jc *c, jbuf *b, const char *p, const uint8_t *own, size_t n);
void j_puts(jc *c, jbuf *b, const char *s);
void j_put_s(jc *c, jbuf *b, jstr s);
void j_put_value(jc *c, jbuf *b, jv v, int repr);
void j_put_json(jc *c, jbuf *b, jv v, const jv *opt, size_t level); /* opt: ensure_ascii, indent, item and key separator, sort_keys */
jv j_buf(const jbuf *b);
jv j_text(const char *s); /* data; s lives on */
jstr j_str(jc *c, jv v);
jstr j_need_str(jc *c, jv v, const char *what);
int64_t j_need_int(jc *c, jv v, const char *what);
jstr j_cut(jstr s, size_t from, size_t to);
size_t j_char(jstr s, size_t at, uint32_t *cp); /* length of the character at s.p[at] */
size_t j_chars(jc *c, jstr s);
int j_space(uint32_t cp);
int j_is(jstr s, const char *t);
size_t j_find(jc *c, jstr s, jstr what, size_t from); /* SIZE_MAX: not there */
int j_true(jv v);
int j_num(jv v);
double j_double(jv v);
int j_eq(jc *c, jv a, jv b);
int j_cmp(jc *c, jv a, jv b);
jv *j_get(jc *c, const jmap *m, jv key);
void j_set(jc *c, jmap *m, jv key, jv v);
jlist j_iter(jc *c, jv v);
const char *j_type(jv v);
jv j_from_json(jc *c, json_t *j, int trusted);
static inline jv j_none(void) { return (jv){.k = J_NONE}; }
static inline jv j_bool(int b) { return (jv){.k = J_BOOL, .i = b != 0}; }
static inline jv j_int(int64_t i) { return (jv){.k = J_INT, .i = i}; }
static inline jv j_float(double f) { return (jv){.k = J_FLOAT, .f = f}; }
static inline jv j_string(jstr s) { return (jv){.k = J_STR, .s = s}; }
static inline jv j_list(jkind k, jv *v, size_t n) { return (jv){.k = k, .l = {v, n}}; }
/* lex, parse, eval, method */
void j_lex(jc *c, const char *src, size_t n);
jnode *j_parse(jc *c);
int j_run(jc *c, const jnode *n); /* writes to c->out; 0, or 1 on the way out of a break, 2 of a continue */
const jbuiltin *j_builtin(const jbuiltin *table, jstr name, unsigned kind);
jv j_call(jc *c, const jbuiltin *fn, const jv *self, const jargs *args);
jv j_attr(jc *c, jv v, jstr name);
jv j_index(jc *c, jv v, jv key);
jv j_binary(jc *c, int op, jv a, jv b);
int j_compare(jc *c, int op, jv a, jv b); /* also 'i' in, 'n' not in */
jv j_attr_path(jc *c, jv v, jv path); /* "a.b.0", as attribute= has it */
jv j_case(jc *c, jstr s, int how); /* 'u', 'l', 'c' capitalize, 't' str.title(), 'T' the filter title */
jv j_strip(jc *c, jstr s, jv chars, int sides); /* 1 left, 2 right */
jv j_replace(jc *c, jstr s, jstr old, jstr new, int64_t count);
jv j_lines(jc *c, jstr s);
#endif
