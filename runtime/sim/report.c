/* report.c: see report.h. */
#include "report.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include "sim.h"

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static char g_report[4096];

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
