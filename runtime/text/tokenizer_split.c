/* The qwen2 pre-tokenizer: a regular expression that cuts text into pieces; merges never cross a cut.
 *
 * PCRE2 does not see the text itself but its shadow: of the same length, each character beyond ASCII
 * replaced by one of the same class and the same number of bytes. The classes come from our own table
 * (unicode.h), so that the ids do not depend on the Unicode version of the PCRE2 that a machine has,
 * nor on its idea of \s, which is wider than the reference's (U+180E). Ill-formed bytes are each "other",
 * as a U+FFFD in their place would be. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer_impl.h"
#include "unicode.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

static const char qwen2_regex[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)"    /* English contractions; case folds as Unicode does: U+017F is an s */
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"  /* a word, with at most one other character before it */
    "|\\p{N}"                         /* numbers digit by digit */
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" /* punctuation */
    "|\\s*[\\r\\n]+"                  /* line ends with the space before them */
    "|\\s+(?!\\S)"                    /* space, all but the last when a word follows */
    "|\\s+";

int tok_split_compile(qm_tokenizer *t, qm_err *e) {
    int err;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)qwen2_regex, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &err, &at, NULL);
    if (!re) {
        char msg[128];
        pcre2_get_error_message(err, (PCRE2_UCHAR *)msg, sizeof msg);
        return qm_fail(e, QM_ERR_UNSUPPORTED, "PCRE2 refuses the pre-tokenizer's expression at %zu: %s", (size_t)at,
                       msg);
    }
    /* Without JIT (no executable memory, say) the interpreter gives the same answers, slower. */
    (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    t->regex = re;
    return 0;
}

void tok_split_free(qm_tokenizer *t) { pcre2_code_free(t->regex); }

/* A character of each class, and of each length in bytes. 's' in the expression also matches U+017F,
 * which is why that one stands for itself; no other character folds to a letter of a contraction. */
static const char *const stand_in[4][5] = {
    [QM_UC_OTHER] = {"", "\x01", "\xc2\xa6", "\xe2\x94\x80", "\xf0\x9f\x98\x80"},
    [QM_UC_LETTER] = {"", "", "\xc2\xaa", "\xe4\xb8\x80", "\xf0\xa0\x80\x80"},
    [QM_UC_NUMBER] = {"", "", "\xc2\xb2", "\xe2\x82\x80", "\xf0\x90\x84\x87"},
    [QM_UC_SPACE] = {"", "", "\xc2\xa0", "\xe2\x80\x83", NULL}, /* there is none of 4 bytes */
};

static int make_shadow(const char *text, size_t n, tok_scratch *s) {
    if (s->shadow_cap < n) {
        void *q = realloc(s->shadow, n);
        if (!q) return -1;
        s->shadow = q;
        s->shadow_cap = n;
    }
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        if (p[i] < 0x80) {
            s->shadow[i] = text[i];
            i++;
            continue;
        }
        int len = qm_utf8_decode(p + i, n - i, &cp);
        if (len <= 0) {
            size_t k = len ? (size_t)-len : n - i;
            memset(s->shadow + i, 1, k);
            i += k;
            continue;
        }
        const char *by = cp == 0x17f ? text + i : stand_in[qm_unicode_class(cp)][len];
        if (!by) by = stand_in[QM_UC_OTHER][len];
        memcpy(s->shadow + i, by, (size_t)len);
        i += (size_t)len;
    }
    return 0;
}

static int make_matcher(const qm_tokenizer *t, tok_scratch *s) {
    if (s->match) return 0;
    s->match = pcre2_match_data_create_from_pattern(t->regex, NULL);
    s->match_ctx = pcre2_match_context_create(NULL);
    if (!s->match || !s->match_ctx) return -1;
    /* The expression needs about one step for each character of a piece: let long runs through. */
    pcre2_set_match_limit(s->match_ctx, UINT32_MAX);
    pcre2_set_depth_limit(s->match_ctx, UINT32_MAX);
    return 0;
}

int tok_split(const qm_tokenizer *t, const char *text, size_t n, tok_scratch *s, qm_tokens *ids, qm_err *e) {
    if (make_shadow(text, n, s) || make_matcher(t, s)) goto nomem;
    for (size_t at = 0; at < n;) {
        int rc = pcre2_match(t->regex, (PCRE2_SPTR)s->shadow, n, at, PCRE2_NO_UTF_CHECK, s->match, s->match_ctx);
        /* Repeats of one class need none of the JIT's own 32 KiB of stack, however long; should a PCRE2
         * see it otherwise, the interpreter keeps its stack on the heap. */
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(t->regex, (PCRE2_SPTR)s->shadow, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match,
                             s->match_ctx);
        if (rc == PCRE2_ERROR_NOMEMORY) goto nomem;
        const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(s->match);
        /* Every character is matched by some alternative, so that no match can only be a limit. */
        if (rc < 0 || ov[0] != at || ov[1] <= at || ov[1] > n)
            return qm_fail(e, QM_ERR_LIMIT, "%s: the pre-tokenizer failed at byte %zu of %zu (PCRE2 code %d)", t->name,
                           at, n, rc);
        if (tok_bpe(t, (const uint8_t *)text + at, ov[1] - at, s, ids)) goto nomem;
        at = ov[1];
    }
    return 0;
nomem:
    return qm_fail(e, QM_ERR_NOMEM, "no memory to tokenise %zu bytes of text", n);
}

void tok_scratch_free(tok_scratch *s) {
    free(s->sym);
    free(s->heap);
    free(s->shadow);
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->match_ctx);
    memset(s, 0, sizeof *s);
}
