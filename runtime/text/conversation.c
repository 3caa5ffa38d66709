/* conversation.c: see conversation.h. What is known of a message is checked here and refused by its place; what is not
 * known stays for the template to read, as transformers leaves it. */
#include "conversation.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "unicode.h"

enum {
    MAX_DEPTH = 100,      /* levels of one text; the template engine has 400 for all */
    MAX_BYTES = 64 << 20, /* of one text: as much as a template may write */
    MAX_TOOL_NAME = 128,  /* characters */
    PLACE = 64,           /* room for "messages[...]" */
    INSIDE = PLACE + 64   /* and for ".tool_calls[...]" or ".function" behind it */
};
#define IS_NULL(j) (!(j) || json_is_null(j))

static int no_memory(qm_err *e) { return qm_fail(e, QM_ERR_NOMEM, "conversation: out of memory"); }

void qm_chat_values_free(qm_chat_values *v) {
    json_decref(v->messages);
    json_decref(v->tools);
    json_decref(v->kwargs);
    *v = (qm_chat_values){0};
}

static int deeper(json_t *j, int levels) {
    size_t i;
    const char *key;
    json_t *x;
    if (!json_is_object(j) && !json_is_array(j)) return 0;
    if (!levels) return 1;
    json_array_foreach (j, i, x)
        if (deeper(x, levels - 1)) return 1;
    json_object_foreach (j, key, x)
        if (deeper(x, levels - 1)) return 1;
    return 0;
}

/* Text of one value as JSON. */
static int parse(json_t **out, const char *what, const char *text, qm_err *e) {
    json_error_t at;
    size_t n = strlen(text);
    *out = NULL;
    if (n > MAX_BYTES) return qm_fail(e, QM_ERR_LIMIT, "%s: %zu bytes, over the limit of %d", what, n, MAX_BYTES);
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &at);
    if (!*out) return qm_fail(e, QM_ERR_ARG, "%s: line %d, column %d: %s", what, at.line, at.column, at.text);
    if (deeper(*out, MAX_DEPTH)) return qm_fail(e, QM_ERR_LIMIT, "%s: nested deeper than %d levels", what, MAX_DEPTH);
    return 0;
}

int qm_chat_kwargs(json_t **out, const char *text, qm_err *e) {
    static const char *const ours[] = {"messages", "add_generation_prompt", "bos_token", "eos_token"};
    int rc = parse(out, "template kwargs", text ? text : "{}", e);
    if (rc) return rc;
    if (!json_is_object(*out))
        return qm_fail(e, QM_ERR_ARG, "template kwargs: expected an object: {\"name\": value, ...}");
    for (int i = 0; i < 4; i++)
        if (json_object_get(*out, ours[i]))
            return qm_fail(e, QM_ERR_ARG, "template kwargs: \"%s\" is not for the caller to set", ours[i]);
    return 0;
}

/* ---- one field ---- */
/* o[key] is a string, or absent: then, and where it is null, it is removed and *out NULL. */
static int read_string(json_t *o, const char *at, const char *key, json_t **out, qm_err *e) {
    json_t *v = json_object_get(o, key);
    *out = NULL;
    if (IS_NULL(v)) return json_object_del(o, key), 0;
    if (!json_is_string(v)) return qm_fail(e, QM_ERR_ARG, "%s.%s: a string is wanted", at, key);
    *out = v;
    return 0;
}

/* Parts of text become one text, with a line end between two. */
static int join_parts(json_t *o, const char *at, json_t *parts, qm_err *e) {
    size_t i, n = 0;
    json_t *part;
    json_array_foreach (parts, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        json_t *text = json_object_get(part, "text");
        if (!type) return qm_fail(e, QM_ERR_ARG, "%s.content[%zu]: an object with a type is wanted", at, i);
        if (strcmp(type, "text"))
            return qm_fail(e, QM_ERR_UNSUPPORTED, "%s.content[%zu]: type %.40s: this is a model of text only", at, i,
                           type);
        if (!json_is_string(text)) return qm_fail(e, QM_ERR_ARG, "%s.content[%zu].text: a string is wanted", at, i);
        n += json_string_length(text) + 1;
    }
    char *all = malloc(n + 1), *p = all;
    if (!all) return no_memory(e);
    json_array_foreach (parts, i, part) {
        json_t *text = json_object_get(part, "text");
        if (i) *p++ = '\n';
        p = mempcpy(p, json_string_value(text), json_string_length(text));
    }
    json_t *joined = json_stringn(all, (size_t)(p - all));
    free(all);
    return json_object_set_new(o, "content", joined) ? no_memory(e) : 0;
}

static int read_content(json_t *o, const char *at, int may_lack, qm_err *e) {
    json_t *content = json_object_get(o, "content");
    if (json_is_string(content)) return 0;
    if (json_is_array(content)) return join_parts(o, at, content, e);
    if (!IS_NULL(content)) return qm_fail(e, QM_ERR_ARG, "%s.content: a string or an array of parts is wanted", at);
    if (!may_lack) return qm_fail(e, QM_ERR_ARG, "%s.content: missing", at);
    return json_object_set_new(o, "content", json_string("")) ? no_memory(e) : 0;
}

/* ---- tools ---- */
/* The name of a function: such that it can stand in either format of calls. */
static int read_name(json_t *function, const char *at, qm_err *e) {
    json_t *name = json_object_get(function, "name");
    const char *s = json_string_value(name);
    if (!json_is_object(function)) return qm_fail(e, QM_ERR_ARG, "%s.function: an object is wanted", at);
    if (!s) return qm_fail(e, QM_ERR_ARG, "%s.function.name: a string is wanted", at);
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/");
    if (!n || n > MAX_TOOL_NAME || n != json_string_length(name))
        return qm_fail(e, QM_ERR_ARG, "%s.function.name: 1 to %d of the characters A-Z a-z 0-9 _ - . : / are wanted",
                       at, MAX_TOOL_NAME);
    return 0;
}

static int is_function(json_t *o, const char *at, qm_err *e) {
    json_t *type;
    if (!json_is_object(o)) return qm_fail(e, QM_ERR_ARG, "%s: an object is wanted", at);
    int rc = read_string(o, at, "type", &type, e);
    if (rc || !type || !strcmp(json_string_value(type), "function")) return rc;
    return qm_fail(e, QM_ERR_UNSUPPORTED, "%s.type: %.40s: only functions are there to call", at,
                   json_string_value(type));
}

static int read_tool(json_t *tool, const char *at, qm_err *e) {
    char inside[INSIDE];
    json_t *ignored;
    int rc = is_function(tool, at, e);
    json_t *f = json_object_get(tool, "function"), *parameters = json_object_get(f, "parameters");
    if (!rc) rc = read_name(f, at, e);
    snprintf(inside, sizeof inside, "%s.function", at);
    if (!rc) rc = read_string(f, inside, "description", &ignored, e);
    if (rc || json_is_object(parameters)) return rc;
    if (!IS_NULL(parameters)) return qm_fail(e, QM_ERR_ARG, "%s.parameters: an object is wanted", inside);
    json_object_del(f, "parameters");
    return 0;
}

static int read_tools(qm_chat_values *v, const char *text, qm_err *e) {
    size_t i, k;
    json_t *tool;
    int rc = parse(&v->tools, "tools", text, e);
    if (rc) return rc;
    if (!json_is_null(v->tools) && !json_is_array(v->tools)) return qm_fail(e, QM_ERR_ARG, "tools: an array is wanted");
    json_array_foreach (v->tools, i, tool) {
        char at[PLACE];
        snprintf(at, sizeof at, "tools[%zu]", i);
        if ((rc = read_tool(tool, at, e))) return rc;
        const char *name = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        for (k = 0; k < i; k++) {
            json_t *other = json_object_get(json_array_get(v->tools, k), "function");
            if (!strcmp(name, json_string_value(json_object_get(other, "name"))))
                return qm_fail(e, QM_ERR_ARG, "tools[%zu].function.name: %s is there twice", i, name);
        }
    }
    if (!json_array_size(v->tools)) { /* none */
        json_decref(v->tools);
        v->tools = NULL;
    }
    return 0;
}

/* Arguments come as the text of an object, and templates want the object. Text that is none stays as it is: a model
 * said it, and the conversation goes on. */
static int read_call(json_t *call, const char *at, qm_err *e) {
    int rc = is_function(call, at, e);
    json_t *f = json_object_get(call, "function"), *arguments = json_object_get(f, "arguments"), *object = NULL;
    if (!rc) rc = read_name(f, at, e);
    if (rc || json_is_object(arguments)) return rc;
    const char *s = json_string_value(arguments);
    size_t n = json_string_length(arguments);
    if (!IS_NULL(arguments) && !s)
        return qm_fail(e, QM_ERR_ARG, "%s.function.arguments: an object, or its text, is wanted", at);
    if (!n) object = json_object();
    else if (!(object = json_loadb(s, n, JSON_ALLOW_NUL, NULL)) || !json_is_object(object))
        return json_decref(object), 0;
    if (deeper(object, MAX_DEPTH)) {
        json_decref(object);
        return qm_fail(e, QM_ERR_LIMIT, "%s.function.arguments: nested deeper than %d levels", at, MAX_DEPTH);
    }
    return json_object_set_new(f, "arguments", object) ? no_memory(e) : 0;
}

static int read_calls(json_t *message, const char *at, qm_err *e) {
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    if (!IS_NULL(calls) && !json_is_array(calls))
        return qm_fail(e, QM_ERR_ARG, "%s.tool_calls: an array is wanted", at);
    json_array_foreach (calls, i, call) {
        char place[INSIDE];
        snprintf(place, sizeof place, "%s.tool_calls[%zu]", at, i);
        int rc = read_call(call, place, e);
        if (rc) return rc;
    }
    if (!json_array_size(calls)) json_object_del(message, "tool_calls");
    return 0;
}

/* ---- messages ---- */
static int read_message(json_t *m, const char *at, qm_err *e) {
    static const char *const strings[] = {"name", "reasoning_content", "tool_call_id"};
    static const char *const assistants[] = {"reasoning_content", "tool_calls"};
    json_t *role, *ignored;
    if (!json_is_object(m)) return qm_fail(e, QM_ERR_ARG, "%s: an object is wanted", at);
    int rc = read_string(m, at, "role", &role, e);
    if (!rc && (!role || !json_string_length(role) || strlen(json_string_value(role)) != json_string_length(role)))
        rc = qm_fail(e, QM_ERR_ARG, "%s.role: %s", at, role ? "a word is wanted" : "missing");
    if (rc) return rc;
    int assistant = !strcmp(json_string_value(role), "assistant");
    for (size_t i = 0; i < sizeof strings / sizeof *strings && !rc; i++)
        rc = read_string(m, at, strings[i], &ignored, e);
    if (!rc) rc = read_calls(m, at, e);
    if (!rc) rc = read_content(m, at, assistant, e);
    if (rc) return rc;
    for (size_t i = 0; i < sizeof assistants / sizeof *assistants && !assistant; i++)
        if (json_object_get(m, assistants[i]))
            return qm_fail(e, QM_ERR_ARG, "%s.%s: only a message of the assistant has it", at, assistants[i]);
    if (IS_NULL(json_object_get(m, "function_call"))) return 0;
    return qm_fail(e, QM_ERR_UNSUPPORTED, "%s.function_call: tool_calls came in its place", at);
}

static int read_messages(qm_chat_values *v, const char *text, qm_err *e) {
    size_t i;
    json_t *m;
    int rc = parse(&v->messages, "messages", text, e);
    if (!rc && !json_is_array(v->messages)) rc = qm_fail(e, QM_ERR_ARG, "messages: an array is wanted");
    if (rc) return rc;
    json_array_foreach (v->messages, i, m) {
        char at[PLACE];
        snprintf(at, sizeof at, "messages[%zu]", i);
        if ((rc = read_message(m, at, e))) return rc;
    }
    return 0;
}

/* The first byte of s[0..n) that is not UTF-8; n: none. */
static size_t not_utf8(const char *text, size_t n) {
    const uint8_t *s = (const uint8_t *)text;
    uint32_t cp;
    size_t at = 0;
    for (int k = 1; at < n && (k = qm_utf8_decode(s + at, n - at, &cp)) > 0;) at += (size_t)k;
    return at;
}

static int check_begun(const qm_conversation *c, qm_err *e) {
    size_t n = c->begun ? strlen(c->begun) : 0, at = not_utf8(c->begun, n);
    if (n && c->no_turn) return qm_fail(e, QM_ERR_ARG, "an answer cannot be begun where no turn is opened for it");
    if (at == n) return 0;
    return qm_fail(e, QM_ERR_ARG, "the beginning of the answer is not UTF-8 at byte %zu", at);
}

int qm_chat_values_read(qm_chat_values *v, const qm_conversation *c, qm_err *e) {
    *v = (qm_chat_values){.no_turn = c->no_turn};
    int rc = check_begun(c, e);
    if (!rc) rc = read_messages(v, c->messages ? c->messages : "[]", e);
    if (!rc && c->tools) rc = read_tools(v, c->tools, e);
    if (!rc && c->kwargs) rc = qm_chat_kwargs(&v->kwargs, c->kwargs, e);
    if (rc) qm_chat_values_free(v);
    return rc;
}

/* Messages are UTF-8, whatever the format: a template works on characters, and bytes of another encoding would be
 * answered as if they had been meant. (transformers takes nothing else either.) */
static int check_utf8(const qm_message *m, size_t n, qm_err *e) {
    for (size_t i = 0; i < n; i++)
        for (int role = 0; role < 2; role++) {
            const char *s = role ? m[i].role : m[i].content;
            size_t len = role ? strlen(m[i].role) : m[i].n, at = not_utf8(s, len);
            if (at < len && role)
                return qm_fail(e, QM_ERR_ARG, "message %zu: its role is not UTF-8 at byte %zu (0x%02x)", i, at,
                               (uint8_t)s[at]);
            if (at < len)
                return qm_fail(e, QM_ERR_ARG, "message %zu (%.16s): not UTF-8 at byte %zu (0x%02x)", i, m[i].role, at,
                               (uint8_t)s[at]);
        }
    return 0;
}

int qm_chat_values_of(qm_chat_values *v, const qm_message *m, size_t n, qm_err *e) {
    *v = (qm_chat_values){0};
    int rc = check_utf8(m, n, e);
    if (rc) return rc;
    if (!(v->messages = json_array())) return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_pack("{s:s, s:s%}", "role", m[i].role, "content", m[i].content ? m[i].content : "", m[i].n);
        if (!json_array_append_new(v->messages, one)) continue; /* takes NULL as a failure */
        qm_chat_values_free(v);
        return no_memory(e);
    }
    return 0;
}
