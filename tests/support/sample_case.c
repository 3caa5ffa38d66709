#include "sample_case.h"

enum { RING_BYTES = QM_RESULT_RING * QM_RESULT_SIZE };

/* x[n bytes] of sequence 1, behind bytes of sequence 0 that would do harm. */
static uint64_t behind(const char *name, const void *x, size_t n) {
    char *both = chk_tmp(SMP_OFF + n);
    memset(both, 0xff, SMP_OFF);
    memcpy(both + SMP_OFF, x, n);
    return chk_inout(name, both, SMP_OFF + n);
}

void smp_words(qm_sample_words *w, const smp_task *t) {
    qm_err e;
    memset(w, 0, sizeof *w);
    if (qm_sampling_words(w, &t->s, t->n, &e)) chk_fail("%s", e.msg);
    if (t->force_draw) w->p.mode = 1;
    w->p = qm_sampling_masked(&w->p, t->mask, t->n, &(uint32_t){0});
    w->p.seq = t->seq;
    w->p.logprobs = t->logprobs != 0;
}

/* The task's mask, or what harms where it is read all the same. */
static const uint32_t *mask_of(const smp_task *t) {
    return t->mask ? t->mask : chk_tmp(4 * (size_t)QM_MASK_WORDS(t->n));
}

void smp_place(smp_placed *b, const smp_task *t) {
    static const unsigned char zero[4 * QM_SAMPLE_BUCKETS];
    smp_words(&b->w, t);
    memset(b->st, 0, sizeof b->st);
    b->row = (qm_row_record){t->pos, 1, SMP_OFF};
    memcpy((char *)b->st + QM_STATE_MODE, &b->w, sizeof b->w);
    uint32_t n4 = (t->n + 3) / 4 * 4;
    b->scan = (qm_sample_scan_args){.n = t->n, .rows = 1};
    b->scan.logits = chk_in("logits", t->x, 4 * (size_t)t->n);
    b->scan.keys = chk_out("keys", 4 * (size_t)n4);
    b->scan.hist = chk_inout("hist", zero, 4 * QM_SAMPLE_BUCKETS);
    b->scan.part = chk_out("part", 8 * t->scan_grid);
    b->scan.work = chk_inout("work", zero, QM_WORK_SIZE);
    b->scan.state = behind("state", b->st, sizeof b->st);
    b->scan.tokens = behind("tokens", t->tokens, sizeof t->tokens);
    b->scan.mask = behind("mask", mask_of(t), 4 * (size_t)QM_MASK_WORDS(t->n));
    b->scan.row = chk_in("row", &b->row, sizeof b->row);
    b->draw = (qm_sample_draw_args){.logits = b->scan.logits,
                                    .keys = b->scan.keys,
                                    .work = b->scan.work,
                                    .state = b->scan.state,
                                    .tokens = b->scan.tokens,
                                    .row = b->scan.row,
                                    .n = t->n,
                                    .rows = 1};
    b->draw.cand = chk_out("cand", 8 * QM_SAMPLE_CAP);
    b->draw.result = chk_inout("result", zero, 2 * RING_BYTES);
}

void smp_write(const smp_placed *b) {
    chk_write(b->scan.row, &b->row, sizeof b->row);
    chk_write(b->scan.state + SMP_OFF, b->st, sizeof b->st);
}

const uint32_t *smp_tokens(const smp_placed *b) { return (const uint32_t *)chk_get(b->scan.tokens) + SMP_OFF / 4; }

void smp_write_tokens(const smp_placed *b, const uint32_t *tokens) {
    chk_write(b->scan.tokens + SMP_OFF, tokens, 4 * (SMP_CTX + 1));
}

uint64_t smp_word64(const void *work, int off) {
    uint64_t v;
    memcpy(&v, (const char *)work + off, 8);
    return v;
}
uint32_t smp_word32(const void *work, int off) {
    uint32_t v;
    memcpy(&v, (const char *)work + off, 4);
    return v;
}

uint32_t smp_step(const smp_placed *b, const smp_task *t) {
    qm_sample_scan_args rs;
    qm_sample_draw_args rd;
    const qm_ref_env env = {0};
    chk_launch(chk_kernel(QM_OP_SAMPLE_SCAN, -1, 0), t->scan_grid, 1, 1, t->scan_block, 0, &b->scan);
    chk_ref_args(QM_OP_SAMPLE_SCAN, &rs, &b->scan);
    qm_ref_sample_scan(&rs, &env);
    if (b->w.p.mode) chk_u32(b->scan.keys, (t->n + 3) / 4 * 4);
    else chk_u32(b->scan.tokens, SMP_OFF / 4 + SMP_CTX + 1);
    chk_launch(chk_kernel(QM_OP_SAMPLE_DRAW, -1, 0), t->draw_grid, 1, 1, t->draw_block, 0, &b->draw);
    chk_ref_args(QM_OP_SAMPLE_DRAW, &rd, &b->draw);
    qm_ref_sample_draw(&rd, &env);
    chk_u32(b->scan.tokens, SMP_OFF / 4 + SMP_CTX + 1);
    chk_u32(b->scan.state, (SMP_OFF + QM_STATE_BYTES) / 4);
    chk_u32(b->draw.result, 2 * RING_BYTES / 4);
    const qm_result *told = (const qm_result *)chk_get(b->draw.result) + QM_RESULT_RING + b->row.pos % QM_RESULT_RING;
    if (told->token != smp_tokens(b)[b->row.pos + 1] || told->pos != b->row.pos)
        chk_fail("the result is token %u of position %u", told->token, told->pos);
    chk_u32(b->scan.hist, QM_SAMPLE_BUCKETS);
    const void *work = chk_get(b->scan.work), *ref = chk_twin(b->scan.work);
    if (smp_word32(work, QM_WORK_SCANNED) || smp_word32(work, QM_WORK_DRAWN) || smp_word32(work, QM_WORK_N_CAND) ||
        smp_word64(work, QM_WORK_TOTAL))
        chk_fail("a counter or a sum has not returned to zero");
    if (b->w.p.mode && smp_word64(work, QM_WORK_LAST) != smp_word64(ref, QM_WORK_LAST))
        chk_fail("the last token kept is %016llx, not %016llx", (unsigned long long)smp_word64(work, QM_WORK_LAST),
                 (unsigned long long)smp_word64(ref, QM_WORK_LAST));
    if (b->w.p.mode && smp_word64(work, QM_WORK_KEPT) != smp_word64(ref, QM_WORK_KEPT))
        chk_fail("the masses kept sum to %llu, not %llu", (unsigned long long)smp_word64(work, QM_WORK_KEPT),
                 (unsigned long long)smp_word64(ref, QM_WORK_KEPT));
    return smp_word32(work, QM_WORK_N_SLOW);
}

uint32_t smp_both(const smp_task *t) {
    smp_placed b;
    smp_place(&b, t);
    smp_step(&b, t);
    smp_task u = *t;
    memcpy(u.tokens, (const char *)chk_twin(b.scan.tokens) + SMP_OFF, sizeof u.tokens);
    b.row.pos++;
    b.w.p.seed ^= 0x123456789abcdefu;
    memcpy((char *)b.st + QM_STATE_MODE, &b.w, sizeof b.w);
    smp_write(&b);
    uint32_t slow = smp_step(&b, &u);
    chk_end();
    return slow;
}

void smp_begin(const smp_task *t, const char *what, int checked) {
    (checked ? chk_begin_checked : chk_begin)(
        "sample %s n=%u grids %u,%u blocks %u,%u pos=%u temp=%g k=%d p=%g min=%g penalty=%g/%d seed=%llu", what, t->n,
        t->scan_grid, t->draw_grid, t->scan_block, t->draw_block, t->pos, t->s.temperature, t->s.top_k, t->s.top_p,
        t->s.min_p, t->s.repeat_penalty, t->s.repeat_last_n, (unsigned long long)t->s.seed);
}

float *smp_logits(uint32_t n, int kind) {
    float *x = chk_tmp(4 * (size_t)n);
    ora_logits(x, n, kind, qm_rng_u64(chk_rng()));
    return x;
}

/* What a sequence has, in one buffer each for all of them. */
enum { SEQ_BYTES = (QM_STATE_BYTES + 255) / 256 * 256 };
static_assert(SEQ_BYTES >= 4 * (SMP_CTX + 1), "a sequence's tokens"); /* and the mask of 66,000 tokens */

static void step_of_rows(const qm_sample_scan_args *scan, const qm_sample_draw_args *draw, const smp_task *t,
                         uint32_t n_tasks, const uint32_t *map, uint32_t op, uint32_t count) {
    const qm_ref_env env = {.rows = op};
    const size_t n4 = (t->n + 3) / 4 * 4;
    qm_sample_scan_args rs;
    qm_sample_draw_args rd;
    chk_write(scan->count, &count, sizeof count);
    chk_launch(chk_kernel(QM_OP_SAMPLE_SCAN, -1, 0), t->scan_grid, op, 1, t->scan_block, 0, scan);
    chk_launch(chk_kernel(QM_OP_SAMPLE_DRAW, -1, 0), t->draw_grid, op, 1, t->draw_block, 0, draw);
    chk_ref_args(QM_OP_SAMPLE_SCAN, &rs, scan);
    chk_ref_args(QM_OP_SAMPLE_DRAW, &rd, draw);
    qm_ref_sample_scan(&rs, &env);
    qm_ref_sample_draw(&rd, &env);
    chk_u32(scan->tokens, (size_t)n_tasks * SEQ_BYTES / 4);
    chk_u32(scan->state, (size_t)n_tasks * SEQ_BYTES / 4);
    chk_u32(draw->result, (size_t)n_tasks * RING_BYTES / 4);
    chk_u32(scan->hist, (size_t)op * QM_SAMPLE_BUCKETS);
    const char *work = chk_get(scan->work), *ref = chk_twin(scan->work);
    const uint32_t *keys = chk_get(scan->keys), *want = chk_twin(scan->keys);
    for (uint32_t i = 0; i < op; i++, work += QM_WORK_SIZE, ref += QM_WORK_SIZE) {
        const smp_task *own = &t[map[i]];
        if (smp_word32(work, QM_WORK_SCANNED) || smp_word32(work, QM_WORK_DRAWN) || smp_word32(work, QM_WORK_N_CAND) ||
            smp_word64(work, QM_WORK_TOTAL))
            chk_fail("row %u: a counter or a sum has not returned to zero", i);
        if (smp_word64(work, QM_WORK_FIRST) != smp_word64(ref, QM_WORK_FIRST) ||
            smp_word64(work, QM_WORK_LAST) != smp_word64(ref, QM_WORK_LAST) ||
            smp_word64(work, QM_WORK_KEPT) != smp_word64(ref, QM_WORK_KEPT))
            chk_fail("row %u: the first, the last or the mass of what is kept differs", i);
        if (i >= count) {
            chk_untouched(scan->keys, 4 * n4 * i, 4 * n4);
            chk_untouched(scan->part, 8 * (size_t)t->scan_grid * i, 8 * (size_t)t->scan_grid);
            chk_untouched(draw->cand, 8 * QM_SAMPLE_CAP * i, 8 * QM_SAMPLE_CAP);
        } else if (own->s.temperature > 0 && memcmp(keys + n4 * i, want + n4 * i, 4 * n4))
            chk_fail("row %u: other keys", i);
    }
}

void smp_rows(const smp_task *t, uint32_t n_tasks, const uint32_t *map, uint32_t op, uint32_t count) {
    const size_t n = t->n, n4 = (n + 3) / 4 * 4, all = (size_t)n_tasks * SEQ_BYTES;
    char *st = chk_tmp(all), *tokens = chk_tmp(all), *masks = chk_tmp(all);
    qm_row_record *rows = chk_tmp(n_tasks * sizeof *rows);
    float *x = chk_tmp(4 * n * op);
    for (uint32_t i = 0; i < n_tasks; i++) {
        /* sequences lie in another order than rows */
        const uint32_t seq = n_tasks - 1 - i;
        qm_sample_words *w = chk_tmp(sizeof *w);
        smp_words(w, &t[i]);
        rows[i] = (qm_row_record){t[i].pos, seq, (uint64_t)seq * SEQ_BYTES};
        memcpy(st + rows[i].seq_off + QM_STATE_MODE, w, sizeof *w);
        memcpy(tokens + rows[i].seq_off, t[i].tokens, sizeof t[i].tokens);
        memcpy(masks + rows[i].seq_off, mask_of(&t[i]), 4 * (size_t)QM_MASK_WORDS(t->n));
    }
    for (uint32_t i = 0; i < op; i++) memcpy(x + n * i, t[map[i]].x, 4 * n);
    qm_sample_scan_args scan = {.n = t->n, .rows = n_tasks};
    scan.logits = chk_in("logits", x, 4 * n * op);
    scan.keys = chk_out("keys", 4 * n4 * op);
    scan.hist = chk_inout("hist", chk_tmp(4 * QM_SAMPLE_BUCKETS * op), 4 * QM_SAMPLE_BUCKETS * op);
    scan.part = chk_out("part", 8 * (size_t)t->scan_grid * op);
    scan.work = chk_inout("work", chk_tmp(QM_WORK_SIZE * op), QM_WORK_SIZE * op);
    scan.state = chk_inout("state", st, all);
    scan.tokens = chk_inout("tokens", tokens, all);
    scan.mask = chk_in("masks", masks, all);
    scan.row = chk_in("rows", rows, n_tasks * sizeof *rows);
    scan.count = chk_in("count", &count, sizeof count);
    scan.map = chk_in("map", map, op * sizeof *map);
    qm_sample_draw_args draw = {.logits = scan.logits,
                                .keys = scan.keys,
                                .work = scan.work,
                                .state = scan.state,
                                .tokens = scan.tokens,
                                .row = scan.row,
                                .count = scan.count,
                                .map = scan.map,
                                .n = scan.n,
                                .rows = scan.rows};
    draw.cand = chk_out("cand", 8 * QM_SAMPLE_CAP * op);
    draw.result = chk_inout("result", chk_tmp((size_t)n_tasks * RING_BYTES), (size_t)n_tasks * RING_BYTES);
    step_of_rows(&scan, &draw, t, n_tasks, map, op, count);
    step_of_rows(&scan, &draw, t, n_tasks, map, op, op);
    chk_end();
}
