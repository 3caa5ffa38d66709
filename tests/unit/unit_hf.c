/* unit_hf.c: the whole forward pass against Hugging Face transformers on the same dequantised weights,
 * and against llama.cpp's choices (tests/golden/llama_tiny.json, by tools/peers/llama_argmax.py).
 * tests/golden/hf_*.{json,f32} come from tools/peers/hf_logits.py over models that qm_synth writes anew here;
 * their manifests say with which options. The gate: a cosine of at least 0.999 at every position whose
 * full logits are kept (both sides of page borders among them).
 *
 * Both executors are held to it: the host reference, and the kernels on QMOE_TEST_DEVICE (default sim). */
#include "../support/gguf_edit.h"
#include "runtime/file/gguf.h"
#include "runtime/qmoe_tools.h"
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
    const char *file; /* tests/golden/FILE.json and .f32 */
    qm_synth_opts synth;
    uint64_t hash;      /* FNV-1a of the model; a change means that the fixture has to be made anew */
    double cosine, lse; /* least cosine, greatest difference of a log-sum-exp */
    double same;        /* least share of equal arg maxes: near ties may break either way */
} fixture;

/* Quantised weights take activations in 16 bits, f16 weights take them in f32: either way only rounding is
 * left between us and an f32 implementation. The project's gate is 0.999; this is what we hold. */
static const fixture fixtures[] = {
    {"hf_tiny", {.preset = "tiny", .seed = 1}, 0x4b07498715de480b, 0.999999, 0.005, 0.95},
    {"hf_tiny_f16",
     {.preset = "tiny", .seed = 1, .n_layers = 2, .n_expert = 16, .types = "f16"},
     0x0882d6f84f7e431c,
     0.999999,
     0.005,
     0.95},
};

/* One model, its rotary settings and biases as the manifest sets them: positions on both sides of YaRN's original context
 * of 256. */
#define ROPE(file)                                    \
    {                                                 \
        file,                                         \
            {.seed = 3,                               \
             .n_layers = 2,                           \
             .n_embd = 128,                           \
             .n_head = 4,                             \
             .n_kv_head = 2,                          \
             .head_dim = 128,                         \
             .n_expert = 8,                           \
             .n_expert_used = 2,                      \
             .n_ff_exp = 64,                          \
             .n_vocab = 512,                          \
             .n_ctx = 1024,                           \
             .types = "f16"},                         \
            0x319cf9983a4939aa, 0.999999, 0.005, 0.99 \
    }
static const fixture rope_fixtures[] = {ROPE("hf_rope_linear"), ROPE("hf_rope_yarn"), ROPE("hf_rope_yarn_all"),
                                        ROPE("hf_bias"), ROPE("hf_qwen3vlmoe")};

/* Families without experts. Qwen3: every type of weights, tied embeddings and not, biases and YaRN together. */
#define TIED(file, type, hash)          \
    {                                   \
        file,                           \
            {.preset = "tiny-dense",    \
             .seed = 2,                 \
             .n_layers = 2,             \
             .n_embd = 256,             \
             .n_head = 4,               \
             .n_kv_head = 2,            \
             .n_ff_exp = 512,           \
             .n_vocab = 512,            \
             .types = type,             \
             .tied = 1},                \
            hash, 0.999999, 0.005, 0.95 \
    }
static const fixture dense_fixtures[] = {
    {"hf_qwen3", {.preset = "tiny-dense", .seed = 1}, 0xa0a562b837f5bf70, 0.999999, 0.005, 0.95},
    TIED("hf_qwen3_f16", "f16", 0x182d5e193ea12bd0),
    TIED("hf_qwen3_bf16", "bf16", 0x24d62161d73d3ed7),
    TIED("hf_qwen3_q8_0", "q8_0", 0xf38b73bf1e40cc5b),
    TIED("hf_qwen3vl", "f16", 0x182d5e193ea12bd0),
    {"hf_qwen3_bias",
     {.preset = "tiny-dense",
      .seed = 3,
      .n_layers = 2,
      .n_embd = 128,
      .n_head = 4,
      .n_kv_head = 2,
      .n_ff_exp = 256,
      .n_vocab = 512,
      .n_ctx = 1024,
      .types = "f16"},
     0xe3cc3f6d2c6de192,
     0.999999,
     0.005,
     0.99},
};
enum { N_DENSE = sizeof dense_fixtures / sizeof *dense_fixtures };

typedef struct {
    char path[256];
    char arch[32]; /* general.architecture, the prefix of keys */
    json_t *manifest;
    float *kept; /* [n_keep, n_vocab] */
    size_t n_keep, n_vocab;
} loaded;

/* What the manifest sets is written into the file: numbers that JSON has as integers as u32. */
static void apply(loaded *d) {
    enum { MAX = 32 };
    gguf_edit edit[MAX];
    char name[MAX][64], to[280];
    const char *key;
    json_t *v;
    size_t n = 0;
    double bias = json_number_value(json_object_get(d->manifest, "bias"));
    json_object_foreach (json_object_get(d->manifest, "set"), key, v) {
        assert_true(n < MAX);
        snprintf(name[n], sizeof name[n], "%s.%s", d->arch, key);
        edit[n] = (gguf_edit){json_is_string(v)    ? GE_STR
                              : json_is_integer(v) ? GE_U32
                                                   : GE_F32,
                              name[n],
                              json_number_value(v),
                              json_string_value(v),
                              0,
                              {0}};
        n++;
    }
    const char *as = json_string_value(json_object_get(d->manifest, "as"));
    if (as) { /* the same weights under another family's name */
        static char prefix[2][40];
        snprintf(prefix[0], sizeof prefix[0], "%s.", d->arch);
        snprintf(prefix[1], sizeof prefix[1], "%s.", as);
        snprintf(name[n], sizeof name[n], "%s.n_deepstack_layers", as);
        edit[n] = (gguf_edit){GE_U32, name[n], 3, NULL, 0, {0}};
        edit[++n] = (gguf_edit){GE_STR, "general.architecture", 0, as, 0, {0}};
        edit[++n] = (gguf_edit){GE_PREFIX, prefix[0], 0, prefix[1], 0, {0}};
        n++;
    }
    static const struct {
        const char *name;
        uint64_t n;
    } biases[] = {{"attn_q", 512}, {"attn_k", 256}, {"attn_v", 256}, {"attn_output", 128}};
    for (int i = 0; bias != 0 && i < 8; i++, n++) {
        snprintf(name[n], sizeof name[n], "blk.%d.%s.bias", i / 4, biases[i % 4].name);
        edit[n] = (gguf_edit){GE_TENSOR, name[n], bias, NULL, 0, {biases[i % 4].n}};
    }
    if (!n) return;
    snprintf(to, sizeof to, "%s.edited", d->path);
    gguf_edit_file(d->path, to, edit, n);
    assert_int_equal(rename(to, d->path), 0);
}

static void load(loaded *d, const fixture *x) {
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(d->path, sizeof d->path, "%s/qmoe-hf-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(d->path);
    assert_true(fd >= 0);
    close(fd);
    qm_err e;
    if (qm_synth(d->path, &x->synth, &e)) fail_msg("%s", e.msg);
    qm_gguf *g;
    qm_str arch;
    if (qm_gguf_open(&g, d->path, &e)) fail_msg("%s", e.msg);
    assert_int_equal(qm_gguf_get_str(g, "general.architecture", &arch, &e), 1);
    snprintf(d->arch, sizeof d->arch, "%.*s", (int)arch.n, arch.s);
    qm_gguf_close(g);
    FILE *f = fopen(d->path, "rb");
    assert_non_null(f);
    uint64_t h = 0xcbf29ce484222325u;
    static uint8_t buf[1 << 16];
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
        for (size_t i = 0; i < n; i++) h = (h ^ buf[i]) * 0x100000001b3u;
    fclose(f);
    if (h != x->hash)
        fail_msg("%s: the model's hash is 0x%016llx: make the fixture anew", x->file, (unsigned long long)h);
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
    apply(d);
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

enum { MAX_POS = 384 };
typedef struct {
    double cosine, lse, kl; /* the worst cosine, the greatest log-sum-exp difference, the mean KL */
    size_t n_kept, same, n;
    uint32_t arg[MAX_POS]; /* [n] our arg max */
} verdict;

/* Runs the prompt, up to n_max positions, and compares; no judgement here. executor: "ref" or "graph". */
static verdict compare(const loaded *d, const char *executor, float rope_base, size_t n_max) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {.device = dev ? dev : "sim", .executor = executor, .n_ctx = MAX_POS, .rope_base = rope_base};
    qm_engine *g;
    qm_session *s;
    qm_err e;
    if (qm_engine_open(&g, d->path, &o, &e)) fail_msg("%s", e.msg);
    if (qm_session_open(&s, g, &e)) fail_msg("%s", e.msg);
    json_t *ids = json_object_get(d->manifest, "ids"), *keep = json_object_get(d->manifest, "keep");
    json_t *arg = json_object_get(d->manifest, "arg_max"), *lse = json_object_get(d->manifest, "log_sum_exp");
    verdict v = {.cosine = 1, .n = json_array_size(ids)};
    if (v.n > n_max) v.n = n_max;
    assert_true(v.n <= MAX_POS);
    float *l = malloc(d->n_vocab * sizeof *l);
    assert_non_null(l);
    for (size_t p = 0; p < v.n; p++) {
        if (qm_session_eval(s, (uint32_t)json_integer_value(json_array_get(ids, p)), &e)) fail_msg("%s", e.msg);
        if (qm_session_logits(s, l, &e)) fail_msg("%s", e.msg);
        size_t best = 0;
        double sum = 0;
        for (size_t i = 0; i < d->n_vocab; i++) {
            if (l[i] > l[best]) best = i;
            sum += exp((double)l[i]);
        }
        v.arg[p] = (uint32_t)best;
        v.same += best == (size_t)json_integer_value(json_array_get(arg, p));
        double ours = log(sum), theirs = json_real_value(json_array_get(lse, p));
        double apart = isnan(ours) ? HUGE_VAL : fabs(ours - theirs);
        if (apart > v.lse) v.lse = apart;
        if (v.n_kept >= d->n_keep || p != (size_t)json_integer_value(json_array_get(keep, v.n_kept))) continue;
        double c = cosine(l, d->kept + v.n_kept++ * d->n_vocab, d->n_vocab, ours, theirs, &v.kl);
        if (isnan(c)) c = -1;
        if (c < v.cosine) v.cosine = c;
    }
    v.kl /= (double)v.n_kept;
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
    return v;
}

static void unload(loaded *d) {
    unlink(d->path);
    free(d->kept);
    json_decref(d->manifest);
}

static void parity(const fixture *x, const char *executor, verdict *v) {
    loaded d;
    load(&d, x);
    *v = compare(&d, executor, 0, SIZE_MAX);
    size_t n_keep = d.n_keep;
    unload(&d);
    print_message(
        "%s, %s: worst cosine %.7f, mean KL %.6f over %zu positions; log-sum-exp within %.4f, same arg max at "
        "%zu of %zu\n",
        x->file, executor, v->cosine, v->kl, v->n_kept, v->lse, v->same, v->n);
    assert_int_equal(v->n_kept, n_keep);
    assert_true(v->cosine >= x->cosine);
    assert_true(v->lse <= x->lse);
    assert_true((double)v->same >= x->same * (double)v->n);
}

/* The same prompt in llama.cpp, which has 8-bit activations of its own: wherever its choice leads by a
 * quarter of a nat, ours is the same. */
static void llama_agrees(const verdict *v) {
    json_error_t je;
    json_t *m = json_load_file("tests/golden/llama_tiny.json", 0, &je);
    if (!m) fail_msg("tests/golden/llama_tiny.json: %s", je.text);
    json_t *arg = json_object_get(m, "arg_max"), *lead = json_object_get(m, "lead");
    size_t asked = 0, other = 0;
    assert_int_equal(json_array_size(arg), v->n);
    for (size_t p = 0; p < v->n; p++) {
        if (json_real_value(json_array_get(lead, p)) < 0.25) continue;
        json_int_t want = json_integer_value(json_array_get(arg, p));
        asked++;
        other += v->arg[p] != want;
        if (v->arg[p] != want)
            print_error("position %zu: arg max %u, llama.cpp has %lld\n", p, v->arg[p], (long long)want);
    }
    json_decref(m);
    print_message("llama.cpp: same arg max at %zu of %zu clear positions\n", asked - other, asked);
    assert_true(asked >= 40);
    assert_int_equal(other, 0);
}

static const char *const executors[] = {"ref", "graph"};
static void test_hf_parity(void **state) {
    (void)state;
    verdict v;
    for (int i = 0; i < 2; i++) {
        parity(&fixtures[0], executors[i], &v);
        llama_agrees(&v);
    }
}
static void test_hf_parity_f16(void **state) {
    (void)state;
    verdict v;
    for (int i = 0; i < 2; i++) parity(&fixtures[1], executors[i], &v);
}

static void test_hf_rope_scaling(void **state) {
    (void)state;
    verdict v;
    for (int x = 0; x < 3; x++)
        for (int i = 0; i < 2; i++) parity(&rope_fixtures[x], executors[i], &v);
}
static void test_hf_biases(void **state) {
    (void)state;
    verdict v;
    for (int i = 0; i < 2; i++) parity(&rope_fixtures[3], executors[i], &v);
}

/* Transformers' own multimodal models, given text alone. */
static void test_hf_text_of_vl(void **state) {
    (void)state;
    verdict v;
    for (int i = 0; i < 2; i++) parity(&rope_fixtures[4], executors[i], &v);
}

static void test_hf_dense(void **state) {
    (void)state;
    verdict v;
    for (int x = 0; x < N_DENSE; x++) {
        for (int i = 0; i < 2; i++) parity(&dense_fixtures[x], executors[i], &v);
        if (!dense_fixtures[x].synth.types) /* Q4_K_M: the persistent kernel holds its ops */
            parity(&dense_fixtures[x], "persistent", &v);
    }
}

/* ---- faults: the gate must see each of them ---- */

/* Rewrites every tensor whose name ends in `suffix`. */
static void mutate(const loaded *d, const char *suffix, void (*fn)(uint8_t *p, const qm_tensor *t)) {
    qm_gguf *g;
    qm_err e;
    if (qm_gguf_open(&g, d->path, &e)) fail_msg("%s", e.msg);
    FILE *f = fopen(d->path, "r+b");
    assert_non_null(f);
    size_t n = strlen(suffix), hits = 0;
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(g, i);
        if (t->name.n < n || memcmp(t->name.s + t->name.n - n, suffix, n) != 0) continue;
        uint8_t *p = malloc(t->bytes);
        assert_non_null(p);
        memcpy(p, t->data, t->bytes);
        fn(p, t);
        assert_int_equal(fseek(f, (long)t->file_off, SEEK_SET), 0);
        assert_int_equal(fwrite(p, 1, t->bytes, f), t->bytes);
        free(p);
        hits++;
    }
    assert_int_equal(fclose(f), 0);
    qm_gguf_close(g);
    assert_true(hits > 0);
}
/* Every expert answers for its neighbour. */
static void rotate_rows(uint8_t *p, const qm_tensor *t) {
    uint64_t row = t->bytes / t->ne[1];
    memcpy(p, (const uint8_t *)t->data + row, t->bytes - row);
    memcpy(p + t->bytes - row, t->data, row);
}
static void zero(uint8_t *p, const qm_tensor *t) { memset(p, 0, t->bytes); }
/* An RMSNorm weight of one is what is left when the weight is forgotten. */
static void ones(uint8_t *p, const qm_tensor *t) {
    for (uint64_t i = 0; i < t->bytes; i += 4) memcpy(p + i, "\0\0\x80\x3f", 4);
}
/* [ne1, ne0] written where [ne0, ne1] belongs: 2-byte weights. */
static void transpose(uint8_t *p, const qm_tensor *t) {
    const uint8_t *from = t->data;
    assert_int_equal(t->bytes, 2 * t->ne[0] * t->ne[1]);
    for (uint64_t r = 0; r < t->ne[1]; r++)
        for (uint64_t c = 0; c < t->ne[0]; c++) memcpy(p + 2 * (c * t->ne[1] + r), from + 2 * (r * t->ne[0] + c), 2);
}
static void used_less_one(const loaded *d) {
    qm_gguf *g;
    qm_err e;
    if (qm_gguf_open(&g, d->path, &e)) fail_msg("%s", e.msg);
    const qm_kv *kv = qm_gguf_find(g, "qwen3moe.expert_used_count");
    FILE *f = fopen(d->path, "r+b");
    assert_true(kv && f && fseek(f, (long)kv->file_off, SEEK_SET) == 0 && putc((int)kv->v.u - 1, f) != EOF);
    assert_int_equal(fclose(f), 0);
    qm_gguf_close(g);
}

static void rejected(const fixture *x, const char *what, const char *suffix, void (*fn)(uint8_t *, const qm_tensor *),
                     int drop, float rope_base) {
    enum { ENOUGH = 34 }; /* past the first page border, where a position is kept */
    loaded d;
    load(&d, x);
    if (fn) mutate(&d, suffix, fn);
    if (drop) used_less_one(&d);
    verdict v = compare(&d, "ref", rope_base, ENOUGH);
    unload(&d);
    print_message("%s, %s: cosine %.7f\n", x->file, what, v.cosine);
    if (v.cosine >= x->cosine) fail_msg("%s: not noticed", what);
}
static void test_wrong_expert_is_rejected(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) rejected(&fixtures[i], "wrong expert", "ffn_gate_inp.weight", rotate_rows, 0, 0);
}
static void test_dropped_expert_is_rejected(void **state) {
    (void)state;
    rejected(&fixtures[1], "dropped expert", NULL, NULL, 1, 0);
}
static void test_uniform_router_is_rejected(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) rejected(&fixtures[i], "uniform router", "ffn_gate_inp.weight", zero, 0, 0);
}
static void test_forgotten_qk_norm_is_rejected(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) rejected(&fixtures[i], "q norm without weights", "attn_q_norm.weight", ones, 0, 0);
    rejected(&fixtures[1], "k norm without weights", "attn_k_norm.weight", ones, 0, 0);
}
static void test_rope_base_is_rejected(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) rejected(&fixtures[i], "RoPE base 1e4", NULL, NULL, 0, 1e4f);
}
static void test_transposed_weight_is_rejected(void **state) {
    (void)state;
    rejected(&fixtures[1], "transposed attn_v", "attn_v.weight", transpose, 0, 0);
}

static void test_dense_faults_are_rejected(void **state) {
    (void)state;
    const fixture *q4 = &dense_fixtures[0], *f16 = &dense_fixtures[1];
    rejected(q4, "q norm without weights", "attn_q_norm.weight", ones, 0, 0);
    rejected(q4, "RoPE base 1e4", NULL, NULL, 0, 1e4f);
    rejected(q4, "no network", "ffn_down.weight", zero, 0, 0);
    rejected(f16, "gate's rows one further", "ffn_gate.weight", rotate_rows, 0, 0);
    rejected(f16, "transposed attn_v", "attn_v.weight", transpose, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hf_parity),
        cmocka_unit_test(test_hf_parity_f16),
        cmocka_unit_test(test_hf_rope_scaling),
        cmocka_unit_test(test_hf_biases),
        cmocka_unit_test(test_hf_text_of_vl),
        cmocka_unit_test(test_hf_dense),
        cmocka_unit_test(test_dense_faults_are_rejected),
        cmocka_unit_test(test_wrong_expert_is_rejected),
        cmocka_unit_test(test_dropped_expert_is_rejected),
        cmocka_unit_test(test_uniform_router_is_rejected),
        cmocka_unit_test(test_forgotten_qk_norm_is_rejected),
        cmocka_unit_test(test_rope_base_is_rejected),
        cmocka_unit_test(test_transposed_weight_is_rejected),
    };
    return cmocka_run_group_tests_name("hf", tests, NULL, NULL);
}
