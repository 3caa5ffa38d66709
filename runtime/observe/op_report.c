/* op_report.c: see op_report.h. Records (JSON, and the columns of CSV): one "step" for each step, then one
 * "op" for each of its ops, in order. What is not known is null; times are in ns, rates in bytes/s. */
#include "op_report.h"
#include "../base/json.h"
#include "../base/print.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qm_report {
    qm_printer to;
    qm_format format;
    int by_kind, every_op, n_steps, n_written;
    char path[512];
    qm_machine machine;
};

int qm_report_open(qm_report **out, const qm_ops_opts *o, const char *path, const qm_machine *m, qm_write_fn w,
                   void *user, qm_err *e) {
    qm_report *p = *out = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "report: out of memory");
    p->to = (qm_printer){w, user, 0};
    p->format = o->format;
    p->by_kind = o->by_kind;
    p->every_op = o->every_op;
    p->machine = *m;
    snprintf(p->path, sizeof p->path, "%s", path ? path : "");
    return 0;
}

/* ---- sums over ops ---- */
typedef struct {
    const char *slot;
    int n;
    uint64_t weights, weight_bytes, kv_bytes;
    int kv_read; /* keys and values are what it is for, not a by-product */
    qm_counters c;
    double time, gap;          /* ns */
    double in_flight;          /* times the bytes that are so read */
    double bound[QM_N_BOUNDS]; /* ns of ops (gap included) that wait for it */
} sum;

static void sum_add(sum *s, const qm_op_record *r) {
    s->n++;
    s->weights += r->op->weights;
    s->weight_bytes += r->weight_bytes;
    s->kv_bytes += r->kv_bytes;
    s->kv_read |= r->reads_kv;
    qm_counters_add(&s->c, &r->count);
    s->in_flight += r->in_flight * (double)(r->weight_bytes + r->kv_bytes);
    s->time += r->time_ns;
    s->gap += r->gap_ns;
    s->bound[r->bound] += r->time_ns + r->gap_ns;
}

static sum sum_of(const qm_op_records *r) {
    sum s = {.slot = "all"};
    for (int i = 0; i < r->n_ops; i++) sum_add(&s, &r->op[i]);
    return s;
}

static uint64_t requested(const qm_counters *c) { return c->load_bytes + c->store_bytes; }
static uint64_t sectors(const qm_counters *c) { return c->load_sectors + c->store_sectors; }
static int has_times(const qm_op_records *r) { return r->timed || r->estimated; }

/* ---- JSON ---- */
static json_t *count(int known, uint64_t v) { return known ? json_integer((json_int_t)v) : json_null(); }
/* Tenths of a nanosecond are all that a time is worth. */
static json_t *nanoseconds(int known, double v) {
    return known && v >= 0 ? json_real(round(10 * v) / 10) : json_null();
}
/* Below 0 where an op that runs beside the one before it begins before that has ended. */
static json_t *gap(int known, double v) { return known ? json_real(round(10 * v) / 10) : json_null(); }
static json_t *rate(int known, double bytes, double ns) {
    return known && bytes > 0 && ns > 0 ? json_real(round(1e9 * bytes / ns)) : json_null();
}

static json_t *op_json(const qm_op_records *r, int i) {
    const qm_op_record *o = &r->op[i];
    const qm_op *op = o->op;
    const int c = r->counted, t = has_times(r);
    return json_pack(
        "{s:s, s:i, s:i, s:i, s:s, s:s, s:s, s:[iii], s:i, s:i, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "record", "op", "depth", (int)r->work.depth, "i", i, "layer", op->layer, "slot", op->slot, "op",
        qm_op_name(op->kind), "kernel", qm_kernel_table[op->kernel].entry, "grid", (int)op->grid[0], (int)op->grid[1],
        (int)op->grid[2], "block", (int)op->block, "shared_bytes", (int)op->shared, "weights", (json_int_t)op->weights,
        "weight_bytes", (json_int_t)o->weight_bytes, "kv_bytes", (json_int_t)o->kv_bytes, "thread_insts",
        count(c, o->count.thread_insts), "warp_insts", count(c, o->count.warp_insts), "requested_bytes",
        count(c, requested(&o->count)), "sectors", count(c, sectors(&o->count)), "shared_passes",
        count(c, o->count.shared_passes), "barriers", count(c, o->count.barriers), "begin_ns",
        nanoseconds(t, o->begin_ns), "time_ns", nanoseconds(t, o->time_ns), "gap_ns", gap(t, o->gap_ns), "bytes_per_s",
        rate(t, (double)(o->weight_bytes + o->kv_bytes), o->time_ns), "in_flight_bytes", json_real(round(o->in_flight)),
        "bound", r->estimated ? json_string(qm_bound_name(o->bound)) : json_null());
}

static json_t *fact_json(const qm_fact *f) {
    return json_pack("{s:f, s:s, s:s}", "value", f->v, "known", qm_fact_kind_name(f->kind), "source", f->source);
}

json_t *qm_chip_json(const qm_chip *c) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                     c->id, "name", c->name, "multiprocessors", fact_json(&c->sms), "clock_hz", fact_json(&c->clock),
                     "bandwidth", fact_json(&c->bandwidth), "reach", fact_json(&c->reach), "l2_bytes",
                     fact_json(&c->l2), "issue", fact_json(&c->issue), "node_s", fact_json(&c->node), "start_s",
                     fact_json(&c->start), "edge_s", fact_json(&c->edge), "handoff_s", fact_json(&c->handoff),
                     "compute_capability", fact_json(&c->cc), "graph_s", fact_json(&c->graph), "latency_s",
                     fact_json(&c->latency), "trip_s", fact_json(&c->trip), "mma_int", fact_json(&c->mma_int),
                     "mma_float", fact_json(&c->mma_float));
}

static json_t *step_json(const qm_report *p, const qm_op_records *r, const qm_chip *chip) {
    const qm_model *m = r->plan->place->model;
    const sum s = sum_of(r);
    const int c = r->counted, t = has_times(r);
    json_t *j = json_pack("{s:s, s:b, s:s, s:i, s:i, s:s, s:s, s:i, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
                          "record", "step", "estimate", r->estimated, "measured_by",
                          r->estimated ? "prediction"
                          : r->timed   ? "time stamps in the kernels"
                                       : "software device",
                          "depth", (int)r->work.depth, "ops", r->n_ops, "device", r->device, "model_name", m->hp.name,
                          "layers", (int)m->hp.n_layers, "weights", (json_int_t)s.weights, "weight_bytes",
                          (json_int_t)s.weight_bytes, "kv_bytes", (json_int_t)s.kv_bytes, "thread_insts",
                          count(c, s.c.thread_insts), "warp_insts", count(c, s.c.warp_insts), "requested_bytes",
                          count(c, requested(&s.c)), "sectors", count(c, sectors(&s.c)), "shared_passes",
                          count(c, s.c.shared_passes), "barriers", count(c, s.c.barriers));
    if (t) json_object_set_new(j, "executor", json_string(r->executor));
    if (r->estimated) json_object_set_new(j, "dependent", json_boolean(r->dependent));
    if (r->estimated) json_object_set_new(j, "in_flight_wanted", json_real(round(r->wanted)));
    json_object_set_new(j, "rows", json_integer(r->work.rows));
    json_object_set_new(j, "n_seqs", json_integer(r->work.seqs));
    json_object_set_new(j, "ops_counted_in_part", json_integer(r->n_sampled));
    json_object_set_new(j, "model", *p->path ? qm_json_str(p->path) : json_null());
    json_object_set_new(j, "step_ns", nanoseconds(t, r->step_ns));
    json_object_set_new(j, "step_with_stamps_ns", nanoseconds(t, r->stamped_ns));
    json_object_set_new(j, "ops_ns", nanoseconds(t, s.time));
    json_object_set_new(j, "gaps_ns", gap(t, s.gap));
    json_object_set_new(j, "clock_tick_ns", nanoseconds(r->timed, r->tick_ns));
    json_object_set_new(j, "runs", count(r->timed, (uint64_t)r->runs));
    json_object_set_new(j, "tokens_per_s",
                        t && r->step_ns > 0 ? json_real(round(1e11 * r->work.rows / r->step_ns) / 100) : json_null());
    json_object_set_new(j, "bytes_per_s", rate(t, (double)(s.weight_bytes + s.kv_bytes), r->step_ns));
    json_object_set_new(j, "bandwidth", r->bandwidth > 0 ? json_real(r->bandwidth) : json_null());
    if (chip) json_object_set_new(j, "chip", qm_chip_json(chip));
    json_object_set_new(j, "machine", qm_machine_object(&p->machine));
    return j;
}

/* Takes j. One record a line, so that a line tool finds it in JSON too. */
static void record(qm_report *p, json_t *j) {
    char *s = j ? json_dumps(j, JSON_PRESERVE_ORDER | JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(j);
    if (!s) {
        p->to.stopped = 1;
        return;
    }
    if (p->format == QM_FORMAT_JSON) qm_print(&p->to, p->n_written ? ",\n" : "[\n");
    qm_print_bytes(&p->to, s, strlen(s));
    if (p->format == QM_FORMAT_JSONL) qm_print(&p->to, "\n");
    p->n_written++;
    free(s);
}

/* ---- CSV: the scalar fields of the op records, in their order; null is empty ---- */
static void csv_word(qm_report *p, const char *s) {
    if (s[strcspn(s, ",\"\n")]) {
        qm_print(&p->to, "\"");
        for (; *s; s++) qm_print(&p->to, *s == '"' ? "\"\"" : "%c", *s);
        qm_print(&p->to, "\"");
    } else qm_print(&p->to, "%s", s);
}

static void csv_row(qm_report *p, const qm_op_records *r, int i, int names) {
    json_t *j = op_json(r, i), *v;
    const char *key;
    qm_print(&p->to, names ? "device,estimate" : "");
    if (!names) {
        csv_word(p, r->device);
        qm_print(&p->to, ",%d", r->estimated);
    }
    json_object_foreach (j, key, v) {
        if (!strcmp(key, "record")) continue;
        qm_print(&p->to, ",");
        if (names) qm_print(&p->to, "%s", key);
        else if (json_is_string(v)) csv_word(p, json_string_value(v));
        else if (json_is_integer(v)) qm_print(&p->to, "%lld", (long long)json_integer_value(v));
        else if (json_is_real(v)) qm_print(&p->to, "%.1f", json_real_value(v));
        else if (json_is_array(v))
            qm_print(&p->to, "%ux%ux%u", r->op[i].op->grid[0], r->op[i].op->grid[1], r->op[i].op->grid[2]);
    }
    qm_print(&p->to, "\n");
    json_decref(j);
}

/* ---- the table ---- */
static void head(qm_report *p, const qm_op_records *r) {
    qm_print(&p->to, "| %-14s | %4s | %9s | %9s |", "op", "n", "MB", "in flight");
    if (r->counted) qm_print(&p->to, " %7s | %8s | %8s | %8s |", "inst/w", "req/byte", "sec/byte", "barriers");
    if (has_times(r)) qm_print(&p->to, " %9s | %8s | %8s | %6s |", "us", "GB/s", "gap us", "share");
    if (r->estimated) qm_print(&p->to, " %-8s |", "bound by");
    qm_print(&p->to, "\n|:---------------|-----:|----------:|----------:|");
    if (r->counted) qm_print(&p->to, "--------:|---------:|---------:|---------:|");
    if (has_times(r)) qm_print(&p->to, "----------:|---------:|---------:|-------:|");
    if (r->estimated) qm_print(&p->to, ":---------|");
    qm_print(&p->to, "\n");
}

/* A ratio, or a dash where it says nothing. */
static void ratio(qm_report *p, int width, double a, double b) {
    if (b > 0) qm_print(&p->to, " %*.3f |", width, a / b);
    else qm_print(&p->to, " %*s |", width, "-");
}

static void row(qm_report *p, const qm_op_records *r, const char *name, const sum *s, double whole) {
    const double bytes = (double)(s->weight_bytes + s->kv_bytes);
    qm_print(&p->to, "| %-14s | %4d | %9.3f |", name, s->n, 1e-6 * bytes);
    if (s->in_flight > 0) qm_print(&p->to, " %9.1f |", 1e-3 * s->in_flight / bytes);
    else qm_print(&p->to, " %9s |", "-");
    if (r->counted) {
        ratio(p, 7, (double)s->c.thread_insts, (double)s->weights);
        const double read = s->weight_bytes || s->kv_read ? bytes : 0;
        ratio(p, 8, (double)requested(&s->c), read);
        ratio(p, 8, 32.0 * (double)sectors(&s->c), read);
        qm_print(&p->to, " %8llu |", (unsigned long long)s->c.barriers);
    }
    if (has_times(r)) {
        qm_print(&p->to, " %9.2f |", 1e-3 * s->time);
        if (bytes > 0 && s->time > 0) qm_print(&p->to, " %8.1f |", bytes / s->time);
        else qm_print(&p->to, " %8s |", "-");
        qm_print(&p->to, " %8.2f | %5.1f%% |", 1e-3 * s->gap, whole > 0 ? 100 * (s->time + s->gap) / whole : 0);
    }
    if (r->estimated) {
        qm_bound b = QM_BOUND_DRAM;
        for (int i = 1; i < QM_N_BOUNDS; i++)
            if (s->bound[i] > s->bound[b]) b = (qm_bound)i;
        qm_print(&p->to, " %-8s |", qm_bound_name(b));
    }
    qm_print(&p->to, "\n");
}

/* ", executor persistent", ", dependent launches"; nothing where it is plain nodes of a graph. */
static const char *executor(const qm_op_records *r, char to[32]) {
    snprintf(to, 32, ", executor %s", r->executor);
    if (r->dependent) return ", dependent launches";
    return *r->executor && strcmp(r->executor, "graph") ? to : "";
}

static void title(qm_report *p, const qm_op_records *r) {
    char other[32];
    const sum s = sum_of(r);
    const double bytes = (double)(s.weight_bytes + s.kv_bytes);
    char rows[64] = "";
    if (r->work.rows > 1)
        snprintf(rows, sizeof rows, ", %u rows of %u sequence%s", r->work.rows, r->work.seqs,
                 r->work.seqs > 1 ? "s" : "");
    qm_print(&p->to, "%s%s%s, %s%s, depth %u: %d ops, %.1f MB of weights and %.1f MB of keys and values\n",
             r->estimated ? "ESTIMATE: " : "", r->device, executor(r, other), r->plan->place->model->hp.name, rows,
             r->work.depth, r->n_ops, 1e-6 * (double)s.weight_bytes, 1e-6 * (double)s.kv_bytes);
    if (r->counted && !r->estimated) qm_print(&p->to, "counted on the software device: no times\n");
    if (has_times(r)) {
        qm_print(&p->to, "step %.1f us = %.1f tokens/s, %.1f GB/s", 1e-3 * r->step_ns, 1e9 * r->work.rows / r->step_ns,
                 bytes / r->step_ns);
        if (r->bandwidth > 0)
            qm_print(&p->to, " = %.1f%% of %.0f GB/s", 1e11 * bytes / r->step_ns / r->bandwidth, 1e-9 * r->bandwidth);
        qm_print(&p->to, "; ops %.1f us, gaps %.1f us\n", 1e-3 * s.time, 1e-3 * s.gap);
    }
    if (r->estimated)
        qm_print(&p->to, "in flight: kB a multiprocessor has on its way at once; its memory is busy with %.1f\n",
                 1e-3 * r->wanted);
    if (r->timed)
        qm_print(&p->to, "with time stamps %.1f us (%+.2f%%), clock tick %.0f ns, mean of %d runs without outliers\n",
                 1e-3 * r->stamped_ns, 100 * (r->stamped_ns / r->step_ns - 1), r->tick_ns, r->runs);
}

enum { MAX_KINDS = 64 };
static void table(qm_report *p, const qm_op_records *r) {
    sum all = sum_of(r), kind[MAX_KINDS];
    const double whole = all.time + all.gap;
    int n = 0;
    if (p->n_steps) qm_print(&p->to, "\n");
    title(p, r);
    qm_print(&p->to, "\n");
    head(p, r);
    for (int i = 0; i < r->n_ops; i++) {
        const qm_op *op = r->op[i].op;
        if (p->every_op) {
            char name[48];
            sum one = {0};
            sum_add(&one, &r->op[i]);
            if (op->layer < 0) snprintf(name, sizeof name, "%s", op->slot);
            else snprintf(name, sizeof name, "%d %s", op->layer, op->slot);
            row(p, r, name, &one, whole);
            continue;
        }
        int k = 0;
        while (k < n && strcmp(kind[k].slot, op->slot)) k++;
        if (k == n) {
            if (n == MAX_KINDS) continue; /* a plan has 16 kinds */
            kind[n++] = (sum){.slot = op->slot};
        }
        sum_add(&kind[k], &r->op[i]);
    }
    for (int k = 0; k < n; k++) row(p, r, kind[k].slot, &kind[k], whole);
    row(p, r, "all", &all, whole);
}

/* Estimates side by side. */
static void line(qm_report *p, const qm_op_records *r, const qm_chip *c) {
    char other[32];
    const sum s = sum_of(r);
    const double bytes = (double)(s.weight_bytes + s.kv_bytes), ideal = 1e9 * bytes / c->bandwidth.v,
                 whole = s.time + s.gap;
    if (!p->n_steps)
        qm_print(&p->to,
                 "ESTIMATES of %s%s: no GPU has run this. docs/prediction.md says how they come about.\n\n"
                 "| chip     |  depth | MB/token | ops | step us | tokens/s | ceiling | share | dram | issue | tensor "
                 "|   l2 | "
                 "flight | latency |\n"
                 "|:---------|-------:|---------:|----:|--------:|---------:|--------:|------:|-----:|------:|-------:|"
                 "-----:|-"
                 "------:|--------:|\n",
                 r->plan->place->model->hp.name, executor(r, other));
    qm_print(&p->to, "| %-8s | %6u | %8.1f | %3d | %7.0f | %8.0f | %7.0f | %4.0f%% |", c->id, r->work.depth,
             1e-6 * bytes, r->n_ops, 1e-3 * r->step_ns, 1e9 / r->step_ns, 1e9 / ideal, 100 * ideal / r->step_ns);
    static const int widths[QM_N_BOUNDS] = {0, 4, 5, 6, 4, 6, 7};
    for (int k = QM_BOUND_DRAM; k < QM_N_BOUNDS; k++)
        qm_print(&p->to, " %*.0f%% |", widths[k] - 1, 100 * s.bound[k] / whole);
    qm_print(&p->to, "\n");
}

int qm_report_step(qm_report *p, const qm_op_records *r, const qm_chip *chip, qm_err *e) {
    switch (p->format) {
    case QM_FORMAT_MD:
        if (chip && !p->every_op && !p->by_kind) line(p, r, chip);
        else table(p, r);
        break;
    case QM_FORMAT_CSV:
        if (!p->n_steps) csv_row(p, r, 0, 1);
        for (int i = 0; i < r->n_ops; i++) csv_row(p, r, i, 0);
        break;
    default:
        record(p, step_json(p, r, chip));
        for (int i = 0; i < r->n_ops; i++) record(p, op_json(r, i));
    }
    p->n_steps++;
    return qm_print_end(&p->to, e);
}

int qm_report_close(qm_report *p, qm_err *e) {
    if (!p) return 0;
    if (p->format == QM_FORMAT_JSON && p->n_written) qm_print(&p->to, "\n]\n");
    int rc = qm_print_end(&p->to, e);
    free(p);
    return rc;
}
