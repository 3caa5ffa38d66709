/* unit_schedules: whole models over the software device's schedules, under both executors. The bits do not depend on which
 * CTA runs when, on which multiprocessor, in turns of what length (QMOE_SIM_SEED draws them); and no step has a race or reads
 * what nobody wrote, on one, two and four multiprocessors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/hash.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"

enum { MAX = 16 };
typedef struct {
    uint32_t ids[MAX], n;
    uint64_t hash, last; /* of the logits after the prompt, and after all */
} said;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    said *r = user;
    (void)s, (void)n;
    if (id != UINT32_MAX && r->n < MAX) r->ids[r->n++] = id;
    return 0;
}

static void begin(int sms, uint64_t seed, int checks) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.n_sm = sms;
    o.sched_seed = seed;
    o.check_races |= checks;
    o.check_uninit |= checks;
    qm_sim_set_options(&o);
}

/* The prompt, then n tokens drawn, so that sampling's two kernels run as well, then one step more for its logits. */
static said run(qm_engine *g, const uint32_t *ids, uint32_t n_prompt, uint32_t n) {
    qm_session *s;
    qm_err e;
    said r = {.n = 0};
    qm_gen_stats st;
    qm_gen_opts o = {.max_tokens = n, .ignore_eos = 1, .on_token = on_token, .user = &r};
    qm_sampling p;
    qm_engine_sampling(g, &p);
    p.repeat_penalty = 1.1f;
    p.seed = 5;
    const size_t bytes = g->model->hp.n_vocab * sizeof(float);
    float *logits = malloc(bytes);
    assert_non_null(logits);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_session_set_sampling(s, &p, &e), &e);
    fix_ok(qm_generate(s, ids, n_prompt, &o, &st, &e), &e);
    fix_ok(qm_session_eval(s, ids[0], &e), &e);
    fix_ok(qm_session_logits(s, logits, &e), &e);
    r.hash = st.logits_hash;
    r.last = qm_fnv1a(logits, bytes);
    free(logits);
    qm_session_close(s);
    qm_engine_close(g);
    assert_int_equal(r.n, n);
    return r;
}

static said small(const char *executor, int sms, uint64_t seed) {
    uint32_t ids[40];
    begin(sms, seed, 0);
    qm_engine *g = fix_engine("small", executor);
    fix_prompt(g, ids, 40, 3);
    return run(g, ids, 40, 6);
}

/* Over the border of a page (32 positions), so that a step's attention has CTAs that meet. */
static void test_same_bits(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    static const int sms[] = {1, 3, 4};
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    for (int x = 0; x < 2; x++)
        for (int k = 0; k < 3; k++) {
            const said a = small(executors[x], sms[k], 0);
            for (uint64_t seed = 1; seed <= 4; seed++) {
                const said b = small(executors[x], sms[k], seed * 77);
                if (memcmp(a.ids, b.ids, sizeof a.ids) || a.hash != b.hash || a.last != b.last)
                    fail_msg("%s on %d multiprocessors, schedule %d: other bits", executors[x], sms[k], (int)seed * 77);
            }
        }
}

/* A trained model, whose steps have the shapes that users run. */
static void demo(const char *executor, int sms) {
    const char *path = getenv("QMOE_DEMO");
    qm_engine_opts o = {.device = "sim", .executor = executor, .n_ctx = 64};
    qm_engine *g;
    qm_err e;
    uint32_t ids[1];
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    begin(sms, 0, 1);
    fix_ok(qm_engine_open(&g, path && *path ? path : "models/demo.gguf", &o, &e), &e);
    fix_prompt(g, ids, 1, 9);
    run(g, ids, 1, 1);
}
#define CHECKED(executor, sms)                                  \
    static void test_checked_##executor##_##sms(void **state) { \
        (void)state;                                            \
        demo(#executor, sms);                                   \
    }
CHECKED(graph, 1)
CHECKED(graph, 2)
CHECKED(graph, 4)
CHECKED(persistent, 1)
CHECKED(persistent, 2)
CHECKED(persistent, 4)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_checked_graph_1),
        cmocka_unit_test(test_checked_graph_2),
        cmocka_unit_test(test_checked_graph_4),
        cmocka_unit_test(test_checked_persistent_1),
        cmocka_unit_test(test_checked_persistent_2),
        cmocka_unit_test(test_checked_persistent_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
