/* help.c: what `qmoe-gpu COMMAND --help` prints: wrapped at the terminal's width, every line of an option's text
 * under its column. */
#include "flags.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMN = 28, NARROWEST = 40, WIDEST = 110, USUAL = 80 };

static int width(FILE *f) {
    struct winsize w;
    int n = isatty(fileno(f)) && !ioctl(fileno(f), TIOCGWINSZ, &w) && w.ws_col ? w.ws_col : USUAL;
    return n < NARROWEST ? NARROWEST : n > WIDEST ? WIDEST : n;
}

/* Words of s[0..n) from column `at` on; new lines begin at column `indent`. */
static void wrap(FILE *f, const char *s, size_t n, int at, int indent, int columns) {
    const char *end = s + n;
    int begun = 0;
    while (s < end) {
        while (s < end && (*s == ' ' || *s == '\n')) s++;
        size_t k = 0;
        while (s + k < end && s[k] != ' ' && s[k] != '\n') k++;
        if (!k) break;
        if (begun && at + 1 + (int)k >= columns) {
            fprintf(f, "\n%*s", indent, "");
            at = indent;
            begun = 0;
        }
        at += fprintf(f, "%s%.*s", begun ? " " : "", (int)k, s);
        begun = 1;
        s += k;
    }
    fputc('\n', f);
}

/* Paragraphs are apart by an empty line; a line that begins with a space stands as it is. */
static void paragraphs(FILE *f, const char *s, int columns) {
    while (*s) {
        size_t n = strcspn(s, "\n");
        if (*s == ' ' || *s == '\n') {
            fprintf(f, "%.*s\n", (int)n, s);
            s += n + (s[n] != 0);
            continue;
        }
        while (s[n] && s[n + 1] && s[n + 1] != ' ' && s[n + 1] != '\n') n += 1 + strcspn(s + n + 1, "\n");
        wrap(f, s, n, 0, 0, columns);
        s += n + (s[n] != 0);
    }
}

static void option(FILE *f, const struct poptOption *o, int columns) {
    int indent = columns < 64 ? 8 : COLUMN, at;
    if (o->shortName) at = fprintf(f, "  -%c, --%s", o->shortName, o->longName);
    else at = fprintf(f, "      --%s", o->longName);
    if (qm_flags_takes_value(o)) at += fprintf(f, " %s", o->argDescrip ? o->argDescrip : "VALUE");
    if (at + 2 > indent) fputc('\n', f), at = 0;
    fprintf(f, "%*s", indent - at, "");
    wrap(f, o->descrip, strlen(o->descrip), indent, indent, columns);
}

static void options(FILE *f, const struct poptOption *t, int columns) {
    int after = 0;
    for (; t->longName || t->shortName || t->arg; t++) {
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) {
            after = 1;
            if (t->descrip) fprintf(f, "\n%s\n", t->descrip);
            options(f, t->arg, columns);
        } else if (t->longName && t->descrip) {
            if (after) fputc('\n', f); /* apart from the table before it */
            after = 0;
            option(f, t, columns);
        }
    }
}

void qm_host_help(FILE *f, const char *prog, const char *synopsis, const struct poptOption *table) {
    int columns = width(f);
    size_t n = strcspn(synopsis, "\n");
    fprintf(f, "usage: %s %.*s\n", prog, (int)n, synopsis);
    if (synopsis[n]) paragraphs(f, synopsis + n + 1, columns);
    options(f, table, columns);
}
