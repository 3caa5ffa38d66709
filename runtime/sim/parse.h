/* parse.h: PTX text as parse.c leaves it: names resolved, scopes closed, labels turned into
 * statement numbers. decode.c turns one .entry and the .funcs it calls into sim_inst code. */
#ifndef QM_SIM_PARSE_H
#define QM_SIM_PARSE_H
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include "core.h"

/* clang-format off */
typedef enum {
    PT_NONE, PT_PRED,
    PT_B8, PT_U8, PT_S8,
    PT_B16, PT_U16, PT_S16, PT_F16, PT_BF16,
    PT_B32, PT_U32, PT_S32, PT_F32, PT_F16X2, PT_BF16X2,
    PT_B64, PT_U64, PT_S64, PT_F64,
    PT_B128, PT_N
} ptx_type;
/* clang-format on */
typedef enum { PK_NONE, PK_PRED, PK_BITS, PK_UINT, PK_SINT, PK_FLOAT } ptx_kind;
typedef struct {
    const char *name;
    uint8_t bytes, kind;
} ptx_type_info;
extern const ptx_type_info ptx_types[PT_N];
ptx_type ptx_type_of(const char *name); /* "u32" -> PT_U32; PT_NONE if it is no type */

typedef enum { PS_NONE, PS_REG, PS_GLOBAL, PS_CONST, PS_SHARED, PS_LOCAL, PS_PARAM, PS_GENERIC } ptx_space;

/* Special registers that hold one value per warp's life live in ordinary registers, filled at its
 * start; the ones from SR_CLOCK on are read anew by each instruction that names them. */
/* clang-format off */
typedef enum {
    SR_NONE, SR_TID_X, SR_TID_Y, SR_TID_Z, SR_NTID_X, SR_NTID_Y, SR_NTID_Z,
    SR_CTAID_X, SR_CTAID_Y, SR_CTAID_Z, SR_NCTAID_X, SR_NCTAID_Y, SR_NCTAID_Z,
    SR_LANEID, SR_WARPID, SR_NWARPID, SR_SMID, SR_NSMID, SR_GRIDID,
    SR_LANEMASK_EQ, SR_LANEMASK_LE, SR_LANEMASK_LT, SR_LANEMASK_GE, SR_LANEMASK_GT,
    SR_DYNAMIC_SMEM_SIZE, SR_TOTAL_SMEM_SIZE,
    SR_CLOCK, SR_CLOCK_HI, SR_CLOCK64, SR_GLOBALTIMER, SR_GLOBALTIMER_LO, SR_GLOBALTIMER_HI
} ptx_sreg;
/* clang-format on */

typedef struct {
    const char *name; /* without the number for a register of a range */
    uint8_t type, special;
    uint32_t id; /* unique in the module */
} ptx_reg;

typedef struct ptx_var {
    const char *name;
    uint8_t space, type, is_extern, unsized;
    uint32_t align, id;
    size_t bytes, off; /* off: for an entry's .param */
    uint8_t *init;     /* .global, .const: [bytes], or NULL = zero */
    struct ptx_reloc *reloc;
    uint64_t addr; /* .global, .const */
    struct ptx_var *next;
} ptx_var;
typedef struct ptx_reloc {
    size_t at;
    ptx_var *var;
    int64_t add;
    struct ptx_reloc *next;
} ptx_reloc;

typedef enum { PO_REG, PO_INT, PO_FLT, PO_VAR, PO_ADDR, PO_VEC, PO_NAME, PO_LABEL, PO_SINK } ptx_okind;
typedef struct ptx_opnd {
    uint8_t kind, neg;   /* neg: !p */
    ptx_reg *reg, *reg2; /* REG (reg2: d|p); base of ADDR */
    ptx_var *var;        /* VAR; base of ADDR */
    int64_t i;           /* INT; VAR and ADDR: addend; LABEL: statement */
    double f;
    uint8_t fbits;    /* FLT: 32 or 64 = i holds the bits (0f, 0d literals); 0 = decimal */
    const char *name; /* NAME: not yet known: a label or a function */
    int n;
    struct ptx_opnd *list; /* VEC */
} ptx_opnd;

typedef struct {
    const char *op;  /* "ld.global.v4.u32" */
    const char *src; /* the statement in the module's text */
    int src_n, line;
    ptx_reg *guard;
    int gneg, n;
    ptx_opnd *o;
} ptx_stmt;

typedef struct ptx_func {
    const char *name;
    int is_entry, has_body, line;
    int n_par, n_ret;
    ptx_opnd *par, *ret; /* VAR or REG */
    size_t param_bytes;
    ptx_stmt *s;
    int n_s, cap_s;
    uint32_t maxntid, reqntid[3];
    struct sim_func *code; /* of an entry */
    struct ptx_func *next;
} ptx_func;

typedef struct ptx_targets {
    const char *name;
    ptx_opnd list;
    struct ptx_func *f;
    struct ptx_targets *next;
} ptx_targets;

typedef struct ptx_chunk {
    struct ptx_chunk *next;
    size_t used, cap;
    _Alignas(16) uint8_t b[];
} ptx_chunk;

struct sim_module {
    ptx_chunk *mem;
    char *text;
    ptx_func *funcs;
    ptx_var *vars;
    ptx_targets *targets;
    uint32_t n_reg, n_var;
    int sm, version; /* 80; 74 */
    jmp_buf fail;
    char *log;
    size_t log_n;
};

void *ptx_alloc(sim_module *m, size_t n); /* zeroed; lives as long as the module */
char *ptx_strndup(sim_module *m, const char *s, size_t n);
/* Writes "line N: ..." into the log and leaves through m->fail. */
void ptx_fail(sim_module *m, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
void ptx_parse(sim_module *m);
void ptx_decode(sim_module *m, ptx_func *entry); /* decode.c: fills entry->code */
void ptx_func_free(struct sim_func *f);
ptx_func *ptx_find_func(sim_module *m, const char *name);
#endif
