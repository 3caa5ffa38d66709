/* doctor.c: qmoe-gpu doctor: what this machine offers and what is missing; with a model, whether it fits. */
#include "host.h"
#include "runtime/qmoe_tools.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int collect(void *user, const char *s, size_t n) { return qm_buffer_put(user, s, n); }

static void say_model(const char *path, const qm_memory *m) {
    char a[9][32];
    const uint64_t v[9] = {m->need,    m->weights,  m->kv,    m->scratch + m->rope + m->step + m->sequence,
                           m->loading, m->headroom, m->limit, m->total,
                           m->free};
    for (int i = 0; i < 9; i++) qm_host_bytes(a[i], sizeof a[i], v[i]);
    printf("%-10s %s\n", "model", path);
    printf(
        "%-10s %s with a context of %u: weights %s, KV cache %s for %llu positions, activations %s of steps of %u rows "
        "and %u sequences, loading %s, driver %s\n",
        "needs", a[0], m->n_ctx, a[1], a[2], (unsigned long long)m->n_kv, a[3], m->n_rows, m->n_seqs, a[4], a[5]);
    printf("%-10s %s: %s can be used of %s, %s of it free; ", "fits", m->fits ? "yes" : "no", a[6], a[7], a[8]);
    if (m->n_ctx_max)
        printf("the largest context that fits is %u%s\n", m->n_ctx_max,
               m->n_ctx_max == m->n_ctx_train ? ", the model's limit" : "");
    else printf("no context is small enough\n");
}

static json_t *model_json(const char *path, const qm_memory *m) {
    const struct {
        const char *key;
        uint64_t v;
    } n[] = {{"n_ctx", m->n_ctx},
             {"need_bytes", m->need},
             {"weight_bytes", m->weights},
             {"kv_bytes", m->kv},
             {"n_kv", m->n_kv},
             {"n_parallel", m->n_seqs},
             {"n_ubatch", m->n_rows},
             {"activation_bytes", m->scratch + m->rope + m->step + m->sequence},
             {"loading_bytes", m->loading},
             {"driver_bytes", m->headroom},
             {"usable_bytes", m->limit},
             {"n_ctx_max", m->n_ctx_max},
             {"n_ctx_train", m->n_ctx_train}};
    json_t *o = json_object(), *name = json_string(path);
    json_object_set_new(o, "path", name ? name : json_string("(not UTF-8)"));
    json_object_set_new(o, "fits", json_boolean(m->fits));
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        json_object_set_new(o, n[i].key, json_integer((json_int_t)n[i].v));
    return o;
}

/* The machine's report as one object, with the model's added. */
static int print_json(const char *path, const qm_memory *m, qm_err *e) {
    qm_buffer t = {0};
    int rc = qm_doctor(1, collect, &t, e);
    json_t *r = rc ? NULL : json_loads(t.s, 0, NULL);
    char *s = NULL;
    if (r) {
        json_object_set_new(r, "model", model_json(path, m));
        s = json_dumps(r, JSON_INDENT(2));
    }
    if (!rc && !s) rc = qm_fail(e, QM_ERR_NOMEM, "doctor: out of host memory");
    if (!rc && puts(s) < 0) rc = qm_fail(e, QM_ERR_IO, "the report could not be written");
    free(s);
    free(t.s);
    json_decref(r);
    return rc;
}

int qm_cmd_doctor(int argc, char **argv) {
    static int json, ctx, parallel, kv;
    static char *model, *device;
    static const struct poptOption table[] = {
        {"model", 'm', POPT_ARG_STRING, &model, 0, "also say whether this model fits, a GGUF file", "FILE"},
        {"ctx", 'c', POPT_ARG_INT, &ctx, 0, "with so many positions of context (default: 4096, or what fits)", "N"},
        {"parallel", 0, POPT_ARG_INT, &parallel, 0, "with so many sequences at once, of --ctx positions each", "N"},
        {"kv", 0, POPT_ARG_INT, &kv, 0, "with a KV cache of so many positions, all sequences together", "N"},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_ubatch_table, 0, NULL, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_cache_table, 0, NULL, NULL},
        {"device", 'd', POPT_ARG_STRING, &device, 0, "where: auto, cuda:N, or sim (default: auto)", "auto|cuda:N|sim"},
        {"json", 0, POPT_ARG_NONE, &json, 0, "the same as one JSON object", NULL},
        POPT_TABLEEND,
    };
    poptContext con;
    int rc =
        qm_host_options(&con, argc, argv, table,
                        "[options]\n\n"
                        "Looks for a driver, GPUs and NVRTC, and says which device a run would take. Exit status 0 "
                        "also when something is missing: the software device always works. With a model the exit "
                        "status is 1 where it does not fit.");
    if (rc >= 0) return rc;
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (ctx < 0) return qm_host_usage("doctor: --ctx %d: expected 1 and above", ctx);
    if (parallel < 0) return qm_host_usage("doctor: --parallel %d: expected 1 and above", parallel);
    if (kv < 0) return qm_host_usage("doctor: --kv %d: expected 1 and above", kv);
    if ((rc = qm_ubatch_check()) >= 0) return rc;
    if (!model && (ctx || device || parallel || kv || qm_ubatch))
        return qm_host_usage("doctor: --%s is for --model FILE", ctx        ? "ctx"
                                                                 : device   ? "device"
                                                                 : parallel ? "parallel"
                                                                 : kv       ? "kv"
                                                                            : "ubatch");
    if (!model && (qm_cache.k || qm_cache.v))
        return qm_host_usage("doctor: --cache-type-k and -v are for --model FILE");
    qm_err e;
    qm_memory m;
    if (!model) return qm_doctor(json, qm_host_write, stdout, &e) ? qm_host_fail(&e) : QM_EXIT_OK;
    qm_engine_opts o = {.device = device,
                        .n_ctx = (uint32_t)ctx,
                        .n_parallel = (uint32_t)parallel,
                        .n_kv = (uint32_t)kv,
                        .n_ubatch = (uint32_t)qm_ubatch,
                        .cache_k = qm_cache.k,
                        .cache_v = qm_cache.v};
    if (qm_memory_estimate(&m, model, &o, &e)) return qm_host_open_fail(&e, ctx);
    rc = json ? print_json(model, &m, &e) : qm_doctor(0, qm_host_write, stdout, &e);
    if (rc) return qm_host_fail(&e);
    if (!json) say_model(model, &m);
    return m.fits ? QM_EXIT_OK : QM_EXIT_FAIL;
}
