/* batch_deal.c: who runs, and who gets which rows of the next step and the pages for them.
 *
 * Pages, by rule. A request begins when its prompt and one token fit beside what the running prompts still need, and a
 * page for each that runs. A running sequence takes pages as it needs them; kept prefixes go first (pages.h). Where
 * that is not enough the youngest running sequence is paused: its pages go back, its tokens are kept and later computed
 * again, as a prompt, to the same bits. So the oldest always gets on, and since every request that was accepted fits
 * the pool by itself, all of them end.
 *
 * Rows, by rule. Decoding sequences have a row each; what is left goes to prompts, the oldest first. Where the decoding
 * ones fill steps by themselves, those that have waited longest go first, and every second step has a row for a
 * prompt. */
#include <stdlib.h>
#include <string.h>
#include "batch.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

void qm_batch_leave(qm_batch *b, qm_lane *l) {
    qm_err none;
    qm_session_truncate(l->s, 0, &none); /* the pages go back at once: pages.h says why that is safe */
    qm_queue_runs(b, l->job, 0);
    l->job = NULL;
    l->rows = 0;
    l->run = 0;
}

static qm_lane *lane_of(qm_batch *b, const qm_job *j) {
    for (uint32_t i = 0; i < b->n_lanes; i++)
        if (b->lanes[i].job == j) return &b->lanes[i];
    return NULL;
}

void qm_batch_end(qm_batch *b, qm_job *j, qm_finish finish, const qm_err *why) {
    qm_lane *l = lane_of(b, j);
    if (l) qm_batch_leave(b, l);
    qm_queue_end(b, j, finish, why);
}

/* Its tokens go back to the request, which waits in its old place. */
static void pause_lane(qm_batch *b, qm_lane *l) {
    qm_job *j = l->job;
    uint32_t *ids = realloc(j->ids, l->s->n * sizeof *ids);
    if (ids) {
        memcpy(ids, l->s->ids, l->s->n * sizeof *ids);
        j->ids = ids;
        j->n = l->s->n;
        j->u.n_paused++;
    }
    qm_batch_leave(b, l);
    if (ids) return;
    qm_err e;
    qm_fail(&e, QM_ERR_NOMEM, "batch: out of memory for the tokens of a paused sequence");
    qm_queue_end(b, j, QM_FINISH_ERROR, &e);
}

/* Lanes that run, the oldest first, to b->by_age. */
static uint32_t sort(qm_batch *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_lanes; i++) {
        if (!b->lanes[i].job) continue;
        uint32_t at = n++;
        for (; at && b->by_age[at - 1]->job->ticket > b->lanes[i].job->ticket; at--) b->by_age[at] = b->by_age[at - 1];
        b->by_age[at] = &b->lanes[i];
    }
    return n;
}

/* ---- who begins ---- */
/* Pages that running prompts will still take. */
static uint32_t promised(const qm_batch *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_lanes; i++) {
        const qm_lane *l = &b->lanes[i];
        const uint32_t all = l->job ? qm_pages_for(l->s->n) : 0;
        if (all > l->s->n_pages) n += all - l->s->n_pages;
    }
    return n;
}

/* Pages of a prefix of j that others hold: they cost nothing. */
static uint32_t held_by_others(const qm_batch *b, const qm_job *j) {
    const qm_pages *kv = &b->g->kv;
    uint32_t page = QM_NO_PAGE, n = 0;
    for (uint32_t i = 0; (i + 1) * QM_PAGE_TOKENS < j->n; i++) {
        page = qm_pages_find(kv, page, j->ids + i * QM_PAGE_TOKENS);
        if (page == QM_NO_PAGE) break;
        n += kv->page[page].refs > 0;
    }
    return n;
}

static int fits(const qm_batch *b, const qm_job *j, uint32_t *need) {
    const uint32_t n_free = b->g->kv.n_free, taken = b->n_running + promised(b);
    *need = qm_pages_for(least(j->n + 1, j->end));
    return *need + taken <= n_free || *need - held_by_others(b, j) + taken <= n_free;
}

static int begin(qm_batch *b, qm_lane *l, qm_job *j, qm_err *e) {
    const qm_executor *x = b->g->exec;
    memcpy(l->s->ids, j->ids, j->n * sizeof *j->ids);
    l->s->n = j->n;
    l->job = j;
    l->run = ++b->n_runs;
    l->next = 0;
    l->masked = 0;
    l->how = j->words.p;
    l->served = b->n_steps;
    qm_queue_runs(b, j, 1);
    int rc = x->put_sampling(b->g, l->s->seq, &j->words, e);
    return rc ? rc : x->put_tokens(b->g, l->s->seq, 0, l->s->ids, l->s->n, e);
}

int qm_batch_admit(qm_batch *b, qm_err *e) {
    uint32_t i = 0, need;
    for (qm_job *j; (j = qm_queue_waiting(b));) {
        while (i < b->n_lanes && b->lanes[i].job) i++;
        if (i == b->n_lanes) break;
        if (fits(b, j, &need)) {
            int rc = begin(b, &b->lanes[i], j, e);
            if (rc) return rc;
        } else if (b->n_running) break;
        else {
            qm_err why;
            qm_fail(&why, QM_ERR_LIMIT,
                    "%u tokens need %u pages of KV cache, but sessions beside the batch leave only %u of %u free", j->n,
                    need, b->g->kv.n_free, b->g->kv.n_pages);
            qm_queue_end(b, j, QM_FINISH_ERROR, &why);
        }
    }
    return 0;
}

/* ---- rows ---- */
static int decodes(const qm_lane *l) { return l->next + 1 >= l->s->n; } /* or is at its prompt's last position */
/* Has a position to compute; who limits his tokens only such whose token is known: its mask is on the device. */
static int has_more(const qm_lane *l) { return l->next < l->job->end && !(l->job->r.mask && l->next >= l->s->n); }

/* n_decoding lanes, of which room get a row: those that have waited longest. */
static void deal_decoding(qm_batch *b, uint32_t n_running, uint32_t room) {
    for (; room; room--) {
        qm_lane *best = NULL;
        for (uint32_t i = 0; i < n_running; i++) {
            qm_lane *l = b->by_age[i];
            if (l->rows || !has_more(l) || !decodes(l)) continue;
            if (!best || l->served < best->served) best = l;
        }
        if (!best) return;
        best->rows = 1;
    }
}

/* Where it may begin with what others have computed, it does. */
static int adopt(qm_lane *l, qm_err *e) {
    if (l->job->r.no_reuse) return 0;
    int rc = qm_session_adopt(l->s, e);
    if (rc || l->s->n_cached <= l->next) return rc;
    if (!l->job->u.n_paused) l->job->u.n_cached += l->s->n_cached - l->next;
    l->next = l->s->n_cached;
    return 0;
}

static int deal_prompts(qm_batch *b, uint32_t n_running, uint32_t room, uint32_t outs, qm_err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < n_running && room && !rc; i++) {
        qm_lane *l = b->by_age[i];
        if (l->rows || !has_more(l) || decodes(l) || (rc = adopt(l, e))) continue;
        l->rows = least(l->s->n - l->next, room);
        if (l->next + l->rows == l->s->n) { /* its last row has logits */
            if (outs) outs--;
            else l->rows--;
        }
        room -= l->rows;
    }
    return rc;
}

/* ---- pages ---- */
/* Pages for the rows of by_age[i]; 0: it had to be paused itself. */
static int make_room(qm_batch *b, uint32_t i, uint32_t *n_running) {
    const qm_lane *l = b->by_age[i];
    while (qm_pages_for(l->next + l->rows) > l->s->n_pages + b->g->kv.n_free) {
        --*n_running;
        pause_lane(b, b->by_age[*n_running]);
        if (*n_running == i) return 0;
    }
    return 1;
}

int qm_batch_deal(qm_batch *b, uint32_t *n, qm_err *e) {
    uint32_t n_running = sort(b), decoding = 0, prompts = 0, room = b->max_rows;
    int rc = 0;
    for (uint32_t i = 0; i < n_running; i++) {
        qm_lane *l = b->by_age[i];
        l->rows = 0;
        if (has_more(l) && decodes(l)) decoding++;
        else prompts += has_more(l);
    }
    /* also a lane whose prompt ends in this step has logits: they share max_outs */
    decoding = least(decoding, least(room, b->max_outs));
    if (decoding == room && prompts && b->prompts_waited) decoding--;
    b->prompts_waited = prompts && decoding == room;
    deal_decoding(b, n_running, decoding);
    if ((rc = deal_prompts(b, n_running, room - decoding, b->max_outs - decoding, e))) return rc;
    *n = 0;
    for (uint32_t i = 0; i < n_running && !rc; i++) {
        qm_lane *l = b->by_age[i];
        if (!l->rows || !make_room(b, i, &n_running)) continue;
        const uint32_t end = l->next + l->rows;
        if ((rc = qm_session_grow(l->s, end, end, e))) break;
        b->wants[(*n)++] = (qm_want){l->s, l->next, end, end, end >= l->s->n ? QM_DRAW : QM_NO_LOGITS, 0};
        b->by_age[*n - 1] = l; /* whose want it is: *n <= i + 1 */
    }
    return rc;
}
