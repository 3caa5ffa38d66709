/* check_argmax: the id exactly, over sizes, grids, ties and non-finite logits; twice in a row, since the
 * counter must return to zero by itself. */
#include "check.h"
#include <math.h>
#include <string.h>

enum { N_CTX = 8, NORMAL = 0, EQUAL, FEW, RISING, NEGATIVE };

static float *logits(uint32_t n, int kind)
{
    float *x = chk_normal(n, 5);
    for (uint32_t i = 0; i < n; i++) {
        if (kind == EQUAL) x[i] = -1.5f;
        if (kind == FEW) x[i] = (float)qm_rng_below(chk_rng(), 3) - 1;
        if (kind == RISING) x[i] = (float)i;
        if (kind == NEGATIVE) x[i] = -1 - fabsf(x[i]);
    }
    return x;
}

/* Compares token and flags; other tokens and state words must not change. */
static void run(uint32_t n, unsigned grid, unsigned block, uint32_t pos, float *x, float *x2)
{
    int k = chk_kernel(QM_OP_ARGMAX, -1, 0);
    uint32_t st[QM_STATE_SIZE / 4] = {pos}, tokens[N_CTX + 1], zero = 0;
    for (uint32_t i = 0; i <= N_CTX; i++) tokens[i] = 7000 + i;
    qm_argmax_args a = {.n = n}, r;
    a.logits = chk_in("logits", x, 4 * (size_t)n);
    a.part = chk_out("part", 8 * grid);
    a.counter = chk_inout("counter", &zero, 4);
    a.state = chk_inout("state", st, sizeof st);
    a.tokens = chk_inout("tokens", tokens, sizeof tokens);
    for (int round = 0; round < 2; round++) {
        chk_launch(k, grid, 1, 1, block, 0, &a);
        chk_ref_args(&r, &a, sizeof a);
        qm_ref_argmax(&r, &(qm_ref_env){.grid = {grid, 1, 1}, .block = block});
        chk_u32(a.tokens, N_CTX + 1);
        chk_u32(a.state, QM_STATE_SIZE / 4);
        chk_u32(a.counter, 1);
        if (!x2) break;
        chk_write(a.logits, x2, 4 * (size_t)n);
        st[0] = ++pos;
        chk_write(a.state, st, sizeof st);
    }
    chk_end();
}

static void one(int checked, uint32_t n, unsigned grid, unsigned block, uint32_t pos, int kind)
{
    (checked ? chk_begin_checked : chk_begin)("argmax n=%u grid=%u block=%u pos=%u kind=%d", n, grid, block, pos,
                                              kind);
    float *x = logits(n, kind), *x2 = logits(n, kind);
    run(n, grid, block, pos, x, x2);
}

static void shapes(void **state)
{
    static const uint32_t ns[] = {1, 2, 3, 4, 5, 31, 33, 127, 128, 129, 1000, 4099, 32003, 151936};
    static const unsigned grids[] = {1, 2, 7, 33, 70};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t j = 0; j < sizeof grids / sizeof *grids; j++)
            one(0, ns[i], grids[j], 256, (uint32_t)(i + j) % (N_CTX - 1), NORMAL);
    one(0, 5003, 4, 32, 0, NORMAL);
    one(0, 5003, 3, 1024, 0, NORMAL);
    one(0, 5003, 1, 1024, 0, NORMAL);
}

static void ties(void **state)
{
    (void)state;
    for (int kind = EQUAL; kind <= NEGATIVE; kind++) {
        one(0, 1003, 5, 64, 3, kind);
        one(0, 37, 1, 32, 0, kind);
        one(0, 4097, 40, 256, 0, kind);
    }
}

static void one_hot(void **state) /* the winner at every place of a small vector */
{
    (void)state;
    for (uint32_t hot = 0; hot < 67; hot++) {
        chk_begin("argmax hot=%u", hot);
        float *x = chk_tmp(67 * 4);
        for (uint32_t i = 0; i < 67; i++) x[i] = i == hot ? -1.0f : -2.0f;
        run(67, 3, 32, 0, x, NULL);
    }
}

static void nonfinite(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int b = 0; b < 3; b++)
        for (uint32_t where = 0; where < 5; where++) {
            const uint32_t n = 1001;
            chk_begin("argmax %g where=%u", bad[b], where);
            float *x = chk_normal(n, 1);
            if (where < 4) x[where == 3 ? n - 1 : where * 333] = bad[b];
            for (uint32_t i = 0; where == 4 && i < n; i++) x[i] = bad[b];
            run(n, 4, 64, 1, x, NULL);
        }
}

static void checked(void **state)
{
    (void)state;
    one(1, 301, 3, 64, 0, NORMAL);
    one(1, 5, 4, 32, 0, FEW);
}

static void ledger(void **state)
{
    qm_sim_counters c;
    const uint32_t n = 151936, zero[QM_STATE_SIZE / 4] = {0}, tokens[2] = {0};
    (void)state;
    chk_begin_counted("argmax ledger");
    int k = chk_kernel(QM_OP_ARGMAX, -1, 0);
    qm_argmax_args a = {.n = n};
    a.logits = chk_in("logits", chk_normal(n, 1), 4 * n);
    a.part = chk_out("part", 8 * 64);
    a.counter = chk_inout("counter", zero, 4);
    a.state = chk_inout("state", zero, sizeof zero);
    a.tokens = chk_inout("tokens", tokens, sizeof tokens);
    chk_launch(k, 64, 1, 1, 256, 0, &a);
    if (chk_counters(k, &c)) {
        double per = 32.0 * (double)c.warp_insts / n;
        print_message("argmax n=151936: %.2f thread instructions a logit\n", per);
        if (per > 19.9) chk_fail("%.2f thread instructions a logit", per);
    }
    chk_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes), cmocka_unit_test(ties), cmocka_unit_test(one_hot), cmocka_unit_test(nonfinite),
        cmocka_unit_test(checked), cmocka_unit_test(ledger),
    };
    return chk_main(tests);
}
