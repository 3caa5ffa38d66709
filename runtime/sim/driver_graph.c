/* driver_graph.c: captured lists of operations (graphs) and their executable copies. */
#include <stdlib.h>
#include "driver.h"
#include "sim.h"
#include "stream.h"

typedef struct {
    sim_oplist *ops;
} sim_graph; /* SIM_H_GRAPH and SIM_H_EXEC alike */

/* ---- graphs ---- */
static sim_graph *graph_make(int kind, sim_oplist *ops) {
    sim_graph *h = calloc(1, sizeof *h);
    if (!h || sim_handle_add(h, kind)) {
        free(h);
        return NULL;
    }
    h->ops = sim_ops_share(ops);
    return h;
}

CUresult sim_graph_new(CUgraph *g, sim_oplist *ops) {
    *g = (CUgraph)graph_make(SIM_H_GRAPH, ops);
    return *g ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* A launch in flight keeps its list: the driver frees a graph when it has completed. */
static void graph_free(sim_graph *h) {
    sim_ops_drop(h->ops);
    sim_handle_del(h);
    free(h);
}

void sim_graphs_drop(void) {
    void *h;
    while ((h = sim_handle_any(SIM_H_GRAPH)) || (h = sim_handle_any(SIM_H_EXEC))) graph_free(h);
}

CUresult CUDAAPI sim_cu_GraphGetNodes(CUgraph g, CUgraphNode *nodes, size_t *n) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!n || !sim_handle_is(g, SIM_H_GRAPH)) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    const sim_graph *h = (const sim_graph *)g;
    if (!nodes) *n = h->ops->n;
    else {
        for (size_t i = 0; i < *n; i++) nodes[i] = i < h->ops->n ? (CUgraphNode)h->ops->v[i] : NULL;
        if (*n > h->ops->n) *n = h->ops->n;
    }
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_GraphInstantiate(CUgraphExec *x, CUgraph g, unsigned long long flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!x || !sim_handle_is(g, SIM_H_GRAPH) ||
        (flags &
         ~(unsigned long long)(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
                               CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)))
        return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    *x = (CUgraphExec)graph_make(SIM_H_EXEC, ((sim_graph *)g)->ops);
    return sim_unlock(*x ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

/* Asked for by who tests what comes after it (qm_sim_options.lost_at). */
static CUresult lose_device(void) {
    static uint64_t n;
    qm_sim_options o;
    qm_sim_get_options(&o);
    if (!o.lost_at || ++n < o.lost_at) return CUDA_SUCCESS;
    sim_poison(CUDA_ERROR_LAUNCH_FAILED);
    return sim_fail(CUDA_ERROR_LAUNCH_FAILED, "the device is lost, as QMOE_SIM_LOST=%llu asks",
                    (unsigned long long)o.lost_at);
}

CUresult CUDAAPI sim_cu_GraphLaunch(CUgraphExec x, CUstream s) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!sim_handle_is(x, SIM_H_EXEC)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "not an executable graph"));
    if ((r = lose_device())) return sim_unlock(r);
    return sim_unlock(sim_submit(s, &(sim_op){.kind = SIM_OP_CHILD, .child = ((sim_graph *)x)->ops}, "cuGraphLaunch"));
}

/* There is nothing to bring anywhere. */
CUresult CUDAAPI sim_cu_GraphUpload(CUgraphExec x, CUstream s) {
    (void)s;
    sim_lock();
    CUresult r = sim_ready();
    if (!r && !sim_handle_is(x, SIM_H_EXEC)) r = sim_fail(CUDA_ERROR_INVALID_VALUE, "not an executable graph");
    return sim_unlock(r);
}

static CUresult destroy(void *h, int kind) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r && !sim_handle_is(h, kind)) r = sim_fail(CUDA_ERROR_INVALID_VALUE, "not a live graph");
    if (!r) graph_free(h);
    return sim_unlock(r);
}
CUresult CUDAAPI sim_cu_GraphExecDestroy(CUgraphExec x) { return destroy(x, SIM_H_EXEC); }
CUresult CUDAAPI sim_cu_GraphDestroy(CUgraph g) { return destroy(g, SIM_H_GRAPH); }
