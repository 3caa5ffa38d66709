/* unit_batch: many sequences at once (qmoe.h, "many sequences at once"; pages.h): who gets rows and pages, what is shared, what
 * is dropped, who waits; and that none of it changes a token. The executor is a tape (support/tape.h), so that a
 * thousand schedules take seconds and a page that is not what it should be cannot hide. unit_batch_model has real ones. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/engine/batch.h"
#include "../support/tape.h"

enum { P = QM_PAGE_TOKENS, MAX = 320 };
static qm_engine *g;
static uint32_t calls; /* of step, since begin */

static int open_engine(void **state) {
    qm_err e;
    qm_engine_opts o = {.executor = "ref", .n_ctx = MAX, .n_ubatch = 1};
    (void)state;
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    return 0;
}

static int close_engine(void **state) {
    (void)state;
    if (strcmp(g->exec->name, "tape")) qm_engine_close(g); /* else a test has failed on the way */
    return 0;
}

static qm_batch *begin(uint32_t n_seqs, uint32_t n_ctx, uint32_t n_pages, uint32_t n_rows, uint64_t seed) {
    qm_limits l = g->limits;
    qm_batch *b;
    qm_err e;
    qm_batch_opts o = {.n_rows = n_rows};
    l.n_seqs = n_seqs;
    l.n_ctx = n_ctx;
    l.n_rows = 512;
    l.n_outs = n_seqs < n_rows ? n_seqs : n_rows;
    calls = 0;
    tape_begin(g, l, n_pages, seed);
    fix_ok(qm_batch_open(&b, g, &o, &e), &e);
    return b;
}

static void end(qm_batch *b) {
    qm_batch_close(b);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);
    tape_end(g);
}

/* ---- a request and what must come of it ---- */
typedef struct {
    qm_batch *b;
    uint32_t ids[MAX], n, max, want[MAX], got[MAX], n_got;
    uint64_t ticket;
    uint32_t stop, stop_after; /* a token id, 0: none; a number of tokens, 0: never */
    int ended, ignore_eos, no_reuse;
    const qm_sampling *how;
    qm_usage u;
} req;

static int on_token(void *user, uint32_t id) {
    req *r = user;
    assert_false(r->ended);
    assert_true(r->n_got < MAX);
    r->got[r->n_got++] = id;
    return r->n_got == r->stop_after;
}

static void on_end(void *user, const qm_usage *u) {
    req *r = user;
    assert_false(r->ended);
    r->ended = 1;
    r->u = *u;
}

static int try_submit(qm_batch *b, req *r, qm_err *e) {
    qm_request q = {.ids = r->ids,
                    .n = r->n,
                    .sampling = r->how,
                    .max_tokens = r->max,
                    .ignore_eos = r->ignore_eos,
                    .stop = &r->stop,
                    .n_stop = r->stop != 0,
                    .no_reuse = r->no_reuse,
                    .on_token = on_token,
                    .on_end = on_end,
                    .user = r};
    r->b = b;
    return qm_batch_submit(b, &q, &r->ticket, e);
}

static void submit(qm_batch *b, req *r) {
    qm_err e;
    fix_ok(try_submit(b, r, &e), &e);
}

static req prompt(uint64_t seed, uint32_t n, uint32_t max) {
    req r = {.n = n, .max = max, .ignore_eos = 1};
    fix_prompt(g, r.ids, n, seed);
    return r;
}

/* The same once more. */
static req again_of(const req *r) {
    req a = *r;
    a.n_got = 0;
    a.ended = 0;
    return a;
}

/* Its tokens are those that it has alone, up to where it ended, and it ended for the right reason. */
static void check_tokens(req *r) {
    const uint32_t most = r->max ? r->max : g->limits.n_ctx - r->n;
    assert_true(r->ended);
    assert_true(r->n_got <= most);
    assert_int_equal(r->u.n_generated, r->n_got);
    assert_int_equal(r->u.n_prompt, r->n);
    tape_alone(r->ids, r->n, r->how, r->want, most);
    assert_memory_equal(r->got, r->want, r->n_got * sizeof *r->got);
    if (r->u.finish == QM_FINISH_CANCELLED || r->u.finish == QM_FINISH_ERROR) return;
    qm_finish f = QM_FINISH_NONE;
    uint32_t n = 0;
    while (f == QM_FINISH_NONE) {
        const uint32_t id = r->want[n++];
        if (!r->ignore_eos && qm_token_is_eog(g->tok, id)) f = QM_FINISH_EOG;
        else if (r->stop && id == r->stop) f = QM_FINISH_STOP;
        else if (n == r->stop_after) f = QM_FINISH_CALLBACK;
        else if (n == most) f = r->max ? QM_FINISH_LENGTH : QM_FINISH_CONTEXT;
    }
    assert_int_equal(r->n_got, n);
    assert_string_equal(qm_finish_name(r->u.finish), qm_finish_name(f));
}

/* ---- what holds after every step ---- */
static void check_pool(qm_batch *b, qm_session *const *beside, uint32_t n_beside) {
    const qm_pages *kv = &g->kv;
    uint32_t *refs = calloc(kv->n_pages, sizeof *refs), n_known = 0, n_listed = 0, n = 0;
    unsigned char *seen = calloc(kv->n_pages, 1);
    qm_batch_state st;
    assert_true(refs && seen);
    for (uint32_t i = 0; i < b->n_lanes + n_beside; i++) {
        const qm_session *s = i < b->n_lanes ? b->lanes[i].s : beside[i - b->n_lanes];
        if (i < b->n_lanes && !b->lanes[i].job) assert_int_equal(s->n_pages, 0);
        assert_true(s->n_shared <= s->n_pages && s->n_pages >= qm_pages_for(s->n_cached));
        for (uint32_t k = 0; k < s->n_pages; k++) refs[s->pages[k]]++;
    }
    for (uint32_t i = 0; i < kv->n_pages; i++) {
        assert_int_equal(kv->page[i].refs, refs[i]);
        n += refs[i] > 0;
        n_known += kv->page[i].known != 0;
        if (!kv->page[i].known) continue;
        assert_int_equal(qm_pages_find(kv, kv->page[i].parent, kv->page[i].ids), i);
        if (kv->page[i].parent != QM_NO_PAGE) assert_true(kv->page[kv->page[i].parent].known);
        if (kv->page[i].parent != QM_NO_PAGE && refs[i]) assert_true(refs[kv->page[i].parent] > 0);
    }
    assert_int_equal(n + kv->n_free, kv->n_pages);
    n = 0;
    for (uint32_t i = kv->oldest, last = QM_NO_PAGE; i != QM_NO_PAGE; last = i, i = kv->page[i].newer, n++) {
        assert_true(!refs[i] && kv->page[i].known && !seen[i] && kv->page[i].older == last);
        seen[i] = 1;
    }
    assert_int_equal(n, kv->n_kept);
    for (; n < kv->n_free; n++) {
        const uint32_t i = kv->blank[n - kv->n_kept];
        assert_true(i < kv->n_pages && !refs[i] && !kv->page[i].known && !seen[i]);
        seen[i] = 1;
    }
    for (uint32_t i = 0; i < kv->n_buckets; i++)
        for (uint32_t k = kv->bucket[i]; k != QM_NO_PAGE; k = kv->page[k].next) n_listed++;
    assert_int_equal(n_listed, n_known);
    qm_batch_get_state(b, &st);
    assert_int_equal(st.n_held + kv->n_free, st.n_pages);
    assert_int_equal(st.n_running, b->n_running);
    assert_true(st.n_running <= b->n_lanes);
    free(refs);
    free(seen);
}

static int step(qm_batch *b) {
    qm_err e;
    assert_true(++calls < 100000);
    int rc = qm_batch_step(b, &e);
    if (rc < 0) fail_msg("%s", e.msg);
    check_pool(b, NULL, 0);
    return rc;
}

static void finish(qm_batch *b) {
    while (step(b)) {}
}

/* ---- one thing at a time ---- */
/* One request: its tokens, its figures; the same again takes what the cache has of it, but never all. */
static void test_alone(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 31, 32, 33, 64, 65, 100};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const uint32_t n = lengths[i];
        qm_batch *b = begin(2, 192, 12, 16, 0);
        req a = prompt(i, n, 30), again = a, fresh = a;
        fresh.no_reuse = 1;
        submit(b, &a);
        assert_true(qm_batch_wait(b, 0));
        finish(b);
        assert_false(qm_batch_wait(b, 0.001));
        check_tokens(&a);
        assert_int_equal(a.u.n_cached, 0);
        assert_int_equal(b->n_rows, n + 29); /* the last token is not computed, and nothing else is */
        assert_true(a.u.started_s > 0 && a.u.started_s <= a.u.first_token_s && a.u.first_token_s <= a.u.total_s);
        submit(b, &again);
        finish(b);
        check_tokens(&again);
        assert_int_equal(again.u.n_cached, (n - 1) / P * P);
        assert_int_equal(b->n_rows, 2 * (n + 29) - again.u.n_cached);
        submit(b, &fresh);
        finish(b);
        check_tokens(&fresh);
        assert_int_equal(fresh.u.n_cached, 0);
        tape_check_known(g);
        end(b);
    }
}

/* The next turn of a conversation finds the answer of the one before, too. */
static void test_next_turn(void **state) {
    (void)state;
    qm_batch *b = begin(1, 256, 8, 64, 0);
    req a = prompt(1, 40, 60), next = prompt(2, 130, 5);
    submit(b, &a);
    finish(b);
    memcpy(next.ids, a.ids, 40 * sizeof *a.ids);
    memcpy(next.ids + 40, a.got, 60 * sizeof *a.got);
    submit(b, &next);
    finish(b);
    check_tokens(&next);
    assert_int_equal(next.u.n_cached, 96); /* 99 were computed: the 100th was chosen */
    end(b);
}

/* Who comes while another computes the same prompt goes on behind it; and where two have computed the same, one page of it
 * stays. */
static void test_shared_while_running(void **state) {
    (void)state;
    for (int together = 0; together < 2; together++) {
        qm_batch *b = begin(2, 256, 16, 64, 0);
        req a = prompt(3, 150, 20), c = a;
        c.n = 140;
        if (together) a.no_reuse = c.no_reuse = 1;
        submit(b, &a);
        submit(b, &c);
        while (b->lanes[0].next < 150 || !b->lanes[1].job || b->lanes[1].next < 140) step(b);
        for (int i = 0; i < 4; i++) assert_int_equal(b->lanes[0].s->pages[i], b->lanes[1].s->pages[i]);
        for (int i = 0; i < 4; i++) assert_int_equal(g->kv.page[b->lanes[0].s->pages[i]].refs, 2);
        assert_int_equal(g->kv.n_pages - g->kv.n_free, 4 + 2);
        finish(b);
        check_tokens(&a);
        check_tokens(&c);
        assert_int_equal(c.u.n_cached, together ? 0 : 128);
        tape_check_known(g);
        end(b);
    }
}

static int knows(const req *r, uint32_t pages) {
    uint32_t p = QM_NO_PAGE;
    for (uint32_t i = 0; i < pages; i++)
        if ((p = qm_pages_find(&g->kv, p, r->ids + i * P)) == QM_NO_PAGE) return 0;
    return 1;
}

/* What nobody uses is dropped when there is need of it: the oldest first, from its end; who is used again is young again. */
static void test_oldest_goes_first(void **state) {
    (void)state;
    enum { N = 3 };
    qm_batch *b = begin(1, 3 * P, 3 * N, 64, 0);
    req r[N + 2];
    for (uint64_t i = 0; i < N; i++) {
        r[i] = prompt(10 + i, 3 * P - 1, 1);
        submit(b, &r[i]);
        finish(b);
        assert_int_equal(g->kv.n_kept, 2 * (i + 1));
    }
    for (int i = 0; i < N; i++) assert_true(knows(&r[i], 2));
    req again = again_of(&r[0]);
    submit(b, &again);
    finish(b);
    assert_int_equal(again.u.n_cached, 2 * P);
    r[N] = prompt(20, 2 * P + 1, 1); /* three blank ones are there */
    submit(b, &r[N]);
    finish(b);
    for (int i = 0; i < N + 1; i++) assert_true(knows(&r[i], 2));
    assert_int_equal(g->kv.n_kept, 8);
    r[N + 1] = prompt(21, P + 1, 1); /* one is blank, one must go: the last of the oldest, which now is the second */
    submit(b, &r[N + 1]);
    finish(b);
    assert_true(knows(&r[1], 1) && !knows(&r[1], 2));
    for (int i = 0; i < N + 1; i++)
        if (i != 1) assert_true(knows(&r[i], 2));
    for (int i = 0; i < N + 2; i++) check_tokens(&r[i]);
    tape_check_known(g);
    end(b);
}

/* All hashes alike: ids and the page before decide. Also pages with the same ids behind different ones. */
static void test_collisions(void **state) {
    (void)state;
    qm_batch *b = begin(2, 160, 24, 32, 0);
    req r[4];
    g->kv.n_buckets = 1;
    for (uint64_t i = 0; i < 4; i++) {
        r[i] = prompt(30 + i, 70, 9);
        if (i) memcpy(r[i].ids + P, r[0].ids + P, P * sizeof *r[0].ids);
        submit(b, &r[i]);
    }
    finish(b);
    for (int i = 0; i < 4; i++) {
        check_tokens(&r[i]);
        assert_int_equal(r[i].u.n_cached, 0);
        assert_true(knows(&r[i], 2));
        req again = again_of(&r[i]);
        submit(b, &again);
        finish(b);
        check_tokens(&again);
        assert_int_equal(again.u.n_cached, 2 * P);
    }
    tape_check_known(g);
    end(b);
}

/* Cancelled while it waits, while its prompt is computed, while it decodes, with steps on their way that run long after: the
 * next step has no row of it, and who waited for its pages has them at once. */
static void test_cancel(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            qm_batch *b = begin(2, 4 * P, 4, 8, seed);
            req a = prompt(40, 60, 60), c = prompt(41, 50, 70), d = prompt(42, 60, 60);
            submit(b, when == 0 ? &c : &a);
            if (when == 0) submit(b, &a);
            if (when == 0) d.stop_after = 1;
            submit(b, &d);
            for (int i = 0; i < (when == 2 ? 14 : 3); i++) step(b);
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
            step(b);
            assert_true(a.ended);
            assert_int_equal(a.u.finish, QM_FINISH_CANCELLED);
            assert_int_equal(a.n_got, n_got);
            if (when) { /* the other one has its place, its pages and all of the step */
                assert_ptr_equal(b->lanes[0].job->r.user, &d);
                assert_int_equal(b->n_rows, n_rows + 8);
            }
            if (!when) qm_batch_cancel(b, c.ticket);
            finish(b);
            check_tokens(&a);
            check_tokens(&d);
            if (!when) assert_int_equal(c.u.finish, QM_FINISH_CANCELLED);
            assert_false(qm_batch_cancel(b, a.ticket));
            tape_check_known(g);
            end(b);
        }
}

/* What cannot be is said before anything is done, with the numbers. */
static void test_refused(void **state) {
    (void)state;
    qm_batch *b = begin(2, 4 * P, 4, 8, 0), *other;
    req r = prompt(50, 100, 29);
    const qm_sampling hot = {.temperature = 2000, .top_p = 1, .repeat_penalty = 1};
    qm_err e;
    assert_int_equal(try_submit(b, &r, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "100 tokens of prompt + 29 to generate exceed the context of 128"));
    r.n = 128;
    r.max = 0;
    assert_int_equal(try_submit(b, &r, &e), QM_ERR_LIMIT);
    r.n = 0;
    assert_int_equal(try_submit(b, &r, &e), QM_ERR_ARG);
    r = prompt(51, 100, 28);
    r.ids[99] = 512;
    assert_int_equal(try_submit(b, &r, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "prompt token 99: id 512 is outside the vocabulary of 512"));
    r.ids[99] = 70;
    r.how = &hot;
    assert_int_equal(try_submit(b, &r, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "temperature is 2000"));
    assert_int_equal(qm_batch_step(b, &e), 0);
    assert_int_equal(qm_batch_open(&other, g, NULL, &e), QM_ERR_LIMIT);
    assert_null(other);
    r.how = NULL;
    submit(b, &r); /* to the last position of context and pool */
    finish(b);
    check_tokens(&r);
    assert_int_equal(r.n_got, 28);
    end(b);

    b = begin(1, 4 * P, 4, 8, 0);
    b->n_queue = 2;
    req q[4];
    for (uint64_t i = 0; i < 4; i++) {
        q[i] = prompt(52 + i, 20, 5);
        if (i < 3) submit(b, &q[i]);
    }
    assert_int_equal(try_submit(b, &q[3], &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "3 requests are there: 1 may run, and 2 wait"));
    while (!q[0].ended) step(b);
    submit(b, &q[3]);
    finish(b);
    for (int i = 0; i < 4; i++) check_tokens(&q[i]);
    end(b);
}

/* Two that fit the pool one at a time: the younger is paused, the older never; both have their tokens. */
static void test_paused(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        qm_batch *b = begin(3, 6 * P, 6 + seed % 2, 16, seed / 2);
        req r[3] = {prompt(60, 40, 150), prompt(61, 33, 100), prompt(62, 70, 122)};
        const qm_sampling how = {.temperature = 1, .top_p = 1, .repeat_penalty = 1.1f, .repeat_last_n = 5, .seed = 7};
        r[1].how = &how;
        for (int i = 0; i < 3; i++) submit(b, &r[i]);
        finish(b);
        for (int i = 0; i < 3; i++) check_tokens(&r[i]);
        assert_int_equal(r[0].u.n_paused, 0);
        assert_true(r[1].u.n_paused + r[2].u.n_paused > 0);
        assert_int_equal(r[1].u.n_cached, 0); /* its own, when it goes on, is not what it was spared */
        assert_true(r[0].u.total_s < r[2].u.total_s);
        tape_check_known(g);
        end(b);
    }
}

/* Decoding sequences have a row in every step beside a long prompt; prompts come in their order. */
static void test_rows(void **state) {
    (void)state;
    qm_batch *b = begin(4, 320, 40, 8, 0);
    req r[4] = {prompt(70, 3, 60), prompt(71, 2, 60), prompt(72, 150, 5), prompt(73, 150, 5)};
    uint32_t got, n = 0;
    for (int i = 0; i < 4; i++) submit(b, &r[i]);
    while (!r[0].n_got || !r[1].n_got) step(b);
    while (b->lanes[2].next < 150) { /* six rows a step */
        got = r[0].n_got;
        assert_int_equal(b->lanes[3].next, 0);
        step(b);
        assert_int_equal(r[0].n_got, got + 1);
        assert_int_equal(r[1].n_got, r[0].n_got);
        n++;
    }
    assert_in_range(n, 150 / 6 - 2, 150 / 6 + 1);
    finish(b);
    for (int i = 0; i < 4; i++) check_tokens(&r[i]);
    assert_int_equal(tape_most_rows(), 8);
    end(b);
}

/* More that decode than a step has rows: all get on, and a prompt does not wait for their end. */
static void test_rows_are_few(void **state) {
    (void)state;
    for (uint32_t rows = 1; rows <= 3; rows++) {
        qm_batch *b = begin(6, 128, 40, rows, 0);
        req r[6];
        uint32_t had[6];
        for (uint64_t i = 0; i < 6; i++) {
            r[i] = prompt(80 + i, i == 5 ? 40 : 2, 86);
            submit(b, &r[i]);
        }
        while (!r[5].n_got) {
            step(b);
            for (int i = 0; i < 6; i++) assert_false(r[i].ended);
        }
        for (int i = 0; i < 6; i++) had[i] = r[i].n_got;
        for (uint32_t i = 0; i < 60 / rows; i++) step(b);
        for (int i = 0; i < 6; i++) assert_in_range(r[i].n_got - had[i], 9, 11);
        finish(b);
        for (int i = 0; i < 6; i++) check_tokens(&r[i]);
        assert_int_equal(tape_most_rows(), rows);
        end(b);
    }
}

/* Every end. */
static void test_ends(void **state) {
    (void)state;
    qm_batch *b = begin(2, 256, 16, 16, 0);
    req r[5];
    for (uint64_t i = 0; i < 5; i++) r[i] = prompt(90, 20, 60);
    tape_alone(r[0].ids, 20, NULL, r[0].want, 60);
    r[0].stop = r[0].want[7];
    r[1].stop_after = 3;
    r[2].max = 0;
    r[3].ignore_eos = 0;
    r[3].max = 0;
    for (int i = 0; i < 5; i++) submit(b, &r[i]);
    finish(b);
    for (int i = 0; i < 5; i++) check_tokens(&r[i]);
    assert_int_equal(r[0].u.finish, QM_FINISH_STOP);
    assert_int_equal(r[1].u.finish, QM_FINISH_CALLBACK);
    assert_int_equal(r[2].u.finish, QM_FINISH_CONTEXT);
    assert_int_equal(r[2].n_got, 256 - 20);
    assert_int_equal(r[3].u.finish, QM_FINISH_EOG);
    assert_int_equal(r[4].u.finish, QM_FINISH_LENGTH);
    assert_string_equal(qm_finish_name(QM_FINISH_CANCELLED), "cancelled");
    assert_string_equal(qm_finish_name(QM_FINISH_ERROR), "error");
    /* and closed with one that runs and one that waits */
    req left[3] = {prompt(91, 20, 60), prompt(92, 20, 60), prompt(93, 20, 60)};
    for (int i = 0; i < 3; i++) submit(b, &left[i]);
    for (int i = 0; i < 6; i++) step(b);
    end(b);
    for (int i = 0; i < 3; i++) assert_int_equal(left[i].u.finish, QM_FINISH_CANCELLED);
    assert_true(left[0].n_got > 0 && !left[2].n_got);
}

/* Callbacks may submit and cancel. */
static req follow;
static int on_token_follow(void *user, uint32_t id) {
    req *r = user;
    if (!r->n_got) {
        submit(r->b, &follow);
        qm_batch_cancel(r->b, r->ticket);
    }
    return on_token(user, id);
}
static void test_callbacks(void **state) {
    (void)state;
    qm_batch *b = begin(1, 128, 8, 16, 0);
    req r = prompt(95, 20, 60);
    qm_request q = {.ids = r.ids, .n = r.n, .ignore_eos = 1, .on_token = on_token_follow, .on_end = on_end, .user = &r};
    qm_err e;
    follow = prompt(96, 10, 5);
    r.b = b;
    fix_ok(qm_batch_submit(b, &q, &r.ticket, &e), &e);
    finish(b);
    assert_int_equal(r.u.finish, QM_FINISH_CANCELLED);
    assert_int_equal(r.n_got, 1);
    check_tokens(&follow);
    q = (qm_request){.ids = follow.ids, .n = 10, .max_tokens = 4}; /* nobody listens */
    fix_ok(qm_batch_submit(b, &q, NULL, &e), &e);
    finish(b);
    end(b);
}

/* A step that fails: who ran ends with its error, who waited goes on, and nothing is known of any page. */
static void test_step_fails(void **state) {
    (void)state;
    for (uint32_t at = 1; at < 12; at += 5) {
        qm_batch *b = begin(2, 128, 8, 16, 3);
        req r[3] = {prompt(100, 60, 20), prompt(101, 40, 20), prompt(102, 60, 20)};
        qm_err e;
        int rc;
        for (int i = 0; i < 3; i++) submit(b, &r[i]);
        tape_fail_at(at);
        while ((rc = qm_batch_step(b, &e)) > 0) check_pool(b, NULL, 0);
        assert_int_equal(rc, QM_ERR_DEVICE);
        assert_string_equal(e.msg, "the tape tore");
        check_pool(b, NULL, 0);
        assert_int_equal(g->kv.n_free, g->kv.n_pages);
        assert_int_equal(g->kv.n_kept, 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(r[i].u.finish, QM_FINISH_ERROR);
            assert_int_equal(r[i].u.error.code, QM_ERR_DEVICE);
            assert_string_equal(r[i].u.error.msg, "the tape tore");
        }
        finish(b);
        for (int i = 0; i < 3; i++) check_tokens(&r[i]);
        assert_int_equal(r[2].u.finish, QM_FINISH_LENGTH);
        assert_int_equal(r[2].u.error.code, 0);
        tape_check_known(g);
        end(b);
    }
}

/* ---- sessions beside a batch: they hold pages of the same pool ---- */
/* A session shares pages where it is told to; cut within one, it computes the rest of it once more, in a page of its own. */
static void test_truncated_within_shared(void **state) {
    (void)state;
    qm_batch *b = begin(3, 160, 20, 32, 0);
    qm_session *s;
    qm_err e;
    uint32_t id, want[1], page;
    req r = prompt(110, 100, 40), again = r;
    qm_batch_close(b);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_batch_open(&b, g, &(qm_batch_opts){.n_seqs = 2}, &e), &e);
    submit(b, &r);
    finish(b);
    memcpy(s->ids, r.ids, 100 * sizeof *r.ids);
    s->n = 100;
    fix_ok(qm_session_adopt(s, &e), &e);
    assert_int_equal(s->n_cached, 96);
    page = s->pages[1];
    submit(b, &again); /* holds the same pages while the session writes */
    qm_batch_step(b, &e);
    assert_int_equal(g->kv.page[page].refs, 2);
    fix_ok(qm_session_truncate(s, 50, &e), &e);
    assert_int_equal(s->n_cached, 32);
    fix_ok(qm_session_eval(s, 77, &e), &e);
    assert_int_not_equal(s->pages[1], page);
    fix_ok(qm_session_result(s, 50, &id, &e), &e);
    tape_alone(s->ids, 51, NULL, want, 1);
    assert_int_equal(id, want[0]);
    for (int rc = 1; rc;) {
        rc = qm_batch_step(b, &e);
        check_pool(b, &s, 1);
    }
    check_tokens(&again);
    tape_check_known(g);
    qm_session_close(s);
    end(b);
}

/* A request that would fit, but sessions hold the pool: it waits where another one runs, and is an error where nothing would
 * ever change. */
static void test_pool_held_by_session(void **state) {
    (void)state;
    qm_batch *b = begin(3, 128, 4, 32, 0);
    qm_session *s;
    qm_err e;
    req r = prompt(120, 100, 10), c = prompt(121, 30, 3);
    qm_batch_close(b);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_batch_open(&b, g, &(qm_batch_opts){.n_seqs = 2}, &e), &e);
    fix_ok(qm_session_pages(s, 2, &e), &e);
    submit(b, &c);
    submit(b, &r);
    qm_batch_step(b, &e);
    assert_false(r.ended);
    while (qm_batch_step(b, &e) > 0) check_pool(b, &s, 1);
    check_tokens(&c);
    assert_int_equal(c.n_got, 3);
    assert_int_equal(r.u.finish, QM_FINISH_ERROR);
    assert_int_equal(r.u.error.code, QM_ERR_LIMIT);
    assert_non_null(strstr(r.u.error.msg, "100 tokens need 4 pages of KV cache, but sessions beside the batch leave only 2 of 4 free"));
    qm_session_close(s);
    end(b);
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
        if (try_submit(s->b, &s->r[i], &e)) return (void *)1;
        if (!qm_rng_below(&rng, 4)) usleep(qm_rng_below(&rng, 300));
        if (!qm_rng_below(&rng, 3)) qm_batch_cancel(s->b, s->r[qm_rng_below(&rng, (uint32_t)i + 1)].ticket);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static req r[THREADS][EACH];
    qm_batch *b = begin(4, 160, 14, 16, 9);
    pthread_t t[THREADS];
    sender s[THREADS];
    uint32_t left = THREADS * EACH;
    for (int k = 0; k < THREADS; k++) {
        for (int i = 0; i < EACH; i++) r[k][i] = prompt((uint64_t)(i % 7), 20 + (uint32_t)i, 10 + (uint32_t)k);
        s[k] = (sender){b, r[k], (uint64_t)k};
        assert_int_equal(pthread_create(&t[k], NULL, send_some, &s[k]), 0);
    }
    while (left) {
        qm_batch_wait(b, 0.01);
        step(b);
        left = 0;
        for (int k = 0; k < THREADS; k++)
            for (int i = 0; i < EACH; i++) left += !r[k][i].ended;
    }
    for (int k = 0; k < THREADS; k++) {
        void *bad;
        pthread_join(t[k], &bad);
        assert_null(bad);
        for (int i = 0; i < EACH; i++) check_tokens(&r[k][i]);
    }
    finish(b);
    end(b);
}

/* ---- at random ---- */
enum { REQUESTS = 14, FAMILIES = 3 };
static struct {
    uint64_t cancelled, paused, cached, evicted, finished, errors, truncated, steps;
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
            s->n = 1 + qm_rng_below(rng, g->limits.n_ctx - 1);
            memcpy(s->ids, text, s->n * sizeof *text);
            fix_ok(qm_session_adopt(s, &e), &e);
            s->n = s->n_cached;
            break;
        default:
            if (n + 1 >= g->limits.n_ctx) break;
            if (qm_session_eval(s, text[n], &e)) { /* no page */
                fix_ok(qm_session_truncate(s, 0, &e), &e);
                break;
            }
            fix_ok(qm_session_result(s, n, &id, &e), &e);
            tape_alone(s->ids, n + 1, NULL, &want, 1);
            assert_int_equal(id, want);
            fix_ok(qm_session_publish(s, &e), &e);
    }
}

static void schedule(uint64_t seed) {
    static req r[REQUESTS];
    static const uint32_t contexts[] = {40, 64, 100, 160, 300}, steps[] = {1, 2, 3, 8, 16, 64, 512};
    static const qm_sampling how = {.temperature = 1, .top_p = 1, .repeat_penalty = 1.1f, .repeat_last_n = 4, .seed = 11};
    qm_rng rng = {seed};
    const uint32_t n_ctx = contexts[qm_rng_below(&rng, 5)], n_seqs = 1 + qm_rng_below(&rng, 6);
    const int with_session = !qm_rng_below(&rng, 3), tight = !qm_rng_below(&rng, 3); /* short prompts, long answers */
    const uint32_t n_pages = qm_pages_for(n_ctx) + qm_rng_below(&rng, (tight ? 1 : 3) * qm_pages_for(n_ctx));
    const uint32_t n_requests = 3 + qm_rng_below(&rng, REQUESTS - 2);
    uint32_t text[FAMILIES][MAX], n = 0;
    qm_session *s = NULL;
    qm_batch *b = begin(n_seqs, n_ctx, n_pages, steps[qm_rng_below(&rng, 7)], qm_rng_below(&rng, 3) ? seed + 1 : 0);
    qm_err e;
    if (with_session) {
        g->limits.n_seqs++;
        fix_ok(qm_session_open(&s, g, &e), &e);
    }
    if (!qm_rng_below(&rng, 4)) g->kv.n_buckets = 1;
    for (uint64_t k = 0; k < FAMILIES; k++) fix_prompt(g, text[k], MAX, 200 + k + 7 * (seed % 50));
    for (int more = 1; more || n < n_requests;) {
        assert_true(++calls < 100000);
        const uint32_t what = qm_rng_below(&rng, 16);
        if (n < n_requests && what < 4) {
            req *x = &r[n++];
            *x = (req){.n = 1 + qm_rng_below(&rng, tight ? n_ctx / 4 : n_ctx - 1),
                       .ignore_eos = tight || qm_rng_below(&rng, 2)};
            memcpy(x->ids, text[qm_rng_below(&rng, FAMILIES)], x->n * sizeof *x->ids);
            if (qm_rng_below(&rng, 2)) { /* another end */
                const uint32_t from = qm_rng_below(&rng, x->n);
                fix_prompt(g, x->ids + from, x->n - from, seed * 31 + n);
            }
            x->max = tight ? n_ctx - x->n : qm_rng_below(&rng, n_ctx - x->n + 1);
            if (!qm_rng_below(&rng, 3)) x->how = &how;
            if (!qm_rng_below(&rng, 4)) x->stop = 65 + qm_rng_below(&rng, 30);
            if (!qm_rng_below(&rng, 6)) x->stop_after = 1 + qm_rng_below(&rng, 9);
            x->no_reuse = !qm_rng_below(&rng, 8);
            submit(b, x);
        } else if (n && what == 4 && qm_batch_cancel(b, r[qm_rng_below(&rng, n)].ticket)) seen.cancelled++;
        else if (s && what < 8) stir(s, &rng, text[0]);
        const uint32_t kept = g->kv.n_kept;
        more = qm_batch_step(b, &e);
        if (more < 0) fail_msg("%s", e.msg);
        seen.evicted += g->kv.n_kept < kept;
        seen.steps++;
        check_pool(b, &s, s != NULL);
    }
    for (uint32_t i = 0; i < n; i++) {
        check_tokens(&r[i]);
        seen.paused += r[i].u.n_paused;
        seen.cached += r[i].u.n_cached;
        seen.finished += r[i].u.finish != QM_FINISH_CANCELLED && r[i].u.finish != QM_FINISH_ERROR;
        if (r[i].u.finish != QM_FINISH_ERROR) continue;
        assert_non_null(strstr(r[i].u.error.msg, "sessions beside the batch"));
        seen.errors++;
    }
    tape_check_known(g);
    if (s) qm_session_close(s);
    end(b);
}

#define U(x) (unsigned long long)(x)
static void test_random_schedules(void **state) {
    (void)state;
    const char *more = getenv("QMOE_SCHEDULES");
    const uint64_t n = more ? strtoull(more, NULL, 10) : 1000;
    memset(&seen, 0, sizeof seen);
    for (uint64_t i = 0; i < n; i++) schedule(i);
    print_message("%llu schedules: %llu steps; of the requests %llu finished, %llu cancelled, %llu pauses, %llu errors; %llu "
                  "positions found, %llu steps that dropped pages, %llu truncations\n",
                  U(n), U(seen.steps), U(seen.finished), U(seen.cancelled), U(seen.paused), U(seen.errors), U(seen.cached),
                  U(seen.evicted), U(seen.truncated));
    /* everything has happened, often */
    assert_true(seen.finished > 3 * n && seen.cancelled > 2 * n && seen.paused > n / 8 && seen.cached > 30 * n);
    assert_true(seen.evicted > n && seen.truncated > 2 * n);
    assert_true(seen.errors > 0 && seen.errors < n / 8);
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
        cmocka_unit_test(test_rows_are_few),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_step_fails),
        cmocka_unit_test(test_truncated_within_shared),
        cmocka_unit_test(test_pool_held_by_session),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_random_schedules),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
