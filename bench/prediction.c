/* prediction.c: the tables of docs/prediction.md that `bench --predict` does not print by itself: each rung of fusion switched on after
 * the other, dependent launches on and off, and what the estimates become where facts are half or twice as large.
 *
 *   prediction      no options; a minute or two */
#include <stdio.h>
#include <string.h>
#include "../runtime/observe/predict.h"

enum { N_CHIPS = 4 };
static const char *const ids[N_CHIPS] = {"rtx4090", "gb10", "h200", "rtx5090"};
static const qm_chip *chip(int i) { return qm_chip_find(ids[i], strlen(ids[i])); }

static int step(qm_predictor *p, const qm_chip *c, const char *executor, double *tokens_per_s, const qm_op_records **r,
                qm_err *e) {
    const qm_op_records *x;
    int rc = qm_predictor_step(p, c, qm_work_decode(0), executor, &x, e);
    *tokens_per_s = rc ? 0 : 1e9 / x->step_ns;
    if (!rc && r) *r = x;
    return rc;
}

/* Ops of a layer in the middle that wait. */
static int waits(const qm_op_records *r) {
    int n = 0;
    for (int i = 0; i < r->n_ops; i++) n += r->op[i].op->waits && r->op[i].op->layer == 5;
    return n;
}

static int rungs(qm_err *e) {
    static const struct {
        const char *apart, *fused;
        int nodes, unasked, keeps, rings;
    } rung[] = {{"all", "nothing", 1, 0, 0, 0},
                {"all", "nothing", 0, 0, 0, 0},
                {"attn,topk,down", "norm", 0, 0, 0, 0},
                {"attn,topk", "norm, down", 0, 0, 0, 0},
                {"attn", "norm, down, topk", 0, 0, 0, 0},
                {"none", "norm, down, topk, attn", 0, 0, 0, 0},
                {"none", "norm, down, topk, attn", 0, 0, 0, 1},
                {"none", "norm, down, topk, attn", 0, 0, 1, 1},
                {"none", "norm, down, topk, attn", 1, 1, 0, 1},
                {"none", "norm, down, topk, attn", 1, 1, 0, 0}};
    int rc = 0;
    puts("tokens a second at depth 0, graph / persistent\n\n"
         "| fused | dependent launches | prefetch | kept in the L2 | ring | waits a layer | RTX 4090 | GB10 | H200 | "
         "RTX 5090 |\n"
         "|:------|:---|:---|:---|:---|---:|---:|---:|---:|---:|");
    for (size_t k = 0; k < sizeof rung / sizeof *rung && !rc; k++) {
        qm_predict_opts o = {
            .nodes = rung[k].nodes, .unasked = rung[k].unasked, .keeps = rung[k].keeps, .ringless = !rung[k].rings};
        qm_predictor *p = NULL;
        const qm_op_records *r;
        double graph, persistent;
        rc = qm_apart_of(&o.apart, rung[k].apart, e);
        if (!rc) rc = qm_predictor_open(&p, NULL, &o, e);
        for (int i = 0; i < N_CHIPS && !rc; i++) {
            rc = step(p, chip(i), NULL, &graph, &r, e);
            if (!rc) rc = step(p, chip(i), "persistent", &persistent, NULL, e);
            if (rc) break;
            if (!i)
                printf("| %s | %s | %s | %s | %s | %d |", rung[k].fused, rung[k].nodes ? "off" : "on",
                       rung[k].unasked ? "off" : "on", rung[k].keeps ? "on" : "off", rung[k].rings ? "on" : "off",
                       waits(r));
            printf(" %.0f / %.0f |", graph, persistent);
        }
        puts("");
        qm_predictor_close(p);
    }
    return rc;
}

typedef void (*alter)(qm_chip *c, double by);
static void between(qm_chip *c, double by) { c->node.v *= by, c->start.v *= by, c->edge.v *= by, c->handoff.v *= by; }
static void away(qm_chip *c, double by) { c->latency.v *= by, c->trip.v *= by; }

static void stays(qm_chip *c, double by) { c->kept.v = by < 1 ? 0 : by > 1 ? 1 : c->kept.v; }

static int sensitive(qm_predictor *p, const char *what, alter to, const char *less, const char *more, qm_err *e) {
    static const double by[] = {0.5, 1, 2};
    double graph, persistent;
    int rc = 0;
    printf("\n| %s | %s | as assumed | %s |\n|:-----|-----:|-----:|-----:|\n", what, less, more);
    for (int i = 0; i < N_CHIPS && !rc; i++) {
        printf("| %s |", chip(i)->name);
        for (int k = 0; k < 3 && !rc; k++) {
            qm_chip c = *chip(i);
            to(&c, by[k]);
            rc = step(p, &c, NULL, &graph, NULL, e);
            if (!rc) rc = step(p, &c, "persistent", &persistent, NULL, e);
            if (!rc) printf(" %.0f / %.0f |", graph, persistent);
        }
        puts("");
    }
    return rc;
}

int main(void) {
    qm_err e = {0};
    qm_predictor *p = NULL;
    int rc = rungs(&e);
    if (!rc) rc = qm_predictor_open(&p, NULL, NULL, &e);
    if (!rc) rc = sensitive(p, "node, start, edge, handoff", between, "half", "twice", &e);
    if (!rc) rc = sensitive(p, "latency, trip", away, "half", "twice", &e);
    qm_predictor_close(p);
    p = NULL;
    if (!rc) rc = qm_predictor_open(&p, NULL, &(qm_predict_opts){.keeps = 1}, &e);
    if (!rc) rc = sensitive(p, "what the L2 keeps", stays, "none", "all", &e);
    qm_predictor_close(p);
    if (rc) fprintf(stderr, "prediction: %s\n", e.msg);
    return rc != 0;
}
