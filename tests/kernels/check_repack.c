/* kernels/cu/repack.cu against qm_pack_tiles: the same bytes for every type and edge shape, and nothing
 * outside its tiles. On the software device this also runs what NVRTC writes. */
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include "solib.h"
#include "../../runtime/device/repack.h"
#include "../../runtime/file/quant.h"

static qm_repack *rp;

static const int types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* Random bytes: packing is a permutation and must not care what they mean. */
static uint8_t *random_rows(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols, size_t *bytes) {
    *bytes = (size_t)n_rows * qm_row_bytes(t, n_cols);
    uint8_t *raw = chk_tmp(*bytes);
    for (size_t i = 0; i < *bytes; i++) raw[i] = (uint8_t)qm_rng_u32(chk_rng());
    return raw;
}

static void one(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols, uint64_t t0, uint64_t t1) {
    qm_err e = {0};
    size_t raw_bytes, tile_bytes = qm_pack_bytes(t, 32, n_cols);
    uint8_t *raw = random_rows(t, n_rows, n_cols, &raw_bytes);
    uint64_t d_raw = chk_in("raw", raw, raw_bytes), d_out = chk_out("packed", (size_t)(t1 - t0) * tile_bytes);
    size_t skip_bytes = (size_t)t0 * 32 * qm_row_bytes(t, n_cols);
    /* src must be 16-byte aligned: a loader uploads from row 32 * t0 on; so do we where it is not */
    uint64_t d_src = d_raw + skip_bytes;
    if (skip_bytes % 16) d_src = chk_in("raw part", raw + skip_bytes, raw_bytes - skip_bytes);
    if (qm_repack_run(rp, d_out, d_src, (uint32_t)t->type, n_rows, n_cols, t0, t1, NULL, &e)) chk_fail("%s", e.msg);
    if (chk_device()->cu.CtxSynchronize() != CUDA_SUCCESS) chk_fail("the repack kernel failed");
    qm_pack_tiles(chk_twin(d_out), raw + skip_bytes, t, n_rows, n_cols, t0, t1);
    chk_bytes(d_out, (size_t)(t1 - t0) * tile_bytes);
}

static void whole_matrices(void **state) {
    (void)state;
    if (!rp) skip();
    static const uint32_t rows[] = {1, 31, 32, 33, 70}, blocks[] = {1, 2, 3, 9};
    for (int k = 0; k < N_TYPES; k++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[k]);
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
            for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
                uint64_t n_cols = (uint64_t)t->qk * blocks[b];
                chk_begin("repack %s rows=%u blocks=%u", t->name, rows[r], blocks[b]);
                one(t, rows[r], n_cols, 0, (rows[r] + 31) / 32);
                chk_end();
            }
    }
}

static void parts_of_a_matrix(void **state) {
    (void)state;
    if (!rp) skip();
    for (int k = 0; k < N_TYPES; k++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[k]);
        uint64_t n_cols = t->qk == 256 ? 512 : 64;
        for (uint64_t t0 = 0; t0 < 5; t0++)
            for (uint64_t t1 = t0 + 1; t1 <= 5; t1 += 2) {
                chk_begin("repack %s tiles %u..%u", t->name, (unsigned)t0, (unsigned)t1);
                one(t, 4 * 32 + 17, n_cols, t0, t1);
                chk_end();
            }
    }
}

static void checked_accesses(void **state) {
    (void)state;
    if (!rp) skip();
    for (int k = 0; k < N_TYPES; k++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[k]);
        chk_begin_checked("repack checked %s", t->name);
        one(t, 45, t->qk * (t->qk == 256 ? 2u : 8u), 0, 2);
        chk_end();
    }
}

static void arguments_are_checked(void **state) {
    (void)state;
    if (!rp) skip();
    qm_err e = {0};
    assert_int_equal(qm_repack_run(rp, 256, 256, 999, 32, 256, 0, 1, NULL, &e), QM_ERR_UNSUPPORTED);
    assert_int_equal(qm_repack_run(rp, 256, 256, QM_TYPE_Q4_K, 32, 200, 0, 1, NULL, &e), QM_ERR_ARG);
    assert_int_equal(qm_repack_run(rp, 256, 256, QM_TYPE_Q4_K, 32, 256, 0, 2, NULL, &e), QM_ERR_ARG);
    assert_int_equal(qm_repack_run(rp, 256, 256, QM_TYPE_Q4_K, 64, 256, 2, 1, NULL, &e), QM_ERR_ARG);
    assert_int_equal(qm_repack_run(rp, 264, 256, QM_TYPE_Q4_K, 64, 256, 0, 1, NULL, &e), QM_ERR_ARG);
    assert_int_equal(qm_repack_run(rp, 256, 256, QM_TYPE_Q4_K, 64, 256, 1, 1, NULL, &e), 0); /* no tiles: nothing */
}

static char tmp[1024];

static int setup(void **state) {
    qm_err e = {0};
    if (chk_group_setup(state) || solib_tmp(tmp, sizeof tmp)) return -1;
    setenv("QMOE_CACHE", tmp, 1);
    int rc = qm_repack_open(&rp, chk_device(), &e);
    if (rc == QM_ERR_UNSUPPORTED) print_message("skipping: %s\n", e.msg);
    else if (rc) print_error("%s\n", e.msg);
    return rc && rc != QM_ERR_UNSUPPORTED ? -1 : 0;
}
static int teardown(void **state) {
    qm_repack_close(rp);
    solib_remove(tmp);
    return chk_group_teardown(state);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(whole_matrices), cmocka_unit_test(parts_of_a_matrix),
                                   cmocka_unit_test(checked_accesses), cmocka_unit_test(arguments_are_checked)};
    return cmocka_run_group_tests(t, setup, teardown);
}
