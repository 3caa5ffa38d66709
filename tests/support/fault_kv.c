/* fault_kv.c: faults of a KV cache in q8_0, whose pages have bytes and, apart from them, the scales of these: from a position on
 * the sequence's first page has its own bytes under other scales. */
#include <stdlib.h>
#include <string.h>
#include "fault_site.h"

/* Where the scales of a kv head's page begin (kernels/ptx/kv_q8_0.inc), of how many bytes. */
static void where(const qm_engine *g, uint64_t *page, uint64_t *scales) {
    *page = qm_kv_head_page_bytes(g->limits.kv_type, g->model->hp.head_dim);
    *scales = (uint64_t)QM_PAGE_TOKENS * g->model->hp.head_dim;
}

static int prepare_scales(fault_site *x, qm_err *e) {
    if (x->g->limits.kv_type != QM_KV_CACHE_Q8_0)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: the cache has no scales", x->f->name);
    return fault_prepare_page(x, e);
}

/* The scales of each kv head's page from `from`, all layers' pages in fault_move_page's order: of the kv head `turn` after it. */
static int put_scales(fault_site *x, uint32_t page, const unsigned char *from, uint32_t turn, qm_err *e) {
    const qm_engine *g = x->g;
    const uint32_t n_kv = g->model->hp.n_kv, n = 2 * g->model->hp.n_layers;
    uint64_t bytes, at;
    where(g, &bytes, &at);
    unsigned char *own = malloc(n * n_kv * bytes), *other = malloc(n * n_kv * bytes);
    int rc = own && other ? fault_move_page(x, page, own, 0, e) : qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    if (!rc) {
        memcpy(other, from ? from : own, n * n_kv * bytes);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t h = 0; h < n_kv; h++)
                memcpy(own + (i * n_kv + h) * bytes + at, other + (i * n_kv + (h + turn) % n_kv) * bytes + at,
                       bytes - at);
        rc = fault_move_page(x, page, own, 1, e);
    }
    free(own);
    free(other);
    return rc;
}

static int begin_stale(fault_site *x, qm_seq *s, uint32_t page, qm_err *e) {
    (void)s;
    return put_scales(x, page, x->at.neutral ? NULL : x->page, 0, e);
}
static int begin_other_page(fault_site *x, qm_seq *s, uint32_t page, qm_err *e) {
    (void)s;
    return put_scales(x, page, NULL, !x->at.neutral, e);
}

const fault faults_of_q8_0[FAULT_Q8_0_N] = {
    {"stale_scales", "the scales of the cache's first page are an earlier sequence's", 1, prepare_scales, NULL,
     begin_stale, 0, NULL},
    {"scales_of_another_page", "the scales of the cache's first page are those of the next kv head's", 1,
     prepare_scales, NULL, begin_other_page, 0, NULL},
};
