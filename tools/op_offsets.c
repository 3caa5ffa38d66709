/* op_offsets.c: writes the offsets of every op's arguments as #defines, for PTX: a program that the build compiles and runs
 * (contracts/ops.def). QM_<OP>_<FIELD> and QM_<OP>_SIZE, bytes. */
#include <ctype.h>
#include <stdio.h>
#include "kernels/ref/args.h"

static void define(const char *op, const char *field, size_t v) {
    printf("#define QM_%s_", op);
    for (; *field; field++) putchar(toupper((unsigned char)*field));
    printf(" %zu\n", v);
}

int main(void) {
#define OP(word, WORD)                                 \
    {                                                  \
        const qm_##word##_args args = {0}, *a = &args; \
        const char *op = #WORD;
#define FIELD(f) define(op, #f, (size_t)((const char *)&a->f - (const char *)a));
#define OPERAND(field, ...) FIELD(field)
#define SCALAR(type, field) FIELD(field)
#define END(word)                  \
    define(op, "size", sizeof *a); \
    }
#include "contracts/ops.def"
    return 0;
}
