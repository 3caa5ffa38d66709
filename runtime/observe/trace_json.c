/* trace_json.c: a trace as JSON. Numbers that are not finite are null: JSON has none. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/json.h"
#include "trace_report.h"

static json_t *count(uint64_t v) { return json_integer((json_int_t)v); }

static json_t *stats(const qm_trace_vector *s) {
    if (!s) return json_null();
    const qm_stats_record *r = &s->stats;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "min", qm_json_number(r->min), "max",
                     qm_json_number(r->max), "mean", qm_json_number(r->mean), "std_dev", qm_json_number(r->std_dev),
                     "l2", qm_json_number(r->l2), "nan_count", count(r->nans), "inf_count", count(r->infs),
                     "zero_count", count(r->zeros), "count", count(r->count));
}

static json_t *layer(const qm_trace_result *r, int l) {
    static const char *const shown[] = {"attn_norm", "qkv", "attn_out", "ffn_norm", "ffn_out", "output"};
    const qm_tracer *t = r->t;
    char status[192];
    qm_trace_layer_status(r, l, status, sizeof status);
    json_t *j = json_pack("{s:i, s:s}", "layer_idx", l, "status", status), *ids = json_array(), *weights = json_array(),
           *experts = json_array();
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        json_object_set_new(j, shown[i], stats(qm_tracer_find(t, l, shown[i], -1)));
    for (uint32_t k = 0; k < t->n_used; k++) {
        uint32_t id = t->ids[(uint32_t)l * t->n_used + k];
        double w = t->weights[(uint32_t)l * t->n_used + k];
        json_array_append_new(ids, count(id));
        json_array_append_new(weights, qm_json_number(w));
        json_t *e = stats(qm_tracer_find(t, l, "expert", (int)k));
        if (!json_is_object(e)) e = json_object();
        json_object_set_new(e, "id", count(id));
        json_object_set_new(e, "weight", qm_json_number(w));
        json_array_append_new(experts, e);
    }
    json_object_set_new(j, "router", json_pack("{s:o, s:o}", "ids", ids, "weights", weights));
    json_object_set_new(j, "experts", experts);
    return j;
}

static json_t *top(const qm_trace_result *r) {
    uint32_t k = r->o->top_k ? r->o->top_k : 5, n = r->info.n_vocab;
    if (k > n) k = n;
    uint32_t *ids = malloc(4ull * k);
    json_t *list = json_array();
    uint32_t have = ids ? qm_trace_top(r, k, ids) : 0;
    for (uint32_t i = 0; i < have; i++) {
        char text[256];
        json_array_append_new(list, json_pack("{s:o, s:o, s:s}", "token_id", count(ids[i]), "logit",
                                              qm_json_number(r->logits[ids[i]]), "text",
                                              qm_trace_token(r, ids[i], text, sizeof text)));
    }
    free(ids);
    return list;
}

static json_t *use(const qm_trace_result *r) {
    const qm_engine_info *m = &r->info;
    json_t *layers = json_array();
    for (uint32_t l = 0; l < m->n_layers; l++) {
        json_t *row = json_array();
        for (uint32_t x = 0; x < m->n_expert; x++) json_array_append_new(row, count(r->use[l * m->n_expert + x]));
        json_array_append_new(layers, row);
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "positions", count(r->n_positions), "num_experts", count(m->n_expert),
                     "num_experts_used", count(m->n_expert_used), "layers", layers);
}

static json_t *verdict(const qm_trace_result *r) {
    qm_trace_check c[QM_TRACE_CHECKS];
    int worst = qm_trace_verdict(r, c);
    json_t *list = json_array();
    for (int i = 0; i < QM_TRACE_CHECKS; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:s}", "name", c[i].name, "level",
                                              qm_trace_level_name(c[i].level), "value", qm_json_number(c[i].value),
                                              "limit", qm_json_number(c[i].limit), "text", c[i].text));
    return json_pack("{s:s, s:o}", "level", qm_trace_level_name(worst), "checks", list);
}

static json_t *difference(const qm_trace_result *r, const qm_difference *d) {
    return json_pack("{s:i, s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "op", d->op, "layer", d->layer, "slot",
                     d->slot, "tensor", d->tensor ? d->tensor : "output", "cosine", qm_json_number(d->cosine), "rel_l2",
                     qm_json_number(d->rel_l2), "count", count(d->n), "worst_index", count(d->worst), "got",
                     qm_json_number(d->got), "want", qm_json_number(d->want), "departs", qm_trace_departs(r, d));
}

static json_t *comparison(const qm_trace_result *r) {
    if (!r->o->compare) return json_null();
    json_t *list = json_array();
    for (int i = 0; i < r->n_diff; i++) json_array_append_new(list, difference(r, &r->diff[i]));
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:i, s:o}", "with", qm_json_str(r->o->compare), "mode",
                     r->by_op ? "op by op" : "whole runs", "min_cosine", qm_json_number(r->min_cosine), "max_rel_l2",
                     qm_json_number(r->max_rel_l2), "first_departure",
                     r->first >= 0 ? difference(r, &r->diff[r->first]) : json_null(), "missing", r->n_missing, "ops",
                     list);
}

json_t *qm_trace_json(const qm_trace_result *r) {
    const qm_engine_info *m = &r->info;
    json_t *ids = json_array(), *layers = json_array();
    char hash[17], step_hash[17], format[64];
    snprintf(hash, sizeof hash, "%016" PRIx64, r->logits_hash);
    snprintf(step_hash, sizeof step_hash, "%016" PRIx64, r->step_hash);
    snprintf(format, sizeof format, "GGUF (%s)", m->arch);
    for (size_t k = 0; k < r->n_ids; k++) json_array_append_new(ids, count(r->ids[k]));
    for (uint32_t l = 0; l < m->n_layers; l++) json_array_append_new(layers, layer(r, (int)l));
    json_t *j = json_object();
    json_object_set_new(j, "format", json_string(format));
    json_object_set_new(j, "architecture", json_string(m->arch));
    json_object_set_new(j, "model", json_string(m->name));
    json_object_set_new(j, "num_layers", count(m->n_layers));
    json_object_set_new(j, "hidden_dim", count(m->n_embd));
    json_object_set_new(j, "vocab_size", count(m->n_vocab));
    json_object_set_new(j, "num_heads", count(m->n_head));
    json_object_set_new(j, "num_kv_heads", count(m->n_kv_head));
    json_object_set_new(j, "device", json_pack("{s:s, s:s}", "id", m->device, "name", m->device_name));
    json_object_set_new(j, "executor", json_string(m->executor));
    json_object_set_new(j, "prompt", qm_json_text(r->prompt, r->n_prompt));
    json_object_set_new(j, "encoded_tokens", ids);
    json_object_set_new(j, "position", count(r->n_ids - 1));
    json_object_set_new(j, "embedding", stats(qm_tracer_find(r->t, -1, "embedding", -1)));
    json_object_set_new(j, "layers", layers);
    json_object_set_new(j, "final_norm", stats(qm_tracer_find(r->t, -1, "final_norm", -1)));
    json_object_set_new(j, "logits_stats", stats(qm_tracer_find(r->t, -1, "logits", -1)));
    json_object_set_new(j, "logits",
                        json_pack("{s:o, s:o, s:s, s:o}", "vocab_size", count(m->n_vocab), "l2_norm",
                                  qm_json_number(qm_trace_logits(r).l2), "hash", hash, "top_k", top(r)));
    json_object_set_new(j, "expert_use", use(r));
    json_object_set_new(j, "observation",
                        json_pack("{s:i, s:i, s:o, s:s, s:s, s:b}", "ops", r->t->plan->n_ops, "launches_between",
                                  r->t->n_points, "elements", count(r->t->n_values), "launched", "one by one",
                                  "executor_hash", step_hash, "same_logits", r->step_hash == r->logits_hash));
    json_object_set_new(j, "verdict", verdict(r));
    json_object_set_new(j, "compare", comparison(r));
    return j;
}
