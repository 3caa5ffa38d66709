/* regex.h: regular expressions as JSON Schema's `pattern` has them, in a subset, into automata over the bytes of what
 * matches: literals, escapes, ., classes, |, groups, ?, *, +, {m,n}, ^ and $ at the ends. Where ECMAScript and Python
 * disagree about a class, what both take is in it. docs/structured.md has the subset. */
#ifndef QM_REGEX_H
#define QM_REGEX_H
#include "charset.h"

enum {
    QM_REGEX_SEARCH = 1, /* as `pattern` means it: what ^ and $ do not hold may stand anywhere in the string */
    QM_REGEX_JSON = 2    /* of the spelling within a JSON string, else of plain UTF-8 */
};
/* text[0..n): UTF-8. QM_ERR_UNSUPPORTED, QM_ERR_ARG (no regular expression) and QM_ERR_LIMIT say what and where in it. */
int qm_regex_dfa(qm_dfa *out, const char *text, size_t n, int flags, qm_err *e);
#endif
