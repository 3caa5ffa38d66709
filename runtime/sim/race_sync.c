/* race_sync.c: see race_sync.h. Barriers and fences move the clocks of the threads that take part; a strong write leaves
 * what its thread had released, and a strong read takes it up. */
#include "race_sync.h"
#include <stdlib.h>

enum { N_HASH = 4096 };
typedef struct sync_var {
    struct sync_var *next;
    uint64_t space, addr; /* space: 0 global, else CTA + 1 */
    uint32_t version;
    uint32_t cta;           /* of local */
    vclock *global, *local; /* released at gpu scope; at any scope by CTA cta */
} sync_var;

int race_oom;
static sync_var *g_vars[N_HASH];

static void join(vclock **to, const vclock *from) {
    if (vclock_join(to, from)) race_oom = 1;
}

/* ---- threads ---- */
int race_threads_new(race_cta *c, uint32_t n) {
    c->n_threads = n;
    c->t = calloc(n, sizeof *c->t);
    if (!c->t) return -1;
    c->count = c->base = 1;
    for (uint32_t i = 0; i < n; i++) c->t[i].stamp = 1;
    return 0;
}

void race_threads_free(race_cta *c) {
    for (uint32_t i = 0; i < c->n_threads; i++) {
        race_thread *t = &c->t[i];
        vclock_drop(t->know);
        vclock_drop(t->pend_gpu);
        vclock_drop(t->pend_cta);
        vclock_drop(t->snap_gpu);
        vclock_drop(t->snap_cta);
    }
    free(c->t);
}

/* Joins into *to all that thread t knows, its own doings up to now included. */
static void publish(const race_cta *c, uint32_t t, vclock **to) {
    const uint32_t w = t / 32;
    const vclock_entry own[3] = {{VCLOCK_KEY(c->id, 0, 0), c->base},
                                 {VCLOCK_KEY(c->id, w + 1, 0), c->warp_base[w]},
                                 {VCLOCK_KEY(c->id, w + 1, t % 32 + 1), c->t[t].stamp + 1}};
    join(to, c->t[t].know);
    if (vclock_join_entries(to, own, 3)) race_oom = 1;
}

static void tick(race_cta *c, uint32_t t) { c->t[t].stamp = ++c->count; }

void race_barrier(race_cta *c) {
    vclock *all = NULL;
    for (uint32_t i = 0; i < c->n_threads; i++)
        if (c->t[i].know && (!i || c->t[i].know != c->t[i - 1].know)) join(&all, c->t[i].know);
    c->base = ++c->count;
    for (uint32_t i = 0; i < c->n_threads; i++) {
        vclock_drop(c->t[i].know);
        c->t[i].know = vclock_share(all);
        c->t[i].stamp = c->base;
    }
    vclock_drop(all);
}

void race_barrier_part(race_cta *c, uint32_t arrive, uint32_t wait) {
    vclock *all = NULL;
    const uint32_t now = ++c->count;
    for (uint32_t i = 0; i < c->n_threads; i++)
        if (arrive >> (i / 32) & 1) {
            join(&all, c->t[i].know);
            const vclock_entry own = {VCLOCK_KEY(c->id, i / 32 + 1, 0), now};
            if (i % 32 == 0 && vclock_join_entries(&all, &own, 1)) race_oom = 1;
            c->t[i].stamp = now;
        }
    for (uint32_t i = 0; i < c->n_threads; i++)
        if (wait >> (i / 32) & 1) join(&c->t[i].know, all);
    vclock_drop(all);
}

void race_warp_sync(race_cta *c, uint32_t warp, uint32_t mask) {
    vclock *all = NULL;
    const uint32_t first = warp * 32, n = c->n_threads - first < 32 ? c->n_threads - first : 32;
    const uint32_t full = n == 32 ? 0xffffffffu : (1u << n) - 1;
    mask &= full;
    for (uint32_t l = 0; l < n; l++)
        if (mask >> l & 1) {
            join(&all, c->t[first + l].know);
            const vclock_entry own = {VCLOCK_KEY(c->id, warp + 1, l + 1), c->t[first + l].stamp + 1};
            if (mask != full && vclock_join_entries(&all, &own, 1)) race_oom = 1;
        }
    const uint32_t now = ++c->count;
    if (mask == full) c->warp_base[warp] = now;
    for (uint32_t l = 0; l < n; l++)
        if (mask >> l & 1) {
            join(&c->t[first + l].know, all);
            c->t[first + l].stamp = now;
        }
    vclock_drop(all);
}

void race_fence(race_cta *c, uint32_t thread, int gpu_scope) {
    race_thread *t = &c->t[thread];
    join(&t->know, t->pend_cta);
    if (gpu_scope) join(&t->know, t->pend_gpu);
    vclock_drop(t->snap_cta);
    t->snap_cta = NULL;
    publish(c, thread, &t->snap_cta);
    if (gpu_scope) {
        vclock_drop(t->snap_gpu);
        t->snap_gpu = vclock_share(t->snap_cta);
    }
    tick(c, thread);
}

/* ---- synchronising variables: any place that strong accesses use ---- */
static sync_var *var_at(uint64_t space, uint64_t addr, int make) {
    sync_var **head = &g_vars[(addr / 4 * 0x9e3779b97f4a7c15u + space) >> 52], *v = *head;
    while (v && (v->addr != addr || v->space != space)) v = v->next;
    if (v || !make) return v;
    if (!(v = calloc(1, sizeof *v))) {
        race_oom = 1;
        return NULL;
    }
    v->space = space;
    v->addr = addr;
    v->next = *head;
    return *head = v;
}

static void strong_past(race_cta *c, uint32_t thread, const sync_var *v, int acquire, int cta_scope) {
    race_thread *t = &c->t[thread];
    if (!v || (t->last == v && t->last_version == v->version)) return;
    t->last = v;
    t->last_version = v->version;
    const int mine = v->local && v->cta == c->id;
    if (mine) join(acquire ? &t->know : &t->pend_cta, v->local);
    if (!cta_scope) join(acquire ? &t->know : &t->pend_gpu, v->global);
}

static void strong_write(race_cta *c, uint32_t thread, uint64_t space, uint64_t addr, int release, int cta_scope,
                         int rmw) {
    race_thread *t = &c->t[thread];
    vclock *local = NULL, *global = NULL;
    if (release) {
        publish(c, thread, &local);
        if (!cta_scope) global = vclock_share(local);
        else global = vclock_share(t->snap_gpu);
        tick(c, thread);
    } else {
        local = vclock_share(t->snap_cta);
        if (!cta_scope) global = vclock_share(t->snap_gpu);
    }
    sync_var *v = var_at(space, addr, local || global);
    if (v) {
        if (!rmw) { /* a plain store starts anew; a read-modify-write carries on what was released before */
            vclock_drop(v->global);
            v->global = NULL;
        }
        if (!rmw || v->cta != c->id) {
            vclock_drop(v->local);
            v->local = NULL;
        }
        v->cta = c->id;
        join(&v->local, local);
        join(&v->global, global);
        v->version++;
    }
    vclock_drop(local);
    vclock_drop(global);
}

void race_strong_access(race_cta *c, uint32_t thread, uint64_t space, uint64_t addr, const sim_access *a) {
    const int acquire = a->order == SIM_ACQUIRE || a->order == SIM_ACQ_REL;
    const int release = a->order == SIM_RELEASE || a->order == SIM_ACQ_REL;
    if (a->kind != SIM_WRITE) strong_past(c, thread, var_at(space, addr, 0), acquire, a->cta_scope);
    if (a->kind != SIM_READ) strong_write(c, thread, space, addr, release, a->cta_scope, a->kind == SIM_ATOMIC);
}

void race_vars_free(void) {
    for (int i = 0; i < N_HASH; i++)
        while (g_vars[i]) {
            sync_var *v = g_vars[i];
            g_vars[i] = v->next;
            vclock_drop(v->global);
            vclock_drop(v->local);
            free(v);
        }
}
