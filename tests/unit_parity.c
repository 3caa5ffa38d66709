/* unit_parity: the device against run_ref, op by op and end to end; what quantised activations cost; and
 * against Hugging Face's Qwen3-MoE on the same dequantised weights (tests/golden/hf_small.json). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../kernels/ref/ref.h"
#include "fixture.h"

/* Bars: per op only rounding and the order of sums differ. */
static const double OP_COSINE = 0.9999, LOGITS_COSINE = 0.999999;

/* ---- op by op: each reference gets the device's own inputs, so that errors cannot add up ---- */

typedef struct {
    qm_engine *g;
    qm_session *s;
    unsigned char *scratch, *kv, *seq, *rope;
    qm_bases host;
    qm_seq_layout layout;
} twin;

static void download(twin *t, void *dst, CUdeviceptr src, uint64_t n) {
    qm_device *d = t->g->dev;
    assert_int_equal(d->cu.CtxSynchronize(), CUDA_SUCCESS);
    assert_int_equal(d->cu.MemcpyDtoH(dst, src, n), CUDA_SUCCESS);
}

static CUdeviceptr at(twin *t, const qm_plan *p, qm_space space) {
    return qm_graph_address(t->g, t->s->seq, p, QM_REF(space, 0));
}

static void twin_open(twin *t, const char *kind) {
    t->g = fix_engine(kind, "graph");
    qm_err e;
    fix_ok(qm_session_open(&t->s, t->g, &e), &e);
    t->layout = qm_seq_layout_of(t->g->limits);
    t->scratch = calloc(1, t->g->scratch_bytes);
    t->kv = calloc(1, t->g->info.kv_bytes);
    t->seq = calloc(1, t->layout.bytes);
    t->rope = malloc(qm_rope_bytes(&t->g->model->hp, t->g->limits.n_ctx));
    qm_rope_fill((float *)(void *)t->rope, &t->g->model->hp, t->g->limits.n_ctx);
    t->host.base[QM_SPACE_SCRATCH] = (uint64_t)(uintptr_t)t->scratch;
    t->host.base[QM_SPACE_KV] = (uint64_t)(uintptr_t)t->kv;
    t->host.base[QM_SPACE_SEQ] = (uint64_t)(uintptr_t)t->seq;
    t->host.base[QM_SPACE_ROPE] = (uint64_t)(uintptr_t)t->rope;
}

static void twin_close(twin *t) {
    free(t->scratch);
    free(t->kv);
    free(t->seq);
    free(t->rope);
    qm_session_close(t->s);
    qm_engine_close(t->g);
}

/* An op's output as floats, its partial sums added. */
static void output(const qm_op *op, const unsigned char *base, float *y) {
    const float *f = (const float *)(const void *)base;
    for (uint32_t i = 0; i < op->out_n; i++) {
        double v = 0;
        for (uint32_t k = 0; k < op->out_parts; k++) v += f[(size_t)k * op->out_n + i];
        y[i] = (float)v;
    }
}

/* The quantised activations an op leaves beside its main output: where, vectors, values in each. */
static qm_ref quantised_output(const qm_op *op, uint32_t *n_vec, uint32_t *n) {
    *n_vec = 1;
    switch (op->kind) {
    case QM_OP_RMSNORM: *n = op->args.rmsnorm.n; return op->args.rmsnorm.yq;
    case QM_OP_COMBINE: *n = op->out_n; return op->args.combine.yq;
    case QM_OP_MOE_UP: *n_vec = op->grid[1], *n = op->args.moe_up.n_ff; return op->args.moe_up.hq;
    case QM_OP_SWIGLU: *n_vec = op->args.swiglu.k, *n = op->args.swiglu.n; return op->args.swiglu.hq;
    default: return 0;
    }
}

static double compare_q16a(twin *t, const qm_plan *p, const qm_op *op) {
    uint32_t n_vec, n;
    qm_ref r = quantised_output(op, &n_vec, &n);
    if (!r) return 1;
    double worst = 1;
    unsigned char *got = malloc(QM_Q16A_BYTES((size_t)n) * n_vec);
    float *a = malloc(4ull * n), *b = malloc(4ull * n);
    download(t, got, qm_graph_address(t->g, t->s->seq, p, r), QM_Q16A_BYTES((uint64_t)n) * n_vec);
    for (uint32_t v = 0; v < n_vec; v++) {
        qm_q16a_dequantize(a, got + QM_Q16A_BYTES((size_t)n) * v, n);
        qm_q16a_dequantize(b, t->scratch + QM_REF_VALUE(r) + QM_Q16A_BYTES((size_t)n) * v, n);
        worst = fmin(worst, fix_cosine(a, b, n));
    }
    free(got);
    free(a);
    free(b);
    return worst;
}

static double compare_op(twin *t, const qm_plan *p, int i, double *rel) {
    const qm_op *op = &p->ops[i];
    qm_err e;
    uint64_t off = QM_REF_VALUE(op->out), n = 4ull * op->out_n * op->out_parts;
    download(t, t->scratch, at(t, p, QM_SPACE_SCRATCH), t->g->scratch_bytes);
    download(t, t->seq, at(t, p, QM_SPACE_SEQ), t->layout.bytes);
    if (op->kind == QM_OP_ATTN) download(t, t->kv, at(t, p, QM_SPACE_KV), t->g->info.kv_bytes);
    fix_ok(qm_run_ref_op(p, i, &t->host, &e), &e);
    fix_ok(qm_graph_launch_op(t->g, t->s->seq, p, i, &e), &e);
    unsigned char *got = malloc(n);
    float *a = malloc(4ull * op->out_n), *b = malloc(4ull * op->out_n);
    download(t, got, qm_graph_address(t->g, t->s->seq, p, op->out), n);
    output(op, got, a);
    output(op, t->scratch + off, b);
    double cos = fmin(fix_cosine(a, b, op->out_n), compare_q16a(t, p, op));
    *rel = fix_rel_l2(a, b, op->out_n);
    if (op->kind == QM_OP_ROUTER) { /* ids on their own */
        uint32_t ids[32];
        qm_router_args ra = op->args.router;
        download(t, ids, qm_graph_address(t->g, t->s->seq, p, ra.ids), 4ull * ra.n_used);
        assert_memory_equal(ids, t->scratch + QM_REF_VALUE(ra.ids), 4ull * ra.n_used);
        double sum = 0;
        for (uint32_t k = 0; k < op->out_n; k++) sum += a[k];
        assert_true(fabs(sum - 1) < 1e-6); /* AC_QW3_MOE_002 */
    }
    free(got);
    free(a);
    free(b);
    return cos;
}

/* Every op of the step at position `depth`. What qkrope appends to the cache is check_qkrope's to compare. */
enum { MAX_DEPTH = 300 };
static void per_op(const char *kind, uint32_t depth) {
    twin t;
    qm_err e;
    twin_open(&t, kind);
    uint32_t ids[MAX_DEPTH + 1];
    assert_true(depth <= MAX_DEPTH);
    fix_prompt(t.g, ids, depth + 1, 31);
    for (uint32_t i = 0; i < depth; i++) fix_ok(qm_session_eval(t.s, ids[i], &e), &e);
    /* one more step, by hand */
    const qm_plan *p;
    fix_ok(qm_engine_plan(t.g, depth, 1, &p, &e), &e);
    fix_ok(t.g->exec->put_tokens(t.g, t.s->seq, depth, ids + depth, 1, &e), &e);
    fix_ok(t.g->exec->set_pos(t.g, t.s->seq, depth, &e), &e);
    while (t.s->n_pages <= depth / QM_PAGE_TOKENS) {
        uint32_t page;
        fix_ok(qm_pages_take(&t.g->kv, &page, &e), &e);
        t.s->pages[t.s->n_pages] = page;
        fix_ok(t.g->exec->put_page(t.g, t.s->seq, t.s->n_pages++, page, &e), &e);
    }
    double worst = 1, worst_rel = 0;
    for (int i = 0; i < p->n_ops; i++) {
        double rel, cos = compare_op(&t, p, i, &rel);
        if (!(cos >= OP_COSINE))
            fail_msg("%s: op %d (layer %d, %s): cosine %.7f, relative L2 %.3g", kind, i, p->ops[i].layer,
                     p->ops[i].slot, cos, rel);
        if (cos < worst) worst = cos;
        if (rel > worst_rel) worst_rel = rel;
    }
    print_message("%s at position %u: %d ops, lowest cosine %.9f, largest relative L2 %.3g\n", kind, depth, p->n_ops,
                  worst, worst_rel);
    twin_close(&t);
}

static void test_per_op_matches_ref(void **state) {
    (void)state;
    per_op("small", 0);
    per_op("small", 37);
    per_op("small", MAX_DEPTH); /* deep enough for attention to be split */
}

static void test_per_op_every_type(void **state) {
    (void)state;
    static const char *const kinds[] = {"f32", "f16", "bf16", "q8_0", "q5_k", "q6_k", "q4_k"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) per_op(kinds[i], 3);
}

/* ---- end to end ---- */

/* Logits of every position of ids[0..n) by one executor: [n, vocab]. */
static float *logits_of(const char *kind, const char *executor, const uint32_t *ids, uint32_t n, uint32_t *vocab,
                        int f32_act) {
    qm_engine *g = fix_engine(kind, executor);
    qm_session *s;
    qm_err e;
    g->limits.f32_act = f32_act;
    if (f32_act) { /* the plans made at open have the production's activations */
        while (g->n_plans) qm_plan_free(g->plans[--g->n_plans]);
    }
    fix_ok(qm_session_open(&s, g, &e), &e);
    *vocab = g->model->hp.n_vocab;
    float *l = malloc((size_t)n * *vocab * sizeof *l);
    for (uint32_t i = 0; i < n; i++) {
        fix_ok(qm_session_eval(s, ids[i], &e), &e);
        fix_ok(qm_session_logits(s, l + (size_t)i * *vocab, &e), &e);
    }
    qm_session_close(s);
    qm_engine_close(g);
    return l;
}

static double lowest_cosine(const float *a, const float *b, uint32_t n, uint32_t vocab, double *mean) {
    double low = 1;
    *mean = 0;
    for (uint32_t i = 0; i < n; i++) {
        double c = fix_cosine(a + (size_t)i * vocab, b + (size_t)i * vocab, vocab);
        *mean += c / n;
        if (c < low) low = c;
    }
    return low;
}

/* KL(p || q) of softmaxed logits, in nats. */
static double kl(const float *p, const float *q, uint32_t n) {
    double mp = -INFINITY, mq = -INFINITY, sp = 0, sq = 0, d = 0;
    for (uint32_t i = 0; i < n; i++) {
        mp = p[i] > mp ? p[i] : mp;
        mq = q[i] > mq ? q[i] : mq;
    }
    for (uint32_t i = 0; i < n; i++) {
        sp += exp(p[i] - mp);
        sq += exp(q[i] - mq);
    }
    for (uint32_t i = 0; i < n; i++) {
        double lp = p[i] - mp - log(sp), lq = q[i] - mq - log(sq);
        d += exp(lp) * (lp - lq);
    }
    return d;
}

static void test_device_matches_ref(void **state) {
    (void)state;
    enum { N = 12 };
    uint32_t ids[N], vocab;
    qm_engine *g = fix_engine("small", "ref");
    fix_prompt(g, ids, N, 41);
    qm_engine_close(g);
    float *dev = logits_of("small", "graph", ids, N, &vocab, 0), *ref = logits_of("small", "ref", ids, N, &vocab, 0);
    float *f32 = logits_of("small", "ref", ids, N, &vocab, 1);
    double mean, low = lowest_cosine(dev, ref, N, vocab, &mean), worst_kl = 0;
    print_message("device against run_ref over %d positions: cosine lowest %.7f, mean %.7f\n", N, low, mean);
    assert_true(low >= LOGITS_COSINE);
    low = lowest_cosine(ref, f32, N, vocab, &mean);
    for (int i = 0; i < N; i++) worst_kl = fmax(worst_kl, kl(f32 + (size_t)i * vocab, ref + (size_t)i * vocab, vocab));
    print_message("q16a activations against f32 ones (both run_ref): cosine lowest %.7f, mean %.7f, largest KL %.2g\n",
                  low, mean, worst_kl);
    assert_true(worst_kl <= 1e-4); /* the stated contract of quantised activations */
    free(dev);
    free(ref);
    free(f32);
}

/* 64 greedy tokens of the device; run_ref, fed the same tokens, must choose each wherever its two best
 * are further apart than the tolerance. */
static void test_greedy_64_matches_ref(void **state) {
    (void)state;
    enum { PROMPT = 6, N = 64 };
    uint32_t ids[PROMPT + N], vocab, near = 0;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    qm_gen_stats st;
    fix_prompt(g, ids, PROMPT, 51);
    fix_ok(qm_session_open(&s, g, &e), &e);
    qm_gen_opts o = {.max_tokens = N, .ignore_eos = 1};
    fix_ok(qm_generate(s, ids, PROMPT, &o, &st, &e), &e);
    memcpy(ids + PROMPT, s->ids + PROMPT, N * sizeof *ids);
    qm_session_close(s);
    qm_engine_close(g);
    float *ref = logits_of("small", "ref", ids, PROMPT + N - 1, &vocab, 0);
    for (uint32_t i = 0; i < N; i++) {
        const float *l = ref + (size_t)(PROMPT - 1 + i) * vocab;
        double norm = 0;
        uint32_t best = 0, second = 1;
        for (uint32_t v = 0; v < vocab; v++) norm += (double)l[v] * l[v];
        for (uint32_t v = 1; v < vocab; v++)
            if (l[v] > l[best]) best = v;
        second = best == 0;
        for (uint32_t v = 0; v < vocab; v++)
            if (v != best && l[v] > l[second]) second = v;
        if (ids[PROMPT + i] == best) continue;
        double tolerance = 1e-3 * sqrt(norm / vocab); /* 0.1% of the logits' RMS */
        if (l[best] - l[second] > tolerance || ids[PROMPT + i] != second)
            fail_msg("token %u: device %u, reference %u by %.4g (tolerance %.4g)", i, ids[PROMPT + i], best,
                     (double)l[best] - l[second], tolerance);
        near++;
    }
    print_message("64 greedy tokens: identical but for %u near ties\n", near);
    assert_true(near <= 2);
    free(ref);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_per_op_matches_ref),
        cmocka_unit_test(test_per_op_every_type),
        cmocka_unit_test(test_device_matches_ref),
        cmocka_unit_test(test_greedy_64_matches_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
