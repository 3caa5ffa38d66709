/* flags.c: reads the words of a command line before popt does (flags.h), by the command's own options and flags.def. */
#include "flags.h"
#include <stdlib.h>
#include <string.h>

typedef enum { ALIAS, SAME, PASS, REFUSE } kind;
typedef struct {
    int n;          /* words that follow; -1: one if it is a switch's */
    const char *ok; /* REFUSE: those that are no reason to */
} values;
typedef struct {
    const char *commands, *names;
    kind kind;
    values values;
    const char *text;
} flag;

#define NONE \
    { 0, NULL }
#define ONE \
    { 1, NULL }
#define TWO \
    { 2, NULL }
#define MAYBE \
    { -1, NULL }
#define OK(list) \
    { 1, list }
static const flag flags[] = {
#define QM_FLAG(commands, names, kind, values, text) {commands, names, kind, values, text},
#include "flags.def"
#undef QM_FLAG
};
enum { N_FLAGS = sizeof flags / sizeof *flags, MAX_NAMES = 512 };

static const struct {
    char letter;
    const char *name;
} commands[] = {
#define QM_CMD(name, letter, arguments, help) {letter, #name},
#include "commands.def"
#undef QM_CMD
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const char *command_name(const char *prog) { return strchr(prog, ' ') ? strchr(prog, ' ') + 1 : prog; }

static char letter_of(const char *prog) {
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(command_name(prog), commands[i].name)) return commands[i].letter;
    return '-'; /* no row has it */
}

static const char *name_of(char letter) {
    int i = 0;
    while (i < N_COMMANDS - 1 && commands[i].letter != letter) i++;
    return commands[i].name;
}

int qm_flags_takes_value(const struct poptOption *o) {
    int type = o->argInfo & POPT_ARG_MASK;
    return type != POPT_ARG_NONE && type != POPT_ARG_VAL;
}

/* a[0..n) is the name b; '_' counts as '-', as in llama.cpp. */
static int same(const char *a, size_t n, const char *b) {
    size_t i = 0;
    while (i < n && b[i] && (a[i] == b[i] || (a[i] == '_' && b[i] == '-'))) i++;
    return i == n && !b[n];
}

/* The command's own option that word[0..n), dashes and all, names; or NULL. */
static const struct poptOption *own(const struct poptOption *t, const char *word, size_t n) {
    for (; t->longName || t->shortName || t->arg; t++) {
        const struct poptOption *o = NULL;
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) o = own(t->arg, word, n);
        else if (word[1] == '-' ? t->longName && same(word + 2, n - 2, t->longName) : n == 2 && word[1] == t->shortName)
            o = t;
        if (o) return o;
    }
    return NULL;
}

static const struct poptOption *by_name(const struct poptOption *t, const char *name) {
    char word[64];
    int n = snprintf(word, sizeof word, "--%s", name);
    return own(t, word, (size_t)n);
}

static const char *next_name(const char *s, size_t *n) {
    s += strspn(s, " ");
    *n = strcspn(s, " ");
    return *n ? s : NULL;
}

static const flag *find(char letter, const struct poptOption *table, const char *word, size_t n) {
    size_t k;
    for (int i = 0; i < N_FLAGS; i++) {
        if (!strchr(flags[i].commands, letter)) continue;
        if (flags[i].kind == ALIAS && !by_name(table, flags[i].text)) continue;
        for (const char *s = flags[i].names; (s = next_name(s, &k)); s += k)
            if (k == n && (word[1] == '-' ? !strncmp(s, "--", 2) && !strncmp(s, word, 2) : 1)) {
                char name[64];
                snprintf(name, sizeof name, "%.*s", (int)k, s);
                if (same(word, n, name)) return &flags[i];
            }
    }
    return NULL;
}

/* ---- the answer, word by word ---- */

typedef struct {
    char **v;
    int n, quiet;
    char letter;
    char passed[1024]; /* what is passed over, for the note */
} words;

/* Of an option that comes twice the last one holds; popt would keep both values, one of them lost. */
static int put(words *w, const struct poptOption *o, const char *value) {
    size_t n = strlen(o->longName), room = n + (value ? strlen(value) : 0) + 4;
    int at = w->n;
    char *s = malloc(room);
    if (!s) return qm_host_usage("out of memory");
    snprintf(s, room, value ? "--%s=%s" : "--%s", o->longName, value);
    for (int i = 1; i < w->n && (o->argInfo & POPT_ARG_MASK) != POPT_ARG_ARGV; i++)
        if (!strncmp(w->v[i] + 2, o->longName, n) && (!w->v[i][n + 2] || w->v[i][n + 2] == '=')) at = i;
    if (at == w->n) w->n++;
    else free(w->v[at]);
    w->v[at] = s;
    if (!strcmp(o->longName, "quiet")) w->quiet = 1;
    return -1;
}

/* Of a word that nothing is called: what was perhaps meant. */
static int unknown(const words *w, const struct poptOption *table, const char *prog, const char *word, size_t n);

static int is_switch(const char *s) {
    static const char *const list[] = {"on",   "off",   "auto",    "0",        "1",      "-1",
                                       "true", "false", "enabled", "disabled", "always", "never"};
    for (size_t i = 0; s && i < sizeof list / sizeof *list; i++)
        if (!strcmp(s, list[i])) return 1;
    return 0;
}

/* Whether `value` is a word, or a number, of "0|1.0". */
static int listed(const char *list, const char *value) {
    char *end, *end2;
    double v = strtod(value, &end);
    for (; *list; list += strspn(list, "|")) {
        size_t k = strcspn(list, "|");
        if (strlen(value) == k && !strncmp(list, value, k)) return 1;
        double u = strtod(list, &end2);
        if (end != value && !*end && end2 == list + k && u == v) return 1;
        list += k;
    }
    return 0;
}

static void pass_over(words *w, const flag *f, const char *name, size_t n, const char *value) {
    size_t at = strlen(w->passed), room = sizeof w->passed - at;
    snprintf(w->passed + at, room, "%s%.*s%s%s", at ? ", " : "", (int)n, name, value ? " " : "", value ? value : "");
    at = strlen(w->passed);
    if (f->text) snprintf(w->passed + at, sizeof w->passed - at, " (%s)", f->text);
}

/* One option of the table flags.def at argv[*i], whose name has n bytes. */
static int foreign(words *w, const flag *f, char **argv, int argc, int *i, size_t n) {
    const char *word = argv[*i], *value = word[n] == '=' ? word + n + 1 : NULL;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    int takes = f->values.n < 0 ? !value && is_switch(next) : f->values.n - (value != NULL);
    if (takes > 0 && *i + takes >= argc) return qm_host_usage("%.*s: a value is missing", (int)n, word);
    if (takes > 0) value = next;
    if (takes > 0) *i += takes;
    if (f->kind == PASS) pass_over(w, f, word, n, value);
    if (f->kind != REFUSE || (f->values.ok && value && listed(f->values.ok, value))) return -1;
    return value ? qm_host_usage("%.*s %s: %s", (int)n, word, value, f->text)
                 : qm_host_usage("%.*s: %s", (int)n, word, f->text);
}

static int one(words *w, const struct poptOption *table, char **argv, int argc, int *i) {
    const char *word = argv[*i];
    size_t n = strcspn(word, "=");
    const struct poptOption *o = own(table, word, n);
    const flag *f = o ? NULL : find(w->letter, table, word, n);
    if (f && f->kind == ALIAS) o = by_name(table, f->text);
    else if (f) return foreign(w, f, argv, argc, i, n);
    if (!o) return unknown(w, table, argv[0], word, n);
    if (!qm_flags_takes_value(o)) return word[n] ? qm_host_usage("%.*s takes no value", (int)n, word) : put(w, o, NULL);
    if (!word[n] && *i + 1 >= argc)
        return qm_host_usage("%s: a value is missing: %s", word, o->argDescrip ? o->argDescrip : "VALUE");
    const char *value = word[n] ? word + n + 1 : argv[++*i];
    int type = o->argInfo & POPT_ARG_MASK; /* popt takes no text at all for a 0 */
    if (!*value && type != POPT_ARG_STRING && type != POPT_ARG_ARGV)
        return qm_host_usage("--%s '': expected a number", o->longName);
    return put(w, o, value);
}

int qm_flags_read(int argc, char **argv, const struct poptOption *table, int *n, char ***out) {
    static words w; /* what it holds lives as long as the program: options point into it */
    int plain = 0, rc = -1;
    w.n = w.quiet = 0;
    w.passed[0] = 0;
    w.letter = letter_of(argv[0]);
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    w.v = calloc((size_t)argc + 3, sizeof *w.v);
    if (!rest || !w.v) rc = qm_host_usage("out of memory");
    else w.v[w.n++] = argv[0];
    for (int i = 1; i < argc && rc < 0; i++) {
        if (!strcmp(argv[i], "--")) {
            while (++i < argc) rest[plain++] = argv[i];
            break;
        }
        if (argv[i][0] != '-' || !argv[i][1]) rest[plain++] = argv[i];
        else rc = one(&w, table, argv, argc, &i);
    }
    if (rc < 0 && plain) {
        w.v[w.n++] = "--";
        memcpy(w.v + w.n, rest, (size_t)plain * sizeof *rest);
        w.n += plain;
    }
    free(rest);
    if (rc < 0 && w.passed[0] && !w.quiet) qm_host_say("passed over, without a meaning here: %s", w.passed);
    *n = w.n;
    *out = w.v;
    return rc;
}

/* ---- suggestions ---- */

typedef struct {
    const char *bare[MAX_NAMES]; /* without dashes, as they are compared */
    char text[MAX_NAMES][40];    /* as they are typed */
    int n;
} names;

static void add(names *l, const char *s, size_t n, const char *dashes) {
    if (l->n == MAX_NAMES) return;
    snprintf(l->text[l->n], sizeof l->text[0], "%s%.*s", dashes, (int)n, s);
    l->bare[l->n] = l->text[l->n] + strspn(l->text[l->n], "-");
    l->n++;
}

static void add_own(names *l, const struct poptOption *t) {
    for (; t->longName || t->shortName || t->arg; t++)
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) add_own(l, t->arg);
        else if (t->longName) add(l, t->longName, strlen(t->longName), "--");
}

static int unknown(const words *w, const struct poptOption *table, const char *prog, const char *word, size_t n) {
    static names l;
    char bare[64], letters[160] = "";
    l.n = 0;
    add_own(&l, table);
    for (int i = 0; i < N_FLAGS; i++) {
        size_t k;
        if (!strchr(flags[i].commands, w->letter) || flags[i].kind == REFUSE) continue;
        if (flags[i].kind == ALIAS && !by_name(table, flags[i].text)) continue;
        for (const char *s = flags[i].names; (s = next_name(s, &k)); s += k) add(&l, s, k, "");
    }
    const char *s = word + strspn(word, "-");
    snprintf(bare, sizeof bare, "%.*s", (int)(n - (size_t)(s - word)), s);
    if (word[1] != '-') { /* letters or a value written onto the first one, as other programs have it */
        const struct poptOption *first = own(table, (char[]){'-', bare[0], 0}, 2);
        if (first && qm_flags_takes_value(first) && (bare[1] == '-' || (bare[1] >= '0' && bare[1] <= '9')))
            return qm_host_usage("there is no option %s; did you mean -%c %s?", word, bare[0], word + 2);
        for (const char *c = bare; *c && strlen(letters) + 5 < sizeof letters; c++) {
            const struct poptOption *o = own(table, (char[]){'-', *c, 0}, 2);
            if (!o || qm_flags_takes_value(o)) {
                letters[0] = 0;
                break;
            }
            snprintf(letters + strlen(letters), 5, " -%c", *c);
        }
    }
    if (letters[0] && strlen(bare) <= 3) return qm_host_usage("there is no option %s; did you mean%s?", word, letters);
    const char *near = bare[0] && bare[1] ? qm_host_nearest(bare, l.bare, l.n) : NULL;
    for (int i = 0; near && i < l.n; i++)
        if (near == l.bare[i])
            return qm_host_usage("there is no option %.*s; did you mean %s?", (int)n, word, l.text[i]);
    return qm_host_usage("there is no option %.*s; `%s --help` lists them", (int)n, word, prog);
}

/* ---- the table, for people ---- */

void qm_flags_print(FILE *f) {
    static const char *const heads[] = {[ALIAS] = "The same under another name",
                                        [SAME] = "Asks for what is done anyway",
                                        [PASS] = "Without a meaning here: passed over, and said",
                                        [REFUSE] = "Refused, as the result would be another"};
    for (int k = ALIAS; k <= REFUSE; k++) {
        fprintf(f, "%s%s\n", k ? "\n" : "", heads[k]);
        for (int i = 0; i < N_FLAGS; i++) {
            if (flags[i].kind != (kind)k) continue;
            int col = fprintf(f, "  ");
            size_t n;
            for (const char *s = flags[i].names; (s = next_name(s, &n)); s += n) {
                if (col + (int)n > 78) col = fprintf(f, "\n  ") - 1;
                col += fprintf(f, "%.*s ", (int)n, s);
            }
            fprintf(f, "\n      in");
            for (const char *c = flags[i].commands; *c; c++) fprintf(f, " %s", name_of(*c));
            if (flags[i].text) fprintf(f, ": %s%s", k == ALIAS ? "--" : "", flags[i].text);
            if (flags[i].values.ok) fprintf(f, " (only %s is accepted)", flags[i].values.ok);
            fputc('\n', f);
        }
    }
}
