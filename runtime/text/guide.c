/* Whole answers: what is thought, then text, a value, or calls of tools. Each part is told what comes after it, so this is
 * read from the end. */
#include "guide.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "schema.h"

typedef struct {
    qm_grammar *g;
    qm_schema_common common;
    const qm_guide_opts *o;
    json_t *tools;
    qm_err *e;
} maker;

static uint32_t text(maker *m, const char *s, uint32_t next) { return qm_g_text(m->g, s, strlen(s), next); }

static int line_ends(maker *m, uint32_t next, uint32_t *entry) {
    return qm_schema_line_ends(m->g, &m->common, next, entry, m->e);
}

static json_t *parse(const char *s, const char *what, qm_err *e) {
    json_error_t je;
    json_t *j = json_loads(s, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);
    if (!j) qm_fail(e, QM_ERR_ARG, "%s: at byte %d: %s", what, je.position, je.text);
    return j;
}

/* ---- calls ---- */
/* One tool: "\n{...}\n</tool_call>" or "\n<function=...", then next. where: "tools: /0". */
static int tool(maker *m, const json_t *function, const char *where, uint32_t next, uint32_t *entry) {
    const char *name = json_string_value(json_object_get(function, "name"));
    json_t *parameters = json_object_get(function, "parameters"), *empty = NULL;
    char at[96];
    snprintf(at, sizeof at, "%s/function/parameters", where);
    if (!parameters || json_is_null(parameters)) {
        parameters = empty = json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties", 0);
        if (!empty) return qm_fail(m->e, QM_ERR_NOMEM, "guide: out of memory");
    }
    qm_schema_opts so = {.g = m->g,
                         .common = &m->common,
                         .root = parameters,
                         .where = at,
                         .lenient = m->o->lenient && !json_is_true(json_object_get(function, "strict"))};
    int rc;
    if (m->o->xml) {
        if (strpbrk(name, ">\n"))
            rc = qm_fail(m->e, QM_ERR_UNSUPPORTED, "%s/function/name: > or a line end in it", where);
        else if ((rc = qm_schema_parameters(&so, text(m, "</function>\n</tool_call>", next), entry, m->e)) == 0)
            *entry = text(m, "\n<function=", text(m, name, text(m, ">\n", *entry)));
    } else {
        uint32_t rule;
        if ((rc = qm_schema_rule(&so, &rule, m->e)) == 0) {
            json_t *s = json_string(name);
            char *quoted = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
            json_decref(s);
            if (!quoted) rc = qm_fail(m->e, QM_ERR_NOMEM, "guide: out of memory");
            else {
                *entry = qm_g_call(m->g, rule, text(m, "}\n</tool_call>", next));
                *entry = text(m, "\n{\"name\": ", text(m, quoted, text(m, ", \"arguments\": ", *entry)));
            }
            free(quoted);
        }
    }
    json_decref(empty);
    return rc;
}

/* What follows <tool_call>, of any of the tools that may be called. */
static int calls(maker *m, uint32_t next, uint32_t *entry) {
    *entry = QM_G_FAIL;
    if (!json_is_array(m->tools)) return qm_fail(m->e, QM_ERR_ARG, "tools: not a list");
    for (size_t i = json_array_size(m->tools); i--;) {
        const json_t *t = json_array_get(m->tools, i), *function = json_object_get(t, "function");
        const char *type = json_string_value(json_object_get(t, "type"));
        const char *name = json_string_value(json_object_get(function, "name"));
        char where[64];
        snprintf(where, sizeof where, "tools: /%zu", i);
        if (!type || strcmp(type, "function")) return qm_fail(m->e, QM_ERR_ARG, "%s/type: not \"function\"", where);
        if (!name || !*name) return qm_fail(m->e, QM_ERR_ARG, "%s/function/name: no name", where);
        if (m->o->tool_choice == QM_TOOLS_NAMED && strcmp(name, m->o->name)) continue;
        uint32_t s;
        int rc = tool(m, function, where, next, &s);
        if (rc) return rc;
        *entry = qm_g_split(m->g, s, *entry);
    }
    if (*entry == QM_G_FAIL && !m->g->failed) {
        if (m->o->tool_choice == QM_TOOLS_NAMED)
            return qm_fail(m->e, QM_ERR_ARG, "tool_choice: no tool is called \"%.60s\"", m->o->name);
        return qm_fail(m->e, QM_ERR_ARG, "tools: an empty list");
    }
    return 0;
}

/* Text in which a call may begin; after it text again, or the end. */
static int free_text(maker *m, uint32_t *entry) {
    uint32_t again = qm_g_loop(m->g), call;
    int rc = calls(m, m->o->parallel ? again : QM_G_RET, &call);
    if (rc) return rc;
    qm_g_set(m->g, again, qm_g_dfa(m->g, QM_G_NO_CALL, QM_G_RET), qm_g_dfa(m->g, QM_G_UNTIL_CALL, call));
    *entry = again;
    return 0;
}

/* A call, or several in a row. */
static int only_calls(maker *m, uint32_t *entry) {
    uint32_t again = qm_g_loop(m->g), call;
    int several = m->o->parallel && m->o->tool_choice != QM_TOOLS_NAMED;
    int rc = calls(m, again, &call);
    if (rc) return rc;
    *entry = text(m, "<tool_call>", call);
    qm_g_set(m->g, again, QM_G_RET, several ? qm_g_byte(m->g, '\n', *entry) : QM_G_FAIL);
    return 0;
}

/* ---- the answer ---- */
/* Behind what is thought. *any: it may be any text and end anywhere. */
static int content(maker *m, json_t *schema, uint32_t *entry, int *any) {
    uint32_t rule, value = QM_G_FAIL, called = QM_G_FAIL;
    int rc = 0, only = m->tools && m->o->tool_choice != QM_TOOLS_AUTO;
    int held = !only && (schema || m->o->any_object);
    *any = 0;
    if (held) {
        qm_schema_opts so = {.g = m->g, .common = &m->common, .root = schema, .where = "schema: "};
        rc = schema ? qm_schema_rule(&so, &rule, m->e) : qm_schema_any(m->g, &m->common, 1, &rule, m->e);
        if (rc) return rc;
        value = qm_g_call(m->g, rule, QM_G_RET);
    }
    if (m->tools && (only || held)) rc = only_calls(m, &called);
    else if (m->tools) *any = 1, rc = free_text(m, &called);
    else if (!held) *any = 1, called = qm_g_dfa(m->g, QM_G_NO_CALL, QM_G_RET);
    if (rc) return rc;
    *entry = qm_g_split(m->g, value, called);
    return *any ? 0 : line_ends(m, *entry, entry);
}

static int answer(maker *m, json_t *schema) {
    uint32_t entry, thought;
    int any, rc = content(m, schema, &entry, &any);
    if (!rc && m->o->thinking) {
        thought = qm_g_dfa(m->g, QM_G_UNTIL_THOUGHT, entry);
        if (any) thought = qm_g_split(m->g, thought, qm_g_dfa(m->g, QM_G_NO_THOUGHT, QM_G_RET));
        if (m->o->thinking == 1) {
            rc = line_ends(m, text(m, "<think>", thought), &thought);
            thought = qm_g_split(m->g, entry, thought);
        }
        entry = thought;
    }
    if (!rc && !m->g->failed) m->g->rule[0].entry = entry;
    return rc ? rc : qm_grammar_end(m->g, m->e);
}

int qm_guide_make(qm_guide **out, const qm_tokenizer *t, const qm_guide_opts *o, qm_err *e) {
    json_t *schema = NULL;
    *out = NULL;
    if (!o->schema && !o->any_object && !o->tools)
        return qm_fail(e, QM_ERR_ARG, "guide: there is nothing to hold an answer to");
    if (o->thinking < 0 || o->thinking > 2)
        return qm_fail(e, QM_ERR_ARG, "guide: thinking is %d, not 0 to 2", o->thinking);
    if (o->tools && (unsigned)o->tool_choice > QM_TOOLS_NAMED)
        return qm_fail(e, QM_ERR_ARG, "guide: tool_choice is %d, not 0 to 2", (int)o->tool_choice);
    if (o->tools && o->tool_choice == QM_TOOLS_NAMED && !o->name) return qm_fail(e, QM_ERR_ARG, "tool_choice: no name");
    qm_guide *g = calloc(1, sizeof *g);
    if (!g) return qm_fail(e, QM_ERR_NOMEM, "guide: out of memory");
    maker m = {.g = &g->grammar, .o = o, .e = e};
    int rc = qm_tokenizer_lexicon(&g->x, t, e);
    if (!rc) rc = qm_grammar_open(&g->grammar, g->x->shared, e);
    if (rc) goto out;
    qm_g_rule(&g->grammar); /* 0: the answer */
    if (o->schema && !(schema = parse(o->schema, "schema", e))) rc = QM_ERR_ARG;
    if (!rc && o->tools && !(m.tools = parse(o->tools, "tools", e))) rc = QM_ERR_ARG;
    if (!rc) rc = answer(&m, schema);
out:
    json_decref(schema);
    json_decref(m.tools);
    if (rc) qm_guide_close(g);
    else *out = g;
    return rc;
}

void qm_guide_close(qm_guide *g) {
    if (!g) return;
    qm_grammar_close(&g->grammar);
    free(g);
}
