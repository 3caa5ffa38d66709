/* unicode.h: the parts of Unicode that text needs: character classes, NFC, UTF-8 that comes in pieces. */
#ifndef QM_UNICODE_H
#define QM_UNICODE_H
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"
#include "../base/text.h"

typedef enum { QM_UC_OTHER, QM_UC_LETTER, QM_UC_NUMBER, QM_UC_SPACE } qm_uc_class;
/* \p{L}, \p{N}, \s or none of them, as the reference tokenizer's regex engine sees the code point.
 * From our own table: the ids must not depend on the Unicode version of an installed library. */
qm_uc_class qm_unicode_class(uint32_t cp);

/* NFC of text[0..n) as the reference tokenizer does it: code points that Unicode 9.0 does not know
 * are inert (they neither compose nor reorder) and so are ill-formed bytes, which stay as they are.
 * Returns 1 when the text is unchanged (*out is then NULL), 0 with *out malloc'ed, or negative.
 * Linear time, also for long runs of combining marks. */
int qm_unicode_nfc(const char *text, size_t n, char **out, size_t *out_n, qm_err *e);

/* Streaming UTF-8: bytes go in token by token, only whole characters come out. */
typedef struct {
    uint8_t hold[4];
    uint8_t n_hold;
} qm_utf8_stream;
/* Appends to out (capacity at least n + 4) and returns the bytes written. Malformed bytes are
 * replaced by U+FFFD only when flush is set or a following byte proves them malformed.
 * Worst case a held prefix and each input byte become U+FFFD: capacity 3 * (n + 4). */
size_t qm_utf8_push(qm_utf8_stream *s, const void *bytes, size_t n, int flush, char *out);

/* Tables, in code point order (unicode_tables.c). */
typedef struct {
    uint32_t first, last;
    uint8_t class;
} qm_uc_run;
typedef struct {
    uint32_t first, last;
} qm_uc_span;
extern const qm_uc_run qm_uc_class_runs[];
extern const size_t qm_uc_class_runs_n;
extern const qm_uc_span qm_uc_unnormalised[];
extern const size_t qm_uc_unnormalised_n;
#endif
