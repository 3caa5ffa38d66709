/* tok_cli: many strings through the tokenizer, for tools/tok_compare.py, which runs it (make build/tok_cli).
 *
 *   tok_cli FILE.gguf < requests > answers
 *
 * A request is u32 flags (QM_TOK_*, or 256 for a ChatML user message), u32 n, n bytes; an answer is
 * u32 n_ids, the ids, u32 n_bytes and the ids' bytes joined. Little-endian machines only. */
#include "text/chatml.h"
#include "text/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    qm_err e = {0};
    qm_gguf *g = NULL;
    qm_tokenizer *t = NULL;
    int rc = 2;
    qm_tokens ids = {0};
    char *text = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: tok_cli FILE.gguf < requests > answers\n");
        return 2;
    }
    if (qm_gguf_open(&g, argv[1], &e) || qm_tokenizer_open(&t, g, &e)) goto fail;
    uint32_t head[2];
    while (fread(head, 4, 2, stdin) == 2) {
        char *p = realloc(text, head[1] + 1u);
        if (!p) goto out;
        text = p;
        if (fread(text, 1, head[1], stdin) != head[1]) goto out;
        ids.n = 0;
        if (head[0] & 256) {
            qm_message m = {"user", text, head[1]};
            if (qm_chatml(t, &m, 1, (int)head[0] & 255, &ids, &e)) goto fail;
        } else if (qm_tokenize(t, text, head[1], (int)head[0], &ids, &e)) {
            goto fail;
        }
        uint32_t n = (uint32_t)ids.n, bytes = 0;
        fwrite(&n, 4, 1, stdout);
        fwrite(ids.v, 4, n, stdout);
        for (uint32_t i = 0; i < n; i++) bytes += (uint32_t)qm_token_bytes(t, ids.v[i]).n;
        fwrite(&bytes, 4, 1, stdout);
        for (uint32_t i = 0; i < n; i++) {
            qm_str s = qm_token_bytes(t, ids.v[i]);
            fwrite(s.s, 1, s.n, stdout);
        }
    }
    rc = fflush(stdout) ? 1 : 0;
    goto out;
fail:
    fprintf(stderr, "tok_cli: %s\n", e.msg);
    rc = 1;
out:
    free(text);
    qm_tokens_free(&ids);
    qm_tokenizer_close(t);
    qm_gguf_close(g);
    return rc;
}
