/* memory.c: see memory.h. */
#include "memory.h"
#include <stdio.h>
#include <string.h>
#include "../arch/arch.h"
#include "../base/units.h"
#include "weights.h"

static_assert(QM_UBATCH_MOST == (int)QM_STEP_ROWS_MAX, "rows of a step");

void qm_step_limits(qm_limits *l, const qm_engine_opts *o) {
    const uint32_t most = o->n_ubatch ? o->n_ubatch : QM_STEP_ROWS_MAX;
    l->n_seqs = o->n_parallel ? o->n_parallel : QM_SEQS;
    l->n_rows = 1;
    while (l->n_rows < most && l->n_rows < l->n_ctx && l->n_rows < QM_STEP_ROWS_MAX) l->n_rows *= 2;
    l->n_outs = l->n_seqs > o->n_outs ? l->n_seqs : o->n_outs;
    if (l->n_outs > l->n_rows) l->n_outs = l->n_rows;
}

/* By the rules at qm_engine_opts.n_parallel and n_kv. */
static void parts(qm_memory *m, const qm_place *pl, qm_limits l, const qm_engine_opts *o, uint32_t n_ctx) {
    const qm_hparams *hp = &pl->model->hp;
    /* a page has positions of one sequence */
    const uint64_t whole = (uint64_t)qm_pages_for(n_ctx) * QM_PAGE_TOKENS;
    const int shared = o->n_kv == QM_KV_SHARED || (!o->n_kv && o->n_parallel <= 1);
    uint64_t n_kv = shared ? n_ctx : o->n_kv ? o->n_kv : whole * o->n_parallel;
    l.n_ctx = n_ctx;
    qm_step_limits(&l, o);
    l.n_pages = qm_pages_for(n_kv);
    m->n_ctx = n_ctx;
    m->n_seqs = l.n_seqs;
    m->n_rows = l.n_rows;
    m->n_kv = n_kv;
    m->weights = pl->bytes;
    m->kv = qm_kv_pool_bytes(hp, l.kv_type, l.n_pages);
    m->scratch = qm_plan_scratch_bytes(pl, l);
    m->rope = qm_rope_bytes(hp, n_ctx);
    m->step = QM_STEP_SIZE;
    m->sequence = l.n_seqs * qm_seq_layout_of(hp, l).bytes;
    m->loading = QM_LOAD_BYTES;
    m->headroom = QM_HEADROOM_BYTES;
    m->need = m->weights + m->kv + m->scratch + m->rope + m->step + m->sequence + m->loading + m->headroom;
}

/* The largest context that fits: what is needed grows with it. */
static uint32_t most(const qm_memory *at, const qm_place *pl, qm_limits l, const qm_engine_opts *o) {
    uint32_t lo = 0, hi = pl->model->hp.n_ctx_train;
    if (o->n_kv && o->n_kv < hi) hi = o->n_kv;
    while (lo < hi) {
        qm_memory m;
        uint32_t mid = lo + (hi - lo + 1) / 2;
        parts(&m, pl, l, o, mid);
        if (m.need <= at->limit) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}

void qm_memory_of(qm_memory *m, const qm_place *pl, qm_limits l, const qm_engine_opts *o, uint64_t free_bytes,
                  uint64_t total_bytes) {
    memset(m, 0, sizeof *m);
    m->total = total_bytes;
    m->free = free_bytes;
    m->limit = (uint64_t)(QM_MEMORY_SHARE * (double)total_bytes);
    if (m->limit > free_bytes) m->limit = free_bytes;
    parts(m, pl, l, o, l.n_ctx);
    m->fits = m->need <= m->limit;
    m->n_ctx_train = pl->model->hp.n_ctx_train;
    m->n_ctx_max = most(m, pl, l, o);
}

static uint32_t least_of(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

int qm_memory_choose(qm_memory *m, const qm_place *pl, qm_limits l, uint64_t free_bytes, uint64_t total_bytes,
                     const qm_engine_opts *o, const char *where, qm_err *e) {
    const uint32_t train = pl->model->hp.n_ctx_train;
    const uint32_t n_ctx = o->n_ctx == QM_CTX_MODEL ? train : o->n_ctx;
    uint64_t need = o->n_needed;
    memset(m, 0, sizeof *m);
    if (n_ctx > train)
        return qm_fail(e, QM_ERR_LIMIT, "a context of %u exceeds the model's limit of %u (-c sets it)", n_ctx, train);
    if (need > train)
        return qm_fail(e, QM_ERR_LIMIT,
                       "the prompt and what is to be generated take %llu positions, the model's limit is %u",
                       (unsigned long long)need, train);
    if (n_ctx && need > n_ctx)
        return qm_fail(e, QM_ERR_LIMIT,
                       "the prompt and what is to be generated take %llu positions, the context (-c) is %u",
                       (unsigned long long)need, n_ctx);
    if (o->n_parallel > QM_SEQS_MOST)
        return qm_fail(e, QM_ERR_LIMIT, "%u sequences at once (n_parallel): %d are the most", o->n_parallel,
                       QM_SEQS_MOST);
    if (o->n_ubatch > QM_UBATCH_MOST)
        return qm_fail(e, QM_ERR_ARG, "steps of %u rows (n_ubatch): %d are the most", o->n_ubatch, QM_UBATCH_MOST);
    if (o->n_kv && (n_ctx > o->n_kv || need > o->n_kv))
        return qm_fail(e, QM_ERR_LIMIT, "one sequence takes %llu positions, the KV cache (n_kv) has %u",
                       (unsigned long long)(n_ctx ? n_ctx : need), o->n_kv);
    const uint32_t whole = o->n_kv && o->n_kv < train ? o->n_kv : train; /* what one sequence can be given */
    uint64_t want = need + QM_SPARE_CTX;
    if (want < o->n_wanted) want = o->n_wanted;
    if (want < QM_CTX_LEAST) want = QM_CTX_LEAST;
    l.n_ctx = n_ctx ? n_ctx : least_of(want, whole);
    qm_memory_of(m, pl, l, o, free_bytes, total_bytes);
    if (!m->fits && !n_ctx && m->n_ctx_max >= (need ? need : least_of(QM_CTX_LEAST, whole))) {
        l.n_ctx = m->n_ctx_max;
        qm_memory_of(m, pl, l, o, free_bytes, total_bytes);
    }
    if (m->fits) return 0;
    char advice[96] = "; no context is small enough";
    if (m->n_ctx_max) snprintf(advice, sizeof advice, "; the largest context that fits is %u (-c)", m->n_ctx_max);
    return qm_fail(
        e, QM_ERR_NOMEM,
        "the model needs %.2f GiB of device memory (weights %.2f, KV cache %.2f for %llu positions, scratch %.2f for "
        "steps of %u rows, loading and driver %.2f), but %.2f of %.2f GiB can be used on %s%s",
        qm_gib((double)m->need), qm_gib((double)m->weights), qm_gib((double)m->kv), (unsigned long long)m->n_kv,
        qm_gib((double)(m->scratch + m->rope + m->step + m->sequence)), m->n_rows,
        qm_gib((double)(m->loading + m->headroom)), qm_gib((double)m->limit), qm_gib((double)m->total), where, advice);
}

int qm_memory_estimate(qm_memory *m, const char *gguf_path, const qm_engine_opts *o, qm_err *e) {
    static const qm_engine_opts none;
    qm_gguf *f = NULL;
    qm_model *model = NULL;
    qm_place *place = NULL;
    qm_device *d = NULL;
    size_t free_bytes = 0, total = 0;
    memset(m, 0, sizeof *m);
    if (!o) o = &none;
    qm_limits l = {0};
    int rc = qm_kv_type_of(&l.kv_type, o->cache_k, o->cache_v, e);
    if (!rc) rc = qm_gguf_open(&f, gguf_path, e);
    if (!rc) rc = qm_model_open(&model, f, o->rope_base, e);
    if (!rc) rc = qm_place_build(&place, model, e);
    if (!rc) rc = qm_device_open(&d, o->device, NULL, 0, e);
    if (!rc) rc = qm_device_mem(d, &free_bytes, &total, e);
    if (!rc) {
        l.n_sm = (uint32_t)d->n_sm;
        rc = qm_memory_choose(m, place, l, free_bytes, total, o, d->spec, e);
        if (rc == QM_ERR_NOMEM && m->need) rc = 0; /* that is the answer: fits is 0 */
    }
    if (d) qm_device_close(d);
    qm_place_free(place);
    qm_model_close(model);
    qm_gguf_close(f);
    return rc;
}
