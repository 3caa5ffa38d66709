/* outfile.c: see outfile.h. The temporary file has no name where the file system can do that (O_TMPFILE): then nothing
 * is left behind even by SIGKILL. Else its name is noted (scratch.h) for whoever handles signals. */
#include "outfile.h"
#include "input.h"
#include "../base/scratch.h"
#include "../base/units.h"
#include "../qmoe.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BUF = 1 << 20, MAX_LINKS = 40 };

struct qm_outfile {
    char path[PATH_MAX], real[PATH_MAX]; /* as given, for messages; with links followed */
    char tmp[PATH_MAX];                  /* "": no name */
    int fd, flags, through;              /* through: no regular file */
    int replaces, entry;                 /* replaces: old is what stands there */
    struct stat old;
    uint64_t size; /* bytes handed to the kernel */
    qm_err err;    /* the first one; code 0: none */
    size_t n_buf;
    unsigned char buf[BUF];
};

static int fail(qm_outfile *f, int code, const char *what, qm_err *e) {
    if (!f->err.code) qm_fail(&f->err, code, "%s: %s: %s", f->path, what, strerror(errno));
    if (e) *e = f->err;
    return f->err.code;
}

/* The descriptor that a name stands for, /dev/fd/7; else -1. */
static int own_descriptor(const char *path) {
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t n = strlen(folders[i]);
        char *end;
        if (strncmp(path, folders[i], n) || path[n] < '0' || path[n] > '9') continue;
        long fd = strtol(path + n, &end, 10);
        if (!*end && fd <= INT_MAX) return (int)fd;
    }
    return -1;
}

/* real: the file that the last link of path names, there or not; *fd: the descriptor where it names one. */
static int follow(char real[PATH_MAX], const char *path, int *fd) {
    char to[PATH_MAX], next[PATH_MAX];
    size_t n = strlen(path);
    if (!n || path[n - 1] == '/') return errno = n ? EISDIR : ENOENT, -1;
    memcpy(real, path, n + 1);
    for (int i = 0; i < MAX_LINKS; i++) {
        if ((*fd = own_descriptor(real)) >= 0) return 0;
        ssize_t k = readlink(real, to, sizeof to - 1);
        if (k < 0) return errno == EINVAL || errno == ENOENT ? 0 : -1;
        to[k] = 0;
        const char *slash = strrchr(real, '/');
        int folder = slash && *to != '/' ? (int)(slash - real) + 1 : 0;
        if (snprintf(next, sizeof next, "%.*s%s", folder, real, to) >= PATH_MAX) return errno = ENAMETOOLONG, -1;
        memcpy(real, next, sizeof next);
    }
    return errno = ELOOP, -1;
}

/* A name in the same folder that nobody has. */
static int name_temporary(qm_outfile *f) {
    uint64_t r;
    if (getrandom(&r, sizeof r, 0) != sizeof r) return -1;
    const char *slash = strrchr(f->real, '/');
    int n = snprintf(f->tmp, sizeof f->tmp, "%.*s.qmoe-%016llx.part", slash ? (int)(slash - f->real) + 1 : 0, f->real,
                     (unsigned long long)r);
    if (n >= (int)sizeof f->tmp) return errno = ENAMETOOLONG, -1;
    f->entry = qm_scratch_add(f->tmp);
    return 0;
}

static void forget_temporary(qm_outfile *f) {
    qm_scratch_drop(f->entry);
    f->entry = -1;
    f->tmp[0] = 0;
}

/* What the nameless file of fd is linked by. */
static void nameless(char path[32], int fd) { snprintf(path, 32, "/proc/self/fd/%d", fd); }

static int open_temporary(qm_outfile *f) {
    char folder[PATH_MAX];
    const char *slash = strrchr(f->real, '/');
    mode_t mode = f->flags & QM_OUT_PRIVATE ? 0600 : 0666; /* less the umask: the kernel's work */
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - f->real) + 1 : 1, slash ? f->real : ".");
    if (!access("/proc/self/fd", X_OK)) f->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
    if (f->fd >= 0) return 0;
    if (name_temporary(f)) return -1;
    f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (f->fd < 0) forget_temporary(f);
    return f->fd < 0 ? -1 : 0;
}

static int open_target(qm_outfile *f, const char *path, qm_err *e) {
    int own = -1;
    const char *held;
    if (follow(f->real, path, &own)) return fail(f, QM_ERR_IO, "cannot open for writing", e);
    int there = own >= 0 ? !fstat(own, &f->old) : !stat(f->real, &f->old);
    if (!there && (own >= 0 || errno != ENOENT)) return fail(f, QM_ERR_IO, "cannot open for writing", e);
    if (there && S_ISREG(f->old.st_mode) && (held = qm_input_held(&f->old))) {
        qm_fail(&f->err, QM_ERR_ARG, "%s: is %s, which is read: the input cannot be the output too", f->path, held);
        return fail(f, QM_ERR_ARG, "", e);
    }
    if (there && S_ISDIR(f->old.st_mode)) return errno = EISDIR, fail(f, QM_ERR_IO, "cannot open for writing", e);
    f->through = own >= 0 || (there && !S_ISREG(f->old.st_mode));
    if (own >= 0) f->fd = fcntl(own, F_DUPFD_CLOEXEC, 3);
    else if (f->through) f->fd = open(f->real, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    else if (!there || !faccessat(AT_FDCWD, f->real, W_OK, AT_EACCESS)) { /* a file that is read-only stays as it is */
        f->replaces = there;
        open_temporary(f);
    }
    return f->fd < 0 ? fail(f, QM_ERR_IO, "cannot open for writing", e) : 0;
}

int qm_outfile_open(qm_outfile **out, const char *path, int flags, qm_err *e) {
    *out = NULL;
    qm_outfile *f = calloc(1, sizeof *f);
    if (!f) return qm_fail(e, QM_ERR_NOMEM, "%s: no memory for a writer", path);
    f->fd = f->entry = -1;
    f->flags = flags;
    snprintf(f->path, sizeof f->path, "%s", path);
    int rc = open_target(f, path, e);
    if (rc) {
        qm_outfile_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void qm_outfile_close(qm_outfile *f) {
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    if (f->tmp[0]) unlink(f->tmp);
    forget_temporary(f);
    free(f);
}

static int write_all(qm_outfile *f, const unsigned char *p, size_t n, qm_err *e) {
    while (n) {
        ssize_t k = write(f->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            if (!k) errno = ENOSPC;
            return fail(f, QM_ERR_IO, "writing failed", e);
        }
        p += k;
        n -= (size_t)k;
        f->size += (uint64_t)k;
    }
    return 0;
}

static int flush(qm_outfile *f, qm_err *e) {
    size_t n = f->n_buf;
    f->n_buf = 0;
    return write_all(f, f->buf, n, e);
}

int qm_outfile_put(qm_outfile *f, const void *p, size_t n, qm_err *e) {
    if (f->err.code) return fail(f, 0, "", e);
    if (n > BUF - f->n_buf && flush(f, e)) return f->err.code;
    if (n >= BUF) return write_all(f, p, n, e);
    if (n) memcpy(f->buf + f->n_buf, p, n);
    f->n_buf += n;
    return 0;
}

int qm_outfile_zeros(qm_outfile *f, uint64_t n, qm_err *e) {
    static const unsigned char zero[4096];
    if (f->err.code || flush(f, e)) return fail(f, 0, "", e);
    if (f->through) {
        for (size_t k; n && !f->err.code; n -= k) {
            k = n < sizeof zero ? (size_t)n : sizeof zero;
            qm_outfile_put(f, zero, k, e);
        }
        return f->err.code;
    }
    int far = __builtin_add_overflow(f->size, n, &f->size) || f->size > INT64_MAX;
    if (far) errno = EFBIG;
    if (far || ftruncate(f->fd, (off_t)f->size) || lseek(f->fd, (off_t)f->size, SEEK_SET) < 0)
        return fail(f, QM_ERR_IO, "cannot grow", e);
    return 0;
}

int qm_outfile_room(const qm_outfile *f, uint64_t need, qm_err *e) {
    struct statvfs st;
    if (f->through) return 0;
    if (fstatvfs(f->fd, &st))
        return qm_fail(e, QM_ERR_IO, "%s: cannot ask for free room: %s", f->path, strerror(errno));
    if ((uint64_t)st.f_bavail * st.f_frsize < need)
        return qm_fail(e, QM_ERR_LIMIT, "%s: needs %.3f GiB (%llu bytes), the disk has %.3f GiB free", f->path,
                       qm_gib((double)need), (unsigned long long)need,
                       qm_gib((double)st.f_bavail * (double)st.f_frsize));
    return 0;
}

/* Owner and mode of what is replaced. Only root may give files away: who cannot keeps them, with the mode. */
static int take_over(qm_outfile *f) {
    if (!f->replaces || f->flags & QM_OUT_PRIVATE) return 0;
    if (fchown(f->fd, f->old.st_uid, f->old.st_gid)) (void)!fchown(f->fd, (uid_t)-1, f->old.st_gid);
    return fchmod(f->fd, f->old.st_mode & 0777);
}

/* linkat replaces nothing: over a file the way leads through a name of our own, and rename. */
static int take_name(qm_outfile *f) {
    char from[32];
    nameless(from, f->fd);
    if (!f->tmp[0]) {
        if (!f->replaces) {
            if (!linkat(AT_FDCWD, from, AT_FDCWD, f->real, AT_SYMLINK_FOLLOW)) return 0;
            if (errno != EEXIST) return -1;
        }
        if (name_temporary(f)) return -1;
        if (linkat(AT_FDCWD, from, AT_FDCWD, f->tmp, AT_SYMLINK_FOLLOW)) {
            int err = errno;
            forget_temporary(f);
            errno = err;
            return -1;
        }
    }
    if (rename(f->tmp, f->real)) return -1;
    forget_temporary(f);
    return 0;
}

int qm_outfile_finish(qm_outfile *f, qm_err *e) {
    if (f->err.code || flush(f, e)) return fail(f, 0, "", e);
    if (!f->through) {
        if (take_over(f) || (f->flags & QM_OUT_SYNC && fsync(f->fd))) return fail(f, QM_ERR_IO, "writing failed", e);
        if (take_name(f)) return fail(f, QM_ERR_IO, "cannot take its name", e);
    }
    int bad = close(f->fd);
    f->fd = -1;
    return bad ? fail(f, QM_ERR_IO, "writing failed", e) : 0;
}

int qm_outfile_write(const char *path, const void *p, size_t n, int flags, qm_err *e) {
    qm_outfile *f;
    int rc = qm_outfile_open(&f, path, flags, e);
    if (rc) return rc;
    rc = qm_outfile_put(f, p, n, e);
    if (!rc) rc = qm_outfile_finish(f, e);
    qm_outfile_close(f);
    return rc;
}

int qm_write_file(const char *path, const void *p, size_t n, qm_err *e) {
    return qm_outfile_write(path, p, n, QM_OUT_SYNC, e);
}
void qm_abandon_files(void) { qm_scratch_remove(); }
