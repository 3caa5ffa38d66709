/* unit_think: <think> ... </think> at the beginning of an answer, wherever the stream is cut into pieces. */
#include "host/think.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct {
    char thought[128], said[128];
    size_t n[2], calls, stop_at;
} heard;

static int on_piece(void *user, int thinking, const char *s, size_t n) {
    heard *h = user;
    assert_true(n > 0);
    memcpy((thinking ? h->thought : h->said) + h->n[thinking], s, n);
    h->n[thinking] += n;
    return ++h->calls == h->stop_at;
}

static const struct {
    int inside;
    const char *text, *thought, *said;
} cases[] = {
    {0, "", "", ""},
    {0, "Plain.", "", "Plain."},
    {0, "<think>\nHm.\n</think>\n\nYes.", "<think>\nHm.\n</think>", "\n\nYes."},
    {0, "\n \t<think>a</think>b", "\n \t<think>a</think>", "b"},
    {0, "<think></think>", "<think></think>", ""},
    {0, "<think>never closed </thin", "<think>never closed </thin", ""},
    {0, "<think>1 < 2 <</think></think>b", "<think>1 < 2 <</think>", "</think>b"},
    {0, "<think><</<</think>b", "<think><</<</think>", "b"},
    {0, "<thin", "", "<thin"},
    {0, "<thinking>x", "", "<thinking>x"},
    {0, "  \n ", "", "  \n "},
    {0, "                                        <think>far", "", "                                        <think>far"},
    {0, "The tag <think> is </think> said.", "", "The tag <think> is </think> said."},
    {0, "<think>a</think>b<think>c</think>", "<think>a</think>", "b<think>c</think>"},
    {1, "Hm.</think>Yes.", "Hm.</think>", "Yes."},
    {1, "no end", "no end", ""},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* By pieces of one, two ... bytes, and cut in two at every place. */
static void test_any_pieces(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        size_t n = strlen(cases[i].text);
        for (size_t k = 1; k <= 2 * n + 1; k++) {
            heard h = {0};
            qm_think t;
            qm_think_begin(&t, cases[i].inside, on_piece, &h);
            size_t step = k <= n ? k : k - n - 1; /* then: the first piece's length */
            for (size_t at = 0; at < n;) {
                size_t m = k <= n ? step : at ? n - at : step ? step : n;
                m = m < n - at ? m : n - at;
                assert_int_equal(qm_think_push(&t, cases[i].text + at, m), 0);
                at += m;
            }
            assert_int_equal(qm_think_end(&t), 0);
            assert_string_equal(h.thought, cases[i].thought);
            assert_string_equal(h.said, cases[i].said);
        }
    }
}

/* What cannot be a tag any more is not held back. */
static void test_nothing_waits(void **state) {
    (void)state;
    heard h = {0};
    qm_think t;
    qm_think_begin(&t, 0, on_piece, &h);
    qm_think_push(&t, "<th", 3);
    assert_int_equal(h.n[0] + h.n[1], 0);
    qm_think_push(&t, "e", 1);
    assert_string_equal(h.said, "<the");
    qm_think_push(&t, " <", 2);
    assert_string_equal(h.said, "<the <");
    h = (heard){0};
    qm_think_begin(&t, 1, on_piece, &h);
    qm_think_push(&t, "a</", 3);
    assert_string_equal(h.thought, "a");
    qm_think_push(&t, "b", 1);
    assert_string_equal(h.thought, "a</b");
}

static void test_stop(void **state) {
    (void)state;
    for (size_t stop = 1; stop < 5; stop++) {
        heard h = {.stop_at = stop};
        qm_think t;
        qm_think_begin(&t, 1, on_piece, &h);
        int rc = qm_think_push(&t, "ab</think>cd", 12);
        assert_int_equal(rc, 1);
        assert_int_equal(h.calls, stop);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_pieces), cmocka_unit_test(test_nothing_waits),
                                       cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
