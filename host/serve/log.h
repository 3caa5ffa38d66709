/* log.h: the server's log on stderr: a line a request, as text or, --log-json, as JSON. */
#ifndef QM_SERVE_LOG_H
#define QM_SERVE_LOG_H
#include "task.h"

/* A task has ended; why: NULL unless it failed. */
void log_task(const server *s, const char *id, const char *peer, const char *finish, const task_usage *u,
              const char *why);
/* Anything else: "listening on ..". level: "info", "warning", "error". */
void log_line(const server *s, const char *level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif
