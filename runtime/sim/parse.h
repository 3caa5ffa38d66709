/* parse.h: PTX text as the parser leaves it: names resolved, scopes closed, labels turned into statement numbers.
 * decode.c turns one .entry and the .funcs it calls into code. */
#ifndef QM_SIM_PARSE_H
#define QM_SIM_PARSE_H
#include <stddef.h>
#include <stdint.h>
#include "module.h"
#include "ptx.h"
#include "unit.h"

typedef struct {
    const char *name; /* without the number for a register of a range */
    uint8_t type, special;
    uint32_t id; /* of its storage: registers of a module that can be alive at once have different ones */
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

enum { PO_REG, PO_INT, PO_FLT, PO_VAR, PO_ADDR, PO_VEC, PO_NAME, PO_LABEL, PO_SINK };
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

struct sim_module {
    ptx_unit unit;
    char *text;
    ptx_func *funcs;
    ptx_var *vars;
    ptx_targets *targets;
    uint32_t n_reg, n_var;
    int sm, version;              /* 80; 74 */
    int apart;                    /* every register has storage of its own */
    struct isa_known *known[256]; /* isa.c's: opcodes that it has matched, by hash */
    struct sim_module *next;      /* module.c's: of those that are kept */
};

/* m->text to m->funcs, m->vars, m->targets; leaves through the unit's failure. */
void ptx_parse(sim_module *m);
ptx_func *ptx_find_func(const sim_module *m, const char *name);
#endif
