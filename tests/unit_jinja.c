/* unit_jinja.c: the template engine against what Python's jinja2 rendered (tests/golden/jinja, written by
 * tools/jinja_fixtures.py), its limits, the origin of every byte, and what that means for token ids.
 * QMOE_JINJA_FIXTURES names a further file of cases, such as one with Qwen's own templates. */
#include "runtime/file/jinja.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct tm noon = {.tm_year = 124, .tm_mon = 1, .tm_mday = 9, .tm_hour = 13, .tm_min = 5, .tm_sec = 7, .tm_wday = 5, .tm_yday = 39};

static void show(const char *what, const char *s, size_t n) {
    print_error("  %s: ", what);
    for (size_t i = 0; i < n && i < 1500; i++) print_error((uint8_t)s[i] < 32 || s[i] == 127 ? "\\x%02x" : "%c", (uint8_t)s[i]);
    print_error("\n");
}

/* 1 when a case comes out as it must. */
static int one_case(json_t *c, json_t *data, json_t *templates) {
    json_t *text = json_object_get(c, "template"), *want = json_object_get(c, "want");
    const char *error = json_string_value(json_object_get(c, "error")), *name = json_string_value(json_object_get(c, "name"));
    if (templates) text = json_object_get(templates, json_string_value(text));
    if (!data) data = json_object_get(c, "data");
    assert_non_null(text);
    assert_true((want != NULL) != (error != NULL));
    qm_template *t = NULL;
    qm_rendered r = {0};
    qm_err e = {0};
    int ok = 0, at = 0, rc = qm_template_compile(&t, json_string_value(text), json_string_length(text), &e);
    if (!rc) at = 1, rc = qm_template_render(t, &(qm_template_vars){.data = data, .now = &noon}, &r, &e);
    if (want && !rc) ok = r.n == json_string_length(want) && !memcmp(r.text, json_string_value(want), r.n);
    else if (error) ok = rc != 0 && !strncmp(e.msg, "template, line ", 15);
    if (!ok) {
        print_error("case %s\n", name);
        if (want) show("want", json_string_value(want), json_string_length(want));
        else print_error("  want: an error (%s)\n", error);
        if (rc) print_error("  got:  %s: %s\n", at ? "render" : "compile", e.msg);
        else show("got ", r.text, r.n);
    }
    qm_rendered_free(&r);
    qm_template_free(t);
    return ok;
}
static void file_of_cases(const char *path, size_t at_least) {
    json_error_t je;
    json_t *f = json_load_file(path, JSON_ALLOW_NUL, &je), *c;
    if (!f) fail_msg("%s: %s", path, je.text);
    size_t i, bad = 0, n = json_array_size(json_object_get(f, "cases"));
    json_array_foreach(json_object_get(f, "cases"), i, c) bad += !one_case(c, json_object_get(f, "data"), json_object_get(f, "templates"));
    json_decref(f);
    if (bad || n < at_least) fail_msg("%s: %zu of %zu cases differ", path, bad, n);
    print_message("%s: %zu cases\n", path, n);
}
static void small_cases(void **state) { (void)state; file_of_cases("tests/golden/jinja/small.json", 600); }
static void conversations(void **state) { (void)state; file_of_cases("tests/golden/jinja/chat.json", 100); }
static void other_fixtures(void **state) {
    (void)state;
    const char *path = getenv("QMOE_JINJA_FIXTURES");
    if (!path) skip();
    file_of_cases(path, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(small_cases), cmocka_unit_test(conversations), cmocka_unit_test(other_fixtures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
