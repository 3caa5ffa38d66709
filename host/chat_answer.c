/* chat_answer.c: the conversation and the model's part in it: an answer as it comes, what it counted, what stands when it
 * was stopped or failed. */
#include "chat.h"
#include "qmoe_text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t qm_chat_interrupted;

void qm_chat_reset(qm_chat *c) {
    while (c->n_m) free((char *)c->m[--c->n_m].content);
    qm_err e;
    if (qm_session_truncate(c->s, 0, &e)) qm_host_fail(&e); /* cannot fail: 0 is never too much */
}

int qm_chat_add(qm_chat *c, const char *role, const char *content, size_t n) {
    if (c->n_m == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        qm_message *m = realloc(c->m, cap * sizeof *m);
        if (m) c->m = m, c->cap = cap;
    }
    char *copy = c->n_m < c->cap ? malloc(n + 1) : NULL;
    if (!copy) {
        qm_host_say("out of memory");
        return -1;
    }
    if (n) memcpy(copy, content, n);
    copy[n] = 0;
    c->m[c->n_m++] = (qm_message){role, copy, n};
    return 0;
}

static void drop_last(qm_chat *c) { free((char *)c->m[--c->n_m].content); }

typedef struct {
    qm_buffer text; /* the answer so far, what was thought included */
    int failed;
    qm_progress prefill;
    qm_think think;
    int hide, smart; /* smart: stdout is a terminal that knows escape codes */
    int dim;         /* thinking is on the screen: dimmed, or hidden behind a word */
    int thought;
    int shown; /* something of the answer is; the last byte of it */
    char last;
} answer;

static const char thinking_word[] = "thinking ...";

/* A piece of the answer on its way to stdout. */
static int show(void *user, qm_think_kind kind, const char *s, size_t n) {
    answer *a = user;
    const int thinking = kind != QM_THINK_ANSWER; /* the tags are shown as thoughts are */
    if (a->smart && thinking != a->dim) {
        if (a->hide) fprintf(stdout, thinking ? "\033[2m%s\033[22m" : "\r\033[K", thinking_word);
        else fputs(thinking ? "\033[2m" : "\033[22m", stdout);
        a->dim = thinking;
    }
    a->thought |= thinking;
    if (thinking && a->hide) return 0;
    if (a->hide && a->thought && !a->shown) /* the empty lines between what is hidden and the answer */
        while (n && strchr(" \t\r\n", *s) && *s) s++, n--;
    if (!n) return 0;
    a->shown = 1;
    a->last = s[n - 1];
    return fwrite(s, 1, n, stdout) != n;
}

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    answer *a = user;
    (void)id;
    qm_progress_end(&a->prefill);
    if (qm_buffer_put(&a->text, s, n)) return a->failed = 1;
    if (n && (qm_think_push(&a->think, s, n) || fflush(stdout))) return a->failed = 1;
    return qm_chat_interrupted;
}

/* The end of the answer on the screen. */
static void end_line(answer *a) {
    if (qm_think_end(&a->think)) a->failed = 1;
    if (a->smart && a->dim) fputs(a->hide ? "\r\033[K" : "\033[22m", stdout);
    if (!a->shown || a->last != '\n') putchar('\n');
    if (fflush(stdout)) a->failed = 1;
}

static int on_prefill(void *user, uint32_t done, uint32_t total) {
    answer *a = user;
    qm_progress_show(&a->prefill, "prompt ", done, total);
    return qm_chat_interrupted;
}

static void count(qm_chat *c, const qm_gen_stats *t) {
    c->last = *t;
    c->turns++;
    c->n_prompt += t->n_prompt;
    c->n_reused += t->n_reused;
    c->n_generated += t->n_generated;
    c->prefill_s += t->prefill_s;
    c->decode_s += t->decode_s;
}

/* The system message and the turns, in an array of its own; NULL: no memory. */
static qm_message *all(const qm_chat *c, size_t *n) {
    qm_message *m = malloc((c->n_m + 1) * sizeof *m);
    *n = 0;
    if (!m) return NULL;
    if (c->system) m[(*n)++] = (qm_message){"system", c->system, strlen(c->system)};
    memcpy(m + *n, c->m, c->n_m * sizeof *m);
    *n += c->n_m;
    return m;
}

typedef enum { ANSWERED, UNANSWERED, FATAL } outcome; /* FATAL: going on makes no sense */

static void say_rates(const qm_gen_stats *t) {
    fprintf(stderr, "%u tokens, %.1f tok/s; prompt %u tokens, %.1f tok/s, %u from the cache; finish %s\n",
            t->n_generated, qm_run_rate(t->n_generated > 1 ? t->n_generated - 1 : 0, t->decode_s), t->n_prompt,
            qm_run_rate(t->n_prompt, t->prefill_s), t->n_reused, qm_finish_name(t->finish));
}

/* The next message: the assistant's. Where there is none, the conversation is as it was. */
static outcome answer_it(qm_chat *c) {
    qm_err e = {0};
    qm_gen_stats st;
    answer a = {.hide = c->hide_thinking, .smart = qm_run_smart(1)};
    size_t n_m;
    qm_message *m = all(c, &n_m);
    if (!m) {
        qm_host_say("out of memory");
        return FATAL;
    }
    qm_gen_opts o = {.max_tokens = qm_run.n < 0 ? 0 : (uint32_t)qm_run.n,
                     .ignore_eos = qm_run.ignore_eos,
                     .stop = (const char *const *)qm_run.stop,
                     .n_stop = qm_run.n_stop,
                     .on_token = on_token,
                     .on_prefill = on_prefill,
                     .user = &a};
    qm_chat_interrupted = 0;
    int inside = qm_engine_thinks(c->g, m, n_m, &e), rc = inside < 0 ? inside : 0;
    qm_think_begin(&a.think, inside, show, &a);
    qm_progress_begin(&a.prefill, !qm_run.quiet);
    if (!rc) rc = qm_session_chat(c->s, m, n_m, &o, &st, &e);
    qm_progress_end(&a.prefill);
    free(m);
    if (!rc) end_line(&a);
    if (a.failed) {
        qm_host_say("standard output: %s", strerror(errno));
        free(a.text.s);
        return FATAL;
    }
    if (!rc) {
        count(c, &st);
        int bad = qm_chat_add(c, "assistant", a.text.s, a.text.n);
        free(a.text.s);
        if (qm_run.verbose) say_rates(&st);
        if (st.finish == QM_FINISH_CALLBACK && !qm_run.quiet)
            qm_host_say("stopped; the answer so far stays in the conversation");
        if (st.finish == QM_FINISH_CONTEXT)
            qm_host_say(
                "the context of %u positions is full, so the answer ends here: /reset begins a new conversation, "
                "--ctx makes more room",
                c->info.n_ctx);
        return bad ? FATAL : ANSWERED;
    }
    free(a.text.s);
    if (rc == QM_ERR_CANCELLED) {
        qm_host_say("stopped before the answer began; the conversation is as it was");
        return UNANSWERED;
    }
    qm_host_fail(&e);
    if (rc == QM_ERR_LIMIT)
        qm_host_say(
            "the message was not sent; the conversation is as it was: /reset begins a new one, --ctx makes more room");
    return rc == QM_ERR_LIMIT || rc == QM_ERR_ARG ? UNANSWERED : FATAL;
}

int qm_chat_turn(qm_chat *c, const char *text, size_t n) {
    if (qm_chat_add(c, "user", text, n)) return QM_EXIT_FAIL;
    outcome o = answer_it(c);
    if (o == UNANSWERED) {
        drop_last(c);
        c->failed = 1;
    }
    return o == FATAL ? QM_EXIT_FAIL : QM_EXIT_OK;
}

void qm_chat_regen(qm_chat *c) {
    qm_err e;
    if (!c->n_m) {
        qm_host_say("there is no message to answer");
        c->failed = 1;
        return;
    }
    /* The choices depend on the seed and the position: the same seed would make the same answer. */
    qm_sampling before = c->how;
    c->how.seed = c->how.seed < INT64_MAX ? c->how.seed + 1 : 0;
    if (qm_session_set_sampling(c->s, &c->how, &e)) qm_host_fail(&e); /* cannot fail: only the seed is new */
    if (qm_sampling_greedy(&c->how)) fputs("greedy: the answer will be the same again\n", stderr);
    else if (!qm_run.quiet) qm_sampling_print(stderr, &c->how);
    int had = c->n_m % 2 == 0;
    qm_message old = c->m[c->n_m - 1];
    if (had) c->n_m--;
    outcome o = answer_it(c);
    if (o == ANSWERED && had) free((char *)old.content);
    if (o == ANSWERED) return;
    if (had) c->m[c->n_m++] = old;
    c->how = before;
    if (qm_session_set_sampling(c->s, &c->how, &e)) qm_host_fail(&e);
    c->failed = 1;
    if (o == FATAL) c->quit = c->fatal = 1;
}
