/* batch_mask.c: which tokens a request's next one may be, as its own function says: a bit for each token, which goes to
 * the sequence's memory on the device. The function is asked for as soon as the last token is known, which is while the
 * device computes the others' next step. Until then the sequence has no row (batch_deal.c). */
#include "batch.h"
#include <string.h>

static int ask(qm_batch *b, qm_lane *l, qm_err *e) {
    const qm_request *r = &l->job->r;
    const uint32_t *mask = r->mask(r->user);
    uint32_t n_allowed;
    const qm_sample_params p = qm_sampling_masked(&l->job->words.p, mask, b->g->model->hp.n_vocab, &n_allowed);
    l->masked = l->s->n;
    if (!n_allowed) {
        qm_err why;
        qm_fail(&why, QM_ERR_ARG, "the request's mask allows no token at position %u", l->s->n);
        qm_batch_end(b, l->job, QM_FINISH_ERROR, &why);
        return 0;
    }
    const int same = !memcmp(&p, &l->how, sizeof p);
    l->how = p;
    return mask || !same ? b->g->exec->put_mask(b->g, l->s->seq, same ? NULL : &p, mask, e) : 0;
}

int qm_batch_masks(qm_batch *b, qm_err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < b->n_lanes && !rc; i++) {
        qm_lane *l = &b->lanes[i];
        if (l->job && l->job->r.mask && l->masked != l->s->n) rc = ask(b, l, e);
    }
    return rc;
}
