/* inspect.c: what is in a file: metadata, tensors, and the plan of one decode step. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/json.h"
#include "../base/text.h"
#include "../base/units.h"
#include "../text/tokenizer.h"
#include "../arch/arch.h"
#include "../plan/plan.h"
#include "../qmoe_tools.h"
#include "../base/print.h"

/* The plan is shown for an RTX 4090 (128 SMs) at the model's first 4096 positions. */
enum { SHOW_SM = 128, SHOW_CTX = 4096, SHOW_ELEMENTS = 6, SHOW_STRING = 72 };

static const char *const kv_names[] = {"u8",   "i8",  "u16", "i16", "u32", "i32", "f32",
                                       "bool", "str", "arr", "u64", "i64", "f64"};

/* Integers that a reader of JSON can hold exactly are numbers, larger ones strings; so are numbers that JSON lacks. */
static json_t *unsigned_json(uint64_t v) {
    return v <= INT64_MAX ? json_integer((json_int_t)v) : json_sprintf("%" PRIu64, v);
}
static json_t *real_json(double v) {
    return isfinite(v) ? json_real(v) : json_string(isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
}

static json_t *scalar_json(const qm_kv *kv) {
    switch (kv->type) {
    case QM_KV_STR: return qm_json_text(kv->v.str.s, kv->v.str.n);
    case QM_KV_F32:
    case QM_KV_F64: return real_json(kv->v.f);
    case QM_KV_BOOL: return json_boolean(kv->v.u);
    case QM_KV_I8:
    case QM_KV_I16:
    case QM_KV_I32:
    case QM_KV_I64: return json_integer(kv->v.i);
    default: return unsigned_json(kv->v.u);
    }
}

/* The first elements of a string array; other arrays are shown by type and length alone. */
static json_t *array_json(const qm_kv *kv, int limit) {
    json_t *j = json_object();
    json_object_set_new(j, "array_of", json_string(kv_names[kv->arr_type]));
    json_object_set_new(j, "length", unsigned_json(kv->arr_n));
    if (kv->arr_type != QM_KV_STR) return j;
    json_t *first = json_array();
    qm_str_iter it = {kv->arr, kv->arr_n};
    qm_str s;
    for (int i = 0; i < limit && qm_str_iter_next(&it, &s); i++) json_array_append_new(first, qm_json_text(s.s, s.n));
    json_object_set_new(j, "first", first);
    return j;
}

static void show_string(qm_printer *o, qm_str s) {
    char buf[4 * SHOW_STRING + 16];
    size_t n = qm_text_cut(s.s, s.n, SHOW_STRING);
    qm_print(o, "\"%s\"%s", qm_text_show(buf, sizeof buf, s.s, n), s.n > n ? "..." : "");
}

static void show_kv(qm_printer *o, const qm_kv *kv) {
    char key[512];
    qm_print(o, "  %-46s %-5s ", qm_text_show(key, sizeof key, kv->key.s, kv->key.n), kv_names[kv->type]);
    if (kv->type == QM_KV_STR) {
        show_string(o, kv->v.str);
    } else if (kv->type == QM_KV_ARR) {
        qm_print(o, "%llu of %s", (unsigned long long)kv->arr_n, kv_names[kv->arr_type]);
        qm_str_iter it = {kv->arr, kv->arr_n};
        qm_str s;
        for (int i = 0; kv->arr_type == QM_KV_STR && i < SHOW_ELEMENTS && qm_str_iter_next(&it, &s); i++) {
            qm_print(o, i ? ", " : ": ");
            show_string(o, s);
        }
    } else {
        json_t *j = scalar_json(kv);
        char *text = json_is_string(j) ? NULL : json_dumps(j, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
        qm_print(o, "%s", text ? text : json_is_string(j) ? json_string_value(j) : "?");
        free(text);
        json_decref(j);
    }
    qm_print(o, "\n");
}

static void show_meta(qm_printer *o, const qm_gguf *g, json_t *root) {
    if (!root)
        qm_print(o, "metadata: %zu keys, GGUF v%u, %u file(s), %.2f GiB\n", qm_gguf_n_kv(g), qm_gguf_version(g),
                 qm_gguf_n_shards(g), qm_gib((double)qm_gguf_file_bytes(g)));
    json_t *meta = root ? json_object() : NULL;
    for (size_t i = 0; i < qm_gguf_n_kv(g); i++) {
        const qm_kv *kv = qm_gguf_kv_at(g, i);
        if (!root) {
            show_kv(o, kv);
            continue;
        }
        qm_json_put(meta, kv->key.s, kv->key.n,
                    kv->type == QM_KV_ARR ? array_json(kv, SHOW_ELEMENTS) : scalar_json(kv));
    }
    if (root) json_object_set_new(root, "metadata", meta);
}

static void show_tensors(qm_printer *o, const qm_gguf *g, json_t *root) {
    json_t *list = root ? json_array() : NULL;
    uint64_t count[64] = {0}, bytes[64] = {0};
    if (!root) qm_print(o, "tensors: %zu\n", qm_gguf_n_tensors(g));
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(g, i);
        const char *type = qm_ggml_type_name(t->type);
        count[t->type & 63]++;
        bytes[t->type & 63] += t->bytes;
        if (root) {
            json_t *ne = json_array();
            for (uint32_t d = 0; d < t->n_dims; d++) json_array_append_new(ne, json_integer((json_int_t)t->ne[d]));
            json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:I, s:i, s:I}", "name",
                                                  qm_json_text(t->name.s, t->name.n), "type", type, "shape", ne,
                                                  "bytes", (json_int_t)t->bytes, "shard", (int)t->shard, "offset",
                                                  (json_int_t)t->file_off));
            continue;
        }
        char shape[96], name[320];
        int n = 0;
        for (uint32_t d = 0; d < t->n_dims; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%llu", d ? ", " : "", (unsigned long long)t->ne[d]);
        qm_print(o, "  %-40s %-5s [%s]%*s %12llu bytes\n", qm_text_show(name, sizeof name, t->name.s, t->name.n), type,
                 shape, n < 24 ? 24 - n : 0, "", (unsigned long long)t->bytes);
    }
    if (root) {
        json_object_set_new(root, "tensors", list);
        return;
    }
    for (int i = 0; i < 64; i++)
        if (count[i])
            qm_print(o, "  %4llu of %-5s %10.2f MiB\n", (unsigned long long)count[i], qm_ggml_type_name((uint32_t)i),
                     qm_mib((double)bytes[i]));
}

static void show_op(qm_printer *o, const qm_op *op, json_t *list) {
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    if (list) {
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:s, s:[iii], s:i, s:i, s:I, s:I}", "layer", op->layer,
                                              "slot", op->slot, "op", qm_op_name(op->kind), "kernel", k->entry, "grid",
                                              (int)op->grid[0], (int)op->grid[1], (int)op->grid[2], "block",
                                              (int)op->block, "shared", (int)op->shared, "weights",
                                              (json_int_t)op->weights, "weight_bytes", (json_int_t)op->weight_bytes));
        return;
    }
    char layer[12] = "-";
    if (op->layer >= 0) snprintf(layer, sizeof layer, "%d", op->layer);
    qm_print(o, "  %4s %-14s %-28s %5u x%3u x%2u CTAs of %4u %12llu bytes\n", layer, op->slot, k->entry, op->grid[0],
             op->grid[1], op->grid[2], op->block, (unsigned long long)op->weight_bytes);
}

static void show_plan(qm_printer *o, const qm_plan *p, json_t *root) {
    const qm_place *pl = p->place;
    if (!root) {
        qm_print(
            o,
            "plan of one decode step: %d ops, %.1f MB of weights read, %.2f GiB on the device, %.2f MiB of scratch,\n"
            "  %llu bytes of KV cache per position (geometry for %u SMs)\n",
            p->n_ops, 1e-6 * (double)p->weight_bytes, qm_gib((double)pl->bytes), qm_mib((double)p->scratch_bytes),
            (unsigned long long)(qm_kv_pool_bytes(&pl->model->hp, p->limits.kv_type, 1) / QM_PAGE_TOKENS),
            p->limits.n_sm);
        for (int i = 0; i < p->n_ops; i++) show_op(o, &p->ops[i], NULL);
        return;
    }
    json_t *ops = json_array();
    for (int i = 0; i < p->n_ops; i++) show_op(o, &p->ops[i], ops);
    json_object_set_new(root, "plan",
                        json_pack("{s:I, s:I, s:I, s:I, s:i, s:o}", "weight_bytes_per_token",
                                  (json_int_t)p->weight_bytes, "device_weight_bytes", (json_int_t)pl->bytes,
                                  "scratch_bytes", (json_int_t)p->scratch_bytes, "kv_bytes_per_position",
                                  (json_int_t)(qm_kv_pool_bytes(&pl->model->hp, p->limits.kv_type, 1) / QM_PAGE_TOKENS),
                                  "sms", (int)p->limits.n_sm, "ops", ops));
}

/* A file as far as a session would need it, without a device; why[n_why]: what stands against that. */
typedef struct {
    qm_gguf *g;
    qm_model *m;
    qm_place *place;
    qm_plan *plan;
    qm_err why[2];
    int n_why;
} subject;

static int build(subject *s, qm_err *e) {
    qm_tokenizer *tok = NULL;
    int rc = qm_model_open(&s->m, s->g, 0, e);
    if (rc || (rc = qm_place_build(&s->place, s->m, e))) return rc;
    uint32_t ctx = s->m->hp.n_ctx_train < SHOW_CTX ? s->m->hp.n_ctx_train : SHOW_CTX;
    qm_limits limits = {.n_sm = SHOW_SM, .n_ctx = ctx, .n_seqs = 1, .n_pages = qm_pages_for(ctx)};
    qm_shape shape = {.outs = 1, .n_splits = qm_plan_splits(&s->m->hp, limits, ctx - 1), .rows = 1};
    if ((rc = qm_plan_build(&s->plan, s->place, shape, limits, e))) return rc;
    rc = qm_tokenizer_open(&tok, s->g, e);
    qm_tokenizer_close(tok);
    return rc;
}

/* Architecture and types first, each on its own: they are what a reader can do something about. */
static void judge(subject *s) {
    if (qm_arch_check(s->g, &s->why[s->n_why])) s->n_why++;
    if (qm_model_types_check(s->g, &s->why[s->n_why])) s->n_why++;
    if (!s->n_why && build(s, &s->why[0])) s->n_why = 1;
}

static void show_verdict(qm_printer *o, const subject *s, json_t *root) {
    if (!root) {
        qm_print(o, "runs here: %s\n", s->n_why ? "no" : "yes");
        for (int i = 0; i < s->n_why; i++) qm_print(o, "  %s\n", s->why[i].msg);
        return;
    }
    json_t *why = json_array();
    for (int i = 0; i < s->n_why; i++) json_array_append_new(why, json_string(s->why[i].msg));
    json_object_set_new(root, "runs", json_boolean(!s->n_why));
    json_object_set_new(root, "why_not", why);
}

int qm_inspect(const char *path, int what, qm_write_fn w, void *user, qm_err *e) {
    qm_printer o = {w, user, 0};
    subject s = {0};
    json_t *root = NULL;
    int rc = qm_gguf_open(&s.g, path, e);
    if (rc) goto done;
    judge(&s);
    if (s.n_why && what & QM_INSPECT_PLAN) { /* only what runs has a plan */
        rc = qm_fail(e, s.why[0].code, "%s", s.why[0].msg);
        goto done;
    }
    if (what & QM_INSPECT_JSON) root = json_object();
    show_verdict(&o, &s, root);
    if (what & QM_INSPECT_META) show_meta(&o, s.g, root);
    if (what & QM_INSPECT_TENSORS) show_tensors(&o, s.g, root);
    if (what & QM_INSPECT_PLAN) show_plan(&o, s.plan, root);
    if (root) qm_print_json(&o, root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    rc = qm_print_end(&o, e);
done:
    qm_plan_free(s.plan);
    qm_place_free(s.place);
    qm_model_close(s.m);
    qm_gguf_close(s.g);
    return rc;
}
