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
 *   bar         barriers per CTA
 * -o writes the figures as JSON. --check fails (exit 1) if a gate is broken or if any figure is worse than
 * in FILE: they may only improve. The speed of the interpreter is printed, never compared. */
#define _POSIX_C_SOURCE 200809L
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../kernels/ref/ref.h"
#include "../runtime/base/rng.h"
#include "../runtime/device/kernels.h"
#include "../runtime/file/quant.h"
#include "../runtime/sim/sim.h"

enum { N_SM = 128, SLOTS = 8 };

typedef struct {
    const char *what;
    qm_op_kind op;
    int wtype;
    uint32_t n_rows, n_cols; /* of one matrix */
    uint32_t max_splits;
    uint32_t rows_run;       /* 0 = all; else only as many rows of the same geometry (a long matrix) */
    double gate;             /* most thread instructions per weight; 0: reported only */
} job;

/* The last rows are not in a Q4_K_M file of the 30B; they watch the other weight types. */
static const job jobs[] = {
    {"qkv", QM_OP_MATVEC, QM_TYPE_Q4_K, 5120, 2048, 8, 0, 2.0},
    {"attn_out", QM_OP_MATVEC, QM_TYPE_Q4_K, 2048, 4096, 8, 0, 2.0},
    {"moe_up", QM_OP_MOE_UP, QM_TYPE_Q4_K, 768, 2048, 1, 0, 2.0},
    {"moe_down", QM_OP_MOE_MATVEC, QM_TYPE_Q4_K, 2048, 768, 1, 0, 2.0},
    {"moe_down", QM_OP_MOE_MATVEC, QM_TYPE_Q6_K, 2048, 768, 1, 0, 3.0},
    {"attn_v", QM_OP_MATVEC, QM_TYPE_Q6_K, 512, 2048, 1, 0, 3.0},
    {"lm_head", QM_OP_MATVEC, QM_TYPE_Q6_K, 151936, 2048, 1, 16384, 3.0},
    {"router", QM_OP_MATVEC, QM_TYPE_F32, 128, 2048, 8, 0, 0},
    {"qkv", QM_OP_MATVEC, QM_TYPE_Q5_K, 5120, 2048, 8, 0, 0},
    {"qkv", QM_OP_MATVEC, QM_TYPE_Q8_0, 5120, 2048, 8, 0, 0},
    {"moe_up", QM_OP_MOE_UP, QM_TYPE_Q8_0, 768, 2048, 1, 0, 0},
    {"moe_down", QM_OP_MOE_MATVEC, QM_TYPE_Q8_0, 2048, 768, 1, 0, 0},
    {"qkv", QM_OP_MATVEC, QM_TYPE_F16, 5120, 2048, 8, 0, 0},
    {"qkv", QM_OP_MATVEC, QM_TYPE_BF16, 5120, 2048, 8, 0, 0},
};
enum { N_JOBS = sizeof jobs / sizeof *jobs };

typedef struct { double inst, req, sect, shared, bar; } figures;
static const char *const names[] = {"inst", "req", "sect", "shared", "bar"};

/* Device memory of n random bytes: no kernel here branches on its data. */
static int upload(qm_device *d, CUdeviceptr *p, size_t n, uint64_t seed, qm_err *e) {
    int rc = 0;
    qm_rng r = {seed};
    uint64_t *v = malloc((n + 7) & ~(size_t)7);
    if (!v) return qm_fail(e, QM_ERR_NOMEM, "%zu bytes", n);
    for (size_t i = 0; i < (n + 7) / 8; i++) v[i] = qm_rng_u64(&r);
    QM_CU_TRY(d, MemAlloc(p, n));
    QM_CU_TRY(d, MemcpyHtoD(*p, v, n));
out:
    free(v);
    return rc;
}

static int run(qm_device *d, qm_kernels *ks, const job *j, figures *f, double *speed, qm_err *e) {
    const qm_type_info *t = qm_type_get((uint32_t)j->wtype);
    const uint32_t rows = j->rows_run ? j->rows_run : j->n_rows;
    const int moe = j->op != QM_OP_MATVEC, up = j->op == QM_OP_MOE_UP, k = qm_kernel_find(j->op, j->wtype, 0);
    const size_t matrix = qm_pack_bytes(t, rows, j->n_cols);
    const size_t x_bytes = t->q16a ? QM_Q16A_BYTES(j->n_cols) : 4 * (size_t)j->n_cols;
    qm_launch l = up    ? qm_launch_moe_up(j->wtype, j->n_rows, j->n_cols, SLOTS, N_SM)
                  : moe ? qm_launch_moe_matvec(j->wtype, j->n_rows, j->n_cols, SLOTS, N_SM)
                        : qm_launch_matvec(j->wtype, j->n_rows, j->n_cols, N_SM, j->max_splits);
    l.grid[0] = ((rows + 31) / 32 + l.tiles - 1) / l.tiles;
    uint32_t ids[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) ids[i] = i;

    CUdeviceptr w = 0, w2 = 0, x = 0, y = 0, yq = 0, d_ids = 0, scale = 0;
    struct timespec t0, t1;
    qm_sim_counters c;
    int rc = 0;
    if ((rc = upload(d, &w, matrix * (moe ? SLOTS : 1), 1, e)) || (rc = upload(d, &x, x_bytes * SLOTS, 2, e)) ||
        (rc = upload(d, &y, (size_t)rows * 4 * (moe ? SLOTS : l.grid[1]), 3, e)) ||
        (rc = upload(d, &yq, (size_t)QM_Q16A_BYTES(rows) * SLOTS, 4, e)) || (rc = upload(d, &scale, 4 * SLOTS, 5, e)))
        goto out;
    if (up && (rc = upload(d, &w2, matrix * SLOTS, 6, e))) goto out;
    QM_CU_TRY(d, MemAlloc(&d_ids, sizeof ids));
    QM_CU_TRY(d, MemcpyHtoD(d_ids, ids, sizeof ids));

    qm_op_args a = {0};
    if (up)
        a.moe_up = (qm_moe_up_args){.w_gate = w, .w_up = w2, .x = x, .ids = d_ids, .h = t->q16a ? 0 : y, .hq = t->q16a ? yq : 0,
                                    .expert_bytes = matrix, .n_ff = rows, .n_cols = j->n_cols, .tiles = l.tiles, .n_expert = SLOTS};
    else if (moe)
        a.moe_matvec = (qm_moe_matvec_args){.w = w, .x = x, .ids = d_ids, .scale = scale, .y = y, .expert_bytes = matrix,
                                            .x_stride = x_bytes, .n_rows = rows, .n_cols = j->n_cols, .tiles = l.tiles,
                                            .n_expert = SLOTS};
    else
        a.matvec = (qm_matvec_args){.w = w, .x = x, .y = y, .n_rows = rows, .n_cols = j->n_cols, .tiles = l.tiles};

    qm_sim_counters_reset();
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if ((rc = qm_kernels_launch(ks, k, l.grid, l.block, l.shared, &a, NULL, e))) goto out;
    QM_CU_TRY(d, CtxSynchronize());
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (!qm_sim_counters_kernel(qm_kernel_table[k].entry, &c)) {
        rc = qm_fail(e, QM_ERR_DEVICE, "no counters for %s", qm_kernel_table[k].entry);
        goto out;
    }
    double n_w = (double)rows * j->n_cols * (moe ? SLOTS : 1) * (up ? 2 : 1);
    double bytes = n_w / t->qk * t->bytes;
    *f = (figures){(double)c.thread_insts / n_w, (double)(c.gld_bytes + c.gst_bytes) / bytes,
                   32.0 * (double)(c.gld_sectors + c.gst_sectors) / bytes,
                   1000.0 * (double)c.shared_wavefronts / n_w,
                   (double)c.barriers / ((double)l.grid[0] * l.grid[1])};
    *speed = (double)c.warp_insts / ((double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
    printf("%-9s %-10s %-5s [%6u,%4u]%s T=%u S=%u grid %4u x %u  %6.3f %7.4f %7.4f %9.2f %4.1f  %6.1f\n", j->what,
           qm_op_name(j->op), t->name, j->n_rows, j->n_cols, moe ? "x8" : "  ", l.tiles, l.block / 32 / l.tiles, l.grid[0],
           l.grid[1], f->inst, f->req, f->sect, f->shared, f->bar, *speed / 1e6);
out:
    d->cu.MemFree(w);
    d->cu.MemFree(x);
    d->cu.MemFree(y);
    d->cu.MemFree(yq);
    d->cu.MemFree(scale);
    if (w2) d->cu.MemFree(w2);
    if (d_ids) d->cu.MemFree(d_ids);
    return rc;
}

static void key_of(const job *j, char *s, size_t n) {
    snprintf(s, n, "%s %s %s [%u,%u]", j->what, qm_op_name(j->op), qm_type_get((uint32_t)j->wtype)->name, j->n_rows, j->n_cols);
}

/* Gates, and the committed figures (root may be NULL). Returns the number of complaints. */
static int judge(const job *j, const figures *f, const json_t *root) {
    int bad = 0;
    char key[96];
    key_of(j, key, sizeof key);
    const double v[] = {f->inst, f->req, f->sect, f->shared, f->bar};
    if (j->gate > 0) {
        if (f->inst > j->gate) bad += printf("FAIL %s: %.3f instructions a weight, gate %.1f\n", key, f->inst, j->gate) > 0;
        if (f->req > 1.05) bad += printf("FAIL %s: requested bytes %.4f of the weights, gate 1.05\n", key, f->req) > 0;
        if (f->sect > 1.05) bad += printf("FAIL %s: sectors %.4f of the weights, gate 1.05\n", key, f->sect) > 0;
    }
    if (!root) return bad;
    const json_t *o = json_object_get(root, key);
    if (!o) return bad + (printf("FAIL %s: not among the committed figures\n", key) > 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
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
    printf("%-9s %-10s %-5s %-15s %-24s  %6s %7s %7s %9s %4s  %6s\n", "what", "op", "type", "shape", "", "inst/w", "req/w", "sect/w",
           "shared/kw", "bar", "Mwi/s");
    bad = 0;
    for (int i = 0; i < N_JOBS; i++) {
        figures f = {0};
        double speed = 0;
        char key[96];
        if (run(d, ks, &jobs[i], &f, &speed, &e)) goto failed;
        bad += judge(&jobs[i], &f, root);
        key_of(&jobs[i], key, sizeof key);
        json_object_set_new(made, key, json_pack("{s:f,s:f,s:f,s:f,s:f}", names[0], f.inst, names[1], f.req, names[2], f.sect,
                                                 names[3], f.shared, names[4], f.bar));
    }
    if (out_path && json_dump_file(made, out_path, JSON_INDENT(1) | JSON_REAL_PRECISION(9))) {
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
