/* jobs.c: see jobs.h. Geometry is the plan's (kernels/ref/launch.h, runtime/plan/build*.c). */
#include "jobs.h"
#include "../kernels/ref/sample.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../runtime/base/rng.h"
#include "../runtime/file/quant.h"
#include "../runtime/plan/ops.h"

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

enum { SOME_ROWS = 8 };

/* One of these for each number of rows that the kernel's width is for. A whole step's logits are not wanted, and types that
 * no model of this shape has need not be counted at length. */
static void each_rows(qm_bench_job j, const char *what, uint32_t n_rows, uint32_t n_cols, uint32_t max_parts,
                      qm_bench_job *out, int cap, int *n) {
    static const uint32_t rows[] = {8, 16, 32, 512};
    const qm_bench_model *m = j.m;
    const int real = j.wtype < 0 || j.wtype == QM_TYPE_Q4_K || j.wtype == QM_TYPE_Q6_K || !strcmp(what, "router");
    j.what = what, j.n_rows = n_rows, j.n_cols = n_cols, j.max_parts = max_parts;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        j.rows = rows[i];
        const int width = j.op == QM_OP_GEMM ? (int)qm_launch_gemm(j.wtype, n_rows, n_cols, j.rows, 1, 1).width
                          : j.wtype >= 0
                              ? (int)qm_launch_moe_gemm(j.wtype, n_rows, n_cols,
                                                        qm_moe_width(j.rows, m->n_used, qm_bench_experts(&j)), 1, 1)
                                    .width
                              : 0;
        if (width != j.width || (j.rows == 512 && (!real || !strcmp(what, "lm_head")))) continue;
        add(out, cap, n, j);
    }
}

int qm_bench_jobs(const qm_bench_model *m, qm_bench_job *out, int cap) {
    int n = 0;
    const uint32_t nq = m->n_head * m->head_dim, nkv = m->n_kv * m->head_dim;
    for (int k = 0; k < QM_N_KERNELS; k++) {
        const qm_kernel_info *i = &qm_kernel_table[k];
        const qm_bench_job j = {.m = m,
                                .what = i->file,
                                .op = i->op,
                                .wtype = i->wtype,
                                .kv = i->kv,
                                .head_dim = i->head_dim,
                                .width = i->width};
        qm_bench_job normed = j, added = j;
        normed.normed = 1;
        added.added = 1;
#define ADD_AS(job, name, rows, cols, parts)                                      \
    do {                                                                          \
        qm_bench_job t_ = job;                                                    \
        t_.what = name, t_.n_rows = rows, t_.n_cols = cols, t_.max_parts = parts; \
        add(out, cap, &n, t_);                                                    \
    } while (0)
#define ADD(name, rows, cols, parts) ADD_AS(j, name, rows, cols, parts)
        if (i->head_dim && (uint32_t)i->head_dim != m->head_dim) continue;
        switch (i->op) {
        case QM_OP_EMBED: ADD("embed", m->n_vocab, m->n_embd, 0); break;
        case QM_OP_MATVEC:
            if (i->wtype == QM_TYPE_F32H) { /* routers' alone */
                ADD("router", m->n_expert, m->n_embd, 8);
                ADD_AS(normed, "norm_router", m->n_expert, m->n_embd, 8);
                break;
            }
            ADD("qkv", nq + 2 * nkv, m->n_embd, 8);
            ADD("attn_v", nkv, m->n_embd, 1);
            ADD("attn_out", m->n_embd, nq, 8);
            if (i->wtype == QM_TYPE_F32) ADD("router", m->n_expert, m->n_embd, 8);
            ADD("lm_head", m->n_vocab, m->n_embd, 1);
            ADD_AS(normed, "norm_qkv", nq + 2 * nkv, m->n_embd, 8);
            if (i->wtype == QM_TYPE_F32) ADD_AS(normed, "norm_router", m->n_expert, m->n_embd, 8);
            ADD_AS(added, "add_attn_out", m->n_embd, nq, 1);
            break;
        case QM_OP_MOE_UP: ADD("moe_up", m->n_ff, m->n_embd, 1); break;
        case QM_OP_MOE_MATVEC: ADD("moe_down", m->n_embd, m->n_ff, 1); break;
        case QM_OP_MOE_DOWN: ADD("ffn_out", m->n_embd, m->n_ff, 1); break;
        case QM_OP_GEMM:
            if (i->wtype == QM_TYPE_F32H) {
                each_rows(j, "router", m->n_expert, m->n_embd, 8, out, cap, &n);
                break;
            }
            each_rows(j, "qkv", nq + 2 * nkv, m->n_embd, 8, out, cap, &n);
            each_rows(j, "attn_v", nkv, m->n_embd, 1, out, cap, &n);
            each_rows(j, "attn_out", m->n_embd, nq, 8, out, cap, &n);
            if (i->wtype == QM_TYPE_F32) each_rows(j, "router", m->n_expert, m->n_embd, 8, out, cap, &n);
            each_rows(j, "lm_head", m->n_vocab, m->n_embd, 1, out, cap, &n);
            break;
        case QM_OP_MOE_GEMM_UP: each_rows(j, "moe_up", m->n_ff, m->n_embd, 1, out, cap, &n); break;
        case QM_OP_MOE_GEMM: each_rows(j, "moe_down", m->n_embd, m->n_ff, 1, out, cap, &n); break;
        case QM_OP_MOE_SORT:
        case QM_OP_ATTN_PREFILL: each_rows(j, i->file, 0, 0, 0, out, cap, &n); break;
        case QM_OP_RMSNORM:
        case QM_OP_SWIGLU:
        case QM_OP_QKROPE:
        case QM_OP_ATTN:
        case QM_OP_COMBINE:
        case QM_OP_ROUTER:
        case QM_OP_SAMPLE_SCAN:
        case QM_OP_SAMPLE_DRAW: {
            qm_bench_job t = j;
            add(out, cap, &n, j);
            t.rows = SOME_ROWS;
            add(out, cap, &n, t);
            break;
        }
        case QM_OP_ATTN_DECODE: /* of one row alone */
        case QM_OP_PROBE:
        case QM_OP_STATS: add(out, cap, &n, j); break;
        default: break; /* no job yet: a case in shape, and one here */
        }
#undef ADD
#undef ADD_AS
    }
    return n;
}

int qm_bench_sweep(const qm_bench_model *m, qm_bench_job *out, int cap) {
    enum { MAX_JOBS = 1024, SHARED_MAX = 48 * 1024 };
    qm_bench_job jobs[MAX_JOBS];
    int n = 0, n_jobs = qm_bench_jobs(m, jobs, MAX_JOBS);
    for (int i = 0; i < n_jobs && i < MAX_JOBS; i++) {
        qm_bench_job j = jobs[i];
        const uint32_t streams = j.op == QM_OP_MOE_UP ? 2 : 1;
        if ((j.wtype != QM_TYPE_Q4_K && j.wtype != QM_TYPE_Q6_K) || !j.n_rows || j.rows || j.normed || j.added ||
            j.op == QM_OP_EMBED || j.op == QM_OP_MOE_DOWN)
            continue;
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
    if (j->rows > 1) snprintf(own, sizeof own, "/r:%u", j->rows);
    if (j->tiles) snprintf(own, sizeof own, "/tiles:%u/slices:%u/parts:%u", j->tiles, j->slices, j->parts);
    const char *type = j->wtype >= 0 ? qm_type_get((uint32_t)j->wtype)->name
                       : j->kv >= 0  ? qm_kv_cache_name((qm_kv_cache_type)j->kv)
                                     : "";
    snprintf(s, n, "%s/%s/%s%s%s%s", j->m->name, j->what, qm_op_name(j->op), *type ? "/" : "", type, own);
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

static uint32_t copies_for(double bytes, double spread) {
    double n = bytes > 0 ? ceil(spread / bytes) : 1;
    return n < 1 ? 1 : n > 1024 ? 1024 : (uint32_t)n;
}

/* ---- the ops ---- */
/* Of a product: its launch, its weights' shape. rows_run: the first rows alone, in the geometry of all. */
static uint32_t product(qm_bench_work *w, uint32_t n_sm, uint32_t n_experts, uint32_t n_matrices) {
    const qm_bench_job *j = &w->job;
    const uint32_t rows = j->rows_run && j->rows_run < j->n_rows ? j->rows_run : j->n_rows;
    w->l = n_matrices > 1  ? qm_launch_moe_up(j->wtype, j->n_rows, j->n_cols, n_experts, (qm_sms){n_sm, 0})
           : n_experts > 1 ? qm_launch_moe_matvec(j->wtype, j->n_rows, j->n_cols, n_experts, (qm_sms){n_sm, 0})
           : j->normed     ? qm_launch_matvec_normed(j->wtype, j->n_rows, j->n_cols, (qm_sms){n_sm, 0}, j->max_parts)
                           : qm_launch_matvec(j->wtype, j->n_rows, j->n_cols, (qm_sms){n_sm, 0}, j->max_parts);
    if (j->tiles)
        w->l = (qm_launch){{0, j->parts * n_experts, 1},
                           32 * j->tiles * j->slices,
                           qm_launch_shared(j->wtype, j->n_cols, j->parts, n_matrices, j->tiles),
                           j->tiles,
                           0};
    w->l.grid[0] = ((rows + 31) / 32 + w->l.tiles - 1) / w->l.tiles;
    return rows;
}

/* How many rows: one, or those of the job. */
static void of_rows(qm_bench_work *w, qm_op_args *a, uint32_t n_sm) {
    const qm_bench_job *j = &w->job;
    const qm_bench_model *m = j->m;
    const uint32_t rows = j->rows ? j->rows : 1;
    const qm_hparams hp = {.n_head = m->n_head, .n_kv = m->n_kv, .head_dim = m->head_dim};
    switch (j->op) {
    case QM_OP_RMSNORM: w->l.grid[0] = a->rmsnorm.rows = rows; break;
    case QM_OP_ROUTER: w->l.grid[0] = a->router.rows = rows; break;
    case QM_OP_QKROPE: w->l.grid[1] = a->qkrope.rows = rows; break;
    case QM_OP_COMBINE: w->l.grid[1] = a->combine.rows = rows; break;
    case QM_OP_SAMPLE_SCAN: w->l.grid[1] = a->sample_scan.rows = rows; break;
    case QM_OP_SAMPLE_DRAW: w->l.grid[1] = a->sample_draw.rows = rows; break;
    case QM_OP_SWIGLU:
        a->swiglu.k = rows * m->n_used;
        w->l.grid[0] = (m->n_ff * a->swiglu.k + 255) / 256;
        break;
    case QM_OP_ATTN:
        a->attn.rows = rows;
        w->l.grid[1] = qm_plan_splits(&hp, (qm_limits){.n_sm = (n_sm + rows - 1) / rows}, m->pos);
        w->l.grid[2] *= rows;
        break;
    default: break;
    }
}

/* What contracts/ops.def does not say of an op at the model's shapes: its launch and its scalars. */
static int shape(qm_bench_work *w, uint32_t n_sm, qm_op_args *a, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const qm_bench_model *m = j->m;
    const uint32_t spans = m->pos / QM_SPAN + 1;
    const qm_hparams hp = {.n_head = m->n_head, .n_kv = m->n_kv, .head_dim = m->head_dim};
    const qm_type_info *t = j->wtype >= 0 ? qm_type_get((uint32_t)j->wtype) : NULL;
    w->l = (qm_launch){{1, 1, 1}, (uint32_t)qm_kernel_table[w->kernel].max_block, 0, 1, 0};
    switch (j->op) {
    case QM_OP_EMBED: /* one row is read: of more than these nobody could tell */
        a->embed = (qm_embed_args){.n_cols = j->n_cols, .n_rows = j->n_rows < 1024 ? j->n_rows : 1024};
        break;
    case QM_OP_MATVEC:
        a->matvec.n_rows = product(w, n_sm, 1, 1);
        a->matvec.n_cols = j->n_cols;
        a->matvec.deal = qm_deal_of(j->wtype, a->matvec.n_rows, j->n_cols, w->l.grid[1], 1, &w->l);
        break;
    case QM_OP_MOE_UP:
        a->moe_up.n_ff = product(w, n_sm, m->n_used, 2);
        a->moe_up.n_cols = j->n_cols;
        a->moe_up.deal = qm_deal_of(j->wtype, a->moe_up.n_ff, j->n_cols, 1, 2, &w->l);
        a->moe_up.n_expert = m->n_used;
        a->moe_up.expert_bytes = qm_pack_bytes(t, a->moe_up.n_ff, j->n_cols);
        break;
    case QM_OP_MOE_MATVEC:
        a->moe_matvec.n_rows = product(w, n_sm, m->n_used, 1);
        a->moe_matvec.n_cols = j->n_cols;
        a->moe_matvec.deal = qm_deal_of(j->wtype, a->moe_matvec.n_rows, j->n_cols, 1, 1, &w->l);
        a->moe_matvec.n_expert = m->n_used;
        a->moe_matvec.expert_bytes = qm_pack_bytes(t, a->moe_matvec.n_rows, j->n_cols);
        a->moe_matvec.x_stride = t->q16a ? QM_Q16A_BYTES((uint64_t)j->n_cols) : 4ull * j->n_cols;
        break;
    case QM_OP_MOE_DOWN: {
        const uint32_t rows = j->rows_run && j->rows_run < j->n_rows ? j->rows_run : j->n_rows;
        w->l = qm_launch_moe_down(j->wtype, j->n_rows, j->n_cols, m->n_used, (qm_sms){n_sm, 0});
        w->l.grid[0] = ((rows + 31) / 32 + w->l.tiles - 1) / w->l.tiles;
        a->moe_down = (qm_moe_down_args){.n_rows = rows,
                                         .n_cols = j->n_cols,
                                         .deal = qm_deal_of(j->wtype, rows, j->n_cols, 1, 1, &w->l),
                                         .groups = qm_groups_of(j->wtype, j->n_cols, m->n_used, &w->l),
                                         .n_used = m->n_used,
                                         .n_expert = m->n_used,
                                         .expert_bytes = qm_pack_bytes(t, rows, j->n_cols),
                                         .x_stride = t->q16a ? QM_Q16A_BYTES((uint64_t)j->n_cols) : 4ull * j->n_cols};
        break;
    }
    case QM_OP_RMSNORM:
        w->l = qm_launch_rmsnorm(m->n_embd);
        a->rmsnorm = (qm_rmsnorm_args){.n = m->n_embd, .n_partials = PARTS, .rows = 1, .eps = 1e-6f};
        break;
    case QM_OP_SWIGLU:
        w->l.grid[0] = (m->n_ff * m->n_used + 255) / 256;
        a->swiglu = (qm_swiglu_args){.n = m->n_ff, .k = m->n_used};
        break;
    case QM_OP_QKROPE:
        w->l.grid[0] = m->n_head + 2 * m->n_kv;
        a->qkrope = (qm_qkrope_args){.n_head = m->n_head, .n_kv = m->n_kv, .n_partials = PARTS, .eps = 1e-6f};
        break;
    case QM_OP_ATTN:
        w->l.grid[0] = m->n_kv;
        w->l.grid[1] = qm_plan_splits(&hp, (qm_limits){.n_sm = n_sm}, m->pos);
        w->l.grid[2] = (m->n_head / m->n_kv + 7) / 8;
        a->attn = (qm_attn_args){
            .n_head = m->n_head, .n_kv = m->n_kv, .n_spans = spans, .scale = (float)(1 / sqrt(m->head_dim))};
        break;
    case QM_OP_ATTN_DECODE:
        w->l.grid[0] = m->n_kv;
        w->l.grid[1] = qm_plan_splits(&hp, (qm_limits){.n_sm = n_sm}, m->pos);
        w->l.grid[2] = (m->n_head / m->n_kv + 7) / 8;
        a->attn_decode = (qm_attn_decode_args){.n_head = m->n_head,
                                               .n_kv = m->n_kv,
                                               .n_partials = PARTS,
                                               .n_spans = spans,
                                               .eps = 1e-6f,
                                               .scale = (float)(1 / sqrt(m->head_dim))};
        break;
    case QM_OP_COMBINE:
        w->l.grid[0] = m->n_head;
        a->combine = (qm_combine_args){.n_head = m->n_head, .n_spans = spans};
        break;
    case QM_OP_ROUTER:
        a->router = (qm_router_args){.n_expert = m->n_expert, .n_used = m->n_used, .n_partials = PARTS, .rows = 1};
        break;
    case QM_OP_SAMPLE_SCAN:
        w->l = qm_launch_sample_scan(m->n_vocab);
        a->sample_scan.n = m->n_vocab;
        a->sample_scan.rows = 1;
        break;
    case QM_OP_SAMPLE_DRAW:
        w->l = qm_launch_sample_draw(m->n_vocab);
        a->sample_draw.n = m->n_vocab;
        a->sample_draw.rows = 1;
        break;
    case QM_OP_PROBE: {
        const uint64_t most = j->rows_run ? j->rows_run * 4096ull : m->probe_bytes; /* a row stands for 4 KB here */
        w->l.grid[0] = 2 * n_sm;
        a->probe.n = (uint32_t)(most < m->probe_bytes ? most : m->probe_bytes) / 16;
        break;
    }
    case QM_OP_STATS: break;
    default: return qm_bench_shape_rows(w, n_sm, a, e);
    }
    of_rows(w, a, n_sm);
    return 0;
}

/* Operands that are not there: biases; results that the host looks at; words to copy; the form of activations that the next
 * product would not take. */
static int is_one_of(const qm_operand *o, const char *const *names) {
    while (*names && strcmp(o->name, *names)) names++;
    return *names != NULL;
}
static int left_out(const qm_operand *o, const qm_bench_job *j) {
    static const char *const never[] = {"bias", "result", "words", "words2", "words_to", "count", "map", NULL};
    static const char *const of_norm[] = {"r", "norm", "xn", "xq", NULL}, *const of_sum[] = {"add", "sum", NULL},
                             *const given[] = {"x", NULL}, *const chosen[] = {"logits", "picked", "weights", NULL};
    if (is_one_of(o, never)) return 1;
    if (j->wtype < 0) return 0;
    const int q16a = qm_type_get((uint32_t)j->wtype)->q16a;
    if (j->op == QM_OP_MATVEC || j->op == QM_OP_MOE_UP) {
        if (is_one_of(o, j->normed ? given : of_norm)) return 1;
        if (!j->added && is_one_of(o, of_sum)) return 1;
        if (q16a && !strcmp(o->name, "xq")) return 1;
        if (is_one_of(o, chosen)) return 1; /* ids are given */
    }
    return !strcmp(o->name, q16a ? "h" : "hq");
}

static content content_of(const qm_operand *o) {
    if ((o->dir != QM_IN && !o->appended) || !strcmp(o->name, "tokens"))
        return ZEROS; /* results, what an op keeps for itself; token 0 */
    switch (o->kind) {
    case QM_KIND_F32: return FLOATS;
    case QM_KIND_KV: return HALVES;
    case QM_KIND_U32: return o->space == QM_SPACE_NONE ? BITS : COUNT_UP; /* what probe reads; ids, pages */
    case QM_KIND_Q16A:
    case QM_KIND_WEIGHT: return BITS;
    default: return ZEROS;
    }
}

/* Of the cache, that the op reads or writes: each row has a sequence of its own, but in a prompt. */
static double positions(const qm_bench_job *j, int read) {
    const uint32_t rows = j->rows ? j->rows : 1;
    return !read || j->op == QM_OP_ATTN_PREFILL ? rows : (double)rows * (j->m->pos + 1);
}

/* Bytes that operand o takes; *moved: of these, what one launch must read or write. */
static double bytes_of(const qm_bench_work *w, const qm_operand *o, double *moved) {
    const qm_bench_job *j = &w->job;
    if (o->kind == QM_KIND_WEIGHT) {
        const qm_type_info *t = qm_type_get((uint32_t)j->wtype);
        const uint32_t cols = o->dims[o->n_dims - 1], rows = o->dims[o->n_dims - 2], n = o->n_dims > 2 ? o->dims[0] : 1;
        const uint32_t read = w->routing.n_slots ? w->routing.n_chosen : n;
        *moved = (double)(j->op == QM_OP_EMBED ? 1 : read * rows) * (double)qm_row_bytes(t, cols);
        return (double)qm_pack_bytes(t, rows, cols) * n;
    }
    *moved = o->kind == QM_KIND_F32 || o->kind == QM_KIND_Q16A || o->kind == QM_KIND_U32 ? (double)o->bytes : 0;
    if (o->space == QM_SPACE_SEQ || o->space == QM_SPACE_ROPE || o->dir == QM_INOUT) *moved = 0; /* a few words of it */
    if (o->kind == QM_KIND_KV)                                                                   /* of [pages, ...] */
        *moved = (double)o->bytes / o->dims[0] / QM_PAGE_TOKENS * positions(j, o->dir == QM_IN || o->appended);
    return (double)o->bytes;
}

/* Memory for every operand; weights and caches as often as fills `spread` bytes. */
static int bind(qm_bench_work *w, qm_op_args *a, double spread, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const uint32_t n_ctx = j->m->pos + 2 > QM_BENCH_RESET_EVERY + 2 ? j->m->pos + 2 : QM_BENCH_RESET_EVERY + 2,
                   rows = j->rows ? j->rows : 1,
                   pages = (j->m->pos / QM_PAGE_TOKENS + 1) * (j->op == QM_OP_ATTN ? rows : 1);
    const qm_op_view v = w->view = (qm_op_view){.rows = rows,
                                                .head_dim = j->m->head_dim,
                                                .grid = {w->l.grid[0], w->l.grid[1], w->l.grid[2]},
                                                .block = w->l.block,
                                                .q16a = j->wtype >= 0 && qm_type_get((uint32_t)j->wtype)->q16a,
                                                .n_ctx = n_ctx,
                                                .n_table = pages,
                                                .n_pages = pages,
                                                .kv = (qm_kv_cache_type)j->kv};
    qm_operand o[QM_MAX_OPERANDS];
    const uint64_t present = 1;
    double moved, streamed = 0;
    int failed = 0, n = qm_operands(j->op, a, &v, o);
    for (int k = 0; k < n; k++)
        if (!left_out(&o[k], j)) memcpy(a->bytes + o[k].offset, &present, 8);
    n = qm_operands(j->op, a, &v, o);
    for (int k = 0; k < n; k++) {
        if (!o[k].ref) continue;
        bytes_of(w, &o[k], &moved);
        w->bytes += moved;
        if ((o[k].dir != QM_IN && !o[k].appended) || j->op == QM_OP_EMBED)
            continue; /* small, and written by the op before */
        if (o[k].kind == QM_KIND_WEIGHT) {
            w->weights +=
                (double)qm_operand_n(&o[k]) * (w->routing.n_slots ? (double)w->routing.n_chosen / o[k].dims[0] : 1);
            w->weight_bytes += moved;
        }
        if (o[k].kind == QM_KIND_WEIGHT || o[k].kind == QM_KIND_KV) streamed += moved;
    }
    w->n_copies = copies_for(streamed, spread);
    for (uint32_t i = 0; i < w->n_copies; i++) w->args[i] = *a;
    for (int k = 0; k < n && !failed; k++) {
        if (!o[k].ref) continue;
        const int many =
            (o[k].dir == QM_IN || o[k].appended) && (o[k].kind == QM_KIND_WEIGHT || o[k].kind == QM_KIND_KV);
        uint64_t stride;
        const CUdeviceptr p =
            get(w, content_of(&o[k]), bytes_of(w, &o[k], &moved), many ? w->n_copies : 1, &stride, &failed, e);
        if (o[k].kind == QM_KIND_ROWS) w->row = p;
        for (uint32_t i = 0; i < w->n_copies; i++) {
            const uint64_t at = p + (many ? stride * i : 0);
            memcpy(w->args[i].bytes + o[k].offset, &at, 8);
        }
    }
    return failed;
}

/* Which rows have which expert, which are a run. */
static int deal_rows(qm_bench_work *w, qm_err *e) {
    uint32_t runs[QM_STEP_ROWS_MAX][2];
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_operands(w->job.op, &w->args[0], &w->view, o);
    int rc = 0;
    for (int k = 0; k < n; k++) {
        size_t bytes;
        const void *given = o[k].dir == QM_IN ? qm_routing_of(&w->routing, o[k].name, &bytes) : NULL;
        if (given) QM_CU_TRY(w->d, MemcpyHtoD(o[k].ref, given, bytes));
    }
    if (w->job.op == QM_OP_ATTN_PREFILL) {
        for (uint32_t i = 0; i < w->l.grid[1]; i++) {
            runs[i][0] = i * QM_RUN_ROWS;
            runs[i][1] = w->job.rows - runs[i][0] < QM_RUN_ROWS ? w->job.rows - runs[i][0] : QM_RUN_ROWS;
        }
        QM_CU_TRY(w->d, MemcpyHtoD(w->args[0].attn_prefill.runs, runs, 8ull * w->l.grid[1]));
    }
out:
    return rc;
}

/* What no table says: that a draw of 40 tokens has keys to draw from, which a scan makes; that stats has a vector to look
 * at, one with partial sums, as behind attn_out. */
static int fill_in(qm_bench_work *w, qm_err *e) {
    static const qm_sample_params params = {.mode = 1,
                                            .top_k = 40,
                                            .seed = 1,
                                            .top_p = 0.95,
                                            .temperature = 0.8f,
                                            .cut_temperature = 0.8f,
                                            .min_temperature = 0.8f,
                                            .penalty = 1};
    const uint32_t n = w->job.m->n_embd, n_vocab = w->job.m->n_vocab, rows = w->job.rows ? w->job.rows : 1;
    qm_op_args *a = &w->args[0];
    int rc = 0;
#define GET(what, n) get(w, what, n, 1, NULL, &rc, e)
    if (w->job.op == QM_OP_SAMPLE_SCAN)
        QM_CU_TRY(w->d, MemcpyHtoD(a->sample_scan.state + QM_STATE_MODE, &params, sizeof params));
    if (w->job.op == QM_OP_SAMPLE_DRAW) {
        const qm_launch l = qm_launch_sample_scan(n_vocab);
        QM_CU_TRY(w->d, MemcpyHtoD(a->sample_draw.state + QM_STATE_MODE, &params, sizeof params));
        const qm_sample_scan_args scan = {.logits = GET(FLOATS, 4.0 * n_vocab * rows),
                                          .keys = a->sample_draw.keys,
                                          .hist = GET(ZEROS, 4.0 * QM_SAMPLE_BUCKETS * rows),
                                          .part = GET(ZEROS, 8.0 * QM_SAMPLE_CTAS * rows),
                                          .work = a->sample_draw.work,
                                          .state = a->sample_draw.state,
                                          .tokens = a->sample_draw.tokens,
                                          .row = a->sample_draw.row,
                                          .n = n_vocab,
                                          .rows = rows};
        const uint32_t grid[3] = {l.grid[0], rows, 1};
        if (!rc) rc = qm_bench_reset(w, NULL, e);
        if (!rc)
            rc = qm_kernels_launch(w->ks, qm_kernel_find(QM_OP_SAMPLE_SCAN, -1, -1, 0), grid, l.block, 0, &scan, NULL,
                                   e);
    }
    if (w->job.op == QM_OP_STATS) {
        w->bytes = 4.0 * n * (1 + PARTS) + 4.0 * n;
        const qm_stats_job job = {.x = GET(FLOATS, 4.0 * n * PARTS),
                                  .add = GET(FLOATS, 4.0 * n),
                                  .copy = GET(ZEROS, 4.0 * n),
                                  .n = n,
                                  .n_parts = PARTS,
                                  .stride = n};
        if (!rc) QM_CU_TRY(w->d, MemcpyHtoD(a->stats.jobs, &job, sizeof job));
    }
#undef GET
out:
    return rc;
}

int qm_bench_open(qm_bench_work *w, qm_device *d, qm_kernels *ks, const qm_bench_job *j, uint32_t n_sm, double spread,
                  qm_err *e) {
    int failed = 0;
    *w = (qm_bench_work){.job = *j, .d = d, .ks = ks, .n_copies = 1};
    w->kernel =
        j->width ? qm_kernel_find_rows(j->op, j->wtype, j->width) : qm_kernel_find(j->op, j->wtype, j->kv, j->head_dim);
    if (w->kernel < 0) return qm_fail(e, QM_ERR_UNSUPPORTED, "bench: no kernel for %s", j->what);
    if (!(w->args = calloc(1024, sizeof *w->args))) return qm_fail(e, QM_ERR_NOMEM, "bench: out of host memory");
    qm_op_args a = {0};
    if ((failed = shape(w, n_sm, &a, e)) || (failed = bind(w, &a, spread, e)) || (failed = deal_rows(w, e)) ||
        (failed = fill_in(w, e)) || (failed = qm_bench_reset(w, NULL, e)))
        return failed;
    CUresult r = d->cu.CtxSynchronize(); /* launches may go to a stream that does not wait for the legacy one */
    return r ? qm_cu_fail(d, r, "CtxSynchronize()", e) : 0;
}

void qm_bench_close(qm_bench_work *w) {
    for (int i = 0; i < w->n_buffers; i++) w->d->cu.MemFree(w->buffer[i]);
    free(w->args);
    qm_routing_free(&w->routing);
    *w = (qm_bench_work){0};
}

int qm_bench_launch(qm_bench_work *w, uint32_t i, CUstream s, qm_err *e) {
    return qm_kernels_launch(w->ks, w->kernel, w->l.grid, w->l.block, w->l.shared, &w->args[i % w->n_copies], s, e);
}

int qm_bench_reset(qm_bench_work *w, CUstream s, qm_err *e) {
    int rc = 0;
    const uint32_t pos = w->job.op == QM_OP_EMBED ? 0xffffffffu : w->job.m->pos;
    const uint32_t rows = w->job.rows ? w->job.rows : 1;
    qm_row_record r[QM_STEP_ROWS_MAX] = {{0}};
    for (uint32_t i = 0; i < rows; i++) {
        r[i].pos = w->job.op == QM_OP_ATTN_PREFILL ? i : pos;
        r[i].seq_off = w->job.op == QM_OP_ATTN ? i * 4ull * (w->view.n_table / rows) : 0;
    }
    if (w->row) QM_CU_TRY(w->d, MemcpyHtoDAsync(w->row, r, rows * sizeof *r, s));
    if (w->row) QM_CU_TRY(w->d, StreamSynchronize(s)); /* r is gone when this returns */
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
