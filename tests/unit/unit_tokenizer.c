/* unit_tokenizer.c: the tokenizer against ids that Hugging Face `tokenizers` gave (tests/golden,
 * written by tools/tok_compare.py --fixture), against a direct reading of "merge the lowest rank", and
 * against every way in which a file's vocabulary can be wrong. */
#include "runtime/base/rng.h"
#include "runtime/qmoe_tools.h"
#include "runtime/text/chatml.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/tokenizer_impl.h"
#include "runtime/text/unicode.h"
#include "tok_gguf.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* clang-format off */
#define S(x) {x, sizeof x - 1}
static uint64_t seed = 1;

/* ---- a small vocabulary ---- */
static const qm_str extra[] = {S("ab"), S("bc"), S("abc"), S("aa"), S("aaaa"), S("\xc4\xa0" "a"), S("ca"), S("<|endoftext|>"),
                               S("<|im_start|>"), S("<|im_end|>"), S("<x>"), S("<x><y>"), S("y><z>"), S("<think>"), S("[PAD270]"),
                               S("\xe4\xb8\xad"), S("\xc3\x85\xc2\xbf"), S("\xc3\x85\xc2\xbf" "a"), S("a\xc3\xbf")};
static const uint32_t extra_type[] = {1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 4, 5, 1, 1, 1, 1};
static const qm_str merges[] = {S("b c"), S("a b"), S("a bc"), S("ab c"), S("a a"), S("aa aa"), S("\xc4\xa0 a"), S("c a"),
                                S("\xc3\x85 \xc2\xbf"), S("\xc3\x85\xc2\xbf a"), S("a \xc3\xbf")};
enum { AB = 256, BC, ABC, AA, AAAA, SP_A, CA, EOT, START, END_, X, XY, YZ, THINK, PAD, ZHONG, LONG_S, LONG_S_A, A_FF, N_SMALL };
/* clang-format on */

static tg_spec small_spec(void) {
    return (tg_spec){.model = "gpt2",
                     .pre = "qwen2",
                     .extra = extra,
                     .extra_type = extra_type,
                     .n_extra = N_SMALL - 256,
                     .merges = merges,
                     .n_merges = sizeof merges / sizeof *merges,
                     .byte_as_control = -1,
                     .bos = EOT,
                     .eos = END_,
                     .eot = -1};
}
typedef struct {
    tg_buf b;
    qm_gguf *g;
    qm_tokenizer *t;
} small;
static small small_open(const tg_spec *s) {
    small m = {.b = tg_build(s)};
    qm_err e = {0};
    if (qm_gguf_open_mem(&m.g, m.b.p, m.b.n, "small.gguf", &e) || qm_tokenizer_open(&m.t, m.g, &e))
        fail_msg("%s", e.msg);
    return m;
}
static void small_close(small *m) {
    qm_tokenizer_close(m->t);
    qm_gguf_close(m->g);
    free(m->b.p);
}
static void expect(const qm_tokenizer *t, const char *text, size_t n, int flags, const uint32_t *want, size_t n_want) {
    qm_tokens ids = {0};
    qm_err e = {0};
    if (qm_tokenize(t, text, n, flags, &ids, &e)) fail_msg("%s", e.msg);
    int same = ids.n == n_want && (!n_want || !memcmp(ids.v, want, n_want * sizeof *want));
    if (!same) {
        print_error("text \"%.*s\" flags %d:", (int)n, text, flags);
        for (size_t i = 0; i < ids.n; i++) print_error(" %u", ids.v[i]);
        fail_msg(" (got %zu ids, wanted %zu)", ids.n, n_want);
    }
    qm_tokens_free(&ids);
}
#define EXPECT(t, text, flags, ...)                                                   \
    do {                                                                              \
        const uint32_t want_[] = {__VA_ARGS__};                                       \
        expect(t, text, sizeof text - 1, flags, want_, sizeof want_ / sizeof *want_); \
    } while (0)

/* ---- ids of the reference ---- */
static size_t from_hex(const char *h, char *out) {
    size_t n = strlen(h) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(h + 2 * i, "%2x", &v), 1);
        out[i] = (char)v;
    }
    return n;
}

static void golden(void **state) {
    (void)state;
    qm_gguf *g;
    qm_tokenizer *t;
    qm_err e = {0};
    if (qm_gguf_open(&g, "tests/golden/tokenizer_vocab.gguf", &e) || qm_tokenizer_open(&t, g, &e))
        fail_msg("%s", e.msg);
    json_error_t je;
    json_t *root = json_load_file("tests/golden/tokenizer_cases.json", 0, &je), *c;
    if (!root) fail_msg("%s", je.text);
    json_t *cases = json_object_get(root, "cases");
    size_t i, bad = 0;
    assert_true(json_array_size(cases) > 400);
    json_array_foreach (cases, i, c) {
        const char *hex = json_string_value(json_object_get(c, "text"));
        int flags = (int)json_integer_value(json_object_get(c, "flags"));
        json_t *want = json_object_get(c, "ids");
        char *text = malloc(strlen(hex) / 2 + 1);
        size_t n = from_hex(hex, text);
        qm_tokens ids = {0};
        qm_message m = {"user", text, n};
        int rc = flags & 256 ? qm_chatml(t, &m, 1, flags & 255, &ids, &e) : qm_tokenize(t, text, n, flags, &ids, &e);
        if (rc) fail_msg("%s", e.msg);
        int same = ids.n == json_array_size(want);
        for (size_t k = 0; same && k < ids.n; k++) same = ids.v[k] == json_integer_value(json_array_get(want, k));
        if (!same) {
            print_error("case %zu, flags %d, text %s\n", i, flags, hex);
            bad++;
        }
        qm_tokens_free(&ids);
        free(text);
    }
    assert_int_equal(bad, 0);
    json_decref(root);
    qm_tokenizer_close(t);
    qm_gguf_close(g);
}

/* ---- by hand ---- */
static void merges_by_rank(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    EXPECT(m.t, "abc", 0, ABC); /* b c first, then a bc */
    EXPECT(m.t, "ab", 0, AB);
    EXPECT(m.t, "aaa", 0, AA, 'a'); /* the leftmost of equals */
    EXPECT(m.t, "aaaaa", 0, AAAA, 'a');
    EXPECT(m.t, "abca", 0, ABC, 'a');
    EXPECT(m.t, "a a", 0, 'a', SP_A);
    EXPECT(m.t, "a  a", 0, 'a', ' ', SP_A); /* \s+(?!\S) leaves the last space to the word */
    EXPECT(m.t, "ab'Sab", 0, AB, '\'', 'S', AB);
    EXPECT(m.t,
           "'\xc5\xbf"
           "a",
           0, '\'', LONG_S, 'a'); /* U+017F folds to s: a contraction */
    EXPECT(m.t,
           "x\xc5\xbf"
           "a",
           0, 'x', LONG_S_A);
    EXPECT(m.t,
           "a\xff"
           "a",
           0, 'a', 0xff, 'a'); /* ill-formed: not a letter, ends the word */
    EXPECT(m.t, "1a", 0, '1', 'a');
    EXPECT(m.t, "\xe4\xb8\xad", 0, 0xe4, 0xb8, 0xad); /* no merge makes it, though its text is a token's */
    small_close(&m);
}

static void specials(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    EXPECT(m.t, "ab<|im_end|>ab", QM_TOK_SPECIAL, AB, END_, AB);
    EXPECT(m.t, "<x><y><z>", QM_TOK_SPECIAL, XY, '<', 'z', '>'); /* leftmost, then longest */
    EXPECT(m.t, "<y><z>", QM_TOK_SPECIAL, '<', YZ);
    EXPECT(m.t, "<x><", QM_TOK_SPECIAL, X, '<');
    EXPECT(m.t, "<think>", QM_TOK_SPECIAL, THINK);
    EXPECT(m.t, "[PAD270]", QM_TOK_SPECIAL, '[', 'P', 'A', 'D', '2', '7', '0', ']');
    EXPECT(m.t, "<x>", 0, '<', 'x', '>'); /* never in plain text */
    /* cut out before NFC: the mark cannot reach back over the token */
    EXPECT(m.t, "e<x>\xcc\x81", QM_TOK_SPECIAL, 'e', X, 0xcc, 0x81);
    EXPECT(m.t, "e\xcc\x81", 0, 0xc3, 0xa9);
    EXPECT(m.t, "e\xcc\x81", QM_TOK_NO_NFC, 'e', 0xcc, 0x81);

    assert_true(qm_token_is_control(m.t, START) && !qm_token_is_control(m.t, THINK) && !qm_token_is_control(m.t, 'a'));
    assert_true(qm_token_is_eog(m.t, END_) && qm_token_is_eog(m.t, EOT) && !qm_token_is_eog(m.t, START));
    assert_false(qm_token_is_eog(m.t, 11));
    assert_false(qm_token_is_eog(m.t, UINT32_MAX) || qm_token_is_control(m.t, UINT32_MAX));
    assert_int_equal(qm_token_bytes(m.t, UINT32_MAX).n, 0);
    assert_int_equal(qm_token_find(m.t, "<|im_start|>"), START);
    assert_int_equal(qm_token_find(m.t, "<|im_st"), -1);
    assert_int_equal(qm_tokenizer_n(m.t), N_SMALL);
    qm_str b = qm_token_bytes(m.t, SP_A);
    assert_int_equal(b.n, 2);
    assert_memory_equal(b.s, " a", 2);
    b = qm_token_bytes(m.t, ZHONG); /* outside the byte alphabet: stands for itself */
    assert_int_equal(b.n, 3);
    assert_memory_equal(b.s, "\xe4\xb8\xad", 3);
    b = qm_token_bytes(m.t, END_);
    assert_memory_equal(b.s, "<|im_end|>", 10);
    small_close(&m);

    s = small_spec(); /* no bos, no eos: nothing takes their place but the known names */
    s.bos = s.eos = -1;
    m = small_open(&s);
    for (uint32_t i = 0; i < N_SMALL; i++) assert_int_equal(qm_token_is_eog(m.t, i), i == EOT || i == END_);
    small_close(&m);
    s.bos = 'p', s.eos = 'q', s.eot = 'r', s.no_types = 1; /* and the names only where they are control tokens */
    m = small_open(&s);
    for (uint32_t i = 0; i < N_SMALL; i++) assert_int_equal(qm_token_is_eog(m.t, i), i == 'q' || i == 'r');
    small_close(&m);
}

/* What counts for an answer: of control tokens nothing, but for the tags that answers are read by. */
static void answers(void **state) {
    (void)state;
    enum { CONTROL = 3, USER = 4 };
    static const qm_str texts[] = {S("<think>"), S("</think>"),   S("<tool_call>"), S("</tool_call>"),
                                   S("<think"),  S("<|im_end|>"), S("<x>"),         S("<tool_response>")};
    for (uint32_t type = CONTROL; type <= USER; type++) {
        uint32_t types[8];
        for (int i = 0; i < 8; i++) types[i] = i == 5 ? CONTROL : type;
        tg_spec s = small_spec();
        s.extra = texts, s.extra_type = types, s.n_extra = 8, s.n_merges = 0, s.bos = s.eos = 256 + 5;
        small m = small_open(&s);
        for (uint32_t i = 0; i < 8; i++) {
            size_t n;
            const char *piece = qm_token_answer(m.t, 256 + i, &n);
            const int said = types[i] == USER || i < 4;
            assert_non_null(piece);
            assert_int_equal(n, said ? texts[i].n : 0);
            assert_memory_equal(piece, texts[i].s, n);
            assert_non_null(qm_token_piece(m.t, 256 + i, &n)); /* which has all of it */
            assert_int_equal(n, texts[i].n);
        }
        size_t n;
        assert_true(*qm_token_answer(m.t, 'a', &n) == 'a' && n == 1);
        assert_null(qm_token_answer(m.t, 256 + 8, &n));
        small_close(&m);
    }
}

/* ---- a direct reading of the rule, for pieces on both sides of the heap's threshold ---- */
static void against_direct(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    qm_rng r = {seed};
    for (int round = 0; round < 3000; round++) {
        uint32_t n = 1 + qm_rng_below(&r, round % 2 ? 20 : 200), letters = 1 + qm_rng_below(&r, 3);
        char text[201];
        uint32_t id[201];
        for (uint32_t i = 0; i < n; i++) id[i] = (uint8_t)(text[i] = (char)('a' + qm_rng_below(&r, letters)));
        uint32_t k = n;
        for (;;) {
            const tok_merge *best = NULL;
            uint32_t at = 0;
            for (uint32_t i = 0; i + 1 < k; i++) {
                const tok_merge *c = tok_merge_find(m.t, id[i], id[i + 1]);
                if (c && (!best || c->rank < best->rank)) {
                    best = c;
                    at = i;
                }
            }
            if (!best) break;
            id[at] = best->id;
            memmove(id + at + 1, id + at + 2, (--k - at - 1) * sizeof *id);
        }
        expect(m.t, text, n, 0, id, k);
    }
    small_close(&m);
}

/* ---- any bytes come back; long runs take n log n ---- */
static void round_trip(const qm_tokenizer *t, const char *text, size_t n, int flags) {
    qm_tokens ids = {0};
    qm_err e = {0};
    if (qm_tokenize(t, text, n, flags, &ids, &e)) fail_msg("%s", e.msg);
    size_t at = 0;
    for (size_t i = 0; i < ids.n; i++) {
        qm_str b = qm_token_bytes(t, ids.v[i]);
        assert_true(at + b.n <= n && !memcmp(text + at, b.s, b.n));
        at += b.n;
        if (!(flags & QM_TOK_SPECIAL)) assert_false(qm_token_is_control(t, ids.v[i]));
    }
    assert_int_equal(at, n);
    qm_tokens_free(&ids);
}

static void any_bytes(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    qm_rng r = {seed};
    static const char *const bits[] = {
        "<|im_end|>", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\xcc\x81", " ", "\n", "a", "\xf4\x90\x80\x80", "'s"};
    for (int round = 0; round < 3000; round++) {
        char text[300];
        size_t n = 0;
        while (n < 250 && qm_rng_below(&r, 40)) {
            if (qm_rng_below(&r, 2)) {
                text[n++] = (char)qm_rng_u32(&r);
            } else {
                const char *b = bits[qm_rng_below(&r, 10)];
                memcpy(text + n, b, strlen(b));
                n += strlen(b);
            }
        }
        round_trip(m.t, text, n, QM_TOK_NO_NFC);
        round_trip(m.t, text, n, QM_TOK_NO_NFC | QM_TOK_SPECIAL);
    }
    /* Ill-formed bytes pass NFC and stay what they are, next to text that changes. */
    EXPECT(m.t,
           "\xff"
           "e\xcc\x81\xe4\xb8",
           0, 0xff, 0xc3, 0xa9, 0xe4, 0xb8);
    small_close(&m);
}

static void long_runs(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    static const struct {
        const char *unit, *tail;
        int nfc;
    } runs[] = {{"a", "", 1},
                {" ", "", 1},
                {" ", "x", 1},
                {"\n", "", 1},
                {" \n", "x", 1},
                {"!", "\n", 1},
                {"abc", "", 1},
                {"\xe4\xb8\xad", "", 1},
                {"\xcc\x81\xcc\xa3", "", 0},
                {"\xff", "", 1},
                {"<|im_", "", 1},
                {"1", "", 1},
                {"\xcc\x81\xcc\xa3\xcd\x85", "", 0},
                {"\xe1\x85\xa0", "", 1}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        size_t k = strlen(runs[i].unit), n = (size_t)1 << 20, tail = strlen(runs[i].tail);
        n -= n % k;
        char *p = malloc(n + tail);
        for (size_t at = 0; at < n; at += k) memcpy(p + at, runs[i].unit, k);
        memcpy(p + n, runs[i].tail, tail);
        clock_t t0 = clock();
        round_trip(m.t, p, n + tail, QM_TOK_NO_NFC | QM_TOK_SPECIAL);
        if (runs[i].nfc) {
            round_trip(m.t, p, n + tail, 0);
        } else { /* reordered: as many ids, none lost */
            qm_tokens ids = {0};
            assert_int_equal(qm_tokenize(m.t, p, n, 0, &ids, NULL), 0);
            assert_int_equal(ids.n, n);
            qm_tokens_free(&ids);
        }
        /* About a tenth of a second; a quadratic method would need hours. */
        assert_true((double)(clock() - t0) / CLOCKS_PER_SEC < 60);
        free(p);
    }
    small_close(&m);
}

/* ---- normalisation ---- */
static void nfc(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } t[] = {{"abc", NULL},
             {"caf\xc3\xa9", NULL},
             {"e\xcc\x81", "\xc3\xa9"},
             {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},               /* marks in the order of their classes */
             {"\xe2\x84\xab", "\xc3\x85"},                             /* Angstrom sign */
             {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul letters */
             {"\xea\xb0\x80\xe1\x86\xa7", NULL},                       /* U+11A7 composes with nothing */
             {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},             /* a composition exclusion */
             {"a\xe0\xa2\x98\xcc\xa3", NULL},                          /* U+0898, Unicode 14: inert for the reference */
             {"\xff"
              "e\xcc\x81\xff",
              "\xff\xc3\xa9\xff"},
             {"e\xff\xcc\x81", NULL}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char *out;
        size_t n, want = strlen(t[i].out ? t[i].out : t[i].in);
        int rc = qm_unicode_nfc(t[i].in, strlen(t[i].in), &out, &n, NULL);
        assert_int_equal(rc, t[i].out ? 0 : 1);
        assert_int_equal(n, want);
        if (t[i].out) assert_memory_equal(out, t[i].out, n);
        else assert_null(out);
        free(out);
    }
}

/* ---- streaming ---- */
#define FFFD "\xef\xbf\xbd"
static void stream(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } t[] = {{"a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80z", "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80z"},
             /* the examples of Unicode 15.0, tables 3-8 to 3-11 */
             {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
             {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
             {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B"},
             {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A"},
             {"\xf0\x9f\x98", FFFD},
             {"x\xe4", "x" FFFD},
             {"\xf0\x9f\xe4\xb8\xad", FFFD "\xe4\xb8\xad"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        size_t n = strlen(t[i].in);
        for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) { /* every way to cut it */
            qm_utf8_stream s = {0};
            char out[256];
            size_t w = 0, from = 0;
            for (size_t k = 1; k <= n; k++) {
                if (k < n && !(cuts >> (k - 1) & 1)) continue;
                char part[64];
                size_t m = qm_utf8_push(&s, t[i].in + from, k - from, 0, part);
                assert_true(m <= 3 * (k - from + 4));
                for (size_t at = 0; at < m;) { /* whole characters only */
                    uint32_t cp;
                    int len = qm_utf8_decode((uint8_t *)part + at, m - at, &cp);
                    assert_true(len > 0);
                    at += (size_t)len;
                }
                memcpy(out + w, part, m);
                w += m;
                from = k;
            }
            w += qm_utf8_push(&s, NULL, 0, 1, out + w);
            assert_int_equal(s.n_hold, 0);
            assert_int_equal(w, strlen(t[i].out));
            assert_memory_equal(out, t[i].out, w);
        }
    }
    qm_utf8_stream s = {0};
    char out[16];
    assert_int_equal(qm_utf8_push(&s, "\xf0\x9f\x98", 3, 0, out), 0); /* held back */
    assert_int_equal(qm_utf8_push(&s, "\x80", 1, 0, out), 4);
}

/* ---- files that are wrong ---- */
/* The reader finds some of these itself, in its own words; what it passes the tokenizer must find. */
static void refuse(const tg_spec *s, int code, const char *key, const char *what) {
    tg_buf b = tg_build(s);
    qm_gguf *g;
    qm_tokenizer *t;
    qm_err e = {0};
    int rc = qm_gguf_open_mem(&g, b.p, b.n, "bad.gguf", &e);
    if (rc) {
        if (rc != code || !strstr(e.msg, "bad.gguf") || !strstr(e.msg, key))
            fail_msg("wanted %d %s ... %s; the reader gave %d: %s", code, key, what, rc, e.msg);
        free(b.p);
        return;
    }
    rc = qm_tokenizer_open(&t, g, &e);
    if (rc != code || t || !strstr(e.msg, "bad.gguf") || !strstr(e.msg, key) || !strstr(e.msg, what))
        fail_msg("wanted %d %s ... %s; got %d: %s", code, key, what, rc, e.msg);
    qm_gguf_close(g);
    free(b.p);
}

static void wrong_files(void **state) {
    (void)state;
    tg_spec s;
#define BAD(code, key, what, ...)    \
    do {                             \
        s = small_spec();            \
        __VA_ARGS__;                 \
        refuse(&s, code, key, what); \
    } while (0)
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.model", "no tokenizer", s.model = NULL);
    BAD(QM_ERR_UNSUPPORTED, "tokenizer.ggml.model", "\"llama\"; supported: gpt2", s.model = "llama");
    BAD(QM_ERR_UNSUPPORTED, "tokenizer.ggml.pre", "supported: qwen2", s.pre = NULL);
    BAD(QM_ERR_UNSUPPORTED, "tokenizer.ggml.pre", "\"qwen35\"; supported: qwen2", s.pre = "qwen35");
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "no tokenizer.ggml.tokens", s.no_tokens = s.no_types = 1);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.merges", "no tokenizer.ggml.merges", s.no_merges = 1);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "100 tokens", s.n_tokens_cut = N_SMALL - 100; s.no_types = 1;
        s.bos = s.eos = -1);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "types", s.n_types_cut = 1);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "32-bit", s.types_kind = QM_KV_F32);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "32-bit", s.types_kind = QM_KV_I64);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "byte 0x41", s.byte_as_control = 'A');
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.eos_token_id", "not below", s.eos = N_SMALL);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.bos_token_id", "not below", s.bos = UINT32_MAX);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.eot_token_id", "not below", s.eot = 1 << 20);
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "rows", s.embd_rows = N_SMALL + 1); /* a vocabulary too short */
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "rows", s.embd_rows = N_SMALL - 1);
    uint32_t types[N_SMALL - 256];
    memcpy(types, extra_type, sizeof types);
    types[2] = 7;
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "token 258 has type 7", s.extra_type = types);
    types[2] = 0;
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.token_type", "token 258 has type 0", s.extra_type = types);
    types[2] = 3;
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.merges", "makes a control token", s.extra_type = types);
    qm_str toks[N_SMALL - 256];
    memcpy(toks, extra, sizeof toks);
    toks[5] = (qm_str)S("ab");
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "tokens 256 and 261 are both \"ab\"", s.extra = toks);
    toks[5] = (qm_str)S("");
    BAD(QM_ERR_FORMAT, "tokenizer.ggml.tokens", "token 261 is empty", s.extra = toks);
    static const struct {
        qm_str m;
        const char *what;
    } bad[] = {{S("ab"), "not two tokens"},
               {S("a "), "not two tokens"},
               {S(" a"), "not two tokens"},
               {S("a b c"), "not two tokens"},
               {S(""), "not two tokens"},
               {S("xy z"), "its left half is not in"},
               {S("z xy"), "its right half is not in"},
               {S("x y"), "its result is not in"},
               {S("a b"), "the same"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qm_str ms[sizeof merges / sizeof *merges];
        memcpy(ms, merges, sizeof ms);
        ms[7] = bad[i].m;
        BAD(QM_ERR_FORMAT, "tokenizer.ggml.merges", bad[i].what, s.merges = ms);
    }
    s = small_spec(); /* and the one that all of these were made from is good */
    s.embd_rows = N_SMALL;
    small m = small_open(&s);
    small_close(&m);
}

/* A call that fails leaves the ids as they were. */
static void appends(void **state) {
    (void)state;
    tg_spec s = small_spec();
    small m = small_open(&s);
    qm_tokens ids = {0};
    qm_err e = {0};
    assert_int_equal(qm_tokenize(m.t, "ab", 2, 0, &ids, &e), 0);
    assert_int_equal(qm_tokenize(m.t, "", 0, 0, &ids, &e), 0);
    assert_int_equal(qm_tokenize(m.t, "bc", 2, 0, &ids, &e), 0);
    assert_int_equal(qm_tokenize(m.t, "", ((size_t)1 << 30) + 1, 0, &ids, &e), QM_ERR_LIMIT);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.v[0], AB);
    assert_int_equal(ids.v[1], BC);
    qm_tokens_free(&ids);
    small_close(&m);
}

/* The same of a file's vocabulary, where a BOS token goes in front. */
static void vocab_appends(void **state) {
    (void)state;
    char path[512];
    qm_synth_opts so = {.preset = "tiny", .seed = 7, .n_layers = 1, .n_vocab = 512};
    qm_err e = {0};
    qm_gguf *g;
    qm_vocab *v;
    qm_tokens ids = {0};
    snprintf(path, sizeof path, "%s/bos.gguf", getenv("QMOE_TEST_TMP") ? getenv("QMOE_TEST_TMP") : "/tmp");
    assert_int_equal(qm_synth(path, &so, &e), 0);
    assert_int_equal(qm_gguf_open(&g, path, &e), 0);
    FILE *f = fopen(path, "r+b");
    long at = (long)qm_gguf_find(g, "tokenizer.ggml.add_bos_token")->file_off;
    assert_true(f && !fseek(f, at, SEEK_SET) && putc(1, f) == 1 && !fclose(f));
    qm_gguf_close(g);
    assert_int_equal(qm_vocab_open(&v, path, 0, &e), 0);
    assert_int_equal(qm_vocab_tokenize(v, "a", 1, 0, 1, &ids, &e), 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(qm_vocab_tokenize(v, "", ((size_t)1 << 30) + 1, 0, 1, &ids, &e), QM_ERR_LIMIT);
    assert_int_equal(ids.n, 2); /* no BOS token alone either */
    qm_tokens_free(&ids);
    qm_vocab_close(v);
    unlink(path);
}

/* Who asks for an id's piece can say which ids there are. */
static void vocab_ids(void **state) {
    (void)state;
    char path[512];
    qm_synth_opts so = {.preset = "tiny", .seed = 7, .n_layers = 1, .n_vocab = 512};
    qm_err e = {0};
    qm_vocab *v;
    size_t n;
    snprintf(path, sizeof path, "%s/ids.gguf", getenv("QMOE_TEST_TMP") ? getenv("QMOE_TEST_TMP") : "/tmp");
    assert_int_equal(qm_synth(path, &so, &e), 0);
    assert_int_equal(qm_vocab_open(&v, path, 0, &e), 0);
    assert_int_equal(qm_vocab_n(v), 512);
    for (uint32_t id = 0; id < 512; id++) assert_non_null(qm_vocab_piece(v, id, &n));
    assert_null(qm_vocab_piece(v, 512, &n));
    assert_null(qm_vocab_piece(v, UINT32_MAX, &n));
    qm_vocab_close(v);
    unlink(path);
}

/* ---- added tokens, and files made to be slow ---- */
static tg_spec added_spec(const qm_str *x, const uint32_t *types, size_t n) {
    return (tg_spec){.model = "gpt2",
                     .pre = "qwen2",
                     .extra = x,
                     .extra_type = types,
                     .n_extra = n,
                     .byte_as_control = -1,
                     .bos = -1,
                     .eos = -1,
                     .eot = -1};
}

/* At every position the longest token, as trying each token at each position finds it. */
static void added_anywhere(void **state) {
    (void)state;
    qm_rng r = {seed};
    for (int round = 0; round < 300; round++) {
        char text[12][8], line[64];
        qm_str x[12];
        uint32_t types[12];
        size_t n = 0, n_line = 8 + qm_rng_below(&r, sizeof line - 8);
        for (int k = 0; k < 12; k++) {
            size_t len = 2 + qm_rng_below(&r, 6), same = 0;
            for (size_t i = 0; i < len; i++) text[n][i] = (char)('a' + qm_rng_below(&r, 2));
            for (size_t i = 0; i < n; i++) same += x[i].n == len && !memcmp(x[i].s, text[n], len);
            types[n] = k & 1 ? 3 : 4;
            x[n] = (qm_str){text[n], len};
            n += !same;
        }
        for (size_t i = 0; i < n_line; i++) line[i] = (char)('a' + qm_rng_below(&r, 2));
        tg_spec spec = added_spec(x, types, n);
        small m = small_open(&spec);
        tok_found found = {0};
        assert_int_equal(tok_added_find(m.t, line, n_line, &found), 0);
        size_t k = found.n;
        for (size_t i = 0; i < n_line; i++) {
            size_t best = n;
            for (size_t j = 0; j < n; j++)
                if (x[j].n <= n_line - i && !memcmp(line + i, x[j].s, x[j].n) && (best == n || x[j].n > x[best].n))
                    best = j;
            if (best == n) continue;
            assert_true(k > 0);
            k--;
            assert_int_equal(found.at[k].pos, i);
            assert_int_equal(found.at[k].id, 256 + best);
            assert_int_equal(found.at[k].len, x[best].n);
        }
        assert_int_equal(k, 0);
        free(found.at);
        small_close(&m);
    }
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; } /* of this process */
/* A hostile input against a harmless one of its size, which takes at least a hundredth of a second here. */
static void not_slower(const char *what, double hostile, double harmless) {
    print_message("%s: %.3f s, %.3f s harmless\n", what, hostile, harmless);
    if (hostile > 20 * (harmless > 0.01 ? harmless : 0.01))
        fail_msg("%s: %.2f s against %.3f s", what, hostile, harmless);
}

static double time_text(const qm_str *x, const char *text, size_t n) {
    const uint32_t types[2] = {3, 3};
    tg_spec spec = added_spec(x, types, 2);
    small m = small_open(&spec);
    qm_tokens ids = {0};
    double t0 = seconds();
    assert_int_equal(qm_tokenize(m.t, text, n, QM_TOK_SPECIAL, &ids, NULL), 0);
    t0 = seconds() - t0;
    qm_tokens_free(&ids);
    small_close(&m);
    return t0;
}

/* "aa" and "aaa...ab" in a text of a's: each place is the beginning of the long one, which never comes. */
static void hostile_added(void **state) {
    (void)state;
    enum { L = 60000, N = 240000 };
    char *text = malloc(N), *token = malloc(L);
    memset(text, 'a', N);
    memset(token, 'a', L);
    token[L - 1] = 'b';
    double hostile = time_text((qm_str[]){S("aa"), {token, L}}, text, N);
    memset(token, 'c', L);
    not_slower("added tokens", hostile, time_text((qm_str[]){S("aa"), {token, L}}, text, N));
    free(token);
    free(text);
}

enum { WORD = 8 };
typedef struct {
    uint32_t hash;
    char word[WORD];
} block;
static int by_hash(const void *a, const void *b) {
    uint32_t x = ((const block *)a)->hash, y = ((const block *)b)->hash;
    return (x > y) - (x < y);
}
static uint32_t fnv32(uint32_t h, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

/* 2^BITS texts of one FNV-1a hash, by BITS pairs of words that collide one after the other (Joux 2004). */
static void hostile_vocabulary(void **state) {
    (void)state;
    enum { BITS = 15, N = 1 << BITS, TRIES = 400000, LEN = WORD * BITS };
    block *b = malloc(TRIES * sizeof *b);
    char pair[BITS][2][WORD], *text = malloc((size_t)N * LEN);
    qm_str *x = malloc(N * sizeof *x);
    uint32_t *types = malloc(N * sizeof *types), h = 2166136261u;
    qm_rng r = {seed};
    for (int k = 0; k < BITS; k++) {
        for (uint32_t i = 0; i < TRIES; i++) {
            for (int j = 0; j < WORD; j++) b[i].word[j] = (char)('a' + qm_rng_below(&r, 26));
            b[i].hash = fnv32(h, b[i].word, WORD);
        }
        qsort(b, TRIES, sizeof *b, by_hash);
        uint32_t i = 1;
        while (i < TRIES && (b[i].hash != b[i - 1].hash || !memcmp(b[i].word, b[i - 1].word, WORD))) i++;
        assert_true(i < TRIES);
        memcpy(pair[k][0], b[i - 1].word, WORD);
        memcpy(pair[k][1], b[i].word, WORD);
        h = b[i].hash;
    }
    double took[2];
    for (int harmless = 0; harmless < 2; harmless++) {
        for (uint32_t i = 0; i < N; i++) {
            for (int k = 0; k < BITS; k++) memcpy(text + (size_t)i * LEN + WORD * k, pair[k][i >> k & 1], WORD);
            /* harmless: the first word is a number of its own */
            for (uint32_t j = 0, v = i; harmless && j < 4; j++, v /= 26)
                text[(size_t)i * LEN + j] = (char)('A' + v % 26);
            assert_true(harmless || fnv32(2166136261u, text + (size_t)i * LEN, LEN) == h);
            x[i] = (qm_str){text + (size_t)i * LEN, LEN};
            types[i] = 1;
        }
        for (uint32_t i = 0; harmless && i < N; i++)
            memcpy(text + (size_t)i * LEN,
                   (char[4]){(char)('0' + i % 10), (char)('0' + i / 10 % 10), (char)('0' + i / 100 % 10),
                             (char)('0' + i / 1000 % 64)},
                   4);
        tg_spec spec = added_spec(x, types, N);
        double t0 = seconds();
        small m = small_open(&spec);
        took[harmless] = seconds() - t0;
        small_close(&m);
    }
    not_slower("vocabulary", took[0], took[1]);
    free(b), free(text), free(x), free(types);
}

int main(void) {
    if (getenv("QMOE_TEST_SEED")) seed = strtoull(getenv("QMOE_TEST_SEED"), NULL, 0);
    printf("seed %llu (QMOE_TEST_SEED)\n", (unsigned long long)seed);
    const struct CMUnitTest t[] = {cmocka_unit_test(golden),         cmocka_unit_test(merges_by_rank),
                                   cmocka_unit_test(specials),       cmocka_unit_test(answers),
                                   cmocka_unit_test(against_direct), cmocka_unit_test(any_bytes),
                                   cmocka_unit_test(long_runs),      cmocka_unit_test(nfc),
                                   cmocka_unit_test(stream),         cmocka_unit_test(wrong_files),
                                   cmocka_unit_test(appends),        cmocka_unit_test(vocab_appends),
                                   cmocka_unit_test(vocab_ids),      cmocka_unit_test(added_anywhere),
                                   cmocka_unit_test(hostile_added),  cmocka_unit_test(hostile_vocabulary)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
