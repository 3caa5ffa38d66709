/* sampling_defaults.c: how a model's author wants its tokens chosen: the file's general.sampling.*, in llama.cpp's key
 * names; what the file does not say is llama.cpp's own default. This is advice, not what the model computes: what it
 * asks for and is not to be had is a warning that names it, and does not keep the model from running. */
#include <stdio.h>
#include <string.h>
#include "engine.h"

typedef struct {
    const char *key;
    double lo, hi, otherwise;
} range;

static double get(const qm_gguf *f, range r) {
    qm_err e;
    float v;
    int found = qm_gguf_get_f32(f, r.key, &v, &e);
    if (found < 0) qm_log(QM_LOG_WARN, "%s; %g is used", e.msg, r.otherwise);
    if (found <= 0) return r.otherwise;
    if (v >= r.lo && v <= r.hi) return v;
    qm_log(QM_LOG_WARN, "%s: %s is %g, outside %g .. %g; %g is used", qm_gguf_path(f), r.key, v, r.lo, r.hi,
           r.otherwise);
    return r.otherwise;
}

#define SEQUENCE "general.sampling.sequence"

/* The order of the samplers; p->samplers stays as it is where there is none that holds. */
static void get_sequence(const qm_gguf *f, qm_sampling *p) {
    qm_sampling with = *p;
    qm_str s;
    qm_err e;
    char text[256];
    int found = qm_gguf_get_str(f, SEQUENCE, &s, &e);
    if (!found) return;
    if (found > 0) {
        int bad = s.n >= sizeof text || memchr(s.s, 0, s.n);
        snprintf(text, sizeof text, "%.*s", bad ? 0 : (int)s.n, s.s);
        found = bad ? qm_fail(&e, QM_ERR_ARG, "not a list of samplers") : qm_samplers_parse(with.samplers, text, 0, &e);
        if (!found) found = qm_sampling_check(&with, &e); /* penalties come first */
        if (!found) *p = with;
        else qm_err_prefix(&e, "%s: " SEQUENCE, qm_gguf_path(f));
    }
    if (found) qm_log(QM_LOG_WARN, "%s; the default order is used", e.msg);
}

/* What llama.cpp would do by these keys and this program does not. */
static void say_what_is_missing(const qm_gguf *f) {
    static const char *const known[] = {"temp",           "top_k",          "top_p",    "min_p",
                                        "penalty_repeat", "penalty_last_n", "sequence", "xtc_threshold",
                                        "mirostat_tau",   "mirostat_eta"}; /* the last three alone do nothing */
    const char *prefix = "general.sampling.";
    for (size_t i = 0; i < qm_gguf_n_kv(f); i++) {
        qm_str key = qm_gguf_kv_at(f, i)->key;
        size_t n = strlen(prefix), k = 0, n_known = sizeof known / sizeof *known;
        if (key.n < n || memcmp(key.s, prefix, n)) continue;
        key.s += n;
        key.n -= n;
        while (k < n_known && (strlen(known[k]) != key.n || memcmp(known[k], key.s, key.n))) k++;
        if (k < n_known) continue;
        char name[64];
        float v;
        qm_err e;
        snprintf(name, sizeof name, "%s%.*s", prefix, (int)(key.n < 32 ? key.n : 32), key.s);
        int found = qm_gguf_get_f32(f, name, &v, &e);
        if (found > 0 && v == 0) continue; /* off */
        if (found > 0)
            qm_log(QM_LOG_WARN, "%s: %s is %g; this is not supported, and left out", qm_gguf_path(f), name, v);
        else qm_log(QM_LOG_WARN, "%s: %s is not supported, and left out", qm_gguf_path(f), name);
    }
}

void qm_engine_sampling(const qm_engine *g, qm_sampling *p) {
    const qm_gguf *f = g->gguf;
    double most = INT32_MAX;
    *p = (qm_sampling){
        .temperature = (float)get(f, (range){"general.sampling.temp", -1000, 1000, 0.8}),
        .top_k = (int32_t)get(f, (range){"general.sampling.top_k", -most, most - 128, 40}), /* a float below 2^31 */
        .top_p = get(f, (range){"general.sampling.top_p", 0, 1, 0.95}),
        .min_p = get(f, (range){"general.sampling.min_p", 0, 1, 0.05}),
        .repeat_penalty = (float)get(f, (range){"general.sampling.penalty_repeat", 0.01, 100, 1}),
        .repeat_last_n = (int32_t)get(f, (range){"general.sampling.penalty_last_n", -1, most - 128, 64}),
    };
    get_sequence(f, p);
    say_what_is_missing(f);
}
