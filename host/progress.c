/* progress.c: one line on stderr that says how far a long computation is, where a person watches; it is gone when the next thing
 * is printed. */
#include "run.h"
#include <sys/ioctl.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void qm_progress_begin(qm_progress *p, int wanted) { *p = (qm_progress){.on = wanted && qm_run_smart(2)}; }

/* "9 s", "5:07", "1:05:07" */
static const char *duration(char *buf, size_t n, double s) {
    unsigned t = s < 4e9 ? (unsigned)(s + 0.5) : 4000000000u;
    if (t < 60) snprintf(buf, n, "%u s", t);
    else if (t < 3600) snprintf(buf, n, "%u:%02u", t / 60, t % 60);
    else snprintf(buf, n, "%u:%02u:%02u", t / 3600, t / 60 % 60, t % 60);
    return buf;
}

void qm_progress_show(qm_progress *p, const char *what, uint64_t done, uint64_t of) {
    char left[32], line[256];
    struct winsize w;
    if (!p->on) return;
    double t = now();
    if (!p->shown && p->start == 0) p->start = p->last = t, p->from = done; /* the first line comes after a tenth of a second */
    if (t - p->last < 0.1) return;
    p->last = t;
    double rate = (double)(done - p->from) / (t - p->start);
    int n = snprintf(line, sizeof line, "%s %llu of %llu tokens", what, (unsigned long long)done, (unsigned long long)of);
    if (done > p->from && n < (int)sizeof line)
        snprintf(line + n, sizeof line - (size_t)n, ", %.1f tok/s, %s left", rate, duration(left, sizeof left, (double)(of - done) / rate));
    /* A line that wraps could not be written over. */
    int columns = !ioctl(2, TIOCGWINSZ, &w) && w.ws_col ? w.ws_col : 80;
    fprintf(stderr, "\r%.*s\033[K", columns - 1, line);
    p->shown = 1;
}

void qm_progress_end(qm_progress *p) {
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = p->on = 0;
}
