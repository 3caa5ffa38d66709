/* unit_gguf.c: the GGUF reader. A small valid file is built byte by byte, then broken in one place per
 * test; every break must be refused with a message that names the file and the thing that is wrong. */
#include "runtime/file/gguf.h"
#include "runtime/file/quant.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- building ---- */
typedef struct {
    uint8_t *p;
    size_t n, cap;
} buf;

static void put(buf *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void le(buf *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) put(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}
/* clang-format off */
static void u32(buf *b, uint64_t v) { le(b, v, 4); }
static void u64(buf *b, uint64_t v) { le(b, v, 8); }
static void strn(buf *b, const char *s, size_t n) { u64(b, n); put(b, s, n); }
static void str(buf *b, const char *s) { strn(b, s, strlen(s)); }
static void key(buf *b, const char *k, uint32_t type) { str(b, k); u32(b, type); }
static void kv_u32(buf *b, const char *k, uint32_t v) { key(b, k, QM_KV_U32); u32(b, v); }
static void arr(buf *b, const char *k, uint32_t type, uint64_t n) { key(b, k, QM_KV_ARR); u32(b, type); u64(b, n); }
static void set32(buf *b, size_t at, uint32_t v) { for (int i = 0; i < 4; i++) b->p[at + i] = (uint8_t)(v >> 8 * i); }
static void set64(buf *b, size_t at, uint64_t v) { for (int i = 0; i < 8; i++) b->p[at + i] = (uint8_t)(v >> 8 * i); }

/* Where things are in the built file. */
static struct { size_t embd, q8, data; } at;

typedef void (*part_fn)(buf *);
/* The valid file, without the default key named `skip` (or NULL), with extra keys and tensors added. */
static buf build_part(const char *skip, int n_more_kv, part_fn more_kv, int n_more_t, part_fn more_t, int shard, int n_shards) {
    buf b = { 0 };
    int n_kv = 0;
    put(&b, "GGUF", 4);
    u32(&b, 3);
    u64(&b, (uint64_t)(3 + n_more_t));
    u64(&b, 0);
#define KV(name) if (!(skip && !strcmp(skip, name)) && ++n_kv)
    KV("general.architecture") { key(&b, "general.architecture", QM_KV_STR); str(&b, "qwen3moe"); }
    KV("general.alignment") kv_u32(&b, "general.alignment", 32);
    KV("qwen3moe.block_count") kv_u32(&b, "qwen3moe.block_count", 2);
    KV("x.f32") { key(&b, "x.f32", QM_KV_F32); u32(&b, 0x3fc00000); } /* 1.5 */
    KV("x.f64") { key(&b, "x.f64", QM_KV_F64); u64(&b, 0x7fe0000000000000); } /* 2^1023 */
    KV("x.bool") { key(&b, "x.bool", QM_KV_BOOL); le(&b, 1, 1); }
    KV("x.i8") { key(&b, "x.i8", QM_KV_I8); le(&b, 0xfe, 1); } /* -2 */
    KV("x.u64") { key(&b, "x.u64", QM_KV_U64); u64(&b, 1ull << 40); }
    KV("tokenizer.ggml.tokens") {
        arr(&b, "tokenizer.ggml.tokens", QM_KV_STR, 4);
        str(&b, "a"); str(&b, "b"); str(&b, "ab"); str(&b, "<e>");
    }
    KV("tokenizer.ggml.token_type") {
        arr(&b, "tokenizer.ggml.token_type", QM_KV_I32, 4);
        u32(&b, 1); u32(&b, 1); u32(&b, 1); u32(&b, 3);
    }
    KV("tokenizer.ggml.merges") { arr(&b, "tokenizer.ggml.merges", QM_KV_STR, 1); str(&b, "a b"); }
    KV("tokenizer.ggml.eos_token_id") kv_u32(&b, "tokenizer.ggml.eos_token_id", 3);
    if (n_shards) {
        key(&b, "split.no", QM_KV_U16); le(&b, (uint64_t)shard, 2);
        key(&b, "split.count", QM_KV_U16); le(&b, (uint64_t)n_shards, 2);
        key(&b, "split.tensors.count", QM_KV_I32); u32(&b, (uint64_t)(3 * n_shards));
        n_kv += 3;
    }
    if (more_kv) more_kv(&b);
    set64(&b, 16, (uint64_t)(n_kv + n_more_kv));
    char name[3][32] = { "token_embd.weight", "q8", "half" };
    for (int i = 0; i < 3 && shard; i++) snprintf(name[i], sizeof *name, "s%d.%d", shard, i);
    at.embd = b.n;
    str(&b, name[0]); u32(&b, 2); u64(&b, 8); u64(&b, 4); u32(&b, 0); u64(&b, 0);     /* 128 bytes */
    at.q8 = b.n;
    str(&b, name[1]); u32(&b, 2); u64(&b, 32); u64(&b, 2); u32(&b, 8); u64(&b, 128);  /* 68, padded to 96 */
    str(&b, name[2]); u32(&b, 1); u64(&b, 3); u32(&b, 1); u64(&b, 224);               /* 6 */
    if (more_t) more_t(&b);
    while (b.n % 32) le(&b, 0xee, 1);
    at.data = b.n;
    for (int i = 0; i < 230; i++) le(&b, (uint64_t)i, 1);
    return b;
}
static buf build(const char *skip, int n_kv, part_fn kv, int n_t, part_fn t) { return build_part(skip, n_kv, kv, n_t, t, 0, 0); }
static buf valid(void) { return build(NULL, 0, NULL, 0, NULL); }
/* clang-format on */

/* Opens an exact-size copy, so that a sanitizer sees any read past the end. */
static int open_copy(const buf *b, qm_gguf **g, void **copy, qm_err *e) {
    *copy = malloc(b->n ? b->n : 1);
    assert_non_null(*copy);
    if (b->n) memcpy(*copy, b->p, b->n);
    memset(e, 0, sizeof *e);
    return qm_gguf_open_mem(g, *copy, b->n, "small.gguf", e);
}

/* With QMOE_GGUF_DUMP=folder the inputs are also written there, named by their contents: that is how
 * tests/fuzz/corpus/gguf was made. */
static void dump(const buf *b) {
    const char *to = getenv("QMOE_GGUF_DUMP");
    if (!to || b->n < 600 || b->n > 4096) return;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < b->n; i++) h = (h ^ b->p[i]) * 0x100000001b3u;
    char path[512];
    snprintf(path, sizeof path, "%s/%016llx", to, (unsigned long long)h);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(b->p, 1, b->n, f);
    fclose(f);
}

/* Frees b. The message must name the file and hold both words. */
static void refused(buf b, int code, const char *word1, const char *word2) {
    qm_gguf *g = (void *)1;
    qm_err e;
    void *copy;
    dump(&b);
    int rc = open_copy(&b, &g, &copy, &e);
    if (rc != code || g || !strstr(e.msg, "small.gguf") || !strstr(e.msg, word1) || !strstr(e.msg, word2))
        fail_msg("rc %d (want %d), message '%s' (want '%s', '%s')", rc, code, rc ? e.msg : "", word1, word2);
    free(copy);
    free(b.p);
}
static void accepted(buf b) {
    qm_gguf *g;
    qm_err e;
    void *copy;
    dump(&b);
    if (open_copy(&b, &g, &copy, &e)) fail_msg("%s", e.msg);
    qm_gguf_close(g);
    free(copy);
    free(b.p);
}
#define FORMAT QM_ERR_FORMAT
#define TEST(name) static void name(void **state)
#define UNUSED (void)state

/* ---- a valid file ---- */
TEST(valid_file_reads_back) {
    UNUSED;
    buf b = valid();
    qm_gguf *g;
    qm_err e;
    void *copy;
    if (open_copy(&b, &g, &copy, &e)) fail_msg("%s", e.msg);
    assert_int_equal(qm_gguf_version(g), 3);
    assert_int_equal(qm_gguf_n_kv(g), 12);
    assert_int_equal(qm_gguf_n_tensors(g), 3);
    assert_int_equal(qm_gguf_file_bytes(g), b.n);
    assert_int_equal(qm_gguf_shard_fd(g, 0), -1);
    assert_string_equal(qm_gguf_path(g), "small.gguf");
    uint32_t u = 0;
    float f = 0;
    int i = 0;
    qm_str s;
    assert_int_equal(qm_gguf_get_u32(g, "qwen3moe.block_count", &u, &e), 1);
    assert_int_equal(u, 2);
    assert_int_equal(qm_gguf_get_f32(g, "x.f32", &f, &e), 1);
    assert_true(f == 1.5f);
    assert_int_equal(qm_gguf_get_f32(g, "x.i8", &f, &e), 1);
    assert_true(f == -2.0f);
    assert_int_equal(qm_gguf_get_f32(g, "x.u64", &f, &e), 1);
    assert_true(f == 0x1p40f);
    assert_int_equal(qm_gguf_get_bool(g, "x.bool", &i, &e), 1);
    assert_int_equal(i, 1);
    assert_int_equal(qm_gguf_get_str(g, "general.architecture", &s, &e), 1);
    assert_int_equal(s.n, 8);
    assert_memory_equal(s.s, "qwen3moe", 8);
    qm_str_iter it;
    uint64_t n;
    assert_int_equal(qm_gguf_get_str_array(g, "tokenizer.ggml.tokens", &it, &n, &e), 1);
    assert_int_equal(n, 4);
    const char *want[] = {"a", "b", "ab", "<e>"};
    for (int k = 0; k < 4; k++) {
        assert_int_equal(qm_str_iter_next(&it, &s), 1);
        assert_int_equal(s.n, strlen(want[k]));
        assert_memory_equal(s.s, want[k], s.n);
    }
    assert_int_equal(qm_str_iter_next(&it, &s), 0);
    const qm_kv *kv = qm_gguf_find(g, "tokenizer.ggml.token_type");
    assert_int_equal(qm_kv_arr_i64(kv, 3), 3);
    assert_int_equal(qm_kv_arr_i64(kv, 4), 0);
    const qm_tensor *t = qm_gguf_tensor(g, "q8");
    assert_int_equal(t->bytes, 68);
    assert_int_equal(t->ne[1], 2);
    assert_int_equal(t->ne[3], 1);
    assert_int_equal(t->file_off, at.data + 128);
    assert_int_equal(((const uint8_t *)t->data)[0], 128);
    assert_null(qm_gguf_tensor(g, "q"));
    assert_null(qm_gguf_tensor_at(g, 3));
    assert_null(qm_gguf_find(g, "x"));
    for (size_t k = 0; k < qm_gguf_n_tensors(g); k++) /* every tensor is found by its own name */
        assert_ptr_equal(qm_gguf_tensor(g, k == 0   ? "token_embd.weight"
                                           : k == 1 ? "q8"
                                                    : "half"),
                         qm_gguf_tensor_at(g, k));
    qm_gguf_drop(g, t); /* does nothing for a buffer */
    qm_gguf_close(g);
    free(copy);
    free(b.p);
}
TEST(version_2_is_read) {
    UNUSED;
    buf b = valid();
    set32(&b, 4, 2);
    accepted(b);
}
TEST(missing_tail_padding_is_read) {
    UNUSED;
    buf b = valid();
    le(&b, 0, 4);
    accepted(b);
} /* and bytes after the data */

TEST(getters_refuse_wrong_types_and_ranges) {
    UNUSED;
    buf b = valid();
    qm_gguf *g;
    qm_err e;
    void *copy;
    assert_int_equal(open_copy(&b, &g, &copy, &e), 0);
    uint32_t u;
    float f;
    int i;
    qm_str s;
    qm_str_iter it;
    uint64_t n;
#define BAD(call, word)                                                                                              \
    do {                                                                                                             \
        e.msg[0] = 0;                                                                                                \
        assert_int_equal(call, FORMAT);                                                                              \
        if (!strstr(e.msg, word) || !strstr(e.msg, "small.gguf") || !strstr(e.msg, "offset")) fail_msg("%s", e.msg); \
    } while (0)
    BAD(qm_gguf_get_u32(g, "x.i8", &u, &e), "-2");
    BAD(qm_gguf_get_u32(g, "x.u64", &u, &e), "1099511627776");
    BAD(qm_gguf_get_u32(g, "x.f32", &u, &e), "f32");
    BAD(qm_gguf_get_f32(g, "x.f64", &f, &e), "x.f64");
    BAD(qm_gguf_get_f32(g, "x.bool", &f, &e), "bool");
    BAD(qm_gguf_get_bool(g, "x.f32", &i, &e), "f32");
    BAD(qm_gguf_get_str(g, "x.f32", &s, &e), "f32");
    BAD(qm_gguf_get_str_array(g, "x.f32", &it, &n, &e), "f32");
    BAD(qm_gguf_get_str_array(g, "tokenizer.ggml.token_type", &it, &n, &e), "i32");
    assert_int_equal(qm_gguf_get_u32(g, "none", &u, &e), 0);
    qm_gguf_close(g);
    free(copy);
    free(b.p);
}

/* A case is a line from here on. */
/* clang-format off */
/* ---- header ---- */
TEST(bad_magic) { UNUSED; buf b = valid(); b.p[0] = 'X'; refused(b, FORMAT, "magic", "offset 0"); }
TEST(bad_version) { UNUSED; buf b = valid(); set32(&b, 4, 4); refused(b, FORMAT, "version 4", "offset 4"); }
TEST(version_1) { UNUSED; buf b = valid(); set32(&b, 4, 1); refused(b, QM_ERR_UNSUPPORTED, "version 1", "offset 4"); }
TEST(big_endian) { UNUSED; buf b = valid(); set32(&b, 4, 3u << 24); refused(b, FORMAT, "big-endian", "offset 4"); }
TEST(huge_tensor_count) { UNUSED; buf b = valid(); set64(&b, 8, UINT64_MAX); refused(b, FORMAT, "tensor count", "offset 8"); }
TEST(huge_key_count) { UNUSED; buf b = valid(); set64(&b, 16, 1ull << 61); refused(b, FORMAT, "key count", "offset 16"); }
TEST(one_tensor_too_many) { UNUSED; buf b = valid(); set64(&b, 8, 4); refused(b, FORMAT, "tensor", "offset"); }
TEST(one_key_too_many) { UNUSED; buf b = valid(); set64(&b, 16, 13); refused(b, FORMAT, "offset", "left"); }
TEST(metadata_only_is_read) { UNUSED; buf b = { 0 }; put(&b, "GGUF\3\0\0", 8); u64(&b, 0); u64(&b, 0); accepted(b); }
TEST(empty_file) { UNUSED; buf b = { 0 }; refused(b, FORMAT, "magic", "0 left"); }

/* ---- keys ---- */
static void kv_empty(buf *b) { key(b, "", QM_KV_U8); le(b, 1, 1); }
static void kv_long(buf *b) { static char k[65536]; memset(k, 'k', sizeof k); strn(b, k, sizeof k); u32(b, QM_KV_U8); le(b, 1, 1); }
static void kv_endless(buf *b) { u64(b, UINT64_MAX - 8); put(b, "k", 1); }
static void kv_nul(buf *b) { strn(b, "a\0b", 3); u32(b, QM_KV_U8); le(b, 1, 1); }
static void kv_dup(buf *b) { key(b, "x.bool", QM_KV_U8); le(b, 1, 1); }
static void kv_type(buf *b) { key(b, "x.type", 13); le(b, 1, 8); }
static void kv_bool(buf *b) { key(b, "x.b", QM_KV_BOOL); le(b, 2, 1); }
static void kv_str(buf *b) { key(b, "x.s", QM_KV_STR); u64(b, 1ull << 62); }
TEST(empty_key) { UNUSED; refused(build(NULL, 1, kv_empty, 0, NULL), FORMAT, "0 bytes", "offset"); }
TEST(huge_key) { UNUSED; refused(build(NULL, 1, kv_long, 0, NULL), FORMAT, "65536 bytes", "offset"); }
TEST(endless_key) { UNUSED; refused(build(NULL, 1, kv_endless, 0, NULL), FORMAT, "key at offset", "left"); }
TEST(nul_in_key) { UNUSED; refused(build(NULL, 1, kv_nul, 0, NULL), FORMAT, "a\\x00b", "NUL"); }
TEST(duplicate_key) { UNUSED; refused(build(NULL, 1, kv_dup, 0, NULL), FORMAT, "'x.bool' appears twice", "offset"); }
TEST(unknown_value_type) { UNUSED; refused(build(NULL, 1, kv_type, 0, NULL), FORMAT, "x.type", "value type 13"); }
TEST(bool_of_two) { UNUSED; refused(build(NULL, 1, kv_bool, 0, NULL), FORMAT, "'x.b'", "bool value 2"); }
TEST(endless_string) { UNUSED; refused(build(NULL, 1, kv_str, 0, NULL), FORMAT, "'x.s'", "string value"); }

/* ---- arrays ---- */
static void arr_long(buf *b) { arr(b, "x.a", QM_KV_U64, 1ull << 61); }
static void arr_long_str(buf *b) { arr(b, "x.a", QM_KV_STR, 1ull << 61); }
static void arr_type(buf *b) { arr(b, "x.a", 13, 1); le(b, 0, 8); }
static void arr_arr(buf *b) { arr(b, "x.a", QM_KV_ARR, 1); u32(b, QM_KV_U8); u64(b, 0); }
static void arr_bool(buf *b) { arr(b, "x.a", QM_KV_BOOL, 3); le(b, 0x040100, 3); }
static void arr_str_end(buf *b) { arr(b, "x.a", QM_KV_STR, 2); str(b, "ok"); u64(b, 1ull << 40); }
static void arr_empty(buf *b) { arr(b, "x.a", QM_KV_STR, 0); arr(b, "x.b", QM_KV_U16, 0); }
TEST(array_length_overflows) { UNUSED; refused(build(NULL, 1, arr_long, 0, NULL), FORMAT, "x.a", "2305843009213693952 elements"); }
TEST(string_array_length_overflows) { UNUSED; refused(build(NULL, 1, arr_long_str, 0, NULL), FORMAT, "x.a", "elements"); }
TEST(array_element_type) { UNUSED; refused(build(NULL, 1, arr_type, 0, NULL), FORMAT, "x.a", "element type 13"); }
TEST(array_of_arrays) { UNUSED; refused(build(NULL, 1, arr_arr, 0, NULL), QM_ERR_UNSUPPORTED, "x.a", "array of arrays"); }
TEST(array_of_bad_bools) { UNUSED; refused(build(NULL, 1, arr_bool, 0, NULL), FORMAT, "x.a", "bool value 4"); }
TEST(array_string_past_end) { UNUSED; refused(build(NULL, 1, arr_str_end, 0, NULL), FORMAT, "x.a", "string in an array"); }
TEST(empty_arrays_are_read) { UNUSED; accepted(build(NULL, 2, arr_empty, 0, NULL)); }

/* ---- alignment ---- */
static void al_0(buf *b) { kv_u32(b, "general.alignment", 0); }
static void al_48(buf *b) { kv_u32(b, "general.alignment", 48); }
static void al_4(buf *b) { kv_u32(b, "general.alignment", 4); }
static void al_str(buf *b) { key(b, "general.alignment", QM_KV_STR); str(b, "32"); }
static void al_64(buf *b) { kv_u32(b, "general.alignment", 64); }
static void al_huge(buf *b) { kv_u32(b, "general.alignment", 1u << 31); }
#define AL "general.alignment"
TEST(alignment_zero) { UNUSED; refused(build(AL, 1, al_0, 0, NULL), FORMAT, AL, "power of two"); }
TEST(alignment_not_power_of_two) { UNUSED; refused(build(AL, 1, al_48, 0, NULL), FORMAT, AL, "48"); }
TEST(alignment_below_8) { UNUSED; refused(build(AL, 1, al_4, 0, NULL), FORMAT, AL, "at least 8"); }
TEST(alignment_wrong_type) { UNUSED; refused(build(AL, 1, al_str, 0, NULL), FORMAT, AL, "type str"); }
TEST(alignment_huge) { UNUSED; refused(build(AL, 1, al_huge, 0, NULL), FORMAT, "token_embd.weight", "truncated"); }
TEST(alignment_other_than_offsets) { UNUSED; refused(build(AL, 1, al_64, 0, NULL), FORMAT, "half", "aligned to 64"); }
TEST(alignment_defaults_to_32) { UNUSED; accepted(build(AL, 0, NULL, 0, NULL)); }

/* ---- tensors ---- */
static void t_long(buf *b) { char n[66]; memset(n, 'n', 65); strn(b, n, 65); u32(b, 1); u64(b, 1); u32(b, 0); u64(b, 256); }
static void t_empty(buf *b) { str(b, ""); u32(b, 1); u64(b, 1); u32(b, 0); u64(b, 256); }
static void t_nul(buf *b) { strn(b, "x\0y", 3); u32(b, 1); u64(b, 1); u32(b, 0); u64(b, 256); }
static void t_dup(buf *b) { str(b, "q8"); u32(b, 1); u64(b, 1); u32(b, 0); u64(b, 256); }
TEST(tensor_name_too_long) { UNUSED; refused(build(NULL, 0, NULL, 1, t_long), FORMAT, "65 bytes", "offset"); }
TEST(tensor_name_empty) { UNUSED; refused(build(NULL, 0, NULL, 1, t_empty), FORMAT, "0 bytes", "offset"); }
TEST(tensor_name_with_nul) { UNUSED; refused(build(NULL, 0, NULL, 1, t_nul), FORMAT, "x\\x00y", "NUL"); }
TEST(tensor_name_duplicate) {
    UNUSED;
    buf b = build(NULL, 0, NULL, 1, t_dup);
    for (int i = 0; i < 64; i++) le(&b, 0, 1);
    refused(b, FORMAT, "tensor 'q8' appears twice", "offset");
}
#define EMBD(off) (at.embd + 8 + 17 + (off)) /* 0 n_dims, 4 ne0, 12 ne1, 20 type, 24 data offset */
#define Q8(off) (at.q8 + 8 + 2 + (off))
#define SMALL(name, put32or64, where, v, code, w1, w2) \
    TEST(name) { UNUSED; buf b = valid(); put32or64(&b, where, v); refused(b, code, w1, w2); }
SMALL(zero_dimensions, set32, EMBD(0), 0, FORMAT, "token_embd.weight", "0 dimensions")
SMALL(five_dimensions, set32, EMBD(0), 5, FORMAT, "token_embd.weight", "5 dimensions")
SMALL(zero_extent, set64, EMBD(4), 0, FORMAT, "token_embd.weight", "ne[0] = 0")
SMALL(negative_extent, set64, EMBD(12), UINT64_MAX, FORMAT, "token_embd.weight", "ne[1] = -1")
SMALL(product_overflows, set64, EMBD(12), 1ull << 62, FORMAT, "token_embd.weight", "overflows")
SMALL(bytes_overflow, set64, EMBD(4), 1ull << 60, FORMAT, "token_embd.weight", "overflows")
SMALL(unknown_tensor_type, set32, EMBD(20), 99, QM_ERR_UNSUPPORTED, "token_embd.weight", "type 99 at offset")
SMALL(withdrawn_tensor_type, set32, EMBD(20), 4, QM_ERR_UNSUPPORTED, "token_embd.weight", "type 4 at offset")
/* Every type of ggml.h: the block's parts by ggml-common.h (scales, then codes; QK_K is 256). */
TEST(every_tensor_type_is_sized) {
    UNUSED;
    static const struct { uint32_t type; const char *name; uint32_t block, bytes; } want[] = {
        { 0, "F32", 1, 4 }, { 1, "F16", 1, 2 }, { 2, "Q4_0", 32, 2 + 16 }, { 3, "Q4_1", 32, 4 + 16 }, { 6, "Q5_0", 32, 2 + 4 + 16 },
        { 7, "Q5_1", 32, 4 + 4 + 16 }, { 8, "Q8_0", 32, 2 + 32 }, { 9, "Q8_1", 32, 4 + 32 }, { 10, "Q2_K", 256, 4 + 16 + 64 },
        { 11, "Q3_K", 256, 2 + 32 + 64 + 12 }, { 12, "Q4_K", 256, 4 + 12 + 128 }, { 13, "Q5_K", 256, 4 + 12 + 32 + 128 },
        { 14, "Q6_K", 256, 2 + 16 + 64 + 128 }, { 15, "Q8_K", 256, 4 + 256 + 32 }, { 16, "IQ2_XXS", 256, 2 + 64 },
        { 17, "IQ2_XS", 256, 2 + 64 + 8 }, { 18, "IQ3_XXS", 256, 2 + 96 }, { 19, "IQ1_S", 256, 2 + 32 + 16 }, { 20, "IQ4_NL", 32, 2 + 16 },
        { 21, "IQ3_S", 256, 2 + 64 + 8 + 32 + 4 }, { 22, "IQ2_S", 256, 2 + 64 + 16 }, { 23, "IQ4_XS", 256, 4 + 4 + 128 }, { 24, "I8", 1, 1 },
        { 25, "I16", 1, 2 }, { 26, "I32", 1, 4 }, { 27, "I64", 1, 8 }, { 28, "F64", 1, 8 }, { 29, "IQ1_M", 256, 32 + 16 + 8 },
        { 30, "BF16", 1, 2 }, { 34, "TQ1_0", 256, 2 + 48 + 4 }, { 35, "TQ2_0", 256, 2 + 64 }, { 39, "MXFP4", 32, 1 + 16 },
        { 40, "NVFP4", 64, 4 + 32 }, { 41, "Q1_0", 128, 2 + 16 }, { 42, "Q2_0", 64, 2 + 16 },
    };
    size_t known = 0;
    for (uint32_t t = 0; t < 1000; t++) known += qm_ggml_type_size(t, &(uint32_t){ 0 }, &(uint32_t){ 0 });
    assert_int_equal(known, sizeof want / sizeof *want);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        uint32_t block, bytes;
        assert_true(qm_ggml_type_size(want[i].type, &block, &bytes));
        if (block != want[i].block || bytes != want[i].bytes) fail_msg("%s: %u bytes for %u", want[i].name, bytes, block);
        assert_string_equal(qm_ggml_type_name(want[i].type), want[i].name);
    }
    assert_string_equal(qm_ggml_type_name(4), "unknown");
    /* what runs here has its figures in streams.def, for the kernels: the same */
    for (uint32_t t = 0; t < 1000; t++) {
        const qm_type_info *info = qm_type_get(t);
        uint32_t block, bytes;
        if (!info) continue;
        assert_true(qm_ggml_type_size(t, &block, &bytes));
        assert_int_equal((uint64_t)block * info->bytes, (uint64_t)info->qk * bytes);
        assert_true(info->qk % block == 0);
        assert_string_equal(qm_ggml_type_name(t), info->name);
    }
}
SMALL(row_not_whole_blocks, set64, Q8(4), 33, FORMAT, "'q8'", "block of 32")
SMALL(offset_not_running_sum, set64, Q8(24), 160, FORMAT, "'q8'", "offset 160")
SMALL(offset_back_to_start, set64, Q8(24), 0, FORMAT, "'q8'", "end at 128")
SMALL(offset_misaligned, set64, Q8(24), 130, FORMAT, "'q8'", "not aligned to 32")
SMALL(offset_past_end, set64, Q8(24), 1ull << 40, FORMAT, "'q8'", "1099511627776")
SMALL(tensor_larger_than_file, set64, EMBD(12), 1 << 20, FORMAT, "token_embd.weight", "truncated")
TEST(data_truncated) { UNUSED; buf b = valid(); b.n--; refused(b, FORMAT, "'half'", "truncated"); }
TEST(every_truncation_is_refused) {
    UNUSED;
    buf whole = valid();
    for (size_t n = 0; n < whole.n; n++) {
        buf b = { 0 };
        if (n) put(&b, whole.p, n);
        refused(b, FORMAT, "offset", "");
    }
    free(whole.p);
}
TEST(every_flipped_byte_is_survived) {
    UNUSED;
    buf whole = valid();
    for (size_t n = 0; n < at.data; n++)
        for (int v = 1; v < 256; v = v * 3 + 1) {
            qm_gguf *g;
            qm_err e;
            void *copy;
            whole.p[n] ^= (uint8_t)v;
            int rc = open_copy(&whole, &g, &copy, &e);
            if (rc && (!e.msg[0] || !strstr(e.msg, "small.gguf"))) fail_msg("byte %zu: '%s'", n, e.msg);
            if (!rc) qm_gguf_close(g);
            free(copy);
            whole.p[n] ^= (uint8_t)v;
        }
    free(whole.p);
}

/* ---- what keys say of each other (merges of unknown tokens: unit_tokenizer.c, which has the table) ---- */
static void blocks(buf *b) { kv_u32(b, "qwen3moe.block_count", 5000); }
static void blocks_0(buf *b) { kv_u32(b, "qwen3moe.block_count", 0); }
static void blocks_str(buf *b) { key(b, "qwen3moe.block_count", QM_KV_STR); str(b, "2"); }
static void arch_u32(buf *b) { kv_u32(b, "general.architecture", 1); }
static void tokens_short(buf *b) { arr(b, "tokenizer.ggml.tokens", QM_KV_STR, 3); str(b, "a"); str(b, "b"); str(b, "c"); }
static void tokens_i32(buf *b) { arr(b, "tokenizer.ggml.tokens", QM_KV_I32, 4); u64(b, 0); u64(b, 0); }
static void types_short(buf *b) { arr(b, "tokenizer.ggml.token_type", QM_KV_I32, 2); u64(b, 0); }
static void types_u8(buf *b) { arr(b, "tokenizer.ggml.token_type", QM_KV_U8, 4); u32(b, 0); }
static void types_scalar(buf *b) { kv_u32(b, "tokenizer.ggml.token_type", 4); }
static void merges_single(buf *b) { arr(b, "tokenizer.ggml.merges", QM_KV_STR, 1); str(b, "ab"); }
static void merges_i32(buf *b) { arr(b, "tokenizer.ggml.merges", QM_KV_I32, 1); u32(b, 0); }
static void eos_big(buf *b) { kv_u32(b, "tokenizer.ggml.eos_token_id", 4); }
static void eos_neg(buf *b) { key(b, "tokenizer.ggml.eos_token_id", QM_KV_I32); u32(b, 0xffffffff); }
#define REPLACED(name, k, fn, code, w1, w2) TEST(name) { UNUSED; refused(build(k, 1, fn, 0, NULL), code, w1, w2); }
REPLACED(block_count_in_thousands, "qwen3moe.block_count", blocks, QM_ERR_LIMIT, "qwen3moe.block_count", "5000 layers")
REPLACED(block_count_zero, "qwen3moe.block_count", blocks_0, QM_ERR_LIMIT, "qwen3moe.block_count", "0 layers")
REPLACED(wrong_type_for_block_count, "qwen3moe.block_count", blocks_str, FORMAT, "qwen3moe.block_count", "type str")
REPLACED(wrong_type_for_architecture, "general.architecture", arch_u32, FORMAT, "general.architecture", "type u32")
REPLACED(tokens_shorter_than_vocabulary, "tokenizer.ggml.tokens", tokens_short, FORMAT, "tokenizer.ggml.tokens", "3")
REPLACED(tokens_not_strings, "tokenizer.ggml.tokens", tokens_i32, FORMAT, "tokenizer.ggml.tokens", "i32")
REPLACED(token_types_shorter_than_tokens, "tokenizer.ggml.token_type", types_short, FORMAT, "token_type", "2 elements")
REPLACED(token_types_of_wrong_type, "tokenizer.ggml.token_type", types_u8, FORMAT, "token_type", "type u8")
REPLACED(token_types_not_an_array, "tokenizer.ggml.token_type", types_scalar, FORMAT, "token_type", "type u32")
REPLACED(merge_not_a_pair, "tokenizer.ggml.merges", merges_single, FORMAT, "merges", "not a pair")
REPLACED(merges_not_strings, "tokenizer.ggml.merges", merges_i32, FORMAT, "merges", "i32")
REPLACED(token_id_out_of_range, "tokenizer.ggml.eos_token_id", eos_big, FORMAT, "eos_token_id", "token id 4")
REPLACED(token_id_negative, "tokenizer.ggml.eos_token_id", eos_neg, FORMAT, "eos_token_id", "-1")

/* ---- files and split sets ---- */
static char dir[256];
static int make_dir(void **state) {
    (void)state;
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(dir, sizeof dir, "%s/gguf-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
    (void)state;
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -r '%s'", dir);
    return system(cmd);
}
static const char *in_dir(const char *name) {
    static char path[2][512];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof *path, "%s/%s", dir, name);
    return path[turn];
}
static void write_file(const char *name, buf b) {
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
    free(b.p);
}
static void path_refused(const char *name, int code, const char *w1, const char *w2) {
    qm_gguf *g;
    qm_err e = { 0 };
    int rc = qm_gguf_open(&g, in_dir(name), &e);
    if (rc != code || g || !strstr(e.msg, w1) || !strstr(e.msg, w2)) fail_msg("rc %d, message '%s' (want '%s', '%s')", rc, e.msg, w1, w2);
}
TEST(file_opens_and_pages_drop) {
    UNUSED;
    write_file("one.gguf", valid());
    qm_gguf *g;
    qm_err e;
    if (qm_gguf_open(&g, in_dir("one.gguf"), &e)) fail_msg("%s", e.msg);
    const qm_tensor *t = qm_gguf_tensor(g, "q8");
    assert_int_equal(((uintptr_t)t->data) % 32, 0);
    qm_gguf_drop(g, t);
    assert_int_equal(((const uint8_t *)t->data)[0], 128); /* still readable */
    assert_true(qm_gguf_shard_fd(g, 0) >= 0);
    assert_int_equal(qm_gguf_shard_fd(g, 1), -1);
    qm_gguf_close(g);
}
TEST(file_missing) { UNUSED; path_refused("none.gguf", QM_ERR_IO, "none.gguf", "No such file"); }
TEST(file_is_a_folder) { UNUSED; path_refused(".", QM_ERR_IO, "regular file", ""); }
TEST(file_too_short) { UNUSED; buf b = { 0 }; put(&b, "GGUF", 4); write_file("short.gguf", b); path_refused("short.gguf", FORMAT, "short.gguf", "4 bytes"); }

static void write_set(void) {
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "m-%05d-of-00003.gguf", i + 1);
        write_file(name, build_part(NULL, 0, NULL, 0, NULL, i, 3));
    }
}
TEST(split_set_opens_by_any_part) {
    UNUSED;
    write_set();
    for (int i = 1; i <= 3; i++) {
        char name[64];
        qm_gguf *g;
        qm_err e;
        snprintf(name, sizeof name, "m-%05d-of-00003.gguf", i);
        if (qm_gguf_open(&g, in_dir(name), &e)) fail_msg("%s", e.msg);
        assert_int_equal(qm_gguf_n_shards(g), 3);
        assert_int_equal(qm_gguf_n_tensors(g), 9);
        assert_int_equal(qm_gguf_tensor(g, "s2.1")->shard, 2);
        assert_int_equal(((const uint8_t *)qm_gguf_tensor(g, "s2.1")->data)[0], 128);
        assert_non_null(strstr(qm_gguf_path(g), "m-00001-of"));
        qm_gguf_close(g);
    }
}
TEST(split_part_missing) {
    UNUSED;
    write_set();
    unlink(in_dir("m-00002-of-00003.gguf"));
    path_refused("m-00003-of-00003.gguf", QM_ERR_IO, "m-00002-of-00003.gguf", "No such file");
}
TEST(split_wrong_count) {
    UNUSED;
    write_set();
    write_file("m-00002-of-00003.gguf", build_part(NULL, 0, NULL, 0, NULL, 1, 4));
    path_refused("m-00001-of-00003.gguf", FORMAT, "m-00002-of-00003.gguf", "split.count");
}
TEST(split_wrong_number) {
    UNUSED;
    write_set();
    write_file("m-00002-of-00003.gguf", build_part(NULL, 0, NULL, 0, NULL, 2, 3));
    path_refused("m-00001-of-00003.gguf", FORMAT, "m-00002-of-00003.gguf", "split.no");
}
static void t_more(buf *b) { str(b, "more"); u32(b, 1); u64(b, 1); u32(b, 0); u64(b, 256); }
static buf part_with(part_fn t) {
    buf b = build_part(NULL, 0, NULL, 1, t, 1, 3);
    for (int i = 0; i < 64; i++) le(&b, 0, 1);
    return b;
}
TEST(split_tensor_count_wrong) {
    UNUSED;
    write_set();
    write_file("m-00002-of-00003.gguf", part_with(t_more));
    path_refused("m-00001-of-00003.gguf", FORMAT, "split.tensors.count", "10 tensors");
}
TEST(split_duplicate_tensor) {
    UNUSED;
    write_set();
    buf b = build_part(NULL, 0, NULL, 0, NULL, 2, 3);
    memcpy(b.p + at.q8 + 8, "s1.0", 4); /* was s2.1 */
    write_file("m-00003-of-00003.gguf", b);
    path_refused("m-00001-of-00003.gguf", FORMAT, "m-00003-of-00003.gguf", "'s1.0' appears twice");
}
TEST(split_part_without_keys) {
    UNUSED;
    write_set();
    write_file("m-00002-of-00003.gguf", valid());
    path_refused("m-00001-of-00003.gguf", FORMAT, "m-00002-of-00003.gguf", "lacks key 'split.no'");
}
TEST(split_part_under_another_name) {
    UNUSED;
    write_file("renamed.gguf", build_part(NULL, 0, NULL, 0, NULL, 0, 3));
    path_refused("renamed.gguf", FORMAT, "renamed.gguf", "split.count");
}
TEST(split_part_from_memory) { UNUSED; refused(build_part(NULL, 0, NULL, 0, NULL, 0, 3), QM_ERR_UNSUPPORTED, "3 parts", ""); }

/* clang-format on */

int main(void) {
#define T(x) cmocka_unit_test(x)
    const struct CMUnitTest tests[] = {
        T(valid_file_reads_back),
        T(version_2_is_read),
        T(missing_tail_padding_is_read),
        T(getters_refuse_wrong_types_and_ranges),
        T(bad_magic),
        T(bad_version),
        T(version_1),
        T(big_endian),
        T(huge_tensor_count),
        T(huge_key_count),
        T(one_tensor_too_many),
        T(one_key_too_many),
        T(metadata_only_is_read),
        T(empty_file),
        T(empty_key),
        T(huge_key),
        T(endless_key),
        T(nul_in_key),
        T(duplicate_key),
        T(unknown_value_type),
        T(bool_of_two),
        T(endless_string),
        T(array_length_overflows),
        T(string_array_length_overflows),
        T(array_element_type),
        T(array_of_arrays),
        T(array_of_bad_bools),
        T(array_string_past_end),
        T(empty_arrays_are_read),
        T(alignment_zero),
        T(alignment_not_power_of_two),
        T(alignment_below_8),
        T(alignment_wrong_type),
        T(alignment_huge),
        T(alignment_other_than_offsets),
        T(alignment_defaults_to_32),
        T(tensor_name_too_long),
        T(tensor_name_empty),
        T(tensor_name_with_nul),
        T(tensor_name_duplicate),
        T(zero_dimensions),
        T(five_dimensions),
        T(zero_extent),
        T(negative_extent),
        T(product_overflows),
        T(bytes_overflow),
        T(unknown_tensor_type),
        T(withdrawn_tensor_type),
        cmocka_unit_test(every_tensor_type_is_sized),
        T(row_not_whole_blocks),
        T(offset_not_running_sum),
        T(offset_back_to_start),
        T(offset_misaligned),
        T(offset_past_end),
        T(tensor_larger_than_file),
        T(data_truncated),
        T(every_truncation_is_refused),
        T(every_flipped_byte_is_survived),
        T(block_count_in_thousands),
        T(block_count_zero),
        T(wrong_type_for_block_count),
        T(wrong_type_for_architecture),
        T(tokens_shorter_than_vocabulary),
        T(tokens_not_strings),
        T(token_types_shorter_than_tokens),
        T(token_types_of_wrong_type),
        T(token_types_not_an_array),
        T(merge_not_a_pair),
        T(merges_not_strings),
        T(token_id_out_of_range),
        T(token_id_negative),
        T(file_opens_and_pages_drop),
        T(file_missing),
        T(file_is_a_folder),
        T(file_too_short),
        T(split_set_opens_by_any_part),
        T(split_part_missing),
        T(split_wrong_count),
        T(split_wrong_number),
        T(split_tensor_count_wrong),
        T(split_duplicate_tensor),
        T(split_part_without_keys),
        T(split_part_under_another_name),
        T(split_part_from_memory),
    };
    return cmocka_run_group_tests_name("gguf", tests, make_dir, remove_dir);
}
