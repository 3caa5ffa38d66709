/* unit_ops.c: contracts/ops.def as a table: offsets, shapes, what may run at once. What it says of memory is held against what
 * kernels touch by unit_operands. */
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "../../runtime/plan/ops.h"
#include "fixture.h"

static const qm_op_view VIEW = {.rows = 3,
                                .head_dim = 64,
                                .grid = {5, 2, 1},
                                .block = 128,
                                .n_ctx = 1000,
                                .n_table = 32,
                                .n_pages = 40,
                                .kv = QM_KV_CACHE_F16};

/* Every op: offsets rise by 8 and are where the struct has the field; present operands have bytes, absent ones none. */
static void test_every_op(void **state) {
    (void)state;
    for (int k = 0; k < QM_N_OPS; k++) {
        qm_op_args a;
        qm_operand o[QM_MAX_OPERANDS];

        for (size_t i = 0; i + 4 <= sizeof a; i += 4) memcpy(a.bytes + i, &(uint32_t){2}, 4);
        int n = qm_operands((qm_op_kind)k, &a, &VIEW, o);
        assert_true(n > 0 && n <= QM_MAX_OPERANDS);
        for (int i = 0; i < n; i++) {
            uint64_t field;
            assert_int_equal(o[i].offset, 8 * i);
            memcpy(&field, a.bytes + o[i].offset, 8);
            assert_true(o[i].ref == field);
            assert_true(o[i].dir >= QM_IN && o[i].dir <= QM_INOUT && o[i].kind < QM_KIND_ACT);
            assert_true(o[i].n_dims > 0 && qm_operand_n(&o[i]) > 0);
            assert_true((o[i].bytes > 0) == (o[i].kind != QM_KIND_WEIGHT));
            for (int j = 0; j < i; j++) assert_string_not_equal(o[i].name, o[j].name);
        }
        memset(&a, 0, sizeof a);
        n = qm_operands((qm_op_kind)k, &a, &VIEW, o);
        for (int i = 0; i < n; i++) assert_true(!o[i].ref && !o[i].bytes && !qm_operand_find(o, n, o[i].name));
    }
}

/* Shapes by hand, of one op with everything in it: parts, rows, q16a. */
static void test_shapes(void **state) {
    (void)state;
    qm_operand o[QM_MAX_OPERANDS];
    qm_op_args a = {
        .rmsnorm = {.x = 1, .partials = 2, .w = 3, .yq = 4, .n = 96, .n_partials = 8, .rows = 5}}; /* 3 of 5 */
    int n = qm_operands(QM_OP_RMSNORM, &a, &VIEW, o);
    const qm_operand *x = qm_operand_find(o, n, "x"), *p = qm_operand_find(o, n, "partials"),
                     *w = qm_operand_find(o, n, "w"), *q = qm_operand_find(o, n, "yq");
    assert_true(x && p && w && q && !qm_operand_find(o, n, "y") && !qm_operand_find(o, n, "n"));
    assert_true(x->dir == QM_IN && x->bytes == 4 * 5 * 96 && x->n_parts == 1 && x->n_dims == 2 && x->dims[1] == 96);
    assert_true(p->n_parts == 8 && p->bytes == 8 * x->bytes);
    assert_true(w->space == QM_SPACE_REGION && w->bytes == 4 * 96);
    assert_true(q->dir == QM_OUT && q->kind == QM_KIND_Q16A && q->bytes == 3 * QM_Q16A_BYTES(96));
    assert_int_equal(q->offset, offsetof(qm_rmsnorm_args, yq));
    /* activations are what the kernel's weights take */
    qm_op_view v = VIEW;
    a = (qm_op_args){.matvec = {.x = 1, .y = 2, .n_rows = 7, .n_cols = 256}};
    n = qm_operands(QM_OP_MATVEC, &a, &v, o);
    assert_true(qm_operand_find(o, n, "x")->kind == QM_KIND_F32);
    assert_true(qm_operand_find(o, n, "y")->n_parts == 2 && qm_operand_find(o, n, "y")->bytes == 4 * 2 * 3 * 7);
    a = (qm_op_args){.attn = {.k_pool = 1, .n_kv = 4}};
    n = qm_operands(QM_OP_ATTN, &a, &VIEW, o);
    assert_true(qm_operand_find(o, n, "k_pool")->bytes == 2 * 40 * 4 * QM_PAGE_TOKENS * 64);
    a = (qm_op_args){.matvec = {.x = 1, .y = 2, .n_rows = 7, .n_cols = 256}};
    v.q16a = 1;
    n = qm_operands(QM_OP_MATVEC, &a, &v, o);
    assert_true(qm_operand_find(o, n, "x")->kind == QM_KIND_Q16A);
}

/* In a plan: every operand lies in the space that the table says, all of scratch within it, and what waits is what shares. */
static void check_plan(const char *model, int logits) {
    qm_engine *g = fix_engine(model, "graph");
    const qm_plan *p;
    qm_err e;
    int waits = 0;
    fix_ok(qm_engine_plan(g, 0, logits, &p, &e), &e);
    for (int i = 0; i < p->n_ops; i++) {
        qm_operand o[QM_MAX_OPERANDS];
        int n = qm_op_operands(p, &p->ops[i], o), out = 0;
        for (int k = 0; k < n; k++) {
            if (!o[k].ref) continue;
            out |= o[k].dir & QM_OUT;
            if (QM_REF_SPACE(o[k].ref) != o[k].space &&
                !(o[k].space == QM_SPACE_SCRATCH && QM_REF_SPACE(o[k].ref) == QM_SPACE_SEQ)) /* the logits */
                fail_msg("%s, op %d (%s): %s lies in space %d, not %d", model, i, p->ops[i].slot, o[k].name,
                         (int)QM_REF_SPACE(o[k].ref), (int)o[k].space);
            if (QM_REF_SPACE(o[k].ref) == QM_SPACE_SCRATCH)
                assert_true(QM_REF_VALUE(o[k].ref) + o[k].bytes <= p->scratch_bytes);
            if (QM_REF_SPACE(o[k].ref) == QM_SPACE_SEQ)
                assert_true(QM_REF_VALUE(o[k].ref) + o[k].bytes <= p->seq.bytes);
        }
        assert_true(out);
        if (i && p->ops[i].waits) waits++;
        if (i && !p->ops[i].waits) assert_false(qm_ops_conflict(p, &p->ops[i - 1], &p->ops[i]));
        if (i && p->ops[i].waits && p->ops[i - 1].waits)
            assert_true(qm_ops_conflict(p, &p->ops[i - 1], &p->ops[i])); /* nobody waits in vain */
    }
    assert_true(waits > 0);
    qm_engine_close(g);
}

static void test_plans(void **state) {
    (void)state;
    check_plan("small", 1);
    check_plan("small", 0);
    check_plan("dense", 1);
    check_plan("dense", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_op), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
