/* answer.c: an answer from its bytes: whole characters and stop strings (emitter.c), thinking (think.c), calls (calls.c). */
#include "calls.h"
#include "emitter.h"

struct qm_answer {
    qm_emitter emitter;
    qm_think think;
    int thinking;   /* is looked for */
    int thought;    /* something of it has come */
    qm_bytes space; /* white space that may end the thinking */
    qm_calls calls;
    int has_calls;
    int trim; /* white space after the thinking is still to be dropped */
    qm_parts parts;
    int ended;
};

/* Text after the thinking. */
static void put_text(qm_answer *a, const char *s, size_t n) {
    while (a->trim && n && qm_calls_space(*s)) s++, n--;
    if (!n) return;
    a->trim = 0;
    if (a->has_calls) qm_calls_push(&a->calls, s, n);
    else qm_parts_put(&a->parts, QM_PART_TEXT, s, n);
}

/* The white space around it is no part of it. */
static void put_thought(qm_answer *a, const char *s, size_t n) {
    while (n) {
        size_t space = 0, word = 0;
        while (space < n && qm_calls_space(s[space])) space++;
        if (a->thought) qm_bytes_put(&a->space, s, space);
        s += space;
        n -= space;
        while (word < n && !qm_calls_space(s[word])) word++;
        if (word) {
            qm_parts_put(&a->parts, QM_PART_THINKING, a->space.s, a->space.n);
            qm_parts_put(&a->parts, QM_PART_THINKING, s, word);
            a->space.n = 0;
            a->thought = 1;
        }
        s += word;
        n -= word;
    }
}

static int on_think(void *user, qm_think_kind kind, const char *s, size_t n) {
    qm_answer *a = user;
    if (kind == QM_THINK_TAG) a->trim = 1;
    else if (kind == QM_THINK_THOUGHT) put_thought(a, s, n);
    else put_text(a, s, n);
    return a->parts.rc;
}

int qm_answer_open(qm_answer **out, const qm_answer_opts *o, qm_err *e) {
    *out = NULL;
    qm_answer *a = calloc(1, sizeof *a);
    if (!a) return qm_fail(e, QM_ERR_NOMEM, "answer: out of memory");
    a->parts = (qm_parts){.out = o->out, .user = o->user};
    a->thinking = o->thinking;
    qm_think_begin(&a->think, o->thinking == 2, on_think, a);
    int rc = qm_emitter_open(&a->emitter, o->stop, o->n_stop, e);
    if (!rc && o->tools) {
        if (!(rc = qm_calls_open(&a->calls, o->tools, &a->parts, e))) a->has_calls = 1;
        if (!rc && !a->calls.tools.longest) { /* an empty array */
            qm_calls_close(&a->calls);
            a->has_calls = 0;
        }
    }
    if (rc) qm_answer_close(a);
    else *out = a;
    return rc;
}

void qm_answer_close(qm_answer *a) {
    if (!a) return;
    qm_emitter_close(&a->emitter);
    if (a->has_calls) qm_calls_close(&a->calls);
    qm_bytes_free(&a->space);
    qm_bytes_free(&a->parts.wait);
    free(a);
}

static int take(qm_answer *a, const char *s, size_t n, int last) {
    if (a->ended) return a->parts.rc ? a->parts.rc : a->emitter.stopped ? 1 : 0;
    const char *text;
    size_t n_text;
    int stop = qm_emitter_push(&a->emitter, s, n, last, &text, &n_text, NULL);
    if (stop < 0) return stop;
    last |= stop;
    if (a->thinking) {
        if (n_text) qm_think_push(&a->think, text, n_text);
        if (last && !a->parts.rc) qm_think_end(&a->think);
    } else put_text(a, text, n_text);
    if (last && a->has_calls && !a->parts.rc) qm_calls_end(&a->calls);
    qm_parts_flush(&a->parts);
    a->ended = last || a->parts.rc;
    if (a->parts.rc) return a->parts.rc;
    if (a->space.failed || a->parts.wait.failed || (a->has_calls && qm_calls_failed(&a->calls))) return QM_ERR_NOMEM;
    return stop;
}

int qm_answer_push(qm_answer *a, const char *s, size_t n) { return take(a, s, n, 0); }

int qm_answer_end(qm_answer *a) { return take(a, "", 0, 1); }

int qm_answer_calls(const qm_answer *a) { return a->parts.calls; }

const char *qm_answer_stopped(const qm_answer *a) { return a->emitter.stopped; }
