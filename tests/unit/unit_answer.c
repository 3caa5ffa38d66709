/* unit_answer: what an answer's bytes mean, however they are cut into pieces: text, thinking, calls. */
#include "runtime/base/text.h"
#include "runtime/qmoe_text.h"
#include "answer_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

/* Parts as a text: each begins with its mark (answer_cases.h), neighbours of a kind are one. */
typedef struct {
    char *s;
    size_t n, cap;
    char last;
    size_t args; /* where the call's arguments begin */
    int calls, pieces, stop_at, strict;
} heard;

static void put(heard *h, const char *s, size_t n) {
    if (h->n + n + 1 > h->cap) assert_non_null(h->s = realloc(h->s, h->cap = 2 * (h->n + n + 1)));
    memcpy(h->s + h->n, s, n);
    h->s[h->n += n] = 0;
}

static int on_part(void *user, qm_part part, const char *s, size_t n) {
    static const char *const marks[] = {T, H, C, A, E};
    heard *h = user;
    assert_int_equal(n == 0, part == QM_PART_CALL_END);
    size_t whole;
    char *again = qm_text_utf8(s, n, &whole);
    assert_true(whole == n && !memcmp(again, s, n));
    free(again);
    if (h->last != *marks[part] || part == QM_PART_CALL) put(h, marks[part], 1);
    if (part == QM_PART_ARGUMENTS && h->last != *A) h->args = h->n;
    if (part == QM_PART_ARGUMENTS) assert_true(h->last == *C || h->last == *A);
    if (part == QM_PART_CALL_END) assert_int_equal(h->last, *A);
    h->last = *marks[part];
    put(h, s, n);
    h->calls += part == QM_PART_CALL;
    if (h->strict && part == QM_PART_ARGUMENTS) {
        if (json_object_prefix(h->s + h->args, h->n - h->args) == JSON_BAD)
            fail_msg("no beginning of JSON: %s", h->s + h->args);
    }
    if (part == QM_PART_CALL_END && json_object_prefix(h->s + h->args, h->n - 1 - h->args) != JSON_WHOLE)
        fail_msg("not JSON: %s", h->s + h->args);
    return ++h->pieces == h->stop_at ? 7 : 0;
}

/* The answer text[0..n) in pieces of `step` bytes, the first of `first`. */
static heard hear(const answer_case *c, const char *text, size_t n, size_t first, size_t step, int strict) {
    heard h = {.strict = strict};
    qm_answer *a;
    qm_err e = {0};
    const char *stop[] = {c->stop};
    qm_answer_opts o = {.stop = stop,
                        .n_stop = c->stop != NULL,
                        .thinking = c->thinking,
                        .tools = c->no_tools ? NULL : answer_tools,
                        .out = on_part,
                        .user = &h};
    put(&h, "", 0);
    assert_int_equal(qm_answer_open(&a, &o, &e), 0);
    int rc = 0;
    for (size_t at = 0, k = first; at < n; at += k, k = step) {
        if (k > n - at) k = n - at;
        int now = qm_answer_push(a, text + at, k);
        assert_true(now == 0 || now == 1);
        assert_true(now >= rc);
        rc = now;
    }
    assert_int_equal(qm_answer_end(a), rc | (qm_answer_stopped(a) != NULL));
    assert_int_equal(qm_answer_calls(a), h.calls);
    qm_answer_close(a);
    return h;
}

static void say_cut(const char *text, size_t n, size_t first, size_t step) {
    print_error("answer of %zu bytes, cut after %zu, then every %zu:\n%.*s\n", n, first, step, (int)n, text);
}

/* At once, cut in two at every place, and byte by byte: the same parts. What came at once; free its s. */
static heard every_cut(const answer_case *c, const char *text, size_t n) {
    heard whole = hear(c, text, n, n, n ? n : 1, 0);
    for (size_t k = 0; k <= n; k++) {
        heard h = k ? hear(c, text, n, k, n, 1) : hear(c, text, n, 1, 1, 1);
        if (strcmp(h.s, whole.s)) {
            say_cut(text, n, k ? k : 1, k ? n : 1);
            assert_string_equal(h.s, whole.s);
        }
        free(h.s);
    }
    return whole;
}

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < n_answer_cases; i++) {
        const answer_case *c = &answer_cases[i];
        heard h = every_cut(c, c->text, strlen(c->text));
        if (strcmp(h.s, c->parts)) print_error("case %zu:\n%s\n", i, c->text);
        assert_string_equal(h.s, c->parts);
        free(h.s);
    }
}

/* Outputs made of both formats' real shapes, with the parts that they are made of. */
static void test_generated(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        answer_made m = answer_make(seed, 0);
        heard h = every_cut(&m.c, m.text, m.n);
        if (strcmp(h.s, m.parts)) say_cut(m.text, m.n, m.n, 1);
        assert_string_equal(h.s, m.parts);
        free(h.s);
        answer_free(&m);
    }
}

/* The same, broken: bytes taken out, put in, changed, doubled, the end cut off. Whatever it means then, it means it however it
 * is cut, and no word of it is lost. */
static void test_mutated(void **state) {
    (void)state;
    int broken = 0, called = 0;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        answer_made m = answer_make(seed, 1);
        heard h = every_cut(&m.c, m.text, m.n);
        broken += strcmp(h.s, m.parts) != 0;
        called += h.calls > 0;
        for (const char *p = m.text; (p = memmem(p, (size_t)(m.text + m.n - p), "word", 4)); p += 4) {
            if (p + 8 > m.text + m.n) break;
            char word[9] = {0};
            memcpy(word, p, 8);
            if (strspn(word + 4, "0123456789") < 4) continue; /* it is broken itself */
            if (!strstr(h.s, word)) {
                say_cut(m.text, m.n, m.n, 1);
                fail_msg("%s is lost: %s", word, h.s);
            }
        }
        free(h.s);
        answer_free(&m);
    }
    print_message("250 mutated: %d mean something else, %d have calls\n", broken, called);
    assert_true(broken > 200 && called > 100);
}

/* A string goes out as it comes; nothing waits that is certain. */
static void test_nothing_waits(void **state) {
    (void)state;
    static const struct {
        const char *text, *parts;
    } now[] = {
        {"Hello", T "Hello"},
        {"Hello <", T "Hello"},
        {"Hello <b", T "Hello <b"},
        {"<tool_call>\n{\"name\": \"nobody\", \"a", T "<tool_call>\n{\"name\": \"nobody\", \"a"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {", C "f" A "{"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"ab", C "f" A "{\"s\": \"ab"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"ab\\", C "f" A "{\"s\": \"ab"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"i\": 12", C "f" A "{\"i\": "},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"i\": 12}", C "f" A "{\"i\": 12}" E},
        {"<tool_call>\n<function=f>\n<parameter=s>\nab", C "f" A "{\"s\": \"ab"},
        {"<tool_call>\n<function=f>\n<parameter=s>\nab <", C "f" A "{\"s\": \"ab "},
        {"<tool_call>\n<function=f>\n<parameter=s>\nab </p>", C "f" A "{\"s\": \"ab </p>"},
        {"<tool_call>\n<function=f>\n<parameter=maybe>\nnev", C "f" A "{\"maybe\": "},
        {"<tool_call>\n<function=f>\n<parameter=maybe>\never", C "f" A "{\"maybe\": \"ever"},
        {"<tool_call>\n<function=f>\n<parameter=i>\n12\n</parameter>\n</f", C "f" A "{\"i\": "},
        {"<tool_call>\n<function=f>\n<parameter=i>\n12\n</parameter>\n</function>", C "f" A "{\"i\": 12}" E},
    };
    for (size_t i = 0; i < sizeof now / sizeof *now; i++) {
        heard h = {0};
        qm_answer *a;
        put(&h, "", 0);
        qm_answer_opts o = {.tools = answer_tools, .out = on_part, .user = &h};
        assert_int_equal(qm_answer_open(&a, &o, NULL), 0);
        assert_int_equal(qm_answer_push(a, now[i].text, strlen(now[i].text)), 0);
        assert_string_equal(h.s, now[i].parts);
        qm_answer_close(a);
        free(h.s);
    }
}

/* out says stop at its first, second ... part: push or end returns what it said, and nothing comes any more. */
static void test_out_stops(void **state) {
    (void)state;
    static const char text[] = "<think>a</think>b<tool_call>{\"name\": \"f\", \"arguments\": {\"i\": 1}}</tool_call>c";
    heard all = {0};
    put(&all, "", 0);
    for (int stop = 1; stop <= 7; stop++) {
        heard h = {.stop_at = stop};
        put(&h, "", 0);
        qm_answer *a;
        qm_answer_opts o = {.tools = answer_tools, .thinking = 1, .out = on_part, .user = &h};
        assert_int_equal(qm_answer_open(&a, &o, NULL), 0);
        int rc = qm_answer_push(a, text, sizeof text - 1);
        if (!rc) rc = qm_answer_end(a);
        assert_int_equal(rc, stop <= 6 ? 7 : 0);
        assert_int_equal(h.pieces, stop <= 6 ? stop : 6);
        assert_int_equal(qm_answer_push(a, "d", 1), rc);
        assert_int_equal(qm_answer_end(a), rc);
        assert_int_equal(h.pieces, stop <= 6 ? stop : 6);
        qm_answer_close(a);
        free(h.s);
    }
    free(all.s);
}

/* Which of several stop strings ended it, whatever the cut; what comes after it is dropped. */
static void test_stop_strings(void **state) {
    (void)state;
    static const char *const stop[] = {"", "nd th", "d the en", "end", "\xc3\xa9t\xc3\xa9", "zzz", "yy end", "nanab"};
    static const struct {
        const char *text, *parts, *stopped;
    } cases[] = {
        {"and the end", T "a", "nd th"},
        {"an end", T "an ", "end"},
        {"l'\xc3\xa9t\xc3\xa9.", T "l'", "\xc3\xa9t\xc3\xa9"},
        {"l'\xc3\xa9tage", T "l'\xc3\xa9tage", NULL},
        {"zzended", T "zz", "end"},
        {"z zz zzzz", T "z zz ", "zzz"},
        {"yy end", "", "yy end"},
        {"nananab!", T "na", "nanab"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 1; k <= strlen(cases[i].text); k++) {
            heard h = {0};
            put(&h, "", 0);
            qm_answer *a;
            qm_answer_opts o = {.stop = stop, .n_stop = sizeof stop / sizeof *stop, .out = on_part, .user = &h};
            assert_int_equal(qm_answer_open(&a, &o, NULL), 0);
            int rc = 0;
            for (size_t at = 0, n = strlen(cases[i].text); at < n; at += k)
                rc = qm_answer_push(a, cases[i].text + at, k < n - at ? k : n - at);
            assert_int_equal(rc, cases[i].stopped != NULL);
            assert_int_equal(qm_answer_end(a), rc);
            assert_string_equal(h.s, cases[i].parts);
            if (rc) assert_string_equal(qm_answer_stopped(a), cases[i].stopped);
            else assert_null(qm_answer_stopped(a));
            qm_answer_close(a);
            free(h.s);
        }
}

static void test_bad_tools(void **state) {
    (void)state;
    static const struct {
        const char *tools, *says;
    } bad[] = {
        {"", "tools: line 1"},
        {"{}", "tools: not an array"},
        {"[1]", "tools[0]: no function with a name"},
        {"[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}, {\"type\": \"x\"}]", "tools[1]: no function"},
        {"[{\"function\": {\"name\": \"\"}}]", "tools[0]: no function"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qm_answer *a;
        qm_err e = {0};
        qm_answer_opts o = {.tools = bad[i].tools, .out = on_part};
        assert_int_equal(qm_answer_open(&a, &o, &e), QM_ERR_ARG);
        assert_null(a);
        assert_non_null(strstr(e.msg, bad[i].says));
    }
}

/* head, then unit over and over, n bytes: the seconds that it takes a byte at a time. What comes is what comes at once. */
static double take_long(const char *head, const char *unit, size_t n) {
    /* a stop string that a run of < holds back, all but the newest */
    const answer_case c = {.stop = "<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<x"};
    const size_t k = strlen(unit);
    size_t at = strlen(head);
    char *text = malloc(n + k);
    assert_non_null(text);
    memcpy(text, head, at);
    for (; at < n; at += k) memcpy(text + at, unit, k);
    heard once = hear(&c, text, n, n, n, 0);
    clock_t from = clock();
    heard each = hear(&c, text, n, 1, 1, 0);
    const double took = (double)(clock() - from) / CLOCKS_PER_SEC;
    assert_int_equal(once.n, each.n);
    assert_memory_equal(once.s, each.s, once.n);
    assert_true(once.n > n / 2);
    free(once.s);
    free(each.s);
    free(text);
    return took;
}

/* Texts that are all beginnings take time in proportion: 4 times as long, 4 times the time. Were all looked at again with
 * each byte, it would be 16 times. */
static void test_long_texts(void **state) {
    (void)state;
    static const char *const unit[] = {"<tool_call>", "\n",    "</parameter>\n", "\n<parameter=",   "<",
                                       "{",           "\\u12", "[[\"",           "\n</function>\n", "<parameter "};
    static const char *const head[] = {
        "", "<tool_call>\n<function=f>\n<parameter=s>\n", "<tool_call>\n<function=f>\n<parameter=o>\n",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"", "<tool_call>{\"arguments\": {\"s\": \""};
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++)
        for (size_t k = 0; k < sizeof head / sizeof *head; k++) {
            double ratio = 99;
            for (int again = 0; again < 5 && ratio > 9; again++) {
                const double little = take_long(head[k], unit[i], 30000), much = take_long(head[k], unit[i], 120000);
                ratio = much < 0.02 ? 0 : much / little;
            }
            if (ratio > 9) fail_msg("%s, then %s: 4 times as long takes %.1f times as much", head[k], unit[i], ratio);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),         cmocka_unit_test(test_generated),  cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_nothing_waits), cmocka_unit_test(test_out_stops),  cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_bad_tools),     cmocka_unit_test(test_long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
