/* report.c: sim's process-wide options, the report of the last fault, and the counters' sums. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back.h"

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static qm_sim_options g_opt, g_default;
static int g_cc = 80;
static char g_report[4096];

typedef struct counted {
    struct counted *next;
    qm_sim_counters c;
    char entry[];
} counted;
static qm_sim_counters g_sum;
static counted *g_kernels;

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

int sim_env_cc(void) {
    pthread_once(&g_once, init_options);
    return g_cc;
}

void sim_report(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&g_lock);
    if (!g_report[0]) vsnprintf(g_report, sizeof g_report, fmt, ap);
    pthread_mutex_unlock(&g_lock);
    va_end(ap);
}

void sim_report_clear(void) {
    pthread_mutex_lock(&g_lock);
    g_report[0] = 0;
    pthread_mutex_unlock(&g_lock);
}

const char *qm_sim_last_report(void) { return g_report; }

static void add(qm_sim_counters *s, const qm_sim_counters *c) {
    s->launches += c->launches;
    s->warp_insts += c->warp_insts;
    s->thread_insts += c->thread_insts;
    s->gld_bytes += c->gld_bytes;
    s->gst_bytes += c->gst_bytes;
    s->gld_sectors += c->gld_sectors;
    s->gst_sectors += c->gst_sectors;
    s->shared_wavefronts += c->shared_wavefronts;
    s->prefetches += c->prefetches;
    s->prefetch_digest += c->prefetch_digest;
    s->shared_insts += c->shared_insts;
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
