/* The interface: a template compiled once, rendered as often as wanted, its text into ids. Every failure
 * inside comes back here by longjmp, and all memory goes with the arena. */
#include "jinja_impl.h"
#include "tokenizer_impl.h"
#include <stdlib.h>

static void limits(jc *c, const qm_template_limits *m) {
    c->max = m ? *m : (qm_template_limits){0};
    if (!c->max.output_bytes) c->max.output_bytes = (size_t)64 << 20;
    if (!c->max.value_bytes) c->max.value_bytes = (size_t)1 << 30;
    if (!c->max.steps) c->max.steps = 200000000;
    if (!c->max.depth) c->max.depth = 400;
}
int qm_template_compile(qm_template **out, const char *text, size_t n, qm_err *e) {
    jc *c = calloc(1, sizeof *c);
    qm_template *t = calloc(1, sizeof *t);
    int rc = c && t ? 0 : qm_fail(e, QM_ERR_NOMEM, "no memory for a template");
    if (rc) goto out;
    limits(c, NULL);
    c->e = e;
    if (setjmp(c->fail)) {
        rc = c->code;
        goto out;
    }
    c->line = 1;
    if (n > (size_t)4 << 20) j_fail(c, QM_ERR_LIMIT, "%zu bytes of template; the limit is 4 MiB", n);
    j_lex(c, text, n);
    t->root = j_parse(c);
    t->chunks = c->chunks;
    *out = t;
out:
    if (rc) {
        if (c) j_chunks_free(c->chunks);
        free(t);
    }
    free(c);
    return rc;
}
void qm_template_free(qm_template *t) {
    if (t) j_chunks_free(t->chunks);
    free(t);
}
void qm_rendered_free(qm_rendered *r) {
    free(r->text);
    free(r->own);
    *r = (qm_rendered){0};
}

/* The output buffer as the caller gets it. */
static void hand_over(jc *c, const jbuf *b, qm_rendered *r) {
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) n += b->own[i] && (!i || !b->own[i - 1]);
    r->text = malloc(b->n + 1);
    r->own = malloc((n + 1) * sizeof *r->own);
    if (!r->text || !r->own) j_fail(c, QM_ERR_NOMEM, "no memory for %zu bytes of output", b->n);
    if (b->n) memcpy(r->text, b->p, b->n);
    r->text[r->n = b->n] = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->own[i]) continue;
        if (!i || !b->own[i - 1]) r->own[r->n_own++].start = i;
        r->own[r->n_own - 1].end = i + 1;
    }
}
int qm_template_render(const qm_template *t, const qm_template_vars *vars, qm_rendered *out, qm_err *e) {
    jc *c = calloc(1, sizeof *c);
    *out = (qm_rendered){0};
    if (!c) return qm_fail(e, QM_ERR_NOMEM, "no memory to render a template");
    limits(c, &vars->limits);
    c->e = e;
    c->now = vars->now;
    if (!setjmp(c->fail)) {
        jbuf b = {0};
        c->line = 1;
        jscope *s = c->scope = j_alloc(c, sizeof *s);
        for (int i = 0; i < 2; i++) {
            jv v = j_from_json(c, i ? vars->trusted : vars->data, i);
            for (size_t k = 0; v.k == J_DICT && k < v.m->n; k++) j_set(c, &s->vars, v.m->kv[2 * k], v.m->kv[2 * k + 1]);
        }
        c->out = &b;
        j_run(c, t->root);
        hand_over(c, &b, out);
    }
    if (c->code) qm_rendered_free(out);
    int rc = c->code;
    j_chunks_free(c->chunks);
    free(c);
    return rc;
}

/* Ids: control and user-defined tokens only where every byte is the template's own. */
int qm_template_tokenize(const qm_tokenizer *t, const qm_rendered *r, int flags, qm_ids *ids, qm_err *e) {
    size_t n_before = ids->n, from = 0, end = 0;
    int rc = 0;
    flags &= ~QM_TOK_SPECIAL;
    for (size_t k = 0; k < r->n_own && !rc; k++) {
        for (size_t i = r->own[k].start; i < r->own[k].end && !rc; i = end) {
            uint32_t id = 0;
            size_t len = tok_added_at(t, r->text + i, r->own[k].end - i, &id);
            end = i + (len ? len : 1);
            if (!len) continue;
            if (!(rc = qm_tokenize(t, r->text + from, i - from, flags, ids, e)) && tok_ids_put(ids, id)) rc = qm_fail(e, QM_ERR_NOMEM, "no memory for %zu ids", ids->n + 1);
            from = end;
        }
    }
    if (!rc) rc = qm_tokenize(t, r->text + from, r->n - from, flags, ids, e);
    if (rc) ids->n = n_before;
    return rc;
}
