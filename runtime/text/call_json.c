/* call_json.c: calls as Qwen3 writes them: {"name": ..., "arguments": {...}} between the tags. Until the name is known and its
 * arguments begin, the call may still turn out to be text. */
#include "calls.h"

enum { OPEN, FIRST, KEY, COLON, BEFORE_VALUE, VALUE, NEXT, COMMA };
enum { OTHER, NAME, ARGUMENTS };

void qm_json_call_begin(qm_calls *c, const char *before, size_t n) {
    qm_json_call *j = &c->call;
    c->raw.n = j->text.n = j->args.n = 0;
    qm_bytes_put(&c->raw, before, n);
    j->state = OPEN;
    j->tool = NULL;
    j->called = j->complete = j->live = 0;
    c->state = QM_CALLS_JSON;
}

void qm_json_call_free(qm_json_call *j) {
    qm_loose_json_free(&j->json);
    qm_bytes_free(&j->text);
    qm_bytes_free(&j->args);
}

static void begin_call(qm_calls *c) {
    c->call.called = 1;
    c->space.n = c->raw.n = 0;
    const json_t *name = json_object_get(c->call.tool, "name");
    qm_parts_call(c->to, json_string_value(name), json_string_length(name));
}

static void complete(qm_calls *c) {
    c->call.complete = 1;
    qm_parts_call_end(c->to);
}

/* A JSON string as it stands, without its quotes; malloc'd. */
static char *string_of(const qm_bytes *b, size_t *n) {
    json_t *s = json_loadb(b->s, b->n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    char *out = json_is_string(s) ? malloc(json_string_length(s) + 1) : NULL;
    if (out) memcpy(out, json_string_value(s), (*n = json_string_length(s)) + 1);
    json_decref(s);
    return out;
}

/* Arguments that have waited: an object, null, or a string that holds one of them. 0, or -1: they are neither. */
static int put_waiting(qm_calls *c) {
    qm_json_call *j = &c->call;
    qm_bytes out = {0};
    size_t n = j->args.n;
    char *string = n && j->args.s[0] == '"' ? string_of(&j->args, &n) : NULL;
    const char *s = string ? string : j->args.s;
    size_t space = 0;
    while (space < n && qm_calls_space(s[space])) space++;
    const int none = space == n || (n - space == 4 && !memcmp(s + space, "null", 4));
    if (none) qm_bytes_str(&out, "{}");
    else if (s[space] == '{') qm_call_value(QM_TYPE_OBJECT, s, n, &out);
    const int good = out.n && out.s[0] == '{';
    if (good) {
        begin_call(c);
        qm_parts_put(c->to, QM_PART_ARGUMENTS, out.s, out.n);
        complete(c);
    }
    c->in.failed |= out.failed;
    free(string);
    qm_bytes_free(&out);
    return good ? 0 : -1;
}

/* A key or a value of the outer object is complete. 0, or -1: this is no call: a key that calls do not have, or one twice. */
static int key_done(qm_json_call *j) {
    static const struct {
        const char *text;
        int key;
    } keys[] = {{"name", NAME}, {"arguments", ARGUMENTS}, {"parameters", ARGUMENTS}, {"id", OTHER}, {"type", OTHER}};
    size_t n;
    char *s = string_of(&j->text, &n);
    int found = -1;
    for (size_t i = 0; s && i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(s, keys[i].text)) found = keys[i].key;
    free(s);
    if (found < 0 || (found == NAME && j->tool) || (found == ARGUMENTS && (j->called || j->args.n))) return -1;
    j->key = found;
    j->state = COLON;
    return 0;
}

static int value_done(qm_calls *c) {
    qm_json_call *j = &c->call;
    j->state = NEXT;
    if (j->live) {
        j->live = 0;
        j->text.n = 0;
        complete(c);
        return 0;
    }
    if (j->called) return 0;
    if (j->key == NAME) {
        size_t n = 0;
        char *s = string_of(&j->text, &n);
        j->tool = s ? qm_call_tool(&c->tools, s, n) : NULL;
        free(s);
        if (!j->tool) return -1;
    } else if (j->key == ARGUMENTS) {
        j->args.n = 0;
        qm_bytes_put(&j->args, j->text.s, j->text.n);
    }
    return j->tool && j->args.n ? put_waiting(c) : 0;
}

/* A byte of the key or value that is being read. */
static qm_loose put_inner(qm_calls *c, char b) {
    qm_json_call *j = &c->call;
    if (j->live) j->text.n = 0;
    qm_loose how = qm_loose_json_put(&j->json, b, &j->text);
    if (j->live) qm_parts_put(c->to, QM_PART_ARGUMENTS, j->text.s, j->text.n);
    return how;
}

static void begin_inner(qm_json_call *j, int state) {
    qm_loose_json_begin(&j->json);
    j->text.n = 0;
    j->state = state;
}

/* A byte of the call. DONE: it was the last one; BEFORE: not used here. */
static qm_loose put_byte(qm_calls *c, char b) {
    qm_json_call *j = &c->call;
    if (j->state != KEY && j->state != VALUE && qm_calls_space(b)) return QM_LOOSE_MORE;
    switch (j->state) {
    case OPEN: j->state = FIRST; return b == '{' ? QM_LOOSE_MORE : QM_LOOSE_BAD;
    case FIRST:
    case COMMA:
        if (b == '}') return QM_LOOSE_DONE;
        if (b != '"') return QM_LOOSE_BAD;
        begin_inner(j, KEY);
        return put_inner(c, b);
    case KEY:
        switch (put_inner(c, b)) {
        case QM_LOOSE_MORE: return QM_LOOSE_MORE;
        case QM_LOOSE_DONE:
            if (!key_done(j)) return QM_LOOSE_MORE;
            j->text.n -= j->text.n > 0; /* the byte is not taken */
            return QM_LOOSE_BAD;
        default: return QM_LOOSE_BAD;
        }
    case COLON: j->state = BEFORE_VALUE; return b == ':' ? QM_LOOSE_MORE : QM_LOOSE_BAD;
    case BEFORE_VALUE:
        begin_inner(j, VALUE);
        if (j->key == ARGUMENTS && j->tool && b == '{' && !j->called) {
            begin_call(c);
            j->live = 1;
        }
        /* fall through */
    case VALUE:
        switch (put_inner(c, b)) {
        case QM_LOOSE_MORE: return QM_LOOSE_MORE;
        case QM_LOOSE_DONE: return value_done(c) ? QM_LOOSE_BAD : QM_LOOSE_MORE;
        case QM_LOOSE_BEFORE: return value_done(c) ? QM_LOOSE_BAD : put_byte(c, b);
        default: return QM_LOOSE_BAD;
        }
    default:
        if (b == ',') j->state = COMMA;
        return b == ',' ? QM_LOOSE_MORE : b == '}' ? QM_LOOSE_DONE : QM_LOOSE_BAD;
    }
}

/* The object is complete: a call that has no arguments has none. 0, or -1: it is no call. */
static int object_done(qm_calls *c) {
    qm_json_call *j = &c->call;
    if (!j->called && (!j->tool || put_waiting(c))) return -1;
    qm_calls_after(c, 1);
    return 0;
}

/* </tool_call> stands where brackets are open: what is left of them is closed. */
static int closed_early(qm_calls *c) {
    qm_json_call *j = &c->call;
    if (j->state == VALUE) {
        if (j->live) j->text.n = 0;
        if (qm_loose_json_close(&j->json, &j->text)) return -1;
        if (j->live) qm_parts_put(c->to, QM_PART_ARGUMENTS, j->text.s, j->text.n);
        if (value_done(c)) return -1;
    } else if (j->state != NEXT && j->state != COMMA) return -1;
    return object_done(c);
}

/* No call after all, or one that breaks off: what has not come out is text. */
static void give_up(qm_calls *c) {
    const qm_json_call *j = &c->call;
    const qm_bytes *rest = !j->called ? &c->raw : j->live ? &j->json.wait : &j->text;
    qm_calls_text(c, rest->s, rest->n);
    c->raw.n = 0;
    c->state = QM_CALLS_TEXT;
}

long qm_json_call_step(qm_calls *c, const char *s, size_t n, int end) {
    qm_json_call *j = &c->call;
    for (size_t i = 0; i < n; i++) {
        const int outside = j->state != KEY && (j->state != VALUE || qm_loose_json_outside(&j->json));
        if (s[i] == '<' && outside) {
            qm_tag t = qm_calls_tag(c, s + i, n - i);
            if (t.kind == QM_TAG_MORE && !end) return i ? (long)i : -1;
            if (t.kind == QM_TAG_MORE && j->called) return (long)n;            /* its own closing tag is cut */
            if (t.kind == QM_TAG_CALL_END && !closed_early(c)) return (long)i; /* after_step takes the tag */
            give_up(c);
            return (long)i;
        }
        qm_loose how = put_byte(c, s[i]);
        if (how == QM_LOOSE_BAD) {
            give_up(c);
            return (long)i;
        }
        if (!j->called) qm_bytes_put1(&c->raw, s[i]);
        if (how != QM_LOOSE_DONE) continue;
        if (object_done(c)) give_up(c);
        return (long)i + 1;
    }
    return (long)n;
}

/* The answer ends in the call. */
void qm_json_call_cut(qm_calls *c) {
    qm_json_call *j = &c->call;
    if (!j->called) {
        give_up(c);
        return;
    }
    if (!j->live) return;
    j->text.n = 0;
    qm_loose_json_cut(&j->json, &j->text);
    qm_parts_put(c->to, QM_PART_ARGUMENTS, j->text.s, j->text.n);
}
