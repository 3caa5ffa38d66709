/* decode.c: statements to fixed-size instructions for one entry and every function that it calls.
 * A called function's registers live in the entry's block once (there is no recursion), so that a call
 * is a jump that leaves its return address in a register. */
#include "decode.h"
#include <string.h>

/* Forms with a routine of their own: =name in contracts/isa.def. */
static const struct {
    const char *name;
    void (*decode)(decoder *d);
} named[] = {
    {"mov", dec_mov},     {"cvta", dec_cvta},         {"prmt", dec_prmt}, {"set", dec_set},
    {"carry", dec_carry}, {"cvt", dec_cvt},           {"cvt2", dec_cvt2}, {"bra", dec_bra},
    {"brx", dec_brx},     {"call", dec_call},         {"ret", dec_ret},   {"ld", dec_ld},
    {"st", dec_st},       {"atom", dec_atom},         {"bar", dec_bar},   {"ldmatrix", dec_ldmatrix},
    {"mma", dec_mma},     {"cp_async", dec_cp_async}, {"mbar", dec_mbar}, {"bulk", dec_bulk},
};

static void decode_stmt(decoder *d, const ptx_stmt *s) {
    d->s = s;
    isa_find(d->m, s, &d->k);
    const char *handler = d->k.form->handler;
    if (handler[0] != '=') {
        dec_plain(d);
        return;
    }
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (!strcmp(named[i].name, handler + 1)) {
            named[i].decode(d);
            return;
        }
    dec_fail(d, "no routine %s", handler + 1);
}

static void lay_out_shared(decoder *d, const ptx_opnd *o, int n) {
    for (int i = 0; i < n; i++) {
        if (o[i].kind == PO_VEC) lay_out_shared(d, o[i].list, o[i].n);
        ptx_var *v = o[i].var;
        if (!v || v->space != PS_SHARED || d->var_off[v->id] >= 0) continue;
        if (v->align > d->shared_align) d->shared_align = v->align;
        if (v->is_extern) continue;
        d->shared_at = (d->shared_at + v->align - 1) / v->align * v->align;
        if (d->shared_at + v->bytes > 232448)
            ptx_fail(d->u, d->entry->line, "`%s`: too much shared memory", d->entry->name);
        d->var_off[v->id] = d->shared_at;
        d->shared_at += (uint32_t)v->bytes;
    }
}

/* Marks what the entry reaches (finding recursion) and places its static shared variables. */
static void reach(decoder *d, ptx_func *f, int depth) {
    dec_fn *n = dec_fn_get(d, f);
    if (n->active) ptx_fail(d->u, f->line, "`%s` calls itself: recursion is not supported", f->name);
    if (!f->has_body) ptx_fail(d->u, f->line, "`%s` is declared but not defined", f->name);
    if (depth > 64) ptx_fail(d->u, f->line, "calls are nested too deeply");
    if (n->emitted) return;
    n->active = 1;
    for (int i = 0; i < f->n_s; i++) {
        const ptx_stmt *s = &f->s[i];
        lay_out_shared(d, s->o, s->n);
        if (strncmp(s->op, "call", 4)) continue;
        for (int j = 0; j < s->n; j++)
            if (s->o[j].kind == PO_NAME) {
                ptx_func *g = ptx_find_func(d->m, s->o[j].name);
                if (g && !g->is_entry) reach(d, g, depth + 1);
            }
    }
    n->active = 0;
    n->emitted = 1;
}

static void place_extern_shared(decoder *d) {
    uint32_t a = d->shared_align > 16 ? d->shared_align : 16, base = (d->shared_at + a - 1) / a * a;
    for (const ptx_var *v = d->m->vars; v; v = v->next)
        if (v->space == PS_SHARED && v->is_extern) d->var_off[v->id] = base;
}

static void emit_fn(decoder *d, dec_fn *n) {
    d->fn = n;
    n->start = d->n_code;
    for (int i = 0; i < n->f->n_s; i++) {
        n->at[i] = d->n_code;
        decode_stmt(d, &n->f->s[i]);
    }
    n->at[n->f->n_s] = d->n_code;
    /* falling off the end returns */
    ptx_stmt end = {.op = n->f->is_entry ? "exit" : "ret",
                    .src = "(end of function)",
                    .src_n = 17,
                    .line = n->f->n_s ? n->f->s[n->f->n_s - 1].line : n->f->line};
    ptx_stmt *e = ptx_alloc(d->u, sizeof *e);
    *e = end;
    decode_stmt(d, e);
}

static uint32_t offset_of(const decoder *d, const uint32_t base[OC_N], uint32_t o) {
    (void)d;
    static const uint32_t size[OC_N] = {4, 128, 256, 128, 256};
    uint32_t c = o >> 28, i = o & 0xfffffff;
    return base[c] + i * size[c];
}

static void layout(decoder *d) {
    sim_func *f = d->out;
    uint32_t base[OC_N];
    uint64_t at = ((uint64_t)d->n[OC_PRED] * 4 + 63) / 64 * 64;
    base[OC_PRED] = 0;
    base[OC_R32] = (uint32_t)at;
    at += (uint64_t)d->n[OC_R32] * 128;
    base[OC_R64] = (uint32_t)at;
    at += (uint64_t)d->n[OC_R64] * 256;
    f->const_off = base[OC_C32] = (uint32_t)at;
    at += (uint64_t)d->n[OC_C32] * 128;
    base[OC_C64] = (uint32_t)at;
    at += (uint64_t)d->n[OC_C64] * 256;
    if (at > 64u << 20) ptx_fail(d->u, d->entry->line, "`%s` uses too many registers", d->entry->name);
    f->reg_bytes = (uint32_t)at;
    f->n_regs = d->n[OC_R32] + 2 * d->n[OC_R64];
    f->consts = ptx_alloc(d->u, f->reg_bytes - f->const_off + 1);
    for (uint32_t i = 0; i < d->n[OC_C32]; i++)
        for (int l = 0; l < 32; l++) memcpy(f->consts + i * 128 + l * 4, &d->cval[0][i], 4);
    for (uint32_t i = 0; i < d->n[OC_C64]; i++)
        for (int l = 0; l < 32; l++) memcpy(f->consts + d->n[OC_C32] * 128 + i * 256 + l * 8, &d->cval[1][i], 8);
    for (int i = 0; i < d->n_code; i++) {
        sim_inst *in = &d->code[i];
        for (int k = 0; k < SIM_MAX_O; k++) in->o[k] = offset_of(d, base, in->o[k]);
        in->guard = offset_of(d, base, in->guard);
        if (in->n_aux) /* vectors of registers (mma, ldmatrix) */
            for (uint32_t k = 0; k < in->n_aux; k++) d->aux[in->aux + k] = offset_of(d, base, d->aux[in->aux + k]);
        else if (in->flags & IF_MEM) in->aux = (uint32_t)i % SIM_ACACHE;
    }
    for (int i = 0; i < f->n_sreg; i++) f->sreg[i].off = offset_of(d, base, f->sreg[i].off);
}

static void fix_targets(decoder *d) {
    for (int i = 0; i < d->n_fix; i++) {
        const dec_fix *x = &d->fix[i];
        int pc = x->callee ? x->callee->start : x->fn->at[x->stmt];
        if (x->aux >= 0) d->aux[x->aux] = (uint32_t)pc;
        else d->code[x->inst].target = pc;
        d->code[pc].flags |= IF_RECONVERGE;
        if (x->inst + 1 < d->n_code) d->code[x->inst + 1].flags |= IF_RECONVERGE;
    }
    for (int i = 0; i + 1 < d->n_code; i++) /* groups that it leaves behind may catch up there */
        if (d->code[i].flags & IF_SYNC) d->code[i].flags |= IF_RECONVERGE, d->code[i + 1].flags |= IF_RECONVERGE;
}

void ptx_decode(sim_module *m, ptx_func *entry) {
    decoder *d = ptx_alloc(&m->unit, sizeof *d);
    sim_func *f = ptx_alloc(&m->unit, sizeof *f);
    d->m = m;
    d->u = &m->unit;
    d->entry = entry;
    d->out = f;
    d->reg_of = ptx_alloc(&m->unit, sizeof *d->reg_of * (m->n_reg + 1));
    d->var_off = ptx_alloc(&m->unit, sizeof *d->var_off * (m->n_var + 1));
    for (uint32_t i = 0; i < m->n_var; i++) d->var_off[i] = -1;
    d->n[OC_PRED] = 1; /* predicate 0 stands for "none" */
    f->name = entry->name;
    reach(d, entry, 0);
    place_extern_shared(d);
    for (dec_fn *n = d->fns; n; n = n->next) d->cap_code += n->f->n_s + n->f->n_s / 8 + 8; /* mostly enough */
    d->code = ptx_alloc(&m->unit, sizeof *d->code * (size_t)d->cap_code);
    d->origin = ptx_alloc(&m->unit, sizeof *d->origin * (size_t)d->cap_code);
    for (dec_fn *n = d->fns; n; n = n->next) emit_fn(d, n);
    d->s = NULL;
    fix_targets(d);
    layout(d);
    f->code = d->code;
    f->n_code = d->n_code;
    f->aux = d->aux;
    f->n_aux = d->n_aux;
    f->text = ptx_alloc(&m->unit, sizeof *f->text * (size_t)d->n_code);
    f->text_n = ptx_alloc(&m->unit, sizeof *f->text_n * (size_t)d->n_code);
    for (int i = 0; i < d->n_code; i++) {
        f->text[i] = d->origin[i]->src;
        f->text_n[i] = d->origin[i]->src_n;
    }
    f->shared_bytes = d->shared_at;
    f->shared_align = d->shared_align > 16 ? d->shared_align : 16;
    f->local_bytes = (d->local_at + 15) / 16 * 16;
    f->max_threads = entry->maxntid ? entry->maxntid : 1024;
    memcpy(f->reqntid, entry->reqntid, sizeof f->reqntid);
    f->param_bytes = entry->param_bytes;
    f->n_param = entry->n_par;
    f->param_off = ptx_alloc(&m->unit, sizeof *f->param_off * (size_t)(entry->n_par + 1));
    f->param_size = ptx_alloc(&m->unit, sizeof *f->param_size * (size_t)(entry->n_par + 1));
    for (int i = 0; i < entry->n_par; i++) {
        f->param_off[i] = entry->par[i].var->off;
        f->param_size[i] = entry->par[i].var->bytes;
    }
    entry->code = f;
}
