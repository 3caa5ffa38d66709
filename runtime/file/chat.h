/* chat.h: messages to token ids, ChatML. Template text is trusted (control tokens match); message
 * text never is. */
#ifndef QM_FILE_CHAT_H
#define QM_FILE_CHAT_H
#include "../qmoe.h"
#include "tokenizer.h"
/* <|im_start|>role\ncontent<|im_end|>\n ... <|im_start|>assistant\n ; appended to ids. */
int qm_chatml(const qm_tokenizer *t, const qm_message *m, size_t n_messages, int tok_flags,
              qm_ids *ids, qm_err *e);
#endif
