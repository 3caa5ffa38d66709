/* chat_line.c: what the user types. On a terminal libedit edits the line and keeps the history, and chat_screen.c
 * shows it; a terminal that has no cursor to move (TERM=dumb) gets a prompt and the kernel's own editing; a pipe gets
 * neither. */
#include "chat.h"
#include "chat_screen.h"
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t resized, continued;

struct qm_lines {
    int typed;       /* a terminal at the input */
    FILE *prompt_to; /* NULL: no prompt */
    EditLine *edit;  /* NULL: no line editing */
    FILE *nowhere;   /* where libedit draws */
    History *history;
    qm_screen screen;
    const char *prompt;
    char in[4096]; /* read ahead: [in_at, in_n) */
    size_t in_at, in_n;
    char *line; /* getline's */
    size_t line_cap;
    qm_buffer text; /* the message so far */
};

static const int signals[] = {SIGINT, SIGWINCH, SIGCONT};
enum { N_SIGNALS = 3 };

static void on_signal(int sig) {
    if (sig == SIGINT) qm_chat_interrupted = 1;
    if (sig == SIGWINCH) resized = 1;
    if (sig == SIGCONT) {
        continued = 1;
        qm_term_continue();
    }
}

static qm_lines *lines_of(EditLine *edit) {
    qm_lines *l;
    el_get(edit, EL_CLIENTDATA, &l);
    return l;
}

static char *no_prompt(EditLine *edit) { /* libedit draws nowhere */
    (void)edit;
    return (char *)"";
}

/* Waits for input; non-zero and EINTR after a signal. Signals are let in only here: one that comes just before is
 * not missed. */
static int wait_input(void) {
    sigset_t ours, before;
    sigemptyset(&ours);
    for (int i = 0; i < N_SIGNALS; i++) sigaddset(&ours, signals[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);
    struct pollfd p = {.fd = 0, .events = POLLIN};
    int due = qm_chat_interrupted || resized || continued;
    if (due) errno = EINTR;
    int bad = due || ppoll(&p, 1, NULL, &before) < 0, why = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return bad;
}

static void show(qm_lines *l) {
    const LineInfoW *i = el_wline(l->edit);
    qm_screen_draw(&l->screen, l->prompt, i->buffer, (size_t)(i->lastchar - i->buffer),
                   (size_t)(i->cursor - i->buffer));
}

/* The next byte of the terminal: 1; 0 at the end, -1 with errno. What is typed faster than it is shown is shown once. */
static int next_byte(qm_lines *l, char *c) {
    if (l->in_at == l->in_n) {
        struct pollfd p = {.fd = 0, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0) show(l);
        ssize_t k = wait_input() ? -1 : read(0, l->in, sizeof l->in);
        if (k <= 0) return (int)k;
        l->in_at = 0;
        l->in_n = (size_t)k;
    }
    *c = l->in[l->in_at++];
    return 1;
}

/* One character, for libedit. Ctrl-C ends the line; other signals are seen to and reading goes on. */
static int get_char(EditLine *edit, wchar_t *out) {
    qm_lines *l = lines_of(edit);
    mbstate_t state = {0};
    for (;;) {
        char c;
        int k = next_byte(l, &c);
        if (qm_chat_interrupted) return -1;
        if (k == 0) return 0;
        if (k < 0) {
            if (errno != EINTR) return -1;
            if (continued) { /* the modes may be a shell's, and the line is somewhere above */
                el_set(edit, EL_PREP_TERM, 0);
                el_set(edit, EL_PREP_TERM, 1);
                qm_screen_begin(&l->screen, l->prompt_to);
            }
            if (resized) el_resize(edit);
            resized = continued = 0;
            continue;
        }
        size_t w = mbrtowc(out, &c, 1, &state);
        if (w == (size_t)-2) continue; /* the character is not complete */
        if (w != (size_t)-1) return 1;
        memset(&state, 0, sizeof state); /* no character of this locale: left out */
    }
}

/* What stands between ESC [200~ and ESC [201~ is text, whatever it would do if it were typed. */
static unsigned char paste(EditLine *edit, int key) {
    static const wchar_t end[] = L"\033[201~";
    enum { N_END = 6 };
    size_t n = 0, cap = 1024;
    wchar_t *s = malloc(cap * sizeof *s), c;
    (void)key;
    for (wchar_t last = 0; s && get_char(edit, &c) == 1; last = c) {
        if ((c == '\n' && last == '\r') ||
            (c == '\r' && last == '\n')) { /* one line end, which the terminal may have turned round */
            c = 0;
            continue;
        }
        if (c == 0) continue; /* no character */
        if (n + 2 > cap) {
            wchar_t *p = realloc(s, (cap *= 2) * sizeof *s);
            if (!p) break;
            s = p;
        }
        s[n++] = c == '\r' ? '\n' : c;
        if (n >= N_END && !wmemcmp(s + n - N_END, end, N_END)) {
            s[n - N_END] = 0;
            int bad = n > N_END && el_winsertstr(edit, s);
            free(s);
            return bad ? CC_ERROR : CC_REFRESH;
        }
    }
    free(s);
    return CC_ERROR; /* interrupted, or the end of the input: nothing of it */
}

/* Tab: the name of a command, as far as it is certain; names to choose from; in a message, a tab. */
static unsigned char complete(EditLine *edit, int key) {
    const LineInfo *i = el_line(edit);
    size_t n = (size_t)(i->cursor - i->buffer), at = 0, longest = 0, n_found = 0;
    const char *name, *found = NULL;
    (void)key;
    if (!n || i->buffer[0] != '/' || memchr(i->buffer, ' ', n) || memchr(i->buffer, '\n', n))
        return el_insertstr(edit, "\t") ? CC_ERROR : CC_REFRESH;
    while ((name = qm_chat_command_name(at++))) {
        if (strncmp(name, i->buffer + 1, n - 1)) continue;
        size_t k = 0;
        while (n_found && k < longest && found[k] == name[k]) k++;
        longest = n_found++ ? k : strlen(name);
        found = name;
    }
    if (!n_found) return CC_ERROR;
    char rest[64];
    if (longest > n - 1 || n_found == 1) {
        snprintf(rest, sizeof rest, "%.*s%s", (int)(longest - (n - 1)), found + n - 1, n_found == 1 ? " " : "");
        return el_insertstr(edit, rest) ? CC_ERROR : CC_REFRESH;
    }
    char typed[32];
    snprintf(typed, sizeof typed, "%.*s", (int)(n - 1), i->buffer + 1);
    qm_lines *l = lines_of(edit);
    const LineInfoW *w = el_wline(edit);
    qm_screen_end(&l->screen, l->prompt, w->buffer, (size_t)(w->lastchar - w->buffer));
    for (at = 0; (name = qm_chat_command_name(at)); at++)
        if (!strncmp(name, typed, strlen(typed))) fprintf(l->prompt_to, "/%s  ", name);
    fputs("\r\n", l->prompt_to);
    qm_screen_begin(&l->screen, l->prompt_to);
    return CC_REFRESH;
}

static int open_edit(qm_lines *l) {
    HistEvent ev;
    /* libedit needs a terminal's descriptor for its size and modes, and gets a stream that leads nowhere to draw on. */
    l->nowhere = fopen("/dev/null", "w");
    l->edit = l->nowhere ? el_init_fd("qmoe-gpu", stdin, l->nowhere, l->nowhere, 0, fileno(l->prompt_to), 2) : NULL;
    l->history = history_init();
    if (!l->edit || !l->history) {
        qm_host_say("the terminal cannot be set up for line editing");
        return -1;
    }
    history(l->history, &ev, H_SETSIZE, 1000);
    history(l->history, &ev, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, no_prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_GETCFN, get_char);
    /* Wide: of others libedit makes copies and loses them. */
    el_wset(l->edit, EL_ADDFN, L"qm-paste", L"Takes a bracketed paste", paste);
    el_wset(l->edit, EL_ADDFN, L"qm-complete", L"Completes a command", complete);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(l->edit, EL_BIND, "\\e[200~", "qm-paste", NULL);
    el_set(l->edit, EL_BIND, "^I", "qm-complete", NULL);
    /* Between two lines the terminal stays as quiet as it was (chat_term.c). */
    el_set(l->edit, EL_SETTY, "-x", "-echo", "-icanon", NULL);
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
    /* Characters are counted: text is UTF-8. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    int smart = l->prompt_to && qm_run_smart(fileno(l->prompt_to));
    qm_term_open(smart ? fileno(l->prompt_to) : -1);
    if (smart && open_edit(l)) {
        qm_lines_close(l);
        return NULL;
    }
    return l;
}

void qm_lines_close(qm_lines *l) {
    if (!l) return;
    if (l->edit) el_end(l->edit);
    if (l->history) history_end(l->history);
    if (l->nowhere) fclose(l->nowhere);
    qm_term_close(); /* after libedit, which leaves the modes as it thinks right */
    free(l->screen.shown);
    free(l->line);
    free(l->text.s);
    free(l);
}

void qm_lines_drop(qm_lines *l) { l->in_at = l->in_n = 0; }

int qm_lines_interactive(const qm_lines *l) { return l->typed; }

static qm_line_kind read_edited(qm_lines *l, const char **s, size_t *n) {
    int k = 0;
    qm_screen_begin(&l->screen, l->prompt_to);
    resized = continued = 0;
    const char *line = el_gets(l->edit, &k);
    if (qm_chat_interrupted || !line || k <= 0) {
        const LineInfoW *i = el_wline(l->edit);
        qm_screen_end(&l->screen, l->prompt, i->buffer, (size_t)(i->lastchar - i->buffer));
        qm_lines_drop(l);
        return qm_chat_interrupted ? QM_LINE_INTERRUPT : QM_LINE_END;
    }
    while (k && line[k - 1] == '\n') k--; /* Enter, and the ends of what was pasted */
    const LineInfoW *i = el_wline(l->edit);
    size_t shown = (size_t)(i->lastchar - i->buffer);
    while (shown && i->buffer[shown - 1] == '\n') shown--;
    qm_screen_end(&l->screen, l->prompt, i->buffer, shown);
    *s = line;
    *n = (size_t)k;
    return QM_LINE_TEXT;
}

static qm_line_kind read_plain(qm_lines *l, const char **s, size_t *n) {
    qm_term_echo(1);
    if (l->prompt_to) {
        fputs(l->prompt, l->prompt_to);
        fflush(l->prompt_to);
    }
    resized = continued = 0;
    errno = 0;
    /* The kernel hands out one line at a time: none waits in stdin. */
    while (l->typed && wait_input() && !qm_chat_interrupted) resized = continued = 0;
    ssize_t k = qm_chat_interrupted ? -1 : getline(&l->line, &l->line_cap, stdin);
    int why = errno;
    qm_term_echo(0);
    if (k < 0) {
        int interrupted = qm_chat_interrupted, bad = !interrupted && ferror(stdin);
        clearerr(stdin);
        if (l->prompt_to) fputc('\n', l->prompt_to);
        if (bad) qm_host_say("standard input: %s", strerror(why));
        return interrupted ? QM_LINE_INTERRUPT : bad ? QM_LINE_FAILED : QM_LINE_END;
    }
    *s = l->line;
    *n = (size_t)k;
    if (*n && (*s)[*n - 1] == '\n') --*n;
    if (*n && (*s)[*n - 1] == '\r') --*n; /* a file from elsewhere */
    return QM_LINE_TEXT;
}

/* One line without its end into *s; of a paste, all its lines. */
static qm_line_kind read_line(qm_lines *l, const char *prompt, const char **s, size_t *n) {
    l->prompt = prompt;
    return l->edit ? read_edited(l, s, n) : read_plain(l, s, n);
}

static int append(qm_lines *l, const char *s, size_t n) {
    if (!qm_buffer_put(&l->text, s, n)) return 0;
    qm_host_say("out of memory");
    return -1;
}

static int ends_in(const char *s, size_t n, const char *with) {
    size_t k = strlen(with);
    return n >= k && !memcmp(s + n - k, with, k);
}

static qm_line_kind done(qm_lines *l, const char **text, size_t *n) {
    HistEvent ev;
    if (l->edit && l->text.n) history(l->history, &ev, H_ENTER, l->text.s);
    *text = l->text.s;
    *n = l->text.n;
    return QM_LINE_TEXT;
}

static const char more[] = "... ", quotes[] = "\"\"\"";

qm_line_kind qm_lines_read(qm_lines *l, const char **text, size_t *n, int *verbatim) {
    const char *s;
    size_t k;
    l->text.n = 0;
    *verbatim = 0;
    if (append(l, "", 0)) return QM_LINE_FAILED;
    qm_line_kind kind = read_line(l, "> ", &s, &k);
    if (kind != QM_LINE_TEXT) return kind;
    if (memchr(s, '\n', k)) { /* pasted: as it stands */
        *verbatim = 1;
        return append(l, s, k) ? QM_LINE_FAILED : done(l, text, n);
    }
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
        if (l->text.n && l->text.s[l->text.n - 1] == '\n')
            l->text.s[--l->text.n] = 0; /* the closing """ on a line of its own */
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
