/* The uploader: every byte arrives in its place whatever the sizes, granules and number of threads;
 * a producer that fails stops the upload with its own error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/device/upload.h"

static qm_device *dev;

static int setup(void **state) {
    (void)state;
    qm_err e = {0};
    const char *spec = getenv("QMOE_TEST_DEVICE");
    return qm_device_open(&dev, spec && *spec ? spec : "sim", NULL, 0, &e);
}
static int teardown(void **state) {
    (void)state;
    qm_device_close(dev);
    return 0;
}

/* A stream that copies as late as it may: a copy is done only when an event behind it, or the stream, is
 * waited for. What the uploader writes into a buffer too early, or reads too late, then shows. */
enum { LATE_MAX = 4096 };
static struct {
    struct {
        CUdeviceptr d;
        const void *s;
        size_t n;
    } copy[LATE_MAX];
    int n, done;
    struct {
        CUevent ev;
        int mark;
    } event[16];
    int n_events;
    qm_cuda real;
} late;

static CUresult late_run(int end) {
    for (; late.done < end; late.done++) {
        CUresult r = late.real.MemcpyHtoD(late.copy[late.done].d, late.copy[late.done].s, late.copy[late.done].n);
        if (r != CUDA_SUCCESS) return r;
    }
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI late_copy(CUdeviceptr d, const void *s, size_t n, CUstream st) {
    (void)st;
    if (late.n == LATE_MAX) return CUDA_ERROR_INVALID_VALUE;
    late.copy[late.n].d = d;
    late.copy[late.n].s = s;
    late.copy[late.n++].n = n;
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI late_record(CUevent ev, CUstream st) {
    (void)st;
    int i = 0;
    while (i < late.n_events && late.event[i].ev != ev) i++;
    if (i == 16) return CUDA_ERROR_INVALID_VALUE;
    if (i == late.n_events) late.n_events++;
    late.event[i].ev = ev;
    late.event[i].mark = late.n;
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI late_wait_event(CUevent ev) {
    for (int i = 0; i < late.n_events; i++)
        if (late.event[i].ev == ev) return late_run(late.event[i].mark);
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI late_wait_stream(CUstream st) {
    CUresult r = late_run(late.n);
    late.n = late.done = late.n_events = 0;
    return r == CUDA_SUCCESS ? late.real.StreamSynchronize(st) : r;
}

typedef struct {
    pthread_t opener;                 /* other threads dawdle: the uploader must wait for them */
    uint64_t bytes, granule, fail_at; /* fail_at: UINT64_MAX = never */
    uint32_t salt;
    _Atomic uint64_t filled;
    _Atomic int bad;
} producer;

static uint8_t byte_at(uint32_t salt, uint64_t i) { return (uint8_t)((i * 2654435761u + salt) >> 11); }

static int fill(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e) {
    producer *p = user;
    /* ranges are whole granules, the end excepted */
    if (!n || off % p->granule || off + n > p->bytes || ((off + n) % p->granule && off + n != p->bytes)) p->bad = 1;
    if (p->fail_at >= off && p->fail_at < off + n)
        return qm_fail(e, QM_ERR_FORMAT, "byte %llu is bad", (unsigned long long)p->fail_at);
    if (!pthread_equal(pthread_self(), p->opener)) usleep(300);
    for (uint64_t i = 0; i < n; i++) ((uint8_t *)dst)[i] = byte_at(p->salt, off + i);
    p->filled += n;
    return 0;
}

static void all_sizes(int n_threads, int n_buffers) {
    enum { STAGING = 1 << 20, GUARD = 256, MAX = 5 << 20 };
    static const uint64_t granules[] = {1, 2, 144, 4608, 73728, STAGING};
    qm_err e = {0};
    qm_uploader *u;
    CUstream s;
    CUdeviceptr d;
    qm_rng rng = {(uint64_t)n_threads * 100 + (uint64_t)n_buffers};
    uint8_t *back = malloc(MAX + 2 * GUARD);
    assert_non_null(back);
    assert_int_equal(dev->cu.StreamCreate(&s, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    assert_int_equal(dev->cu.MemAlloc(&d, MAX + 2 * GUARD), CUDA_SUCCESS);
    assert_int_equal(qm_uploader_open_threads(&u, dev, s, STAGING, n_buffers, n_threads, &e), 0);
    for (size_t g = 0; g < sizeof granules / sizeof granules[0]; g++) {
        for (int round = 0; round < 4; round++) {
            producer p = {
                .opener = pthread_self(), .granule = granules[g], .fail_at = UINT64_MAX, .salt = qm_rng_u32(&rng)};
            p.bytes = round == 0 ? 0 : round == 1 ? granules[g] : 1 + qm_rng_below(&rng, MAX);
            assert_int_equal(dev->cu.MemsetD8Async(d, 0xa5, MAX + 2 * GUARD, s), CUDA_SUCCESS);
            assert_int_equal(dev->cu.StreamSynchronize(s), CUDA_SUCCESS);
            assert_int_equal(qm_uploader_put(u, d + GUARD, p.bytes, p.granule, fill, &p, &e), 0);
            assert_int_equal(qm_uploader_flush(u, &e), 0);
            assert_int_equal(dev->cu.MemcpyDtoH(back, d, MAX + 2 * GUARD), CUDA_SUCCESS);
            assert_int_equal(p.bad, 0);
            assert_true(p.filled == p.bytes); /* each byte produced once */
            for (uint64_t i = 0; i < MAX + 2 * GUARD; i++) {
                uint8_t want = i < GUARD || i >= GUARD + p.bytes ? 0xa5 : byte_at(p.salt, i - GUARD);
                if (back[i] != want)
                    fail_msg("granule %llu, %llu bytes: byte %llu is %02x instead of %02x",
                             (unsigned long long)p.granule, (unsigned long long)p.bytes, (unsigned long long)i - GUARD,
                             back[i], want);
            }
        }
    }
    qm_uploader_close(u);
    dev->cu.MemFree(d);
    dev->cu.StreamDestroy(s);
    free(back);
}

static void one_thread(void **state) {
    (void)state;
    all_sizes(1, 2);
}
static void five_threads(void **state) {
    (void)state;
    all_sizes(5, 3);
}

static void late_copies(void **state) {
    (void)state;
    late.real = dev->cu;
    dev->cu.MemcpyHtoDAsync = late_copy;
    dev->cu.EventRecord = late_record;
    dev->cu.EventSynchronize = late_wait_event;
    dev->cu.StreamSynchronize = late_wait_stream;
    all_sizes(3, 2);
    all_sizes(2, 5);
    dev->cu = late.real;
}

/* Small copies, one behind the other, of a word that is another one as soon as the call returns. */
static void source_may_go(void **state) {
    (void)state;
    enum { N = 100 };
    qm_err e = {0};
    qm_uploader *u;
    CUstream s;
    CUdeviceptr d;
    uint32_t word, back[N], big[600];
    assert_int_equal(dev->cu.StreamCreate(&s, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    assert_int_equal(dev->cu.MemAlloc(&d, sizeof back + sizeof big), CUDA_SUCCESS);
    late.real = dev->cu;
    dev->cu.MemcpyHtoDAsync = late_copy;
    dev->cu.EventRecord = late_record;
    dev->cu.EventSynchronize = late_wait_event;
    dev->cu.StreamSynchronize = late_wait_stream;
    assert_int_equal(qm_uploader_open_threads(&u, dev, s, 256, 4, 1, &e), 0);
    for (uint32_t i = 0; i < N; i++) {
        word = 1000 + i;
        assert_int_equal(qm_uploader_copy(u, d + 4 * i, &word, 4, &e), 0);
        word = 7;
    }
    for (uint32_t i = 0; i < 600; i++) big[i] = 3 * i;
    assert_int_equal(qm_uploader_copy(u, d + sizeof back, big, sizeof big, &e),
                     0); /* more than a buffer, and than all */
    memset(big, 0xee, sizeof big);
    assert_int_equal(qm_uploader_flush(u, &e), 0);
    qm_uploader_close(u);
    dev->cu = late.real;
    assert_int_equal(dev->cu.MemcpyDtoH(back, d, sizeof back), CUDA_SUCCESS);
    assert_int_equal(dev->cu.MemcpyDtoH(big, d + sizeof back, sizeof big), CUDA_SUCCESS);
    for (uint32_t i = 0; i < N; i++) assert_int_equal(back[i], 1000 + i);
    for (uint32_t i = 0; i < 600; i++) assert_int_equal(big[i], 3 * i);
    dev->cu.MemFree(d);
    dev->cu.StreamDestroy(s);
}

static void failures(void **state) {
    (void)state;
    qm_err e = {0};
    qm_uploader *u;
    CUdeviceptr d;
    assert_int_equal(dev->cu.MemAlloc(&d, 4 << 20), CUDA_SUCCESS);
    assert_int_equal(qm_uploader_open(&u, dev, NULL, 1 << 20, 1, &e), QM_ERR_ARG);
    assert_null(u);
    assert_int_equal(qm_uploader_open(&u, dev, NULL, 1 << 20, 2, &e), 0);
    producer p = {.opener = pthread_self(), .bytes = 4 << 20, .granule = 64, .fail_at = (3 << 20) + 5};
    assert_int_equal(qm_uploader_put(u, d, p.bytes, p.granule, fill, &p, &e), QM_ERR_FORMAT);
    assert_string_equal(e.msg, "byte 3145733 is bad");
    p.fail_at = UINT64_MAX; /* it can be used again */
    assert_int_equal(qm_uploader_put(u, d, p.bytes, p.granule, fill, &p, &e), 0);
    assert_int_equal(qm_uploader_flush(u, &e), 0);
    assert_int_equal(qm_uploader_put(u, d, 4 << 20, (1 << 20) + 1, fill, &p, &e), QM_ERR_LIMIT);
    assert_int_equal(qm_uploader_put(u, 0, 64, 64, fill, &p, &e), QM_ERR_DEVICE); /* not a device address */
    qm_uploader_close(u);
    qm_uploader_close(NULL);
    dev->cu.MemFree(d);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(one_thread), cmocka_unit_test(five_threads),
                                   cmocka_unit_test(late_copies), cmocka_unit_test(source_may_go),
                                   cmocka_unit_test(failures)};
    return cmocka_run_group_tests(t, setup, teardown);
}
