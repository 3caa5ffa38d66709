/* storage.c: what loading is held against: how fast the file can be read and how fast bytes reach the
 * device. Both are measured in a second or two. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../base/clock.h"
#include "../device/prof.h"
#include "../file/input.h"
#include "../engine/inside.h"
#include "../qmoe_tools.h"

double qm_file_cached(const char *path) {
    struct stat st;
    double share = -1;
    uint64_t bytes;
    int fd;
    if (qm_input_open(&fd, &bytes, path, NULL)) return -1;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n;
    void *map = MAP_FAILED;
    unsigned char *v = NULL;
    if (fstat(fd, &st) || st.st_size <= 0) goto out;
    /* Of a file that is not ours and that we may not write, Linux (5.2 on) says that all of it is there. */
    if (st.st_uid != geteuid() && geteuid() != 0 && access(path, W_OK)) goto out;
    n = ((size_t)st.st_size + page - 1) / page;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || !(v = malloc(n)) || mincore(map, (size_t)st.st_size, v)) goto out;
    size_t in = 0;
    for (size_t i = 0; i < n; i++) in += v[i] & 1;
    share = (double)in / (double)n;
out:
    free(v);
    if (map != MAP_FAILED) munmap(map, (size_t)st.st_size);
    close(fd);
    return share;
}

/* Several reads are under way at once, as fast storage wants it; each takes the next block. */
enum { BLOCK = 8 << 20, READERS = 4 };
static const uint64_t READ_MOST = 2ull << 30;
static const double READ_SECONDS = 1.5;

typedef struct {
    int fd;
    uint64_t bytes; /* whole blocks of the file that may be read */
    double until;
    atomic_ullong next, done;
    atomic_int error; /* errno of a failed read */
} reading;

static void *reader(void *arg) {
    reading *r = arg;
    void *buf = NULL;
    if (posix_memalign(&buf, 4096, BLOCK)) {
        atomic_store(&r->error, ENOMEM);
        return NULL;
    }
    while (qm_now() < r->until && !atomic_load(&r->error)) {
        uint64_t at = atomic_fetch_add(&r->next, BLOCK);
        if (at >= r->bytes) break;
        ssize_t n = pread(r->fd, buf, BLOCK, (off_t)at);
        if (n < 0) atomic_store(&r->error, errno);
        if (n <= 0) break;
        atomic_fetch_add(&r->done, (unsigned long long)n);
    }
    free(buf);
    return NULL;
}

/* Bytes a second, or 0 with errno's value in *error. */
static double read_file(const char *path, int flags, int *error) {
    struct stat st;
    reading r = {.fd = open(path, O_RDONLY | O_CLOEXEC | flags)};
    *error = errno;
    if (r.fd < 0) return 0;
    r.bytes = fstat(r.fd, &st) ? 0 : (uint64_t)st.st_size;
    if (r.bytes > READ_MOST) r.bytes = READ_MOST;
    double start = qm_now();
    r.until = start + READ_SECONDS;
    pthread_t thread[READERS];
    int n = 0;
    while (n < READERS - 1 && !pthread_create(&thread[n], NULL, reader, &r)) n++;
    reader(&r);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    double s = qm_now() - start;
    close(r.fd);
    *error = atomic_load(&r.error);
    return *error || s <= 0 ? 0 : (double)atomic_load(&r.done) / s;
}

/* Pinned memory to the device, on the host's clock: a GPU's copies of this size take milliseconds. */
enum { BUS_BYTES = 32 << 20, BUS_COPIES = 8 };
static int bus_rate(qm_device *d, double *rate, qm_err *e) {
    void *host = NULL;
    CUdeviceptr dev = 0;
    CUstream s = NULL;
    int rc = 0;
    double best = 0;
    QM_CU_TRY(d, StreamCreate(&s, CU_STREAM_NON_BLOCKING));
    QM_CU_TRY(d, MemHostAlloc(&host, BUS_BYTES, 0));
    QM_CU_TRY(d, MemAlloc(&dev, BUS_BYTES));
    memset(host, 1, BUS_BYTES); /* touched: a page that is not there yet would be counted as the bus */
    for (int i = 0; i < BUS_COPIES; i++) {
        double start = qm_now();
        QM_CU_TRY(d, MemcpyHtoDAsync(dev, host, BUS_BYTES, s));
        QM_CU_TRY(d, StreamSynchronize(s));
        double t = qm_now() - start;
        if (t > 0 && BUS_BYTES / t > best) best = BUS_BYTES / t;
    }
    *rate = best;
out:
    if (s) d->cu.StreamDestroy(s);
    if (dev) d->cu.MemFree(dev);
    if (host) d->cu.MemFreeHost(host);
    return rc;
}

int qm_engine_load_limits(qm_engine *g, const char *path, qm_load_limits *l, qm_err *e) {
    int error = 0;
    QM_PROF_SCOPE(QM_PROF_BENCH, "storage and bus");
    memset(l, 0, sizeof *l);
    l->storage = read_file(path, O_DIRECT, &error);
    l->direct = l->storage > 0;
    if (!l->direct) l->storage = read_file(path, 0, &error);
    if (l->storage <= 0)
        return qm_fail(e, QM_ERR_IO, "%s: %s", path, error ? strerror(error) : "nothing could be read");
    return qm_inside_device(g) ? bus_rate(qm_inside_device(g), &l->bus, e) : 0;
}

int qm_engine_memory(qm_engine *g, uint64_t *used, uint64_t *total, qm_err *e) {
    size_t avail = 0, all = 0;
    *used = *total = 0;
    qm_device *d = qm_inside_device(g);
    if (!d) return 0;
    int rc = qm_device_mem(d, &avail, &all, e);
    if (rc) return rc;
    *used = all - avail;
    *total = all;
    return 0;
}
