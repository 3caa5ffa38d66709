/* The software device's checks: each planted bug is caught and named, and the correct kernel beside it
 * stays quiet. Races are judged by what orders two accesses, not by what sim happened to do first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/device/cuda.h"
#include "../../runtime/sim/sim.h"

static qm_device *g_dev;

#define HEAD ".version 7.4\n.target sm_80\n.address_size 64\n"
/* %tid in %t, %ctaid in %c, the buffer in %p, this thread's word of it in %q, of shared memory in %s */
#define BEGIN(shared)                                                                                                 \
    HEAD ".visible .entry k(.param .u64 buf)\n{\n.reg .b64 %p, %q, %z;\n.reg .b32 %t, %c, %n, %s, %a, %b, %d, %i;\n"  \
         ".reg .pred %x, %y;\n.shared .align 16 .b8 sh[" #shared "];\nld.param.u64 %p, [buf];\nmov.u32 %t, %tid.x;\n" \
         "mov.u32 %c, %ctaid.x;\nmov.u32 %n, %ntid.x;\nmov.u32 %s, sh;\nmad.lo.u32 %s, %t, 4, %s;\nmad.lo.u32 %i, "   \
         "%c, %n, %t;\n"                                                                                              \
         "mad.wide.u32 %q, %i, 4, %p;\n"
#define END "ret;\n}\n"

/* Runs k<<<grid, block>>> on a fresh buffer of `bytes` (zeroed if zero); returns the device's report, or "". */
static const char *run(const char *ptx, unsigned grid, unsigned block, size_t bytes, int zero, int races, int uninit) {
    static char report[4096];
    qm_cuda *cu = &g_dev->cu;
    qm_sim_options o, was;
    CUmodule m;
    CUfunction f;
    CUdeviceptr p;
    char log[1024] = "";
    CUjit_option jo[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *jv[] = {log, (void *)(uintptr_t)sizeof log};
    qm_sim_get_options(&was);
    o = was;
    o.check_races = races;
    o.check_uninit = uninit;
    qm_sim_set_options(&o);
    if (cu->ModuleLoadDataEx(&m, ptx, 2, jo, jv)) fail_msg("%s", log);
    assert_int_equal(cu->ModuleGetFunction(&f, m, "k"), CUDA_SUCCESS);
    assert_int_equal(cu->MemAlloc(&p, bytes), CUDA_SUCCESS);
    if (zero) assert_int_equal(cu->MemsetD8Async(p, 0, bytes, NULL), CUDA_SUCCESS);
    CUresult r = cu->LaunchKernel(f, grid, 1, 1, block, 1, 1, 0, NULL, (void *[]){&p}, NULL);
    snprintf(report, sizeof report, "%s", r ? qm_sim_last_report() : "");
    qm_sim_set_options(&was);
    if (r) { /* the context is lost: take a fresh one */
        CUcontext c;
        assert_int_equal(r, CUDA_ERROR_LAUNCH_FAILED);
        assert_int_equal(cu->DevicePrimaryCtxRelease(0), CUDA_SUCCESS);
        assert_int_equal(cu->DevicePrimaryCtxRetain(&c, 0), CUDA_SUCCESS);
        assert_int_equal(cu->CtxSetCurrent(c), CUDA_SUCCESS);
        g_dev->ctx = c;
    } else {
        assert_int_equal(cu->MemFree(p), CUDA_SUCCESS);
        assert_int_equal(cu->ModuleUnload(m), CUDA_SUCCESS);
    }
    return report;
}
static void quiet(const char *what, const char *report) {
    if (*report) fail_msg("%s: %s", what, report);
}
static void says(const char *what, const char *report, const char *a, const char *b) {
    if (!*report) fail_msg("%s: not caught", what);
    if (!strstr(report, a) || !strstr(report, b))
        fail_msg("%s: the report names no '%s' and '%s': %s", what, a, b, report);
}
#define RACE(ptx, grid, block) run(ptx, grid, block, 4096, 1, 1, 0)

/* Sum of a CTA's values by halving, as everyone writes it. sync: what stands between the steps. */
#define REDUCE(first, sync)                                                                                            \
    BEGIN(512)                                                                                                         \
    "st.shared.u32 [%s], %t;\n" first "mov.u32 %d, 64;\nL_step:\nsetp.lt.u32 %x, %t, %d;\n@!%x bra L_wait;\n"          \
    "mad.lo.u32 %a, %d, 4, %s;\nld.shared.u32 %b, [%a];\nld.shared.u32 %a, [%s];\nadd.u32 %a, %a, %b;\nst.shared.u32 " \
    "[%s], %a;\n"                                                                                                      \
    "L_wait:\n" sync "shr.u32 %d, %d, 1;\nsetp.ne.u32 %y, %d, 0;\n@%y bra L_step;\nld.shared.u32 %a, "                 \
    "[sh];\nst.global.u32 [%q], %a;\n" END

static void test_barrier_reduction(void **state) {
    (void)state;
    quiet("reduction", RACE(REDUCE("bar.sync 0;\n", "bar.sync 0;\n"), 2, 128));
    says("no first barrier", RACE(REDUCE("", "bar.sync 0;\n"), 1, 128), "race in k at shared offset", "write at line");
    says("no barrier between the steps", RACE(REDUCE("bar.sync 0;\n", "bar.warp.sync -1;\n"), 1, 128), "race", "read");
}

/* A warp exchanges through shared memory; lanes are not in lockstep. */
#define WARP_SWAP(sync)                                                                                 \
    BEGIN(256)                                                                                          \
    "st.shared.u32 [%s], %t;\n" sync "xor.b32 %a, %t, 1;\nmov.u32 %b, sh;\nmad.lo.u32 %b, %a, 4, %b;\n" \
    "ld.shared.u32 %d, [%b];\nst.global.u32 [%q], %d;\n" END
static void test_warp(void **state) {
    (void)state;
    quiet("bar.warp.sync", RACE(WARP_SWAP("bar.warp.sync -1;\n"), 1, 64));
    says("no sync", RACE(WARP_SWAP(""), 1, 64), "thread 0", "thread 1");
    says("a shuffle orders no memory", RACE(WARP_SWAP("shfl.sync.idx.b32 %a, %t, 0, 31, -1;\n"), 1, 32), "race",
         "shared offset");
    quiet("half masks, even and odd pairs stay within",
          RACE(WARP_SWAP("setp.lt.u32 %x, %t, 16;\n@%x bra L_lo;\nbar.warp.sync 0xffff0000;\nbra "
                         "L_on;\nL_lo:\nbar.warp.sync 0x0000ffff;\nL_on:\n"),
               1, 32));
}

/* Lanes of one instruction that store to one word. */
static void test_same_instruction(void **state) {
    (void)state;
    says("32 lanes, one word", RACE(BEGIN(16) "st.global.u32 [%p], %t;\n" END, 1, 32), "lanes of one warp instruction",
         "allocation #");
    quiet("atomics on one word", RACE(BEGIN(16) "red.global.add.u32 [%p], 1;\n" END, 4, 64));
    says("a plain store beside atomics",
         RACE(BEGIN(16) "red.global.add.u32 [%p], 1;\nsetp.eq.u32 %x, %i, 5;\n@%x st.global.u32 [%p], 0;\n" END, 4, 64),
         "atomic at line", "write at line");
    quiet("bytes of one word",
          RACE(BEGIN(16) "cvt.u64.u32 %z, %i;\nadd.u64 %z, %p, %z;\nst.global.u8 [%z], %t;\n" END, 2, 64));
    says("a byte and its word",
         RACE(BEGIN(
                  16) "cvt.u64.u32 %z, %i;\nadd.u64 %z, %p, %z;\nst.global.u8 [%z], %t;\nld.global.u32 %a, [%p];\n" END,
              1, 32),
         "write at line", "read at line");
}

/* The last CTA to finish sums what all wrote. release and acquire are the two halves of the pattern. */
#define LAST_DONE(release, atom, acquire)                                                                         \
    BEGIN(16)                                                                                                     \
    "add.u64 %q, %q, 64;\nst.global.u32 [%q], %i;\nbar.sync 0;\nsetp.ne.u32 %x, %t, 0;\n@%x bra L_end;\n" release \
    "mov.u32 %d, %nctaid.x;\nsub.u32 %d, %d, 1;\n" atom                                                           \
    " %a, [%p], 1;\nsetp.ne.u32 %x, %a, %d;\n@%x bra L_end;\n" acquire                                            \
    "mov.u32 %b, 0;\nmov.u32 %d, 0;\nadd.u64 %z, %p, 64;\nL_sum:\nld.global.u32 %a, [%z];\nadd.u32 %b, %b, "      \
    "%a;\nadd.u64 %z, %z, 4;\n"                                                                                   \
    "add.u32 %d, %d, 1;\nsetp.lt.u32 %y, %d, 128;\n@%y bra L_sum;\nst.global.u32 [%p+4], %b;\nL_end:\n" END
static void test_last_cta(void **state) {
    (void)state;
    quiet("fence, atomic, fence",
          RACE(LAST_DONE("fence.acq_rel.gpu;\n", "atom.global.add.u32", "fence.acq_rel.gpu;\n"), 4, 32));
    quiet("membar.gl", RACE(LAST_DONE("membar.gl;\n", "atom.global.add.u32", "membar.gl;\n"), 4, 32));
    quiet("acq_rel atomic", RACE(LAST_DONE("", "atom.acq_rel.gpu.global.add.u32", ""), 4, 32));
    says("no fence before", RACE(LAST_DONE("", "atom.global.add.u32", "fence.acq_rel.gpu;\n"), 4, 32), "write at line",
         "read at line");
    says("no fence after", RACE(LAST_DONE("fence.acq_rel.gpu;\n", "atom.global.add.u32", ""), 4, 32), "write at line",
         "read at line");
    says("atomics of one CTA's scope", RACE(LAST_DONE("", "atom.acq_rel.cta.global.add.u32", ""), 4, 32), "CTA",
         "with nothing that orders");
    says("fences of one CTA's scope",
         RACE(LAST_DONE("fence.acq_rel.cta;\n", "atom.global.add.u32", "fence.acq_rel.cta;\n"), 4, 32), "CTA 0",
         "CTA 3");
}

/* Counts by atomics, which the last CTA to come reads with plain loads: the words' last writer is not the only one that it
 * must have heard of, and that may well have been itself. */
#define HISTOGRAM(count, hello, read)                                                                                 \
    BEGIN(16)                                                                                                         \
    "and.b32 %a, %t, 7;\nmad.wide.u32 %z, %a, 4, %p;\n" count "bar.sync 0;\nsetp.ne.u32 %x, %t, 0;\n@%x bra L_end;\n" \
    "mov.u32 %d, %nctaid.x;\nsub.u32 %d, %d, 1;\n" hello " %a, [%p], 1;\nsetp.ne.u32 %x, %a, %d;\n@%x bra L_end;\n"   \
    "mov.u32 %b, 0;\nadd.u64 %z, %p, 64;\nL_sum:\n" read                                                              \
    " %a, [%z];\nst.global.u32 [%z+64], %a;\nadd.u64 %z, %z, 4;\n"                                                    \
    "add.u32 %b, %b, 1;\nsetp.lt.u32 %y, %b, 8;\n@%y bra L_sum;\nL_end:\n" END
#define COUNT "red.relaxed.gpu.global.add.u32 [%z+64], 1;\n"
static void test_histogram(void **state) {
    (void)state;
    quiet("an acq_rel counter", RACE(HISTOGRAM(COUNT, "atom.acq_rel.gpu.global.add.u32", "ld.global.u32"), 4, 64));
    says("a relaxed counter", RACE(HISTOGRAM(COUNT, "atom.relaxed.gpu.global.add.u32", "ld.global.u32"), 4, 64),
         "strong atomic at line", "CTA 3 thread 0");
    says("a release counter", RACE(HISTOGRAM(COUNT, "atom.release.gpu.global.add.u32", "ld.global.u32"), 4, 64),
         "strong atomic at line", "read at line");
    says("only the other CTAs are missed",
         RACE(HISTOGRAM(COUNT, "atom.acq_rel.cta.global.add.u32", "ld.global.u32"), 2, 64), "CTA 0", "CTA 1");
    quiet("strong reads need no more",
          RACE(HISTOGRAM(COUNT, "atom.relaxed.gpu.global.add.u32", "ld.relaxed.gpu.global.u32"), 4, 64));
    /* a store by one who has heard of all stands for what was before it; one who has not does not */
    says("a weak write, then a strong one, then a strong read that heard of the strong one only",
         RACE(BEGIN(16) "setp.ne.u32 %x, %t, 0;\n@%x bra L_end;\nsetp.eq.u32 %y, %c, 0;\n@!%y bra L_read;\n"
                        "st.global.u32 [%p+64], 1;\nst.relaxed.gpu.global.u32 [%p+64], 2;\nbra L_end;\n"
                        "L_read:\nld.relaxed.gpu.global.u32 %a, [%p+64];\nsetp.ne.u32 %y, %a, 2;\n@%y bra "
                        "L_read;\nL_end:\n" END,
              2, 32),
         "write at line", "strong read at line");
}

/* A message from CTA 0 to CTA 1 through a flag (both resident: 2 CTAs). */
#define MESSAGE(store, load)                                                                                          \
    BEGIN(16)                                                                                                         \
    "setp.ne.u32 %x, %c, 0;\n@%x bra L_reader;\nst.global.u32 [%p+128], 7;\n" store                                   \
    " [%p], 1;\nbra L_end;\nL_reader:\n" load " %a, [%p];\nsetp.eq.u32 %y, %a, 0;\n@%y bra L_reader;\nld.global.u32 " \
    "%b, [%p+128];\nst.global.u32 [%p+256], %b;\nL_end:\n" END
static void test_message(void **state) {
    (void)state;
    quiet("release, acquire", RACE(MESSAGE("st.release.gpu.global.u32", "ld.acquire.gpu.global.u32"), 2, 1));
    quiet("fence and relaxed store, acquire",
          RACE(MESSAGE("fence.acq_rel.gpu;\nst.relaxed.gpu.global.u32", "ld.acquire.gpu.global.u32"), 2, 1));
    says("relaxed store", RACE(MESSAGE("st.relaxed.gpu.global.u32", "ld.acquire.gpu.global.u32"), 2, 1), "offset 128",
         "CTA 0");
    says("relaxed load", RACE(MESSAGE("st.release.gpu.global.u32", "ld.relaxed.gpu.global.u32"), 2, 1), "offset 128",
         "CTA 1");
    says("a volatile flag", RACE(MESSAGE("st.volatile.global.u32", "ld.volatile.global.u32"), 2, 1), "offset 128",
         "read");
    says("a plain flag", RACE(MESSAGE("st.global.u32", "ld.global.cv.u32"), 2, 1), "race", "CTA 1");
}

/* A grid barrier: every thread's write is seen by every thread after it; and a buffer used again after the next. */
#define GRID_SYNC(n)                                                                                                 \
    "bar.sync 0;\nsetp.ne.u32 %x, %t, 0;\n@%x bra L_wait" #n ";\nred.release.gpu.global.add.u32 [%p], 1;\nL_spin" #n \
    ":\n"                                                                                                            \
    "ld.acquire.gpu.global.u32 %a, [%p];\nsetp.lt.u32 %y, %a, " #n ";\n@%y bra L_spin" #n ";\nL_wait" #n             \
    ":\nbar.sync 0;\n"
static void test_grid_barrier(void **state) {
    (void)state;
    quiet("grid barrier", RACE(BEGIN(16) "st.global.u32 [%q+64], %t;\n" GRID_SYNC(
                                   2) "xor.b32 %d, %i, 100;\nmad.wide.u32 %z, %d, 4, %p;\nld.global.u32 %b, "
                                      "[%z+64];\n" GRID_SYNC(4) "st.global.u32 [%q+64], %b;\n" END,
                               2, 64));
    says("written again without the second barrier",
         RACE(BEGIN(16) "st.global.u32 [%q+64], %t;\n" GRID_SYNC(
                  2) "xor.b32 %d, %i, 100;\nmad.wide.u32 %z, %d, 4, %p;\nld.global.u32 %b, [%z+64];\nst.global.u32 "
                     "[%q+64], %b;\n" END,
              2, 64),
         "read at line", "write at line");
}

/* A read through the non-coherent cache of what the launch writes is wrong however well ordered. */
static void test_non_coherent(void **state) {
    (void)state;
    const char *st = "st.global.u32 [%q], %t;\n", *ld = "ld.global.nc.u32 %a, [%q];\n", *bar = "bar.sync 0;\n";
    char ptx[2048];
#define ORDER(a, b, c) (snprintf(ptx, sizeof ptx, "%s%s%s%s%s", BEGIN(16), a, b, c, END), ptx)
    says("written, then read", RACE(ORDER(st, bar, ld), 1, 32), "non-coherent", "read at line");
    says("read, then written", RACE(ORDER(ld, bar, st), 2, 32), "non-coherent", "write at line");
    says("read, then counted", RACE(ORDER(ld, bar, "red.global.add.u32 [%q], 1;\n"), 1, 32), "non-coherent",
         "atomic at line");
    says("ldu", RACE(ORDER(st, bar, "ldu.global.u32 %a, [%q];\n"), 1, 32), "non-coherent", "read at line");
    says("a byte of the word", RACE(ORDER("st.global.u8 [%q+3], %t;\n", bar, ld), 1, 32), "non-coherent",
         "read at line");
    says("a grid barrier between",
         RACE(BEGIN(16) "st.global.u32 [%q+64], %t;\n" GRID_SYNC(
                  2) "xor.b32 %d, %i, 100;\nmad.wide.u32 %z, %d, 4, %p;\nld.global.nc.u32 %b, [%z+64];\n" END,
              2, 64),
         "non-coherent", "read at line");
    quiet("another word", RACE(ORDER("st.global.u32 [%q+2048], %t;\n", bar, ld), 4, 32));
    quiet("the byte beside it", RACE(ORDER("st.global.u8 [%q+3], %t;\n", bar, "ld.global.nc.u8 %a, [%q+2];\n"), 4, 32));
    quiet("read by all, written by none",
          RACE(ORDER("ld.global.u32 %a, [%p];\n", "", "ld.global.nc.u32 %a, [%p];\n"), 4, 64));
}

/* Producer and consumer warps on a named barrier. */
#define NAMED(arrive, wait)                                                                                   \
    BEGIN(256)                                                                                                \
    "setp.ge.u32 %x, %t, 32;\n@%x bra L_take;\nst.shared.u32 [%s], %t;\n" arrive "bra L_end;\nL_take:\n" wait \
    "ld.shared.u32 %a, [%s+-128];\nst.global.u32 [%q], %a;\nL_end:\n" END
static void test_named_barrier(void **state) {
    (void)state;
    quiet("arrive and sync", RACE(NAMED("bar.arrive 1, 64;\n", "bar.sync 1, 64;\n"), 1, 64));
    says("different barriers", RACE(NAMED("", ""), 1, 64), "race", "shared offset");
    says("arriving does not wait",
         RACE(BEGIN(256) "setp.ge.u32 %x, %t, 32;\n@%x bra L_take;\nbar.arrive 1, 64;\nld.shared.u32 %a, "
                         "[%s+128];\nbra L_end;\nL_take:\n"
                         "st.shared.u32 [%s], %t;\nbar.sync 1, 64;\nL_end:\n" END,
              1, 64),
         "race", "shared offset");
}

/* 64 threads meet at an mbarrier instead of bar.sync. */
#define MBARRIER(meet)                                                                                                \
    BEGIN(264)                                                                                                        \
    "setp.eq.u32 %x, %t, 0;\n@%x mbarrier.init.shared.b64 [sh+256], 64;\nbar.sync 0;\nst.shared.u32 [%s], %t;\n" meet \
    "xor.b32 %a, %t, 63;\nmov.u32 %b, sh;\nmad.lo.u32 %b, %a, 4, %b;\nld.shared.u32 %d, [%b];\nst.global.u32 [%q], "  \
    "%d;\n" END
#define MEET(order)                                                               \
    "mbarrier.arrive.shared.b64 %z, [sh+256];\nL_wait:\nmbarrier.test_wait" order \
    ".shared.b64 %y, [sh+256], %z;\n@!%y bra L_wait;\n"
static void test_mbarrier(void **state) {
    (void)state;
    quiet("arrive and wait", run(MBARRIER(MEET("")), 2, 64, 4096, 1, 1, 1));
    says("arrive alone", RACE(MBARRIER("mbarrier.arrive.shared.b64 %z, [sh+256];\n"), 1, 64), "race", "shared offset");
}

/* cp.async: the copy counts as made by its thread at its wait. */
#define COPY(wait)                                                                                    \
    BEGIN(1024)                                                                                       \
    "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %q, %i, 16, %p;\ncp.async.cg.shared.global [%s], [%q], " \
    "16;\ncp.async.commit_group;\n" wait                                                              \
    "xor.b32 %a, %t, 63;\nmad.lo.u32 %a, %a, 16, 0;\nld.shared.u32 %d, [%a];\nst.global.u32 [%q+2048], %d;\n" END
#define COPY_OF(before, after)                                         \
    BEGIN(1024)                                                        \
    "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %z, %t, 16, %p;\n" before \
    "cp.async.cg.shared.global [%s], [%z], 16;\n" after END
/* Four steps over two buffers: each step copies for the next but one, having waited until `keep` groups are under way;
 * all threads read what other warps copied. free: what comes between the reads of a buffer and the next copy into it. */
#define STEP(at, keep, free)                                                            \
    "cp.async.wait_group " keep ";\nbar.sync 0;\nld.shared.u32 %d, [%a+" at "];\n" free \
    "cp.async.cg.shared.global [%s+" at "], [%z], 16;\ncp.async.commit_group;\n"
#define STAGES(keep, free)                                                                                      \
    BEGIN(2048)                                                                                                 \
    "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %z, %t, 16, %p;\nxor.b32 %a, %t, 63;\nmad.lo.u32 %a, %a, 16, 0;\n" \
    "st.shared.u32 [%s], %t;\nst.shared.u32 [%s+1024], %t;\n"                                                   \
    "cp.async.cg.shared.global [%s], [%z], 16;\ncp.async.commit_group;\n"                                       \
    "cp.async.cg.shared.global [%s+1024], [%z], 16;\ncp.async.commit_group;\n" STEP("0", keep, free)            \
        STEP("1024", keep, free) STEP("0", keep, free) STEP("1024", keep, free) "cp.async.wait_all;\n" END
static void test_cp_async(void **state) {
    (void)state;
    quiet("wait, then barrier", run(COPY("cp.async.wait_all;\nbar.sync 0;\n"), 1, 64, 8192, 1, 1, 1));
    says("no wait: read of what is not there yet", run(COPY("bar.sync 0;\n"), 1, 64, 8192, 1, 0, 1), "never written",
         "shared offset");
    says("no barrier", RACE(COPY("cp.async.wait_all;\n"), 1, 64), "race", "shared offset");
    /* Stages: a buffer written before, so that what is stale looks like any other value. */
    quiet("two stages", RACE(STAGES("1", "bar.sync 0;\n"), 2, 64));
    says("one group too many under way", RACE(STAGES("2", "bar.sync 0;\n"), 1, 64), "asynchronous copy",
         "shared offset");
    says("the next copy before all have read", RACE(STAGES("1", ""), 1, 64), "asynchronous copy", "read at line");
    /* the warp that comes last to a barrier goes on first: it reads before the other copies */
    says(
        "a copy into what another warp has read, with a barrier only before its wait",
        RACE(BEGIN(
                 1024) "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %z, %t, 16, %p;\nst.shared.u32 [%s], %t;\nbar.sync 0;\n"
                       "setp.ge.u32 %x, %t, 32;\n@%x ld.shared.u32 %a, [%s+-512];\n"
                       "@!%x cp.async.cg.shared.global [%s], [%z], 16;\nbar.sync 0;\ncp.async.wait_all;\n" END,
             1, 64),
        "race", "shared offset");
    says("its own thread reads too early",
         RACE(COPY_OF("st.shared.u32 [%s], %t;\n", "ld.shared.u32 %a, [%s];\ncp.async.wait_all;\n"), 1, 32),
         "asynchronous copy", "read at line");
    says("a store into what is being copied",
         RACE(COPY_OF("", "st.shared.u32 [%s+4], %t;\ncp.async.wait_all;\n"), 1, 32), "asynchronous copy",
         "write at line");
    says("two copies to one place",
         RACE(COPY_OF("", "cp.async.cg.shared.global [%s], [%z], 16;\ncp.async.wait_all;\n"), 1, 32),
         "asynchronous copy", "shared offset");
    quiet("one after the other",
          RACE(COPY_OF("", "cp.async.wait_all;\ncp.async.cg.shared.global [%s], [%z], 16;\ncp.async.wait_all;\n"), 1,
               32));
    says("ldmatrix before the wait",
         RACE(COPY_OF("", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a, %b, %d, %n}, [%s];\ncp.async.wait_all;\n"), 1,
              32),
         "asynchronous copy", "read at line");
}

/* Different launches are ordered; a launch must not be judged by the last one's accesses. */
static void test_launches(void **state) {
    (void)state;
    const char *k = BEGIN(16) "st.global.u32 [%q], %t;\n" END;
    for (int i = 0; i < 3; i++) quiet("one launch after another", RACE(k, 2, 64));
}

#define UNINIT(ptx, grid, block, zero) run(ptx, grid, block, 1024, zero, 0, 1)
static void test_uninit(void **state) {
    (void)state;
    const char *copy = BEGIN(16) "ld.global.u32 %a, [%q];\nst.global.u32 [%q+256], %a;\n" END;
    says("global", UNINIT(copy, 1, 32, 0), "never written", "allocation #");
    quiet("set by the host", UNINIT(copy, 1, 32, 1));
    quiet("written by the kernel",
          UNINIT(BEGIN(16) "st.global.u32 [%q], %t;\nld.global.u32 %a, [%q];\n" END, 1, 32, 0));
    says("half of a pair", UNINIT(BEGIN(16) "st.global.u16 [%q], %t;\nld.global.u32 %a, [%q];\n" END, 1, 32, 0),
         "byte 2", "line");
    says("shared", UNINIT(BEGIN(256) "ld.shared.u32 %a, [%s];\n" END, 1, 32, 1), "shared offset", "thread 0");
    quiet("shared, written", UNINIT(BEGIN(256) "st.shared.u32 [%s], %t;\nld.shared.u32 %a, [%s];\n" END, 3, 32, 1));
    says("shared memory does not outlive its CTA",
         UNINIT(BEGIN(256) "setp.eq.u32 %x, %c, 0;\n@%x st.shared.u32 [%s], %t;\nld.shared.u32 %a, [%s];\n" END, 2, 32,
                1),
         "CTA 1", "shared offset");
    says("atomics read", UNINIT(BEGIN(16) "red.global.add.u32 [%q], 1;\n" END, 1, 32, 0), "never written", "line");
}

/* Counters: exact, and the same for any number of worker threads. */
static qm_sim_counters count(const char *ptx, unsigned grid, unsigned block, int threads) {
    qm_sim_options o, was;
    qm_sim_counters c, k;
    qm_sim_get_options(&was);
    o = was;
    o.count = 1;
    o.threads = threads;
    qm_sim_set_options(&o);
    qm_sim_counters_reset();
    quiet("counted kernel", run(ptx, grid, block, 65536, 1, 0, 0));
    qm_sim_counters_get(&c);
    assert_int_equal(qm_sim_counters_kernel("k", &k), 1);
    assert_memory_equal(&c, &k, sizeof c);
    assert_int_equal(qm_sim_counters_kernel("other", &k), 0);
    qm_sim_set_options(&was);
    return c;
}
static void test_counters(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        qm_sim_counters c = count(BEGIN(16) "ld.global.u32 %a, [%q];\nst.global.u32 [%q], %a;\n" END, 8, 64, threads);
        assert_int_equal(c.launches, 1);
        assert_int_equal(c.gld_bytes, 8 * 64 * 4);
        assert_int_equal(c.gst_bytes, 8 * 64 * 4);
        assert_int_equal(c.gld_sectors, 8 * 2 * 4); /* 128 bytes a warp */
        assert_int_equal(c.gst_sectors, 8 * 2 * 4);
        assert_int_equal(c.thread_insts, c.warp_insts * 32);
        assert_int_equal(c.warp_insts, 8 * 2 * (9 + 2)); /* the frame's 8 and ret, and the two */
        c = count(BEGIN(16) "ld.global.u32 %a, [%p];\nbar.sync 0;\nbar.sync 0;\n" END, 3, 64,
                  threads); /* a broadcast */
        assert_int_equal(c.gld_bytes, 3 * 2 * 4);
        assert_int_equal(c.gld_sectors, 3 * 2);
        c = count(BEGIN(16) "mad.wide.u32 %q, %t, 64, %p;\nld.global.u32 %a, [%q];\n" END, 1, 32,
                  threads); /* stride 64 */
        assert_int_equal(c.gld_bytes, 128);
        assert_int_equal(c.gld_sectors, 32);
        c = count(BEGIN(16) "mad.wide.u32 %q, %t, 16, %p;\nld.global.v4.u32 {%a, %b, %d, %n}, [%q];\n" END, 1, 32,
                  threads);
        assert_int_equal(c.gld_bytes, 512);
        assert_int_equal(c.gld_sectors, 16);
        c = count(
            BEGIN(
                16) ".reg .b32 %f<4>; .reg .f32 %g<4>;\n"
                    "mov.b32 %f0, 0; mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;\n"
                    "mov.f32 %g0, 0f00000000; mov.f32 %g1, 0f00000000; mov.f32 %g2, 0f00000000; mov.f32 %g3, "
                    "0f00000000;\n"
                    "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%f0, %f1, %f2, %f3}, {%a, %a, %a, %a}, {%a, %a}, "
                    "{%f0, %f1, %f2, %f3};\n"
                    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%g0, %g1, %g2, %g3}, {%a, %a, %a, %a}, {%a, "
                    "%a}, "
                    "{%g0, %g1, %g2, %g3};\n" END,
            5, 64, threads);
        assert_int_equal(c.mma_int, 5 * 2 * 16 * 8 * 32);
        assert_int_equal(c.mma_float, 5 * 2 * 16 * 8 * 16);
        /* a copy to shared memory is a load of what it takes, not of what it zeroes, and a store there */
        c = count(BEGIN(512) "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %q, %t, 32, %p;\n"
                             "cp.async.cg.shared.global [%s], [%q], 16;\ncp.async.wait_all;\n" END,
                  1, 32, threads);
        assert_int_equal(c.gld_bytes, 512);
        assert_int_equal(c.async_bytes, 512);
        assert_int_equal(c.gld_sectors, 32);
        assert_int_equal(c.shared_insts, 1);
        assert_int_equal(c.shared_wavefronts, 4);
        c = count(
            BEGIN(512) "mad.lo.u32 %s, %t, 16, 0;\nmad.wide.u32 %q, %t, 32, %p;\nand.b32 %a, %t, 3;\n"
                       "shl.b32 %a, %a, 2;\ncp.async.cg.shared.global [%s], [%q], 16, %a;\ncp.async.wait_all;\n" END,
            1, 32, threads); /* 0, 4, 8, 12 of 16 */
        assert_int_equal(c.gld_bytes, 8 * (4 + 8 + 12));
        assert_int_equal(c.async_bytes, 8 * (4 + 8 + 12));
        assert_int_equal(c.gld_sectors, 24);
        assert_int_equal(c.shared_wavefronts, 4);
        c = count(BEGIN(16) "mad.wide.u32 %q, %t, 64, %p;\nsetp.lt.u32 %x, %t, 5;\n@%x prefetch.global.L2 [%q];\n" END,
                  2, 32, threads);
        assert_int_equal(c.prefetches, 2 * 5);
        c = count(BEGIN(16) "red.global.add.u32 [%p], 1;\n" END, 2, 32, threads);
        assert_int_equal(c.atomics, 64);
        c = count(BEGIN(16) "setp.lt.u32 %x, %t, 5;\n@%x ld.global.u32 %a, [%q];\n" END, 1, 32, threads);
        assert_int_equal(c.gld_bytes, 20);
        assert_int_equal(c.gld_sectors, 1);
        assert_int_equal(c.thread_insts, (c.warp_insts - 1) * 32 + 5);
    }
}
/* Passes over shared memory: stride in words -> wavefronts of one warp's load */
static void test_banks(void **state) {
    (void)state;
    static const struct {
        const char *code;
        int wavefronts;
    } t[] = {
        {"mad.lo.u32 %s, %t, 4, 0;\nld.shared.u32 %a, [%s];\n", 1},
        {"mad.lo.u32 %s, %t, 8, 0;\nld.shared.u32 %a, [%s];\n", 2},
        {"mad.lo.u32 %s, %t, 128, 0;\nld.shared.u32 %a, [%s];\n", 32},
        {"mad.lo.u32 %s, %t, 132, 0;\nld.shared.u32 %a, [%s];\n", 1},
        {"ld.shared.u32 %a, [sh];\n", 1},                                                  /* a broadcast */
        {"shr.u32 %a, %t, 1;\nmad.lo.u32 %s, %a, 128, 0;\nld.shared.u32 %a, [%s];\n", 16}, /* pairs share a word */
        {"mad.lo.u32 %s, %t, 8, 0;\nld.shared.v2.u32 {%a, %b}, [%s];\n", 2},               /* half-warps */
        {"mad.lo.u32 %s, %t, 16, 0;\nld.shared.v4.u32 {%a, %b, %d, %n}, [%s];\n", 4},      /* quarter-warps */
        {"mad.lo.u32 %s, %t, 32, 0;\nld.shared.v4.u32 {%a, %b, %d, %n}, [%s];\n", 8},
        {"ld.shared.v4.u32 {%a, %b, %d, %n}, [sh];\n", 4},
        {"mov.u32 %s, %t;\nld.shared.u8 %a, [%s];\n", 1},
        /* matrices of eight rows of 16 bytes: rows on end, 144 bytes apart, 128 apart; two of them */
        {"mad.lo.u32 %s, %t, 16, 0;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a, %b, %d, %n}, [%s];\n", 4},
        {"mad.lo.u32 %s, %t, 144, 0;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a, %b, %d, %n}, [%s];\n", 4},
        {"mad.lo.u32 %s, %t, 128, 0;\nldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%a, %b, %d, %n}, [%s];\n", 32},
        {"mad.lo.u32 %s, %t, 16, 0;\nldmatrix.sync.aligned.m8n8.x2.shared.b16 {%a, %b}, [%s];\n", 2},
        {"mad.lo.u32 %s, %t, 32, 0;\ncp.async.cg.shared.global [%s], [%p], 16;\ncp.async.wait_all;\n", 8},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char ptx[2048];
        snprintf(ptx, sizeof ptx, "%s%s%s", BEGIN(8192), t[i].code, END);
        qm_sim_counters c = count(ptx, 1, 32, 1);
        assert_int_equal(c.shared_insts, 1);
        if ((int)c.shared_wavefronts != t[i].wavefronts)
            fail_msg("%s: %d wavefronts, want %d", t[i].code, (int)c.shared_wavefronts, t[i].wavefronts);
    }
}

static int setup(void **state) {
    (void)state;
    qm_err e;
    if (qm_device_open(&g_dev, "sim", NULL, 0, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    return 0;
}
static int teardown(void **state) {
    (void)state;
    qm_device_close(g_dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test(test_barrier_reduction),
        cmocka_unit_test(test_warp),
        cmocka_unit_test(test_same_instruction),
        cmocka_unit_test(test_last_cta),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_non_coherent),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_grid_barrier),
        cmocka_unit_test(test_named_barrier),
        cmocka_unit_test(test_mbarrier),
        cmocka_unit_test(test_cp_async),
        cmocka_unit_test(test_launches),
        cmocka_unit_test(test_uninit),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_banks),
    };
    return cmocka_run_group_tests(t, setup, teardown);
}
