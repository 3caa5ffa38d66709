/* unit_narrow: routers of F32 whose weights are BF16 values lie on the device in half the bytes (runtime/plan/narrow.h), and nothing
 * else differs: the logits are the same bits with and without, in one row and in many, by every executor, however ops are kept
 * apart. One low bit that is not zero keeps its router, and it alone, as it is in the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/arch/arch.h"
#include "../../runtime/observe/predict.h"
#include "fixture.h"

enum {
    LAYERS = 3,
    EMBD = 2048 /* eight parts of K */,
    EXPERTS = 40 /* not whole tiles */,
    ROUTER = EXPERTS * EMBD,
    N = 80
};

static char made[300];

static int make(void **state) {
    qm_err e;
    const char *dir = getenv("QMOE_TEST_TMP");
    (void)state;
    snprintf(made, sizeof made, "%s/qmoe-%ld-narrow.gguf", dir ? dir : "/tmp", (long)getpid());
    return qm_synth(made,
                    &(qm_synth_opts){.preset = "tiny",
                                     .seed = 11,
                                     .n_layers = LAYERS,
                                     .n_embd = EMBD,
                                     .n_head = 2,
                                     .n_kv_head = 1,
                                     .n_expert = EXPERTS,
                                     .n_expert_used = 3,
                                     .n_ff_exp = 256,
                                     .n_vocab = 512,
                                     .n_ctx = 256,
                                     .bf16_routers = 1},
                    &e);
}

static int drop(void **state) {
    (void)state;
    return unlink(made);
}

static qm_engine *opened(const char *executor, const char *apart) {
    qm_engine_opts o = {.device = "sim", .executor = executor, .apart = apart, .n_ubatch = 64, .n_outs = 64};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, made, &o, &e), &e);
    return g;
}

/* Turns the lowest bit of weight i of a layer's router. */
static void turn_bit(int layer, uint64_t i) {
    char name[64];
    qm_gguf *f;
    qm_err e;
    snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
    fix_ok(qm_gguf_open(&f, made, &e), &e);
    const long at = (long)(qm_gguf_tensor(f, name)->file_off + 4 * i);
    qm_gguf_close(f);
    FILE *s = fopen(made, "r+b");
    assert_non_null(s);
    assert_int_equal(fseek(s, at, SEEK_SET), 0);
    const int low = getc(s);
    assert_int_equal(fseek(s, at, SEEK_SET), 0);
    putc(low ^ 1, s);
    assert_int_equal(fclose(s), 0);
}

/* Which layers' routers are narrow: bits. What an engine says of the whole agrees. */
static unsigned narrow_layers(void) {
    qm_engine *g = opened("graph", NULL);
    qm_engine_info i;
    unsigned set = 0;
    uint64_t routers = 0, in_file = 0;
    int n = 0;
    qm_engine_get_info(g, &i);
    for (int l = 0; l < LAYERS; l++) {
        const qm_region *r = &g->place->regions[fix_region(g, l, "ffn_gate_inp")];
        const int narrow = r->type->type == QM_TYPE_F32H;
        assert_int_equal(g->model->weights[r->weight[0]].type->type, QM_TYPE_F32);
        assert_int_equal(r->type->type, narrow ? QM_TYPE_F32H : QM_TYPE_F32);
        assert_int_equal(r->bytes, (EXPERTS + 31) / 32 * 32 * EMBD * (narrow ? 2 : 4));
        set |= (unsigned)narrow << l;
        n += narrow;
        routers += r->bytes;
        in_file += (EXPERTS + 31) / 32 * 32 * EMBD * 4;
    }
    assert_int_equal(i.n_narrow, n);
    /* what memory is chosen by, and what a token is said to read */
    static uint64_t others, others_read;
    const uint64_t rest = i.weight_bytes - routers, rest_read = i.bytes_per_token - routers;
    if (!others) others = rest, others_read = rest_read;
    assert_int_equal(rest, others);
    assert_int_equal(rest_read, others_read);
    assert_int_equal(in_file - routers, (uint64_t)n * ((EXPERTS + 31) / 32 * 32) * EMBD * 2);
    qm_engine_close(g);
    return set;
}

static void test_which(void **state) {
    (void)state;
    static const uint64_t at[] = {0, 1, EMBD - 1, ROUTER / 2 + 7, ROUTER - 1};
    qm_engine_opts o = {.device = "sim"};
    qm_engine *g;
    qm_err e;
    assert_int_equal(narrow_layers(), 7);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        turn_bit(1, at[i]);
        assert_int_equal(narrow_layers(), 5);
        turn_bit(1, at[i]);
    }
    assert_int_equal(narrow_layers(), 7);
    setenv("QMOE_NARROW", "0", 1);
    assert_int_equal(narrow_layers(), 0);
    setenv("QMOE_NARROW", "2", 1);
    assert_int_equal(qm_engine_open(&g, made, &o, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "QMOE_NARROW '2': 0 to 1"));
    unsetenv("QMOE_NARROW");
}

/* Only routers: every other weight lies as it is in the file, also where all of it is F32 or BF16. */
static void test_no_other(void **state) {
    (void)state;
    static const char *const kinds[] = {"f32h", "f32", "bf16", "small", "dense_f32"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        qm_engine *g = fix_engine(kinds[k], "ref");
        int n = 0;
        for (int r = 0; r < g->place->n_regions; r++) {
            const qm_weight *w = &g->model->weights[g->place->regions[r].weight[0]];
            if (g->place->regions[r].type == w->type) continue;
            assert_string_equal(w->name, "ffn_gate_inp");
            n++;
        }
        assert_int_equal(n, strcmp(kinds[k], "f32h") ? 0 : 2);
        qm_engine_close(g);
    }
}

/* Nor where every weight of a file could be: all F32, and zero. Experts, embedding and output have no such kernels. */
static void test_all_could(void **state) {
    (void)state;
    qm_gguf *f;
    qm_model *m;
    qm_place *pl;
    qm_err e;
    char path[320];
    snprintf(path, sizeof path, "%s.zeros", made);
    fix_ok(qm_synth(path, &(qm_synth_opts){.preset = "tiny", .types = "f32", .sparse = 1}, &e), &e);
    fix_ok(qm_gguf_open(&f, path, &e), &e);
    fix_ok(qm_model_open(&m, f, 0, &e), &e);
    fix_ok(qm_place_build(&pl, m, &e), &e);
    for (int r = 0; r < pl->n_regions; r++) {
        const int router = !strcmp(m->weights[pl->regions[r].weight[0]].name, "ffn_gate_inp");
        assert_int_equal(pl->regions[r].type->type, router ? QM_TYPE_F32H : QM_TYPE_F32);
    }
    assert_int_equal(pl->n_narrow, m->hp.n_layers);
    qm_place_free(pl);
    qm_model_close(m);
    qm_gguf_close(f);
    unlink(path);
}

/* A prediction is of the bytes that a step would read: in steps of one row and of many. */
static void test_predicted(void **state) {
    (void)state;
    static const qm_work work[] = {{0, 1, 1, 1}, {0, 8, 8, 8}};
    for (size_t k = 0; k < sizeof work / sizeof *work; k++) {
        uint64_t bytes[2];
        for (int narrow = 0; narrow < 2; narrow++) {
            qm_predictor *p;
            const qm_op_records *r;
            qm_err e;
            setenv("QMOE_NARROW", narrow ? "1" : "0", 1);
            fix_ok(qm_predictor_open(&p, made, &(qm_predict_opts){0}, &e), &e);
            unsetenv("QMOE_NARROW");
            fix_ok(qm_predictor_step(p, qm_chip_find("h200", 4), work[k], NULL, &r, &e), &e);
            bytes[narrow] = r->weight_bytes;
            qm_predictor_close(p);
        }
        assert_int_equal(bytes[0] - bytes[1], LAYERS * ((EXPERTS + 31) / 32 * 32) * EMBD * 2);
    }
}

/* Hashes of the logits of each position of a text of n, chunk rows a step. */
static void score(uint64_t *hash, const char *executor, const char *apart, uint32_t n, uint32_t chunk) {
    qm_engine *g = opened(executor, apart);
    uint32_t ids[N];
    qm_session *s;
    qm_err e;
    fix_prompt(g, ids, n, 5);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_hashes(hash, s, ids, 0, n, chunk);
    qm_session_close(s);
    qm_engine_close(g);
}

static void test_same_bits(void **state) {
    (void)state;
    static const struct {
        const char *executor, *apart;
        uint32_t n, chunk;
    } way[] = {{"graph", NULL, 9, 1},  {"graph", "norm", 9, 1},     {"graph", "topk", 5, 1},
               {"graph", "all", 9, 1}, {"persistent", NULL, 9, 1},  {"persistent", "norm,topk", 5, 1},
               {"graph", NULL, N, 64}, {"persistent", NULL, N, 16}, {"graph", NULL, 21, 3}};
    static uint64_t wide[N], narrow[N];
    for (int bit = 0; bit < 2; bit++) { /* all of them narrow; one not */
        setenv("QMOE_NARROW", "0", 1);
        score(wide, "graph", "all", N, 1);
        unsetenv("QMOE_NARROW");
        for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
            score(narrow, way[i].executor, way[i].apart, way[i].n, way[i].chunk);
            for (uint32_t p = 0; p < way[i].n; p++)
                if (wide[p] != narrow[p])
                    fail_msg("%s, apart %s, %u rows a step, %d routers as they are: other logits at position %u",
                             way[i].executor, way[i].apart ? way[i].apart : "none", way[i].chunk, bit, p);
        }
        turn_bit(1, ROUTER - 1);
    }
}

/* The references read the file's rows, whatever lies on the device. */
static void test_reference(void **state) {
    (void)state;
    static uint64_t wide[N], narrow[N];
    for (uint32_t chunk = 1; chunk <= 4; chunk += 3) {
        setenv("QMOE_NARROW", "0", 1);
        score(wide, "ref", NULL, 4, chunk);
        unsetenv("QMOE_NARROW");
        score(narrow, "ref", NULL, 4, chunk);
        assert_memory_equal(wide, narrow, 4 * sizeof *wide);
    }
}

/* What is uploaded is the high half of each weight, in its place. */
static void test_upload(void **state) {
    (void)state;
    qm_engine *g = opened("graph", NULL);
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    for (int l = 0; l < LAYERS; l++) {
        const int reg = fix_region(g, l, "ffn_gate_inp");
        const qm_region *r = &g->place->regions[reg];
        const qm_weight *w = &g->model->weights[r->weight[0]];
        uint16_t *rows = malloc(2 * ROUTER);
        unsigned char *want = malloc(r->bytes), *got = malloc(r->bytes);
        assert_true(rows && want && got);
        for (int i = 0; i < ROUTER; i++) memcpy(rows + i, (const char *)w->data + 4 * i + 2, 2);
        qm_pack(want, rows, r->type, EXPERTS, EMBD);
        assert_int_equal(
            g->dev->cu.MemcpyDtoH(got, fix_address(s, g->plans[0], QM_REF(QM_SPACE_REGION, reg)), r->bytes),
            CUDA_SUCCESS);
        assert_memory_equal(got, want, r->bytes);
        free(rows);
        free(want);
        free(got);
    }
    qm_session_close(s);
    qm_engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_which),     cmocka_unit_test(test_no_other),
                                       cmocka_unit_test(test_all_could), cmocka_unit_test(test_upload),
                                       cmocka_unit_test(test_predicted), cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_reference)};
    return cmocka_run_group_tests(tests, make, drop);
}
