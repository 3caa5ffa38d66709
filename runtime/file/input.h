/* input.h: files that are read: opened so that nothing blocks, and held in one table of the process for as long as they
 * are in use. outfile.h refuses to write over a file that is held; a host's handler of SIGBUS finds here which mapped
 * file a fault was in. */
#ifndef QM_INPUT_H
#define QM_INPUT_H
#include <stdint.h>
#include <sys/stat.h>
#include "../base/err.h"

/* Opens a regular file for reading, and nothing else: a FIFO, a device or a folder is QM_ERR_IO, at once. */
int qm_input_open(int *fd, uint64_t *bytes, const char *path, qm_err *e);

/* Holds the file of fd under its name; base, bytes: where it is mapped, or NULL, 0. Returns an entry, or QM_ERR_LIMIT. */
int qm_input_hold(int fd, const char *name, const void *base, uint64_t bytes, qm_err *e);
void qm_input_release(int entry); /* negative is fine */
/* The name of the file of this device and inode, if it is held; else NULL. */
const char *qm_input_held(const struct stat *st);
#endif
