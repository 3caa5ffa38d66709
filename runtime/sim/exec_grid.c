/* exec_grid.c: runs a grid: CTAs resident or in waves, worker threads over them, and the verdict when nothing moves any
 * more. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "machine.h"
#include "report.h"
#include "run.h"

#define IDLE_ROUNDS 4000       /* rounds of nothing but waiting before a worker calls itself stuck */
#define IDLE_BITS 16           /* more workers than the host could run */
#define IDLE_INSTS 40000000ull /* or this many instructions without any effect */
#define SPAWN_AFTER 40000ull   /* warp instructions that one thread runs before help is called */

static int take(sim_run_state *rs, uint64_t *at) {
    uint64_t r = atomic_load(&rs->resident);
    do
        if (r >= rs->max_resident) return 0;
    while (!atomic_compare_exchange_weak(&rs->resident, &r, r + 1));
    uint64_t i = atomic_fetch_add(&rs->next, 1);
    if (i >= rs->n_cta) {
        atomic_fetch_sub(&rs->resident, 1);
        return 0;
    }
    *at = i;
    return 1;
}

typedef struct {
    sim_cta **v;
    int n, cap;
    sim_cta *spare;
} cta_list;

static int list_start(sim_worker *wk, cta_list *s, uint64_t at) {
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 8;
        sim_cta **v = realloc(s->v, sizeof *v * (size_t)cap);
        if (!v) return -1;
        s->v = v;
        s->cap = cap;
    }
    sim_cta *c = s->spare ? s->spare : sim_cta_new(wk);
    s->spare = NULL;
    if (!c) return -1;
    sim_cta_start(c, at);
    s->v[s->n++] = c;
    return 0;
}

static void report_deadlock(sim_worker *wk, const cta_list *s) {
    char b[3000] = "";
    for (int i = 0; i < s->n && strlen(b) + 200 < sizeof b; i++)
        sim_cta_describe(s->v[i], b + strlen(b), sizeof b - strlen(b));
    sim_report("%s: deadlock: %d resident CTAs wait and nothing changes (grid %u x %u x %u%s)%s", wk->f->name, s->n,
               wk->l->grid[0], wk->l->grid[1], wk->l->grid[2],
               wk->l->cooperative ? ", cooperative" : "; CTAs beyond the resident ones have not started", b);
    wk->fault = SIM_DEADLOCK;
}

/* One more worker has found nothing to do since epoch `seen`. A count of an older epoch is void: its workers
 * have not yet looked at what changed since. */
static void call_idle(sim_run_state *rs, uint64_t seen) {
    uint64_t was = atomic_load(&rs->idle), now;
    do {
        if (was >> IDLE_BITS > seen) return;
        now = was >> IDLE_BITS == seen ? was + 1 : seen << IDLE_BITS | 1;
    } while (!atomic_compare_exchange_weak(&rs->idle, &was, now));
}
/* `active` is read first: who leaves has raised the epoch before, so that the count read after it is void too. */
static int all_idle(sim_run_state *rs, uint64_t seen) {
    const uint64_t active = (uint64_t)atomic_load(&rs->active), idle = atomic_load(&rs->idle);
    return atomic_load(&rs->epoch) == seen && idle >> IDLE_BITS == seen && (idle & ((1u << IDLE_BITS) - 1)) >= active;
}

static void worker_run(sim_worker *wk, uint64_t stop_after) {
    sim_run_state *rs = wk->rs;
    cta_list s = {0};
    uint64_t at, idle_from = wk->n_insts, seen = atomic_load(&rs->epoch), mine = wk->progress;
    int waits = 0, is_idle = 0, failed = 0;
    if (rs->l->cooperative) /* all of a worker's share at once */
        for (uint64_t i = (uint64_t)wk->index; i < rs->n_cta && !failed; i += (uint64_t)rs->n_workers)
            failed = list_start(wk, &s, i) < 0;
    for (;;) {
        if (failed) {
            sim_report("%s: the host is out of memory for resident CTAs", wk->f->name);
            wk->fault = SIM_LAUNCH_FAILED;
            break;
        }
        if (atomic_load_explicit(&rs->fault, memory_order_relaxed)) break;
        if (!s.n) {
            if (rs->l->cooperative || wk->n_insts >= stop_after || !take(rs, &at)) break;
            failed = list_start(wk, &s, at) < 0;
            continue;
        }
        int moved = 0, fault = 0;
        for (int i = 0; i < s.n; i++) {
            int rc = sim_cta_round(wk, s.v[i]);
            if (rc == C_FAULT) {
                fault = 1;
                break;
            }
            if (rc == C_DONE) {
                if (s.v[i]->shadow) sim_check_cta_end(s.v[i]->shadow);
                s.v[i]->shadow = NULL;
                if (s.spare) sim_cta_free(s.v[i]);
                else s.spare = s.v[i];
                s.v[i--] = s.v[--s.n];
                if (!rs->l->cooperative) atomic_fetch_sub(&rs->resident, 1);
                moved = 1;
            } else if (rc == C_MOVED) moved = 1;
        }
        if (fault) break;
        if (wk->progress != mine) {
            mine = wk->progress;
            atomic_fetch_add_explicit(&rs->epoch, 1, memory_order_relaxed);
        }
        uint64_t now = atomic_load_explicit(&rs->epoch, memory_order_relaxed);
        if (now != seen) {
            seen = now;
            waits = 0;
            idle_from = wk->n_insts;
            is_idle = 0; /* what was counted for an older epoch no longer counts */
            if (moved) continue;
        }
        if (!moved) {
            if (++waits % 4 == 0) sched_yield();
            /* this wave waits for something: let the next resident CTA in */
            if (!rs->l->cooperative && waits > 64 && take(rs, &at)) failed = list_start(wk, &s, at) < 0, waits = 0;
        }
        if (!is_idle && (waits > IDLE_ROUNDS || wk->n_insts - idle_from > IDLE_INSTS)) {
            is_idle = 1;
            call_idle(rs, seen);
        }
        if (is_idle && all_idle(rs, seen)) {
            report_deadlock(wk, &s);
            break;
        }
    }
    if (wk->fault) {
        int none = 0;
        atomic_compare_exchange_strong(&rs->fault, &none, wk->fault);
    }
    atomic_fetch_sub(&rs->active, 1);
    for (int i = 0; i < s.n; i++) {
        if (s.v[i]->shadow) sim_check_cta_end(s.v[i]->shadow);
        sim_cta_free(s.v[i]);
    }
    sim_cta_free(s.spare);
    free(s.v);
}

static void *worker_main(void *p) {
    worker_run(p, UINT64_MAX);
    return NULL;
}

static int launch_ok(const sim_launch *l) {
    const sim_func *f = l->func;
    uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
    if (!threads || threads > 1024 || !l->grid[0] || !l->grid[1] || !l->grid[2]) return 0;
    if (threads > f->max_threads) return 0;
    if (f->reqntid[0] && memcmp(f->reqntid, l->block, sizeof f->reqntid)) return 0;
    return l->grid[1] <= 65535 && l->grid[2] <= 65535 && l->grid[0] <= 0x7fffffff;
}

static uint64_t gcd(uint64_t a, uint64_t b) { return b ? gcd(b, a % b) : a; }

static sim_permutation permutation_of(uint64_t n, uint64_t seed) {
    sim_permutation p = {.n = n};
    if (!seed) return p;
    p.mul = (seed * 6364136223846793005ull >> 33) % n | 1;
    while (gcd(p.mul % n, n) != 1 && n > 1) p.mul++;
    p.add = (seed * 1442695040888963407ull >> 33) % n;
    return p;
}

int sim_run(const sim_launch *l, qm_sim_counters *out) {
    if (!launch_ok(l)) {
        sim_report("%s: cannot launch grid %u x %u x %u of %u x %u x %u threads (at most %u a CTA%s)", l->func->name,
                   l->grid[0], l->grid[1], l->grid[2], l->block[0], l->block[1], l->block[2], l->func->max_threads,
                   l->func->reqntid[0] ? ", .reqntid given" : "");
        return SIM_LAUNCH_FAILED;
    }
    const qm_sim_options *o = &l->opt;
    sim_run_state rs = {.l = l, .n_cta = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2]};
    uint32_t threads = l->block[0] * l->block[1] * l->block[2];
    int occ = sim_occupancy(l->func, threads, l->dyn_shared), sms = o->n_sm > 0 ? o->n_sm : 4;
    rs.max_resident = (uint64_t)(occ > 0 ? occ : 1) * (uint64_t)sms;
    if (l->cooperative && rs.n_cta > rs.max_resident) {
        sim_report("%s: a cooperative grid of %llu CTAs does not fit: %d SMs hold %d each", l->func->name,
                   (unsigned long long)rs.n_cta, sms, occ);
        return SIM_LAUNCH_FAILED;
    }
    const int checked = o->check_races || o->check_uninit || o->check_dependent;
    int n = o->threads > 1 && !checked ? o->threads : 1; /* the shadows are read and written in turn */
    if ((uint64_t)n > rs.n_cta) n = (int)rs.n_cta;
    if (n > 64) n = 64;
    rs.n_workers = n;
    rs.order = permutation_of(rs.n_cta, o->sched_seed);
    rs.sms = permutation_of((uint64_t)sms, o->sched_seed ? o->sched_seed ^ 0x9e3779b97f4a7c15u : 0);
    if (o->check_races || o->check_uninit) sim_check_launch_begin(l);
    uint8_t *params = malloc(l->func->param_bytes + 16);
    sim_worker *wk = calloc((size_t)n, sizeof *wk);
    if (!params || !wk) {
        free(params);
        free(wk);
        sim_report("%s: the host is out of memory", l->func->name);
        return SIM_LAUNCH_FAILED;
    }
    if (l->func->param_bytes) memcpy(params, l->params, l->func->param_bytes);
    const int hooked = checked || o->count;
    for (int i = 0; i < n; i++) {
        wk[i].rs = &rs;
        wk[i].l = l;
        wk[i].f = l->func;
        wk[i].hooked = hooked;
        wk[i].tab = hooked ? sim_handlers_checked() : sim_handlers();
        wk[i].params = params;
        wk[i].index = i;
    }
    pthread_t th[64];
    int started = 0;
    rs.active = 1;
    if (!l->cooperative && n > 1) worker_run(&wk[0], SPAWN_AFTER); /* most launches end here */
    if (l->cooperative || (!rs.fault && rs.next < rs.n_cta) || n == 1) {
        rs.active = n;
        for (int i = 1; i < n; i++) {
            if (pthread_create(&th[started], NULL, worker_main, &wk[i])) {
                if (l->cooperative) worker_main(&wk[i]); /* cannot be left out; may deadlock, and will say so */
                else atomic_fetch_sub(&rs.active, 1);
            } else started++;
        }
        worker_run(&wk[0], UINT64_MAX);
        for (int i = 0; i < started; i++) pthread_join(th[i], NULL);
    }
    for (int i = 0; i < n; i++) {
        const uint64_t *a = (const uint64_t *)&wk[i].c;
        uint64_t *b = (uint64_t *)out;
        wk[i].c.warp_insts = wk[i].n_insts;
        for (size_t k = 0; k < sizeof *out / sizeof *b; k++) b[k] += a[k];
    }
    out->launches++;
    out->dependents += l->dependent != 0;
    if (o->check_races || o->check_uninit) sim_check_launch_end(l);
    free(params);
    free(wk);
    return rs.fault;
}
