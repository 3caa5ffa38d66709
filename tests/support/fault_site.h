/* fault_site.h: what the faults share: where one is, what it brought along. Only fault.c, fault_rows.c and fault_kv.c look here. */
#ifndef QM_TEST_FAULT_SITE_H
#define QM_TEST_FAULT_SITE_H
#include "fault.h"

enum { MAX_SITES = 8, MAX_SEQS = 16, MAX_OWN = 64 };

typedef struct {
    qm_seq *s;
    uint32_t end;  /* where the tokens put last end */
    uint32_t page; /* block table entry 0, as the session put it */
    int begun;
} sequence;

struct fault_site {
    qm_engine *g;
    const fault *f;
    fault_at at;
    const qm_executor *inner;
    qm_executor table; /* inner with put_*, step, seq_close and close replaced */
    qm_session *probe; /* an idle sequence: whose addresses we resolve; the owner of the stale page */
    struct {
        qm_tensor t;
        float *data;
        CUdeviceptr d;
        int region;
    } own[MAX_OWN]; /* weights that the fault brought along */
    int n_own;
    int region;   /* the fault's own vector */
    int *regions; /* [n_layers] the fault's own matrices */
    const qm_plan *of[QM_MAX_PLANS];
    qm_plan *copy[QM_MAX_PLANS]; /* of[i], edited: what is stepped. The executor has made of[i] ready as it was. */
    int n_copies;
    sequence seqs[MAX_SEQS];
    uint32_t stride;     /* rows' faults: bytes of a layer's part of the region */
    unsigned char *page; /* the stale page, all layers: as fault_move_page orders it */
};

int fault_on_host(const fault_site *x);
/* Whether the fault is in that layer. */
int fault_in_scope(const fault_site *x, int layer);
/* A region of F32 weights [n_expert, n_rows, n_cols] (packed) or a vector [n_cols] (not), beside the model's own.
 * Takes data (malloc). */
int fault_add_region(fault_site *x, float *data, uint32_t n_expert, uint32_t n_rows, uint32_t n_cols, int packed,
                     int *index, qm_err *e);
/* Another name for what lies `bytes` into a vector of fault_add_region's. */
int fault_add_part(fault_site *x, int region, uint64_t bytes, int *index, qm_err *e);
/* Writes it, in the steps' order: what was enqueued before still reads what was there. */
int fault_put(fault_site *x, int region, const void *src, uint64_t bytes, qm_err *e);
/* One page of every layer, K and V, in turn: between the pool and buf. */
int fault_move_page(fault_site *x, uint32_t page, unsigned char *buf, int to_pool, qm_err *e);
/* A late fault's: an earlier sequence's page. */
int fault_prepare_page(fault_site *x, qm_err *e);
int fault_begin_page(fault_site *x, qm_seq *s, uint32_t page, qm_err *e);
#endif
