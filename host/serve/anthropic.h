/* anthropic.h: Anthropic's Messages: what is asked for (anthropic.c), and how the answer is written (anthropic_sink.c). */
#ifndef QM_SERVE_ANTHROPIC_H
#define QM_SERVE_ANTHROPIC_H
#include "exchange.h"

extern const protocol anthropic_protocol;
#endif
