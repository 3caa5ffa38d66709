/* decode_ctl.c: branches, calls, barriers. */
#include "decode.h"
#include <string.h>

void dec_bra(decoder *d) {
    dec_count(d, 1, 1);
    const ptx_opnd *o = dec_opnd(d, 0);
    if (o->kind == PO_NAME) dec_fail(d, "label `%s` is not in scope", o->name);
    if (o->kind != PO_LABEL) dec_fail(d, "a label is wanted");
    dec_emit(d, "bra");
    dec_fix_stmt(d, d->n_code - 1, -1, o->i);
}

void dec_brx(decoder *d) {
    dec_count(d, 2, 2);
    uint32_t a = dec_src(d, dec_opnd(d, 0), PT_U32, 0);
    const ptx_opnd *o = dec_opnd(d, 1);
    const ptx_targets *t = NULL;
    if (o->kind == PO_NAME)
        for (t = d->m->targets; t && (t->f != d->fn->f || strcmp(t->name, o->name)); t = t->next) {}
    if (!t) dec_fail(d, "the list of targets is not declared");
    uint32_t first = d->n_aux;
    dec_emit(d, "brx");
    int at = d->n_code - 1;
    for (int i = 0; i < t->list.n; i++) {
        if (t->list.list[i].kind != PO_LABEL) dec_fail(d, "target %d is not a label in scope", i);
        dec_fix_stmt(d, at, (int)dec_aux(d, 0), t->list.list[i].i);
    }
    sim_inst *in = &d->code[at];
    in->o[0] = a;
    in->aux = first;
    in->imm = t->list.n;
}

static void copy_reg(decoder *d, uint32_t dst, uint32_t src, ptx_type t) {
    sim_inst *in = dec_emit(d, t == PT_PRED ? "mov_pred" : ptx_types[t].bytes == 8 ? "mov_64" : "mov_32");
    in->o[0] = dst;
    in->o[1] = src;
}

static void copy_local(decoder *d, int64_t dst, int64_t src, size_t bytes) {
    sim_inst *in = dec_emit(d, "lcopy");
    in->imm = src;
    in->target = (int32_t)dst;
    in->aux = (uint32_t)bytes;
}

/* One argument into a formal (to = 1), or a formal into a result (to = 0). */
static void pass(decoder *d, const ptx_opnd *formal, const ptx_opnd *o, int to) {
    if (formal->kind == PO_REG) {
        ptx_type t = formal->reg->type;
        if (to) {
            uint32_t v = t == PT_PRED ? dec_src_pred(d, o) : dec_src(d, o, t, 0);
            copy_reg(d, dec_reg(d, formal->reg), v, t);
        } else copy_reg(d, t == PT_PRED ? dec_dst_pred(d, o) : dec_dst(d, o, t, 0), dec_reg(d, formal->reg), t);
        return;
    }
    ptx_var *v = formal->var;
    int64_t at = dec_var_addr(d, v);
    if (o->kind == PO_VAR && o->var->space == PS_PARAM) {
        if (o->var->bytes != v->bytes) dec_fail(d, "`%s` has another size than the parameter", o->var->name);
        int64_t other = dec_var_addr(d, o->var);
        if (to) copy_local(d, at, other, v->bytes);
        else copy_local(d, other, at, v->bytes);
        return;
    }
    if (ptx_types[v->type].bytes != v->bytes) dec_fail(d, "an array parameter is passed by a .param variable");
    uint32_t r = to ? dec_src(d, o, v->type, 0) : dec_dst(d, o, v->type, 0), a = dec_const(d, 8, (uint64_t)at);
    sim_inst *in = dec_emit(d, to ? "st_any" : "ld_any");
    in->o[0] = a;
    in->o[1] = r;
    in->n = 1;
    in->space = PS_LOCAL;
    in->mod = 0;
    in->esz = ptx_types[v->type].bytes;
    in->rsz = (uint8_t)dec_reg_bytes(v->type);
}

void dec_call(decoder *d) {
    const ptx_stmt *s = d->s;
    const ptx_opnd *ret = NULL, *args = NULL;
    int at = 0;
    if (at < s->n && s->o[at].kind == PO_VEC) ret = &s->o[at++];
    const ptx_opnd *name = dec_opnd(d, at++);
    if (at < s->n && s->o[at].kind == PO_VEC) args = &s->o[at++];
    if (at != s->n || name->kind != PO_NAME) dec_fail(d, "only direct calls are supported");
    ptx_func *f = ptx_find_func(d->m, name->name);
    if (!f || f->is_entry) dec_fail(d, "function `%s` is not declared", name->name);
    if ((ret ? ret->n : 0) != f->n_ret || (args ? args->n : 0) != f->n_par)
        dec_fail(d, "`%s` takes %d arguments and gives %d results", f->name, f->n_par, f->n_ret);
    for (int i = 0; i < f->n_par; i++) pass(d, &f->par[i], &args->list[i], 1);
    dec_fn *fn = dec_fn_get(d, f);
    if (!fn->ret_reg) fn->ret_reg = dec_temp(d, OC_R32);
    sim_inst *in = dec_emit(d, "call");
    in->o[0] = fn->ret_reg;
    dec_fix_stmt(d, d->n_code - 1, -1, 0);
    d->fix[d->n_fix - 1].callee = fn;
    for (int i = 0; i < f->n_ret; i++) pass(d, &f->ret[i], &ret->list[i], 0);
    if (!f->n_ret) dec_emit(d, "nop"); /* somewhere to return to, even at the end */
}

void dec_ret(decoder *d) {
    dec_count(d, 0, 0);
    if (d->fn->f->is_entry) {
        dec_emit(d, "exit");
        return;
    }
    if (!d->fn->ret_reg) d->fn->ret_reg = dec_temp(d, OC_R32);
    sim_inst *in = dec_emit(d, "ret");
    in->o[0] = d->fn->ret_reg;
}

void dec_bar(decoder *d) {
    int red = isa_has(&d->k, "red"), arrive = isa_has(&d->k, "arrive"), at = 0;
    uint32_t o[4] = {0};
    dec_count(d, red ? 3 : arrive ? 2 : 1, red ? 4 : 2);
    int pred = isa_has(&d->k, "pred"), n = d->s->n;
    if (red) {
        o[2] = pred ? dec_dst_pred(d, dec_opnd(d, at)) : dec_dst(d, dec_opnd(d, at), PT_U32, 0);
        at++;
        o[3] = dec_src_pred(d, dec_opnd(d, --n));
    }
    o[0] = dec_src(d, dec_opnd(d, at++), PT_U32, 0);
    if (at < n) o[1] = dec_src(d, dec_opnd(d, at++), PT_U32, 0);
    sim_inst *in = dec_emit(d, "bar");
    memcpy(in->o, o, sizeof o);
    in->n = (uint8_t)n;
    in->flags |= IF_SYNC;
    in->sub = (uint8_t)(arrive ? 4 : !red ? 0 : isa_has(&d->k, "popc") ? 1 : isa_has(&d->k, "and") ? 2 : 3);
    if (!strcmp(d->k.tok[0], "bar")) in->mod |= F_ALIGNED;
}
