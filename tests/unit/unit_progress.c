/* unit_progress: who watches a prompt being computed is told of what the device has done, not of what it has been given. */
#include <stdlib.h>
#include <string.h>
#include "fixture.h"

/* On the software device a launch is done when it returns; on a GPU it only stands in line. So the waits are counted: a position
 * that is told of has, but for the last few, been waited for. */
static struct {
    CUresult (*launch)(CUgraphExec, CUstream), (*record)(CUevent, CUstream), (*wait)(CUevent);
    CUevent of[256];    /* [launches]: the event recorded behind each step; NULL: none */
    int launches, done; /* done: steps that are known to be over */
} device;

static CUresult launch(CUgraphExec g, CUstream s) {
    device.launches++;
    return device.launch(g, s);
}

static CUresult record(CUevent e, CUstream s) {
    if (device.launches) device.of[device.launches - 1] = e;
    return device.record(e, s);
}

static CUresult wait_for(CUevent e) {
    for (int i = device.launches - 1; i >= 0; i--)
        if (device.of[i] == e) { /* the last record of it counts */
            if (i + 1 > device.done) device.done = i + 1;
            break;
        }
    return device.wait(e);
}

enum { N = 40, ROWS = 4 }; /* of a prompt, of a step */
static int worst, calls;
static int on_prefill(void *user, uint32_t done, uint32_t total) {
    (void)user;
    assert_int_equal(total, N);
    assert_int_equal(done, ROWS * calls);
    calls++;
    int ahead = (int)done / ROWS - device.done;
    if (ahead > worst) worst = ahead;
    return 0;
}

static void test_prefill_is_told_late(void **state) {
    (void)state;
    const char *spec = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts eo = {.device = spec ? spec : "sim", .n_ctx = 64, .n_ubatch = ROWS};
    qm_engine *g;
    qm_session *s;
    qm_gen_stats st;
    qm_err e;
    uint32_t prompt[N];
    fix_ok(qm_engine_open(&g, fix_model("small"), &eo, &e), &e);
    for (uint32_t i = 0; i < N; i++) prompt[i] = 65 + i % 20;
    fix_ok(qm_session_open(&s, g, &e), &e);
    device.launch = g->dev->cu.GraphLaunch;
    device.record = g->dev->cu.EventRecord;
    device.wait = g->dev->cu.EventSynchronize;
    g->dev->cu.GraphLaunch = launch;
    g->dev->cu.EventRecord = record;
    g->dev->cu.EventSynchronize = wait_for;
    qm_gen_opts o = {.max_tokens = 1, .ignore_eos = 1, .on_prefill = on_prefill};
    fix_ok(qm_generate(s, prompt, N, &o, &st, &e), &e);
    assert_int_equal(calls, N / ROWS);
    assert_true(device.launches >= N / ROWS);
    assert_in_range(worst, 0, QM_RUN_AHEAD + 1);
    qm_session_close(s);
    qm_engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefill_is_told_late)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
