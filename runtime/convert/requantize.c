/* requantize.c: qm_quantize: a GGUF into another with its tensors in other types. A tensor passes in slices
 * of a few million weights, so that memory stays bounded; the units of a slice are shared out to threads.
 * Units are of one size whatever the number of threads, and sums are taken in their order: neither the
 * bytes nor the reported errors depend on it. */
#include "../file/quant.h"
#include "gguf_write.h"
#include "mix.h"
#include "quantize.h"
#include "../qmoe_tools.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIT = 1 << 14, SLICE_UNITS = 256, MAX_THREADS = 256, NAME_BYTES = 72 };
enum { WRITER_FAILED = 1 }; /* its finish has the error */

typedef struct {
    double err, sum; /* sums of squares: of the differences, of the weights */
    size_t bad;      /* first weight that cannot be written, UNIT = none */
    float bad_value;
} unit;

typedef struct {
    const qm_type_info *from, *to, *check;
    size_t from_block, from_bytes, to_block, to_bytes;
    const uint8_t *src;
    uint8_t *dst; /* [SLICE_UNITS * UNIT] weights, in their new type */
    size_t n;     /* weights of this slice */
    unit *units;  /* [SLICE_UNITS] */
    atomic_size_t next;
} slice;

typedef struct {
    const qm_gguf *in;
    const qm_mix *mix;
    const qm_quantize_opts *o;
    uint32_t n_layers, threads;
    int tied;
    uint64_t done, total; /* source bytes */
    slice s;
} job;

static int do_unit(slice *s, size_t k, float *x, float *y) {
    size_t at = k * UNIT, n = s->n - at < UNIT ? s->n - at : UNIT;
    const uint8_t *src = s->src + at / s->from_block * s->from_bytes;
    uint8_t *dst = s->dst + at / s->to_block * s->to_bytes;
    unit *u = &s->units[k];
    *u = (unit){.bad = UNIT};
    s->from->to_f32(x, src, n);
    size_t bad = qm_quantize_bad(s->check, x, n);
    if (bad < n) {
        u->bad = bad;
        u->bad_value = x[bad];
        return 1;
    }
    for (size_t i = 0; i < n; i++) u->sum += (double)x[i] * (double)x[i];
    if (s->from == s->to) {
        memcpy(dst, src, n / s->to_block * s->to_bytes);
        return 0;
    }
    qm_quantize_blocks(s->to, dst, x, n);
    s->to->to_f32(y, dst, n);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        u->err += d * d;
    }
    return 0;
}

static void *work(void *arg) {
    slice *s = arg;
    size_t n = (s->n + UNIT - 1) / UNIT;
    float *x = malloc(2 * UNIT * sizeof *x);
    if (x)
        for (size_t k; (k = atomic_fetch_add(&s->next, 1)) < n;) do_unit(s, k, x, x + UNIT);
    free(x);
    return NULL;
}

/* All units of the slice; a thread that cannot start leaves its share to the others. */
static int run_slice(slice *s, uint32_t threads, qm_err *e) {
    pthread_t t[MAX_THREADS];
    uint32_t started = 0;
    size_t n = (s->n + UNIT - 1) / UNIT;
    atomic_store(&s->next, 0);
    while (started + 1 < threads && started + 1 < n && !pthread_create(&t[started], NULL, work, s)) started++;
    work(s);
    for (uint32_t i = 0; i < started; i++) pthread_join(t[i], NULL);
    if (atomic_load(&s->next) < n) return qm_fail(e, QM_ERR_NOMEM, "no memory for %d weights", UNIT);
    return 0;
}

static int refuse(const job *j, const qm_tensor *t, uint64_t index, float v, qm_err *e) {
    return qm_fail(e, QM_ERR_FORMAT, "%s: tensor '%s': weight %llu (row %llu, column %llu) is %g%s%s",
                   qm_gguf_path(j->in), qm_show(t->name).s, (unsigned long long)index,
                   (unsigned long long)(index / t->ne[0]), (unsigned long long)(index % t->ne[0]), (double)v,
                   isfinite(v) ? ", more than can be held by " : "", isfinite(v) ? j->s.to->name : "");
}

static uint32_t type_of(const job *j, const qm_tensor *t, char name[NAME_BYTES], uint32_t *wanted) {
    snprintf(name, NAME_BYTES, "%.*s", (int)t->name.n, t->name.s);
    return qm_mix_type(j->mix, name, t->n_dims, t->ne[0], j->n_layers, j->tied, wanted);
}

static int convert(job *j, const qm_tensor *t, qm_gguf_writer *w, qm_err *e) {
    char name[NAME_BYTES], note[128];
    uint32_t wanted, type = type_of(j, t, name, &wanted), block = 1, bytes = 1;
    uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    slice *s = &j->s;
    double err = 0, sum = 0;
    s->from = qm_type_get(t->type);
    s->to = qm_type_get(type);
    /* a block that is only copied is its own proof that it can be held */
    s->check = s->from == s->to ? qm_type_get(QM_TYPE_F32) : s->to;
    qm_ggml_type_size(t->type, &block, &bytes);
    s->from_block = block, s->from_bytes = bytes;
    qm_ggml_type_size(type, &block, &bytes);
    s->to_block = block, s->to_bytes = bytes;
    for (uint64_t at = 0; at < n; at += s->n) {
        s->n = n - at < (uint64_t)SLICE_UNITS * UNIT ? (size_t)(n - at) : (size_t)SLICE_UNITS * UNIT;
        s->src = (const uint8_t *)t->data + at / s->from_block * s->from_bytes;
        int rc = run_slice(s, j->threads, e);
        if (rc) return rc;
        for (size_t k = 0; k < (s->n + UNIT - 1) / UNIT; k++) {
            if (s->units[k].bad < UNIT) return refuse(j, t, at + k * UNIT + s->units[k].bad, s->units[k].bad_value, e);
            err += s->units[k].err;
            sum += s->units[k].sum;
        }
        if (qm_gguf_write_data(w, s->dst, s->n / s->to_block * s->to_bytes)) return WRITER_FAILED;
        j->done += s->n / s->from_block * s->from_bytes;
        if (j->o->progress && j->o->progress(j->o->user, j->done, j->total)) goto cancelled;
    }
    if (type != wanted)
        snprintf(note, sizeof note, "rows of %llu are no whole blocks of %s", (unsigned long long)t->ne[0],
                 qm_ggml_type_name(wanted));
    qm_quantize_tensor r = {
        .name = name,
        .from = s->from->name,
        .to = s->to->name,
        .note = type != wanted ? note : NULL,
        .n_dims = t->n_dims,
        .bytes_from = t->bytes,
        .bytes = n / s->to_block * s->to_bytes,
        .rms = sqrt(sum / (double)n),
        .rmse = sqrt(err / (double)n),
    };
    memcpy(r.ne, t->ne, sizeof r.ne);
    qm_gguf_drop(j->in, t);
    if (!j->o->on_tensor || !j->o->on_tensor(j->o->user, &r)) return 0;
cancelled:
    return qm_fail(e, QM_ERR_CANCELLED, "cancelled after %llu of %llu bytes", (unsigned long long)j->done,
                   (unsigned long long)j->total);
}

static int is_key(const qm_kv *kv, const char *key) {
    return kv->key.n == strlen(key) && !memcmp(kv->key.s, key, kv->key.n);
}

static void write_keys(const job *j, qm_gguf_writer *w) {
    static const char *const gone[] = {"general.alignment", "split.no", "split.count", "split.tensors.count"};
    const struct {
        const char *key;
        uint32_t v;
    } set[] = {{"general.file_type", j->mix->file_type}, {"general.quantization_version", 2}};
    int written[2] = {0, 0};
    for (size_t i = 0; i < qm_gguf_n_kv(j->in); i++) {
        const qm_kv *kv = qm_gguf_kv_at(j->in, i);
        int skip = 0;
        for (size_t k = 0; k < sizeof gone / sizeof *gone; k++) skip |= is_key(kv, gone[k]);
        for (int k = 0; k < 2; k++)
            if (is_key(kv, set[k].key)) {
                qm_gguf_write_u32(w, set[k].key, set[k].v);
                written[k] = skip = 1;
            }
        if (!skip) qm_gguf_write_kv(w, kv);
    }
    for (int k = 0; k < 2; k++)
        if (!written[k]) qm_gguf_write_u32(w, set[k].key, set[k].v);
}

/* What the rule needs to know of the whole file; refuses types that cannot be decoded. */
static int look(job *j, qm_err *e) {
    size_t lossy = 0;
    j->tied = !qm_gguf_tensor(j->in, "output.weight");
    for (size_t i = 0; i < qm_gguf_n_tensors(j->in); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(j->in, i);
        char name[NAME_BYTES];
        unsigned il;
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.s);
        if (!qm_type_get(t->type))
            return qm_fail(e, QM_ERR_UNSUPPORTED,
                           "%s: tensor '%s' is %s, which cannot be converted from;"
#define QM_STREAM(word, WORD, ...) " " #WORD
#include "../../contracts/streams.def"
#undef QM_STREAM
                           " can",
                           qm_gguf_path(j->in), qm_show(t->name).s, qm_ggml_type_name(t->type));
        if (sscanf(name, "blk.%u.", &il) == 1 && il < UINT32_MAX && il + 1 > j->n_layers) j->n_layers = il + 1;
        j->total += t->bytes;
    }
    for (size_t i = 0; i < qm_gguf_n_tensors(j->in); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(j->in, i);
        char name[NAME_BYTES];
        lossy += t->type != type_of(j, t, name, NULL) && qm_type_get(t->type)->q16a;
    }
    if (lossy)
        qm_log(QM_LOG_WARN, "%s: %zu tensors are quantised already and change their type: what they lost stays lost",
               qm_gguf_path(j->in), lossy);
    return 0;
}

const char *qm_quantize_types(void) { return qm_mix_names; }
int qm_quantize_knows(const char *type) { return qm_mix_find(type) != NULL; }

int qm_quantize(const char *in_path, const char *out_path, const qm_quantize_opts *o, qm_err *e) {
    static const qm_quantize_opts none;
    job j = {.o = o ? o : &none};
    qm_gguf *in = NULL;
    qm_gguf_writer *w = NULL;
    const char *type = j.o->type ? j.o->type : "q4_k_m";
    j.mix = qm_mix_find(type);
    if (!j.mix) return qm_fail(e, QM_ERR_ARG, "there is no type '%s'; there are %s", type, qm_mix_names);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    j.threads = j.o->threads ? j.o->threads : cpus > 0 ? (uint32_t)cpus : 1;
    if (j.threads > MAX_THREADS) j.threads = MAX_THREADS;
    int rc = qm_gguf_open(&in, in_path, e);
    if (rc) goto out;
    j.in = in;
    if ((rc = qm_gguf_writer_open(&w, out_path, e))) goto out; /* refuses before anything is reported */
    if ((rc = look(&j, e))) goto out;
    j.s.dst = malloc((size_t)SLICE_UNITS * UNIT * 4);
    j.s.units = malloc(SLICE_UNITS * sizeof *j.s.units);
    if (!j.s.dst || !j.s.units) {
        rc = qm_fail(e, QM_ERR_NOMEM, "no memory for a slice of %d weights", SLICE_UNITS * UNIT);
        goto out;
    }
    /* errors of the writer stick and surface in finish */
    write_keys(&j, w);
    for (size_t i = 0; i < qm_gguf_n_tensors(in); i++) {
        const qm_tensor *t = qm_gguf_tensor_at(in, i);
        char name[NAME_BYTES];
        uint32_t to = type_of(&j, t, name, NULL);
        qm_gguf_write_tensor(w, name, to, t->n_dims, t->ne);
    }
    if ((rc = qm_gguf_writer_room(w, 1 << 16, e))) goto out;
    for (size_t i = 0; i < qm_gguf_n_tensors(in) && !rc; i++) rc = convert(&j, qm_gguf_tensor_at(in, i), w, e);
    if (!rc) rc = qm_gguf_whole(in, e);
    if (!rc || rc == WRITER_FAILED) rc = qm_gguf_writer_finish(w, e);
out:
    qm_gguf_writer_close(w);
    qm_gguf_close(in);
    free(j.s.dst);
    free(j.s.units);
    return rc;
}
