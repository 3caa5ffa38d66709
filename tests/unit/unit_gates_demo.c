/* unit_gates_demo.c: the parity gates (gates.h) on chats with the demo model, and the faults against them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gates.h"

static const gates_subject demo = {"demo", 1, 8, NULL};
static void test_parity_demo(void **state) {
    (void)state;
    gates_parity(&demo, 480);
}
static void test_demo_rejects(void **state) {
    (void)state;
    gates_reject(&demo, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parity_demo), cmocka_unit_test(test_demo_rejects)};
    return cmocka_run_group_tests_name("gates_demo", tests, NULL, gates_clean);
}
