/* watch.h: who watches a prompt being computed. */
#ifndef QM_WATCH_H
#define QM_WATCH_H
#include <stdint.h>

/* on_prefill: before each step, with the positions done so far and all; not 0: stop. */
typedef struct {
    int (*on_prefill)(void *user, uint32_t done, uint32_t total);
    void *user;
} qm_watch;
#endif
