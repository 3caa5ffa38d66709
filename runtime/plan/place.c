/* place.c: where every weight lives on the device: regions of one arena, in the order of the model's list. Weights of one
 * type that share an input (q, k, v) become one region, so that one matvec computes all of them: fusing is nothing but
 * adjacency. */
#include <stdlib.h>
#include <string.h>
#include "../base/env.h"
#include "narrow.h"
#include "plan.h"

int qm_model_find(const qm_model *m, int layer, const char *name) {
    for (int i = 0; i < m->n_weights; i++)
        if (m->weights[i].layer == layer && !m->weights[i].is_bias && !strcmp(m->weights[i].name, name)) return i;
    return -1;
}

/* One region of weights w[0..n), of this type. */
static int add(qm_place *p, const int *w, int n, const qm_type_info *type) {
    const qm_model *m = p->model;
    const qm_weight *first = &m->weights[w[0]];
    qm_region *r = &p->regions[p->n_regions];
    *r = (qm_region){.n_segments = n,
                     .type = type,
                     .packed = !first->vector,
                     .n_expert = first->n_expert,
                     .n_cols = first->n_cols,
                     .bias = -1};
    for (int i = 0; i < n; i++) {
        const qm_weight *s = &m->weights[w[i]];
        p->region_of[w[i]] = p->n_regions;
        r->weight[i] = w[i];
        if (r->packed) {
            r->n_rows += s->n_rows;
            r->expert_bytes += qm_pack_bytes(type, s->n_rows, s->n_cols);
        } else {
            r->n_rows = 1;
            r->n_cols = i ? r->n_cols + s->n_cols : s->n_cols;
            r->expert_bytes += (uint64_t)s->n_cols * 4;
        }
    }
    r->bytes = r->expert_bytes * r->n_expert;
    r->off = p->bytes;
    p->bytes += (r->bytes + 255) & ~(uint64_t)255;
    return p->n_regions++;
}

/* Can weight b share the region of a, the weight before it? They have one type, a fills whole tiles, and biases are there
 * for both or for neither. */
static int joins(const qm_weight *a, const qm_weight *b) {
    return b->joins && a->layer == b->layer && a->type == b->type && a->n_cols == b->n_cols &&
           a->n_rows % QM_TILE_ROWS == 0 && (a->bias < 0) == (b->bias < 0);
}

static void place_all(qm_place *p, int narrow) {
    const qm_model *m = p->model;
    for (int i = 0, n; i < m->n_weights; i += n) {
        const qm_weight *at = &m->weights[i];
        int w[QM_REGION_SEGMENTS], bias[QM_REGION_SEGMENTS];
        n = 1;
        if (at->is_bias) continue; /* lies after its matrix */
        while (n < QM_REGION_SEGMENTS && i + n < m->n_weights && joins(at + n - 1, at + n)) n++;
        for (int k = 0; k < n; k++) w[k] = i + k, bias[k] = at[k].bias;
        const qm_type_info *type = narrow && n == 1 ? qm_narrow_type(at) : at->type;
        p->n_narrow += type != at->type;
        const int r = add(p, w, n, type);
        if (at->bias >= 0) p->regions[r].bias = add(p, bias, n, m->weights[at->bias].type);
    }
}

int qm_place_build(qm_place **out, const qm_model *m, qm_err *e) {
    unsigned long narrow = 1;
    *out = NULL;
    int rc = qm_env_number("QMOE_NARROW", 1, &narrow, e);
    if (rc) return rc;
    qm_place *p = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    p->model = m;
    p->regions = calloc((size_t)m->n_weights, sizeof *p->regions);
    p->region_of = calloc((size_t)m->n_weights, sizeof *p->region_of);
    if (!p->regions || !p->region_of) {
        qm_place_free(p);
        return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    }
    place_all(p, narrow != 0);
    *out = p;
    return 0;
}

void qm_place_free(qm_place *p) {
    if (!p) return;
    free(p->regions);
    free(p->region_of);
    free(p);
}
