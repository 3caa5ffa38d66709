#include "pages.h"
#include <stdlib.h>

int qm_pages_open(qm_pages *kv, uint32_t n_pages, qm_err *e) {
    kv->free_list = malloc((size_t)n_pages * sizeof *kv->free_list);
    if (!kv->free_list) return qm_fail(e, QM_ERR_NOMEM, "kv: out of memory for %u pages", n_pages);
    kv->n_pages = kv->n_free = n_pages;
    for (uint32_t i = 0; i < n_pages; i++) kv->free_list[i] = n_pages - 1 - i; /* page 0 goes first */
    return 0;
}

void qm_pages_close(qm_pages *kv) {
    free(kv->free_list);
    kv->free_list = NULL;
}

uint32_t qm_pages_take(qm_pages *kv) { return kv->free_list[--kv->n_free]; }

void qm_pages_give(qm_pages *kv, uint32_t page) { kv->free_list[kv->n_free++] = page; }
