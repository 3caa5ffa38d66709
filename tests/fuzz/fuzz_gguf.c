/* fuzz_gguf.c: libFuzzer target for the GGUF reader: opens the bytes, then touches everything that the
 * interface hands out. Seeds: tests/fuzz/corpus/gguf. Build:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -std=c11 -I. -Iruntime \
 *     tests/fuzz/fuzz_gguf.c runtime/file/gguf*.c runtime/base/err.c */
#include "runtime/file/gguf.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint64_t sink;
static void touch(const void *p, uint64_t n) {
    const uint8_t *b = p;
    uint64_t s = 0;
    for (uint64_t i = 0; i < n; i++) s += b[i];
    sink += s;
}
/* What must never happen, even to broken input. */
static void must(int ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    qm_gguf *g = NULL;
    qm_err e = {0};
    int rc = qm_gguf_open_mem(&g, data, n, "fuzz", &e);
    if (rc) {
        must(rc < 0 && !g && e.code == rc && strstr(e.msg, "fuzz") != NULL);
        return 0;
    }
    for (size_t i = 0; i < qm_gguf_n_kv(g); i++) {
        const qm_kv *kv = qm_gguf_kv_at(g, i);
        touch(kv->key.s, kv->key.n);
        char *key = malloc(kv->key.n + 1);
        must(key != NULL);
        memcpy(key, kv->key.s, kv->key.n);
        key[kv->key.n] = 0;
        must(qm_gguf_find(g, key) == kv);
        uint32_t u;
        float f;
        int b;
        qm_str s;
        qm_str_iter it;
        uint64_t count;
        touch(&u, qm_gguf_get_u32(g, key, &u, &e) == 1 ? sizeof u : 0);
        touch(&f, qm_gguf_get_f32(g, key, &f, &e) == 1 ? sizeof f : 0);
        must(qm_gguf_get_bool(g, key, &b, &e) != 1 || b == 0 || b == 1);
        if (qm_gguf_get_str(g, key, &s, &e) == 1) touch(s.s, s.n);
        if (qm_gguf_get_str_array(g, key, &it, &count, &e) == 1) {
            for (; qm_str_iter_next(&it, &s); count--) touch(s.s, s.n);
            must(count == 0);
        }
        if (kv->type == QM_KV_ARR)
            for (uint64_t j = 0; j < kv->arr_n; j++) {
                double d = qm_kv_arr_f64(kv, j);
                int64_t v = qm_kv_arr_i64(kv, j);
                touch(&d, sizeof d);
                touch(&v, sizeof v);
            }
        free(key);
    }
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(g, i);
        char name[65];
        must(t->name.n >= 1 && t->name.n < sizeof name && t->n_dims >= 1 && t->n_dims <= 4);
        memcpy(name, t->name.s, t->name.n);
        name[t->name.n] = 0;
        must(qm_gguf_tensor(g, name) == t);
        uint32_t block, bytes;
        must(qm_ggml_type_size(t->type, &block, &bytes) && t->ne[0] % block == 0);
        must(t->bytes == t->ne[0] / block * bytes * t->ne[1] * t->ne[2] * t->ne[3]);
        must((const uint8_t *)t->data == data + t->file_off && t->bytes <= n - t->file_off);
        touch(t->data, t->bytes);
        qm_gguf_drop(g, t);
    }
    qm_gguf_close(g);
    return 0;
}
