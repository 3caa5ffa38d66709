/* exec_device.h: what executors on a device have in common, which is nearly all: memory, sequences, rows, and steps
 * that are CUDA graphs, one for each shape. How a plan becomes a graph is the executor's resident flag alone. */
#ifndef QM_EXEC_DEVICE_H
#define QM_EXEC_DEVICE_H
#include "executor.h"

int qm_device_exec_open(qm_engine *g, const qm_engine_opts *o, qm_err *e);
void qm_device_exec_close(qm_engine *g);
int qm_device_seq_open(qm_engine *g, qm_seq **out, qm_err *e);
void qm_device_seq_close(qm_engine *g, qm_seq *s);
int qm_device_prepare(qm_engine *g, const qm_plan *p, qm_err *e);
int qm_device_put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e);
int qm_device_put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e);
int qm_device_put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e);
int qm_device_put_mask(qm_engine *g, qm_seq *s, const qm_sample_params *p, const uint32_t *mask, qm_err *e);
int qm_device_place(qm_engine *g, const qm_row *rows, uint32_t n, qm_err *e);
int qm_device_step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e);
int qm_device_wait(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e);
int qm_device_result(qm_engine *g, qm_seq *s, uint32_t pos, qm_result *r, qm_err *e);
int qm_device_logits(qm_engine *g, qm_seq *s, float *out, qm_err *e);
int qm_device_outs(qm_engine *g, uint32_t first, uint32_t n, float *out, qm_err *e);
extern const struct qm_inside_means qm_device_inside;

/* The entries of a table that are common. */
#define QM_DEVICE_EXECUTOR                                                                                        \
    .on_device = 1, .max_rows = QM_STEP_ROWS_MAX, .open = qm_device_exec_open, .close = qm_device_exec_close,     \
    .seq_open = qm_device_seq_open, .seq_close = qm_device_seq_close, .prepare = qm_device_prepare,               \
    .put_tokens = qm_device_put_tokens, .put_pages = qm_device_put_pages, .put_sampling = qm_device_put_sampling, \
    .put_mask = qm_device_put_mask, .place = qm_device_place, .step = qm_device_step, .wait = qm_device_wait,     \
    .result = qm_device_result, .logits = qm_device_logits, .outs = qm_device_outs, .inside = &qm_device_inside
#endif
