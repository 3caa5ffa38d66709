/* pages.c: see pages.h. */
#include "pages.h"
#include <stdlib.h>
#include <string.h>

int qm_pages_open(qm_pages *kv, uint32_t n_pages, qm_err *e) {
    memset(kv, 0, sizeof *kv);
    kv->n_buckets = 1;
    while (kv->n_buckets < n_pages) kv->n_buckets *= 2;
    kv->page = calloc(n_pages, sizeof *kv->page);
    kv->blank = malloc((size_t)n_pages * sizeof *kv->blank);
    kv->bucket = malloc((size_t)kv->n_buckets * sizeof *kv->bucket);
    if (!kv->page || !kv->blank || !kv->bucket) {
        qm_pages_close(kv);
        return qm_fail(e, QM_ERR_NOMEM, "kv: out of memory for %u pages", n_pages);
    }
    kv->n_pages = kv->n_free = n_pages;
    kv->oldest = kv->newest = QM_NO_PAGE;
    for (uint32_t i = 0; i < kv->n_buckets; i++) kv->bucket[i] = QM_NO_PAGE;
    for (uint32_t i = 0; i < n_pages; i++) kv->blank[i] = n_pages - 1 - i; /* page 0 goes first */
    kv->key = qm_hash_key_new();
    return 0;
}

void qm_pages_close(qm_pages *kv) {
    free(kv->page);
    free(kv->blank);
    free(kv->bucket);
    memset(kv, 0, sizeof *kv);
}

/* ---- the list of those kept ---- */
static void keep(qm_pages *kv, uint32_t page) {
    qm_page *p = &kv->page[page];
    p->older = kv->newest;
    p->newer = QM_NO_PAGE;
    *(p->older == QM_NO_PAGE ? &kv->oldest : &kv->page[p->older].newer) = page;
    kv->newest = page;
    kv->n_kept++;
}

static void unkeep(qm_pages *kv, uint32_t page) {
    const qm_page *p = &kv->page[page];
    *(p->older == QM_NO_PAGE ? &kv->oldest : &kv->page[p->older].newer) = p->newer;
    *(p->newer == QM_NO_PAGE ? &kv->newest : &kv->page[p->newer].older) = p->older;
    kv->n_kept--;
}

/* ---- what is known ---- */
static uint32_t *bucket_of(const qm_pages *kv, uint32_t parent, const uint32_t *ids) {
    uint64_t h = qm_siphash(&kv->key, &parent, sizeof parent, ids, QM_PAGE_TOKENS * sizeof *ids);
    return &kv->bucket[h & (kv->n_buckets - 1)];
}

static void drop(qm_pages *kv, uint32_t page) {
    qm_page *p = &kv->page[page];
    uint32_t *at = bucket_of(kv, p->parent, p->ids);
    while (*at != page) at = &kv->page[*at].next;
    *at = p->next;
    p->known = 0;
}

uint32_t qm_pages_find(const qm_pages *kv, uint32_t parent, const uint32_t *ids) {
    uint32_t i = *bucket_of(kv, parent, ids);
    while (i != QM_NO_PAGE &&
           (kv->page[i].parent != parent || memcmp(kv->page[i].ids, ids, QM_PAGE_TOKENS * sizeof *ids) != 0))
        i = kv->page[i].next;
    return i;
}

uint32_t qm_pages_publish(qm_pages *kv, uint32_t page, uint32_t parent, const uint32_t *ids) {
    qm_page *p = &kv->page[page];
    if (parent != QM_NO_PAGE && !kv->page[parent].known) return QM_NO_PAGE;
    uint32_t first = qm_pages_find(kv, parent, ids);
    if (first != QM_NO_PAGE) {
        qm_pages_hold(kv, first);
        qm_pages_give(kv, page);
        return first;
    }
    uint32_t *at = bucket_of(kv, parent, ids);
    p->known = 1;
    p->parent = parent;
    memcpy(p->ids, ids, sizeof p->ids);
    p->next = *at;
    *at = page;
    return page;
}

void qm_pages_forget(qm_pages *kv) {
    while (kv->n_kept) {
        const uint32_t page = kv->oldest;
        unkeep(kv, page);
        kv->page[page].known = 0;
        kv->blank[kv->n_free - kv->n_kept - 1] = page;
    }
    for (uint32_t i = 0; i < kv->n_pages; i++) kv->page[i].known = 0;
    for (uint32_t i = 0; i < kv->n_buckets; i++) kv->bucket[i] = QM_NO_PAGE;
}

/* ---- references ---- */
uint32_t qm_pages_take(qm_pages *kv) {
    uint32_t page;
    if (kv->n_free > kv->n_kept) page = kv->blank[kv->n_free - kv->n_kept - 1];
    else {
        page = kv->oldest;
        unkeep(kv, page);
        drop(kv, page);
    }
    kv->n_free--;
    kv->page[page].refs = 1;
    return page;
}

void qm_pages_hold(qm_pages *kv, uint32_t page) {
    if (kv->page[page].refs++) return;
    unkeep(kv, page);
    kv->n_free--;
}

void qm_pages_give(qm_pages *kv, uint32_t page) {
    if (--kv->page[page].refs) return;
    if (kv->page[page].known) keep(kv, page);
    else kv->blank[kv->n_free - kv->n_kept] = page;
    kv->n_free++;
}
