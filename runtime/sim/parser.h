/* parser.h: the parser's state, shared by parse.c (functions and the module), parse_stmt.c, parse_decl.c,
 * parse_opnd.c and parse_scope.c, each of which uses those after it. */
#ifndef QM_SIM_PARSER_H
#define QM_SIM_PARSER_H
#include "lex.h"
#include "parse.h"

typedef struct ptx_sym {
    const char *name;
    uint32_t hash;  /* of the name */
    uint32_t n;     /* its length */
    uint32_t count; /* 0: one register; else a range name0 .. name(count-1) */
    ptx_reg *reg;   /* [max(count,1)] */
    ptx_var *var;
    int label; /* statement number, when neither reg nor var */
    struct ptx_sym *next;
} ptx_sym;
typedef struct ptx_scope {
    ptx_sym *syms;
    int first, held; /* its first statement; a block in it has been closed */
    struct ptx_scope *up;
} ptx_scope;
/* Storage that registers of closed blocks have left to those of later ones. */
typedef struct {
    uint32_t *id;
    int n, cap;
} ptx_left;
typedef struct {
    lexer x;
    sim_module *m;
    ptx_unit *u; /* m's */
    ptx_scope *sc;
    ptx_func *f;
    int depth;              /* of blocks and braces */
    ptx_reg *special[SR_N]; /* of the function, once named */
    ptx_left left[3];       /* of the function's blocks: predicates, up to 32 bits, 64 bits */
} ptx_parser;

/* ---- parse_scope.c: names ---- */
ptx_sym *ptx_scope_add(ptx_parser *p, const char *name); /* fails if the scope has the name */
void ptx_scope_push(ptx_parser *p);
/* Labels that the scope declares become statement numbers; a block's registers leave their storage to later blocks. */
void ptx_scope_pop(ptx_parser *p);
ptx_reg *ptx_reg_new(ptx_parser *p, const char *name, ptx_type t, uint32_t count);
/* A register, variable or constant of that name: 1; else 0. */
int ptx_name_opnd(ptx_parser *p, const char *name, ptx_opnd *o);
void ptx_deeper(ptx_parser *p); /* one level of nesting more; fails beyond 64 */

/* ---- parse_opnd.c ---- */
void ptx_parse_opnd(ptx_parser *p, ptx_opnd *o);
void ptx_parse_list(ptx_parser *p, ptx_opnd *o, int close); /* what stands up to `close` */
void ptx_const_opnd(ptx_parser *p, ptx_opnd *o);

/* ---- parse_decl.c ---- */
typedef struct {
    int space, align, is_extern;
    ptx_type type;
} ptx_decl;
/* Reads `.space [.align N] [.vN] .type [.ptr ...]` after the space word. */
void ptx_parse_decl_type(ptx_parser *p, ptx_decl *d);
ptx_var *ptx_parse_var(ptx_parser *p, const ptx_decl *d, const char *name);
void ptx_parse_vars(ptx_parser *p, int space, int is_extern); /* after the space word, to the semicolon */
void ptx_parse_regs(ptx_parser *p);                           /* after .reg */
int ptx_space_of(const char *word);                           /* ".global" -> PS_GLOBAL; PS_NONE */

/* ---- parse_stmt.c ---- */
void ptx_parse_block(ptx_parser *p); /* after the opening brace */
#endif
