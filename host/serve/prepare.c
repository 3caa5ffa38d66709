/* prepare.c: a conversation as a prompt: rendered by the file's template, with the tools that may be called and what the answer
 * must look like. */
#include "api.h"
#include <stdlib.h>
#include <string.h>

static char *dump(const json_t *j) { return j ? json_dumps(j, JSON_COMPACT) : NULL; }

static int no_memory(qm_err *e) { return qm_fail(e, QM_ERR_NOMEM, "out of memory"); }

/* What the template, the parser of answers and the guide would each say in their own way, or not at all. */
static int check_tools(const json_t *tools, qm_err *e) {
    size_t i, k;
    json_t *t;
    json_array_foreach (tools, i, t) {
        const json_t *type = json_object_get(t, "type"), *f = json_object_get(t, "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        if (!json_is_object(t)) return qm_fail(e, QM_ERR_ARG, "tools[%zu]: expected an object", i);
        if (!json_is_string(type)) return qm_fail(e, QM_ERR_ARG, "tools[%zu].type: expected \"function\"", i);
        if (strcmp(json_string_value(type), "function"))
            return qm_fail(e, QM_ERR_UNSUPPORTED, "tools[%zu].type: %.40s: only functions can be called here", i,
                           json_string_value(type));
        if (!json_is_object(f)) return qm_fail(e, QM_ERR_ARG, "tools[%zu].function: expected an object", i);
        if (!name || !*name || strlen(name) > 128)
            return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.name: expected a string of 1 to 128 bytes", i);
        const json_t *d = json_object_get(f, "description"), *p = json_object_get(f, "parameters"),
                     *strict = json_object_get(f, "strict");
        if (d && !json_is_string(d) && !json_is_null(d))
            return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.description: expected a string", i);
        if (p && !json_is_object(p) && !json_is_null(p))
            return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.parameters: expected an object", i);
        if (strict && !json_is_boolean(strict) && !json_is_null(strict))
            return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.strict: expected true or false", i);
        for (k = 0; k < i; k++) {
            const json_t *other = json_object_get(json_object_get(json_array_get(tools, k), "function"), "name");
            if (!strcmp(name, json_string_value(other)))
                return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.name: %.64s is tools[%zu]'s too", i, name, k);
        }
    }
    return 0;
}

static int is_among(const json_t *tools, const char *name) {
    size_t i;
    json_t *t;
    json_array_foreach (tools, i, t)
        if (!strcmp(name, json_string_value(json_object_get(json_object_get(t, "function"), "name")))) return 1;
    return 0;
}

static int open_guide(server *s, const api_conversation *c, qm_tools_choice choice, task_ask *a, qm_err *e) {
    const int any = c->schema && !*c->schema;
    if (!c->schema && !a->tools) return 0;
    int rc = qm_guide_open(&a->guide, s->g,
                           &(qm_guide_opts){.thinking = a->thinking,
                                            .schema = any ? NULL : c->schema,
                                            .any_object = any,
                                            .tools = a->tools,
                                            .tool_choice = choice,
                                            .name = c->tool_name,
                                            .parallel = c->parallel_calls,
                                            .xml = qm_engine_tool_format(s->g) == QM_TOOLS_XML,
                                            .lenient = 1},
                           e);
    /* Which of the two it speaks of it says by its pointer: of tools it begins with an index. */
    if (rc)
        qm_err_prefix(e, "%s",
                      c->schema && (!a->tools || e->msg[0] != '/' || e->msg[1] < '0' || e->msg[1] > '9')
                          ? (c->schema_name ? c->schema_name : "response_format")
                          : "tools");
    return rc;
}

int api_prepare(server *s, const api_conversation *c, task_ask *a, qm_err *e) {
    const char *how = c->tool_choice ? c->tool_choice : "auto";
    /* Who may not call tools is not told of them, and what looks like a call is text. */
    const json_t *tools = json_array_size(c->tools) && strcmp(how, "none") ? c->tools : NULL;
    qm_tools_choice choice = !strcmp(how, "required") ? QM_TOOLS_REQUIRED
                             : !strcmp(how, "named")  ? QM_TOOLS_NAMED
                                                      : QM_TOOLS_AUTO;
    if (check_tools(c->tools, e)) return e->code;
    if (choice != QM_TOOLS_AUTO && !tools)
        return qm_fail(e, QM_ERR_ARG, "tool_choice: there are no tools to choose from");
    if (choice == QM_TOOLS_NAMED && !is_among(tools, c->tool_name))
        return qm_fail(e, QM_ERR_ARG, "tool_choice: %.64s is not among the tools", c->tool_name);
    if (c->begun && (c->schema || choice != QM_TOOLS_AUTO))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "an answer that is begun cannot be held to a form");
    if (tools && !qm_engine_tool_format(s->g))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "tools: the model's chat template takes none");

    char *messages = dump(c->messages), *kwargs = dump(c->kwargs);
    a->tools = dump(tools);
    int rc;
    if (!messages || (tools && !a->tools) || (c->kwargs && !kwargs)) rc = no_memory(e);
    else
        rc = qm_engine_render_json(
            s->g, &(qm_conversation){.messages = messages, .tools = a->tools, .kwargs = kwargs, .begun = c->begun},
            &a->prompt, &a->thinking, e);
    if (!rc) rc = open_guide(s, c, choice, a, e);
    free(messages);
    free(kwargs);
    return rc;
}

int api_render_text(server *s, json_t *messages, json_t *tools, json_t *kwargs, int turn, char **text, size_t *n,
                    qm_err *e) {
    char *m = dump(messages), *t = json_array_size(tools) ? dump(tools) : NULL, *k = dump(kwargs);
    int rc = check_tools(tools, e);
    *text = NULL;
    if (!rc && (!m || (json_array_size(tools) && !t) || (kwargs && !k))) rc = no_memory(e);
    if (!rc)
        rc = qm_engine_render_text(s->g, &(qm_conversation){.messages = m, .tools = t, .kwargs = k, .no_turn = !turn},
                                   text, n, e);
    free(m);
    free(t);
    free(k);
    return rc;
}

int api_fit(const server *s, task_ask *a, qm_err *e) {
    const uint32_t n_ctx = s->info.n_ctx;
    if (!a->prompt.n) return qm_fail(e, QM_ERR_ARG, "the prompt is empty");
    /* In words that clients look for: OpenAI's ("this model's ...") and Anthropic's ("prompt is ...") both. */
    if (a->prompt.n >= n_ctx)
        return qm_fail(e, QM_ERR_LIMIT,
                       "prompt is too long: %zu tokens, and this model's maximum context length is %u, answer included",
                       a->prompt.n, n_ctx);
    if (a->max_tokens > n_ctx - a->prompt.n) a->max_tokens = 0;
    return 0;
}
