/* unit.h: one PTX text while it is read: the memory of what is made of it, and where a failure goes. */
#ifndef QM_SIM_UNIT_H
#define QM_SIM_UNIT_H
#include <setjmp.h>
#include <stddef.h>

typedef struct {
    struct ptx_chunk *mem;
    size_t bytes; /* of mem */
    jmp_buf fail;
    char *log; /* [log_n], or NULL */
    size_t log_n;
} ptx_unit;

void *ptx_alloc(ptx_unit *u, size_t n); /* zeroed; lives as long as the unit */
char *ptx_strndup(ptx_unit *u, const char *s, size_t n);
/* Writes "line N: ..." into the log and leaves through u->fail. */
void ptx_fail(ptx_unit *u, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
void ptx_unit_free(ptx_unit *u);
#endif
