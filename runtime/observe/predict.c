/* predict.c: the predictor: a model's shape, and the plan of a step for any number of multiprocessors. See predict.h. */
#include "predict.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../arch/arch.h"
#include "../base/scratch.h"
#include "../qmoe_tools.h"
#include "predict_count.h"

enum { MAX_STEPS = 1024, CC_DEPENDENT = 90 /* griddepcontrol */ };

typedef struct {
    qm_chip chip;
    qm_plan *plan;
} step;

struct qm_predictor {
    qm_predict_opts o;
    qm_gguf *gguf;
    qm_model *model;
    qm_place *place;
    qm_device *dev;
    qm_kernels *kernels;
    step step[MAX_STEPS];
    qm_op_records *records[MAX_STEPS]; /* theirs */
    int n;
};

void qm_predictor_close(qm_predictor *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) {
        qm_op_records_free(p->records[i]);
        qm_plan_free(p->step[i].plan);
    }
    qm_kernels_close(p->kernels);
    if (p->dev) qm_device_close(p->dev);
    qm_place_free(p->place);
    qm_model_close(p->model);
    qm_gguf_close(p->gguf);
    free(p);
}

/* A file of the 30B's shape whose weights are a hole: it takes a few megabytes of disk and is gone from its
 * folder before this returns. */
static int open_shape(qm_gguf **out, qm_err *e) {
    const char *tmp = getenv("TMPDIR");
    char dir[512], path[600];
    snprintf(dir, sizeof dir, "%s/qmoe-shape-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return qm_fail(e, QM_ERR_IO, "%s: cannot make a folder", dir);
    snprintf(path, sizeof path, "%s/shape.gguf", dir);
    int slots[] = {qm_scratch_add(dir), qm_scratch_add(path)};
    int rc = qm_synth(path, &(qm_synth_opts){.preset = "qwen3-30b-a3b", .seed = 1, .sparse = 1}, e);
    if (!rc) rc = qm_gguf_open(out, path, e);
    unlink(path);
    rmdir(dir);
    for (int i = 0; i < 2; i++) qm_scratch_drop(slots[i]);
    return rc;
}

int qm_predictor_open(qm_predictor **out, const char *path, const qm_predict_opts *o, qm_err *e) {
    qm_predictor *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "prediction: out of memory");
    if (o) p->o = *o;
    int rc = path ? qm_gguf_open(&p->gguf, path, e) : open_shape(&p->gguf, e);
    if (!rc) rc = qm_model_open(&p->model, p->gguf, 0, e);
    if (!rc) rc = qm_place_build(&p->place, p->model, e);
    if (!rc) rc = qm_device_open(&p->dev, "sim", NULL, 0, e);
    if (!rc) rc = qm_kernels_open(&p->kernels, p->dev, e);
    if (rc) qm_predictor_close(p);
    else *out = p;
    return rc;
}

const char *qm_predictor_model(const qm_predictor *p) { return p->model->hp.name; }

/* The engine that such a step is expected of: room for it and no more. */
static qm_limits limits_of(const qm_predictor *p, const qm_chip *c, qm_work w) {
    const uint32_t pages = qm_pages_for((uint64_t)w.depth + w.rows / w.seqs);
    uint32_t rows = 1;
    while (rows < w.rows) rows *= 2;
    return (qm_limits){.n_sm = (uint32_t)c->sms.v,
                       .flight_bytes = qm_flight_bytes(c->bandwidth.v, (uint32_t)c->sms.v),
                       .n_ctx = pages * QM_PAGE_TOKENS,
                       .n_seqs = w.seqs,
                       .n_rows = rows,
                       .n_outs = w.outs > 1 ? w.outs : 1,
                       .n_pages = pages,
                       .apart = p->o.apart,
                       .kv_type = p->o.kv,
                       .l2_bytes = (uint64_t)c->l2.v,
                       .ring_bytes = p->o.ringless ? 0 : qm_ring_bytes((uint32_t)c->shared.v),
                       .keep_bytes = p->o.keeps ? qm_keep_bytes((uint64_t)c->l2.v, (uint64_t)c->l2.v) : 0,
                       .prefetch_bytes = p->o.unasked ? 0 : qm_prefetch_bytes(c->bandwidth.v, (uint64_t)c->l2.v)};
}

int qm_predictor_step(qm_predictor *p, const qm_chip *c, qm_work w, const char *executor, const qm_op_records **out,
                      qm_err *e) {
    const qm_hparams *hp = &p->model->hp;
    const char *name = executor && w.rows == 1 ? executor : "graph";
    *out = NULL;
    if (!w.rows || w.rows > QM_STEP_ROWS_MAX || !w.seqs || w.rows % w.seqs || (w.outs && w.outs != w.seqs))
        return qm_fail(e, QM_ERR_ARG, "prediction: a step of %u rows of %u sequences, %u with logits", w.rows, w.seqs,
                       w.outs);
    if ((uint64_t)w.depth + w.rows / w.seqs > hp->n_ctx_train)
        return qm_fail(e, QM_ERR_LIMIT, "depth %u exceeds the model's limit of %u positions", w.depth, hp->n_ctx_train);
    for (int i = 0; i < p->n; i++)
        if (!memcmp(&p->step[i].chip, c, sizeof *c) && !memcmp(&p->records[i]->work, &w, sizeof w) &&
            !strcmp(p->records[i]->executor, name)) {
            *out = p->records[i];
            return 0;
        }
    if (p->n == MAX_STEPS) return qm_fail(e, QM_ERR_LIMIT, "prediction: more than %d steps", MAX_STEPS);
    const qm_limits limits = limits_of(p, c, w);
    const qm_shape shape = qm_plan_shape(hp, limits, w.rows, w.outs, w.depth + w.rows / w.seqs - 1);
    qm_plan *plan = NULL;
    qm_op_records *r = NULL;
    int resident = 0;
    int rc = qm_plan_build(&plan, p->place, shape, limits, e);
    if (!rc) rc = qm_inside_runs(name, plan, &resident, e);
    if (!rc) rc = qm_op_records_new(&r, plan, w, e);
    if (!rc) rc = qm_predict_count(p->dev, p->kernels, r, QM_PREDICT_WHOLE, p->records, p->n, e);
    if (rc) {
        qm_op_records_free(r);
        qm_plan_free(plan);
        return rc;
    }
    const int dependent = !resident && !p->o.nodes && c->cc.v >= CC_DEPENDENT;
    qm_predict_step(c, resident ? QM_WAY_PERSISTENT : dependent ? QM_WAY_DEPENDENT : QM_WAY_NODES, r);
    r->dependent = dependent;
    snprintf(r->executor, sizeof r->executor, "%s", name);
    memcpy(&p->step[p->n].chip, c, sizeof *c);
    p->step[p->n].plan = plan;
    p->records[p->n++] = r;
    *out = r;
    return 0;
}
