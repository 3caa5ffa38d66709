/* Estimates: the chips' facts, the arithmetic, the counts over zeros, and the reports. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fixture.h"
#include "../../runtime/observe/op_measure.h"
#include "../../runtime/observe/predict.h"

/* Every chip has every fact, a source for each, and figures that can be. */
static void test_facts(void **state) {
    (void)state;
    assert_true(qm_n_chips >= 4);
    for (const char *const *id = (const char *const[]){"rtx4090", "gb10", "h200", "rtx5090", NULL}; *id; id++)
        assert_non_null(qm_chip_find(*id, strlen(*id)));
    assert_null(qm_chip_find("rtx409", 6));
    for (int i = 0; i < qm_n_chips; i++) {
        const qm_chip *c = &qm_chips[i];
        const struct {
            const qm_fact *f;
            double lo, hi;
        } facts[] = {
            {&c->sms, 8, 512},          {&c->clock, 5e8, 4e9},      {&c->bandwidth, 5e10, 2e13},
            {&c->reach, 0.5, 1},        {&c->l2, 1 << 20, 1 << 30}, {&c->issue, 0.1, 1},
            {&c->node, 1e-7, 1e-5},     {&c->start, 1e-7, 1e-5},    {&c->edge, 1e-8, 1e-5},
            {&c->handoff, 1e-7, 1e-5},  {&c->cc, 80, 130},          {&c->graph, 1e-7, 1e-4},
            {&c->trip, 5e-8, 5e-7},     {&c->latency, 2e-7, 2e-6},  {&c->mma_int, 256, 8192},
            {&c->mma_float, 128, 4096}, {&c->kept, 0.1, 1},         {&c->shared, 48 << 10, 1 << 20},
        };
        for (size_t k = 0; k < sizeof facts / sizeof *facts; k++) {
            assert_true(facts[k].f->v >= facts[k].lo && facts[k].f->v <= facts[k].hi);
            assert_non_null(facts[k].f->source);
            assert_true(strlen(facts[k].f->source) > 4);
            assert_true(*qm_fact_kind_name(facts[k].f->kind));
        }
        assert_ptr_equal(qm_chip_find(c->id, strlen(c->id)), c);
    }
}

/* By hand: a chip of round numbers and an op that waits for one thing at a time. */
static void test_arithmetic(void **state) {
    (void)state;
    const qm_chip c = {.id = "x",
                       .name = "X",
                       .sms = {.v = 100},
                       .clock = {.v = 1e9},
                       .bandwidth = {.v = 1e12},
                       .reach = {.v = 0.5},
                       .l2 = {.v = 1e6},
                       .issue = {.v = 0.5},
                       .mma_int = {.v = 1000},
                       .mma_float = {.v = 250},
                       .latency = {.v = 1e-6},
                       .trip = {.v = 1e-7},
                       .node = {.v = 1e-6},
                       .start = {.v = 2e-6},
                       .edge = {.v = 5e-7},
                       .graph = {.v = 5e-6}};
    qm_op op = {.kind = QM_OP_RMSNORM, .grid = {200, 1, 1}, .block = 128, .waits = 1};
    qm_op_record r = {.op = &op, .rows = 1, .ctas = 200, .weight_bytes = 40000000, .kv_bytes = 10000000};
    qm_predict_op(&c, 0, &r); /* 50 MB at 0.5 TB/s; before it 2 us of its start, 1 of the first load */
    assert_true(fabs(r.time_ns - 103000) < 1e-3 && r.gap_ns == 1000 && r.bound == QM_BOUND_DRAM);
    r.count.warp_insts = 40000000; /* over 4 x 100 x 1e9 x 0.5 */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 203000) < 1e-3 && r.bound == QM_BOUND_ISSUE);
    r.ctas = 50; /* half of the multiprocessors: twice as long */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 403000) < 1e-3 && r.bound == QM_BOUND_ISSUE);
    op.block = 32; /* a warp each, which issues 0.6 instructions a clock */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - (3000 + 800000 / 0.6)) < 1e-2 && r.bound == QM_BOUND_ISSUE);
    op.block = 128;
    r.count.warp_insts = 0;
    r.count.load_sectors = 40000000;
    r.count.store_sectors = 10000000; /* 1.6 GB over 50 ports of 64 GB/s */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 503000) < 1e-3 && r.bound == QM_BOUND_L2);
    r = (qm_op_record){
        .op = &op, .rows = 1, .ctas = 50, .weight_bytes = 1000000}; /* 2 us of reading, 4 us of waiting */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 5000) < 1e-3 && r.bound == QM_BOUND_LATENCY);
    r.path.trips = 3; /* of the L2, one after the other */
    r.path.clocks = 700;
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 6000) < 1e-3 && r.bound == QM_BOUND_LATENCY);
    r.weight_bytes = 0; /* nothing from memory: a further trip in place of its latency */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 3100) < 1e-3);
    /* 50 CTAs of 4 warps ask for 5 kB each: a 20th of 5 MB is on its way at once, 2.5 kB for each of 100 multiprocessors */
    r = (qm_op_record){
        .op = &op, .rows = 1, .ctas = 50, .weight_bytes = 5000000, .path = {.flight = 5000, .rounds = 1}};
    assert_true(fabs(qm_in_flight(&op, &r.path, r.ctas, 5e6, 100) - 2500) < 1e-9);
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 22000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
    r.held = 5; /* the first five of its 20 chunks come together, by shared memory */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 18000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
    r.held = 30; /* all do: what is left is the memory's time */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 13000) < 1e-3 && r.bound == QM_BOUND_DRAM);
    r.held = 1;
    op.block = 512; /* 16 warps: no second CTA has room */
    assert_true(fabs(qm_in_flight(&op, &r.path, 300, 5e6, 100) - 5000) < 1e-9);
    op.block = 128;
    /* launched before the one before it ends: an edge, a trip for its vector, and what came in 0.6 us at 0.5 TB/s */
    r.path.flight = 1e6;
    r.in_flight = 50000;
    qm_predict_op(&c, 1, &r);
    assert_true(fabs(r.time_ns - (100 + 10000 - 600)) < 1e-3 && r.gap_ns == 500 && r.bound == QM_BOUND_DRAM);
    r.path.indexed = 1; /* it does not know where */
    r.path.trips = 1;
    qm_predict_op(&c, 1, &r);
    assert_true(fabs(r.time_ns - (1100 + 10000)) < 1e-3);
}

/* What waits for what, of the ops of a step: a trip for each operand that says where others are, and what the texts add. Who knows
 * where its weights are without the step, and what is on its way. */
static void test_paths(void **state) {
    (void)state;
    static const struct {
        int fused;
        const char *slot, *op;
        double trips;
        int indexed, flies;
    } want[] = {{0, "embed", "embed", 2, 1, 0},      {0, "attn_norm", "rmsnorm", 0, 0, 0},
                {0, "qkv", "matvec", 0, 0, 1},       {0, "qkrope", "qkrope", 3, 1, 0},
                {0, "attn", "attn", 2, 1, 1},        {0, "attn_heads", "combine", 2, 1, 0},
                {0, "attn_out", "matvec", 0, 0, 1},  {0, "router", "router", 3, 0, 0},
                {0, "ffn_up", "moe_up", 1, 1, 1},    {0, "ffn_out", "moe_matvec", 1, 1, 1},
                {0, "logits", "matvec", 0, 0, 1},    {1, "qkv", "matvec", 0, 0, 1},
                {1, "attn", "attn_decode", 4, 1, 1}, /* row, block table, arrival, the others' sums */
                {1, "ffn_up", "moe_up", 1, 1, 1},    /* the logits say where its weights are */
                {1, "ffn_out", "moe_down", 1, 1, 1}};
    qm_err e;
    for (int fused = 0; fused < 2; fused++) {
        qm_predictor *p;
        const qm_op_records *r;
        fix_ok(qm_predictor_open(&p, fix_model("small"), &(qm_predict_opts){.apart = fused ? 0 : ~0u}, &e), &e);
        fix_ok(qm_predictor_step(p, &qm_chips[0], qm_work_decode(64), NULL, &r, &e), &e);
        for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
            int n = 0;
            for (int i = 0; i < r->n_ops && want[k].fused == fused; i++) {
                const qm_op_record *o = &r->op[i];
                if (strcmp(o->op->slot, want[k].slot) || strcmp(qm_op_name(o->op->kind), want[k].op)) continue;
                n++;
                if (o->path.trips != want[k].trips)
                    fail_msg("%s, %s: %g trips", want[k].slot, want[k].op, o->path.trips);
                assert_int_equal(o->path.indexed, want[k].indexed);
                assert_int_equal(o->path.flight > 0, want[k].flies);
                assert_int_equal(o->in_flight > 0, want[k].flies);
                /* keys and values: a page a warp, of which the values then come out of the L2 */
                assert_true(o->path.again == (o->reads_kv ? 1 : 0));
                if (o->reads_kv)
                    assert_true(o->path.flight ==
                                2.0 * o->op->block / 32 *
                                    (double)qm_kv_head_page_bytes(QM_KV_CACHE_F16, r->plan->place->model->hp.head_dim));
                if (o->path.flight > 0)
                    assert_true(o->in_flight <= (double)(o->weight_bytes + o->kv_bytes) / qm_chips[0].sms.v);
            }
            if (!n && want[k].fused == fused) fail_msg("no op %s, %s", want[k].slot, want[k].op);
        }
        qm_predictor_close(p);
    }
}

/* Counts over zeros are those of the real model at the same depth and geometry; sums are the plan's. */
static void test_counts_like_the_real(void **state) {
    (void)state;
    qm_err e;
    qm_engine *g = fix_engine("small", "graph");
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    qm_chip c = qm_chips[0];
    c.sms.v = g->dev->n_sm;
    qm_predictor *p;
    fix_ok(qm_predictor_open(&p, fix_model("small"), 0, &e), &e);
    const uint32_t depths[] = {0, 33, 300};
    for (int d = 0; d < 3; d++) {
        const qm_op_records *est;
        qm_op_records *real;
        fix_ok(qm_predictor_step(p, &c, qm_work_decode(depths[d]), NULL, &est, &e), &e);
        fix_ok(qm_ops_count(g, depths[d], &real, &e), &e);
        assert_true(est->estimated && est->counted && !est->timed);
        assert_int_equal(est->n_ops, real->n_ops);
        assert_int_equal(est->plan->weight_bytes, real->plan->weight_bytes);
        uint64_t weights = 0;
        for (int i = 0; i < est->n_ops; i++) {
            const qm_op_record *a = &est->op[i], *b = &real->op[i];
            assert_string_equal(a->op->slot, b->op->slot);
            assert_int_equal(a->kv_bytes, b->kv_bytes);
            assert_memory_equal(a->op->grid, b->op->grid, sizeof a->op->grid);
            assert_int_equal(a->count.barriers, b->count.barriers);
            /* these do not look at their data */
            if (a->op->kind != QM_OP_ROUTER && a->op->kind != QM_OP_SAMPLE_SCAN) {
                assert_int_equal(a->count.load_bytes, b->count.load_bytes);
                assert_int_equal(a->count.load_sectors, b->count.load_sectors);
                assert_int_equal(a->count.store_bytes, b->count.store_bytes);
            }
            /* a few instructions depend on values: a lane with an amax of 0, a maximum that moves */
            assert_true(fabs((double)a->count.warp_insts / (double)b->count.warp_insts - 1) < 0.05);
            weights += a->op->weight_bytes;
        }
        assert_int_equal(weights, real->plan->weight_bytes);
        assert_true(fabs((double)est->total.thread_insts / (double)real->total.thread_insts - 1) < 0.01);
        qm_op_records_free(real);
    }
    qm_predictor_close(p);
    qm_engine_close(g);
}

/* The persistent kernel: no slower than the graph where a handoff costs what a node and a start do, what is prefetched helps, and
 * never beyond what the bytes take. */
static void test_walked(void **state) {
    (void)state;
    qm_err e;
    qm_predictor *p;
    const qm_op_records *graph, *walk;
    fix_ok(qm_predictor_open(&p, fix_model("small"), NULL, &e), &e);
    qm_chip c = *qm_chip_find("rtx4090", 7);
    c.handoff.v = c.node.v + c.start.v;
    c.bandwidth.v = 20e9; /* a small model's bytes have to count */
    c.l2.v = 0;
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &graph, &e), &e);
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), "persistent", &walk, &e), &e);
    assert_true(walk->step_ns < graph->step_ns);
    assert_string_equal(graph->executor, "graph");
    assert_string_equal(walk->executor, "persistent");
    double before = walk->step_ns;
    for (int mb = 1; mb <= 64; mb *= 8) {
        c.l2.v = mb * 1048576.0;
        fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), "persistent", &walk, &e), &e);
        assert_true(walk->step_ns < before);
        assert_true(walk->step_ns > 1e9 * (double)(walk->plan->weight_bytes + walk->kv_bytes) / c.bandwidth.v);
    }
    before = walk->step_ns;
    c.handoff.v *= 2;
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), "persistent", &walk, &e), &e);
    assert_true(walk->step_ns > before);
    qm_predictor_close(p);
}

/* What the L2 has kept is not read again: on a chip whose memory binds all, the step is shorter by just that. */
static void test_kept(void **state) {
    (void)state;
    static const double shares[] = {0, 0.5, 1};
    qm_err e;
    qm_predictor *p, *off;
    const qm_op_records *r, *none;
    qm_chip c = *qm_chip_find("rtx4090", 7);
    c.l2.v = 800 << 10;
    c.bandwidth.v = 1e9;
    fix_ok(qm_predictor_open(&p, fix_model("small"), &(qm_predict_opts){.keeps = 1}, &e), &e);
    fix_ok(qm_predictor_open(&off, fix_model("small"), NULL, &e), &e);
    fix_ok(qm_predictor_step(off, &c, qm_work_decode(64), NULL, &none, &e), &e);
    assert_int_equal(none->plan->kept_bytes, 0);
    for (int i = 0; i < 3; i++) {
        c.kept.v = shares[i];
        fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &r, &e), &e);
        assert_true(r->plan->kept_bytes > 300 << 10 && r->plan->kept_bytes <= 400 << 10);
        const double saved = 1e9 * c.kept.v * (double)r->plan->kept_bytes / (c.bandwidth.v * c.reach.v);
        /* of an op with nothing to read its own work remains */
        if (i < 2) assert_true(fabs(none->step_ns - r->step_ns - saved) < 1e-3 * saved + 1e-3);
        else assert_true(none->step_ns - r->step_ns > 0.9 * saved && none->step_ns - r->step_ns < saved);
    }
    qm_predictor_close(p);
    qm_predictor_close(off);
}

/* Dependent launches: on chips that have them, where an op follows one other and nobody else does; an edge and no start there,
 * weights on their way early, and switched off the plain graph. */
static void test_dependent(void **state) {
    (void)state;
    qm_err e;
    qm_predictor *p, *off;
    const qm_op_records *plain, *early, *old;
    fix_ok(qm_predictor_open(&p, fix_model("small"), NULL, &e), &e);
    fix_ok(qm_predictor_open(&off, fix_model("small"), &(qm_predict_opts){.nodes = 1}, &e), &e);
    qm_chip c = *qm_chip_find("h200", 4);
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &early, &e), &e);
    fix_ok(qm_predictor_step(off, &c, qm_work_decode(64), NULL, &plain, &e), &e);
    assert_true(early->dependent && !plain->dependent);
    assert_true(early->step_ns < plain->step_ns);
    int edges = 0, nodes = 0, runs = 0;
    for (int i = 1; i < early->n_ops; i++) {
        const qm_op_record *a = &early->op[i], *b = &plain->op[i];
        const int forks = i + 1 < early->n_ops && !early->op[i + 1].op->waits, joins = !early->op[i - 1].op->waits;
        if (a->whole_run) { /* of few chunks a warp: all on their way, and sooner done */
            runs++;
            assert_true(a->in_flight >= b->in_flight && a->in_flight == (double)a->weight_bytes / c.sms.v);
        } else assert_true(a->in_flight == b->in_flight);
        assert_false(b->whole_run);
        if (!a->op->waits) continue;
        assert_true(fabs(a->gap_ns - 1e9 * (forks || joins ? c.node.v : c.edge.v)) < 1e-6);
        assert_true(fabs(b->gap_ns - 1e9 * c.node.v) < 1e-6);
        assert_true((forks || joins) && !a->whole_run ? a->time_ns == b->time_ns : a->time_ns < b->time_ns);
        edges += !forks && !joins;
        nodes += forks || joins;
    }
    assert_true(edges > 10 && nodes > 0 && runs > 0);
    assert_true(early->step_ns > 1e9 * (double)(early->plan->weight_bytes + early->kv_bytes) / c.bandwidth.v);
    c.cc.v = 89;
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &old, &e), &e);
    assert_true(!old->dependent && fabs(old->step_ns - plain->step_ns) < 1e-6);
    qm_predictor_close(p);
    qm_predictor_close(off);
}

/* Between which ops the persistent kernel has a handoff, and no node, is what its executor makes of the plan: all of them; what it
 * cannot run is not estimated. */
static void test_walked_range(void **state) {
    (void)state;
    qm_err e;
    qm_predictor *p;
    const qm_op_records *r;
    qm_engine *g = fix_engine("small", "persistent");
    qm_inside x;
    qm_captured captured = {0};
    qm_walk w;
    qm_chip c = qm_chips[0];
    fix_ok(qm_inside_open(&x, g, NULL, 64, &e), &e);
    fix_ok(g->exec->inside->capture(g, x.plan, NULL, &captured, &e), &e);
    w = captured.walk;
    fix_ok(qm_predictor_open(&p, fix_model("small"), 0, &e), &e);
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), "persistent", &r, &e), &e);
    int barriers = 0;
    for (int i = 1; i < r->n_ops; i++) {
        const qm_op *op = r->op[i].op;
        if (!op->waits) continue;
        assert_true(fabs(r->op[i].gap_ns - 1e9 * c.handoff.v) < 1e-6);
        barriers++;
        assert_true(i > w.first && i < w.first + w.n);
    }
    assert_true(barriers > 5 * (int)r->plan->place->model->hp.n_layers);
    qm_predictor_close(p);
    g->dev->cu.GraphExecDestroy(captured.graph);
    qm_walk_close(&w, g->dev);
    qm_inside_close(&x);
    qm_engine_close(g);
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_synth_opts o = {.preset = "tiny", .seed = 7, .n_layers = 1, .n_embd = 2304, .n_head = 2, .n_kv_head = 1};
    snprintf(path, sizeof path, "%s/qmoe-%ld-wide.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &o, &e), &e); /* its norms have more threads in a graph than the kernel has */
    fix_ok(qm_predictor_open(&p, path, 0, &e), &e);
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), "persistent", &r, &e), &e);
    fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &r, &e), &e);
    qm_predictor_close(p);
    unlink(path);
}

/* The cache's type is its bytes: of every position that attention reads and of the one that is written; nothing else is read
 * differently. */
static void test_cache_type(void **state) {
    (void)state;
    enum { DEPTH = 480 };
    const qm_op_records *r[QM_N_KV_CACHE];
    qm_predictor *p[QM_N_KV_CACHE];
    qm_err e;
    for (int kv = 0; kv < QM_N_KV_CACHE; kv++) {
        const qm_predict_opts o = {.kv = (qm_kv_cache_type)kv};
        fix_ok(qm_predictor_open(&p[kv], fix_model("small"), &o, &e), &e);
        fix_ok(qm_predictor_step(p[kv], &qm_chips[0], qm_work_decode(DEPTH), NULL, &r[kv], &e), &e);
    }
    assert_int_equal(r[QM_KV_CACHE_Q8_0]->kv_bytes * 64, r[QM_KV_CACHE_F16]->kv_bytes * 34);
    assert_int_equal(r[QM_KV_CACHE_Q8_0]->weight_bytes, r[QM_KV_CACHE_F16]->weight_bytes);
    for (int i = 0; i < r[0]->n_ops; i++) {
        const qm_op_record *a = &r[QM_KV_CACHE_F16]->op[i], *b = &r[QM_KV_CACHE_Q8_0]->op[i];
        if (!a->reads_kv) continue;
        const double fewer = (double)a->count.load_sectors - (double)b->count.load_sectors;
        assert_true(32 * fewer > 0.9 * (double)(a->kv_bytes - b->kv_bytes));
    }
    for (int kv = 0; kv < QM_N_KV_CACHE; kv++) qm_predictor_close(p[kv]);
}

/* More bandwidth is never slower, nor is a deeper step faster; no step beats its bytes. */
static void test_monotone(void **state) {
    (void)state;
    qm_err e;
    qm_predictor *p;
    fix_ok(qm_predictor_open(&p, fix_model("small"), 0, &e), &e);
    qm_chip c = qm_chips[0];
    double before = 0;
    for (int k = 0; k < 6; k++) {
        const qm_op_records *r;
        c.bandwidth.v = 1e9 * (1 << k);
        fix_ok(qm_predictor_step(p, &c, qm_work_decode(64), NULL, &r, &e), &e);
        if (k) assert_true(r->step_ns < before);
        before = r->step_ns;
        double bytes = (double)(r->plan->weight_bytes + r->kv_bytes), at = 0;
        assert_true(r->step_ns > 1e9 * bytes / c.bandwidth.v);
        for (int i = 0; i < r->n_ops; i++) {
            assert_true(fabs(r->op[i].begin_ns - at - r->op[i].gap_ns) < 1e-6);
            at = r->op[i].begin_ns + r->op[i].time_ns;
        }
        assert_true(fabs(r->step_ns - at - 1e9 * c.graph.v) < 1e-6);
    }
    before = 0;
    for (uint32_t depth = 0; depth < 512; depth += 100) {
        const qm_op_records *r;
        fix_ok(qm_predictor_step(p, &c, qm_work_decode(depth), NULL, &r, &e), &e);
        assert_true(r->step_ns >= before);
        before = r->step_ns;
    }
    qm_predictor_close(p);
}

/* ---- the public calls ---- */
static json_t *array_of(const fix_text *t) {
    json_error_t je;
    json_t *j = json_loads(t->s, 0, &je);
    if (!j) fail_msg("line %d: %s", je.line, je.text);
    assert_true(json_is_array(j));
    return j;
}

static const char *str(const json_t *o, const char *k) { return json_string_value(json_object_get(o, k)); }
static double num(const json_t *o, const char *k) { return json_number_value(json_object_get(o, k)); }

/* One record a step and one an op; what the ops say adds up to what the step says. */
static void test_json(void **state) {
    (void)state;
    qm_err e;
    const uint32_t depth[] = {0, 70};
    for (int kind = 0; kind < 2; kind++) { /* estimated, counted */
        qm_ops_opts o = {.depth = depth, .n_depth = 2, .format = QM_FORMAT_JSON};
        fix_text t = {0};
        if (!kind) fix_ok(qm_bench_predict_ops(fix_model("small"), "gb10", &o, fix_collect, &t, &e), &e);
        else {
            qm_engine *g = fix_engine("small", "graph");
            if (!qm_counters_here(g->dev)) {
                qm_engine_close(g);
                continue;
            }
            fix_ok(qm_bench_ops(g, &o, fix_collect, &t, &e), &e);
            qm_engine_close(g);
        }
        json_t *a = array_of(&t), *step = NULL, *j;
        size_t i;
        int steps = 0, ops = 0;
        double bytes = 0, kv = 0, insts = 0, time = 0;
        json_array_foreach (a, i, j) {
            if (!strcmp(str(j, "record"), "step")) {
                if (step) assert_int_equal(ops, (int)num(step, "ops"));
                step = j;
                steps++;
                ops = 0;
                bytes = kv = insts = time = 0;
                assert_non_null(json_object_get(step, "machine"));
                assert_int_equal(json_is_true(json_object_get(step, "estimate")), !kind);
                assert_int_equal(json_object_get(step, "chip") != NULL, !kind);
                continue;
            }
            assert_string_equal(str(j, "record"), "op");
            assert_int_equal((int)num(j, "i"), ops);
            assert_true(num(j, "depth") == num(step, "depth"));
            assert_int_equal(json_is_null(json_object_get(j, "time_ns")), kind);
            ops++;
            bytes += num(j, "weight_bytes");
            kv += num(j, "kv_bytes");
            insts += num(j, "thread_insts");
            time += num(j, "time_ns");
            if (ops < (int)num(step, "ops")) continue;
            assert_true(bytes == num(step, "weight_bytes") && kv == num(step, "kv_bytes") &&
                        insts == num(step, "thread_insts"));
            assert_true(fabs(time - num(step, "ops_ns")) < 0.1 * ops);
        }
        assert_int_equal(steps, 2);
        assert_int_equal(ops, (int)num(step, "ops"));
        json_decref(a);
        free(t.s);
    }
}

/* Tables say that they are estimates; CSV has one line an op and the same columns in each. */
static void test_texts(void **state) {
    (void)state;
    qm_err e;
    const uint32_t depth[] = {0, 200};
    const char *model = fix_model("small");
    qm_ops_opts o = {.depth = depth, .n_depth = 2, .format = QM_FORMAT_MD};
    fix_text t = {0};
    fix_ok(qm_bench_predict_ops(model, "all", &o, fix_collect, &t, &e), &e);
    assert_non_null(strstr(t.s, "ESTIMATES"));
    assert_int_equal(fix_lines(strstr(t.s, "|---")), 1 + 2 * qm_n_chips);
    free(t.s);
    t = (fix_text){0};
    o.by_kind = 1;
    fix_ok(qm_bench_predict_ops(model, "h200,rtx4090", &o, fix_collect, &t, &e), &e);
    int n = 0;
    for (const char *s = t.s; (s = strstr(s, "ESTIMATE: ")); s++) n++;
    assert_int_equal(n, 4);
    free(t.s);
    t = (fix_text){0};
    o.format = QM_FORMAT_CSV;
    fix_ok(qm_bench_predict_ops(model, "h200", &o, fix_collect, &t, &e), &e);
    int columns = 0, ops = fix_lines(t.s);
    char *save = NULL;
    for (char *l = strtok_r(t.s, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        int c = 1;
        for (char *s = l; *s; s++) c += *s == ',';
        if (!columns) columns = c;
        assert_int_equal(c, columns);
    }
    assert_true(ops % 2 == 1 && ops > 50);
    free(t.s);
}

static int full(void *user, const char *s, size_t n) {
    (void)s;
    (void)n;
    return --*(int *)user < 0;
}

static void test_refuses(void **state) {
    (void)state;
    qm_err e;
    const uint32_t depth[] = {0}, deep[] = {512};
    qm_ops_opts o = {.depth = depth, .n_depth = 1, .format = QM_FORMAT_JSON};
    fix_text t = {0};
    assert_int_equal(qm_bench_predict_ops(fix_model("small"), "rtx4090,voodoo2", &o, fix_collect, &t, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "voodoo2"));
    assert_non_null(strstr(e.msg, "gb10"));
    assert_null(t.s); /* before anything is written */
    assert_int_equal(qm_bench_predict_ops(fix_model("small"), "", &o, fix_collect, &t, &e), QM_ERR_ARG);
    assert_int_equal(qm_bench_predict_ops("/nowhere.gguf", "gb10", &o, fix_collect, &t, &e), QM_ERR_IO);
    int room = 3;
    assert_int_equal(qm_bench_predict_ops(fix_model("small"), "gb10", &o, full, &room, &e), QM_ERR_IO);
    o.depth = deep;
    assert_int_equal(qm_bench_predict_ops(fix_model("small"), "gb10", &o, fix_collect, &t, &e), QM_ERR_LIMIT);
    free(t.s);
}

/* A file of the shape alone: as large as the real one, hardly any disk, and readable. */
static void test_sparse(void **state) {
    (void)state;
    qm_err e;
    char path[256];
    const char *dir = getenv("QMOE_TEST_TMP");
    snprintf(path, sizeof path, "%s/qmoe-sparse-%ld.gguf", dir ? dir : "/tmp", (long)getpid());
    qm_synth_opts o = {.preset = "tiny", .seed = 7, .sparse = 1, .n_layers = 64, .n_expert = 128};
    fix_ok(qm_synth(path, &o, &e), &e);
    qm_gguf *g;
    int rc = qm_gguf_open(&g, path, &e);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    fix_ok(rc, &e);
    assert_true(st.st_size > 1000000000);
    assert_true((int64_t)st.st_blocks * 512 < st.st_size / 20);
    const qm_tensor *t = qm_gguf_tensor(g, "blk.63.ffn_down_exps.weight");
    assert_non_null(t);
    const uint8_t *b = t->data;
    for (uint64_t i = 0; i < t->bytes; i += 4096) assert_int_equal(b[i], 0);
    assert_int_equal(b[t->bytes - 1], 0);
    qm_gguf_close(g);
}

/* What a step of the 30B asks of a device beyond its weights, in the plan's geometry for each chip: instructions, bytes and sectors
 * (docs/decode.md, "What a step asks for"). They may fall; what lets them rise has to say here why. */
static void test_asked(void **state) {
    (void)state;
    static const struct {
        const char *chip;
        double insts, bytes, sectors; /* of all lanes, a weight; a byte of the weights, as are sectors of 32 */
    } most[] = {{"rtx4090", 1.584, 1.108, 1.109}, /* 8 a warp to make its policy for the L2 */
                {"h200", 1.599, 1.106, 1.106},
                {"gb10", 1.564, 1.103, 1.104},
                {"rtx5090", 1.639, 1.131, 1.132}};
    qm_err e;
    qm_predictor *p;
    const qm_op_records *r;
    fix_ok(qm_predictor_open(&p, NULL, NULL, &e), &e);
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        const qm_chip *c = qm_chip_find(most[i].chip, strlen(most[i].chip));
        fix_ok(qm_predictor_step(p, c, qm_work_decode(0), NULL, &r, &e), &e);
        double weights = 0;
        for (int k = 0; k < r->n_ops; k++) weights += (double)r->op[k].op->weights;
        const double insts = (double)r->total.thread_insts / weights, read = (double)r->weight_bytes,
                     bytes = (double)(r->total.load_bytes + r->total.store_bytes) / read,
                     sectors = 32.0 * (double)(r->total.load_sectors + r->total.store_sectors) / read;
        print_message("%s: %.4f thread instructions a weight; %.4f of the weights' bytes, %.4f in sectors\n",
                      most[i].chip, insts, bytes, sectors);
        if (insts > most[i].insts || bytes > most[i].bytes || sectors > most[i].sectors)
            fail_msg("%s: more than %.3f, %.3f, %.3f", most[i].chip, most[i].insts, most[i].bytes, most[i].sectors);
    }
    qm_predictor_close(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),      cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_paths),      cmocka_unit_test(test_counts_like_the_real),
        cmocka_unit_test(test_cache_type), cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_json),       cmocka_unit_test(test_texts),
        cmocka_unit_test(test_refuses),    cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_walked),     cmocka_unit_test(test_kept),
        cmocka_unit_test(test_dependent),  cmocka_unit_test(test_walked_range),
        cmocka_unit_test(test_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
