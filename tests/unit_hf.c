/* unit_hf.c: the whole forward pass against Hugging Face transformers on the same dequantised weights.
 * tests/golden/hf_*.{json,f32} come from tools/hf_logits.py over models that qm_synth writes anew here;
 * their manifests say with which options. The gate: a cosine of at least 0.999 at every position whose
 * full logits are kept (both sides of page borders among them).
 *
 * QMOE_TEST_HF_DEVICE=cuda:0 (or sim) runs the same prompt on a device instead of the host reference. */
#include "runtime/qmoe.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct {
    const char *file;      /* tests/golden/FILE.json and .f32 */
    qm_synth_opts synth;
    uint64_t hash;         /* FNV-1a of the model; a change means that the fixture has to be made anew */
    double cosine, lse;    /* least cosine, greatest difference of a log-sum-exp */
    double same;           /* least share of equal arg maxes: near ties may break either way */
} fixture;

/* Quantised weights take activations in 8 bits, and a near tie of two experts may break differently:
 * the project's gate. With f16 weights the activations stay f32, and the two must be alike. */
static const fixture fixtures[] = {
    { "hf_tiny", { .preset = "tiny", .seed = 1 }, 0x4b07498715de480b, 0.999, 0.25, 0.9 },
    { "hf_tiny_f16", { .preset = "tiny", .seed = 1, .n_layers = 2, .n_expert = 16, .types = "f16" }, 0x0882d6f84f7e431c, 0.999999, 0.005, 0.95 },
};

typedef struct {
    char path[256];
    json_t *manifest;
    float *kept; /* [n_keep, n_vocab] */
    size_t n_keep, n_vocab;
} loaded;

static void load(loaded *d, const fixture *x) {
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(d->path, sizeof d->path, "%s/qmoe-hf-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(d->path);
    assert_true(fd >= 0);
    close(fd);
    qm_err e;
    if (qm_synth(d->path, &x->synth, &e)) fail_msg("%s", e.msg);
    FILE *f = fopen(d->path, "rb");
    assert_non_null(f);
    uint64_t h = 0xcbf29ce484222325u;
    static uint8_t buf[1 << 16];
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
        for (size_t i = 0; i < n; i++) h = (h ^ buf[i]) * 0x100000001b3u;
    fclose(f);
    if (h != x->hash) fail_msg("%s: the model's hash is 0x%016llx: make the fixture anew", x->file, (unsigned long long)h);
    char name[128];
    json_error_t je;
    snprintf(name, sizeof name, "tests/golden/%s.json", x->file);
    d->manifest = json_load_file(name, 0, &je);
    if (!d->manifest) fail_msg("%s: %s", name, je.text);
    snprintf(name, sizeof name, "tests/golden/%s.f32", x->file);
    f = fopen(name, "rb");
    assert_non_null(f);
    d->n_keep = json_array_size(json_object_get(d->manifest, "keep"));
    d->n_vocab = (size_t)json_integer_value(json_object_get(d->manifest, "n_vocab"));
    d->kept = malloc(d->n_keep * d->n_vocab * sizeof *d->kept);
    assert_non_null(d->kept);
    assert_int_equal(fread(d->kept, sizeof *d->kept, d->n_keep * d->n_vocab, f), d->n_keep * d->n_vocab);
    fclose(f);
}

/* Cosine of l and w, and the KL divergence of l's distribution from w's, whose log-sum-exps are given. */
static double cosine(const float *l, const float *w, size_t n, double l_lse, double w_lse, double *kl) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        double a = (double)l[i], b = (double)w[i];
        ab += a * b;
        aa += a * a;
        bb += b * b;
        *kl += exp(b - w_lse) * ((b - w_lse) - (a - l_lse));
    }
    return ab / sqrt(aa * bb);
}

static void logits_agree(void **state) {
    const fixture *x = *state;
    loaded d;
    load(&d, x);
    const char *dev = getenv("QMOE_TEST_HF_DEVICE");
    qm_engine_opts o = { .device = dev ? dev : "sim", .executor = dev ? "graph" : "ref", .n_ctx = 128 };
    qm_engine *g;
    qm_session *s;
    qm_err e;
    if (qm_engine_open(&g, d.path, &o, &e)) fail_msg("%s", e.msg);
    if (qm_session_open(&s, g, &e)) fail_msg("%s", e.msg);
    json_t *ids = json_object_get(d.manifest, "ids"), *keep = json_object_get(d.manifest, "keep");
    json_t *arg = json_object_get(d.manifest, "arg_max"), *lse = json_object_get(d.manifest, "log_sum_exp");
    size_t n = json_array_size(ids), k = 0, same = 0;
    float *l = malloc(d.n_vocab * sizeof *l);
    assert_non_null(l);
    double worst = 1, worst_lse = 0, kl = 0;
    for (size_t p = 0; p < n; p++) {
        if (qm_session_eval(s, (uint32_t)json_integer_value(json_array_get(ids, p)), &e)) fail_msg("%s", e.msg);
        if (qm_session_logits(s, l, &e)) fail_msg("%s", e.msg);
        size_t best = 0;
        double sum = 0;
        for (size_t i = 0; i < d.n_vocab; i++) {
            if (l[i] > l[best]) best = i;
            sum += exp((double)l[i]);
        }
        same += best == (size_t)json_integer_value(json_array_get(arg, p));
        double ours = log(sum), theirs = json_real_value(json_array_get(lse, p));
        if (!(fabs(ours - theirs) <= worst_lse)) worst_lse = fabs(ours - theirs);
        if (k >= d.n_keep || p != (size_t)json_integer_value(json_array_get(keep, k))) continue;
        double c = cosine(l, d.kept + k++ * d.n_vocab, d.n_vocab, ours, theirs, &kl);
        if (!(c >= worst)) worst = c;
        if (!(c >= x->cosine)) print_error("%s, position %zu: cosine %.7f\n", x->file, p, c);
    }
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
    unlink(d.path);
    free(d.kept);
    size_t n_keep = d.n_keep;
    json_decref(d.manifest);
    print_message("%s: worst cosine %.7f, mean KL %.6f over %zu positions; log-sum-exp within %.4f, same arg max at "
                  "%zu of %zu\n", x->file, worst, kl / (double)k, k, worst_lse, same, n);
    assert_int_equal(k, n_keep);
    assert_true(worst >= x->cosine);
    assert_true(worst_lse <= x->lse);
    assert_true((double)same >= x->same * (double)n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        { "q4_k_m_logits_agree", logits_agree, NULL, NULL, (void *)(uintptr_t)&fixtures[0] },
        { "f16_logits_agree", logits_agree, NULL, NULL, (void *)(uintptr_t)&fixtures[1] },
    };
    return cmocka_run_group_tests_name("hf", tests, NULL, NULL);
}
