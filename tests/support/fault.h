/* fault.h: known bugs put into a healthy engine, so that a test can show that a gate would have found them.
 *
 * A fault is mostly a plan with that bug in it: its edit changes the ops' arguments, or adds an op, after
 * qm_engine_open and before the first step. The executors then run it as they run any plan, at full speed,
 * on the device ("graph") and on the host ("ref"). Nothing outside tests/ knows of this.
 *
 * Late faults begin in the middle of a sequence: until then the healthy plan runs. The rest is there from
 * position 0, in the plans that the engine keeps, so that whoever launches them op by op meets it too.
 *
 * The faults of one row are in steps of one row, and the engine then makes no others; those of many rows are in steps of
 * many, and what the engine computes one row at a time stays healthy. */
#ifndef QM_TEST_FAULT_H
#define QM_TEST_FAULT_H
#include "../../runtime/engine/inside_means.h"
#include "../../runtime/engine/session.h"

typedef struct {
    int layer;     /* the layer it is in; -1: every layer. The KV page is the same for all layers */
    uint32_t from; /* late faults: the position where it begins. 0: the first token after the prompt, that is
                      after what was last put into the sequence at once (qm_session_eval puts one at a time:
                      say a position there) */
    int neutral;   /* 1: the same machinery with the right data: the control, which may change nothing */
    /* Faults of many rows: of a step at most, <= FAULT_ROWS; 0: FAULT_ROWS. A late one of them begins with the first step
     * all of whose rows are at `from` or after it; from 0: the second step of a prompt. */
    uint32_t rows;
} fault_at;

typedef struct fault_site fault_site;
typedef struct {
    const char *name;
    const char *what; /* for tables */
    int late;
    int (*prepare)(fault_site *x, qm_err *e);                  /* once; may be NULL */
    int (*edit)(fault_site *x, qm_plan *p, int *i, qm_err *e); /* op *i of its layer; *i moves on with what it adds */
    int (*begin)(fault_site *x, qm_seq *s, uint32_t page, qm_err *e);      /* late: before the first faulty step */
    int many;                                                              /* of steps of many rows */
    int (*feed)(fault_site *x, const qm_row *rows, uint32_t n, qm_err *e); /* before each faulty step; may be NULL */
} fault;

enum { FAULT_N = 9, FAULT_MANY_N = 4, FAULT_Q8_0_N = 2, FAULT_ROWS = 16 };
extern const fault faults[FAULT_N], faults_of_many[FAULT_MANY_N];
extern const fault faults_of_q8_0[FAULT_Q8_0_N]; /* where the cache is of that type */
const fault *fault_find(const char *name);       /* NULL if there is none */

/* Puts f into an engine that has computed nothing yet. One fault an engine; it is gone with the engine. */
int fault_apply(qm_engine *g, const fault *f, fault_at at, qm_err *e);
#endif
