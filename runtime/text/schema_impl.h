/* schema_impl.h: what the schema's own files share. Nobody else includes it.
 *   schema.c         keywords and types; the queue of schemas whose rules are to be made
 *   schema_part.c    errors and places, $ref, rules that are asked for
 *   schema_scalar.c  strings, numbers, enum and const
 *   schema_nested.c  objects and arrays
 *   schema_one.c     oneOf: whether two schemas allow nothing in common
 *   schema_xml.c     arguments as Qwen3-Coder writes them
 * A schema within a schema is a rule, which is made later: nothing here is recursive in the depth of a schema. */
#ifndef QM_SCHEMA_IMPL_H
#define QM_SCHEMA_IMPL_H
#include "schema.h"

typedef struct sc_place {
    const struct sc_place *up;
    const char *key; /* NULL: index */
    size_t index;
    struct sc_place *all;
} sc_place;
typedef struct {
    const json_t *schema;
    const sc_place *at;
    uint32_t rule;
} sc_job;
typedef struct {
    qm_schema_opts o;
    qm_grammar *g;
    qm_schema_common *k;
    qm_err *e;
    int rc;           /* the first error */
    sc_place *places; /* all, to be freed */
    sc_job *job;      /* [n_jobs] of which n_done are made */
    uint32_t n_jobs, cap_jobs, n_done;
    uint32_t *slot; /* [n_slots] job + 1 by schema */
    uint32_t n_slots;
} sc;

enum { T_NULL = 1, T_BOOL = 2, T_INT = 4, T_NUM = 8, T_STR = 16, T_ARR = 32, T_OBJ = 64, T_ANY = 127 };

/* schema_part.c */
/* All return QM_G_FAIL, so that a failure is one line. keyword: below `at`, or NULL. */
uint32_t sc_fail(sc *c, int code, const sc_place *at, const char *keyword, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
uint32_t sc_nomem(sc *c);
const sc_place *sc_key(sc *c, const sc_place *up, const char *key);
const sc_place *sc_index(sc *c, const sc_place *up, size_t i);
uint32_t sc_rule(sc *c, const json_t *schema, const sc_place *at);
/* The schema that a $ref means, and its place; NULL: an error. */
const json_t *sc_target(sc *c, const json_t *ref, const sc_place *at, const sc_place **to);
/* The schema behind any number of $ref and allOf of one. NULL: an error, or they lead in a circle. */
const json_t *sc_behind(sc *c, const json_t *schema, const sc_place **at);
/* The automaton in *slot, made from an expression when first asked for. */
uint32_t sc_common(sc *c, uint32_t *slot, const char *regex);
uint32_t sc_space(sc *c, uint32_t next); /* white space between tokens: docs/structured.md */
uint32_t sc_text(sc *c, const char *s, uint32_t next);
uint32_t sc_dfa(sc *c, qm_dfa *d, uint32_t next); /* takes d */
/* Counts what making d took. A schema of many that are slow to make is too large. */
void sc_spend(sc *c, const qm_dfa *d);
/* A whole number of 0 or more under a keyword; `none` where it is not there. */
uint32_t sc_size(sc *c, const json_t *schema, const sc_place *at, const char *keyword, uint32_t none);
/* The types that a schema names, or which its keywords are for; T_INT only where T_NUM is not. */
unsigned sc_types(sc *c, const json_t *schema, const sc_place *at);

/* schema_scalar.c: raw: as plain text, else as JSON with its quotes. */
uint32_t sc_string(sc *c, const json_t *schema, const sc_place *at, int raw, uint32_t next);
uint32_t sc_number(sc *c, const json_t *schema, const sc_place *at, int integer, uint32_t next);
uint32_t sc_const(sc *c, const json_t *value, int raw, uint32_t next);
/* The values of a schema's enum or const that are of its types. */
uint32_t sc_enum(sc *c, const json_t *schema, const sc_place *at, int raw, uint32_t next);
unsigned sc_type_bits(const json_t *value);
uint32_t sc_quoted(sc *c, const char *s, const char *after, uint32_t next); /* s in quotes, then after */

/* schema_nested.c */
uint32_t sc_object(sc *c, const json_t *schema, const sc_place *at, uint32_t next);
uint32_t sc_array(sc *c, const json_t *schema, const sc_place *at, uint32_t next);
uint32_t sc_any_rule(sc *c, unsigned type); /* T_ANY, T_OBJ, T_ARR */

/* schema.c */
void sc_begin(sc *c, const qm_schema_opts *o, qm_err *e);
int sc_finish(sc *c); /* makes what was asked for; frees what c has */
/* The kinds of a schema's keywords; sc_look gives the first of REF, CHOICE, VALUE, REST that it has. */
enum { SC_NOTE, SC_REF, SC_CHOICE, SC_VALUE, SC_REST };
int sc_look(sc *c, const json_t *schema, const sc_place *at);
/* The list under its anyOf, oneOf or allOf, and whose place that is; NULL: an error. */
const json_t *sc_choice(sc *c, const json_t *schema, const sc_place *at, const sc_place **list_at);
uint32_t sc_of_types(sc *c, const json_t *schema, const sc_place *at, unsigned types);

/* schema_one.c */
int sc_disjoint(sc *c, const json_t *a, const json_t *b, const sc_place *at);
#endif
