/* The interface: a template compiled once, rendered as often as wanted. Every failure inside comes back here by longjmp,
 * and all memory goes with the arena. */
#include "jinja_impl.h"
#include <stdlib.h>
#include <utf8proc.h>

/* Does `work` in context c: 0, or what went wrong in it. `keep` gets the arena of one that did not. */
static int within(jc *c, void (*work)(jc *), const qm_template_limits *m, qm_template *keep) {
    c->line = 1;
    c->builtins = j_builtins;
    c->n_builtins = j_n_builtins;
    c->max.output_bytes = m && m->output_bytes ? m->output_bytes : (size_t)64 << 20;
    c->max.value_bytes = m && m->value_bytes ? m->value_bytes : (size_t)1 << 30;
    c->max.steps = m && m->steps ? m->steps : 200000000;
    c->max.depth = m && m->depth ? m->depth : 400;
    if (!setjmp(c->fail)) work(c);
    if (c->code || !keep) j_chunks_free(c->chunks);
    else *keep = (qm_template){c->chunks, c->tok};
    return c->code;
}
static void compile(jc *c) { j_lex(c), j_run(c); }
int qm_template_compile(qm_template **out, const char *text, size_t n, qm_err *e) {
    qm_template *t = calloc(1, sizeof *t);
    if (!t) return qm_fail(e, QM_ERR_NOMEM, "no memory for a template");
    int rc = within(&(jc){.e = e, .text = text, .n_text = n, .compiling = 1, .dry = 1}, compile, NULL, t);
    if (rc) free(t);
    else *out = t;
    return rc;
}
void qm_template_free(qm_template *t) {
    if (t) j_chunks_free(t->chunks);
    free(t);
}
static size_t encode(uint32_t ch, char *p) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)J_CHAR(ch), (utf8proc_uint8_t *)p);
}
static int starts(jv text, size_t i) { return text.s[i] & J_OWN && (!i || !(text.s[i - 1] & J_OWN)); }
/* The text as the caller gets it: in UTF-8, with the spans that are the template's own. */
static void hand_over(jc *c, jv text, qm_rendered *r) {
    size_t bytes = 0, spans = 0;
    char ch[4];
    for (size_t i = 0; i < text.n; i++) bytes += encode(text.s[i], ch), spans += (size_t)starts(text, i);
    if (bytes > c->max.output_bytes)
        j_fail(c, QM_ERR_LIMIT, "over the limit of %zu bytes of output", c->max.output_bytes);
    r->text = malloc(bytes + 1), r->own = malloc((spans + 1) * sizeof *r->own);
    if (!r->text || !r->own) j_fail(c, QM_ERR_NOMEM, "no memory for %zu bytes of output", bytes);
    for (size_t i = 0; i < text.n; i++) {
        if (starts(text, i)) r->own[r->n_own++].start = r->n;
        r->n += encode(text.s[i], r->text + r->n);
        if (text.s[i] & J_OWN) r->own[r->n_own - 1].end = r->n;
    }
    r->text[r->n] = 0;
}
static void render(jc *c) {
    jv b = {.k = J_STR};
    c->out = &b;
    c->scope = j_scope(c, NULL);
    for (int i = 0; i < 2; i++) {
        jv all = j_pairs(c, j_from_json(c, i ? c->vars->trusted : c->vars->data, i ? J_OWN : 0));
        for (size_t k = 0; k < all.n; k++) j_set(c, c->scope->vars, all.v[k].v[0], all.v[k].v[1]);
    }
    j_run(c);
    hand_over(c, b, c->rendered);
}
int qm_template_render(const qm_template *t, const qm_template_vars *vars, qm_rendered *out, qm_err *e) {
    *out = (qm_rendered){0};
    int rc = within(&(jc){.e = e, .tok = t->tok, .vars = vars, .rendered = out}, render, &vars->limits, NULL);
    if (rc) qm_rendered_free(out);
    return rc;
}
