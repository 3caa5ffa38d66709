/* chat_screen.h: a line that is being edited, on a terminal that knows escape codes. */
#ifndef QM_HOST_CHAT_SCREEN_H
#define QM_HOST_CHAT_SCREEN_H
#include <limits.h>
#include <stdio.h>
#include <wchar.h>

typedef struct {
    FILE *to;
    unsigned row, col, top, cols; /* the cursor, and the first row that is shown, as of the last draw; its width */
    int at_end;                   /* the cursor is after the last character */
    wchar_t *shown;               /* [n, of cap]; the owner frees it */
    size_t n, cap;
} qm_screen;
/* A new line begins where the cursor is, at the left margin. */
void qm_screen_begin(qm_screen *c, FILE *to);
/* prompt (ASCII) and text[n] with the cursor before text[cursor]. A text that is taller than the screen is shown
 * around it. */
void qm_screen_draw(qm_screen *c, const char *prompt, const wchar_t *text, size_t n, size_t cursor);
/* All of it, and the cursor at the margin below. */
void qm_screen_end(qm_screen *c, const char *prompt, const wchar_t *text, size_t n);
#endif
