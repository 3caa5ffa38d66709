/* common.c: messages, logging and small formatting shared by the commands. */
#include "host.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char *fmt, va_list ap) {
    fflush(stdout); /* keep the order right where both go to one place */
    char text[4096], line[4096];
    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "qmoe-gpu: %s\n", qm_text_show(line, sizeof line, text, strlen(text)));
}

qm_host_cache qm_cache;
const struct poptOption qm_cache_table[] = {
    {"cache-type-k", 0, POPT_ARG_STRING, &qm_cache.k, 0, "how keys are kept in the cache (default: f16)",
     qm_cache_types + 1},
    {"cache-type-v", 0, POPT_ARG_STRING, &qm_cache.v, 0, "how values are: as the keys", qm_cache_types + 1},
    POPT_TABLEEND};

char *qm_apart, *qm_dependent;
const struct poptOption qm_apart_table[] = {
    {"apart", 0, POPT_ARG_STRING, &qm_apart, 0,
     "what is an op of its own in a step of one row though one could compute "
     "more, with commas between: the results are the "
     "same, to measure what it brings (default: none)",
     qm_apart_words},
    {"dependent-launch", 0, POPT_ARG_STRING, &qm_dependent, 0,
     "an op begins while the one before it still runs, on compute capability 9.0 and "
     "later; the results are the same (default: auto, where it works)",
     "auto|on|off"},
    POPT_TABLEEND};

int qm_ubatch = INT_MIN;
const struct poptOption qm_ubatch_table[] = {{"ubatch", 0, POPT_ARG_INT, &qm_ubatch, 0,
                                              "positions of a prompt that are computed together at most, 1 to 512, "
                                              "rounded up to a power of two: fewer take less "
                                              "memory, the results are the same (default: 512)",
                                              "N"},
                                             POPT_TABLEEND};

int qm_ubatch_check(void) {
    if (qm_ubatch == INT_MIN) qm_ubatch = 0;
    else if (qm_ubatch < 1 || qm_ubatch > QM_UBATCH_MOST)
        return qm_host_usage("--ubatch %d: expected 1 to %d", qm_ubatch, QM_UBATCH_MOST);
    return -1;
}

void qm_host_say(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

int qm_host_usage(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    return QM_EXIT_USAGE;
}

int qm_host_fail(const qm_err *e) {
    qm_host_say("%s", e->msg[0] ? e->msg : "failed without a message");
    return QM_EXIT_FAIL;
}

int qm_host_open_fail(const qm_err *e, int ctx) {
    qm_host_fail(e);
    return e->code == QM_ERR_ARG || (e->code == QM_ERR_LIMIT && ctx > 0) ? QM_EXIT_USAGE : QM_EXIT_FAIL;
}

static void to_stderr(void *user, int level, const char *line) {
    const int *most = user;
    if (level > *most) return;
    fprintf(stderr, "qmoe-gpu: %s%s\n", level == QM_LOG_WARN ? "warning: " : "", line);
}

void qm_host_log(int level) {
    static int most;
    most = level;
    qm_log_set(to_stderr, &most);
}

int qm_host_write(void *file, const char *s, size_t n) { return fwrite(s, 1, n, file) != n; }

int qm_buffer_put(qm_buffer *b, const char *s, size_t n) {
    if (b->n + n + 1 > b->cap) {
        size_t cap = 2 * (b->n + n + 1);
        char *p = realloc(b->s, cap);
        if (!p) return -1;
        b->s = p;
        b->cap = cap;
    }
    if (n) memcpy(b->s + b->n, s, n);
    b->s[b->n += n] = 0;
    return 0;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Any other escape stays as it is; \x00 too: the text ends at a NUL. */
void qm_host_unescape(char *s) {
    static const char from[] = "nrt'\"\\", to[] = "\n\r\t'\"\\";
    if (!s) return;
    char *d = s;
    for (const char *at; *s; *d++ = *s++) {
        if (s[0] != '\\' || !s[1]) continue;
        if ((at = strchr(from, s[1]))) *++s = to[at - from];
        else if (s[1] == 'x' && hex(s[2]) >= 0 && hex(s[3]) >= 0 && (hex(s[2]) || hex(s[3]))) {
            s[3] = (char)(16 * hex(s[2]) + hex(s[3]));
            s += 3;
        }
    }
    *d = 0;
}

/* Edits between a and b: insert, delete, replace, swap of neighbours (optimal string alignment). */
static int edits(const char *a, const char *b) {
    enum { N = 40 };
    int d[N + 1][N + 1];
    int na = (int)strnlen(a, N), nb = (int)strnlen(b, N);
    for (int i = 0; i <= na; i++) d[i][0] = i;
    for (int j = 0; j <= nb; j++) d[0][j] = j;
    for (int i = 1; i <= na; i++)
        for (int j = 1; j <= nb; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[na][nb];
}

const char *qm_host_nearest(const char *word, const char *const *list, int n) {
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 1; /* more than a third wrong is not a slip */
    for (int i = 0; i < n; i++) {
        int e = edits(word, list[i]);
        /* An abbreviation is one edit's worth: "gen" means generate. */
        if (strlen(word) >= 3 && !strncmp(word, list[i], strlen(word)) && e > 1) e = 1;
        if (e < least || (e == least && !best)) {
            best = list[i];
            least = e;
        }
    }
    return best;
}

const char *qm_host_bytes(char *buf, size_t n, uint64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 999.5 && u < 6) v /= 1024, u++;
    snprintf(buf, n, u ? (v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s") : "%.0f %s", v, unit[u]);
    return buf;
}

/* On the software device a large model is an experiment, not a chat: say so before the load. About one and
 * a half instructions per weight, and 100 million 32-lane instructions a second: two cores with AVX-512 were
 * seen at up to three times that, older ones will be well under it. */
int qm_host_before_load(void *user, const qm_engine_info *i) {
    (void)user;
    double s = (double)i->bytes_per_token / 0.57 * 1.5 / 32 / 100e6;
    if (i->interpreted && s > 1)
        qm_host_say("%s; expect roughly %.0f s per token of prompt and answer for this model there", i->device_why, s);
    return 0;
}

void qm_host_notice(void *user, const char *line) {
    (void)user;
    qm_host_say("%s", line);
}
