/* unit_gates_text.c: the parity gates (gates.h) on 2,048 tokens of text, taken as perplexity takes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gates.h"

static const gates_subject text = {"text", 1, 0, NULL};
static void test_kl_text(void **state) {
    (void)state;
    gates_parity(&text, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kl_text)};
    return cmocka_run_group_tests_name("gates_text", tests, NULL, gates_clean);
}
