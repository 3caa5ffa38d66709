/* fuzz_tokenizer.c: libFuzzer harness of the tokenizer: opening a vocabulary that is broken, and text.
 *
 *   clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. -Iruntime \
 *     tests/fuzz/fuzz_tokenizer.c runtime/file/{gguf*,tokenizer*,unicode*,chat}.c runtime/base/{err,log}.c \
 *     -lpcre2-8 -lutf8proc -o fuzz_tokenizer && ./fuzz_tokenizer tests/fuzz/corpus/tokenizer
 *
 * The first byte says what the rest is:
 *   0..127   text for a good vocabulary, its lowest two bits the flags
 *   128..191 n patches (u16 offset, byte) to the file of that vocabulary, then text
 *   192..255 a vocabulary: extra tokens and merges as length-prefixed strings, then text
 * Whatever opens must keep its promises: ids in range, no control token out of plain text, bytes back as
 * they went in, merges as a direct reading of the rule has them, whole characters from the stream, NFC
 * of NFC unchanged. */
#include "must.h"
#include "runtime/text/chatml.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/tokenizer_impl.h"
#include "runtime/text/unicode.h"
#include "tok_gguf.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define S(x) \
    { x, sizeof x - 1 }
static const qm_str extra[] = {S("ab"),
                               S("bc"),
                               S("abc"),
                               S("aa"),
                               S("aaaa"),
                               S("\xc4\xa0"
                                 "a"),
                               S("\xc3\x8c\xc4\xa3"),
                               S("<|endoftext|>"),
                               S("<|im_start|>"),
                               S("<|im_end|>"),
                               S("<x>"),
                               S("<x><y>"),
                               S("<think>")};
static const uint32_t extra_type[] = {1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 4};
static const qm_str merges[] = {
    S("b c"), S("a b"), S("a bc"), S("a a"), S("aa aa"), S("\xc4\xa0 a"), S("\xc3\x8c \xc4\xa3")};
static tg_spec good_spec(void) {
    return (tg_spec){.model = "gpt2",
                     .pre = "qwen2",
                     .extra = extra,
                     .extra_type = extra_type,
                     .n_extra = sizeof extra / sizeof *extra,
                     .merges = merges,
                     .n_merges = sizeof merges / sizeof *merges,
                     .byte_as_control = -1,
                     .bos = 263,
                     .eos = 265,
                     .eot = -1};
}

/* One piece, merged by the rule as it is written. */
static void check_merges(const qm_tokenizer *t, const uint8_t *p, size_t n) {
    if (!n || n > 400) return;
    uint32_t id[400];
    size_t k = n;
    for (size_t i = 0; i < n; i++) id[i] = t->byte_id[p[i]];
    for (;;) {
        const tok_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < k; i++) {
            const tok_merge *c = tok_merge_find(t, id[i], id[i + 1]);
            if (c && (!best || c->rank < best->rank)) {
                best = c;
                at = i;
            }
        }
        if (!best) break;
        id[at] = best->id;
        k--;
        memmove(id + at + 1, id + at + 2, (k - at - 1) * sizeof *id);
    }
    tok_scratch s = {0};
    qm_tokens ids = {0};
    MUST(!tok_bpe(t, p, n, &s, &ids));
    MUST(ids.n == k && !memcmp(ids.v, id, k * sizeof *id));
    tok_scratch_free(&s);
    qm_tokens_free(&ids);
}

static void check_text(const qm_tokenizer *t, const uint8_t *p, size_t n, int flags) {
    qm_tokens ids = {0};
    qm_err e;
    int rc = qm_tokenize(t, (const char *)p, n, flags, &ids, &e);
    MUST(!rc);
    qm_utf8_stream st = {0};
    size_t at = 0, w = 0;
    char *out = malloc(3 * n + 64), *once = malloc(3 * n + 64);
    for (size_t i = 0; i < ids.n; i++) {
        MUST(ids.v[i] < qm_tokenizer_n(t));
        if (!(flags & QM_TOK_SPECIAL)) MUST(!qm_token_is_control(t, ids.v[i]));
        (void)qm_token_is_eog(t, ids.v[i]);
        if (!(flags & QM_TOK_NO_NFC)) continue;
        qm_str b = qm_token_bytes(t, ids.v[i]);
        MUST(at + b.n <= n && !memcmp(p + at, b.s, b.n));
        at += b.n;
        w += qm_utf8_push(&st, b.s, b.n, 0, out + w);
    }
    if (flags & QM_TOK_NO_NFC) {
        MUST(at == n);
        w += qm_utf8_push(&st, NULL, 0, 1, out + w);
        qm_utf8_stream all = {0};
        size_t m = qm_utf8_push(&all, p, n, 1, once);
        MUST(m == w && !memcmp(out, once, w));
        for (size_t i = 0; i < w;) {
            uint32_t cp;
            int len = qm_utf8_decode((uint8_t *)out + i, w - i, &cp);
            MUST(len > 0);
            i += (size_t)len;
        }
    }
    free(out);
    free(once);
    qm_tokens_free(&ids);
    qm_message msg = {"user", (const char *)p, n};
    if (!qm_chatml(t, &msg, 1, flags, &ids, &e)) {
        size_t control = 0;
        for (size_t i = 0; i < ids.n; i++) control += (size_t)qm_token_is_control(t, ids.v[i]);
        MUST(control == 3);
    }
    qm_tokens_free(&ids);
    char *a, *b;
    size_t na, nb;
    if (!qm_unicode_nfc((const char *)p, n, &a, &na, &e)) {
        MUST(qm_unicode_nfc(a, na, &b, &nb, &e) == 1);
        free(a);
    }
    check_merges(t, p, n);
}

static void check_file(tg_buf b, const uint8_t *p, size_t n, int flags) {
    qm_gguf *g;
    qm_tokenizer *t;
    qm_err e = {0};
    if (!qm_gguf_open_mem(&g, b.p, b.n, "fuzz.gguf", &e)) {
        if (!qm_tokenizer_open(&t, g, &e)) {
            check_text(t, p, n, flags);
            qm_tokenizer_close(t);
        } else {
            MUST(e.code < 0 && strstr(e.msg, "fuzz.gguf"));
        }
        qm_gguf_close(g);
    }
    free(b.p);
}

/* A string of at most 15 bytes: its length, then itself. */
static qm_str take(const uint8_t **p, size_t *n) {
    if (!*n) return (qm_str){"", 0};
    size_t k = **p & 15;
    ++*p, --*n;
    if (k > *n) k = *n;
    qm_str s = {(const char *)*p, k};
    *p += k, *n -= k;
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static tg_buf base;
    static qm_tokenizer *good;
    if (!good) {
        tg_spec s = good_spec();
        base = tg_build(&s);
        qm_gguf *g;
        MUST(!qm_gguf_open_mem(&g, base.p, base.n, "good.gguf", NULL) && !qm_tokenizer_open(&good, g, NULL));
        qm_gguf_close(g); /* a tokenizer keeps nothing of its file */
    }
    if (n < 2) return 0;
    uint8_t what = *p++;
    n--;
    if (what < 128) {
        check_text(good, p, n, what & 3);
    } else if (what < 192) {
        tg_buf b = {0};
        tg_put(&b, base.p, base.n);
        for (int k = 1 + (what >> 2 & 7); k > 0 && n >= 3; k--, p += 3, n -= 3) b.p[(p[0] | p[1] << 8) % b.n] = p[2];
        check_file(b, p, n, what & 3);
    } else {
        tg_spec s = good_spec();
        qm_str x[7], m[7];
        uint32_t types[7];
        s.n_extra = what >> 3 & 7;
        for (size_t i = 0; i < s.n_extra; i++) {
            types[i] = n ? *p & 128 ? 3 : *p & 64 ? 4 : 1 : 1;
            x[i] = take(&p, &n);
        }
        s.n_merges = n ? *p & 7 : 0;
        if (n) p++, n--;
        for (size_t i = 0; i < s.n_merges; i++) m[i] = take(&p, &n);
        s.extra = x, s.extra_type = types, s.merges = m;
        s.bos = -1;
        s.eos = what & 4 ? 'a' : -1;
        check_file(tg_build(&s), p, n, what & 3);
    }
    return 0;
}
