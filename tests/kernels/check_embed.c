/* check_embed: every weight type, tokens in every part of a tile, positions, bad ids; the floats are the
 * reference's (ggml's) bit for bit. */
#include "weights.h"
#include <string.h>

static void one(int checked, int wtype, uint32_t rows, uint32_t cols, uint32_t pos, uint32_t token, unsigned block) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)("embed %s rows=%u cols=%u pos=%u token=%u block=%u", ty->name, rows, cols,
                                              pos, token, block);
    int k = chk_kernel(QM_OP_EMBED, wtype, 0);
    enum { OFF = 128 }; /* the row is sequence 1's; another one's tokens and state lie before its own */
    uint32_t tokens[OFF / 4 + 8], st[(OFF + QM_STATE_SIZE) / 4];
    qm_row_record row = {pos - 1, 1, OFF};
    memset(tokens, 0xff, sizeof tokens);
    memset(st, 0, sizeof st);
    tokens[OFF / 4 + pos] = token;
    st[(OFF + QM_STATE_FLAGS) / 4] = 0x40; /* others' flags stay */
    qm_embed_args a = {.n_cols = cols, .n_rows = rows}, r;
    a.w = wt_in("w", ty, 1, rows, cols);
    a.state = chk_inout("state", st, sizeof st);
    a.tokens = chk_in("tokens", tokens, sizeof tokens);
    a.row = chk_inout("row", &row, sizeof row);
    a.y = chk_out("y", 4 * (size_t)cols);
    chk_launch(k, 1, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_EMBED, &r, &a);
    qm_ref_embed(&r, &(qm_ref_env){.wtype = wtype, .grid = {1, 1, 1}, .block = block});
    chk_u32(a.state, sizeof st / 4);
    chk_u32(a.row, sizeof row / 4);
    chk_bytes(a.y, 4 * (size_t)cols);
    uint32_t flags = ((const uint32_t *)chk_get(a.state))[(OFF + QM_STATE_FLAGS) / 4], at;
    memcpy(&at, chk_get(a.row), 4);
    if (at != pos || (token >= rows) != !!(flags & QM_FLAG_BAD_TOKEN)) chk_fail("pos %u, flags %x", at, flags);
    chk_end();
}

/* Rows of several sequences, some of one at neighbouring positions; count: of them, ALL: of the grid. */
enum { ALL = 100 };
static void rows_of(int checked, int wtype, uint32_t cols, uint32_t count) {
    enum { ROWS = 6, SEQS = 4, BLOCK = 128, N = 70 };
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)("embed %s cols=%u count=%u of %d rows", ty->name, cols, count, ROWS);
    uint32_t tokens[SEQS * BLOCK / 4], st[SEQS * BLOCK / 4] = {0};
    static const uint32_t seqs[ROWS] = {2, 2, 2, 0, 3, 1}, positions[ROWS] = {4, 5, 6, 0, 7, 3};
    qm_row_record row[ROWS];
    for (size_t i = 0; i < sizeof tokens / 4; i++) tokens[i] = qm_rng_below(chk_rng(), N);
    for (uint32_t i = 0; i < ROWS; i++) row[i] = (qm_row_record){positions[i] - 1, seqs[i], seqs[i] * BLOCK};
    tokens[3 * BLOCK / 4 + 7] = N; /* a bad one, in the fifth row */
    qm_embed_args a = {.n_cols = cols, .n_rows = N}, r;
    a.w = wt_in("w", ty, 1, N, cols);
    a.state = chk_inout("state", st, sizeof st);
    a.tokens = chk_in("tokens", tokens, sizeof tokens);
    a.row = chk_inout("row", row, sizeof row);
    if (count != ALL) a.count = chk_in("count", &count, 4);
    a.y = chk_out("y", 4 * (size_t)cols * ROWS);
    chk_launch(chk_kernel(QM_OP_EMBED, wtype, 0), ROWS, 1, 1, 64, 0, &a);
    chk_ref_args(QM_OP_EMBED, &r, &a);
    qm_ref_embed(&r, &(qm_ref_env){.wtype = wtype, .grid = {ROWS, 1, 1}, .block = 64, .rows = ROWS});
    const uint32_t n = count == ALL ? ROWS : count;
    chk_u32(a.state, sizeof st / 4);
    chk_u32(a.row, sizeof row / 4);
    chk_bytes(a.y, 4 * (size_t)cols * n);
    chk_untouched(a.y, 4 * (size_t)cols * n, 4 * (size_t)cols * (ROWS - n));
    for (uint32_t i = 0; i < ROWS; i++) { /* whatever the reference says */
        uint32_t pos, flags = ((const uint32_t *)chk_get(a.state))[(seqs[i] * BLOCK + QM_STATE_FLAGS) / 4];
        memcpy(&pos, (const char *)chk_get(a.row) + i * QM_ROW_SIZE + QM_ROW_POS, 4);
        if (pos != positions[i] - (i >= n)) chk_fail("row %u of %u: position %u", i, n, pos);
        if (flags != (n > 4 && seqs[i] == 3 ? QM_FLAG_BAD_TOKEN : 0)) chk_fail("row %u of %u: flags %x", i, n, flags);
    }
    chk_end();
}

static void rows(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (uint32_t count = 0; count <= 7; count++) rows_of(0, wt_types[i], 256, count > 6 ? ALL : count);
    rows_of(1, QM_TYPE_Q4_K, 512, 4);
    rows_of(1, QM_TYPE_F32, 96, ALL);
}

static void shapes(void **state) {
    static const uint32_t cols[] = {32, 96, 256, 768, 2048}, tokens[] = {0, 1, 31, 32, 63, 69};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
                one(0, wt_types[i], 70, cols[c], (uint32_t)(t + c) % 8, tokens[t], t & 1 ? 256 : 64);
}

static void bad_tokens(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(0, wt_types[i], 70, 256, 0, 70, 256);
        one(0, wt_types[i], 33, 512, 7, 0xffffffff, 256);
    }
}

static void checked(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(1, wt_types[i], 33, 512, 3, 32, 256);
        one(1, wt_types[i], 1, 256, 0, 0, 32);
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(bad_tokens), cmocka_unit_test(checked),
                                   cmocka_unit_test(rows)};
    return chk_main(t);
}
