/* unit_gates.c: the parity gates (gates.h) on the small model of random weights, and the faults against them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gates.h"

static const gates_subject tiny = {"tiny", 0, 8, NULL};
static void test_parity_tiny(void **state) {
    (void)state;
    gates_parity(&tiny, 480);
}
static void test_tiny_rejects(void **state) {
    (void)state;
    gates_reject(&tiny, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parity_tiny), cmocka_unit_test(test_tiny_rejects)};
    return cmocka_run_group_tests_name("gates", tests, NULL, gates_clean);
}
