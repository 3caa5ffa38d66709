/* answer_cases.h: answers of models, and what they mean: by hand, and made by the hundred. */
#ifndef QM_TEST_ANSWER_CASES_H
#define QM_TEST_ANSWER_CASES_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "json_prefix.h"

/* What begins a part: text, thought, call, its arguments, its end. */
#define T "\1"
#define H "\2"
#define C "\3"
#define A "\4"
#define E "\5"

typedef struct {
    const char *text, *parts;
    int thinking, no_tools;
    const char *stop;
} answer_case;
extern const char answer_tools[]; /* f takes every type, write_file two strings, now nothing */
extern const answer_case answer_cases[];
extern const size_t n_answer_cases;

typedef struct {
    answer_case c; /* text and parts are those below */
    char *text, *parts;
    size_t n; /* of text */
} answer_made;
/* Thinking, text and calls of both formats in real shapes; words are "word0001" and so on. broken: bytes of it are changed,
 * and parts are those of the whole. */
answer_made answer_make(uint64_t seed, int broken);
void answer_free(answer_made *m);
#endif
