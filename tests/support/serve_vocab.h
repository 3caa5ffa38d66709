/* serve_vocab.h: a vocabulary of five ids, for tests of what writes tokens: the library's own needs an engine. To be included before
 * the files that ask for pieces. */
#ifndef QM_TESTS_SERVE_VOCAB_H
#define QM_TESTS_SERVE_VOCAB_H
#include <string.h>
#include "runtime/qmoe.h"

#define qm_engine_piece vocab_piece
static const char *qm_engine_piece(const qm_engine *g, uint32_t id, size_t *n) {
    static const char *const pieces[] = {"a", " b", "\xe2\x82", "\xac", "\""};
    (void)g;
    *n = strlen(pieces[id]);
    return pieces[id];
}
#endif
