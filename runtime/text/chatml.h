/* chatml.h: messages as ChatML, the format of a Qwen file that brings no template of its own. */
#ifndef QM_CHATML_H
#define QM_CHATML_H
#include "../qmoe.h" /* qm_message */
#include "rendered.h"
#include "tokenizer.h"

/* <|im_start|>role\ncontent<|im_end|>\n ... and, turn != 0, <|im_start|>assistant\n ; contents are data, the rest is the
 * format's own. qm_rendered_free. QM_ERR_ARG for a role other than system, user, assistant. */
int qm_chatml_render(const qm_message *m, size_t n_messages, int turn, qm_rendered *out, qm_err *e);
/* The same as ids, appended. QM_ERR_UNSUPPORTED where the vocabulary lacks <|im_start|> or <|im_end|>. */
int qm_chatml(const qm_tokenizer *t, const qm_message *m, size_t n_messages, int tok_flags, qm_tokens *ids, qm_err *e);
/* 0, or the QM_ERR_UNSUPPORTED of qm_chatml. */
int qm_chatml_check(const qm_tokenizer *t, qm_err *e);
#endif
