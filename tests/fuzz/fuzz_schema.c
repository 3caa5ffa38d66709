/* fuzz_schema.c: any text as a schema, or as tools, and any choice among the tokens that its guide allows. Making the guide
 * ends in one of the known ways; a mask always allows something; what it allows is accepted, and nothing else; an answer
 * that has ended is JSON, and of the schema's type where that is a single one.
 *
 * Input: a byte of options, the text, a NUL, a choice a byte. */
#include "must.h"
#include "guides.h"
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 400 };

static void check_value(const char *schema, const char *text, size_t n) {
    json_t *v = json_loadb(text, n, JSON_DECODE_ANY, NULL), *s = json_loads(schema, JSON_DECODE_ANY, NULL);
    const char *type = json_string_value(json_object_get(s, "type"));
    MUST(v);
    if (type && !strcmp(type, "object")) MUST(json_is_object(v));
    if (type && !strcmp(type, "array")) MUST(json_is_array(v));
    if (type && !strcmp(type, "string")) MUST(json_is_string(v));
    if (type && !strcmp(type, "integer")) MUST(json_is_number(v));
    json_decref(v);
    json_decref(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static qm_tokenizer *tok;
    if (!tok) MUST(tok = gv_open());
    if (n < 2) return 0;
    size_t len = strnlen((const char *)p + 1, n - 1), at = len + 2, n_text = 0;
    char *given = strndup((const char *)p + 1, len), text[MOST_TOKENS * 16];
    MUST(given);
    int tools = p[0] & 1;
    qm_guide_opts o = {.schema = tools ? NULL : given,
                       .tools = tools ? given : NULL,
                       .thinking = (p[0] >> 1 & 3) % 3,
                       .xml = p[0] >> 3 & 1,
                       .parallel = p[0] >> 4 & 1,
                       .tool_choice = p[0] >> 5 & 1 ? QM_TOOLS_REQUIRED : QM_TOOLS_AUTO,
                       .lenient = p[0] >> 6 & 1};
    qm_guide *g;
    qm_guided *s;
    qm_err e = {0};
    if (qm_guide_make(&g, tok, &o, &e)) {
        MUST(!g &&
             (e.code == QM_ERR_ARG || e.code == QM_ERR_UNSUPPORTED || e.code == QM_ERR_LIMIT ||
              e.code == QM_ERR_NOMEM) &&
             *e.msg && !strchr(e.msg, '\n'));
        free(given);
        return 0;
    }
    MUST(!qm_guided_open(&s, g, NULL));
    for (int step = 0; step < MOST_TOKENS; step++) {
        const uint32_t *m = qm_guided_mask(s);
        uint32_t from = at < n ? p[at++] * 7u % GV_N : '"', id = from, k = 0, size_id;
        while (k < GV_N && m && !qm_bit(m, id)) k++, id = (from + k) % GV_N;
        MUST(k < GV_N); /* something may come */
        size_id = (from + 1) % GV_N;
        if (m && !qm_bit(m, size_id)) MUST(qm_guided_accept(s, size_id) == -1);
        int done = qm_guided_done(s);
        MUST(!qm_guided_accept(s, id));
        MUST(!done || qm_token_is_eog(tok, id));
        size_t n_bytes;
        const char *bytes = qm_token_answer(tok, id, &n_bytes);
        if (qm_token_is_eog(tok, id)) {
            MUST(qm_guided_done(s));
            if (!tools && !o.thinking) check_value(given, text, n_text);
            break;
        }
        memcpy(text + n_text, bytes, n_bytes);
        n_text += n_bytes;
    }
    qm_guided_close(s);
    qm_guide_close(g);
    free(given);
    return 0;
}
