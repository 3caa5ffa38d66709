/* unit_walk: the executor persistent gives the bits of the executor graph, over a model, of any type, whatever the grid; a step is one
 * launch; its ops wait for what they need, no more; its plan asks for weights that are needed, once, and within bounds; what does not
 * fit it refuses by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "ring.h"
#include "../../kernels/ref/launch.h"
#include "../../runtime/device/counters.h"
#include "../../runtime/device/texts.h"
#include "../../runtime/engine/inside_means.h"
#include "../../runtime/plan/ops.h"
#include "../../runtime/sim/sim.h"

enum { MAX = 96 };
typedef struct {
    uint32_t ids[MAX], n;
    uint64_t hash;
} said;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    said *r = user;
    (void)s, (void)n;
    if (id != UINT32_MAX) {
        assert_true(r->n < MAX);
        r->ids[r->n++] = id;
    }
    return 0;
}

/* Prompt steps with no logits but the last's, then n tokens: over the border of a page (32) and of an attention split. */
static said run_apart(const char *path, const char *executor, const char *apart, uint32_t prompt, uint32_t n) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts oo = {.device = dev ? dev : "sim", .executor = executor, .apart = apart};
    qm_engine *g;
    qm_session *s;
    qm_err e;
    said r = {.n = 0};
    uint32_t ids[400];
    qm_gen_opts o = {.max_tokens = n, .ignore_eos = 1, .on_token = on_token, .user = &r};
    qm_gen_stats st;
    fix_ok(qm_engine_open(&g, path, &oo, &e), &e);
    fix_prompt(g, ids, prompt, 31);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_generate(s, ids, prompt, &o, &st, &e), &e);
    r.hash = st.logits_hash;
    qm_session_close(s);
    qm_engine_close(g);
    return r;
}

static said run_at(const char *path, const char *executor, uint32_t prompt, uint32_t n) {
    return run_apart(path, executor, NULL, prompt, n);
}

static said run(const char *executor, uint32_t prompt, uint32_t n) {
    return run_at(fix_model("small"), executor, prompt, n);
}

static void same(uint32_t prompt, uint32_t n) {
    said a = run("graph", prompt, n), b = run("persistent", prompt, n);
    assert_int_equal(a.n, n);
    assert_int_equal(b.n, n);
    assert_memory_equal(a.ids, b.ids, n * sizeof *a.ids);
    assert_true(a.hash == b.hash);
}

static void test_same_bits(void **state) {
    (void)state;
    same(1, 8);
    same(29, 40);
    same(300, 8);
}

/* Another number of multiprocessors, so of CTAs, and another order of theirs; returns what it was. */
static qm_sim_options other_grid(int sms, uint64_t seed) {
    qm_sim_options was, o;
    qm_sim_get_options(&was);
    o = was;
    o.n_sm = sms;
    o.sched_seed = seed;
    qm_sim_set_options(&o);
    return was;
}

static void test_same_bits_on_other_grids(void **state) {
    (void)state;
    static const int sms[] = {1, 3, 7};
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    for (int i = 0; i < 3; i++) {
        const qm_sim_options was = other_grid(sms[i], (uint64_t)sms[i]);
        said a = run("graph", 20, 16), b = run("persistent", 20, 16);
        qm_sim_set_options(&was);
        if (a.n != 16 || b.n != 16 || memcmp(a.ids, b.ids, 16 * sizeof *a.ids) || a.hash != b.hash)
            fail_msg("%d multiprocessors: not the graph's bits", sms[i]);
    }
}

/* The pauses of a plan: what each asks for belongs to a matvec to come that the L2 is not asked to keep; no byte is asked for
 * twice; none is over the cap; where all pauses together hold an op's weights they are all asked for. */
static void check_prefetch(const char *kind, uint64_t l2, uint64_t cap, uint64_t keep, int want_some) {
    qm_engine *g = fix_engine(kind, "graph");
    qm_plan *p;
    qm_err e;
    qm_limits l = g->limits;
    uint64_t asked = 0;
    l.l2_bytes = l2;
    l.prefetch_bytes = cap;
    l.keep_bytes = keep;
    fix_ok(qm_plan_build(&p, g->place, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1}, l, &e), &e);
    for (int i = 0; i < p->n_ops; i++) {
        const qm_op *op = &p->ops[i];
        uint64_t n = op->prefetch.bytes, between = 0;
        if (!n) continue;
        assert_true(n <= cap && n % 32 == 0 && op->prefetch.off % 16 == 0);
        assert_false(i + 1 < p->n_ops && !p->ops[i + 1].waits); /* there is a pause */
        int user = -1;
        for (int j = i + 1; j < p->n_ops && user < 0; j++) {
            if (p->ops[j].kind == QM_OP_MATVEC && (int)QM_REF_VALUE(p->ops[j].args.matvec.w) == op->prefetch.region)
                user = j;
            else if (qm_op_l2(&p->ops[j]) != QM_L2_LAST) between += p->ops[j].weight_bytes;
        }
        assert_true(user > i && qm_op_l2(&p->ops[user]) != QM_L2_LAST);
        assert_true(op->prefetch.off + n <= p->ops[user].weight_bytes);
        assert_true(between < l2 / 2);
        for (int j = 0; j < i; j++) {
            const qm_op *b = &p->ops[j];
            if (!b->prefetch.bytes || b->prefetch.region != op->prefetch.region) continue;
            assert_true(b->prefetch.off >= op->prefetch.off + n ||
                        op->prefetch.off >= b->prefetch.off + b->prefetch.bytes);
        }
        asked += n;
    }
    assert_int_equal(asked > 0, want_some);
    if (want_some && cap >= 1 << 20 &&
        l2 >= 64 << 20) { /* everything but the experts, the first layer's q, k, v (little comes before them) */
        uint64_t fixed = 0;
        for (int i = 0; i < p->n_ops; i++)
            if (p->ops[i].kind == QM_OP_MATVEC && p->ops[i].layer != 0 && qm_op_l2(&p->ops[i]) != QM_L2_LAST)
                fixed += p->ops[i].weight_bytes;
        assert_true(fixed && asked >= fixed * 9 / 10);
    }
    qm_plan_free(p);
    qm_engine_close(g);
}

static void test_prefetch(void **state) {
    (void)state;
    check_prefetch("small", 4 << 20, 128 << 10, 0, 1);
    check_prefetch("small", 64 << 20, 1 << 20, 0, 1);
    check_prefetch("small", 64 << 20, 1 << 20, 400 << 10, 1);
    check_prefetch("small", 64 << 20, 1 << 20, 1 << 30, 0);
    check_prefetch("small", 64 << 20, 4096, 0, 1);
    check_prefetch("small", 4 << 20, 0, 0, 0);
    check_prefetch("small", 0, 4096, 0, 0);
    check_prefetch("f16", 4 << 20, 100 << 10, 200 << 10, 1);
}

/* The pause in which op `user` asks for weights by itself has no hint of any of these: of what the CTAs that are at work at once have,
 * where a warp copies more than its first chunk, or has no more. 1: it has a hint of others. */
static int own_hint(const qm_plan *p, int user) {
    const qm_op *op = &p->ops[user];
    const qm_matvec_args *a = &op->args.matvec;
    const int wtype = qm_kernel_table[op->kernel].wtype;
    int first = user;
    while (!p->ops[first].waits) first--;
    const qm_op *at = &p->ops[first > 0 ? first - 1 : 0];
    if (!at->prefetch.bytes || at->prefetch.region != (int)QM_REF_VALUE(a->w)) return 0;
    if (!op->ring &&
        qm_launch_run(wtype, a->n_cols, op->grid[1], a->deal.rows / QM_TILE_ROWS, op->block) > qm_chunk_steps(wtype))
        return 0;
    const uint64_t cta =
        (uint64_t)(a->deal.rows / QM_TILE_ROWS) * qm_sums_of(wtype, a->n_cols).n_steps * qm_step_bytes(wtype);
    const uint32_t room = p->limits.ring_bytes > QM_RESIDENT_SHARED ? p->limits.ring_bytes : QM_RESIDENT_SHARED,
                   stride = ((op->shared + 15) & ~15u) + qm_ring_shared(op),
                   now = p->limits.n_sm * qm_resident_parts(op, p->limits.n_sm, stride, room);
    for (uint32_t c = 0; c < now && c < op->grid[0] * op->grid[1]; c++) {
        const uint64_t begin = c % op->grid[0] * cta;
        if (at->prefetch.off < begin + cta && begin < at->prefetch.off + at->prefetch.bytes)
            fail_msg("%s of layer %d: CTA %u's weights are hinted at and asked for at once", op->slot, op->layer, c);
    }
    return 1;
}

static void test_asked_once(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "q8_0", "f16", "dense"};
    static const uint32_t sms[] = {1, 4, 64}, kib[] = {0, 60, 150};
    int beside = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        qm_engine *g = fix_engine(kinds[i], "graph");
        for (int k = 0; k < 9; k++) {
            qm_plan *p;
            qm_err e;
            qm_limits l = g->limits;
            uint64_t hints = 0;
            l.n_sm = sms[k / 3];
            l.ring_bytes = kib[k % 3] << 10;
            l.l2_bytes = 64 << 20;
            l.prefetch_bytes = 1 << 20;
            l.keep_bytes = 0;
            fix_ok(qm_plan_build(&p, g->place, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1}, l, &e), &e);
            for (int op = 0; op < p->n_ops; op++) {
                hints += p->ops[op].prefetch.bytes;
                if (p->ops[op].kind == QM_OP_MATVEC) beside += own_hint(p, op);
            }
            assert_true(hints > 0);
            qm_plan_free(p);
        }
        qm_engine_close(g);
    }
    assert_true(beside > 0); /* there are such, of CTAs that come later */
}

/* A session with two positions; of the second one's step the software device has counted what its kernels did. */
static qm_session *counted_step(qm_engine *g) {
    qm_session *s;
    qm_err e;
    qm_sim_options was, o;
    qm_sim_get_options(&was);
    o = was;
    o.count = 1;
    qm_sim_set_options(&o);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_session_eval(s, 5, &e), &e);
    qm_sim_counters_reset();
    fix_ok(qm_session_eval(s, 6, &e), &e);
    qm_sim_set_options(&was);
    return s;
}

/* What attention asks for of a context of one page: its values, of each kv head, by each CTA that has query heads of it. */
static void expect_values(qm_sim_counters *want, qm_engine *g, qm_session *s, const qm_plan *p) {
    qm_inside x;
    qm_err e;
    fix_ok(qm_inside_open(&x, g, s, 1, &e), &e);
    int n = 0;
    for (int i = 0; i < p->n_ops; i++) {
        if (p->ops[i].kind != QM_OP_ATTN_DECODE) continue;
        const qm_attn_decode_args *a = &p->ops[i].args.attn_decode;
        const uint32_t hd = p->place->model->hp.head_dim, eights = (a->n_head / a->n_kv + 7) / 8;
        const uint64_t bytes = qm_kv_head_page_bytes(p->limits.kv_type, hd), pool = fix_address(s, p, a->v_pool);
        uint32_t page;
        fix_ok(qm_inside_read(&x, a->table, &page, sizeof page, &e), &e);
        for (uint32_t k = 0; k < a->n_kv * eights; k++)
            qm_sim_expect_prefetch(want, pool + ((uint64_t)page * a->n_kv + k / eights) * bytes, bytes);
        n++;
    }
    assert_true(n > 0);
    qm_inside_close(&x);
}

/* What a step really asks for, counted on the software device: every sector that its plan names, once, that of attention's values,
 * and no other. */
static void test_prefetch_is_issued(void **state) {
    (void)state;
    setenv("QMOE_L2_KEEP", "400", 1); /* what stays is not asked for; not all of so small a model */
    qm_engine *g = fix_engine("small", "persistent");
    unsetenv("QMOE_L2_KEEP");
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    const qm_plan *p;
    qm_err e;
    qm_sim_counters got, want = {0};
    qm_session *s = counted_step(g);
    assert_int_equal(qm_sim_counters_kernel("qm_walk", &got), 1);
    fix_ok(qm_engine_plan(g, 1, 1, &p, &e), &e);
    for (int i = 0; i < p->n_ops; i++) {
        const qm_op *op = &p->ops[i];
        if (!op->prefetch.bytes) continue;
        uint64_t at = fix_address(s, p, QM_REF(QM_SPACE_REGION, op->prefetch.region)) + op->prefetch.off;
        qm_sim_expect_prefetch(&want, at, op->prefetch.bytes);
    }
    assert_true(want.prefetches > 1000);
    expect_values(&want, g, s, p);
    assert_int_equal(got.prefetches, want.prefetches);
    assert_true(got.prefetch_digest == want.prefetch_digest);
    qm_session_close(s);
    qm_engine_close(g);
}

/* What a step copies ahead, counted likewise: of each product whose weights the step does not choose the warps' runs behind their first
 * chunks, as far as there is room; and no byte of weights is asked for more often than without. */
static void ring_of(const char *kind, const char *kib, int sms) {
    qm_sim_counters got[2], want = {0};
    const qm_sim_options was = other_grid(sms, 0);
    uint64_t later = 0;
    for (int on = 0; on < 2; on++) {
        setenv("QMOE_RING", on ? kib : "0", 1);
        qm_engine *g = fix_engine(kind, "persistent");
        qm_session *s = counted_step(g);
        const qm_plan *p;
        qm_engine_info info;
        qm_err e;
        qm_engine_get_info(g, &info);
        assert_int_equal(info.ring_bytes, on ? (uint64_t)atoi(kib) << 10 : 0);
        assert_int_equal(qm_sim_counters_kernel("qm_walk", &got[on]), 1);
        fix_ok(qm_engine_plan(g, 1, 1, &p, &e), &e);
        for (int i = 0; i < p->n_ops; i++) {
            const qm_op *op = &p->ops[i];
            assert_true(!op->ring || (on && op->kind == QM_OP_MATVEC));
            if (op->kind != QM_OP_MATVEC || !on) continue;
            const qm_matvec_args *a = &op->args.matvec;
            const int wtype = qm_kernel_table[op->kernel].wtype;
            const uint32_t run = qm_launch_run(wtype, a->n_cols, op->grid[1], a->deal.rows / QM_TILE_ROWS, op->block);
            assert_true(!op->ring || op->ring < run); /* no room for what is not there */
            assert_true(op->ring || run <= qm_chunk_steps(wtype) ||
                        atoi(kib) < 150); /* and for all that is, where there is much */
            ring_expect(&want, fix_address(s, p, a->w), wtype, a->n_rows, a->n_cols, a->deal.rows / QM_TILE_ROWS,
                        op->block / 32, op->grid[1], op->ring);
            later += op->weight_bytes;
        }
        qm_session_close(s);
        qm_engine_close(g);
        unsetenv("QMOE_RING");
    }
    qm_sim_set_options(&was);
    if (!want.async_bytes || want.async_bytes >= later)
        fail_msg("%s, %s KiB, %d multiprocessors: %llu bytes to be copied ahead, of %llu", kind, kib, sms,
                 (unsigned long long)want.async_bytes, (unsigned long long)later);
    if (got[1].async_bytes - got[0].async_bytes != want.async_bytes)
        fail_msg("%s, %s KiB, %d multiprocessors: %llu bytes copied ahead, not %llu", kind, kib, sms,
                 (unsigned long long)(got[1].async_bytes - got[0].async_bytes), (unsigned long long)want.async_bytes);
    /* looks at counters are loads too, as many as it takes; of one CTA one each */
    if (sms == 1 && got[1].gld_bytes != got[0].gld_bytes)
        fail_msg("%s, %s KiB: %lld bytes more asked for, %llu of them ahead", kind, kib,
                 (long long)(got[1].gld_bytes - got[0].gld_bytes), (unsigned long long)want.async_bytes);
}

static void test_ring_is_filled(void **state) {
    (void)state;
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    ring_of("small", "150", 4);
    ring_of("small", "80", 1); /* several CTAs after each other, and not room for all */
    ring_of("q8_0", "150", 3);
    ring_of("q6_k", "150", 1);
    ring_of("f16", "150", 1);
}

/* On and off, whole and in part, with few multiprocessors and many: the graph's bits. */
static void test_ring_changes_no_bit(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "q8_0", "q6_k", "f16"}, *const kib[] = {"0", "60", "110"};
    static const int sms[] = {1, 5};
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 2; i++) {
            const qm_sim_options was = other_grid(sms[i], 1);
            const said a = run_at(fix_model(kinds[k]), "graph", 3, 3);
            for (int j = 0; j < 3; j++) {
                setenv("QMOE_RING", kib[j], 1);
                const said b = run_at(fix_model(kinds[k]), "persistent", 3, 3);
                unsetenv("QMOE_RING");
                if (a.hash != b.hash || memcmp(a.ids, b.ids, 3 * sizeof *a.ids) != 0)
                    fail_msg("%s, %s KiB, %d multiprocessors: not the graph's bits", kinds[k], kib[j], sms[i]);
            }
            qm_sim_set_options(&was);
        }
}

/* What is for measuring: no op beside another, nothing asked for ahead, the same bits; nonsense is refused by name. */
static void test_environment(void **state) {
    (void)state;
    said a = run("graph", 20, 8);
    setenv("QMOE_CONCURRENT", "0", 1);
    setenv("QMOE_PREFETCH", "0", 1);
    qm_engine *g = fix_engine("small", "persistent");
    const qm_plan *p;
    qm_engine_info i;
    qm_err e;
    qm_engine_get_info(g, &i);
    assert_true(!i.concurrent && !i.prefetch_bytes);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    for (int k = 0; k < p->n_ops; k++) assert_true(p->ops[k].waits && !p->ops[k].prefetch.bytes);
    qm_engine_close(g);
    said b = run("persistent", 20, 8), c = run("graph", 20, 8);
    setenv("QMOE_CONCURRENT", "2", 1);
    qm_engine_opts o = {.device = "sim"};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "QMOE_CONCURRENT '2': 0 to 1"));
    unsetenv("QMOE_CONCURRENT");
    unsetenv("QMOE_PREFETCH");
    assert_true(a.hash == b.hash && a.hash == c.hash);
    g = fix_engine("small", "graph");
    qm_engine_get_info(g, &i);
    assert_true(i.concurrent && i.prefetch_bytes);
    qm_engine_close(g);
}

static void model_of(char path[300], const char *name, const qm_synth_opts *o) {
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_err e;
    snprintf(path, 300, "%s/qmoe-%ld-%s.gguf", dir ? dir : "/tmp", (long)getpid(), name);
    fix_ok(qm_synth(path, o, &e), &e);
}

/* Norms with more threads in a graph than the kernel has: of a width that this is no multiple of, and of more than one slot. */
static void test_wide(void **state) {
    (void)state;
    static const uint32_t widths[] = {2304, 5120};
    static const char *const apart[] = {NULL, "all"};
    for (int i = 0; i < 2; i++) {
        qm_synth_opts o = {
            .preset = "tiny", .seed = 7, .n_layers = 1, .n_embd = widths[i], .n_head = 2, .n_kv_head = 1};
        char path[300];
        model_of(path, "wide", &o);
        for (int k = 0; k < 2; k++) {
            const said a = run_apart(path, "graph", apart[k], 3, 3), b = run_apart(path, "persistent", apart[k], 3, 3);
            if (a.hash != b.hash || memcmp(a.ids, b.ids, 3 * sizeof *a.ids) != 0)
                fail_msg("width %u, --apart %s: not the graph's bits", widths[i], apart[k] ? apart[k] : "none");
        }
        unlink(path);
    }
}

/* An op whose body the kernel does not have is refused in one line that names it, and what to do. No plan has one today. */
static void test_refuses(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_plan *p;
    qm_err e;
    int resident;
    fix_ok(qm_plan_build(&p, g->place, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1}, g->limits, &e), &e);
    assert_int_equal(p->resident.missing, -1);
    fix_ok(qm_inside_runs("persistent", p, &resident, &e), &e);
    assert_true(resident);
    qm_op *op = &p->ops[3];
    while (strcmp(qm_kernel_table[op->kernel].entry, "qm_probe") != 0) op->kernel = (op->kernel + 1) % QM_N_KERNELS;
    qm_plan_resident(p);
    assert_int_equal(p->resident.missing, 3);
    assert_int_equal(qm_inside_runs("persistent", p, &resident, &e), QM_ERR_UNSUPPORTED);
    if (!strstr(e.msg, "kernel qm_probe (layer ") || !strstr(e.msg, op->slot) ||
        !strstr(e.msg, "The executor graph runs this one"))
        fail_msg("%s", e.msg);
    fix_ok(qm_inside_runs("graph", p, &resident, &e), &e);
    assert_false(resident);
    qm_plan_free(p);
    qm_engine_close(g);
}

/* Every type of weights, other lengths of heads, a network without experts: the graph's bits. */
static void test_types(void **state) {
    (void)state;
    static const char *const kinds[] = {"q8_0", "q5_k", "q6_k", "f16", "bf16", "f32", "f32h", "dense", "dense_q8_0"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        said a = run_at(fix_model(kinds[i]), "graph", 3, 6), b = run_at(fix_model(kinds[i]), "persistent", 3, 6);
        if (a.hash != b.hash || memcmp(a.ids, b.ids, sizeof a.ids) != 0) fail_msg("%s: not the graph's bits", kinds[i]);
    }
    qm_synth_opts o = {
        .preset = "tiny", .seed = 7, .n_layers = 2, .n_embd = 256, .n_head = 4, .n_kv_head = 2, .head_dim = 64};
    char path[300];
    model_of(path, "hd64", &o);
    said a = run_at(path, "graph", 40, 6), b = run_at(path, "persistent", 40, 6);
    assert_true(a.hash == b.hash && !memcmp(a.ids, b.ids, sizeof a.ids));
    unlink(path);
}

/* ---- what waits for what ---- */
/* From the hazards, pair by pair: i must come after k if they conflict; each such pair is a chain of waits, and no wait of an op follows
 * from another of its waits. */
static void check_waits(const qm_plan *p) {
    enum { MAX_OPS = 700 };
    static unsigned char after[MAX_OPS][MAX_OPS]; /* [i][k]: i begins when k is done */
    static int waits[MAX_OPS * QM_WALK_WAITS], n_waits[MAX_OPS];
    int bad;
    qm_err e;
    const int n = p->resident.n;
    assert_true(n <= MAX_OPS && n == p->n_ops && p->resident.first == 0 && p->resident.missing == -1);
    fix_ok(qm_resident_waits(p, QM_WALK_WAITS, waits, n_waits, &bad, &e), &e);
    assert_int_equal(bad, -1);
    memset(after, 0, sizeof after);
    for (int i = 0; i < n; i++)
        for (int w = 0; w < n_waits[i]; w++) {
            const int k = waits[i * QM_WALK_WAITS + w];
            assert_true(k >= 0 && k < i);
            after[i][k] = 1;
            for (int j = 0; j < k; j++) after[i][j] |= after[k][j];
        }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            if (qm_ops_conflict(p, &p->ops[k], &p->ops[i]) && !after[i][k])
                fail_msg("%s of layer %d does not wait for %s of layer %d", p->ops[i].slot, p->ops[i].layer,
                         p->ops[k].slot, p->ops[k].layer);
        for (int w = 0; w < n_waits[i]; w++) {
            const int k = waits[i * QM_WALK_WAITS + w];
            assert_true(p->limits.chain || qm_ops_conflict(p, &p->ops[k], &p->ops[i]));
            for (int v = 0; v < n_waits[i]; v++) assert_false(after[waits[i * QM_WALK_WAITS + v]][k]);
        }
    }
}

static void test_waits(void **state) {
    (void)state;
    static const char *const kinds[] = {"small", "f16", "dense"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        qm_engine *g = fix_engine(kinds[i], "graph");
        for (int logits = 0; logits < 2; logits++)
            for (int chain = 0; chain < 2; chain++) {
                qm_plan *p;
                qm_err e;
                qm_limits l = g->limits;
                l.chain = chain;
                fix_ok(
                    qm_plan_build(&p, g->place, (qm_shape){.outs = (uint32_t)logits, .n_splits = 2, .rows = 1}, l, &e),
                    &e);
                check_waits(p);
                qm_plan_free(p);
            }
        qm_engine_close(g);
    }
}

/* More than a record holds: the op is named. */
static void test_too_many_waits(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_plan *p;
    qm_err e;
    static int waits[700 * QM_WALK_WAITS], n_waits[700];
    int bad;
    fix_ok(qm_plan_build(&p, g->place, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1}, g->limits, &e), &e);
    fix_ok(qm_resident_waits(p, 0, waits, n_waits, &bad, &e), &e);
    assert_int_equal(bad, 1); /* the first that waits at all */
    qm_plan_free(p);
    qm_engine_close(g);
}

/* A token is one launch: nothing of a step of one row is outside the kernel. */
static void test_one_launch(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "persistent");
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    qm_sim_counters got;
    qm_session *s = counted_step(g);
    assert_int_equal(qm_sim_counters_kernel("qm_walk", &got), 1);
    assert_int_equal(got.launches, 1);
    for (int i = 0; i < QM_N_KERNELS; i++)
        if (strcmp(qm_kernel_table[i].entry, "qm_walk") != 0)
            assert_int_equal(qm_sim_counters_kernel(qm_kernel_table[i].entry, &got), 0);
    qm_session_close(s);
    qm_engine_close(g);
}

/* An op that does not wait for the one before it comes after that one in the grid: the two are on different multiprocessors. */
static void test_beside(void **state) {
    (void)state;
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    const qm_sim_options was = other_grid(7, 0);
    qm_engine *g = fix_engine("small", "persistent");
    qm_inside x;
    qm_captured captured = {0};
    qm_err e;
    int beside = 0;
    fix_ok(qm_inside_open(&x, g, NULL, 64, &e), &e);
    fix_ok(g->exec->inside->capture(g, x.plan, NULL, &captured, &e), &e);
    const qm_walk *w = &captured.walk;
    assert_int_equal(w->grid, 7);
    qm_walk_record *r = calloc((size_t)w->n, sizeof *r);
    assert_non_null(r);
    assert_int_equal(g->dev->cu.CtxSynchronize(), 0);
    assert_int_equal(g->dev->cu.MemcpyDtoH(r, w->records, (size_t)w->n * sizeof *r), 0);
    for (int i = 0; i < w->n; i++) {
        const uint32_t before = i ? r[i - 1].first + r[i - 1].grid[0] * r[i - 1].grid[1] * r[i - 1].grid[2] : 0;
        int after = !i;
        for (int k = 0; k < QM_WALK_WAITS; k++)
            if (r[i].waits[k].goal) {
                const qm_walk_record *of = &r[r[i].waits[k].op];
                const uint32_t ctas = of->grid[0] * of->grid[1] * of->grid[2];
                assert_int_equal(r[i].waits[k].goal, ctas < w->grid ? ctas : w->grid);
                assert_true(of->arrives);
                after |= i && of == &r[i - 1];
            }
        assert_true(r[i].subs * r[i].warps <= QM_WALK_BLOCK / 32 && r[i].subs * r[i].stride <= w->shared);
        assert_int_equal(r[i].first, after ? 0 : before % w->grid);
        beside += r[i].first != 0;
    }
    assert_true(beside > 0);
    free(r);
    qm_captured_drop(&captured, g->dev);
    qm_inside_close(&x);
    qm_engine_close(g);
    qm_sim_set_options(&was);
}

/* The text that a program loads: the bodies of its plans, and no other. */
static void test_text(void **state) {
    (void)state;
    unsigned char needed[QM_N_RESIDENT_CASES] = {0};
    const int some[] = {0, 3, QM_N_RESIDENT_CASES - 1};
    char *text, *again, word[48];
    qm_err e;
    for (size_t i = 0; i < 3; i++) needed[some[i]] = 1;
    fix_ok(qm_ptx_cases(&text, "walk", needed, QM_N_RESIDENT_CASES, &e), &e);
    for (int i = 0; i < QM_N_RESIDENT_CASES; i++) {
        snprintf(word, sizeof word, "\nL_case_%d_", i);
        assert_int_equal(strstr(text, word) != NULL, needed[i]);
        snprintf(word, sizeof word, "bra L_case_%d_", i);
        assert_int_equal(strstr(text, word) != NULL, needed[i]);
    }
    assert_non_null(strstr(text, "L_cases_end:"));
    assert_int_equal(qm_ptx_cases(&again, "walk", needed, QM_N_RESIDENT_CASES - 1, &e), QM_ERR_UNSUPPORTED);
    assert_int_equal(qm_ptx_cases(&again, "matvec", needed, 3, &e), QM_ERR_UNSUPPORTED);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_same_bits_on_other_grids),
                                       cmocka_unit_test(test_prefetch),
                                       cmocka_unit_test(test_prefetch_is_issued),
                                       cmocka_unit_test(test_asked_once),
                                       cmocka_unit_test(test_ring_is_filled),
                                       cmocka_unit_test(test_ring_changes_no_bit),
                                       cmocka_unit_test(test_environment),
                                       cmocka_unit_test(test_wide),
                                       cmocka_unit_test(test_refuses),
                                       cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_waits),
                                       cmocka_unit_test(test_too_many_waits),
                                       cmocka_unit_test(test_one_launch),
                                       cmocka_unit_test(test_beside),
                                       cmocka_unit_test(test_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
