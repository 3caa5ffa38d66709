/* choose.c: see choose.h. */
#include "choose.h"
#include <stdio.h>
#include <stdlib.h>
#include "../device/cache.h"
#include "../device/texts.h"

const qm_executor *qm_choose_by_chip(const qm_device *d, char *why, size_t why_n) {
    if (d->caps.interpreted) {
        if (why) snprintf(why, why_n, "a software device");
        return &qm_executor_graph;
    }
    if (why) snprintf(why, why_n, "compute capability %d.%d", d->cc_major, d->cc_minor);
    return d->cc_major == 8 ? &qm_executor_persistent : &qm_executor_graph;
}

/* The persistent kernel's text has all bodies: other kernels, another measurement. */
static qm_cache_key key_of(const qm_engine *g) {
    const qm_device *d = g->dev;
    const qm_hparams *hp = &g->model->hp;
    const char *text = qm_ptx_text("walk");
    char s[512];
    qm_cache_key k = qm_cache_key_begin();
    snprintf(s, sizeof s, "executor %s sm_%d%d %d driver %d", d->name, d->cc_major, d->cc_minor, d->n_sm,
             d->driver_version);
    qm_cache_key_add_str(&k, s);
    snprintf(s, sizeof s, "%s %s %u x %u of %u, %llu", hp->arch, hp->name, hp->n_layers, hp->n_embd, hp->n_vocab,
             (unsigned long long)g->place->bytes);
    qm_cache_key_add_str(&k, s);
    qm_cache_key_add_str(&k, qm_kv_cache_name(g->limits.kv_type));
    qm_cache_key_add_str(&k, text ? text : "");
    return k;
}

int qm_choice_get(const qm_engine *g, qm_choice *c) {
    const qm_cache_key k = key_of(g);
    size_t n;
    char *s = qm_cache_get(&k, &n);
    const int found = s && sscanf(s, "graph %lf persistent %lf", &c->graph, &c->persistent) == 2;
    free(s);
    return found;
}

void qm_choice_put(const qm_engine *g, const qm_choice *c) {
    const qm_cache_key k = key_of(g);
    char s[96];
    const int n = snprintf(s, sizeof s, "graph %.17g persistent %.17g\n", c->graph, c->persistent);
    qm_cache_put(&k, s, (size_t)n);
}

const qm_executor *qm_choose(const qm_engine *g, const qm_plan *p, char *why, size_t why_n) {
    qm_choice c;
    qm_err e;
    const qm_executor *x = qm_choose_by_chip(g->dev, why, why_n);
    if (qm_choice_get(g, &c)) {
        x = c.persistent > c.graph ? &qm_executor_persistent : &qm_executor_graph;
        snprintf(why, why_n, "measured by bench --choose: graph %.1f, persistent %.1f tokens/s", c.graph, c.persistent);
    }
    if (x->validate && x->validate(p, &e)) {
        snprintf(why, why_n, "%.250s", e.msg);
        x = &qm_executor_graph;
    }
    return x;
}
