/* text.h: text of unknown origin (keys, names, paths, a driver's words) made fit for a terminal, and UTF-8 as such. */
#ifndef QM_TEXT_H
#define QM_TEXT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* Decodes one character of p[0..n), n > 0. Returns its length 1..4 and sets *cp; or -k when the
 * first k bytes are a maximal ill-formed subpart (Unicode 3.9, table 3-7: no overlong forms, no
 * surrogates, nothing above U+10FFFF); or 0 when all n <= 3 bytes are the start of a character. */
int qm_utf8_decode(const uint8_t *p, size_t n, uint32_t *cp);

/* s[0..n) as one line that a terminal shows and does not obey, into out[cap], cap >= 16. Control characters (C0, DEL,
 * C1), line separators and the marks that reverse a line's direction become \n, \x1b, \u009b; so do bytes that are not
 * UTF-8. What is too long ends in "...". What it returns, out, passes through a second time unchanged. */
const char *qm_text_show(char *out, size_t cap, const char *s, size_t n);

/* The most bytes of s[0..n), limit at most, that do not end inside a character. */
size_t qm_text_cut(const char *s, size_t n, size_t limit);

/* s[0..n) as UTF-8: every ill-formed part replaced by U+FFFD. malloc'd, with a NUL after its *out_n bytes; NULL: out
 * of memory. */
char *qm_text_utf8(const char *s, size_t n, size_t *out_n);

/* A name as it is kept for lines and for JSON: s[0..n) repaired by qm_text_utf8, then shown in out[cap], cap >= 16. */
const char *qm_text_name(char *out, size_t cap, const char *s, size_t n);
#ifdef __cplusplus
}
#endif
#endif
