/* exec_ref.c: the executor "ref": every plan run by run_ref in host memory. Slow and plain: what the
 * others are held against. */
#include <stdlib.h>
#include <string.h>
#include "../base/units.h"
#include "engine.h"
#include "inside_means.h"

struct qm_seq {
    uint32_t index;
    unsigned char *block; /* qm_seq_layout */
    qm_result *ring;      /* [QM_RESULT_RING] */
};

typedef struct {
    unsigned char *kv, *scratch, *rope, *seqs; /* seqs: [n_seqs] blocks */
    qm_result *rings;                          /* [n_seqs, QM_RESULT_RING] */
    unsigned char *taken;                      /* [n_seqs] */
    qm_seq_layout layout;
    qm_step_record step; /* that is computed */
    qm_logits_places places;
    uint64_t logits_off; /* in scratch */
} host_state;

static void ref_close(qm_engine *g) {
    host_state *x = g->exec_state;
    if (!x) return;
    free(x->kv);
    free(x->scratch);
    free(x->rope);
    free(x->seqs);
    free(x->rings);
    free(x->taken);
    free(x);
    g->exec_state = NULL;
}

static int ref_open(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    const size_t n = g->limits.n_seqs;
    (void)o;
    host_state *x = calloc(1, sizeof *x);
    if (!x) return qm_fail(e, QM_ERR_NOMEM, "executor: out of memory");
    g->exec_state = x;
    x->layout = qm_seq_layout_of(&g->model->hp, g->limits);
    x->logits_off = g->plans[0]->logits_off;
    x->kv = calloc(1, g->info.kv_bytes);
    x->scratch = calloc(1, g->memory.scratch);
    x->rope = malloc(qm_rope_bytes(&g->model->hp, g->limits.n_ctx));
    x->seqs = calloc(n, x->layout.bytes);
    x->rings = calloc(n * QM_RESULT_RING, sizeof *x->rings);
    x->taken = calloc(n, 1);
    if (!x->kv || !x->scratch || !x->rope || !x->seqs || !x->rings || !x->taken) {
        ref_close(g);
        return qm_fail(e, QM_ERR_NOMEM, "reference: %.2f GiB of host memory for the KV cache are not to be had",
                       qm_gib((double)g->info.kv_bytes));
    }
    qm_rope_fill((float *)(void *)x->rope, &g->model->hp, g->limits.n_ctx);
    return 0;
}

static void ref_seq_close(qm_engine *g, qm_seq *s) {
    host_state *x = g->exec_state;
    qm_logits_forget(&x->places, g, s);
    x->taken[s->index] = 0;
    free(s);
}

static int ref_seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    host_state *x = g->exec_state;
    uint32_t i;
    int rc = qm_seq_take(x->taken, g->limits.n_seqs, &i, e);
    if (rc) return rc;
    qm_seq *s = calloc(1, sizeof *s);
    if (!s) {
        x->taken[i] = 0;
        return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    }
    s->index = i;
    s->block = x->seqs + i * x->layout.bytes;
    s->ring = x->rings + (size_t)i * QM_RESULT_RING;
    memset(s->block, 0, x->layout.bytes);
    memset(s->ring, 0xff, QM_RESULT_RING * sizeof *s->ring); /* no position's */
    *out = s;
    return 0;
}

/* At a place of a sequence's block. */
static uint32_t *word(qm_seq *s, uint64_t off) { return (uint32_t *)(void *)(s->block + off); }

static int ref_put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    const host_state *x = g->exec_state;
    (void)e;
    memcpy(word(s, x->layout.tokens_off) + pos, ids, 4ull * n);
    *word(s, x->layout.state_off + QM_STATE_FLAGS) = 0;
    return 0;
}

static int ref_put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    const host_state *x = g->exec_state;
    (void)e;
    memcpy(word(s, x->layout.table_off) + i, pages, 4ull * n);
    return 0;
}

static int ref_put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e) {
    const host_state *x = g->exec_state;
    (void)e;
    memcpy(word(s, x->layout.state_off + QM_STATE_MODE), w, qm_sample_words_bytes(w));
    return 0;
}

static int ref_put_mask(qm_engine *g, qm_seq *s, const qm_sample_params *p, const uint32_t *mask, qm_err *e) {
    const host_state *x = g->exec_state;
    (void)e;
    if (p) memcpy(word(s, x->layout.state_off + QM_STATE_MODE), p, sizeof *p);
    if (mask) memcpy(word(s, x->layout.mask_off), mask, 4ull * QM_MASK_WORDS(g->model->hp.n_vocab));
    return 0;
}

/* s: NULL: where a row says whose memory it is. */
static qm_bases bases_of(qm_engine *g, const qm_seq *s) {
    host_state *x = g->exec_state;
    qm_bases b = {{0}};
    b.base[QM_SPACE_SCRATCH] = (uint64_t)(uintptr_t)x->scratch;
    b.base[QM_SPACE_KV] = (uint64_t)(uintptr_t)x->kv;
    b.base[QM_SPACE_SEQ] = (uint64_t)(uintptr_t)(s ? s->block : x->seqs);
    b.base[QM_SPACE_RESULT] = (uint64_t)(uintptr_t)(s ? s->ring : x->rings);
    b.base[QM_SPACE_ROPE] = (uint64_t)(uintptr_t)x->rope;
    b.base[QM_SPACE_STEP] = (uint64_t)(uintptr_t)&x->step;
    return b;
}

static int ref_prepare(qm_engine *g, const qm_plan *p, qm_err *e) {
    (void)g, (void)p, (void)e;
    return 0;
}

static qm_row_record where(const qm_seq *s, uint64_t seq_bytes) {
    return (qm_row_record){.seq = s->index, .seq_off = s->index * seq_bytes};
}

/* The logits in scratch's place o move to their sequence's block. */
static int keep_logits(qm_engine *g, qm_seq *s, uint32_t o, qm_err *e) {
    const host_state *x = g->exec_state;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    (void)e;
    memcpy(s->block + x->layout.logits_off, x->scratch + x->logits_off + o * bytes, bytes);
    return 0;
}

static int ref_place(qm_engine *g, const qm_row *rows, uint32_t n, qm_err *e) {
    host_state *x = g->exec_state;
    qm_step_fill(&x->step, rows, n, where, x->layout.bytes);
    return qm_logits_take(&x->places, g, rows, n, keep_logits, e);
}

static int ref_step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    const qm_bases b = bases_of(g, NULL);
    int rc = n < 1 || n > p->shape.rows
                 ? qm_fail(e, QM_ERR_ARG, "reference: a step of %u rows by a plan of %u", n, p->shape.rows)
                 : ref_place(g, rows, n, e);
    for (int i = 0; i < p->n_ops && !rc; i++) rc = qm_run_ref_op(p, i, &b, e);
    return rc ? rc : qm_gguf_whole(g->gguf, e); /* weights are read from the file at every step */
}

static int ref_wait(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    (void)g, (void)s, (void)pos, (void)e; /* a step is done when it returns */
    return 0;
}

static int ref_result(qm_engine *g, qm_seq *s, uint32_t pos, qm_result *r, qm_err *e) {
    (void)g;
    return qm_result_take(s->ring, pos, r, e);
}

static int ref_logits(qm_engine *g, qm_seq *s, float *out, qm_err *e) {
    const host_state *x = g->exec_state;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    const uint32_t o = qm_logits_find(&x->places, g, s);
    (void)e;
    memcpy(out, o < g->limits.n_outs ? x->scratch + x->logits_off + o * bytes : s->block + x->layout.logits_off, bytes);
    return 0;
}

static int ref_outs(qm_engine *g, uint32_t first, uint32_t n, float *out, qm_err *e) {
    const host_state *x = g->exec_state;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    if (first + n > g->limits.n_outs)
        return qm_fail(e, QM_ERR_ARG, "reference: a step has the logits of %u rows at most", g->limits.n_outs);
    memcpy(out, x->scratch + x->logits_off + first * bytes, n * bytes);
    return 0;
}

static int run_op(qm_engine *g, const qm_plan *p, int i, CUstream on, const qm_stamps *stamps, qm_err *e) {
    const qm_bases b = bases_of(g, NULL);
    if (on || stamps) return qm_fail(e, QM_ERR_UNSUPPORTED, "the executor ref runs no kernels");
    return qm_run_ref_op(p, i, &b, e);
}

static int put(qm_engine *g, uint64_t dst, const void *src, uint64_t bytes, qm_err *e) {
    (void)g, (void)e;
    memcpy((void *)(uintptr_t)dst, src, bytes);
    return 0;
}

static const qm_inside_means inside = {.bases = bases_of, .run = run_op, .put = put};

const qm_executor qm_executor_ref = {
    .name = "ref",
    .f32_act = 1,
    .max_rows = QM_STEP_ROWS_MAX,
    .open = ref_open,
    .close = ref_close,
    .seq_open = ref_seq_open,
    .seq_close = ref_seq_close,
    .prepare = ref_prepare,
    .put_tokens = ref_put_tokens,
    .put_pages = ref_put_pages,
    .put_sampling = ref_put_sampling,
    .put_mask = ref_put_mask,
    .place = ref_place,
    .step = ref_step,
    .wait = ref_wait,
    .result = ref_result,
    .logits = ref_logits,
    .outs = ref_outs,
    .inside = &inside,
};
