/* options.c: sim's settings. A value of the environment that cannot be meant is refused by name: a check
 * that is misspelt must not be a check that is off. */
#include "options.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char *why; /* "" until the first mistake, which is kept */
    size_t n;
} reader;

/* Sets *v to a number within lo..hi, K, M or G allowed after it; leaves it alone where the variable is not set. */
static void number(reader *r, const char *name, uint64_t lo, uint64_t hi, uint64_t *v) {
    const char *s = getenv(name);
    if (!s || !*s || r->why[0]) return;
    char *end;
    uint64_t x = strtoull(s, &end, 0);
    int shift = 0, bad = end == s || *s == '-';
    for (const char *unit = "KMG", *p = strchr(unit, *end & ~0x20); *end && p; end++, p = NULL)
        shift = 10 * (int)(p - unit + 1);
    if (bad || *end || x > UINT64_MAX >> shift || x << shift < lo || x << shift > hi)
        snprintf(r->why, r->n, "%s=%s: expected a number within %llu..%llu", name, s, (unsigned long long)lo,
                 (unsigned long long)hi);
    else *v = x << shift;
}

/* A list of words: each is one of word[0..2], and sets *on[i]. */
static void words(reader *r, const char *name, const char *const word[3], int *const on[3]) {
    const char *s = getenv(name);
    while (s && *s && !r->why[0]) {
        size_t n = strcspn(s, ",");
        int known = 0;
        for (int i = 0; i < 3; i++)
            if (n == strlen(word[i]) && !strncmp(s, word[i], n)) *on[i] = known = 1;
        if (!known)
            snprintf(r->why, r->n, "%s: '%.*s' is not one of: %s, %s, %s", name, (int)n, s, word[0], word[1], word[2]);
        s += n + (s[n] == ',');
    }
}

/* "eager", "lazy" or "lazy:SEED" */
static void order(reader *r, const char *name, int *lazy, uint64_t *seed) {
    const char *s = getenv(name);
    if (!s || !*s || r->why[0] || !strcmp(s, "eager")) return;
    char *end = NULL;
    if (!strncmp(s, "lazy:", 5) && s[5] >= '0' && s[5] <= '9') *seed = strtoull(s + 5, &end, 0);
    if (strcmp(s, "lazy") && (!end || *end))
        snprintf(r->why, r->n, "%s=%s: expected eager, lazy or lazy:SEED", name, s);
    else *lazy = 1;
}

void sim_env_read(qm_sim_options *o, int *cc, char *why, size_t why_n) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t sms = 4, threads = cores > 0 ? (uint64_t)cores : 1, count = 0, seed = 0, arch = 80, lost_at = 0;
    uint64_t mem = pages > 0 && page > 0 ? (uint64_t)pages / 2 * (uint64_t)page : (uint64_t)2 << 30;
    reader r = {why, why_n};
    why[0] = 0;
    *o = (qm_sim_options){0};
    number(&r, "QMOE_SIM_SMS", 1, 1024, &sms);
    number(&r, "QMOE_SIM_THREADS", 1, 1024, &threads);
    number(&r, "QMOE_SIM_MEM", 1 << 20, (uint64_t)1 << 46, &mem);
    number(&r, "QMOE_SIM_SEED", 0, UINT64_MAX, &seed);
    number(&r, "QMOE_SIM_COUNT", 0, 1, &count);
    number(&r, "QMOE_SIM_CC", 80, 129, &arch);
    number(&r, "QMOE_SIM_LOST", 1, UINT64_MAX, &lost_at);
    words(&r, "QMOE_SIM_CHECK", (const char *const[]){"races", "uninit", "dependent"},
          (int *const[]){&o->check_races, &o->check_uninit, &o->check_dependent});
    order(&r, "QMOE_SIM_ORDER", &o->lazy, &o->order_seed);
    const char *isa = getenv("QMOE_SIM_ISA"); /* read where the handlers are chosen, exec_table.c */
    if (isa && !why[0] && strcmp(isa, "base") && strcmp(isa, "avx2") && strcmp(isa, "avx512"))
        snprintf(why, why_n, "QMOE_SIM_ISA=%s: expected base, avx2 or avx512", isa);
    o->n_sm = (int)sms;
    o->threads = (int)threads;
    o->mem_bytes = (size_t)mem;
    o->sched_seed = seed;
    o->count = (int)count;
    o->lost_at = lost_at;
    *cc = (int)arch;
}

/* ---- the settings in force: process-wide ---- */
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static qm_sim_options g_opt, g_default;
static int g_cc = 80;

static void init_options(void) {
    char why[256]; /* a mistake has been reported by qm_sim_driver */
    sim_env_read(&g_default, &g_cc, why, sizeof why);
    g_opt = g_default;
}

void qm_sim_get_options(qm_sim_options *o) {
    pthread_once(&g_once, init_options);
    *o = g_opt;
}

void qm_sim_set_options(const qm_sim_options *o) {
    pthread_once(&g_once, init_options);
    g_opt = *o;
    if (g_opt.n_sm < 1 || g_opt.n_sm > 1024) g_opt.n_sm = g_default.n_sm;
    if (g_opt.threads < 1 || g_opt.threads > 1024) g_opt.threads = g_default.threads;
    if (!g_opt.mem_bytes) g_opt.mem_bytes = g_default.mem_bytes;
}

int sim_cc(void) {
    pthread_once(&g_once, init_options);
    return g_cc;
}
