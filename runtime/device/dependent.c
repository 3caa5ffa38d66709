/* dependent.c: see dependent.h. */
#include "dependent.h"
#include <stdio.h>

/* In a stream that is being captured the attribute becomes an edge of the graph; cuda.h has edges of this kind from 12.3 on. */
enum { DRIVER_OF_EDGES = 12030 };

/* x = 2 x + 1, after the kernel before. The .version and .target of all texts for dependent launches. */
static const char probe_ptx[] = ".version 7.8\n"
                                ".target sm_90\n"
                                ".address_size 64\n"
                                ".visible .entry qm_dependent_probe(.param .u64 out)\n"
                                "{\n"
                                "    .reg .b64 %p;\n"
                                "    .reg .b32 %v;\n"
                                "    griddepcontrol.launch_dependents;\n"
                                "    ld.param.u64 %p, [out];\n"
                                "    griddepcontrol.wait;\n"
                                "    ld.global.u32 %v, [%p];\n"
                                "    add.u32 %v, %v, %v;\n"
                                "    add.u32 %v, %v, 1;\n"
                                "    st.global.u32 [%p], %v;\n"
                                "    ret;\n"
                                "}\n";

CUresult qm_dependent_launch(qm_device *d, CUfunction f, const unsigned grid[3], unsigned block, unsigned shared,
                             CUstream s, void **params) {
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
    CUlaunchConfig c = {.gridDimX = grid[0],
                        .gridDimY = grid[1],
                        .gridDimZ = grid[2],
                        .blockDimX = block,
                        .blockDimY = 1,
                        .blockDimZ = 1,
                        .sharedMemBytes = shared,
                        .hStream = s,
                        .attrs = &a,
                        .numAttrs = 1};
    a.value.programmaticStreamSerializationAllowed = 1;
    return d->cu.LaunchKernelEx(&c, f, params, NULL);
}

static int capture(qm_device *d, CUfunction f, CUdeviceptr p, CUstream s, CUgraph *g, qm_err *e) {
    void *params[] = {&p};
    int rc = 0;
    QM_CU_TRY(d, StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CUresult r = d->cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, params, NULL);
    for (int i = 0; i < 2 && !r; i++) r = qm_dependent_launch(d, f, (unsigned[]){1, 1, 1}, 1, 0, s, params);
    CUresult end = d->cu.StreamEndCapture(s, g); /* also after an error: ends the capture */
    if (r || end) rc = qm_cu_fail(d, r ? r : end, r ? "LaunchKernelEx()" : "StreamEndCapture()", e);
out:
    return rc;
}

static int probe(qm_device *d, qm_err *e) {
    CUmodule mod = NULL;
    CUfunction f;
    CUstream s = NULL;
    CUgraph g = NULL;
    CUgraphExec x = NULL;
    CUdeviceptr p = 0;
    uint32_t got = 0;
    int rc = 0;
    QM_CU_TRY(d, ModuleLoadDataEx(&mod, probe_ptx, 0, NULL, NULL));
    QM_CU_TRY(d, ModuleGetFunction(&f, mod, "qm_dependent_probe"));
    QM_CU_TRY(d, StreamCreate(&s, CU_STREAM_NON_BLOCKING));
    QM_CU_TRY(d, MemAlloc(&p, 256));
    QM_CU_TRY(d, MemsetD8Async(p, 0, 256, s));
    if ((rc = capture(d, f, p, s, &g, e))) goto out;
    QM_CU_TRY(d, GraphInstantiate(&x, g, 0));
    QM_CU_TRY(d, GraphLaunch(x, s));
    QM_CU_TRY(d, StreamSynchronize(s));
    QM_CU_TRY(d, MemcpyDtoH(&got, p, sizeof got));
    if (got != 7) rc = qm_fail(e, QM_ERR_DEVICE, "%s: three dependent kernels made %u of 0, not 7", d->spec, got);
out:
    if (x) d->cu.GraphExecDestroy(x);
    if (g) d->cu.GraphDestroy(g);
    if (p) d->cu.MemFree(p);
    if (s) d->cu.StreamDestroy(s);
    if (mod) d->cu.ModuleUnload(mod);
    return rc;
}

int qm_dependent_works(qm_device *d, char *why, size_t why_n) {
    qm_err err = {0};
    if (d->cc_major < 9) snprintf(why, why_n, "compute capability %d.%d: 9.0 is needed", d->cc_major, d->cc_minor);
    else if (!d->cu.LaunchKernelEx) snprintf(why, why_n, "the driver has no cuLaunchKernelEx: CUDA 12.3 is needed");
    else if (d->driver_version < DRIVER_OF_EDGES)
        snprintf(why, why_n, "a driver of CUDA %d.%d: 12.3 is needed", d->driver_version / 1000,
                 d->driver_version % 1000 / 10);
    else if (probe(d, &err)) snprintf(why, why_n, "%s", err.msg);
    else return 1;
    return 0;
}
