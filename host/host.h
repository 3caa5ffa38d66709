/* host.h: what the commands of the program share. Commands see only runtime/qmoe.h and this file.
 *
 * A command is one function, qm_cmd_<name>, in host/<name>.c, with its line in host/commands.def: help, completion and
 * suggestions come from that line and from the table of options that the function reads.
 * It gets its own arguments: argv[0] is "qmoe-gpu <name>". What it returns is the exit status:
 *   0  it did what was asked    1  it failed at run time    2  it was called wrongly (usage)
 * Results go to stdout, everything else to stderr. */
#ifndef QM_HOST_H
#define QM_HOST_H
#include <popt.h>
#include <stdint.h>
#include <stdio.h>
#include "runtime/qmoe.h"

enum { QM_EXIT_OK = 0, QM_EXIT_FAIL = 1, QM_EXIT_USAGE = 2 };

#define QM_CMD(name, letter, arguments, help) int qm_cmd_##name(int argc, char **argv);
#include "commands.def"
#undef QM_CMD

/* Reads argv by table (which must not define --help, -h and --version: they are added), llama.cpp's names included
 * (flags.def). Returns -1 to go on: *con then yields the positional arguments by poptGetArg and is the caller's to
 * poptFreeContext. Otherwise returns the exit status the command must return at once (0 after --help, 2 after a wrong
 * option, with a suggestion printed), and *con is NULL. Every option of the table has a long name and stores through its
 * `arg`; val stays 0. Its argDescrip is FILE or DIR where a path is expected, and "auto|sim" where words are (completion
 * reads it). synopsis: "MODEL [options]", then paragraphs for --help, which wraps them; lines that begin with a space
 * stand as they are, 80 columns at most.
 * Strings that popt stores are malloc'd: keep the variables of the table static, or free them. */
int qm_host_options(poptContext *con, int argc, char **argv, const struct poptOption *table, const char *synopsis);
/* The text of --help. table: as qm_host_options has it, with --help. */
void qm_host_help(FILE *f, const char *prog, const char *synopsis, const struct poptOption *table);
/* While fn is set, qm_host_options hands it each table instead of reading a command line, and the command ends with 0. */
typedef void (*qm_host_visitor)(void *user, const char *prog, const struct poptOption *table);
void qm_host_visit(qm_host_visitor fn, void *user);

/* Exactly n positional arguments into args[n]; else says what is missing or too many, frees and
 * clears *con and returns 2. -1 to go on. what: their names, e.g. "MODEL". */
int qm_host_args(poptContext *con, const char **args, int n, const char *what);

/* "qmoe-gpu: message" on stderr, one line: what arguments and files bring is escaped. */
void qm_host_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error; returns 1. */
int qm_host_fail(const qm_err *e);
/* The same where what failed was asked for by options alone (qm_engine_open): 2 where one of them was out of range, --ctx
 * beyond the model's limit too, else 1. ctx: 0 or less: not given. */
int qm_host_open_fail(const qm_err *e, int ctx);
/* The same for wrong usage; returns 2. */
int qm_host_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The type of keys and of values in the cache: --cache-type-k and --cache-type-v, for qm_engine_opts. */
typedef struct {
    char *k, *v;
} qm_host_cache;
extern qm_host_cache qm_cache;
extern const struct poptOption qm_cache_table[];

/* --apart and --dependent-launch, for qm_engine_opts. */
extern char *qm_apart, *qm_dependent;
extern const struct poptOption qm_apart_table[];

/* --ubatch, for qm_engine_opts.n_ubatch: 0 where it was not given, once it is checked. */
extern int qm_ubatch;
extern const struct poptOption qm_ubatch_table[];
int qm_ubatch_check(void); /* -1 to go on, or the exit status */

/* First of all: descriptors 0 to 2 are open; signals that end the program leave no unfinished file behind. */
void qm_host_begin(void);
/* What a signal that ends the program calls first: safe in a handler. */
void qm_host_at_end(void (*restore)(void));
/* Where a command that writes the file `path` may report: stdout, or stderr where the file is stdout itself. */
FILE *qm_host_report_stream(const char *path);

/* The library's log lines up to `level` (QM_LOG_*) go to stderr. */
void qm_host_log(int level);

/* A qm_write_fn; user is a FILE *. Non-zero when writing failed (a closed pipe, a full disk). */
int qm_host_write(void *file, const char *s, size_t n);

/* Text that grows; a NUL follows its n bytes once there are any. free(s). */
typedef struct {
    char *s;
    size_t n, cap;
} qm_buffer;
/* Appends n bytes, which may be none. 0, or -1: no memory, and b is as it was. */
int qm_buffer_put(qm_buffer *b, const char *s, size_t n);

/* The word of list[n] nearest to `word` by edits, or NULL if none is near enough to suggest. */
const char *qm_host_nearest(const char *word, const char *const *list, int n);

/* A line "  1234 -> 'piece'"; of the piece, what is no printable text is written as C writes it. */
void qm_host_token(FILE *f, uint32_t id, const char *piece, size_t n);
/* C's escapes in s, as far as llama.cpp knows them: \n \r \t \' \" \\ \xHH. NULL is left alone. */
void qm_host_unescape(char *s);

/* A qm_engine_opts.before_load: says how slow a large model will be where there is no GPU. user is not used. */
int qm_host_before_load(void *user, const qm_engine_info *i);
/* A qm_engine_opts.notice: a line on stderr. user is not used. */
void qm_host_notice(void *user, const char *line);

/* A line on stderr that says how far a long computation is: only on a terminal, at most ten times a second, and not
 * before a tenth of a second has passed. `end` erases it: call it before anything else is printed. */
typedef struct {
    int on, shown;
    double start, last;
    uint64_t from;
} qm_progress;
void qm_progress_begin(qm_progress *p, int wanted);
/* "\rWHAT 1200 of 9000 tokens, 57.1 tok/s, 2:17 left" */
void qm_progress_show(qm_progress *p, const char *what, uint64_t done, uint64_t of);
/* "42.0%  1.92 GiB of 4.57 GiB, 310 MiB/s, 9 s left", likewise. */
void qm_progress_bytes(qm_progress *p, uint64_t done, uint64_t of);
void qm_progress_wipe(qm_progress *p); /* before other lines; it goes on */
void qm_progress_end(qm_progress *p);

/* "1.79 GiB" (binary units: a size; rates are decimal) into buf; returns buf. */
const char *qm_host_bytes(char *buf, size_t n, uint64_t bytes);
#endif
