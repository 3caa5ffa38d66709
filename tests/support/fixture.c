#include "fixture.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/hash.h"
#include "../../runtime/base/rng.h"

enum { MAX_MODELS = 32 };
static struct { char kind[16], path[256]; } models[MAX_MODELS];
static int n_models;

static void remove_models(void) {
    for (int i = 0; i < n_models; i++) unlink(models[i].path);
}

void fix_ok(int rc, const qm_err *e) {
    if (rc) fail_msg("%s (code %d)", e->msg, rc);
}

int fix_collect(void *user, const char *s, size_t n) {
    fix_text *t = user;
    t->s = realloc(t->s, t->n + n + 1);
    assert_non_null(t->s);
    memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = 0;
    return 0;
}

const char *fix_model(const char *kind) {
    for (int i = 0; i < n_models; i++)
        if (!strcmp(models[i].kind, kind)) return models[i].path;
    assert_true(n_models < MAX_MODELS);
    const char *dir = getenv("QMOE_TEST_TMP");
    if (!n_models) atexit(remove_models);
    snprintf(models[n_models].kind, sizeof models[0].kind, "%s", kind);
    char *path = models[n_models].path;
    snprintf(path, sizeof models[0].path, "%s/qmoe-%ld-%s.gguf", dir ? dir : "/tmp", (long)getpid(), kind);
    n_models++;
    qm_synth_opts o = {.preset = "tiny",
                       .seed = 7,
                       .n_layers = 4,
                       .n_embd = 256,
                       .n_head = 8,
                       .n_kv_head = 2,
                       .head_dim = 128,
                       .n_expert = 32,
                       .n_expert_used = 8,
                       .n_ff_exp = 256,
                       .n_vocab = 512,
                       .n_ctx = 512};
    static const char *const dense[][2] = {{"dense", "tiny-dense"}}; /* families without experts: kind, preset */
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
        size_t n = strlen(dense[i][0]);
        if (strncmp(kind, dense[i][0], n)) continue;
        o.preset = dense[i][1];
        o.n_expert = o.n_expert_used = 0;
        o.n_ff_exp = 512;
        o.tied = 1;
        kind = kind[n] ? kind + n + 1 : "small";
    }
    if (!strcmp(kind, "huge_ctx")) {
        o.n_ctx = 1u << 27;
        o.n_layers = 1;
    } else if (!strcmp(kind, "long_ctx")) {
        o.n_ctx = 4096;
    } else if (!strcmp(kind, "f32h")) {
        o.bf16_routers = 1;
        o.n_layers = 2;
    } else if (strcmp(kind, "small")) {
        o.types = kind;
        o.n_layers = 2;
    }
    qm_err e;
    fix_ok(qm_synth(path, &o, &e), &e);
    return path;
}

qm_engine *fix_engine(const char *kind, const char *executor) { return fix_engine_apart(kind, executor, NULL); }

qm_engine *fix_engine_apart(const char *kind, const char *executor, const char *apart) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {.device = dev ? dev : "sim", .executor = executor, .apart = apart};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, fix_model(kind), &o, &e), &e);
    return g;
}

int fix_region(const qm_engine *g, int layer, const char *name) {
    int w = qm_model_find(g->model, layer, name);
    if (w < 0) fail_msg("layer %d has no %s", layer, name);
    return g->place->region_of[w];
}

void fix_prompt(const qm_engine *g, uint32_t *ids, size_t n, uint64_t seed) {
    qm_rng r = {seed};
    for (size_t i = 0; i < n; i++) do
            ids[i] = qm_rng_below(&r, g->model->hp.n_vocab);
        while (qm_token_is_control(g->tok, ids[i]));
}

double fix_cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa == 0 && bb == 0 ? 1 : ab / sqrt(aa * bb);
}

double fix_rel_l2(const float *a, const float *b, size_t n) {
    double d = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        bb += (double)b[i] * b[i];
    }
    return bb == 0 ? sqrt(d) : sqrt(d / bb);
}

typedef struct {
    uint64_t *hash; /* of the chunk's rows */
    size_t bytes;
} hashes;

static int keep_hash(void *user, uint32_t i, const float *logits) {
    const hashes *h = user;
    h->hash[i] = qm_fnv1a(logits, h->bytes);
    return 0;
}

void fix_hashes(uint64_t *hash, qm_session *s, const uint32_t *ids, uint32_t from, uint32_t n, uint32_t chunk) {
    qm_err e;
    for (uint32_t at = from; at < n; at += chunk) {
        hashes h = {hash + at, 4ull * s->g->model->hp.n_vocab};
        fix_ok(qm_inside_score(s, ids + at, n - at < chunk ? n - at : chunk, NULL, keep_hash, &h, &e), &e);
    }
}

uint64_t fix_address(qm_session *s, const qm_plan *p, qm_ref r) {
    return qm_inside_address(&(qm_inside){.g = s->g, .s = s, .plan = p}, r);
}

int fix_lines(const char *s) {
    int n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}
