/* loose_json.h: JSON as models write it, byte by byte, into JSON as parsers read it. What comes out is at every moment a
 * beginning of valid JSON (RFC 8259).
 *
 * Mended: control characters in strings; a backslash before what needs none ("\d" becomes "\\d"); surrogates without their
 * other half (U+FFFD); a comma before a closing bracket; True, False, None. All else stays as it is, white space too. */
#ifndef QM_LOOSE_JSON_H
#define QM_LOOSE_JSON_H
#include "bytes.h"

enum { QM_JSON_DEPTH = 200, QM_JSON_WORD = 512 }; /* brackets that may be open; bytes of a number at most */
typedef struct {
    int state;
    size_t depth;
    char open[QM_JSON_DEPTH]; /* [depth] the brackets that are open, { or [ */
    int key;                  /* the string is a key */
    qm_bytes wait;            /* what is not certain: a number, an escape, a comma and white space after it */
    unsigned high;            /* the high surrogate whose low one is to come; it stands in wait, too */
} qm_loose_json;

void qm_loose_json_begin(qm_loose_json *j); /* once more with what memory it has */
void qm_loose_json_free(qm_loose_json *j);
typedef enum {
    QM_LOOSE_MORE,
    QM_LOOSE_DONE,   /* the value is complete with this byte */
    QM_LOOSE_BEFORE, /* it was before this byte, which is not taken */
    QM_LOOSE_BAD     /* not to be mended; the byte is not taken */
} qm_loose;
/* A byte of a value, white space before it included. Appends to out what has become certain. */
qm_loose qm_loose_json_put(qm_loose_json *j, char c, qm_bytes *out);
/* Whether a tag may stand here instead of a byte: not in a string. */
int qm_loose_json_outside(const qm_loose_json *j);
/* The text ends here as if on purpose: the brackets that are open are closed. 0, or -1: no value, or not outside. */
int qm_loose_json_close(qm_loose_json *j, qm_bytes *out);
/* The text was cut here: what waits comes as far as it is a beginning of JSON. */
void qm_loose_json_cut(qm_loose_json *j, qm_bytes *out);

/* Appends s[0..n), UTF-8, as it stands in a JSON string. */
void qm_json_escape(qm_bytes *out, const char *s, size_t n);
#endif
