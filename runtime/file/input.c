/* input.c: see input.h. An entry's fields are complete before its state says so: qm_input_fault reads them in a signal
 * handler, on a thread that itself uses the file, which therefore stays held. */
#include "input.h"
#include "../base/text.h"
#include "../qmoe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 2048 }; /* a split set has at most 512 files */
enum { FREE, TAKEN, SET };
static struct {
    atomic_int state;
    int fd;
    dev_t dev;
    ino_t ino;
    const unsigned char *base;
    uint64_t bytes;
    char name[256]; /* as it is shown */
} entries[ENTRIES];

int qm_input_open(int *out, uint64_t *bytes, const char *path, qm_err *e) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return qm_fail(e, QM_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    int rc = fstat(fd, &st)         ? qm_fail(e, QM_ERR_IO, "%s: cannot stat: %s", path, strerror(errno))
             : !S_ISREG(st.st_mode) ? qm_fail(e, QM_ERR_IO, "%s: not a regular file", path)
                                    : 0;
    if (rc) {
        close(fd);
        return rc;
    }
    *out = fd;
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int qm_input_hold(int fd, const char *name, const void *base, uint64_t bytes, qm_err *e) {
    struct stat st;
    if (fstat(fd, &st)) return qm_fail(e, QM_ERR_IO, "%s: cannot stat: %s", name, strerror(errno));
    for (int i = 0; i < ENTRIES; i++) {
        int is = FREE;
        if (!atomic_compare_exchange_strong(&entries[i].state, &is, TAKEN)) continue;
        entries[i].fd = fd;
        entries[i].dev = st.st_dev;
        entries[i].ino = st.st_ino;
        entries[i].base = base;
        entries[i].bytes = bytes;
        qm_text_show(entries[i].name, sizeof entries[i].name, name, strlen(name));
        atomic_store(&entries[i].state, SET);
        return i;
    }
    return qm_fail(e, QM_ERR_LIMIT, "%s: more than %d files are in use", name, ENTRIES);
}

void qm_input_release(int entry) {
    if (entry >= 0) atomic_store(&entries[entry].state, FREE);
}

const char *qm_input_held(const struct stat *st) {
    for (int i = 0; i < ENTRIES; i++)
        if (atomic_load(&entries[i].state) == SET && entries[i].dev == st->st_dev && entries[i].ino == st->st_ino)
            return entries[i].name;
    return NULL;
}

const char *qm_input_fault(const void *addr, int *shrank) {
    const unsigned char *a = addr;
    for (int i = 0; i < ENTRIES; i++) {
        struct stat st;
        if (atomic_load(&entries[i].state) != SET || !entries[i].base) continue;
        if (a < entries[i].base || (uint64_t)(a - entries[i].base) >= entries[i].bytes) continue;
        *shrank = !fstat(entries[i].fd, &st) && (uint64_t)st.st_size < entries[i].bytes;
        return entries[i].name;
    }
    return NULL;
}

int qm_input_keep(const char *path, qm_err *e) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return qm_fail(e, QM_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    int entry = qm_input_hold(fd, path, NULL, 0, e);
    close(fd);
    return entry < 0 ? entry : 0;
}
