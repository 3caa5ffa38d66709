/* op_report.h: steps op by op as text: a table for people, CSV, JSON. */
#ifndef QM_OP_REPORT_H
#define QM_OP_REPORT_H
#include <jansson.h>
#include "machine.h"
#include "op_records.h"
#include "predict.h"

/* A chip's facts. */
json_t *qm_chip_json(const qm_chip *c);

typedef struct qm_report qm_report;
/* path: of the model, or NULL for the shape of the 30B; m: what measured. */
int qm_report_open(qm_report **out, const qm_ops_opts *o, const char *path, const qm_machine *m, qm_write_fn w,
                   void *user, qm_err *e);
/* One step. chip: NULL unless it is an estimate. */
int qm_report_step(qm_report *p, const qm_op_records *r, const qm_chip *chip, qm_err *e);
/* Writes what is still to be written and frees; NULL is fine. QM_ERR_IO where the text could not be written. */
int qm_report_close(qm_report *p, qm_err *e);
#endif
