/* outfile.h: the one way in which files are written.
 *
 * A regular file, or a name that is free, gets its content all at once: the bytes go to a temporary file in the same
 * folder, which takes the name when it is complete. Until then what stood there stands, and two writers cannot mix.
 * The new file has the mode and, where that may be, the owner of the one that it replaces; else 0666 less the umask.
 * A symbolic link is followed: its target is replaced. What is no regular file (a device, a FIFO, /dev/stdout,
 * /dev/fd/N) is written through, front to back.
 * A file that is held as an input (input.h) is refused by name. */
#ifndef QM_OUTFILE_H
#define QM_OUTFILE_H
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"

typedef struct qm_outfile qm_outfile;
enum {
    QM_OUT_SYNC = 1,   /* on the disk before it takes its name */
    QM_OUT_PRIVATE = 2 /* mode 0600, whatever stood there */
};
int qm_outfile_open(qm_outfile **out, const char *path, int flags, qm_err *e);
/* Appends. Errors stick: after the first every call returns it, finish too. */
int qm_outfile_put(qm_outfile *f, const void *p, size_t n, qm_err *e);
/* Appends n zeros, which take no room on the disk where its file system can do that. */
int qm_outfile_zeros(qm_outfile *f, uint64_t n, qm_err *e);
/* QM_ERR_LIMIT when the disk has less than `need` bytes free. What is written through is not asked. */
int qm_outfile_room(const qm_outfile *f, uint64_t need, qm_err *e);
int qm_outfile_finish(qm_outfile *f, qm_err *e);
/* Without finish the bytes are gone and nothing has changed. NULL is fine. */
void qm_outfile_close(qm_outfile *f);

/* All of it at once. */
int qm_outfile_write(const char *path, const void *p, size_t n, int flags, qm_err *e);
#endif
