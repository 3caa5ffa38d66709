/* qm_doctor: the report is whole, whatever is missing, and its two views say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/qmoe_tools.h"

typedef struct {
    char text[32768];
    size_t n;
    int stop_after;
} sink;

static int take(void *user, const char *s, size_t n) {
    sink *k = user;
    if (k->stop_after && k->stop_after-- == 1) return 1;
    if (n > sizeof k->text - 1 - k->n) return 1;
    memcpy(k->text + k->n, s, n);
    k->text[k->n += n] = 0;
    return 0;
}

static const char *field(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    if (!s) fail_msg("the report has no text \"%s\"", key);
    return s;
}

static void bare_machine(void **state) {
    (void)state;
    static sink text, js;
    qm_err e = {0};
    memset(&text, 0, sizeof text);
    memset(&js, 0, sizeof js);
    setenv("QMOE_LIBCUDA", "/nonexistent/libcuda.so.1", 1);
    setenv("QMOE_NVRTC", "/nonexistent/libnvrtc.so", 1);
    setenv("QMOE_CACHE", "/nonexistent/cache", 1);
    assert_int_equal(qm_doctor(1, take, &js, &e), 0);
    assert_int_equal(qm_doctor(0, take, &text, &e), 0);
    json_error_t je;
    json_t *r = json_loads(js.text, JSON_REJECT_DUPLICATES, &je);
    if (!r) fail_msg("line %d: %s", je.line, je.text);
    json_t *drv = json_object_get(r, "driver"), *rtc = json_object_get(r, "nvrtc"), *sim = json_object_get(r, "sim");
    assert_string_equal(field(r, "version"), QM_VERSION);
    assert_true(json_is_false(json_object_get(drv, "found")));
    assert_non_null(strstr(field(drv, "why_not"), "/nonexistent/libcuda.so.1"));
    assert_true(json_is_false(json_object_get(rtc, "found")));
    assert_int_equal(json_array_size(json_object_get(r, "gpus")), 0);
    assert_true(json_is_true(json_object_get(sim, "works")));
    assert_true(json_integer_value(json_object_get(sim, "multiprocessors")) > 0);
    assert_string_equal(field(json_object_get(r, "auto"), "device"), "sim");
    assert_string_equal(field(json_object_get(r, "cache"), "path"), "/nonexistent/cache");
    assert_true(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_bytes")) > 0);
    /* the text has the same facts */
    assert_non_null(strstr(text.text, field(drv, "why_not")));
    assert_non_null(strstr(text.text, field(rtc, "why_not")));
    assert_non_null(strstr(text.text, field(sim, "name")));
    assert_non_null(strstr(text.text, field(json_object_get(r, "auto"), "why")));
    json_decref(r);
    unsetenv("QMOE_LIBCUDA");
    unsetenv("QMOE_NVRTC");
}

static void this_machine(void **state) {
    (void)state;
    static sink text;
    qm_err e = {0};
    memset(&text, 0, sizeof text);
    assert_int_equal(qm_doctor(0, take, &text, &e), 0);
    print_message("%s", text.text);
    static const char *const rows[] = {"host ", "memory ", "driver ", "sim ", "nvrtc ", "cache ", "auto "};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) assert_non_null(strstr(text.text, rows[i]));
}

static void writer_can_stop(void **state) {
    (void)state;
    static sink text;
    qm_err e = {0};
    memset(&text, 0, sizeof text);
    text.stop_after = 3;
    assert_int_equal(qm_doctor(0, take, &text, &e), QM_ERR_CANCELLED);
    memset(&text, 0, sizeof text);
    text.stop_after = 1;
    assert_int_equal(qm_doctor(1, take, &text, &e), QM_ERR_CANCELLED);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(bare_machine), cmocka_unit_test(this_machine),
                                   cmocka_unit_test(writer_can_stop)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
