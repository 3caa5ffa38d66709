/* jinja.h: a model file's chat template (tokenizer.chat_template), rendered byte for byte as Hugging Face's
 * apply_chat_template does with Python's jinja2: trim_blocks, lstrip_blocks, loop controls, the immutable sandbox,
 * its tojson. The language and what is left out: docs/jinja.md.
 *
 * Every byte of the output is known to be the template's own (it stands in the template's text or in a `trusted`
 * variable) or data, whatever ~, slices, replace, tojson or a macro made of it meanwhile. Only the template's own
 * bytes may become control tokens: "<|im_end|>" in a message stays ordinary text. */
#ifndef QM_JINJA_H
#define QM_JINJA_H
#include <jansson.h>
#include <stddef.h>
#include <time.h>
#include "../base/err.h"
#include "rendered.h"

typedef struct qm_template qm_template;
/* Compiles text[0..n). An unknown tag, filter or test and every syntax error is found here: QM_ERR_FORMAT or
 * QM_ERR_UNSUPPORTED, "template, line N: ...". */
int qm_template_compile(qm_template **out, const char *text, size_t n, qm_err *e);
void qm_template_free(qm_template *t);

/* Each 0 means the default in brackets; passing one is QM_ERR_LIMIT with its name in the message. */
typedef struct {
    size_t output_bytes; /* of the result, and characters of any one string [64 MiB] */
    size_t value_bytes;  /* all values made while rendering, four bytes a character [1 GiB] */
    size_t steps;        /* of evaluation, and items gone through / 16 [200 million] */
    size_t depth;        /* nesting of expressions, blocks, macro calls and values [400] */
} qm_template_limits;
typedef struct {
    json_t *data;         /* object: messages, tools, add_generation_prompt, kwargs, ...; may be NULL */
    json_t *trusted;      /* object, may be NULL: as data, but its strings count as the template's own
                             (bos_token, eos_token). Where both have a name, this one holds. */
    const struct tm *now; /* what strftime_now formats; NULL: the local time */
    qm_template_limits limits;
} qm_template_vars;
/* raise_exception(text) in the template is QM_ERR_ARG with that text after "template, line N: ". A template may be
 * rendered by several threads at a time. */
int qm_template_render(const qm_template *t, const qm_template_vars *vars, qm_rendered *out, qm_err *e);
#endif
