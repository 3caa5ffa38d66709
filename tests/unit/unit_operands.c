/* unit_operands: contracts/ops.def is the truth about every op of a plan. Each op runs on memory in which everything that
 * it does not declare is poisoned, twice, with two patterns:
 *   whatever it writes lies in an operand declared as written;
 *   what it writes does not depend on the pattern: it reads nothing undeclared;
 *   what is declared as written, and only that, is written whole.
 * And the test has eyes: with any one operand struck out it fails. Kernels on the software device and C references. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "gguf_edit.h"
#include "../../runtime/plan/ops.h"

enum { DEPTH = 300 /* two spans of attention */, CTX = 320, POISONS = 2, SEQS = 2 };
static const unsigned char poisons[POISONS] = {0xff, 0x5a}; /* NaN, and a large number */
/* Of these a stroke cannot be seen. */
static const struct {
    const char *op, *operand, *executor;
} unseen[] = {
    {"embed", "state", "graph"}, /* a flag, raised where a token is not in the vocabulary */
    {"embed", "state", "ref"},         {"sample_scan", "hist", "graph"}, /* zero before and after each launch, as the stroke has it */
    {"sample_scan", "hist", "ref"}, /* the references sort, and have no use for the device's own memory */
    {"sample_scan", "part", "ref"},    {"attn_decode", "arrived", "graph"}, /* as hist */
    {"attn_decode", "arrived", "ref"}, {"attn_decode", "acc", "ref"},       {"attn_decode", "ml", "ref"},
};

/* All memory that ops know, by space. */
typedef unsigned char *image[QM_N_SPACES];
typedef struct {
    const char *name; /* of the case */
    qm_inside x;
    uint32_t n_seqs; /* whose memory is looked at */
    uint64_t base[QM_N_SPACES], bytes[QM_N_SPACES];
    image before, poisoned, after[POISONS], other;
} ground;

static void settle(const ground *b) {
    if (b->x.dev) assert_int_equal(b->x.dev->cu.CtxSynchronize(), CUDA_SUCCESS);
}

static void take(const ground *b, image to) {
    settle(b);
    for (int s = 0; s < QM_N_SPACES; s++) {
        if (!b->bytes[s]) continue;
        if (b->x.dev) assert_int_equal(b->x.dev->cu.MemcpyDtoH(to[s], b->base[s], b->bytes[s]), CUDA_SUCCESS);
        else memcpy(to[s], (void *)(uintptr_t)b->base[s], b->bytes[s]);
    }
}

static void lay(const ground *b, image from) {
    for (int s = 0; s < QM_N_SPACES; s++) {
        if (!b->bytes[s]) continue;
        if (b->x.dev) assert_int_equal(b->x.dev->cu.MemcpyHtoD(b->base[s], from[s], b->bytes[s]), CUDA_SUCCESS);
        else memcpy((void *)(uintptr_t)b->base[s], from[s], b->bytes[s]);
    }
    settle(b);
}

/* The session asks for all that sampling has: a draw, edits, a mask, logprobs. */
static void ask(qm_session *s, const qm_sampling *how) {
    uint32_t mask[QM_MASK_WORDS(512)];
    qm_sample_words w = {0};
    qm_err e;
    memset(mask, 0x77, sizeof mask);
    fix_ok(qm_session_set_sampling(s, how, &e), &e);
    fix_ok(qm_sampling_words(&w, how, 512, &e), &e);
    w.p.logprobs = 1;
    w.p = qm_sampling_masked(&w.p, mask, 512, &(uint32_t){0});
    fix_ok(s->g->exec->put_mask(s->g, s->seq, &w.p, mask, &e), &e);
}

/* n_each: 0: a step of one row; else of that many of each of SEQS sequences. */
static void open_ground(ground *b, const char *name, const char *path, const char *executor, uint32_t n_each) {
    const qm_sampling draw = {.temperature = 0.8f,
                              .top_k = 40,
                              .top_p = 0.9,
                              .min_p = 0.01,
                              .seed = 5,
                              .repeat_penalty = 1.3f,
                              .repeat_last_n = 64,
                              .presence_penalty = 0.5f,
                              .bias = &(qm_logit_bias){3, 2.0f},
                              .n_bias = 1};
    qm_engine_opts o = {.device = "sim", .executor = executor, .n_ctx = CTX, .n_ubatch = 8, .n_parallel = SEQS};
    qm_engine *g;
    qm_err e;
    memset(b, 0, sizeof *b);
    b->name = name;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    b->n_seqs = n_each ? SEQS : 1;
    if (n_each) fix_ok(qm_inside_open_rows(&b->x, g, SEQS, n_each, DEPTH, &e), &e);
    else fix_ok(qm_inside_open(&b->x, g, NULL, DEPTH, &e), &e);
    ask(b->x.s, &draw);
    fix_ok(qm_inside_begin(&b->x, 17, &e), &e);
    const qm_plan *p = b->x.plan;
    b->bytes[QM_SPACE_REGION] = p->place->bytes;
    b->bytes[QM_SPACE_SCRATCH] = p->scratch_bytes;
    b->bytes[QM_SPACE_KV] = qm_kv_pool_bytes(&p->place->model->hp, p->limits.kv_type, p->limits.n_pages);
    b->bytes[QM_SPACE_SEQ] = b->n_seqs * p->seq.bytes;
    b->bytes[QM_SPACE_ROPE] = qm_rope_bytes(&p->place->model->hp, p->limits.n_ctx);
    b->bytes[QM_SPACE_RESULT] = b->n_seqs * QM_RESULT_RING * QM_RESULT_SIZE;
    b->bytes[QM_SPACE_STEP] = QM_STEP_SIZE;
    for (int s = QM_SPACE_REGION; s < QM_N_SPACES; s++) {
        b->base[s] = qm_inside_address(&b->x, QM_REF(s, 0));
        if (s == QM_SPACE_REGION && b->base[s]) b->base[s] -= p->place->regions[0].off;
        if (!b->base[s]) b->bytes[s] = 0; /* the references read weights from the file */
        unsigned char **of[] = {&b->before[s], &b->poisoned[s], &b->after[0][s], &b->after[1][s], &b->other[s]};
        for (int k = 0; k < 5; k++) assert_non_null(*of[k] = malloc(b->bytes[s] + 1));
    }
}

static void close_ground(ground *b) {
    qm_engine *g = b->x.g;
    for (int s = 0; s < QM_N_SPACES; s++) {
        unsigned char *of[] = {b->before[s], b->poisoned[s], b->after[0][s], b->after[1][s], b->other[s]};
        for (int k = 0; k < 5; k++) free(of[k]);
    }
    qm_inside_close(&b->x);
    qm_engine_close(g);
}

/* Where an operand lies: n bytes at `at`, and again every `step` bytes, in each sequence's memory. n == 0: it is absent, or
 * in memory that is not the executor's. */
typedef struct {
    int space;
    uint64_t at, n;
    uint32_t copies;
    uint64_t step;
} extent;
static extent extent_of(const ground *b, const qm_operand *o) {
    if (!o->ref) return (extent){0, 0, 0, 0, 0};
    extent x = {QM_REF_SPACE(o->ref), QM_REF_VALUE(o->ref), o->bytes, 1, 0};
    if (x.space == QM_SPACE_SEQ || x.space == QM_SPACE_RESULT) {
        x.copies = b->n_seqs;
        x.step = b->bytes[x.space] / b->n_seqs;
    }
    if (x.space == QM_SPACE_REGION) {
        const qm_region *r = &b->x.plan->place->regions[x.at];
        x.at = r->off;
        if (o->kind == QM_KIND_WEIGHT) x.n = r->bytes;
    }
    if (!b->bytes[x.space]) return (extent){0, 0, 0, 0, 0};
    if (x.at + x.n > b->bytes[x.space])
        fail_msg("%s: operand %s ends at %llu of a space of %llu bytes", b->name, o->name,
                 (unsigned long long)(x.at + x.n), (unsigned long long)b->bytes[x.space]);
    return x;
}

/* to's extents of the operands with that direction = from's; without operand `struck`. */
static void copy(const ground *b, const qm_operand *o, int n, int struck, int dir, image to, image from) {
    for (int k = 0; k < n; k++) {
        extent x = extent_of(b, &o[k]);
        for (uint32_t c = 0; k != struck && o[k].dir & dir && c < x.copies; c++)
            memcpy(to[x.space] + x.at + c * x.step, from[x.space] + x.at + c * x.step, x.n);
    }
}

/* Runs op i on ground that is poisoned but for what it declares as read. 0, or, with the place in *s and *at, 1: it wrote
 * where it declares nothing as written. */
static int run(ground *b, int i, const qm_operand *o, int n, int struck, unsigned char poison, image after, int *s,
               uint64_t *at) {
    qm_err e;
    for (*s = 0; *s < QM_N_SPACES; ++*s)
        if (b->bytes[*s]) memset(b->poisoned[*s], poison, b->bytes[*s]);
    copy(b, o, n, struck, QM_IN, b->poisoned, b->before);
    lay(b, b->poisoned);
    fix_ok(qm_inside_run(&b->x, i, NULL, NULL, &e), &e);
    take(b, after);
    copy(b, o, n, struck, QM_OUT, b->poisoned, after);
    for (*s = 0; *s < QM_N_SPACES; ++*s)
        if (b->bytes[*s] && memcmp(b->poisoned[*s], after[*s], b->bytes[*s])) {
            for (*at = 0; b->poisoned[*s][*at] == after[*s][*at];) ++*at;
            return 1;
        }
    return 0;
}

static const char *name_of(const ground *b, int i, char *to, size_t n) {
    const qm_op *op = &b->x.plan->ops[i];
    snprintf(to, n, "%s: op %d (%s, layer %d, %s)", b->name, i, qm_op_name(op->kind), op->layer, op->slot);
    return to;
}

static void check_op(ground *b, int i, const qm_operand *o, int n) {
    char op[160];
    int s;
    uint64_t at;
    name_of(b, i, op, sizeof op);
    for (int k = 0; k < POISONS; k++)
        if (run(b, i, o, n, -1, poisons[k], b->after[k], &s, &at))
            fail_msg("%s writes byte %llu of space %d, which is in no operand declared as written", op,
                     (unsigned long long)at, s);
    for (int k = 0; k < n; k++) {
        extent x = extent_of(b, &o[k]);
        if (!(o[k].dir & QM_OUT)) continue;
        const unsigned char *p = b->after[0][x.space] + x.at, *q = b->after[1][x.space] + x.at;
        /* of the ring one slot is written; of many rows there may be fewer than there is room for */
        const int whole = o[k].dir == QM_OUT && o[k].space != QM_SPACE_RESULT && b->x.plan->shape.rows == 1;
        for (uint64_t i_ = 0; i_ < x.n * x.copies; i_++) {
            const uint64_t j = i_ / x.n * x.step + i_ % x.n;
            if (p[j] == q[j]) continue;
            if (p[j] != poisons[0] || q[j] != poisons[1])
                fail_msg("%s: byte %llu of %s depends on what the op does not declare as read", op,
                         (unsigned long long)j, o[k].name);
            if (whole) fail_msg("%s leaves byte %llu of %s unwritten", op, (unsigned long long)j, o[k].name);
        }
    }
}

/* Whether operand k's absence from the table would be seen: zeros in its place, and no leave to write there. */
static int seen(ground *b, int i, const qm_operand *o, int n, int k) {
    int s;
    uint64_t at;
    if (run(b, i, o, n, -1, 0, b->after[0], &s, &at) || run(b, i, o, n, k, 0, b->other, &s, &at)) return 1;
    for (int m = 0; m < n; m++) {
        extent x = extent_of(b, &o[m]);
        for (uint32_t c = 0; m != k && o[m].dir & QM_OUT && c < x.copies; c++)
            if (memcmp(b->after[0][x.space] + x.at + c * x.step, b->other[x.space] + x.at + c * x.step, x.n)) return 1;
    }
    return 0;
}

static void check_strokes(ground *b, int i, const qm_operand *o, int n) {
    char op[160];
    const char *kind = qm_op_name(b->x.plan->ops[i].kind);
    for (int k = 0; k < n; k++) {
        int excused = !extent_of(b, &o[k]).n;
        for (size_t u = 0; u < sizeof unseen / sizeof *unseen; u++)
            excused |= !strcmp(unseen[u].op, kind) && !strcmp(unseen[u].operand, o[k].name) &&
                       !strcmp(unseen[u].executor, qm_inside_executor(b->x.g));
        if (!excused && !seen(b, i, o, n, k))
            fail_msg("%s: nobody would see it if operand %s were not declared", name_of(b, i, op, sizeof op),
                     o[k].name);
    }
}

/* Whether an op had anything to do in the run of check_op: of many rows some ops may have none. */
static int worked(const ground *b, const qm_operand *o, int n) {
    for (int k = 0; k < n; k++) {
        extent x = extent_of(b, &o[k]);
        const unsigned char *p = b->after[0][x.space] + x.at, *was = b->before[x.space] + x.at;
        for (uint64_t j = 0; o[k].dir & QM_OUT && j < x.n; j++)
            if (p[j] != (o[k].dir == QM_OUT ? poisons[0] : was[j])) return 1;
    }
    return 0;
}

/* Every op of a step, each on the ground that those before it have left. kinds: counted by op. */
static void check_plan(const char *name, const char *path, const char *executor, uint32_t n_each, int *kinds) {
    static ground b;
    qm_operand o[QM_MAX_OPERANDS];
    qm_err e;
    int struck[QM_N_OPS] = {0};
    open_ground(&b, name, path, executor, n_each);
    take(&b, b.before);
    for (int i = 0; i < b.x.plan->n_ops; i++) {
        const qm_op *op = &b.x.plan->ops[i];
        int n = qm_op_operands(b.x.plan, op, o);
        check_op(&b, i, o, n);
        if (worked(&b, o, n)) {
            kinds[op->kind]++;
            if (!struck[op->kind]++) check_strokes(&b, i, o, n);
        }
        lay(&b, b.before);
        fix_ok(qm_inside_run(&b.x, i, NULL, NULL, &e), &e);
        take(&b, b.before);
    }
    print_message("%s, %s, %u rows: %d ops\n", name, executor, b.x.plan->shape.rows, b.x.plan->n_ops);
    close_ground(&b);
}

static void model(char *path, size_t n, const char *types, uint32_t head_dim) {
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_synth_opts o = {.preset = "tiny",
                       .seed = 7,
                       .n_layers = 2,
                       .n_embd = 256,
                       .n_head = 4,
                       .n_kv_head = 2,
                       .head_dim = head_dim,
                       .n_expert = 8,
                       .n_expert_used = 3,
                       .n_ff_exp = 256,
                       .n_vocab = 512,
                       .n_ctx = CTX,
                       .types = types,
                       .bf16_routers = head_dim == 64}; /* F32H on the device */
    qm_err e;
    snprintf(path, n, "%s/operands-%ld-%s-%u.gguf", dir ? dir : "/tmp", (long)getpid(), types, head_dim);
    fix_ok(qm_synth(path, &o, &e), &e);
}

static const char *const executors[] = {"ref", "graph"};

static void test_every_type(void **state) {
    (void)state;
    static const char *const types[] = {"q4_k_m", "q5_k", "q6_k", "q8_0", "f16", "bf16", "f32"};
    char path[300], name[64];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (uint32_t hd = 64; hd <= 128; hd += 64) {
            model(path, sizeof path, types[t], hd);
            snprintf(name, sizeof name, "%s, heads of %u", types[t], hd);
            for (int x = 0; x < 2; x++) check_plan(name, path, executors[x], 0, (int[QM_N_OPS]){0});
            unlink(path);
        }
}

/* Biases, q, k and v of several types, gate and up of two: the operands and ops that other files do not have. With the
 * others every op that stands in a plan has been here. */
static void test_rare_operands(void **state) {
    (void)state;
    char path[300], edited[310];
    int kinds[QM_N_OPS] = {0};
    static const gguf_edit edits[] = {
        {GE_TENSOR, "blk.0.attn_q.bias", 0.1, NULL, 0, {4 * 128}},
        {GE_TENSOR, "blk.0.attn_k.bias", 0.2, NULL, 0, {2 * 128}},
        {GE_TENSOR, "blk.0.attn_v.bias", 0.3, NULL, 0, {2 * 128}},
        {GE_TENSOR, "blk.0.attn_output.bias", 0.1, NULL, 0, {256}},
        {GE_TENSOR, "blk.0.attn_v.weight", 0.02, NULL, 0, {256, 2 * 128}},
        {GE_TENSOR, "blk.1.ffn_up_exps.weight", 0.02, NULL, 0, {256, 256, 8}},
    };
    model(path, sizeof path, "f16", 128);
    snprintf(edited, sizeof edited, "%s.e", path);
    gguf_edit_file(path, edited, edits, sizeof edits / sizeof *edits);
    for (int x = 0; x < 2; x++)
        for (uint32_t n_each = 0; n_each < 3; n_each++) /* one row; a row of each sequence; two, that is a run */
            check_plan("biases, mixed types", edited, executors[x], n_each, kinds);
    unlink(path);
    unlink(edited);
    for (int k = 0; k < QM_N_OPS; k++)
        if (!kinds[k] && k != QM_OP_PROBE && k != QM_OP_STATS && k != QM_OP_WALK && k != QM_OP_MOE_UP)
            fail_msg("no plan here has op %s", qm_op_name((qm_op_kind)k));
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(test_every_type), cmocka_unit_test(test_rare_operands)};
    return cmocka_run_group_tests_name("unit_operands", t, NULL, NULL);
}
