/* mem.c: device memory. Every allocation is its own mapping between two inaccessible guard pages; a
 * freed one becomes inaccessible as a whole and stays in the table for a while, so that a late access
 * can be named. Callers hold the driver's lock, except for sim_mem_find during a launch, when nothing
 * changes the table. */
#include "mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "sim.h"

#define QUARANTINE 1024          /* freed allocations remembered: they hold address space, no memory */
#define POISON_BYTES (16u << 20) /* larger allocations start as zero pages instead of NaN patterns */

typedef struct {
    sim_alloc a; /* first: a sim_alloc * is a slot * */
    char *map;
    size_t map_bytes, charged, init_bytes;
    int host;
    char name[];
} slot;

static slot **g_table; /* [g_n], sorted by base */
static size_t g_n, g_cap, g_used;
static uint32_t g_next_id = 1;
static slot *g_quarantine[QUARANTINE]; /* ring, oldest at g_q_head */
static size_t g_q_head, g_q_n;

static size_t page_bytes(void) {
    long p = sysconf(_SC_PAGESIZE);
    return p > 0 ? (size_t)p : 4096;
}

/* Index of the first slot whose base is above addr. */
static size_t upper(uint64_t addr) {
    size_t lo = 0, hi = g_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (g_table[mid]->a.base <= addr) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const sim_alloc *sim_mem_find(uint64_t addr) {
    size_t i = upper(addr);
    if (!i) return NULL;
    slot *s = g_table[i - 1];
    return addr - s->a.base < s->a.size ? &s->a : NULL;
}

sim_alloc *sim_mem_new(size_t bytes, const char *what) {
    const size_t page = page_bytes(), charged = (bytes + 511) & ~(size_t)511;
    const int host = !strncmp(what, "host", 4), plain = !strcmp(what, "cuMemAlloc");
    qm_sim_options opt;
    qm_sim_get_options(&opt);
    if (bytes == 0 || bytes > SIZE_MAX / 4) return NULL;
    if (!host && (charged > opt.mem_bytes || g_used > opt.mem_bytes - charged)) return NULL;
    if (g_n == g_cap) {
        size_t cap = g_cap ? g_cap * 2 : 64;
        slot **t = realloc(g_table, cap * sizeof *t);
        if (!t) return NULL;
        g_table = t;
        g_cap = cap;
    }
    slot *s = calloc(1, sizeof *s + strlen(what) + 1);
    if (!s) return NULL;
    strcpy(s->name, what);
    const size_t body = (bytes + page - 1) / page * page;
    s->map_bytes = body + 2 * page;
    s->map = mmap(NULL, s->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->map == MAP_FAILED) {
        free(s);
        return NULL;
    }
    if (mprotect(s->map + page, body, PROT_READ | PROT_WRITE)) {
        munmap(s->map, s->map_bytes);
        free(s);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (body >= ((size_t)8 << 20)) madvise(s->map + page, body, MADV_HUGEPAGE);
#endif
    s->a.base = (uint64_t)(uintptr_t)(s->map + page);
    s->a.size = bytes;
    s->a.live = 1;
    s->a.id = g_next_id++;
    s->a.what = s->name;
    s->charged = host ? 0 : charged;
    s->host = host;
    /* Fresh device memory holds anything at all on a GPU; all ones is a NaN in every float format. */
    if (plain && bytes <= POISON_BYTES) memset((void *)(uintptr_t)s->a.base, 0xff, bytes);
    /* Module globals have an initial value and pinned memory is the host's own: only cuMemAlloc counts. */
    if (plain && opt.check_uninit) {
        s->init_bytes = body;
        s->a.init = mmap(NULL, body, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s->a.init == MAP_FAILED) s->a.init = NULL;
    }
    size_t i = upper(s->a.base);
    memmove(g_table + i + 1, g_table + i, (g_n - i) * sizeof *g_table);
    g_table[i] = s;
    g_n++;
    g_used += s->charged;
    return &s->a;
}

static void forget(slot *s) {
    size_t i = upper(s->a.base);
    memmove(g_table + i - 1, g_table + i, (g_n - i) * sizeof *g_table);
    g_n--;
    munmap(s->map, s->map_bytes);
    free(s);
}

static void retire(slot *s) {
    s->a.live = 0;
    g_used -= s->charged;
    if (s->a.init) munmap(s->a.init, s->init_bytes);
    if (s->a.race) munmap(s->a.race, s->a.race_bytes);
    if (s->a.writers) munmap(s->a.writers, s->a.writers_bytes);
    s->a.init = NULL;
    s->a.race = NULL;
    s->a.writers = NULL;
}

int sim_mem_free(uint64_t base) {
    size_t i = upper(base);
    if (!i) return -1;
    slot *s = g_table[i - 1];
    if (s->a.base != base || !s->a.live) return -1;
    retire(s);
    /* A fresh inaccessible mapping over the old one gives the pages back and keeps the addresses. */
    if (mmap(s->map, s->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
        MAP_FAILED) {
        forget(s);
        return 0;
    }
    if (g_q_n == QUARANTINE) {
        forget(g_quarantine[g_q_head]);
        g_q_head = (g_q_head + 1) % QUARANTINE;
        g_q_n--;
    }
    g_quarantine[(g_q_head + g_q_n++) % QUARANTINE] = s;
    return 0;
}

void sim_mem_free_all(void) {
    for (size_t i = 0; i < g_n; i++) {
        if (g_table[i]->a.live) retire(g_table[i]);
        munmap(g_table[i]->map, g_table[i]->map_bytes);
        free(g_table[i]);
    }
    free(g_table);
    g_table = NULL;
    g_n = g_cap = g_used = g_q_head = g_q_n = 0;
}

size_t sim_mem_used(void) { return g_used; }

int sim_mem_range(uint64_t addr, size_t n, char *why, size_t why_n) {
    const sim_alloc *a = sim_mem_find(addr);
    if (!a) {
        size_t i = upper(addr);
        const slot *s = i ? g_table[i - 1] : NULL;
        if (s && addr - s->a.base < s->a.size + (1u << 20))
            snprintf(why, why_n, "0x%llx is %llu bytes past the end of allocation #%u (%s, %llu bytes)",
                     (unsigned long long)addr, (unsigned long long)(addr - s->a.base - s->a.size), s->a.id, s->a.what,
                     (unsigned long long)s->a.size);
        else snprintf(why, why_n, "0x%llx is in no allocation", (unsigned long long)addr);
        return 0;
    }
    if (!a->live) {
        snprintf(why, why_n, "0x%llx is in allocation #%u (%s, %llu bytes), which has been freed",
                 (unsigned long long)addr, a->id, a->what, (unsigned long long)a->size);
        return 0;
    }
    if (n > a->size - (addr - a->base)) {
        snprintf(why, why_n, "%llu bytes at offset %llu run over the end of allocation #%u (%s, %llu bytes)",
                 (unsigned long long)n, (unsigned long long)(addr - a->base), a->id, a->what,
                 (unsigned long long)a->size);
        return 0;
    }
    return 1;
}

void sim_mem_mark_init(uint64_t addr, size_t n) {
    const sim_alloc *a = sim_mem_find(addr);
    if (a && a->init) memset(a->init + (addr - a->base), 1, n);
}

void sim_mem_move_init(uint64_t dst, uint64_t src, size_t n) {
    const sim_alloc *d = sim_mem_find(dst), *s = sim_mem_find(src);
    if (!d || !d->init) return;
    if (s && s->init) memmove(d->init + (dst - d->base), s->init + (src - s->base), n);
    else memset(d->init + (dst - d->base), 1, n);
}
