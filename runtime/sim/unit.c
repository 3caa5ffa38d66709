/* unit.c: see unit.h. */
#include "unit.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ptx_chunk {
    struct ptx_chunk *next;
    size_t used, cap;
    _Alignas(16) uint8_t b[];
} ptx_chunk;

void *ptx_alloc(ptx_unit *u, size_t n) {
    n = (n + 15) & ~(size_t)15;
    ptx_chunk *c = u->mem;
    if (!c || c->cap - c->used < n) {
        size_t cap = n > 65536 ? n : 65536;
        c = calloc(1, sizeof *c + cap);
        if (!c) ptx_fail(u, 0, "out of memory");
        c->cap = cap;
        c->next = u->mem;
        u->mem = c;
        u->bytes += cap;
    }
    void *p = c->b + c->used;
    c->used += n;
    return p;
}

char *ptx_strndup(ptx_unit *u, const char *s, size_t n) {
    char *p = ptx_alloc(u, n + 1);
    memcpy(p, s, n);
    return p;
}

void ptx_fail(ptx_unit *u, int line, const char *fmt, ...) {
    if (u->log && u->log_n) {
        int k = line > 0 ? snprintf(u->log, u->log_n, "line %d: ", line) : 0;
        va_list ap;
        va_start(ap, fmt);
        if ((size_t)k < u->log_n) vsnprintf(u->log + k, u->log_n - (size_t)k, fmt, ap);
        va_end(ap);
        for (char *p = u->log; *p; p++) /* one line, whatever the statement looked like */
            if (*p == '\n' || *p == '\t' || *p == '\r') *p = ' ';
    }
    longjmp(u->fail, 1);
}

void ptx_unit_free(ptx_unit *u) {
    for (ptx_chunk *c = u->mem; c;) {
        ptx_chunk *next = c->next;
        free(c);
        c = next;
    }
    u->mem = NULL;
    u->bytes = 0;
}
