/* openai_completions.h: between the two halves of /v1/completions. */
#ifndef QM_SERVE_OPENAI_COMPLETIONS_H
#define QM_SERVE_OPENAI_COMPLETIONS_H
#include "openai.h"

enum { COMPLETIONS_MOST_PROMPTS = OPENAI_MOST_ANSWERS };
/* Answers r, now or later. a is what all of the prompts [n] are asked with; each prompt is taken, and is empty then. */
void openai_completions_begin(server *s, http_request *r, const task_ask *a, qm_tokens *prompts, size_t n,
                              const openai_common *c);
#endif
