/* decode_plain.c: forms whose operands and handler follow from contracts/isa.def alone. */
#include "decode.h"
#include <stdio.h>
#include <string.h>
#include "opcode.h"

static void handler_name(decoder *d, const char *h, char *out, size_t n) {
    static const int bits[] = {8, 8, 16, 32, 64};
    size_t k = 0;
    for (; *h && k + 8 < n; h++) {
        if (*h == '%') {
            h++;
            if (*h == 'b') {
                int b = ptx_types[d->k.ty[0]].bytes;
                k += (size_t)snprintf(out + k, n - k, "%d", bits[b == 8 ? 4 : b == 4 ? 3 : b == 2 ? 2 : 0]);
            } else k += (size_t)snprintf(out + k, n - k, "%s", ptx_types[d->k.ty[*h == 'u']].name);
        } else if (*h == '*') {
            uint32_t f = d->k.mod & (F_FTZ | F_SAT | F_RZ | F_RM | F_RP | F_NAN);
            if (f) {
                out[k] = f == F_FTZ ? 'z' : 'x';
                out[k + 1] = 0;
                if (sim_opcode_find(out) < 0) out[k] = 'x';
                k++;
            }
        } else out[k++] = *h;
    }
    out[k] = 0;
}

static ptx_type double_width(ptx_type t) {
    return t == PT_U16 ? PT_U32 : t == PT_S16 ? PT_S32 : t == PT_U32 ? PT_U64 : PT_S64;
}

void dec_plain(decoder *d) {
    char name[48];
    handler_name(d, d->k.form->handler, name, sizeof name);
    const ptx_stmt *s = d->s;
    uint32_t o[SIM_MAX_O] = {0}, mod = d->k.mod;
    int n = 0, at = 0, optional = 0;
    int64_t imm = 0;
    ptx_type t0 = d->k.ty[0], t1 = d->k.n_ty > 1 ? d->k.ty[1] : t0;
    for (const char *c = d->k.form->operands; *c; c++) {
        if (*c == '?') {
            optional = 1;
            continue;
        }
        if (*c == 'k') {
            if (d->k.hint) dec_src(d, dec_opnd(d, at++), PT_B64, 0);
            continue;
        }
        if (optional && at >= s->n) break;
        if (n >= SIM_MAX_O - 1) dec_fail(d, "too many operands");
        const ptx_opnd *p = dec_opnd(d, at++);
        switch (*c) {
        case 'd': o[n++] = dec_dst(d, p, t0, 0); break;
        case 'a': o[n++] = dec_src(d, p, t0, 0); break;
        case 'b': o[n++] = dec_src(d, p, t1, 0); break;
        case 'D': o[n++] = dec_dst(d, p, double_width(t0), 0); break;
        case 'A': o[n++] = dec_src(d, p, double_width(t0), 0); break;
        case 'x': o[n++] = dec_dst(d, p, t0, 1); break;
        case 'y': o[n++] = dec_src(d, p, t1, 1); break;
        case 'I': o[n++] = dec_dst(d, p, PT_B32, 0); break;
        case 'J': o[n++] = dec_dst(d, p, PT_B64, 0); break;
        case 'i': o[n++] = dec_src(d, p, PT_B32, 0); break;
        case 'j': o[n++] = dec_src(d, p, PT_B64, 0); break;
        case 'n':
            if (p->kind != PO_INT) dec_fail(d, "an integer constant is wanted");
            imm = p->i;
            break;
        case 'p': o[n++] = dec_dst_pred(d, p); break;
        case 'q':
            if (p->kind != PO_REG && p->kind != PO_SINK) dec_fail(d, "a destination predicate is wanted");
            o[n++] = dec_dst_pred(d, p);
            if (p->reg2 && p->reg2->type != PT_PRED) dec_fail(d, "`%s` is not a predicate", p->reg2->name);
            o[n++] = p->reg2 ? dec_reg(d, p->reg2) : 0;
            break;
        case 's':
            o[n++] = dec_dst(d, p, t0 == PT_NONE || !strncmp(d->k.form->handler, "match", 5) ? PT_B32 : t0, 0);
            if (p->reg2 && p->reg2->type != PT_PRED) dec_fail(d, "`%s` is not a predicate", p->reg2->name);
            o[n++] = p->reg2 ? dec_reg(d, p->reg2) : 0;
            break;
        case 'P': o[n++] = dec_src_pred(d, p); break;
        case 'm': o[n++] = dec_addr(d, p, d->k.space ? d->k.space : PS_GENERIC, &imm, &mod); break;
        default: dec_fail(d, "operand letter %c", *c);
        }
    }
    if (at != s->n) dec_fail(d, "%d operands, not %d", s->n, at);
    sim_inst *in = dec_emit(d, name);
    memcpy(in->o, o, sizeof o);
    in->mod = mod;
    in->imm = imm;
    in->n = (uint8_t)n;
    in->sub = (uint8_t)d->k.sub;
}
