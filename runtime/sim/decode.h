/* decode.h: the decoder's state, shared by decode.c (functions), the forms (decode_plain.c, decode_data.c,
 * decode_ctl.c, decode_mem.c, decode_async.c) and what they are made of (decode_opnd.c). */
#ifndef QM_SIM_DECODE_H
#define QM_SIM_DECODE_H
#include "code.h"
#include "isa.h"
#include "parse.h"

/* Until a function is complete an operand is class << 28 | index; layout() turns it into an offset. */
enum { OC_PRED, OC_R32, OC_R64, OC_C32, OC_C64, OC_N };
#define OPN(class, index) ((uint32_t)(class) << 28 | (uint32_t)(index))

typedef struct dec_fn { /* one function body in this entry's code */
    ptx_func *f;
    int start, active, emitted;
    uint32_t ret_reg;
    int *at; /* [n_s + 1] first instruction of each statement */
    struct dec_fn *next;
} dec_fn;
typedef struct {
    int inst, aux;
    dec_fn *fn;
    int stmt;
    dec_fn *callee;
} dec_fix;

typedef struct {
    sim_module *m;
    ptx_unit *u; /* m's */
    ptx_func *entry;
    sim_func *out;
    const ptx_stmt *s; /* being decoded */
    isa_match k;
    dec_fn *fns, *fn;
    uint32_t *reg_of; /* [m->n_reg] operand, 0 = none yet */
    int64_t *var_off; /* [m->n_var] shared or local offset, -1 = none yet */
    uint32_t n[OC_N];
    uint64_t *cval[2]; /* constants, 32 and 64 bits */
    uint32_t ccap[2];
    sim_inst *code;
    const ptx_stmt **origin;
    int n_code, cap_code;
    uint32_t *aux, n_aux, cap_aux;
    dec_fix *fix;
    int n_fix, cap_fix;
    uint32_t cc; /* the carry flag: a predicate of the entry's block */
    uint32_t shared_at, shared_align, local_at;
} decoder;

void dec_fail(decoder *d, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
sim_inst *dec_emit(decoder *d, const char *op); /* guard, line and modifiers filled in */
uint32_t dec_reg(decoder *d, const ptx_reg *r);
uint32_t dec_temp(decoder *d, int class);
uint32_t dec_const(decoder *d, int bytes, uint64_t v);
int dec_reg_bytes(ptx_type t); /* 2, 4, 8; 0 for a predicate */
/* A source of exactly the type (or wider, if wide), or a destination. */
uint32_t dec_src(decoder *d, const ptx_opnd *o, ptx_type t, int wide);
uint32_t dec_dst(decoder *d, const ptx_opnd *o, ptx_type t, int wide);
uint32_t dec_src_pred(decoder *d, const ptx_opnd *o);
uint32_t dec_dst_pred(decoder *d, const ptx_opnd *o);
uint64_t dec_imm_bits(decoder *d, const ptx_opnd *o, ptx_type t);
/* The address register of a memory operand, its constant part into *imm, its space's register width into *mod. */
uint32_t dec_addr(decoder *d, const ptx_opnd *o, int space, int64_t *imm, uint32_t *mod);
int64_t dec_var_addr(decoder *d, const ptx_var *v); /* offset, or a device address */
uint32_t dec_aux(decoder *d, uint32_t v);
void dec_fix_stmt(decoder *d, int inst, int aux, int64_t stmt);
dec_fn *dec_fn_get(decoder *d, ptx_func *f);
const ptx_opnd *dec_opnd(decoder *d, int i);
void dec_count(decoder *d, int lo, int hi); /* fails unless the statement has lo..hi operands */

/* ---- forms ---- */
void dec_plain(decoder *d);
void dec_mov(decoder *d);
void dec_cvta(decoder *d);
void dec_prmt(decoder *d);
void dec_set(decoder *d);
void dec_carry(decoder *d);
void dec_cvt(decoder *d);
void dec_cvt2(decoder *d);
void dec_bra(decoder *d);
void dec_brx(decoder *d);
void dec_call(decoder *d);
void dec_ret(decoder *d);
void dec_ld(decoder *d);
void dec_st(decoder *d);
void dec_atom(decoder *d);
void dec_bar(decoder *d);
void dec_ldmatrix(decoder *d);
void dec_mma(decoder *d);
void dec_cp_async(decoder *d);
void dec_mbar(decoder *d);
void dec_bulk(decoder *d);

/* Fills entry->code; leaves through the unit's failure. */
void ptx_decode(sim_module *m, ptx_func *entry);
#endif
