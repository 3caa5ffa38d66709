/* lex.h: characters to words, numbers and constant expressions of PTX. */
#ifndef QM_SIM_LEX_H
#define QM_SIM_LEX_H
#include <stdint.h>
#include "unit.h"

typedef struct {
    const char *p;
    int line;
    ptx_unit *u;
    int depth; /* nesting of a constant expression */
} lexer;
typedef struct {
    int is_f, fbits;
    int64_t i;
    double f;
} lex_num;

void lex_skip(lexer *x);         /* blanks and comments */
int lex_accept(lexer *x, int c); /* skips, then takes c if it is next */
void lex_expect(lexer *x, int c);
int lex_is_ident(int c);             /* may begin a name */
const char *lex_ident(lexer *x);     /* a name, with %tid.x's dot */
const char *lex_directive(lexer *x); /* ".global" */
const char *lex_opcode(lexer *x);    /* "ld.global.L1::no_allocate.v4.u32" */
int64_t lex_int(lexer *x);
lex_num lex_expr(lexer *x);        /* a constant expression */
void lex_skip_to(lexer *x, int c); /* past c */
void lex_skip_line(lexer *x);
#endif
