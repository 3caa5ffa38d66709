/* calls.c: see calls.h. Text is looked through for what begins a call; each step decides by as many bytes as it needs, and
 * what it needs is bounded: so nothing depends on how the text was cut, and nothing is read more than a few times. */
#include "calls.h"

int qm_calls_open(qm_calls *c, const char *tools, qm_parts *to, qm_err *e) {
    *c = (qm_calls){.to = to, .fresh = 1};
    int rc = qm_call_tools_open(&c->tools, tools, e);
    if (rc) return rc;
    if (!(c->seen = json_object())) {
        qm_call_tools_close(&c->tools);
        return qm_fail(e, QM_ERR_NOMEM, "answer: out of memory");
    }
    return 0;
}

void qm_calls_close(qm_calls *c) {
    qm_call_tools_close(&c->tools);
    json_decref(c->seen);
    qm_json_call_free(&c->call);
    qm_bytes_free(&c->value.raw);
    qm_bytes_free(&c->raw);
    qm_bytes_free(&c->space);
    qm_bytes_free(&c->in);
}

int qm_calls_failed(const qm_calls *c) {
    return c->in.failed || c->space.failed || c->raw.failed || c->value.raw.failed || c->call.text.failed ||
           c->call.args.failed || c->call.json.wait.failed;
}

/* <function=NAME>, and after it what can only stand in a call. */
static long function_step(qm_calls *c, size_t from, const char *s, size_t n) {
    qm_tag f = qm_calls_tag(c, s + from, n - from);
    if (f.kind == QM_TAG_MORE) return -1;
    if (f.kind != QM_TAG_FUNCTION) return 0;
    size_t i = from + f.len;
    i += qm_calls_spaces(s + i, n - i);
    if (i == n) return -1;
    qm_tag next = qm_calls_tag(c, s + i, n - i);
    if (next.kind == QM_TAG_MORE) return -1;
    if (next.kind != QM_TAG_PARAMETER && next.kind != QM_TAG_FUNCTION_END && next.kind != QM_TAG_CALL_END) return 0;
    qm_xml_call_begin(c, &f);
    return (long)i;
}

/* What begins a call at s: how long it is, 0: it is none, -1: it takes more to tell. */
static long call_step(qm_calls *c, const char *s, size_t n) {
    qm_tag t = qm_calls_tag(c, s, n);
    if (t.kind == QM_TAG_MORE) return -1;
    if (t.kind == QM_TAG_FUNCTION && (c->fresh || (c->space.n && memchr(c->space.s, '\n', c->space.n))))
        return function_step(c, 0, s, n);
    if (t.kind != QM_TAG_CALL) return 0;
    size_t i = t.len + qm_calls_spaces(s + t.len, n - t.len);
    if (i == n) return -1;
    if (s[i] != '{') return function_step(c, i, s, n);
    qm_json_call_begin(c, s, i);
    return (long)i;
}

static long text_step(qm_calls *c, const char *s, size_t n, int end) {
    size_t k = 0;
    while (k < n && qm_calls_space(s[k])) k++;
    qm_bytes_put(&c->space, s, k);
    if (k) return (long)k;
    if (s[0] == '<') {
        long len = call_step(c, s, n);
        if (len > 0 || (len < 0 && !end)) return len;
        k = 1;
    }
    while (k < n && s[k] != '<' && !qm_calls_space(s[k])) k++;
    qm_calls_text(c, s, k);
    return (long)k;
}

/* Behind a call: what is left of its frame, or another one in the same frame. */
static long after_step(qm_calls *c, const char *s, size_t n, int end) {
    if (qm_calls_space(s[0]) || (c->json && s[0] == '}')) return 1;
    if (c->json && s[0] == '{') {
        qm_json_call_begin(c, s, 0);
        return 0;
    }
    qm_tag t = qm_calls_tag(c, s, n);
    if (t.kind == QM_TAG_MORE && !end) return -1;
    if (t.kind == QM_TAG_MORE && n > 1 && s[1] == '/') return (long)n; /* a closing tag that is cut */
    if (t.kind == QM_TAG_CALL_END) c->json = 0;
    if (t.kind == QM_TAG_CALL_END || t.kind == QM_TAG_FUNCTION_END || t.kind == QM_TAG_PARAMETER_END)
        return (long)t.len;
    c->state = QM_CALLS_TEXT;
    return 0;
}

static long step(qm_calls *c, const char *s, size_t n, int end) {
    switch (c->state) {
    case QM_CALLS_TEXT: return text_step(c, s, n, end);
    case QM_CALLS_JSON: return qm_json_call_step(c, s, n, end);
    case QM_CALLS_GAP: return qm_xml_gap_step(c, s, n);
    case QM_CALLS_VALUE: return qm_xml_value_step(c, s, n, end);
    default: return after_step(c, s, n, end);
    }
}

static void run(qm_calls *c, int end) {
    size_t at = 0;
    while (at < c->in.n && !c->to->rc && !qm_calls_failed(c)) {
        long k = step(c, c->in.s + at, c->in.n - at, end);
        if (k < 0) break;
        at += (size_t)k;
    }
    if (at) memmove(c->in.s, c->in.s + at, c->in.n -= at);
}

void qm_calls_push(qm_calls *c, const char *s, size_t n) {
    qm_bytes_put(&c->in, s, n);
    run(c, 0);
}

void qm_calls_end(qm_calls *c) {
    run(c, 1);
    if (c->state == QM_CALLS_JSON) qm_json_call_cut(c);
    else if (c->state == QM_CALLS_GAP || c->state == QM_CALLS_VALUE) qm_xml_call_cut(c);
    if (!c->touching && c->space.n) qm_calls_text(c, "", 0);
}
