/* counters.c: what the weight-streaming kernels cost, counted on the software device: no GPU, no clock.
 *
 *   counters [-o FILE] [--check FILE]
 *
 * Runs each op at the shapes of Qwen3-30B-A3B (Q4_K_M) with the geometry the plan chooses for 128
 * multiprocessors, and prints
 *   inst/w      thread instructions per weight, everything included (predicated-off lanes are not counted)
 *   req/w       global bytes requested, loads and stores, over weight bytes
 *   sect/w      32-byte sectors touched, loads and stores, times 32 over weight bytes
 *   shared/kw   shared-memory passes per 1000 weights (a 16-byte broadcast counts four)
 *   bar         barriers that a warp waits at
 *   block       of products of many rows: warp instructions a packed block of 32 x 256 weights, times the rows that a warp
 *               has at once (of experts: a group, however many its slots are)
 * -o writes the figures as JSON. --check fails (exit 1) if a gate is broken or if any figure is worse than
 * in FILE: they may only improve. The speed of the interpreter is printed, never compared. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../runtime/base/clock.h"
#include "../runtime/file/quant.h"
#include "jobs.h"

enum { N_SM = 128 };

/* What is watched, of the 30B's jobs (jobs.h). gate: most thread instructions per weight, of many rows most warp instructions
 * a block; 0: reported only. */
typedef struct {
    const char *what;
    int wtype;
    uint32_t rows_run;
    double gate;
    uint32_t rows; /* of the step; 0: one */
} watch;

/* Warp instructions a block, at 8, 16 and 32 rows: those of a design study's inner loop, and a quarter more for all around it,
 * also where a warp has but two blocks (qkv, attn_out in parts) or three (moe_down). */
#define GATE_8 (1.25 * 568)
#define GATE_16 (1.25 * 942)
#define GATE_32 (1.25 * 1761)

/* Some are not in a Q4_K_M file of the 30B: they watch the other weight types. Of the experts' products of many rows the first
 * CTA of each group does for all. */
static const watch watches[] = {
    {"qkv", QM_TYPE_Q4_K, 0, 2.0, 0},
    {"attn_out", QM_TYPE_Q4_K, 0, 2.0, 0},
    {"moe_up", QM_TYPE_Q4_K, 0, 2.0, 0},
    {"moe_down", QM_TYPE_Q4_K, 0, 2.0, 0},
    {"moe_down", QM_TYPE_Q6_K, 0, 3.0, 0},
    {"ffn_out", QM_TYPE_Q4_K, 0, 2.0, 0},
    {"ffn_out", QM_TYPE_Q6_K, 0, 3.0, 0},
    {"attn_v", QM_TYPE_Q6_K, 0, 3.0, 0},
    {"lm_head", QM_TYPE_Q6_K, 16384, 3.0, 0},
    {"router", QM_TYPE_F32, 0, 0, 0},
    {"router", QM_TYPE_F32H, 0, 0, 0},
    {"norm_qkv", QM_TYPE_Q4_K, 0, 0, 0},
    {"norm_qkv", QM_TYPE_Q8_0, 0, 0, 0},
    {"norm_router", QM_TYPE_F32, 0, 0, 0},
    {"norm_router", QM_TYPE_F32H, 0, 0, 0},
    {"add_attn_out", QM_TYPE_Q4_K, 0, 0, 0},
    {"qkv", QM_TYPE_Q5_K, 0, 0, 0},
    {"qkv", QM_TYPE_Q8_0, 0, 0, 0},
    {"moe_up", QM_TYPE_Q8_0, 0, 0, 0},
    {"moe_down", QM_TYPE_Q8_0, 0, 0, 0},
    {"qkv", QM_TYPE_F16, 0, 0, 0},
    {"qkv", QM_TYPE_BF16, 0, 0, 0},
    {"lm_head", QM_TYPE_Q4_K, 2048, GATE_8, 8},
    {"lm_head", QM_TYPE_Q4_K, 2048, GATE_16, 16},
    {"lm_head", QM_TYPE_Q4_K, 2048, GATE_32, 32},
    {"qkv", QM_TYPE_Q4_K, 512, GATE_8, 8},
    {"qkv", QM_TYPE_Q4_K, 512, GATE_16, 16},
    {"qkv", QM_TYPE_Q4_K, 512, GATE_32, 32},
    {"qkv", QM_TYPE_Q4_K, 512, GATE_32, 512},
    {"attn_out", QM_TYPE_Q4_K, 512, GATE_8, 8},
    {"attn_out", QM_TYPE_Q4_K, 512, GATE_32, 512},
    {"attn_v", QM_TYPE_Q6_K, 0, 0, 8},
    {"attn_v", QM_TYPE_Q6_K, 0, 0, 512},
    {"lm_head", QM_TYPE_Q6_K, 2048, 0, 8},
    {"lm_head", QM_TYPE_Q6_K, 2048, 0, 32},
    {"router", QM_TYPE_F32, 0, 0, 8},
    {"router", QM_TYPE_F32, 0, 0, 512},
    {"qkv", QM_TYPE_Q5_K, 512, 0, 32},
    {"qkv", QM_TYPE_Q8_0, 512, 0, 32},
    {"qkv", QM_TYPE_F16, 512, 0, 32},
    {"qkv", QM_TYPE_BF16, 512, 0, 32},
    {"moe_up", QM_TYPE_Q4_K, 128, GATE_8, 8},
    {"moe_up", QM_TYPE_Q4_K, 128, GATE_8, 16},
    {"moe_up", QM_TYPE_Q4_K, 128, GATE_8, 32},
    {"moe_up", QM_TYPE_Q4_K, 128, GATE_32, 512},
    {"moe_down", QM_TYPE_Q4_K, 256, GATE_8, 8},
    {"moe_down", QM_TYPE_Q4_K, 256, GATE_32, 512},
    {"moe_down", QM_TYPE_Q6_K, 256, 0, 8},
    {"moe_down", QM_TYPE_Q6_K, 256, 0, 512},
};
enum { N_WATCHES = sizeof watches / sizeof *watches };

static int find(const watch *w, qm_bench_job *j, qm_err *e) {
    static qm_bench_job all[1024];
    int n = qm_bench_jobs(&qm_bench_models[0], all, 1024);
    for (int i = 0; i < n && i < 1024; i++)
        if (!strcmp(all[i].what, w->what) && all[i].wtype == w->wtype && all[i].rows == w->rows) {
            *j = all[i];
            j->rows_run = w->rows_run;
            return 0;
        }
    return qm_fail(e, QM_ERR_ARG, "there is no job %s", w->what);
}

typedef struct {
    double inst, req, sect, shared, bar, block; /* block 0: there are none */
} figures;
static const char *const names[] = {"inst", "req", "sect", "shared", "bar", "block"};
enum { N_FIGURES = sizeof names / sizeof *names };

static int run(qm_device *d, qm_kernels *ks, const qm_bench_job *j, figures *f, double *speed, qm_err *e) {
    qm_bench_work w;
    qm_sim_counters c;
    int rc = qm_bench_open(&w, d, ks, j, N_SM, 1, e);
    double t0 = qm_now();
    if (rc || (rc = qm_bench_count(&w, &c, e))) goto out;
    const double t = qm_now() - t0, n_w = w.weights, bytes = w.weight_bytes;
    *f = (figures){(double)c.thread_insts / n_w,
                   (double)(c.gld_bytes + c.gst_bytes) / bytes,
                   32.0 * (double)(c.gld_sectors + c.gst_sectors) / bytes,
                   1000.0 * (double)c.shared_wavefronts / n_w,
                   (double)c.barriers / ((double)w.l.grid[0] * w.l.grid[1] * w.l.grid[2] * w.l.block / 32),
                   0};
    const double blocks = qm_bench_packed_blocks(&w);
    if (blocks > 0) f->block = (double)c.warp_insts / blocks;
    *speed = (double)c.warp_insts / t;
    char many[16] = "";
    if (j->rows) snprintf(many, sizeof many, "r%u", j->rows);
    else if (j->op != QM_OP_MATVEC) snprintf(many, sizeof many, "x8");
    printf("%-12s %-11s %-5s [%6u,%4u]%-5s T=%u S=%u grid %4u x %-3u %7.3f %7.4f %7.4f %9.2f %5.1f %6.0f  %6.1f\n",
           j->what, qm_op_name(j->op), qm_type_get((uint32_t)j->wtype)->name, j->n_rows, j->n_cols, many, w.l.tiles,
           w.l.block / 32 / w.l.tiles, w.l.grid[0], w.l.grid[1], f->inst, f->req, f->sect, f->shared, f->bar, f->block,
           *speed / 1e6);
out:
    qm_bench_close(&w);
    return rc;
}

static void key_of(const qm_bench_job *j, char *s, size_t n) {
    char rows[24] = "";
    if (j->rows) snprintf(rows, sizeof rows, " of %u rows", j->rows);
    snprintf(s, n, "%s %s %s [%u,%u]%s", j->what, qm_op_name(j->op), qm_type_get((uint32_t)j->wtype)->name, j->n_rows,
             j->n_cols, rows);
}

/* Gates, and the committed figures (root may be NULL). Returns the number of complaints. */
static int judge(const qm_bench_job *j, double gate, const figures *f, const json_t *root) {
    int bad = 0;
    char key[96];
    key_of(j, key, sizeof key);
    const double v[] = {f->inst, f->req, f->sect, f->shared, f->bar, f->block};
    if (gate > 0 && j->rows) {
        if (f->block > gate) bad += printf("FAIL %s: %.0f instructions a block, gate %.0f\n", key, f->block, gate) > 0;
    } else if (gate > 0) {
        if (f->inst > gate) bad += printf("FAIL %s: %.3f instructions a weight, gate %.1f\n", key, f->inst, gate) > 0;
        if (f->req > 1.14) bad += printf("FAIL %s: requested bytes %.4f of the weights, gate 1.14\n", key, f->req) > 0;
        if (f->sect > 1.14) bad += printf("FAIL %s: sectors %.4f of the weights, gate 1.14\n", key, f->sect) > 0;
    }
    if (!root) return bad;
    const json_t *o = json_object_get(root, key);
    if (!o) return bad + (printf("FAIL %s: not among the committed figures\n", key) > 0);
    for (int i = 0; i < (f->block > 0 ? N_FIGURES : N_FIGURES - 1); i++) {
        double was = json_number_value(json_object_get(o, names[i]));
        if (v[i] > was + 1e-6) bad += printf("FAIL %s: %s was %.6f, is %.6f\n", key, names[i], was, v[i]) > 0;
    }
    return bad;
}

int main(int argc, char **argv) {
    const char *out_path = NULL, *check_path = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-o") && i + 1 < argc) out_path = argv[++i];
        else if (!strcmp(argv[i], "--check") && i + 1 < argc) check_path = argv[++i];
        else {
            fprintf(stderr, "usage: counters [-o FILE] [--check FILE]\n");
            return 2;
        }
    }
    qm_err e = {0};
    qm_device *d = NULL;
    qm_kernels *ks = NULL;
    json_t *root = NULL, *made = json_object();
    json_error_t je;
    int bad = 1;
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.count = 1;
    o.n_sm = N_SM;
    qm_sim_set_options(&o);
    if (check_path && !(root = json_load_file(check_path, 0, &je))) {
        fprintf(stderr, "%s: %s\n", check_path, je.text);
        goto out;
    }
    if (qm_device_open(&d, "sim", NULL, 0, &e) || qm_kernels_open(&ks, d, &e)) goto failed;
    printf("%d multiprocessors declared; lm_head: 16384 of its rows in the geometry of all\n", N_SM);
    printf("%-12s %-11s %-5s %-15s %-28s %7s %7s %7s %9s %5s %6s  %6s\n", "what", "op", "type", "shape", "", "inst/w",
           "req/w", "sect/w", "shared/kw", "bar", "block", "Mwi/s");
    bad = 0;
    for (int i = 0; i < N_WATCHES; i++) {
        qm_bench_job j;
        figures f = {0};
        double speed = 0;
        char key[96];
        if (find(&watches[i], &j, &e) || run(d, ks, &j, &f, &speed, &e)) goto failed;
        bad += judge(&j, watches[i].gate, &f, root);
        key_of(&j, key, sizeof key);
        json_t *o = json_pack("{s:f,s:f,s:f,s:f,s:f}", names[0], f.inst, names[1], f.req, names[2], f.sect, names[3],
                              f.shared, names[4], f.bar);
        if (f.block > 0) json_object_set_new(o, names[5], json_real(f.block));
        json_object_set_new(made, key, o);
    }
    if (out_path && json_dump_file(made, out_path, JSON_INDENT(1) | JSON_REAL_PRECISION(12))) {
        fprintf(stderr, "%s: cannot write\n", out_path);
        bad = 1;
    }
    goto out;
failed:
    fprintf(stderr, "%s\n", e.msg);
    bad = 1;
out:
    qm_kernels_close(ks);
    qm_device_close(d);
    json_decref(made);
    json_decref(root);
    return bad ? 1 : 0;
}
