/* depend.c: dependent launches. A kernel that is launched so may begin when all CTAs of the kernel before it have allowed it
 * (griddepcontrol.launch_dependents) or ended, and then all that it knows is what was done before that chain of launches
 * began: the kernel before may itself be waiting for the one before it. griddepcontrol.wait ends when the kernel before is
 * done and its writes are seen. Here kernels run one after the other, so that nothing goes wrong by itself; instead it is
 * refused what could go wrong:
 *   a read before the wait of a word that a kernel of the chain has written
 *   a write before the wait, wherever it goes: a kernel before may still read or write there
 *   a read through the non-coherent cache (ld.global.nc, ldu) of a word that a kernel of the chain has written, after the wait
 *   too: the line may have been fetched before
 *   a thread that ends without having waited: a kernel that is done must mean that all before it are
 * A chain is a run of dependent launches in one stream, with the launch that it begins with. Every thread waits for itself.
 * Words are 4 bytes. What bulk copies and the host do is left out: bulk copies are no accesses of threads, and the host's copies
 * and sets break the chain. */
#include "depend.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "op.h"
#include "report.h"

enum { KEPT = 8192 }; /* launches whose names and chains are remembered: a chain is one graph's at most */
static struct {
    uint32_t serial, chain;
    char name[64];
} g_launch[KEPT];
static uint32_t g_serial, g_chain_n;
static uint32_t g_chain[SIM_CAPTURE_STREAMS]; /* of each stream; 0: its next launch begins one */

void sim_depend_break(int stream) {
    if (stream >= 0) g_chain[stream] = 0;
    else memset(g_chain, 0, sizeof g_chain);
}

void sim_depend_begin(sim_launch *l, int stream, int dependent) {
    l->early = dependent && g_chain[stream];
    if (!l->early) g_chain[stream] = ++g_chain_n;
    l->chain = g_chain[stream];
    l->serial = ++g_serial;
    g_launch[l->serial % KEPT].serial = l->serial;
    g_launch[l->serial % KEPT].chain = l->chain;
    snprintf(g_launch[l->serial % KEPT].name, sizeof g_launch[0].name, "%s", sim_func_name(l->func));
}

/* Who wrote the word last, by a launch's serial: of all that this process has run under the check. */
static uint32_t *writer_of(const sim_alloc *a, uint64_t addr) {
    if (!a->writers) {
        const size_t bytes = (a->size / 4 + 1) * sizeof(uint32_t);
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return NULL;
        sim_alloc *mine = (sim_alloc *)(uintptr_t)a; /* as in race.c */
        mine->writers = p;
        mine->writers_bytes = bytes;
    }
    return (uint32_t *)a->writers + (addr - a->base) / 4;
}

static int refuse(const sim_access *a, uint32_t lane, const char *verb, const char *why, const char *of) {
    const sim_alloc *m = sim_mem_find(a->addr[lane]);
    sim_report("%s line %u: CTA %llu thread %llu %s %u bytes at 0x%llx (offset %llu of allocation #%u, %s) %s%s",
               sim_func_name(a->func), a->line, (unsigned long long)a->cta, (unsigned long long)a->thread0 + lane, verb,
               a->bytes, (unsigned long long)a->addr[lane], (unsigned long long)(m ? a->addr[lane] - m->base : 0),
               m ? m->id : 0, m ? m->what : "unknown", why, of);
    return SIM_LAUNCH_FAILED;
}

static int check_lane(const sim_access *a, const sim_launch *l, uint32_t lane, int early) {
    const sim_alloc *m = sim_mem_find(a->addr[lane]);
    if (a->kind != SIM_READ && early)
        return refuse(a, lane, "writes", "before griddepcontrol.wait: kernels before it may still be at work", "");
    if (!m || a->bytes > m->size - (a->addr[lane] - m->base)) return 0;
    if (a->kind == SIM_READ && !(m->writers && (early || a->nc))) return 0;
    uint32_t *w = writer_of(m, a->addr[lane]);
    for (uint32_t i = 0; w && i <= (a->addr[lane] % 4 + a->bytes - 1) / 4; i++) {
        if (a->kind != SIM_READ) w[i] = l->serial;
        else if (w[i] && g_launch[w[i] % KEPT].serial == w[i] && g_launch[w[i] % KEPT].chain == l->chain)
            return refuse(a, lane, "reads",
                          early ? "before griddepcontrol.wait, where the result may not be there yet of "
                                : "through the non-coherent cache, which need not see the result of ",
                          g_launch[w[i] % KEPT].name);
    }
    return 0;
}

int sim_depend_access(const sim_access *a, const sim_launch *l, uint32_t waited) {
    int rc = 0;
    if (a->space != SIM_SPACE_GLOBAL) return 0;
    for (uint32_t q = a->mask; q && !rc; q &= q - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(q);
        rc = check_lane(a, l, lane, l->early && !(waited >> lane & 1));
    }
    return rc;
}

int sim_depend_exit(const sim_launch *l, uint64_t cta, uint64_t thread, uint32_t line) {
    sim_report("%s line %u: CTA %llu thread %llu ends without griddepcontrol.wait: that this kernel is done would not "
               "say that "
               "those before it are",
               sim_func_name(l->func), line, (unsigned long long)cta, (unsigned long long)thread);
    return SIM_LAUNCH_FAILED;
}
