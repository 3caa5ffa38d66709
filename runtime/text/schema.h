/* schema.h: JSON schemas, in the subset of docs/structured.md, into rules of a grammar. */
#ifndef QM_SCHEMA_H
#define QM_SCHEMA_H
#include <jansson.h>
#include "grammar.h"

/* What all schemas of one grammar share: automata, and rules for any value. Zero: not made yet. */
typedef struct {
    uint32_t space, integer, number, key, line_ends; /* automata */
    uint32_t any_value, any_object, any_array;       /* rules */
    uint64_t work;                                   /* of all automata that were made, also on the way to others */
} qm_schema_common;

typedef struct {
    qm_grammar *g;
    qm_schema_common *common;
    const json_t *root; /* what $ref refers to; stays as it is until the grammar is made */
    const char *where;  /* for messages, before the JSON pointer: "schema: ", "tools: /0/function/parameters" */
    int lenient;        /* keywords outside of the subset hold nobody */
} qm_schema_opts;
/* The rule of root: a value that it allows, as JSON. Negative: an error that names the place. */
int qm_schema_rule(const qm_schema_opts *o, uint32_t *rule, qm_err *e);
/* What root, the schema of an object, allows as Qwen3-Coder writes arguments:
 * "<parameter=KEY>\nVALUE\n</parameter>\n" for each property, in the schema's order, then `next`. */
int qm_schema_parameters(const qm_schema_opts *o, uint32_t next, uint32_t *entry, qm_err *e);
/* Any JSON value, any object: rules. */
int qm_schema_any(qm_grammar *g, qm_schema_common *k, int object, uint32_t *rule, qm_err *e);
/* The nodes of up to two line ends: what models write between parts of an answer. */
int qm_schema_line_ends(qm_grammar *g, qm_schema_common *k, uint32_t next, uint32_t *entry, qm_err *e);
#endif
