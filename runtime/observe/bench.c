/* bench.c: the tests of llama-bench on an engine: timed by the host's clock, from the moment the tokens are
 * handed over until the last sampled one is back. */
#include "bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../base/rng.h"
#include "../device/prof.h"

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void qm_bench_stats(const uint64_t *ns, uint32_t n, uint32_t tokens, qm_bench_result *r) {
    double sum[2] = {0, 0}, sq[2] = {0, 0};
    for (uint32_t i = 0; i < n; i++) {
        sum[0] += (double)ns[i];
        sum[1] += 1e9 * tokens / (double)(ns[i] ? ns[i] : 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        double a = (double)ns[i] - sum[0] / n, b = 1e9 * tokens / (double)(ns[i] ? ns[i] : 1) - sum[1] / n;
        sq[0] += a * a;
        sq[1] += b * b;
    }
    r->avg_ns = sum[0] / n;
    r->avg_ts = sum[1] / n;
    r->stddev_ns = n > 1 ? sqrt(sq[0] / (n - 1)) : 0;
    r->stddev_ts = n > 1 ? sqrt(sq[1] / (n - 1)) : 0;
}

int qm_bench_step_bytes(qm_engine *g, uint32_t pos, int logits, uint64_t *weight_bytes, uint64_t *kv_bytes, qm_err *e) {
    const qm_plan *p;
    int rc = qm_engine_plan(g, pos, logits, &p, e);
    if (rc) return rc;
    uint64_t layers = 0; /* a step without logits ends before the last layer's attention */
    for (int i = 0; i < p->n_ops; i++) layers += p->ops[i].kind == QM_OP_ATTN;
    *weight_bytes = p->weight_bytes;
    *kv_bytes = layers * (pos + 1ull) * 2 * qm_kv_page_bytes(&g->model->hp, g->limits.kv_type) / QM_PAGE_TOKENS;
    return 0;
}

/* ---- reaching a depth ---- */

/* f16 bits, either sign, magnitudes 1/16 .. 1. */
static void random_halves(uint16_t *v, size_t n, uint64_t seed) {
    qm_rng r = {seed};
    for (size_t i = 0; i < n; i++) {
        uint32_t x = qm_rng_u32(&r);
        v[i] = (uint16_t)((x & 0x8000u) | (0x2c00u + (x >> 16 & 0x0fffu)));
    }
}

/* The whole pool: a chunk comes from the host, the rest is copied from it on the device, doubling. */
enum { CHUNK_BYTES = 4 << 20 };
static int fill_pool(qm_session *s, uint64_t seed, qm_err *e) {
    qm_engine *g = s->g;
    qm_device *d = g->dev;
    uint64_t total = g->info.kv_bytes, have = total < CHUNK_BYTES ? total : CHUNK_BYTES;
    const qm_plan *p;
    int rc = qm_engine_plan(g, 0, 1, &p, e);
    if (rc) return rc;
    uint16_t *chunk = malloc(CHUNK_BYTES);
    if (!chunk) return qm_fail(e, QM_ERR_NOMEM, "bench: out of memory");
    random_halves(chunk, CHUNK_BYTES / 2, seed);
    if (!d) {
        char *pool = (char *)(uintptr_t)qm_ref_bases(g, s->seq).base[QM_SPACE_KV];
        for (uint64_t at = 0; at < total; at += have) memcpy(pool + at, chunk, total - at < have ? total - at : have);
        goto out;
    }
    CUdeviceptr pool = qm_graph_address(g, s->seq, p, QM_REF(QM_SPACE_KV, 0));
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

/* ids[from ..] of a session, n of them. */
static void random_ids(qm_session *s, uint32_t from, uint32_t n, uint64_t seed) {
    qm_rng r = {seed};
    for (uint32_t i = 0; i < n; i++) s->ids[from + i] = qm_rng_below(&r, s->g->model->hp.n_vocab);
}

int qm_session_fill(qm_session *s, uint32_t n, uint64_t seed, qm_err *e) {
    qm_engine *g = s->g;
    int rc = 0;
    if (s->n) return qm_fail(e, QM_ERR_ARG, "session: filling one that holds %u tokens", s->n);
    if (n > g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "a depth of %u exceeds the context of %u", n, g->limits.n_ctx);
    if (!n) return 0;
    if ((rc = qm_session_pages(s, qm_pages_for(n), e)) || (rc = fill_pool(s, seed, e))) return rc;
    random_ids(s, 0, n, seed);
    if ((rc = g->exec->put_tokens(g, s->seq, 0, s->ids, n, e))) return rc;
    s->n = s->n_cached = n;
    return 0;
}

static int reach(qm_session *s, const qm_bench_test *t, qm_err *e) {
    QM_PROF_SCOPE(QM_PROF_BENCH, "depth");
    if (!t->prefill || !t->depth) return qm_session_fill(s, t->depth, t->seed, e);
    uint32_t id;
    random_ids(s, 0, t->depth, t->seed);
    s->n = t->depth;
    int rc = qm_session_prefill(s, NULL, e);
    return rc ? rc : qm_session_result(s, s->n - 1, &id, e);
}

/* ---- runs ---- */

/* ns and first_ns: of this run, from the moment the tokens are handed over. */
static int run_prompt(qm_session *s, const qm_bench_test *t, uint64_t *ns, uint64_t *first_ns, qm_err *e) {
    uint32_t id;
    random_ids(s, t->depth, t->n_prompt, t->seed + 1);
    uint64_t start = now_ns();
    s->n = t->depth + t->n_prompt;
    int rc = qm_session_prefill(s, NULL, e);
    if (!rc) rc = qm_session_result(s, s->n - 1, &id, e);
    *ns = *first_ns = now_ns() - start;
    return rc;
}

/* The loop of qm_generate without its text: the device feeds itself, the host looks at every token. */
static int run_gen(qm_session *s, const qm_bench_test *t, uint64_t *ns, uint64_t *first_ns, qm_err *e) {
    uint32_t first = t->depth, issued = 0;
    random_ids(s, first, 1, t->seed + 1);
    uint64_t start = now_ns();
    int rc = qm_session_pages(s, qm_pages_for((uint64_t)first + t->n_gen), e); /* once and for all runs */
    if (!rc) rc = s->g->exec->put_tokens(s->g, s->seq, first, s->ids + first, 1, e);
    s->n = first + 1;
    for (uint32_t i = 0; i < t->n_gen && !rc; i++) {
        for (; issued < t->n_gen && issued < i + QM_RUN_AHEAD && !rc; issued++)
            rc = qm_session_step(s, first + issued, 1, e);
        if (rc || (rc = qm_session_result(s, first + i, &s->ids[first + i + 1], e))) break;
        s->n = first + i + 2;
        s->n_cached = first + i + 1;
        if (i == 0) *first_ns = now_ns() - start;
    }
    *ns = now_ns() - start;
    return rc;
}

static int run_once(qm_session *s, const qm_bench_test *t, uint64_t *ns, uint64_t *first_ns, qm_err *e) {
    int rc = qm_session_truncate(s, t->depth, e);
    if (rc) return rc;
    QM_PROF_SCOPE(QM_PROF_BENCH, t->n_prompt ? "pp" : "tg");
    return t->n_prompt ? run_prompt(s, t, ns, first_ns, e) : run_gen(s, t, ns, first_ns, e);
}

static int average_bytes(qm_engine *g, const qm_bench_test *t, qm_bench_result *r, qm_err *e) {
    uint32_t n = t->n_prompt + t->n_gen;
    double w = 0, kv = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t a, b;
        int rc = qm_bench_step_bytes(g, t->depth + i, t->n_gen || i == n - 1, &a, &b, e);
        if (rc) return rc;
        w += (double)a;
        kv += (double)b;
    }
    r->weight_bytes = w / n;
    r->kv_bytes = kv / n;
    return 0;
}

int qm_bench_run(qm_engine *g, const qm_bench_test *t, uint64_t *samples_ns, qm_bench_result *r, qm_err *e) {
    uint32_t n = t->n_prompt + t->n_gen;
    qm_session *s = NULL;
    uint64_t ns = 0, first = 0;
    double first_sum = 0;
    int rc;
    memset(r, 0, sizeof *r);
    if (!n || (t->n_prompt && t->n_gen) || !t->reps)
        return qm_fail(e, QM_ERR_ARG, "bench: %u tokens of prompt, %u to generate, %u runs", t->n_prompt, t->n_gen,
                       t->reps);
    if ((uint64_t)t->depth + n > g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "%u tokens behind a depth of %u exceed the context of %u", n, t->depth,
                       g->limits.n_ctx);
    if ((rc = qm_session_open(&s, g, e)) || (rc = average_bytes(g, t, r, e)) || (rc = reach(s, t, e))) goto out;
    if (t->warmup && (rc = run_once(s, t, &ns, &first, e))) goto out;
    for (uint32_t i = 0; i < t->reps; i++) {
        if ((rc = run_once(s, t, &samples_ns[i], &first, e))) goto out;
        first_sum += (double)first;
    }
    qm_bench_stats(samples_ns, t->reps, n, r);
    r->first_token_ns = first_sum / t->reps;
out:
    qm_session_close(s);
    return rc;
}
