/* inside_session.c: sessions for measuring (inside.h): a prompt, a run of tokens, a depth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/rng.h"
#include "inside_means.h"
#include "schedule.h"

/* ids [n] behind what the session holds, not computed. */
static int take(qm_session *s, const uint32_t *ids, uint32_t n, qm_err *e) {
    const qm_engine *g = s->g;
    if (!n || (uint64_t)s->n + n > g->limits.n_ctx)
        return qm_fail(e, n ? QM_ERR_LIMIT : QM_ERR_ARG, "%u tokens behind %u exceed the context of %u", n, s->n,
                       g->limits.n_ctx);
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= g->model->hp.n_vocab)
            return qm_fail(e, QM_ERR_ARG, "token %u: id %u is outside the vocabulary of %u", s->n + i, ids[i],
                           g->model->hp.n_vocab);
    qm_session_note(s, NULL, NULL);
    memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
    return 0;
}

int qm_inside_append(qm_session *s, const uint32_t *ids, uint32_t n, const qm_watch *watch, uint32_t *next, qm_err *e) {
    int rc = take(s, ids, n, e);
    if (!rc) rc = qm_session_prefill(s, watch, e);
    return rc || !next ? rc : qm_session_result(s, s->n - 1, next, e);
}

/* Of scored rows no flag tells: they choose nothing. */
static int sound(const float *l, uint32_t n, uint32_t pos, qm_err *e) {
    for (uint32_t i = 0; i < n; i++)
        if (isnan(l[i]) || l[i] == INFINITY) return qm_session_sick(pos, e);
    return 0;
}

int qm_inside_score(qm_session *s, const uint32_t *ids, uint32_t n, const qm_watch *watch, qm_logits_fn on_logits,
                    void *user, qm_err *e) {
    const uint32_t from = s->n, n_vocab = s->g->model->hp.n_vocab;
    int rc = take(s, ids, n, e);
    if (rc) return rc;
    qm_want want = {s, from, s->n, s->n, QM_SCORE, 0};
    float *l = malloc(4ull * n_vocab);
    rc = l ? qm_session_pages(s, qm_pages_for(s->n), e) : qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    while (!rc && want.next < want.end) {
        const uint32_t first = want.next, left = want.end - first, most = s->g->limits.n_rows;
        /* step by step: one of a single row always chooses, and what it chose stands where the next token goes */
        rc = s->g->exec->put_tokens(s->g, s->seq, first, s->ids + first, left < most ? left : most, e);
        if (rc) break;
        if (watch && watch->on_prefill && watch->on_prefill(watch->user, first - from, n))
            rc = qm_fail(e, QM_ERR_CANCELLED, "cancelled after %u of %u positions", first - from, n);
        if (!rc) rc = qm_schedule_step(s->g, &want, 1, e);
        for (uint32_t i = 0; !rc && i < want.next - first; i++) {
            if ((rc = s->g->exec->outs(s->g, i, 1, l, e)) || (rc = sound(l, n_vocab, first + i, e))) break;
            if (on_logits(user, first - from + i, l))
                rc = qm_fail(e, QM_ERR_CANCELLED, "cancelled after %u of %u positions", first - from + i, n);
        }
        if (!rc) s->n_cached = want.next;
    }
    if (rc) s->n = s->n_cached;
    free(l);
    return rc;
}

int qm_inside_decode(qm_session *s, uint32_t first, uint32_t n, void (*on_token)(void *user, uint32_t i, uint32_t id),
                     void *user, qm_err *e) {
    qm_engine *g = s->g;
    const uint32_t from = s->n;
    uint32_t issued = 0;
    if ((uint64_t)from + n > g->limits.n_ctx || first >= g->model->hp.n_vocab)
        return qm_fail(e, QM_ERR_ARG, "%u tokens from token %u on behind %u: the context is %u, the vocabulary %u", n,
                       first, from, g->limits.n_ctx, g->model->hp.n_vocab);
    qm_session_note(s, NULL, NULL);
    s->ids[from] = first;
    int rc = qm_session_pages(s, qm_pages_for((uint64_t)from + n), e);
    if (!rc) rc = g->exec->put_tokens(g, s->seq, from, s->ids + from, 1, e);
    if (rc) return rc;
    s->n = from + 1;
    for (uint32_t i = 0; i < n && !rc; i++) {
        for (; issued < n && issued < i + QM_RUN_AHEAD && !rc; issued++) rc = qm_session_step(s, from + issued, 1, e);
        if (rc || (rc = qm_session_result(s, from + i, &s->ids[from + i + 1], e))) break;
        s->n = from + i + 2;
        s->n_cached = from + i + 1;
        if (on_token) on_token(user, i, s->ids[from + i + 1]);
    }
    return rc;
}

/* ---- several sessions ---- */
/* The wants of n_s sessions that hold what is to be computed: steps until all are done. Where they are more than a step has
 * rows, those in front are done first. */
static int steps(qm_session *const *s, qm_want *w, uint32_t n_s, qm_err *e) {
    int rc = 0;
    for (uint32_t done = 0; done < n_s && !rc;) {
        while (done < n_s && w[done].next == w[done].end) done++;
        if (done < n_s) rc = qm_schedule_step(s[0]->g, w + done, n_s - done, e);
    }
    return rc;
}

/* ids [n] of each session behind what it holds, with pages up to n_more positions after them. */
static int take_all(qm_session *const *s, uint32_t n_s, const uint32_t *ids, uint32_t n, uint32_t n_more, qm_want **w,
                    qm_err *e) {
    int rc = 0;
    if (!(*w = calloc(n_s ? n_s : 1, sizeof **w))) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    for (uint32_t i = 0; i < n_s && !rc; i++) {
        const uint32_t from = s[i]->n, *mine = ids + (size_t)i * n;
        if ((rc = take(s[i], mine, n, e))) break;
        (*w)[i] = (qm_want){s[i], from, from + n, from + n + n_more, QM_DRAW, 0};
        rc = (uint64_t)from + n + n_more > s[i]->g->limits.n_ctx
                 ? qm_fail(e, QM_ERR_LIMIT, "%u tokens behind %u exceed the context of %u", n + n_more, from,
                           s[i]->g->limits.n_ctx)
                 : qm_session_pages(s[i], qm_pages_for((uint64_t)from + n + n_more), e);
        if (!rc) rc = s[i]->g->exec->put_tokens(s[i]->g, s[i]->seq, from, mine, n, e);
        if (rc) s[i]->n = from;
    }
    return rc;
}

int qm_inside_append_all(qm_session *const *s, uint32_t n_s, const uint32_t *ids, uint32_t n, uint32_t *next,
                         qm_err *e) {
    qm_want *w;
    int rc = take_all(s, n_s, ids, n, 0, &w, e);
    if (!rc) rc = steps(s, w, n_s, e);
    for (uint32_t i = 0; i < n_s && !rc; i++) {
        s[i]->n_cached = s[i]->n;
        rc = qm_session_result(s[i], s[i]->n - 1, &next[i], e);
    }
    for (uint32_t i = 0; i < n_s && rc; i++) s[i]->n = s[i]->n_cached;
    free(w);
    return rc;
}

int qm_inside_decode_all(qm_session *const *s, uint32_t n_s, const uint32_t *first, uint32_t n,
                         void (*on_token)(void *user, uint32_t i, uint32_t id), void *user, qm_err *e) {
    qm_want *w;
    uint32_t issued = 0;
    int rc = take_all(s, n_s, first, 1, n ? n - 1 : 0, &w, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        for (; issued < n && issued < i + QM_RUN_AHEAD && !rc; issued++) {
            rc = steps(s, w, n_s, e);
            for (uint32_t k = 0; k < n_s; k++) w[k].end = w[k].next + 1;
        }
        uint32_t id = 0;
        for (uint32_t k = 0; k < n_s && !rc; k++) {
            qm_session *x = s[k];
            if ((rc = qm_session_result(x, x->n - 1, &id, e))) break;
            x->ids[x->n] = id;
            x->n_cached = x->n++;
        }
        if (!rc && on_token) on_token(user, i, id);
    }
    free(w);
    return rc;
}

/* ---- a depth ---- */
/* f16 bits, either sign, magnitudes 1/16 .. 1: finite keys and values in every type of the cache, whose scales are
 * f16. */
static void random_halves(uint16_t *v, size_t n, uint64_t seed) {
    qm_rng r = {seed};
    for (size_t i = 0; i < n; i++) {
        uint32_t x = qm_rng_u32(&r);
        v[i] = (uint16_t)((x & 0x8000u) | (0x2c00u + (x >> 16 & 0x0fffu)));
    }
}

/* The whole pool: a chunk comes from the host, the rest is copied from it, on a device doubling. */
enum { CHUNK_BYTES = 4 << 20 };
static int fill_pool(qm_session *s, uint64_t seed, qm_err *e) {
    qm_engine *g = s->g;
    qm_device *d = g->dev;
    uint64_t total = g->info.kv_bytes, have = total < CHUNK_BYTES ? total : CHUNK_BYTES;
    uint64_t pool = g->exec->inside->bases(g, s->seq).base[QM_SPACE_KV];
    int rc = 0;
    uint16_t *chunk = malloc(CHUNK_BYTES);
    if (!chunk) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    random_halves(chunk, CHUNK_BYTES / 2, seed);
    qm_pages_forget(&g->kv);
    if (!d) {
        for (uint64_t at = 0; at < total; at += have)
            memcpy((char *)(uintptr_t)pool + at, chunk, total - at < have ? total - at : have);
        goto out;
    }
    QM_CU_TRY(d, CtxSynchronize()); /* the executor's stream does not wait for the default one */
    QM_CU_TRY(d, MemcpyHtoD(pool, chunk, have));
    for (uint64_t n; have < total; have += n) {
        n = total - have < have ? total - have : have;
        QM_CU_TRY(d, MemcpyDtoDAsync(pool + have, pool, n, NULL));
    }
    QM_CU_TRY(d, CtxSynchronize());
out:
    free(chunk);
    return rc;
}

int qm_inside_fill(qm_session *s, uint32_t n, uint64_t seed, qm_err *e) {
    qm_engine *g = s->g;
    qm_rng r = {seed};
    int rc = 0;
    if (s->n) return qm_fail(e, QM_ERR_ARG, "session: filling one that holds %u tokens", s->n);
    if (n > g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "a depth of %u exceeds the context of %u", n, g->limits.n_ctx);
    if (!n) return 0;
    if ((rc = qm_session_pages(s, qm_pages_for(n), e)) || (rc = fill_pool(s, seed, e))) return rc;
    for (uint32_t i = 0; i < n; i++) s->ids[i] = qm_rng_below(&r, g->model->hp.n_vocab);
    if ((rc = g->exec->put_tokens(g, s->seq, 0, s->ids, n, e))) return rc;
    s->n = s->n_cached = n;
    return 0;
}
