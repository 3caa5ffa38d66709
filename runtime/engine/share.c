/* share.c: whole pages that sequences have in common (session.h). With the canonical sums of contracts/abi.h a page's
 * bits depend on its ids and those before it alone: it does not matter who computed it, beside whom, in chunks of what
 * length. */
#include "session.h"

static uint32_t last_page(const qm_session *s, uint32_t n) { return n ? s->pages[n - 1] : QM_NO_PAGE; }

int qm_session_adopt(qm_session *s, qm_err *e) {
    qm_pages *kv = &s->g->kv;
    const uint32_t had = s->n_pages;
    if (s->n_shared != had || s->n_cached != had * QM_PAGE_TOKENS) return 0;
    while ((s->n_pages + 1) * QM_PAGE_TOKENS < s->n) {
        const uint32_t page = qm_pages_find(kv, last_page(s, s->n_pages), s->ids + s->n_pages * QM_PAGE_TOKENS);
        if (page == QM_NO_PAGE) break;
        qm_pages_hold(kv, page);
        s->pages[s->n_pages++] = page;
    }
    if (s->n_pages == had) return 0;
    int rc = s->g->exec->put_pages(s->g, s->seq, had, s->pages + had, s->n_pages - had, e);
    if (rc) qm_session_trim(s);
    s->n_shared = s->n_pages;
    s->n_cached = s->n_pages * QM_PAGE_TOKENS;
    return rc;
}

int qm_session_publish(qm_session *s, qm_err *e) {
    qm_pages *kv = &s->g->kv;
    uint32_t changed = UINT32_MAX;
    while ((s->n_shared + 1) * QM_PAGE_TOKENS <= s->n_cached) {
        const uint32_t i = s->n_shared, own = s->pages[i];
        const uint32_t page = qm_pages_publish(kv, own, last_page(s, i), s->ids + i * QM_PAGE_TOKENS);
        if (page == QM_NO_PAGE) break;
        if (page != own && changed == UINT32_MAX) changed = i;
        s->pages[i] = page;
        s->n_shared++;
    }
    if (changed == UINT32_MAX) return 0;
    return s->g->exec->put_pages(s->g, s->seq, changed, s->pages + changed, s->n_shared - changed, e);
}
