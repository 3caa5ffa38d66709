/* chat_format.h: how a model wants a conversation written: its own template, the caller's, or ChatML. */
#ifndef QM_CHAT_FORMAT_H
#define QM_CHAT_FORMAT_H
#include "../qmoe.h"
#include "../text/jinja.h"
#include "../text/tokenizer.h"

typedef struct qm_chat_format qm_chat_format;
/* Hands out what close takes, on failure too. Of o: chat_template, template_kwargs. */
int qm_chat_format_open(qm_chat_format **out, const qm_gguf *g, const qm_tokenizer *t, const qm_engine_opts *o,
                        qm_err *e);
void qm_chat_format_close(qm_chat_format *f);
const char *qm_chat_format_name(const qm_chat_format *f);
int qm_chat_format_render(const qm_chat_format *f, const qm_tokenizer *t, const qm_message *m, size_t n,
                          qm_rendered *out, qm_err *e);
#endif
