/* unit_perplexity.c: perplexity, KL and files of log-probabilities, against sums done here anew in long double from
 * logits that the session gives token by token. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/observe/perplexity.h"
#include "fixture.h"

enum {
    CHUNK = 20,
    CHUNKS = 3,
    LEFT = 7,
    TEXT = CHUNK * CHUNKS + LEFT,
    VOCAB = 512,
    HALF = CHUNK / 2,
    SCORED = CHUNK - 1 - HALF
};
static uint32_t text[TEXT];
/* Logits of the scored positions by two models of the same vocabulary. */
static float here[CHUNKS * SCORED][VOCAB], there[CHUNKS * SCORED][VOCAB];
static char lp_path[256];

static const char *in_tmp(const char *name) {
    static char path[4][256];
    static int n;
    const char *dir = getenv("QMOE_TEST_TMP");
    n = (n + 1) % 4;
    snprintf(path[n], sizeof path[n], "%s/qmoe-ppl-%ld-%s", dir ? dir : "/tmp", (long)getpid(), name);
    return path[n];
}

/* Token by token, whatever qm_perplexity does at once. */
static void force(const char *kind, float (*out)[VOCAB]) {
    qm_engine *g = fix_engine(kind, "graph");
    qm_session *s;
    qm_err e;
    assert_int_equal(g->model->hp.n_vocab, VOCAB);
    if (!strcmp(kind, "small")) fix_prompt(g, text, TEXT, 90);
    fix_ok(qm_session_open(&s, g, &e), &e);
    for (int c = 0, row = 0; c < CHUNKS; c++) {
        fix_ok(qm_session_truncate(s, 0, &e), &e);
        for (int i = 0; i < CHUNK - 1; i++) {
            fix_ok(qm_session_eval(s, text[c * CHUNK + i], &e), &e);
            if (i >= HALF) fix_ok(qm_session_logits(s, out[row++], &e), &e);
        }
    }
    qm_session_close(s);
    qm_engine_close(g);
}

static int make(void **state) {
    (void)state;
    force("small", here);
    force("q8_0", there);
    snprintf(lp_path, sizeof lp_path, "%s", in_tmp("there.lp"));
    return 0;
}
static int clean(void **state) {
    (void)state;
    unlink(lp_path);
    return 0;
}

static long double logp(const float *l, uint32_t id) {
    long double sum = 0;
    for (int i = 0; i < VOCAB; i++) sum += expl((long double)l[i] - (long double)l[id]);
    return -logl(sum);
}
static uint32_t next_of(int row) { return text[row / SCORED * CHUNK + HALF + row % SCORED + 1]; }

/* Mean of -log p and its standard error, from deviations. */
static long double mean_nll(float (*l)[VOCAB], long double *err) {
    enum { N = CHUNKS * SCORED };
    long double m = 0, v = 0;
    for (int i = 0; i < N; i++) m -= logp(l[i], next_of(i)) / N;
    for (int i = 0; i < N; i++) v += powl(-logp(l[i], next_of(i)) - m, 2) / N;
    *err = sqrtl(v / (N - 1));
    return m;
}
static void near(double got, long double want, double rel) {
    if (!(fabsl((long double)got - want) <= (long double)rel * fmaxl(fabsl(want), 1e-3L)))
        fail_msg("%.12g, but %.12Lg from long double", got, want);
}

static int says(void *user, uint32_t done, uint32_t n, double ppl) {
    double *at = user;
    assert_int_equal(n, CHUNKS);
    at[done - 1] = ppl;
    return 0;
}
static qm_perplexity_result measure(const char *kind, const char *executor, const qm_perplexity_opts *o, int code) {
    qm_engine *g = fix_engine(kind, executor);
    qm_perplexity_result r;
    qm_err e = {0};
    int rc = qm_perplexity(g, o->base ? NULL : text, o->base ? 0 : TEXT, o, &r, &e);
    if (rc != code) fail_msg("code %d (%s), not %d", rc, e.msg, code);
    assert_int_equal(g->kv.n_free, g->kv.n_pages); /* nothing is left in the cache */
    qm_engine_close(g);
    return r;
}

static void test_perplexity(void **state) {
    (void)state;
    long double err, nll = mean_nll(here, &err);
    double at[CHUNKS];
    qm_perplexity_opts o = {.n_ctx = CHUNK, .on_chunk = says, .user = at};
    qm_perplexity_result r = measure("small", "graph", &o, 0);
    print_message("PPL %.6f +/- %.6f; from long double %.6Lf +/- %.6Lf\n", r.ppl, r.err, expl(nll), err * expl(nll));
    assert_int_equal(r.n_seqs, CHUNKS);
    assert_int_equal(r.n_scored, CHUNKS * SCORED);
    assert_int_equal(r.n_tokens, CHUNKS * (CHUNK - 1));
    near(r.nll, nll, 1e-9);
    near(r.ppl, expl(nll), 1e-9);
    near(r.err, err * expl(nll), 1e-7);
    near(at[CHUNKS - 1], expl(nll), 1e-9);
    long double first = 0;
    for (int i = 0; i < SCORED; i++) first -= logp(here[i], next_of(i)) / SCORED;
    near(at[0], expl(first), 1e-9);
    o.max_chunks = 1;
    o.on_chunk = NULL;
    near(measure("small", "graph", &o, 0).nll, first, 1e-9);
}

/* KL of what k tokens and "any other" are, in long double. */
static long double coarse_kl(const float *p, const float *q, uint32_t k) {
    uint8_t in[VOCAB] = {0};
    long double kl = 0, p_rest = 0, q_rest = 0;
    for (uint32_t n = 0; n < k; n++) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!in[i] && (best < 0 || p[i] > p[best])) best = i;
        in[best] = 1;
        long double lp = logp(p, (uint32_t)best);
        kl += expl(lp) * (lp - logp(q, (uint32_t)best));
    }
    for (uint32_t i = 0; i < VOCAB; i++)
        if (!in[i]) {
            p_rest += expl(logp(p, i));
            q_rest += expl(logp(q, i));
        }
    return k == VOCAB ? kl : kl + p_rest * logl(p_rest / q_rest);
}
static uint32_t arg_max(const float *l) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < VOCAB; i++)
        if (l[i] > l[best]) best = i;
    return best;
}

static void kl_is(uint32_t k, double tolerance) {
    enum { N = CHUNKS * SCORED };
    qm_perplexity_opts w = {.n_ctx = CHUNK, .out = lp_path, .note = "the other model", .k = k}, o = {.base = lp_path};
    measure("q8_0", "graph", &w, 0);
    qm_logprobs_info i;
    qm_err e;
    fix_ok(qm_logprobs_get_info(lp_path, &i, &e), &e);
    assert_string_equal(i.note, "the other model");
    assert_int_equal(i.k, k ? k : VOCAB);
    assert_int_equal(i.n_scored, N);
    assert_int_equal(i.longest, CHUNK);
    qm_perplexity_result r = measure("small", "graph", &o, 0);
    long double mean = 0, max = 0, min = 1e9L, dp2 = 0, dp = 0, rest = 0, err;
    unsigned same = 0;
    for (int n = 0; n < N; n++) {
        long double kl = coarse_kl(there[n], here[n], i.k);
        mean += kl / N;
        max = fmaxl(max, kl);
        min = fminl(min, kl);
        same += arg_max(there[n]) == arg_max(here[n]);
        long double d = expl(logp(here[n], next_of(n))) - expl(logp(there[n], next_of(n)));
        dp += d / N;
        dp2 += d * d / N;
        if (k) { /* 1 - the sum of the k likeliest */
            uint8_t in[VOCAB] = {0};
            long double named = 0;
            for (uint32_t j = 0; j < k; j++) {
                int best = -1;
                for (int t = 0; t < VOCAB; t++)
                    if (!in[t] && (best < 0 || there[n][t] > there[n][best])) best = t;
                in[best] = 1;
                named += expl(logp(there[n], (uint32_t)best));
            }
            rest += (1 - named) / N;
        }
    }
    const qm_divergence *d = &r.kl;
    print_message("k %u: mean KL %.8f (%.8Lf), largest %.8f (%.8Lf), rest %.4f\n", i.k, d->mean, mean, d->max, max,
                  d->rest_mass);
    assert_int_equal(d->n, N);
    near(d->mean, mean, tolerance);
    near(d->max, max, tolerance);
    near(d->min, min, tolerance);
    near(d->rest_mass, rest, 1e-5);
    assert_int_equal(d->n_same, same);
    assert_true(d->n_same < N); /* the models are different ones */
    near(d->base_ppl, expl(mean_nll(there, &err)), 1e-6);
    near(r.nll, mean_nll(here, &err), 1e-9);
    near(d->mean_dp, dp, 1e-4);
    near(d->rms_dp, sqrtl(dp2), 1e-4);
    assert_true(d->min <= d->median && d->median <= d->p90 && d->p90 <= d->p95 && d->p95 <= d->p99 &&
                d->p99 <= d->p999 && d->p999 <= d->max);
    int below = 0; /* half of them are not above the median */
    for (int n = 0; n < N; n++) below += coarse_kl(there[n], here[n], i.k) <= (long double)d->median * 1.0001L;
    assert_true(below >= (N + 1) / 2 && below <= N / 2 + 2);
    near(coarse_kl(there[d->max_seq * SCORED + d->max_pos - HALF], here[d->max_seq * SCORED + d->max_pos - HALF], i.k),
         max, 1e-9);
}
static void test_kl_all(void **state) {
    (void)state;
    kl_is(0, 1e-4);
}
static void test_kl_top_k(void **state) {
    (void)state;
    kl_is(24, 1e-4);
}

/* Against itself nothing is left but the file's 16 bits. */
static void test_kl_self(void **state) {
    (void)state;
    qm_perplexity_opts w = {.n_ctx = CHUNK, .out = lp_path, .max_chunks = 1}, o = {.base = lp_path};
    measure("small", "graph", &w, 0);
    qm_perplexity_result r = measure("small", "graph", &o, 0);
    print_message("against itself: mean KL %.2g, largest %.2g\n", r.kl.mean, r.kl.max);
    assert_true(r.kl.max < 1e-7 && r.kl.min > -1e-9);
    assert_int_equal(r.kl.n_same, SCORED);
}

/* Records in every form come back as they went in, to half a step. */
static void test_file(void **state) {
    (void)state;
    static const uint32_t vocabs[] = {9, 300, 70000};
    for (int v = 0; v < 3; v++)
        for (int part = 0; part < 2; part++) {
            uint32_t n = vocabs[v], k = part ? 7 : n, tokens[3] = {0, n - 1, 4}, *tmp = malloc(4ull * n);
            qm_lp_seq q[2] = {{3, 1, 3, tokens}, {2, 0, 1, tokens}};
            float *l = malloc(4ull * n);
            qm_lp_record a, b;
            qm_lp_file f;
            qm_err e;
            qm_rng r = {(uint64_t)v + 5};
            fix_ok(qm_lp_record_alloc(&a, k, &e), &e);
            fix_ok(qm_lp_record_alloc(&b, k, &e), &e);
            fix_ok(qm_lp_create(&f, lp_path, "n", n, k, q, 2, &e), &e);
            for (int i = 0; i < 3; i++) {
                for (uint32_t t = 0; t < n; t++) l[t] = (float)qm_rng_below(&r, 1000) / 100.0f;
                l[n / 2] = l[n / 2 - 1] = 11.0f; /* equal: the lower id comes first */
                qm_lp_from_logits(&a, l, n, k, i == 1 ? UINT32_MAX : tokens[1], tmp);
                fix_ok(qm_lp_write(&f, &a, &e), &e);
            }
            fix_ok(qm_lp_finish(&f, &e), &e);
            qm_lp_close(&f);
            fix_ok(qm_lp_open(&f, lp_path, &e), &e);
            assert_int_equal(f.n_records, 3);
            assert_int_equal(f.seqs[0].tokens[1], n - 1);
            assert_true(f.seqs[1].n_tokens == 2 && f.seqs[1].first == 0 && f.seqs[1].end == 1);
            for (int i = 0; i < 3; i++) {
                fix_ok(qm_lp_read(&f, &b, &e), &e);
                assert_true(isnan(b.next) == (i == 1));
            }
            if (part) assert_true(b.ids[0] == n / 2 - 1 && b.ids[1] == n / 2);
            double sum = exp(b.rest);
            for (uint32_t t = 0; t < k; t++) { /* the last written */
                assert_int_equal(a.ids[t], b.ids[t]);
                if (!part) assert_int_equal(b.ids[t], t);
                assert_true(fabs(a.logp[t] - b.logp[t]) < 4e-4);
                sum += exp(b.logp[t]);
            }
            near(sum, 1, 1e-9);
            assert_int_equal(qm_lp_read(&f, &b, &e), QM_ERR_ARG);
            qm_lp_close(&f);
            qm_lp_record_free(&a);
            qm_lp_record_free(&b);
            free(l);
            free(tmp);
        }
}

/* Every number of entries, of sharp, flat and tied distributions: what is written is read, and within half a step. */
static void test_all_top_k(void **state) {
    (void)state;
    enum { N = 65, KINDS = 5 };
    for (uint32_t k = 1; k <= N; k++)
        for (int kind = 0; kind < KINDS; kind++) {
            uint32_t tokens[9] = {0}, tmp[N];
            qm_lp_seq q = {9, 0, 8, tokens};
            qm_rng r = {k * KINDS + (unsigned)kind};
            qm_lp_record a[8], b;
            qm_lp_file f;
            qm_err e;
            fix_ok(qm_lp_create(&f, lp_path, "all", N, k, &q, 1, &e), &e);
            for (int i = 0; i < 8; i++) {
                float l[N];
                for (int t = 0; t < N; t++)
                    l[t] = kind == 0   ? 30 * qm_rng_unit(&r)
                           : kind == 1 ? 0.01f * qm_rng_unit(&r)
                           : kind == 2 ? (float)qm_rng_below(&r, 3)
                           : kind == 3 ? (t == i ? 20.0f : -20.0f)
                                       : 7.3f; /* all alike: no step */
                fix_ok(qm_lp_record_alloc(&a[i], k, &e), &e);
                qm_lp_from_logits(&a[i], l, N, k, 0, tmp);
                fix_ok(qm_lp_write(&f, &a[i], &e), &e);
            }
            fix_ok(qm_lp_finish(&f, &e), &e);
            qm_lp_close(&f);
            fix_ok(qm_lp_open(&f, lp_path, &e), &e);
            fix_ok(qm_lp_record_alloc(&b, k, &e), &e);
            for (int i = 0; i < 8; i++) {
                if (qm_lp_read(&f, &b, &e)) fail_msg("top-k %u, kind %d: %s", k, kind, e.msg);
                for (uint32_t t = 0; t < k; t++) {
                    double want = fmax(a[i].logp[t], a[i].logp[0] - 32); /* a file holds 32 nats below the likeliest */
                    assert_int_equal(a[i].ids[t], b.ids[t]);
                    if (k < N && fabs(b.logp[t] - want) > 5e-4)
                        fail_msg("top-k %u, kind %d: %g for %g", k, kind, b.logp[t], want);
                }
                qm_lp_record_free(&a[i]);
            }
            qm_lp_record_free(&b);
            qm_lp_close(&f);
        }
}

/* What is left beside the named tokens, where 1 - their sum has lost it to rounding: one token of nearly all. */
static void test_exact_remainder(void **state) {
    (void)state;
    enum { N = 40, K = 3 };
    for (int i = 0; i < 40; i++) { /* the others: down to e^-60 each */
        float base = -2 - 1.5f * (float)i, l[N];
        uint32_t tmp[N];
        qm_lp_record r;
        qm_err e;
        fix_ok(qm_lp_record_alloc(&r, K, &e), &e);
        for (int t = 0; t < N; t++) l[t] = base - 0.01f * (float)t;
        l[7] = 0;
        qm_lp_from_logits(&r, l, N, K, 0, tmp);
        long double all = 0, rest = 0;
        for (int t = 0; t < N; t++) all += expl((long double)l[t]);
        for (int t = 0; t < N; t++) {
            int named = 0;
            for (int k = 0; k < K; k++) named |= r.ids[k] == (uint32_t)t;
            if (!named) rest += expl((long double)l[t]) / all;
        }
        if (!(fabs(r.rest - (double)logl(rest)) < 1e-9))
            fail_msg("base %g: rest %.12g, not %.12Lg", (double)base, r.rest, logl(rest));

        /* KL against a sharper prediction, whose own remainder is all rounding */
        float mine[N];
        unsigned char in[N] = {0};
        long double sum = 0, mine_rest = 0, kl = 0;
        for (int t = 0; t < N; t++) mine[t] = t == 7 ? 0 : l[t] - 9;
        for (int t = 0; t < N; t++) sum += expl((long double)mine[t]);
        for (int t = 0; t < N; t++) {
            long double p = expl((long double)l[t]) / all, ours = expl((long double)mine[t]) / sum;
            int named = 0;
            for (int k = 0; k < K; k++) named |= r.ids[k] == (uint32_t)t;
            if (named) kl += p * logl(p / ours);
            else mine_rest += ours;
        }
        kl += rest * logl(rest / mine_rest);
        qm_apart a = qm_compare(mine, N, &r, in);
        if (!(fabsl((long double)a.kl - kl) <= 1e-6L * kl + 1e-15L))
            fail_msg("base %g: KL %.12g, not %.12Lg", (double)base, a.kl, kl);
        qm_lp_record_free(&r);
    }
}

static unsigned char file[1 << 16];
static size_t n_file;
static void damage(size_t at, uint32_t with, size_t cut, const char *what) {
    static unsigned char copy[sizeof file];
    memcpy(copy, file, n_file);
    memcpy(copy + at, &with, 4);
    const char *path = in_tmp("bad.lp");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(copy, 1, n_file - cut, f), n_file - cut);
    assert_int_equal(fclose(f), 0);
    qm_perplexity_opts o = {.base = path};
    qm_engine *g = fix_engine("small", "graph");
    qm_perplexity_result r;
    qm_err e = {0};
    int rc = qm_perplexity(g, NULL, 0, &o, &r, &e);
    qm_engine_close(g);
    unlink(path);
    if (rc != QM_ERR_FORMAT || !strstr(e.msg, "bad.lp") || !strstr(e.msg, what))
        fail_msg("%s: code %d, %s", what, rc, e.msg);
}

static void test_bad_files(void **state) {
    (void)state;
    qm_perplexity_opts w = {.n_ctx = CHUNK, .out = lp_path, .max_chunks = 1, .k = 4};
    measure("small", "graph", &w, 0);
    FILE *f = fopen(lp_path, "rb");
    assert_non_null(f);
    n_file = fread(file, 1, sizeof file, f);
    fclose(f);
    /* magic 8, n_vocab, k, n_seqs, note length; no note; n_tokens, first, end; tokens; records of 32 bytes */
    size_t seq = 24, tokens = seq + 12, records = tokens + 4 * CHUNK;
    assert_int_equal(n_file, records + 32 * SCORED);
    damage(0, 0x656f6d51, 0, "not a file of log-probabilities");
    damage(8, 0, 0, "vocabulary of 0");
    damage(12, 513, 0, "513 entries");
    damage(12, 0, 0, "0 entries");
    damage(16, 0, 0, "0 sequences");
    damage(16, 0xffffffff, 0, "sequences");
    damage(16, 2, 0, "sequence 1");
    damage(20, 0xfffffff0, 0, "note of");
    damage(seq, 0xffffffff, 0, "sequence 0");
    damage(seq + 4, CHUNK, 0, "sequence 0");
    damage(seq + 8, CHUNK + 1, 0, "sequence 0");
    damage(seq + 8, CHUNK - 2, 0, "its header means");
    damage(tokens + 8, VOCAB, 0, "id 512");
    damage(8, 0x7fffffff, 0, "vocabulary");
    damage(0, 0x656f6d71, 1, "bytes, but its header means");
    damage(records, 0x40000000, 0, "no log-probabilities");      /* next = 2 */
    damage(records + 8, 0x7fc00000, 0, "no log-probabilities");  /* top = NaN */
    damage(records + 8, 0, 0, "add up");                         /* top = 0: probability 1 */
    damage(records + 12, 0xbf800000, 0, "no log-probabilities"); /* step < 0 */
    damage(records + 16, 0xffffffff, 0, "id 65535");
}

static int stop(void *user, uint32_t done, uint32_t n, double ppl) {
    (void)user, (void)n, (void)ppl;
    return done == 2;
}

static void test_refuses(void **state) {
    (void)state;
    qm_perplexity_opts o = {.n_ctx = TEXT + 1};
    measure("small", "graph", &o, QM_ERR_ARG); /* less text than a chunk */
    o.n_ctx = 3;
    measure("small", "graph", &o, QM_ERR_ARG);
    o.n_ctx = 0; /* 512 */
    measure("small", "graph", &o, QM_ERR_ARG);
    const char *path = in_tmp("cancelled.lp");
    o = (qm_perplexity_opts){.n_ctx = CHUNK, .on_chunk = stop, .out = path};
    measure("small", "graph", &o, QM_ERR_CANCELLED);
    char part[300];
    snprintf(part, sizeof part, "%s.part", path);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(part, F_OK), 0);
    o = (qm_perplexity_opts){.n_ctx = CHUNK, .out = "/nowhere/at/all.lp"};
    measure("small", "graph", &o, QM_ERR_IO);
    o = (qm_perplexity_opts){.base = "/nowhere/at/all.lp"};
    measure("small", "graph", &o, QM_ERR_IO);
    /* another vocabulary */
    uint32_t tokens[2] = {1, 2};
    qm_lp_seq q = {2, 0, 1, tokens};
    qm_lp_file f;
    qm_err e;
    qm_lp_record rec;
    fix_ok(qm_lp_create(&f, lp_path, NULL, 3, 3, &q, 1, &e), &e);
    fix_ok(qm_lp_record_alloc(&rec, 3, &e), &e);
    for (uint32_t i = 0; i < 3; i++) {
        rec.ids[i] = i;
        rec.logp[i] = -log(3);
    }
    rec.rest = -INFINITY;
    rec.next = NAN;
    assert_int_equal(qm_lp_finish(&f, &e), QM_ERR_ARG); /* a record is lacking */
    fix_ok(qm_lp_write(&f, &rec, &e), &e);
    fix_ok(qm_lp_finish(&f, &e), &e);
    qm_lp_close(&f);
    qm_lp_record_free(&rec);
    o = (qm_perplexity_opts){.base = lp_path};
    measure("small", "graph", &o, QM_ERR_ARG);
    qm_engine *g;
    qm_engine_opts eo = {.device = "sim", .f32_act = 1};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &eo, &e), QM_ERR_ARG);
}

/* A model that wants a BOS gets it as the first token of each chunk; others do not. */
static void test_bos(void **state) {
    (void)state;
    const char *path = in_tmp("bos.gguf");
    qm_synth_opts so = {.preset = "tiny", .seed = 7, .n_layers = 1, .n_vocab = 512, .n_ctx = 512};
    qm_err e;
    qm_gguf *h;
    qm_lp_file f;
    uint32_t bos = 0;
    fix_ok(qm_synth(path, &so, &e), &e);
    for (int want = 0; want < 2; want++) {
        fix_ok(qm_gguf_open(&h, path, &e), &e);
        const qm_kv *kv = qm_gguf_find(h, "tokenizer.ggml.add_bos_token");
        assert_non_null(kv);
        FILE *m = fopen(path, "r+b");
        assert_true(m && !fseek(m, (long)kv->file_off, SEEK_SET) && putc(want, m) == want && !fclose(m));
        assert_int_equal(qm_gguf_get_u32(h, "tokenizer.ggml.bos_token_id", &bos, &e), 1);
        qm_gguf_close(h);
        qm_engine *g;
        qm_engine_opts eo = {.executor = "ref", .n_ctx = CHUNK, .f32_act = 1};
        qm_perplexity_opts o = {.n_ctx = CHUNK, .out = lp_path, .k = 1};
        qm_perplexity_result r;
        fix_ok(qm_engine_open(&g, path, &eo, &e), &e);
        fix_ok(qm_perplexity(g, text, TEXT, &o, &r, &e), &e);
        qm_engine_close(g);
        fix_ok(qm_lp_open(&f, lp_path, &e), &e);
        for (int c = 0; c < CHUNKS; c++) {
            assert_int_equal(f.seqs[c].tokens[0], want ? bos : text[c * CHUNK]);
            assert_memory_equal(f.seqs[c].tokens + 1, text + c * CHUNK + 1, 4 * (CHUNK - 1));
        }
        qm_lp_close(&f);
    }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_kl_all),
        cmocka_unit_test(test_kl_top_k),
        cmocka_unit_test(test_kl_self),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_all_top_k),
        cmocka_unit_test(test_exact_remainder),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_bos),
    };
    return cmocka_run_group_tests_name("perplexity", tests, make, clean);
}
