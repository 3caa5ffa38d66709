/* spare.c: see spare.h. */
#include "spare.h"
#include <pthread.h>
#include <stdlib.h>

enum { ALIGN = 1024, KEPT_MOST = 256 << 20 };

/* Stands ALIGN bytes before the memory. */
typedef struct block {
    struct block *next;
    size_t bytes;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *kept;
static size_t kept_bytes;

void *sim_spare_take(size_t bytes) {
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    pthread_mutex_lock(&lock);
    block **at = &kept;
    while (*at && ((*at)->bytes < bytes || (*at)->bytes / 2 > bytes)) at = &(*at)->next;
    block *b = *at;
    if (b) {
        *at = b->next;
        kept_bytes -= b->bytes;
    }
    pthread_mutex_unlock(&lock);
    if (!b && (b = aligned_alloc(ALIGN, ALIGN + bytes))) b->bytes = bytes;
    return b ? (char *)b + ALIGN : NULL;
}

void sim_spare_give(void *p) {
    if (!p) return;
    block *b = (block *)((char *)p - ALIGN);
    pthread_mutex_lock(&lock);
    const int keep = kept_bytes + b->bytes <= KEPT_MOST;
    if (keep) {
        b->next = kept;
        kept = b;
        kept_bytes += b->bytes;
    }
    pthread_mutex_unlock(&lock);
    if (!keep) free(b);
}

void sim_spare_drop(void) {
    pthread_mutex_lock(&lock);
    block *b = kept;
    kept = NULL;
    kept_bytes = 0;
    pthread_mutex_unlock(&lock);
    for (block *next; b; b = next) {
        next = b->next;
        free(b);
    }
}
