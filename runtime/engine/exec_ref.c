/* refexec.c: the executor "ref": every plan run by run_ref in host memory. Slow and plain: what the
 * others are held against. */
#include <stdlib.h>
#include <string.h>
#include "../base/units.h"
#include "engine.h"

typedef struct {
    void *kv, *scratch, *rope;
} host_state;

struct qm_seq {
    unsigned char *block; /* qm_seq_layout */
    qm_seq_layout layout;
    qm_result ring[QM_RESULT_RING];
};

static void ref_close(qm_engine *g) {
    host_state *x = g->exec_state;
    if (!x) return;
    free(x->kv);
    free(x->scratch);
    free(x->rope);
    free(x);
    g->exec_state = NULL;
}

static int ref_open(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    (void)o;
    host_state *x = calloc(1, sizeof *x);
    if (!x) return qm_fail(e, QM_ERR_NOMEM, "executor: out of memory");
    g->exec_state = x;
    x->kv = calloc(1, g->info.kv_bytes);
    x->scratch = calloc(1, g->memory.scratch);
    x->rope = malloc(qm_rope_bytes(&g->model->hp, g->limits.n_ctx));
    if (!x->kv || !x->scratch || !x->rope) {
        ref_close(g);
        return qm_fail(e, QM_ERR_NOMEM, "reference: %.2f GiB of host memory for the KV cache are not to be had",
                       qm_gib((double)g->info.kv_bytes));
    }
    qm_rope_fill(x->rope, &g->model->hp, g->limits.n_ctx);
    return 0;
}

static void ref_seq_close(qm_engine *g, qm_seq *s) {
    (void)g;
    free(s->block);
    free(s);
}

static int ref_seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    qm_seq *s = calloc(1, sizeof *s);
    if (!s) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    s->layout = qm_seq_layout_of(&g->model->hp, g->limits);
    s->block = calloc(1, s->layout.bytes);
    if (!s->block) {
        free(s);
        return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    }
    *out = s;
    return 0;
}

static uint32_t *word(qm_seq *s, uint64_t off) { return (uint32_t *)(void *)(s->block + off); }

static int ref_put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    (void)g, (void)e;
    memcpy(word(s, s->layout.tokens_off) + pos, ids, 4ull * n);
    return 0;
}

static int ref_put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    (void)g, (void)e;
    memcpy(word(s, s->layout.table_off) + i, pages, 4ull * n);
    return 0;
}

static int ref_set_pos(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    (void)g, (void)e;
    *word(s, s->layout.state_off + QM_STATE_POS) = pos - 1; /* embed adds 1 at the step's begin */
    *word(s, s->layout.state_off + QM_STATE_FLAGS) = 0;
    return 0;
}

static int ref_put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e) {
    (void)g, (void)e;
    memcpy(word(s, s->layout.state_off + QM_STATE_MODE), w, qm_sample_words_bytes(w));
    return 0;
}

static qm_bases bases_of(qm_engine *g, qm_seq *s) {
    const host_state *x = g->exec_state;
    qm_bases b = {{0}};
    b.base[QM_SPACE_SCRATCH] = (uint64_t)(uintptr_t)x->scratch;
    b.base[QM_SPACE_KV] = (uint64_t)(uintptr_t)x->kv;
    b.base[QM_SPACE_SEQ] = (uint64_t)(uintptr_t)s->block;
    b.base[QM_SPACE_RESULT] = (uint64_t)(uintptr_t)s->ring;
    b.base[QM_SPACE_ROPE] = (uint64_t)(uintptr_t)x->rope;
    return b;
}

static int ref_prepare(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e) {
    (void)g, (void)s, (void)p, (void)e;
    return 0;
}

static int ref_step(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e) {
    qm_bases b = bases_of(g, s);
    int rc = qm_run_ref(p, &b, e);
    return rc ? rc : qm_gguf_whole(g->gguf, e); /* weights are read from the file at every step */
}

static int ref_wait(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    (void)g, (void)s, (void)pos, (void)e; /* a step is done when it returns */
    return 0;
}

static int ref_result(qm_engine *g, qm_seq *s, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e) {
    (void)g;
    return qm_result_take(&s->ring[pos % QM_RESULT_RING], pos, id, flags, e);
}

static int ref_logits(qm_engine *g, qm_seq *s, float *out, qm_err *e) {
    (void)e;
    memcpy(out, s->block + s->layout.logits_off, 4ull * g->model->hp.n_vocab);
    return 0;
}

static int run_op(qm_engine *g, qm_seq *s, const qm_plan *p, int i, CUstream on, const qm_stamps *stamps, qm_err *e) {
    if (on || stamps) return qm_fail(e, QM_ERR_UNSUPPORTED, "the executor ref runs no kernels");
    qm_bases b = bases_of(g, s);
    return qm_run_ref_op(p, i, &b, e);
}

static int put(qm_engine *g, uint64_t dst, const void *src, uint64_t bytes, qm_err *e) {
    (void)g, (void)e;
    memcpy((void *)(uintptr_t)dst, src, bytes);
    return 0;
}

static const qm_inside_means inside = {.bases = bases_of, .run = run_op, .put = put};
const qm_executor qm_executor_ref = {
    "ref",         ref_open,    ref_close,        ref_seq_open, ref_seq_close, ref_prepare, ref_put_tokens,
    ref_put_pages, ref_set_pos, ref_put_sampling, ref_step,     ref_wait,      ref_result,  ref_logits,
    &inside,
};
