/* must.h: what a fuzzer holds against what it fuzzes. */
#ifndef QM_TESTS_MUST_H
#define QM_TESTS_MUST_H
#include <stdio.h>
#include <stdlib.h>
#define MUST(x)                                                     \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)
#endif
