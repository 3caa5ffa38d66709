/* logprobs.c: files of log-probabilities. The format is docs/logprobs.md. */
#include "logprobs.h"
#include "../file/input.h"
#include "../file/outfile.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Less likely than the likeliest token by this much is as good as impossible: 1e-14. */
static const double RANGE = 32.0;
static const char MAGIC[8] = {'q', 'm', 'o', 'e', '-', 'l', 'p', '1'};
enum { HEADER_WORDS = 4, SEQ_WORDS = 3, NOTE_MAX = 4096, LEVELS = 65535 };

static void put32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}
static uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static void put_f(unsigned char *p, double v) {
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, 4);
    put32(p, u);
}
static double get_f(const unsigned char *p) {
    uint32_t u = get32(p);
    float f;
    memcpy(&f, &u, 4);
    return (double)f;
}

/* ---- records ---- */

int qm_lp_record_alloc(qm_lp_record *r, uint32_t k, qm_err *e) {
    *r = (qm_lp_record){.k = k, .ids = calloc(k, sizeof *r->ids), .logp = calloc(k, sizeof *r->logp)};
    if (r->ids && r->logp) return 0;
    qm_lp_record_free(r);
    return qm_fail(e, QM_ERR_NOMEM, "log-probabilities: out of memory");
}

void qm_lp_record_free(qm_lp_record *r) {
    free(r->ids);
    free(r->logp);
    *r = (qm_lp_record){0};
}

double qm_log_sum_exp(const float *logits, uint32_t n) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if ((double)logits[i] > max) max = (double)logits[i];
    for (uint32_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return max + log(sum);
}

/* Whether token a comes before b: likelier, or as likely and of lower id. */
static int before(const float *l, uint32_t a, uint32_t b) { return l[a] > l[b] || (l[a] >= l[b] && a < b); }

/* h: a heap [n] whose root comes last in order. */
static void sift(uint32_t *h, uint32_t i, uint32_t n, const float *l) {
    for (uint32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(l, h[c], h[c + 1])) c++;
        if (!before(l, h[i], h[c])) return;
        uint32_t t = h[i];
        h[i] = h[c];
        h[c] = t;
    }
}

void qm_lp_from_logits(qm_lp_record *r, const float *logits, uint32_t n_vocab, uint32_t k, uint32_t next,
                       uint32_t *tmp) {
    double lse = qm_log_sum_exp(logits, n_vocab), named = 0;
    r->k = k;
    r->next = next < n_vocab ? (double)logits[next] - lse : NAN;
    r->rest = -INFINITY;
    for (uint32_t i = 0; i < k; i++) tmp[i] = i;
    if (k < n_vocab) {
        for (uint32_t i = k / 2; i-- > 0;) sift(tmp, i, k, logits);
        for (uint32_t i = k; i < n_vocab; i++)
            if (before(logits, i, tmp[0])) {
                tmp[0] = i;
                sift(tmp, 0, k, logits);
            }
        for (uint32_t n = k; n > 1;) { /* the last goes to the end */
            uint32_t t = tmp[--n];
            tmp[n] = tmp[0];
            tmp[0] = t;
            sift(tmp, 0, n, logits);
        }
    }
    for (uint32_t i = 0; i < k; i++) {
        r->ids[i] = tmp[i];
        r->logp[i] = (double)logits[tmp[i]] - lse;
        named += exp(r->logp[i]);
    }
    if (k == n_vocab) return;
    /* 1 - named loses what is below the rounding of 1: then add up the others */
    double rest = 1 - named;
    if (rest < 1e-6) {
        rest = 0;
        for (uint32_t i = 0; i < n_vocab; i++)
            if (before(logits, tmp[k - 1], i)) rest += exp((double)logits[i] - lse);
    }
    r->rest = log(rest);
}

/* ---- files ---- */

static int wide_ids(const qm_lp_file *f) { return f->n_vocab > 65536; }
static uint32_t id_bytes(const qm_lp_file *f) { return f->k == f->n_vocab ? 0 : wide_ids(f) ? 4 : 2; }

void qm_lp_close(qm_lp_file *f) {
    if (f->f) {
        fclose(f->f);
        qm_input_release(f->held);
    }
    qm_outfile_close(f->out);
    for (uint32_t i = 0; i < f->n_seqs && f->seqs; i++) free(f->seqs[i].tokens);
    free(f->seqs);
    free(f->path);
    free(f->note);
    free(f->buf);
    free(f->lp);
    *f = (qm_lp_file){0};
}

static int no_memory(qm_err *e) { return qm_fail(e, QM_ERR_NOMEM, "log-probabilities: out of memory"); }

/* Records of an even number of bytes; ids, then levels. */
static int set_sizes(qm_lp_file *f, qm_err *e) {
    f->record_bytes = 16 + f->k * (id_bytes(f) + 2);
    f->buf = malloc(f->record_bytes);
    f->lp = malloc(f->k * sizeof *f->lp);
    return f->buf && f->lp ? 0 : no_memory(e);
}

static int read_bytes(qm_lp_file *f, void *p, size_t n, const char *what, qm_err *e) {
    if (fread(p, 1, n, f->f) == n) return 0;
    return qm_fail(e, ferror(f->f) ? QM_ERR_IO : QM_ERR_FORMAT, "%s: %s: %s at byte %ld", f->path, what,
                   ferror(f->f) ? strerror(errno) : "the file ends", ftell(f->f));
}

static int read_header(qm_lp_file *f, uint64_t size, qm_err *e) {
    unsigned char h[sizeof MAGIC + 4 * HEADER_WORDS], *w = NULL;
    int rc = read_bytes(f, h, sizeof h, "header", e);
    if (rc) return rc;
    if (memcmp(h, MAGIC, sizeof MAGIC))
        return qm_fail(e, QM_ERR_FORMAT, "%s: not a file of log-probabilities (it should begin with qmoe-lp1)",
                       f->path);
    f->n_vocab = get32(h + 8);
    f->k = get32(h + 12);
    uint32_t n_seqs = get32(h + 16), n_note = get32(h + 20);
    if (!f->k || f->k > f->n_vocab || f->n_vocab > 1u << 24)
        return qm_fail(e, QM_ERR_FORMAT, "%s: %u entries of a vocabulary of %u", f->path, f->k, f->n_vocab);
    if (!n_seqs || n_note > NOTE_MAX || 4ull * SEQ_WORDS * n_seqs > size)
        return qm_fail(e, QM_ERR_FORMAT, "%s: %u sequences and a note of %u bytes", f->path, n_seqs, n_note);
    if (!(f->note = calloc(1, n_note + 1)) || !(f->seqs = calloc(n_seqs, sizeof *f->seqs))) return no_memory(e);
    f->n_seqs = n_seqs;
    if ((rc = read_bytes(f, f->note, n_note, "note", e))) return rc;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < n_seqs; i++) {
        unsigned char s[4 * SEQ_WORDS];
        if ((rc = read_bytes(f, s, sizeof s, "sequences", e))) return rc;
        qm_lp_seq *q = &f->seqs[i];
        *q = (qm_lp_seq){get32(s), get32(s + 4), get32(s + 8), NULL};
        tokens += q->n_tokens;
        if (!q->n_tokens || q->first >= q->end || q->end > q->n_tokens || 4 * tokens > size)
            return qm_fail(e, QM_ERR_FORMAT, "%s: sequence %u: %u tokens, positions %u to %u scored", f->path, i,
                           q->n_tokens, q->first, q->end);
        f->n_records += q->end - q->first;
    }
    for (uint32_t i = 0; i < n_seqs && !rc; i++) {
        qm_lp_seq *q = &f->seqs[i];
        w = realloc(w, 4ull * q->n_tokens);
        q->tokens = malloc(4ull * q->n_tokens);
        if (!w || !q->tokens) rc = no_memory(e);
        if (!rc) rc = read_bytes(f, w, 4ull * q->n_tokens, "tokens", e);
        for (uint32_t t = 0; t < q->n_tokens && !rc; t++)
            if ((q->tokens[t] = get32(w + 4 * t)) >= f->n_vocab)
                rc = qm_fail(e, QM_ERR_FORMAT, "%s: sequence %u, token %u: id %u is outside the vocabulary of %u",
                             f->path, i, t, q->tokens[t], f->n_vocab);
    }
    free(w);
    return rc;
}

int qm_lp_open(qm_lp_file *f, const char *path, qm_err *e) {
    uint64_t size = 0;
    int fd = -1;
    *f = (qm_lp_file){.path = strdup(path), .held = -1};
    int rc = f->path ? qm_input_open(&fd, &size, path, e) : no_memory(e);
    if (!rc && !(f->f = fdopen(fd, "rb"))) {
        close(fd);
        rc = no_memory(e);
    }
    if (!rc && (f->held = qm_input_hold(fd, path, NULL, 0, e)) < 0) rc = f->held;
    if (!rc) rc = read_header(f, size, e);
    if (!rc) rc = set_sizes(f, e);
    if (!rc && (uint64_t)ftell(f->f) + f->n_records * f->record_bytes != size)
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: %llu bytes, but its header means %llu", path, (unsigned long long)size,
                     (unsigned long long)((uint64_t)ftell(f->f) + f->n_records * f->record_bytes));
    if (rc) qm_lp_close(f);
    return rc;
}

int qm_lp_read(qm_lp_file *f, qm_lp_record *r, qm_err *e) {
    uint32_t n_id = id_bytes(f);
    if (f->at == f->n_records) return qm_fail(e, QM_ERR_ARG, "%s: read past the last record", f->path);
    int rc = read_bytes(f, f->buf, f->record_bytes, "record", e);
    if (rc) return rc;
    r->k = f->k;
    r->next = get_f(f->buf);
    r->rest = get_f(f->buf + 4);
    double top = get_f(f->buf + 8), step = get_f(f->buf + 12), sum = exp(r->rest);
    /* !(a <= b) also where a NaN is */
    if (!(fabs(top) <= 1e4) || !(step >= 0 && step <= 1) || !(r->rest <= 1e-3) || r->next > 1e-3)
        return qm_fail(e, QM_ERR_FORMAT, "%s: record %llu: %g, %g, %g, %g are no log-probabilities", f->path,
                       (unsigned long long)f->at, r->next, r->rest, top, step);
    const unsigned char *ids = f->buf + 16, *q = ids + (size_t)f->k * n_id;
    for (uint32_t i = 0; i < f->k; i++) {
        r->ids[i] = !n_id ? i : n_id == 2 ? (uint32_t)ids[2 * i] | (uint32_t)ids[2 * i + 1] << 8 : get32(ids + 4 * i);
        if (r->ids[i] >= f->n_vocab)
            return qm_fail(e, QM_ERR_FORMAT, "%s: record %llu: id %u is outside the vocabulary of %u", f->path,
                           (unsigned long long)f->at, r->ids[i], f->n_vocab);
        r->logp[i] = top - step * (double)((uint32_t)q[2 * i] | (uint32_t)q[2 * i + 1] << 8);
        sum += exp(r->logp[i]);
    }
    /* Rounding moved the sum off 1, which would count in full in a KL; scaled back only its square does. */
    double shift = log(sum);
    if (!(fabs(shift) <= 1e-2))
        return qm_fail(e, QM_ERR_FORMAT, "%s: record %llu: the probabilities add up to %g", f->path,
                       (unsigned long long)f->at, sum);
    for (uint32_t i = 0; i < f->k; i++) r->logp[i] -= shift;
    r->rest -= shift;
    f->at++;
    return 0;
}

static int write_header(qm_lp_file *f, qm_err *e) {
    unsigned char h[sizeof MAGIC + 4 * HEADER_WORDS], w[4 * SEQ_WORDS];
    size_t n_note = strlen(f->note);
    memcpy(h, MAGIC, sizeof MAGIC);
    put32(h + 8, f->n_vocab);
    put32(h + 12, f->k);
    put32(h + 16, f->n_seqs);
    put32(h + 20, (uint32_t)n_note);
    int rc = qm_outfile_put(f->out, h, sizeof h, e);
    if (!rc) rc = qm_outfile_put(f->out, f->note, n_note, e);
    for (uint32_t i = 0; i < f->n_seqs && !rc; i++) {
        put32(w, f->seqs[i].n_tokens);
        put32(w + 4, f->seqs[i].first);
        put32(w + 8, f->seqs[i].end);
        rc = qm_outfile_put(f->out, w, sizeof w, e);
    }
    for (uint32_t i = 0; i < f->n_seqs; i++)
        for (uint32_t t = 0; t < f->seqs[i].n_tokens && !rc; t++) {
            put32(w, f->seqs[i].tokens[t]);
            rc = qm_outfile_put(f->out, w, 4, e);
        }
    return rc;
}

int qm_lp_create(qm_lp_file *f, const char *path, const char *note, uint32_t n_vocab, uint32_t k, const qm_lp_seq *seqs,
                 uint32_t n_seqs, qm_err *e) {
    size_t n_note = note ? strlen(note) : 0;
    *f = (qm_lp_file){.path = strdup(path),
                      .held = -1,
                      .note = calloc(1, NOTE_MAX + 1),
                      .n_vocab = n_vocab,
                      .k = k,
                      .n_seqs = n_seqs,
                      .seqs = calloc(n_seqs, sizeof *seqs)};
    int rc = f->path && f->note && f->seqs ? set_sizes(f, e) : no_memory(e);
    if (rc) goto out;
    if (note) memcpy(f->note, note, n_note < NOTE_MAX ? n_note : NOTE_MAX);
    for (uint32_t i = 0; i < n_seqs; i++) {
        f->seqs[i] = seqs[i];
        if (!(f->seqs[i].tokens = malloc(4ull * seqs[i].n_tokens))) {
            rc = no_memory(e);
            goto out;
        }
        memcpy(f->seqs[i].tokens, seqs[i].tokens, 4ull * seqs[i].n_tokens);
        f->n_records += seqs[i].end - seqs[i].first;
    }
    rc = qm_outfile_open(&f->out, path, QM_OUT_SYNC, e);
    if (!rc) rc = write_header(f, e);
out:
    if (rc) qm_lp_close(f);
    return rc;
}

int qm_lp_write(qm_lp_file *f, const qm_lp_record *r, qm_err *e) {
    uint32_t n_id = id_bytes(f), k = f->k;
    double top = -INFINITY, low = INFINITY;
    for (uint32_t i = 0; i < k; i++) {
        if (!isfinite(r->logp[i])) return qm_fail(e, QM_ERR_ARG, "%s: a log-probability is not finite", f->path);
        top = fmax(top, r->logp[i]);
        low = fmin(low, r->logp[i]);
    }
    top = (double)(float)top;
    /* top may have been rounded below low, where the entries are alike: then there is no step */
    double step = (double)(float)(fmax(0, top - fmax(low, top - RANGE)) / LEVELS);
    put_f(f->buf, r->next);
    put_f(f->buf + 4, r->rest);
    put_f(f->buf + 8, top);
    put_f(f->buf + 12, step);
    unsigned char *ids = f->buf + 16, *q = ids + (size_t)k * n_id;
    for (uint32_t i = 0; i < k; i++) {
        if (n_id == 4) put32(ids + 4 * i, r->ids[i]);
        else if (n_id) {
            ids[2 * i] = (unsigned char)r->ids[i];
            ids[2 * i + 1] = (unsigned char)(r->ids[i] >> 8);
        }
        double level = step > 0 ? rint((top - r->logp[i]) / step) : 0;
        uint32_t v = level <= 0 ? 0 : level >= LEVELS ? LEVELS : (uint32_t)level;
        q[2 * i] = (unsigned char)v;
        q[2 * i + 1] = (unsigned char)(v >> 8);
    }
    f->at++;
    return qm_outfile_put(f->out, f->buf, f->record_bytes, e);
}

int qm_lp_finish(qm_lp_file *f, qm_err *e) {
    if (f->at != f->n_records)
        return qm_fail(e, QM_ERR_ARG, "%s: %llu of %llu records written", f->path, (unsigned long long)f->at,
                       (unsigned long long)f->n_records);
    return qm_outfile_finish(f->out, e);
}

int qm_logprobs_get_info(const char *path, qm_logprobs_info *i, qm_err *e) {
    qm_lp_file f;
    *i = (qm_logprobs_info){0};
    int rc = qm_lp_open(&f, path, e);
    if (rc) return rc;
    qm_text_name(i->note, sizeof i->note, f.note, strlen(f.note));
    i->n_vocab = f.n_vocab;
    i->k = f.k;
    i->n_seqs = f.n_seqs;
    i->n_scored = f.n_records;
    for (uint32_t s = 0; s < f.n_seqs; s++)
        if (f.seqs[s].n_tokens > i->longest) i->longest = f.seqs[s].n_tokens;
    qm_lp_close(&f);
    return 0;
}
