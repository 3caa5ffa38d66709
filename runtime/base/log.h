/* log.h: messages for a person, handed to whoever asked for them. Library code never prints.
 * A message is one line: what would steer a terminal is escaped (text.h). */
#ifndef QM_LOG_H
#define QM_LOG_H
enum { QM_LOG_WARN, QM_LOG_INFO, QM_LOG_DEBUG };
typedef void (*qm_log_fn)(void *user, int level, const char *line);
/* Process-wide sink; NULL (the default) drops everything. Set it before other threads start. */
void qm_log_set(qm_log_fn fn, void *user);
void qm_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
