/* unit_prompt.c: what computing many positions of a prompt at once is for: it takes less time. The demo model, 512 tokens,
 * both ways in one run, so that a busy machine slows both; their logits are the same. */
#include <stdlib.h>
#include "../../runtime/base/clock.h"
#include "../../runtime/base/hash.h"
#include "../../runtime/engine/inside.h"
#include "fixture.h"

enum { N = 512, TIMES = 2 };

typedef struct {
    qm_engine *g;
    double best;
    uint64_t hash;
} way;

static void open(way *w, uint32_t n_ubatch) {
    const char *path = getenv("QMOE_DEMO"), *device = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {.device = device ? device : "sim", .n_ctx = N, .n_ubatch = n_ubatch};
    qm_err e;
    fix_ok(qm_engine_open(&w->g, path && *path ? path : "models/demo.gguf", &o, &e), &e);
    w->best = 1e9;
}

static void run(way *w) {
    uint32_t ids[N], next;
    float *logits = malloc(4ull * w->g->model->hp.n_vocab);
    qm_session *s;
    qm_err e;
    assert_non_null(logits);
    fix_prompt(w->g, ids, N, 5);
    fix_ok(qm_session_open(&s, w->g, &e), &e);
    const double t = qm_now();
    fix_ok(qm_inside_append(s, ids, N, NULL, &next, &e), &e);
    if (qm_now() - t < w->best) w->best = qm_now() - t;
    fix_ok(qm_session_logits(s, logits, &e), &e);
    w->hash = qm_fnv1a(logits, 4ull * w->g->model->hp.n_vocab);
    qm_session_close(s);
    free(logits);
}

static void test_half_the_time(void **state) {
    (void)state;
    way one, many;
    open(&one, 1);
    open(&many, N);
    for (int i = 0; i < TIMES; i++) {
        run(&many);
        run(&one);
    }
    print_message("%d tokens of a prompt: %.2f s one by one, %.2f s at once: %.2f times as fast\n", N, one.best,
                  many.best, one.best / many.best);
    assert_true(one.hash == many.hash);
    assert_true(2 * many.best <= one.best);
    qm_engine_close(one.g);
    qm_engine_close(many.g);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(test_half_the_time)};
    return cmocka_run_group_tests_name("prompt", t, NULL, NULL);
}
