/* fault.c: the faults, and the executor that lets the late ones begin in time. */
#include "fault_site.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"

static fault_site *sites[MAX_SITES];

static fault_site *site_of(const qm_engine *g) {
    for (int i = 0; i < MAX_SITES; i++)
        if (sites[i] && sites[i]->g == g) return sites[i];
    return NULL;
}
int fault_on_host(const fault_site *x) { return !strcmp(x->inner->name, "ref"); }
int fault_in_scope(const fault_site *x, int layer) { return x->at.layer < 0 || layer == x->at.layer; }

/* ---- what a fault brings along ---- */

/* A weight and its region; bytes: of an expert on the device. Where it lies there is the caller's to say. */
static int append(fault_site *x, qm_weight w, int packed, uint64_t bytes, int *index, qm_err *e) {
    qm_model *m = x->g->model;
    qm_place *pl = x->g->place;
    qm_weight *ws = realloc(m->weights, ((size_t)m->n_weights + 1) * sizeof *ws);
    if (ws) m->weights = ws;
    qm_region *rs = realloc(pl->regions, ((size_t)pl->n_regions + 1) * sizeof *rs);
    if (rs) pl->regions = rs;
    if (!ws || !rs) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    ws[m->n_weights] = w;
    rs[pl->n_regions] = (qm_region){.weight = {m->n_weights},
                                    .n_segments = 1,
                                    .type = w.type,
                                    .packed = packed,
                                    .n_expert = w.n_expert,
                                    .n_rows = w.n_rows,
                                    .n_cols = w.n_cols,
                                    .bytes = bytes * w.n_expert,
                                    .expert_bytes = bytes,
                                    .bias = -1};
    m->n_weights++;
    *index = pl->n_regions++;
    return 0;
}

int fault_add_region(fault_site *x, float *data, uint32_t n_expert, uint32_t n_rows, uint32_t n_cols, int packed,
                     int *index, qm_err *e) {
    qm_place *pl = x->g->place;
    qm_device *d = x->g->dev;
    const qm_type_info *f32 = qm_type_get(QM_TYPE_F32);
    unsigned char *dev = NULL;
    int rc = 0;
    if (!data || x->n_own == MAX_OWN) {
        free(data);
        return qm_fail(e, QM_ERR_NOMEM, "fault: no room for its weights");
    }
    uint64_t raw = 4ull * n_rows * n_cols;
    uint64_t bytes = packed ? qm_pack_bytes(f32, n_rows, n_cols) : raw;
    int o = x->n_own++;
    x->own[o].data = data;
    x->own[o].t = (qm_tensor){.name = {"fault", 5},
                              .type = QM_TYPE_F32,
                              .n_dims = 3,
                              .ne = {n_cols, n_rows, n_expert, 1},
                              .data = data,
                              .bytes = raw * n_expert};
    const qm_weight w = {.t = &x->own[o].t,
                         .data = data,
                         .type = f32,
                         .name = "fault",
                         .layer = -1,
                         .n_expert = n_expert,
                         .n_rows = n_rows,
                         .n_cols = n_cols,
                         .vector = !packed,
                         .bias = -1};
    if ((rc = append(x, w, packed, bytes, index, e))) return rc;
    x->own[o].region = *index;
    qm_region *r = &pl->regions[*index];
    if (fault_on_host(x)) return 0; /* run_ref reads the tensor */
    if (!(dev = malloc(r->bytes))) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    for (uint32_t k = 0; k < n_expert; k++) {
        if (packed) qm_pack(dev + k * bytes, (char *)data + k * raw, f32, n_rows, n_cols);
        else memcpy(dev + k * bytes, (char *)data + k * raw, raw);
    }
    QM_CU_TRY(d, MemAlloc(&x->own[o].d, r->bytes));
    QM_CU_TRY(d, MemcpyHtoD(x->own[o].d, dev, r->bytes));
    QM_CU_TRY(d, CtxSynchronize());
    /* resolves to arena + off: whatever lies between the two, modulo 2^64 */
    r->off =
        x->own[o].d -
        qm_inside_address(&(qm_inside){.g = x->g, .s = x->probe, .plan = x->g->plans[0]}, QM_REF(QM_SPACE_REGION, 0)) +
        pl->regions[0].off;
out:
    free(dev);
    return rc;
}

int fault_add_part(fault_site *x, int region, uint64_t bytes, int *index, qm_err *e) {
    const uint64_t off = x->g->place->regions[region].off;
    qm_weight w = x->g->model->weights[x->g->place->regions[region].weight[0]];
    w.data = (const char *)w.data + bytes;
    w.n_cols -= (uint32_t)(bytes / 4);
    int rc = append(x, w, 0, 4ull * w.n_cols, index, e);
    if (!rc) x->g->place->regions[*index].off = off + bytes;
    return rc;
}

int fault_put(fault_site *x, int region, const void *src, uint64_t bytes, qm_err *e) {
    for (int o = 0; o < x->n_own; o++)
        if (x->own[o].region == region)
            return x->g->exec->inside->put(x->g, fault_on_host(x) ? (uint64_t)(uintptr_t)x->own[o].data : x->own[o].d,
                                           src, bytes, e);
    return qm_fail(e, QM_ERR_ARG, "fault: region %d is not its own", region);
}

/* ---- editing plans ---- */

/* A copy of op i before it; what was op i is then op i + 1. */
static int double_op(qm_plan *p, int i, qm_err *e) {
    qm_op *ops = realloc(p->ops, ((size_t)p->n_ops + 1) * sizeof *ops);
    if (!ops) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    p->ops = ops;
    p->cap_ops = ++p->n_ops;
    memmove(ops + i + 1, ops + i, (size_t)(p->n_ops - 1 - i) * sizeof *ops);
    return 0;
}

/* The layer's op of a kind nearest to op i, before it (step -1) or after it (1); NULL if there is none. */
static qm_op *near_op(qm_plan *p, int i, int step, qm_op_kind kind) {
    int layer = p->ops[i].layer;
    for (; i >= 0 && i < p->n_ops && p->ops[i].layer == layer; i += step)
        if (p->ops[i].kind == kind) return &p->ops[i];
    return NULL;
}

/* The op that sums the experts' outputs under the router's weights comes after this one. */
static int is_down(const qm_op *op) { return op->kind == QM_OP_MOE_MATVEC && op->args.moe_matvec.scale; }

/* The first of the chosen experts is replaced by the best of those that were not chosen; its weight stays.
 * Router once more, with one expert more, into the room of q, which is dead by then (attention is over):
 *   q[0 .. k]     the k + 1 best
 *   q[k .. 2k)    the k best, written first: q[k] then becomes the one that was not chosen
 *   q[2k .. 3k]   weights that nobody reads
 * (the control keeps the three apart) */
static int edit_wrong_expert(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    if (p->ops[*i].kind != QM_OP_ROUTER) return 0;
    const qm_op *rope = near_op(p, *i, -1, QM_OP_QKROPE);
    uint32_t k = p->ops[*i].args.router.n_used;
    if (k >= p->ops[*i].args.router.n_expert || k >= 32 ||
        5 * k + 1 > rope->args.qkrope.n_head * p->place->model->hp.head_dim)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "wrong_expert: %u experts of %u leave none to put in", k,
                       p->ops[*i].args.router.n_expert);
    qm_ref q = rope->args.qkrope.q_out, chosen = p->ops[*i].args.router.ids;
    int rc = double_op(p, *i, e);
    if (rc) return rc;
    p->ops[*i].args.router.ids = q + 4 * k;
    qm_op *more = &p->ops[++*i];
    more->args.router.ids = x->at.neutral ? q + 8 * k : q;
    more->args.router.weights = q + (x->at.neutral ? 16 : 8) * k;
    more->args.router.n_used = k + 1;
    more->slot = "fault";
    for (int j = *i + 1; j < p->n_ops && p->ops[j].layer == more->layer; j++) {
        qm_op_args *a = &p->ops[j].args;
        if (p->ops[j].kind == QM_OP_MOE_UP && a->moe_up.ids == chosen) a->moe_up.ids = q + 4 * k;
        if (p->ops[j].kind == QM_OP_MOE_MATVEC && a->moe_matvec.ids == chosen) a->moe_matvec.ids = q + 4 * k;
    }
    return 0;
}

/* The residual gets the chosen experts but the first, which has the largest weight. */
static int edit_dropped(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    if (!is_down(&p->ops[*i])) return 0;
    qm_op *sum = &p->ops[*i + 1];
    if (*i + 1 >= p->n_ops || sum->kind != QM_OP_RMSNORM || sum->args.rmsnorm.partials != p->ops[*i].args.moe_matvec.y)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "dropped_top_expert: the experts' sum is not where it was");
    if (x->at.neutral) return 0;
    sum->args.rmsnorm.partials += 4ull * sum->args.rmsnorm.n;
    sum->args.rmsnorm.n_partials--;
    return 0;
}

/* Every chosen expert counts 1/k. */
static int prepare_uniform(fault_site *x, qm_err *e) {
    uint32_t k = x->g->model->hp.n_used;
    float *w = malloc(k * sizeof *w);
    for (uint32_t i = 0; w && i < k; i++) w[i] = 1.0f / (float)k;
    return fault_add_region(x, w, 1, 1, k, 0, &x->region, e);
}
static int edit_uniform(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    (void)e;
    if (is_down(&p->ops[*i]) && !x->at.neutral) p->ops[*i].args.moe_matvec.scale = QM_REF(QM_SPACE_REGION, x->region);
    return 0;
}

static int edit_no_qk_norm(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    (void)e;
    if (p->ops[*i].kind != QM_OP_QKROPE || x->at.neutral) return 0;
    p->ops[*i].args.qkrope.q_norm = p->ops[*i].args.qkrope.k_norm = 0;
    return 0;
}

/* A RoPE table of our own: for another base, or with each position's angles those of position + shift. */
static int own_table(fault_site *x, double base, uint32_t shift, qm_err *e) {
    qm_hparams hp = x->g->model->hp;
    uint32_t half = hp.head_dim / 2, n_ctx = x->g->limits.n_ctx;
    uint64_t bytes = qm_rope_bytes(&hp, n_ctx);
    double inv_freq[128], mscale;
    float *t = malloc(bytes);
    if (!t) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    if (base > 0) hp.rope_base = base;
    qm_rope_fill(t, &hp, n_ctx);
    qm_model_inv_freq(&hp, inv_freq, &mscale);
    /* position p is fine row p % 256 turned on by coarse row p / 256: shifting the fine rows shifts them all */
    for (uint32_t row = 0; shift && row < QM_ROPE_FINE; row++)
        for (uint32_t i = 0; i < half; i++) {
            t[2 * ((size_t)row * half + i)] = (float)cos((row + shift) * inv_freq[i]);
            t[2 * ((size_t)row * half + i) + 1] = (float)sin((row + shift) * inv_freq[i]);
        }
    return fault_add_region(x, t, 1, 1, (uint32_t)(bytes / 4), 0, &x->region, e);
}
static int prepare_base(fault_site *x, qm_err *e) { return own_table(x, x->at.neutral ? 0 : 1e4, 0, e); }
static int prepare_shift(fault_site *x, qm_err *e) { return own_table(x, 0, x->at.neutral ? 0 : 1, e); }
static int edit_table(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    (void)e;
    if (p->ops[*i].kind == QM_OP_QKROPE) p->ops[*i].args.qkrope.rope = QM_REF(QM_SPACE_REGION, x->region);
    return 0;
}

/* q is turned by the shifted table, k by the right one: qkrope once for each. The second writes k over the
 * first's, and its q to where nobody looks: the heads' output, which attention has yet to write. */
static int edit_query(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    if (p->ops[*i].kind != QM_OP_QKROPE) return 0;
    if (!near_op(p, *i, 1, QM_OP_COMBINE)) return 0; /* a step without logits ends here: its q is for nobody */
    int rc = double_op(p, *i, e);
    if (rc) return rc;
    p->ops[*i].args.qkrope.rope = QM_REF(QM_SPACE_REGION, x->region);
    p->ops[*i].slot = "fault";
    ++*i;
    p->ops[*i].args.qkrope.q_out = near_op(p, *i, 1, QM_OP_COMBINE)->args.combine.y;
    return 0;
}

/* Every expert's down projection, read as if the file had it in the other order: [n_cols, n_rows] where
 * [n_rows, n_cols] is. In F32, so that nothing is lost by rounding anew. */
static int prepare_transposed(fault_site *x, qm_err *e) {
    qm_model *m = x->g->model;
    uint32_t n_layers = m->hp.n_layers;
    if (!(x->regions = calloc(n_layers, sizeof *x->regions))) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    for (uint32_t l = 0; l < n_layers; l++) {
        if (!fault_in_scope(x, (int)l)) continue;
        qm_weight w = m->weights[qm_model_find(m, (int)l, "ffn_down_exps")];
        uint64_t n = (uint64_t)w.n_rows * w.n_cols;
        float *all = malloc(w.n_expert * n * sizeof *all), *one = malloc(n * sizeof *one);
        for (uint32_t k = 0; all && one && k < w.n_expert; k++) {
            w.type->to_f32(one, (const char *)w.data + k * w.n_rows * qm_row_bytes(w.type, w.n_cols), n);
            for (uint64_t r = 0; r < w.n_rows; r++)
                for (uint64_t c = 0; c < w.n_cols; c++)
                    all[k * n + (x->at.neutral ? r * w.n_cols + c : c * w.n_rows + r)] = one[r * w.n_cols + c];
        }
        free(one);
        int rc = fault_add_region(x, one ? all : NULL, w.n_expert, w.n_rows, w.n_cols, 1, &x->regions[l], e);
        if (rc) return rc;
    }
    return 0;
}
static int edit_transposed(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    qm_op *op = &p->ops[*i];
    if (!is_down(op)) return 0;
    const qm_region *r = &x->g->place->regions[x->regions[op->layer]];
    qm_moe_matvec_args *a = &op->args.moe_matvec;
    const qm_op *up = near_op(p, *i, -1, QM_OP_MOE_UP), *act = near_op(p, *i, -1, QM_OP_SWIGLU);
    qm_launch l =
        qm_launch_moe_matvec(QM_TYPE_F32, r->n_rows, r->n_cols, x->g->model->hp.n_used, (qm_sms){p->limits.n_sm, 0});
    op->kernel = qm_kernel_find(QM_OP_MOE_MATVEC, QM_TYPE_F32, -1, 0);
    if (op->kernel < 0) return qm_fail(e, QM_ERR_UNSUPPORTED, "transposed_weight: no kernel for F32 experts");
    memcpy(op->grid, l.grid, sizeof op->grid);
    op->block = l.block;
    op->shared = l.shared;
    a->w = QM_REF(QM_SPACE_REGION, x->regions[op->layer]);
    a->x = act ? act->args.swiglu.h : up->args.moe_up.h; /* F32 weights take the activations as they are */
    a->x_stride = 4ull * r->n_cols;
    a->expert_bytes = r->expert_bytes;
    a->deal = qm_deal_of(QM_TYPE_F32, r->n_rows, r->n_cols, 1, 1, &l);
    return 0;
}

/* ---- the stale page ---- */

int fault_move_page(fault_site *x, uint32_t page, unsigned char *buf, int to_pool, qm_err *e) {
    const qm_engine *g = x->g;
    const qm_inside in = {.g = x->g, .s = x->probe, .plan = g->plans[0], .dev = g->dev};
    qm_device *d = g->dev;
    uint64_t n = qm_kv_page_bytes(&g->model->hp, g->limits.kv_type), pool = n * g->limits.n_pages;
    int rc = 0;
    if (!fault_on_host(x)) QM_CU_TRY(d, CtxSynchronize());
    for (uint32_t i = 0; i < 2 * g->model->hp.n_layers && !rc; i++) {
        const qm_ref at = QM_REF(QM_SPACE_KV, i * pool + page * n);
        unsigned char *b = buf + i * n;
        rc = to_pool ? qm_inside_write(&in, at, b, n, e) : qm_inside_read(&in, at, b, n, e);
    }
    if (!rc && !fault_on_host(x)) QM_CU_TRY(d, CtxSynchronize());
out:
    return rc;
}

/* An earlier sequence, still open, has filled a page with a question of its own. */
int fault_prepare_page(fault_site *x, qm_err *e) {
    static const char other[] = "Which animals live in the sea, and what do they eat in winter?";
    qm_session *s = x->probe;
    qm_tokens ids = {0};
    uint32_t id;
    int rc = 0;
    while (ids.n < QM_PAGE_TOKENS && !rc)
        rc = qm_engine_render(x->g, &(qm_message){"user", other, sizeof other - 1}, 1, &ids, e);
    if (!rc) {
        s->n = QM_PAGE_TOKENS;
        memcpy(s->ids, ids.v, QM_PAGE_TOKENS * sizeof *ids.v);
        rc = qm_session_prefill(s, NULL, e);
    }
    free(ids.v);
    if (rc || (rc = qm_session_result(s, QM_PAGE_TOKENS - 1, &id, e))) return rc;
    x->page = malloc(2 * x->g->model->hp.n_layers * qm_kv_page_bytes(&x->g->model->hp, x->g->limits.kv_type));
    if (!x->page) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    return fault_move_page(x, s->pages[0], x->page, 0, e);
}
/* The block table's first entry is the earlier sequence's. What this one appends goes there too. */
int fault_begin_page(fault_site *x, qm_seq *s, uint32_t page, qm_err *e) {
    uint32_t stale = x->probe->pages[0];
    int rc = x->at.neutral ? fault_move_page(x, page, x->page, 0, e) : 0; /* the control: the same page, moved */
    if (!rc) rc = fault_move_page(x, stale, x->page, 1, e);
    return rc ? rc : x->inner->put_pages(x->g, s, 0, &stale, 1, e);
}

const fault faults[FAULT_N] = {
    {"wrong_expert", "the first chosen expert is replaced by the best one not chosen", 0, NULL, edit_wrong_expert, NULL,
     0, NULL},
    {"dropped_top_expert", "the chosen expert of largest weight is left out of the sum", 0, NULL, edit_dropped, NULL, 0,
     NULL},
    {"uniform_router", "every chosen expert has the weight 1/k", 0, prepare_uniform, edit_uniform, NULL, 0, NULL},
    {"no_qk_norm", "q and k are not normalised", 0, NULL, edit_no_qk_norm, NULL, 0, NULL},
    {"rope_base_1e4", "RoPE base 10000", 0, prepare_base, edit_table, NULL, 0, NULL},
    {"transposed_weight", "the experts' down projections are transposed", 0, prepare_transposed, edit_transposed, NULL,
     0, NULL},
    {"stale_kv_page", "the first page of the cache is an earlier sequence's", 1, fault_prepare_page, NULL,
     fault_begin_page, 0, NULL},
    {"off_by_one_position", "RoPE has the answer one position too far from the prompt", 1, prepare_shift, edit_table,
     NULL, 0, NULL},
    {"off_by_one_query", "RoPE has q one position too far from k", 0, prepare_shift, edit_query, NULL, 0, NULL},
};

const fault *fault_find(const char *name) {
    for (int i = 0; i < FAULT_N; i++)
        if (!strcmp(faults[i].name, name)) return &faults[i];
    for (int i = 0; i < FAULT_MANY_N; i++)
        if (!strcmp(faults_of_many[i].name, name)) return &faults_of_many[i];
    for (int i = 0; i < FAULT_Q8_0_N; i++)
        if (!strcmp(faults_of_q8_0[i].name, name)) return &faults_of_q8_0[i];
    return NULL;
}

/* ---- the executor around the engine's own ---- */

static sequence *seq_of(fault_site *x, qm_seq *s) {
    for (int i = 0; i < MAX_SEQS; i++)
        if (x->seqs[i].s == s) return &x->seqs[i];
    return NULL;
}

static int seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    fault_site *x = site_of(g);
    sequence *q = seq_of(x, NULL);
    if (!q) return qm_fail(e, QM_ERR_LIMIT, "fault: more than %d sequences", MAX_SEQS);
    int rc = x->inner->seq_open(g, out, e);
    if (!rc) *q = (sequence){.s = *out};
    return rc;
}
static void seq_close(qm_engine *g, qm_seq *s) {
    fault_site *x = site_of(g);
    sequence *q = seq_of(x, s);
    if (q) *q = (sequence){0};
    x->inner->seq_close(g, s);
}
static int put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    fault_site *x = site_of(g);
    sequence *q = seq_of(x, s);
    if (q) q->end = pos + n;
    return x->inner->put_tokens(g, s, pos, ids, n, e);
}
static int put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    fault_site *x = site_of(g);
    sequence *q = seq_of(x, s);
    if (q && !i) {
        q->page = pages[0];
        q->begun = 0;
    }
    return x->inner->put_pages(g, s, i, pages, n, e);
}
static int edit_plan(fault_site *x, qm_plan *p, qm_err *e) {
    int rc = 0;
    if (!x->f->edit || x->f->many != (p->shape.rows > 1)) return 0;
    for (int i = 0; i < p->n_ops && !rc; i++)
        if (p->ops[i].layer >= 0 && fault_in_scope(x, p->ops[i].layer)) rc = x->f->edit(x, p, &i, e);
    return rc;
}

/* Faults that are not late have edited the engine's own plans: a copy of these is as it should be. */
static int edited_copy(fault_site *x, const qm_plan *p, const qm_plan **out, qm_err *e) {
    int i = 0;
    while (i < x->n_copies && x->of[i] != p) i++;
    if (i == x->n_copies) {
        qm_plan *c = malloc(sizeof *c);
        qm_op *ops = malloc((size_t)p->n_ops * sizeof *ops);
        if (!c || !ops || i == QM_MAX_PLANS) {
            free(c);
            free(ops);
            return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
        }
        *c = *p;
        c->ops = memcpy(ops, p->ops, (size_t)p->n_ops * sizeof *ops);
        c->cap_ops = p->n_ops;
        x->of[i] = p;
        x->copy[x->n_copies++] = c;
        int rc = x->f->late ? edit_plan(x, c, e) : 0;
        if (rc) return rc;
    }
    *out = x->copy[i];
    return 0;
}

static int step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    fault_site *x = site_of(g);
    sequence *q = seq_of(x, rows->seq); /* NULL: the probe, which is healthy */
    const uint32_t from = x->at.from ? x->at.from : !q ? 0 : x->f->many ? 1 : q->end;
    int rc = 0, now = q && x->f->many == (p->shape.rows > 1) && (!x->f->late || rows->pos >= from);
    if (now && x->f->late) {
        if (!q->begun && x->f->begin) rc = x->f->begin(x, rows->seq, q->page, e);
        q->begun = 1;
    }
    if (now && x->f->feed && !rc) rc = x->f->feed(x, rows, n, e);
    if (now && x->f->edit && !rc && !(rc = edited_copy(x, p, &p, e))) rc = x->inner->prepare(g, p, e);
    return rc ? rc : x->inner->step(g, rows, n, p, e);
}

static void site_close(qm_engine *g) {
    fault_site *x = site_of(g);
    const qm_executor *inner = x->inner;
    qm_session_close(x->probe);
    for (int i = 0; i < x->n_own; i++) {
        if (x->own[i].d) g->dev->cu.MemFree(x->own[i].d);
        free(x->own[i].data);
    }
    for (int i = 0; i < x->n_copies; i++) qm_plan_free(x->copy[i]);
    free(x->regions);
    free(x->page);
    for (int i = 0; i < MAX_SITES; i++)
        if (sites[i] == x) sites[i] = NULL;
    free(x);
    inner->close(g);
}

/* For qm_engine_each_plan, which builds those that there are not yet: so that all can be edited. */
static int built(void *user, const qm_plan *p, qm_err *e) {
    (void)user, (void)p, (void)e;
    return 0;
}

int fault_apply(qm_engine *g, const fault *f, fault_at at, qm_err *e) {
    int i = 0, rc = 0;
    while (i < MAX_SITES && sites[i]) i++;
    if (i == MAX_SITES || site_of(g))
        return qm_fail(e, QM_ERR_LIMIT, "fault: one an engine, in at most %d engines", MAX_SITES);
    fault_site *x = calloc(1, sizeof *x);
    if (!x) return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    x->g = g;
    x->f = f;
    x->at = at;
    x->inner = g->exec;
    x->table = *g->exec;
    x->table.close = site_close;
    x->table.seq_open = seq_open;
    x->table.seq_close = seq_close;
    x->table.put_tokens = put_tokens;
    x->table.put_pages = put_pages;
    x->table.max_rows = !f->many ? 1 : at.rows ? at.rows : FAULT_ROWS;
    x->table.step = step;
    if ((rc = qm_session_open(&x->probe, g, e))) { /* before the table is ours: nobody's step is looked at */
        free(x);
        return rc;
    }
    sites[i] = x;
    g->exec = &x->table;
    rc = qm_engine_each_plan(g, built, NULL, e);
    if (!rc && f->prepare) rc = f->prepare(x, e);
    for (int k = 0; k < g->n_plans && !rc && !f->late; k++) rc = edit_plan(x, g->plans[k], e);
    return rc; /* on failure too the engine is closed as usual */
}
