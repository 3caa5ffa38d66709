#include "requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qm_engine *req_engine;
uint32_t req_calls; /* of step, since begin */

int req_open_engine(void **state) {
    qm_err e;
    qm_engine_opts o = {.executor = "ref", .n_ctx = REQ_MAX, .n_ubatch = 1};
    (void)state;
    fix_ok(qm_engine_open(&req_engine, fix_model("small"), &o, &e), &e);
    assert_true(req_engine->model->hp.n_vocab <= REQ_VOCAB);
    return 0;
}

int req_close_engine(void **state) {
    (void)state;
    if (strcmp(req_engine->exec->name, "tape")) qm_engine_close(req_engine); /* else a test has failed on the way */
    return 0;
}

qm_batch *req_begin(uint32_t n_seqs, uint32_t n_ctx, uint32_t n_pages, uint32_t n_rows, uint64_t seed) {
    qm_limits l = req_engine->limits;
    qm_batch *b;
    qm_err e;
    qm_batch_opts o = {.n_rows = n_rows};
    l.n_seqs = n_seqs;
    l.n_ctx = n_ctx;
    l.n_rows = 512;
    l.n_outs = n_seqs < n_rows ? n_seqs : n_rows;
    req_calls = 0;
    tape_begin(req_engine, l, n_pages, seed);
    fix_ok(qm_batch_open(&b, req_engine, &o, &e), &e);
    return b;
}

void req_end(qm_batch *b) {
    qm_batch_close(b);
    assert_int_equal(req_engine->kv.n_free, req_engine->kv.n_pages);
    tape_end(req_engine);
}

int req_on_token(void *user, uint32_t id, const qm_logprobs *lp) {
    req *r = user;
    (void)lp;
    assert_false(r->ended);
    assert_true(r->n_got < REQ_MAX);
    r->got[r->n_got++] = id;
    return r->n_got == r->stop_after;
}

/* Of the next token: the one before it has been told. */
const uint32_t *req_mask(void *user) {
    req *r = user;
    assert_false(r->ended);
    assert_true(r->n_masks++ >= r->n_got);
    return tape_mask(r->n_got ? r->got[r->n_got - 1] : r->ids[r->n - 1], r->n + r->n_got, r->mask);
}

void req_on_end(void *user, const qm_usage *u) {
    req *r = user;
    assert_false(r->ended);
    r->ended = 1;
    r->u = *u;
}

int req_try(qm_batch *b, req *r, qm_err *e) {
    qm_request q = {.ids = r->ids,
                    .n = r->n,
                    .sampling = r->how,
                    .max_tokens = r->max,
                    .ignore_eos = r->ignore_eos,
                    .stop = &r->stop,
                    .n_stop = r->stop != 0,
                    .no_reuse = r->no_reuse,
                    .mask = r->limited ? req_mask : NULL,
                    .on_token = req_on_token,
                    .on_end = req_on_end,
                    .user = r};
    r->b = b;
    return qm_batch_submit(b, &q, &r->ticket, e);
}

void req_submit(qm_batch *b, req *r) {
    qm_err e;
    fix_ok(req_try(b, r, &e), &e);
}

req req_prompt(uint64_t seed, uint32_t n, uint32_t max) {
    req r = {.n = n, .max = max, .ignore_eos = 1};
    fix_prompt(req_engine, r.ids, n, seed);
    return r;
}

/* The same once more. */
req req_again(const req *r) {
    req a = *r;
    a.n_got = a.n_masks = 0;
    a.ended = 0;
    return a;
}

/* Its tokens are those that it has alone, up to where it ended, and it ended for the right reason. */
void req_check(req *r) {
    const uint32_t most = r->max ? r->max : req_engine->limits.n_ctx - r->n;
    assert_true(r->ended);
    assert_true(r->n_got <= most);
    assert_int_equal(r->u.n_generated, r->n_got);
    assert_int_equal(r->u.n_prompt, r->n);
    tape_alone(r->ids, r->n, r->how, r->limited, r->want, most);
    if (r->limited) assert_true(r->n_masks >= r->n_got && r->n_masks <= r->n_got + 1 + r->u.n_paused);
    assert_memory_equal(r->got, r->want, r->n_got * sizeof *r->got);
    if (r->u.finish == QM_FINISH_CANCELLED || r->u.finish == QM_FINISH_ERROR) return;
    qm_finish f = QM_FINISH_NONE;
    uint32_t n = 0;
    while (f == QM_FINISH_NONE) {
        const uint32_t id = r->want[n++];
        if (!r->ignore_eos && qm_token_is_eog(req_engine->tok, id)) f = QM_FINISH_EOG;
        else if (r->stop && id == r->stop) f = QM_FINISH_STOP;
        else if (n == r->stop_after) f = QM_FINISH_CALLBACK;
        else if (n == most) f = r->max ? QM_FINISH_LENGTH : QM_FINISH_CONTEXT;
    }
    assert_int_equal(r->n_got, n);
    assert_string_equal(qm_finish_name(r->u.finish), qm_finish_name(f));
}

/* ---- what holds after every step ---- */
void req_check_pool(qm_batch *b, qm_session *const *beside, uint32_t n_beside) {
    const qm_pages *kv = &req_engine->kv;
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

int req_step(qm_batch *b) {
    qm_err e;
    assert_true(++req_calls < 100000);
    int rc = qm_batch_step(b, &e);
    if (rc < 0) fail_msg("%s", e.msg);
    req_check_pool(b, NULL, 0);
    return rc;
}

void req_finish(qm_batch *b) {
    while (req_step(b)) {}
}
