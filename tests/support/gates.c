/* gates.c: the gates, and what they are asked of. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/observe/perplexity.h"
#include "fault.h"
#include "fixture.h"
#include "gates.h"

static const double COSINE = 0.999;
static const char *const peer_name[PEERS] = {"hf", "llama32", "llama"};
enum { ROUNDS = 2 }; /* the peer that rounds activations to 8 bits, and may be alone with its choice */
/* The mean KL. The project's bar is 0.02 for all */
static const double KL[PEERS] = {1e-4, 1e-4, 0.004};
/* A lead below it is a near tie, in nats. Shares of the positions: that many near ties, that often alone. */
static const double NEAR[PEERS] = {0.01, 0.01, 0.1}, NEAR_SHARE[PEERS] = {0.005, 0.005, 0.025}, ALONE_SHARE = 0.01;

typedef struct {
    uint64_t n;
    double cosine;
    int rows;
    struct {
        double kl, kl_max;
        uint64_t same, near, alone, differ;
    } peer[PEERS];
} figures;

typedef struct {
    const gates_subject *s;
    qm_lp_file f[PEERS];
    qm_lp_record rec[PEERS];
    float *rows;       /* [s->rows, n_vocab] */
    unsigned char *in; /* [n_vocab] */
    uint32_t n_vocab, n_seqs;
    int quiet;
    figures v;
} bench;

/* ---- the model that the fixture was made with ---- */

static char tiny_path[256];
static const char *model_path(const gates_subject *s) {
    if (s->demo) {
        const char *p = getenv("QMOE_DEMO");
        return p ? p : "models/demo.gguf";
    }
    if (!tiny_path[0]) {
        const char *tmp = getenv("QMOE_TEST_TMP");
        qm_synth_opts o = {.preset = s->preset ? s->preset : "tiny", .seed = 1};
        qm_err e;
        snprintf(tiny_path, sizeof tiny_path, "%s/qmoe-gates-%ld.gguf", tmp ? tmp : "/tmp", (long)getpid());
        fix_ok(qm_synth(tiny_path, &o, &e), &e);
    }
    return tiny_path;
}

static uint32_t crc32_of(const char *path) {
    static unsigned char buf[1 << 16];
    uint32_t crc = ~0u, table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot be opened", path);
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
        for (size_t i = 0; i < n; i++) crc = crc >> 8 ^ table[(crc ^ buf[i]) & 255];
    fclose(f);
    return ~crc;
}

static void same_model(const char *file, const char *note, const char *model) {
    static char want[32], of[256]; /* a test program has one model, and many fixtures */
    if (strcmp(of, model)) {
        snprintf(of, sizeof of, "%s", model);
        snprintf(want, sizeof want, "CRC-32 %08x", crc32_of(model));
    }
    if (!strstr(note, want))
        fail_msg("%s (%s) was not made with %s (%s): run tools/peers/fixtures.py", file, note, model, want);
}

/* ---- taking the figures ---- */

static int position(void *user, uint32_t seq, uint32_t pos, const float *logits, qm_err *e) {
    bench *b = user;
    b->v.n++;
    uint32_t tops[PEERS];
    for (int p = 0; p < PEERS; p++) {
        fix_ok(qm_lp_read(&b->f[p], &b->rec[p], e), e);
        qm_apart a = qm_compare(logits, b->n_vocab, &b->rec[p], b->in);
        if (isnan(a.kl)) a.kl = INFINITY;
        b->v.peer[p].kl += a.kl;
        if (a.kl > b->v.peer[p].kl_max) b->v.peer[p].kl_max = a.kl;
        tops[p] = a.base_top;
        if (a.top == a.base_top) {
            b->v.peer[p].same++;
            continue;
        }
        int near = a.lead < NEAR[p], alone = !near && p == ROUNDS && a.top == tops[0] && a.top == tops[1];
        b->v.peer[p].near += near;
        b->v.peer[p].alone += alone;
        b->v.peer[p].differ += !near && !alone;
        if (!b->quiet)
            print_message("%s, sequence %u, position %u: arg max %u, %s has %u with a lead of %.4f nats%s\n",
                          b->s->name, seq, pos, a.top, peer_name[p], a.base_top, a.lead,
                          near    ? ": a near tie"
                          : alone ? ": it is alone, the others have ours"
                                  : "");
    }
    if ((int)seq < b->s->rows && pos + 1 == b->f[0].seqs[seq].end) {
        double c = fix_cosine(logits, b->rows + (size_t)seq * b->n_vocab, b->n_vocab);
        b->v.cosine = isnan(c) ? -1 : fmin(b->v.cosine, c);
        b->v.rows++;
    }
    return 0;
}

/* What the engine makes of the first n_seqs sequences (0: all). f: a fault to put in, or NULL */
static figures measure(const gates_subject *s, uint32_t n_seqs, const fault *f, int neutral) {
    bench b = {.s = s, .quiet = f != NULL, .v = {.cosine = 1}};
    const char *dev = getenv("QMOE_TEST_DEVICE"), *model = model_path(s);
    /* faults are put into ops of one thing each */
    qm_engine_opts o = {.device = dev ? dev : "sim", .n_ctx = 512, .n_outs = FAULT_ROWS, .apart = f ? "all" : NULL};
    char name[128];
    qm_engine *g;
    qm_session *ss;
    qm_err e;
    for (int p = 0; p < PEERS; p++) {
        snprintf(name, sizeof name, "tests/golden/peers/%s_%s.lp", s->name, peer_name[p]);
        fix_ok(qm_lp_open(&b.f[p], name, &e), &e);
        same_model(name, b.f[p].note, model);
        fix_ok(qm_lp_record_alloc(&b.rec[p], b.f[p].k, &e), &e);
    }
    fix_ok(qm_engine_open(&g, model, &o, &e), &e);
    b.n_vocab = g->model->hp.n_vocab;
    b.n_seqs = b.f[0].n_seqs;
    for (int p = 0; p < PEERS; p++) assert_true(b.f[p].n_vocab == b.n_vocab && b.f[p].n_seqs == b.n_seqs);
    b.in = calloc(1, b.n_vocab);
    b.rows = calloc((size_t)s->rows + 1, 4ull * b.n_vocab);
    assert_true(b.in && b.rows);
    if (s->rows) {
        snprintf(name, sizeof name, "tests/golden/peers/%s_hf.f32", s->name);
        FILE *r = fopen(name, "rb");
        if (!r) fail_msg("%s: cannot be opened", name);
        assert_int_equal(fread(b.rows, 4ull * b.n_vocab, (size_t)s->rows, r), s->rows);
        fclose(r);
    }
    if (f) fix_ok(fault_apply(g, f, (fault_at){.layer = -1, .from = 12, .neutral = neutral}, &e), &e);
    fix_ok(qm_session_open(&ss, g, &e), &e);
    for (uint32_t i = 0; i < (n_seqs ? n_seqs : b.n_seqs); i++) {
        const qm_lp_seq *q = &b.f[0].seqs[i];
        for (int p = 1; p < PEERS; p++) {
            const qm_lp_seq *l = &b.f[p].seqs[i];
            assert_true(q->n_tokens == l->n_tokens && q->first == l->first && q->end == l->end);
            assert_memory_equal(q->tokens, l->tokens, 4ull * q->n_tokens);
        }
        fix_ok(qm_score_sequence(ss, i, q, position, &b, NULL, &e), &e);
    }
    qm_session_close(ss);
    qm_engine_close(g);
    for (int p = 0; p < PEERS; p++) {
        b.v.peer[p].kl /= (double)b.v.n;
        qm_lp_close(&b.f[p]);
        qm_lp_record_free(&b.rec[p]);
    }
    free(b.in);
    free(b.rows);
    return b.v;
}

/* ---- the gates ---- */

enum { GATES = 1 + 2 * PEERS };
static const char *const gate_name[GATES] = {"cosine hf", "arg max hf", "arg max llama32", "arg max llama",
                                             "KL hf",     "KL llama32", "KL llama"};
/* Whether gate k lets v pass. */
static int passes(const figures *v, int k) {
    double n = (double)v->n;
    if (k == 0) return v->cosine >= COSINE;
    int p = (k - 1) % PEERS;
    if (k > PEERS) return v->peer[p].kl <= KL[p];
    return !v->peer[p].differ && (double)v->peer[p].near <= 1 + NEAR_SHARE[p] * n &&
           (double)v->peer[p].alone <= 1 + ALONE_SHARE * n;
}

void gates_parity(const gates_subject *s, uint64_t at_least) {
    figures v = measure(s, 0, NULL, 0);
    if (s->rows) print_message("%s: worst cosine with hf %.8f over %d rows\n", s->name, v.cosine, v.rows);
    for (int p = 0; p < PEERS; p++)
        print_message("%s against %s: mean KL %.3g, largest %.3g; same arg max at %llu of %llu, %llu near ties, alone "
                      "at %llu, %llu "
                      "others\n",
                      s->name, peer_name[p], v.peer[p].kl, v.peer[p].kl_max, (unsigned long long)v.peer[p].same,
                      (unsigned long long)v.n, (unsigned long long)v.peer[p].near, (unsigned long long)v.peer[p].alone,
                      (unsigned long long)v.peer[p].differ);
    assert_true(v.n >= at_least);
    assert_int_equal(v.rows, s->rows);
    for (int k = s->rows ? 0 : 1; k < GATES; k++)
        if (!passes(&v, k)) fail_msg("%s: the gate '%s' is not passed", s->name, gate_name[k]);
}
void gates_reject(const gates_subject *s, uint32_t n_seqs) {
    int missed = 0;
    if (getenv("QMOE_FAULT_FULL")) n_seqs = 0;
    print_message("%-20s %-5s %9s  %8s %8s %8s  %9s %9s %9s\n", "fault", "model", "cosine", "max hf", "llama32",
                  "llama", "KL hf", "llama32", "llama");
    for (int k = -1; k < FAULT_N + FAULT_MANY_N; k++) {
        const fault *f = k < 0 ? &faults[0] : k < FAULT_N ? &faults[k] : &faults_of_many[k - FAULT_N];
        /* first the control: the same machinery with the right data */
        figures v = measure(s, n_seqs, f, k < 0);
        print_message("%-20s %-5s %9.6f ", k < 0 ? "control" : f->name, s->name, v.cosine);
        for (int p = 0; p < PEERS; p++)
            print_message(" %3llu/%-4llu", (unsigned long long)v.peer[p].differ, (unsigned long long)v.n);
        for (int p = 0; p < PEERS; p++) print_message(" %9.*f", k < 0 ? 7 : 4, v.peer[p].kl);
        print_message("\n");
        for (int i = 0; i < GATES; i++)
            if (passes(&v, i) != (k < 0)) {
                print_error("%s: the gate '%s' %s\n", k < 0 ? "control" : f->name, gate_name[i],
                            k < 0 ? "refuses it" : "lets it pass");
                missed++;
            }
    }
    assert_int_equal(missed, 0);
}
int gates_clean(void **state) {
    (void)state;
    if (tiny_path[0]) unlink(tiny_path);
    return 0;
}
