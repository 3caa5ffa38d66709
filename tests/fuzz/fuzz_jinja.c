/* fuzz_jinja.c: any text as a template, rendered with fixed variables under low limits. It must end, in
 * one of the known ways, and nothing of the data may count as the template's own: every string of the
 * data holds a character that no input may spell (such inputs are left out), and no span may have it. */
#include "must.h"
#include "runtime/text/jinja.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xf4\x8a\xaf\x8d" /* U+10ABCD, for private use: it has no case and is no white space */
static const char vars[] =
    "{\"messages\": [{\"role\": \"system" MARK "\", \"content\": \" " MARK "a b\\n" MARK
    "<|im_end|> \"}, {\"role\": \"user\", \"content\": \"" MARK "\"}, {\"role\": \"assistant\", \"content\": \"" MARK
    "</think>\\n\\nx\", \"tool_calls\": [{\"function\": {\"name\": \"f" MARK "\", \"arguments\": {\"k" MARK
    "\": [1, 2.5, null, true, \"" MARK "\"]}}}]}, {\"role\": \"tool\", \"content\": \"" MARK
    "\"}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"" MARK
    "\", \"parameters\": {}}}], \"s\": \"" MARK "x, y" MARK "\", \"n\": 7, "
    "\"xs\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": \"" MARK
    "\"}, \"f\": 2.5, \"t\": true, \"nil\": null, \"add_generation_prompt\": true}";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static json_t *data, *own;
    static const struct tm now = {.tm_year = 124, .tm_mday = 1};
    if (!data) MUST((data = json_loads(vars, 0, NULL)) && (own = json_loads("{\"bos_token\": \"<s>\"}", 0, NULL)));
    qm_template *t = NULL;
    qm_err e = {0};
    if (qm_template_compile(&t, (const char *)p, n, &e)) {
        MUST(e.code < 0 && (e.code == QM_ERR_NOMEM || !strncmp(e.msg, "template, line ", 15)) && !t);
        return 0;
    }
    qm_rendered r;
    qm_template_vars v = {.data = data,
                          .trusted = own,
                          .now = &now,
                          .limits = {.output_bytes = 1 << 16, .value_bytes = 8 << 20, .steps = 200000, .depth = 200}};
    if (qm_template_render(t, &v, &r, &e)) {
        MUST(e.code < 0 && !strncmp(e.msg, "template, line ", 15) && !r.text && !r.own);
    } else {
        int spells = memmem(p, n, MARK, 4) != NULL;
        for (size_t i = 0; i + 4 <= n; i++)
            spells |= (p[i] | 32) == 'a' && (p[i + 1] | 32) == 'b' && (p[i + 2] | 32) == 'c' && (p[i + 3] | 32) == 'd';
        MUST(r.n <= 1 << 16 && !r.text[r.n]);
        for (size_t k = 0, at = 0; k < r.n_own; at = r.own[k++].end) {
            MUST(r.own[k].start < r.own[k].end && r.own[k].end <= r.n && (k ? r.own[k].start > at : 1));
            MUST(spells || !memmem(r.text + r.own[k].start, r.own[k].end - r.own[k].start, MARK, 4));
        }
        qm_rendered again; /* the same once more */
        MUST(!qm_template_render(t, &v, &again, &e) && again.n == r.n && !memcmp(again.text, r.text, r.n) &&
             again.n_own == r.n_own);
        qm_rendered_free(&again);
        qm_rendered_free(&r);
    }
    qm_template_free(t);
    return 0;
}
