/* jobs.c: see jobs.h. Geometry is the plan's (kernels/ref/launch.h, runtime/plan/build.c). */
#include "jobs.h"
#include "../kernels/ref/sample.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../runtime/base/rng.h"
#include "../runtime/file/quant.h"

const qm_bench_model qm_bench_models[] = {
    {"30b", 2048, 32, 4, 128, 768, 128, 8, 151936, 4095, 256u << 20},
    {"small", 512, 8, 2, 64, 256, 32, 8, 2048, 1023, 1u << 20},
    {0},
};

enum { PARTS = 8 };

static void add(qm_bench_job *out, int cap, int *n, qm_bench_job j) {
    if (*n < cap) out[*n] = j;
    ++*n;
}

int qm_bench_jobs(const qm_bench_model *m, qm_bench_job *out, int cap) {
    int n = 0;
    const uint32_t nq = m->n_head * m->head_dim, nkv = m->n_kv * m->head_dim;
    for (int k = 0; k < QM_N_KERNELS; k++) {
        const qm_kernel_info *i = &qm_kernel_table[k];
        const qm_bench_job j = {
            .m = m, .what = i->file, .op = i->op, .wtype = i->wtype, .kv = i->kv, .head_dim = i->head_dim};
#define ADD(name, rows, cols, parts)                                              \
    do {                                                                          \
        qm_bench_job t_ = j;                                                      \
        t_.what = name, t_.n_rows = rows, t_.n_cols = cols, t_.max_parts = parts; \
        add(out, cap, &n, t_);                                                    \
    } while (0)
        if (i->head_dim && (uint32_t)i->head_dim != m->head_dim) continue;
        switch (i->op) {
        case QM_OP_EMBED: ADD("embed", m->n_vocab, m->n_embd, 0); break;
        case QM_OP_MATVEC:
            ADD("qkv", nq + 2 * nkv, m->n_embd, 8);
            ADD("attn_v", nkv, m->n_embd, 1);
            ADD("attn_out", m->n_embd, nq, 8);
            if (i->wtype == QM_TYPE_F32) ADD("router", m->n_expert, m->n_embd, 8);
            ADD("lm_head", m->n_vocab, m->n_embd, 1);
            break;
        case QM_OP_MOE_UP: ADD("moe_up", m->n_ff, m->n_embd, 1); break;
        case QM_OP_MOE_MATVEC: ADD("moe_down", m->n_embd, m->n_ff, 1); break;
        case QM_OP_RMSNORM:
        case QM_OP_SWIGLU:
        case QM_OP_QKROPE:
        case QM_OP_ATTN:
        case QM_OP_COMBINE:
        case QM_OP_ROUTER:
        case QM_OP_SAMPLE_SCAN:
        case QM_OP_SAMPLE_DRAW:
        case QM_OP_PROBE:
        case QM_OP_STATS: add(out, cap, &n, j); break;
        default: break; /* no job yet: a case in open_rest, and one here */
        }
#undef ADD
    }
    return n;
}

int qm_bench_sweep(const qm_bench_model *m, qm_bench_job *out, int cap) {
    enum { MAX_JOBS = 256, SHARED_MAX = 48 * 1024 };
    qm_bench_job jobs[MAX_JOBS];
    int n = 0, n_jobs = qm_bench_jobs(m, jobs, MAX_JOBS);
    for (int i = 0; i < n_jobs && i < MAX_JOBS; i++) {
        qm_bench_job j = jobs[i];
        const uint32_t streams = j.op == QM_OP_MOE_UP ? 2 : 1;
        if ((j.wtype != QM_TYPE_Q4_K && j.wtype != QM_TYPE_Q6_K) || !j.n_rows || j.op == QM_OP_EMBED) continue;
        const qm_sums sums = qm_sums_of(j.wtype, j.n_cols);
        for (j.parts = 1; j.parts <= (j.max_parts > 1 ? sums.n_parts : 1);
             j.parts += sums.n_parts > 1 ? sums.n_parts - 1 : 1)
            for (j.tiles = 1; j.tiles <= 4; j.tiles *= 2)
                for (j.slices = 1; j.slices * j.tiles <= 16 && j.slices * j.parts <= sums.n_segments; j.slices *= 2)
                    if (qm_launch_shared(j.wtype, j.n_cols, j.parts, streams, j.tiles) <= SHARED_MAX)
                        add(out, cap, &n, j);
    }
    return n;
}

void qm_bench_job_name(const qm_bench_job *j, char *s, size_t n) {
    char own[64] = "";
    if (j->tiles) snprintf(own, sizeof own, "/tiles:%u/slices:%u/parts:%u", j->tiles, j->slices, j->parts);
    snprintf(s, n, "%s/%s/%s%s%s%s", j->m->name, j->what, qm_op_name(j->op), j->wtype >= 0 ? "/" : "",
             j->wtype >= 0 ? qm_type_get((uint32_t)j->wtype)->name : "", own);
}

/* ---- buffers ---- */
typedef enum { BITS, FLOATS, HALVES, ZEROS, COUNT_UP } content;

/* n_bytes of content, `copies` times at multiples of *stride (NULL: once). No kernel branches on weights, so
 * random bits repeated every 4 MiB are as good as a model's. */
static CUdeviceptr get(qm_bench_work *w, content what, double n_bytes, uint32_t copies, uint64_t *stride, int *failed,
                       qm_err *e) {
    enum { CHUNK = 4 << 20 };
    const size_t n = ((size_t)n_bytes + 255) & ~(size_t)255, total = n * copies, chunk = total < CHUNK ? total : CHUNK;
    CUdeviceptr p = 0;
    uint32_t *v = NULL;
    int rc = 0;
    qm_rng r = {(uint64_t)w->n_buffers + 1};
    if (stride) *stride = n;
    if (*failed) return 0;
    if (w->n_buffers == QM_BENCH_BUFFERS || !(v = malloc(chunk))) {
        rc = qm_fail(e, QM_ERR_NOMEM, "bench: out of host memory or buffers");
        goto out;
    }
    for (size_t i = 0; i < chunk / 4; i++) {
        float f = qm_rng_unit(&r);
        uint32_t bits = qm_rng_u32(&r);
        if (what == FLOATS) memcpy(&bits, &f, 4);
        v[i] = what == HALVES     ? bits & 0xbfffbfffu
               : what == ZEROS    ? 0
               : what == COUNT_UP ? (uint32_t)i
                                  : bits; /* |half| < 2 */
    }
    QM_CU_TRY(w->d, MemAlloc(&p, total));
    w->buffer[w->n_buffers++] = p;
    QM_CU_TRY(w->d, MemcpyHtoD(p, v, chunk));
    for (size_t have = chunk; have < total;) { /* doubling */
        size_t more = have < total - have ? have : total - have;
        QM_CU_TRY(w->d, MemcpyDtoDAsync(p + have, p, more, NULL));
        have += more;
    }
    QM_CU_TRY(w->d, CtxSynchronize());
out:
    free(v);
    if (rc) *failed = rc;
    return p;
}

static uint32_t copies_for(const qm_bench_work *w, double spread) {
    double n = w->weight_bytes > 0 ? ceil(spread / w->weight_bytes) : 1;
    return n < 1 ? 1 : n > 1024 ? 1024 : (uint32_t)n;
}

/* ---- the ops ---- */
static void open_weights(qm_bench_work *w, uint32_t n_sm, double spread, int *failed, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const qm_type_info *t = qm_type_get((uint32_t)j->wtype);
    const uint32_t rows = j->rows_run && j->rows_run < j->n_rows ? j->rows_run : j->n_rows, used = j->m->n_used;
    const int up = j->op == QM_OP_MOE_UP, moe = up || j->op == QM_OP_MOE_MATVEC;
    const uint32_t n = moe ? used : 1;
    const size_t matrix = qm_pack_bytes(t, rows, j->n_cols);
    const size_t x_bytes = t->q16a ? QM_Q16A_BYTES(j->n_cols) : 4 * (size_t)j->n_cols;
    uint64_t stride;
    w->l = up    ? qm_launch_moe_up(j->wtype, j->n_rows, j->n_cols, used, n_sm)
           : moe ? qm_launch_moe_matvec(j->wtype, j->n_rows, j->n_cols, used, n_sm)
                 : qm_launch_matvec(j->wtype, j->n_rows, j->n_cols, n_sm, j->max_parts);
    if (j->tiles)
        w->l = (qm_launch){{0, j->parts * n, 1},
                           32 * j->tiles * j->slices,
                           qm_launch_shared(j->wtype, j->n_cols, j->parts, up ? 2 : 1, j->tiles),
                           j->tiles};
    w->l.grid[0] = ((rows + 31) / 32 + w->l.tiles - 1) / w->l.tiles;
    w->weights = (double)rows * j->n_cols * n * (up ? 2 : 1);
    w->weight_bytes = w->weights / t->qk * t->bytes;
    w->n_copies = copies_for(w, spread);
    const double y_bytes = 4.0 * rows * (moe ? n : w->l.grid[1]);
    w->bytes = w->weight_bytes + (double)x_bytes * (j->op == QM_OP_MOE_MATVEC ? n : 1) + y_bytes;
    const CUdeviceptr x = get(w, t->q16a ? BITS : FLOATS, (double)x_bytes * n, 1, NULL, failed, e);
    const CUdeviceptr y = get(w, ZEROS, y_bytes, 1, NULL, failed, e);
    const CUdeviceptr wt = get(w, BITS, (double)matrix * n, w->n_copies, &stride, failed, e);
    const CUdeviceptr w2 = up ? get(w, BITS, (double)matrix * n, w->n_copies, NULL, failed, e) : 0;
    const CUdeviceptr ids = moe ? get(w, COUNT_UP, 4.0 * n, 1, NULL, failed, e) : 0;
    const CUdeviceptr scale = moe && !up ? get(w, FLOATS, 4.0 * n, 1, NULL, failed, e) : 0;
    const CUdeviceptr hq = up && t->q16a ? get(w, ZEROS, (double)QM_Q16A_BYTES(rows) * n, 1, NULL, failed, e) : 0;
    for (uint32_t i = 0; i < w->n_copies && !*failed; i++) {
        const uint64_t at = stride * i;
        qm_op_args *a = &w->args[i];
        if (up)
            a->moe_up = (qm_moe_up_args){.w_gate = wt + at,
                                         .w_up = w2 + at,
                                         .x = x,
                                         .ids = ids,
                                         .h = t->q16a ? 0 : y,
                                         .hq = hq,
                                         .expert_bytes = matrix,
                                         .n_ff = rows,
                                         .n_cols = j->n_cols,
                                         .tiles = w->l.tiles,
                                         .n_expert = n};
        else if (moe)
            a->moe_matvec = (qm_moe_matvec_args){.w = wt + at,
                                                 .x = x,
                                                 .ids = ids,
                                                 .scale = scale,
                                                 .y = y,
                                                 .expert_bytes = matrix,
                                                 .x_stride = x_bytes,
                                                 .n_rows = rows,
                                                 .n_cols = j->n_cols,
                                                 .tiles = w->l.tiles,
                                                 .n_expert = n};
        else
            a->matvec = (qm_matvec_args){
                .w = wt + at, .x = x, .y = y, .n_rows = rows, .n_cols = j->n_cols, .tiles = w->l.tiles};
    }
}

/* The other ops: small ones, whose inputs the op before has just written, are never spread. */
static void open_rest(qm_bench_work *w, uint32_t n_sm, double spread, int *failed, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const qm_bench_model *m = j->m;
    const uint32_t nq = m->n_head * m->head_dim, heads = m->n_head + 2 * m->n_kv, pages = m->pos / QM_PAGE_TOKENS + 1,
                   spans = m->pos / QM_SPAN + 1;
    const uint32_t block = (uint32_t)qm_kernel_table[w->kernel].max_block;
    uint64_t stride = 0;
    qm_op_args *a = &w->args[0];
#define GET(what, n) get(w, what, n, 1, NULL, failed, e)
    w->l = (qm_launch){{1, 1, 1}, block, 0, 1};
    switch (j->op) {
    case QM_OP_EMBED: {
        const qm_type_info *t = qm_type_get((uint32_t)j->wtype);
        const uint32_t rows = j->n_rows < 1024 ? j->n_rows : 1024; /* one row is read */
        w->bytes = (double)qm_row_bytes(t, j->n_cols) + 4.0 * j->n_cols;
        w->row = GET(ZEROS, QM_ROW_SIZE);
        a->embed = (qm_embed_args){.w = GET(BITS, (double)qm_pack_bytes(t, rows, j->n_cols)),
                                   .state = GET(ZEROS, QM_STATE_SIZE),
                                   .tokens = GET(ZEROS, 4.0 * (QM_BENCH_RESET_EVERY + 2)),
                                   .row = w->row,
                                   .y = GET(ZEROS, 4.0 * j->n_cols),
                                   .n_cols = j->n_cols,
                                   .n_rows = rows};
        break;
    }
    case QM_OP_RMSNORM: {
        const double n = m->n_embd;
        w->l = qm_launch_rmsnorm(m->n_embd);
        w->bytes = 4 * n * (1 + PARTS + 1 + 2) + QM_Q16A_BYTES(n);
        a->rmsnorm = (qm_rmsnorm_args){.x = GET(FLOATS, 4 * n),
                                       .partials = GET(FLOATS, 4 * n * PARTS),
                                       .x_out = GET(ZEROS, 4 * n),
                                       .w = GET(FLOATS, 4 * n),
                                       .y = GET(ZEROS, 4 * n),
                                       .yq = GET(ZEROS, QM_Q16A_BYTES(n)),
                                       .n = m->n_embd,
                                       .n_partials = PARTS,
                                       .eps = 1e-6f};
        break;
    }
    case QM_OP_SWIGLU: {
        const double n = (double)m->n_ff * m->n_used;
        w->l.grid[0] = (m->n_ff * m->n_used + 255) / 256;
        w->bytes = 12 * n + QM_Q16A_BYTES(n);
        a->swiglu = (qm_swiglu_args){.gate = GET(FLOATS, 4 * n),
                                     .up = GET(FLOATS, 4 * n),
                                     .h = GET(ZEROS, 4 * n),
                                     .hq = GET(ZEROS, QM_Q16A_BYTES(n)),
                                     .n = m->n_ff,
                                     .k = m->n_used};
        break;
    }
    case QM_OP_QKROPE: {
        const double page = (double)m->n_kv * (double)qm_kv_head_page_bytes((qm_kv_cache_type)j->kv, m->head_dim),
                     rope = 4.0 * m->head_dim * (QM_ROPE_FINE + m->pos / QM_ROPE_FINE + 1);
        w->l.grid[0] = heads;
        w->bytes = 4.0 * heads * m->head_dim * PARTS + 4.0 * nq + 4.0 * m->n_kv * m->head_dim;
        w->row = GET(ZEROS, QM_ROW_SIZE);
        a->qkrope = (qm_qkrope_args){.qkv = GET(FLOATS, 4.0 * heads * m->head_dim * PARTS),
                                     .q_norm = GET(FLOATS, 4.0 * m->head_dim),
                                     .k_norm = GET(FLOATS, 4.0 * m->head_dim),
                                     .rope = GET(FLOATS, rope),
                                     .row = w->row,
                                     .table = GET(COUNT_UP, 4.0 * pages),
                                     .k_pool = GET(ZEROS, page * pages),
                                     .v_pool = GET(ZEROS, page * pages),
                                     .q_out = GET(ZEROS, 4.0 * nq),
                                     .n_head = m->n_head,
                                     .n_kv = m->n_kv,
                                     .n_partials = PARTS,
                                     .eps = 1e-6f};
        break;
    }
    case QM_OP_ATTN: {
        const double pool =
            (double)(m->n_kv * pages) * (double)qm_kv_head_page_bytes((qm_kv_cache_type)j->kv, m->head_dim);
        const qm_hparams hp = {.n_head = m->n_head, .n_kv = m->n_kv, .head_dim = m->head_dim};
        w->l.grid[0] = m->n_kv;
        w->l.grid[1] = qm_plan_splits(&hp, (qm_limits){.n_sm = n_sm}, m->pos);
        w->l.grid[2] = (m->n_head / m->n_kv + 7) / 8;
        w->weight_bytes = 2 * pool / (pages * QM_PAGE_TOKENS) * (m->pos + 1); /* keys and values, for the spread */
        w->bytes = w->weight_bytes + 4.0 * nq + (4.0 * m->head_dim + 8) * m->n_head * spans;
        w->n_copies = copies_for(w, spread);
        w->weight_bytes = 0;
        w->row = GET(ZEROS, QM_ROW_SIZE);
        const CUdeviceptr k = get(w, HALVES, pool, w->n_copies, &stride, failed, e),
                          v = get(w, HALVES, pool, w->n_copies, NULL, failed, e);
        const qm_attn_args base = {.q = GET(FLOATS, 4.0 * nq),
                                   .table = GET(COUNT_UP, 4.0 * pages),
                                   .row = w->row,
                                   .acc = GET(ZEROS, 4.0 * nq * spans),
                                   .ml = GET(ZEROS, 8.0 * m->n_head * spans),
                                   .n_head = m->n_head,
                                   .n_kv = m->n_kv,
                                   .n_spans = spans,
                                   .scale = (float)(1 / sqrt(m->head_dim))};
        for (uint32_t i = 0; i < w->n_copies; i++) {
            w->args[i].attn = base;
            w->args[i].attn.k_pool = k + stride * i;
            w->args[i].attn.v_pool = v + stride * i;
        }
        break;
    }
    case QM_OP_COMBINE: {
        w->l.grid[0] = m->n_head;
        w->row = GET(ZEROS, QM_ROW_SIZE);
        w->bytes = 4.0 * nq * spans + 8.0 * m->n_head * spans + 4.0 * nq + QM_Q16A_BYTES((double)nq);
        a->combine = (qm_combine_args){.acc = GET(FLOATS, 4.0 * nq * spans),
                                       .ml = GET(FLOATS, 8.0 * m->n_head * spans),
                                       .row = w->row,
                                       .y = GET(ZEROS, 4.0 * nq),
                                       .yq = GET(ZEROS, QM_Q16A_BYTES((double)nq)),
                                       .n_head = m->n_head,
                                       .n_spans = spans};
        break;
    }
    case QM_OP_ROUTER:
        w->bytes = 4.0 * m->n_expert * PARTS + 8.0 * m->n_used;
        a->router = (qm_router_args){.logits = GET(FLOATS, 4.0 * m->n_expert * PARTS),
                                     .ids = GET(ZEROS, 4.0 * m->n_used),
                                     .weights = GET(ZEROS, 4.0 * m->n_used),
                                     .n_expert = m->n_expert,
                                     .n_used = m->n_used,
                                     .n_partials = PARTS};
        break;
    case QM_OP_SAMPLE_SCAN:
    case QM_OP_SAMPLE_DRAW: { /* a draw of 40 tokens; the keys that it draws from come from a scan */
        const qm_sample_params p = {.mode = 1,
                                    .top_k = 40,
                                    .seed = 1,
                                    .top_p = 0.95,
                                    .temperature = 0.8f,
                                    .cut_temperature = 0.8f,
                                    .min_temperature = 0.8f,
                                    .penalty = 1};
        const double keys = 4.0 * (m->n_vocab + 3);
        const CUdeviceptr state = GET(ZEROS, QM_STATE_SIZE);
        w->row = GET(ZEROS, QM_ROW_SIZE);
        const qm_sample_scan_args scan = {.logits = GET(FLOATS, 4.0 * m->n_vocab),
                                          .keys = GET(ZEROS, keys),
                                          .hist = GET(ZEROS, 4 * QM_SAMPLE_BUCKETS),
                                          .part = GET(ZEROS, 8 * QM_SAMPLE_CTAS),
                                          .work = GET(ZEROS, QM_WORK_SIZE),
                                          .state = state,
                                          .tokens = GET(ZEROS, 4.0 * (m->pos + 2)),
                                          .row = w->row,
                                          .n = m->n_vocab};
        const qm_launch l = qm_launch_sample_scan(m->n_vocab);
        w->l = j->op == QM_OP_SAMPLE_SCAN ? l : qm_launch_sample_draw(m->n_vocab);
        w->bytes = (j->op == QM_OP_SAMPLE_SCAN ? 8.0 : 4.0) * m->n_vocab;
        if (!*failed && w->d->cu.MemcpyHtoD(state + QM_STATE_MODE, &p, sizeof p))
            *failed = qm_fail(e, QM_ERR_DEVICE, "bench: the sampling parameters do not reach the device");
        if (j->op == QM_OP_SAMPLE_SCAN) {
            a->sample_scan = scan;
            break;
        }
        a->sample_draw = (qm_sample_draw_args){.keys = scan.keys,
                                               .cand = GET(ZEROS, 8.0 * m->n_vocab),
                                               .work = scan.work,
                                               .state = state,
                                               .tokens = scan.tokens,
                                               .row = w->row,
                                               .n = m->n_vocab};
        if (!*failed)
            *failed = qm_kernels_launch(w->ks, qm_kernel_find(QM_OP_SAMPLE_SCAN, -1, -1, 0), l.grid, l.block, 0, &scan,
                                        NULL, e);
        break;
    }
    case QM_OP_PROBE: {
        const uint64_t most = j->rows_run ? j->rows_run * 4096ull : m->probe_bytes; /* a row stands for 4 KB here */
        const uint32_t units = (uint32_t)(most < m->probe_bytes ? most : m->probe_bytes) / 16;
        w->l.grid[0] = 2 * n_sm;
        w->bytes = 16.0 * units;
        a->probe = (qm_probe_args){
            .src = GET(BITS, 16.0 * units), .out = GET(ZEROS, 4.0 * w->l.grid[0] * w->l.block / 32), .n = units};
        break;
    }
    case QM_OP_STATS: { /* one vector with partial sums, as behind attn_out */
        const double n = m->n_embd;
        w->bytes = 4 * n * (1 + PARTS) + 4 * n;
        const qm_stats_job job = {.x = GET(FLOATS, 4 * n * PARTS),
                                  .add = GET(FLOATS, 4 * n),
                                  .copy = GET(ZEROS, 4 * n),
                                  .n = m->n_embd,
                                  .n_parts = PARTS,
                                  .stride = m->n_embd};
        a->stats = (qm_stats_args){.jobs = GET(ZEROS, sizeof job), .out = GET(ZEROS, sizeof(qm_stats_record))};
        CUresult r = *failed ? CUDA_SUCCESS : w->d->cu.MemcpyHtoD(a->stats.jobs, &job, sizeof job);
        if (r) *failed = qm_cu_fail(w->d, r, "MemcpyHtoD()", e);
        break;
    }
    default: *failed = qm_fail(e, QM_ERR_UNSUPPORTED, "bench: op %s has no job", qm_op_name(j->op));
    }
#undef GET
}

int qm_bench_open(qm_bench_work *w, qm_device *d, qm_kernels *ks, const qm_bench_job *j, uint32_t n_sm, double spread,
                  qm_err *e) {
    int failed = 0;
    *w = (qm_bench_work){.job = *j, .d = d, .ks = ks, .n_copies = 1};
    w->kernel = qm_kernel_find(j->op, j->wtype, j->kv, j->head_dim);
    if (w->kernel < 0) return qm_fail(e, QM_ERR_UNSUPPORTED, "bench: no kernel for %s", j->what);
    if (!(w->args = calloc(1024, sizeof *w->args))) return qm_fail(e, QM_ERR_NOMEM, "bench: out of host memory");
    if (j->n_rows && j->op != QM_OP_EMBED) open_weights(w, n_sm, spread, &failed, e);
    else open_rest(w, n_sm, spread, &failed, e);
    if (failed || (failed = qm_bench_reset(w, NULL, e))) return failed;
    CUresult r = d->cu.CtxSynchronize(); /* launches may go to a stream that does not wait for the legacy one */
    return r ? qm_cu_fail(d, r, "CtxSynchronize()", e) : 0;
}

void qm_bench_close(qm_bench_work *w) {
    for (int i = 0; i < w->n_buffers; i++) w->d->cu.MemFree(w->buffer[i]);
    free(w->args);
    *w = (qm_bench_work){0};
}

int qm_bench_launch(qm_bench_work *w, uint32_t i, CUstream s, qm_err *e) {
    return qm_kernels_launch(w->ks, w->kernel, w->l.grid, w->l.block, w->l.shared, &w->args[i % w->n_copies], s, e);
}

int qm_bench_reset(qm_bench_work *w, CUstream s, qm_err *e) {
    int rc = 0;
    const uint32_t pos = w->job.op == QM_OP_EMBED ? 0xffffffffu : w->job.m->pos;
    if (w->row) QM_CU_TRY(w->d, MemsetD32Async(w->row + QM_ROW_POS, pos, 1, s));
out:
    return rc;
}

int qm_bench_count(qm_bench_work *w, qm_sim_counters *c, qm_err *e) {
    int rc = 0;
    qm_sim_counters_reset();
    if ((rc = qm_bench_launch(w, 0, NULL, e))) return rc;
    QM_CU_TRY(w->d, CtxSynchronize());
    if (!qm_sim_counters_kernel(qm_kernel_table[w->kernel].entry, c))
        rc = qm_fail(e, QM_ERR_DEVICE, "no counters for %s", qm_kernel_table[w->kernel].entry);
out:
    return rc;
}
