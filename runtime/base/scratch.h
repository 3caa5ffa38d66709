/* scratch.h: the names of temporary files and folders that must not outlive the process, however it ends. */
#ifndef QM_SCRATCH_H
#define QM_SCRATCH_H
#ifdef __cplusplus
extern "C" {
#endif
/* Notes a name before it is made; returns an entry, or -1 where there is no room (the name is then nobody's but the
 * caller's). Folders before what is in them. */
int qm_scratch_add(const char *path);
void qm_scratch_drop(int entry); /* it is gone, or has become a result; -1 is fine */
/* Removes all that are noted, the last first. Async-signal-safe: for the handler of a signal that ends the process. */
void qm_scratch_remove(void);
#ifdef __cplusplus
}
#endif
#endif
