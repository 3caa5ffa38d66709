/* bench.c: the tests of llama-bench on an engine: timed by the host's clock, from the moment the tokens are
 * handed over until the last sampled one is back. */
#include "bench.h"
#include <math.h>
#include <stdio.h>
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

void qm_bench_test_name(char *s, size_t n, const qm_bench_test *t) {
    char seqs[16] = "", depth[16] = "";
    if (t->n_seqs > 1) snprintf(seqs, sizeof seqs, " x%u", t->n_seqs);
    if (t->depth) snprintf(depth, sizeof depth, " @ d%u", t->depth);
    snprintf(s, n, "%s%u%s%s", t->n_prompt ? "pp" : "tg", t->n_prompt ? t->n_prompt : t->n_gen, seqs, depth);
}

int qm_bench_step_bytes(qm_engine *g, qm_work w, uint64_t *weight_bytes, uint64_t *kv_bytes, qm_err *e) {
    const qm_plan *p;
    int rc = qm_inside_rows_plan(g, w.rows, w.outs, w.depth + w.rows / w.seqs - 1, &p, e);
    if (rc) return rc;
    *weight_bytes = *kv_bytes = 0;
    for (int i = 0; i < p->n_ops; i++) { /* a step without logits ends before the last layer's attention */
        uint64_t read, written;
        qm_op_kv_bytes(p, &p->ops[i], w, &read, &written);
        *weight_bytes += qm_op_weight_bytes(p, &p->ops[i], w);
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
/* The sessions of a test, and its tokens: of prompts, or the one that each generation starts from. */
typedef struct {
    const qm_bench_test *t;
    qm_session **s;
    uint32_t n, n_ids; /* sessions; ids of each */
    uint32_t *depth_ids, *ids, *next;
} runs;

static void runs_close(runs *x) {
    for (uint32_t i = 0; x->s && i < x->n; i++) qm_session_close(x->s[i]);
    free(x->s);
    free(x->depth_ids);
    free(x->ids);
    free(x->next);
}

static int runs_open(runs *x, qm_engine *g, const qm_bench_test *t, uint32_t n_vocab, qm_err *e) {
    *x = (runs){.t = t, .n = t->n_seqs ? t->n_seqs : 1, .n_ids = t->n_prompt ? t->n_prompt : 1};
    x->s = calloc(x->n, sizeof *x->s);
    x->next = calloc(x->n, sizeof *x->next);
    if (!x->s || !x->next) return qm_fail(e, QM_ERR_NOMEM, "bench: out of memory");
    int rc = random_ids(&x->depth_ids, t->depth * x->n, n_vocab, t->seed, e);
    if (!rc) rc = random_ids(&x->ids, x->n_ids * x->n, n_vocab, t->seed + 1, e);
    for (uint32_t i = 0; i < x->n && !rc; i++) rc = qm_session_open(&x->s[i], g, e);
    return rc;
}

static int reach(runs *x, qm_err *e) {
    const qm_bench_test *t = x->t;
    int rc = 0;
    QM_PROF_SCOPE(QM_PROF_BENCH, "depth");
    if (t->prefill && t->depth) return qm_inside_append_all(x->s, x->n, x->depth_ids, t->depth, x->next, e);
    for (uint32_t i = 0; i < x->n && !rc; i++) rc = qm_inside_fill(x->s[i], t->depth, t->seed + i, e);
    return rc;
}

static void first_is_here(void *user, uint32_t i, uint32_t id) {
    uint64_t *at = user;
    (void)id;
    if (!i) *at = now_ns();
}

/* ns and first_ns: of this run, from the moment the tokens are handed over. */
static int run(runs *x, uint64_t *ns, uint64_t *first_ns, qm_err *e) {
    const qm_bench_test *t = x->t;
    uint64_t start = now_ns(), first = start;
    int rc = t->n_prompt ? qm_inside_append_all(x->s, x->n, x->ids, t->n_prompt, x->next, e)
                         : qm_inside_decode_all(x->s, x->n, x->ids, t->n_gen, first_is_here, &first, e);
    *ns = now_ns() - start;
    *first_ns = t->n_prompt ? *ns : first - start;
    return rc;
}

static int run_once(runs *x, uint64_t *ns, uint64_t *first_ns, qm_err *e) {
    for (uint32_t i = 0; i < x->n; i++) {
        int rc = qm_session_truncate(x->s[i], x->t->depth, e);
        if (rc) return rc;
    }
    QM_PROF_SCOPE(QM_PROF_BENCH, x->t->n_prompt ? "pp" : "tg");
    return run(x, ns, first_ns, e);
}

/* The steps of a test, their bytes added up. */
static int sum_bytes(qm_engine *g, qm_work w, double times, qm_bench_result *r, qm_err *e) {
    uint64_t weights, kv;
    int rc = w.rows ? qm_bench_step_bytes(g, w, &weights, &kv, e) : 0;
    if (rc || !w.rows) return rc;
    r->weight_bytes += times * (double)weights;
    r->kv_bytes += times * (double)kv;
    return 0;
}

/* n sequences, `per` rows of each from depth on, of which a step takes `most`. */
static int sum_shared(qm_engine *g, uint32_t n, uint32_t most, uint32_t depth, uint32_t per, qm_bench_result *r,
                      qm_err *e) {
    const uint32_t k = n < most ? n : most;
    int rc = sum_bytes(g, (qm_work){depth, k * per, k, k}, n / k, r, e);
    return rc ? rc : sum_bytes(g, (qm_work){depth, n % k * per, n % k, n % k}, 1, r, e);
}

static int average_bytes(qm_engine *g, const qm_bench_test *t, qm_bench_result *r, qm_err *e) {
    const uint32_t n = t->n_seqs ? t->n_seqs : 1;
    const qm_plan *p;
    int rc = qm_inside_plan(g, 0, 1, &p, e);
    if (rc) return rc;
    const uint32_t most = p->limits.n_rows ? p->limits.n_rows : 1, outs = p->limits.n_outs ? p->limits.n_outs : 1;
    for (uint32_t i = 0; i < t->n_gen && !rc; i++)
        rc = sum_shared(g, n, most < outs ? most : outs, t->depth + i, 1, r, e);
    if (t->n_prompt && t->n_prompt <= most) {
        const uint32_t fit = most / t->n_prompt;
        rc = sum_shared(g, n, fit < outs ? fit : outs, t->depth, t->n_prompt, r, e);
    }
    for (uint32_t at = 0; t->n_prompt > most && at < t->n_prompt && !rc; at += most) {
        const uint32_t left = t->n_prompt - at;
        rc = sum_bytes(g, (qm_work){t->depth + at, left < most ? left : most, 1, left <= most}, n, r, e);
    }
    r->weight_bytes /= (double)n * (t->n_prompt + t->n_gen);
    r->kv_bytes /= (double)n * (t->n_prompt + t->n_gen);
    return rc;
}

int qm_bench_run(qm_engine *g, const qm_bench_test *t, uint64_t *samples_ns, qm_bench_result *r, qm_err *e) {
    const uint32_t n = t->n_prompt + t->n_gen, n_seqs = t->n_seqs ? t->n_seqs : 1;
    uint64_t ns = 0, first = 0;
    double first_sum = 0;
    qm_engine_info info;
    runs x = {0};
    int rc;
    memset(r, 0, sizeof *r);
    qm_engine_get_info(g, &info);
    if (!n || (t->n_prompt && t->n_gen) || !t->reps)
        return qm_fail(e, QM_ERR_ARG, "bench: %u tokens of prompt, %u to generate, %u runs", t->n_prompt, t->n_gen,
                       t->reps);
    if ((uint64_t)t->depth + n > info.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "%u tokens behind a depth of %u exceed the context of %u", n, t->depth,
                       info.n_ctx);
    if (n_seqs > info.n_parallel)
        return qm_fail(e, QM_ERR_LIMIT, "%u sequences at once: the engine has room for %u", n_seqs, info.n_parallel);
    if ((rc = runs_open(&x, g, t, info.n_vocab, e)) || (rc = average_bytes(g, t, r, e)) || (rc = reach(&x, e)))
        goto out;
    if (t->warmup && (rc = run_once(&x, &ns, &first, e))) goto out;
    for (uint32_t i = 0; i < t->reps; i++) {
        if ((rc = run_once(&x, &samples_ns[i], &first, e))) goto out;
        first_sum += (double)first;
    }
    qm_bench_stats(samples_ns, t->reps, n * n_seqs, r);
    r->first_token_ns = first_sum / t->reps;
out:
    runs_close(&x);
    return rc;
}

int qm_engine_keep_choice(const qm_engine *g, double graph, double persistent, qm_err *e) {
    const qm_device *d = qm_inside_device(g);
    if (!d) return qm_fail(e, QM_ERR_ARG, "the executor %s has no device to choose for", qm_inside_executor(g));
    if (!d->caps.timed)
        return qm_fail(e, QM_ERR_UNSUPPORTED,
                       "%s: its times are this host's, and say nothing about a GPU: nothing is kept", d->spec);
    if (!(graph > 0) || !(persistent > 0))
        return qm_fail(e, QM_ERR_ARG, "a choice between %g and %g tokens a second", graph, persistent);
    qm_inside_keep_choice(g, graph, persistent);
    return 0;
}
