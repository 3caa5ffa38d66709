/* perplexity.c: perplexity of a text, and KL against log-probabilities that someone else computed. */
#include "perplexity.h"
#include "../base/clock.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Below this lead, in nats, two tokens are as good as equally likely: rounding may decide. */
static const double NEAR = 0.1;
enum { DEFAULT_CHUNK = 512 };

typedef struct {
    qm_position_fn fn;
    void *user;
    uint32_t seq, first;
    qm_err *e;
    int rc;
} scored;
static int on_logits(void *user, uint32_t i, const float *logits) {
    scored *x = user;
    return x->rc = x->fn(x->user, x->seq, x->first + i, logits, x->e);
}

int qm_score_sequence(qm_session *s, uint32_t seq, const qm_lp_seq *q, qm_position_fn fn, void *user,
                      const qm_watch *watch, qm_err *e) {
    const qm_engine *g = qm_inside_engine(s);
    const uint32_t n_vocab = qm_inside_model(g)->hp.n_vocab;
    qm_engine_info info;
    qm_err own = {0};
    scored x = {fn, user, seq, q->first, &own, 0};
    qm_engine_get_info(g, &info);
    if (q->end > info.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "sequence %u: %u tokens exceed the context of %u", seq, q->end, info.n_ctx);
    for (uint32_t i = 0; i < q->end; i++) /* before any work */
        if (q->tokens[i] >= n_vocab)
            return qm_fail(e, QM_ERR_ARG, "sequence %u, token %u: id %u is outside the vocabulary of %u", seq, i,
                           q->tokens[i], n_vocab);
    int rc = qm_session_truncate(s, 0, e);
    if (!rc && q->first) rc = qm_inside_append(s, q->tokens, q->first, watch, NULL, e);
    if (!rc && q->end > q->first)
        rc = qm_inside_score(s, q->tokens + q->first, q->end - q->first, watch, on_logits, &x, e);
    if (x.rc && e) *e = own; /* why fn would not go on */
    return x.rc ? x.rc : rc;
}

/* log(1 - exp(x)) for x < 0 */
static double log1mexp(double x) { return x > -0.693 ? log(-expm1(x)) : log1p(-exp(x)); }

qm_apart qm_compare(const float *logits, uint32_t n_vocab, const qm_lp_record *base, unsigned char *in) {
    qm_apart a = {.lead = INFINITY};
    double lse = qm_log_sum_exp(logits, n_vocab), named = 0, second = -INFINITY;
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[a.top]) a.top = i;
    uint32_t best = 0;
    for (uint32_t i = 0; i < base->k; i++) {
        uint32_t id = base->ids[i];
        double p = exp(base->logp[i]), ours = (double)logits[id] - lse;
        if (p > 0) a.kl += p * (base->logp[i] - ours);
        named += exp(ours);
        in[id] = 1;
        if (base->logp[i] > base->logp[best] || (base->logp[i] >= base->logp[best] && id < base->ids[best])) best = i;
    }
    for (uint32_t i = 0; i < base->k; i++)
        if (i != best && base->logp[i] > second) second = base->logp[i];
    a.base_top = base->ids[best];
    a.lead = base->logp[best] - second;
    if (base->k < n_vocab && exp(base->rest) > 0) {
        double rest = log1mexp(fmin(log(named), -1e-300));
        if (named > 1 - 1e-6) { /* the difference is all rounding: add up */
            double sum = 0;
            for (uint32_t i = 0; i < n_vocab; i++)
                if (!in[i]) sum += exp((double)logits[i] - lse);
            rest = log(sum);
        }
        a.kl += exp(base->rest) * (base->rest - rest);
    }
    for (uint32_t i = 0; i < base->k; i++) in[base->ids[i]] = 0;
    return a;
}

/* ---- the whole text ---- */

typedef struct {
    const qm_perplexity_opts *o;
    uint32_t n_vocab;
    const qm_lp_seq *seqs;
    uint32_t n_seqs;
    qm_lp_file base, out; /* .f, .out NULL: none */
    qm_lp_record rec;     /* read, or to be written */
    qm_lp_record mine;
    uint32_t *tmp;     /* [n_vocab] */
    unsigned char *in; /* [n_vocab] */
    double *kl;        /* [base.n_records] */
    uint64_t n_kl;
    double sum, sum2; /* of -log p(next) */
    double base_sum, dp, dp2, rest;
    qm_perplexity_result *r;
    qm_session *s;
    uint64_t n_before, n_all; /* tokens of the sequences before this one; of all */
} run;

static double so_far(const run *x) { return x->r->n_scored ? exp(x->sum / (double)x->r->n_scored) : 0; }

static int on_position(void *user, uint32_t done, uint32_t of) {
    run *x = user;
    uint32_t computed = qm_session_length(x->s) - of + done; /* of: of this piece of the sequence */
    return x->o->on_position(x->o->user, x->n_before + computed, x->n_all, x->r->n_seqs + 1, x->n_seqs, so_far(x));
}

static int divergence(run *x, uint32_t seq, uint32_t pos, const float *logits, double logp_next, qm_err *e) {
    qm_divergence *d = &x->r->kl;
    int rc = qm_lp_read(&x->base, &x->rec, e);
    if (rc) return rc;
    qm_apart a = qm_compare(logits, x->n_vocab, &x->rec, x->in);
    if (!isfinite(a.kl))
        return qm_fail(e, QM_ERR_DEVICE, "sequence %u, position %u: the KL divergence is not finite", seq, pos);
    if (!x->n_kl || a.kl > d->max) {
        d->max = a.kl;
        d->max_seq = seq;
        d->max_pos = pos;
    }
    x->kl[x->n_kl++] = a.kl;
    x->rest += exp(x->rec.rest);
    if (a.top == a.base_top) d->n_same++;
    else if (a.lead < NEAR) d->n_near++;
    if (!isnan(x->rec.next) && !isnan(logp_next)) {
        double dp = exp(logp_next) - exp(x->rec.next);
        d->n_next++;
        x->base_sum -= x->rec.next;
        x->dp += dp;
        x->dp2 += dp * dp;
    }
    return 0;
}

static int position(void *user, uint32_t seq, uint32_t pos, const float *logits, qm_err *e) {
    run *x = user;
    const qm_lp_seq *q = &x->seqs[seq];
    uint32_t next = pos + 1 < q->n_tokens ? q->tokens[pos + 1] : UINT32_MAX;
    double logp = NAN;
    if (next != UINT32_MAX) {
        logp = (double)logits[next] - qm_log_sum_exp(logits, x->n_vocab);
        x->sum -= logp;
        x->sum2 += logp * logp;
        x->r->n_scored++;
    }
    int rc = x->base.f ? divergence(x, seq, pos, logits, logp, e) : 0;
    if (!rc && x->out.out) {
        qm_lp_from_logits(&x->mine, logits, x->n_vocab, x->out.k, next, x->tmp);
        rc = qm_lp_write(&x->out, &x->mine, e);
    }
    return rc;
}

static int ascending(const void *a, const void *b) {
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* v sorted: between neighbours in proportion */
static double percentile(const double *v, uint64_t n, double p) {
    double at = p * (double)(n - 1);
    uint64_t i = (uint64_t)at;
    return i + 1 < n ? v[i] + (at - (double)i) * (v[i + 1] - v[i]) : v[n - 1];
}

/* Standard error of a mean, from sums of n values and of their squares. */
static double mean_err(double sum, double sum2, uint64_t n) {
    if (n < 2) return 0;
    double m = sum / (double)n, var = sum2 / (double)n - m * m;
    return var > 0 ? sqrt(var / (double)(n - 1)) : 0;
}

static void conclude(run *x) {
    qm_perplexity_result *r = x->r;
    qm_divergence *d = &r->kl;
    double n = (double)r->n_scored;
    if (r->n_scored) {
        r->nll = x->sum / n;
        r->ppl = exp(r->nll);
        r->err = r->ppl * mean_err(x->sum, x->sum2, r->n_scored);
    }
    if (!x->n_kl) return;
    double sum = 0, sum2 = 0;
    for (uint64_t i = 0; i < x->n_kl; i++) {
        sum += x->kl[i];
        sum2 += x->kl[i] * x->kl[i];
    }
    qsort(x->kl, x->n_kl, sizeof *x->kl, ascending);
    d->n = x->n_kl;
    d->mean = sum / (double)d->n;
    d->err = mean_err(sum, sum2, d->n);
    d->min = x->kl[0];
    d->median = percentile(x->kl, d->n, 0.5);
    d->p90 = percentile(x->kl, d->n, 0.9);
    d->p95 = percentile(x->kl, d->n, 0.95);
    d->p99 = percentile(x->kl, d->n, 0.99);
    d->p999 = percentile(x->kl, d->n, 0.999);
    d->rest_mass = x->rest / (double)d->n;
    if (!d->n_next) return;
    d->base_ppl = exp(x->base_sum / (double)d->n_next);
    d->mean_dp = x->dp / (double)d->n_next;
    d->rms_dp = sqrt(x->dp2 / (double)d->n_next);
}

/* The text as sequences; the tokens are copied where a BOS token goes in. */
static int cut(const qm_engine *g, const uint32_t *tokens, size_t n, const qm_perplexity_opts *o, qm_lp_seq **out,
               uint32_t **copy, uint32_t *n_seqs, qm_err *e) {
    uint32_t c = o->n_ctx ? o->n_ctx : DEFAULT_CHUNK, bos = 0;
    int add = 0;
    if (c < 4) return qm_fail(e, QM_ERR_ARG, "chunks of %u tokens: at least 4", c);
    if (n < c)
        return qm_fail(e, QM_ERR_ARG,
                       "the text has %zu tokens, which is less than one chunk of %u: give a longer text or "
                       "a smaller context",
                       n, c);
    size_t k = n / c;
    if (o->max_chunks && k > o->max_chunks) k = o->max_chunks;
    if (k > UINT32_MAX / c) return qm_fail(e, QM_ERR_LIMIT, "the text has %zu tokens: too many", n);
    int rc = qm_gguf_get_bool(qm_inside_gguf(g), "tokenizer.ggml.add_bos_token", &add, e);
    if (rc > 0 && add) {
        rc = qm_gguf_get_u32(qm_inside_gguf(g), "tokenizer.ggml.bos_token_id", &bos, e);
        if (!rc) return qm_fail(e, QM_ERR_FORMAT, "tokenizer.ggml.add_bos_token is set, but there is no bos_token_id");
    }
    if (rc < 0) return rc;
    *out = calloc(k, sizeof **out);
    *copy = malloc(4 * k * c);
    if (!*out || !*copy) return qm_fail(e, QM_ERR_NOMEM, "perplexity: out of memory");
    memcpy(*copy, tokens, 4 * k * c);
    for (size_t i = 0; i < k; i++) {
        (*out)[i] = (qm_lp_seq){c, c / 2, c - 1, *copy + i * c};
        if (add) (*copy)[i * c] = bos;
    }
    *n_seqs = (uint32_t)k;
    return 0;
}

static int prepare(run *x, qm_err *e) {
    const qm_perplexity_opts *o = x->o;
    int rc = 0;
    x->tmp = malloc(4ull * x->n_vocab);
    x->in = calloc(x->n_vocab, 1);
    if (!x->tmp || !x->in) return qm_fail(e, QM_ERR_NOMEM, "perplexity: out of memory");
    if (x->base.f) {
        if (!(x->kl = malloc(x->base.n_records * sizeof *x->kl)))
            return qm_fail(e, QM_ERR_NOMEM, "perplexity: out of memory");
        if ((rc = qm_lp_record_alloc(&x->rec, x->base.k, e))) return rc;
    }
    if (!o->out) return 0;
    uint32_t k = o->k && o->k < x->n_vocab ? o->k : x->n_vocab;
    if ((rc = qm_lp_record_alloc(&x->mine, k, e))) return rc;
    return qm_lp_create(&x->out, o->out, o->note, x->n_vocab, k, x->seqs, x->n_seqs, e);
}

int qm_perplexity(qm_engine *g, const uint32_t *tokens, size_t n, const qm_perplexity_opts *o, qm_perplexity_result *r,
                  qm_err *e) {
    run x = {.o = o, .n_vocab = qm_inside_model(g)->hp.n_vocab, .r = r};
    qm_session *s = NULL;
    qm_lp_seq *own = NULL;
    uint32_t *copy = NULL;
    double start = qm_now();
    int rc = 0;
    *r = (qm_perplexity_result){0};
    if (o->base) {
        if (tokens)
            rc = qm_fail(e, QM_ERR_ARG, "perplexity: a text and a base at once: the base brings its own tokens");
        if (!rc) rc = qm_lp_open(&x.base, o->base, e);
        if (!rc && x.base.n_vocab != x.n_vocab)
            rc = qm_fail(e, QM_ERR_ARG, "%s: made by a model with a vocabulary of %u; this one has %u", o->base,
                         x.base.n_vocab, x.n_vocab);
        x.seqs = x.base.seqs;
        x.n_seqs = x.base.n_seqs;
        if (o->max_chunks && x.n_seqs > o->max_chunks) x.n_seqs = o->max_chunks;
    } else {
        rc = cut(g, tokens, n, o, &own, &copy, &x.n_seqs, e);
        x.seqs = own;
    }
    if (!rc) rc = prepare(&x, e);
    if (!rc) rc = qm_session_open(&s, g, e);
    x.s = s;
    for (uint32_t i = 0; i < x.n_seqs && !rc; i++) x.n_all += x.seqs[i].end;
    qm_watch watch = {.on_prefill = on_position, .user = &x};
    for (uint32_t i = 0; i < x.n_seqs && !rc; i++) {
        if ((rc = qm_score_sequence(s, i, &x.seqs[i], position, &x, o->on_position ? &watch : NULL, e))) break;
        r->n_seqs++;
        r->n_tokens += x.seqs[i].end;
        x.n_before = r->n_tokens;
        if (o->on_chunk && o->on_chunk(o->user, i + 1, x.n_seqs, so_far(&x)))
            rc = qm_fail(e, QM_ERR_CANCELLED, "perplexity: cancelled");
    }
    if (!rc && x.out.out) rc = qm_lp_finish(&x.out, e);
    if (!rc) conclude(&x);
    r->seconds = qm_now() - start;
    qm_session_close(s);
    qm_lp_close(&x.base);
    qm_lp_close(&x.out);
    qm_lp_record_free(&x.rec);
    qm_lp_record_free(&x.mine);
    free(own);
    free(copy);
    free(x.tmp);
    free(x.in);
    free(x.kl);
    return rc;
}
