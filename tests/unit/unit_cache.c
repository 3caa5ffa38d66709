/* unit_cache: pages, their tables and what a sequence carries, with two sequences at once and beyond the first page
 * (contracts/kv_cache.yaml), by each executor. Whatever is done to one sequence, the other computes what it computes
 * alone, to the bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/convert/gguf_write.h"
#include "fixture.h"

static const char *const executors[] = {"graph", "persistent", "ref"};
enum {
    N_EXECUTORS = 3,
    N_DEVICE = 2,
    VOCAB = 512
}; /* ref takes a second for some ten positions: only where it is the point */

static qm_session *session(qm_engine *g) {
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}

static void eval(qm_session *s, const uint32_t *ids, uint32_t n) {
    qm_err e;
    for (uint32_t i = 0; i < n; i++) fix_ok(qm_session_eval(s, ids[i], &e), &e);
}

static void truncate_to(qm_session *s, uint32_t n) {
    qm_err e;
    fix_ok(qm_session_truncate(s, n, &e), &e);
}

static void logits(qm_session *s, float *l) {
    qm_err e;
    fix_ok(qm_session_logits(s, l, &e), &e);
}

/* The logits behind ids, computed by a sequence that has the cache to itself from the first token on. */
static void alone(qm_engine *g, const uint32_t *ids, uint32_t n, float *l) {
    qm_session *s = session(g);
    eval(s, ids, n);
    logits(s, l);
    qm_session_close(s);
}

static void same(qm_session *s, const float *want) {
    float got[VOCAB];
    logits(s, got);
    assert_memory_equal(got, want, sizeof got);
}

/* The table that the device reads. */
static void table_of(qm_session *s, uint32_t *table) {
    qm_inside x;
    qm_err e;
    fix_ok(qm_inside_open(&x, s->g, s, 0, &e), &e);
    fix_ok(qm_inside_read(&x, QM_REF(QM_SPACE_SEQ, x.plan->seq.table_off), table, 4ull * s->n_pages, &e), &e);
    qm_inside_close(&x);
}

/* Each page of a has one owner, and the device knows it. */
static void check_tables(qm_session *a, qm_session *b) {
    uint32_t table[16];
    qm_session *s[2] = {a, b};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(s[k]->n_pages, (s[k]->n_cached + QM_PAGE_TOKENS - 1) / QM_PAGE_TOKENS);
        table_of(s[k], table);
        assert_memory_equal(table, s[k]->pages, 4 * s[k]->n_pages);
        for (uint32_t i = 0; i < s[k]->n_pages; i++)
            for (uint32_t j = 0; j < s[1 - k]->n_pages; j++) assert_int_not_equal(s[k]->pages[i], s[1 - k]->pages[j]);
    }
    assert_int_equal(a->n_pages + b->n_pages + a->g->kv.n_free, a->g->kv.n_pages);
}

/* Two sequences in turn over page borders: then the pages of one go to the other while that one goes on. */
static void test_pages_change_hands(void **state) {
    (void)state;
    enum { A = 70, B = 40 };
    for (int x = 0; x < N_DEVICE; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        uint32_t ids[2][A];
        float want_a[VOCAB], want_b[VOCAB], want_c[VOCAB];
        fix_prompt(g, ids[0], A, 51);
        fix_prompt(g, ids[1], A, 52);
        alone(g, ids[0], A, want_a);
        alone(g, ids[1], B, want_b);
        alone(g, ids[1], A, want_c);
        qm_session *a = session(g), *b = session(g);
        for (uint32_t i = 0; i < B; i++) {
            eval(a, ids[0] + i, 1);
            eval(b, ids[1] + i, 1);
        }
        same(b, want_b);
        check_tables(a, b);
        uint32_t first = a->pages[0];
        truncate_to(a, 0);
        eval(b, ids[1] + B, A - B); /* takes a page that was a's */
        eval(a, ids[0], A);
        assert_int_not_equal(a->pages[0], first); /* the table's first entry has changed */
        same(a, want_a);
        same(b, want_c);
        check_tables(a, b);
        /* and b still reads its own: what a wrote went elsewhere */
        truncate_to(b, A - 1);
        eval(b, ids[1] + A - 1, 1);
        same(b, want_c);
        qm_session_close(a);
        qm_session_close(b);
        assert_int_equal(g->kv.n_free, g->kv.n_pages);
        qm_engine_close(g);
    }
}

/* A truncated sequence keeps the page that it has used in part. */
static void test_half_page_stays(void **state) {
    (void)state;
    enum { N = 60, KEEP = 36 };
    for (int x = 0; x < N_DEVICE; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        uint32_t ids[N], other[N];
        float want[VOCAB], want_other[VOCAB];
        fix_prompt(g, ids, N, 61);
        fix_prompt(g, other, N, 62);
        alone(g, ids, N, want);
        alone(g, other, N, want_other);
        qm_session *a = session(g), *b = session(g);
        eval(a, ids, N - 10);
        static const uint32_t keep[] = {KEEP, 33, 32, 1, 0}, pages[] = {2, 2, 1, 1, 0};
        for (int i = 0; i < 5; i++) {
            truncate_to(a, keep[i]);
            assert_int_equal(a->n_pages, pages[i]);
            if (i) continue;
            eval(b, other, N); /* takes whatever was given back, and fills it */
            check_tables(a, b);
            eval(a, ids + KEEP, N - KEEP);
            same(a, want);
            same(b, want_other);
        }
        qm_session_close(a);
        qm_session_close(b);
        qm_engine_close(g);
    }
}

/* What a generation took ahead and did not need goes back; what it holds is what is cached. */
static void test_pages_taken_ahead(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *a = session(g), *b = session(g);
    uint32_t ids[40];
    qm_gen_opts o = {.max_tokens = 3, .ignore_eos = 1};
    qm_gen_stats st;
    qm_err e;
    fix_prompt(g, ids, 40, 71);
    for (int all = 0; all < 2; all++) { /* so many tokens; until the context is full, but that stops it */
        const char *stop[] = {"a", "e", "i", "o", "u", "t", " ", "\n"};
        if (all) o = (qm_gen_opts){.stop = stop, .n_stop = 8};
        fix_ok(qm_generate(a, ids, 30, &o, &st, &e), &e);
        check_tables(a, b);
        fix_ok(qm_generate(b, ids, 40, &o, &st, &e), &e);
        check_tables(a, b);
    }
    qm_session_close(a);
    qm_session_close(b);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);
    qm_engine_close(g);
}

/* Attention reads every page: a token changed in any of them changes the last logits, and they are the reference's. */
static void test_every_page_counts(void **state) {
    (void)state;
    enum { PAGES = 2, N = PAGES * QM_PAGE_TOKENS + 5 };
    uint32_t ids[N];
    float l[N_EXECUTORS][PAGES + 1][VOCAB];
    for (int x = 0; x < N_EXECUTORS; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s = session(g);
        qm_err e;
        for (int page = -1; page < (x < N_DEVICE ? PAGES : 0); page++) {
            fix_prompt(g, ids, N, 81);
            if (page >= 0) ids[page * QM_PAGE_TOKENS + 7] ^= 3;
            truncate_to(s, 0);
            memcpy(s->ids, ids, sizeof ids);
            s->n = N;
            fix_ok(qm_session_prefill(s, NULL, &e), &e);
            logits(s, l[x][page + 1]);
        }
        qm_session_close(s);
        qm_engine_close(g);
    }
    for (int x = 0; x < N_DEVICE; x++) {
        assert_true(fix_cosine(l[x][0], l[N_EXECUTORS - 1][0], VOCAB) > 0.9999);
        for (int page = 1; page <= PAGES; page++) {
            double d = fix_rel_l2(l[x][page], l[x][0], VOCAB);
            if (d < 1e-3) fail_msg("a token of page %d moves the logits by %g", page - 1, d);
        }
    }
}

/* A flag that a step raised is gone with the next beginning. */
static void test_flags_are_cleared(void **state) {
    (void)state;
    for (int x = 0; x < N_EXECUTORS; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s = session(g);
        const qm_plan *p;
        uint32_t bad = VOCAB + 7, id;
        qm_result r;
        float want[VOCAB];
        qm_err e;
        alone(g, (const uint32_t[]){65}, 1, want);
        fix_ok(qm_session_pages(s, 1, &e), &e);
        fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
        fix_ok(g->exec->put_tokens(g, s->seq, 0, &bad, 1, &e), &e);
        fix_ok(g->exec->step(g, &(qm_row){s->seq, 0, 1}, 1, p, &e), &e);
        fix_ok(g->exec->result(g, s->seq, 0, &r, &e), &e);
        assert_int_equal(r.flags, QM_FLAG_BAD_TOKEN);
        assert_int_equal(qm_session_result(s, 0, &id, &e), QM_ERR_DEVICE);
        fix_ok(qm_session_eval(s, 65, &e), &e);
        same(s, want);
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* The file "small" with biases in every layer: of q, k, v where bits 0, 1, 2 of mask are set. */
static void with_biases(const char *path, int mask) {
    qm_gguf *f;
    qm_gguf_writer *w;
    qm_err e;
    float *b = malloc(1024 * sizeof *b);
    static const char letter[3] = {'q', 'k', 'v'};
    static const uint64_t rows[3] = {8 * 128, 2 * 128, 2 * 128};
    char name[64];
    fix_ok(qm_gguf_open(&f, fix_model("small"), &e), &e);
    fix_ok(qm_gguf_writer_open(&w, path, &e), &e);
    for (size_t i = 0; i < qm_gguf_n_kv(f); i++)
        if (qm_gguf_kv_at(f, i)->key.n != 17 || memcmp(qm_gguf_kv_at(f, i)->key.s, "general.alignment", 17))
            qm_gguf_write_kv(w, qm_gguf_kv_at(f, i));
    for (size_t i = 0; i < qm_gguf_n_tensors(f); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(f, i);
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.s);
        qm_gguf_write_tensor(w, name, t->type, t->n_dims, t->ne);
    }
    for (int l = 0; l < 4; l++)
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "blk.%d.attn_%c.bias", l, letter[k]);
            if (mask >> k & 1) qm_gguf_write_tensor(w, name, QM_TYPE_F32, 1, (const uint64_t[4]){rows[k], 1, 1, 1});
        }
    for (size_t i = 0; i < qm_gguf_n_tensors(f); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(f, i);
        qm_gguf_write_data(w, t->data, t->bytes);
    }
    for (int l = 0; l < 4; l++)
        for (int k = 0; k < 3; k++) {
            for (uint64_t i = 0; i < rows[k]; i++) b[i] = (float)((int)(i * 37 + (uint64_t)(l + k)) % 19 - 9) / 9;
            if (mask >> k & 1) qm_gguf_write_data(w, b, rows[k] * 4);
        }
    fix_ok(qm_gguf_writer_finish(w, &e), &e);
    qm_gguf_writer_close(w);
    qm_gguf_close(f);
    free(b);
}

/* A bias belongs to its own product, whichever of the three have one: each makes a difference of its own, and the device
 * agrees with the reference. */
static void test_biases(void **state) {
    (void)state;
    static float l[N_EXECUTORS][8][VOCAB];
    const char *dir = getenv("QMOE_TEST_TMP");
    char path[300];
    snprintf(path, sizeof path, "%s/qmoe-%ld-bias.gguf", dir ? dir : "/tmp", (long)getpid());
    for (int mask = 0; mask < 8; mask++) {
        with_biases(path, mask);
        for (int x = 0; x < N_EXECUTORS; x++) {
            qm_engine *g;
            qm_err e;
            uint32_t ids[3];
            fix_ok(qm_engine_open(&g, path, &(qm_engine_opts){.device = "sim", .executor = executors[x]}, &e), &e);
            /* joined only where all that are joined have one, or none has: q and k are of one type in every layer, v in some */
            for (uint32_t i = 0; i < g->model->hp.n_layers; i++)
                assert_int_equal(g->place->regions[fix_region(g, (int)i, "attn_q")].n_segments >= 2,
                                 (mask & 1) == (mask >> 1 & 1));
            fix_prompt(g, ids, 3, 91);
            alone(g, ids, 3, l[x][mask]);
            qm_engine_close(g);
        }
        unlink(path);
        for (int x = 0; x + 1 < N_EXECUTORS; x++)
            assert_true(fix_cosine(l[x][mask], l[N_EXECUTORS - 1][mask], VOCAB) > 0.9999);
        assert_memory_equal(l[0][mask], l[1][mask], sizeof l[0][0]);
        for (int other = 0; other < mask; other++) assert_true(fix_rel_l2(l[0][mask], l[0][other], VOCAB) > 0.01);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_change_hands), cmocka_unit_test(test_half_page_stays),
        cmocka_unit_test(test_pages_taken_ahead),  cmocka_unit_test(test_every_page_counts),
        cmocka_unit_test(test_flags_are_cleared),  cmocka_unit_test(test_biases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
