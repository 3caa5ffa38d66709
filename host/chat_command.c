/* chat_command.c: the lines of a chat that begin with a slash. What they say goes to stderr. */
#include "chat.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What cannot be done is counted: in a pipe it is the exit status. */
static void refuse(qm_chat *c) { c->failed = 1; }

typedef struct {
    const char *name, *arguments, *help;       /* arguments: "" none; in brackets: may be left out */
    void (*run)(qm_chat *c, const char *rest); /* rest: "" where there is none */
} command;

static void cmd_reset(qm_chat *c, const char *rest) {
    (void)rest;
    qm_chat_reset(c);
    fprintf(stderr, "a new conversation%s\n", c->system ? ", with the same system message" : "");
}

static void cmd_system(qm_chat *c, const char *rest) {
    if (!*rest) {
        fprintf(stderr, "%s%s\n", c->system ? "system message: " : "no system message; /system TEXT gives one",
                c->system ? c->system : "");
        return;
    }
    char *s = strcmp(rest, "\"\"") ? strdup(rest) : NULL;
    free(c->system);
    c->system = s;
    fprintf(stderr, s ? "the system message is set%s\n" : "no system message any more%s\n",
            c->n_m ? "; the next turn computes the conversation anew" : "");
}

/* "temp 0.7" or "temp=0.7". */
static void cmd_set(qm_chat *c, const char *rest) {
    char name[32], value[160], after;
    if (!*rest) {
        qm_sampling_list(stderr, &c->how);
        return;
    }
    if (sscanf(rest, "%31[^= \t\n]%*[= \t]%159s %c", name, value, &after) != 2) {
        qm_host_say("/set NAME VALUE sets one parameter, /set lists them");
        refuse(c);
        return;
    }
    qm_sampling p = c->how;
    qm_err e;
    if (qm_sampling_set(&p, name, value)) {
        refuse(c);
        return;
    }
    if (qm_session_set_sampling(c->s, &p, &e)) {
        qm_host_fail(&e);
        refuse(c);
        return;
    }
    c->how = p;
    qm_sampling_print(stderr, &p);
}

static void cmd_stats(qm_chat *c, const char *rest) {
    (void)rest;
    const qm_gen_stats *t = &c->last;
    uint32_t n = qm_session_length(c->s);
    fprintf(stderr, "context  %u of %u positions (%.0f%%)\n", n, c->info.n_ctx, 100.0 * n / c->info.n_ctx);
    if (c->turns)
        fprintf(stderr,
                "last     %u tokens computed in %.2f s (%.1f tok/s), %u taken from the cache; %u generated in %.2f s "
                "(%.1f tok/s), finish %s\n",
                t->n_prompt, t->prefill_s, qm_run_rate(t->n_prompt, t->prefill_s), t->n_reused, t->n_generated,
                t->decode_s, qm_run_rate(t->n_generated > 1 ? t->n_generated - 1 : 0, t->decode_s),
                qm_finish_name(t->finish));
    fprintf(stderr,
            "all      %u turns: %" PRIu64 " tokens computed in %.2f s, %" PRIu64 " taken from the cache; %" PRIu64
            " generated in %.2f s\n",
            c->turns, c->n_prompt, c->prefill_s, c->n_reused, c->n_generated, c->decode_s);
    fputs("sample   ", stderr);
    qm_sampling_print(stderr, &c->how);
    qm_run_say_device(&c->info);
}

static void cmd_regen(qm_chat *c, const char *rest) {
    (void)rest;
    qm_chat_regen(c);
}

static void cmd_save(qm_chat *c, const char *path) {
    if (qm_chat_save(c, path)) refuse(c);
    else fprintf(stderr, "%zu messages in %s\n", c->n_m + (c->system != NULL), path);
}

static void cmd_load(qm_chat *c, const char *path) {
    if (qm_chat_load(c, path)) {
        refuse(c);
        return;
    }
    fprintf(stderr, "%zu messages from %s%s\n", c->n_m + (c->system != NULL), path,
            c->n_m % 2 ? "; the last has no answer yet: /regen gives one" : "");
}

static void cmd_think(qm_chat *c, const char *rest) {
    if (!strcmp(rest, "hide") || !strcmp(rest, "show")) c->hide_thinking = *rest == 'h';
    else if (*rest) {
        qm_host_say("/think hide or /think show");
        refuse(c);
        return;
    }
    fprintf(stderr, "what the model thinks is %s\n", c->hide_thinking ? "hidden" : "shown");
}

static void cmd_quit(qm_chat *c, const char *rest) {
    (void)rest;
    c->quit = 1;
}

static void cmd_help(qm_chat *c, const char *rest);
static const command commands[] = {
    {"reset", "", "forget the conversation; the system message stays", cmd_reset},
    {"system", "[TEXT]", "set the system message; \"\" removes it; alone: show it", cmd_system},
    {"set", "[NAME VALUE]", "set temp, top-k, top-p, min-p, repeat-penalty, repeat-last-n or seed; alone: show all",
     cmd_set},
    {"regen", "", "answer the last message anew, by the next seed", cmd_regen},
    {"save", "FILE", "write the conversation to FILE, as JSON", cmd_save},
    {"load", "FILE", "go on with the conversation in FILE", cmd_load},
    {"think", "[hide|show]", "whether what the model thinks before it answers is shown", cmd_think},
    {"stats", "", "the context, and what was computed, how fast", cmd_stats},
    {"help", "", "this text", cmd_help},
    {"quit", "", "end; so do Ctrl-D and, on a terminal, the word exit or quit", cmd_quit},
    {"exit", "", NULL, cmd_quit}, /* NULL: another name, not in the list */
    {"bye", "", NULL, cmd_quit},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void cmd_help(qm_chat *c, const char *rest) {
    (void)c, (void)rest;
    for (int i = 0; i < N_COMMANDS; i++) {
        if (!commands[i].help) continue;
        int n = fprintf(stderr, "  /%s %s", commands[i].name, commands[i].arguments);
        fprintf(stderr, "%*s%s\n", n < 24 ? 24 - n : 1, "", commands[i].help);
    }
    fputs("A line that ends in \\ goes on in the next one; between two \"\"\" lines are taken as they stand.\n"
          "//TEXT sends a message that begins with a slash. Ctrl-C stops an answer.\n",
          stderr);
}

const char *qm_chat_command_name(size_t i) { return i < N_COMMANDS ? commands[i].name : NULL; }

void qm_chat_command(qm_chat *c, const char *line) {
    const char *names[N_COMMANDS];
    char word[32];
    size_t n = strcspn(line + 1, " \t\n");
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), line + 1);
    const char *rest = line + 1 + n;
    rest += strspn(rest, " \t\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(word, commands[i].name)) continue;
        const char *wants = commands[i].arguments;
        if ((*rest && !*wants) || (!*rest && *wants && *wants != '[')) {
            if (*wants) qm_host_say("/%s %s: it is missing", word, wants);
            else qm_host_say("/%s takes no argument", word);
            refuse(c);
        } else commands[i].run(c, rest);
        return;
    }
    refuse(c);
    const char *near = *word ? qm_host_nearest(word, names, N_COMMANDS) : NULL;
    if (near)
        qm_host_say("there is no command /%s; did you mean /%s? (//... sends a line that begins with a slash)", word,
                    near);
    else qm_host_say("there is no command /%s; /help lists them (//... sends a line that begins with a slash)", word);
}
