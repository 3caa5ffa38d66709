/* upload.c: the uploader. The caller's thread cuts the upload into pieces of one buffer each,
 * waits for the buffer's last copy, has the worker threads fill it in parts, and queues its copy. The
 * copy of one buffer thus runs while the next is filled. */
#include "upload.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BUFFERS 32
#define MAX_THREADS 64
#define MIN_PART (256u << 10) /* smaller parts are not worth a thread's wake-up */

/* One buffer's fill, shared by the threads; guarded by `lock`. */
typedef struct {
    qm_fill_fn fill;
    void *user;
    uint8_t *buf;
    uint64_t off;       /* of buf[0] in the destination */
    size_t bytes, part; /* the whole, and the step between parts (a multiple of the unit) */
    size_t next;        /* first byte that nobody has taken */
    int busy;           /* threads inside fill */
    int rc;             /* of the failed part with the lowest offset */
    uint64_t rc_off;
    qm_err err;
} fill_job;

struct qm_uploader {
    qm_device *d;
    CUstream stream;
    size_t staging_bytes;
    int n_buffers, turn, used;   /* used: a copy has been queued */
    void *buf[MAX_BUFFERS];      /* pinned, staging_bytes each */
    CUevent copied[MAX_BUFFERS]; /* recorded after each copy */
    int pending[MAX_BUFFERS];
    pthread_t thread[MAX_THREADS]; /* besides the caller's own */
    int n_workers, stop;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    fill_job job;
};

/* Takes parts until none is left. Called and left with the lock held. */
static void fill_parts(qm_uploader *u) {
    fill_job *j = &u->job;
    while (j->next < j->bytes && !j->rc) {
        size_t at = j->next, n = j->bytes - at < j->part ? j->bytes - at : j->part;
        j->next = at + n;
        j->busy++;
        pthread_mutex_unlock(&u->lock);
        qm_err err = {0};
        int rc = j->fill(j->user, j->buf + at, j->off + at, n, &err);
        pthread_mutex_lock(&u->lock);
        if (rc && (!j->rc || j->off + at < j->rc_off)) {
            j->rc = rc;
            j->rc_off = j->off + at;
            j->err = err;
        }
        if (--j->busy == 0) pthread_cond_signal(&u->done);
    }
}

static void *worker(void *arg) {
    qm_uploader *u = arg;
    pthread_mutex_lock(&u->lock);
    while (!u->stop) {
        fill_parts(u);
        if (u->stop) break;
        pthread_cond_wait(&u->work, &u->lock);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

int qm_uploader_open(qm_uploader **out, qm_device *d, CUstream s, size_t staging_bytes, int n_buffers, qm_err *e) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return qm_uploader_open_threads(out, d, s, staging_bytes, n_buffers, n < 1 ? 1 : n > 16 ? 16 : (int)n, e);
}

int qm_uploader_open_threads(qm_uploader **out, qm_device *d, CUstream s, size_t staging_bytes, int n_buffers,
                             int n_threads, qm_err *e) {
    int rc = 0;
    *out = NULL;
    if (!staging_bytes || n_buffers < 2 || n_buffers > MAX_BUFFERS || n_threads < 1 || n_threads > MAX_THREADS)
        return qm_fail(e, QM_ERR_ARG, "uploader: %d buffers of %zu bytes, %d threads", n_buffers, staging_bytes,
                       n_threads);
    qm_uploader *u = calloc(1, sizeof *u);
    if (!u) return qm_fail(e, QM_ERR_NOMEM, "uploader: out of host memory");
    u->d = d;
    u->stream = s;
    u->staging_bytes = staging_bytes;
    u->n_buffers = n_buffers;
    if (pthread_mutex_init(&u->lock, NULL) || pthread_cond_init(&u->work, NULL) || pthread_cond_init(&u->done, NULL)) {
        free(u);
        return qm_fail(e, QM_ERR_NOMEM, "uploader: no locks");
    }
    for (int i = 0; i < n_buffers; i++) {
        QM_CU_TRY(d, MemHostAlloc(&u->buf[i], staging_bytes, 0));
        QM_CU_TRY(d, EventCreate(&u->copied[i], CU_EVENT_DISABLE_TIMING));
    }
    /* The caller fills too. A thread that cannot be had is a slower upload, not a failure. */
    for (int i = 1; i < n_threads; i++)
        if (pthread_create(&u->thread[u->n_workers], NULL, worker, u) == 0) u->n_workers++;
    *out = u;
    u = NULL;
out:
    qm_uploader_close(u);
    return rc;
}

void qm_uploader_close(qm_uploader *u) {
    if (!u) return;
    pthread_mutex_lock(&u->lock);
    u->stop = 1;
    pthread_cond_broadcast(&u->work);
    pthread_mutex_unlock(&u->lock);
    for (int i = 0; i < u->n_workers; i++) pthread_join(u->thread[i], NULL);
    const qm_cuda *cu = &u->d->cu;
    if (u->used) cu->StreamSynchronize(u->stream);
    for (int i = 0; i < u->n_buffers; i++) {
        if (u->copied[i]) cu->EventDestroy(u->copied[i]);
        if (u->buf[i]) cu->MemFreeHost(u->buf[i]);
    }
    pthread_cond_destroy(&u->done);
    pthread_cond_destroy(&u->work);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* Fills buf with bytes [off, off + n) on all threads; returns when every part is done. */
static int fill_buffer(qm_uploader *u, void *buf, uint64_t off, size_t n, size_t unit, qm_fill_fn fill, void *user,
                       qm_err *e) {
    size_t part = n / (size_t)(2 * (u->n_workers + 1)); /* two turns each, to even out */
    if (part < MIN_PART) part = MIN_PART;
    part = part < unit ? unit : part / unit * unit;
    pthread_mutex_lock(&u->lock);
    u->job = (fill_job){.fill = fill, .user = user, .buf = buf, .off = off, .bytes = n, .part = part};
    if (n > part) pthread_cond_broadcast(&u->work);
    fill_parts(u);
    while (u->job.busy) pthread_cond_wait(&u->done, &u->lock);
    int rc = u->job.rc;
    if (rc && e) *e = u->job.err;
    u->job.next = u->job.bytes = 0;
    pthread_mutex_unlock(&u->lock);
    return rc;
}

int qm_uploader_put(qm_uploader *u, CUdeviceptr dst, uint64_t bytes, uint64_t granule, qm_fill_fn fill, void *user,
                    qm_err *e) {
    int rc = 0;
    if (!granule) granule = 1;
    if (granule > u->staging_bytes)
        return qm_fail(e, QM_ERR_LIMIT, "uploader: a granule of %llu bytes and buffers of %zu",
                       (unsigned long long)granule, u->staging_bytes);
    size_t unit = (size_t)granule;
    size_t step = u->staging_bytes / unit * unit;
    for (uint64_t off = 0; off < bytes;) {
        size_t n = bytes - off < step ? (size_t)(bytes - off) : step;
        int b = u->turn;
        if (u->pending[b]) {
            QM_CU_TRY(u->d, EventSynchronize(u->copied[b]));
            u->pending[b] = 0;
        }
        if ((rc = fill_buffer(u, u->buf[b], off, n, unit, fill, user, e))) goto out;
        u->used = 1;
        QM_CU_TRY(u->d, MemcpyHtoDAsync(dst + off, u->buf[b], n, u->stream));
        QM_CU_TRY(u->d, EventRecord(u->copied[b], u->stream));
        u->pending[b] = 1;
        u->turn = (b + 1) % u->n_buffers;
        off += n;
    }
out:
    return rc;
}

static int fill_copy(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e) {
    (void)e;
    memcpy(dst, (const char *)user + off, n);
    return 0;
}

int qm_uploader_copy(qm_uploader *u, CUdeviceptr dst, const void *src, uint64_t bytes, qm_err *e) {
    return qm_uploader_put(u, dst, bytes, 1, fill_copy, (void *)(uintptr_t)src, e);
}

int qm_uploader_flush(qm_uploader *u, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(u->d, StreamSynchronize(u->stream));
    memset(u->pending, 0, sizeof u->pending);
out:
    return rc;
}
