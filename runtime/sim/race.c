/* race.c: two accesses race if they touch a common byte, come from different threads, one writes, they
 * are not both strong (atomic, relaxed, acquire, release, volatile) within a scope that holds both
 * threads, and neither happens before the other. Happens-before is the PTX memory model's causality
 * order as far as a kernel can build it: program order, bar.sync, bar.warp.sync, and release patterns
 * that acquire patterns observe, where a pattern is the instruction's own qualifier or a fence next to a
 * strong access. How sim ordered the two does not matter; warps do not run in lockstep for this check.
 *
 * A read through the non-coherent cache (ld.global.nc, ldu) of a word that the launch writes at any time is
 * reported whatever orders the two: no write reaches that cache.
 *
 * A copy by cp.async writes at any time from its instruction to its thread's wait (sim does it at the wait). At its
 * instruction it must follow what others have done with those bytes; from there to the wait nobody may touch them, not
 * the thread itself either; what follows the wait follows the write.
 *
 * State per 4-byte word: the last write, the older ones that it does not stand for, and the reads since
 * that no later read is known to follow (FastTrack; Flanagan and Freund, PLDI 2009, which keeps one write:
 * here strong writes may come one after another with no order between them). A word touched by narrower
 * accesses gets a state per byte. Known to be missed: accesses beyond PAST_MAX warps of one word. Each
 * launch starts afresh: launches are ordered. */
#include "race.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "race_sync.h"
#include "report.h"

enum { PAST_MAX = 512, WEAK = 0, STRONG_CTA = 1, STRONG_GPU = 2 };

typedef struct {
    uint32_t cta, stamp, line;
    uint16_t thread;
    uint8_t strong;
    uint8_t set : 2; /* 0: nothing; 1: this thread; 2: several lanes of its warp */
    uint8_t nc : 1;  /* a read through the non-coherent cache */
} epoch;
typedef struct {
    epoch e;
    uint32_t next; /* index + 1 into g_past */
} past_entry;
typedef struct race_cell {
    uint32_t gen;           /* launch it belongs to; others count as empty */
    uint32_t split;         /* index + 1 of four byte cells in g_split, or 0 */
    uint32_t reads, writes; /* index + 1 into g_past, or 0; writes: those before w */
    epoch w;                /* the last write */
} cell;

typedef struct race_copy {
    uint32_t line; /* 0: none */
    uint32_t thread;
} copying;

static uint32_t g_gen;
static race_cta *g_ctas; /* the resident ones */
static past_entry *g_past;
static uint32_t g_past_n, g_past_cap, g_past_free;
static cell *g_split; /* groups of four */
static uint32_t g_split_n, g_split_cap;

/* ---- life ---- */
void race_launch_begin(void) {
    g_gen++;
    race_oom = 0;
    g_past_n = g_past_free = g_split_n = 0;
}

void race_launch_end(void) {
    while (g_ctas) race_cta_free(g_ctas);
    race_vars_free();
    free(g_past);
    free(g_split);
    g_past = NULL;
    g_split = NULL;
    g_past_n = g_past_cap = g_past_free = g_split_n = g_split_cap = 0;
}

race_cta *race_cta_new(const sim_launch *l, uint64_t cta, uint32_t shared_bytes) {
    race_cta *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->id = (uint32_t)cta;
    c->shared = calloc(shared_bytes / 4 + 1, sizeof *c->shared);
    c->copying = calloc(shared_bytes / 4 + 1, sizeof *c->copying);
    if (!c->shared || !c->copying || race_threads_new(c, l->block[0] * l->block[1] * l->block[2])) {
        free(c->shared);
        free(c->copying);
        free(c);
        return NULL;
    }
    c->next = g_ctas;
    g_ctas = c;
    return c;
}

void race_cta_free(race_cta *c) {
    race_cta **p = &g_ctas;
    while (*p != c) p = &(*p)->next;
    *p = c->next;
    race_threads_free(c);
    free(c->shared);
    free(c->copying);
    free(c);
}

static cell *global_cell(const sim_alloc *a, uint64_t addr) {
    if (!a->race) {
        const size_t bytes = (a->size / 4 + 1) * sizeof(cell);
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            race_oom = 1;
            return NULL;
        }
        sim_alloc *mine =
            (sim_alloc *)(uintptr_t)a; /* the table is the device's own; the interpreter sees it as const */
        mine->race = p;
        mine->race_bytes = bytes;
    }
    return (cell *)a->race + (addr - a->base) / 4;
}

/* ---- accesses ---- */
static int known(const race_cta *c, uint32_t thread, const epoch *e) {
    const uint32_t w = e->thread / 32;
    if (e->cta == c->id) {
        if (e->set == 1 && e->thread == thread) return 1;
        if (e->stamp < c->base || (w == thread / 32 && e->stamp < c->warp_base[w])) return 1;
    }
    return vclock_knows(c->t[thread].know, e->cta, w, e->thread % 32, e->set == 2, e->stamp);
}

static int both_strong(const epoch *a, const epoch *b) {
    return a->strong && b->strong && (a->cta == b->cta || (a->strong == STRONG_GPU && b->strong == STRONG_GPU));
}

static const char *verb(int kind) { return kind == SIM_READ ? "read" : kind == SIM_WRITE ? "write" : "atomic"; }

static int report(const sim_access *a, const epoch *now, uint64_t addr, const epoch *old, int old_kind) {
    char where[160];
    const sim_alloc *m = a->space == SIM_SPACE_GLOBAL ? sim_mem_find(addr) : NULL;
    if (m)
        snprintf(where, sizeof where, "0x%llx (offset %llu of allocation #%u, %s, %llu bytes)",
                 (unsigned long long)addr, (unsigned long long)(addr - m->base), m->id, m->what,
                 (unsigned long long)m->size);
    else snprintf(where, sizeof where, "shared offset %llu", (unsigned long long)addr);
    const int same = old->cta == now->cta && old->line == now->line && old->thread / 32 == now->thread / 32;
    if (now->nc || old->nc) {
        sim_report("race in %s at %s: %s at line %u by CTA %u thread %u, and %s at line %u by CTA %u thread %u: a read "
                   "through "
                   "the non-coherent cache (.nc) of a word that the same launch writes",
                   sim_func_name(a->func), where, verb(old_kind), old->line, old->cta, old->thread, verb(a->kind),
                   now->line, now->cta, now->thread);
        return SIM_LAUNCH_FAILED;
    }
    sim_report("race in %s at %s: %s%s at line %u by CTA %u thread %u%s, and %s%s at line %u by CTA %u thread %u, "
               "with nothing that orders the two%s",
               sim_func_name(a->func), where, old->strong ? "strong " : "", verb(old_kind), old->line, old->cta,
               old->thread, old->set == 2 ? " (and more lanes of its warp)" : "", now->strong ? "strong " : "",
               verb(a->kind), now->line, now->cta, now->thread,
               same ? " (lanes of one warp instruction, or of one loop without bar.warp.sync)" : "");
    return SIM_LAUNCH_FAILED;
}

static uint32_t past_new(void) {
    if (g_past_free) {
        uint32_t i = g_past_free;
        g_past_free = g_past[i - 1].next;
        return i;
    }
    if (g_past_n == g_past_cap) {
        uint32_t cap = g_past_cap ? g_past_cap * 2 : 4096;
        past_entry *p = realloc(g_past, (size_t)cap * sizeof *p);
        if (!p) return 0;
        g_past = p;
        g_past_cap = cap;
    }
    return ++g_past_n;
}

/* Takes the entry that *p names off its list. */
static void past_cut(uint32_t *p) {
    const uint32_t gone = *p;
    *p = g_past[gone - 1].next;
    g_past[gone - 1].next = g_past_free;
    g_past_free = gone;
}

/* Does whatever races with old race with now too, which is known to follow it? Strong accesses excuse each other, so a
 * strong one stands only for strong ones of no smaller a scope. */
static int stands_for(const race_cta *c, const epoch *now, const epoch *old) {
    if (old->nc && !now->nc) return 0;
    const int scope =
        now->strong == WEAK || old->strong == STRONG_GPU || (old->strong == STRONG_CTA && old->cta == now->cta);
    return scope && known(c, now->thread, old);
}

static void past_prune(const race_cta *c, uint32_t *p, const epoch *now) {
    while (*p)
        if (stands_for(c, now, &g_past[*p - 1].e)) past_cut(p);
        else p = &g_past[*p - 1].next;
}

/* Adds to a list. Lanes of one warp share an entry. */
static void past_add(uint32_t *p, epoch e) {
    const uint32_t first = *p;
    uint32_t n = 0;
    for (uint32_t i = first; i; i = g_past[i - 1].next, n++) {
        epoch *o = &g_past[i - 1].e;
        if (o->cta != e.cta || o->thread / 32 != e.thread / 32 || o->strong != e.strong || o->nc != e.nc) continue;
        const epoch was = *o;
        *o = e;
        if (was.set == 2 || was.thread != e.thread) o->set = 2;
        if (was.stamp > o->stamp) o->stamp = was.stamp;
        return;
    }
    if (n >= PAST_MAX) return;
    const uint32_t i = past_new();
    if (!i) {
        race_oom = 1;
        return;
    }
    g_past[i - 1] = (past_entry){.e = e, .next = first};
    *p = i;
}

static int touch(const sim_access *a, race_cta *c, cell *k, const epoch *now, uint64_t addr) {
    if (k->gen != g_gen) *k = (cell){.gen = g_gen};
    if (k->w.set && (now->nc || (!both_strong(&k->w, now) && !known(c, now->thread, &k->w))))
        return report(a, now, addr, &k->w, k->w.strong ? SIM_ATOMIC : SIM_WRITE);
    for (uint32_t i = k->writes; i; i = g_past[i - 1].next) {
        const epoch *w = &g_past[i - 1].e;
        if (!both_strong(w, now) && !known(c, now->thread, w))
            return report(a, now, addr, w, w->strong ? SIM_ATOMIC : SIM_WRITE);
    }
    if (a->kind == SIM_READ) {
        past_prune(c, &k->reads, now);
        past_add(&k->reads, *now);
        return 0;
    }
    for (uint32_t i = k->reads; i; i = g_past[i - 1].next) {
        const epoch *r = &g_past[i - 1].e;
        if (r->nc || (!both_strong(r, now) && !known(c, now->thread, r))) return report(a, now, addr, r, SIM_READ);
    }
    while (k->reads) past_cut(&k->reads);
    past_prune(c, &k->writes, now);
    if (k->w.set && !stands_for(c, now, &k->w)) past_add(&k->writes, k->w);
    k->w = *now;
    return 0;
}

/* Four byte cells in place of a word's one. */
static int split(cell *k) {
    if (k->gen != g_gen) *k = (cell){.gen = g_gen};
    if (k->split) return 0;
    if (g_split_n + 4 > g_split_cap) {
        uint32_t cap = g_split_cap ? g_split_cap * 2 : 4096;
        cell *p = realloc(g_split, (size_t)cap * sizeof *p);
        if (!p) return -1;
        g_split = p;
        g_split_cap = cap;
    }
    for (int b = 0; b < 4; b++) {
        cell *s = &g_split[g_split_n + (uint32_t)b];
        *s = (cell){.gen = g_gen, .w = k->w};
        for (uint32_t i = k->reads; i; i = g_past[i - 1].next) past_add(&s->reads, g_past[i - 1].e);
        for (uint32_t i = k->writes; i; i = g_past[i - 1].next) past_add(&s->writes, g_past[i - 1].e);
    }
    k->split = g_split_n + 1;
    g_split_n += 4;
    while (k->reads) past_cut(&k->reads);
    while (k->writes) past_cut(&k->writes);
    return 0;
}

static int lane_access(const sim_access *a, race_cta *c, uint32_t thread, uint64_t addr, const sim_alloc *m) {
    const int strong = a->kind == SIM_ATOMIC || a->order != SIM_WEAK;
    const epoch now = {.cta = c->id,
                       .stamp = c->t[thread].stamp,
                       .line = a->line,
                       .thread = (uint16_t)thread,
                       .set = 1,
                       .nc = a->nc,
                       .strong = (uint8_t)(!strong        ? WEAK
                                           : a->cta_scope ? STRONG_CTA
                                                          : STRONG_GPU)};
    for (uint32_t b = 0; b < a->bytes;) {
        const uint64_t at = addr + b;
        cell *k = m ? global_cell(m, at) : &c->shared[at / 4];
        const uint32_t in_word = (uint32_t)(at & 3), n = a->bytes - b < 4 - in_word ? a->bytes - b : 4 - in_word;
        int rc = 0;
        if (!k || (n < 4 && split(k))) {
            race_oom = 1;
            return 0;
        }
        if (k->gen == g_gen && k->split)
            for (uint32_t i = 0; i < n && !rc; i++)
                rc = touch(a, c, &g_split[k->split - 1 + in_word + i], &now, at + i);
        else rc = touch(a, c, k, &now, at);
        if (rc) return rc;
        b += n;
    }
    if (strong) race_strong_access(c, thread, m ? 0 : (uint64_t)c->id + 1, addr, a);
    return 0;
}

/* Does a copy under way write what this lane touches? */
static int lane_copying(const sim_access *a, const race_cta *c, uint32_t thread, uint64_t addr) {
    for (uint64_t word = addr / 4; word <= (addr + a->bytes - 1) / 4; word++) {
        const copying *k = &c->copying[word];
        if (!k->line) continue;
        sim_report("race in %s at shared offset %llu: an asynchronous copy at line %u by CTA %u thread %u, which that "
                   "thread has not waited for yet (cp.async.wait_group), and %s at line %u by thread %u",
                   sim_func_name(a->func), (unsigned long long)word * 4, k->line, c->id, k->thread, verb(a->kind),
                   a->line, thread);
        return SIM_LAUNCH_FAILED;
    }
    return 0;
}

int race_copying(const sim_access *a, race_cta *c) {
    for (uint32_t l = 0; l < 32; l++) { /* lane by lane: two of them may name one place */
        if (!(a->mask >> l & 1)) continue;
        const uint32_t thread = (uint32_t)a->thread0 + l;
        const int rc = lane_copying(a, c, thread, a->addr[l]);
        if (rc) return rc;
        for (uint32_t b = 0; b < a->bytes; b += 4) c->copying[(a->addr[l] + b) / 4] = (copying){a->line, thread};
    }
    for (uint32_t l = 0; l < 32; l++) {
        const int rc = a->mask >> l & 1 ? lane_access(a, c, (uint32_t)a->thread0 + l, a->addr[l], NULL) : 0;
        if (rc) return rc;
    }
    return 0;
}

void race_landed(const sim_access *a, race_cta *c) {
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t b = 0; a->mask >> l & 1 && b < a->bytes; b += 4) c->copying[(a->addr[l] + b) / 4] = (copying){0};
}

int race_access(const sim_access *a, race_cta *c) {
    const sim_alloc *m = a->space == SIM_SPACE_GLOBAL ? a->alloc : NULL;
    for (uint32_t l = 0; l < 32; l++) {
        if (!(a->mask >> l & 1)) continue;
        const uint64_t addr = a->addr[l];
        if (a->space == SIM_SPACE_GLOBAL && (!m || addr - m->base >= m->size) && !(m = sim_mem_find(addr))) continue;
        int rc = a->space == SIM_SPACE_SHARED ? lane_copying(a, c, (uint32_t)a->thread0 + l, addr) : 0;
        if (!rc) rc = lane_access(a, c, (uint32_t)a->thread0 + l, addr, m);
        if (rc) return rc;
    }
    if (race_oom) {
        sim_report("race check of %s: out of host memory", sim_func_name(a->func));
        return SIM_LAUNCH_FAILED;
    }
    return 0;
}
