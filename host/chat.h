/* chat.h: what the files of `qmoe-gpu chat` share. chat.c: options, the loop of turns.
 * chat_answer.c: the conversation, and an answer as it comes.
 * chat_line.c: what the user types, from a terminal with line editing, a plain one, or a pipe.
 * chat_command.c: the lines that begin with a slash. */
#ifndef QM_HOST_CHAT_H
#define QM_HOST_CHAT_H
#include <signal.h>
#include "run.h"
#include "sampling.h"

/* ---- lines ---- */
typedef struct qm_lines qm_lines;
typedef enum {
    QM_LINE_TEXT,      /* a message or a command */
    QM_LINE_END,       /* the end of the input, or Ctrl-D */
    QM_LINE_INTERRUPT, /* Ctrl-C: what had been typed is dropped */
    QM_LINE_FAILED     /* reported already */
} qm_line_kind;
/* NULL: failed, reported already. */
qm_lines *qm_lines_open(void);
void qm_lines_close(qm_lines *l);
/* Forgets what has been typed and not been read: after Ctrl-C, as the kernel does with its part. */
void qm_lines_drop(qm_lines *l);
int qm_lines_interactive(const qm_lines *l); /* a person types */
/* One message into *text ([*n] bytes and a NUL, the next call frees it): a line, or several: those that end in a
 * backslash go on in the next one, and between two """ and in a paste all are taken as they stand. *verbatim: it was one
 * of these, so it is no command. */
qm_line_kind qm_lines_read(qm_lines *l, const char **text, size_t *n, int *verbatim);
/* ---- the terminal ---- */
/* Takes the terminal at descriptor 0 for a chat: nothing is echoed, and it gets its modes back from qm_term_close, and
 * before SIGTERM, SIGHUP, SIGQUIT or SIGTSTP do what they do. codes_to: a terminal that knows escape codes, for an editor
 * that reads single keys; -1: lines are the kernel's. Without a terminal nothing happens. */
void qm_term_open(int codes_to);
void qm_term_close(void);
void qm_term_echo(int on);   /* the kernel's echo, while it reads a line */
void qm_term_continue(void); /* after SIGCONT; in a signal handler */

/* 1 after Ctrl-C, until set to 0. */
extern volatile sig_atomic_t qm_chat_interrupted;

/* ---- the conversation ---- */
typedef struct {
    qm_engine *g;
    qm_session *s;
    qm_engine_info info;
    qm_sampling how;
    char *system;  /* NULL: none */
    qm_message *m; /* [n_m] user and assistant in turns; contents are ours */
    size_t n_m, cap;
    uint32_t turns;
    qm_gen_stats last;                        /* of the last turn */
    uint64_t n_prompt, n_reused, n_generated; /* of all turns, those of a conversation that was reset too */
    double prefill_s, decode_s;
    int hide_thinking;
    int failed;      /* something that was asked for was not done */
    int quit, fatal; /* the chat ends; because it cannot go on */
} qm_chat;
void qm_chat_reset(qm_chat *c);
/* Appends a message with a copy of its content; role is a constant. -1: no memory, reported already. */
int qm_chat_add(qm_chat *c, const char *role, const char *content, size_t n);
/* One turn: the message, and its answer on stdout. The exit status; a message without an answer is taken back. */
int qm_chat_turn(qm_chat *c, const char *text, size_t n);
/* Answers the last user message anew, in place of its answer if it has one, by the next seed. */
void qm_chat_regen(qm_chat *c);
/* The conversation as JSON (chat_file.c): 0, or reported already; a file that cannot be loaded changes nothing. */
int qm_chat_save(const qm_chat *c, const char *path);
int qm_chat_load(qm_chat *c, const char *path);
/* Their names, in order; NULL after the last. */
const char *qm_chat_command_name(size_t i);
/* A line that begins with a slash: does it, or says on stderr what is wrong with it. */
void qm_chat_command(qm_chat *c, const char *line);
#endif
