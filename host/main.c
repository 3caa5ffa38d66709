/* main.c: qmoe-gpu <command> ...: finds the command, or says which one was perhaps meant. */
#include "flags.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "completion.h"

typedef struct {
    const char *name, *arguments, *help;
    int (*run)(int argc, char **argv);
} command;

static int cmd_completion(int argc, char **argv);
static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const command commands[] = {
#define QM_CMD(name, letter, arguments, help) {#name, arguments, help, qm_cmd_##name},
#include "commands.def"
#undef QM_CMD
    {"completion", "bash|zsh", "print the completion script of a shell", cmd_completion},
    {"help", "[COMMAND]", "show this text, or the options of a command", cmd_help},
    {"version", "", "show the version", cmd_version},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *f) {
    fprintf(f, "qmoe-gpu %s: Qwen GGUF models on one NVIDIA GPU\n\nusage: qmoe-gpu COMMAND ...\n\n", QM_VERSION);
    for (int i = 0; i < N_COMMANDS; i++) {
        int n = fprintf(f, "  %s %s", commands[i].name, commands[i].arguments);
        fprintf(f, "%*s%s\n", n < 26 ? 26 - n : 1, "", commands[i].help);
    }
    fprintf(f, "\n`qmoe-gpu COMMAND --help` shows a command's options.\n"
               "`qmoe-gpu help flags` shows what becomes of llama.cpp's options.\n"
               "exit status: 0 done, 1 failed, 2 called wrongly\n");
}

/* Words that other programs have for what is here, or for what is not. */
static const struct {
    const char *word, *answer;
} elsewhere[] = {
    {"run", "`qmoe-gpu chat -m FILE` is a conversation, `qmoe-gpu generate -m FILE -p TEXT` one answer"},
    {"cli", "`qmoe-gpu chat -m FILE` is a conversation, `qmoe-gpu generate -m FILE -p TEXT` one answer"},
    {"llama-cli", "`qmoe-gpu chat -m FILE` is a conversation, `qmoe-gpu generate -m FILE -p TEXT` one answer"},
    {"completions",
     "`qmoe-gpu generate -m FILE -p TEXT` is one answer, `qmoe-gpu completion bash` the shell's completion"},
    {"server", "`qmoe-gpu serve -m FILE` is the server"},
    {"pull", "nothing is downloaded here: fetch a GGUF file, then `qmoe-gpu chat -m FILE`"},
    {"download", "nothing is downloaded here: fetch a GGUF file, then `qmoe-gpu chat -m FILE`"},
    {"list", "there is no store of models: each is a file, `qmoe-gpu inspect FILE` shows what it holds"},
    {"ls", "there is no store of models: each is a file, `qmoe-gpu inspect FILE` shows what it holds"},
    {"show", "`qmoe-gpu inspect FILE` shows what a model's file holds"},
    {"devices", "`qmoe-gpu doctor` lists the devices"},
    {"ppl", "did you mean 'perplexity'?"},
};

static int is_model(const char *word) {
    size_t n = strlen(word);
    return n > 5 && !strcasecmp(word + n - 5, ".gguf");
}

static int unknown(const char *what, const char *word) {
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (!strcmp(word, elsewhere[i].word))
            return qm_host_usage("there is no %s '%s': %s", what, word, elsewhere[i].answer);
    if (is_model(word))
        return qm_host_usage("'%s' is a model, not a %s: `qmoe-gpu chat -m %s` is a conversation with it", word, what,
                             word);
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) names[i] = commands[i].name;
    const char *near = qm_host_nearest(word, names, N_COMMANDS);
    if (near) return qm_host_usage("there is no %s '%s'; did you mean '%s'?", what, word, near);
    return qm_host_usage("there is no %s '%s'; `qmoe-gpu help` lists them", what, word);
}

static int run(int argc, char **argv) {
    char name[64];
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(argv[0], commands[i].name)) {
            snprintf(name, sizeof name, "qmoe-gpu %s", commands[i].name);
            argv[0] = name;
            return commands[i].run(argc, argv);
        }
    return unknown("command", argv[0]);
}

static int cmd_help(int argc, char **argv) {
    if (argc == 1) {
        print_help(stdout);
        return QM_EXIT_OK;
    }
    if (argc > 2) return qm_host_usage("help takes one command");
    if (!strcmp(argv[1], "flags")) {
        qm_flags_print(stdout);
        return QM_EXIT_OK;
    }
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "version") || !strcmp(argv[1], "completion"))
        return qm_host_usage("'%s' has no options", argv[1]);
    char flag[] = "--help";
    char *args[] = {argv[1], flag, NULL};
    return run(2, args);
}

/* The options of every command, from the tables that they read them by. */
static int cmd_completion(int argc, char **argv) {
    qm_completion_shell *shell = argc == 2 ? qm_completion_begin(argv[1]) : NULL;
    if (!shell) return qm_host_usage("completion: give one shell: bash or zsh");
    qm_host_visit(qm_completion_options, shell);
    for (int i = 0; i < N_COMMANDS; i++) {
        char *args[] = {(char *)commands[i].name, NULL};
        int own = commands[i].run != cmd_completion && commands[i].run != cmd_help && commands[i].run != cmd_version;
        qm_completion_command(shell, commands[i].name, commands[i].help);
        if (own) run(1, args);
    }
    qm_host_visit(NULL, NULL);
    return qm_completion_end(shell);
}

static int cmd_version(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return qm_host_usage("version takes no arguments");
    printf("qmoe-gpu %s\n", QM_VERSION);
    return QM_EXIT_OK;
}

int main(int argc, char **argv) {
    qm_host_begin();
    if (argc < 2) {
        print_help(stderr);
        return QM_EXIT_USAGE;
    }
    int rc;
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(stdout);
        rc = QM_EXIT_OK;
    } else if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) rc = cmd_version(1, NULL);
    else if (argv[1][0] == '-')
        rc = qm_host_usage("options follow a command: `qmoe-gpu chat %s ...` or `qmoe-gpu generate %s ...`", argv[1],
                           argv[1]);
    else rc = run(argc - 1, argv + 1);
    if (fflush(stdout) && rc == QM_EXIT_OK) {
        qm_host_say("writing to the standard output failed");
        rc = QM_EXIT_FAIL;
    }
    return rc;
}
