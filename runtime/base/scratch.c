/* scratch.c: see scratch.h. A handler may run at any instruction: names lie in static memory, and an entry is seen only
 * when its name is complete. */
#include "scratch.h"
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 16 };
enum { FREE, TAKEN, SET };
static struct {
    atomic_int state;
    char path[PATH_MAX];
} entries[ENTRIES];

int qm_scratch_add(const char *path) {
    size_t n = strlen(path) + 1;
    if (n > PATH_MAX) return -1;
    for (int i = 0; i < ENTRIES; i++) {
        int is = FREE;
        if (!atomic_compare_exchange_strong(&entries[i].state, &is, TAKEN)) continue;
        memcpy(entries[i].path, path, n);
        atomic_store(&entries[i].state, SET);
        return i;
    }
    return -1;
}

void qm_scratch_drop(int entry) {
    if (entry >= 0) atomic_store(&entries[entry].state, FREE);
}

void qm_scratch_remove(void) {
    int err = errno;
    for (int i = ENTRIES; i-- > 0;)
        if (atomic_load(&entries[i].state) == SET && unlink(entries[i].path)) rmdir(entries[i].path);
    errno = err;
}
