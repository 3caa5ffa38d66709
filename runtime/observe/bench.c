/* bench.c: the tests of llama-bench on an engine: timed by the host's clock, from the moment the tokens are
 * handed over until the last sampled one is back. */
#include "bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../base/rng.h"
#include "../device/prof.h"
#include "op_records.h"

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
    int rc = qm_inside_plan(g, pos, logits, &p, e);
    if (rc) return rc;
    *weight_bytes = p->weight_bytes;
    *kv_bytes = 0;
    for (int i = 0; i < p->n_ops; i++) { /* a step without logits ends before the last layer's attention */
        uint64_t read, written;
        qm_op_kv_bytes(p, &p->ops[i], qm_work_decode(pos), &read, &written);
        *kv_bytes += read;
    }
    return 0;
}

/* n ids, which the caller frees. */
static int random_ids(uint32_t **out, uint32_t n, uint32_t n_vocab, uint64_t seed, qm_err *e) {
    qm_rng r = {seed};
    if (!(*out = malloc(4 * ((size_t)n + 1)))) return qm_fail(e, QM_ERR_NOMEM, "bench: out of memory");
    for (uint32_t i = 0; i < n; i++) (*out)[i] = qm_rng_below(&r, n_vocab);
    return 0;
}

/* ---- runs ---- */
static int reach(qm_session *s, const qm_bench_test *t, const uint32_t *ids, qm_err *e) {
    uint32_t next;
    QM_PROF_SCOPE(QM_PROF_BENCH, "depth");
    if (!t->prefill || !t->depth) return qm_inside_fill(s, t->depth, t->seed, e);
    return qm_inside_append(s, ids, t->depth, NULL, &next, e);
}

static void first_is_here(void *user, uint32_t i, uint32_t id) {
    uint64_t *at = user;
    (void)id;
    if (!i) *at = now_ns();
}

/* ids: of a prompt, or the one token that generation starts from. ns and first_ns: of this run, from the moment the
 * tokens are handed over. */
static int run(qm_session *s, const qm_bench_test *t, const uint32_t *ids, uint64_t *ns, uint64_t *first_ns,
               qm_err *e) {
    uint32_t next;
    uint64_t start = now_ns(), first = start;
    int rc = t->n_prompt ? qm_inside_append(s, ids, t->n_prompt, NULL, &next, e)
                         : qm_inside_decode(s, ids[0], t->n_gen, first_is_here, &first, e);
    *ns = now_ns() - start;
    *first_ns = t->n_prompt ? *ns : first - start;
    return rc;
}

static int run_once(qm_session *s, const qm_bench_test *t, const uint32_t *ids, uint64_t *ns, uint64_t *first_ns,
                    qm_err *e) {
    int rc = qm_session_truncate(s, t->depth, e);
    if (rc) return rc;
    QM_PROF_SCOPE(QM_PROF_BENCH, t->n_prompt ? "pp" : "tg");
    return run(s, t, ids, ns, first_ns, e);
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
    uint32_t n = t->n_prompt + t->n_gen, *depth_ids = NULL, *ids = NULL;
    qm_session *s = NULL;
    uint64_t ns = 0, first = 0;
    double first_sum = 0;
    qm_engine_info info;
    int rc;
    memset(r, 0, sizeof *r);
    qm_engine_get_info(g, &info);
    if (!n || (t->n_prompt && t->n_gen) || !t->reps)
        return qm_fail(e, QM_ERR_ARG, "bench: %u tokens of prompt, %u to generate, %u runs", t->n_prompt, t->n_gen,
                       t->reps);
    if ((uint64_t)t->depth + n > info.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "%u tokens behind a depth of %u exceed the context of %u", n, t->depth,
                       info.n_ctx);
    if ((rc = random_ids(&depth_ids, t->depth, info.n_vocab, t->seed, e)) ||
        (rc = random_ids(&ids, t->n_prompt ? t->n_prompt : 1, info.n_vocab, t->seed + 1, e)))
        goto out;
    if ((rc = qm_session_open(&s, g, e)) || (rc = average_bytes(g, t, r, e)) || (rc = reach(s, t, depth_ids, e)))
        goto out;
    if (t->warmup && (rc = run_once(s, t, ids, &ns, &first, e))) goto out;
    for (uint32_t i = 0; i < t->reps; i++) {
        if ((rc = run_once(s, t, ids, &samples_ns[i], &first, e))) goto out;
        first_sum += (double)first;
    }
    qm_bench_stats(samples_ns, t->reps, n, r);
    r->first_token_ns = first_sum / t->reps;
out:
    qm_session_close(s);
    free(depth_ids);
    free(ids);
    return rc;
}
