/* trace_text.c: a trace as text for people. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"
#include "trace_report.h"

const char *qm_trace_token(const qm_trace_result *r, uint32_t id, char *to, size_t n) {
    size_t bytes = 0;
    const char *piece = qm_engine_piece(r->g, id, &bytes);
    return qm_text_show(to, n, piece, bytes);
}

static void head(qm_printer *o, const qm_trace_result *r) {
    const qm_engine_info *i = &r->info;
    char text[128], experts[48] = "no experts";
    if (i->n_expert) snprintf(experts, sizeof experts, "%u of %u experts", i->n_expert_used, i->n_expert);
    qm_print(o, "trace of %s (%s, %u layers of %u, %s) on %s\n", i->name[0] ? i->name : "a model", i->arch, i->n_layers,
             i->n_embd, experts, i->device);
    qm_print(
        o,
        "position %zu of %zu tokens, token %u '%s'; %d ops, launched one by one, observed by %d launches in between\n",
        r->n_ids - 1, r->n_ids, r->ids[r->n_ids - 1], qm_trace_token(r, r->ids[r->n_ids - 1], text, sizeof text),
        r->t->plan->n_ops, r->t->n_points);
    if (r->step_hash == r->logits_hash) qm_print(o, "the same step by executor %s: the same logits\n\n", i->executor);
    else
        qm_print(o, "the same step by executor %s: OTHER LOGITS, hash %016llx\n\n", i->executor,
                 (unsigned long long)r->step_hash);
}

static double std_of(const qm_trace_result *r, int layer, const char *name) {
    const qm_trace_vector *s = qm_tracer_find(r->t, layer, name, -1);
    return s ? s->stats.std_dev : 0;
}

static void vector_line(qm_printer *o, const qm_trace_vector *s, const qm_trace_result *r) {
    char name[48];
    const qm_stats_record *v = &s->stats;
    snprintf(name, sizeof name, "%s", s->name);
    if (s->rank >= 0)
        snprintf(name, sizeof name, "expert %u", r->t->ids[(uint32_t)s->layer * r->t->n_used + (uint32_t)s->rank]);
    qm_print(o,
             "      %-12s min %11.4g  max %11.4g  mean %11.4g  std %10.4g  l2 %10.4g  NaN %u  inf %u  zero %u  of %u\n",
             name, v->min, v->max, v->mean, v->std_dev, v->l2, v->nans, v->infs, v->zeros, v->count);
}

static void layers(qm_printer *o, const qm_trace_result *r) {
    static const char *const shown[] = {"attn_norm", "qkv", "attn_out", "ffn_norm", "ffn_out", "output"};
    qm_print(o, "std of   embedding %.4g\n", std_of(r, -1, "embedding"));
    qm_print(o, "layer");
    for (int k = 0; k < 6; k++) qm_print(o, " %9s", shown[k]);
    qm_print(o, "   %-24s %-30s\n", "output's range", "experts, by weight");
    for (int l = 0; l < (int)r->info.n_layers; l++) {
        char status[192], chosen[64] = "", range[48] = "";
        int ok = qm_trace_layer_status(r, l, status, sizeof status);
        const qm_trace_vector *s = qm_tracer_find(r->t, l, "output", -1);
        if (s) snprintf(range, sizeof range, "%.4g .. %.4g", s->stats.min, s->stats.max);
        size_t n = 0;
        for (uint32_t k = 0; k < r->t->n_used && n < 26; k++)
            n += (size_t)snprintf(chosen + n, sizeof chosen - n, "%u ", r->t->ids[(uint32_t)l * r->t->n_used + k]);
        qm_print(o, "%5d", l);
        for (int k = 0; k < 6; k++) qm_print(o, " %9.4g", std_of(r, l, shown[k]));
        qm_print(o, "   %-24s %-30s [%s]\n", range, chosen, ok ? "OK" : status);
        for (int i = 0; r->o->verbose && i < r->t->n_vectors; i++)
            if (r->t->vectors[i].layer == l) vector_line(o, &r->t->vectors[i], r);
    }
}

static void ends(qm_printer *o, const qm_trace_result *r) {
    const qm_trace_vector *s = qm_tracer_find(r->t, -1, "final_norm", -1);
    qm_logits_range l = qm_trace_logits(r);
    uint32_t k = r->o->top_k ? r->o->top_k : 5, n = r->info.n_vocab;
    if (k > n) k = n;
    if (s) qm_print(o, "\nfinal norm  %.4g .. %.4g, std %.4g\n", s->stats.min, s->stats.max, s->stats.std_dev);
    qm_print(o, "logits      %.4g .. %.4g, L2 %.6g, hash %016llx\n", l.min, l.max, l.l2,
             (unsigned long long)r->logits_hash);
    uint32_t *ids = malloc(4ull * k);
    for (uint32_t i = 0, have = ids ? qm_trace_top(r, k, ids) : 0; i < have; i++) {
        char text[128];
        qm_print(o, "  %u. %9.4f  %6u  '%s'\n", i + 1, r->logits[ids[i]], ids[i],
                 qm_trace_token(r, ids[i], text, sizeof text));
    }
    free(ids);
}

static void verdict(qm_printer *o, const qm_trace_result *r) {
    qm_trace_check c[QM_TRACE_CHECKS];
    int worst = qm_trace_verdict(r, c);
    qm_print(o, "\nverdict: %s\n", qm_trace_level_name(worst));
    for (int i = 0; i < QM_TRACE_CHECKS; i++) qm_print(o, "  [%s] %s\n", qm_trace_level_name(c[i].level), c[i].text);
}

/* ---- comparisons ---- */
static void difference_line(qm_printer *o, const qm_trace_result *r, const qm_difference *d) {
    char layer[16] = "-";
    if (d->layer >= 0) snprintf(layer, sizeof layer, "%d", d->layer);
    qm_print(o, "  %5s %-14s %-8s cosine %.9f  relative L2 %9.3g  worst [%u]: %.6g, expected %.6g%s\n", layer, d->slot,
             d->tensor, d->cosine, d->rel_l2, d->worst, d->got, d->want, qm_trace_departs(r, d) ? "  DEPARTS" : "");
}

/* The worst of a layer's comparisons on a line. */
static void by_layer(qm_printer *o, const qm_trace_result *r) {
    for (int i = 0; i < r->n_diff;) {
        int worst = i, n = 0, layer = r->diff[i].layer;
        for (; i < r->n_diff && r->diff[i].layer == layer; i++, n++)
            if (qm_difference_worse(&r->diff[i], &r->diff[worst])) worst = i;
        difference_line(o, r, &r->diff[worst]);
    }
}

static void comparison(qm_printer *o, const qm_trace_result *r) {
    double cosine = 1, rel = 0;
    int n = 0;
    for (int i = 0; i < r->n_diff; i++) {
        cosine = fmin(cosine, r->diff[i].cosine);
        rel = fmax(rel, r->diff[i].rel_l2);
        n += qm_trace_departs(r, &r->diff[i]);
    }
    qm_print(o,
             "\ncompared with %s, %s; the worst of each layer (departs: cosine below %.6g or relative L2 above %.3g)\n",
             !strcmp(r->o->compare, "ref") ? "the C references" : r->o->compare,
             r->by_op ? "op by op, each from the device's inputs" : "both having computed the prompt on their own",
             r->min_cosine, r->max_rel_l2);
    if (r->o->verbose)
        for (int i = 0; i < r->n_diff; i++) difference_line(o, r, &r->diff[i]);
    else by_layer(o, r);
    qm_print(o, "%d compared, lowest cosine %.9f, largest relative L2 %.3g%s\n", r->n_diff, cosine, rel,
             n ? "" : ": nothing departs");
    if (r->n_missing) qm_print(o, "%d vectors of the trace have no file there\n", r->n_missing);
    if (r->first < 0) return;
    const qm_difference *d = &r->diff[r->first];
    char where[32] = "";
    if (d->layer >= 0) snprintf(where, sizeof where, "layer %d, ", d->layer);
    qm_print(o,
             "%d depart; FIRST DEPARTURE: op %d, %s%s, %s: cosine %.9f, relative L2 %.3g, worst at %u of %u: %.6g, "
             "expected %.6g\n",
             n, d->op, where, d->slot, d->tensor, d->cosine, d->rel_l2, d->worst, d->n, d->got, d->want);
}

void qm_trace_text(qm_printer *o, const qm_trace_result *r) {
    head(o, r);
    layers(o, r);
    ends(o, r);
    verdict(o, r);
    if (r->o->compare) comparison(o, r);
}
