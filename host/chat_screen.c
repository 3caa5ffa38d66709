/* chat_screen.c: shows the line that is edited: prompt and text over as many rows as they take, line ends in the text
 * too.
 *
 * libedit's own display loses its place when the line is taller than the screen, when the window changes its width
 * and when a line is given up: so libedit edits, and this draws. Rows are wrapped by the terminal itself, so that
 * what is copied from it is whole lines. */
#include "chat_screen.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Where drawing is: cells go to `to` where their row is within first .. last. */
typedef struct {
    FILE *to; /* NULL: it is only counted */
    unsigned cols, row, col, first, last;
} pen;

static void cell(pen *p, const char *s, unsigned width) {
    if (p->col + width > p->cols) {
        /* A full row goes on in the next by itself; a wide character that does not fit leaves a gap. */
        if (p->to && p->col < p->cols && p->row >= p->first && p->row < p->last) fputs("\r\n", p->to);
        p->row++;
        p->col = 0;
    }
    if (p->to && p->row >= p->first && p->row <= p->last) fputs(s, p->to);
    p->col += width;
}

static void line_end(pen *p) {
    if (p->to && p->row >= p->first && p->row < p->last) fputs("\r\n", p->to);
    p->row++;
    p->col = 0;
}

static void character(pen *p, wchar_t c) {
    char s[MB_LEN_MAX + 1] = {0};
    if (c == '\n') line_end(p);
    else if (c == '\t') {
        do cell(p, " ", 1);
        while (p->col % 8 && p->col < p->cols);
    } else if (c < 32 || c == 127) {
        cell(p, "^", 1);
        cell(p, (char[]){(char)(c ^ 64), 0}, 1);
    } else {
        mbstate_t state = {0};
        int w = wcwidth(c);
        size_t n = w < 0 ? (size_t)-1 : wcrtomb(s, c, &state);
        if (n == (size_t)-1 || n > MB_LEN_MAX) cell(p, "?", 1);
        else cell(p, (s[n] = 0, s), (unsigned)w);
    }
}

/* The cursor, after a full row, belongs at the beginning of the next. */
static void settle(pen *p) {
    if (p->col < p->cols) return;
    if (p->to && p->row >= p->first && p->row < p->last) fputs(" \r", p->to);
    p->row++;
    p->col = 0;
}

static void size_of(FILE *f, unsigned *rows, unsigned *cols) {
    struct winsize w;
    int known = !ioctl(fileno(f), TIOCGWINSZ, &w);
    *rows = known && w.ws_row ? w.ws_row : 24;
    *cols = known && w.ws_col ? w.ws_col : 80;
    if (*cols < 4) *cols = 4;
}

/* Keeps a copy of what is shown. Without memory for it the next draw is a whole one. */
static void remember(qm_screen *c, const wchar_t *text, size_t n) {
    if (n > c->cap) {
        wchar_t *p = realloc(c->shown, 2 * n * sizeof *p);
        if (!p) {
            c->at_end = 0;
            return;
        }
        c->shown = p;
        c->cap = 2 * n;
    }
    if (n) memcpy(c->shown, text, n * sizeof *text);
    c->n = n;
}

static void draw(qm_screen *c, const char *prompt, const wchar_t *text, size_t n, size_t cursor, int all) {
    unsigned rows, cols;
    size_of(c->to, &rows, &cols);
    int resized = c->cols && c->cols != cols, same = c->at_end && !resized && cursor == n && n >= c->n &&
                                                     (!c->n || !memcmp(c->shown, text, c->n * sizeof *text));
    pen at = {.cols = cols}, p;
    for (const char *s = prompt; *s; s++) cell(&at, "", 1);
    pen start = at;
    for (size_t i = 0; i < cursor; i++) character(&at, text[i]);
    pen total = at;
    settle(&at);
    for (size_t i = cursor; i < n; i++) character(&total, text[i]);
    settle(&total);
    unsigned n_rows = total.row + 1, top = 0;
    if (n_rows > rows && !all) {
        top = at.row > rows / 2 ? at.row - rows / 2 : 0;
        if (top > n_rows - rows) top = n_rows - rows;
    }
    if (same && !top && !c->top) { /* more has been typed at the end */
        p = (pen){.to = c->to, .cols = cols, .row = c->row, .col = c->col, .last = n_rows};
        for (size_t i = c->n; i < n; i++) character(&p, text[i]);
    } else {
        unsigned up = c->row - c->top;
        /* A terminal of another width may have wrapped its rows anew, or not: rather leave a stale row than take one
         * that is not ours. */
        if (resized && at.row - top < up) up = at.row - top;
        if (up > rows - 1) up = rows - 1;
        if (up) fprintf(c->to, "\033[%uA", up);
        fputs("\r\033[J", c->to);
        if (!top) fputs(prompt, c->to);
        p = start;
        p.to = c->to;
        p.first = top;
        p.last = top + rows > n_rows || all ? n_rows : top + rows - 1;
        for (size_t i = 0; i < n; i++) character(&p, text[i]);
    }
    settle(&p);
    unsigned on = p.row > p.last ? p.last : p.row;
    if (cursor < n) {
        if (on > at.row) fprintf(c->to, "\033[%uA", on - at.row);
        fputc('\r', c->to);
        if (at.col) fprintf(c->to, "\033[%uC", at.col);
    }
    fflush(c->to);
    c->row = at.row;
    c->col = at.col;
    c->top = top;
    c->cols = cols;
    c->at_end = cursor == n;
    remember(c, text, n);
}

void qm_screen_begin(qm_screen *c, FILE *to) {
    c->to = to;
    c->row = c->col = c->top = c->cols = 0;
    c->at_end = 0;
    c->n = 0;
}

void qm_screen_draw(qm_screen *c, const char *prompt, const wchar_t *text, size_t n, size_t cursor) {
    draw(c, prompt, text, n, cursor, 0);
}

void qm_screen_end(qm_screen *c, const char *prompt, const wchar_t *text, size_t n) {
    draw(c, prompt, text, n, n, 1);
    if (c->col) fputs("\r\n", c->to); /* after a full row the cursor is there already */
    fflush(c->to);
}
