/* digits.h: JSON numbers of a range as automata over their digits. */
#ifndef QM_DIGITS_H
#define QM_DIGITS_H
#include <jansson.h>
#include "dfa.h"

/* Digits before the point, at most: what fits a 64-bit integer whatever the digits are. */
enum { QM_INT_DIGITS = 18 };
typedef struct {
    const json_t *least, *most; /* a JSON number; NULL: no bound */
    int least_strict, most_strict;
} qm_bounds;
/* integer: plain digits. Else a number: without bounds with up to 18 digits after the point and an exponent of up to two;
 * with bounds without one, and with so many digits after the point that the bound's and these are 15: so comparing the
 * digits and comparing the doubles that are read from them is the same. Nothing may be in the range: out->n is 1 then.
 * QM_ERR_UNSUPPORTED: a bound of more digits. */
int qm_number_dfa(qm_dfa *out, int integer, const qm_bounds *b, qm_err *e);
/* The shortest decimal text that reads back as v. */
void qm_shortest(char out[32], double v);
#endif
