/* chat_line.c: what the user types. On a terminal libedit edits the line and keeps the history; a terminal
 * that has no cursor to move (TERM=dumb) gets a prompt and the kernel's own editing; a pipe gets neither. */
#include "chat.h"
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

volatile sig_atomic_t qm_chat_interrupted;
static volatile sig_atomic_t resized, continued;

struct qm_lines {
    int typed;           /* a terminal at the input */
    FILE *prompt_to;     /* NULL: no prompt */
    EditLine *edit;      /* NULL: no line editing */
    History *history;
    const char *prompt;
    char *line;          /* getline's */
    size_t line_cap;
    char *text;          /* the message so far */
    size_t n, cap;
};

static const int signals[] = {SIGINT, SIGWINCH, SIGCONT};
enum { N_SIGNALS = 3 };

static void on_signal(int sig) {
    if (sig == SIGINT) qm_chat_interrupted = 1;
    if (sig == SIGWINCH) resized = 1;
    if (sig == SIGCONT) continued = 1;
}

static char *prompt_of(EditLine *edit) {
    qm_lines *l;
    el_get(edit, EL_CLIENTDATA, &l);
    return (char *)l->prompt;
}

/* Waits for input; non-zero and EINTR after a signal. Signals are let in only here: one that comes just before is
 * not missed. */
static int wait_input(void) {
    sigset_t ours, before;
    sigemptyset(&ours);
    for (int i = 0; i < N_SIGNALS; i++) sigaddset(&ours, signals[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);
    struct pollfd p = {.fd = 0, .events = POLLIN};
    if (qm_chat_interrupted) errno = EINTR;
    int bad = qm_chat_interrupted || ppoll(&p, 1, NULL, &before) < 0, why = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return bad;
}

/* One character, for libedit. Ctrl-C ends the line; other signals are seen to and reading goes on. */
static int get_char(EditLine *edit, wchar_t *out) {
    mbstate_t state = {0};
    for (;;) {
        char c;
        ssize_t k = wait_input() ? -1 : read(0, &c, 1);
        if (qm_chat_interrupted) return -1;
        if (k == 0) return 0;
        if (k < 0) {
            if (errno != EINTR) return -1;
            if (resized) el_resize(edit);
            if (continued) el_set(edit, EL_PREP_TERM, 1);
            if (resized || continued) el_set(edit, EL_REFRESH);
            resized = continued = 0;
            continue;
        }
        size_t w = mbrtowc(out, &c, 1, &state);
        if (w == (size_t)-2) continue; /* the character is not complete */
        if (w != (size_t)-1) return 1;
        memset(&state, 0, sizeof state); /* no character of this locale: left out */
    }
}

static int open_edit(qm_lines *l) {
    HistEvent ev;
    l->edit = el_init("qmoe-gpu", stdin, l->prompt_to, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) {
        qm_host_say("the terminal cannot be set up for line editing");
        return -1;
    }
    history(l->history, &ev, H_SETSIZE, 1000);
    history(l->history, &ev, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, prompt_of);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_GETCFN, get_char);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->edit, NULL); /* the user's ~/.editrc */
    return 0;
}

qm_lines *qm_lines_open(void) {
    qm_lines *l = calloc(1, sizeof *l);
    if (!l) {
        qm_host_say("out of memory");
        return NULL;
    }
    l->typed = isatty(0);
    if (!l->typed) return l; /* Ctrl-C then ends the program, as in any pipe */
    struct sigaction a = {.sa_handler = on_signal};
    for (int i = 0; i < N_SIGNALS; i++) sigaction(signals[i], &a, NULL);
    l->prompt_to = isatty(1) ? stdout : isatty(2) ? stderr : NULL;
    /* libedit counts in characters: it has to know that text is UTF-8. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    if (l->prompt_to && qm_run_smart(fileno(l->prompt_to)) && open_edit(l)) {
        qm_lines_close(l);
        return NULL;
    }
    return l;
}

void qm_lines_close(qm_lines *l) {
    if (!l) return;
    if (l->edit) el_end(l->edit); /* the terminal as it was */
    if (l->history) history_end(l->history);
    free(l->line);
    free(l->text);
    free(l);
}

int qm_lines_interactive(const qm_lines *l) { return l->typed; }

/* One line without its end into *s. */
static qm_line_kind read_line(qm_lines *l, const char *prompt, const char **s, size_t *n) {
    if (l->edit) {
        int k = 0;
        l->prompt = prompt;
        el_set(l->edit, EL_PREP_TERM, 1); /* before the prompt shows: what is typed at once would be echoed twice */
        const char *line = el_gets(l->edit, &k);
        if (qm_chat_interrupted || !line || k <= 0) {
            fputc('\n', l->prompt_to);
            fflush(l->prompt_to);
            return qm_chat_interrupted ? QM_LINE_INTERRUPT : QM_LINE_END;
        }
        *s = line;
        *n = (size_t)k;
    } else {
        if (l->prompt_to) {
            fputs(prompt, l->prompt_to);
            fflush(l->prompt_to);
        }
        errno = 0;
        while (l->typed && wait_input() && !qm_chat_interrupted) {} /* the kernel hands out one line at a time: none waits in stdin */
        ssize_t k = qm_chat_interrupted ? -1 : getline(&l->line, &l->line_cap, stdin);
        if (k < 0) {
            int interrupted = qm_chat_interrupted, bad = !interrupted && ferror(stdin);
            clearerr(stdin);
            if (l->prompt_to) fputc('\n', l->prompt_to);
            if (bad) qm_host_say("standard input: %s", strerror(errno));
            return interrupted ? QM_LINE_INTERRUPT : bad ? QM_LINE_FAILED : QM_LINE_END;
        }
        *s = l->line;
        *n = (size_t)k;
    }
    if (*n && (*s)[*n - 1] == '\n') --*n;
    if (*n && (*s)[*n - 1] == '\r') --*n; /* a file from elsewhere */
    return QM_LINE_TEXT;
}

static int append(qm_lines *l, const char *s, size_t n) {
    if (l->n + n + 1 > l->cap) {
        size_t cap = 2 * (l->n + n + 1);
        char *p = realloc(l->text, cap);
        if (!p) {
            qm_host_say("out of memory");
            return -1;
        }
        l->text = p;
        l->cap = cap;
    }
    memcpy(l->text + l->n, s, n);
    l->n += n;
    l->text[l->n] = 0;
    return 0;
}

static int ends_in(const char *s, size_t n, const char *with) {
    size_t k = strlen(with);
    return n >= k && !memcmp(s + n - k, with, k);
}

static qm_line_kind done(qm_lines *l, const char **text, size_t *n) {
    HistEvent ev;
    /* A message of several lines is not put into the history: libedit edits single ones. */
    if (l->edit && l->n && !memchr(l->text, '\n', l->n)) history(l->history, &ev, H_ENTER, l->text);
    *text = l->text;
    *n = l->n;
    return QM_LINE_TEXT;
}

static const char more[] = "... ", quotes[] = "\"\"\"";

qm_line_kind qm_lines_read(qm_lines *l, const char **text, size_t *n, int *verbatim) {
    const char *s;
    size_t k;
    l->n = 0;
    *verbatim = 0;
    if (append(l, "", 0)) return QM_LINE_FAILED;
    qm_line_kind kind = read_line(l, "> ", &s, &k);
    if (kind != QM_LINE_TEXT) return kind;
    if (k >= 3 && !memcmp(s, quotes, 3)) {
        *verbatim = 1;
        s += 3, k -= 3;
        for (int first = 1;; first = 0) {
            int last = ends_in(s, k, quotes);
            if (append(l, s, last ? k - 3 : k)) return QM_LINE_FAILED;
            if (last) break;
            if ((!first || k) && append(l, "\n", 1)) return QM_LINE_FAILED;
            kind = read_line(l, more, &s, &k);
            if (kind == QM_LINE_END) {
                qm_host_say("the input ended before the closing \"\"\"");
                break;
            }
            if (kind != QM_LINE_TEXT) return kind;
        }
        if (l->n && l->text[l->n - 1] == '\n') l->text[--l->n] = 0; /* the closing """ on a line of its own */
        return done(l, text, n);
    }
    while (ends_in(s, k, "\\")) {
        if (append(l, s, k - 1) || append(l, "\n", 1)) return QM_LINE_FAILED;
        kind = read_line(l, more, &s, &k);
        if (kind == QM_LINE_END) return done(l, text, n);
        if (kind != QM_LINE_TEXT) return kind;
    }
    return append(l, s, k) ? QM_LINE_FAILED : done(l, text, n);
}
