/* requests.h: requests to a batch on a tape (tape.h), what must come of each, and what must hold after every step. */
#ifndef QM_REQUESTS_H
#define QM_REQUESTS_H
#include "../../runtime/engine/batch.h"
#include "tape.h"

enum { REQ_MAX = 320, REQ_VOCAB = 4096 };
typedef struct {
    qm_batch *b;
    uint32_t ids[REQ_MAX], n, max, want[REQ_MAX], got[REQ_MAX], n_got;
    uint64_t ticket;
    uint32_t stop, stop_after; /* a token id, 0: none; a number of tokens, 0: never */
    int ended, ignore_eos, no_reuse;
    int limited;                            /* its tokens are those that tape_mask allows */
    uint32_t mask[REQ_VOCAB / 32], n_masks; /* asked for */
    const qm_sampling *how;
    qm_usage u;
} req;

/* One engine for all tests of a program: its executor is the tape's between begin and end. */
extern qm_engine *req_engine;
extern uint32_t req_calls; /* of step, since begin: they must not be without an end */
int req_open_engine(void **state);
int req_close_engine(void **state);
/* A batch of so many lanes on a pool of so many pages; seed: tape_begin's. */
qm_batch *req_begin(uint32_t n_seqs, uint32_t n_ctx, uint32_t n_pages, uint32_t n_rows, uint64_t seed);
/* Closed, with all pages back. */
void req_end(qm_batch *b);

req req_prompt(uint64_t seed, uint32_t n, uint32_t max);
req req_again(const req *r); /* the same once more */
int req_try(qm_batch *b, req *r, qm_err *e);
void req_submit(qm_batch *b, req *r);
/* Callbacks; user: the req. */
int req_on_token(void *user, uint32_t id, const qm_logprobs *lp);
const uint32_t *req_mask(void *user);
void req_on_end(void *user, const qm_usage *u);
/* It has ended, its tokens are those that it has alone, up to where it ended, and it ended for the right reason. */
void req_check(req *r);

/* Each page has as many references as sequences hold it, and is in the list where it belongs; held, kept and blank are
 * all; the page before a known one is known, and held where it is. */
void req_check_pool(qm_batch *b, qm_session *const *beside, uint32_t n_beside);
/* A step, which must not fail, and the pool checked. */
int req_step(qm_batch *b);
void req_finish(qm_batch *b);
#endif
