/* weights.h: random weights and activations for the checks of the weight-streaming ops. */
#ifndef QM_TEST_WEIGHTS_H
#define QM_TEST_WEIGHTS_H
#include "check.h"
#include "../../runtime/file/quant.h"

extern const int wt_types[]; /* every weight type: [WT_N] those of files, [WT_PRODUCTS] those of matvec and gemm */
enum {
#define QM_STREAM(word, ...) wt_index_##word,
#include "../../contracts/streams.def"
#undef QM_STREAM
    WT_N,
    WT_PRODUCTS = WT_N
#define QM_STREAM(...)
#define QM_STREAM_LOADED(...) +1
#include "../../contracts/streams.def"
#undef QM_STREAM
};
/* Smallest K of a type: 256 for K-quants, else 32. */
uint32_t wt_unit(const qm_type_info *t);
/* Raw rows [n_rows, n_cols] of about unit variance. Quantised blocks are random bytes throughout (every bit
 * of every scale, min and weight) except for d and dmin, which are small f16 of either sign, now and then 0. */
void *wt_random(const qm_type_info *t, size_t n_rows, size_t n_cols);
/* n_expert matrices, packed one behind the other for the device, raw for the reference. */
uint64_t wt_in(const char *name, const qm_type_info *t, size_t n_expert, size_t n_rows, size_t n_cols);
/* n_vec activation vectors in the form type t takes, wt_act_bytes apart. */
uint64_t wt_act_in(const char *name, const qm_type_info *t, size_t n_vec, size_t n_cols);
size_t wt_act_bytes(const qm_type_info *t, size_t n_cols);
/* The L2 norm of the activations at device address d (inside a buffer of wt_act_in). */
double wt_act_norm(const qm_type_info *t, uint64_t d, size_t n_cols);
/* The same of the products of rows random rows with n_slots vectors, stride bytes apart, each times its scale (NULL: 1). */
double wt_products_norm(const qm_type_info *t, uint64_t d, uint64_t stride, size_t n_cols, const float *scale,
                        uint32_t n_slots, uint32_t rows);
/* chk_f32 of n values, but relative to at least half of `norm`, which random weights of unit variance give
 * on average: one or few outputs may cancel to almost nothing, their rounding does not. */
void wt_compare(uint64_t d, size_t n, double norm, double tol);
#endif
