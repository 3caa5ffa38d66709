/* pages.h: the page pool of the KV cache: which pages are free. Pages hold QM_PAGE_TOKENS positions of
 * all layers; which page holds which positions of a sequence is its block table. */
#ifndef QM_PAGES_H
#define QM_PAGES_H
#include <stdint.h>
#include "../base/err.h"
typedef struct {
    uint32_t *free_list; /* [n_pages], used as a stack */
    uint32_t n_free, n_pages;
} qm_pages;
int qm_pages_open(qm_pages *kv, uint32_t n_pages, qm_err *e);
void qm_pages_close(qm_pages *kv);
uint32_t qm_pages_take(qm_pages *kv); /* where one is free */
void qm_pages_give(qm_pages *kv, uint32_t page);
#endif
