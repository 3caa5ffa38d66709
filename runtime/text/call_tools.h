/* call_tools.h: the functions that an answer may call, and which types their parameters have. */
#ifndef QM_CALL_TOOLS_H
#define QM_CALL_TOOLS_H
#include <jansson.h>
#include "../base/err.h"
#include "bytes.h"

typedef struct {
    json_t *list;   /* as OpenAI's `tools` */
    size_t longest; /* bytes of the longest name */
} qm_call_tools;
/* text: a JSON array of {"type": "function", "function": {"name", "parameters"}}; name and parameters may stand in the
 * entry itself. QM_ERR_ARG names the entry. */
int qm_call_tools_open(qm_call_tools *t, const char *text, qm_err *e);
void qm_call_tools_close(qm_call_tools *t);
/* The function of that name (n bytes); NULL: none. */
json_t *qm_call_tool(const qm_call_tools *t, const char *name, size_t n);

enum {
    QM_TYPE_STRING = 1,
    QM_TYPE_NUMBER = 2, /* integers, too */
    QM_TYPE_BOOLEAN = 4,
    QM_TYPE_NULL = 8,
    QM_TYPE_OBJECT = 16,
    QM_TYPE_ARRAY = 32,
    QM_TYPE_ANY = 63
};
/* What a parameter may be by its schema: `type` (a name or a list), `enum`, `const`, the union of anyOf, oneOf and allOf, and
 * where $ref points within the parameters. A schema that says nothing of types: any. A parameter that is not declared is what
 * additionalProperties says, or else a string. */
unsigned qm_call_types(const json_t *tool, const char *key, size_t n);
/* Whether the tool declares a parameter of that name, or declares none at all. */
int qm_call_declares(const json_t *tool, const char *key, size_t n);
/* Whether text that begins with c may be JSON of one of these types that is no string. */
int qm_call_may_be(unsigned types, char c);
/* s[0..n), a parameter's text, as JSON: a string, or where its types have others JSON of these; where they have no string
 * any JSON, and a string where it is none. */
void qm_call_value(unsigned types, const char *s, size_t n, qm_bytes *out);
#endif
