/* say.h: text for a caller's qm_write_fn, a formatted piece at a time. */
#ifndef QM_SAY_H
#define QM_SAY_H
#include "../qmoe_tools.h"

typedef struct {
    qm_write_fn w;
    void *user;
    int stopped; /* w wanted no more: what follows is dropped */
} qm_out;

/* At most 1023 bytes; the rest of a longer piece is cut. */
void qm_say(qm_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
