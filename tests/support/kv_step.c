/* kv_step.c: see kv_step.h. */
#include "kv_step.h"
#include <math.h>
#include <string.h>

void kv_step_write_tokens(uint64_t at, const char *a, const char *b, size_t n) {
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 0; i + run < n && a[i + run] == b[i + run];) run++;
        if (run) chk_write(at + i, a + i, run);
        else run = 1;
    }
}

static uint32_t pages_of(const kv_step_seq *q) { return (q->first + q->n - 1) / QM_PAGE_TOKENS + 1; }

/* The rows and runs of the step. */
static void deal(kv_step *s, const kv_step_seq *seqs, uint32_t n_seqs) {
    s->n_rows = s->n_runs = s->n_spans = 0;
    for (uint32_t i = 0; i < n_seqs; i++)
        for (uint32_t j = 0; j < seqs[i].n; j++) {
            if (s->n_rows == KV_STEP_ROWS) chk_fail("a step has %d rows at most here", KV_STEP_ROWS);
            if (j % QM_RUN_ROWS == 0) s->runs[s->n_runs][0] = s->n_rows, s->runs[s->n_runs++][1] = 0;
            s->runs[s->n_runs - 1][1]++;
            const uint32_t pos = seqs[i].first + j;
            s->rows[s->n_rows++] = (qm_row_record){pos, i, i * s->of_table};
            if (pos / QM_SPAN >= s->n_spans) s->n_spans = pos / QM_SPAN + 1;
        }
}

void kv_step_make(kv_step *s, const kv_step_seq *seqs, uint32_t n_seqs, int sparse) {
    uint32_t n_pages = 2, most = 0; /* two that are nobody's */
    for (uint32_t i = 0; i < n_seqs; i++) {
        n_pages += pages_of(&seqs[i]);
        if (pages_of(&seqs[i]) > most) most = pages_of(&seqs[i]);
    }
    s->of_table = 64 + (uint64_t)(4 * most + 7) / 8 * 8;
    deal(s, seqs, n_seqs);
    uint32_t *perm = chk_tmp(4 * n_pages), *tables = chk_tmp((size_t)(n_seqs * s->of_table)), at = 0;
    chk_shuffle(perm, n_pages);
    const uint64_t page = qm_kv_head_page_bytes(s->kv, s->hd);
    s->pool = (size_t)(n_pages * s->n_kv * page);
    char *pool[2], *other[2] = {NULL, NULL};
    for (int v = 0; v < 2; v++) {
        pool[v] = chk_tmp(s->pool);
        for (size_t i = 0; i < s->pool; i++) pool[v][i] = i % 2 ? 0x7e : 0; /* a NaN, as an f16 or as a scale */
        if (sparse) other[v] = chk_tmp(s->pool);
        for (size_t i = 0; sparse && i < s->pool; i++) other[v][i] = (char)~pool[v][i];
    }
    memset(tables, 0xff, (size_t)(n_seqs * s->of_table));
    for (uint32_t i = 0; i < n_seqs; i++) {
        uint32_t *table = tables + i * s->of_table / 4;
        for (uint32_t p = 0; p < pages_of(&seqs[i]); p++) table[p] = perm[at++];
        const uint32_t n = seqs[i].first + seqs[i].n;
        const float *x = chk_normal((size_t)n * 2 * s->n_kv * s->hd, 1);
        for (uint32_t t = 0; t < n; t++)
            for (uint32_t h = 0; h < 2 * s->n_kv; h++, x += s->hd) {
                const int v = h >= s->n_kv;
                const size_t off = (size_t)((table[t / 32] * s->n_kv + h % s->n_kv) * page);
                qm_kv_page_put(s->kv, v, pool[v] + off, x, s->hd, t % 32);
                if (sparse) qm_kv_page_put(s->kv, v, other[v] + off, x, s->hd, t % 32);
            }
    }
    const size_t nq = (size_t)s->n_head * s->hd;
    s->q = chk_in("q", chk_normal(s->n_rows * nq, s->q_scale), 4 * s->n_rows * nq);
    s->k_pool = sparse ? chk_out("k_pool", s->pool) : chk_in("k_pool", pool[0], s->pool);
    s->v_pool = sparse ? chk_out("v_pool", s->pool) : chk_in("v_pool", pool[1], s->pool);
    if (sparse) kv_step_write_tokens(s->k_pool, pool[0], other[0], s->pool);
    if (sparse) kv_step_write_tokens(s->v_pool, pool[1], other[1], s->pool);
    s->table = chk_in("table", tables, (size_t)(n_seqs * s->of_table));
    s->row = chk_in("row", s->rows, s->n_rows * sizeof *s->rows);
}
