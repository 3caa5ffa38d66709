/* vector_clock.c: see vector_clock.h. */
#include "vector_clock.h"
#include <stdlib.h>
#include <string.h>

vclock *vclock_share(vclock *a) {
    if (a) a->refs++;
    return a;
}

void vclock_drop(vclock *a) {
    if (a && !--a->refs) free(a);
}

static uint32_t lookup(const vclock *a, uint64_t key) {
    uint32_t lo = 0, hi = a->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (a->e[mid].key < key) lo = mid + 1;
        else hi = mid;
    }
    return lo < a->n && a->e[lo].key == key ? a->e[lo].below : 0;
}

int vclock_knows(const vclock *a, uint32_t cta, uint32_t warp, uint32_t lane, int several, uint32_t stamp) {
    if (!a) return 0;
    return stamp < lookup(a, VCLOCK_KEY(cta, 0, 0)) || stamp < lookup(a, VCLOCK_KEY(cta, warp + 1, 0)) ||
           (!several && stamp < lookup(a, VCLOCK_KEY(cta, warp + 1, lane + 1)));
}

/* Is all of e[n] known to a already? */
static int covers(const vclock *a, const vclock_entry *e, uint32_t n) {
    uint32_t i = 0;
    for (uint32_t j = 0; j < n; j++) {
        while (i < a->n && a->e[i].key < e[j].key) i++;
        if (i < a->n && a->e[i].key == e[j].key && a->e[i].below >= e[j].below) continue;
        /* A wider key may say as much. */
        const uint64_t cta = e[j].key & ~(uint64_t)0xffff, warp = e[j].key & ~(uint64_t)0xff;
        if (lookup(a, cta) < e[j].below && lookup(a, warp) < e[j].below) return 0;
    }
    return 1;
}

int vclock_join_entries(vclock **to, const vclock_entry *e, uint32_t n) {
    const vclock *a = *to;
    if (!n || (a && covers(a, e, n))) return 0;
    const uint32_t an = a ? a->n : 0;
    vclock *r = malloc(sizeof *r + (size_t)(an + n) * sizeof *r->e);
    if (!r) return -1;
    r->refs = 1;
    r->n = 0;
    uint64_t cta_key = UINT64_MAX, warp_key = UINT64_MAX; /* the wider entries seen last, and their bounds */
    uint32_t cta_below = 0, warp_below = 0;
    for (uint32_t i = 0, j = 0; i < an || j < n;) {
        vclock_entry x;
        if (j == n || (i < an && a->e[i].key < e[j].key)) x = a->e[i++];
        else if (i == an || e[j].key < a->e[i].key) x = e[j++];
        else {
            x = a->e[i].below > e[j].below ? a->e[i] : e[j];
            i++;
            j++;
        }
        const uint64_t cta = x.key & ~(uint64_t)0xffff, warp = x.key & ~(uint64_t)0xff;
        if (x.key != cta && cta == cta_key && x.below <= cta_below) continue;
        if (x.key != warp && warp == warp_key && x.below <= warp_below) continue;
        if (x.key == cta) {
            cta_key = cta;
            cta_below = x.below;
        } else if (x.key == warp) {
            warp_key = warp;
            warp_below = x.below;
        }
        r->e[r->n++] = x;
    }
    vclock_drop(*to);
    *to = r;
    return 0;
}

int vclock_join(vclock **to, const vclock *from) {
    if (!from || from == *to) return 0;
    return vclock_join_entries(to, from->e, from->n);
}
