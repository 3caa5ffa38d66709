/* memory.h: what a model takes of a device's memory, decided before any work. */
#ifndef QM_MEMORY_H
#define QM_MEMORY_H
#include "../plan/plan.h"
#include "../qmoe.h"

/* What the driver takes beside our own buffers and tells nobody in advance: the context's heap and local memory, the
 * code of the modules, and up to 41 graphs of some 560 nodes: 14 of one row, 27 of more (plans.c). */
enum { QM_HEADROOM_BYTES = 256 << 20 };
/* May be used: this share of all there is, and no more than is free. */
#define QM_MEMORY_SHARE 0.95
/* Sequences at once where nobody says; and the most that may be said. */
enum { QM_SEQS = 4, QM_SEQS_MOST = 1024 };
/* Positions kept beyond the prompt and the tokens to generate. */
enum { QM_SPARE_CTX = 8 };

/* n_seqs, n_rows and n_outs of l, for its n_ctx; of o: n_parallel, n_ubatch, n_outs. */
void qm_step_limits(qm_limits *l, const qm_engine_opts *o);
/* Everything in *m for sequences of l.n_ctx positions; l: n_ctx, n_sm, kv_type; of o: n_parallel, n_kv, n_ubatch, n_outs; the rest of
 * them counts for nothing. Pure arithmetic. */
void qm_memory_of(qm_memory *m, const qm_place *pl, qm_limits l, const qm_engine_opts *o, uint64_t free_bytes,
                  uint64_t total_bytes);
/* Chooses the context by the rule at qm_engine_opts.n_ctx and fills *m for it. QM_ERR_LIMIT where the model's limit
 * stands in the way, QM_ERR_NOMEM with the numbers where the device's memory does; *m is filled then too.
 * where: the device's name, for the message. */
int qm_memory_choose(qm_memory *m, const qm_place *pl, qm_limits l, uint64_t free_bytes, uint64_t total_bytes,
                     const qm_engine_opts *o, const char *where, qm_err *e);
#endif
