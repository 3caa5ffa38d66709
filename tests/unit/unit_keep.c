/* unit_keep: which weights the L2 is asked to keep, that kernels ask for these so and for no others, and that it changes no bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fixture.h"
#include "../../runtime/device/counters.h"
#include "../../runtime/observe/op_measure.h"
#include "../../runtime/plan/ops.h"
#include "../../runtime/sim/sim.h"

static int on_sim(void) { return !getenv("QMOE_TEST_DEVICE") || !strcmp(getenv("QMOE_TEST_DEVICE"), "sim"); }

/* What a plan with this budget keeps, by region: kept [n_regions]; checked on the way. */
static uint64_t keeps(const qm_engine *g, qm_shape shape, uint64_t budget, const char *apart, unsigned char *kept) {
    qm_limits l = g->limits;
    qm_plan *p;
    qm_err e;
    uint64_t sum = 0, left;
    l.keep_bytes = budget;
    fix_ok(qm_apart_of(&l.apart, apart, &e), &e);
    fix_ok(qm_plan_build(&p, g->place, shape, l, &e), &e);
    memset(kept, 0, (size_t)g->place->n_regions);
    for (int i = 0; i < p->n_ops; i++)
        if (qm_op_l2(&p->ops[i]) == QM_L2_LAST) sum += p->ops[i].weight_bytes;
    assert_int_equal(sum, p->kept_bytes);
    assert_true(sum <= budget);
    left = budget;
    for (int i = 0; i < p->n_ops; i++) {
        const qm_op *op = &p->ops[i];
        qm_operand o[QM_MAX_OPERANDS];
        const int n = qm_op_operands(p, op, o);
        int experts = 0, region = -1;
        for (int k = 0; k < n; k++) {
            if (o[k].kind != QM_KIND_WEIGHT) continue;
            region = (int)QM_REF_VALUE(o[k].ref);
            experts |= strncmp(qm_op_name(op->kind), "moe_", 4) == 0;
        }
        const uint32_t l2 = qm_op_l2(op);
        if (region < 0 || op->kind == QM_OP_EMBED || shape.rows > 1 || !budget) assert_int_equal(l2, QM_L2_NORMAL);
        else {
            /* whole matrices that fit in what is left, from the first op on; all else goes first */
            const int fits = !experts && op->weight_bytes <= left;
            assert_int_equal(l2, fits ? QM_L2_LAST : QM_L2_FIRST);
            if (fits) {
                assert_int_equal(op->weight_bytes, g->place->regions[region].bytes);
                left -= op->weight_bytes;
                kept[region] = 1;
            }
        }
    }
    qm_plan_free(p);
    return sum;
}

/* The first matrices until the budget is full; the same in every plan of one row, whatever is apart and however many share attention. */
static void test_choice(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "dense", "f16", "q8_0"};
    static const uint64_t budgets[] = {0, 1000, 200 << 10, 1 << 20, 1 << 30};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        qm_engine *g = fix_engine(kinds[k], "graph");
        unsigned char a[512], b[512];
        assert_true(g->place->n_regions <= (int)sizeof a);
        for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
            const qm_shape one = {.outs = 1, .n_splits = 1, .rows = 1};
            const uint64_t sum = keeps(g, one, budgets[i], "none", a);
            assert_int_equal(sum > 0, budgets[i] >= 200 << 10);
            assert_int_equal(keeps(g, one, budgets[i], "all", b), sum);
            assert_memory_equal(a, b, (size_t)g->place->n_regions);
            assert_int_equal(keeps(g, (qm_shape){.outs = 1, .n_splits = 4, .rows = 1}, budgets[i], "none", b), sum);
            assert_memory_equal(a, b, (size_t)g->place->n_regions);
            keeps(g, (qm_shape){.n_splits = 1, .rows = 1}, budgets[i], "none", b); /* it ends before the head */
            for (int r = 0; r < g->place->n_regions; r++) assert_true(a[r] >= b[r]);
            assert_int_equal(keeps(g, (qm_shape){.outs = 1, .n_splits = 1, .rows = 2}, budgets[i], "none", b), 0);
        }
        qm_engine_close(g);
    }
    assert_int_equal(qm_keep_bytes(72 << 20, 48 << 20), 36 << 20);
    assert_int_equal(qm_keep_bytes(40 << 20, 15 << 20), 15 << 20);
    assert_int_equal(qm_keep_bytes(40 << 20, 0), 0);
}

static qm_engine *open_keeping(const char *kind, const char *executor, const char *apart, const char *kib) {
    if (kib) setenv("QMOE_L2_KEEP", kib, 1);
    qm_engine *g = fix_engine_apart(kind, executor, apart);
    unsetenv("QMOE_L2_KEEP");
    return g;
}

/* Op by op: every byte of its weights is asked for as the plan says, and nothing else is. */
static void test_asked(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "dense", "f16", "q8_0", "q5_k", "bf16", "f32"};
    static const char *const aparts[] = {"none", "all"};
    if (!on_sim()) skip();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int a = 0; a < 2; a++) {
            if (a && k > 1) continue;
            int n[3] = {0};
            qm_engine *g = open_keeping(kinds[k], "graph", aparts[a], "300");
            qm_op_records *r;
            qm_err e;
            fix_ok(qm_ops_count(g, 40, &r, &e), &e);
            for (int i = 0; i < r->n_ops; i++) {
                const qm_op *op = r->op[i].op;
                const qm_counters *c = &r->op[i].count;
                const uint32_t l2 = qm_op_l2(op);
                assert_int_equal(c->last_bytes, l2 == QM_L2_LAST ? op->weight_bytes : 0);
                assert_int_equal(c->first_bytes, l2 == QM_L2_FIRST ? op->weight_bytes : 0);
                n[l2]++;
            }
            assert_true(n[QM_L2_LAST] && n[QM_L2_FIRST] && n[QM_L2_NORMAL]);
            qm_op_records_free(r);
            qm_engine_close(g);
        }
}

typedef struct {
    uint64_t hash, last, first;
} seen;

/* Some tokens, and of these steps what the executor's kernel, or all of them together, asked for. */
static seen run(const char *kind, const char *executor, const char *kib) {
    qm_engine *g = open_keeping(kind, executor, "none", kib);
    const int counts = qm_counters_here(g->dev);
    qm_session *s;
    qm_gen_stats st;
    qm_counters c = {0};
    qm_err e;
    uint32_t ids[4];
    qm_gen_opts o = {.max_tokens = 4, .ignore_eos = 1};
    fix_prompt(g, ids, 1, 5);
    fix_ok(qm_session_open(&s, g, &e), &e);
    if (counts) fix_ok(qm_counters_begin(g->dev, &e), &e);
    fix_ok(qm_generate(s, ids, 1, &o, &st, &e), &e);
    qm_session_close(s);
    if (counts) {
        qm_counters_take(&c);
        qm_counters_end();
    }
    qm_engine_close(g);
    return (seen){st.logits_hash, c.last_bytes, c.first_bytes};
}

/* A hint changes no bit, in either executor. The kernel that walks the plan gives it to the weights of which some may be kept,
 * whatever the budget to the same bytes: kept ones and others are all of them. */
static void test_bits(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "dense", "q8_0"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int x = 0; x < 2; x++) {
            const char *executor = x ? "persistent" : "graph";
            const seen off = run(kinds[k], executor, "0"), none = run(kinds[k], executor, "1"),
                       some = run(kinds[k], executor, "300"), all = run(kinds[k], executor, "1048576"),
                       itself = run(kinds[k], executor, NULL);
            assert_true(off.hash == none.hash && off.hash == some.hash && off.hash == all.hash &&
                        off.hash == itself.hash);
            if (!on_sim()) continue;
            assert_true(!off.last && !off.first && !none.last && itself.last);
            assert_true(some.last && some.first && some.last < all.last);
            assert_int_equal(some.last + some.first, none.first);
            assert_int_equal(all.last + all.first, none.first);
            if (x) assert_int_equal(all.first, 0);
        }
}

/* It says what it keeps; nonsense is refused by name; so much of the L2 is set aside while the engine is open, and no longer. */
static void test_engine(void **state) {
    (void)state;
    qm_engine_info i;
    qm_device *d;
    qm_err e;
    size_t aside = 1;
    const char *spec = getenv("QMOE_TEST_DEVICE") ? getenv("QMOE_TEST_DEVICE") : "sim";
    fix_ok(qm_device_open(&d, spec, NULL, 0, &e), &e); /* so that the context outlives the engine */
    qm_engine *g = open_keeping("small", "graph", "none", "300");
    const qm_plan *p;
    qm_engine_get_info(g, &i);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    assert_true(i.kept_bytes && i.kept_bytes == p->kept_bytes && i.kept_bytes <= 300 << 10);
    assert_int_equal(d->cu.CtxGetLimit(&aside, CU_LIMIT_PERSISTING_L2_CACHE_SIZE), CUDA_SUCCESS);
    assert_true(d->l2_aside ? aside >= 300 << 10 : aside == 0);
    if (on_sim()) assert_int_equal(aside, 300 << 10);
    qm_engine_close(g);
    fix_ok(d->cu.CtxSetCurrent(d->ctx), &e);
    assert_int_equal(d->cu.CtxGetLimit(&aside, CU_LIMIT_PERSISTING_L2_CACHE_SIZE), CUDA_SUCCESS);
    if (on_sim()) assert_int_equal(aside, 0);
    g = open_keeping("small", "graph", "none", "0");
    qm_engine_get_info(g, &i);
    assert_int_equal(i.kept_bytes, 0);
    assert_int_equal(d->cu.CtxGetLimit(&aside, CU_LIMIT_PERSISTING_L2_CACHE_SIZE), CUDA_SUCCESS);
    if (on_sim()) assert_int_equal(aside, 0);
    qm_engine_close(g);
    g = fix_engine("small", "graph");
    qm_engine_get_info(g, &i);
    assert_true(i.kept_bytes <= qm_keep_bytes((uint64_t)d->l2_bytes, (uint64_t)d->l2_aside));
    assert_int_equal(i.kept_bytes > 0, d->l2_aside > 0);
    qm_engine_close(g);
    setenv("QMOE_L2_KEEP", "2 MB", 1);
    qm_engine_opts o = {.device = spec};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "QMOE_L2_KEEP '2 MB': 0 to 1048576"));
    unsetenv("QMOE_L2_KEEP");
    qm_device_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice), cmocka_unit_test(test_asked),
                                       cmocka_unit_test(test_bits), cmocka_unit_test(test_engine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
