/* Guides: the automata against other readings of the same thing, masks against each token by itself, and schemas that mean
 * harm. tests/tools/test_schema.py has whole answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <malloc.h>
#include <math.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "guides.h"
#include "runtime/base/rng.h"
#include "runtime/text/automaton.h"
#include "runtime/text/digits.h"
#include "runtime/text/regex.h"

static qm_tokenizer *tok;

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int takes(const qm_dfa *d, const char *s, size_t n) {
    uint32_t x = d->n > 1 ? QM_DFA_START : QM_DFA_DEAD;
    for (size_t i = 0; i < n && x; i++) x = d->next[256 * x + (uint8_t)s[i]];
    return x && d->accept[x];
}

/* ---- regular expressions, against PCRE2 ---- */
static size_t random_regex(qm_rng *r, char *out, int depth) {
    static const char *const atoms[] = {"a",   "b",   "c",        ".",      "[ab]", "[^a]", "\\d", "\\w",
                                        "\\s", "\\.", "\xc3\xa9", "[a-c1]", "\\S",  "\\n",  "\"",  "\\\\"};
    static const char *const many[] = {"", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"};
    size_t n = 0;
    int terms = 1 + (int)qm_rng_below(r, 3);
    for (int i = 0; i < terms; i++) {
        if (depth < 3 && qm_rng_below(r, 4) == 0) {
            n += (size_t)sprintf(out + n, qm_rng_below(r, 2) ? "(" : "(?:");
            n += random_regex(r, out + n, depth + 1);
            n += (size_t)sprintf(out + n, ")");
        } else {
            n += (size_t)sprintf(out + n, "%s", atoms[qm_rng_below(r, sizeof atoms / sizeof *atoms)]);
        }
        n += (size_t)sprintf(out + n, "%s", many[qm_rng_below(r, sizeof many / sizeof *many)]);
    }
    if (qm_rng_below(r, 4) == 0) {
        n += (size_t)sprintf(out + n, "|");
        n += random_regex(r, out + n, depth + 1);
    }
    return n;
}

static void patterns_match_what_pcre2_does(void **state) {
    (void)state;
    static const char *const letters[] = {"a", "b", "c", "1", " ", ".", "\xc3\xa9", "\"", "\\", "\n"};
    qm_rng r = {11};
    size_t n_same = 0, n_match = 0;
    for (int i = 0; i < 200; i++) {
        char regex[1024];
        size_t n = 0;
        if (qm_rng_below(&r, 3) == 0) regex[n++] = '^';
        n += random_regex(&r, regex + n, 0);
        if (qm_rng_below(&r, 3) == 0) n += (size_t)sprintf(regex + n, "$");
        regex[n] = '\0';
        qm_dfa raw, json;
        qm_err e;
        if (qm_regex_dfa(&raw, regex, n, QM_REGEX_SEARCH, &e)) {
            assert_int_equal(e.code, QM_ERR_LIMIT); /* now and then one is */
            continue;
        }
        int rc = qm_regex_dfa(&json, regex, n, QM_REGEX_SEARCH | QM_REGEX_JSON, &e);
        if (rc == QM_ERR_LIMIT) qm_dfa_free(&raw);
        if (rc == QM_ERR_LIMIT) continue;
        assert_int_equal(rc, 0);
        int code;
        PCRE2_SIZE at;
        pcre2_code *c = pcre2_compile((PCRE2_SPTR)regex, n, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
        assert_non_null(c);
        pcre2_match_data *m = pcre2_match_data_create_from_pattern(c, NULL);
        for (int k = 0; k < 60; k++) {
            char s[64] = "", q[128] = "";
            for (uint32_t left = qm_rng_below(&r, 9); left; left--) {
                const char *x = letters[qm_rng_below(&r, 10)];
                strcat(s, x);
                strcat(q, *x == '"' ? "\\\"" : *x == '\\' ? "\\\\" : *x == '\n' ? "\\n" : x);
            }
            int want = pcre2_match(c, (PCRE2_SPTR)s, strlen(s), 0, 0, m, NULL) > 0;
            if (takes(&raw, s, strlen(s)) != want || takes(&json, q, strlen(q)) != want)
                fail_msg("/%s/ and \"%s\": PCRE2 says %d, we say %d, of JSON %d", regex, q, want,
                         takes(&raw, s, strlen(s)), takes(&json, q, strlen(q)));
            n_same++;
            n_match += (size_t)want;
        }
        pcre2_match_data_free(m);
        pcre2_code_free(c);
        qm_dfa_free(&raw);
        qm_dfa_free(&json);
    }
    assert_true(n_same > 150 * 60 && n_match > n_same / 10 && n_match < n_same * 9 / 10); /* it was no easy question */
}

static void patterns_that_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *regex;
        int code;
    } cases[] = {{"(?=a)", QM_ERR_UNSUPPORTED},
                 {"(?i)a", QM_ERR_UNSUPPORTED},
                 {"a\\b", QM_ERR_UNSUPPORTED},
                 {"(a)\\1", QM_ERR_UNSUPPORTED},
                 {"\\p{L}", QM_ERR_UNSUPPORTED},
                 {"(a|^b)", QM_ERR_UNSUPPORTED},
                 {"a$b", QM_ERR_UNSUPPORTED},
                 {"a**", QM_ERR_UNSUPPORTED},
                 {"[]a]", QM_ERR_UNSUPPORTED},
                 {"\\u{41}", QM_ERR_UNSUPPORTED},
                 {"(a", QM_ERR_ARG},
                 {"a)", QM_ERR_ARG},
                 {"[a", QM_ERR_ARG},
                 {"*a", QM_ERR_ARG},
                 {"a{3,2}", QM_ERR_ARG},
                 {"[b-a]", QM_ERR_ARG},
                 {"\\", QM_ERR_ARG},
                 {"\\x4", QM_ERR_ARG},
                 {"\xff", QM_ERR_ARG},
                 {"a{20000}", QM_ERR_LIMIT},
                 {"((a{1000}){1000}){9}", QM_ERR_LIMIT},
                 {"(a|aa){1,5000}x", QM_ERR_LIMIT},
                 {"\\ud800", QM_ERR_UNSUPPORTED},
                 {"[^]", QM_ERR_UNSUPPORTED},
                 {"a{,3}", QM_ERR_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qm_dfa d;
        qm_err e = {0};
        int rc = qm_regex_dfa(&d, cases[i].regex, strlen(cases[i].regex), QM_REGEX_SEARCH, &e);
        if (rc != cases[i].code || rc != e.code || !*e.msg)
            fail_msg("/%s/: %d, not %d: %s", cases[i].regex, rc, cases[i].code, e.msg);
        qm_dfa_free(&d);
    }
    char deep[1000]; /* groups in groups */
    memset(deep, '(', sizeof deep);
    qm_dfa d;
    assert_int_equal(qm_regex_dfa(&d, deep, sizeof deep, 0, NULL), QM_ERR_LIMIT);
}

/* ---- ranges of numbers, against comparing doubles ---- */
static size_t random_number(qm_rng *r, char *out) {
    static const uint32_t tens[] = {1, 10, 100, 1000};
    size_t n = (size_t)sprintf(out, "%s%u", qm_rng_below(r, 2) ? "-" : "", qm_rng_below(r, tens[qm_rng_below(r, 4)]));
    if (qm_rng_below(r, 2)) n += (size_t)sprintf(out + n, ".%0*u", 1 + (int)qm_rng_below(r, 3), qm_rng_below(r, 10));
    return n;
}

static void ranges_of_numbers(void **state) {
    (void)state;
    qm_rng r = {5};
    size_t n_in = 0, n_all = 0;
    for (int i = 0; i < 300; i++) {
        char text[2][32], x[64];
        int integer = qm_rng_below(&r, 3) == 0, has[2], strict[2];
        double v[2] = {0};
        json_t *b[2] = {NULL, NULL};
        for (int k = 0; k < 2; k++) {
            random_number(&r, text[k]);
            v[k] = strtod(text[k], NULL);
            has[k] = qm_rng_below(&r, 4) != 0;
            strict[k] = (int)qm_rng_below(&r, 2);
            if (has[k]) b[k] = strchr(text[k], '.') ? json_real(v[k]) : json_integer((json_int_t)v[k]);
        }
        qm_dfa d;
        qm_err e;
        if (qm_number_dfa(&d, integer, &(qm_bounds){b[0], b[1], strict[0], strict[1]}, &e)) fail_msg("%s", e.msg);
        for (int k = 0; k < 200; k++) {
            uint32_t near = qm_rng_below(&r, 3);
            if (near == 2) random_number(&r, x);
            else
                sprintf(x, "%s%s%s", text[near], strchr(text[near], '.') ? "" : ".",
                        qm_rng_below(&r, 2) ? "0" : "0001");
            if (qm_rng_below(&r, 3) == 0) strcpy(x, text[qm_rng_below(&r, 2)]);
            double y = strtod(x, NULL);
            if (y == 0 && *x == '-') continue; /* never said of an integer, and zero to others */
            int want = !integer || !strchr(x, '.');
            if (has[0]) want &= strict[0] ? y > v[0] : y >= v[0];
            if (has[1]) want &= strict[1] ? y < v[1] : y <= v[1];
            if (takes(&d, x, strlen(x)) != want)
                fail_msg("%s in %s %s..%s %s: %d", x, strict[0] ? "(" : "[", has[0] ? text[0] : "",
                         has[1] ? text[1] : "", strict[1] ? ")" : "]", !want);
            n_all++;
            n_in += (size_t)want;
        }
        qm_dfa_free(&d);
        json_decref(b[0]);
        json_decref(b[1]);
    }
    assert_true(n_in > n_all / 10 && n_in < n_all * 9 / 10);
    qm_dfa d;
    json_t *far = json_real(1e300), *fine = json_real(0.1234567890123456);
    assert_int_equal(qm_number_dfa(&d, 0, &(qm_bounds){.most = far}, NULL), 0); /* bounds nothing */
    assert_true(takes(&d, "123456789012345678", 18));
    qm_dfa_free(&d);
    assert_int_equal(qm_number_dfa(&d, 0, &(qm_bounds){.least = far}, NULL), 0); /* allows nothing */
    assert_int_equal(d.n, 1);
    qm_dfa_free(&d);
    assert_int_equal(qm_number_dfa(&d, 0, &(qm_bounds){.least = fine}, NULL), QM_ERR_UNSUPPORTED);
    json_decref(far);
    json_decref(fine);
}

/* ---- guides ---- */
static qm_guide *guide(const qm_guide_opts *o) {
    qm_guide *g;
    qm_err e;
    if (qm_guide_make(&g, tok, o, &e)) fail_msg("%s", e.msg);
    return g;
}
static qm_guide *guide_of(const char *schema) { return guide(&(qm_guide_opts){.schema = schema}); }
static qm_guided *begin(const qm_guide *g) {
    qm_guided *s;
    assert_int_equal(qm_guided_open(&s, g, NULL), 0);
    return s;
}

/* How many bytes are taken, one more where the answer may end there. */
static size_t taken(const char *schema, const char *s, size_t n) {
    qm_guide *g = guide_of(schema);
    qm_guided *at = begin(g);
    size_t k = 0;
    while (k < n && !qm_guided_accept_bytes(at, s + k, 1)) k++;
    if (k == n) k += (size_t)qm_guided_complete(at);
    qm_guided_close(at);
    qm_guide_close(g);
    return k;
}
#define TAKEN(schema, s) taken(schema, s, sizeof(s) - 1)
#define TAKES(schema, s) assert_int_equal(TAKEN(schema, s), sizeof(s))
#define STOPS(schema, s, at) assert_int_equal(TAKEN(schema, s), at)

static void strings_are_utf8_and_json(void **state) {
    (void)state;
    TAKES("{\"type\":\"string\"}",
          "\"\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\"");
    TAKES("{\"type\":\"string\"}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\uD83D\\ude00\\uffff\\ud7ff\"");
    STOPS("{\"type\":\"string\"}", "\"\xff\"", 1);
    STOPS("{\"type\":\"string\"}", "\"\xc0\x80\"", 1);         /* overlong */
    STOPS("{\"type\":\"string\"}", "\"\xe0\x80\x80\"", 2);     /* overlong */
    STOPS("{\"type\":\"string\"}", "\"\xed\xa0\x80\"", 2);     /* a surrogate */
    STOPS("{\"type\":\"string\"}", "\"\xf4\x90\x80\x80\"", 2); /* above U+10FFFF */
    STOPS("{\"type\":\"string\"}", "\"\xc3\"", 2);             /* half a character */
    STOPS("{\"type\":\"string\"}", "\"\x1f\"", 1);
    STOPS("{\"type\":\"string\"}", "\"\0\"", 1);
    STOPS("{\"type\":\"string\"}", "\"\\x\"", 2);
    STOPS("{\"type\":\"string\"}", "\"\\u0000\"", 6);
    STOPS("{\"type\":\"string\"}", "\"\\udc00\"", 4); /* a second half without its first */
    STOPS("{\"type\":\"string\"}", "\"\\ud83d\"", 7); /* a first one without its second */
    STOPS("{\"type\":\"string\"}", "\"\\ud83dx\"", 7);
    STOPS("{\"type\":\"string\"}", "\"\\ud83d\\u0041\"", 9);
    /* lengths count characters, however they are written */
    TAKES("{\"type\":\"string\",\"maxLength\":2}", "\"\\ud83d\\ude00\xf0\x9f\x98\x80\"");
    STOPS("{\"type\":\"string\",\"maxLength\":2}", "\"ab\xc3\xa9\"", 3);
    STOPS("{\"type\":\"string\",\"minLength\":2}", "\"\\u00e9\"", 7);
}

/* No white space goes on for ever, and none stands where it is not listed. */
static void white_space_is_bounded(void **state) {
    (void)state;
    static const char schema[] = "{\"type\":\"array\",\"items\":{\"type\":\"object\"}}";
    char text[128] = "[\n";
    TAKES(schema, "[{\"a\": 1, \"b\":2},\n\t\t{ }\n]");
    memset(text + 2, ' ', 66);
    assert_int_equal(taken(schema, text, 68), 66);
    memset(text + 2, '\t', 66);
    assert_int_equal(taken(schema, text, 68), 18);
    STOPS(schema, "[  ", 2);
    STOPS(schema, "[\n\n", 2);
    STOPS(schema, "[\r", 1);
    STOPS(schema, "[] ", 2);
    STOPS(schema, "[{\"a\" :", 5);
    STOPS(schema, "[{\"a\":  ", 7);
    STOPS(schema, "[{} ,", 4);
    STOPS(schema, "\n\n\n", 2);
}

/* As deep as it may go, and never so deep that it cannot come back. */
static void nesting_is_bounded(void **state) {
    (void)state;
    char text[512];
    memset(text, '[', 200);
    size_t deep = taken("{}", text, 200);
    assert_true(deep > 30 && deep <= QM_G_DEPTH);
    memset(text + deep, ']', deep);
    assert_int_equal(taken("{}", text, 2 * deep), 2 * deep + 1);
    /* Each level asks for one more inside, which may be null at the bottom: what could not be closed is not opened. */
    static const char list[] =
        "{\"$defs\":{\"l\":{\"type\":\"object\",\"properties\":{\"n\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
        "l\"},{\"type\":\"array\",\"minItems\":1,"
        "\"items\":{\"$ref\":\"#/$defs/"
        "l\"}},{\"type\":\"null\"}]}},\"required\":[\"n\"],\"additionalProperties\":false}},\"$ref\":\"#/$defs/l\"}";
    qm_guide *g = guide_of(list);
    for (int which = 0; which < 2; which++) {
        qm_guided *s = begin(g);
        int levels = 0;
        const char *open = which ? "{\"n\":[" : "{\"n\":";
        for (size_t k = 0; levels < 100; k = 0) {
            while (open[k] && !qm_guided_accept_bytes(s, open + k, 1)) k++;
            if (open[k]) break; /* not any deeper; what was begun has a way on all the same */
            levels++;
        }
        assert_true(levels > 5 && levels < QM_G_DEPTH);
        uint32_t steps = 0;
        while (!qm_guided_complete(s)) { /* always some byte leads on */
            static const char ways[] = "}]nul\"{:";
            size_t w = 0;
            while (w < sizeof ways - 1 && qm_guided_accept_bytes(s, ways + w, 1)) w++;
            assert_true(w < sizeof ways - 1 && steps++ < 5000);
        }
        qm_guided_close(s);
    }
    qm_guide_close(g);
}

/* At states along random answers: each token is in the mask if and only if a fresh walk of its bytes is possible. */
static void check_mask(const qm_guide *g, const char *prefix, size_t n, qm_guided *s) {
    const uint32_t *m = qm_guided_mask(s);
    uint32_t allowed = 0;
    for (uint32_t id = 0; id < GV_N; id++) {
        qm_guided *fresh = begin(g);
        size_t k;
        const char *p = qm_token_answer(tok, id, &k);
        assert_int_equal(qm_guided_accept_bytes(fresh, prefix, n), 0);
        int may = qm_token_is_eog(tok, id) ? qm_guided_complete(fresh)
                                           : k && g->x->kind[id] != QM_LEX_NONE && !qm_guided_accept_bytes(fresh, p, k);
        int in = !m || qm_bit(m, id);
        if (g->x->kind[id] == QM_LEX_SPECIAL && !in) may = 0; /* by the format alone: special_tokens_in_their_places */
        if (g->x->kind[id] == QM_LEX_NONE) may = !m;
        if (in != may)
            fail_msg("after \"%.*s\": token %u \"%.*s\" is %s the mask", (int)n, prefix, id, (int)k, p,
                     in ? "in" : "not in");
        allowed += (uint32_t)in;
        qm_guided_close(fresh);
    }
    assert_true(allowed > 0);
}

static void masks_are_what_each_token_is(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"ab\",\"parameters\":{\"type\":"
                                "\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":6},\"b\":"
                                "{\"type\":[\"integer\",\"boolean\"]}},\"required\":[\"a\"]}}}]";
    const qm_guide_opts all[] = {
        {.schema = "{}"},
        {.schema = "{\"type\":\"string\",\"maxLength\":9}"},
        {.schema = "{\"type\":\"string\",\"minLength\":3,\"maxLength\":4}"},
        {.schema = "{\"type\":\"string\",\"pattern\":\"^(ab|a\\u00e9)*\\\"?$\"}"},
        {.schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"string\",\"maxLength\":2},{\"enum\":[\"abc\",\"abd\","
                   "12,120]},{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":3}}]}"},
        {.schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"ab\":{\"type\":\"string\"},"
                   "\"abc\":{\"const\":true}}}"},
        {.schema = "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"maxItems\":2},"
                   "\"minItems\":1,\"maxItems\":3}"},
        {.schema = "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":1200}", .thinking = 1},
        {.schema = "{\"type\":\"number\"}", .thinking = 2},
        {.tools = tools, .parallel = 1},
        {.tools = tools, .parallel = 1, .thinking = 2},
        {.tools = tools, .tool_choice = QM_TOOLS_REQUIRED},
        {.tools = tools, .tool_choice = QM_TOOLS_REQUIRED, .xml = 1, .parallel = 1},
        {.tools = tools, .schema = "{\"enum\":[\"</tool_call>\"]}"},
    };
    qm_rng r = {3};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        qm_guide *g = guide(&all[i]);
        for (int walk = 0; walk < 3; walk++) {
            qm_guided *s = begin(g);
            char text[4096];
            size_t n = 0;
            for (int step = 0; step < 24 && n < 3000; step++) {
                check_mask(g, text, n, s);
                const uint32_t *m = qm_guided_mask(s);
                uint32_t id = qm_rng_below(&r, GV_N), k = 0;
                /* longer tokens more often: they cross more */
                for (; k < 2 * GV_N && !(m ? qm_bit(m, id) : id < GV_END - 2); k++)
                    id = k < GV_EXTRA / 2 ? 256 + qm_rng_below(&r, GV_EXTRA) : (id + 1) % GV_N;
                if (qm_token_is_eog(tok, id)) break;
                size_t len;
                const char *p = qm_token_answer(tok, id, &len);
                assert_int_equal(qm_guided_accept(s, id), 0);
                memcpy(text + n, p, len);
                n += len;
            }
            qm_guided_close(s);
        }
        qm_guide_close(g);
    }
}

/* Tags are tokens of their own where the format wants them, and in free text; never in a value. */
static void special_tokens_in_their_places(void **state) {
    (void)state;
    uint32_t call = (uint32_t)qm_token_find(tok, "<tool_call>"), end = (uint32_t)qm_token_find(tok, "</tool_call>"),
             thought = (uint32_t)qm_token_find(tok, "</think>");
    qm_guide *g = guide(&(qm_guide_opts){
        .tools = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}]",
        .thinking = 2});
    qm_guided *s = begin(g);
    assert_null(qm_guided_mask(s)); /* free, and the end may come */
    assert_int_equal(qm_guided_accept(s, thought), 0);
    assert_null(qm_guided_mask(s));
    assert_int_equal(qm_guided_accept(s, (uint32_t)qm_token_find(tok, "<|im_start|>")), 0); /* says nothing */
    assert_int_equal(qm_guided_accept(s, call), 0);
    const uint32_t *m = qm_guided_mask(s);
    assert_true(m && !qm_bit(m, call) && !qm_bit(m, GV_END) && qm_bit(m, '\n'));
    static const char args[] = "\n{\"name\": \"f\", \"arguments\": {\"a\": \"";
    assert_int_equal(qm_guided_accept_bytes(s, args, sizeof args - 1), 0);
    m = qm_guided_mask(s);
    for (uint32_t id = 0; id < GV_N; id++)
        if (g->x->kind[id] == QM_LEX_SPECIAL || g->x->kind[id] == QM_LEX_END || g->x->kind[id] == QM_LEX_NONE) {
            assert_false(qm_bit(m, id));
            assert_int_equal(qm_guided_accept(s, id), -1);
        }
    assert_int_equal(qm_guided_accept_bytes(s, "x\"}}\n", 5), 0);
    m = qm_guided_mask(s);
    assert_true(qm_bit(m, end) && qm_bit(m, '<') && !qm_bit(m, call) && !qm_bit(m, '>'));
    assert_int_equal(qm_guided_accept(s, end), 0);
    assert_int_equal(qm_guided_done(s), 1); /* one call at most */
    m = qm_guided_mask(s);
    for (uint32_t id = 0; id < GV_N; id++) assert_int_equal(qm_bit(m, id), qm_token_is_eog(tok, id) != 0);
    assert_int_equal(qm_guided_accept(s, 'a'), -1);
    assert_int_equal(qm_guided_accept(s, GV_END), 0);
    assert_int_equal(qm_guided_accept(s, GV_END), -1);
    assert_int_equal(qm_guided_done(s), 1);
    qm_guided_close(s);
    qm_guide_close(g);
}

/* ---- bounds ---- */
/* Bytes, in maps of their own too. */
static size_t in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void long_answers_take_bounded_memory(void **state) {
    (void)state;
    static const char item[] = "{\"a\": [1, \"x\\n\xc3\xa9\", null], \"b\": \"yyyyyyyy\"}, ";
    qm_guide *g = guide_of("{\"type\":\"array\",\"maxItems\":100000,\"items\":{\"type\":\"object\",\"properties\":{"
                           "\"b\":{\"type\":\"string\"}}}}");
    qm_guided *s = begin(g);
    assert_int_equal(qm_guided_accept_bytes(s, "[", 1), 0);
    size_t before = in_use(), most = 0;
    for (int i = 0; i < 30000; i++) { /* each is another state: they are counted */
        assert_int_equal(qm_guided_accept_bytes(s, item, sizeof item - 1 - 2), -1); /* b comes first in the schema */
        assert_int_equal(qm_guided_accept_bytes(s, "{\"b\": \"y\", \"a\": [1, {", 21), 0);
        assert_int_equal(qm_guided_accept(s, '}'),
                         0); /* a token: what is old may be forgotten, with four levels open */
        assert_int_equal(qm_guided_accept_bytes(s, "]}", 2), 0);
        assert_int_equal(qm_guided_accept(s, ','), 0);
        if (i % 50 == 0) assert_non_null(qm_guided_mask(s));
        size_t now = in_use();
        if (now > before && now - before > most) most = now - before;
    }
    if (most > 32u << 20) fail_msg("%zu bytes", most);
    qm_guided_close(s);
    qm_guide_close(g);
}

/* What is made to be slow or large is refused, or is fast enough. */
static void hostile_schemas(void **state) {
    (void)state;
    char *big = malloc(4 << 20), *p;
    qm_guide *g;
    qm_err e;
    for (int which = 0; which < 6; which++) {
        double t = cpu_now();
        p = big;
        if (which == 0) { /* properties of slow patterns */
            p += sprintf(p, "{\"properties\":{");
            for (int i = 0; i < 2000; i++)
                p += sprintf(p, "%s\"p%d\":{\"pattern\":\"(a|b)*a(a|b){11}%d\"}", i ? "," : "", i, i);
            sprintf(p, "}}");
        } else if (which == 1) { /* alternatives that stay alike */
            p += sprintf(p, "{\"anyOf\":[");
            for (int i = 0; i < 256; i++) p += sprintf(p, "%s{\"pattern\":\"^.{%d}$\"}", i ? "," : "", i % 60 + 1);
            sprintf(p, "]}");
        } else if (which == 2) { /* one more level a property */
            for (int i = 0; i < 900; i++) p += sprintf(p, "{\"properties\":{\"a\":");
            p += sprintf(p, "{}");
            for (int i = 0; i < 900; i++) p += sprintf(p, "}}");
        } else if (which == 3) { /* one prefix, many ways on */
            p += sprintf(p, "{\"properties\":{");
            for (int i = 0; i < 12000; i++)
                p += sprintf(p, "%s\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d\":{}", i ? "," : "", i);
            sprintf(p, "},\"additionalProperties\":false}");
        } else if (which == 4) { /* references in all directions */
            p += sprintf(p, "{\"$defs\":{");
            for (int i = 0; i < 120; i++) {
                p += sprintf(p, "%s\"d%d\":{\"anyOf\":[{\"type\":\"null\"}", i ? "," : "", i);
                for (int k = 0; k < 60; k++)
                    p += sprintf(p, ",{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/d%d\"}}",
                                 (i * 7 + k * 13) % 120);
                p += sprintf(p, "]}");
            }
            sprintf(p, "},\"$ref\":\"#/$defs/d0\"}");
        } else { /* a length in every alternative */
            p += sprintf(p, "{\"anyOf\":[");
            for (int i = 0; i < 256; i++)
                p += sprintf(p, "%s{\"type\":\"string\",\"minLength\":%d,\"maxLength\":%d}", i ? "," : "", i,
                             100000 + i);
            sprintf(p, "]}");
        }
        int rc = qm_guide_make(&g, tok, &(qm_guide_opts){.schema = big}, &e);
        if (rc && rc != QM_ERR_LIMIT && rc != QM_ERR_ARG) fail_msg("%d: %d %s", which, rc, e.msg);
        if (which == 0) assert_int_equal(rc, QM_ERR_LIMIT);
        if (!rc) {
            qm_guided *s = begin(g);
            for (int i = 0; i < 40; i++) {
                const uint32_t *m = qm_guided_mask(s);
                static const char ways[] = "\"a[{]}n";
                size_t w = 0;
                assert_non_null(m);
                while (w < sizeof ways - 1 && qm_guided_accept(s, (uint8_t)ways[w])) w++;
                if (w == sizeof ways - 1) break;
            }
            qm_guided_close(s);
            qm_guide_close(g);
        }
        t = cpu_now() - t;
        if (t > 10) fail_msg("%d took %.1f s", which, t);
    }
    free(big);
}

typedef struct {
    const qm_guide *g;
    uint64_t hash;
} job;
static void *use(void *user) {
    job *j = user;
    qm_rng r = {77};
    for (int n = 0; n < 20; n++) {
        qm_guided *s;
        if (qm_guided_open(&s, j->g, NULL)) return NULL;
        for (int i = 0; i < 60; i++) {
            const uint32_t *m = qm_guided_mask(s);
            uint32_t id = qm_rng_below(&r, GV_N);
            while (m && !qm_bit(m, id)) id = (id + 1) % GV_N;
            if (qm_guided_accept(s, id)) j->hash = 1;
            j->hash = j->hash * 31 + id;
            if (qm_token_is_eog(tok, id)) break;
        }
        qm_guided_close(s);
    }
    return NULL;
}
static void threads_share_a_guide(void **state) {
    (void)state;
    qm_guide *g = guide_of("{\"type\":\"array\",\"items\":{}}");
    job jobs[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){.g = g};
        assert_int_equal(pthread_create(&t[i], NULL, use, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 1; i < 4; i++) assert_int_equal(jobs[i].hash, jobs[0].hash);
    assert_true(jobs[0].hash > 1);
    qm_guide_close(g);
}

static void wrong_arguments(void **state) {
    (void)state;
    static const struct {
        qm_guide_opts o;
        const char *words;
    } cases[] = {
        {{0}, "nothing to hold"},
        {{.schema = "{}", .thinking = 3}, "thinking"},
        {{.tools = "{}"}, "tools: not a list"},
        {{.tools = "[]"}, "empty list"},
        {{.tools = "[{\"type\":\"code\"}]"}, "tools: /0/type"},
        {{.tools = "[{\"type\":\"function\",\"function\":{}}]"}, "/0/function/name"},
        {{.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]",
          .tool_choice = QM_TOOLS_NAMED,
          .name = "b"},
         "no tool is called \"b\""},
        {{.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]", .tool_choice = QM_TOOLS_NAMED},
         "no name"},
        {{.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]", .tool_choice = (qm_tools_choice)7},
         "tool_choice"},
        {{.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"array\"}}}]",
          .xml = 1},
         "/0/function/parameters/type"},
        {{.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"a>b\"}}]", .xml = 1}, "/0/function/name"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qm_guide *g = (qm_guide *)&g;
        qm_err e = {0};
        assert_true(qm_guide_make(&g, tok, &cases[i].o, &e) < 0);
        assert_null(g);
        if (!strstr(e.msg, cases[i].words)) fail_msg("%zu: %s", i, e.msg);
    }
}

static int setup(void **state) {
    (void)state;
    return (tok = gv_open()) == NULL;
}
static int teardown(void **state) {
    (void)state;
    qm_tokenizer_close(tok);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_pcre2_does),
        cmocka_unit_test(patterns_that_are_refused),
        cmocka_unit_test(ranges_of_numbers),
        cmocka_unit_test(strings_are_utf8_and_json),
        cmocka_unit_test(white_space_is_bounded),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(masks_are_what_each_token_is),
        cmocka_unit_test(special_tokens_in_their_places),
        cmocka_unit_test(long_answers_take_bounded_memory),
        cmocka_unit_test(hostile_schemas),
        cmocka_unit_test(threads_share_a_guide),
        cmocka_unit_test(wrong_arguments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
