/* unit_think: <think> ... </think> at the beginning of an answer, wherever the stream is cut into pieces. */
#include "runtime/qmoe_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
    char thought[128], said[128], tags[128];
    size_t n[3], calls, stop_at;
} heard;

static int on_piece(void *user, qm_think_kind kind, const char *s, size_t n) {
    heard *h = user;
    char *const to[] = {h->said, h->thought, h->tags};
    assert_true(n > 0);
    memcpy(to[kind] + h->n[kind], s, n);
    h->n[kind] += n;
    return ++h->calls == h->stop_at;
}

static const struct {
    int inside;
    const char *text, *tags, *thought, *said;
} cases[] = {
    {0, "", "", "", ""},
    {0, "Plain.", "", "", "Plain."},
    {0, "<think>\nHm.\n</think>\n\nYes.", "<think></think>", "\nHm.\n", "\n\nYes."},
    {0, "\n \t<think>a</think>b", "\n \t<think></think>", "a", "b"},
    {0, "<think></think>", "<think></think>", "", ""},
    {0, "<think>never closed </thin", "<think>", "never closed </thin", ""},
    {0, "<think>1 < 2 <</think></think>b", "<think></think>", "1 < 2 <", "</think>b"},
    {0, "<think><</<</think>b", "<think></think>", "<</<", "b"},
    {0, "<thin", "", "", "<thin"},
    {0, "<thinking>x", "", "", "<thinking>x"},
    {0, "  \n ", "", "", "  \n "},
    {0, "                                        <think>far", "", "",
     "                                        <think>far"},
    {0, "The tag <think> is </think> said.", "", "", "The tag <think> is </think> said."},
    {0, "<think>a</think>b<think>c</think>", "<think></think>", "a", "b<think>c</think>"},
    {1, "Hm.</think>Yes.", "</think>", "Hm.", "Yes."},
    {1, "no end", "", "no end", ""},
    {1, "</think>Yes.", "</think>", "", "Yes."},
    {1, "\n\n</think>Yes.", "</think>", "\n\n", "Yes."},
    {1, "\n<think>\nHm.</think>Yes.", "\n<think></think>", "\nHm.", "Yes."},
    {1, "<thin</think>Yes.", "</think>", "<thin", "Yes."},
    {1, "                                        </think>b", "</think>", "                                        ",
     "b"},
    {1, "Hm. <think> is a tag.</think>b", "</think>", "Hm. <think> is a tag.", "b"},
    {1, " <thi", "", " <thi", ""},
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
            assert_string_equal(h.tags, cases[i].tags);
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
