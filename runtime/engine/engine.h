/* engine.h: an open model: what it was made from, its plans, its KV pool and its executor. Sequences are session.h's. */
#ifndef QM_ENGINE_H
#define QM_ENGINE_H
#include "../base/clock.h"
#include "../device/cuda.h"
#include "../plan/plan.h"
#include "../qmoe.h"
#include "../text/chat_format.h"
#include "../text/tokenizer.h"
#include "executor.h"
#include "pages.h"
#include "walk.h"

enum { QM_MAX_PLANS = 48 }; /* 14 of one row, 3 of each further power of two */
struct qm_engine {
    qm_gguf *gguf;
    qm_model *model;
    qm_place *place;
    qm_tokenizer *tok;
    qm_chat_format *format;
    int tok_flags; /* QM_TOK_NO_NFC or 0 */
    qm_limits limits;
    qm_pages kv;
    qm_plan *plans[QM_MAX_PLANS];
    int n_plans;
    qm_memory memory; /* what it takes, by part */
    qm_device *dev;   /* NULL for ref */
    const qm_executor *exec;
    void *exec_state;
    qm_engine_info info;
};
/* The plan for a step of one row at position pos; built on first use. */
int qm_engine_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e);
/* The plan for a step of these rows: its shape is all that a step's launches depend on. */
int qm_engine_step_plan(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan **out, qm_err *e);
/* Every plan that a step of this engine can need: at most QM_MAX_PLANS. */
typedef int (*qm_plan_fn)(void *user, const qm_plan *p, qm_err *e);
int qm_engine_each_plan(qm_engine *g, qm_plan_fn fn, void *user, qm_err *e);
#endif
