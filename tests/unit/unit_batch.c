/* unit_batch: many sequences at once (qmoe.h, "many sequences at once"; pages.h): who gets rows and pages, what is
 * shared, what is dropped, who waits; and that none of it changes a token. The executor is a tape (support/tape.h): it
 * computes next to nothing, and a page that is not what it should be cannot hide. unit_batch_random has schedules at
 * random, unit_batch_model executors that compute a model. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../support/requests.h"

enum { P = QM_PAGE_TOKENS };

/* ---- one thing at a time ---- */
/* One request: its tokens, its figures; the same again takes what the cache has of it, but never all. */
static void test_alone(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 31, 32, 33, 64, 65, 100};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const uint32_t n = lengths[i];
        qm_batch *b = req_begin(2, 192, 12, 16, 0);
        req a = req_prompt(i, n, 30), again = a, fresh = a;
        fresh.no_reuse = 1;
        req_submit(b, &a);
        assert_true(qm_batch_wait(b, 0));
        req_finish(b);
        assert_false(qm_batch_wait(b, 0.001));
        req_check(&a);
        assert_int_equal(a.u.n_cached, 0);
        assert_int_equal(b->n_rows, n + 29); /* the last token is not computed, and nothing else is */
        assert_true(a.u.started_s > 0 && a.u.started_s <= a.u.first_token_s && a.u.first_token_s <= a.u.total_s);
        req_submit(b, &again);
        req_finish(b);
        req_check(&again);
        assert_int_equal(again.u.n_cached, (n - 1) / P * P);
        assert_int_equal(b->n_rows, 2 * (n + 29) - again.u.n_cached);
        req_submit(b, &fresh);
        req_finish(b);
        req_check(&fresh);
        assert_int_equal(fresh.u.n_cached, 0);
        tape_check_known(req_engine);
        req_end(b);
    }
}

/* The next turn of a conversation finds the answer of the one before, too. */
static void test_next_turn(void **state) {
    (void)state;
    qm_batch *b = req_begin(1, 256, 8, 64, 0);
    req a = req_prompt(1, 40, 60), next = req_prompt(2, 130, 5);
    req_submit(b, &a);
    req_finish(b);
    memcpy(next.ids, a.ids, 40 * sizeof *a.ids);
    memcpy(next.ids + 40, a.got, 60 * sizeof *a.got);
    req_submit(b, &next);
    req_finish(b);
    req_check(&next);
    assert_int_equal(next.u.n_cached, 96); /* 99 were computed: the 100th was chosen */
    req_end(b);
}

/* Who comes while another computes the same prompt goes on behind it; and where two have computed the same, one page of
 * it stays. */
static void test_shared_while_running(void **state) {
    (void)state;
    for (int together = 0; together < 2; together++) {
        qm_batch *b = req_begin(2, 256, 16, 64, 0);
        req a = req_prompt(3, 150, 20), c = a;
        c.n = 140;
        if (together) a.no_reuse = c.no_reuse = 1;
        req_submit(b, &a);
        req_submit(b, &c);
        while (b->lanes[0].next < 150 || !b->lanes[1].job || b->lanes[1].next < 140) req_step(b);
        for (int i = 0; i < 4; i++) assert_int_equal(b->lanes[0].s->pages[i], b->lanes[1].s->pages[i]);
        for (int i = 0; i < 4; i++) assert_int_equal(req_engine->kv.page[b->lanes[0].s->pages[i]].refs, 2);
        assert_int_equal(req_engine->kv.n_pages - req_engine->kv.n_free, 4 + 2);
        req_finish(b);
        req_check(&a);
        req_check(&c);
        assert_int_equal(c.u.n_cached, together ? 0 : 128);
        tape_check_known(req_engine);
        req_end(b);
    }
}

static int knows(const req *r, uint32_t pages) {
    uint32_t p = QM_NO_PAGE;
    for (uint32_t i = 0; i < pages; i++)
        if ((p = qm_pages_find(&req_engine->kv, p, r->ids + i * P)) == QM_NO_PAGE) return 0;
    return 1;
}

/* What nobody uses is dropped when there is need of it: the oldest first, from its end; who is used again is young
 * again. */
static void test_oldest_goes_first(void **state) {
    (void)state;
    enum { N = 3 };
    qm_batch *b = req_begin(1, 3 * P, 3 * N, 64, 0);
    req r[N + 2];
    for (uint64_t i = 0; i < N; i++) {
        r[i] = req_prompt(10 + i, 3 * P - 1, 1);
        req_submit(b, &r[i]);
        req_finish(b);
        assert_int_equal(req_engine->kv.n_kept, 2 * (i + 1));
    }
    for (int i = 0; i < N; i++) assert_true(knows(&r[i], 2));
    req again = req_again(&r[0]);
    req_submit(b, &again);
    req_finish(b);
    assert_int_equal(again.u.n_cached, 2 * P);
    r[N] = req_prompt(20, 2 * P + 1, 1); /* three blank ones are there */
    req_submit(b, &r[N]);
    req_finish(b);
    for (int i = 0; i < N + 1; i++) assert_true(knows(&r[i], 2));
    assert_int_equal(req_engine->kv.n_kept, 8);
    r[N + 1] =
        req_prompt(21, P + 1, 1); /* one is blank, one must go: the last of the oldest, which now is the second */
    req_submit(b, &r[N + 1]);
    req_finish(b);
    assert_true(knows(&r[1], 1) && !knows(&r[1], 2));
    for (int i = 0; i < N + 1; i++)
        if (i != 1) assert_true(knows(&r[i], 2));
    for (int i = 0; i < N + 2; i++) req_check(&r[i]);
    tape_check_known(req_engine);
    req_end(b);
}

/* All hashes alike: ids and the page before decide. Also pages with the same ids behind different ones. */
static void test_collisions(void **state) {
    (void)state;
    qm_batch *b = req_begin(2, 160, 24, 32, 0);
    req r[4];
    req_engine->kv.n_buckets = 1;
    for (uint64_t i = 0; i < 4; i++) {
        r[i] = req_prompt(30 + i, 70, 9);
        if (i) memcpy(r[i].ids + P, r[0].ids + P, P * sizeof *r[0].ids);
        req_submit(b, &r[i]);
    }
    req_finish(b);
    for (int i = 0; i < 4; i++) {
        req_check(&r[i]);
        assert_int_equal(r[i].u.n_cached, 0);
        assert_true(knows(&r[i], 2));
        req again = req_again(&r[i]);
        req_submit(b, &again);
        req_finish(b);
        req_check(&again);
        assert_int_equal(again.u.n_cached, 2 * P);
    }
    tape_check_known(req_engine);
    req_end(b);
}

/* Cancelled while it waits, while its prompt is computed, while it decodes, with steps on their way that run long
 * after: the next step has no row of it, and who waited for its pages has them at once. */
static void test_cancel(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            qm_batch *b = req_begin(2, 4 * P, 4, 8, seed);
            req a = req_prompt(40, 60, 60), c = req_prompt(41, 50, 70), d = req_prompt(42, 60, 60);
            req_submit(b, when == 0 ? &c : &a);
            if (when == 0) req_submit(b, &a);
            if (when == 0) d.stop_after = 1;
            req_submit(b, &d);
            for (int i = 0; i < (when == 2 ? 14 : 3); i++) req_step(b);
            assert_false(d.ended);
            assert_int_equal(b->n_running, 1);
            if (when == 1) assert_true(!a.n_got && b->lanes[0].next == 24);
            if (when == 2) assert_true(a.n_got > 4);
            assert_true(b->n_flight > 0);
            const uint32_t n_got = a.n_got;
            const uint64_t n_rows = b->n_rows;
            assert_true(qm_batch_cancel(b, a.ticket));
            assert_false(qm_batch_cancel(b, a.ticket));
            assert_false(qm_batch_cancel(b, 999));
            assert_false(a.ended);
            req_step(b);
            assert_true(a.ended);
            assert_int_equal(a.u.finish, QM_FINISH_CANCELLED);
            assert_int_equal(a.n_got, n_got);
            if (when) { /* the other one has its place, its pages and all of the step */
                assert_ptr_equal(b->lanes[0].job->r.user, &d);
                assert_int_equal(b->n_rows, n_rows + 8);
            }
            if (!when) qm_batch_cancel(b, c.ticket);
            req_finish(b);
            req_check(&a);
            req_check(&d);
            if (!when) assert_int_equal(c.u.finish, QM_FINISH_CANCELLED);
            assert_false(qm_batch_cancel(b, a.ticket));
            tape_check_known(req_engine);
            req_end(b);
        }
}

/* What cannot be is said before anything is done, with the numbers. */
static void test_refused(void **state) {
    (void)state;
    qm_batch *b = req_begin(2, 4 * P, 4, 8, 0), *other;
    req r = req_prompt(50, 100, 29);
    const qm_sampling hot = {.temperature = 2000, .top_p = 1, .repeat_penalty = 1};
    qm_err e;
    assert_int_equal(req_try(b, &r, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "100 tokens of prompt + 29 to generate exceed the context of 128"));
    r.n = 128;
    r.max = 0;
    assert_int_equal(req_try(b, &r, &e), QM_ERR_LIMIT);
    r.n = 0;
    assert_int_equal(req_try(b, &r, &e), QM_ERR_ARG);
    r = req_prompt(51, 100, 28);
    r.ids[99] = 512;
    assert_int_equal(req_try(b, &r, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "prompt token 99: id 512 is outside the vocabulary of 512"));
    r.ids[99] = 70;
    r.how = &hot;
    assert_int_equal(req_try(b, &r, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "temperature is 2000"));
    assert_int_equal(qm_batch_step(b, &e), 0);
    assert_int_equal(qm_batch_open(&other, req_engine, NULL, &e), QM_ERR_LIMIT);
    assert_null(other);
    r.how = NULL;
    req_submit(b, &r); /* to the last position of context and pool */
    req_finish(b);
    req_check(&r);
    assert_int_equal(r.n_got, 28);
    req_end(b);

    b = req_begin(1, 4 * P, 4, 8, 0);
    b->n_queue = 2;
    req q[4];
    for (uint64_t i = 0; i < 4; i++) {
        q[i] = req_prompt(52 + i, 20, 5);
        if (i < 3) req_submit(b, &q[i]);
    }
    assert_int_equal(req_try(b, &q[3], &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "3 requests are there: 1 may run, and 2 wait"));
    while (!q[0].ended) req_step(b);
    req_submit(b, &q[3]);
    req_finish(b);
    for (int i = 0; i < 4; i++) req_check(&q[i]);
    req_end(b);
}

/* Two that fit the pool one at a time: the younger is paused, the older never; both have their tokens. */
static void test_paused(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        qm_batch *b = req_begin(3, 6 * P, 6 + seed % 2, 16, seed / 2);
        req r[3] = {req_prompt(60, 40, 150), req_prompt(61, 33, 100), req_prompt(62, 70, 122)};
        const qm_sampling how = {.temperature = 1, .top_p = 1, .repeat_penalty = 1.1f, .repeat_last_n = 5, .seed = 7};
        r[1].how = &how;
        for (int i = 0; i < 3; i++) req_submit(b, &r[i]);
        req_finish(b);
        for (int i = 0; i < 3; i++) req_check(&r[i]);
        assert_int_equal(r[0].u.n_paused, 0);
        assert_true(r[1].u.n_paused + r[2].u.n_paused > 0);
        assert_int_equal(r[1].u.n_cached, 0); /* its own, when it goes on, is not what it was spared */
        assert_true(r[0].u.total_s < r[2].u.total_s);
        tape_check_known(req_engine);
        req_end(b);
    }
}

/* Decoding sequences have a row in every step beside a long prompt; prompts come in their order. */
static void test_rows(void **state) {
    (void)state;
    qm_batch *b = req_begin(4, 320, 40, 8, 0);
    req r[4] = {req_prompt(70, 3, 60), req_prompt(71, 2, 60), req_prompt(72, 150, 5), req_prompt(73, 150, 5)};
    uint32_t got, n = 0;
    for (int i = 0; i < 4; i++) req_submit(b, &r[i]);
    while (!r[0].n_got || !r[1].n_got) req_step(b);
    while (b->lanes[2].next < 150) { /* six rows a step */
        got = r[0].n_got;
        assert_int_equal(b->lanes[3].next, 0);
        req_step(b);
        assert_int_equal(r[0].n_got, got + 1);
        assert_int_equal(r[1].n_got, r[0].n_got);
        n++;
    }
    assert_in_range(n, 150 / 6 - 2, 150 / 6 + 1);
    req_finish(b);
    for (int i = 0; i < 4; i++) req_check(&r[i]);
    assert_int_equal(tape_most_rows(), 8);
    req_end(b);
}

/* Who limits his tokens has a row when the last one has been told: in every second step beside others, which have one in
 * every step, two steps being on their way; alone, never more than one. Who limits nothing this once as well. */
static void test_limited(void **state) {
    (void)state;
    qm_batch *b = req_begin(3, 192, 24, 8, 0);
    req r[3] = {req_prompt(75, 5, 100), req_prompt(76, 5, 40), req_prompt(77, 5, 100)}, alone = req_prompt(78, 40, 60);
    r[1].limited = alone.limited = 1;
    for (int i = 0; i < 3; i++) req_submit(b, &r[i]);
    while (!r[1].n_got) req_step(b);
    for (uint32_t had = r[1].n_got, others = r[0].n_got, n = 2; !r[1].ended; n++) {
        req_step(b);
        if (r[1].ended) break;
        assert_int_equal(r[0].n_got - others, n - 1);
        assert_in_range(r[1].n_got - had, (n - 1) / 2, n / 2);
        assert_int_equal(b->n_flight, 1); /* and the one that has just been waited for */
    }
    req_finish(b);
    for (int i = 0; i < 3; i++) req_check(&r[i]);
    req_submit(b, &alone);
    for (uint32_t got = 0; req_step(b);) {
        assert_in_range(b->n_flight, 0, 1);
        assert_in_range(alone.n_got - got, 0, 1);
        got = alone.n_got;
    }
    req_check(&alone);
    assert_int_equal(alone.n_masks, 60);
    req_end(b);
}

/* A mask that allows nothing is an error of its request, and of no other; bits behind the vocabulary allow nothing. */
static req *hopeless;
static const uint32_t *mask_of_three(void *user) {
    static uint32_t none[REQ_VOCAB / 32 + 1];
    assert_ptr_equal(user, hopeless);
    const uint32_t n_vocab = req_engine->model->hp.n_vocab;
    none[n_vocab / 32] = ~((1u << n_vocab % 32) - 1);
    if (hopeless->n_got == 3) return none;
    return req_mask(user);
}
static void test_nothing_allowed(void **state) {
    (void)state;
    qm_batch *b = req_begin(2, 128, 8, 8, 0);
    req r = req_prompt(79, 20, 60), beside = req_prompt(80, 20, 60);
    qm_err e;
    hopeless = &r;
    r.limited = 1;
    qm_request q = {.ids = r.ids,
                    .n = r.n,
                    .max_tokens = 60,
                    .ignore_eos = 1,
                    .mask = mask_of_three,
                    .on_token = req_on_token,
                    .on_end = req_on_end,
                    .user = &r};
    fix_ok(qm_batch_submit(b, &q, &r.ticket, &e), &e);
    req_submit(b, &beside);
    req_finish(b);
    req_check(&beside);
    assert_int_equal(r.u.finish, QM_FINISH_ERROR);
    assert_int_equal(r.u.error.code, QM_ERR_ARG);
    assert_non_null(strstr(r.u.error.msg, "allows no token at position 23"));
    assert_int_equal(r.n_got, 3);
    r.n_masks++; /* the last one was not req_mask's */
    req_check(&r);
    q = (qm_request){.ids = r.ids, .n = 5, .n_logprobs = QM_TOP_LOGPROBS + 1};
    assert_int_equal(qm_batch_submit(b, &q, NULL, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "n_logprobs is 21, not in the range 0 to 20"));
    req_end(b);
}

/* More that decode than a step has rows: all get on, and a prompt does not wait for their end. */
static void test_rows_are_few(void **state) {
    (void)state;
    for (uint32_t rows = 1; rows <= 3; rows++) {
        qm_batch *b = req_begin(6, 128, 40, rows, 0);
        req r[6];
        uint32_t had[6];
        for (uint64_t i = 0; i < 6; i++) {
            r[i] = req_prompt(80 + i, i == 5 ? 40 : 2, 86);
            req_submit(b, &r[i]);
        }
        while (!r[5].n_got) {
            req_step(b);
            for (int i = 0; i < 6; i++) assert_false(r[i].ended);
        }
        for (int i = 0; i < 6; i++) had[i] = r[i].n_got;
        for (uint32_t i = 0; i < 60 / rows; i++) req_step(b);
        for (int i = 0; i < 6; i++) assert_in_range(r[i].n_got - had[i], 9, 11);
        req_finish(b);
        for (int i = 0; i < 6; i++) req_check(&r[i]);
        assert_int_equal(tape_most_rows(), rows);
        req_end(b);
    }
}

/* Every end. */
static void test_ends(void **state) {
    (void)state;
    qm_batch *b = req_begin(2, 256, 16, 16, 0);
    req r[5];
    for (uint64_t i = 0; i < 5; i++) r[i] = req_prompt(90, 20, 60);
    tape_alone(r[0].ids, 20, NULL, 0, r[0].want, 60);
    r[0].stop = r[0].want[7];
    r[1].stop_after = 3;
    r[2].max = 0;
    r[3].ignore_eos = 0;
    r[3].max = 0;
    for (int i = 0; i < 5; i++) req_submit(b, &r[i]);
    req_finish(b);
    for (int i = 0; i < 5; i++) req_check(&r[i]);
    assert_int_equal(r[0].u.finish, QM_FINISH_STOP);
    assert_int_equal(r[1].u.finish, QM_FINISH_CALLBACK);
    assert_int_equal(r[2].u.finish, QM_FINISH_CONTEXT);
    assert_int_equal(r[2].n_got, 256 - 20);
    assert_int_equal(r[3].u.finish, QM_FINISH_EOG);
    assert_int_equal(r[4].u.finish, QM_FINISH_LENGTH);
    assert_string_equal(qm_finish_name(QM_FINISH_CANCELLED), "cancelled");
    assert_string_equal(qm_finish_name(QM_FINISH_ERROR), "error");
    /* and closed with one that runs and one that waits */
    req left[3] = {req_prompt(91, 20, 60), req_prompt(92, 20, 60), req_prompt(93, 20, 60)};
    for (int i = 0; i < 3; i++) req_submit(b, &left[i]);
    for (int i = 0; i < 6; i++) req_step(b);
    req_end(b);
    for (int i = 0; i < 3; i++) assert_int_equal(left[i].u.finish, QM_FINISH_CANCELLED);
    assert_true(left[0].n_got > 0 && !left[2].n_got);
}

/* Callbacks may submit and cancel. */
static req follow;
static int on_token_follow(void *user, uint32_t id, const qm_logprobs *lp) {
    req *r = user;
    if (!r->n_got) {
        req_submit(r->b, &follow);
        qm_batch_cancel(r->b, r->ticket);
    }
    return req_on_token(user, id, lp);
}
static void test_callbacks(void **state) {
    (void)state;
    qm_batch *b = req_begin(1, 128, 8, 16, 0);
    req r = req_prompt(95, 20, 60);
    qm_request q = {
        .ids = r.ids, .n = r.n, .ignore_eos = 1, .on_token = on_token_follow, .on_end = req_on_end, .user = &r};
    qm_err e;
    follow = req_prompt(96, 10, 5);
    r.b = b;
    fix_ok(qm_batch_submit(b, &q, &r.ticket, &e), &e);
    req_finish(b);
    assert_int_equal(r.u.finish, QM_FINISH_CANCELLED);
    assert_int_equal(r.n_got, 1);
    req_check(&follow);
    q = (qm_request){.ids = follow.ids, .n = 10, .max_tokens = 4}; /* nobody listens */
    fix_ok(qm_batch_submit(b, &q, NULL, &e), &e);
    req_finish(b);
    req_end(b);
}

/* A step that fails: who ran ends with its error, who waited goes on, and nothing is known of any page. */
static void step_fails(int masks) {
    for (uint32_t at = 1; at < 12; at += 5) {
        qm_batch *b = req_begin(2, 128, 8, 16, 3);
        req r[3] = {req_prompt(100, 60, 20), req_prompt(101, 40, 20), req_prompt(102, 60, 20)};
        qm_err e;
        int rc;
        r[0].limited = r[1].limited = masks;
        for (int i = 0; i < 3; i++) req_submit(b, &r[i]);
        (masks ? tape_fail_mask_at : tape_fail_at)(at);
        while ((rc = qm_batch_step(b, &e)) > 0) req_check_pool(b, NULL, 0);
        assert_int_equal(rc, QM_ERR_DEVICE);
        assert_string_equal(e.msg, "the tape tore");
        req_check_pool(b, NULL, 0);
        assert_int_equal(req_engine->kv.n_free, req_engine->kv.n_pages);
        assert_int_equal(req_engine->kv.n_kept, 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(r[i].u.finish, QM_FINISH_ERROR);
            assert_int_equal(r[i].u.error.code, QM_ERR_DEVICE);
            assert_string_equal(r[i].u.error.msg, "the tape tore");
        }
        req_finish(b);
        for (int i = 0; i < 3; i++) req_check(&r[i]);
        assert_int_equal(r[2].u.finish, QM_FINISH_LENGTH);
        assert_int_equal(r[2].u.error.code, 0);
        tape_check_known(req_engine);
        req_end(b);
    }
}
static void test_step_fails(void **state) {
    (void)state;
    for (int masks = 0; masks < 2; masks++) step_fails(masks);
}

/* ---- sessions beside a batch: they hold pages of the same pool ---- */
/* A session shares pages where it is told to; cut within one, it computes the rest of it once more, in a page of its
 * own. */
static void test_truncated_within_shared(void **state) {
    (void)state;
    qm_batch *b = req_begin(3, 160, 20, 32, 0);
    qm_session *s;
    qm_err e;
    uint32_t id, want[1], page;
    req r = req_prompt(110, 100, 40), again = r;
    qm_batch_close(b);
    fix_ok(qm_session_open(&s, req_engine, &e), &e);
    fix_ok(qm_batch_open(&b, req_engine, &(qm_batch_opts){.n_seqs = 2}, &e), &e);
    req_submit(b, &r);
    req_finish(b);
    memcpy(s->ids, r.ids, 100 * sizeof *r.ids);
    s->n = 100;
    fix_ok(qm_session_adopt(s, &e), &e);
    assert_int_equal(s->n_cached, 96);
    page = s->pages[1];
    req_submit(b, &again); /* holds the same pages while the session writes */
    qm_batch_step(b, &e);
    assert_int_equal(req_engine->kv.page[page].refs, 2);
    fix_ok(qm_session_truncate(s, 50, &e), &e);
    assert_int_equal(s->n_cached, 32);
    fix_ok(qm_session_eval(s, 77, &e), &e);
    assert_int_not_equal(s->pages[1], page);
    fix_ok(qm_session_result(s, 50, &id, &e), &e);
    tape_alone(s->ids, 51, NULL, 0, want, 1);
    assert_int_equal(id, want[0]);
    for (int rc = 1; rc;) {
        rc = qm_batch_step(b, &e);
        req_check_pool(b, &s, 1);
    }
    req_check(&again);
    tape_check_known(req_engine);
    qm_session_close(s);
    req_end(b);
}

/* A request that would fit, but sessions hold the pool: it waits where another one runs, and is an error where nothing
 * would ever change. */
static void test_pool_held_by_session(void **state) {
    (void)state;
    qm_batch *b = req_begin(3, 128, 4, 32, 0);
    qm_session *s;
    qm_err e;
    req r = req_prompt(120, 100, 10), c = req_prompt(121, 30, 3);
    qm_batch_close(b);
    fix_ok(qm_session_open(&s, req_engine, &e), &e);
    fix_ok(qm_batch_open(&b, req_engine, &(qm_batch_opts){.n_seqs = 2}, &e), &e);
    fix_ok(qm_session_pages(s, 2, &e), &e);
    req_submit(b, &c);
    req_submit(b, &r);
    qm_batch_step(b, &e);
    assert_false(r.ended);
    while (qm_batch_step(b, &e) > 0) req_check_pool(b, &s, 1);
    req_check(&c);
    assert_int_equal(c.n_got, 3);
    assert_int_equal(r.u.finish, QM_FINISH_ERROR);
    assert_int_equal(r.u.error.code, QM_ERR_LIMIT);
    assert_non_null(strstr(
        r.u.error.msg, "100 tokens need 4 pages of KV cache, but sessions beside the batch leave only 2 of 4 free"));
    qm_session_close(s);
    req_end(b);
}

/* ---- threads ---- */
enum { THREADS = 3, EACH = 60 };
typedef struct {
    qm_batch *b;
    req *r;
    uint64_t seed;
} sender;

static void *send_some(void *p) {
    const sender *s = p;
    qm_rng rng = {s->seed};
    for (int i = 0; i < EACH; i++) {
        qm_err e;
        if (req_try(s->b, &s->r[i], &e)) return (void *)1;
        if (!qm_rng_below(&rng, 4)) usleep(qm_rng_below(&rng, 300));
        if (!qm_rng_below(&rng, 3)) qm_batch_cancel(s->b, s->r[qm_rng_below(&rng, (uint32_t)i + 1)].ticket);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static req r[THREADS][EACH];
    qm_batch *b = req_begin(4, 160, 14, 16, 9);
    pthread_t t[THREADS];
    sender s[THREADS];
    uint32_t left = THREADS * EACH;
    for (int k = 0; k < THREADS; k++) {
        for (int i = 0; i < EACH; i++) r[k][i] = req_prompt((uint64_t)(i % 7), 20 + (uint32_t)i, 10 + (uint32_t)k);
        s[k] = (sender){b, r[k], (uint64_t)k};
        assert_int_equal(pthread_create(&t[k], NULL, send_some, &s[k]), 0);
    }
    while (left) {
        qm_batch_wait(b, 0.01);
        req_step(b);
        left = 0;
        for (int k = 0; k < THREADS; k++)
            for (int i = 0; i < EACH; i++) left += !r[k][i].ended;
    }
    for (int k = 0; k < THREADS; k++) {
        void *bad;
        pthread_join(t[k], &bad);
        assert_null(bad);
        for (int i = 0; i < EACH; i++) req_check(&r[k][i]);
    }
    req_finish(b);
    req_end(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_next_turn),
        cmocka_unit_test(test_shared_while_running),
        cmocka_unit_test(test_oldest_goes_first),
        cmocka_unit_test(test_collisions),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_paused),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_limited),
        cmocka_unit_test(test_nothing_allowed),
        cmocka_unit_test(test_rows_are_few),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_step_fails),
        cmocka_unit_test(test_truncated_within_shared),
        cmocka_unit_test(test_pool_held_by_session),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, req_open_engine, req_close_engine);
}
