/* chat.c: a conversation and a session: the messages as tokens, and of those only what the cache lacks.
 *
 * The text of an answer need not tokenise into the ids that were generated, and where it does not, the cache would
 * be good for nothing behind that place. So a session remembers the text that its tokens stand for: the rendered
 * conversation and the answer. Where the next rendering goes on from exactly that text, with a control token, the ids that
 * are there stand for it. A template that changes its past (one that drops old reasoning) does not go on from it:
 * then the whole is tokenised, and what begins alike is kept. */
#include <stdlib.h>
#include <string.h>
#include "../device/prof.h"
#include "../file/chat.h"
#include "engine.h"

struct qm_said {
    qm_rendered r;      /* text [n, of cap], own: the conversation; the answer is behind it, and is data */
    size_t cap;
    uint32_t n_tokens;  /* of the session, that stand for it */
};

void qm_said_free(qm_said *d) {
    if (!d) return;
    qm_rendered_free(&d->r);
    free(d);
}

/* qm_tokens (public) and qm_ids (tokenizer) are the same three words. */
static int tokenize(const qm_engine *g, const qm_rendered *r, qm_tokens *out, qm_err *e) {
    qm_ids ids = {out->v, out->n, out->cap};
    int rc = qm_template_tokenize(g->tok, r, g->tok_flags, &ids, e);
    *out = (qm_tokens){ids.ids, ids.n, ids.cap};
    return rc;
}

int qm_engine_render(const qm_engine *g, const qm_message *m, size_t n_messages, qm_tokens *out, qm_err *e) {
    qm_rendered r;
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    int rc = qm_chat_format_render(g->format, g->tok, m, n_messages, &r, e);
    if (rc) return rc;
    rc = tokenize(g, &r, out, e);
    qm_rendered_free(&r);
    return rc;
}

/* Whether r goes on from what was said, byte for byte and with the same bytes its own. */
static int goes_on(const qm_rendered *r, const qm_said *d) {
    if (!d || r->n <= d->r.n || memcmp(r->text, d->r.text, d->r.n)) return 0;
    for (size_t i = 0; i < d->r.n_own; i++) {
        if (i >= r->n_own || r->own[i].start != d->r.own[i].start) return 0;
        size_t end = r->own[i].end < d->r.n ? r->own[i].end : d->r.n;
        if (end != d->r.own[i].end) return 0;
    }
    return r->n_own > d->r.n_own ? r->own[d->r.n_own].start >= d->r.n : 1;
}

/* The ids of r from byte `from` on. */
static int tokenize_rest(const qm_engine *g, const qm_rendered *r, size_t from, qm_tokens *out, qm_err *e) {
    qm_rendered rest = {.text = r->text + from, .n = r->n - from};
    if (!(rest.own = malloc((r->n_own + 1) * sizeof *rest.own))) return qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
    for (size_t i = 0; i < r->n_own; i++)
        if (r->own[i].end > from)
            rest.own[rest.n_own++] = (qm_template_span){r->own[i].start < from ? 0 : r->own[i].start - from, r->own[i].end - from};
    int rc = tokenize(g, &rest, out, e);
    free(rest.own);
    return rc;
}

/* The ids of r: those of the session for the part that it has said, where that may be (*kept = 1). */
static int ids_of(const qm_session *s, const qm_rendered *r, qm_tokens *ids, int *kept, qm_err *e) {
    const qm_said *d = s->said;
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    if (goes_on(r, d)) {
        qm_tokens rest = {0};
        int rc = tokenize_rest(s->g, r, d->r.n, &rest, e);
        size_t n = d->n_tokens + rest.n;
        if (!rc && rest.n && qm_token_is_control(s->g->tok, rest.v[0])) { /* nothing merges across a control token */
            if ((ids->v = malloc(n * sizeof *ids->v))) {
                memcpy(ids->v, s->ids, d->n_tokens * sizeof *ids->v);
                memcpy(ids->v + d->n_tokens, rest.v, rest.n * sizeof *ids->v);
                ids->n = ids->cap = n;
                *kept = 1;
            } else rc = qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
        }
        free(rest.v);
        if (rc || ids->n) return rc;
    }
    return tokenize(s->g, r, ids, e);
}

/* The caller's callback with a copy of the text. */
typedef struct {
    const qm_gen_opts *o;
    qm_session *s;
    qm_said *d;
    size_t n_bytes;  /* of the tokens so far */
    int odd;         /* the text does not say what the tokens are */
} listener;

static int on_token(void *user, uint32_t id, const char *text, size_t n) {
    listener *l = user;
    qm_said *d = l->d;
    if (id != UINT32_MAX) {
        if (qm_token_is_control(l->s->g->tok, id)) l->odd = 1;
        l->n_bytes += qm_token_bytes(l->s->g->tok, id).n;
    }
    if (d->r.n + n + 1 > d->cap) {
        size_t cap = 2 * (d->r.n + n + 1);
        char *p = realloc(d->r.text, cap);
        if (p) d->r.text = p, d->cap = cap;
    }
    if (d->r.n + n + 1 <= d->cap) {
        memcpy(d->r.text + d->r.n, text, n);
        d->r.n += n;
    } else l->odd = 1;
    return l->o->on_token ? l->o->on_token(l->o->user, id, text, n) : 0;
}

static int on_prefill(void *user, uint32_t done, uint32_t total) {
    listener *l = user;
    return l->o->on_prefill ? l->o->on_prefill(l->o->user, done, total) : 0;
}

/* Remembers d, if text and tokens say the same. A stop string was cut off the text; an answer that was stopped may
 * have held something back. */
static void remember(listener *l, const qm_gen_stats *st, size_t before) {
    if (st->finish == QM_FINISH_STOP || (st->finish == QM_FINISH_CALLBACK && l->d->r.n - before != l->n_bytes)) l->odd = 1;
    if (l->odd) return;
    l->d->n_tokens = l->s->n - (st->finish == QM_FINISH_EOG);
    l->s->said = l->d;
    l->d = NULL;
}

int qm_session_chat(qm_session *s, const qm_message *m, size_t n_messages, const qm_gen_opts *o, qm_gen_stats *st, qm_err *e) {
    qm_tokens ids = {0};
    *st = (qm_gen_stats){0};
    listener l = {.o = o, .s = s, .d = calloc(1, sizeof *l.d)};
    if (!l.d) return qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
    int rc = qm_chat_format_render(s->g->format, s->g->tok, m, n_messages, &l.d->r, e);
    qm_said *before = NULL;
    int kept = 0;
    if (!rc) rc = ids_of(s, &l.d->r, &ids, &kept, e);
    if (rc) goto out;
    uint32_t n_ctx = s->g->limits.n_ctx;
    if (ids.n + 1 > n_ctx) {
        rc = qm_fail(e, QM_ERR_LIMIT, "the conversation has %zu tokens and an answer needs room too; the context has %u",
                     ids.n, n_ctx);
        goto out;
    }
    if (!ids.n) {
        rc = qm_fail(e, QM_ERR_ARG, "the chat template makes nothing of the conversation");
        goto out;
    }
    qm_gen_opts own = *o;
    own.on_token = on_token;
    own.on_prefill = on_prefill;
    own.user = &l;
    if (own.max_tokens > n_ctx - ids.n) own.max_tokens = 0; /* all the room there is */
    /* The last position is always computed: its logits choose the first token. */
    uint32_t keep = 0;
    while (keep < s->n_cached && keep < ids.n - 1 && s->ids[keep] == ids.v[keep]) keep++;
    if (kept) before = s->said, s->said = NULL;
    if ((rc = qm_session_truncate(s, keep, e))) goto out;
    size_t n_rendered = l.d->r.n;
    rc = qm_generate(s, ids.v + keep, ids.n - keep, &own, st, e);
    st->n_reused = keep;
    if (!rc) remember(&l, st, n_rendered);
    else if (before && s->n >= before->n_tokens) s->said = before, before = NULL; /* cancelled behind it: it holds still */
out:
    qm_said_free(before);
    qm_said_free(l.d);
    free(ids.v);
    return rc;
}
