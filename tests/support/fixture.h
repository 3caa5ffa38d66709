/* fixture.h: small synthetic models for tests that need a whole engine. */
#ifndef QM_FIXTURE_H
#define QM_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../../runtime/engine/inside_means.h"
#include "../../runtime/engine/session.h"
#include "../../runtime/qmoe_tools.h"

/* A model file of this test program, written on first use and removed at exit:
 *   "small"  4 layers, 256 wide, 8/2 heads of 128, 8 of 32 experts of 256, Q4_K/Q6_K as in Q4_K_M, ctx 512
 *   "f16", "q8_0", "q5_k" ...  2 layers of the same, one type for all matrices
 *   "dense", "dense_f16", "dense_q8_0" ...  Qwen3 without experts: the same with one network of 512, tied embeddings
 *   "f32h"  2 layers of the same, with routers that loading makes F32H
 *   "long_ctx"  "small" with ctx 4096
 *   "huge_ctx"  a context no device has memory for */
const char *fix_model(const char *kind);
/* Fails the test with the error's message. */
void fix_ok(int rc, const qm_err *e);
/* executor: "graph" on QMOE_TEST_DEVICE (default sim), or "ref". */
qm_engine *fix_engine(const char *kind, const char *executor);
/* With some ops kept apart (qm_engine_opts). */
qm_engine *fix_engine_apart(const char *kind, const char *executor, const char *apart);
/* The region of a weight by its name ("attn_norm"); layer -1: outside the layers. */
int fix_region(const qm_engine *g, int layer, const char *name);
/* n token ids from a seed, none of them control tokens. */
void fix_prompt(const qm_engine *g, uint32_t *ids, size_t n, uint64_t seed);
/* Of a session that holds the tokens before `from`: hash [n], the hashes of the logits at from .. n - 1 of ids [n], `chunk` rows a step. */
void fix_hashes(uint64_t *hash, qm_session *s, const uint32_t *ids, uint32_t from, uint32_t n, uint32_t chunk);
/* The address behind a reference of one of the engine's plans, for a session. */
uint64_t fix_address(qm_session *s, const qm_plan *p, qm_ref r);
/* A qm_write_fn that appends to a fix_text, whose s ends in a NUL and is the caller's to free. */
typedef struct {
    char *s;
    size_t n;
} fix_text;
int fix_collect(void *user, const char *s, size_t n);
int fix_lines(const char *s); /* that end in a line feed */
/* Cosine of two vectors; relative L2 distance of a to b. */
double fix_cosine(const float *a, const float *b, size_t n);
double fix_rel_l2(const float *a, const float *b, size_t n);
#endif
