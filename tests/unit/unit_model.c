/* unit_model.c: what a file says is obeyed or refused by name: every refusal of runtime/arch, and what is obeyed without
 * an oracle (those that have one are in unit_hf). */
#include "../support/fixture.h"
#include "../support/gguf_edit.h"
#include "runtime/base/log.h"
#include "runtime/arch/arch.h"
#include "runtime/qmoe_tools.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256], base[300], edited[300];

static int make_base(void **state) {
    (void)state;
    const char *tmp = getenv("QMOE_TEST_TMP");
    qm_err e;
    snprintf(dir, sizeof dir, "%s/model-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return -1;
    snprintf(base, sizeof base, "%s/base.gguf", dir);
    snprintf(edited, sizeof edited, "%s/edited.gguf", dir);
    qm_synth_opts o = {.seed = 5,
                       .n_layers = 2,
                       .n_embd = 64,
                       .n_head = 2,
                       .n_kv_head = 1,
                       .head_dim = 64,
                       .n_expert = 4,
                       .n_expert_used = 2,
                       .n_ff_exp = 32,
                       .n_vocab = 512,
                       .n_ctx = 256,
                       .types = "f32"};
    fix_ok(qm_synth(base, &o, &e), &e);
    return 0;
}
static int remove_base(void **state) {
    (void)state;
    unlink(base);
    unlink(edited);
    return rmdir(dir);
}

static char warned[256];
static void take_warning(void *user, int level, const char *line) {
    (void)user;
    if (level == QM_LOG_WARN) snprintf(warned, sizeof warned, "%s", line);
}

/* Opens the base model with the edits; hp is filled where that succeeds. */
static int open_with(const gguf_edit *x, size_t n, float rope_base, qm_hparams *hp, qm_err *e) {
    qm_gguf *g;
    qm_model *m;
    gguf_edit_file(base, edited, x, n);
    int rc = qm_gguf_open(&g, edited, e);
    if (rc) return rc;
    *warned = 0;
    qm_log_set(take_warning, NULL);
    rc = qm_model_open(&m, g, rope_base, e);
    qm_log_set(NULL, NULL);
    if (!rc && hp) *hp = m->hp;
    qm_model_close(rc ? NULL : m);
    qm_gguf_close(g);
    return rc;
}

static void refused(const gguf_edit *x, size_t n, float rope_base, int code, const char *words) {
    qm_err e = {0};
    int rc = open_with(x, n, rope_base, NULL, &e);
    char all[200];
    snprintf(all, sizeof all, "%s", words);
    if (!rc) fail_msg("'%s' was accepted", words);
    if (rc != code) fail_msg("code %d instead of %d: %s", rc, code, e.msg);
    if (strchr(e.msg, '\n')) fail_msg("more than a line: %s", e.msg);
    if (strncmp(e.msg, edited, strlen(edited)) && code != QM_ERR_ARG)
        fail_msg("does not begin with the file: %s", e.msg);
    for (char *w = strtok(all, "|"); w; w = strtok(NULL, "|"))
        if (!strstr(e.msg, w)) fail_msg("lacks '%s': %s", w, e.msg);
}

#define A "qwen3moe."
#define S A "rope.scaling."
enum { F = QM_ERR_FORMAT, U = QM_ERR_UNSUPPORTED };

static void test_keys_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        gguf_edit x;
        int code;
        const char *words;
    } one[] = {
        {{GE_DROP, .name = "general.architecture"}, F, "missing metadata key general.architecture"},
        {{GE_STR, "general.architecture", .s = "llama"}, U, "architecture 'llama'|qwen3moe is|Qwen3-30B-A3B"},
        {{GE_STR, "general.architecture", .s = "qwen3moex"}, U, "'qwen3moex'"},
        {{GE_U32, "general.architecture", .v = 0}, F, "'general.architecture'|type u32, expected str"},
        {{GE_STR, "general.type", .s = "adapter"}, U, "general.type 'adapter'"},
        {{GE_U32, "general.type", .v = 0}, F, "'general.type'|expected str"},
        {{GE_U32, "general.name", .v = 0}, F, "'general.name'|expected str"},
        /* required */
        {{GE_DROP, .name = A "context_length"}, F, "missing metadata key qwen3moe.context_length"},
        {{GE_DROP, .name = A "embedding_length"}, F, "missing|qwen3moe.embedding_length"},
        {{GE_DROP, .name = A "block_count"}, F, "missing|qwen3moe.block_count"},
        {{GE_DROP, .name = A "attention.head_count"}, F, "missing|qwen3moe.attention.head_count"},
        {{GE_DROP, .name = A "expert_count"}, F, "missing|qwen3moe.expert_count"},
        {{GE_DROP, .name = A "expert_used_count"}, F, "missing|qwen3moe.expert_used_count"},
        {{GE_DROP, .name = A "expert_feed_forward_length"}, F, "missing|qwen3moe.expert_feed_forward_length"},
        {{GE_DROP, .name = A "attention.layer_norm_rms_epsilon"},
         F,
         "missing|qwen3moe.attention.layer_norm_rms_epsilon"},
        /* shape; the same table that synth asks */
        {{GE_U32, A "context_length", .v = 0}, U, "'qwen3moe.context_length'|offset|is 0: must be from 1"},
        {{GE_U32, A "embedding_length", .v = 48}, U, "is 48: must be from 32 to 16384, a multiple of 32"},
        {{GE_U32, A "embedding_length", .v = 32768}, U, "is 32768"},
        {{GE_U32, A "attention.head_count", .v = 2000}, U, "is 2000: must be from 1 to 1024"},
        {{GE_U32, A "attention.head_count_kv", .v = 0}, U, "is 0: must be from 1"},
        {{GE_U32, A "attention.key_length", .v = 256}, U, "'qwen3moe.attention.key_length'|is 256: must be 64 or 128"},
        {{GE_DROP, .name = A "attention.key_length"}, U, "qwen3moe.attention.key_length: is 32: must be 64 or 128"},
        {{GE_U32, A "attention.value_length", .v = 128},
         U,
         "'qwen3moe.attention.value_length'|is 128: must be the key length, 64"},
        {{GE_U32, A "expert_count", .v = 600}, U, "is 600: must be from 1 to 512"},
        {{GE_U32, A "expert_used_count", .v = 33}, U, "is 33: must be from 1 to 32"},
        {{GE_U32, A "expert_used_count", .v = 5}, U, "is 5: must be at most the 4 experts"},
        {{GE_U32, A "expert_feed_forward_length", .v = 33}, U, "is 33: must be from 32"},
        {{GE_STR, A "expert_count", .s = "four"}, F, "'qwen3moe.expert_count'|type str, expected an integer"},
        {{GE_F32, A "attention.head_count_kv", .v = 1}, F, "expected an integer"},
        {{GE_STR, A "attention.key_length", .s = "x"}, F, "expected an integer"},
        {{GE_STR, A "attention.value_length", .s = "x"}, F, "expected an integer"},
        {{GE_F32, A "attention.layer_norm_rms_epsilon", .v = 0}, F, "is 0: must lie between 0 and 1"},
        {{GE_F32, A "attention.layer_norm_rms_epsilon", .v = 1}, F, "is 1: must lie between"},
        {{GE_F32, A "attention.layer_norm_rms_epsilon", .v = NAN}, F, "is nan"},
        {{GE_STR, A "attention.layer_norm_rms_epsilon", .s = "x"}, F, "expected a number"},
        {{GE_F32, A "attention.scale", .v = 0.2}, U, "'qwen3moe.attention.scale'|is 0.2: only 0.125"},
        {{GE_F32, A "attention.scale", .v = NAN}, U, "is nan"},
        {{GE_STR, A "attention.scale", .s = "x"}, F, "expected a number"},
        /* rotary positions */
        {{GE_F32, A "rope.freq_base", .v = 1}, F, "'qwen3moe.rope.freq_base'|offset|is 1: must be a number above 1"},
        {{GE_F32, A "rope.freq_base", .v = NAN}, F, "is nan"},
        {{GE_F32, A "rope.freq_base", .v = INFINITY}, F, "is inf"},
        {{GE_STR, A "rope.freq_base", .s = "x"}, F, "expected a number"},
        {{GE_U32, A "rope.dimension_count", .v = 32}, U, "'qwen3moe.rope.dimension_count'|is 32: only whole heads, 64"},
        {{GE_STR, A "rope.dimension_count", .s = "x"}, F, "expected an integer"},
        {{GE_F32, S "factor", .v = 0.5}, U, "'qwen3moe.rope.scaling.factor'|is 0.5: must be 1 or more"},
        {{GE_F32, S "factor", .v = -2}, U, "is -2: must be 1 or more"},
        {{GE_F32, S "factor", .v = NAN}, U, "is nan"},
        {{GE_F32, S "factor", .v = INFINITY}, U, "is inf"},
        {{GE_STR, S "factor", .s = "x"}, F, "expected a number"},
        {{GE_F32, A "rope.scale_linear", .v = 0.5}, U, "'qwen3moe.rope.scale_linear'|is 0.5"},
        {{GE_STR, A "rope.scale_linear", .s = "x"}, F, "expected a number"},
        {{GE_F32, S "attn_factor", .v = 0}, F, "'qwen3moe.rope.scaling.attn_factor'|is 0: must be a number above 0"},
        {{GE_F32, S "attn_factor", .v = NAN}, F, "is nan"},
        {{GE_STR, S "attn_factor", .s = "x"}, F, "expected a number"},
        {{GE_STR, S "original_context_length", .s = "x"}, F, "expected an integer"},
        {{GE_STR, S "type", .s = "longrope"}, U, "is 'longrope': none, linear and yarn are supported"},
        {{GE_STR, S "type", .s = "a type with a name that is long"}, U, "is 'a type with a name that is long'"},
        {{GE_U32, S "type", .v = 0}, F, "expected str"},
        {{GE_STR, S "type", .s = "yarn"}, F, "missing metadata key qwen3moe.rope.scaling.factor"},
        {{GE_STR, S "type", .s = "linear"}, F, "missing metadata key qwen3moe.rope.scaling.factor"},
        {{GE_F32, S "yarn_beta_fast", .v = 16},
         U,
         "'qwen3moe.rope.scaling.yarn_beta_fast'|is not supported"}, /* without YaRN */
        /* nobody asks for them */
        {{GE_F32, S "alpha", .v = 2}, U, "'qwen3moe.rope.scaling.alpha' at offset|what it asks for would not be done"},
        {{GE_U32, A "something_new", .v = 1}, U, "'qwen3moe.something_new' at offset"},
        {{GE_U32, "qwen3_moe.something_new", .v = 1}, U, "'qwen3_moe.something_new' at offset"},
        {{GE_U32, A "something\x1b[31m", .v = 1}, U, "'qwen3moe.something\\x1b[31m'"},
        {{GE_STR, A "expert_weights_norm", .s = "yes"}, U, "'qwen3moe.expert_weights_norm': a value of type str"},
        {{GE_U32, "qwen3_moe.block_count", .v = 2},
         F,
         "'qwen3moe.block_count'|is given again as 'qwen3_moe.block_count'"},
    };
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) refused(&one[i].x, 1, 0, one[i].code, one[i].words);
    static const gguf_edit kv[] = {{GE_U32, A "attention.head_count", .v = 4},
                                   {GE_U32, A "attention.head_count_kv", .v = 3}};
    refused(kv, 2, 0, U, "'qwen3moe.attention.head_count_kv'|is 3: must divide the 4 query heads");
}

static const gguf_edit yarn[] = {{GE_STR, S "type", .s = "yarn"}, {GE_F32, S "factor", .v = 4}};

static void test_yarn_keys_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        gguf_edit x;
        int code;
        const char *words;
    } with[] = {
        {{GE_F32, S "yarn_attn_factor", .v = 0}, F, "'qwen3moe.rope.scaling.yarn_attn_factor'|is 0"},
        {{GE_F32, S "yarn_beta_fast", .v = -1}, F, "'qwen3moe.rope.scaling.yarn_beta_fast'|is -1"},
        {{GE_F32, S "yarn_beta_slow", .v = INFINITY}, F, "'qwen3moe.rope.scaling.yarn_beta_slow'|is inf"},
        {{GE_F32, S "yarn_beta_slow", .v = 33}, F, "is 33: must be at most yarn_beta_fast, 32"},
        {{GE_STR, S "yarn_beta_slow", .s = "x"}, F, "expected a number"},
        {{GE_F32, S "yarn_ext_factor", .v = 0.5}, U, "'qwen3moe.rope.scaling.yarn_ext_factor'|is 0.5: only 1"},
        {{GE_F32, S "yarn_ext_factor", .v = NAN}, U, "is nan"},
        {{GE_STR, S "yarn_ext_factor", .s = "x"}, F, "expected a number"},
        {{GE_F32, S "yarn_log_multiplier", .v = 0.1}, U, "'qwen3moe.rope.scaling.yarn_log_multiplier' at offset"},
        {{GE_F32, A "rope.scale_linear", .v = 2},
         U,
         "'qwen3moe.rope.scale_linear' at offset"}, /* beside rope.scaling.factor */
    };
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        gguf_edit x[] = {yarn[0], yarn[1], with[i].x};
        refused(x, 3, 0, with[i].code, with[i].words);
    }
}

/* Keys of other architectures, at values that change nothing here: together they are fine, each at another value is not. */
static const struct {
    const char *key;
    int what;
    double ok, bad;
    const char *says;
} neutral[] = {
    {A "attention.causal", GE_BOOL, 1, 0, "causal"},
    {A "attention.clamp_kqv", GE_F32, 0, 8, "8 at offset|(0 is)|not clamped"},
    {A "attention.max_alibi_bias", GE_F32, 0, 8, "rotary"},
    {A "attention.output_scale", GE_F32, 1, 2, "not scaled"},
    {A "attention.shared_kv_layers", GE_U32, 0, 1, "its own keys"},
    {A "attention.sliding_window", GE_U32, 0, 128, "128 at offset|(0 is)|every position"},
    {A "attention.temperature_length", GE_U32, 0, 8192, "position"},
    {A "attention.temperature_scale", GE_F32, 0, 0.1, "position"},
    {A "attn_logit_softcapping", GE_F32, 0, 50, "not capped"},
    {A "embedding_scale", GE_F32, 1, 12, "not scaled"},
    {A "expert_gating_func", GE_U32, 1, 2, "softmax"},
    {A "expert_group_count", GE_U32, 1, 8, "no groups"},
    {A "expert_group_used_count", GE_U32, 1, 4, "no groups"},
    {A "expert_shared_count", GE_U32, 0, 1, "no shared experts"},
    {A "expert_shared_feed_forward_length", GE_U32, 0, 64, "64 at offset|no shared experts"},
    {A "expert_weights_norm", GE_BOOL, 1, 0, "0 at offset|(1 is)|divided by their sum"},
    {A "expert_weights_scale", GE_F32, 1, 2.5, "2.5 at offset|not scaled"},
    {A "final_logit_softcapping", GE_F32, 0, 30, "not capped"},
    {A "interleave_moe_layer_step", GE_U32, 1, 2, "every layer"},
    {A "leading_dense_block_count", GE_U32, 0, 1, "every layer"},
    {A "logit_scale", GE_F32, 1, 0.5, "not scaled"},
    {A "moe_every_n_layers", GE_U32, 1, 2, "every layer"},
    {A "nextn_predict_layers", GE_U32, 0, 1, "further tokens"},
    {A "pooling_type", GE_U32, 0, 1, "not an embedding"},
    {A "residual_scale", GE_F32, 1, 0.2, "not scaled"},
    {A "router_logit_softcapping", GE_F32, 0, 30, "not capped"},
    {A "swin_norm", GE_BOOL, 0, 1, "RMSNorms"},
    {A "use_parallel_residual", GE_BOOL, 0, 1, "before the experts"},
};
enum { N_NEUTRAL = sizeof neutral / sizeof *neutral, N_IDLE = 4 };

static void test_what_would_change_the_result_is_refused(void **state) {
    (void)state;
    gguf_edit all[N_NEUTRAL + N_IDLE];
    qm_err e;
    for (int i = 0; i < N_NEUTRAL; i++) {
        gguf_edit x = {(gguf_edit_what)neutral[i].what, neutral[i].key, neutral[i].bad, NULL, 0, {0}};
        char words[200];
        snprintf(words, sizeof words, "'%s'|%s", neutral[i].key, neutral[i].says);
        refused(&x, 1, 0, U, words);
        all[i] = x;
        all[i].v = neutral[i].ok;
    }
    all[N_NEUTRAL] = (gguf_edit){GE_U32, A "vocab_size", 512, NULL, 0, {0}};
    all[N_NEUTRAL + 1] = (gguf_edit){GE_BOOL, S "finetuned", 1, NULL, 0, {0}};
    all[N_NEUTRAL + 2] = (gguf_edit){GE_F32, A "attention.scale", 0.125, NULL, 0, {0}};
    all[N_NEUTRAL + 3] = (gguf_edit){GE_U32, A "rope.dimension_count", 64, NULL, 0, {0}};
    fix_ok(open_with(all, N_NEUTRAL + N_IDLE, 0, NULL, &e), &e);
}

static void test_tensors_are_refused_by_name(void **state) {
    (void)state;
    static const char *const needed[] = {
        "token_embd.weight",        "output_norm.weight",        "blk.1.attn_norm.weight",
        "blk.1.attn_q.weight",      "blk.1.attn_k.weight",       "blk.1.attn_v.weight",
        "blk.1.attn_q_norm.weight", "blk.1.attn_k_norm.weight",  "blk.1.attn_output.weight",
        "blk.1.ffn_norm.weight",    "blk.1.ffn_gate_inp.weight", "blk.1.ffn_gate_exps.weight",
        "blk.1.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight"};
    char words[100];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        gguf_edit x = {GE_DROP, .name = needed[i]};
        snprintf(words, sizeof words, "missing tensor %s", needed[i]);
        refused(&x, 1, 0, F, words);
    }
    static const struct {
        gguf_edit x;
        int code;
        const char *words;
    } made[] = {
        {{GE_TENSOR, "blk.0.attn_q.weight", .ne = {64, 96}},
         F,
         "blk.0.attn_q.weight has shape [64, 96, 1, 1], expected [64, 128, 1, 1]"},
        {{GE_TENSOR, "blk.0.ffn_up_exps.weight", .ne = {64, 32, 5}}, F, "[64, 32, 5, 1], expected [64, 32, 4, 1]"},
        {{GE_TENSOR, "blk.0.ffn_up_exps.weight", .ne = {64, 32, 4, 2}}, F, "[64, 32, 4, 2]"},
        {{GE_TENSOR, "blk.0.attn_norm.weight", .ne = {65}}, F, "[65, 1, 1, 1], expected [64, 1, 1, 1]"},
        {{GE_TENSOR, "blk.0.attn_norm.weight", .type = QM_TYPE_F16, .ne = {64}},
         U,
         "blk.0.attn_norm.weight is F16; norms and biases must be F32"},
        {{GE_TENSOR, "blk.0.attn_q.bias", .type = QM_TYPE_F16, .ne = {128}}, U, "blk.0.attn_q.bias is F16"},
        {{GE_TENSOR, "blk.0.attn_output.bias", .ne = {128}}, F, "blk.0.attn_output.bias|expected [64, 1, 1, 1]"},
        {{GE_TENSOR, "output.weight", .ne = {64, 256}},
         F,
         "output.weight has shape [64, 256, 1, 1], expected [64, 512, 1, 1]"},
        /* nobody asks for them */
        {{GE_TENSOR, "blk.0.ffn_gate_inp.bias", .ne = {4}},
         U,
         "tensor blk.0.ffn_gate_inp.bias is not part of a Qwen3-MoE of 2 layers"},
        {{GE_TENSOR, "blk.1.ffn_down_exps.bias", .ne = {64, 4}}, U, "blk.1.ffn_down_exps.bias"},
        {{GE_TENSOR, "blk.0.ffn_up_shexp.weight", .ne = {64, 32}}, U, "blk.0.ffn_up_shexp.weight"},
        {{GE_TENSOR, "blk.2.attn_norm.weight", .ne = {64}}, U, "blk.2.attn_norm.weight"},
        {{GE_TENSOR, "rope_freqs.weight", .ne = {32}}, U, "rope_freqs.weight"},
        {{GE_TENSOR, "output_norm.bias", .ne = {64}}, U, "output_norm.bias"},
        {{GE_TENSOR, "a\x1b[1m", .ne = {4}}, U, "tensor a\\x1b[1m is not"},
        /* types */
        {{GE_TENSOR, "blk.0.attn_q.weight", .type = 2, .ne = {64, 128}},
         U,
         "1 of Q4_0; supported are F32|files called after one of these"},
    };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) refused(&made[i].x, 1, 0, made[i].code, made[i].words);
    static const gguf_edit two[] = {{GE_TENSOR, "blk.0.attn_q.weight", .type = 6, .ne = {64, 128}},
                                    {GE_TENSOR, "blk.0.attn_k.weight", .type = 20, .ne = {64, 64}},
                                    {GE_TENSOR, "blk.1.attn_k.weight", .type = 20, .ne = {64, 64}}};
    refused(two, 3, 0, U, "1 of Q5_0, 2 of IQ4_NL");
    /* the table of tokens would be at odds with these before */
    static const gguf_edit embd[] = {{GE_TENSOR, "token_embd.weight", .ne = {64, 512, 2}}};
    refused(embd, 1, 0, U, "token_embd.weight is not [embedding, vocabulary of 1 to 1048575]");
}

static void test_rope_base(void **state) {
    (void)state;
    static const float bad[] = {-1, 1, 0.5f, NAN, INFINITY, -INFINITY};
    static const gguf_edit drop = {GE_DROP, .name = A "rope.freq_base"}, said = {GE_F32, A "rope.freq_base", .v = 5e6};
    qm_hparams hp;
    qm_err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refused(&said, 1, bad[i], QM_ERR_ARG, "RoPE base|above 1");
    fix_ok(open_with(&said, 1, 0, &hp, &e), &e);
    assert_true(hp.rope_base == 5e6 && !*warned);
    fix_ok(open_with(&said, 1, 2e6f, &hp, &e), &e);
    assert_true(hp.rope_base == 2e6 && !*warned);
    fix_ok(open_with(&drop, 1, 0, &hp, &e), &e);
    assert_true(hp.rope_base == 1e6);
    assert_non_null(strstr(warned, "no qwen3moe.rope.freq_base; using 1000000"));
    fix_ok(open_with(&drop, 1, 2e6f, &hp, &e), &e);
    assert_true(hp.rope_base == 2e6 && !*warned);
}

/* Frequencies and factor of the base model with edits (a base of 1e6, heads of 64). */
static void freq(const gguf_edit *x, size_t n, double *f, double *mscale) {
    qm_hparams hp;
    qm_err e;
    fix_ok(open_with(x, n, 0, &hp, &e), &e);
    qm_model_inv_freq(&hp, f, mscale);
}

static void test_linear_scaling(void **state) {
    (void)state;
    static const gguf_edit factor = {GE_F32, S "factor", .v = 4}, old = {GE_F32, A "rope.scale_linear", .v = 4},
                           none = {GE_F32, S "factor", .v = 0},
                           typed[] = {{GE_STR, S "type", .s = "linear"},
                                      {GE_F32, S "factor", .v = 4},
                                      {GE_F32, S "attn_factor", .v = 0.5}},
                           off[] = {{GE_STR, S "type", .s = "none"}, {GE_F32, S "factor", .v = 4}};
    double plain[32], f[32], m;
    freq(NULL, 0, plain, &m);
    assert_true(m == 1 && plain[0] == 1);
    const struct {
        const gguf_edit *x;
        size_t n;
        double by, m;
    } cases[] = {{&factor, 1, 4, 1}, {&old, 1, 4, 1},    {&none, 1, 1, 1},
                 {typed, 2, 4, 1},   {typed, 3, 4, 0.5}, {off, 2, 1, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        freq(cases[c].x, cases[c].n, f, &m);
        assert_true(m == cases[c].m);
        for (int i = 0; i < 32; i++) assert_true(fabs(f[i] * cases[c].by / plain[i] - 1) < 1e-12);
    }
}

/* By the paper: a pair that turns r times over the original context keeps its frequency from beta_fast on, has it divided
 * below beta_slow; the ends are widened to whole pairs. */
static void test_yarn_scaling(void **state) {
    (void)state;
    gguf_edit x[] = {yarn[0],
                     yarn[1],
                     {GE_F32, A "rope.freq_base", .v = 1e4},
                     {GE_U32, S "original_context_length", .v = 256},
                     {GE_F32, S "yarn_beta_fast", .v = 8},
                     {GE_F32, S "yarn_beta_slow", .v = 2},
                     {GE_F32, S "yarn_attn_factor", .v = 1.5},
                     {GE_F32, S "attn_factor", .v = 2},
                     {GE_F32, S "yarn_ext_factor", .v = 1}};
    for (int all = 0; all < 2; all++) {
        double f[32], m, fast = all ? 8 : 32, slow = all ? 2 : 1;
        int kept = 0, divided = 0, between = 0;
        freq(x, all ? 9 : 4, f, &m);
        assert_true(fabs(m - (all ? 3 : 1 + 0.1 * log(4))) < 1e-7);
        for (int i = 0; i < 32; i++) {
            double plain = pow(1e4, -i / 32.0), next = pow(1e4, -(i + 1) / 32.0), before = pow(1e4, -(i - 1) / 32.0);
            double turns = 256 * plain / 6.283185307179586, after = 256 * next / 6.283185307179586,
                   prior = 256 * before / 6.283185307179586;
            if (after >= fast) assert_true(fabs(f[i] / plain - 1) < 1e-12), kept++;
            else if (prior <= slow) assert_true(fabs(f[i] * 4 / plain - 1) < 1e-12), divided++;
            else if (turns < fast && turns > slow) assert_true(f[i] < plain && f[i] > plain / 4), between++;
        }
        assert_true(divided > 5 && between > 3 && (kept > 1 || !all));
    }
    /* without an original context it is the model's own; 0 says the same */
    qm_hparams hp;
    qm_err e;
    fix_ok(open_with(x, 3, 0, &hp, &e), &e);
    assert_int_equal(hp.rope_orig_ctx, 256);
    x[3].v = 0;
    fix_ok(open_with(x, 4, 0, &hp, &e), &e);
    assert_int_equal(hp.rope_orig_ctx, 256);
}

/* Logits of the edited file after three tokens. */
static int run_edited(const char *executor, float *logits, qm_err *e) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {.device = dev ? dev : "sim", .executor = executor};
    qm_engine *g;
    qm_session *s;
    fix_ok(qm_engine_open(&g, edited, &o, e), e);
    fix_ok(qm_session_open(&s, g, e), e);
    int rc = 0;
    for (uint32_t i = 0; i < 3 && !rc; i++) rc = qm_session_eval(s, 17 * i + 3, e);
    if (!rc) fix_ok(qm_session_logits(s, logits, e), e);
    qm_session_close(s);
    qm_engine_close(g);
    return rc;
}

static void run(const gguf_edit *x, size_t n, float *logits) {
    qm_err e;
    gguf_edit_file(base, edited, x, n);
    fix_ok(run_edited("graph", logits, &e), &e);
}

static void test_other_prefix(void **state) {
    (void)state;
    static const gguf_edit prefix[] = {{GE_PREFIX, A, .s = "qwen3_moe."},
                                       {GE_STR, "general.architecture", .s = "qwen3_moe"}};
    float a[512], b[512];
    run(NULL, 0, a);
    run(prefix, 2, b);
    assert_memory_equal(a, b, sizeof a);
    run(prefix, 1, b); /* the architecture's name need not be the prefix */
    assert_memory_equal(a, b, sizeof a);
    static const gguf_edit none = {GE_DROP, .name = A "expert_count"};
    gguf_edit x[] = {prefix[0], none};
    refused(x, 2, 0, F, "missing metadata key qwen3moe.expert_count");
}

/* Biases of q, k, v and output in a file of K-quants: the persistent kernel has the graph's bits, whatever the splits. */
static void test_biases_in_the_persistent_kernel(void **state) {
    (void)state;
    char path[320];
    static const gguf_edit bias[] = {{GE_TENSOR, "blk.0.attn_q.bias", .v = 1, .ne = {512}},
                                     {GE_TENSOR, "blk.0.attn_k.bias", .v = 1, .ne = {256}},
                                     {GE_TENSOR, "blk.0.attn_v.bias", .v = 1, .ne = {256}},
                                     {GE_TENSOR, "blk.0.attn_output.bias", .v = 1, .ne = {256}}};
    qm_synth_opts o = {.seed = 5,
                       .n_layers = 1,
                       .n_embd = 256,
                       .n_head = 4,
                       .n_kv_head = 2,
                       .head_dim = 128,
                       .n_expert = 4,
                       .n_expert_used = 2,
                       .n_ff_exp = 256,
                       .n_vocab = 512,
                       .n_ctx = 64};
    float l[4][512];
    qm_err e;
    snprintf(path, sizeof path, "%s/q4.gguf", dir);
    fix_ok(qm_synth(path, &o, &e), &e);
    static const struct {
        const char *executor;
        size_t n;
    } runs[] = {{"graph", 4}, {"persistent", 4}, {"ref", 4}, {"graph", 3}};
    for (int i = 0; i < 4; i++) {
        gguf_edit_file(path, edited, bias, runs[i].n);
        fix_ok(run_edited(runs[i].executor, l[i], &e), &e);
    }
    unlink(path);
    assert_memory_equal(l[0], l[1], sizeof l[0]);
    assert_true(fix_cosine(l[0], l[2], 512) > 0.99999);
    assert_true(fix_cosine(l[0], l[3], 512) < 0.999); /* the output's is heard */
}

/* One weight matrix or vector times a factor that leaves it finite: whatever overflows on the way to the logits is said, by
 * every executor, and what does not overflow is computed. Without care an overflowing sum of squares is a scale of 0. */
static void test_huge_weights(void **state) {
    (void)state;
    static const char *const names[] = {
        "token_embd.weight",          "output_norm.weight",       "output.weight",
        "blk.0.attn_norm.weight",     "blk.0.attn_q.weight",      "blk.0.attn_k.weight",
        "blk.0.attn_v.weight",        "blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight",
        "blk.0.attn_output.weight",   "blk.0.ffn_norm.weight",    "blk.0.ffn_gate_inp.weight",
        "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight",
        "blk.1.ffn_down_exps.weight"}; /* the last layer's: the norm after it is an op of its own */
    static const float factors[] = {1e15f, 1e22f, 1e30f};
    float a[512], b[512];
    int refused_runs = 0, fine = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < sizeof factors / sizeof *factors; k++) {
            gguf_edit x = {GE_SCALE, names[i], .v = (double)factors[k]};
            qm_err e = {0}, f = {0};
            gguf_edit_file(base, edited, &x, 1);
            int graph = run_edited("graph", a, &e), ref = run_edited("ref", b, &f);
            if (graph && !strstr(e.msg, "not finite")) fail_msg("%s: %s", names[i], e.msg);
            if (!graph != !ref) fail_msg("%s x %g: graph '%s', ref '%s'", names[i], (double)factors[k], e.msg, f.msg);
            refused_runs += graph != 0;
            fine += !graph;
            if (graph) continue;
            double most = 0;
            for (int j = 0; j < 512; j++) most = fmax(most, fabs((double)a[j]));
            double c = fix_cosine(a, b, 512);
            if (!(most > 0) || !(c > 0.99))
                fail_msg("%s x %g: largest logit %g, cosine with ref %g", names[i], (double)factors[k], most, c);
        }
    print_message("%d runs refused, %d fine\n", refused_runs, fine);
    assert_true(refused_runs > 10 && fine > 10);
}

/* What synth accepts is what the table says; its extremes have plans whose CTAs fit every device's shared memory. */
static void test_synth_writes_what_runs(void **state) {
    (void)state;
    const struct {
        const char *why;
        qm_synth_opts o;
    } bad[] = {
        {"--head-dim 256: must be 64 or 128", {.head_dim = 256}},
        {"--head-dim 32", {.head_dim = 32}},
        {"--experts 600: must be from 1 to 512", {.n_expert = 600}},
        {"--layers 1025: must be from 1 to 1024", {.n_layers = 1025}},
        {"--kv-heads 3: must divide the 8 query heads", {.n_kv_head = 3}},
        {"--experts-used 33", {.n_expert_used = 33}},
        {"--experts-used 8: must be at most the 4 experts", {.n_expert = 4}},
        {"--embd 33: must be from 32 to 16384, a multiple of 32", {.n_embd = 33}},
        {"--embd 16416", {.n_embd = 16416}},
        {"--ff 48", {.n_ff_exp = 48}},
        {"--vocab 511: must be at least 512", {.n_vocab = 511}},
        {"--vocab 1048576: must be from 1 to 1048575", {.n_vocab = 1 << 20}},
        {"--ctx 268435457", {.n_ctx = (1u << 28) + 1}},
        {"--heads 1025", {.n_head = 1025}},
    };
    qm_err e = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(qm_synth(edited, &bad[i].o, &e), QM_ERR_ARG);
        if (!strstr(e.msg, bad[i].why)) fail_msg("'%s' instead of '%s'", e.msg, bad[i].why);
    }
    static const char *const types[] = {"f32", "q4_k_m", "q8_0"};
    const qm_synth_opts ends[] = {
        {.n_layers = 1, .n_embd = 16384, .n_ff_exp = 16384, .n_expert = 2, .n_expert_used = 1, .n_vocab = 512},
        {.n_layers = 1, .n_embd = 32, .n_ff_exp = 32, .n_expert = 512, .n_expert_used = 32, .n_vocab = 512, .n_ctx = 1},
        {.n_layers = 1,
         .n_embd = 64,
         .n_head = 1024,
         .n_kv_head = 1,
         .head_dim = 128,
         .n_ff_exp = 64,
         .n_vocab = 512,
         .n_ctx = 1u << 28},
        {.n_layers = 1024,
         .n_embd = 64,
         .n_head = 1,
         .n_kv_head = 1,
         .head_dim = 64,
         .n_expert = 1,
         .n_expert_used = 1,
         .n_ff_exp = 32,
         .n_vocab = 512},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            qm_synth_opts o = ends[i];
            o.types = types[t];
            o.sparse = 1;
            fix_ok(qm_synth(edited, &o, &e), &e);
            fix_text json = {0};
            fix_ok(qm_inspect(edited, QM_INSPECT_PLAN | QM_INSPECT_JSON, fix_collect, &json, &e), &e);
            const char *p = json.s;
            size_t ops = 0;
            for (; (p = strstr(p, "\"shared\": ")); p++, ops++)
                if (atol(p + 10) > 99 * 1024)
                    fail_msg("shape %zu, %s: %ld bytes of shared memory", i, types[t], atol(p + 10));
            assert_true(ops > 10); /* six of the layer */
            free(json.s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_refused_by_name),
        cmocka_unit_test(test_yarn_keys_are_refused_by_name),
        cmocka_unit_test(test_what_would_change_the_result_is_refused),
        cmocka_unit_test(test_tensors_are_refused_by_name),
        cmocka_unit_test(test_rope_base),
        cmocka_unit_test(test_linear_scaling),
        cmocka_unit_test(test_yarn_scaling),
        cmocka_unit_test(test_other_prefix),
        cmocka_unit_test(test_biases_in_the_persistent_kernel),
        cmocka_unit_test(test_huge_weights),
        cmocka_unit_test(test_synth_writes_what_runs),
    };
    return cmocka_run_group_tests_name("model", tests, make_base, remove_base);
}
