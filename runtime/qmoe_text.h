/* qmoe_text.h: what a model's answer means: text, what was thought before it, calls of functions. Bytes go in as tokens
 * bring them, and parts come out as soon as they are certain: however the bytes are cut into pieces, the parts of one kind
 * joined are the same. Needs no engine; any thread, one at a time for each object. The rules: docs/answers.md. */
#ifndef QMOE_TEXT_H
#define QMOE_TEXT_H
#include <stddef.h>
#include "base/err.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    QM_PART_TEXT,
    QM_PART_THINKING,  /* without its tags and the white space around it */
    QM_PART_CALL,      /* a function's name, whole: a call begins */
    QM_PART_ARGUMENTS, /* a piece of its arguments, JSON text: what came so far is a beginning of valid JSON */
    QM_PART_CALL_END /* no bytes: the arguments are whole, one valid JSON object. A call that the end of the answer cut
                          short, or that broke its format when its beginning was out already, has no such part */
} qm_part;
/* n bytes of a part: whole UTF-8 characters. Non-zero stops: push or end returns it; 2 or more, so that it is told from
 * a stop string. */
typedef int (*qm_part_fn)(void *user, qm_part part, const char *s, size_t n);

typedef struct {
    const char *const *stop; /* stop strings, n_stop of them, as in qm_gen_opts: of the whole answer, tags included */
    size_t n_stop;
    int thinking; /* 0: none is looked for, tags are text; 1: a <think> block may begin the answer; 2: the prompt has
                          opened it, and the answer begins inside (qm_engine_thinks) */
    const char *tools; /* a JSON array as OpenAI's `tools`; NULL: calls are not looked for */
    qm_part_fn out;
    void *user;
} qm_answer_opts;
typedef struct qm_answer qm_answer;
/* Copies what it needs of o. QM_ERR_ARG: tools is no such array; the message says which entry. */
int qm_answer_open(qm_answer **out, const qm_answer_opts *o, qm_err *e);
/* A token's bytes (qm_engine_answer_piece), which may be a part of a character. 0; 1: a stop string is complete, and the
 * answer ends before it: all parts have come out, and what is pushed later is dropped; what out returned, and nothing
 * comes any more; or QM_ERR_NOMEM. */
int qm_answer_push(qm_answer *a, const char *s, size_t n);
/* The end of the answer: what was held back comes. Returns as push does, and does nothing after a 1. */
int qm_answer_end(qm_answer *a);
int qm_answer_calls(const qm_answer *a); /* QM_PART_CALL so far */
/* The stop string that ended it, as it was given; NULL: none has. */
const char *qm_answer_stopped(const qm_answer *a);
void qm_answer_close(qm_answer *a);

/* ---- thinking alone, nothing dropped: for who shows an answer as it stands ---- */
typedef enum {
    QM_THINK_ANSWER,
    QM_THINK_THOUGHT,
    QM_THINK_TAG
} qm_think_kind; /* a tag, white space before it included */
/* n bytes of one kind. Non-zero stops. */
typedef int (*qm_think_fn)(void *user, qm_think_kind kind, const char *s, size_t n);
typedef struct {
    qm_think_fn out;
    void *user;
    int state;
    char held[32]; /* [n] may be the beginning of a tag */
    size_t n;
} qm_think;
/* inside: the prompt has opened the block already. */
void qm_think_begin(qm_think *t, int inside, qm_think_fn out, void *user);
/* A piece of the answer, of any length: tags may be split between two. What out returned. */
int qm_think_push(qm_think *t, const char *s, size_t n);
/* The end of the answer: what was held back comes. */
int qm_think_end(qm_think *t);

#ifdef __cplusplus
}
#endif
#endif
