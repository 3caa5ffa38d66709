/* responses_input.c: the items of /v1/responses as messages of a chat. What the model wrote in one turn, thoughts, a text, calls,
 * lies in items of its own here, and is one message there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "responses.h"

enum { PLACE = 96 };

typedef struct {
    fields *f;
    json_t *out;  /* messages */
    json_t *turn; /* the assistant's, the last of out, while more of it may come; borrowed */
} talk;

static void refuse(talk *t, const char *at, const char *name, const char *what) {
    char place[PLACE + 32];
    snprintf(place, sizeof place, "%s%s", at, name);
    fields_fail(t->f, place, "%s", what);
}

/* Takes value. NULL: no memory. */
static json_t *append(talk *t, json_t *list, json_t *value) {
    if (json_array_append_new(list, value)) {
        fields_fail(t->f, "input", "out of memory");
        return NULL;
    }
    return value;
}

/* Takes value. */
static void put(talk *t, json_t *o, const char *name, json_t *value) {
    if (json_object_set_new(o, name, value)) fields_fail(t->f, "input", "out of memory");
}

static json_t *string_of(talk *t, const char *at, const json_t *o, const char *name) {
    char member[40];
    json_t *v = json_object_get(o, name);
    snprintf(member, sizeof member, ".%s", name);
    if (!json_is_string(v)) refuse(t, at, member, "expected a string");
    return json_is_string(v) ? v : NULL;
}

/* Text, or parts of the types that `types` names ("input_text output_text"): a string, or parts of a chat. */
static json_t *texts(talk *t, const char *at, json_t *content, const char *types) {
    size_t i;
    json_t *part;
    if (json_is_string(content)) return json_incref(content);
    if (!json_is_array(content)) refuse(t, at, "", "expected a string or an array of parts");
    json_t *parts = json_array();
    json_array_foreach (content, i, part) {
        char place[PLACE + 32];
        snprintf(place, sizeof place, "%s[%zu]", at, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const char *known = type && *type ? strstr(types, type) : NULL;
        if (!type) refuse(t, place, "", "expected an object with a type");
        else if (!known || (known > types && known[-1] != ' ') || !strchr(" ", known[strlen(type)]))
            fields_fail(t->f, place, "type %.40s: this is a model of text only", type);
        else {
            json_t *text = string_of(t, place, part, "text");
            if (text) append(t, parts, json_pack("{s:s, s:O}", "type", "text", "text", text));
        }
    }
    return parts;
}

/* The assistant's turn goes on, or begins. */
static json_t *turn(talk *t) {
    if (!t->turn) t->turn = append(t, t->out, json_pack("{s:s}", "role", "assistant"));
    return t->turn;
}

static void message(talk *t, const char *at, const json_t *item) {
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    char place[PLACE];
    json_t *content = json_object_get(item, "content");
    const char *role = json_string_value(json_object_get(item, "role"));
    size_t i = 0;
    while (role && i < 4 && strcmp(role, roles[i])) i++;
    if (!role || i == 4) return refuse(t, at, ".role", "expected \"user\", \"assistant\", \"system\" or \"developer\"");
    snprintf(place, sizeof place, "%s.content", at);
    json_t *text = texts(t, place, content, "input_text output_text text");
    if (i != 1) {
        t->turn = NULL;
        append(t, t->out, json_pack("{s:s, s:o}", "role", role, "content", text));
        return;
    }
    if (t->turn && (json_object_get(t->turn, "content") || json_object_get(t->turn, "tool_calls"))) t->turn = NULL;
    json_t *m = turn(t);
    if (m) put(t, m, "content", text);
    else json_decref(text);
}

/* What was thought: the texts themselves, or what there is of a summary. */
static void reasoning(talk *t, const char *at, const json_t *item) {
    static const char *const names[] = {"content", "summary"};
    qm_buffer b = {0};
    size_t i;
    json_t *part;
    for (int k = 0; k < 2 && !b.n; k++) {
        json_t *list = json_object_get(item, names[k]);
        if (list && !json_is_null(list) && !json_is_array(list))
            refuse(t, at, k ? ".summary" : ".content", "expected an array");
        json_array_foreach (list, i, part) {
            char place[PLACE + 32];
            snprintf(place, sizeof place, "%s.%s[%zu]", at, names[k], i);
            json_t *text = string_of(t, place, part, "text");
            if (text && ((b.n && qm_buffer_put(&b, "\n", 1)) ||
                         qm_buffer_put(&b, json_string_value(text), json_string_length(text))))
                fields_fail(t->f, place, "out of memory");
        }
    }
    t->turn = NULL;
    if (b.n && turn(t)) put(t, t->turn, "reasoning_content", json_stringn(b.s, b.n));
    free(b.s);
}

static void call(talk *t, const char *at, const json_t *item) {
    json_t *id = string_of(t, at, item, "call_id"), *name = string_of(t, at, item, "name"),
           *arguments = string_of(t, at, item, "arguments");
    if (*t->f->error || !turn(t)) return;
    json_t *calls = json_object_get(t->turn, "tool_calls");
    if (!calls) put(t, t->turn, "tool_calls", calls = json_array());
    append(t, calls,
           json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function", "name", name, "arguments",
                     arguments));
}

static void output(talk *t, const char *at, const json_t *item) {
    char place[PLACE];
    json_t *id = string_of(t, at, item, "call_id");
    snprintf(place, sizeof place, "%s.output", at);
    json_t *text = texts(t, place, json_object_get(item, "output"), "input_text output_text text");
    t->turn = NULL;
    append(t, t->out,
           json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id ? id : json_null(), "content", text));
}

json_t *responses_messages(fields *f) {
    talk t = {.f = f, .out = json_array()};
    const char *instructions = fields_string(f, "instructions", NULL);
    json_t *input = fields_any(f, "input"), *item;
    size_t i;
    if (instructions) append(&t, t.out, json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (json_is_string(input)) append(&t, t.out, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (!json_array_size(input)) fields_fail(f, "input", "expected a string or an array of items");
    json_array_foreach (input, i, item) {
        char at[PLACE - 32];
        snprintf(at, sizeof at, "input[%zu]", i);
        const char *type = json_string_value(json_object_get(item, "type"));
        if (!json_is_object(item)) refuse(&t, at, "", "expected an object");
        else if (!type ? json_object_get(item, "role") != NULL : !strcmp(type, "message")) message(&t, at, item);
        else if (!type) refuse(&t, at, ".type", "expected a string");
        else if (!strcmp(type, "function_call")) call(&t, at, item);
        else if (!strcmp(type, "function_call_output")) output(&t, at, item);
        else if (!strcmp(type, "reasoning")) reasoning(&t, at, item);
        else if (!strcmp(type, "item_reference"))
            refuse(&t, at, ".type", "item_reference: nothing is stored here: say the item");
        else fields_fail(f, at, "type %.40s: not supported", type);
        if (*f->error) break;
    }
    return t.out;
}
