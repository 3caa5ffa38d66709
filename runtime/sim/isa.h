/* isa.h: contracts/isa.def as a table, and an opcode's text matched against it. */
#ifndef QM_SIM_ISA_H
#define QM_SIM_ISA_H
#include "parse.h"
typedef struct {
    const char *form, *operands, *handler, *test;
} isa_form;
typedef struct {
    const isa_form *form;
    char buf[128];
    const char *tok[16]; /* the opcode's words: tok[0] = "ld", "global", ... */
    int n_tok;
    ptx_type ty[4]; /* in order */
    int n_ty;
    uint32_t mod;
    int cmp, bop, space, order, vec, sub;
    int hint; /* .L2::cache_hint: one more operand */
} isa_match;
/* Leaves through ptx_fail with the unknown opcode or modifier named. */
void isa_find(sim_module *m, const ptx_stmt *s, isa_match *out);
int isa_has(const isa_match *k, const char *tok);
#endif
