/* predict_time.c: the chips, and from counts to times. See predict.h. */
#include "predict.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "../plan/ops.h"

const char *qm_fact_kind_name(qm_fact_kind k) {
    static const char *const names[] = {"spec", "measured", "alike", "assumed"};
    return (unsigned)k < 4 ? names[k] : "";
}

const qm_chip qm_chips[] = {
#define QM_CHIP(chip, chip_name) \
    {                            \
        .id = #chip, .name = chip_name,
#define QM_FACT(field, value, kind, source) .field = {value, QM_FACT_##kind, source},
#define QM_CHIP_END \
    }               \
    ,
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

enum { SCHEDULERS = 4, L2_PORT = 64, RESIDENT_WARPS = 16 /* 128 registers a thread */ };
static const double LONE_WARP = 0.6; /* instructions a clock of a warp by itself: 342 take 560 to 590 clocks */

/* Multiprocessors at work, on average until the last one ends. */
static double busy_of(const qm_chip *c, const qm_op_record *r) { return r->ctas / ceil(r->ctas / c->sms.v); }

/* Little's law: a CTA's bytes on their way take the latency, and the work on them too: the warp does both in turn. */
static double flight(const qm_chip *c, const qm_op_record *r) {
    const double chunk = qm_flight_bytes(r->op), warps = r->op->block / 32.0;
    double bytes = (double)(r->weight_bytes + r->kv_bytes);
    if (chunk <= 0 || bytes <= 0) return 0;
    const double passes = qm_flight_passes(r), most = warps < RESIDENT_WARPS ? floor(RESIDENT_WARPS / warps) : 1;
    const double here = r->ctas < c->sms.v ? r->ctas : c->sms.v, each = ceil(r->ctas / c->sms.v);
    bytes *= passes;
    const double latency = passes > 1 ? (c->latency.v + (passes - 1) * c->trip.v) / passes : c->latency.v;
    const double work = (double)r->count.warp_insts / warps * (chunk / bytes) / (LONE_WARP * c->clock.v);
    return bytes / (here * (each < most ? each : most) * chunk) * (latency + work);
}

/* The op's times with nothing around them; prefetched: bytes that are in the L2 already. */
static void bounds(const qm_chip *c, const qm_op_record *r, double prefetched, double *t) {
    const double busy = busy_of(c, r), rate = busy * c->clock.v, l2 = c->l2.v / 2;
    const double spilled = (double)r->act_bytes > l2 ? (double)r->act_bytes - l2 : 0;
    t[QM_BOUND_DRAM] = ((double)(r->weight_bytes + r->kv_bytes) + spilled - prefetched) / (c->bandwidth.v * c->reach.v);
    t[QM_BOUND_ISSUE] = (double)r->count.warp_insts / (SCHEDULERS * rate * c->issue.v);
    t[QM_BOUND_TENSOR] = ((double)r->count.mma_int / c->mma_int.v + (double)r->count.mma_float / c->mma_float.v) / rate;
    t[QM_BOUND_L2] = 32.0 * (double)(r->count.load_sectors + r->count.store_sectors) / (L2_PORT * rate);
    t[QM_BOUND_FLIGHT] = flight(c, r);
}

static qm_bound longest(const double *t) {
    qm_bound l = QM_BOUND_DRAM;
    for (int b = QM_BOUND_ISSUE; b <= QM_BOUND_FLIGHT; b++)
        if (t[b] > t[l]) l = (qm_bound)b;
    return l;
}

/* gap: seconds between the op before it and this one, where it has to wait for that; else beside: seconds that those which it
 * runs beside have taken: it began with the first of them, and only the memory's time is certainly its own. Returns for how
 * many seconds of its work, past the ramp, the memory has nothing to do. */
static double predict(const qm_chip *c, qm_op_record *r, double gap, double beside, double prefetched) {
    double t[QM_N_BOUNDS] = {0}, trips, clocks;
    bounds(c, r, prefetched, t);
    qm_serial(r->op, &trips, &clocks);
    const double before = !r->rows ? 2 * c->trip.v /* nothing to do: it looks, and leaves */
                                   : c->ramp.v + (trips > 2 ? trips - 2 : 0) * c->trip.v + clocks / c->clock.v;
    r->bound = longest(t);
    double work = t[QM_BOUND_ISSUE] > t[QM_BOUND_TENSOR] ? t[QM_BOUND_ISSUE] : t[QM_BOUND_TENSOR];
    if (t[QM_BOUND_L2] > work) work = t[QM_BOUND_L2];
    const double apart = t[QM_BOUND_DRAM] + work - t[r->bound]; /* what it takes longer */
    if (!r->op->waits) {
        const double left = before + t[r->bound] - beside;
        if (left < t[QM_BOUND_DRAM]) r->bound = QM_BOUND_DRAM;
        r->time_ns = 1e9 * (left < t[QM_BOUND_DRAM] ? t[QM_BOUND_DRAM] : left);
        r->gap_ns = 0;
        r->apart_ns = r->time_ns + (apart > 0 ? 1e9 * apart : 0);
        return 1e-9 * r->time_ns - t[QM_BOUND_DRAM];
    }
    const double idle = t[r->bound] - t[QM_BOUND_DRAM];
    r->time_ns = 1e9 * (before + t[r->bound]);
    r->apart_ns = r->time_ns + (apart > 0 ? 1e9 * apart : 0);
    r->gap_ns = 1e9 * gap;
    if (before + gap > t[r->bound]) r->bound = QM_BOUND_LATENCY;
    return idle;
}

void qm_predict_op(const qm_chip *c, qm_op_record *r) { predict(c, r, c->node.v, 0, 0); }

/* ---- what has been prefetched ---- */
/* The memory is idle for as long as it takes to bring so many bytes: what the ops before `end` have asked for comes,
 * in the order in which it was asked for. */
static void deliver(qm_op_records *r, int end, double bytes) {
    for (int j = 0; j < end && bytes > 0; j++) {
        double n = r->op[j].coming < bytes ? r->op[j].coming : bytes;
        r->op[j].coming -= n;
        bytes -= n;
    }
}

/* Bytes of op i's weights that have come; what has not is no longer waited for: the op reads it itself. */
static double arrived(qm_op_records *r, int i) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(r->plan, r->op[i].op, o);
    double have = 0;
    for (int j = 0; j < i; j++) {
        const qm_op *by = r->op[j].op;
        for (int k = 0; k < n && by->prefetch.bytes; k++) {
            if (o[k].kind != QM_KIND_WEIGHT || by->prefetch.region != (int)QM_REF_VALUE(o[k].ref)) continue;
            have += (double)by->prefetch.bytes - r->op[j].coming;
            r->op[j].coming = 0;
        }
    }
    return have;
}

void qm_predict_step(const qm_chip *c, int one_kernel, qm_op_records *r) {
    const qm_resident *resident = one_kernel ? &r->plan->resident : NULL;
    double at = 0, beside = 0, rate = c->bandwidth.v * c->reach.v;
    for (int i = 0; i < r->n_ops; i++) {
        qm_op_record *o = &r->op[i];
        int inside = resident && i > resident->first && i < resident->first + resident->n;
        double gap = inside ? c->barrier.v : c->node.v;
        if (resident && o->op->waits) deliver(r, i, rate * (gap + c->ramp.v));
        if (o->op->waits) beside = 0;
        double idle = predict(c, o, gap, 1e-9 * beside, resident ? arrived(r, i) : 0);
        beside += o->time_ns;
        if (resident) deliver(r, i, rate * idle);
        o->coming = (double)o->op->prefetch.bytes;
        if (!i) o->gap_ns = 0; /* in graph */
        o->begin_ns = at += o->gap_ns;
        at += o->time_ns;
    }
    r->step_ns = r->apart_ns = at + 1e9 * c->graph.v;
    for (int i = 0; i < r->n_ops; i++) r->apart_ns += r->op[i].apart_ns - r->op[i].time_ns;
    r->bandwidth = c->bandwidth.v;
    r->estimated = 1;
    snprintf(r->device, sizeof r->device, "%s", c->name);
}
