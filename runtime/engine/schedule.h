/* schedule.h: which rows make up the next step. Nothing above it knows how many rows a step has, and nothing below it
 * what they are for. */
#ifndef QM_SCHEDULE_H
#define QM_SCHEDULE_H
#include "session.h"

/* What a sequence wants computed: positions [next, end), in order. */
typedef struct {
    qm_session *s;
    uint32_t next, end;
    uint32_t until; /* >= end: as far as it is likely to go; pages are taken some at a time, up to there */
    int logits;     /* QM_DRAW: those of the last position are wanted; QM_SCORE: those of each (executor.h) */
    uint32_t n;     /* filled by qm_schedule: rows that it has in this step, from next on */
} qm_want;

/* Deals up to max rows, of which max_outs (>= 1) with logits, to a step: one to each want in turn, so that none waits for another's long prompt; then what
 * room is left to those that want more, in their order. A want's rows are neighbours in the step. Returns how many
 * rows. Where there are more wants than rows, the caller brings them in another order next time. */
uint32_t qm_schedule(qm_want *w, uint32_t n, qm_row *rows, uint32_t max, uint32_t max_outs);

/* The next step of these wants: takes pages for its rows, enqueues it; next moves on. Nothing where nothing is wanted.
 * After an error next is as it was. */
int qm_schedule_step(qm_engine *g, qm_want *w, uint32_t n, qm_err *e);
#endif
