/* cache.c: entries are files named by their key: a header (magic, key, length, sum of the payload), then
 * the payload. The sum finds damage; outfile.h keeps a reader from ever seeing half a file. */
#include "cache.h"
#include "trust.h"
#include "../base/log.h"
#include "../file/outfile.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ENTRY (256u << 20) /* no entry of ours comes near: a longer file is not one */

typedef struct {
    char magic[8]; /* "qmcache1" */
    qm_cache_key key;
    uint64_t bytes;
    qm_cache_key sum;
} entry_header;

/* FNV-1a, 64 bits (Fowler, Noll, Vo), from two starts: the standard offset basis and another odd word.
 * It guards against accidents; against others the folder's owner and mode do. */
qm_cache_key qm_cache_key_begin(void) { return (qm_cache_key){0xcbf29ce484222325u, 0x9e3779b97f4a7c15u}; }

void qm_cache_key_add(qm_cache_key *h, const void *p, size_t n) {
    const uint8_t *s = p;
    uint64_t a = h->a, b = h->b;
    for (size_t i = 0; i < n; i++) {
        a = (a ^ s[i]) * 0x100000001b3u;
        b = (b ^ s[i]) * 0x100000001b3u;
        b ^= b >> 29; /* keeps the two sums from moving in step */
    }
    h->a = a;
    h->b = b;
}

void qm_cache_key_add_str(qm_cache_key *h, const char *s) { qm_cache_key_add(h, s, strlen(s) + 1); }

int qm_cache_dir(char *dir, size_t n) {
    static const struct {
        const char *var, *rest;
    } from[] = {{"QMOE_CACHE", ""}, {"XDG_CACHE_HOME", "/qmoe-gpu"}, {"HOME", "/.cache/qmoe-gpu"}};
    static atomic_int warned;
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        const char *v = getenv(from[i].var);
        if (!v || !*v) continue;
        if (*v != '/') { /* the XDG base directory specification: to be ignored */
            if (!(atomic_fetch_or(&warned, 1 << i) & 1 << i))
                qm_log(QM_LOG_WARN, "%s is not an absolute path: ignored", from[i].var);
            continue;
        }
        int len = snprintf(dir, n, "%s%s", v, from[i].rest);
        return len > 0 && (size_t)len < n ? 0 : -1;
    }
    return -1;
}

/* Compiled kernels are code: they come from a folder, and from files in it, that nobody else can write. */
static int trusted(const struct stat *st, const char *path, const char *what) {
    static atomic_int warned;
    const char *why = st->st_uid != geteuid() ? "it belongs to another user" : qm_untrusted_stat(st);
    if (!why && S_ISDIR(st->st_mode) && st->st_mode & 022) why = "others may write it (chmod go-w)"; /* sticky or not */
    if (!why) return 1;
    if (!atomic_exchange(&warned, 1)) qm_log(QM_LOG_WARN, "cache: the %s %s is not used: %s", what, path, why);
    return 0;
}

static int entry_path(const qm_cache_key *key, char *path, size_t n) {
    char dir[3072];
    if (qm_cache_dir(dir, sizeof dir)) return -1;
    int len = snprintf(path, n, "%s/%016" PRIx64 "%016" PRIx64, dir, key->a, key->b);
    return len > 0 && (size_t)len < n ? 0 : -1;
}

static int read_all(int fd, void *p, size_t n) {
    for (char *s = p; n;) {
        ssize_t k = read(fd, s, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return -1;
        s += k;
        n -= (size_t)k;
    }
    return 0;
}

/* The header as it stands before `payload`. */
static entry_header make_header(const qm_cache_key *key, const void *payload, size_t bytes) {
    entry_header h = {.key = *key, .bytes = bytes, .sum = qm_cache_key_begin()};
    memcpy(h.magic, "qmcache1", 8);
    qm_cache_key_add(&h.sum, payload, bytes);
    return h;
}

void *qm_cache_get(const qm_cache_key *key, size_t *bytes) {
    char path[4096], dir[3072];
    struct stat st;
    *bytes = 0;
    if (entry_path(key, path, sizeof path) || qm_cache_dir(dir, sizeof dir)) return NULL;
    int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC); /* held: what is judged is what is read from */
    if (folder < 0) return NULL;
    int fd = !fstat(folder, &st) && trusted(&st, dir, "folder")
                 ? openat(folder, strrchr(path, '/') + 1, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW)
                 : -1;
    close(folder);
    if (fd < 0) return NULL;
    entry_header h, want;
    char *p = NULL;
    int good = 0;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) goto out;
    if (!trusted(&st, path, "file")) {
        close(fd);
        return NULL;
    }
    if (read_all(fd, &h, sizeof h)) goto out;
    if (h.bytes > MAX_ENTRY || (uint64_t)st.st_size != sizeof h + h.bytes) goto out;
    p = malloc((size_t)h.bytes + 1);
    if (!p || read_all(fd, p, (size_t)h.bytes)) goto out;
    want = make_header(key, p, (size_t)h.bytes);
    good = !memcmp(&h, &want, sizeof h);
out:
    close(fd);
    if (!good) {
        qm_log(QM_LOG_DEBUG, "cache: %s is damaged: dropped", path);
        unlink(path);
        free(p);
        return NULL;
    }
    p[h.bytes] = 0;
    *bytes = (size_t)h.bytes;
    return p;
}

/* mkdir -p of dir, which is changed on the way and restored. */
static int make_dirs(char *dir) {
    for (char *s = dir + 1; *s; s++) {
        if (*s != '/') continue;
        *s = 0;
        int bad = mkdir(dir, 0700) && errno != EEXIST && errno != EROFS && errno != EACCES;
        *s = '/';
        if (bad) return -1;
    }
    return mkdir(dir, 0700) && errno != EEXIST ? -1 : 0;
}

void qm_cache_put(const qm_cache_key *key, const void *p, size_t bytes) {
    char path[4096], dir[3072];
    struct stat st;
    qm_outfile *f = NULL;
    qm_err e;
    if (bytes > MAX_ENTRY || entry_path(key, path, sizeof path) || qm_cache_dir(dir, sizeof dir)) {
        qm_log(QM_LOG_DEBUG, "cache: no folder to keep %zu bytes in", bytes);
        return;
    }
    if (make_dirs(dir) || stat(dir, &st)) {
        qm_log(QM_LOG_DEBUG, "cache: %s: %s", dir, strerror(errno));
        return;
    }
    if (!trusted(&st, dir, "folder")) return;
    entry_header h = make_header(key, p, bytes);
    if (qm_outfile_open(&f, path, QM_OUT_PRIVATE, &e) || qm_outfile_put(f, &h, sizeof h, &e) ||
        qm_outfile_put(f, p, bytes, &e) || qm_outfile_finish(f, &e))
        qm_log(QM_LOG_DEBUG, "cache: %s", e.msg);
    qm_outfile_close(f);
}
