/* completion.c: prints the completion scripts. What follows an option is told by the name of its value: FILE and DIR are
 * paths, "graph|persistent|ref" the words there are; for any other nothing is offered. */
#include "completion.h"
#include <stdlib.h>
#include <string.h>
#include "flags.h"

struct qm_completion_shell {
    int zsh, open;                  /* open: a command's function has begun */
    char names[512], entries[4096]; /* bash: the commands' names; zsh: 'name:help' of each */
};

qm_completion_shell *qm_completion_begin(const char *shell) {
    static qm_completion_shell s;
    if (strcmp(shell, "bash") && strcmp(shell, "zsh")) return NULL;
    s.zsh = !strcmp(shell, "zsh");
    if (s.zsh) puts("#compdef qmoe-gpu");
    printf("# %s completion of qmoe-gpu %s. Printed by `qmoe-gpu completion %s`; not to be edited.\n", shell,
           QM_VERSION, shell);
    return &s;
}

/* Text between single quotes, with what zsh's _arguments reads in it escaped. */
static void quoted(FILE *f, const char *s) {
    for (; *s; s++) {
        if (*s == '\'') fputs("'\\''", f);
        else if (strchr("[]:\\", *s)) fprintf(f, "\\%c", *s);
        else fputc(*s == '\n' ? ' ' : *s, f);
    }
}

/* The words of "auto|cuda:N|sim" that can be typed as they stand: "auto sim"; "" where it names none. */
static void words_of(const char *what, char *buf, size_t n) {
    size_t at = 0, k;
    buf[0] = 0;
    if (!what || !strchr(what, '|')) return;
    for (const char *s = what; *s; s += k + (s[k] != 0)) {
        k = strcspn(s, "|");
        size_t plain = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (plain >= k && at + k + 2 < n) at += (size_t)snprintf(buf + at, n - at, "%s%.*s", at ? " " : "", (int)k, s);
    }
}

static int is(const char *what, const char *end) {
    size_t n = what ? strlen(what) : 0, k = strlen(end);
    return n >= k && !strcmp(what + n - k, end);
}

static void close_command(qm_completion_shell *s) {
    if (s->open && s->zsh) puts("        '*: :_files'\n}");
    else if (s->open) puts("}");
    s->open = 0;
}

void qm_completion_command(qm_completion_shell *s, const char *name, const char *help) {
    close_command(s);
    size_t at = strlen(s->names), end = strlen(s->entries);
    snprintf(s->names + at, sizeof s->names - at, "%s%s", at ? " " : "", name);
    FILE *f = fmemopen(s->entries + end, sizeof s->entries - end, "w");
    if (!f) return;
    fprintf(f, "        '%s:", name);
    for (; *help; help++) fputs(*help == '\'' ? "'\\''" : (char[]){*help, 0}, f);
    fputs("'\n", f);
    fclose(f);
}

/* What may follow an option of bash's: sets `kind`, and `words`. */
static void bash_value(const struct poptOption *o) {
    char words[160];
    if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE || !o->longName || !qm_flags_takes_value(o)) return;
    words_of(o->argDescrip, words, sizeof words);
    if (o->shortName) printf("    -%c | ", o->shortName);
    else printf("    ");
    printf("--%s) ", o->longName);
    if (!strcmp(o->longName, "model")) printf("kind=model ;;\n");
    else if (is(o->argDescrip, "FILE")) printf("kind=file ;;\n");
    else if (is(o->argDescrip, "DIR")) printf("kind=dir words='%s' ;;\n", words);
    else printf("kind=words words='%s' ;;\n", words);
}

static void bash_values(const struct poptOption *t) {
    for (; t->longName || t->shortName || t->arg; t++) {
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) bash_values(t->arg);
        else bash_value(t);
    }
}

static void bash_names(const struct poptOption *t) {
    for (; t->longName || t->shortName || t->arg; t++) {
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) bash_names(t->arg);
        else if (t->longName) printf(" --%s", t->longName);
    }
}

static void zsh_options(const struct poptOption *t) {
    char words[160];
    for (; t->longName || t->shortName || t->arg; t++) {
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) {
            zsh_options(t->arg);
            continue;
        }
        if (!t->longName) continue;
        int many = (t->argInfo & POPT_ARG_MASK) == POPT_ARG_ARGV;
        if (t->shortName && !many)
            printf("        '(-%c --%s)'{-%c,--%s}'[", t->shortName, t->longName, t->shortName, t->longName);
        else if (t->shortName) printf("        '*'{-%c,--%s}'[", t->shortName, t->longName);
        else printf("        '%s--%s[", many ? "*" : "", t->longName);
        quoted(stdout, t->descrip);
        putchar(']');
        if (qm_flags_takes_value(t)) {
            words_of(t->argDescrip, words, sizeof words);
            putchar(':');
            quoted(stdout, t->argDescrip ? t->argDescrip : "value");
            if (!strcmp(t->longName, "model")) fputs(":_files -g \"*.gguf(-.)\"", stdout);
            else if (is(t->argDescrip, "FILE")) fputs(":_files", stdout);
            else if (is(t->argDescrip, "DIR")) fputs(":_files -/", stdout);
            else if (words[0]) printf(":(%s)", words);
            else fputs(": ", stdout);
        }
        puts("' \\");
    }
}

void qm_completion_options(void *user, const char *prog, const struct poptOption *table) {
    qm_completion_shell *s = user;
    const char *name = strchr(prog, ' ') ? strchr(prog, ' ') + 1 : prog;
    s->open = 1;
    printf("\n_qmoe_gpu_%s() {\n", name);
    if (s->zsh) {
        puts("    _arguments \\");
        zsh_options(table);
        return;
    }
    fputs("    options='", stdout);
    bash_names(table);
    puts("'\n    case $1 in");
    bash_values(table);
    puts("    esac");
}

static const char bash_end[] =
    "\n_qmoe_gpu() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} kind=file words= options=\n"
    "    local commands='%s'\n"
    "    COMPREPLY=()\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$cur\")\n"
    "        return\n"
    "    fi\n"
    "    case ${COMP_WORDS[1]} in\n"
    "    help) kind=words words=\"$commands flags\" ;;\n"
    "    completion) kind=words words='bash zsh' ;;\n"
    "    *) if declare -F \"_qmoe_gpu_${COMP_WORDS[1]}\" > /dev/null; then \"_qmoe_gpu_${COMP_WORDS[1]}\" \"$prev\"; "
    "fi ;;\n"
    "    esac\n"
    "    if [[ $cur == -* && $kind == file ]]; then kind=words words=$options; fi\n"
    "    case $kind in\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
    "    model) mapfile -t COMPREPLY < <(compgen -f -X '!*.gguf' -- \"$cur\"; compgen -d -- \"$cur\") ;;\n"
    "    file) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
    "    dir) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\"; compgen -d -- \"$cur\") ;;\n"
    "    esac\n"
    "    [[ $kind == words ]] || compopt -o filenames 2> /dev/null\n"
    "}\n"
    "complete -F _qmoe_gpu qmoe-gpu\n";

static const char zsh_end[] =
    "\n_qmoe_gpu() {\n"
    "    local -a commands=(\n%s    )\n"
    "    if (( CURRENT == 2 )); then\n"
    "        _describe command commands\n"
    "        return\n"
    "    fi\n"
    "    shift words\n"
    "    (( CURRENT-- ))\n"
    "    case $words[1] in\n"
    "    help) _describe command commands ;;\n"
    "    completion) compadd bash zsh ;;\n"
    "    *) if (( $+functions[_qmoe_gpu_$words[1]] )); then _qmoe_gpu_$words[1]; fi ;;\n"
    "    esac\n"
    "}\n"
    "if [[ $funcstack[1] == _qmoe-gpu ]]; then _qmoe_gpu \"$@\"; else compdef _qmoe_gpu qmoe-gpu; fi\n";

int qm_completion_end(qm_completion_shell *s) {
    close_command(s);
    if (s->zsh) printf(zsh_end, s->entries);
    else printf(bash_end, s->names);
    return QM_EXIT_OK;
}
