/* call_xml.c: calls as Qwen3-Coder writes them. A value is raw text and may hold tags of its own: what ends it is decided by
 * what follows. */
#include "calls.h"

static void put(qm_calls *c, const char *s) { qm_parts_put(c->to, QM_PART_ARGUMENTS, s, strlen(s)); }

static void put_bytes(qm_calls *c, qm_bytes *b) {
    if (b->failed) c->in.failed = 1;
    qm_parts_put(c->to, QM_PART_ARGUMENTS, b->s, b->n);
    qm_bytes_free(b);
}

static void put_escaped(qm_calls *c, const char *s, size_t n) {
    qm_bytes b = {0};
    qm_json_escape(&b, s, n);
    put_bytes(c, &b);
}

void qm_xml_call_begin(qm_calls *c, const qm_tag *function) {
    c->tool = qm_call_tool(&c->tools, function->name, function->n_name);
    json_object_clear(c->seen);
    c->space.n = 0;
    qm_parts_call(c->to, function->name, function->n_name);
    put(c, "{");
    c->state = QM_CALLS_GAP;
}

static void end_call(qm_calls *c) {
    put(c, "}");
    qm_parts_call_end(c->to);
    qm_calls_after(c, 0);
}

static void begin_value(qm_calls *c, const qm_tag *p) {
    qm_value *v = &c->value;
    v->types = qm_call_types(c->tool, p->name, p->n_name);
    v->begun = v->opens = 0;
    v->decided = v->stream = 0;
    v->raw.n = 0;
    put(c, json_object_size(c->seen) ? ", \"" : "\"");
    put_escaped(c, p->name, p->n_name);
    put(c, "\": ");
    if (json_object_setn_new(c->seen, p->name, p->n_name, json_true())) c->in.failed = 1;
    c->state = QM_CALLS_VALUE;
}

/* As soon as its first character shows that it can only be a string, it goes out as it comes. */
static void put_value(qm_calls *c, const char *s, size_t n) {
    qm_value *v = &c->value;
    v->begun = 1;
    if (v->stream) {
        put_escaped(c, s, n);
        return;
    }
    size_t space = 0;
    while (space < n && qm_calls_space(s[space])) space++;
    qm_bytes_put(&v->raw, s, n);
    if (v->decided || space == n) return;
    v->decided = 1;
    v->stream = !qm_call_may_be(v->types, s[space]);
    if (!v->stream) return;
    put(c, "\"");
    put_escaped(c, v->raw.s, v->raw.n);
}

static void end_value(qm_calls *c) {
    qm_value *v = &c->value;
    qm_bytes b = {0};
    if (v->stream) qm_bytes_put1(&b, '"');
    else qm_call_value(v->types, v->raw.n ? v->raw.s : "", v->raw.n, &b);
    put_bytes(c, &b);
    c->state = QM_CALLS_GAP;
}

long qm_xml_gap_step(qm_calls *c, const char *s, size_t n) {
    if (qm_calls_space(s[0])) return 1;
    qm_tag t = qm_calls_tag(c, s, n);
    switch (t.kind) {
    case QM_TAG_MORE: return -1;
    case QM_TAG_PARAMETER: begin_value(c, &t); return (long)t.len;
    case QM_TAG_PARAMETER_END: return (long)t.len; /* once too often */
    case QM_TAG_NONE: /* cannot be: what ended the value has been seen to stand before a tag */
        c->state = QM_CALLS_TEXT;
        return 0;
    default: end_call(c); return 0; /* the frame's end, or another call: after_step's */
    }
}

/* What follows a tag that may end a value: 1: the value ends there; 0: it is a part of it; -1: it takes more to tell. Of the
 * closing tag of a value nothing but a tag of the call can follow, of that of a call the answer's end or another call. */
static int ends_before(const qm_calls *c, qm_tag_kind closed, const char *s, size_t n, int end) {
    for (int again = 0; again < 3; again++) {
        size_t i = qm_calls_spaces(s, n);
        if (i == n) return end ? 1 : -1;
        qm_tag t = qm_calls_tag(c, s + i, n - i);
        if (t.kind == QM_TAG_MORE) return end ? 1 : -1;
        if (t.kind == QM_TAG_CALL) return 1;
        if (closed == QM_TAG_CALL_END) return 0;
        if (t.kind == QM_TAG_CALL_END) return 1;
        if (closed == QM_TAG_FUNCTION_END || t.kind == QM_TAG_NONE) return 0;
        if (t.kind != QM_TAG_PARAMETER_END) return 1;
        if (c->value.opens) return 0; /* the first closes what the value has opened */
        s += i + t.len;
        n -= i + t.len;
    }
    return 0;
}

/* Whether the value ends at s, which begins with a line's end or <: the bytes of its end, the tag after it not included; 0: no;
 * -1: it takes more to tell. Where its own closing tag is missing, it must end in a line's end. */
static long value_end(const qm_calls *c, const char *s, size_t n, int end) {
    const size_t line = s[0] == '\n';
    if (n == line) return end ? 0 : -1;
    qm_tag t = qm_calls_tag(c, s + line, n - line);
    int yes = 0;
    switch (t.kind) {
    case QM_TAG_MORE: return end ? 0 : -1;
    case QM_TAG_PARAMETER_END:
        yes = ends_before(c, t.kind, s + line + t.len, n - line - t.len, end);
        return yes > 0 ? (long)(line + t.len) : yes;
    case QM_TAG_PARAMETER:
        yes = line && qm_call_declares(c->tool, t.name, t.n_name) && !json_object_getn(c->seen, t.name, t.n_name);
        break;
    case QM_TAG_FUNCTION_END:
    case QM_TAG_CALL_END:
        if (line) yes = ends_before(c, t.kind, s + line + t.len, n - line - t.len, end);
        break;
    default: break;
    }
    return yes > 0 ? (long)line : yes;
}

/* <parameter ...>, as XML has it, and its closing tag within a value. 0, or -1: it takes more to tell. */
static int count_open(qm_value *v, const char *s, size_t n, int end) {
    static const char open[] = "<parameter", close[] = "</parameter>";
    const size_t n_open = sizeof open - 1, n_close = sizeof close - 1;
    if (n <= n_open && !memcmp(s, open, n)) return end ? 0 : -1;
    if (n > n_open && !memcmp(s, open, n_open) && (qm_calls_space(s[n_open]) || s[n_open] == '>')) v->opens++;
    if (v->opens && n >= n_close && !memcmp(s, close, n_close)) v->opens--;
    return 0;
}

long qm_xml_value_step(qm_calls *c, const char *s, size_t n, int end) {
    qm_value *v = &c->value;
    size_t k = 0;
    if (s[0] == '\n' || s[0] == '<') {
        long len = value_end(c, s, n, end);
        if (len < 0) return -1;
        if (len > 0) {
            end_value(c);
            return len;
        }
        if (s[0] == '<' && count_open(v, s, n, end)) return -1;
        if (s[0] == '\n' && !v->begun) { /* the one that belongs to the tag */
            v->begun = 1;
            return 1;
        }
        k = 1;
    }
    while (k < n && s[k] != '\n' && s[k] != '<') k++;
    put_value(c, s, k);
    return (long)k;
}

/* The answer ends in a call: its parameters are whole, the next one's name is cut, or its value. */
void qm_xml_call_cut(qm_calls *c) {
    const qm_value *v = &c->value;
    if (c->state == QM_CALLS_GAP && (!c->in.n || (c->in.n > 1 && c->in.s[1] == '/'))) end_call(c);
    else if (c->state == QM_CALLS_GAP && memchr(c->in.s, '=', c->in.n)) qm_calls_text(c, c->in.s, c->in.n);
    else if (c->state == QM_CALLS_VALUE && !v->stream && v->raw.n) {
        put(c, "\"");
        put_escaped(c, v->raw.s, v->raw.n);
    }
}
