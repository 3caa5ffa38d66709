/* call_tools.c: see call_tools.h. */
#include "call_tools.h"
#include "loose_json.h"

enum { MAX_REFS = 16 }; /* $ref and unions within each other */

/* Where name and parameters stand: {"type": "function", "function": {...}} or the entry itself. */
static json_t *function_of(json_t *entry) {
    json_t *f = json_object_get(entry, "function");
    return json_is_object(f) ? f : entry;
}

int qm_call_tools_open(qm_call_tools *t, const char *text, qm_err *e) {
    json_error_t why;
    *t = (qm_call_tools){0};
    json_t *list = json_loads(text, JSON_ALLOW_NUL, &why);
    if (!list) return qm_fail(e, QM_ERR_ARG, "tools: line %d, column %d: %s", why.line, why.column, why.text);
    int rc = 0;
    if (!json_is_array(list)) rc = qm_fail(e, QM_ERR_ARG, "tools: not an array");
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        json_t *name = json_object_get(function_of(json_array_get(list, i)), "name");
        size_t n = json_string_length(name);
        if (!n) rc = qm_fail(e, QM_ERR_ARG, "tools[%zu]: no function with a name", i);
        if (n > t->longest) t->longest = n;
    }
    t->list = list;
    if (rc) qm_call_tools_close(t);
    return rc;
}

void qm_call_tools_close(qm_call_tools *t) {
    json_decref(t->list);
    t->list = NULL;
}

json_t *qm_call_tool(const qm_call_tools *t, const char *name, size_t n) {
    for (size_t i = 0; i < json_array_size(t->list); i++) {
        json_t *f = function_of(json_array_get(t->list, i)), *is = json_object_get(f, "name");
        if (json_string_length(is) == n && !memcmp(json_string_value(is), name, n)) return f;
    }
    return NULL;
}

static unsigned type_named(const char *s) {
    static const struct {
        const char *name;
        unsigned type;
    } names[] = {{"string", QM_TYPE_STRING},   {"integer", QM_TYPE_NUMBER}, {"number", QM_TYPE_NUMBER},
                 {"boolean", QM_TYPE_BOOLEAN}, {"null", QM_TYPE_NULL},      {"object", QM_TYPE_OBJECT},
                 {"array", QM_TYPE_ARRAY}};
    for (size_t i = 0; s && i < sizeof names / sizeof *names; i++)
        if (!strcmp(s, names[i].name)) return names[i].type;
    return 0;
}

static unsigned type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_STRING: return QM_TYPE_STRING;
    case JSON_INTEGER:
    case JSON_REAL: return QM_TYPE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE: return QM_TYPE_BOOLEAN;
    case JSON_NULL: return QM_TYPE_NULL;
    case JSON_OBJECT: return QM_TYPE_OBJECT;
    default: return QM_TYPE_ARRAY;
    }
}

/* What "#/$defs/point" means; NULL: nothing within root. */
static const json_t *pointed(const json_t *root, const char *ref) {
    if (!ref || ref[0] != '#') return NULL;
    for (ref++; root && *ref == '/';) {
        const char *end = strchr(++ref, '/');
        size_t n = end ? (size_t)(end - ref) : strlen(ref);
        root = json_object_getn(root, ref, n);
        ref += n;
    }
    return *ref ? NULL : root;
}

/* refs: how many more schemas may be looked at. */
static unsigned types_of(const json_t *root, const json_t *schema, int *refs) {
    static const char *const unions[] = {"anyOf", "oneOf", "allOf"};
    if (!json_is_object(schema) || --*refs < 0) return QM_TYPE_ANY;
    unsigned types = 0;
    size_t i;
    json_t *v, *type = json_object_get(schema, "type");
    json_array_foreach (json_object_get(schema, "enum"), i, v) types |= type_of(v);
    if ((v = json_object_get(schema, "const"))) types |= type_of(v);
    if (types) return types;
    types = type_named(json_string_value(type));
    json_array_foreach (type, i, v) types |= type_named(json_string_value(v));
    if (types) return types;
    for (size_t k = 0; k < sizeof unions / sizeof *unions; k++)
        json_array_foreach (json_object_get(schema, unions[k]), i, v) types |= types_of(root, v, refs);
    if (types) return types;
    const json_t *to = pointed(root, json_string_value(json_object_get(schema, "$ref")));
    return to ? types_of(root, to, refs) : QM_TYPE_ANY;
}

/* The schema of what a function takes: OpenAI's name for it, or Anthropic's. */
static const json_t *parameters(const json_t *tool) {
    const json_t *p = json_object_get(tool, "parameters");
    return p ? p : json_object_get(tool, "input_schema");
}

unsigned qm_call_types(const json_t *tool, const char *key, size_t n) {
    const json_t *p = parameters(tool), *schema = json_object_getn(json_object_get(p, "properties"), key, n);
    if (!schema) {
        schema = json_object_get(p, "additionalProperties");
        if (!json_is_object(schema)) return QM_TYPE_STRING;
    }
    int refs = MAX_REFS;
    return types_of(p, schema, &refs);
}

int qm_call_declares(const json_t *tool, const char *key, size_t n) {
    const json_t *properties = json_object_get(parameters(tool), "properties");
    return !json_object_size(properties) || json_object_getn(properties, key, n);
}

static unsigned type_begun(char c) {
    if (c == '-' || (c >= '0' && c <= '9')) return QM_TYPE_NUMBER;
    return c == '{'                 ? QM_TYPE_OBJECT
           : c == '['               ? QM_TYPE_ARRAY
           : c == '"'               ? QM_TYPE_STRING
           : c && strchr("tTfF", c) ? QM_TYPE_BOOLEAN
           : c == 'n' || c == 'N'   ? QM_TYPE_NULL
                                    : 0;
}

int qm_call_may_be(unsigned types, char c) {
    if (!(types & QM_TYPE_STRING)) return 1;
    return (types & type_begun(c) & ~(unsigned)QM_TYPE_STRING) != 0;
}

/* s as JSON of one of the types, appended. 0, or -1 and nothing. */
static int put_json(unsigned types, const char *s, size_t n, qm_bytes *out) {
    const size_t before = out->n;
    if (!n || !(type_begun(s[0]) & types)) return -1;
    qm_loose_json j = {0};
    qm_loose_json_begin(&j);
    qm_loose how = QM_LOOSE_MORE;
    size_t i = 0;
    while (i < n && how == QM_LOOSE_MORE) how = qm_loose_json_put(&j, s[i++], out);
    int whole = how == QM_LOOSE_DONE ? i == n : how == QM_LOOSE_MORE && !j.depth && !qm_loose_json_close(&j, out);
    if (j.wait.failed) out->failed = 1;
    qm_loose_json_free(&j);
    if (!whole) out->n = before;
    return whole ? 0 : -1;
}

void qm_call_value(unsigned types, const char *s, size_t n, qm_bytes *out) {
    size_t i = 0, k = n;
    while (i < k && strchr(" \t\r\n", s[i]) && s[i]) i++;
    while (k > i && strchr(" \t\r\n", s[k - 1]) && s[k - 1]) k--;
    unsigned wanted = types & QM_TYPE_STRING ? types & ~(unsigned)QM_TYPE_STRING : QM_TYPE_ANY;
    if (!put_json(wanted, s + i, k - i, out)) return;
    qm_bytes_put1(out, '"');
    qm_json_escape(out, s, n);
    qm_bytes_put1(out, '"');
}
