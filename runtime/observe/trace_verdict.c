/* trace_verdict.c: what to think of a trace: a word for each layer, a verdict on the whole. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "trace_verdict.h"

/* A residual stream this wide, or this much wider at the end than after the first layer, has been the mark of a
 * broken layer elsewhere (no q/k norm: 40 to 100 times); the second alone proves nothing. Behind the last layer, where
 * only the final norm reads, which takes the scale away, a trained model may be wider: up to 286 over 2,700 positions of
 * the demo model, 18 times the layer before. A last layer that is wider than this on either count is broken all the
 * same. docs/trace.md, "What the verdict is worth", has the figures. */
static const double MAX_STD = 50, LAST_STD = 400, LAST_JUMP = 25, MAX_GROWTH = 40, MAX_GAP = 50, MIN_RANGE = 1e-3,
                    SUM_ERROR = 1e-5;
/* Positions from which on an expert chosen at all of them is worth a word; choices an expert should have had. */
enum { MIN_POSITIONS = 32, MIN_CHOICES = 20 };

const char *qm_trace_level_name(int level) {
    static const char *const names[] = {"OK", "NOTE", "BAD"};
    return names[level];
}

static const qm_stats_record *stats(const qm_trace_result *r, int layer, const char *name) {
    const qm_trace_vector *s = qm_tracer_find(r->t, layer, name, -1);
    return s ? &s->stats : NULL;
}

/* How wide a layer's output may be: QM_TRACE_*. */
static int width(const qm_trace_result *r, int layer) {
    const qm_stats_record *out = stats(r, layer, "output"), *before = stats(r, layer - 1, "output");
    if (!out || out->std_dev < MAX_STD) return QM_TRACE_FINE;
    if (layer + 1 < (int)r->info.n_layers || !(out->std_dev < LAST_STD)) return QM_TRACE_BAD;
    return before && !(out->std_dev < LAST_JUMP * before->std_dev) ? QM_TRACE_BAD : QM_TRACE_NOTE;
}

static double router_sum(const qm_trace_result *r, int layer) {
    double sum = 0;
    for (uint32_t k = 0; k < r->t->n_used; k++) sum += r->t->weights[(uint32_t)layer * r->t->n_used + k];
    return sum;
}

int qm_trace_layer_status(const qm_trace_result *r, int layer, char *to, size_t n) {
    for (int i = 0; i < r->t->n_vectors; i++) {
        const qm_trace_vector *s = &r->t->vectors[i];
        if (s->layer != layer || s->rank >= 0 || s->extra) continue;
        if (s->stats.nans || s->stats.infs) {
            snprintf(to, n, "%u NaN and %u inf of %u in %s", s->stats.nans, s->stats.infs, s->stats.count, s->name);
            return 0;
        }
        if (s->stats.zeros == s->stats.count) {
            snprintf(to, n, "%s is all zero", s->name);
            return 0;
        }
    }
    if (width(r, layer) == QM_TRACE_BAD) {
        snprintf(to, n, "std %.4g of output, not below %g", stats(r, layer, "output")->std_dev, MAX_STD);
        return 0;
    }
    double sum = router_sum(r, layer);
    if (r->t->n_used && !(fabs(sum - 1) < SUM_ERROR)) {
        snprintf(to, n, "router weights sum to %.7g", sum);
        return 0;
    }
    snprintf(to, n, "OK");
    return 1;
}

uint32_t qm_trace_top(const qm_trace_result *r, uint32_t k, uint32_t *ids) {
    uint32_t n = r->info.n_vocab, have = 0;
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
    for (uint32_t v = 0; v < r->info.n_vocab; v++) {
        double x = r->logits[v];
        if (!isfinite(x)) {
            l.n_nonfinite++;
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

/* "layer 2, ffn_norm" or "logits" */
static const char *where(const qm_trace_vector *s, char *to, size_t n) {
    if (s->layer >= 0) snprintf(to, n, "layer %d, %s", s->layer, s->name);
    else snprintf(to, n, "%s", s->name);
    return to;
}

static void all_finite(const qm_trace_result *r, qm_trace_check *c) {
    const qm_trace_vector *first = NULL;
    char at[64];
    for (int i = 0; i < r->t->n_vectors; i++) {
        const qm_trace_vector *s = &r->t->vectors[i];
        if (s->extra || (!s->stats.nans && !s->stats.infs)) continue;
        c->value += s->stats.nans + s->stats.infs;
        if (!first) first = s;
    }
    c->level = first ? QM_TRACE_BAD : QM_TRACE_FINE;
    if (first)
        snprintf(c->text, sizeof c->text, "values that are not finite, first in %s", where(first, at, sizeof at));
    else snprintf(c->text, sizeof c->text, "no NaN and no infinity anywhere");
}

static void zeros(const qm_trace_result *r, qm_trace_check *c) {
    const qm_trace_vector *first = NULL;
    char at[64];
    for (int i = 0; i < r->t->n_vectors; i++) {
        const qm_trace_vector *s = &r->t->vectors[i];
        if (s->extra || s->rank >= 0 || s->stats.zeros < s->stats.count) continue;
        c->value++;
        if (!first) first = s;
    }
    c->level = first ? QM_TRACE_BAD : QM_TRACE_FINE;
    if (first)
        snprintf(c->text, sizeof c->text, "vectors that are all zero: %.0f, first %s", c->value,
                 where(first, at, sizeof at));
    else snprintf(c->text, sizeof c->text, "no vector is all zero");
}

static void deviations(const qm_trace_result *r, qm_trace_check *std, qm_trace_check *growth) {
    int n = (int)r->info.n_layers, at = 0, from = -1;
    char since[32] = "";
    const qm_stats_record *first = stats(r, 0, "output"), *last = stats(r, n - 1, "output");
    std->limit = MAX_STD;
    growth->limit = MAX_GROWTH;
    for (int i = 0; i < n; i++) { /* the widest of the worst */
        const qm_stats_record *s = stats(r, i, "output");
        int level = width(r, i);
        if (from < 0 && level == QM_TRACE_BAD) from = i;
        if (!s || level < std->level || (level == std->level && !(s->std_dev > std->value))) continue;
        std->level = level;
        std->value = s->std_dev;
        at = i;
    }
    if (from >= 0 && from != at) snprintf(since, sizeof since, "; the first is layer %d", from);
    snprintf(std->text, sizeof std->text, "largest std of a layer's output is %.4g (layer %d), %s %g%s%s", std->value,
             at, std->level ? "not below" : "below", MAX_STD, since,
             std->level == QM_TRACE_NOTE
                 ? "; behind the last layer, where only the final norm reads, a trained model may be that wide"
                 : "");
    growth->value = first && last && first->std_dev > 0 ? last->std_dev / first->std_dev : 0;
    growth->level = growth->value < MAX_GROWTH ? QM_TRACE_FINE : QM_TRACE_NOTE;
    snprintf(growth->text, sizeof growth->text, "std grows %.3g-fold from the first layer's output to the last%s",
             growth->value, growth->level ? "; 40-fold and more has been the mark of a missing q/k norm" : "");
}

static void routers(const qm_trace_result *r, qm_trace_check *c) {
    int n = r->t->n_used ? (int)r->info.n_layers : 0, at = -1;
    c->limit = SUM_ERROR;
    for (int i = 0; i < n; i++) {
        double off = fabs(router_sum(r, i) - 1);
        if (at >= 0 && off <= c->value) continue;
        c->value = off;
        at = i;
        if (isnan(off)) break;
    }
    c->level = at < 0 || c->value < c->limit ? QM_TRACE_FINE : QM_TRACE_BAD;
    if (at < 0) snprintf(c->text, sizeof c->text, "no router in this step");
    else if (!c->level)
        snprintf(c->text, sizeof c->text, "router weights sum to 1 in every layer, within %.1g", c->limit);
    else snprintf(c->text, sizeof c->text, "router weights sum to %.7g in layer %d, not to 1", router_sum(r, at), at);
}

static void logits(const qm_trace_result *r, qm_trace_check *c) {
    qm_logits_range l = qm_trace_logits(r);
    uint32_t n = r->info.n_vocab;
    c->value = l.gap;
    c->limit = MAX_GAP;
    if (l.n_nonfinite) {
        c->level = QM_TRACE_BAD;
        snprintf(c->text, sizeof c->text, "%u of %u logits are not finite", l.n_nonfinite, n);
        return;
    }
    int flat = !(l.max - l.min > MIN_RANGE), gap = !(l.gap < MAX_GAP);
    c->level = flat || gap ? QM_TRACE_BAD : QM_TRACE_FINE;
    snprintf(c->text, sizeof c->text, "logits from %.4g to %.4g, the best leads by %.4g%s", l.min, l.max, l.gap,
             flat  ? ": they are all alike"
             : gap ? ": context hardly matters to it"
                   : "");
}

static void experts(const qm_trace_result *r, qm_trace_check *c) {
    const qm_engine_info *m = &r->info;
    uint64_t n = (uint64_t)m->n_layers * m->n_expert, never = 0, always = 0, first_never = 0, first_always = 0;
    for (uint64_t i = n; i-- > 0;) {
        if (!r->use[i]) never++, first_never = i;
        if (r->use[i] == r->n_positions) always++, first_always = i;
    }
    int enough = r->n_positions >= MIN_POSITIONS,
        fair = (uint64_t)r->n_positions * m->n_expert_used >= (uint64_t)MIN_CHOICES * m->n_expert;
    if (!n) {
        snprintf(c->text, sizeof c->text, "the model has no experts");
        return;
    }
    int too_often = enough && always && m->n_expert_used < m->n_expert, too_rare = fair && never;
    char which[96] = "";
    size_t at = 0;
    if (too_rare)
        at = (size_t)snprintf(which, sizeof which, "; never: layer %u, expert %u",
                              (unsigned)(first_never / m->n_expert), (unsigned)(first_never % m->n_expert));
    if (too_often)
        snprintf(which + at, sizeof which - at, "; always: layer %u, expert %u", (unsigned)(first_always / m->n_expert),
                 (unsigned)(first_always % m->n_expert));
    c->value = (double)always;
    c->level = too_often || too_rare ? QM_TRACE_NOTE : QM_TRACE_FINE;
    snprintf(c->text, sizeof c->text, "over %u position%s: %llu of %llu experts never chosen, %llu always%s%s",
             r->n_positions, r->n_positions == 1 ? "" : "s", (unsigned long long)never, (unsigned long long)n,
             (unsigned long long)always, which,
             enough ? "" : " (too few to judge; --all-positions counts the whole prompt)");
}

int qm_trace_verdict(const qm_trace_result *r, qm_trace_check *c) {
    static const char *const names[QM_TRACE_CHECKS] = {"finite", "zero",   "std",    "growth",
                                                       "router", "logits", "experts"};
    int worst = QM_TRACE_FINE;
    memset(c, 0, QM_TRACE_CHECKS * sizeof *c);
    all_finite(r, &c[0]);
    zeros(r, &c[1]);
    deviations(r, &c[2], &c[3]);
    routers(r, &c[4]);
    logits(r, &c[5]);
    experts(r, &c[6]);
    for (int i = 0; i < QM_TRACE_CHECKS; i++) {
        c[i].name = names[i];
        if (c[i].level > worst) worst = c[i].level;
    }
    return worst;
}
