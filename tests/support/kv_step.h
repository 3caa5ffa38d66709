/* kv_step.h: a step of rows of several sequences over one paged cache, as attention reads it (contracts/abi.h, "Rows of a
 * step"): for check_attn and check_attn_prefill. Every cache element that no token has written is a NaN. */
#ifndef QM_KV_STEP_H
#define QM_KV_STEP_H
#include "check.h"

typedef struct {
    uint32_t first,
        n; /* the step has its positions first .. first + n - 1; the cache holds all up to the last of them */
} kv_step_seq;

enum { KV_STEP_ROWS = 64 };
typedef struct {
    qm_kv_cache_type kv;
    uint32_t hd, n_head, n_kv;
    float q_scale;
    /* made: */
    uint32_t n_rows, n_runs, n_spans; /* spans: of the largest position */
    qm_row_record rows[KV_STEP_ROWS];
    uint32_t runs[KV_STEP_ROWS][2];
    size_t pool;                            /* bytes */
    uint64_t q, k_pool, v_pool, table, row; /* on the device: q [n_rows, n_head, hd] */
    uint64_t of_table;                      /* bytes from a sequence's block to the next */
} kv_step;

/* sparse: the cache slots of no token stay unwritten (for the device's check of such reads) instead of holding NaN. */
void kv_step_make(kv_step *s, const kv_step_seq *seqs, uint32_t n_seqs, int sparse);

/* What stands in a = [n], if b, which was all other bytes, is the same there: the bytes that tokens have. */
void kv_step_write_tokens(uint64_t at, const char *a, const char *b, size_t n);
#endif
