/* predict_test.h: a test of bench as the steps that it takes, and their estimates as text. */
#ifndef QM_PREDICT_TEST_H
#define QM_PREDICT_TEST_H
#include "../qmoe_tools.h"
#include "machine.h"
#include "predict.h"

/* Steps of one kind. */
typedef struct {
    qm_work work;
    double times;
} qm_test_part;
enum { QM_TEST_PARTS = 10, QM_TEST_SPREAD = 8 };
/* The steps of a test with at most n_ubatch rows each; how many parts. Of a prompt of many chunks QM_TEST_SPREAD, evenly
 * spread, stand for all; the last one, with logits, is itself. Prompts shorter than a step share it. Of a generation the step at
 * half its length stands for all. */
int qm_test_parts(const qm_bench_test *t, uint32_t n_ubatch, qm_test_part parts[QM_TEST_PARTS]);

typedef struct qm_test_report qm_test_report;
/* path: of the model, or NULL for the shape of the 30B; m: what estimates. */
int qm_test_report_open(qm_test_report **out, qm_format format, uint32_t n_ubatch, const char *path,
                        const qm_machine *m, qm_write_fn w, void *user, qm_err *e);
/* r [n]: the estimates of the parts. */
int qm_test_report_add(qm_test_report *p, const qm_bench_test *t, const qm_chip *c, const qm_test_part *parts,
                       const qm_op_records *const *r, int n, qm_err *e);
/* Writes what is still to be written and frees; NULL is fine. QM_ERR_IO where the text could not be written. */
int qm_test_report_close(qm_test_report *p, qm_err *e);
#endif
