/* unit_apart: a step of one row computes in one op what several can compute (contracts/apart.def), and nobody can tell from the
 * logits: for every set of what is kept apart, every weight type, mixed types and biases, networks without experts, and more
 * experts than a warp has places for, the same bits, as a graph and in the persistent kernel. And what is fused is fused: the plans have
 * fewer ops. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"

enum { VOCAB = 512, STEPS = 3, SETS = 1 << QM_N_APART };
static const uint32_t tokens[STEPS] = {5, 300, 17};

static const char *words_of(uint32_t set, char to[64]) {
    static const char *const word[] = {
#define QM_APART(word, WORD, text) #word,
#include "../../contracts/apart.def"
#undef QM_APART
    };
    to[0] = 0;
    for (int i = 0; i < QM_N_APART; i++)
        if (set >> i & 1) strcat(strcat(to, *to ? "," : ""), word[i]);
    return to;
}

static qm_engine *open_apart(const char *path, const char *executor, uint32_t set) {
    char words[64];
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {
        .device = dev ? dev : "sim", .executor = executor, .n_ctx = 320, .n_ubatch = 1, .apart = words_of(set, words)};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    assert_int_equal(g->limits.apart, set);
    return g;
}

/* logits [STEPS, VOCAB] behind 290 positions: two spans of attention. */
static void logits_of(const char *path, const char *executor, uint32_t set, float *to) {
    qm_engine *g = open_apart(path, executor, set);
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_inside_fill(s, 290, 5, &e), &e);
    for (int i = 0; i < STEPS; i++) {
        fix_ok(qm_session_eval(s, tokens[i], &e), &e);
        fix_ok(qm_session_logits(s, to + (size_t)i * VOCAB, &e), &e);
    }
    qm_session_close(s);
    qm_engine_close(g);
}

/* As a graph every set; in the persistent kernel likewise, or (ENDS) none and all. */
enum { ENDS, EVERY };
static void same(const char *path, const char *name, int resident) {
    static float want[STEPS * VOCAB], got[STEPS * VOCAB];
    char words[64];
    logits_of(path, "graph", SETS - 1, want);
    for (int x = 0; x < 2; x++)
        for (uint32_t set = 0; set < SETS; set++) {
            const char *executor = x ? "persistent" : "graph";
            if (x && resident == ENDS && set && set != SETS - 1) continue;
            logits_of(path, executor, set, got);
            if (memcmp(want, got, sizeof want))
                fail_msg("%s, %s: --apart '%s' has other bits", name, executor, words_of(set, words));
        }
}

static void test_types(void **state) {
    static const char *const types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, ...) #word,
#include "../../contracts/streams.def"
#undef QM_STREAM
    };
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) same(fix_model(types[i]), types[i], ENDS);
    same(fix_model("small"), "small", EVERY);
    same(fix_model("dense"), "dense", ENDS);
}

/* A model of its own; types NULL: the preset's. */
static void synth(const qm_synth_opts *o, const char *name) {
    char path[300];
    qm_err e;
    const char *dir = getenv("QMOE_TEST_TMP");
    snprintf(path, sizeof path, "%s/qmoe-%ld-apart.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, o, &e), &e);
    same(path, name, ENDS);
    unlink(path);
}

static void test_shapes(void **state) {
    (void)state;
    /* parts of K, several segments an expert, and more tiles than a CTA has */
    synth(&(qm_synth_opts){.preset = "tiny",
                           .seed = 3,
                           .n_layers = 2,
                           .n_embd = 2048,
                           .n_expert = 8,
                           .n_expert_used = 3,
                           .n_ff_exp = 1536,
                           .n_vocab = VOCAB,
                           .n_ctx = 320},
          "wide");
    /* as many experts as there may be, more than a warp has lanes and than a CTA has groups */
    synth(&(qm_synth_opts){.preset = "tiny",
                           .seed = 4,
                           .n_layers = 1,
                           .n_embd = 256,
                           .n_expert = 512,
                           .n_expert_used = 32,
                           .n_ff_exp = 256,
                           .n_vocab = VOCAB,
                           .n_ctx = 320},
          "many experts");
    synth(&(qm_synth_opts){.preset = "tiny",
                           .seed = 5,
                           .n_layers = 1,
                           .n_expert = 1,
                           .n_expert_used = 1,
                           .n_vocab = VOCAB,
                           .n_ctx = 320},
          "one expert");
}

/* What there is of a kind of op in a step. */
static int n_of(const qm_plan *p, qm_op_kind kind) {
    int n = 0;
    for (int i = 0; i < p->n_ops; i++) n += p->ops[i].kind == kind;
    return n;
}

/* down: each layer's experts are added to the stream where they are computed; no norm has parts of theirs to add. */
static void test_down(void **state) {
    (void)state;
    for (uint32_t set = 0; set < SETS; set++) {
        qm_engine *g = open_apart(fix_model("small"), "graph", set);
        const qm_plan *p = g->plans[0];
        for (int i = 1; i < g->n_plans && !p->shape.outs; i++) p = g->plans[i];
        const int layers = (int)g->model->hp.n_layers, apart = (set & QM_APART_DOWN) != 0;
        assert_int_equal(n_of(p, QM_OP_MOE_DOWN), apart ? 0 : layers);
        assert_int_equal(n_of(p, QM_OP_MOE_MATVEC), apart ? layers : 0);
        for (int i = 0; i < p->n_ops; i++)
            if (p->ops[i].kind == QM_OP_RMSNORM && !strcmp(p->ops[i].slot, "output_norm"))
                assert_int_equal(p->ops[i].args.rmsnorm.n_partials, apart ? g->model->hp.n_used : 0);
        qm_engine_close(g);
    }
}

/* topk: no op of its own chooses experts; where gate and up are two products, one has to. */
static void test_topk(void **state) {
    (void)state;
    for (uint32_t set = 0; set < SETS; set++) {
        qm_engine *g = open_apart(fix_model("small"), "graph", set);
        const qm_plan *p = g->plans[0];
        const int layers = (int)g->model->hp.n_layers, apart = (set & QM_APART_TOPK) != 0;
        assert_int_equal(n_of(p, QM_OP_ROUTER), apart ? layers : 0);
        for (int i = 0; i < p->n_ops; i++)
            if (p->ops[i].kind == QM_OP_MOE_UP) assert_true(!p->ops[i].args.moe_up.ids == !apart);
        qm_engine_close(g);
    }
}

static int n_waits(const qm_plan *p) {
    int n = 0;
    for (int i = 0; i < p->n_ops; i++) n += p->ops[i].waits;
    return n;
}

/* norm: the head's is the only one that is an op of its own, but for those that have partial sums to add; and each that is not
 * there is a wait less. */
static void test_norm(void **state) {
    (void)state;
    static const char *const files[] = {"small", "dense"};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        for (uint32_t set = 0; set < SETS; set++) {
            if (set & QM_APART_NORM) continue;
            qm_engine *g = open_apart(fix_model(files[f]), "graph", set),
                      *apart = open_apart(fix_model(files[f]), "graph", set | QM_APART_NORM);
            const int layers = (int)g->model->hp.n_layers, dense = !g->model->hp.n_expert;
            const int of_down = dense || !(set & QM_APART_DOWN) ? 0 : layers - 1;
            for (int i = 0; i < g->n_plans; i++) {
                const qm_plan *p = g->plans[i], *q = apart->plans[i];
                const int last = !p->shape.outs, own = n_of(p, QM_OP_RMSNORM);
                assert_int_equal(own, of_down + !last);
                assert_int_equal(n_of(q, QM_OP_RMSNORM), 2 * layers - last + !last);
                assert_int_equal(n_waits(q) - n_waits(p), n_of(q, QM_OP_RMSNORM) - own);
                for (int k = 0; k < p->n_ops; k++)
                    if (!strcmp(p->ops[k].slot, "attn_out")) assert_true(p->ops[k].args.matvec.add != 0);
            }
            qm_engine_close(g);
            qm_engine_close(apart);
        }
}

/* How many times a layer waits for all that came before: six of one step where nothing is apart, eleven where all is. */
static void test_waits(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        qm_engine *g = open_apart(fix_model("small"), "graph", i ? SETS - 1 : 0);
        const qm_plan *p = g->plans[0];
        for (int l = 0; l + 1 < (int)g->model->hp.n_layers; l++) {
            int n = 0;
            for (int k = 0; k < p->n_ops; k++) n += p->ops[k].layer == l && p->ops[k].waits;
            assert_int_equal(n, i ? 11 : 6);
        }
        qm_engine_close(g);
    }
}

/* attn: one op a layer for three; where a step ends with the cache complete, its last layer has qkrope alone. */
static void test_attn(void **state) {
    (void)state;
    for (uint32_t set = 0; set < SETS; set++) {
        if (set & QM_APART_ATTN) continue;
        qm_engine *g = open_apart(fix_model("small"), "graph", set),
                  *apart = open_apart(fix_model("small"), "graph", set | QM_APART_ATTN);
        const int layers = (int)g->model->hp.n_layers;
        for (int i = 0; i < g->n_plans; i++) {
            const qm_plan *p = g->plans[i], *q = apart->plans[i];
            const int last = !p->shape.outs;
            assert_int_equal(n_of(p, QM_OP_ATTN_DECODE), layers - last);
            assert_int_equal(n_of(p, QM_OP_QKROPE), last);
            assert_int_equal(n_of(p, QM_OP_ATTN) + n_of(p, QM_OP_COMBINE), 0);
            assert_int_equal(n_of(q, QM_OP_ATTN_DECODE), 0);
            assert_int_equal(n_of(q, QM_OP_QKROPE), layers);
            assert_int_equal(n_waits(q) - n_waits(p), 2 * (layers - last));
        }
        qm_engine_close(g);
        qm_engine_close(apart);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_down),  cmocka_unit_test(test_topk),
                                       cmocka_unit_test(test_waits), cmocka_unit_test(test_norm),
                                       cmocka_unit_test(test_attn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
