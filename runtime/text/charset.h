/* charset.h: sets of code points, as sorted spans. U+0000 and surrogates are in none. */
#ifndef QM_CHARSET_H
#define QM_CHARSET_H
#include <stddef.h>
#include <stdint.h>
#include "dfa.h"

typedef struct {
    uint32_t lo, hi;
} qm_span_cp;
typedef struct {
    qm_span_cp *v;
    size_t n, cap;
} qm_charset;
void qm_charset_free(qm_charset *s);
int qm_charset_add(qm_charset *s, uint32_t lo, uint32_t hi); /* 0, or -1: no memory, as all here */
int qm_charset_add_all(qm_charset *s, const qm_charset *more);
int qm_charset_invert(qm_charset *s);
/* A class of regular expressions: one of d D w W s S. Engines differ in what they hold beyond ASCII. wide 0: what all
 * agree to be in it; 1: what any takes for it. '.': all but ends of lines. */
int qm_charset_class(qm_charset *s, char name, int wide);

/* How a character stands in an answer: as its UTF-8, or within a JSON string, where some must be escaped, in the spelling
 * that writers of JSON prefer ("\n", "\u001f"). */
typedef enum { QM_SPELL_RAW, QM_SPELL_JSON } qm_spell;
/* States that take one character of s, then go to next. */
uint32_t qm_nfa_charset(qm_nfa *f, const qm_charset *s, qm_spell spell, uint32_t next);
/* The JSON escape of a character that needs one, into out; its length, or 0. */
size_t qm_json_escape_cp(uint32_t cp, char out[7]);
#endif
