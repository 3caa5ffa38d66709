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

enum { SCHEDULERS = 4, L2_PORT = 64 };
static const double LONE_WARP = 0.6; /* instructions a clock of a warp by itself: 342 take 560 to 590 clocks */

/* Multiprocessors at work, on average until the last one ends. */
static double busy_of(const qm_chip *c, const qm_op_record *r) { return r->ctas / ceil(r->ctas / c->sms.v); }

/* How often it streams its weights: once for each group of rows that a CTA takes. All but the first find them in the L2. */
static double passes_of(const qm_op_record *r) {
    const qm_op *op = r->op;
    const double read = (double)r->weight_bytes;
    switch (op->kind) {
    case QM_OP_GEMM: return op->grid[2] * (op->block / 32.0 / op->args.gemm.tiles);
    case QM_OP_MOE_GEMM: return r->ctas / op->grid[0] * (double)op->args.moe_gemm.expert_bytes / read;
    case QM_OP_MOE_GEMM_UP: return r->ctas / op->grid[0] * 2 * (double)op->args.moe_gemm_up.expert_bytes / read;
    default: return 1;
    }
}

/* Instructions of a warp, at the pace of one that is alone. */
static double alone(const qm_chip *c, const qm_op_record *r) {
    return (double)r->count.warp_insts / (r->ctas * r->op->block / 32.0) / (LONE_WARP * c->clock.v);
}

/* Chunks that a warp reads, one after the other, in all CTAs that it is part of in turn. */
static double chunks_of(const qm_chip *c, const qm_op_record *r) {
    return (double)r->weight_bytes / (qm_ctas_at_once(r->op, r->ctas, c->sms.v) * r->path.flight);
}

/* Little's law: a warp asks for a chunk, waits for all of it and works on it, in turn; where it has asked for its whole run, the
 * later ones are in the L2. *first: the latency of its first one. */
static double flight(const qm_chip *c, const qm_op_record *r, double *first) {
    const double bytes = (double)(r->weight_bytes + r->kv_bytes), at_once = qm_ctas_at_once(r->op, r->ctas, c->sms.v);
    *first = 0;
    if (r->path.flight <= 0 || bytes <= 0) return 0;
    const double passes = passes_of(r), rounds = bytes * passes / (at_once * r->path.flight);
    *first = passes > 1 ? (c->latency.v + (passes - 1) * c->trip.v) / passes : c->latency.v;
    if (r->whole_run) return *first + (rounds - 1) * c->trip.v + r->ctas / at_once * alone(c, r);
    const double turns = r->ctas / at_once,
                 run = rounds / turns; /* of a CTA: chunks of a warp, the first of which come together */
    const double waits = turns * (r->held > 1 ? 1 + (run > r->held ? run - r->held : 0) : run);
    return (waits > r->path.rounds ? waits : r->path.rounds) * (*first + r->path.again * c->trip.v) +
           turns * alone(c, r);
}

/* The op's times once its data flow; ready: bytes that are there already. The latency of the first chunk is not among them. */
static void bounds(const qm_chip *c, const qm_op_record *r, double ready, double *t) {
    const double busy = busy_of(c, r), rate = busy * c->clock.v, l2 = c->l2.v / 2, lone = alone(c, r);
    const double spilled = (double)r->act_bytes > l2 ? (double)r->act_bytes - l2 : 0;
    double first;
    t[QM_BOUND_DRAM] = ((double)(r->weight_bytes + r->kv_bytes) + spilled - ready) / (c->bandwidth.v * c->reach.v);
    t[QM_BOUND_ISSUE] = (double)r->count.warp_insts / (SCHEDULERS * rate * c->issue.v);
    if (lone > t[QM_BOUND_ISSUE]) t[QM_BOUND_ISSUE] = lone; /* no warp is faster for having company */
    t[QM_BOUND_TENSOR] = ((double)r->count.mma_int / c->mma_int.v + (double)r->count.mma_float / c->mma_float.v) / rate;
    t[QM_BOUND_L2] = 32.0 * (double)(r->count.load_sectors + r->count.store_sectors) / (L2_PORT * rate);
    t[QM_BOUND_FLIGHT] = flight(c, r, &first);
    t[QM_BOUND_FLIGHT] -= first;
}

static qm_bound longest(const double *t) {
    qm_bound l = QM_BOUND_DRAM;
    for (int b = QM_BOUND_ISSUE; b <= QM_BOUND_FLIGHT; b++)
        if (t[b] > t[l]) l = (qm_bound)b;
    return l;
}

/* How an op comes after those that it waits for. */
typedef struct {
    double gap, start; /* chips.def: node and start, or edge, or handoff */
    int early;         /* 1: it is there before they end: what it reads first is on its way when they do */
} join;

/* From the end of those to when its data flow. */
static double before_of(const qm_chip *c, const qm_op_record *r, const join *j) {
    if (!r->rows) return j->start + 2 * c->trip.v; /* nothing to do: it looks, and leaves */
    const int streams = r->weight_bytes + r->kv_bytes > 0, there = j->early && r->weight_bytes && !r->path.indexed;
    return j->start + r->path.trips * c->trip.v + r->path.clocks / c->clock.v +
           (streams && !there ? c->latency.v : c->trip.v); /* there: its vector has yet to come */
}

/* Weights that have come by then: what its CTAs ask for first, as far as the memory can deliver it meanwhile. */
static double came_early(const qm_chip *c, const qm_op_record *r, const join *j, double seconds) {
    if (!j->early || r->path.indexed || !r->weight_bytes) return 0;
    const double first = r->in_flight * c->sms.v, most = c->bandwidth.v * c->reach.v * seconds;
    return first < most ? first : most;
}

/* j: how it comes after the op before it, where it has to wait for that; else beside: seconds that those which it runs beside have
 * taken: it began with the first of them, and only the memory's time is certainly its own. ready: bytes of its weights in the L2.
 * Returns for how many seconds of its work the memory has nothing to do. */
static double predict(const qm_chip *c, qm_op_record *r, const join *j, double beside, double ready) {
    double t[QM_N_BOUNDS] = {0};
    const double before = before_of(c, r, j);
    const double came = ready + came_early(c, r, j, j->gap + before), weights = (double)r->weight_bytes;
    bounds(c, r, came < weights ? came : weights, t);
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
    r->gap_ns = 1e9 * j->gap;
    if (before + j->gap > t[r->bound]) r->bound = QM_BOUND_LATENCY;
    return idle;
}

static join node_of(const qm_chip *c) { return (join){c->node.v, c->start.v, 0}; }
static join edge_of(const qm_chip *c) { return (join){c->edge.v, 0, 1}; }

void qm_predict_op(const qm_chip *c, int early, qm_op_record *r) {
    const join j = early ? edge_of(c) : node_of(c);
    predict(c, r, &j, 0, 0);
}

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

/* Bytes of an op's weights that are in the L2 from the step before. Its first load may still be of others: no latency is saved. */
static double kept(const qm_chip *c, const qm_op *op) {
    return qm_op_l2(op) == QM_L2_LAST ? c->kept.v * (double)op->weight_bytes : 0;
}

/* An op that comes after one other, which nobody else comes after: a node can be launched before that ends (engine/capture.c), if
 * its kernel has a text that waits. */
static int in_chain(const qm_op_records *r, int i) {
    return qm_plan_in_chain(r->plan, i) && qm_kernel_can_wait(r->op[i].op->kernel);
}

static join join_of(const qm_chip *c, const qm_op_records *r, qm_predict_way way, int i) {
    const qm_resident *in = &r->plan->resident;
    if (way == QM_WAY_PERSISTENT && i > in->first && i < in->first + in->n) return (join){c->handoff.v, 0, 1};
    if (way == QM_WAY_DEPENDENT && in_chain(r, i)) return edge_of(c);
    return node_of(c);
}

void qm_predict_step(const qm_chip *c, qm_predict_way way, qm_op_records *r) {
    double at = 0, beside = 0, rate = c->bandwidth.v * c->reach.v;
    const int prefetches = way == QM_WAY_PERSISTENT;
    for (int i = 0; i < r->n_ops; i++) {
        qm_op_record *o = &r->op[i];
        const join j = join_of(c, r, way, i);
        if (way == QM_WAY_PERSISTENT && o->path.walked < o->path.flight) {
            o->path.flight = o->path.walked;
            o->in_flight = qm_in_flight(o->op, &o->path, o->ctas, (double)o->weight_bytes, c->sms.v);
        }
        const double chunks = o->path.flight > 0 ? chunks_of(c, o) : 0;
        o->whole_run =
            way == QM_WAY_DEPENDENT && chunks > 1 && chunks <= o->path.run && o->ctas <= c->sms.v * QM_RESIDENT_WARPS;
        if (o->whole_run) o->in_flight = (double)o->weight_bytes / c->sms.v;
        o->held = 1;
        if (prefetches && o->op->ring) {
            const double now = o->in_flight, all = (double)o->weight_bytes / c->sms.v;
            o->held += qm_ring_shared(o->op) / o->path.flight;
            o->in_flight = now * o->held < all ? now * o->held : all;
        }
        if (prefetches && o->op->waits) {
            const double pause = j.gap + before_of(c, o, &j);
            deliver(r, i, rate * pause - came_early(c, o, &j, pause));
        }
        if (o->op->waits) beside = 0;
        const double ready = kept(c, o->op) + (prefetches ? arrived(r, i) : 0);
        double idle = predict(c, o, &j, 1e-9 * beside, ready);
        beside += o->time_ns;
        if (prefetches) deliver(r, i, rate * idle);
        o->coming = (double)o->op->prefetch.bytes;
        if (!i) o->gap_ns = 0; /* in graph */
        o->begin_ns = at += o->gap_ns;
        at += o->time_ns;
    }
    r->step_ns = r->apart_ns = at + 1e9 * c->graph.v;
    for (int i = 0; i < r->n_ops; i++) r->apart_ns += r->op[i].apart_ns - r->op[i].time_ns;
    r->bandwidth = c->bandwidth.v;
    r->wanted = c->bandwidth.v * c->reach.v * c->latency.v / c->sms.v;
    r->estimated = 1;
    snprintf(r->device, sizeof r->device, "%s", c->name);
}
