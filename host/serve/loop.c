/* loop.c: epoll, a heap of timers, and an eventfd by which other threads wake the loop. */
#include "loop.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct loop_watch {
    int fd;
    void (*fn)(void *user, uint32_t events); /* NULL: removed */
    void *user;
    loop_watch *next_removed;
};

struct loop_timer {
    double at;
    uint64_t order; /* which of two of the same time was set first */
    size_t place;   /* in the heap */
    void (*fn)(void *user);
    void *user;
};

struct loop {
    int epoll, wake;
    loop_watch *on_eventfd;
    atomic_int woken; /* 1: the eventfd has been written to and not been read */
    int stop;
    double now;
    void (*on_wake)(void *user);
    void *wake_user;
    double (*at_end)(void *user);
    void *end_user;
    loop_timer **heap; /* [n_timers] the next one first */
    size_t n_timers, cap;
    uint64_t n_set;
    loop_watch *removed; /* an event that was fetched already may still name them: freed when all are dealt with */
};

enum { MAX_EVENTS = 256 };

double loop_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_eventfd(void *user, uint32_t events) {
    loop *l = user;
    uint64_t n;
    (void)events;
    (void)!read(l->wake, &n, sizeof n);
    /* First this, then what it is for: who wakes from here on is heard again. */
    atomic_store(&l->woken, 0);
    if (l->on_wake) l->on_wake(l->wake_user);
}

int loop_open(loop **out, qm_err *e) {
    loop *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l) return qm_fail(e, QM_ERR_NOMEM, "event loop: no memory");
    l->now = loop_clock();
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = l->epoll < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake < 0 || !(l->on_eventfd = loop_add(l, l->wake, EPOLLIN, on_eventfd, l))) {
        int err = errno;
        loop_close(l);
        return qm_fail(e, QM_ERR_IO, "event loop: %s", strerror(err));
    }
    *out = l;
    return 0;
}

static void free_removed(loop *l) {
    for (loop_watch *w; (w = l->removed);) {
        l->removed = w->next_removed;
        free(w);
    }
}

/* ---- timers: a binary heap ---- */
static int before(const loop_timer *a, const loop_timer *b) {
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void put_at(loop *l, size_t i, loop_timer *t) {
    l->heap[i] = t;
    t->place = i;
}

static void rise(loop *l, size_t i, loop_timer *t) {
    for (; i && before(t, l->heap[(i - 1) / 2]); i = (i - 1) / 2) put_at(l, i, l->heap[(i - 1) / 2]);
    put_at(l, i, t);
}

static void sink(loop *l, size_t i, loop_timer *t) {
    for (size_t k; (k = 2 * i + 1) < l->n_timers; i = k) {
        if (k + 1 < l->n_timers && before(l->heap[k + 1], l->heap[k])) k++;
        if (!before(l->heap[k], t)) break;
        put_at(l, i, l->heap[k]);
    }
    put_at(l, i, t);
}

loop_timer *loop_after(loop *l, double seconds, void (*fn)(void *user), void *user) {
    if (l->n_timers == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        loop_timer **heap = realloc(l->heap, cap * sizeof *heap);
        if (!heap) return NULL;
        l->heap = heap;
        l->cap = cap;
    }
    loop_timer *t = malloc(sizeof *t);
    if (!t) return NULL;
    *t = (loop_timer){.at = l->now + (seconds > 0 ? seconds : 0), .order = l->n_set++, .fn = fn, .user = user};
    rise(l, l->n_timers++, t);
    return t;
}

static void take_out(loop *l, loop_timer *t) {
    loop_timer *last = l->heap[--l->n_timers];
    if (last == t) return;
    if (t->place && before(last, l->heap[(t->place - 1) / 2])) rise(l, t->place, last);
    else sink(l, t->place, last);
}

void loop_cancel(loop *l, loop_timer *t) {
    if (!t) return;
    take_out(l, t);
    free(t);
}

/* Those that are due. What they set anew waits for the next round, so that descriptors have their turn. */
static void run_timers(loop *l) {
    uint64_t set = l->n_set;
    while (l->n_timers && l->heap[0]->at <= l->now && l->heap[0]->order < set && !l->stop) {
        loop_timer t = *l->heap[0];
        loop_cancel(l, l->heap[0]);
        t.fn(t.user);
    }
}

/* Milliseconds until the next timer, rounded up: one that wakes too early would only wait again; `most` seconds at most, where
 * that is not below 0. -1: for ever. */
static int wait_ms(const loop *l, double most) {
    if (!l->n_timers && most < 0) return -1;
    double s = l->n_timers && most != 0 ? l->heap[0]->at - loop_clock() : most;
    double ms = 1e3 * (most >= 0 && most < s ? most : s);
    if (ms <= 0) return 0;
    return ms > 1e9 ? 1000000000 : (int)ms + 1;
}

/* ---- descriptors ---- */
loop_watch *loop_add(loop *l, int fd, uint32_t events, void (*fn)(void *user, uint32_t events), void *user) {
    loop_watch *w = malloc(sizeof *w);
    if (!w) return NULL;
    *w = (loop_watch){.fd = fd, .fn = fn, .user = user};
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) == 0) return w;
    free(w);
    return NULL;
}

void loop_remove(loop *l, loop_watch *w) {
    if (!w) return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->fn = NULL;
    w->next_removed = l->removed;
    l->removed = w;
}

/* ---- the loop ---- */
int loop_run(loop *l, qm_err *e) {
    struct epoll_event ev[MAX_EVENTS];
    double most = 0;
    l->now = loop_clock();
    while (!l->stop) {
        int n = epoll_wait(l->epoll, ev, MAX_EVENTS, wait_ms(l, most));
        if (n < 0 && errno != EINTR) return qm_fail(e, QM_ERR_IO, "event loop: %s", strerror(errno));
        l->now = loop_clock();
        for (int i = 0; i < n && !l->stop; i++) {
            loop_watch *w = ev[i].data.ptr;
            if (w->fn) w->fn(w->user, ev[i].events);
        }
        run_timers(l);
        most = l->at_end && !l->stop ? l->at_end(l->end_user) : -1;
        free_removed(l);
    }
    l->stop = 0;
    return 0;
}

void loop_stop(loop *l) { l->stop = 1; }
double loop_now(const loop *l) { return l->now; }

void loop_on_wake(loop *l, void (*fn)(void *user), void *user) {
    l->on_wake = fn;
    l->wake_user = user;
}

void loop_at_end(loop *l, double (*fn)(void *user), void *user) {
    l->at_end = fn;
    l->end_user = user;
}

void loop_wake(loop *l) {
    uint64_t one = 1;
    if (!atomic_exchange(&l->woken, 1)) (void)!write(l->wake, &one, sizeof one);
}

void loop_close(loop *l) {
    if (!l) return;
    while (l->n_timers) loop_cancel(l, l->heap[0]);
    free(l->heap);
    loop_remove(l, l->on_eventfd);
    free_removed(l);
    if (l->wake >= 0) close(l->wake);
    if (l->epoll >= 0) close(l->epoll);
    free(l);
}
