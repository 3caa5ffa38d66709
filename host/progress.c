/* progress.c: one line on stderr that says how far a long computation is, where a person watches; it is gone when the
 * next thing is printed. */
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

/* Whether to draw now: the first line comes after a tenth of a second, no other sooner after the last. */
static int due(qm_progress *p, uint64_t done) {
    if (!p->on) return 0;
    double t = now();
    if (!p->shown && p->start == 0) p->start = p->last = t, p->from = done;
    if (t - p->last < 0.1) return 0;
    p->last = t;
    return 1;
}

/* A line that wraps could not be written over. */
static void draw(qm_progress *p, const char *line) {
    struct winsize w;
    int columns = !ioctl(2, TIOCGWINSZ, &w) && w.ws_col ? w.ws_col : 80;
    fprintf(stderr, "\r%.*s\033[K", columns - 1, line);
    p->shown = 1;
}

void qm_progress_show(qm_progress *p, const char *what, uint64_t done, uint64_t of) {
    char left[32], line[256];
    if (!due(p, done)) return;
    double rate = (double)(done - p->from) / (p->last - p->start);
    int n =
        snprintf(line, sizeof line, "%s %llu of %llu tokens", what, (unsigned long long)done, (unsigned long long)of);
    if (done > p->from && n < (int)sizeof line)
        snprintf(line + n, sizeof line - (size_t)n, ", %.1f tok/s, %s left", rate,
                 duration(left, sizeof left, (double)(of - done) / rate));
    draw(p, line);
}

void qm_progress_bytes(qm_progress *p, uint64_t done, uint64_t of) {
    char a[32], b[32], c[32], left[32], line[256];
    if (!of || !due(p, done)) return;
    double rate = (double)(done - p->from) / (p->last - p->start);
    int n = snprintf(line, sizeof line, "%5.1f%%  %s of %s", 100 * (double)done / (double)of,
                     qm_host_bytes(a, sizeof a, done), qm_host_bytes(b, sizeof b, of));
    if (done > p->from)
        snprintf(line + n, sizeof line - (size_t)n, ", %s/s, %s left", qm_host_bytes(c, sizeof c, (uint64_t)rate),
                 duration(left, sizeof left, (double)(of - done) / rate));
    draw(p, line);
}

void qm_progress_wipe(qm_progress *p) {
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = 0;
}

void qm_progress_end(qm_progress *p) {
    qm_progress_wipe(p);
    p->on = 0;
}
