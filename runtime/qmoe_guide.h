/* qmoe_guide.h: what an answer must look like. A JSON schema, or the tools that a request brings, is compiled into an
 * automaton over bytes; at each token it says which ones may come next: those after which the answer can still be
 * completed. So every answer that ends by itself is valid. The subset of JSON Schema, white space, and what it costs:
 * docs/structured.md.
 *
 * A guide is compiled once and never changes: any number of threads may use it at once. Where one answer is, is a
 * qm_guided: one thread at a time. */
#ifndef QMOE_GUIDE_H
#define QMOE_GUIDE_H
#include <stddef.h>
#include <stdint.h>
#include "qmoe.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct qm_guide qm_guide;
typedef struct qm_guided qm_guided;

typedef enum {
    QM_TOOLS_AUTO,     /* free text; but from <tool_call> on a call is held to its tool's schema */
    QM_TOOLS_REQUIRED, /* one call or more, and nothing else */
    QM_TOOLS_NAMED     /* one call of `name`, and nothing else */
} qm_tools_choice;

typedef struct {
    /* As in qm_answer_opts. 0: no <think> block; 1: one may begin the answer; 2: the prompt has opened it. What is thought
     * is free; all else here is about what comes after it. */
    int thinking;
    /* A JSON schema that the whole answer must satisfy; NULL: none. With tools and QM_TOOLS_AUTO: that, or calls. */
    const char *schema;
    int any_object; /* 1: the answer is a JSON object, any (where schema is NULL) */
    /* A JSON array as OpenAI's `tools`; NULL: none. Arguments of calls are held to the tools' parameters. */
    const char *tools;
    qm_tools_choice tool_choice;
    const char *name; /* QM_TOOLS_NAMED */
    int parallel;     /* 0: one call at most, and nothing after it */
    int xml;          /* calls as Qwen3-Coder writes them, <function=NAME>; 0: JSON, as Qwen3 does */
    /* 1: keywords outside of the subset, in parameters of tools that do not say "strict": true, hold nobody; 0: they are
     * refused there too. */
    int lenient;
} qm_guide_opts;

/* QM_ERR_UNSUPPORTED names a keyword that is outside of the subset, and its place as a JSON pointer ("/properties/a/not",
 * in tools "/0/function/parameters/..."); QM_ERR_ARG: no schema, no tools, or nothing satisfies it; QM_ERR_LIMIT: too
 * large. o is copied as far as it is needed, and so is what is needed of g, which must outlive the guide. Any thread; the
 * first one of an engine takes about a tenth of a second more. */
int qm_guide_open(qm_guide **out, const qm_engine *g, const qm_guide_opts *o, qm_err *e);
/* The same for a vocabulary alone. */
int qm_guide_open_vocab(qm_guide **out, const qm_vocab *v, const qm_guide_opts *o, qm_err *e);
void qm_guide_close(qm_guide *g); /* when no qm_guided of it is open; NULL is fine */

/* At the beginning of an answer. */
int qm_guided_open(qm_guided **out, const qm_guide *g, qm_err *e);
void qm_guided_close(qm_guided *s);
/* Which tokens may come next: [(n_vocab + 31) / 32] words, bit i % 32 of word i / 32 is token i; NULL: anything, the end
 * and control tokens too. At least one bit is set. The words are there until the next call with s. */
const uint32_t *qm_guided_mask(qm_guided *s);
/* The token that has come. 0; -1: it was not allowed, and s is where it was. */
int qm_guided_accept(qm_guided *s, uint32_t id);
/* 1: only the end of generation may come, or has come. */
int qm_guided_done(const qm_guided *s);

#ifdef __cplusplus
}
#endif
#endif
