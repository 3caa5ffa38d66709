/* predict_test.c: see predict_test.h. A record (JSON; CSV has its single values) is a test; times are in ns, rates in
 * bytes/s. */
#include "predict_test.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/json.h"
#include "../base/print.h"
#include "op_report.h"

/* ---- the steps ---- */
static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* `times` times n sequences, `per` rows of each, at most so many sequences a step. */
static int share(qm_test_part *p, uint32_t n, uint32_t most, uint32_t depth, uint32_t per, double times) {
    int k = 0;
    if (n / most) p[k++] = (qm_test_part){{depth, most * per, most, most}, times * (n / most)};
    if (n % most) p[k++] = (qm_test_part){{depth, n % most * per, n % most, n % most}, times};
    return k;
}

int qm_test_parts(const qm_bench_test *t, uint32_t n_ubatch, qm_test_part p[QM_TEST_PARTS]) {
    const uint32_t seqs = t->n_seqs ? t->n_seqs : 1, n = t->n_prompt;
    if (t->n_gen) return share(p, seqs, least(seqs, n_ubatch), t->depth + t->n_gen / 2, 1, t->n_gen);
    if (n < n_ubatch) return share(p, seqs, least(seqs, n_ubatch / n), t->depth, n, 1);
    const uint32_t before = (n - 1) / n_ubatch, spread = least(before, QM_TEST_SPREAD);
    int k = 0;
    for (uint32_t i = 0; i < spread; i++) {
        const uint32_t chunk = (uint32_t)((2ull * i + 1) * before / (2 * spread));
        p[k++] = (qm_test_part){{t->depth + chunk * n_ubatch, n_ubatch, 1, 0}, (double)seqs * before / spread};
    }
    p[k++] = (qm_test_part){{t->depth + before * n_ubatch, n - before * n_ubatch, 1, 1}, seqs};
    return k;
}

/* ---- sums ---- */
typedef struct {
    const char *slot, *op;
    double n, time, gap, bound[QM_N_BOUNDS];
} kind;
enum { MAX_KINDS = 32 };
typedef struct {
    double steps, tokens, ns, apart, weight_bytes, kv_bytes, bound[QM_N_BOUNDS];
    int n_sampled, n_kinds;
    kind kinds[MAX_KINDS];
} sum;

static void add_op(sum *s, const qm_op_record *o, double times) {
    int k = 0;
    while (k < s->n_kinds && strcmp(s->kinds[k].slot, o->op->slot)) k++;
    s->bound[o->bound] += times * (o->time_ns + o->gap_ns);
    if (k == MAX_KINDS) return; /* a plan has 18 */
    if (k == s->n_kinds) s->kinds[s->n_kinds++] = (kind){.slot = o->op->slot, .op = qm_op_name(o->op->kind)};
    kind *to = &s->kinds[k];
    to->n += times;
    to->time += times * o->time_ns;
    to->gap += times * o->gap_ns;
    to->bound[o->bound] += times * (o->time_ns + o->gap_ns);
}

static sum sum_of(const qm_bench_test *t, const qm_test_part *parts, const qm_op_records *const *r, int n) {
    sum s = {.tokens = (double)(t->n_seqs ? t->n_seqs : 1) * (t->n_prompt + t->n_gen)};
    for (int i = 0; i < n; i++) {
        s.steps += parts[i].times;
        s.ns += parts[i].times * r[i]->step_ns;
        s.apart += parts[i].times * r[i]->apart_ns;
        s.weight_bytes += parts[i].times * (double)r[i]->weight_bytes;
        s.kv_bytes += parts[i].times * (double)r[i]->kv_bytes;
        if (r[i]->n_sampled > s.n_sampled) s.n_sampled = r[i]->n_sampled;
        for (int k = 0; k < r[i]->n_ops; k++) add_op(&s, &r[i]->op[k], parts[i].times);
    }
    return s;
}

static qm_bound most(const double *bound) {
    int b = QM_BOUND_DRAM;
    for (int i = b; i < QM_N_BOUNDS; i++)
        if (bound[i] > bound[b]) b = i;
    return (qm_bound)b;
}

/* ---- text ---- */
struct qm_test_report {
    qm_printer to;
    qm_format format;
    uint32_t n_ubatch;
    int n;
    char path[512];
    qm_machine machine;
};

int qm_test_report_open(qm_test_report **out, qm_format format, uint32_t n_ubatch, const char *path,
                        const qm_machine *m, qm_write_fn w, void *user, qm_err *e) {
    qm_test_report *p = *out = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "report: out of memory");
    p->to = (qm_printer){w, user, 0};
    p->format = format;
    p->n_ubatch = n_ubatch;
    p->machine = *m;
    snprintf(p->path, sizeof p->path, "%s", path ? path : "");
    return 0;
}

static json_t *tenth(double v) { return json_real(round(10 * v) / 10); }

static json_t *ops_json(const sum *s) {
    json_t *a = json_array();
    for (int k = 0; k < s->n_kinds; k++) {
        const kind *i = &s->kinds[k];
        json_array_append_new(a, json_pack("{s:s, s:s, s:f, s:o, s:o, s:f, s:s}", "slot", i->slot, "op", i->op, "n",
                                           i->n, "time_ns", tenth(i->time), "gap_ns", tenth(i->gap), "share",
                                           (i->time + i->gap) / s->ns, "bound", qm_bound_name(most(i->bound))));
    }
    return a;
}

static json_t *test_json(const qm_test_report *p, const qm_bench_test *t, const qm_chip *c, const sum *s,
                         const qm_op_records *r) {
    char name[QM_BENCH_NAME];
    qm_bench_test_name(name, sizeof name, t);
    json_t *bounds = json_object(), *ops = ops_json(s), *machine = qm_machine_object(&p->machine),
           *chip = qm_chip_json(c);
    for (int b = QM_BOUND_DRAM; b < QM_N_BOUNDS; b++)
        json_object_set_new(bounds, qm_bound_name((qm_bound)b), json_real(s->bound[b] / s->ns));
    return json_pack(
        "{s:s, s:s, s:b, s:s, s:s, s:s, s:o, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:o, s:o, s:o, s:o, s:o, "
        "s:i, s:o, s:o, s:o, s:o}",
        "record", "test", "test", name, "estimate", 1, "measured_by", "prediction", "device", c->name, "chip_id", c->id,
        "model", *p->path ? qm_json_str(p->path) : json_null(), "model_name", r->plan->place->model->hp.name,
        "executor", r->executor, "n_prompt", (int)t->n_prompt, "n_gen", (int)t->n_gen, "n_depth", (int)t->depth,
        "n_seqs", (int)(t->n_seqs ? t->n_seqs : 1), "n_ubatch", (int)p->n_ubatch, "steps", s->steps, "tokens",
        s->tokens, "time_ns", tenth(s->ns), "tokens_per_s", json_real(round(1e11 * s->tokens / s->ns) / 100),
        "tokens_per_s_apart", json_real(round(1e11 * s->tokens / s->apart) / 100), "weight_bytes",
        json_real(round(s->weight_bytes)), "kv_bytes", json_real(round(s->kv_bytes)), "ops_counted_in_part",
        s->n_sampled, "bound", bounds, "ops", ops, "chip", chip, "machine", machine);
}

static void csv(qm_test_report *p, const json_t *j, int names) {
    const char *key;
    json_t *v;
    int n = 0;
    json_object_foreach ((json_t *)j, key, v) {
        if (json_is_object(v) || json_is_array(v)) continue;
        char *text = names || json_is_null(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
        qm_print(&p->to, "%s%s", n++ ? "," : "", names ? key : text ? text : "");
        free(text);
    }
    qm_print(&p->to, "\n");
}

static void md(qm_test_report *p, const qm_bench_test *t, const qm_chip *c, const sum *s, const qm_op_records *r) {
    static const int widths[QM_N_BOUNDS] = {0, 4, 5, 6, 4, 6, 7};
    char name[QM_BENCH_NAME];
    qm_bench_test_name(name, sizeof name, t);
    if (!p->n) {
        qm_print(
            &p->to,
            "ESTIMATES of %s, %u rows a step: no GPU has run this. docs/prediction.md says how they come about.\n\n"
            "| chip     | test              | steps |     ms/step | MB/step |  tokens/s |     apart |",
            r->plan->place->model->hp.name, p->n_ubatch);
        for (int b = QM_BOUND_DRAM; b < QM_N_BOUNDS; b++)
            qm_print(&p->to, " %*s |", widths[b], qm_bound_name((qm_bound)b));
        qm_print(&p->to, "\n|:---------|:------------------|------:|------------:|--------:|----------:|----------:|");
        for (int b = QM_BOUND_DRAM; b < QM_N_BOUNDS; b++) qm_print(&p->to, "%.*s:|", widths[b] + 1, "---------");
        qm_print(&p->to, "\n");
    }
    qm_print(&p->to, "| %-8s | %-17s | %5.0f | %11.3f | %7.0f | %9.1f | %9.1f |", c->id, name, s->steps,
             1e-6 * s->ns / s->steps, 1e-6 * (s->weight_bytes + s->kv_bytes) / s->steps, 1e9 * s->tokens / s->ns,
             1e9 * s->tokens / s->apart);
    for (int b = QM_BOUND_DRAM; b < QM_N_BOUNDS; b++)
        qm_print(&p->to, " %*.0f%% |", widths[b] - 1, 100 * s->bound[b] / s->ns);
    qm_print(&p->to, "\n");
}

int qm_test_report_add(qm_test_report *p, const qm_bench_test *t, const qm_chip *c, const qm_test_part *parts,
                       const qm_op_records *const *r, int n, qm_err *e) {
    const sum s = sum_of(t, parts, r, n);
    if (p->format == QM_FORMAT_MD) md(p, t, c, &s, r[0]);
    else {
        json_t *j = test_json(p, t, c, &s, r[0]);
        char *text = j ? json_dumps(j, JSON_PRESERVE_ORDER | JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
        if (!text) p->to.stopped = 1;
        else if (p->format == QM_FORMAT_CSV) {
            if (!p->n) csv(p, j, 1);
            csv(p, j, 0);
        } else {
            if (p->format == QM_FORMAT_JSON) qm_print(&p->to, p->n ? ",\n" : "[\n");
            qm_print_bytes(&p->to, text, strlen(text));
            if (p->format == QM_FORMAT_JSONL) qm_print(&p->to, "\n");
        }
        free(text);
        json_decref(j);
    }
    p->n++;
    return qm_print_end(&p->to, e);
}

int qm_test_report_close(qm_test_report *p, qm_err *e) {
    if (!p) return 0;
    if (p->format == QM_FORMAT_JSON && p->n) qm_print(&p->to, "\n]\n");
    int rc = qm_print_end(&p->to, e);
    free(p);
    return rc;
}
