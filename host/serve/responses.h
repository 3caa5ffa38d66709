/* responses.h: OpenAI's Responses: what is asked for (responses.c: the fields, responses_input.c: the items), and how the answer
 * is written (responses_sink.c). */
#ifndef QM_SERVE_RESPONSES_H
#define QM_SERVE_RESPONSES_H
#include "exchange.h"

/* input and instructions as messages of a chat. */
json_t *responses_messages(fields *f);
extern const protocol responses_protocol;
#endif
