/* apart.c: the words of contracts/apart.def. */
#include <string.h>
#include "plan.h"

const char qm_apart_words[] = "none|all"
#define QM_APART(word, WORD, text) "|" #word
#include "../../contracts/apart.def"
#undef QM_APART
    ;

static const struct {
    const char *word;
    uint32_t bits;
} words[] = {
    {"none", 0},
    {"all", (1 << QM_N_APART) - 1},
#define QM_APART(word, WORD, text) {#word, QM_APART_##WORD},
#include "../../contracts/apart.def"
#undef QM_APART
};

int qm_apart_of(uint32_t *apart, const char *s, qm_err *e) {
    *apart = 0;
    for (size_t n; s && *s; s += n + (s[n] == ',')) {
        size_t i = 0;
        n = strcspn(s, ",");
        while (i < sizeof words / sizeof *words && (strlen(words[i].word) != n || strncmp(words[i].word, s, n))) i++;
        if (i == sizeof words / sizeof *words)
            return qm_fail(e, QM_ERR_ARG, "--apart: '%.*s' is not one of %s", n > 40 ? 40 : (int)n, s, qm_apart_words);
        *apart |= words[i].bits;
    }
    return 0;
}
