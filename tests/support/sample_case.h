/* sample_case.h: one case of sampling for the checks of its two kernels: buffers, a step on both sides, what must be
 * equal after it. */
#ifndef SAMPLE_CASE_H
#define SAMPLE_CASE_H
#include <math.h>
#include <string.h>
#include "check.h"
#include "oracle.h"

enum { SMP_CTX = 300 };
typedef struct {
    uint32_t n, pos;
    unsigned scan_grid, scan_block, draw_grid, draw_block;
    qm_sampling s;
    int force_draw; /* mode 1 although top_k is 1 */
    int logprobs;
    const uint32_t *mask; /* [(n + 31) / 32]; NULL: none */
    uint32_t seq, tokens[SMP_CTX + 1];
    const float *x;
} smp_task;

typedef struct {
    qm_sample_scan_args scan;
    qm_sample_draw_args draw;
    qm_sample_words w;
    qm_row_record row;
    uint32_t st[QM_STATE_BYTES / 4];
} smp_placed;

/* The row is sequence 1's: what is sequence 0's lies this many bytes before it, and is not to be touched. */
enum { SMP_OFF = 256 };
/* What a step reads of the row and the sequence's state, after b->row or b->st has changed. */
void smp_write(const smp_placed *b);
/* The sequence's tokens: on the device; to the device. */
const uint32_t *smp_tokens(const smp_placed *b);
void smp_write_tokens(const smp_placed *b, const uint32_t *tokens);

static const qm_sampling smp_greedy = ORA_HOW(0, 40, 0.9, 0.1, 1, 64, 1), smp_plain = ORA_HOW(1, 0, 1, 0, 1, 0, 42);

/* Begins a case named after the task; checked: with the race and uninitialised-read checks. */
void smp_begin(const smp_task *t, const char *what, int checked);
/* What the task asks for, as it lies in a sequence's state. */
void smp_words(qm_sample_words *w, const smp_task *t);
/* Logits of a kind of oracle.h, seeded by the case's name. */
float *smp_logits(uint32_t n, int kind);
void smp_place(smp_placed *b, const smp_task *t);
/* One step on both sides: keys, tokens, state, histogram, the last token kept are equal, counters zero. Returns
 * WORK_N_SLOW. */
uint32_t smp_step(const smp_placed *b, const smp_task *t);
/* Two steps, the second one a position further and with the seed changed, then chk_end; returns how many were slow. */
uint32_t smp_both(const smp_task *t);
/* Tasks as rows of one step, on both sides: the op's i-th row is the step's map[i], task t[map[i]], of a sequence of its own;
 * `op` rows at most, `count` of them. All that rows write is equal; nothing of a row that is not in the op has changed. Twice,
 * the second time with all `op` rows, so that scratch was left as it has to be. Ends with chk_end. Geometry: t[0]'s. */
void smp_rows(const smp_task *t, uint32_t n_tasks, const uint32_t *map, uint32_t op, uint32_t count);
uint64_t smp_word64(const void *work, int off);
uint32_t smp_word32(const void *work, int off);
#endif
