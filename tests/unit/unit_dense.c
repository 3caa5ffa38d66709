/* unit_dense.c: families without experts, qwen3 before all, a network where Qwen3-MoE has experts: both device executors give the same bits and choose
 * as the reference does, tied embeddings or not; what its files say is obeyed or refused by name. That it computes what
 * transformers computes is in unit_hf, op by op against the references in unit_parity. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/arch/arch.h"
#include "../../runtime/plan/build.h"
#include "../../runtime/plan/ops.h"
#include "fixture.h"
#include "gguf_edit.h"

static const char *const kinds[] = {"dense"}; /* a model of each (fixture.h) */
enum { N_KINDS = sizeof kinds / sizeof *kinds };

enum { PROMPT = 29, N = 40, VOCAB = 512 };

/* Over the border of a page and of an attention split. */
static void tokens_of(const char *path, const char *executor, uint32_t *ids, uint64_t *hash) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine *g;
    qm_session *s;
    qm_err e;
    qm_gen_stats st;
    fix_ok(qm_engine_open(&g, path, &(qm_engine_opts){.device = dev ? dev : "sim", .executor = executor}, &e), &e);
    assert_true(g->info.n_expert == 0 && g->info.n_expert_used == 0 && g->info.n_ff_exp == 512);
    fix_prompt(g, ids, PROMPT, 71);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_generate(s, ids, PROMPT, &(qm_gen_opts){.max_tokens = N, .ignore_eos = 1}, &st, &e), &e);
    memcpy(ids, s->ids, (PROMPT + N) * sizeof *ids);
    *hash = st.logits_hash;
    qm_session_close(s);
    qm_engine_close(g);
}

static void test_executors_agree(void **state) {
    (void)state;
    uint32_t a[PROMPT + N], b[PROMPT + N];
    uint64_t ha, hb;
    for (int i = 0; i < N_KINDS; i++) {
        tokens_of(fix_model(kinds[i]), "graph", a, &ha);
        tokens_of(fix_model(kinds[i]), "persistent", b, &hb);
        assert_memory_equal(a, b, sizeof a);
        assert_true(ha == hb);
        /* near ties aside, the reference says the same; it has none here */
        tokens_of(fix_model(kinds[i]), "ref", b, &hb);
        assert_memory_equal(a, b, sizeof a);
    }
}

/* Gate and up of two types are three ops instead of one; the logits are those of the reference. */
static void test_gate_and_up_of_two_types(void **state) {
    (void)state;
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    snprintf(path, sizeof path, "%s/qmoe-%ld-mixed.gguf", dir ? dir : "/tmp", (long)getpid());
    static const gguf_edit up = {GE_TENSOR, "blk.0.ffn_up.weight", 0.05, NULL, QM_TYPE_F32, {256, 512}};
    gguf_edit_file(fix_model("dense"), path, &up, 1);
    static const char *const executors[] = {"graph", "ref", "persistent"};
    static float l[3][VOCAB];
    for (int x = 0; x < 3; x++) {
        qm_engine *g;
        qm_session *s;
        const qm_plan *p;
        qm_err e;
        int swiglu = 0;
        fix_ok(qm_engine_open(&g, path, &(qm_engine_opts){.device = "sim", .executor = executors[x]}, &e), &e);
        fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
        for (int i = 0; i < p->n_ops; i++) swiglu += p->ops[i].kind == QM_OP_SWIGLU;
        assert_int_equal(swiglu, 1);
        fix_ok(qm_session_open(&s, g, &e), &e);
        for (uint32_t i = 0; i < 3; i++) fix_ok(qm_session_eval(s, 17 * i + 3, &e), &e);
        fix_ok(qm_session_logits(s, l[x], &e), &e);
        qm_session_close(s);
        qm_engine_close(g);
    }
    unlink(path);
    assert_true(fix_cosine(l[0], l[1], VOCAB) > 0.999999);
    assert_memory_equal(l[0], l[2], sizeof l[0]);
}

/* The buffers of a step lie apart, each as long as any op takes it to be. (q, k and v of several ops lie in one,
 * which qkrope reads.) */
static void buffers_are_apart(const char *kind) {
    enum { MAX_OPERANDS = 1024 };
    static qm_operand all[MAX_OPERANDS];
    int n = 0;
    qm_engine *g = fix_engine(kind, "graph");
    const qm_plan *p;
    qm_err e;
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    for (int i = 0; i < p->n_ops; i++) {
        qm_operand o[QM_MAX_OPERANDS];
        int k = qm_op_operands(p, &p->ops[i], o);
        for (int j = 0; j < k; j++)
            if (o[j].ref && QM_REF_SPACE(o[j].ref) == QM_SPACE_SCRATCH &&
                !(!strcmp(p->ops[i].slot, "qkv") && !strcmp(o[j].name, "y"))) {
                assert_true(n < MAX_OPERANDS);
                all[n++] = o[j];
            }
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            const qm_operand *a = &all[i], *b = &all[k];
            if (a->ref >= b->ref || a->ref + a->bytes <= b->ref) continue;
            fail_msg("%s: %s of %llu bytes reaches into %s, %llu bytes on", kind, a->name, (unsigned long long)a->bytes,
                     b->name, (unsigned long long)(b->ref - a->ref));
        }
    assert_true(n > 50);
    qm_engine_close(g);
}

static void test_buffers_are_apart(void **state) {
    (void)state;
    for (int i = 0; i < N_KINDS; i++) buffers_are_apart(kinds[i]);
    buffers_are_apart("small");
}

/* A family may have no norms of q and k: the op is told that there are none. */
static int norm_of_q, norm_of_k;
static void layer_of_norms(qm_builder *b, const int *w) {
    (void)w;
    qm_build_qkrope(b, norm_of_q, norm_of_k);
}
static void test_norms_of_q_and_k_may_be_absent(void **state) {
    (void)state;
    qm_engine *g = fix_engine("dense", "ref");
    qm_model m = *g->model;
    qm_place pl = *g->place;
    m.layer = layer_of_norms;
    pl.model = &m;
    for (int has = 0; has < 4; has++) {
        qm_plan *p;
        qm_err e;
        norm_of_q = has & 1 ? qm_model_find(&m, 0, "attn_q_norm") : -1;
        norm_of_k = has & 2 ? qm_model_find(&m, 0, "attn_k_norm") : -1;
        fix_ok(qm_plan_build(&p, &pl, (qm_shape){.n_splits = 1, .rows = 1}, g->limits, &e), &e);
        const qm_qkrope_args *a = &p->ops[1].args.qkrope;
        assert_int_equal(p->ops[1].kind, QM_OP_QKROPE);
        assert_true(has & 1 ? QM_REF_SPACE(a->q_norm) == QM_SPACE_REGION : !a->q_norm);
        assert_true(has & 2 ? QM_REF_SPACE(a->k_norm) == QM_SPACE_REGION : !a->k_norm);
        qm_plan_free(p);
    }
    qm_engine_close(g);
}

/* A trace shows what each layer adds and leaves, and says that there is no router. */
static void traced(const char *kind) {
    qm_engine *g = fix_engine(kind, "graph");
    uint32_t ids[5];
    int departed = 0;
    fix_text t = {0};
    qm_err e;
    fix_prompt(g, ids, 5, 73);
    qm_trace_opts o = {.json = 1, .compare = "ref", .last_layer = -1};
    fix_ok(qm_trace(g, "p", 1, ids, 5, &o, &departed, fix_collect, &t, &e), &e);
    json_t *j = json_loadb(t.s, t.n, 0, NULL), *layers = json_object_get(j, "layers"), *check;
    assert_int_equal(departed, 0);
    assert_int_equal(json_array_size(layers), 4);
    for (size_t l = 0; l < 4; l++)
        for (int k = 0; k < 2; k++) {
            json_t *x = json_object_get(json_array_get(layers, l), k ? "output" : "ffn_out");
            assert_true(json_number_value(json_object_get(x, "std_dev")) > 0.01);
        }
    size_t i, routers = 0, experts = 0;
    json_array_foreach (json_object_get(json_object_get(j, "verdict"), "checks"), i, check) {
        const char *text = json_string_value(json_object_get(check, "text"));
        routers += strstr(text, "no router") != NULL;
        experts += !strcmp(text, "the model has no experts");
    }
    assert_true(routers == 1 && experts == 1);
    json_decref(j);
    free(t.s);
    qm_engine_close(g);
}

static void test_trace(void **state) {
    (void)state;
    for (int i = 0; i < N_KINDS; i++) traced(kinds[i]);
}

/* ---- what its files say ---- */
static int open_with(const char *kind, const gguf_edit *x, qm_err *e) {
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_gguf *g;
    qm_model *m = NULL;
    snprintf(path, sizeof path, "%s/qmoe-%ld-edited.gguf", dir ? dir : "/tmp", (long)getpid());
    gguf_edit_file(fix_model(kind), path, x, 1);
    fix_ok(qm_gguf_open(&g, path, e), e);
    int rc = qm_model_open(&m, g, 0, e);
    qm_model_close(m);
    qm_gguf_close(g);
    unlink(path);
    return rc;
}

typedef struct {
    gguf_edit x;
    int code;
    const char *words;
} file_case;
static void files(const char *kind, const file_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        qm_err e = {0};
        char all[200];
        int rc = open_with(kind, &cases[i].x, &e);
        if (rc != cases[i].code) fail_msg("%s, case %zu: code %d instead of %d: %s", kind, i, rc, cases[i].code, e.msg);
        snprintf(all, sizeof all, "%s", cases[i].words ? cases[i].words : "");
        for (char *w = strtok(all, "|"); w; w = strtok(NULL, "|"))
            if (!strstr(e.msg, w)) fail_msg("%s, case %zu lacks '%s': %s", kind, i, w, e.msg);
    }
}

static void test_files_are_obeyed_or_refused(void **state) {
    (void)state;
    enum { F = QM_ERR_FORMAT, U = QM_ERR_UNSUPPORTED };
    static const file_case qwen3[] = {
        {{GE_DROP, .name = "qwen3.feed_forward_length"}, F, "missing metadata key qwen3.feed_forward_length"},
        {{GE_U32, "qwen3.feed_forward_length", .v = 48}, U, "is 48: must be from 32 to 65536, a multiple of 32"},
        {{GE_U32, "qwen3.expert_count", .v = 8}, U, "'qwen3.expert_count': 8 at offset"},
        {{GE_U32, "qwen3.expert_count", .v = 0}, 0, NULL},
        {{GE_U32, "qwen3.pooling_type", .v = 3}, U, "not an embedding"},
        {{GE_U32, "qwen3.something_new", .v = 1}, U, "'qwen3.something_new' at offset"},
        {{GE_U32, "qwen3moe.something_new", .v = 1}, 0, NULL}, /* another family's */
        {{GE_DROP, .name = "blk.1.ffn_gate.weight"}, F, "missing tensor blk.1.ffn_gate.weight"},
        {{GE_TENSOR, "blk.0.ffn_down.weight", .ne = {256, 512}},
         F,
         "blk.0.ffn_down.weight has shape [256, 512, 1, 1], expected [512, 256, 1, 1]"},
        {{GE_TENSOR, "blk.0.ffn_gate_inp.weight", .ne = {256, 4}},
         U,
         "tensor blk.0.ffn_gate_inp.weight is not part of a Qwen3 of 4 layers"},
        {{GE_TENSOR, "output.weight", .ne = {256, 512}}, 0, NULL}, /* no longer tied */
        {{GE_STR, "general.architecture", .s = "llama"},
         U,
         "'llama' is not supported; qwen3moe is: |; qwen3 is: Qwen3-0.6B"},
    };
    files("dense", qwen3, sizeof qwen3 / sizeof *qwen3);
}

/* synth refuses what the family lacks, and what the reader would refuse. */
static void test_synth(void **state) {
    (void)state;
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_err e;
    snprintf(path, sizeof path, "%s/qmoe-%ld-synth.gguf", dir ? dir : "/tmp", (long)getpid());
    assert_int_equal(qm_synth(path, &(qm_synth_opts){.preset = "tiny-dense", .n_expert = 4}, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "--experts 4: a Qwen3 has none"));
    assert_int_equal(qm_synth(path, &(qm_synth_opts){.preset = "tiny-dense", .n_ff_exp = 1u << 17}, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "--ff 131072: must be from 32 to 65536"));
    /* the longest rows have a plan that fits any device since sm_80 */
    static const char *const types[] = {"f32", "f16", "q8_0", "q4_k_m"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        qm_synth_opts o = {
            .preset = "tiny-dense", .n_layers = 1, .n_ff_exp = 1u << 16, .n_embd = 256, .types = types[i], .sparse = 1};
        qm_gguf *f;
        qm_model *m;
        qm_place *pl;
        qm_plan *p;
        fix_ok(qm_synth(path, &o, &e), &e);
        fix_ok(qm_gguf_open(&f, path, &e), &e);
        fix_ok(qm_model_open(&m, f, 0, &e), &e);
        fix_ok(qm_place_build(&pl, m, &e), &e);
        fix_ok(qm_plan_build(&p, pl, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1},
                             (qm_limits){.n_sm = 4, .n_ctx = 64, .n_pages = 2}, &e),
               &e);
        for (int k = 0; k < p->n_ops; k++)
            if (p->ops[k].shared > 99 << 10)
                fail_msg("%s: %s asks for %u bytes of shared memory", types[i], p->ops[k].slot, p->ops[k].shared);
        qm_plan_free(p);
        qm_place_free(pl);
        qm_model_close(m);
        qm_gguf_close(f);
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_executors_agree),
                                       cmocka_unit_test(test_gate_and_up_of_two_types),
                                       cmocka_unit_test(test_buffers_are_apart),
                                       cmocka_unit_test(test_norms_of_q_and_k_may_be_absent),
                                       cmocka_unit_test(test_trace),
                                       cmocka_unit_test(test_files_are_obeyed_or_refused),
                                       cmocka_unit_test(test_synth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
