/* check_logprobs: what sample_draw tells of a row's logits against its reference, to the bit, whatever the blocks, the
 * grid and the choice; and against a softmax in double. */
#include "sample_case.h"

enum { TOP = QM_RESULT_N_TOP };

static const qm_result *told(const smp_placed *b) {
    return (const qm_result *)chk_get(b->draw.result) + QM_RESULT_RING + b->row.pos % QM_RESULT_RING;
}

/* Steps are compared whole (smp_step): here what no reference is needed for. */
static void compare(const smp_task *t) {
    smp_placed b;
    smp_place(&b, t);
    smp_step(&b, t);
    const qm_result *r = told(&b);
    const uint32_t n_top = t->n < TOP ? t->n : TOP;
    qm_logprobs lp;
    double sum = 0, first = -INFINITY;
    qm_logprobs_of(&lp, r, TOP, t->n);
    for (uint32_t i = 0; i < t->n; i++) first = fmax(first, t->x[i]);
    for (uint32_t i = 0; i < t->n; i++) sum += first == -INFINITY ? 1 : exp(t->x[i] - first);
    if (lp.n != n_top) chk_fail("%u tokens, not %u", lp.n, n_top);
    for (uint32_t k = 0; k <= n_top && first > -INFINITY; k++) {
        const uint32_t id = k < n_top ? lp.top[k].id : r->token;
        const float got = k < n_top ? lp.top[k].logprob : lp.logprob;
        const float want = id < t->n ? (float)(t->x[id] - first - log(sum)) : NAN;
        if (!(fabsf(got - want) < 1e-4f + 1e-6f * fabsf(want)) && got != want)
            chk_fail("token %u has the logprob %g, not %g", id, got, want);
    }
    /* nobody who is not among them comes before the last of them */
    const uint64_t last = qm_sample_item(qm_order_key(r->top[n_top - 1].logit), r->top[n_top - 1].id);
    uint32_t before = 0;
    for (uint32_t i = 0; i < t->n; i++) before += qm_sample_item(qm_order_key(t->x[i]), i) >= last;
    if (before != n_top) chk_fail("%u tokens come before the last of %u", before, n_top);
    for (uint32_t k = 1; k < n_top; k++)
        if (qm_sample_item(qm_order_key(r->top[k].logit), r->top[k].id) >=
            qm_sample_item(qm_order_key(r->top[k - 1].logit), r->top[k - 1].id))
            chk_fail("the tokens are in no order at %u", k);
    chk_end();
}

static smp_task task(uint32_t n, unsigned block, unsigned grid, qm_sampling s) {
    return (smp_task){.n = n,
                      .pos = 6,
                      .scan_grid = 1 + n / QM_SAMPLE_RANGE,
                      .scan_block = 256,
                      .draw_grid = grid,
                      .draw_block = block,
                      .s = s,
                      .logprobs = 1};
}

/* Logits of every kind, the flat ones too, of which one digit does not tell enough: up to five are needed. */
static void kinds(void **state) {
    static const uint32_t ns[] = {1, 2, 19, 20, 21, 513, 4999, 40001};
    (void)state;
    for (int kind = 0; kind < ORA_N_KINDS; kind++)
        for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
            for (int draws = 0; draws < 2; draws++) {
                smp_task t = task(ns[a], 32u << a % 6, 1 + (unsigned)a % 3, draws ? smp_plain : smp_greedy);
                smp_begin(&t, ora_kind_name[kind], 0);
                t.x = smp_logits(t.n, kind);
                compare(&t);
            }
    smp_task t = task(151936, 1024, 38, smp_greedy);
    smp_begin(&t, "equal", 0);
    t.x = smp_logits(t.n, ORA_EQUAL);
    compare(&t);
}

/* Biases, penalties, temperature and mask change the choice, and nothing of what is told of the model's logits; so does
 * none of block and grid. */
static void of_the_model(void **state) {
    enum { N = 3001 };
    static const qm_logit_bias bias[] = {{0, 2}, {60, -INFINITY}, {300, 1}};
    static const qm_sampling s[] = {
        ORA_HOW(0, 40, 0.9, 0.1, 1, 64, 1),
        ORA_HOW(1.5f, 40, 0.95, 0.05, 1.3f, 64, 2),
        ORA_HOW(3, 0, 1, 0, 1, 0, 3),
    };
    uint32_t mask[QM_MASK_WORDS(N)] = {[5] = 0xf0f0, [17] = 1};
    qm_result first = {0}, r;
    (void)state;
    for (size_t a = 0; a < 3; a++)
        for (unsigned block = 32; block <= 1024; block *= 2)
            for (int masked = 0; masked < 2; masked++) {
                smp_task t = task(N, block, 1 + block / 100, s[a]);
                chk_begin("logprobs of the model"); /* the same name: the same logits */
                t.x = smp_logits(N, ORA_NORMAL);
                t.mask = masked ? mask : NULL;
                t.s.bias = bias;
                t.s.n_bias = a ? 3 : 0;
                smp_placed b;
                smp_place(&b, &t);
                smp_step(&b, &t);
                r = *told(&b);
                if (r.chosen != t.x[r.token]) chk_fail("token %u has the logit %g", r.token, r.chosen);
                if (!first.sum) first = r;
                r.token = first.token;
                r.chosen = first.chosen;
                if (memcmp(&r, &first, sizeof r)) chk_fail("other logprobs, a block of %u", block);
                chk_end();
            }
}

/* Rows of one step, of which some ask: logits that begin at no multiple of 16 bytes, more equals than fit. */
static void rows(void **state) {
    enum { TASKS = 5, OP = 4 };
    static const uint32_t ns[] = {301, 302, 4999};
    static const uint32_t map[OP] = {3, 0, 4, 1};
    (void)state;
    for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
        for (uint32_t count = 0; count <= OP; count += 2) {
            smp_task t[TASKS];
            for (uint32_t i = 0; i < TASKS; i++) {
                t[i] = task(ns[a], 64, 2, i & 1 ? smp_plain : smp_greedy);
                t[i].scan_grid = 3;
                t[i].pos = 3 + i;
                t[i].logprobs = i != 4;
            }
            smp_begin(t, "rows", a == 0 && count == 4);
            for (uint32_t i = 0; i < TASKS; i++) t[i].x = smp_logits(ns[a], i == 3 ? ORA_EQUAL : ORA_NORMAL);
            smp_rows(t, TASKS, map, OP, count);
        }
}

static void checked(void **state) {
    (void)state;
    for (int kind = ORA_NORMAL; kind <= ORA_TIES; kind += ORA_TIES - ORA_NORMAL)
        for (int draws = 0; draws < 2; draws++)
            for (unsigned block = 32; block <= 512; block *= 4) {
                smp_task t = task(901, block, 2, draws ? smp_plain : smp_greedy);
                smp_begin(&t, "checked", 1);
                t.x = smp_logits(t.n, kind);
                compare(&t);
            }
}

/* What it costs who asks, at the 30B's vocabulary in the plan's geometry; and who does not: nothing that shows. */
static void ledger(void **state) {
    const uint32_t n = 151936;
    const int kernel = chk_kernel(QM_OP_SAMPLE_DRAW, -1, 0);
    double of[2] = {0};
    (void)state;
    for (int asks = 0; asks < 2; asks++) {
        smp_task t = task(n, 1024, qm_launch_sample_draw(n).grid[0], smp_greedy);
        qm_sim_counters c;
        chk_begin_counted("logprobs ledger");
        t.scan_grid = qm_launch_sample_scan(n).grid[0];
        t.logprobs = asks;
        t.x = smp_logits(n, ORA_PEAKED);
        smp_placed b;
        smp_place(&b, &t);
        smp_step(&b, &t);
        if (chk_counters(kernel, &c)) of[asks] = 32.0 * (double)c.warp_insts / n;
        chk_end();
    }
    print_message("%.2f thread instructions a logit where nobody asks, %.2f more where one does\n", of[0],
                  of[1] - of[0]);
    assert_true(of[0] <= 5.7);
    assert_true(of[1] - of[0] <= 72);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),   cmocka_unit_test(of_the_model), cmocka_unit_test(rows),
        cmocka_unit_test(checked), cmocka_unit_test(ledger),
    };
    return chk_main(tests);
}
