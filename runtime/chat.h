/* chat.h: the part of qmoe.h that is about conversations. Included by it, never by itself. */
#ifndef QM_CHAT_API_H
#define QM_CHAT_API_H
#ifndef QMOE_H
#error "include qmoe.h"
#endif

/* content: [n] bytes of UTF-8, or QM_ERR_ARG with the place of the first byte that is not; may be empty. Never trusted:
 * what looks like a control token in it is ordinary text. */
typedef struct {
    const char *role, *content;
    size_t n;
} qm_message;

/* A conversation in the model's chat format, with the assistant's turn opened after it; appended to out. */
int qm_engine_render(const qm_engine *g, const qm_message *m, size_t n_messages, qm_tokens *out, qm_err *e);

/* 1 where the template itself opens a <think> block at the end of the conversation as rendered, so that the answer begins
 * inside of it and has no such tag; 0; or negative, as qm_engine_render. */
int qm_engine_thinks(const qm_engine *g, const qm_message *m, size_t n_messages, qm_err *e);

/* Answers a conversation in a session that may hold an earlier state of it: what the rendered conversation and the
 * session begin with alike stays in the cache, the rest of the session is forgotten, the rest of the conversation
 * computed. st->n_prompt counts what was computed, st->n_reused what was not. The session afterwards ends with
 * the answer. QM_ERR_LIMIT, with the numbers, where the conversation leaves no room for a token: the session is then as
 * it was. o->max_tokens is cut to what the context has room for. */
int qm_session_chat(qm_session *s, const qm_message *m, size_t n_messages, const qm_gen_opts *o, qm_gen_stats *st,
                    qm_err *e);
#endif
