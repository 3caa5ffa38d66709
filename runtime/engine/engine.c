/* engine.c: opens a model on a device. */
#include "engine.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../arch/arch.h"
#include "../base/env.h"
#include "../base/log.h"
#include "../device/dependent.h"
#include "../device/prof.h"
#include "../text/guide.h"
#include "choose.h"
#include "memory.h"

/* Launch geometry for the host reference: any figure will do, this one keeps partial sums few. */
enum { REF_SM = 4 };

void qm_engine_close(qm_engine *g) {
    if (!g) return;
    if (g->exec) g->exec->close(g);
    for (int i = 0; i < g->n_plans; i++) qm_plan_free(g->plans[i]);
    qm_pages_close(&g->kv);
    qm_chat_format_close(g->format);
    qm_tokenizer_close(g->tok);
    qm_place_free(g->place);
    qm_model_close(g->model);
    qm_gguf_close(g->gguf);
    if (g->dev) qm_device_close(g->dev);
    free(g);
}

int qm_engine_take(qm_engine *g, qm_err *e) {
    int rc = 0;
    if (g->dev) QM_CU_TRY(g->dev, CtxSetCurrent(g->dev->ctx));
out:
    return rc;
}

static int open_files(qm_engine *g, const char *path, const qm_engine_opts *o, qm_err *e) {
    QM_PROF_SCOPE(QM_PROF_LOAD, "files");
    int rc = qm_gguf_open(&g->gguf, path, e);
    if (!rc) rc = qm_model_open(&g->model, g->gguf, o->rope_base, e);
    if (!rc) rc = qm_place_build(&g->place, g->model, e);
    qm_prof_push(QM_PROF_TOKENIZE, "vocabulary");
    if (!rc) rc = qm_tokenizer_open(&g->tok, g->gguf, e);
    qm_prof_pop();
    if (!rc && qm_tokenizer_n(g->tok) != g->model->hp.n_vocab)
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: tokenizer.ggml.tokens has %u entries, token_embd.weight %u rows", path,
                     qm_tokenizer_n(g->tok), g->model->hp.n_vocab);
    if (!rc) rc = qm_chat_format_open(&g->format, g->gguf, g->tok, o->chat_template, o->template_kwargs, e);
    return rc;
}

/* The context, by the rule at qm_engine_opts, and with it the memory. The host's is not counted: what the executor ref
 * cannot have it says itself. */
static int choose_context(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    qm_engine_opts sized = *o;
    size_t free_bytes = SIZE_MAX, total = SIZE_MAX;
    int rc = o->measure ? o->measure(o->user, g, &sized.n_needed, &sized.n_wanted, e) : 0;
    if (!rc && g->dev) rc = qm_device_mem(g->dev, &free_bytes, &total, e);
    g->limits.n_sm = g->dev ? (uint32_t)g->dev->n_sm : REF_SM;
    if (!rc)
        rc = qm_memory_choose(&g->memory, g->place, g->limits, free_bytes, total, &sized,
                              g->dev ? g->dev->spec : "the host", e);
    g->limits.n_ctx = g->memory.n_ctx;
    qm_step_limits(&g->limits, o);
    g->limits.n_pages = qm_pages_for(g->memory.n_kv);
    return rc;
}

static int set_limits(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    int rc = choose_context(g, o, e);
    if (rc) return rc;
    g->limits.l2_bytes = g->dev ? (uint64_t)g->dev->l2_bytes : 0;
    g->limits.prefetch_bytes = qm_prefetch_bytes(g->dev ? g->dev->bytes_per_s : 0, g->limits.l2_bytes);
    g->limits.keep_bytes = qm_keep_bytes(g->limits.l2_bytes, g->dev ? (uint64_t)g->dev->l2_aside : 0);
    g->limits.ring_bytes = g->dev ? qm_ring_bytes((uint32_t)g->dev->shared_bytes) : 0;
    g->limits.flight_bytes = g->dev ? qm_flight_bytes(g->dev->bytes_per_s, (uint32_t)g->dev->n_sm) : 0;
    unsigned long flight = g->limits.flight_bytes >> 10, kib = ULONG_MAX, keep = ULONG_MAX,
                  ring = g->limits.ring_bytes >> 10, concurrent = 1;
    if ((rc = qm_env_number("QMOE_PREFETCH", 65536, &kib, e)) || (rc = qm_env_number("QMOE_RING", ring, &ring, e)) ||
        (rc = qm_env_number("QMOE_FLIGHT", 1024, &flight, e)) ||
        (rc = qm_env_number("QMOE_L2_KEEP", 1048576, &keep, e)) ||
        (rc = qm_env_number("QMOE_CONCURRENT", 1, &concurrent, e)))
        return rc;
    if (kib != ULONG_MAX) g->limits.prefetch_bytes = (uint64_t)kib << 10;
    if (keep != ULONG_MAX) g->limits.keep_bytes = (uint64_t)keep << 10;
    g->limits.ring_bytes = (uint32_t)ring << 10;
    g->limits.flight_bytes = (uint32_t)flight << 10;
    g->limits.chain = !concurrent;
    if ((rc = qm_apart_of(&g->limits.apart, o->apart, e))) return rc;
    return qm_pages_open(&g->kv, g->limits.n_pages, e);
}

/* Whether ops begin by dependent launches: what is asked for, as far as the device has it. */
static int choose_dependent(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    const char *w = o->dependent_launch ? o->dependent_launch : "auto";
    qm_engine_info *i = &g->info;
    if (strcmp(w, "auto") && strcmp(w, "on") && strcmp(w, "off"))
        return qm_fail(e, QM_ERR_ARG, "--dependent-launch: '%.40s' is not one of auto, on, off", w);
    if (!strcmp(w, "off")) snprintf(i->dependent_why, sizeof i->dependent_why, "as asked for");
    else if (!g->dev) snprintf(i->dependent_why, sizeof i->dependent_why, "nothing is launched");
    else i->dependent = qm_dependent_works(g->dev, i->dependent_why, sizeof i->dependent_why);
    if (g->dev) qm_log(QM_LOG_INFO, "dependent launches: %s%s", i->dependent ? "yes" : "no: ", i->dependent_why);
    if (!strcmp(w, "on") && !i->dependent)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "dependent launches do not work here: %s", i->dependent_why);
    return 0;
}

static void fill_info(qm_engine *g, const qm_plan *decode, const char *why) {
    const qm_hparams *hp = &g->model->hp;
    qm_engine_info *i = &g->info;
    snprintf(i->arch, sizeof i->arch, "%s", hp->arch);
    snprintf(i->name, sizeof i->name, "%s", hp->name);
    snprintf(i->executor, sizeof i->executor, "%s", g->exec->name);
    snprintf(i->chat_format, sizeof i->chat_format, "%s", qm_chat_format_name(g->format));
    snprintf(i->device, sizeof i->device, "%s", g->dev ? g->dev->spec : "host");
    snprintf(i->device_name, sizeof i->device_name, "%s", g->dev ? g->dev->name : "C reference");
    i->interpreted = g->dev && g->dev->caps.interpreted;
    snprintf(i->device_why, sizeof i->device_why, "%s", why);
    snprintf(i->cache, sizeof i->cache, "%s", qm_kv_cache_name(g->limits.kv_type));
    i->concurrent = !g->limits.chain;
    i->prefetch_bytes = g->limits.prefetch_bytes;
    i->ring_bytes = g->limits.ring_bytes;
    i->flight_bytes = g->limits.flight_bytes;
    i->kept_bytes = decode->kept_bytes;
    i->n_narrow = g->place->n_narrow;
    i->n_layers = hp->n_layers;
    i->n_embd = hp->n_embd;
    i->n_head = hp->n_head;
    i->n_kv_head = hp->n_kv;
    i->head_dim = hp->head_dim;
    i->n_expert = hp->n_expert;
    i->n_expert_used = hp->n_used;
    i->n_ff_exp = hp->n_ff;
    i->n_vocab = hp->n_vocab;
    i->n_ctx_train = hp->n_ctx_train;
    i->n_ctx = g->limits.n_ctx;
    i->n_parallel = g->limits.n_seqs;
    i->n_kv = g->limits.n_pages * QM_PAGE_TOKENS;
    i->n_ubatch = g->limits.n_rows;
    i->weight_bytes = g->place->bytes;
    i->bytes_per_token = decode->weight_bytes;
    i->kv_bytes = g->memory.kv;
    i->scratch_bytes = g->memory.scratch;
}

int qm_engine_open(qm_engine **out, const char *path, const qm_engine_opts *o, qm_err *e) {
    static const qm_engine_opts none;
    *out = NULL;
    if (!o) o = &none;
    double start = qm_now();
    QM_PROF_SCOPE(QM_PROF_LOAD, "engine_open");
    char why[256] = "";
    const qm_plan *decode;
    int rc;
    qm_engine *g = calloc(1, sizeof *g);
    if (!g) return qm_fail(e, QM_ERR_NOMEM, "engine: out of memory");
    const int choose = !o->executor || !strcmp(o->executor, "auto");
    const qm_executor *exec = qm_executor_find(choose ? NULL : o->executor, e);
    if (!exec) {
        rc = QM_ERR_ARG;
        goto out;
    }
    if (o->f32_act && !exec->f32_act) {
        rc = qm_fail(e, QM_ERR_ARG, "f32 activations: only the executor 'ref' has them");
        goto out;
    }
    g->limits.f32_act = o->f32_act != 0;
    g->tok_flags = o->no_nfc ? QM_TOK_NO_NFC : 0;
    if ((rc = qm_kv_type_of(&g->limits.kv_type, o->cache_k, o->cache_v, e))) goto out;
    if ((rc = qm_device_spec_check(o->device, e)) || (rc = open_files(g, path, o, e))) goto out;
    if (exec->on_device) {
        qm_prof_push(QM_PROF_LOAD, "device");
        rc = qm_device_open(&g->dev, o->device ? o->device : "auto", why, sizeof why, e);
        qm_prof_pop();
        if (rc) goto out;
    }
    if ((rc = choose_dependent(g, o, e)) || (rc = set_limits(g, o, e))) goto out;
    if ((rc = qm_engine_plan(g, 0, 1, &decode, e))) goto out;
    if (choose) exec = qm_choose(g, decode, g->info.executor_why, sizeof g->info.executor_why);
    if (exec->validate && (rc = exec->validate(decode, e))) goto out;
    g->exec = exec;
    if (g->dev && decode->kept_bytes) qm_device_set_aside(g->dev, g->limits.keep_bytes);
    fill_info(g, decode, why);
    if (o->before_load && o->before_load(o->user, &g->info)) {
        rc = qm_fail(e, QM_ERR_CANCELLED, "loading was cancelled");
        goto out;
    }
    double upload = qm_now();
    qm_prof_push(QM_PROF_LOAD, "executor");
    rc = g->exec->open(g, o, e);
    qm_prof_pop();
    g->info.upload_s = qm_now() - upload - g->info.compile_s;
    g->info.load_s = qm_now() - start;
out:
    if (rc) qm_engine_close(g);
    else *out = g;
    return rc;
}

void qm_engine_get_info(const qm_engine *g, qm_engine_info *i) { *i = g->info; }

const char *qm_engine_piece(const qm_engine *g, uint32_t id, size_t *n) { return qm_token_piece(g->tok, id, n); }
const char *qm_engine_answer_piece(const qm_engine *g, uint32_t id, size_t *n) {
    return qm_token_answer(g->tok, id, n);
}

int qm_guide_open(qm_guide **out, const qm_engine *g, const qm_guide_opts *o, qm_err *e) {
    return qm_guide_make(out, g->tok, o, e);
}

int qm_engine_tokenize(const qm_engine *g, const char *text, size_t n, int special, qm_tokens *out, qm_err *e) {
    qm_prof_push(QM_PROF_TOKENIZE, "tokenize");
    int rc = qm_tokenize(g->tok, text, n, g->tok_flags | (special ? QM_TOK_SPECIAL : 0), out, e);
    qm_prof_pop();
    return rc;
}
