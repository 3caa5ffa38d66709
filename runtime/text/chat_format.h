/* chat_format.h: how a model wants a conversation written: its own template, the caller's, or ChatML. */
#ifndef QM_CHAT_FORMAT_H
#define QM_CHAT_FORMAT_H
#include "conversation.h"
#include "rendered.h"
#include "tokenizer.h"

typedef struct qm_chat_format qm_chat_format;
/* own_template: the caller's, in Jinja; NULL: the file's, or without one ChatML. kwargs: a JSON object of variables for
 * the template, or NULL. Hands out what close takes, on failure too. */
int qm_chat_format_open(qm_chat_format **out, const qm_gguf *g, const qm_tokenizer *t, const char *own_template,
                        const char *kwargs, qm_err *e);
void qm_chat_format_close(qm_chat_format *f);
const char *qm_chat_format_name(const qm_chat_format *f);
int qm_chat_format_tools(const qm_chat_format *f); /* as qm_engine_tool_format */
/* 1: its text has a <think>, and so may an answer; of ChatML nobody knows. */
int qm_chat_format_thinks(const qm_chat_format *f);
/* v's roles may be made the format's own. */
int qm_chat_format_render(const qm_chat_format *f, const qm_tokenizer *t, qm_chat_values *v, qm_rendered *out,
                          qm_err *e);
/* The same of plain messages. */
int qm_chat_format_messages(const qm_chat_format *f, const qm_tokenizer *t, const qm_message *m, size_t n,
                            qm_rendered *out, qm_err *e);
#endif
