/* generate.c: prompt in, tokens and text out. The device feeds itself (sampling writes the next token
 * where embed reads it); the host keeps QM_RUN_AHEAD steps enqueued and only looks at results. */
#include <stdlib.h>
#include <string.h>
#include "../base/hash.h"
#include "../device/prof.h"
#include "../text/emitter.h"
#include "schedule.h"

const char *qm_finish_name(qm_finish f) {
    static const char *const names[] = {"none", "eog", "stop", "length", "context", "callback", "cancelled", "error"};
    return names[f];
}

typedef struct {
    const qm_gen_opts *o;
    qm_emitter out;
} emitter;

/* Takes a token's bytes; gives out what is safe. *f: why the answer ends here, where it does. */
static int emit(emitter *m, uint32_t id, const char *bytes, size_t n, int last, qm_finish *f, qm_err *e) {
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "text");
    const char *text;
    size_t out;
    int stop = qm_emitter_push(&m->out, bytes, n, last, &text, &out, e);
    if (stop < 0) return stop;
    int said_stop = m->o->on_token && (id != UINT32_MAX || out) ? m->o->on_token(m->o->user, id, text, out) : 0;
    if (stop) *f = QM_FINISH_STOP;
    else if (said_stop && !last) *f = QM_FINISH_CALLBACK;
    return 0;
}

static int check_prompt(const qm_session *s, const uint32_t *prompt, size_t n, const qm_gen_opts *o, qm_err *e) {
    const qm_engine *g = s->g;
    if (n == 0) return qm_fail(e, QM_ERR_ARG, "the prompt is empty");
    uint64_t need = (uint64_t)s->n + n + o->max_tokens;
    if (need > g->limits.n_ctx || (uint64_t)s->n + n + 1 > g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "%u tokens held + %zu of prompt + %u to generate exceed the context of %u",
                       s->n, n, o->max_tokens, g->limits.n_ctx);
    uint32_t pages = qm_pages_for(need);
    if (pages > s->n_pages + g->kv.n_free)
        return qm_fail(e, QM_ERR_LIMIT,
                       "%llu tokens need %u pages of KV cache, but this sequence holds %u and only "
                       "%u of %u pages are free",
                       (unsigned long long)need, pages, s->n_pages, g->kv.n_free, g->kv.n_pages);
    for (size_t i = 0; i < n; i++)
        if (prompt[i] >= g->model->hp.n_vocab)
            return qm_fail(e, QM_ERR_ARG, "prompt token %zu: id %u is outside the vocabulary of %u", i, prompt[i],
                           g->model->hp.n_vocab);
    return 0;
}

/* The decode loop. On entry the last prompt position is computed, and its result, token 0, at hand: decoding is what
 * comes after it, also where a device does its work while it is given it. */
static int decode(qm_session *s, emitter *m, qm_gen_stats *st, double start, qm_err *e) {
    const qm_engine *g = s->g;
    const qm_gen_opts *o = m->o;
    uint32_t first = s->n; /* position of the first generated token */
    uint32_t room = g->limits.n_ctx - first;
    uint32_t want = o->max_tokens && o->max_tokens < room ? o->max_tokens : room;
    uint32_t issued = 1; /* results on their way: the prompt's last step gives token 0 */
    const double first_time = qm_now();
    int rc = 0;
    st->first_token_s = first_time - start;
    QM_PROF_SCOPE(QM_PROF_DECODE, "decode");
    for (uint32_t i = 0; i < want && st->finish == QM_FINISH_NONE; i++) {
        while (issued < want && issued <= i + QM_RUN_AHEAD - 1) {
            const uint32_t pos = first + issued - 1;
            if ((rc = qm_schedule_step(s->g, &(qm_want){s, pos, pos + 1, first + want, 1, 0}, 1, e))) return rc;
            issued++;
        }
        uint32_t id;
        if ((rc = qm_session_result(s, first + i - 1, &id, e))) return rc;
        st->n_generated++;
        s->ids[s->n++] = id;
        s->n_cached = s->n - 1;
        if (qm_token_is_eog(g->tok, id) && !o->ignore_eos) {
            st->finish = QM_FINISH_EOG;
            if (o->on_token) o->on_token(o->user, id, "", 0); /* the answer is complete, whatever it says */
            break;
        }
        size_t n;
        const char *bytes = qm_token_answer(g->tok, id, &n);
        if ((rc = emit(m, id, bytes, n, 0, &st->finish, e))) return rc;
    }
    st->decode_s = qm_now() - first_time;
    if (st->finish == QM_FINISH_NONE)
        st->finish = want == room && want != o->max_tokens ? QM_FINISH_CONTEXT : QM_FINISH_LENGTH;
    if (st->finish != QM_FINISH_STOP && st->finish != QM_FINISH_CALLBACK) {
        qm_finish ignored = QM_FINISH_NONE;
        rc = emit(m, UINT32_MAX, "", 0, 1, &ignored, e);
        if (ignored == QM_FINISH_STOP) st->finish = QM_FINISH_STOP;
    }
    return rc;
}

int qm_generate(qm_session *s, const uint32_t *prompt, size_t n_prompt, const qm_gen_opts *o, qm_gen_stats *st,
                qm_err *e) {
    memset(st, 0, sizeof *st);
    int rc = check_prompt(s, prompt, n_prompt, o, e);
    if (rc) return rc;
    uint32_t vocab = s->g->model->hp.n_vocab;
    float *logits = malloc((size_t)vocab * sizeof *logits);
    if (!logits) return qm_fail(e, QM_ERR_NOMEM, "generate: out of memory");
    emitter m = {.o = o};
    if ((rc = qm_emitter_open(&m.out, o->stop, o->n_stop, e))) {
        free(logits);
        return rc;
    }
    double start = qm_now();
    st->n_prompt = (uint32_t)n_prompt;
    qm_session_note(s, NULL, NULL);
    memcpy(s->ids + s->n, prompt, n_prompt * sizeof *prompt);
    s->n += (uint32_t)n_prompt;
    uint32_t id;
    if ((rc = qm_session_prefill(s, &(qm_watch){o->on_prefill, o->user}, e))) goto out;
    if ((rc = qm_session_result(s, s->n - 1, &id, e))) goto out;
    if ((rc = qm_session_logits(s, logits, e))) goto out;
    st->prefill_s = qm_now() - start;
    st->logits_hash = qm_fnv1a(logits, (size_t)vocab * sizeof *logits);
    rc = decode(s, &m, st, start, e);
out:
    qm_session_trim(s);
    free(logits);
    qm_emitter_close(&m.out);
    return rc;
}
