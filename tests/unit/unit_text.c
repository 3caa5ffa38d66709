/* Text of unknown bytes, for a terminal and for JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/err.h"
#include "../../runtime/base/json.h"
#include "../../runtime/base/log.h"
#include "../../runtime/base/print.h"
#include "../../runtime/base/text.h"

static const char *shown(const char *s, size_t n) {
    static char out[512];
    return qm_text_show(out, sizeof out, s, n);
}
#define SHOWN(s) shown(s, sizeof(s) - 1)

static void terminals_are_not_steered(void **state) {
    (void)state;
    assert_string_equal(SHOWN("plain text, ¡Hola! 日本 \\ 'x'"), "plain text, ¡Hola! 日本 \\ 'x'");
    assert_string_equal(SHOWN("\033]0;title\007\r\n\t\177"), "\\x1b]0;title\\x07\\r\\n\\t\\x7f");
    assert_string_equal(SHOWN("a\0b"), "a\\x00b");
    assert_string_equal(SHOWN("\xc2\x9b[31m \xc2\x80 \xc2\x9f \xc2\xa0"), "\\u009b[31m \\u0080 \\u009f \xc2\xa0");
    assert_string_equal(SHOWN("\xe2\x80\xa8 \xe2\x80\xae \xe2\x81\xa6"), "\\u2028 \\u202e \\u2066");
    assert_string_equal(SHOWN("\x9b"
                              "31m caf\xe9 \xed\xa0\x80 \xf0\x9f"),
                        "\\x9b31m caf\\xe9 \\xed\\xa0\\x80 \\xf0\\x9f");
    /* what was shown is shown as it is */
    char once[64];
    qm_text_show(once, sizeof once, "\033\xc2\x9b\xff", 4);
    assert_string_equal(shown(once, strlen(once)), once);
}

/* Every length of buffer: it ends in NUL, within it, and never inside a character or an escape. */
static void what_is_too_long_ends_in_dots(void **state) {
    (void)state;
    static const char text[] = "ab\033日本\xc2\x9b語xyz\n123";
    char full[128];
    qm_text_show(full, sizeof full, text, sizeof text - 1);
    for (size_t cap = 16; cap <= sizeof full; cap++) {
        char out[160];
        memset(out, 'X', sizeof out);
        qm_text_show(out, cap, text, sizeof text - 1);
        size_t n = strlen(out), k = 0;
        assert_true(n < cap);
        for (size_t i = cap; i < sizeof out; i++) assert_int_equal(out[i], 'X');
        if (strlen(full) < cap) {
            assert_string_equal(out, full);
            continue;
        }
        assert_string_equal(out + n - 3, "...");
        assert_memory_equal(out, full, n - 3);
        free(qm_text_utf8(out, n, &k));
        assert_int_equal(k, n); /* whole characters: nothing had to be repaired */
        assert_true(out[n - 4] != '\\' && n + 10 > cap);
    }
}

static void cuts_fall_between_characters(void **state) {
    (void)state;
    static const char text[] = "aé日😀z"; /* 1 + 2 + 3 + 4 + 1 bytes */
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_int_equal(qm_text_cut(text, 11, i), want[i]);
    assert_int_equal(qm_text_cut("\x80\x80\x80\x80\x80\x80", 6, 5), 5); /* no character: anywhere */
}

static void json_takes_any_bytes(void **state) {
    (void)state;
    static const struct {
        const char *s, *want;
    } cases[] = {{"caf\xe9!", "caf\xef\xbf\xbd!"},         {"\xe6\x97", "\xef\xbf\xbd"},
                 {"a\xf0\x9f\x98", "a\xef\xbf\xbd"},       {"", ""},
                 {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"}, {"\xc2\x9b\033", "\xc2\x9b\033"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = qm_json_str(cases[i].s);
        assert_non_null(j);
        assert_string_equal(json_string_value(j), cases[i].want);
        json_decref(j);
    }
    for (int c = 0; c < 65536; c++) { /* any two bytes */
        char two[2] = {(char)(c >> 8), (char)c};
        json_t *j = qm_json_text(two, 2);
        assert_non_null(j);
        json_decref(j);
    }
    json_t *o = json_object();
    static const char *const keys[] = {"k\xff", "k\xfe", "k\xef\xbf\xbd", "k"};
    for (int i = 0; i < 4; i++) assert_int_equal(qm_json_put(o, keys[i], strlen(keys[i]), json_integer(i)), 0);
    assert_int_equal(json_object_size(o), 4);
    assert_int_equal(json_integer_value(json_object_get(o, "k\xef\xbf\xbd (3)")), 2);
    json_decref(o);
    json_t *nan = qm_json_number(0.0 / strtod("0", NULL));
    assert_true(json_is_null(nan));
    json_decref(nan);
}

static char last[1100];
static void keep(void *user, int level, const char *line) {
    (void)user;
    (void)level;
    snprintf(last, sizeof last, "%s", line);
}

static void messages_are_one_line(void **state) {
    (void)state;
    qm_err e;
    char longer[900];
    qm_fail(&e, QM_ERR_IO, "%s: no\nsuch", "\033[2J/x\xff");
    assert_string_equal(e.msg, "\\x1b[2J/x\\xff: no\\nsuch");
    qm_err_prefix(&e, "up\n");
    assert_string_equal(e.msg, "up\\n: \\x1b[2J/x\\xff: no\\nsuch");
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    qm_fail(&e, QM_ERR_IO, "%s", longer);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_string_equal(e.msg + sizeof e.msg - 4, "...");
    qm_log_set(keep, NULL);
    qm_log(QM_LOG_WARN, "%s", "name \033]52;c;eA==\007\n");
    qm_log_set(NULL, NULL);
    assert_string_equal(last, "name \\x1b]52;c;eA==\\x07\\n");
}

static int take(void *user, const char *s, size_t n) {
    char *all = user;
    if (strlen(all) + n >= 20000) return 1; /* no more */
    strncat(all, s, n);
    return 0;
}

/* Pieces of any length are whole, and after the writer has had enough nothing comes. */
static void pieces_are_whole(void **state) {
    (void)state;
    static char all[30000], longer[9000];
    qm_printer p = {take, all, 0};
    qm_err e = {0};
    memset(longer, 'x', sizeof longer - 1);
    for (size_t n = 1020; n <= 1030; n++) {
        all[0] = 0;
        qm_print(&p, "%.*s|%d", (int)n, longer, 7);
        assert_int_equal(strlen(all), n + 2);
        assert_string_equal(all + n, "|7");
    }
    all[0] = 0;
    qm_print(&p, "%s%s", longer, "!");
    assert_int_equal(strlen(all), sizeof longer);
    qm_print_bytes(&p, "ab", 1);
    assert_int_equal(qm_print_end(&p, &e), 0);
    qm_print(&p, "%s%s", longer, longer);
    assert_int_equal(p.stopped, 1);
    qm_print(&p, "more");
    assert_int_equal(strlen(all), sizeof longer + 1);
    assert_int_equal(qm_print_end(&p, &e), QM_ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terminals_are_not_steered),    cmocka_unit_test(what_is_too_long_ends_in_dots),
        cmocka_unit_test(cuts_fall_between_characters), cmocka_unit_test(json_takes_any_bytes),
        cmocka_unit_test(messages_are_one_line),        cmocka_unit_test(pieces_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
