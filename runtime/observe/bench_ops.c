/* bench_ops.c: qm_bench_ops, qm_bench_predict_ops and _tests: measure or estimate, then report. */
#include <string.h>
#include "op_measure.h"
#include "op_report.h"
#include "predict_test.h"

enum { DEFAULT_RUNS = 50 };

int qm_bench_ops(qm_engine *g, const qm_ops_opts *o, qm_write_fn w, void *user, qm_err *e) {
    qm_report *p = NULL;
    qm_machine m;
    qm_device *d = qm_inside_device(g);
    if (!d) return qm_fail(e, QM_ERR_UNSUPPORTED, "op by op: the executor %s runs no kernels", qm_inside_executor(g));
    qm_machine_of(d, &m);
    int rc = qm_report_open(&p, o, qm_gguf_path(qm_inside_gguf(g)), &m, w, user, e);
    qm_bandwidth reach = {0}; /* what rates are held against: measured, not the data sheet's; 0 = unknown */
    if (!rc && !qm_counters_here(d) && qm_engine_bandwidth(g, &reach, NULL)) reach.read_best = 0;
    for (int i = 0; i < o->n_depth && !rc; i++) {
        qm_op_records *r = NULL;
        rc = qm_counters_here(d) ? qm_ops_count(g, o->depth[i], &r, e)
                                 : qm_ops_time(g, o->depth[i], o->runs ? o->runs : DEFAULT_RUNS, o->seed, &r, e);
        if (!rc) {
            r->bandwidth = reach.read_best;
            rc = qm_report_step(p, r, NULL, e);
        }
        qm_op_records_free(r);
    }
    int end = qm_report_close(p, rc ? NULL : e);
    return rc ? rc : end;
}

/* The next chip of a list: "all", or ids with commas between them. *s moves on. NULL at the end or, with *rc
 * set, where a word is no chip. */
static const qm_chip *next_chip(const char **s, int *all, int *rc, qm_err *e) {
    if (*all) return *all < qm_n_chips ? &qm_chips[(*all)++] : NULL;
    if (!**s) return NULL;
    size_t n = strcspn(*s, ",");
    if (n == 3 && !strncmp(*s, "all", 3)) {
        *all = 1;
        return &qm_chips[0];
    }
    const qm_chip *c = qm_chip_find(*s, n);
    if (!c) {
        char known[128] = "";
        for (int i = 0; i < qm_n_chips; i++) {
            if (i) strncat(known, ", ", sizeof known - strlen(known) - 1);
            strncat(known, qm_chips[i].id, sizeof known - strlen(known) - 1);
        }
        *rc = qm_fail(e, QM_ERR_ARG, "there are no facts of a chip '%.*s'; there are %s, and all", (int)n, *s, known);
        return NULL;
    }
    *s += n + ((*s)[n] == ',');
    return c;
}

/* What is estimated on each chip: steps at depths, or tests. */
typedef struct {
    qm_predictor *from;
    const qm_ops_opts *o;
    const qm_bench_test *tests; /* NULL: o's depths */
    int n_tests;
    qm_report *ops;          /* op by op, */
    qm_test_report *by_test; /* or a test at a time */
} estimates;

static int one_test(estimates *x, const qm_bench_test *t, const qm_chip *c, qm_err *e) {
    qm_test_part parts[QM_TEST_PARTS];
    const qm_op_records *r[QM_TEST_PARTS];
    const int n = qm_test_parts(t, x->o->n_ubatch ? x->o->n_ubatch : QM_STEP_ROWS_MAX, parts);
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        rc = qm_predictor_step(x->from, c, parts[i].work, x->o->executor, &r[i], e);
        if (!rc && x->ops) rc = qm_report_step(x->ops, r[i], c, e);
    }
    return rc || x->ops ? rc : qm_test_report_add(x->by_test, t, c, parts, r, n, e);
}

static int on_chip(estimates *x, const qm_chip *c, qm_err *e) {
    int rc = 0;
    for (int i = 0; i < x->n_tests && !rc; i++) {
        rc = one_test(x, &x->tests[i], c, e);
        if (!rc) continue;
        char name[QM_BENCH_NAME];
        qm_bench_test_name(name, sizeof name, &x->tests[i]);
        qm_err_prefix(e, "%s", name);
    }
    for (int i = 0; i < x->o->n_depth && !x->tests && !rc; i++) {
        const qm_op_records *r;
        rc = qm_predictor_step(x->from, c, qm_work_decode(x->o->depth[i]), x->o->executor, &r, e);
        if (!rc) rc = qm_report_step(x->ops, r, c, e);
    }
    return rc;
}

static int estimate(const char *path, const char *chips, estimates *x, qm_write_fn w, void *user, qm_err *e) {
    const qm_ops_opts *o = x->o;
    qm_machine m;
    const qm_chip *c;
    qm_predict_opts po = {.nodes = o->dependent_launch && !strcmp(o->dependent_launch, "off")};
    int all = 0, rc = qm_apart_of(&po.apart, o->apart, e), resident;
    if (rc || (rc = qm_kv_type_of(&po.kv, o->cache_k, o->cache_v, e))) return rc;
    if (qm_inside_runs(o->executor, NULL, &resident, e))
        return qm_fail(e, QM_ERR_ARG, "an estimate of the executor '%s': there are those of graph and persistent",
                       o->executor);
    if (o->n_ubatch > QM_STEP_ROWS_MAX)
        return qm_fail(e, QM_ERR_ARG, "an estimate of steps of %u rows: %d are the most", o->n_ubatch,
                       QM_STEP_ROWS_MAX);
    for (const char *s = chips; (c = next_chip(&s, &all, &rc, e));) {} /* a wrong word before any work */
    if (rc) return rc;
    if (!*chips) return qm_fail(e, QM_ERR_ARG, "no chip is named");
    if ((rc = qm_predictor_open(&x->from, path, &po, e))) return rc;
    qm_machine_of(NULL, &m);
    rc = x->tests && !o->by_kind && !o->every_op
             ? qm_test_report_open(&x->by_test, o->format, o->n_ubatch ? o->n_ubatch : QM_STEP_ROWS_MAX, path, &m, w,
                                   user, e)
             : qm_report_open(&x->ops, o, path, &m, w, user, e);
    all = 0;
    for (const char *s = chips; !rc && (c = next_chip(&s, &all, &rc, e));) rc = on_chip(x, c, e);
    int end = qm_report_close(x->ops, rc ? NULL : e);
    if (qm_test_report_close(x->by_test, rc || end ? NULL : e)) end = QM_ERR_IO;
    qm_predictor_close(x->from);
    return rc ? rc : end;
}

int qm_bench_predict_ops(const char *path, const char *chips, const qm_ops_opts *o, qm_write_fn w, void *user,
                         qm_err *e) {
    return estimate(path, chips, &(estimates){.o = o}, w, user, e);
}

int qm_bench_predict_tests(const char *path, const char *chips, const qm_bench_test *t, int n, const qm_ops_opts *o,
                           qm_write_fn w, void *user, qm_err *e) {
    for (int i = 0; i < n; i++)
        if (!t[i].n_prompt == !t[i].n_gen)
            return qm_fail(e, QM_ERR_ARG, "bench: %u tokens of prompt, %u to generate", t[i].n_prompt, t[i].n_gen);
    return estimate(path, chips, &(estimates){.o = o, .tests = t, .n_tests = n}, w, user, e);
}
