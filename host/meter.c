/* meter.c: see meter.h. */
#include "meter.h"
#include "host.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void qm_meter_begin(qm_meter *m, int quiet) { *m = (qm_meter){.on = !quiet && isatty(STDERR_FILENO), .start = now()}; }

void qm_meter_wipe(qm_meter *m) {
    if (m->shown) fputs("\r\033[K", stderr);
    m->shown = 0;
}

void qm_meter_show(qm_meter *m, uint64_t done, uint64_t total) {
    double t = now(), s = t - m->start;
    if (!m->on || !total || (t - m->last < 0.1 && done < total)) return;
    char a[32], b[32], c[32];
    m->last = t;
    m->shown = 1;
    fprintf(stderr, "\r\033[K%5.1f%%  %s of %s", 100 * (double)done / (double)total, qm_host_bytes(a, sizeof a, done),
            qm_host_bytes(b, sizeof b, total));
    if (s < 0.2 || !done) return; /* too early for a rate */
    double rate = (double)done / s, left = (double)(total - done) / rate;
    unsigned long long k = left < 1e6 ? (unsigned long long)(left + 0.5) : 1000000;
    fprintf(stderr, ", %s/s, ", qm_host_bytes(c, sizeof c, (uint64_t)rate));
    if (k >= 3600) fprintf(stderr, "%llu:%02llu:%02llu left", k / 3600, k / 60 % 60, k % 60);
    else fprintf(stderr, "%llu:%02llu left", k / 60, k % 60);
}
