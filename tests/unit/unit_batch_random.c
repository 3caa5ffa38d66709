/* unit_batch_random: a thousand schedules at random, on a tape (support/tape.h): requests that begin alike, join,
 * leave, are cancelled; pools of any size from the least on; steps of any size; hashes that all collide; beside them a
 * session that shares, truncates and forgets. After every step the pool's books balance (req_check_pool); every request
 * has the tokens that it has alone; what is known of a page is true; and at the end all pages are back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/rng.h"
#include "../support/requests.h"

enum { REQUESTS = 14, FAMILIES = 3 };
static struct {
    uint64_t cancelled, paused, cached, evicted, finished, errors, truncated, steps, limited, asked_again;
} seen;

/* A session beside the batch: goes on, shares, forgets. */
static void stir(qm_session *s, qm_rng *rng, const uint32_t *text) {
    qm_err e;
    uint32_t id, want, n = qm_session_length(s);
    switch (qm_rng_below(rng, 4)) {
    case 0:
        fix_ok(qm_session_truncate(s, qm_rng_below(rng, n + 1), &e), &e);
        seen.truncated++;
        break;
    case 1: /* begins anew with a text that others know */
        fix_ok(qm_session_truncate(s, 0, &e), &e);
        s->n = 1 + qm_rng_below(rng, req_engine->limits.n_ctx - 1);
        memcpy(s->ids, text, s->n * sizeof *text);
        fix_ok(qm_session_adopt(s, &e), &e);
        s->n = s->n_cached;
        break;
    default:
        if (n + 1 >= req_engine->limits.n_ctx) break;
        if (qm_session_eval(s, text[n], &e)) { /* no page */
            fix_ok(qm_session_truncate(s, 0, &e), &e);
            break;
        }
        fix_ok(qm_session_result(s, n, &id, &e), &e);
        tape_alone(s->ids, n + 1, NULL, 0, &want, 1);
        assert_int_equal(id, want);
        fix_ok(qm_session_publish(s, &e), &e);
    }
}

static void schedule(uint64_t seed) {
    static req r[REQUESTS];
    static const uint32_t contexts[] = {40, 64, 100, 160, 300}, steps[] = {1, 2, 3, 8, 16, 64, 512};
    static const qm_sampling how = {
        .temperature = 1, .top_p = 1, .repeat_penalty = 1.1f, .repeat_last_n = 4, .seed = 11};
    qm_rng rng = {seed};
    const uint32_t n_ctx = contexts[qm_rng_below(&rng, 5)], n_seqs = 1 + qm_rng_below(&rng, 6);
    const int with_session = !qm_rng_below(&rng, 3), tight = !qm_rng_below(&rng, 3); /* short prompts, long answers */
    const uint32_t n_pages = qm_pages_for(n_ctx) + qm_rng_below(&rng, (tight ? 1 : 3) * qm_pages_for(n_ctx));
    const uint32_t n_requests = 3 + qm_rng_below(&rng, REQUESTS - 2);
    uint32_t text[FAMILIES][REQ_MAX], n = 0;
    qm_session *s = NULL;
    qm_batch *b = req_begin(n_seqs, n_ctx, n_pages, steps[qm_rng_below(&rng, 7)], qm_rng_below(&rng, 3) ? seed + 1 : 0);
    qm_err e;
    if (with_session) {
        req_engine->limits.n_seqs++;
        fix_ok(qm_session_open(&s, req_engine, &e), &e);
    }
    if (!qm_rng_below(&rng, 4)) req_engine->kv.n_buckets = 1;
    for (uint64_t k = 0; k < FAMILIES; k++) fix_prompt(req_engine, text[k], REQ_MAX, 200 + k + 7 * (seed % 50));
    for (int more = 1; more || n < n_requests;) {
        assert_true(++req_calls < 100000);
        const uint32_t what = qm_rng_below(&rng, 16);
        if (n < n_requests && what < 4) {
            req *x = &r[n++];
            *x = (req){.n = 1 + qm_rng_below(&rng, tight ? n_ctx / 4 : n_ctx - 1),
                       .ignore_eos = tight || qm_rng_below(&rng, 2)};
            memcpy(x->ids, text[qm_rng_below(&rng, FAMILIES)], x->n * sizeof *x->ids);
            if (qm_rng_below(&rng, 2)) { /* another end */
                const uint32_t from = qm_rng_below(&rng, x->n);
                fix_prompt(req_engine, x->ids + from, x->n - from, seed * 31 + n);
            }
            x->max = tight ? n_ctx - x->n : qm_rng_below(&rng, n_ctx - x->n + 1);
            if (!qm_rng_below(&rng, 3)) x->how = &how;
            if (!qm_rng_below(&rng, 4)) x->stop = 65 + qm_rng_below(&rng, 30);
            if (!qm_rng_below(&rng, 6)) x->stop_after = 1 + qm_rng_below(&rng, 9);
            x->no_reuse = !qm_rng_below(&rng, 8);
            x->limited = !qm_rng_below(&rng, 3);
            req_submit(b, x);
        } else if (n && what == 4 && qm_batch_cancel(b, r[qm_rng_below(&rng, n)].ticket)) seen.cancelled++;
        else if (s && what < 8) stir(s, &rng, text[0]);
        const uint32_t kept = req_engine->kv.n_kept;
        more = qm_batch_step(b, &e);
        if (more < 0) fail_msg("%s", e.msg);
        seen.evicted += req_engine->kv.n_kept < kept;
        seen.steps++;
        req_check_pool(b, &s, s != NULL);
    }
    for (uint32_t i = 0; i < n; i++) {
        req_check(&r[i]);
        seen.paused += r[i].u.n_paused;
        seen.limited += r[i].limited ? r[i].n_got : 0;
        seen.asked_again += r[i].limited && r[i].u.finish != QM_FINISH_CANCELLED && r[i].n_masks > r[i].n_got;
        seen.cached += r[i].u.n_cached;
        seen.finished += r[i].u.finish != QM_FINISH_CANCELLED && r[i].u.finish != QM_FINISH_ERROR;
        if (r[i].u.finish != QM_FINISH_ERROR) continue;
        assert_non_null(strstr(r[i].u.error.msg, "sessions beside the batch"));
        seen.errors++;
    }
    tape_check_known(req_engine);
    if (s) qm_session_close(s);
    req_end(b);
}

#define U(x) (unsigned long long)(x)
static void test_random_schedules(void **state) {
    (void)state;
    const char *more = getenv("QMOE_SCHEDULES");
    const uint64_t n = more ? strtoull(more, NULL, 10) : 1000;
    memset(&seen, 0, sizeof seen);
    for (uint64_t i = 0; i < n; i++) schedule(i);
    print_message(
        "%llu schedules: %llu steps; of the requests %llu finished, %llu cancelled, %llu pauses, %llu errors; %llu "
        "positions found, %llu steps that dropped pages, %llu truncations; %llu tokens by a mask, asked for again in "
        "%llu requests\n",
        U(n), U(seen.steps), U(seen.finished), U(seen.cancelled), U(seen.paused), U(seen.errors), U(seen.cached),
        U(seen.evicted), U(seen.truncated), U(seen.limited), U(seen.asked_again));
    /* everything has happened, often */
    assert_true(seen.finished > 3 * n && seen.cancelled > 2 * n && seen.paused > n / 8 && seen.cached > 30 * n);
    assert_true(seen.evicted > n && seen.truncated > 2 * n);
    assert_true(seen.errors > 0 && seen.errors < n / 8);
    assert_true(seen.limited > 30 * n && seen.asked_again > n / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_schedules)};
    return cmocka_run_group_tests(tests, req_open_engine, req_close_engine);
}
