/* scratch.c: see scratch.h. A handler may run at any instruction: names lie in static memory, and a slot is seen only
 * when its name is complete. */
#include "scratch.h"
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 16 };
enum { FREE, TAKEN, SET };
static struct {
    atomic_int state;
    char path[PATH_MAX];
} slots[SLOTS];

int qm_scratch_add(const char *path) {
    size_t n = strlen(path) + 1;
    if (n > PATH_MAX) return -1;
    for (int i = 0; i < SLOTS; i++) {
        int is = FREE;
        if (!atomic_compare_exchange_strong(&slots[i].state, &is, TAKEN)) continue;
        memcpy(slots[i].path, path, n);
        atomic_store(&slots[i].state, SET);
        return i;
    }
    return -1;
}

void qm_scratch_drop(int slot) {
    if (slot >= 0) atomic_store(&slots[slot].state, FREE);
}

void qm_scratch_remove(void) {
    int err = errno;
    for (int i = SLOTS; i-- > 0;)
        if (atomic_load(&slots[i].state) == SET && unlink(slots[i].path)) rmdir(slots[i].path);
    errno = err;
}
