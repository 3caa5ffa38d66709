/* chat.c: qmoe-gpu chat: a conversation over one KV cache. Answers go to stdout, everything else to stderr;
 * the prompt and what is typed appear only on a terminal. */
#include "chat.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct { int single_turn, hide_thinking; } opt;

static const struct poptOption table[] = {
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_run_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_sampling_table, 0, "How tokens are chosen:", NULL},
    {"single-turn", 0, POPT_ARG_NONE, &opt.single_turn, 0, "answer one message, then leave", NULL},
    {"hide-thinking", 0, POPT_ARG_NONE, &opt.hide_thinking, 0, "do not show what the model thinks before it answers",
     NULL},
    POPT_TABLEEND};

static int cancelled(void) { return qm_chat_interrupted; }

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
        if (qm_chat_interrupted) qm_lines_drop(l);
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
        if (!verbatim && blank(text, n)) continue;
        if (!verbatim && qm_lines_interactive(l) && (!strcmp(text, "exit") || !strcmp(text, "quit"))) break;
        if (*text == '/' && text[1] != '/' && !verbatim) qm_chat_command(c, text);
        else {
            int escaped = *text == '/' && !verbatim;
            rc = qm_chat_turn(c, text + escaped, n - (size_t)escaped);
            if (opt.single_turn) break;
        }
    }
    return rc;
}

static int run(qm_lines *l) {
    qm_err e = {0};
    qm_chat c = {0};
    int status = QM_EXIT_FAIL;
    c.hide_thinking = opt.hide_thinking;
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
    } else if (!qm_run.quiet && !qm_sampling_greedy(&c.how)) { /* what repeats the run */
        fputs("sample  ", stderr);
        qm_sampling_print(stderr, &c.how);
    }
    status = QM_EXIT_OK;
    if (qm_run.prompt) {
        if (qm_lines_interactive(l) && isatty(1)) printf("> %s\n", qm_run.prompt);
        status = qm_chat_turn(&c, qm_run.prompt, strlen(qm_run.prompt));
    }
    if (status == QM_EXIT_OK && !(qm_run.prompt && opt.single_turn)) status = converse(&c, l);
    if (c.failed && (opt.single_turn || c.fatal || !qm_lines_interactive(l))) status = QM_EXIT_FAIL;
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
    int rc = qm_run_args(argc, argv, table,
                         "[-m] FILE [options]\n\nA conversation. /help, once it runs, lists its commands.");
    if (rc >= 0 || (rc = qm_sampling_args()) >= 0) return rc;
    qm_lines *l = qm_lines_open();
    if (!l) return QM_EXIT_FAIL;
    rc = run(l);
    qm_lines_close(l);
    return rc;
}
