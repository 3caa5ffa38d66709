/* chat_file.c: a conversation in a file: a JSON array of {"role", "content"}, as chat templates and chat servers take
 * it. */
#include "chat.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int put(json_t *list, const char *role, const char *s, size_t n) {
    return json_array_append_new(list, json_pack("{s:s, s:s%}", "role", role, "content", s, n));
}

int qm_chat_save(const qm_chat *c, const char *path) {
    json_t *list = json_array();
    int bad = !list || (c->system && put(list, "system", c->system, strlen(c->system)));
    for (size_t i = 0; i < c->n_m && !bad; i++) bad = put(list, c->m[i].role, c->m[i].content, c->m[i].n);
    char *s = bad ? NULL : json_dumps(list, JSON_INDENT(2) | JSON_PRESERVE_ORDER), *whole = NULL;
    json_decref(list);
    int n = s ? asprintf(&whole, "%s\n", s) : -1, rc = -1;
    free(s);
    if (n < 0) qm_host_say("%s: out of memory", path);
    else {
        qm_err e = {0};
        if ((rc = qm_write_file(path, whole, (size_t)n, &e))) qm_host_fail(&e);
        free(whole);
    }
    return rc;
}

/* What is wrong with message i of a list of n, or NULL. */
static const char *fault(const json_t *m, size_t i, int *system) {
    const char *role = json_string_value(json_object_get(m, "role"));
    if (!json_is_object(m)) return "expected an object with \"role\" and \"content\"";
    if (!role) return "\"role\": expected a string";
    if (!json_is_string(json_object_get(m, "content"))) return "\"content\": expected a string";
    if (!i && !strcmp(role, "system")) {
        *system = 1;
        const json_t *text = json_object_get(m, "content");
        return strlen(json_string_value(text)) == json_string_length(text) ? NULL
                                                                           : "\"content\": a NUL in a system message";
    }
    if (strcmp(role, (i - (size_t)*system) % 2 ? "assistant" : "user"))
        return "\"role\": expected a system message at most, then user and assistant in turns";
    return NULL;
}

/* The messages of a document, or NULL: reported already. */
static json_t *messages_of(json_t *doc, const char *path) {
    json_t *list = json_is_object(doc) ? json_object_get(doc, "messages") : doc, *m;
    size_t i;
    int system = 0;
    if (!json_is_array(list)) {
        qm_host_say("%s: expected an array of messages, or an object with one in \"messages\"", path);
        return NULL;
    }
    json_array_foreach (list, i, m) {
        const char *why = fault(m, i, &system);
        if (!why) continue;
        qm_host_say("%s: message %zu: %s", path, i, why);
        return NULL;
    }
    return list;
}

int qm_chat_load(qm_chat *c, const char *path) {
    char *text;
    size_t n, i;
    json_error_t at;
    if (qm_run_read(path, QM_PROMPT_MOST, &text, &n)) return -1;
    json_t *doc = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at), *m;
    free(text);
    if (!doc) {
        qm_host_say("%s: line %d, column %d: %s", path, at.line, at.column, at.text);
        return -1;
    }
    json_t *list = messages_of(doc, path);
    int rc = list ? 0 : -1;
    if (list) {
        qm_chat_reset(c);
        free(c->system);
        c->system = NULL;
        json_array_foreach (list, i, m) {
            const json_t *content = json_object_get(m, "content");
            const char *role = json_string_value(json_object_get(m, "role"));
            if (rc) break;
            if (!strcmp(role, "system")) rc = (c->system = strdup(json_string_value(content))) ? 0 : -1;
            else
                rc = qm_chat_add(c, strcmp(role, "user") ? "assistant" : "user", json_string_value(content),
                                 json_string_length(content));
        }
    }
    json_decref(doc);
    return rc;
}
