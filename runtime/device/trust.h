/* trust.h: whether nobody else could have put a file where it lies: code is loaded from such files only. */
#ifndef QM_TRUST_H
#define QM_TRUST_H
#include <sys/stat.h>

/* NULL, or why a file or folder of these facts is not trusted: it belongs to root or to this user, and neither its
 * group nor others may write it. Folders with the sticky bit (/tmp) may be written by all: names in them are safe. */
const char *qm_untrusted_stat(const struct stat *st);
/* The same for a regular file and for every folder on the way to it, links followed. */
const char *qm_untrusted(const char *path);
#endif
