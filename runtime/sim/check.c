/* check.c: the hooks that exec calls when a check is on: reads of bytes that nobody wrote (here) and
 * races (race.c). Uninitialised reads may be checked by several workers at a time: the shadow bytes of
 * global memory only ever go from 0 to 1. A race check runs on one worker. */
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include "race.h"
#include "report.h"

typedef struct {
    race_cta *race; /* NULL unless check_races */
    uint32_t shared_bytes;
    uint8_t shared_init[]; /* [shared_bytes], 1 = written; present if check_uninit */
} cta_shadow;

void sim_check_launch_begin(const sim_launch *l) {
    if (l->opt.check_races) race_launch_begin();
}

void sim_check_launch_end(const sim_launch *l) {
    if (l->opt.check_races) race_launch_end();
}

void *sim_check_cta_begin(const sim_launch *l, uint64_t cta, uint32_t shared_bytes) {
    if (!l->opt.check_races && !l->opt.check_uninit) return NULL;
    cta_shadow *s = calloc(1, sizeof *s + (l->opt.check_uninit ? shared_bytes : 0));
    if (!s) return NULL;
    s->shared_bytes = l->opt.check_uninit ? shared_bytes : 0;
    if (l->opt.check_races) s->race = race_cta_new(l, cta, shared_bytes);
    return s;
}

void sim_check_cta_end(void *shadow) {
    cta_shadow *s = shadow;
    if (s && s->race) race_cta_free(s->race);
    free(s);
}

static int uninit(const sim_access *a, uint32_t lane, uint32_t byte, const sim_alloc *m) {
    const uint64_t addr = a->addr[lane];
    const unsigned long long thread = a->thread0 + lane, cta = a->cta;
    if (m)
        sim_report("%s line %u: CTA %llu thread %llu reads %u bytes at 0x%llx (offset %llu of allocation #%u, %s, %llu "
                   "bytes), and byte %u of them was never written",
                   sim_func_name(a->func), a->line, cta, thread, a->bytes, (unsigned long long)addr,
                   (unsigned long long)(addr - m->base), m->id, m->what, (unsigned long long)m->size, byte);
    else
        sim_report(
            "%s line %u: CTA %llu thread %llu reads %u bytes at shared offset %llu, and byte %u of them was never "
            "written",
            sim_func_name(a->func), a->line, cta, thread, a->bytes, (unsigned long long)addr, byte);
    return SIM_LAUNCH_FAILED;
}

/* Reads of all lanes come before writes: one instruction does not write what it reads. */
static int check_init(const sim_access *a, const cta_shadow *s) {
    const sim_alloc *m = a->space == SIM_SPACE_GLOBAL ? a->alloc : NULL;
    for (int write = a->kind == SIM_WRITE; write <= (a->kind != SIM_READ); write++)
        for (uint32_t l = 0; l < 32; l++) {
            if (!(a->mask >> l & 1)) continue;
            const uint64_t addr = a->addr[l];
            uint8_t *init;
            if (a->space == SIM_SPACE_GLOBAL) {
                if ((!m || addr - m->base >= m->size) && !(m = sim_mem_find(addr))) continue;
                if (!(init = m->init) || a->bytes > m->size - (addr - m->base)) continue;
                init += addr - m->base;
            } else {
                if (addr + a->bytes > s->shared_bytes) continue;
                init = (uint8_t *)(uintptr_t)s->shared_init + addr;
            }
            for (uint32_t b = 0; b < a->bytes; b++) {
                if (write) __atomic_store_n(&init[b], 1, __ATOMIC_RELAXED);
                else if (!__atomic_load_n(&init[b], __ATOMIC_RELAXED)) return uninit(a, l, b, m);
            }
        }
    return 0;
}

int sim_check_access(const sim_launch *l, const sim_access *a) {
    cta_shadow *s = a->cta_shadow;
    if (!s || !a->mask) return 0;
    if (l->opt.check_uninit) {
        int rc = check_init(a, s);
        if (rc) return rc;
    }
    return s->race ? race_access(a, s->race) : 0;
}

int sim_check_copying(const sim_access *a) {
    cta_shadow *s = a->cta_shadow;
    return s && s->race ? race_copying(a, s->race) : 0;
}

void sim_check_landed(const sim_access *a) {
    cta_shadow *s = a->cta_shadow;
    if (s && s->race) race_landed(a, s->race);
}

void sim_check_barrier(void *shadow) {
    cta_shadow *s = shadow;
    if (s && s->race) race_barrier(s->race);
}

void sim_check_barrier_part(void *shadow, uint32_t arrive, uint32_t wait) {
    cta_shadow *s = shadow;
    if (s && s->race) race_barrier_part(s->race, arrive, wait);
}

void sim_check_warp_sync(void *shadow, uint32_t warp, uint32_t mask) {
    cta_shadow *s = shadow;
    if (s && s->race) race_warp_sync(s->race, warp, mask);
}

void sim_check_fence(void *shadow, uint32_t thread, int gpu_scope) {
    cta_shadow *s = shadow;
    if (s && s->race) race_fence(s->race, thread, gpu_scope);
}

void sim_check_async_write(void *shadow, int space, uint64_t addr, uint64_t bytes) {
    cta_shadow *s = shadow;
    if (!s) return;
    if (space == SIM_SPACE_GLOBAL) sim_mem_mark_init(addr, bytes);
    else if (addr <= s->shared_bytes && bytes <= s->shared_bytes - addr) memset(s->shared_init + addr, 1, bytes);
}
