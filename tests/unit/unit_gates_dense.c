/* unit_gates_dense.c: the parity gates (gates.h) on a small Qwen3 without experts: against transformers, against llama.cpp on
 * the same weights in F32 and on the file. The faults that its gates refuse are in unit_hf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gates.h"

static void test_parity_dense(void **state) {
    (void)state;
    gates_parity(&(gates_subject){"dense", 0, 4, "tiny-dense"}, 192);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parity_dense)};
    return cmocka_run_group_tests_name("gates_dense", tests, NULL, gates_clean);
}
