/* pages.h: the page pool of the KV cache: who holds which page, and what is known to lie in it. Pages hold
 * QM_PAGE_TOKENS positions of all layers; which page holds which positions of a sequence is its block table.
 *
 * A page is in one of three states:
 *   held   sequences refer to it (refs > 0); several where they begin alike
 *   kept   nobody refers to it, but what lies in it is known: the next sequence that begins so need not compute it
 *   blank  nobody refers to it, and nothing is known of it
 * blank + kept + held = n_pages, and n_free = blank + kept: pages that may be taken at any time. Blank ones go first,
 * then the kept one that was given back longest ago.
 *
 * A full page may be published: found by the page before it in its sequence and its QM_PAGE_TOKENS ids. Both are
 * compared, so that the pair stands for the whole prefix up to the page's end, and a collision of hashes finds nothing
 * wrong. That the page before is still what it was, its users see to: who holds a page holds all before it, and gives
 * them back last to first; so a page is never dropped before those that come after it.
 *
 * What was published is never written again. Pages change owners at once, also while steps that read or write them are
 * on their way: all that touches a page is in one stream, and the new owner's writes come after whatever the former
 * enqueued. */
#ifndef QM_PAGES_H
#define QM_PAGES_H
#include <stdint.h>
#include "../base/err.h"
#include "../base/hash.h"
#include "../plan/plan.h" /* QM_PAGE_TOKENS */

#define QM_NO_PAGE UINT32_MAX
typedef struct {
    uint32_t refs;
    int known;                    /* 1: published: it is in its bucket's list */
    uint32_t parent;              /* known: the page before it; QM_NO_PAGE: it is a sequence's first */
    uint32_t next;                /* known: the next one of its bucket, or QM_NO_PAGE */
    uint32_t older, newer;        /* kept: its neighbours by the time when they were given back, or QM_NO_PAGE */
    uint32_t ids[QM_PAGE_TOKENS]; /* known: its tokens */
} qm_page;

typedef struct {
    qm_page *page;           /* [n_pages] */
    uint32_t *blank;         /* [n_free - n_kept], used as a stack */
    uint32_t *bucket;        /* [n_buckets], a power of two: the first of each list */
    uint32_t oldest, newest; /* of the kept; QM_NO_PAGE: there is none */
    uint32_t n_pages, n_free, n_kept, n_buckets;
    qm_hash_key key;
} qm_pages;
int qm_pages_open(qm_pages *kv, uint32_t n_pages, qm_err *e);
void qm_pages_close(qm_pages *kv);
/* A page for one who will write it; where n_free. */
uint32_t qm_pages_take(qm_pages *kv);
/* One reference less. */
void qm_pages_give(qm_pages *kv, uint32_t page);

/* The page that comes after parent (QM_NO_PAGE: the first one) with these ids [QM_PAGE_TOKENS], or QM_NO_PAGE: none is
 * known. Nothing changes. */
uint32_t qm_pages_find(const qm_pages *kv, uint32_t parent, const uint32_t *ids);
/* One reference more to a page that was found. */
void qm_pages_hold(qm_pages *kv, uint32_t page);
/* page, which the caller holds alone, holds these ids after parent, and is not written any more. Returns the page that
 * stands for them from here on: page itself, or the one that was there first; then the caller's reference has become
 * one to that, and page is free. Where parent is not known page cannot be found, and stays the caller's own:
 * QM_NO_PAGE. */
uint32_t qm_pages_publish(qm_pages *kv, uint32_t page, uint32_t parent, const uint32_t *ids);
/* Nothing is known of any page any more: somebody wrote over them, or a step failed that should have written them.
 * Those that are held stay held. */
void qm_pages_forget(qm_pages *kv);
#endif
