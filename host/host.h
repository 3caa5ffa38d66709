/* host.h: what the commands of the program share. Commands see only runtime/qmoe.h and this file.
 *
 * A command is one function, qm_cmd_<name>, in host/<name>.c, with its line in host/commands.def.
 * It gets its own arguments: argv[0] is "qmoe-gpu <name>". What it returns is the exit status:
 *   0  it did what was asked    1  it failed at run time    2  it was called wrongly (usage)
 * Results go to stdout, everything else to stderr. */
#ifndef QM_HOST_H
#define QM_HOST_H
#include <popt.h>
#include <stdint.h>
#include "runtime/qmoe.h"

enum { QM_EXIT_OK = 0, QM_EXIT_FAIL = 1, QM_EXIT_USAGE = 2 };

#define QM_CMD(name, arguments, help) int qm_cmd_##name(int argc, char **argv);
#include "commands.def"
#undef QM_CMD

/* Reads argv by table (which must not define --help and -h: they are added). Returns -1 to go on:
 * *con then yields the positional arguments by poptGetArg and is the caller's to poptFreeContext.
 * Otherwise returns the exit status the command must return at once (0 after --help, 2 after a wrong
 * option, with a suggestion printed), and *con is NULL. synopsis: "MODEL [options]".
 * Every option stores through its `arg`; val stays 0.
 * Strings that popt stores are malloc'd: keep the variables of the table static, or free them. */
int qm_host_options(poptContext *con, int argc, char **argv, const struct poptOption *table,
                    const char *synopsis);

/* Exactly n positional arguments into args[n]; else says what is missing or too many, frees and
 * clears *con and returns 2. -1 to go on. what: their names, e.g. "MODEL". */
int qm_host_args(poptContext *con, const char **args, int n, const char *what);

/* "qmoe-gpu: message" on stderr. */
void qm_host_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error; returns 1. */
int qm_host_fail(const qm_err *e);
/* The same for wrong usage; returns 2. */
int qm_host_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The library's log lines up to `level` (QM_LOG_*) go to stderr. */
void qm_host_log(int level);

/* A qm_write_fn; user is a FILE *. Non-zero when writing failed (a closed pipe, a full disk). */
int qm_host_write(void *file, const char *s, size_t n);

/* The word of list[n] nearest to `word` by edits, or NULL if none is near enough to suggest. */
const char *qm_host_nearest(const char *word, const char *const *list, int n);

/* A qm_engine_opts.before_load: says how slow a large model will be where there is no GPU. user is not used. */
int qm_host_before_load(void *user, const qm_engine_info *i);
/* A qm_engine_opts.notice: a line on stderr. user is not used. */
void qm_host_notice(void *user, const char *line);

/* "1.92 GB" (decimal units) into buf; returns buf. */
const char *qm_host_bytes(char *buf, size_t n, uint64_t bytes);
#endif
