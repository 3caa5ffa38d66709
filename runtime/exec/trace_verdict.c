/* trace_verdict.c: what to think of a trace: a word for each layer, a verdict on the whole. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "trace_out.h"

/* A residual stream this wide, or this much wider at the end than behind the first layer, has been the mark of a
 * broken layer elsewhere (no q/k norm: 40 to 100 times); the second alone proves nothing. */
static const double MAX_STD = 50, MAX_GROWTH = 40, MAX_GAP = 50, MIN_RANGE = 1e-3;
/* Positions from which on an expert chosen at all of them is worth a word; choices an expert should have had. */
enum { MIN_POSITIONS = 32, MIN_CHOICES = 20 };

const char *qm_trace_level_name(int level) {
    static const char *const names[] = {"OK", "NOTE", "BAD"};
    return names[level];
}

static const qm_stats_record *stats(const qm_trace_result *r, int layer, const char *name) {
    const qm_trace_slot *s = qm_tracer_find(r->t, layer, name, -1);
    return s ? &s->stats : NULL;
}

int qm_trace_layer_status(const qm_trace_result *r, int layer, char *to, size_t n) {
    for (int i = 0; i < r->t->n_slots; i++) {
        const qm_trace_slot *s = &r->t->slots[i];
        if (s->layer != layer || s->rank >= 0) continue;
        if (s->stats.nans || s->stats.infs) {
            snprintf(to, n, "%u NaN and %u inf of %u in %s", s->stats.nans, s->stats.infs, s->stats.count, s->name);
            return 0;
        }
        if (s->stats.zeros == s->stats.count) {
            snprintf(to, n, "%s is all zero", s->name);
            return 0;
        }
    }
    const qm_stats_record *out = stats(r, layer, "output");
    if (out && !(out->std_dev < MAX_STD)) {
        snprintf(to, n, "std %.4g of output, not below %g", out->std_dev, MAX_STD);
        return 0;
    }
    double sum = 0;
    for (uint32_t k = 0; k < r->t->n_used; k++) sum += r->t->weights[(uint32_t)layer * r->t->n_used + k];
    if (r->t->n_used && !(fabs(sum - 1) < 1e-5)) {
        snprintf(to, n, "router weights sum to %.7g", sum);
        return 0;
    }
    snprintf(to, n, "OK");
    return 1;
}

uint32_t qm_trace_top(const qm_trace_result *r, uint32_t k, uint32_t *ids) {
    uint32_t n = r->g->model->hp.n_vocab, have = 0;
    for (uint32_t v = 0; v < n; v++) {
        if (isnan(r->logits[v]) || (have == k && !(r->logits[v] > r->logits[ids[k - 1]]))) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && r->logits[v] > r->logits[ids[at - 1]]; at--) ids[at] = ids[at - 1];
        ids[at] = v;
    }
    return have;
}

qm_logits_range qm_trace_logits(const qm_trace_result *r) {
    qm_logits_range l = {.min = INFINITY, .max = -INFINITY};
    double squares = 0, second = -INFINITY;
    for (uint32_t v = 0; v < r->g->model->hp.n_vocab; v++) {
        double x = r->logits[v];
        if (!isfinite(x)) {
            l.n_odd++;
            continue;
        }
        squares += x * x;
        l.min = fmin(l.min, x);
        if (x > l.max) {
            second = l.max;
            l.max = x;
        } else {
            second = fmax(second, x);
        }
    }
    l.l2 = sqrt(squares);
    l.gap = isfinite(second) ? l.max - second : 0;
    return l;
}

static void oddities(const qm_trace_result *r, qm_trace_check *c) {
    qm_logits_range l = qm_trace_logits(r);
    const char *where = l.n_odd ? "logits" : NULL;
    int layer = -1;
    for (int i = r->t->n_slots - 1; i >= 0; i--) {
        const qm_trace_slot *s = &r->t->slots[i];
        if (!s->stats.nans && !s->stats.infs) continue;
        c->value += s->stats.nans + s->stats.infs;
        where = s->name; /* ends as the first of the step */
        layer = s->layer;
    }
    if (!where) {
        snprintf(c->text, sizeof c->text, "no NaN and no infinity anywhere");
        return;
    }
    c->level = QM_TRACE_BAD;
    char at[32] = "";
    if (layer >= 0) snprintf(at, sizeof at, "layer %d, ", layer);
    snprintf(c->text, sizeof c->text, "values that are not finite, first in %s%s", at, where);
}

static void deviations(const qm_trace_result *r, qm_trace_check *std, qm_trace_check *growth) {
    int n = (int)r->g->model->hp.n_layers, at = 0;
    const qm_stats_record *first = stats(r, 0, "output"), *last = stats(r, n - 1, "output");
    std->limit = MAX_STD;
    growth->limit = MAX_GROWTH;
    for (int i = 0; i < n; i++) {
        const qm_stats_record *s = stats(r, i, "output");
        if (s && s->std_dev > std->value) {
            std->value = s->std_dev;
            at = i;
        }
    }
    std->level = std->value < MAX_STD ? QM_TRACE_FINE : QM_TRACE_BAD;
    snprintf(std->text, sizeof std->text, "largest std of a layer's output is %.4g (layer %d), %s %g", std->value, at,
             std->level ? "not below" : "below", MAX_STD);
    growth->value = first && last && first->std_dev > 0 ? last->std_dev / first->std_dev : 0;
    growth->level = growth->value < MAX_GROWTH ? QM_TRACE_FINE : QM_TRACE_NOTE;
    snprintf(growth->text, sizeof growth->text, "std grows %.3g-fold from the first layer's output to the last%s", growth->value,
             growth->level ? "; 40-fold and more has been the mark of a missing q/k norm" : "");
}

static void logits(const qm_trace_result *r, qm_trace_check *c) {
    qm_logits_range l = qm_trace_logits(r);
    c->value = l.gap;
    c->limit = MAX_GAP;
    int flat = !(l.max - l.min > MIN_RANGE), gap = !(l.gap < MAX_GAP);
    c->level = flat || gap || l.n_odd ? QM_TRACE_BAD : QM_TRACE_FINE;
    snprintf(c->text, sizeof c->text, "logits from %.4g to %.4g, the best leads by %.4g%s", l.min, l.max, l.gap,
             flat ? ": they are all alike" : gap ? ": context hardly matters to it" : "");
}

static void experts(const qm_trace_result *r, qm_trace_check *c) {
    const qm_hparams *hp = &r->g->model->hp;
    uint64_t never = 0, always = 0;
    for (uint64_t i = 0; i < (uint64_t)hp->n_layers * hp->n_expert; i++) {
        never += r->use[i] == 0;
        always += r->use[i] == r->n_positions;
    }
    int enough = r->n_positions >= MIN_POSITIONS, fair = (uint64_t)r->n_positions * hp->n_used >= (uint64_t)MIN_CHOICES * hp->n_expert;
    c->value = (double)always;
    c->level = (enough && always && hp->n_used < hp->n_expert) || (fair && never) ? QM_TRACE_NOTE : QM_TRACE_FINE;
    snprintf(c->text, sizeof c->text, "over %u position%s: %llu of %llu experts never chosen, %llu always%s", r->n_positions,
             r->n_positions == 1 ? "" : "s", (unsigned long long)never, (unsigned long long)hp->n_layers * hp->n_expert,
             (unsigned long long)always, enough ? "" : " (too few to judge; --all-positions counts the whole prompt)");
}

int qm_trace_verdict(const qm_trace_result *r, qm_trace_check *c) {
    static const char *const names[QM_TRACE_CHECKS] = {"finite", "std", "growth", "logits", "experts"};
    int worst = QM_TRACE_FINE;
    memset(c, 0, QM_TRACE_CHECKS * sizeof *c);
    oddities(r, &c[0]);
    deviations(r, &c[1], &c[2]);
    logits(r, &c[3]);
    experts(r, &c[4]);
    for (int i = 0; i < QM_TRACE_CHECKS; i++) {
        c[i].name = names[i];
        if (c[i].level > worst) worst = c[i].level;
    }
    return worst;
}

/* Length of the UTF-8 character at s, 0 where there is none. */
static size_t character(const unsigned char *s, size_t n) {
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (!len || len > n || (len == 1 && (s[0] < 0x20 || s[0] == 0x7f))) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

char *qm_trace_token(const qm_engine *g, uint32_t id, char *to, size_t n) {
    qm_str b = qm_token_bytes(g->tok, id);
    size_t at = 0;
    for (size_t i = 0; i < b.n && at + 5 < n;) {
        size_t len = character((const unsigned char *)b.s + i, b.n - i);
        if (len) {
            memcpy(to + at, b.s + i, len);
            at += len;
            i += len;
        } else {
            at += (size_t)snprintf(to + at, n - at, "\\x%02x", (unsigned char)b.s[i]);
            i++;
        }
    }
    to[at] = 0;
    return to;
}
