/* chat.c: a conversation and a session: the messages as tokens, and of those only what the cache lacks. */
#include <stdlib.h>
#include "../device/prof.h"
#include "../file/chat.h"
#include "engine.h"

/* qm_tokens (public) and qm_ids (tokenizer) are the same three words. */
int qm_engine_render(const qm_engine *g, const qm_message *m, size_t n_messages, qm_tokens *out, qm_err *e) {
    qm_ids ids = {out->v, out->n, out->cap};
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    int rc = qm_chatml(g->tok, m, n_messages, g->tok_flags, &ids, e);
    *out = (qm_tokens){ids.ids, ids.n, ids.cap};
    return rc;
}

int qm_session_chat(qm_session *s, const qm_message *m, size_t n_messages, const qm_gen_opts *o, qm_gen_stats *st, qm_err *e) {
    qm_tokens ids = {0};
    qm_gen_opts own = *o;
    *st = (qm_gen_stats){0};
    int rc = qm_engine_render(s->g, m, n_messages, &ids, e);
    if (rc) goto out;
    uint32_t n_ctx = s->g->limits.n_ctx;
    if (ids.n + 1 > n_ctx) {
        rc = qm_fail(e, QM_ERR_LIMIT, "the conversation has %zu tokens and an answer needs room too; the context has %u",
                     ids.n, n_ctx);
        goto out;
    }
    if (own.max_tokens > n_ctx - ids.n) own.max_tokens = 0; /* all the room there is */
    /* The last position is always computed: its logits choose the first token. */
    uint32_t keep = 0;
    while (keep < s->n_cached && keep < ids.n - 1 && s->ids[keep] == ids.v[keep]) keep++;
    if ((rc = qm_session_truncate(s, keep, e))) goto out;
    rc = qm_generate(s, ids.v + keep, ids.n - keep, &own, st, e);
    st->n_reused = keep;
out:
    free(ids.v);
    return rc;
}
