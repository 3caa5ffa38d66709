/* trust.c: see trust.h. */
#include "trust.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *qm_untrusted_stat(const struct stat *st) {
    if (st->st_uid != 0 && st->st_uid != geteuid()) return "it belongs to another user";
    if (st->st_mode & 022 && !(S_ISDIR(st->st_mode) && st->st_mode & S_ISVTX))
        return "others may write it (chmod go-w)";
    return NULL;
}

const char *qm_untrusted(const char *path) {
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real) || stat(real, &st)) return "it is not there";
    if (!S_ISREG(st.st_mode)) return "it is no regular file";
    const char *why = qm_untrusted_stat(&st);
    for (char *slash; !why && (slash = strrchr(real, '/')) && real[1];) { /* up to the root */
        slash[slash == real] = 0;
        if (stat(real, &st)) return "a folder on its way is not there";
        if (qm_untrusted_stat(&st)) why = "a folder on its way belongs to another user, or others may write it";
    }
    return why;
}
