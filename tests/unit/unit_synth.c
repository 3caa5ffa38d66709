/* unit_synth.c: synthetic models are readable, reproducible to the byte, and shaped as asked. */
#include "runtime/arch/arch.h"
#include "runtime/arch/family.h"
#include "runtime/file/gguf.h"
#include "runtime/file/quant.h"
#include "runtime/convert/synth.h"
#include "runtime/text/tokenizer.h"
#include "runtime/qmoe_tools.h"
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[256], path[300];
static int make_dir(void **state) {
    (void)state;
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(dir, sizeof dir, "%s/synth-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir); /* fails if anything else was left behind: no temporary files may stay */
}

static qm_gguf *make(const qm_synth_opts *o) {
    qm_err e;
    qm_gguf *g;
    if (qm_synth(path, o, &e)) fail_msg("%s", e.msg);
    if (qm_gguf_open(&g, path, &e)) fail_msg("%s", e.msg);
    return g;
}
static uint64_t hash_file(void) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint64_t h = 0xcbf29ce484222325u;
    for (int c; (c = getc(f)) != EOF;) h = (h ^ (uint8_t)c) * 0x100000001b3u;
    fclose(f);
    return h;
}
static uint32_t key(const qm_gguf *g, const char *k) {
    uint32_t v = 0;
    qm_err e;
    assert_int_equal(qm_gguf_get_u32(g, k, &v, &e), 1);
    return v;
}
static const qm_synth_opts small = {.seed = 7,
                                    .n_layers = 2,
                                    .n_embd = 64,
                                    .n_head = 2,
                                    .n_kv_head = 1,
                                    .head_dim = 64,
                                    .n_expert = 4,
                                    .n_expert_used = 2,
                                    .n_ff_exp = 32,
                                    .n_vocab = 512,
                                    .n_ctx = 256};

static void tiny_has_the_asked_shape(void **state) {
    (void)state;
    qm_gguf *g = make(NULL);
    assert_int_equal(key(g, "qwen3moe.block_count"), 4);
    assert_int_equal(key(g, "qwen3moe.expert_used_count"), 8);
    assert_int_equal(key(g, "qwen3moe.expert_feed_forward_length"), 256);
    assert_int_equal(key(g, "general.file_type"), 15);
    assert_int_equal(qm_gguf_n_tensors(g), 3 + 12 * 4);
    assert_true(qm_gguf_file_bytes(g) < 40u << 20);
    int n[40] = {0};
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) n[qm_gguf_tensor_at(g, i)->type]++;
    assert_int_equal(n[QM_TYPE_F32], 5 * 4 + 1);
    assert_int_equal(n[QM_TYPE_Q6_K], 1 + 2 * 2); /* output; attn_v and ffn_down of layers 2 and 3 */
    assert_int_equal(n[QM_TYPE_Q4_K], 51 - 21 - 5);
    assert_int_equal(qm_gguf_tensor(g, "blk.3.ffn_down_exps.weight")->type, QM_TYPE_Q6_K);
    assert_int_equal(qm_gguf_tensor(g, "blk.1.attn_v.weight")->type, QM_TYPE_Q4_K);
    const qm_tensor *t = qm_gguf_tensor(g, "blk.0.ffn_down_exps.weight");
    assert_int_equal(t->ne[0], 256);
    assert_int_equal(t->ne[1], 512);
    assert_int_equal(t->ne[2], 32);
    qm_gguf_close(g);
}

/* The bytes are a contract: fixtures elsewhere are computed from them. If a change here is wanted,
 * every fixture that names a synthetic file has to be made anew. */
static void bytes_are_pinned(void **state) {
    (void)state;
    static const struct {
        const char *types;
        uint64_t hash;
    } want[] = {
        {"q4_k_m", 0x5ac8cd2358f3841f}, {"f32", 0xb36e8fe3ceece6fc},  {"f16", 0x0dc007627bda18d2},
        {"bf16", 0x3b8a04126e586501},   {"q8_0", 0xb578cde60860b5c7},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        qm_synth_opts o = small;
        o.types = want[i].types;
        qm_gguf_close(make(&o));
        uint64_t h = hash_file();
        if (h != want[i].hash) fail_msg("%s: hash is 0x%016llx", want[i].types, (unsigned long long)h);
    }
    static const struct {
        const char *types;
        uint64_t hash;
    } wide[] = {{"q4_k_m", 0x8c3b98d8e48289cb}, {"q5_k_m", 0x7ab1fd1223a6d750}, {"q6_k", 0xd94e14876defd49c}};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        qm_synth_opts o = small;
        o.types = wide[i].types;
        o.n_embd = 256;
        o.n_ff_exp = 256;
        qm_gguf_close(make(&o));
        uint64_t h = hash_file();
        if (h != wide[i].hash) fail_msg("wide %s: hash is 0x%016llx", wide[i].types, (unsigned long long)h);
    }
}

static void seed_changes_weights_only(void **state) {
    (void)state;
    qm_synth_opts o = small;
    uint64_t h[3];
    for (int i = 0; i < 3; i++) {
        o.seed = i == 2 ? 8 : 7;
        qm_gguf_close(make(&o));
        h[i] = hash_file();
    }
    assert_true(h[0] == h[1]);
    assert_true(h[0] != h[2]);
}

/* The standard deviation of what is written is the one asked for, and nothing is infinite. */
static void weights_have_the_asked_spread(void **state) {
    (void)state;
    static const int types[] = {
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
    };
    enum { N = 256 * 64 };
    static uint8_t raw[N * 4];
    static float x[N];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int norm = 0; norm < (qm_type_get((uint32_t)types[i])->q16a ? 1 : 2); norm++) {
            qm_synth_stream s;
            uint32_t block, bytes;
            assert_true(qm_ggml_type_size((uint32_t)types[i], &block, &bytes));
            float sigma = 0.0221f; /* 1/sqrt(2048): Q6_K's d is then a subnormal half */
            qm_synth_stream_init(&s, 3, "t", (uint32_t)types[i], sigma, norm);
            qm_synth_stream_next(&s, raw, N / block);
            qm_type_get((uint32_t)types[i])->to_f32(x, raw, N);
            double sum = 0, sq = 0;
            for (int k = 0; k < N; k++) {
                assert_true(isfinite(x[k]));
                sum += (double)x[k];
            }
            double mean = sum / N;
            for (int k = 0; k < N; k++) sq += ((double)x[k] - mean) * ((double)x[k] - mean);
            double sd = sqrt(sq / N);
            if (fabs(sd / (double)sigma - 1) > 0.05 || fabs(mean - norm) > 0.05 * (double)sigma)
                fail_msg("%s: mean %g, standard deviation %g", qm_ggml_type_name((uint32_t)types[i]), mean, sd);
        }
}

static void vocabulary_is_a_valid_bpe(void **state) {
    (void)state;
    static const uint32_t sizes[] = {512, 2048, 151936, 200000};
    for (size_t i = 0; i < 4; i++) {
        qm_synth_vocab v;
        qm_err e;
        if (qm_synth_vocab_make(&v, sizes[i], &e)) fail_msg("%s", e.msg);
        for (uint32_t k = 0; k < v.n_merges; k++) {
            uint32_t l = v.left[k], r = v.right[k], id = 256 + k;
            assert_true(l < id && r < id);
            uint32_t ln = v.at[l + 1] - v.at[l], rn = v.at[r + 1] - v.at[r];
            assert_int_equal(v.at[id + 1] - v.at[id], ln + rn);
            assert_memory_equal(v.text + v.at[id], v.text + v.at[l], ln);
            assert_memory_equal(v.text + v.at[id] + ln, v.text + v.at[r], rn);
        }
        qm_synth_vocab_free(&v);
    }
    qm_synth_vocab v;
    assert_int_equal(qm_synth_vocab_make(&v, 151936, NULL), 0);
    assert_int_equal(v.n_merges, 151387);
    assert_int_equal(v.endoftext, 151643);
    assert_int_equal(v.im_end, 151645);
    qm_synth_vocab_free(&v);
    assert_int_equal(qm_synth_vocab_make(&v, 511, NULL), QM_ERR_ARG);
}

static void tokenizer_reads_it(void **state) {
    (void)state;
    qm_synth_opts o = small;
    o.n_vocab = 2048;
    qm_gguf *g = make(&o);
    qm_tokenizer *t;
    qm_err e;
    if (qm_tokenizer_open(&t, g, &e)) fail_msg("%s", e.msg);
    static const char text[] = "The rain in Spain, 1234 \xc3\xa9t\xc3\xa9s.\n<|im_end|>";
    qm_tokens ids = {0};
    if (qm_tokenize(t, text, sizeof text - 1, QM_TOK_SPECIAL, &ids, &e)) fail_msg("%s", e.msg);
    char back[256];
    size_t n = 0;
    for (size_t i = 0; i < ids.n; i++) {
        qm_str s = qm_token_bytes(t, ids.v[i]);
        memcpy(back + n, s.s, s.n);
        n += s.n;
    }
    assert_int_equal(n, sizeof text - 1);
    assert_memory_equal(back, text, n);
    assert_true(ids.n < sizeof text - 10); /* some merges were used */
    assert_true(qm_token_is_eog(t, ids.v[ids.n - 1]));
    assert_true(qm_token_is_control(t, ids.v[ids.n - 1]));
    qm_tokens_free(&ids);
    qm_tokenizer_close(t);
    qm_gguf_close(g);
}

static void leave_nothing(void) {
    char pattern[320];
    glob_t gl;
    snprintf(pattern, sizeof pattern, "%s/*", dir);
    assert_int_equal(glob(pattern, 0, NULL, &gl), GLOB_NOMATCH);
}
static int cancel(void *user, uint64_t done, uint64_t total) {
    (void)done;
    *(uint64_t *)user = total;
    return 1;
}
/* The true shape: 17.28 GiB of data are announced, and cancelling leaves no file. */
static void true_shape_is_cancelled_cleanly(void **state) {
    (void)state;
    uint64_t total = 0;
    qm_err e;
    qm_synth_opts o = {.preset = "qwen3-30b-a3b", .progress = cancel, .user = &total};
    unlink(path);
    int rc = qm_synth(path, &o, &e);
    leave_nothing();
    if (rc == QM_ERR_LIMIT) { /* too small a disk: that must have been said with numbers */
        assert_non_null(strstr(e.msg, "17.28"));
        return;
    }
    assert_int_equal(rc, QM_ERR_CANCELLED);
    assert_true(fabs((double)total / (1 << 30) - 17.28) < 0.005);
}

/* bf16_routers: the routers' weights are those that they would be, as BF16; every other byte is the same. */
static void routers_of_bf16(void **state) {
    (void)state;
    qm_synth_opts o = {.n_layers = 2, .n_embd = 256, .n_vocab = 512, .seed = 3};
    qm_gguf *a = make(&o);
    const size_t n = qm_gguf_n_tensors(a);
    unsigned char *before[64];
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        const qm_tensor *t = qm_gguf_tensor_at(a, i);
        before[i] = malloc(t->bytes);
        assert_non_null(before[i]);
        memcpy(before[i], t->data, t->bytes);
    }
    qm_gguf_close(a);
    o.bf16_routers = 1;
    qm_gguf *b = make(&o);
    int routers = 0;
    for (size_t i = 0; i < n; i++) {
        const qm_tensor *t = qm_gguf_tensor_at(b, i);
        const int router = strstr(qm_show(t->name).s, "ffn_gate_inp.weight") != NULL;
        routers += router;
        for (uint64_t k = 0; router && k < t->bytes; k += 4) {
            float f, g;
            memcpy(&f, before[i] + k, 4);
            memcpy(&g, (const char *)t->data + k, 4);
            assert_true(g == qm_bf16_to_f32(qm_f32_to_bf16(f)));
        }
        if (!router) assert_memory_equal(before[i], t->data, t->bytes);
        free(before[i]);
    }
    assert_int_equal(routers, 2);
    qm_gguf_close(b);
}

static void refused(qm_synth_opts o, int code, const char *word) {
    qm_err e = {0};
    unlink(path);
    int rc = qm_synth(path, &o, &e);
    if (rc != code || !strstr(e.msg, word)) fail_msg("rc %d, '%s' (want '%s')", rc, e.msg, word);
    leave_nothing();
}
static void wrong_options_are_refused(void **state) {
    (void)state;
    refused((qm_synth_opts){.preset = "big"}, QM_ERR_ARG, "big");
    refused((qm_synth_opts){.types = "q3_k"}, QM_ERR_ARG, "q3_k");
    refused((qm_synth_opts){.n_embd = 100}, QM_ERR_ARG, "--embd 100");
    refused((qm_synth_opts){.n_head = 5}, QM_ERR_ARG, "--kv-heads 2: must divide the 5 query heads");
    refused((qm_synth_opts){.n_expert = 4}, QM_ERR_ARG, "--experts-used 8: must be at most the 4 experts");
    refused((qm_synth_opts){.n_vocab = 100}, QM_ERR_ARG, "--vocab 100");
    refused((qm_synth_opts){.n_layers = 5000}, QM_ERR_ARG, "--layers 5000");
}
/* What a family calls a preset is written, and is a model of that family. The answer to a name that is none lists them. */
static void presets_are_their_familys(void **state) {
    (void)state;
    qm_err none = {0};
    int n = 0;
    assert_int_equal(qm_synth(path, &(qm_synth_opts){.preset = "none"}, &none), QM_ERR_ARG);
    for (int f = 0; f < qm_n_families; f++)
        for (const qm_preset *p = qm_families[f]->presets; p->name; p++, n++) {
            qm_gguf *g = make(&(qm_synth_opts){.preset = p->name, .sparse = 1});
            qm_model *m;
            qm_err e;
            if (qm_model_open(&m, g, 0, &e)) fail_msg("%s: %s", p->name, e.msg);
            assert_string_equal(m->hp.arch, qm_families[f]->names[0]);
            assert_int_equal(m->hp.n_layers, p->dims[QM_DIM_LAYERS]);
            assert_int_equal(m->output == m->token_embd, p->tied);
            if (!strstr(none.msg, p->name)) fail_msg("%s is not among: %s", p->name, none.msg);
            qm_model_close(m);
            qm_gguf_close(g);
        }
    assert_true(n >= 4);
}
static void full_disk_is_refused_with_numbers(void **state) {
    (void)state;
    refused((qm_synth_opts){.n_layers = 1024, .n_embd = 16384, .n_ff_exp = 16384, .n_expert = 512}, QM_ERR_LIMIT,
            "GiB free");
}
static void missing_folder_is_refused(void **state) {
    (void)state;
    qm_err e;
    char p[320];
    snprintf(p, sizeof p, "%s/none/m.gguf", dir);
    assert_int_equal(qm_synth(p, NULL, &e), QM_ERR_IO);
    assert_non_null(strstr(e.msg, "No such file"));
}

/* ---- the writer on its own ---- */
static void writer_keeps_its_contract(void **state) {
    (void)state;
    qm_gguf_writer *w;
    qm_err e;
    uint64_t ne[2] = {3, 2};
    unlink(path);
    /* too little data */
    assert_int_equal(qm_gguf_writer_open(&w, path, &e), 0);
    qm_gguf_write_tensor(w, "t", QM_TYPE_F32, 2, ne);
    qm_gguf_write_data(w, "1234567", 7);
    assert_int_equal(qm_gguf_writer_finish(w, &e), QM_ERR_ARG);
    qm_gguf_writer_close(w);
    leave_nothing();
    /* too much data: the first error stays */
    assert_int_equal(qm_gguf_writer_open(&w, path, &e), 0);
    qm_gguf_write_tensor(w, "t", QM_TYPE_F32, 2, ne);
    assert_int_equal(qm_gguf_write_data(w, "123456789012345678901234567", 25), QM_ERR_ARG);
    assert_int_equal(qm_gguf_write_u32(w, "late", 1), QM_ERR_ARG);
    assert_int_equal(qm_gguf_writer_finish(w, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "1 bytes of data after"));
    qm_gguf_writer_close(w);
    leave_nothing();
    /* an array with an element missing */
    assert_int_equal(qm_gguf_writer_open(&w, path, &e), 0);
    qm_gguf_write_array(w, "a", QM_KV_STR, 2);
    qm_gguf_push_str(w, "x", 1);
    assert_int_equal(qm_gguf_writer_finish(w, &e), QM_ERR_ARG);
    qm_gguf_writer_close(w);
    leave_nothing();
    /* round trip, with data in odd pieces */
    assert_int_equal(qm_gguf_writer_open(&w, path, &e), 0);
    qm_gguf_write_u32(w, "u", 5);
    qm_gguf_write_f32(w, "f", 0.25f);
    qm_gguf_write_bool(w, "b", 1);
    qm_gguf_write_str(w, "s", "text");
    qm_gguf_write_array(w, "i", QM_KV_I32, 2);
    qm_gguf_push_i32(w, -1);
    qm_gguf_push_i32(w, 9);
    qm_gguf_write_tensor(w, "one", QM_TYPE_F32, 2, ne);
    qm_gguf_write_tensor(w, "two", QM_TYPE_F16, 1, ne);
    assert_int_equal(qm_gguf_writer_data_bytes(w), 64);
    for (uint8_t k = 0; k < 30; k++) qm_gguf_write_data(w, &k, 1);
    if (qm_gguf_writer_finish(w, &e)) fail_msg("%s", e.msg);
    qm_gguf_writer_close(w);
    qm_gguf *g;
    if (qm_gguf_open(&g, path, &e)) fail_msg("%s", e.msg);
    float f;
    qm_str s;
    assert_int_equal(key(g, "u"), 5);
    assert_int_equal(qm_gguf_get_f32(g, "f", &f, &e), 1);
    assert_true(f == 0.25f);
    assert_int_equal(qm_gguf_get_str(g, "s", &s, &e), 1);
    assert_int_equal(s.n, 4);
    assert_int_equal(qm_kv_arr_i64(qm_gguf_find(g, "i"), 0), -1);
    assert_int_equal(((const uint8_t *)qm_gguf_tensor(g, "one")->data)[23], 23);
    assert_int_equal(((const uint8_t *)qm_gguf_tensor(g, "two")->data)[0], 24);
    qm_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_has_the_asked_shape),
        cmocka_unit_test(bytes_are_pinned),
        cmocka_unit_test(seed_changes_weights_only),
        cmocka_unit_test(weights_have_the_asked_spread),
        cmocka_unit_test(vocabulary_is_a_valid_bpe),
        cmocka_unit_test(tokenizer_reads_it),
        cmocka_unit_test(true_shape_is_cancelled_cleanly),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(presets_are_their_familys),
        cmocka_unit_test(full_disk_is_refused_with_numbers),
        cmocka_unit_test(missing_folder_is_refused),
        cmocka_unit_test(writer_keeps_its_contract),
        cmocka_unit_test(routers_of_bf16),
    };
    return cmocka_run_group_tests_name("synth", tests, make_dir, remove_dir);
}
