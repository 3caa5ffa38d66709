/* check.h: the harness of the kernel checks (in the spirit of dav1d's checkasm): the same seeded random
 * inputs go to a kernel on the device and to its C reference, and the outputs are compared.
 *
 *   static void check_foo(void **state) {
 *       chk_begin("foo n=%u", n);
 *       float *x = chk_normal(n, 1.0f);
 *       qm_foo_args a = {.x = chk_in("x", x, n * 4), .y = chk_out("y", n * 4), .n = n}, r;
 *       chk_launch(chk_kernel(QM_OP_FOO, -1, 0), 1, 1, 1, 256, 0, &a);
 *       chk_ref_args(QM_OP_FOO, &r, &a);
 *       qm_ref_foo(&r, &env);
 *       chk_f32(a.y, n, tolerance);
 *       chk_end();
 *   }
 *   int main(void) { const struct CMUnitTest t[] = {cmocka_unit_test(check_foo)}; return chk_main(t); }
 *
 * Environment: QMOE_TEST_DEVICE (default "sim"), QMOE_TEST_SEED (default 1; of counted cases always 1), QMOE_SIM_SEED (the software
 * device's schedule), QMOE_TEST_VERBOSE=1 (prints each comparison's error and the counters).
 * Every function here fails the running cmocka test on error; a case left by a failure is cleaned up
 * by the next chk_begin. Buffers live on the device with a host twin that the reference works on. */
#ifndef QM_CHECK_H
#define QM_CHECK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/device/kernels.h"
#include "../../runtime/sim/sim.h"
#include "../../kernels/ref/ref.h"

/* cmocka group fixtures: open the device and its kernels, print device and seed. */
int chk_group_setup(void **state);
int chk_group_teardown(void **state);
#define chk_main(tests) cmocka_run_group_tests(tests, chk_group_setup, chk_group_teardown)

qm_device *chk_device(void);
int chk_verbose(void);
qm_rng *chk_rng(void);                     /* of the current case: a function of the seed and the case's name */
void chk_shuffle(uint32_t *v, uint32_t n); /* v [n] = 0 .. n - 1 in random order */

/* A case: its name stands in every message. */
void chk_begin(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* As chk_begin, with the software device's race and uninitialised-read checks on (elsewhere the same as
 * chk_begin). Buffers then have their exact size, so that the device's own bounds check sees the first
 * byte past the end, and outputs are left unwritten instead of poisoned. Slow: small shapes only. */
void chk_begin_checked(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Verifies the guard bands and that no input has changed; frees the case's buffers. */
void chk_end(void);

/* Device buffers, 256-byte aligned, between guard bands. Return the device address. */
uint64_t chk_in(const char *name, const void *data, size_t bytes);
uint64_t chk_out(const char *name, size_t bytes); /* filled with 0xff: NaN, id 0xffffffff */
uint64_t chk_inout(const char *name, const void *data, size_t bytes);
/* An input whose form differs on the two sides (packed weights and raw rows). */
uint64_t chk_in2(const char *name, const void *dev, size_t dev_bytes, const void *ref, size_t ref_bytes);
/* New contents for a buffer (both sides), e.g. before a second launch. */
void chk_write(uint64_t d, const void *data, size_t bytes);
/* Host twin of a device address inside a buffer (what the reference reads and writes). 0 -> 0. */
void *chk_twin(uint64_t d);
/* dst = src, arguments of an op of that kind, with its operands' device addresses replaced by their host twins. Operands
 * alone: a scalar, or two, or one and the padding beside it, can look like an address. */
void chk_ref_args(qm_op_kind op, void *dst, const void *src);
/* The device's contents of the buffer that starts at d; valid until chk_end or the next chk_get of it. */
const void *chk_get(uint64_t d);

/* Scratch freed by chk_end. */
void *chk_tmp(size_t bytes);
float *chk_normal(size_t n, float scale); /* near-normal values */

int chk_kernel(qm_op_kind op, int wtype, int head_dim);   /* table index */
int chk_kernel_kv(qm_op_kind op, int kv, int head_dim);   /* of an op that touches the cache */
int chk_kernel_rows(qm_op_kind op, int wtype, int width); /* of a product of many rows */
double chk_tolerance(int kernel);
void chk_launch(int kernel, unsigned gx, unsigned gy, unsigned gz, unsigned block, unsigned shared,
                const void *args); /* and waits */

/* Device contents of buffer d against its twin. chk_f32: ||got - ref|| <= tol * ||ref|| (L2 norms over the
 * n values); non-finite values must agree exactly in kind and place. tol 0: equal as floats. */
void chk_f32(uint64_t d, size_t n, double tol);
void chk_f32_part(uint64_t d, size_t first, size_t n, double tol);
void chk_bytes(uint64_t d, size_t bytes);       /* bit for bit */
void chk_u32(uint64_t d, size_t n);             /* likewise, reported as integers */
void chk_f16(uint64_t d, size_t n, double tol); /* as chk_f32 plus one f16 ulp at each element */
/* n bytes of the output at d, from `first` on, are as they were before: nobody has written them. */
void chk_untouched(uint64_t d, size_t first, size_t n);
/* q16a vector of n values: each within tol * ||ref|| plus one quantisation step of the reference's. With
 * y != 0 (the same vector as f32, written by the same launch) the bytes must be those of
 * qm_q16a_quantize(y). */
void chk_q16a(uint64_t d, uint64_t y, size_t n, double tol);

/* Fails the test with the case's name and seed before the message. */
void chk_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Counters of one kernel entry since chk_begin_counted; 0 when the device has none (a real GPU). */
void chk_begin_counted(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int chk_counters(int kernel, qm_sim_counters *c);
#endif
