/* trace_run.c: qm_trace: a prompt, its last step observed, and what is made of that. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "../base/hash.h"
#include "../file/npy.h"
#include "trace_report.h"

/* Per op only rounding and the order of sums differ; free runs add that up over the layers. */
static const double REF_COSINE = 0.9999, OP_REL_L2 = 1e-3, FREE_REL_L2 = 2e-2, DIR_COSINE = 0.999, DIR_REL_L2 = 5e-2;

/* ---- the steps ---- */
/* Prompt positions before the last: as generate computes them, or each observed. */
static int approach(qm_trace_result *r, qm_session *s, qm_tracer **t, qm_err *e) {
    uint32_t n = (uint32_t)r->n_ids, n_used;
    int rc = 0;
    if (!r->o->all_positions && n > 1 && (rc = qm_inside_append(s, r->ids, n - 1, NULL, NULL, e))) return rc;
    for (uint32_t pos; !rc && (pos = qm_session_length(s)) < n;) {
        const qm_plan *p;
        if ((rc = qm_inside_plan(r->g, pos, 1, &p, e))) return rc;
        if (*t && (*t)->plan != p) { /* attention is split differently from here on */
            qm_tracer_close(*t);
            *t = NULL;
        }
        int keep = r->o->dump || (r->o->compare && !r->by_op);
        if (!*t && (rc = qm_tracer_open(t, r->g, p, keep, e))) return rc;
        if ((rc = qm_tracer_step(*t, s, r->ids[pos], e))) return rc;
        n_used = (*t)->n_used;
        r->n_positions++;
        for (uint32_t i = 0; i < r->info.n_layers * n_used; i++) {
            uint32_t id = (*t)->ids[i], n_expert = r->info.n_expert;
            if (id < n_expert) r->use[i / n_used * n_expert + id]++;
        }
    }
    return rc;
}

/* The last position once more, as generate computes it: by the executor itself and not op by op. Flags that kernels
 * raise are no errors here: a sick step is what one wants to see. */
static int step_itself(qm_trace_result *r, qm_session *s, float *logits, qm_err *e) {
    uint32_t last = (uint32_t)r->n_ids - 1;
    int rc = qm_session_truncate(s, last, e);
    if (rc) return rc;
    rc = qm_inside_append(s, r->ids + last, 1, NULL, NULL, e);
    if (!rc) rc = qm_session_logits(s, logits, e);
    if (!rc) r->step_hash = qm_fnv1a(logits, 4ull * r->info.n_vocab);
    return rc;
}

/* ---- names of vectors ---- */
static int wanted(const qm_trace_opts *o, int layer) {
    return o->last_layer < 0 || (layer >= o->first_layer && layer <= o->last_layer);
}

static void file_name(char *to, size_t n, const char *dir, int layer, const char *name, int rank) {
    char where[16] = "", which[16] = "";
    if (layer >= 0) snprintf(where, sizeof where, "%d.", layer);
    if (rank >= 0) snprintf(which, sizeof which, "%d", rank);
    snprintf(to, n, "%s/%s%s%s.npy", dir, where, name, which);
}

static int same_folder(const char *a, const char *b) {
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int dump(const qm_trace_result *r, qm_err *e) {
    const qm_tracer *t = r->t;
    const char *dir = r->o->dump;
    char path[4096];
    int rc = 0;
    if (r->o->compare && same_folder(dir, r->o->compare))
        return qm_fail(e, QM_ERR_ARG, "%s: is what is compared with: the input cannot be the output too", dir);
    if (mkdir(dir, 0777) && errno != EEXIST) return qm_fail(e, QM_ERR_IO, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < t->n_vectors && !rc; i++) {
        const qm_trace_vector *s = &t->vectors[i];
        if (!wanted(r->o, s->layer)) continue;
        file_name(path, sizeof path, dir, s->layer, s->name, s->rank);
        rc = qm_npy_write(path, t->values + s->at, s->n, e);
    }
    for (int l = 0; t->n_used && l < (int)r->info.n_layers && !rc; l++) {
        float ids[64];
        if (!wanted(r->o, l)) continue;
        for (uint32_t k = 0; k < t->n_used; k++) ids[k] = (float)t->ids[(uint32_t)l * t->n_used + k];
        file_name(path, sizeof path, dir, l, "router_ids", -1);
        if ((rc = qm_npy_write(path, ids, t->n_used, e))) break;
        file_name(path, sizeof path, dir, l, "router_weights", -1);
        rc = qm_npy_write(path, t->weights + (uint32_t)l * t->n_used, t->n_used, e);
    }
    return rc;
}

/* ---- comparisons ---- */
static qm_difference *next_difference(qm_trace_result *r, int room) {
    if (!r->diff && !(r->diff = calloc((size_t)room, sizeof *r->diff))) return NULL;
    return &r->diff[r->n_diff];
}

static void took(qm_trace_result *r) {
    if (r->first < 0 && qm_trace_departs(r, &r->diff[r->n_diff])) r->first = r->n_diff;
    r->n_diff++;
}

/* "qkv" or "3.qkv" */
static int stops(const char *spec, const qm_op *op) {
    char *end;
    if (!spec) return 0;
    long layer = strtol(spec, &end, 10);
    if (end != spec && *end == '.') return op->layer == layer && !strcmp(end + 1, op->slot);
    return !strcmp(spec, op->slot);
}

/* The last position once more, op by op, against the references. */
static int compare_ops(qm_trace_result *r, qm_session *s, qm_err *e) {
    const qm_plan *p = r->t->plan;
    const uint32_t pos = (uint32_t)r->n_ids - 1;
    qm_inside x;
    qm_mirror *m = NULL;
    qm_difference *d;
    int found = !r->o->stop_after, done = 0, rc;
    for (int i = 0; i < p->n_ops && !found; i++)
        found = stops(r->o->stop_after, &p->ops[i]) && wanted(r->o, p->ops[i].layer);
    if (!found)
        return qm_fail(e, QM_ERR_ARG,
                       "--stop-after %s: no op that is compared has this name (inspect --plan lists them)",
                       r->o->stop_after);
    if ((rc = qm_inside_open(&x, r->g, s, pos, e))) return rc;
    rc = qm_mirror_open(&m, &x, e);
    if (!rc) rc = qm_inside_begin(&x, r->ids[pos], e);
    for (int i = 0; i < p->n_ops && !rc && !done; i++) {
        int compare = wanted(r->o, p->ops[i].layer);
        if (!(d = next_difference(r, p->n_ops))) {
            rc = qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
            break;
        }
        rc = qm_mirror_op(m, i, compare, d, e);
        if (rc || !compare) continue;
        took(r);
        done = stops(r->o->stop_after, &p->ops[i]);
    }
    qm_mirror_close(m);
    qm_inside_close(&x);
    return rc;
}

static void compare_vector(qm_trace_result *r, const qm_trace_vector *s, const float *want) {
    qm_difference *d = &r->diff[r->n_diff];
    qm_difference_of(d, r->t->values + s->at, want, s->n);
    d->op = s->op;
    d->layer = s->layer;
    d->slot = s->name;
    d->tensor = "output";
    took(r);
}

/* Both have computed the prompt on their own. */
static int compare_free(qm_trace_result *r, qm_err *e) {
    qm_engine_opts eo = {.executor = "ref",
                         .n_ctx = r->info.n_ctx,
                         .cache_k = r->info.cache,
                         .cache_v = r->info.cache,
                         .rope_base = (float)qm_inside_model(r->g)->hp.rope_base};
    qm_trace_opts o = {.all_positions = 0, .compare = "ref", .free_run = 1, .last_layer = -1};
    qm_trace_result ref = {.o = &o, .ids = r->ids, .n_ids = r->n_ids};
    qm_session *s = NULL;
    qm_tracer *t = NULL;
    int rc = qm_engine_open(&ref.g, r->o->path, &eo, e);
    if (!rc) qm_engine_get_info(ref.g, &ref.info);
    if (!rc && !(ref.use = calloc((size_t)ref.info.n_layers * ref.info.n_expert + 1, 4)))
        rc = qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    if (!rc) rc = qm_session_open(&s, ref.g, e);
    if (!rc) rc = approach(&ref, s, &t, e);
    if (!rc && !next_difference(r, r->t->n_vectors)) rc = qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    for (int i = 0; i < r->t->n_vectors && !rc; i++) {
        const qm_trace_vector *mine = &r->t->vectors[i],
                              *theirs = qm_tracer_find(t, mine->layer, mine->name, mine->rank);
        /* where the routers chose differently, an expert's output has no counterpart: ffn_out tells */
        if (mine->rank >= 0 || !wanted(r->o, mine->layer) || !theirs || theirs->n != mine->n) continue;
        compare_vector(r, mine, t->values + theirs->at);
    }
    qm_tracer_close(t);
    qm_session_close(s);
    free(ref.use);
    qm_engine_close(ref.g);
    return rc;
}

/* The vector of position pos in an array: [n], or [.., positions, n]. */
static const float *row_of(const qm_npy *a, const char *path, uint64_t n, uint64_t pos, qm_err *e) {
    uint64_t rows = n && a->n % n == 0 ? a->n / n : 0, last = a->n_dims ? a->shape[a->n_dims - 1] : 0;
    if (!rows || (a->n != n && last != n)) {
        qm_fail(e, QM_ERR_FORMAT, "%s: %llu elements in rows of %llu; expected rows of %llu", path,
                (unsigned long long)a->n, (unsigned long long)last, (unsigned long long)n);
        return NULL;
    }
    if (rows > 1 && rows <= pos) {
        qm_fail(e, QM_ERR_FORMAT, "%s: %llu positions; the traced one is %llu", path, (unsigned long long)rows,
                (unsigned long long)pos);
        return NULL;
    }
    return a->v + (rows > 1 ? pos * n : 0);
}

static int compare_directory(qm_trace_result *r, qm_err *e) {
    const char *dir = r->o->compare;
    char path[4096];
    struct stat st;
    if (stat(dir, &st)) return qm_fail(e, QM_ERR_IO, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return qm_fail(e, QM_ERR_ARG, "%s: expected \"ref\" or a directory of .npy files", dir);
    if (!next_difference(r, r->t->n_vectors)) return qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    for (int i = 0; i < r->t->n_vectors; i++) {
        const qm_trace_vector *s = &r->t->vectors[i];
        qm_npy a;
        if (!wanted(r->o, s->layer)) continue;
        file_name(path, sizeof path, dir, s->layer, s->name, s->rank);
        if (stat(path, &st)) {
            r->n_missing += !s->extra;
            continue;
        }
        int rc = qm_npy_read(path, &a, e);
        if (rc) return rc;
        const float *v = row_of(&a, path, s->n, r->n_ids - 1, e);
        if (v) compare_vector(r, s, v);
        free(a.v);
        if (!v) return QM_ERR_FORMAT;
    }
    if (!r->n_diff)
        return qm_fail(e, QM_ERR_ARG,
                       "%s: no file in it is named like a vector of this trace (0.attn_norm.npy, 0.qkv.npy ...; --dump "
                       "writes them all)",
                       dir);
    return 0;
}

static int compare(qm_trace_result *r, qm_session *s, qm_err *e) {
    if (r->by_op) return compare_ops(r, s, e);
    return strcmp(r->o->compare, "ref") ? compare_directory(r, e) : compare_free(r, e);
}

static void set_bars(qm_trace_result *r) {
    int ref = r->o->compare && !strcmp(r->o->compare, "ref");
    r->by_op = ref && !r->o->free_run;
    r->min_cosine = r->o->min_cosine > 0 ? r->o->min_cosine : ref ? REF_COSINE : DIR_COSINE;
    /* who sets the cosine means it to decide: unit vectors of cosine c are sqrt(2 - 2c) apart */
    r->max_rel_l2 = r->o->min_cosine > 0 ? 2 * sqrt(2 - 2 * r->min_cosine)
                    : r->by_op           ? OP_REL_L2
                    : ref                ? FREE_REL_L2
                                         : DIR_REL_L2;
}

static int check(const qm_trace_result *r, qm_err *e) {
    const qm_trace_opts *o = r->o;
    uint32_t n_layers = r->info.n_layers;
    if (!r->n_ids) return qm_fail(e, QM_ERR_ARG, "the prompt is empty");
    if (r->n_ids > r->info.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "%zu tokens of prompt exceed the context of %u", r->n_ids, r->info.n_ctx);
    if (o->last_layer >= 0 &&
        (o->first_layer < 0 || o->first_layer > o->last_layer || (uint32_t)o->last_layer >= n_layers))
        return qm_fail(e, QM_ERR_ARG, "--layers %d-%d: the model has layers 0 to %u", o->first_layer, o->last_layer,
                       n_layers - 1);
    if (o->min_cosine < 0 || o->min_cosine > 1)
        return qm_fail(e, QM_ERR_ARG, "a least cosine of %g: 0 to 1", o->min_cosine);
    return 0;
}

int qm_trace(qm_engine *g, const char *prompt, size_t n_prompt, const uint32_t *ids, size_t n_ids,
             const qm_trace_opts *o, int *departed, qm_write_fn w, void *user, qm_err *e) {
    qm_trace_result r = {
        .g = g, .o = o, .prompt = prompt, .n_prompt = n_prompt, .ids = ids, .n_ids = n_ids, .first = -1};
    qm_session *s = NULL;
    qm_tracer *t = NULL;
    float *again = NULL;
    *departed = 0;
    qm_engine_get_info(g, &r.info);
    int rc = check(&r, e);
    if (rc) return rc;
    set_bars(&r);
    r.use = calloc((size_t)r.info.n_layers * r.info.n_expert + 1, sizeof *r.use);
    r.logits = malloc(4ull * r.info.n_vocab);
    again = malloc(4ull * r.info.n_vocab);
    if (!r.use || !r.logits || !again) {
        rc = qm_fail(e, QM_ERR_NOMEM, "trace: out of memory");
        goto out;
    }
    if ((rc = qm_session_open(&s, g, e)) || (rc = approach(&r, s, &t, e)) || (rc = qm_session_logits(s, r.logits, e)))
        goto out;
    r.t = t;
    r.logits_hash = qm_fnv1a(r.logits, 4ull * r.info.n_vocab);
    if ((rc = step_itself(&r, s, again, e))) goto out;
    if ((o->dump && (rc = dump(&r, e))) || (o->compare && (rc = compare(&r, s, e)))) goto out;
    *departed = r.first >= 0 || r.step_hash != r.logits_hash;
    qm_printer to = {w, user, 0};
    if (o->json) qm_print_json(&to, qm_trace_json(&r), JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    else qm_trace_text(&to, &r);
    rc = qm_print_end(&to, e);
out:
    qm_tracer_close(t);
    qm_session_close(s);
    free(r.use);
    free(r.logits);
    free(again);
    free(r.diff);
    return rc;
}
