/* chat.c: qmoe-gpu chat: a conversation over one KV cache. Answers go to stdout, everything else to stderr;
 * the prompt and what is typed appear only on a terminal. */
#include "chat.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct poptOption table[] = {
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_run_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_sampling_table, 0, "How tokens are chosen:", NULL},
    POPT_TABLEEND};

static int cancelled(void) { return qm_chat_interrupted; }

void qm_chat_reset(qm_chat *c) {
    while (c->n_m) free((char *)c->m[--c->n_m].content);
    qm_err e;
    if (qm_session_truncate(c->s, 0, &e)) qm_host_fail(&e); /* cannot fail: 0 is never too much */
}

/* Takes content, or on failure frees it. */
static int add(qm_chat *c, const char *role, char *content, size_t n) {
    if (c->n_m == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        qm_message *m = realloc(c->m, cap * sizeof *m);
        if (m) c->m = m, c->cap = cap;
    }
    if (!content || c->n_m == c->cap) {
        free(content);
        qm_host_say("out of memory");
        return -1;
    }
    c->m[c->n_m++] = (qm_message){role, content, n};
    return 0;
}

typedef struct {
    char *s;       /* the answer so far */
    size_t n, cap;
    int failed;
    qm_progress prefill;
} answer;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    answer *a = user;
    (void)id;
    qm_progress_end(&a->prefill);
    if (a->n + n + 1 > a->cap) {
        size_t cap = 2 * (a->n + n + 1);
        char *p = realloc(a->s, cap);
        if (!p) return a->failed = 1;
        a->s = p;
        a->cap = cap;
    }
    memcpy(a->s + a->n, s, n);
    a->n += n;
    if (n && (fwrite(s, 1, n, stdout) != n || fflush(stdout))) return a->failed = 1;
    return qm_chat_interrupted;
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

/* One turn. A turn that cannot be made leaves the conversation as it was. Returns QM_EXIT_FAIL only where going on makes
 * no sense. */
static int turn(qm_chat *c, const char *text, size_t n) {
    qm_err e = {0};
    qm_gen_stats st;
    answer a = {0};
    size_t n_m;
    char *copy = malloc(n + 1);
    if (copy) memcpy(copy, text, n + 1);
    if (add(c, "user", copy, n)) return QM_EXIT_FAIL;
    qm_message *m = all(c, &n_m);
    if (!m) {
        qm_host_say("out of memory");
        return QM_EXIT_FAIL;
    }
    qm_gen_opts o = {.max_tokens = qm_run.n < 0 ? 0 : (uint32_t)qm_run.n, .ignore_eos = qm_run.ignore_eos,
                     .stop = (const char *const *)qm_run.stop, .n_stop = qm_run.n_stop,
                     .on_token = on_token, .on_prefill = on_prefill, .user = &a};
    qm_chat_interrupted = 0;
    qm_progress_begin(&a.prefill, !qm_run.quiet);
    int rc = qm_session_chat(c->s, m, n_m, &o, &st, &e);
    qm_progress_end(&a.prefill);
    free(m);
    if (!rc && !a.failed) {
        if (!a.n || a.s[a.n - 1] != '\n') putchar('\n');
        fflush(stdout);
        count(c, &st);
        if (st.finish == QM_FINISH_CALLBACK && !qm_run.quiet) qm_host_say("stopped; the answer so far stays in the conversation");
        if (st.finish == QM_FINISH_CONTEXT)
            qm_host_say("the context of %u positions is full, so the answer ends here: /reset begins a new conversation, "
                        "--ctx makes more room", c->info.n_ctx);
        if (!add(c, "assistant", a.s ? a.s : strdup(""), a.n)) return QM_EXIT_OK;
        return QM_EXIT_FAIL;
    }
    free(a.s);
    if (a.failed) {
        qm_host_say("standard output: %s", strerror(errno));
        return QM_EXIT_FAIL;
    }
    free((char *)c->m[--c->n_m].content);
    if (rc == QM_ERR_CANCELLED) {
        qm_host_say("stopped before the answer began; the message is not part of the conversation");
        return QM_EXIT_OK;
    }
    qm_host_fail(&e);
    if (rc == QM_ERR_LIMIT)
        qm_host_say("the message was not sent; the conversation is as it was: /reset begins a new one, --ctx makes more room");
    return rc == QM_ERR_LIMIT || rc == QM_ERR_ARG ? QM_EXIT_OK : QM_EXIT_FAIL;
}

static int blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", s[i]) || !s[i]) return 0;
    return 1;
}

static int converse(qm_chat *c, qm_lines *l) {
    int interrupts = 0, rc = QM_EXIT_OK;
    while (rc == QM_EXIT_OK && !c->quit) {
        const char *text;
        size_t n;
        int verbatim;
        qm_chat_interrupted = 0;
        qm_line_kind kind = qm_lines_read(l, &text, &n, &verbatim);
        if (kind == QM_LINE_END) break;
        if (kind == QM_LINE_FAILED) return QM_EXIT_FAIL;
        if (kind == QM_LINE_INTERRUPT) {
            if (++interrupts == 2) break;
            qm_host_say("Ctrl-C once more, or Ctrl-D, ends the chat");
            continue;
        }
        interrupts = 0;
        if (blank(text, n)) continue;
        if (*text == '/' && text[1] != '/' && !verbatim) qm_chat_command(c, text);
        else {
            int escaped = *text == '/' && !verbatim;
            rc = turn(c, text + escaped, n - (size_t)escaped);
        }
    }
    return rc;
}

static int run(qm_lines *l) {
    qm_err e = {0};
    qm_chat c = {0};
    int status = QM_EXIT_FAIL;
    if (qm_run.system && qm_run.system[0] && !(c.system = strdup(qm_run.system))) goto out;
    if (qm_run_open(&c.g, cancelled, NULL, NULL, &e)) {
        status = qm_host_open_fail(&e, qm_run.ctx);
        goto out;
    }
    qm_engine_get_info(c.g, &c.info);
    qm_run_describe(&c.info);
    qm_sampling_choose(c.g, &c.how);
    if (qm_session_open(&c.s, c.g, &e) || qm_session_set_sampling(c.s, &c.how, &e)) goto failed;
    if (qm_lines_interactive(l) && !qm_run.quiet) {
        qm_run_say_device(&c.info);
        fputs("sample  ", stderr);
        qm_sampling_print(stderr, &c.how);
        fputs("/help lists the commands, Ctrl-D ends\n", stderr);
    }
    status = QM_EXIT_OK;
    if (qm_run.prompt) {
        if (qm_lines_interactive(l) && isatty(1)) printf("> %s\n", qm_run.prompt);
        status = turn(&c, qm_run.prompt, strlen(qm_run.prompt));
    }
    if (status == QM_EXIT_OK) status = converse(&c, l);
    qm_chat_reset(&c);
    goto out;
failed:
    qm_host_fail(&e);
out:
    qm_session_close(c.s);
    qm_engine_close(c.g);
    free(c.system);
    free(c.m);
    return status;
}

int qm_cmd_chat(int argc, char **argv) {
    int rc = qm_run_args(argc, argv, table, "[-m] FILE [options]\n\nA conversation. /help, once it runs, lists its commands.");
    if (rc >= 0 || (rc = qm_sampling_args()) >= 0) return rc;
    if (qm_run.prompt && !qm_run.prompt[0]) return qm_host_usage("the prompt is empty");
    qm_lines *l = qm_lines_open();
    if (!l) return QM_EXIT_FAIL;
    rc = run(l);
    qm_lines_close(l);
    return rc;
}
