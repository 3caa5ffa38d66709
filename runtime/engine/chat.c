/* chat.c: a conversation and a session: of its tokens only what the cache lacks.
 *
 * The text of an answer need not tokenise into the ids that were generated, and where it does not, the cache would be
 * good for nothing after that place. So a session remembers the text that its tokens stand for: the rendered
 * conversation and the answer. Where the next rendering goes on from exactly that text, with a control token, the ids
 * that are there stand for it. A template that changes its past (one that drops old reasoning) does not go on from
 * it: then the whole is tokenised, and what begins alike is kept. */
#include <stdlib.h>
#include <string.h>
#include "../device/prof.h"
#include "../text/bytes.h"
#include "session.h"

typedef struct {
    qm_rendered r;     /* text [n], own: the conversation; the answer comes after it, and is data */
    uint32_t n_tokens; /* of the session, that stand for it */
    int closed;        /* it ends with a control token */
} transcript;

static void transcript_free(void *p) {
    transcript *d = p;
    if (!d) return;
    qm_rendered_free(&d->r);
    free(d);
}

/* The ids of r from byte `from` on. */
static int tokenize_rest(const qm_engine *g, const qm_rendered *r, size_t from, qm_tokens *out, qm_err *e) {
    qm_rendered rest = {.text = r->text + from, .n = r->n - from};
    if (!(rest.own = malloc((r->n_own + 1) * sizeof *rest.own))) return qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
    for (size_t i = 0; i < r->n_own; i++)
        if (r->own[i].end > from)
            rest.own[rest.n_own++] =
                (qm_span){r->own[i].start < from ? 0 : r->own[i].start - from, r->own[i].end - from};
    int rc = qm_tokenize_rendered(g->tok, &rest, g->tok_flags, out, e);
    free(rest.own);
    return rc;
}

/* The ids of r: those of the session for the part that it has said, where that may be (*kept = 1). */
static int ids_of(const qm_session *s, const qm_rendered *r, qm_tokens *ids, int *kept, qm_err *e) {
    const transcript *d = s->note;
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    int on = d ? qm_rendered_goes_on(s->g->tok, r, &d->r, e) : 0;
    if (on < 0) return on;
    if (on) {
        qm_tokens rest = {0};
        int rc = tokenize_rest(s->g, r, d->r.n, &rest, e);
        size_t n = d->n_tokens + rest.n;
        /* Nothing merges across a control token. */
        if (!rc && rest.n && (d->closed || qm_token_is_control(s->g->tok, rest.v[0]))) {
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
    return qm_tokenize_rendered(s->g->tok, r, s->g->tok_flags, ids, e);
}

/* The caller's callback, with a copy of what it was given and of what the tokens say. */
typedef struct {
    const qm_gen_opts *o;
    const qm_tokenizer *tok;
    qm_bytes text, raw; /* where memory failed the answer is not remembered */
} listener;

static int on_token(void *user, uint32_t id, const char *text, size_t n) {
    listener *l = user;
    int ends = id != UINT32_MAX && qm_token_is_eog(l->tok, id) && !l->o->ignore_eos; /* no part of the answer */
    qm_str b =
        id != UINT32_MAX && !ends ? qm_token_bytes(l->tok, id) : (qm_str){"", 0}; /* a control token's are in no text */
    qm_bytes_put(&l->raw, b.s, b.n);
    qm_bytes_put(&l->text, text, n);
    return l->o->on_token ? l->o->on_token(l->o->user, id, text, n) : 0;
}

static int on_prefill(void *user, uint32_t done, uint32_t total) {
    listener *l = user;
    return l->o->on_prefill ? l->o->on_prefill(l->o->user, done, total) : 0;
}

/* Cuts d, which is n bytes and n_ids tokens of conversation, after its last control token. */
static int cut(const qm_session *s, transcript *d, size_t n, uint32_t n_ids, qm_err *e) {
    uint32_t j = n_ids;
    while (j && !qm_token_is_control(s->g->tok, s->ids[j - 1])) j--;
    if (!j) return -1;
    qm_str last = qm_token_bytes(s->g->tok, s->ids[j - 1]);
    size_t at = n;
    while (at >= last.n && memcmp(d->r.text + at - last.n, last.s, last.n)) at--;
    if (at < last.n) return -1;
    /* The same text may stand in a message: only if the rest is as it was computed, this is the place. */
    qm_tokens rest = {0};
    d->r.n = n;
    int rc = tokenize_rest(s->g, &d->r, at, &rest, e);
    if (!rc && (rest.n != n_ids - j || (rest.n && memcmp(rest.v, s->ids + j, rest.n * sizeof *rest.v)))) rc = -1;
    free(rest.v);
    d->r.n = at;
    d->n_tokens = j;
    d->closed = 1;
    return rc;
}

/* Remembers d with the answer, if its tokens say what its text says, byte for byte; else d alone. They do not where a
 * stop string was cut off the text, where a stopped answer held something back, and where bytes were replaced. */
static void remember(qm_session *s, listener *l, transcript **d, const qm_gen_stats *st) {
    qm_rendered *r = &(*d)->r;
    size_t n = r->n;
    qm_err ignored;
    int says = !l->raw.failed && !l->text.failed && l->raw.n == l->text.n &&
               (!l->raw.n || !memcmp(l->raw.s, l->text.s, l->raw.n));
    char *p = says ? realloc(r->text, n + l->text.n + 1) : NULL;
    if (p) {
        if (l->text.n) memcpy(p + n, l->text.s, l->text.n);
        r->text = p;
        r->n += l->text.n;
        r->text[r->n] = 0;
        (*d)->n_tokens = s->n - (st->finish == QM_FINISH_EOG); /* the next rendering writes the end itself */
    } else if (cut(s, *d, n, st->n_reused + st->n_prompt, &ignored)) return;
    qm_session_note(s, *d, transcript_free);
    *d = NULL;
}

int qm_session_chat(qm_session *s, const qm_message *m, size_t n_messages, const qm_gen_opts *o, qm_gen_stats *st,
                    qm_err *e) {
    qm_tokens ids = {0};
    *st = (qm_gen_stats){0};
    listener l = {.o = o, .tok = s->g->tok};
    transcript *d = calloc(1, sizeof *d), *before = NULL;
    if (!d) return qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
    int rc = qm_chat_format_messages(s->g->format, s->g->tok, m, n_messages, &d->r, e);
    int kept = 0;
    if (!rc) rc = ids_of(s, &d->r, &ids, &kept, e);
    if (rc) goto out;
    uint32_t n_ctx = s->g->limits.n_ctx;
    if (ids.n + 1 > n_ctx) {
        rc = qm_fail(e, QM_ERR_LIMIT,
                     "the conversation has %zu tokens and an answer needs room too; the context has %u", ids.n, n_ctx);
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
    if (kept) {
        before = s->note;
        s->note = NULL;
    }
    if ((rc = qm_session_truncate(s, keep, e))) goto out;
    rc = qm_generate(s, ids.v + keep, ids.n - keep, &own, st, e);
    st->n_reused = keep;
    if (!rc) remember(s, &l, &d, st);
    else if (before && s->n >= before->n_tokens) { /* cancelled after it: it holds still */
        qm_session_note(s, before, transcript_free);
        before = NULL;
    }
out:
    transcript_free(before);
    transcript_free(d);
    qm_bytes_free(&l.text);
    qm_bytes_free(&l.raw);
    free(ids.v);
    return rc;
}
