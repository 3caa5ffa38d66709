/* unit_sim_exec.c: control flow, barriers, votes, waves and the reports of what must not happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "simtext.h"

#define K SIMTEXT_HEAD SIMTEXT_ENTRY
static uint32_t o[65536];

static void runs(const char *ptx, uint32_t grid, uint32_t block, size_t n) {
    int rc = simtext_run(ptx, grid, block, 0, o, n);
    if (rc) fail_msg("fault %d: %s", rc, qm_sim_last_report());
}

static void faults(const char *ptx, uint32_t grid, uint32_t block, int coop, int code, const char *want) {
    int rc = simtext_run(ptx, grid, block, coop, o, 4096);
    if (rc != code) fail_msg("code %d, wanted %d (%s)", rc, code, qm_sim_last_report());
    if (!strstr(qm_sim_last_report(), want)) fail_msg("report `%s`, wanted `%s`", qm_sim_last_report(), want);
}

/* Lanes take different paths, some twice, and meet again: the shuffle behind needs all of them. */
static void divergence(void **state) {
    (void)state;
    runs(K ".reg .u32 v, m; .reg .pred p, q; and.b32 m, %lane, 3; setp.lt.u32 p, m, 2; @p bra A; setp.eq.u32 q, m, 3; "
           "@q bra B;\n"
           "mov.u32 v, 200; bra C; A: setp.eq.u32 q, m, 0; @q bra A0; mov.u32 v, 101; bra C; A0: mov.u32 v, 100; bra "
           "C; B: mov.u32 v, 203;\n"
           "C: shfl.sync.bfly.b32 v, v, 3, 31, -1;\n" SIMTEXT_PUT("v") "ret; }",
         1, 64, 64);
    static const uint32_t want[4] = {203, 200, 101, 100};
    for (int i = 0; i < 64; i++) assert_int_equal(o[i], want[i & 3]);
}

/* Trip counts by lane, a nested loop, an early exit, and a guarded exit. */
static void loops(void **state) {
    (void)state;
    runs(K ".reg .u32 i, j, s; .reg .pred p; mov.u32 s, 0; mov.u32 i, 0;\n"
           "L: mov.u32 j, 0; M: add.u32 s, s, 1; add.u32 j, j, 1; setp.le.u32 p, j, i; @p bra M; add.u32 i, i, 1; "
           "setp.le.u32 p, i, %lane; @p bra L;\n" SIMTEXT_PUT(
               "s") "setp.ge.u32 p, %lane, 16; @p exit; add.u32 s, s, 1000;\n" SIMTEXT_PUT("s") "ret; }",
         1, 32, 32);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(o[i], (i + 1) * (i + 2) / 2 + (i < 16 ? 1000 : 0));
}

static void branch_table_and_calls(void **state) {
    (void)state;
    runs(SIMTEXT_HEAD
         ".func (.reg .u32 r) f(.reg .u32 x) { .reg .pred p; setp.gt.u32 p, x, 5; @p bra big; add.u32 r, x, 10; ret; "
         "big: mul.lo.u32 r, x, 2; ret; }\n"
         ".func (.reg .u32 r) g(.reg .u32 x) { .reg .u32 a; call (a), f, (x); call (r), f, (a); ret; }\n" SIMTEXT_ENTRY
         ".reg .u32 i, v; .reg .pred p; and.b32 i, %lane, 3; T: .branchtargets T0, T1, T2, T3; brx.idx i, T;\n"
         "T0: mov.u32 v, 1; bra E; T1: mov.u32 v, 7; bra E; T2: mov.u32 v, 3; bra E; T3: mov.u32 v, 9;\n"
         "E: setp.ne.u32 p, i, 2; @p call (v), g, (v);\n" SIMTEXT_PUT("v") "ret; }",
         1, 32, 32);
    static const uint32_t want[4] = {22, 28, 3, 36}; /* f(f(1)) = 22, f(f(7)) = 28, 3, f(f(9)) = 36 */
    for (int i = 0; i < 32; i++) assert_int_equal(o[i], want[i & 3]);
}

/* Blocks side by side share the storage of their registers. Nobody else's is shared: of registers around them, of one that
 * is declared behind a block and lives while it runs again, of special ones, of a function that is called from a block;
 * and lanes that stand in different blocks have their own. */
static void blocks(void **state) {
    (void)state;
    runs(SIMTEXT_HEAD
         ".func (.reg .u32 r) f(.reg .u32 x) { { .reg .u32 y, z; add.u32 y, x, 1; add.u32 z, y, 1; add.u32 "
         "r, y, z; } ret; }\n" SIMTEXT_ENTRY ".reg .u32 i, s; .reg .pred p; mov.u32 i, 0; mov.u32 s, 5;\n"
         "L: { .reg .u32 a, b; .reg .pred q; mov.u32 a, 100; mov.u32 b, i; setp.ne.u32 q, a, b; @q add.u32 "
         "s, s, b; }\n"
         "{ .reg .u64 a; .reg .u32 c; mov.u32 c, 1; cvt.u64.u32 a, s; cvt.u32.u64 s, a; add.u32 s, s, c; }\n"
         ".reg .u32 kept; setp.eq.u32 p, i, 0; @p mov.u32 kept, 1000; add.u32 kept, kept, 1;\n"
         "add.u32 i, i, 1; setp.lt.u32 p, i, 4; @p bra L;\n"
         "{ .reg .u32 a, b; mov.u32 a, 20; call (b), f, (a); add.u32 s, s, a; add.u32 s, s, b; }\n"
         "add.u32 s, s, kept; { .reg .u32 a; mov.u32 a, %warpid; mad.lo.u32 s, a, 10000, s; }\n"
         "setp.lt.u32 p, %lane, 9; @p bra B;\n"
         "{ .reg .u32 a; mov.u32 a, 100000; nanosleep.u32 20; add.u32 s, s, a; } bra E;\n"
         "B: { .reg .u32 a; mov.u32 a, 200000; nanosleep.u32 20; add.u32 s, s, a; }\nE:\n" SIMTEXT_PUT("s") "ret; }",
         1, 64, 64);
    for (uint32_t i = 0; i < 64; i++) /* 5 + (0 + 1) + (1 + 1) + (2 + 1) + (3 + 1), 20 + f(20), 1004 */
        assert_int_equal(o[i], 15 + 20 + 43 + 1004 + i / 32 * 10000 + (i % 32 < 9 ? 200000 : 100000));
    char text[40000] = K ".reg .u32 s; mov.u32 s, 0;\n";
    for (int i = 0; i < 300; i++)
        strcat(text, "{ .reg .u32 a, b; mov.u32 a, %t; add.u32 b, a, 1; add.u32 s, s, b; }\n");
    strcat(text, SIMTEXT_PUT("s") "ret; }");
    sim_module *m = simtext_load(text);
    if (sim_func_n_regs(sim_module_func(m, "k")) > 20)
        fail_msg("%u registers, where 10 are alive at most", sim_func_n_regs(sim_module_func(m, "k")));
    sim_module_free(m);
    runs(text, 1, 32, 32);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(o[i], 300 * (i + 1));
}

/* What was made of a text serves the next who loads it: but memory of the module begins anew, two who have it at once have one
 * each, and whoever looks for unwritten bytes has registers apart. */
static void kept(void **state) {
    (void)state;
    static const char *const text =
        ".global .u32 n = 5;\n" SIMTEXT_ENTRY
        ".reg .u32 v; ld.global.u32 v, [n]; add.u32 v, v, 1; st.global.u32 [n], v;\n" SIMTEXT_PUT("v") "ret; }";
    char b[2000];
    snprintf(b, sizeof b, "%s%s", SIMTEXT_HEAD, text);
    for (int i = 0; i < 3; i++) {
        runs(b, 1, 1, 1);
        assert_int_equal(o[0], 6);
    }
    static const char *const plain = K "{ .reg .u32 a; mov.u32 a, 1; } { .reg .u32 a; mov.u32 a, 2; } ret; }";
    sim_module *m = simtext_load(plain), *two = simtext_load(plain), *again;
    const sim_func *first = sim_module_func(m, "k");
    assert_ptr_not_equal(first, sim_module_func(two, "k"));
    sim_module_free(m);
    assert_ptr_equal(sim_module_func(again = simtext_load(plain), "k"), first);
    const uint32_t shared = sim_func_n_regs(first);
    sim_module_free(again);
    static const char *const other = K "{ .reg .u32 a; mov.u32 a, 1; } { .reg .u32 a; mov.u32 a, 3; } ret; }";
    assert_ptr_not_equal(sim_module_func(again = simtext_load(other), "k"), first);
    sim_module_free(again);
    qm_sim_options was, opt;
    qm_sim_get_options(&was);
    opt = was;
    opt.check_uninit = !was.check_uninit;
    qm_sim_set_options(&opt);
    m = simtext_load(plain);
    qm_sim_set_options(&was);
    assert_int_equal(sim_func_n_regs(sim_module_func(m, "k")), was.check_uninit ? shared - 1 : shared + 1);
    sim_module_free(m);
    sim_module_free(two);
}

/* Neighbours' values cross warps through shared memory; a barrier with a reduction; a named barrier of two warps. */
static void barriers(void **state) {
    (void)state;
    runs(K ".shared .u32 s[128]; .reg .u32 a, b, v, c; .reg .pred p; mov.u32 b, s; shl.b32 a, %t, 2; add.u32 a, a, b; "
           "st.shared.u32 [a], %t;\n"
           "bar.sync 0; xor.b32 a, %t, 127; shl.b32 a, a, 2; add.u32 a, a, b; ld.shared.u32 v, [a]; setp.lt.u32 p, %t, "
           "40;\n"
           "bar.red.popc.u32 c, 0, p; mad.lo.u32 v, c, 1000, v; setp.ge.u32 p, %t, 64; @p bra S; bar.sync 3, 64; S: "
           "bar.red.or.pred p, 1, p; @p add.u32 v, v, 1000000;\n" SIMTEXT_PUT("v") "ret; }",
         1, 128, 128);
    for (uint32_t i = 0; i < 128; i++) assert_int_equal(o[i], (127 - i) + 40 * 1000 + 1000000);
    /* threads that have left are not waited for */
    runs(K ".reg .pred p; setp.ge.u32 p, %t, 70; @p exit; bar.sync 0;\n" SIMTEXT_PUT("%t") "ret; }", 1, 128, 128);
    assert_int_equal(o[69], 69);
    assert_int_equal(o[70], 0);
}

static void warp_ops(void **state) {
    (void)state;
    runs(K ".reg .u32 v, u; .reg .pred p, q; setp.lt.u32 p, %lane, 7; vote.sync.ballot.b32 v, p, -1; "
           "vote.sync.any.pred q, p, -1; @q add.u32 v, v, 1000;\n"
           "vote.sync.all.pred q, p, -1; @q add.u32 v, v, 5000; redux.sync.add.u32 u, %lane, -1; add.u32 v, v, u;\n"
           "@p activemask.b32 u; @p add.u32 v, v, u; shfl.sync.up.b32 u|q, %lane, 1, 0, -1; @!q add.u32 v, v, 70000;\n"
           "shr.u32 u, %lane, 3; match.any.sync.b32 u, u, -1; popc.b32 u, u; add.u32 v, v, u;\n" SIMTEXT_PUT(
               "v") "ret; }",
         1, 32, 32);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(o[i], 127 + 1000 + 496 + (i < 7 ? 127 : 0) + (i == 0 ? 70000 : 0) + 8);
    /* halves of a warp shuffle among themselves at one instruction, arriving apart */
    runs(K ".reg .u32 v, m; .reg .pred p; setp.lt.u32 p, %lane, 16; selp.b32 m, 0xffff, 0xffff0000, p; mov.u32 v, "
           "%lane; @p bra X; add.u32 v, v, 100;\n"
           "X: shfl.sync.bfly.b32 v, v, 1, 31, m;\n" SIMTEXT_PUT("v") "ret; }",
         1, 32, 32);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(o[i], (i ^ 1) + (i < 16 ? 0 : 100));
    /* bar.warp.sync may be met at two places */
    runs(K ".reg .pred p; .reg .u32 v; setp.lt.u32 p, %lane, 16; @p bra X; mov.u32 v, 1; bar.warp.sync -1; bra Y; X: "
           "mov.u32 v, 2; bar.warp.sync -1;\n"
           "Y:" SIMTEXT_PUT("v") "ret; }",
         1, 32, 32);
    assert_int_equal(o[0], 2);
    assert_int_equal(o[31], 1);
}

/* A lock taken by every lane in turn: the spinning lanes must let the holder go on. */
static void spin_locks(void **state) {
    (void)state;
    runs(K ".reg .u32 v, old; .reg .pred p; mov.u32 v, 0;\n"
           "T: atom.acquire.gpu.global.cas.b32 old, [%out+4], 0, 1; setp.ne.u32 p, old, 0; @p bra T;\n"
           "ld.global.u32 v, [%out]; add.u32 v, v, 1; st.global.u32 [%out], v; fence.acq_rel.gpu; "
           "atom.release.gpu.global.exch.b32 old, [%out+4], 0; ret; }",
         3, 96, 64);
    assert_int_equal(o[0], 3 * 96);
}

/* A grid barrier written by hand runs in a cooperative grid, on one host thread and on three. */
#define GRID_BARRIER                                                                                                   \
    K ".reg .u32 v, n; .reg .pred p; .reg .u64 a; mov.u32 n, %nctaid.x; mov.u32 v, %ctaid.x; setp.ne.u32 p, %t, 0; "   \
      "@p bra W;\n"                                                                                                    \
      "mad.wide.u32 a, v, 4, %out; add.u32 v, v, 5; st.global.u32 [a+256], v; atom.release.gpu.global.add.u32 v, "     \
      "[%out], 1;\n"                                                                                                   \
      "S: ld.acquire.gpu.global.u32 v, [%out]; setp.lt.u32 p, v, n; @p bra S; W: bar.sync 0;\n"                        \
      "mov.u32 v, %ctaid.x; add.u32 v, v, 1; rem.u32 v, v, n; mad.wide.u32 a, v, 4, %out; ld.global.u32 v, [a+256];\n" \
      "mov.u32 n, %ctaid.x; mad.wide.u32 a, n, 4, %out; setp.eq.u32 p, %t, 0; @p st.global.u32 [a+512], v; ret; }"
static void cooperative(void **state) {
    (void)state;
    qm_sim_options opt;
    qm_sim_get_options(&opt);
    opt.n_sm = 4;
    opt.count = opt.check_races = opt.check_uninit = 0;
    for (int th = 1; th <= 3; th++) {
        opt.threads = th;
        int rc = simtext_run_opt(GRID_BARRIER, 8, 64, 1, o, 1024, &opt, NULL);
        if (rc) fail_msg("threads %d: %s", th, qm_sim_last_report());
        for (uint32_t i = 0; i < 8; i++) assert_int_equal(o[128 + i], (i + 1) % 8 + 5);
    }
    /* too many CTAs cannot all be resident: refused; as an ordinary grid it hangs, and says where */
    opt.threads = 2;
    assert_int_equal(simtext_run_opt(GRID_BARRIER, 100, 1024, 1, o, 1024, &opt, NULL), SIM_LAUNCH_FAILED);
    assert_non_null(strstr(qm_sim_last_report(), "does not fit"));
    assert_int_equal(simtext_run_opt(GRID_BARRIER, 40, 1024, 0, o, 1024, &opt, NULL), SIM_DEADLOCK);
    assert_non_null(strstr(qm_sim_last_report(), "deadlock"));
    assert_non_null(strstr(qm_sim_last_report(), "lanes 0x00000001 runs at line 9")); /* the spinning loop */
    assert_non_null(strstr(qm_sim_last_report(), "waits in CTA at line 9 `bar.sync 0`"));
}

/* More threads than the host has cores, so that some of those with work are put aside by it while others find
 * nothing to do: waiting is not a deadlock as long as one of them can still move. */
static void waiting_is_no_deadlock(void **state) {
    (void)state;
    qm_sim_options opt;
    qm_sim_get_options(&opt);
    opt.n_sm = 4;
    opt.threads = 8;
    opt.count = opt.check_races = opt.check_uninit = 0;
    for (int i = 0; i < 150; i++) {
        int rc = simtext_run_opt(GRID_BARRIER, 8, 64, 1, o, 1024, &opt, NULL);
        if (rc) fail_msg("launch %d: %s", i, qm_sim_last_report());
    }
}

static void deadlocks(void **state) {
    (void)state;
    faults(K ".reg .pred p; setp.lt.u32 p, %t, 32; @p bar.sync 0, 128; ret; }", 1, 64, 0, SIM_DEADLOCK,
           "waits in CTA at line");
    faults(K ".reg .u32 v; .reg .pred p; L: ld.volatile.global.u32 v, [%out]; setp.eq.u32 p, v, 0; @p bra L; ret; }", 2,
           32, 1, SIM_DEADLOCK, "line");
    faults(K ".reg .pred p; setp.lt.u32 p, %lane, 16; @p bra X; bar.sync 0; bra Y; X: bar.sync 0; Y: ret; }", 1, 64, 0,
           SIM_LAUNCH_FAILED, "barrier divergence"); /* bar.sync is aligned: a warp comes whole, to one instruction */
}

static void barrier_divergence(void **state) {
    (void)state;
    faults(K ".reg .pred p; setp.lt.u32 p, %lane, 16; @p bra X; bar.sync 0; bar.sync 1; bra Y; X: bar.sync 1; bar.sync "
             "0; Y: ret; }",
           1, 32, 0, SIM_LAUNCH_FAILED, "barrier divergence");
}

static void absent_lanes(void **state) {
    (void)state;
    /* lane 5 leads a life of its own and then waits for a barrier: it never comes to the shuffle */
    faults(K ".reg .u32 v; .reg .pred p; setp.eq.u32 p, %lane, 5; @p bra X; shfl.sync.bfly.b32 v, %lane, 1, 31, -1; "
             "bra Y; X: bar.sync 0; Y: ret; }",
           1, 32, 0, SIM_DEADLOCK, "waits in warp");
    faults(K ".reg .u32 v; .reg .pred p; setp.eq.u32 p, %lane, 5; @p bra X; shfl.sync.bfly.b32 v, %lane, 1, 31, -1; "
             "bra Y; X: vote.sync.ballot.b32 v, p, -1; Y: ret; }",
           1, 32, 0, SIM_LAUNCH_FAILED, "never arrive");
    faults(K ".reg .u32 v; shfl.sync.bfly.b32 v, %lane, 1, 31, 0xffff; ret; }", 1, 32, 0, SIM_LAUNCH_FAILED,
           "does not hold the lane");
}

static void bad_addresses(void **state) {
    (void)state;
    faults(K "prefetch.global.L2 [%out + 1048576]; ret; }", 1, 32, 0, SIM_ILLEGAL_ADDRESS, "prefetch of 1 bytes");
    faults(K ".reg .u32 v; ld.global.u32 v, [%out+16384]; ret; }", 1, 1, 0, SIM_ILLEGAL_ADDRESS,
           "past the end of allocation");
    faults(K ".reg .u32 v; .reg .u64 a; mad.wide.u32 a, %t, 4, %out; st.global.u32 [a+16264], v; ret; }", 1, 32, 0,
           SIM_ILLEGAL_ADDRESS, "thread (30,0,0)");
    faults(K ".reg .u32 v; .reg .u64 a; mov.u64 a, 64; ld.global.u32 v, [a]; ret; }", 1, 32, 0, SIM_ILLEGAL_ADDRESS,
           "no allocation");
    faults(K ".shared .u32 s[8]; .reg .u32 v, a; mov.u32 a, s; ld.shared.u32 v, [a+32]; ret; }", 1, 32, 0,
           SIM_ILLEGAL_ADDRESS, "shared memory has 32 bytes");
    faults(K ".reg .b32 a, b, c, d; ld.global.v4.b32 {a, b, c, d}, [%out+4]; ret; }", 1, 32, 0, SIM_MISALIGNED,
           "misaligned: read of 16 bytes");
    faults(K ".shared .align 16 .u32 s[8]; .reg .b32 a, b, v; mov.u32 v, s; mul.lo.u32 a, %lane, 4; add.u32 v, v, a; "
             "ld.shared.v2.b32 {a, b}, [v]; ret; }",
           1, 4, 0, SIM_MISALIGNED, "misaligned");
    faults(K ".reg .u64 a; .reg .u32 v; cvta.global.u64 a, %out; ld.u32 v, [a+1]; ret; }", 1, 1, 0, SIM_MISALIGNED,
           "line 7");
    faults(K "trap; }", 1, 1, 0, SIM_TRAP, "trap");
    /* lanes that are switched off touch nothing */
    runs(K ".reg .u32 v; .reg .u64 a; .reg .pred p; mad.wide.u32 a, %t, 1024, %out; setp.lt.u32 p, %t, 4; @p "
           "st.global.u32 [a], %t; ret; }",
         1, 32, 1024);
    assert_int_equal(o[768], 3);
}

/* Where a CTA runs: each multiprocessor takes one in turn; a seed draws who begins, and which CTA comes when. */
static void placement(void **state) {
    (void)state;
    qm_sim_options opt;
    qm_sim_get_options(&opt);
    opt.threads = 1;
    opt.n_sm = 5;
    opt.count = opt.check_races = opt.check_uninit = 0;
    uint32_t differ = 0, late = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        opt.sched_seed = seed * 1001;
        uint32_t of_sm[5] = {0};
        int rc = simtext_run_opt(
            K ".reg .u32 c, v; .reg .u64 a; mov.u32 c, %ctaid.x; mad.wide.u32 a, c, 4, %out; mov.u32 v, %smid;\n"
              "st.global.u32 [a], v; atom.global.add.u32 v, [%out+128], 1; st.global.u32 [a+256], v; ret; }",
            15, 1, 0, o, 1024, &opt, NULL);
        if (rc) fail_msg("%s", qm_sim_last_report());
        for (uint32_t c = 0; c < 15; c++) {
            assert_true(o[c] < 5);
            of_sm[o[c]]++;
            differ += o[c] != c % 5;
            late += o[64 + c] != c;
            if (!seed) assert_true(o[c] == c % 5 && o[64 + c] == c);
        }
        for (int k = 0; k < 5; k++) assert_int_equal(of_sm[k], 3);
    }
    assert_true(differ > 19 * 15 / 2 && late > 19 * 15 / 2);
}

/* Waves: more CTAs than fit run all the same, on any number of threads, with the same counters. */
static void many_ctas(void **state) {
    (void)state;
    qm_sim_options opt;
    qm_sim_get_options(&opt);
    opt.check_races = opt.check_uninit = 0;
    opt.count = 1;
    uint64_t insts = 0, lanes = 0;
    for (int run = 0; run < 6; run++) {
        qm_sim_counters c = {0};
        opt.threads = 1 + run % 3;
        opt.sched_seed = run >= 3 ? 12345 : 0;
        int rc = simtext_run_opt(
            K ".reg .u32 i, v, n; .reg .u64 a; .reg .pred p; mov.u32 i, %ctaid.x; mov.u32 n, %ntid.x; mad.lo.u32 i, i, "
              "n, %t; mov.u32 v, 0;\n"
              "mov.u32 n, 0; L: mad.lo.u32 v, v, 31, i; add.u32 n, n, 1; setp.lt.u32 p, n, 200; @p bra L;\n"
              "mad.wide.u32 a, i, 4, %out; st.global.u32 [a], v; ret; }",
            500, 128, 0, o, 64000, &opt, &c);
        if (rc) fail_msg("%s", qm_sim_last_report());
        for (uint32_t i = 0; i < 64000; i += 997) {
            uint32_t v = 0;
            for (int k = 0; k < 200; k++) v = v * 31 + i;
            assert_int_equal(o[i], v);
        }
        if (!run) insts = c.warp_insts, lanes = c.thread_insts;
        assert_int_equal(c.warp_insts, insts);
        assert_int_equal(c.thread_insts, lanes);
        assert_int_equal(lanes, insts * 32 - 64000); /* the last `@p bra` of each thread is off */
    }
}

static void bad_launches(void **state) {
    (void)state;
    assert_int_equal(simtext_run(SIMTEXT_HEAD ".visible .entry k(.param .u64 p) .maxntid 64 { ret; }", 1, 65, 0, o, 1),
                     SIM_LAUNCH_FAILED);
    assert_int_equal(simtext_run(SIMTEXT_HEAD ".visible .entry k(.param .u64 p) .reqntid 64 { ret; }", 1, 32, 0, o, 1),
                     SIM_LAUNCH_FAILED);
    assert_int_equal(simtext_run(SIMTEXT_HEAD ".visible .entry k(.param .u64 p) { ret; }", 1, 1025, 0, o, 1),
                     SIM_LAUNCH_FAILED);
}

/* A copy's bytes are stale until its wait. */
static void async_copies(void **state) {
    (void)state;
    runs(K ".shared .align 16 .b32 s[64]; .reg .u32 b, v, w; .reg .u64 a; mad.wide.u32 a, %t, 4, %out; add.u32 v, %t, "
           "7; st.global.u32 [a+512], v;\n"
           "mov.u32 b, s; mad.lo.u32 b, %t, 4, b; mov.u32 v, 1; st.shared.u32 [b], v; cp.async.ca.shared.global [b], "
           "[a+512], 4; cp.async.commit_group;\n"
           "ld.shared.u32 v, [b]; cp.async.wait_group 0; ld.shared.u32 w, [b]; mad.lo.u32 v, v, 1000, w;\n" SIMTEXT_PUT(
               "v") "ret; }",
         1, 32, 1024);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(o[i], 1000 + i + 7);
}

/* Local memory is a lane's own, whether all lanes name one place of it or each its own, all of them or a few; beyond it
 * is a fault. */
static void local_memory(void **state) {
    (void)state;
#define LOCAL                                                                                            \
    K ".local .align 16 .b8 m[64]; .reg .u32 b, c, d, e, v, w; .reg .u64 at, q, r; .reg .pred p, few;\n" \
      "add.u32 b, %t, 100; add.u32 c, %t, 200; add.u32 d, %t, 300; add.u32 e, %t, 400; setp.lt.u32 few, %t, 5;\n"
    runs(LOCAL
         "st.local.v4.u32 [m], {b, c, d, e}; st.local.v2.u32 [m+16], {d, c}; st.local.u32 [m+24], e;\n"
         "cvt.u64.u32 q, b; shl.b64 q, q, 32; cvt.u64.u32 r, e; st.local.u64 [m+32], q; st.local.v2.u64 [m+48], {r, "
         "q};\n"
         "@few st.local.v4.u32 [m], {e, d, c, b}; @few st.local.u64 [m+32], r;\n"
         "ld.local.v4.u32 {b, c, d, e}, [m]; mad.lo.u32 v, b, 3, c; mad.lo.u32 v, v, 3, d; mad.lo.u32 v, v, 3, e;\n"
         "mov.u64 at, m; and.b32 b, %t, 3; mad.wide.u32 at, b, 4, at; ld.local.u32 w, [at+16]; mad.lo.u32 v, v, 3, w;\n"
         "@few ld.local.v2.u32 {b, c}, [m+16]; mad.lo.u32 v, v, 3, b; ld.local.u64 q, [m+32]; shr.u64 r, q, 32; "
         "add.u64 q, q, r;\n"
         "cvt.u32.u64 w, q; mad.lo.u32 v, v, 3, w; ld.local.v2.u64 {q, r}, [m+48]; shr.u64 r, r, 30; add.u64 q, q, r;\n"
         "cvt.u32.u64 w, q; mad.lo.u32 v, v, 3, w;\n" SIMTEXT_PUT("v") "ret; }",
         1, 32, 1024);
    for (uint32_t t = 0; t < 32; t++) {
        const uint32_t few = t < 5, b = t + 100, c = t + 200, d = t + 300, e = t + 400;
        const uint32_t m[8] = {few ? e : b, few ? d : c, few ? c : d, few ? b : e, d, c, e, 0xa5a5a5a5u};
        uint32_t v = ((m[0] * 3 + m[1]) * 3 + m[2]) * 3 + m[3];
        v = v * 3 + m[4 + (t & 3)];
        v = v * 3 + (few ? m[4] : t & 3);
        v = v * 3 + (few ? e : b);
        v = v * 3 + e + 4 * b;
        if (o[t] != v) fail_msg("lane %u: %u, not %u", t, o[t], v);
    }
    assert_int_equal(simtext_run(LOCAL "ld.local.v4.u32 {b, c, d, e}, [m+64]; ret; }", 1, 32, 0, o, 1),
                     SIM_ILLEGAL_ADDRESS);
    assert_int_equal(simtext_run(LOCAL "ld.local.v4.u32 {b, c, d, e}, [m+8]; ret; }", 1, 32, 0, o, 1), SIM_MISALIGNED);
}

/* Bytes asked for by each policy are counted; a value that createpolicy did not make is none. */
static void policies(void **state) {
    (void)state;
    qm_sim_options opt;
    qm_sim_counters c = {0};
    qm_sim_get_options(&opt);
    opt.threads = 1;
    opt.count = 1;
#define HINT ".L1::no_allocate.L2::cache_hint.L2::128B"
#define POLICIES                                                                                                  \
    K ".reg .u64 f, l, n, at; .reg .u32 a, b, d, e; createpolicy.fractional.L2::evict_first.b64 f, 1.0;\n"        \
      "createpolicy.fractional.L2::evict_last.b64 l, 1.0; createpolicy.fractional.L2::evict_normal.b64 n, 1.0;\n" \
      "mad.wide.u32 at, %t, 16, %out;\n"
    assert_int_equal(
        simtext_run_opt(POLICIES "ld.global" HINT ".v4.u32 {a, b, d, e}, [at], f; ld.global" HINT ".u32 a, [at], l;\n"
                                 "ld.global" HINT ".v4.u32 {a, b, d, e}, [at], n; ld.global.u32 a, [at]; ret; }",
                        1, 32, 0, o, 128, &opt, &c),
        0);
    assert_true(c.first_bytes == 512 && c.last_bytes == 128 && c.gld_bytes == 2 * 512 + 2 * 128);
    assert_int_equal(simtext_run_opt(POLICIES "add.u64 f, f, %out; ld.global" HINT ".u32 a, [at], f; ret; }", 1, 32, 0,
                                     o, 128, &opt, &c),
                     SIM_ILLEGAL_INSTRUCTION);
    assert_non_null(strstr(qm_sim_last_report(), "is not one that createpolicy made"));
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test(policies),     cmocka_unit_test(divergence),
        cmocka_unit_test(loops),        cmocka_unit_test(branch_table_and_calls),
        cmocka_unit_test(blocks),       cmocka_unit_test(kept),
        cmocka_unit_test(barriers),     cmocka_unit_test(warp_ops),
        cmocka_unit_test(spin_locks),   cmocka_unit_test(cooperative),
        cmocka_unit_test(local_memory), cmocka_unit_test(waiting_is_no_deadlock),
        cmocka_unit_test(deadlocks),    cmocka_unit_test(barrier_divergence),
        cmocka_unit_test(absent_lanes), cmocka_unit_test(bad_addresses),
        cmocka_unit_test(placement),    cmocka_unit_test(many_ctas),
        cmocka_unit_test(bad_launches), cmocka_unit_test(async_copies),
    };
    return cmocka_run_group_tests_name("sim_exec", t, NULL, NULL);
}
