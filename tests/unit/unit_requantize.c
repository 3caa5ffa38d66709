/* unit_requantize: qm_quantize from file to file: the choice of types against llama.cpp's counts, every key
 * and array kept, tensors of odd shapes, split input, thread counts, refusals that name the weight and
 * leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../support/gguf_edit.h"
#include "../../runtime/base/rng.h"
#include "../../runtime/file/gguf.h"
#include "../../runtime/convert/mix.h"
#include "../../runtime/convert/quantize.h"
#include "../../runtime/qmoe_tools.h"

static char dir[256];

static const char *in_dir(const char *name) {
    static char p[4][640];
    static int k;
    k = (k + 1) % 4;
    snprintf(p[k], sizeof *p, "%s/%s", dir, name);
    return p[k];
}
static int make_dir(void **state) {
    (void)state;
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(dir, sizeof dir, "%s/requantize-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}
static int n_files(int remove) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.') {
            n++;
            if (remove) unlink(in_dir(f->d_name));
        }
    closedir(d);
    return n;
}
static int clear_dir(void **state) {
    (void)state;
    n_files(1);
    return rmdir(dir);
}

/* ---- a file with every kind of key, and tensors of shapes that are not nice --------------------------- */
typedef struct {
    uint8_t *p;
    size_t n;
} buf;
static void put(buf *b, const void *p, size_t n) {
    b->p = realloc(b->p, b->n + n + 1);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void le(buf *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) put(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}
static void str(buf *b, const char *s) {
    le(b, strlen(s), 8);
    put(b, s, strlen(s));
}

static const struct {
    const char *name;
    uint32_t type, n_dims;
    uint64_t ne[4];
} odd[] = {
    {"token_embd.weight", QM_TYPE_F32, 2, {256, 3, 1, 1}},
    {"blk.0.attn_norm.weight", QM_TYPE_F32, 1, {3, 1, 1, 1}},
    {"blk.0.attn_v.weight", QM_TYPE_F16, 2, {512, 2, 1, 1}},
    {"blk.0.attn_k.weight", QM_TYPE_BF16, 2, {96, 5, 1, 1}},
    {"blk.0.attn_q.weight", QM_TYPE_F16, 2, {33, 7, 1, 1}},
    {"blk.0.attn_q.bias", QM_TYPE_F16, 1, {7, 1, 1, 1}},
    {"blk.0.ffn_gate_inp.weight", QM_TYPE_BF16, 2, {256, 2, 1, 1}},
    {"blk.0.ffn_up_exps.weight", QM_TYPE_F32, 4, {256, 2, 3, 2}},
    {"blk.0.ffn_down_exps.weight", QM_TYPE_Q8_0, 3, {256, 40, 30, 1}}, /* more than one unit */
    {"output.weight", QM_TYPE_F16, 2, {256, 3, 1, 1}},
};
enum { N_ODD = sizeof odd / sizeof *odd };
static uint64_t count(int i) { return odd[i].ne[0] * odd[i].ne[1] * odd[i].ne[2] * odd[i].ne[3]; }

/* poison: the weight of the last F32 tensor that gets `value`; -1 = none. align: the file's own. */
static void write_odd(const char *path, long poison, float value, int first, int last, int shard, int n_shards,
                      uint32_t align) {
    buf b = {0};
    int n_kv = 0;
    put(&b, "GGUF", 4);
    le(&b, 3, 4);
    le(&b, (uint64_t)(last - first), 8);
    le(&b, 0, 8);
#define KV(name, type) n_kv++, str(&b, name), le(&b, type, 4)
    KV("general.alignment", QM_KV_U32), le(&b, align, 4);
    if (n_shards) {
        KV("split.no", QM_KV_U16), le(&b, (uint64_t)shard, 2);
        KV("split.count", QM_KV_U16), le(&b, (uint64_t)n_shards, 2);
        KV("split.tensors.count", QM_KV_I32), le(&b, N_ODD, 4);
    }
    if (!shard) {
        KV("general.architecture", QM_KV_STR), str(&b, "qwen3moe");
        KV("general.file_type", QM_KV_U32), le(&b, 1, 4);
        KV("qwen3moe.block_count", QM_KV_U32), le(&b, 1, 4);
        KV("x.u8", QM_KV_U8), le(&b, 200, 1);
        KV("x.i8", QM_KV_I8), le(&b, 0xfe, 1);
        KV("x.u16", QM_KV_U16), le(&b, 60000, 2);
        KV("x.i16", QM_KV_I16), le(&b, 0xfffd, 2);
        KV("x.i32", QM_KV_I32), le(&b, 0xfffffffc, 4);
        KV("x.f32", QM_KV_F32), le(&b, 0x3dcccccd, 4);
        KV("x.bool", QM_KV_BOOL), le(&b, 1, 1);
        KV("x.u64", QM_KV_U64), le(&b, 1ull << 60, 8);
        KV("x.i64", QM_KV_I64), le(&b, (uint64_t)-9, 8);
        KV("x.f64", QM_KV_F64), le(&b, 0x3fb999999999999a, 8);
        KV("x.empty", QM_KV_STR), str(&b, "");
        KV("x.strings", QM_KV_ARR), le(&b, QM_KV_STR, 4), le(&b, 3, 8), str(&b, "a"), str(&b, ""), str(&b, "\xc4\xa0z");
        KV("x.no_strings", QM_KV_ARR), le(&b, QM_KV_STR, 4), le(&b, 0, 8);
        static const struct {
            const char *key;
            int type, bytes;
        } arrays[] = {
            {"y.u8", QM_KV_U8, 1},     {"y.i16", QM_KV_I16, 2}, {"y.i32", QM_KV_I32, 4}, {"y.f32", QM_KV_F32, 4},
            {"y.bool", QM_KV_BOOL, 1}, {"y.u64", QM_KV_U64, 8}, {"y.f64", QM_KV_F64, 8},
        };
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
            KV(arrays[i].key, QM_KV_ARR), le(&b, (uint64_t)arrays[i].type, 4), le(&b, 3, 8);
            for (int k = 0; k < 3; k++) le(&b, (uint64_t)(k & 1), arrays[i].bytes);
        }
    }
    for (int i = 0; i < 8; i++) b.p[16 + i] = (uint8_t)(i ? 0 : n_kv);
    uint64_t off = 0;
    for (int i = first; i < last; i++) {
        uint32_t block = 1, bytes = 4;
        str(&b, odd[i].name);
        le(&b, odd[i].n_dims, 4);
        for (uint32_t d = 0; d < odd[i].n_dims; d++) le(&b, odd[i].ne[d], 8);
        le(&b, odd[i].type, 4);
        le(&b, off, 8);
        qm_ggml_type_size(odd[i].type, &block, &bytes);
        off = (off + count(i) / block * bytes + align - 1) / align * align;
    }
    for (int i = first; i < last; i++) {
        while (b.n % align) le(&b, 0, 1);
        uint64_t n = count(i);
        uint32_t block = 1, bytes = 4;
        float *x = malloc(4 * n);
        uint8_t *q = malloc(4 * n);
        qm_rng r = {100 + (uint64_t)i};
        for (uint64_t k = 0; k < n; k++) x[k] = qm_rng_normal(&r);
        if (poison >= 0 && odd[i].n_dims == 4) x[poison] = value;
        qm_ggml_type_size(odd[i].type, &block, &bytes);
        qm_quantize_blocks(qm_type_get(odd[i].type), q, x, n);
        put(&b, q, n / block * bytes);
        free(x);
        free(q);
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
    free(b.p);
}

static void *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    void *p = malloc(*n);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void same_bytes(const char *a, const char *b) {
    size_t n, k;
    void *p = slurp(a, &n), *q = slurp(b, &k);
    assert_int_equal(n, k);
    assert_memory_equal(p, q, n);
    free(p);
    free(q);
}

static void run(const char *in, const char *out, const char *type, uint32_t threads) {
    qm_err e = {0};
    qm_quantize_opts o = {.type = type, .threads = threads};
    if (qm_quantize(in, out, &o, &e)) fail_msg("%s", e.msg);
}
static void refused(const char *in, const char *out, const qm_quantize_opts *o, int code, const char *word,
                    const char *word2) {
    qm_err e = {0};
    int before = n_files(0);
    assert_int_equal(qm_quantize(in, out, o, &e), code);
    if (!strstr(e.msg, word) || !strstr(e.msg, word2)) fail_msg("'%s' lacks '%s' or '%s'", e.msg, word, word2);
    assert_int_equal(n_files(0), before);
}

/* ---- the choice of types ------------------------------------------------------------------------------- */
static void count_types(const char *mix, uint32_t n_layers, int tied, int n[31]) {
    static const char *const layer[] = {"attn_norm",    "attn_q",        "attn_k",      "attn_v",
                                        "attn_q_norm",  "attn_k_norm",   "attn_output", "ffn_norm",
                                        "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    const qm_mix *m = qm_mix_find(mix);
    assert_non_null(m);
    memset(n, 0, 31 * sizeof *n);
    for (uint32_t il = 0; il < n_layers; il++)
        for (size_t k = 0; k < sizeof layer / sizeof *layer; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.%s.weight", il, layer[k]);
            n[qm_mix_type(m, name,
                          strstr(name, "norm")   ? 1
                          : strstr(name, "exps") ? 3
                                                 : 2,
                          2048, n_layers, tied, NULL)]++;
        }
    n[qm_mix_type(m, "token_embd.weight", 2, 2048, n_layers, tied, NULL)]++;
    n[qm_mix_type(m, "output_norm.weight", 1, 2048, n_layers, tied, NULL)]++;
    if (!tied) n[qm_mix_type(m, "output.weight", 2, 2048, n_layers, tied, NULL)]++;
}

/* The published files of Qwen3-30B-A3B: always 241 F32; Q4_K_M 289 Q4_K and 49 Q6_K, and so on. */
static void mix_counts(void **state) {
    (void)state;
    static const struct {
        const char *mix;
        int type, n, type2, n2;
    } want[] = {
        {"q4_k_m", QM_TYPE_Q4_K, 289, QM_TYPE_Q6_K, 49}, {"Q5_K_M", QM_TYPE_Q5_K, 289, QM_TYPE_Q6_K, 49},
        {"q4_k_s", QM_TYPE_Q4_K, 327, QM_TYPE_Q5_K, 10}, {"q5_k_s", QM_TYPE_Q5_K, 337, QM_TYPE_Q6_K, 1},
        {"q6_k", QM_TYPE_Q6_K, 338, QM_TYPE_Q4_K, 0},    {"q8_0", QM_TYPE_Q8_0, 338, QM_TYPE_Q6_K, 0},
        {"f16", QM_TYPE_F16, 338, QM_TYPE_Q6_K, 0},      {"bf16", QM_TYPE_BF16, 338, QM_TYPE_Q6_K, 0},
        {"q4_k", QM_TYPE_Q4_K, 338, QM_TYPE_Q6_K, 0},
    };
    int n[31];
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        count_types(want[i].mix, 48, 0, n);
        assert_int_equal(n[QM_TYPE_F32], 241);
        assert_int_equal(n[want[i].type], want[i].n);
        assert_int_equal(n[want[i].type2], want[i].n2);
    }
    count_types("f32", 48, 0, n);
    assert_int_equal(n[QM_TYPE_F32], 579);
    count_types("q4_k_m", 48, 1, n); /* tied: the embedding is the output */
    assert_int_equal(n[QM_TYPE_Q6_K], 49);
    assert_int_equal(n[QM_TYPE_Q4_K], 288);
    /* which layers: 0..5, then every third, then 42..47 */
    for (uint32_t il = 0; il < 48; il++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.ffn_down_exps.weight", il);
        int better = il < 6 || il >= 42 || (il - 6) % 3 == 2;
        assert_int_equal(qm_mix_type(qm_mix_find("q4_k_m"), name, 3, 768, 48, 0, NULL),
                         better ? QM_TYPE_Q6_K : QM_TYPE_Q4_K);
    }
    assert_null(qm_mix_find("q4_0"));
    /* every name of the list is a mix, and every type that runs is one */
    static const char *const words[] = {
#define QM_STREAM(word, ...) " " #word,
#include "../../contracts/streams.def"
#undef QM_STREAM
    };
    char names[256], *save = NULL;
    snprintf(names, sizeof names, "%s", qm_mix_names);
    int k = 0;
    for (char *s = strtok_r(names, " ", &save); s; s = strtok_r(NULL, " ", &save), k++) assert_non_null(qm_mix_find(s));
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_non_null(strstr(qm_mix_names, words[i]));
    assert_int_equal(k, 4 + sizeof words / sizeof *words); /* each type by itself, and llama.cpp's mixes */
}

/* ---- files --------------------------------------------------------------------------------------------- */
static void keys_kept(void **state) {
    (void)state;
    qm_gguf *a, *b;
    qm_err e;
    write_odd(in_dir("odd.gguf"), -1, 0, 0, N_ODD, 0, 0, 64);
    run(in_dir("odd.gguf"), in_dir("out.gguf"), "q4_k_m", 1);
    assert_int_equal(qm_gguf_open(&a, in_dir("odd.gguf"), &e), 0);
    assert_int_equal(qm_gguf_open(&b, in_dir("out.gguf"), &e), 0);
    size_t n = qm_gguf_n_kv(a), kept = 0;
    assert_int_equal(qm_gguf_n_kv(b), n - 1 + 1); /* the alignment went, the version came */
    uint32_t v = 0;
    assert_int_equal(qm_gguf_get_u32(b, "general.file_type", &v, &e), 1);
    assert_int_equal(v, 15);
    assert_int_equal(qm_gguf_get_u32(b, "general.quantization_version", &v, &e), 1);
    assert_int_equal(v, 2);
    assert_null(qm_gguf_find(b, "general.alignment"));
    for (size_t i = 0; i < n; i++) {
        const qm_kv *x = qm_gguf_kv_at(a, i);
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)x->key.n, x->key.s);
        if (!strcmp(key, "general.alignment") || !strcmp(key, "general.file_type")) continue;
        const qm_kv *y = qm_gguf_find(b, key);
        assert_non_null(y);
        assert_int_equal(x->type, y->type);
        if (x->type == QM_KV_STR) {
            assert_int_equal(x->v.str.n, y->v.str.n);
            assert_memory_equal(x->v.str.s, y->v.str.s, x->v.str.n);
        } else if (x->type == QM_KV_ARR) {
            assert_int_equal(x->arr_type, y->arr_type);
            assert_int_equal(x->arr_n, y->arr_n);
            qm_str_iter p = {x->arr, x->arr_n}, q = {y->arr, y->arr_n};
            qm_str s, t;
            for (uint64_t k = 0; k < x->arr_n; k++)
                if (x->arr_type == QM_KV_STR) {
                    assert_int_equal(qm_str_iter_next(&p, &s) + qm_str_iter_next(&q, &t), 2);
                    assert_int_equal(s.n, t.n);
                    assert_memory_equal(s.s, t.s, s.n);
                } else
                    assert_true(qm_kv_arr_f64(x, k) == qm_kv_arr_f64(y, k) &&
                                qm_kv_arr_i64(x, k) == qm_kv_arr_i64(y, k));
        } else assert_memory_equal(&x->v, &y->v, 8);
        kept++;
    }
    assert_int_equal(kept, n - 2);
    qm_gguf_close(a);
    qm_gguf_close(b);
}

typedef struct {
    int n, notes;
    double worst;
} seen;
static int see(void *user, const qm_quantize_tensor *t) {
    seen *s = user;
    assert_string_equal(t->name, odd[s->n].name);
    assert_int_equal(t->n_dims, odd[s->n].n_dims);
    assert_memory_equal(t->ne, odd[s->n].ne, sizeof t->ne);
    assert_true(t->rms > 0);
    s->notes += t->note != NULL;
    if (t->rmse / t->rms > s->worst) s->worst = t->rmse / t->rms;
    s->n++;
    return 0;
}

/* Each tensor's blocks are those of the quantiser on the decoded input; the report tells the truth. */
static void tensors(void **state) {
    (void)state;
    static const uint32_t want[N_ODD] = {QM_TYPE_Q4_K, QM_TYPE_F32, QM_TYPE_Q6_K, QM_TYPE_Q8_0, QM_TYPE_F16,
                                         QM_TYPE_F32,  QM_TYPE_F32, QM_TYPE_Q4_K, QM_TYPE_Q6_K, QM_TYPE_Q6_K};
    qm_gguf *a, *b;
    qm_err e = {0};
    seen s = {0};
    qm_quantize_opts o = {.on_tensor = see, .user = &s};
    write_odd(in_dir("odd.gguf"), -1, 0, 0, N_ODD, 0, 0, 32);
    if (qm_quantize(in_dir("odd.gguf"), in_dir("out.gguf"), &o, &e)) fail_msg("%s", e.msg);
    assert_int_equal(s.n, N_ODD);
    assert_int_equal(s.notes, 2); /* rows of 96 and of 33 */
    assert_true(s.worst > 0.02 && s.worst < 0.1);
    assert_int_equal(qm_gguf_open(&a, in_dir("odd.gguf"), &e), 0);
    assert_int_equal(qm_gguf_open(&b, in_dir("out.gguf"), &e), 0);
    assert_int_equal(qm_gguf_n_tensors(b), N_ODD);
    for (int i = 0; i < N_ODD; i++) {
        const qm_tensor *x = qm_gguf_tensor_at(a, (size_t)i), *y = qm_gguf_tensor_at(b, (size_t)i);
        assert_int_equal(y->type, want[i]);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        float *f = malloc(4 * count(i));
        uint8_t *q = malloc(4 * count(i));
        qm_type_get(x->type)->to_f32(f, x->data, count(i));
        qm_quantize_blocks(qm_type_get(y->type), q, f, count(i));
        assert_memory_equal(q, y->data, y->bytes);
        free(f);
        free(q);
    }
    qm_gguf_close(a);
    qm_gguf_close(b);
}

static void split_and_threads(void **state) {
    (void)state;
    write_odd(in_dir("odd.gguf"), -1, 0, 0, N_ODD, 0, 0, 32);
    run(in_dir("odd.gguf"), in_dir("one.gguf"), "q5_k_m", 1);
    for (uint32_t t = 2; t < 9; t += 3) {
        run(in_dir("odd.gguf"), in_dir("many.gguf"), "q5_k_m", t);
        same_bytes(in_dir("one.gguf"), in_dir("many.gguf"));
    }
    write_odd(in_dir("s-00001-of-00002.gguf"), -1, 0, 0, 4, 0, 2, 32);
    write_odd(in_dir("s-00002-of-00002.gguf"), -1, 0, 4, N_ODD, 1, 2, 32);
    run(in_dir("s-00002-of-00002.gguf"), in_dir("joined.gguf"), "q5_k_m", 0);
    same_bytes(in_dir("one.gguf"), in_dir("joined.gguf"));
}

/* Same type in and out: not a bit changes. Up to F32 and back: none of a type that holds it. */
static void copies(void **state) {
    (void)state;
    static const char *const mixes[] = {"q4_k_m", "q8_0", "f16", "f32"};
    write_odd(in_dir("odd.gguf"), -1, 0, 0, N_ODD, 0, 0, 32);
    for (int i = 0; i < 4; i++) {
        run(in_dir("odd.gguf"), in_dir("a.gguf"), mixes[i], 0);
        run(in_dir("a.gguf"), in_dir("b.gguf"), mixes[i], 0);
        same_bytes(in_dir("a.gguf"), in_dir("b.gguf"));
    }
    run(in_dir("odd.gguf"), in_dir("a.gguf"), "bf16", 0);
    run(in_dir("a.gguf"), in_dir("b.gguf"), "f32", 0);
    run(in_dir("b.gguf"), in_dir("c.gguf"), "bf16", 0);
    same_bytes(in_dir("a.gguf"), in_dir("c.gguf"));
}

static int stop(void *user, uint64_t done, uint64_t total) {
    (void)user;
    return done * 2 > total;
}
static int stop2(void *user, const qm_quantize_tensor *t) {
    (void)user;
    return t->n_dims == 3;
}

static void refusals(void **state) {
    (void)state;
    const qm_quantize_opts q4 = {0}, f16 = {.type = "f16"}, f32 = {.type = "f32"}, bad = {.type = "q3_k"};
    const qm_quantize_opts half = {.progress = stop}, first = {.on_tensor = stop2};
    n_files(1);
    for (int k = 0; k < 3; k++) {
        static const float values[] = {NAN, INFINITY, -INFINITY};
        write_odd(in_dir("odd.gguf"), 256 * 7 + 9, values[k], 0, N_ODD, 0, 0, 32);
        refused(in_dir("odd.gguf"), in_dir("out.gguf"), &q4, QM_ERR_FORMAT, "'blk.0.ffn_up_exps.weight'",
                "weight 1801 (row 7, column 9)");
        refused(in_dir("odd.gguf"), in_dir("out.gguf"), &f32, QM_ERR_FORMAT, "'blk.0.ffn_up_exps.weight'",
                "weight 1801 (row 7, column 9)");
    }
    write_odd(in_dir("odd.gguf"), 5, 1e5f, 0, N_ODD, 0, 0, 32);
    refused(in_dir("odd.gguf"), in_dir("out.gguf"), &f16, QM_ERR_FORMAT, "weight 5 ", "F16");
    refused(in_dir("odd.gguf"), in_dir("out.gguf"), &bad, QM_ERR_ARG, "'q3_k'", qm_mix_names);
    refused(in_dir("odd.gguf"), in_dir("odd.gguf"), &q4, QM_ERR_ARG, "odd.gguf", "cannot be the output");
    assert_int_equal(symlink(in_dir("odd.gguf"), in_dir("link.gguf")), 0);
    refused(in_dir("odd.gguf"), in_dir("link.gguf"), &q4, QM_ERR_ARG, "link.gguf", "cannot be the output");
    refused(in_dir("none.gguf"), in_dir("out.gguf"), &q4, QM_ERR_IO, "none.gguf", "");
    refused(in_dir("odd.gguf"), in_dir("no/out.gguf"), &q4, QM_ERR_IO, "no/out.gguf", "");
    refused(in_dir("odd.gguf"), in_dir("out.gguf"), &half, QM_ERR_CANCELLED, "cancelled", "");
    refused(in_dir("odd.gguf"), in_dir("out.gguf"), &first, QM_ERR_CANCELLED, "cancelled", "");
    /* a type that can be told but not decoded */
    static const gguf_edit iq4 = {GE_TENSOR, "blk.0.attn_q.weight", .type = 20, .ne = {32, 4}};
    gguf_edit_file(in_dir("odd.gguf"), in_dir("iq4.gguf"), &iq4, 1);
    refused(in_dir("iq4.gguf"), in_dir("out.gguf"), &q4, QM_ERR_UNSUPPORTED, "'blk.0.attn_q.weight' is IQ4_NL", "");
    unlink(in_dir("iq4.gguf"));
    /* an existing output is left as it was */
    FILE *f = fopen(in_dir("out.gguf"), "w");
    fputs("mine", f);
    fclose(f);
    refused(in_dir("odd.gguf"), in_dir("out.gguf"), &f16, QM_ERR_FORMAT, "F16", "");
    size_t n;
    char *p = slurp(in_dir("out.gguf"), &n);
    assert_int_equal(n, 4);
    assert_memory_equal(p, "mine", 4);
    free(p);
}

/* Whatever the reader lets through: an error or a file that it reads again. */
static void corpus(void **state) {
    (void)state;
    DIR *d = opendir("tests/fuzz/corpus/gguf");
    assert_non_null(d);
    int done = 0, refused_n = 0;
    for (struct dirent *f; (f = readdir(d));) {
        char path[640];
        qm_err e = {0};
        qm_gguf *g;
        if (f->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "tests/fuzz/corpus/gguf/%s", f->d_name);
        for (int k = 0; k < 2; k++) {
            qm_quantize_opts o = {.type = k ? "f32" : "q4_k_m", .threads = 1};
            int rc = qm_quantize(path, in_dir("again.gguf"), &o, &e);
            if (rc) {
                assert_true(rc < 0 && e.msg[0]);
                refused_n++;
                continue;
            }
            if (qm_gguf_open(&g, in_dir("again.gguf"), &e)) fail_msg("%s: %s", path, e.msg);
            qm_gguf_close(g);
            done++;
        }
    }
    closedir(d);
    if (done < 3 || refused_n < 30) fail_msg("%d done, %d refused", done, refused_n);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(mix_counts), cmocka_unit_test(keys_kept),
                                   cmocka_unit_test(tensors),    cmocka_unit_test(split_and_threads),
                                   cmocka_unit_test(copies),     cmocka_unit_test(refusals),
                                   cmocka_unit_test(corpus)};
    return cmocka_run_group_tests(t, make_dir, clear_dir);
}
