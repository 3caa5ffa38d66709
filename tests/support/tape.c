#include "tape.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/rng.h"

enum { P = QM_PAGE_TOKENS, WINDOW = 5, FIRST_ID = 60, N_IDS = 40 };

struct qm_seq {
    uint32_t index, *tokens, *table, *shadow; /* as the device has them; shadow: the table as the host has said it is */
    uint64_t seed;
    uint32_t last; /* penalties' window */
    uint32_t *mask;
    int limited;
    qm_result ring[QM_RESULT_RING];
    uint64_t step_of[QM_RESULT_RING];
};

/* One entry of the tape. */
typedef struct {
    enum { TOKENS, TABLE, SAMPLING, MASK, STEP } what;
    qm_seq *seq;
    uint32_t at, n;
    uint32_t *words; /* TOKENS, TABLE, MASK: [n] */
    int limited;     /* SAMPLING */
    qm_row *rows;    /* STEP: [n] */
    uint64_t seed, step;
} entry;

static struct {
    const qm_executor *was;
    qm_limits limits;
    int n_plans;
    qm_pages *kv;
    uint64_t *pool; /* [n_pages, P] */
    unsigned char taken[QM_STEP_ROWS_MAX];
    entry *tape;
    size_t n, run, cap;
    uint64_t n_steps, n_waited; /* enqueued; of these, the host knows that they are done */
    qm_rng rng;
    int late;
    uint32_t most_rows, fail_at, fail_mask_at, eog, n_vocab;
} t;

static uint64_t mix(uint64_t h, uint64_t x) {
    qm_rng r = {h ^ (x + 0x632be59bd9b4e019u) * 0x9e3779b97f4a7c15u};
    return qm_rng_u64(&r);
}

/* ---- what it computes ---- */
static uint64_t word_of(uint64_t before, uint32_t token, uint32_t pos) { return mix(mix(before, token), pos); }
static uint64_t join(uint64_t before, uint64_t word) { return mix(before, word) + before; }
static int allowed(const uint32_t *mask, uint32_t id) { return !mask || mask[id / 32] >> id % 32 & 1; }
static uint32_t choose(uint64_t word, uint64_t seed, const uint32_t *tokens, uint32_t pos, uint32_t last,
                       const uint32_t *mask) {
    uint64_t h = mix(word, seed);
    for (uint32_t i = 0; i < last && i <= pos; i++) h = mix(h, tokens[pos - i]);
    const uint32_t i = (uint32_t)(h >> 32) % N_IDS;
    uint32_t id = i ? FIRST_ID + i : t.eog;
    while (!allowed(mask, id)) id = (id + 1) % t.n_vocab; /* for ever, if it allows nothing */
    return id;
}

static uint64_t seed_of(const qm_sample_params *p) { return p->mode ? p->seed + 1 : 0; }

const uint32_t *tape_mask(uint32_t before, uint32_t pos, uint32_t *words) {
    memset(words, 0, 4 * (size_t)QM_MASK_WORDS(t.n_vocab));
    if (pos % 5 == 4) return NULL;
    for (uint32_t id = (before + pos) % 3; id < t.n_vocab; id += 3) words[id / 32] |= 1u << id % 32;
    return words;
}

static void compute(const qm_row *r) {
    qm_seq *s = r->seq;
    uint64_t before = 0, *at = &t.pool[(uint64_t)s->table[r->pos / P] * P];
    for (uint32_t p = 0; p < r->pos; p++) before = join(before, t.pool[(uint64_t)s->table[p / P] * P + p % P]);
    at[r->pos % P] = word_of(before, s->tokens[r->pos], r->pos);
    if (!r->logits) return;
    s->tokens[r->pos + 1] = choose(at[r->pos % P], s->seed, s->tokens, r->pos, s->last, s->limited ? s->mask : NULL);
    s->ring[r->pos % QM_RESULT_RING] = (qm_result){.token = s->tokens[r->pos + 1], .pos = r->pos};
}

void tape_alone(const uint32_t *ids, uint32_t n, const qm_sampling *p, int limited, uint32_t *out, uint32_t most) {
    uint32_t *tokens = malloc((n + most) * sizeof *tokens), *words = malloc(4 * (size_t)QM_MASK_WORDS(t.n_vocab));
    uint64_t before = 0;
    qm_sample_words w = {0};
    qm_err e;
    assert_true(tokens && words);
    if (p) fix_ok(qm_sampling_words(&w, p, UINT32_MAX, &e), &e);
    memcpy(tokens, ids, n * sizeof *tokens);
    for (uint32_t pos = 0; pos + 1 < n + most; pos++) {
        const uint64_t word = word_of(before, tokens[pos], pos);
        if (pos + 1 >= n)
            tokens[pos + 1] = choose(word, seed_of(&w.p), tokens, pos, w.p.last_n,
                                     limited ? tape_mask(tokens[pos], pos + 1, words) : NULL);
        before = join(before, word);
    }
    memcpy(out, tokens + n, most * sizeof *out);
    free(tokens);
    free(words);
}

/* ---- the tape ---- */
static void run_one(entry *x) {
    qm_seq *s = x->seq;
    switch (x->what) {
    case TOKENS: memcpy(s->tokens + x->at, x->words, x->n * sizeof *x->words); break;
    case TABLE: memcpy(s->table + x->at, x->words, x->n * sizeof *x->words); break;
    case SAMPLING: s->seed = x->seed, s->last = x->n, s->limited = x->limited; break;
    case MASK: memcpy(s->mask, x->words, x->n * sizeof *x->words); break;
    case STEP:
        for (uint32_t r = 0; r < x->n; r++) compute(&x->rows[r]);
    }
    free(x->words);
    free(x->rows);
}

static void run_to(size_t n) {
    while (t.run < n) run_one(&t.tape[t.run++]);
    if (t.run == t.n) t.run = t.n = 0;
}

static void write_down(entry x) {
    if (t.n == t.cap) {
        t.cap = 2 * t.cap + 64;
        t.tape = realloc(t.tape, t.cap * sizeof *t.tape);
        assert_non_null(t.tape);
    }
    t.tape[t.n++] = x;
    if (!t.late && !qm_rng_below(&t.rng, 3)) run_to(t.run + qm_rng_below(&t.rng, (uint32_t)(t.n - t.run) + 1));
}

static void *copy(const void *p, size_t bytes) {
    void *c = malloc(bytes + 1);
    assert_non_null(c);
    memcpy(c, p, bytes);
    return c;
}

/* ---- the executor's table ---- */
static int seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    uint32_t i;
    int rc = qm_seq_take(t.taken, g->limits.n_seqs, &i, e);
    if (rc) return rc;
    qm_seq *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->index = i;
    s->tokens = calloc(g->limits.n_ctx + 1, sizeof *s->tokens);
    s->table = calloc(qm_pages_for(g->limits.n_ctx), sizeof *s->table);
    s->shadow = calloc(qm_pages_for(g->limits.n_ctx), sizeof *s->shadow);
    s->mask = calloc(QM_MASK_WORDS(t.n_vocab), sizeof *s->mask);
    assert_true(s->tokens && s->table && s->shadow && s->mask);
    memset(s->ring, 0xff, sizeof s->ring);
    *out = s;
    return 0;
}

static void seq_close(qm_engine *g, qm_seq *s) {
    (void)g;
    run_to(t.n);
    t.taken[s->index] = 0;
    free(s->tokens);
    free(s->table);
    free(s->shadow);
    free(s->mask);
    free(s);
}

static int put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    (void)e;
    assert_true(pos + n <= g->limits.n_ctx + 1);
    write_down((entry){.what = TOKENS, .seq = s, .at = pos, .n = n, .words = copy(ids, n * sizeof *ids)});
    return 0;
}

static int put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    (void)e;
    assert_true(i + n <= qm_pages_for(g->limits.n_ctx));
    memcpy(s->shadow + i, pages, n * sizeof *pages);
    write_down((entry){.what = TABLE, .seq = s, .at = i, .n = n, .words = copy(pages, n * sizeof *pages)});
    return 0;
}

static int put_mask(qm_engine *g, qm_seq *s, const qm_sample_params *p, const uint32_t *mask, qm_err *e) {
    (void)g;
    if (mask && t.fail_mask_at && !--t.fail_mask_at) return qm_fail(e, QM_ERR_DEVICE, "the tape tore");
    if (p)
        write_down((entry){
            .what = SAMPLING, .seq = s, .n = p->last_n, .seed = seed_of(p), .limited = (p->edits & QM_EDIT_MASK) != 0});
    const uint32_t n = QM_MASK_WORDS(t.n_vocab);
    if (mask) write_down((entry){.what = MASK, .seq = s, .n = n, .words = copy(mask, n * sizeof *mask)});
    return 0;
}

static int put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e) {
    return put_mask(g, s, &w->p, NULL, e);
}

static int step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    uint32_t outs = 0;
    (void)p;
    if (t.fail_at && !--t.fail_at) return qm_fail(e, QM_ERR_DEVICE, "the tape tore");
    assert_in_range(n, 1, g->limits.n_rows);
    if (t.n_steps - t.n_waited >= QM_RUN_AHEAD) fail_msg("%d steps are on their way already", QM_RUN_AHEAD);
    for (uint32_t r = 0; r < n; r++) {
        const qm_seq *s = rows[r].seq;
        const qm_page *page = &t.kv->page[s->shadow[rows[r].pos / P]];
        assert_true(rows[r].pos < g->limits.n_ctx);
        if (page->refs != 1 || page->known)
            fail_msg("position %u is written to page %u: %u hold it, known %d", rows[r].pos, s->shadow[rows[r].pos / P],
                     page->refs, page->known);
        for (uint32_t q = 0; q < r; q++)
            if (rows[q].seq == s) assert_true(rows[r - 1].seq == s && rows[r - 1].pos + 1 == rows[r].pos);
        if (r && rows[r - 1].seq == s) assert_int_equal(rows[r - 1].logits, QM_NO_LOGITS);
        outs += rows[r].logits != QM_NO_LOGITS;
        rows[r].seq->step_of[rows[r].pos % QM_RESULT_RING] = t.n_steps;
    }
    assert_true(outs <= g->limits.n_outs);
    if (n > t.most_rows) t.most_rows = n;
    write_down((entry){.what = STEP, .n = n, .rows = copy(rows, n * sizeof *rows), .step = t.n_steps++});
    return 0;
}

static int wait_for(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    const uint64_t n = s->step_of[pos % QM_RESULT_RING];
    (void)g, (void)e;
    size_t i = t.n;
    while (i > t.run && !(t.tape[i - 1].what == STEP && t.tape[i - 1].step == n)) i--;
    if (i > t.run) run_to(i);
    if (n + 1 > t.n_waited) t.n_waited = n + 1;
    return 0;
}

static int result(qm_engine *g, qm_seq *s, uint32_t pos, qm_result *r, qm_err *e) {
    wait_for(g, s, pos, e);
    return qm_result_take(s->ring, pos, r, e);
}

static const qm_executor table = {.name = "tape",
                                  .max_rows = QM_STEP_ROWS_MAX,
                                  .seq_open = seq_open,
                                  .seq_close = seq_close,
                                  .put_tokens = put_tokens,
                                  .put_pages = put_pages,
                                  .put_sampling = put_sampling,
                                  .put_mask = put_mask,
                                  .step = step,
                                  .wait = wait_for,
                                  .result = result};

static void new_pool(qm_engine *g, uint32_t n_pages) {
    qm_err e;
    qm_pages_close(&g->kv);
    fix_ok(qm_pages_open(&g->kv, n_pages, &e), &e);
}

void tape_begin(qm_engine *g, qm_limits limits, uint32_t n_pages, uint64_t seed) {
    memset(&t, 0, sizeof t);
    t.was = g->exec;
    t.limits = g->limits;
    t.n_plans = g->n_plans;
    t.kv = &g->kv;
    t.rng.s = seed;
    t.late = !seed;
    t.n_vocab = g->model->hp.n_vocab;
    while (!qm_token_is_eog(g->tok, t.eog)) t.eog++;
    t.pool = calloc((size_t)n_pages * P, sizeof *t.pool);
    assert_non_null(t.pool);
    new_pool(g, n_pages);
    g->exec = &table;
    g->limits = limits;
}

void tape_end(qm_engine *g) {
    for (size_t i = 0; i < sizeof t.taken; i++) assert_int_equal(t.taken[i], 0);
    free(t.pool);
    free(t.tape);
    while (g->n_plans > t.n_plans) qm_plan_free(g->plans[--g->n_plans]); /* they were for other limits */
    g->exec = t.was;
    g->limits = t.limits;
    new_pool(g, t.limits.n_pages);
}

void tape_fail_at(uint32_t steps) { t.fail_at = steps; }
void tape_fail_mask_at(uint32_t masks) { t.fail_mask_at = masks; }
uint32_t tape_most_rows(void) { return t.most_rows; }

/* The words of the prefix that ends with a page, joined; its own must be what they should. */
static uint64_t check_page(const qm_pages *kv, uint32_t page, uint32_t *n) {
    const qm_page *x = &kv->page[page];
    uint64_t before = 0;
    *n = 0;
    assert_true(x->known);
    if (x->parent != QM_NO_PAGE) before = check_page(kv, x->parent, n);
    for (uint32_t i = 0; i < P; i++, ++*n) {
        const uint64_t word = word_of(before, x->ids[i], *n);
        if (t.pool[(uint64_t)page * P + i] != word) fail_msg("page %u is known for what it does not hold", page);
        before = join(before, word);
    }
    return before;
}

void tape_check_known(qm_engine *g) {
    uint32_t n;
    run_to(t.n);
    for (uint32_t i = 0; i < g->kv.n_pages; i++)
        if (g->kv.page[i].known) check_page(&g->kv, i, &n);
}
