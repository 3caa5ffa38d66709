/* session.h: a sequence: its tokens, the pages of the KV pool that hold it, its steps. */
#ifndef QM_SESSION_H
#define QM_SESSION_H
#include "engine.h"
#include "watch.h"

struct qm_session {
    qm_engine *g;
    qm_seq *seq;
    uint32_t *ids;     /* [n_ctx + 1] tokens by position */
    uint32_t n;        /* tokens the sequence has */
    uint32_t n_cached; /* of these, how many have their keys and values in the cache (<= n) */
    uint32_t *pages;   /* [n_table] block table */
    uint32_t n_pages;
    uint32_t n_shared;   /* of these, how many others may hold too: they are not written any more */
    const qm_plan *last; /* plan of the last step with logits; NULL: none since the last truncation */
    /* What somebody knows about the tokens (chat.c: the text that they stand for); gone when they change. NULL:
     * nothing. */
    void *note;
    void (*note_free)(void *note);
};
/* The note of a session becomes this one, NULL: none; the one before is freed. */
void qm_session_note(qm_session *s, void *note, void (*free_note)(void *));

/* Takes pages from the pool until the session has n, or none; the device learns of all new ones at once. QM_ERR_LIMIT
 * where the pool has not as many. */
int qm_session_pages(qm_session *s, uint32_t n, qm_err *e);
/* Pages for n positions; where that takes new ones then some more, so that the device need not hear of every one:
 * QM_GROW_PAGES at once, but none beyond position `until`, and none that the pool does not have. */
enum { QM_GROW_PAGES = 8 };
int qm_session_grow(qm_session *s, uint32_t n, uint32_t until, qm_err *e);
/* Gives those back that no cached position lies in. */
void qm_session_trim(qm_session *s);

/* ---- share.c: whole pages that sequences have in common, by what pages.h knows of them. Nobody's unless asked for:
 * what generate and bench say that they computed, they computed. ---- */
/* Where the next position to be computed begins a page: takes pages with what ids[0 .. n) go on with, as long as they
 * are known, and never that of the last position, whose logits will be wanted. n_cached moves on behind them. */
int qm_session_adopt(qm_session *s, qm_err *e);
/* The full pages of the n_cached positions, whose steps have been enqueued, are known from here on; where another
 * sequence has computed the same before, its page takes the place of this one's. After an error the session is only
 * good for being closed. */
int qm_session_publish(qm_session *s, qm_err *e);

/* ---- prefill.c ---- */
/* Computes everything up to n; the last position with logits. Needs n > n_cached. w may be NULL; it may cancel. */
int qm_session_prefill(qm_session *s, const qm_watch *w, qm_err *e);
/* Enqueues the step of one row, position pos: takes pages as needed. */
int qm_session_step(qm_session *s, uint32_t pos, int logits, qm_err *e);
/* ---- session.c ---- */
/* For who launches a step's ops by hand: those launched next compute position pos. */
int qm_session_place(qm_session *s, uint32_t pos, qm_err *e);
/* The error of logits that are not finite. */
int qm_session_sick(uint32_t pos, qm_err *e);
/* What the row at pos chose, and what its logprobs are made of if it was asked; its flags are turned into errors. Waits. */
int qm_session_told(qm_session *s, uint32_t pos, qm_result *r, qm_err *e);
/* The token alone. */
int qm_session_result(qm_session *s, uint32_t pos, uint32_t *id, qm_err *e);
#endif
