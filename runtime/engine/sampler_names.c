/* sampler_names.c: a chain of samplers by llama.cpp's names, "penalties;top_k;temperature", or letters, "ekt". */
#include <string.h>
#include "../qmoe.h"

/* IDLE: nothing here turns it on, and off it changes nothing, wherever it stands: llama.cpp's default chain has all
 * four. REFUSED: by being there it changes what is drawn. */
enum { IDLE = -1, REFUSED = -2 };
static const struct {
    const char *name, *others; /* llama.cpp's further names, each between two ';' */
    char letter;
    int sampler;
} known[] = {
    {"penalties", "", 'e', QM_SAMPLER_PENALTIES},
    {"temperature", ";temp;", 't', QM_SAMPLER_TEMPERATURE},
    {"top_k", ";top-k;", 'k', QM_SAMPLER_TOP_K},
    {"top_p", ";top-p;nucleus;", 'p', QM_SAMPLER_TOP_P},
    {"min_p", ";min-p;", 'm', QM_SAMPLER_MIN_P},
    {"dry", "", 'd', IDLE},
    {"top_n_sigma", ";top-n-sigma;", 's', IDLE},
    {"typ_p", ";typ-p;typ;typical;typical_p;typical-p;", 'y', IDLE},
    {"xtc", "", 'x', IDLE},
    {"infill", "", 'i', REFUSED},
    {"adaptive_p", ";adaptive-p;", 'a', REFUSED},
};
enum { N_KNOWN = sizeof known / sizeof *known };
#define OURS "penalties, top_k, top_p, min_p, temperature"

const unsigned char qm_samplers_default[QM_N_SAMPLERS] = {QM_SAMPLER_PENALTIES, QM_SAMPLER_TEMPERATURE,
                                                          QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P};

const char *qm_sampler_name(int sampler) {
    for (int i = 0; i < N_KNOWN; i++)
        if (known[i].sampler == sampler) return known[i].name;
    return "?";
}

static int is_called(int i, const char *word, size_t n) {
    char between[32];
    if (strlen(known[i].name) == n && !strncmp(known[i].name, word, n)) return 1;
    if (!n || n > sizeof between - 3) return 0;
    between[0] = ';';
    memcpy(between + 1, word, n);
    memcpy(between + 1 + n, ";", 2);
    return strstr(known[i].others, between) != NULL;
}

static int add(unsigned char *out, int *n, int i, const char *word, int len, qm_err *e) {
    if (i == N_KNOWN) return qm_fail(e, QM_ERR_ARG, "samplers: %.*s is not known; there are " OURS, len, word);
    if (known[i].sampler == REFUSED)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "samplers: %s is not supported; there are " OURS, known[i].name);
    if (known[i].sampler == IDLE) return 0;
    if (memchr(out, known[i].sampler, (size_t)*n))
        return qm_fail(e, QM_ERR_ARG, "samplers: %s is there twice", known[i].name);
    out[(*n)++] = (unsigned char)known[i].sampler;
    return 0;
}

int qm_samplers_parse(unsigned char out[QM_N_SAMPLERS], const char *text, int letters, qm_err *e) {
    int n = 0, rc = 0;
    memset(out, 0, QM_N_SAMPLERS);
    for (const char *at = text; *at && !rc;) {
        size_t len = letters ? 1 : strcspn(at, ";");
        const char *word = at;
        int i = 0;
        while (i < N_KNOWN && !(letters ? known[i].letter == *word : is_called(i, word, len))) i++;
        rc = add(out, &n, i, word, (int)len, e);
        at += len;
        if (!letters && *at == ';') at++;
    }
    if (!rc && !n) return qm_fail(e, QM_ERR_ARG, "samplers: \"%s\" names none of " OURS, text);
    return rc;
}
