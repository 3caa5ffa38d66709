/* jinja_impl.h: what the template engine's own files share. Nobody else includes it.
 *   jinja_lex.c   text into tokens, and the reading of them one by one
 *   jinja_tag.c   text and statements, one by one;  jinja_expr.c  expressions;  jinja_call.c  names and calls
 *   jinja.c       qm_template_*
 *   jinja_value.c   memory, errors, sequences, dicts, truth, order, str(), repr() and JSON
 *   jinja_builtin.c   the table of operators, filters, tests, methods and functions
 * Errors leave by longjmp to the one setjmp of compile or render: all memory is the arena's. */
#ifndef QM_JINJA_IMPL_H
#define QM_JINJA_IMPL_H
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include "jinja.h"
#include "unicode.h"
/* clang-format off */
typedef enum { /* the order counts: sequences are J_STR to J_TUPLE */
    J_MISSING, J_UNDEF, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STR, J_LIST, J_TUPLE, J_DICT, J_NS, J_LOOP, J_MACRO, J_CALL
} jkind;
/* clang-format on */
typedef struct jv jv;
typedef struct jc jc;
typedef struct jtok jtok;
typedef struct jbuiltin jbuiltin;
typedef struct jscope {
    struct jscope *up;
    jv *vars;
} jscope;
/* A character of a string is its code point, and this bit where it is the template's own: so the origin
 * goes wherever the character goes. Comparisons leave the bit out. */
#define J_OWN 0x80000000u
#define J_CHAR(x) ((x) & ~J_OWN)
struct jv {
    jkind k;
    union {
        int64_t i; /* J_BOOL, J_INT */
        double f;
        struct {
            size_t n;
            union {
                uint32_t *s;
                jv *v;
            };
        };     /* J_STR, J_LIST, J_TUPLE; J_UNDEF: what there is not */
        jv *m; /* J_DICT, J_NS: a list of key, value, key, ... in order of insertion */
        struct jloop *loop;
        struct {
            jtok *def;
            jscope *scope;
        }; /* J_MACRO: where its parameters stand */
        struct {
            const jbuiltin *fn;
            const jv *self;
        }; /* J_CALL */
    };
};
typedef struct jloop {
    jv all;
    size_t i;
} jloop;
typedef struct {
    size_t n;
    const jv *v, *name;
} jargs; /* name: J_MISSING: positional */
/* A row of the table. names, sig: words. kinds: of values that it applies to; a filter on nothing but text makes text
 * of any value. sig: the arguments after a[0], the value; types, a letter each: s string, i integer, t any, made
 * text, v any; a capital must be there. types NULL: fn takes jc.args as they are. fn NULL: a test for the kinds in
 * how. */
struct jbuiltin {
    const char *names;
    unsigned what, kinds;
    const char *sig, *types;
    jv (*fn)(jc *c, jv *a, int how);
    int how;
};
enum { J_OPERATOR = 1, J_FILTER = 2, J_TEST = 4, J_METHOD = 8, J_FUNCTION = 16, J_MAX_ARGS = 16 };
#define J_BIT(kind) (1u << (kind))
typedef enum { T_EOF, T_DATA, T_NAME, T_OP, T_VALUE } jtok_kind;
struct jtok {
    jtok_kind k;
    int line, level;    /* level: of a binary operator, from J_OR, the loosest */
    jv v;               /* the text; of T_VALUE a string or number */
    const jbuiltin *fn; /* set when compiled: an operator's, filter's or test's */
    jtok *link;         /* set when compiled: where "x if y" starts: its "if"; where a block does: its end */
};
enum { J_OR = 1, J_AND, J_NOT, J_COMPARE };
struct jc {
    jmp_buf fail;
    qm_err *e;
    int code, line, compiling, dry, loops; /* dry: not 0: what is read is only parsed */
    struct jchunk *chunks;
    size_t n_bytes, n_steps, depth;
    qm_template_limits max;
    const char *text;             /* [n_text] what is compiled */
    const qm_template_vars *vars; /* what is rendered, and to what */
    qm_rendered *rendered;
    uint32_t *src; /* [n_src] the template's text, and zeros after it */
    size_t n_text, n_src, n_counted, n_tok;
    jtok *tok, *at; /* the last is T_EOF */
    jscope *scope;
    jv *out;
    enum { J_ON, J_BREAK, J_CONTINUE } go;
    const jargs *args;
    /* What lies above the code that uses it: the table of builtins, and statements, which know how a macro is called. */
    const jbuiltin *builtins; /* [n_builtins] */
    size_t n_builtins;
    jv (*call_macro)(jc *c, jv macro, const jargs *args);
};
struct qm_template {
    struct jchunk *chunks;
    jtok *tok;
};
_Noreturn void j_fail(jc *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define J_ERR(c, ...) j_fail(c, QM_ERR_ARG, __VA_ARGS__)
_Noreturn void j_undefined(jc *c, jv v);
void j_chunks_free(struct jchunk *k);
void *j_alloc(jc *c, size_t n);
void *j_grow(jc *c, void *p, size_t n, size_t more,
             size_t size); /* room for n + more; there is some up to n's power of 2 */
void j_enter(jc *c);       /* one level deeper; c->depth-- leaves it */
void j_work(jc *c, size_t items);
/* What grows starts empty; once it is a value it never changes. */
void j_add(jc *c, jv *list, jv item);
void j_put(jc *c, jv *text, uint32_t ch);
void j_cat(jc *c, jv *b, jv seq); /* all items of a sequence */
typedef struct {
    int json;
    jv item, key, indent;
} jformat; /* separators; indent: J_MISSING: all on one line */
void j_write(jc *c, jv *b, jv v, const jformat *f, size_t level);
jv j_str(jc *c, jv v);                                   /* Python's str() */
jv j_text(jc *c, const char *s, size_t n, uint32_t own); /* of UTF-8 */
char *j_utf8(jc *c, jv s, size_t max);                   /* at most max bytes, whole characters, and a NUL */
jv j_from_json(jc *c, json_t *j, uint32_t own);
jv j_cut(jv seq, size_t from, size_t to);
jv j_item(jv seq, size_t i);
jv j_iter(jc *c, jv v);
jv j_pairs(jc *c, jv dict);
const char *j_type(jv v);
int j_word(const char *words, jv name); /* its index among "a b c", or -1 */
static inline int j_space(uint32_t ch) {
    return qm_unicode_class(ch) == QM_UC_SPACE || (ch >= 28 && ch <= 31);
} /* str.isspace */
int j_true(jv v);
int j_cmp(jc *c, jv a, jv b, int order); /* 0 equal, -1 less, 1 more, 2 neither: an error if order is asked for */
jv *j_map(jc *c);
jv *j_get(jc *c, const jv *m, jv key); /* NULL: not there */
void j_set(jc *c, jv *m, jv key, jv v);
static inline int j_num(jv v) { return v.k == J_INT || v.k == J_BOOL || v.k == J_FLOAT; }
static inline double j_double(jv v) { return v.k == J_FLOAT ? v.f : (double)v.i; }
static inline jv j_bool(int b) { return (jv){.k = J_BOOL, .i = b != 0}; }
static inline jv j_int(int64_t i) { return (jv){.k = J_INT, .i = i}; }
static inline jv j_float(double f) { return (jv){.k = J_FLOAT, .f = f}; }
/* ---- tokens; words: one sign or word. c->at is the next one; errors name its line ---- */
void j_lex(jc *c);
int j_means(const jtok *t, const char *word);
int j_at(jc *c, const char *word);     /* the next token is that */
int j_accept(jc *c, const char *word); /* and it is read */
int j_was(jc *c, const char *word);    /* the last one that was read is that */
void j_expect(jc *c, const char *word);
jv j_expect_name(jc *c);
_Noreturn void j_unexpected(jc *c, const char *want);
/* ---- text, statements, expressions ---- */
void j_run(jc *c);
jscope *j_scope(jc *c, jscope *up);
jv j_expr(jc *c);
jv j_without_if(jc *c); /* an expression up to an "if" that belongs to something else */
/* Items with commas between them, up to what can follow; one without a comma is itself. */
jv j_tuple(jc *c, jv (*one)(jc *));
/* Before each item of a list in brackets, n = 0 before the first: reads the comma, or the closing bracket. Is there
 * an item? */
int j_another(jc *c, const char *close, size_t *n);
/* ---- names and calls ---- */
jv j_undef(jv name);
jv j_lookup(jc *c, jv name);
jv j_attr(jc *c, jv v, jv name);
jv j_index(jc *c, jv v, jv key);
const jbuiltin *j_builtin(const jc *c, unsigned what, jv name, jkind k); /* NULL: none; k J_MISSING: of any value */
const jbuiltin *j_named(jc *c, unsigned what, jv name); /* a filter or test; an error if there is none */
extern const jv *const j_unnamed;                       /* the names of arguments that have none, [J_MAX_ARGS] */
jv j_call(jc *c, const jbuiltin *fn, jv self, const jargs *args);
/* ---- jinja_builtin.c ---- */
extern const jbuiltin j_builtins[];
extern const size_t j_n_builtins;
jv j_math(jc *c, jv *a, int how); /* a[0] + - * / % a[1]; d for // */
jv j_slice(jc *c, jv seq, const jv part[3]);
#endif
