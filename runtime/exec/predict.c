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

/* The op's times with nothing around them; prefetched: bytes that are in the L2 already. */
static void bounds(const qm_chip *c, const qm_op_record *r, double prefetched, double *t) {
    const qm_op *op = r->op;
    double ctas = (double)op->grid[0] * op->grid[1] * op->grid[2], busy = ctas < c->sms.v ? ctas : c->sms.v;
    t[QM_BOUND_DRAM] = ((double)(op->weight_bytes + r->kv_bytes) - prefetched) / (c->bandwidth.v * c->reach.v);
    t[QM_BOUND_ISSUE] = (double)r->count.warp_insts / (SCHEDULERS * busy * c->clock.v * c->issue.v);
    t[QM_BOUND_L2] = 32.0 * (double)(r->count.load_sectors + r->count.store_sectors) / (L2_PORT * busy * c->clock.v);
}

static qm_bound longest(const double *t) {
    qm_bound l = QM_BOUND_DRAM;
    for (int b = QM_BOUND_ISSUE; b <= QM_BOUND_L2; b++)
        if (t[b] > t[l]) l = (qm_bound)b;
    return l;
}

/* gap: seconds between the op before it and this one, where it has to wait for that */
static void predict(const qm_chip *c, qm_op_record *r, double gap, double prefetched) {
    double t[QM_N_BOUNDS] = {0};
    bounds(c, r, prefetched, t);
    r->bound = longest(t);
    r->time_ns = 1e9 * t[r->bound];
    r->gap_ns = 0;
    if (r->op->beside) return; /* starts with the op before it: only the memory's time is its own */
    if (c->ramp.v + gap > t[r->bound]) r->bound = QM_BOUND_LATENCY;
    r->time_ns += 1e9 * c->ramp.v;
    r->gap_ns = 1e9 * gap;
}

void qm_predict_op(const qm_chip *c, qm_op_record *r) { predict(c, r, c->node.v, 0); }

/* ---- what has been prefetched ---- */
typedef struct {
    const qm_perop *r;
    int next;        /* the first op whose prefetch is not complete; up to `asked` have been asked for */
    double done;     /* bytes of it */
    int asked;
} prefetches;

/* The memory is idle for so many seconds. */
static void deliver(prefetches *q, double bytes) {
    while (q->next < q->asked && bytes > 0) {
        const qm_op *op = q->r->op[q->next].op;
        double left = (double)op->prefetch.bytes - q->done, n = left < bytes ? left : bytes;
        q->done += n;
        bytes -= n;
        if (n < left) return;
        q->next++;
        q->done = 0;
    }
}

/* Bytes of op i's weights that have come; what has not is no longer waited for: the op reads it itself. */
static double arrived(prefetches *q, int i) {
    const qm_op *op = q->r->op[i].op;
    double have = 0;
    if (op->kind != QM_OP_MATVEC) return 0;
    int region = (int)QM_REF_VALUE(op->args.matvec.w);
    for (int j = 0; j < i; j++) {
        const qm_op *by = q->r->op[j].op;
        if (!by->prefetch.bytes || by->prefetch.region != region) continue;
        have += j < q->next ? (double)by->prefetch.bytes : j == q->next ? q->done : 0;
        if (j >= q->next) {
            q->next = j + 1;
            q->done = 0;
        }
    }
    return have;
}

void qm_predict_step(const qm_chip *c, int walked, qm_perop *r) {
    double at = 0, rate = c->bandwidth.v * c->reach.v;
    prefetches q = {.r = r};
    for (int i = 0; i < r->n_ops; i++) {
        qm_op_record *o = &r->op[i];
        int in_walk = walked && i && o->op->layer >= 0 && r->op[i - 1].op->layer >= 0;
        double gap = in_walk ? c->barrier.v : c->node.v, t[QM_N_BOUNDS] = {0}, have = 0;
        if (walked) {
            if (!o->op->beside) deliver(&q, rate * (gap + c->ramp.v));
            have = arrived(&q, i);
            bounds(c, o, have, t);
        }
        predict(c, o, gap, have);
        if (walked) {
            deliver(&q, rate * (t[longest(t)] - t[QM_BOUND_DRAM]));
            q.asked = i + 1;
        }
        if (!i) o->gap_ns = 0; /* in graph */
        o->begin_ns = at += o->gap_ns;
        at += o->time_ns;
    }
    r->step_ns = at + 1e9 * c->graph.v;
    r->bandwidth = c->bandwidth.v;
    r->estimated = 1;
    r->walked = walked;
    snprintf(r->device, sizeof r->device, "%s", c->name);
}
