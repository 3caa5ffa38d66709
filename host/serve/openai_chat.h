/* openai_chat.h: between the two halves of /v1/chat/completions. */
#ifndef QM_SERVE_OPENAI_CHAT_H
#define QM_SERVE_OPENAI_CHAT_H
#include "openai.h"

/* Takes what is in a, and answers r, now or later. */
void openai_chat_begin(server *s, http_request *r, task_ask *a, const openai_common *c);
#endif
