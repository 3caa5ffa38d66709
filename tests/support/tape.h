/* tape.h: an executor for tests of what gives it work. It computes next to nothing, and forgives nothing.
 *
 * What an executor enqueues it writes on a tape, which runs as late as the host's waits allow, or in pieces drawn by a
 * seed: the order is a stream's, the time is not the host's. A "page" has one word a position, which stands for
 * everything that the position depends on: its own token and the words of all positions before it, found through the
 * block table. The token that a row chooses, one in 40 the end of a text, depends on these, on the seed and on the last
 * tokens. So one row that reads another's page, a position too many or too few, a stale table or token, and every token
 * after it is another one.
 *
 * It fails the test where a step's row is in a page that another sequence holds or that is known, where more steps are
 * on their way than QM_RUN_AHEAD, and where the rows of a step break executor.h's rules. */
#ifndef QM_TAPE_H
#define QM_TAPE_H
#include "fixture.h"

/* g's sequences are the tape's from here on; none may be open. It has any limits, and a pool of so many pages. seed: of
 * the pieces in which it runs; 0: as late as it may. */
void tape_begin(qm_engine *g, qm_limits limits, uint32_t n_pages, uint64_t seed);
/* All sequences are closed. g's own executor and limits are back; the pool is new. */
void tape_end(qm_engine *g);
/* A step from now, so many: exec->step fails once. 0: none does. The same of a mask put. */
void tape_fail_at(uint32_t steps);
void tape_fail_mask_at(uint32_t masks);
/* The most rows that a step had since the beginning. */
uint32_t tape_most_rows(void);
/* Runs what is on the tape; then fails the test where a page that is known does not hold what computing its prefix
 * gives. */
void tape_check_known(qm_engine *g);

/* What a tape computes, without one: the tokens behind ids[0 .. n), most of them, to out. s: NULL, greedy. limited: each
 * is one that tape_mask allows. */
void tape_alone(const uint32_t *ids, uint32_t n, const qm_sampling *s, int limited, uint32_t *out, uint32_t most);
/* A rule to limit tokens by: the mask of the one that is to stand at position pos, behind the token `before`. words: of the
 * engine's vocabulary. NULL: all may. */
const uint32_t *tape_mask(uint32_t before, uint32_t pos, uint32_t *words);
#endif
