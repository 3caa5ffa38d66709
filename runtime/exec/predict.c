/* predict.c: the chips, and from counts to times. See predict.h. */
#include "predict.h"
#include <stdio.h>
#include <string.h>

const char *qm_fact_kind_name(qm_fact_kind k) {
    static const char *const names[] = {"spec", "measured", "alike", "assumed"};
    return (unsigned)k < 4 ? names[k] : "";
}

const qm_chip qm_chips[] = {
#define QM_CHIP(chip, chip_name) {.id = #chip, .name = chip_name,
#define QM_FACT(field, value, kind, source) .field = {value, QM_FACT_##kind, source},
#define QM_CHIP_END },
#include "../../contracts/chips.def"
#undef QM_CHIP
#undef QM_FACT
#undef QM_CHIP_END
};
const int qm_n_chips = sizeof qm_chips / sizeof *qm_chips;

const qm_chip *qm_chip_find(const char *id, size_t n) {
    for (int i = 0; i < qm_n_chips; i++)
        if (strlen(qm_chips[i].id) == n && !strncmp(qm_chips[i].id, id, n)) return &qm_chips[i];
    return NULL;
}

enum { SCHEDULERS = 4, L2_PORT = 64 };

void qm_predict_op(const qm_chip *c, qm_op_record *r) {
    const qm_op *op = r->op;
    double ctas = (double)op->grid[0] * op->grid[1] * op->grid[2], busy = ctas < c->sms.v ? ctas : c->sms.v;
    double t[QM_N_BOUNDS] = {
        [QM_BOUND_DRAM] = (double)(op->weight_bytes + r->kv_bytes) / (c->bandwidth.v * c->reach.v),
        [QM_BOUND_ISSUE] = (double)r->count.warp_insts / (SCHEDULERS * busy * c->clock.v * c->issue.v),
        [QM_BOUND_L2] = 32.0 * (double)(r->count.load_sectors + r->count.store_sectors) / (L2_PORT * busy * c->clock.v),
    };
    r->bound = QM_BOUND_DRAM;
    for (int b = QM_BOUND_ISSUE; b <= QM_BOUND_L2; b++)
        if (t[b] > t[r->bound]) r->bound = (qm_bound)b;
    r->time_ns = 1e9 * t[r->bound];
    r->gap_ns = 0;
    if (op->beside) return; /* starts with the op before it: only the memory's time is its own */
    r->time_ns += 1e9 * c->ramp.v;
    r->gap_ns = 1e9 * c->node.v;
    if (c->ramp.v + c->node.v > t[r->bound]) r->bound = QM_BOUND_LATENCY;
}

void qm_predict_step(const qm_chip *c, qm_perop *r) {
    double at = 0;
    for (int i = 0; i < r->n_ops; i++) {
        qm_op_record *o = &r->op[i];
        qm_predict_op(c, o);
        if (!i) o->gap_ns = 0; /* in graph */
        o->begin_ns = at += o->gap_ns;
        at += o->time_ns;
    }
    r->step_ns = at + 1e9 * c->graph.v;
    r->bandwidth = c->bandwidth.v;
    r->estimated = 1;
    snprintf(r->device, sizeof r->device, "%s", c->name);
}
