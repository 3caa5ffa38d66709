/* The predictor's arithmetic on the work of other programs that decode Qwen3-30B-A3B in Q4_K_M on chips of contracts/chips.def, beside
 * what they measured. A step is its kernels, as far as their sources show them: how many a layer, which bytes they read. How they
 * keep loads under way is not known, so nothing binds there but bytes and what comes before them. docs/prediction.md has the
 * table; facts are not to be bent to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "../../runtime/observe/predict.h"

enum { LAYERS = 48 };
/* Q4_K has 4.5 bits a weight, Q6_K 6.5625; half of the layers have v and down in Q6_K. */
#define Q4(n) ((n)*4.5 / 8)
#define Q5_MEAN(n) ((n) * (4.5 + 6.5625) / 16)

typedef struct {
    double n, bytes; /* kernels alike, a layer (or a step); bytes of weights that each reads */
    int index;       /* loads that say where the weights are */
    int early;       /* launched before the one before it ends */
} work;

/* What all of them read: a layer's products and the head. v and k may run beside q, or not; each has its own node here where it
 * has in the program. */
static const double q = Q4(4096.0 * 2048), kv = Q4(512.0 * 2048) + Q5_MEAN(512.0 * 2048), o = Q4(4096.0 * 2048),
                    router = 4.0 * 128 * 2048, up = Q4(8 * 2.0 * 768 * 2048), down = Q5_MEAN(8 * 768.0 * 2048),
                    head = 151936.0 * 2048 * 6.5625 / 8;

typedef struct {
    const char *program, *chip;
    double measured; /* tokens a second at 128 positions or fewer */
    int small;       /* kernels of a layer that read no weights */
    int edges;       /* of these and of down, how many are launched early */
    int split_qkv;   /* 1: q, k and v one after the other; 0: at the same time */
    const char *source;
} program;
static const program programs[] = {
    /* norm with the addition and q8 (2), norm of q and k with rope and append, attention's combination, top-k, q8 of h; q, k, v
     * on three streams; attention itself reads hardly anything at 128 positions, but waits for memory */
    {"sparkinfer", "rtx5090", 498.1, 6, 2, 0,
     "PR 298, qwen35.cpp of July 2026; int8 products, edges into q8 of h and down"},
    {"sparkinfer", "rtx5090", 484.8, 6, 0, 0, "the same without the edges"},
    /* about 26 kernels a layer: conversions to q8 before each product, norms, ropes, copies, attention, top-k, sums of experts */
    {"llama.cpp", "rtx5090", 366, 19, 0, 1, "sparkinfer's comparison at 128 positions"},
    {"llama.cpp", "rtx4090", 208, 19, 0, 1, "an older build, whose kernels a layer are not known: it fused less"},
};

static double time_of(const qm_chip *c, work w) {
    qm_op op = {.kind = QM_OP_RMSNORM, .grid = {(uint32_t)c->sms.v, 1, 1}, .block = 128, .waits = 1};
    qm_op_record r = {.op = &op, .rows = 1, .ctas = c->sms.v, .weight_bytes = (uint64_t)w.bytes};
    r.path.trips = w.index;
    r.path.indexed = w.index > 0;
    qm_predict_op(c, w.early, &r);
    return w.n * (r.time_ns + r.gap_ns);
}

static double step_ns(const program *p, const qm_chip *c) {
    const int early = p->edges > 0;
    const work layer[] = {
        {1, p->split_qkv ? q : q + kv, 0, 0},
        {p->split_qkv ? 2 : 0, kv / 2, 0, 0},
        {1, 1, 2, 0}, /* attention: row, block table, keys */
        {1, o, 0, 0},
        {1, router, 0, 0},
        {1, up, 1, 0},
        {1, down, 1, early},
        {p->small - (early ? 1 : 0), 0, 0, 0},
        {early ? 1 : 0, 0, 0, 1},
    };
    double ns = 1e9 * c->graph.v + time_of(c, (work){1, head, 0, 0}) + time_of(c, (work){4, 0, 0, 0});
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) ns += LAYERS * time_of(c, layer[i]);
    return ns;
}

/* Within a fifth, but for the one whose kernels are not known: there the estimate is above what was measured. Which is what it is for:
 * it may not promise others, or us, less than they have. */
static void test_others(void **state) {
    (void)state;
    print_message("| program | chip | kernels a layer | estimate | measured | estimate / measured |\n");
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const program *p = &programs[i];
        const qm_chip *c = qm_chip_find(p->chip, strlen(p->chip));
        assert_non_null(c);
        const double is = 1e9 / step_ns(p, c), ratio = is / p->measured;
        print_message("| %s | %s | %d | %.0f | %.0f | %.2f |\n", p->program, c->name, p->small + 6 + 2 * p->split_qkv,
                      is, p->measured, ratio);
        if (i < 3) assert_true(ratio > 0.8 && ratio < 1.2);
        else assert_true(ratio > 1 && ratio < 1.4);
    }
}

/* The two edges of each layer are worth what they were, 55 us a token: `edge` comes from there (chips.def), so this shows no more
 * than that it is counted once. */
static void test_edges(void **state) {
    (void)state;
    const qm_chip *c = qm_chip_find("rtx5090", 7);
    const double us = 1e-3 * (step_ns(&programs[1], c) - step_ns(&programs[0], c));
    print_message("two edges a layer: %.1f us a token, measured %.1f\n", us, 1e6 / 484.8 - 1e6 / 498.1);
    assert_true(us > 40 && us < 70);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(test_others), cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
