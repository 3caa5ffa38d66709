/* defaults.c: how a model's author wants its tokens chosen: the file's general.sampling.*, in llama.cpp's key
 * names; what the file does not say is llama.cpp's own default. */
#include "engine.h"

typedef struct {
    const char *key;
    double lo, hi, otherwise;
} range;

/* A value that makes no sense is left out, with a warning: it must not keep the model from running. */
static double get(const qm_gguf *f, range r) {
    qm_err e;
    float v;
    int found = qm_gguf_get_f32(f, r.key, &v, &e);
    if (found < 0) qm_log(QM_LOG_WARN, "%s; %g is used", e.msg, r.otherwise);
    if (found <= 0) return r.otherwise;
    if (v >= r.lo && v <= r.hi) return v;
    qm_log(QM_LOG_WARN, "%s: %s is %g, outside %g .. %g; %g is used", qm_gguf_path(f), r.key, v, r.lo, r.hi, r.otherwise);
    return r.otherwise;
}

void qm_engine_sampling(const qm_engine *g, qm_sampling *p) {
    const qm_gguf *f = g->gguf;
    double most = INT32_MAX;
    *p = (qm_sampling){
        .temperature = (float)get(f, (range){"general.sampling.temp", 0, 1000, 0.8}),
        .top_k = (int32_t)get(f, (range){"general.sampling.top_k", 0, most - 128, 40}), /* a float below 2^31 */
        .top_p = get(f, (range){"general.sampling.top_p", 0, 1, 0.95}),
        .min_p = get(f, (range){"general.sampling.min_p", 0, 1, 0.05}),
        .repeat_penalty = (float)get(f, (range){"general.sampling.penalty_repeat", 0.01, 100, 1}),
        .repeat_last_n = (int32_t)get(f, (range){"general.sampling.penalty_last_n", -1, most - 128, 64}),
    };
}
