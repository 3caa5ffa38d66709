/* counters.c: what one warp instruction asks of memory. The caller's counters are a worker thread's own;
 * sums of integers, so the total does not depend on the number of threads.
 *
 * Global: a lane's bytes are [addr, addr+bytes). Lanes at one address are one request (a broadcast).
 * Sectors are the 32-byte lines touched.
 * Shared: 32 banks of 4 bytes. A warp instruction of up to 4 bytes a lane is one phase, of 8 bytes two
 * half-warp phases, of 16 bytes four quarter-warp phases. In a phase, distinct words of one bank are
 * served one after another; lanes that want the same word share it. */
#include "counters.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "../base/rng.h"

/* Sorts up to n keys and returns how many are distinct. n is at most 64. */
static uint32_t distinct(uint64_t *v, uint32_t n) {
    for (uint32_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        uint32_t j = i;
        for (; j && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
    uint32_t d = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!i || v[i] != v[i - 1]) v[d++] = v[i];
    return d;
}

static void count_global(qm_sim_counters *c, const sim_access *a) {
    uint64_t at[32], sector[64]; /* an access of at most 16 bytes touches at most two sectors */
    uint32_t n = 0, ns = 0;
    for (uint32_t l = 0; l < 32; l++) {
        if (!(a->mask >> l & 1)) continue;
        at[n++] = a->addr[l];
        sector[ns++] = a->addr[l] >> 5;
        if ((a->addr[l] + a->bytes - 1) >> 5 != a->addr[l] >> 5) sector[ns++] = (a->addr[l] + a->bytes - 1) >> 5;
    }
    const uint64_t bytes = (uint64_t)distinct(at, n) * a->bytes, sectors = distinct(sector, ns);
    if (a->kind != SIM_WRITE) { /* an atomic reads and writes */
        c->gld_bytes += bytes;
        c->gld_sectors += sectors;
        if (a->policy == SIM_EVICT_LAST) c->last_bytes += bytes;
        if (a->policy == SIM_EVICT_FIRST) c->first_bytes += bytes;
    }
    if (a->kind != SIM_READ) {
        c->gst_bytes += bytes;
        c->gst_sectors += sectors;
    }
}

static void count_shared(qm_sim_counters *c, const sim_access *a) {
    const uint32_t words = a->bytes <= 4 ? 1 : a->bytes / 4, lanes = 32 / words;
    c->shared_insts++;
    for (uint32_t first = 0; first < 32; first += lanes) {
        uint64_t w[32];
        uint32_t n = 0, per_bank[32] = {0}, passes = 0;
        for (uint32_t l = first; l < first + lanes; l++)
            if (a->mask >> l & 1)
                for (uint32_t k = 0; k < words; k++) w[n++] = (a->addr[l] >> 2) + k;
        n = distinct(w, n);
        for (uint32_t i = 0; i < n; i++)
            if (++per_bank[w[i] & 31] > passes) passes = per_bank[w[i] & 31];
        c->shared_wavefronts += passes;
    }
}

/* A sum of scrambled sector numbers: equal for equal multisets of sectors, and for hardly any others. */
void qm_sim_expect_prefetch(qm_sim_counters *c, uint64_t address, uint64_t bytes) {
    for (uint64_t at = address; at < address + bytes; at += 32) {
        c->prefetches++;
        c->prefetch_digest += qm_rng_u64(&(qm_rng){at / 32});
    }
}

void qm_sim_expect_async(qm_sim_counters *c, uint64_t address, uint64_t bytes) {
    c->async_bytes += bytes;
    for (uint64_t at = address; at < address + bytes; at += 4) c->async_digest += qm_rng_u64(&(qm_rng){at / 4});
}

void sim_count_access(qm_sim_counters *c, const sim_access *a) {
    if (!a->mask) return;
    if (a->kind == SIM_ATOMIC) c->atomics += (uint64_t)__builtin_popcount(a->mask);
    if (a->space == SIM_SPACE_GLOBAL) count_global(c, a);
    else count_shared(c, a);
}

/* ---- sums ---- */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
typedef struct counted {
    struct counted *next;
    qm_sim_counters c;
    char entry[];
} counted;
static qm_sim_counters g_sum;
static counted *g_kernels;

static void add(qm_sim_counters *s, const qm_sim_counters *c) {
    s->launches += c->launches;
    s->dependents += c->dependents;
    s->warp_insts += c->warp_insts;
    s->thread_insts += c->thread_insts;
    s->gld_bytes += c->gld_bytes;
    s->gst_bytes += c->gst_bytes;
    s->gld_sectors += c->gld_sectors;
    s->gst_sectors += c->gst_sectors;
    s->last_bytes += c->last_bytes;
    s->first_bytes += c->first_bytes;
    s->shared_wavefronts += c->shared_wavefronts;
    s->prefetches += c->prefetches;
    s->prefetch_digest += c->prefetch_digest;
    s->async_bytes += c->async_bytes;
    s->async_digest += c->async_digest;
    s->shared_insts += c->shared_insts;
    s->mma_int += c->mma_int;
    s->mma_float += c->mma_float;
    s->atomics += c->atomics;
    s->barriers += c->barriers;
}

void sim_counters_add(const char *entry, const qm_sim_counters *c) {
    pthread_mutex_lock(&g_lock);
    add(&g_sum, c);
    counted *k = g_kernels;
    while (k && strcmp(k->entry, entry)) k = k->next;
    if (!k && (k = calloc(1, sizeof *k + strlen(entry) + 1))) {
        strcpy(k->entry, entry);
        k->next = g_kernels;
        g_kernels = k;
    }
    if (k) add(&k->c, c);
    pthread_mutex_unlock(&g_lock);
}

void qm_sim_counters_get(qm_sim_counters *c) {
    pthread_mutex_lock(&g_lock);
    *c = g_sum;
    pthread_mutex_unlock(&g_lock);
}

void qm_sim_counters_reset(void) {
    pthread_mutex_lock(&g_lock);
    memset(&g_sum, 0, sizeof g_sum);
    while (g_kernels) {
        counted *k = g_kernels;
        g_kernels = k->next;
        free(k);
    }
    pthread_mutex_unlock(&g_lock);
}

int qm_sim_counters_kernel(const char *entry, qm_sim_counters *c) {
    pthread_mutex_lock(&g_lock);
    counted *k = g_kernels;
    while (k && strcmp(k->entry, entry)) k = k->next;
    if (k) *c = k->c;
    else memset(c, 0, sizeof *c);
    pthread_mutex_unlock(&g_lock);
    return k != NULL;
}
