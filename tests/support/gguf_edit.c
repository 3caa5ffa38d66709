#include "gguf_edit.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/convert/gguf_write.h"

enum { MAX_EDITS = 256, MAX_TENSORS = 512 };

typedef struct {
    char name[160];
    uint32_t type, n_dims;
    uint64_t ne[4], bytes;
    const qm_tensor *from; /* NULL: made */
    const gguf_edit *edit;
} tensor;

typedef struct {
    const gguf_edit *edits;
    size_t n;
    int used[MAX_EDITS];
} edit_list;

static int is(qm_str s, const char *word) { return s.n == strlen(word) && !memcmp(s.s, word, s.n); }
static int of_tensor(gguf_edit_what w) { return w == GE_TENSOR || w == GE_SCALE; }

/* The last edit of this key or tensor, or NULL; marks it. */
static const gguf_edit *edit_of(edit_list *l, qm_str name, int tensors) {
    const gguf_edit *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (l->edits[i].what != GE_PREFIX && is(name, l->edits[i].name) &&
            (l->edits[i].what == GE_DROP || of_tensor(l->edits[i].what) == tensors)) {
            found = &l->edits[i];
            l->used[i] = 1;
        }
    return found;
}

static void write_key(qm_gguf_writer *w, const gguf_edit *x) {
    switch (x->what) {
    case GE_U32: qm_gguf_write_u32(w, x->name, (uint32_t)x->v); break;
    case GE_F32: qm_gguf_write_f32(w, x->name, (float)x->v); break;
    case GE_BOOL: qm_gguf_write_bool(w, x->name, (int)x->v); break;
    case GE_STR: qm_gguf_write_str(w, x->name, x->s); break;
    default: break;
    }
}

static void write_keys(qm_gguf_writer *w, const qm_gguf *g, edit_list *l) {
    for (size_t i = 0; i < qm_gguf_n_kv(g); i++) {
        qm_kv kv = *qm_gguf_kv_at(g, i);
        char name[256];
        const gguf_edit *x = edit_of(l, kv.key, 0);
        if (x) {
            write_key(w, x);
            continue;
        }
        for (size_t k = 0; k < l->n; k++) {
            const gguf_edit *p = &l->edits[k];
            size_t n = strlen(p->name);
            if (p->what != GE_PREFIX || kv.key.n < n || memcmp(kv.key.s, p->name, n)) continue;
            l->used[k] = 1;
            kv.key.n = (size_t)snprintf(name, sizeof name, "%s%.*s", p->s, (int)(kv.key.n - n), kv.key.s + n);
            kv.key.s = name;
        }
        qm_gguf_write_kv(w, &kv);
    }
    for (size_t k = 0; k < l->n; k++)
        if (!l->used[k] && l->edits[k].what != GE_DROP && !of_tensor(l->edits[k].what)) {
            write_key(w, &l->edits[k]);
            l->used[k] = 1;
        }
}

static void made(tensor *t, const gguf_edit *x) {
    uint32_t block = 1, bytes = 1;
    uint64_t n = 1;
    snprintf(t->name, sizeof t->name, "%s", x->name);
    t->edit = x;
    t->from = NULL;
    t->type = x->type;
    t->n_dims = 0;
    for (int d = 0; d < 4; d++) {
        t->ne[d] = x->ne[d] ? x->ne[d] : 1;
        n *= t->ne[d];
        if (x->ne[d]) t->n_dims = (uint32_t)d + 1;
    }
    assert_true(qm_ggml_type_size(x->type, &block, &bytes));
    t->bytes = n / block * bytes;
}

static size_t list_tensors(tensor *t, const qm_gguf *g, edit_list *l) {
    size_t n = 0;
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) {
        const qm_tensor *f = qm_gguf_tensor_at(g, i);
        const gguf_edit *x = edit_of(l, f->name, 1);
        if (x && x->what == GE_DROP) continue;
        assert_true(n < MAX_TENSORS);
        if (x && x->what == GE_TENSOR) {
            made(&t[n++], x);
            continue;
        }
        t[n] = (tensor){.type = f->type, .n_dims = f->n_dims, .bytes = f->bytes, .from = f, .edit = x};
        memcpy(t[n].ne, f->ne, sizeof t[n].ne);
        snprintf(t[n++].name, sizeof t->name, "%.*s", (int)f->name.n, f->name.s);
    }
    for (size_t k = 0; k < l->n; k++)
        if (!l->used[k] && l->edits[k].what == GE_TENSOR) {
            made(&t[n++], &l->edits[k]);
            l->used[k] = 1;
        }
    return n;
}

static void write_data(qm_gguf_writer *w, const tensor *t) {
    uint8_t *p = calloc(1, t->bytes);
    float *f = (float *)(void *)p;
    assert_non_null(p);
    if (t->from) memcpy(p, t->from->data, t->bytes);
    for (uint64_t i = 0; t->edit && t->type == 0 && i < t->bytes / 4; i++)
        f[i] = t->from ? f[i] * (float)t->edit->v : (float)(t->edit->v * sin((double)i + 1));
    qm_gguf_write_data(w, p, t->bytes);
    free(p);
}

void gguf_edit_file(const char *in, const char *out, const gguf_edit *edits, size_t n) {
    edit_list l = {.edits = edits, .n = n};
    qm_gguf *g;
    qm_gguf_writer *w = NULL;
    qm_err e;
    assert_true(n <= MAX_EDITS);
    if (qm_gguf_open(&g, in, &e) || qm_gguf_writer_open(&w, out, &e)) fail_msg("%s", e.msg);
    write_keys(w, g, &l);
    tensor *t = calloc(MAX_TENSORS, sizeof *t);
    assert_non_null(t);
    size_t count = list_tensors(t, g, &l);
    for (size_t i = 0; i < count; i++) qm_gguf_write_tensor(w, t[i].name, t[i].type, t[i].n_dims, t[i].ne);
    for (size_t i = 0; i < count; i++) write_data(w, &t[i]);
    if (qm_gguf_writer_finish(w, &e)) fail_msg("%s", e.msg);
    qm_gguf_writer_close(w);
    qm_gguf_close(g);
    free(t);
    for (size_t i = 0; i < n; i++)
        if (!l.used[i]) fail_msg("edit of %s: there is no such thing in %s", edits[i].name, in);
}
