/* unit_loop: the server's event loop: timers, descriptors, and the way in for other threads. */
#include "host/serve/loop.c"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static loop *l;

static int open_loop(void **state) {
    qm_err e;
    (void)state;
    return loop_open(&l, &e);
}

static int close_loop(void **state) {
    (void)state;
    loop_close(l);
    return 0;
}

static void run(void) {
    qm_err e;
    assert_int_equal(loop_run(l, &e), 0);
}

static void on_stop(void *user) {
    (void)user;
    loop_stop(l);
}

/* ---- timers ---- */
enum { N = 3000 };
typedef struct {
    loop_timer *t;
    double at;
    int fired, cancelled, order;
} entry;
static entry list[N];
static double last;
static uint32_t seed;

static uint32_t draw(uint32_t n) { return (seed = seed * 1664525 + 1013904223) / 65536 % n; }

static void cancel_one(void) {
    entry *x = list + draw(N);
    if (!x->t) return;
    loop_cancel(l, x->t);
    x->t = NULL;
    x->cancelled = 1;
}

static void on_time(void *user) {
    entry *x = user;
    assert_false(x->cancelled);
    assert_int_equal(x->fired++, 0);
    assert_true(loop_now(l) >= x->at && x->at >= last);
    last = x->at;
    x->t = NULL;
    if (draw(4) == 0) cancel_one();
}

/* Each once, in their order, none too early; those that are taken back never, also by another in the same wake-up. */
static void test_timers(void **state) {
    (void)state;
    for (seed = 1; seed < 4; seed++) {
        memset(list, 0, sizeof list);
        last = 0;
        for (int i = 0; i < N; i++) {
            double s = 1e-3 * draw(40); /* many at the same time */
            list[i].at = loop_now(l) + s;
            list[i].t = loop_after(l, s, on_time, list + i);
            assert_non_null(list[i].t);
            if (draw(3) == 0) cancel_one();
        }
        assert_non_null(loop_after(l, 0.05, on_stop, NULL));
        run();
        for (int i = 0; i < N; i++) assert_int_equal(list[i].fired + list[i].cancelled, 1);
    }
}

static int rounds;
static void on_now(void *user) {
    rounds++;
    assert_non_null(loop_after(l, 0, on_now, user));
}

static void on_byte(void *user, uint32_t events) {
    (void)user;
    assert_true(events & EPOLLIN);
    loop_stop(l);
}

/* A timer of no time that sets itself anew lets descriptors have their turn. */
static void test_timers_leave_room(void **state) {
    int p[2];
    (void)state;
    assert_int_equal(pipe(p), 0);
    rounds = 0;
    loop_watch *w = loop_add(l, p[0], EPOLLIN, on_byte, NULL);
    assert_non_null(w);
    assert_non_null(loop_after(l, 0, on_now, NULL));
    assert_int_equal(write(p[1], "x", 1), 1);
    run();
    assert_in_range(rounds, 0, 2);
    loop_remove(l, w);
    close(p[0]);
    close(p[1]);
}

/* ---- descriptors ---- */
typedef struct {
    loop_watch *w;
    int fd[2], called;
} pair;
static pair pairs[3];

static void on_pair(void *user, uint32_t events) {
    pair *me = user;
    (void)events;
    me->called++;
    for (int i = 0; i < 3; i++) { /* itself and the others, whose events were fetched already */
        loop_remove(l, pairs[i].w);
        pairs[i].w = NULL;
        close(pairs[i].fd[0]);
        close(pairs[i].fd[1]);
    }
    assert_non_null(loop_after(l, 0.01, on_stop, NULL));
}

static void test_remove_in_its_own_call(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        pairs[i].called = 0;
        assert_int_equal(pipe(pairs[i].fd), 0);
        assert_int_equal(write(pairs[i].fd[1], "x", 1), 1);
        pairs[i].w = loop_add(l, pairs[i].fd[0], EPOLLIN, on_pair, pairs + i);
        assert_non_null(pairs[i].w);
    }
    run();
    assert_int_equal(pairs[0].called + pairs[1].called + pairs[2].called, 1);
    assert_null(loop_add(l, -1, EPOLLIN, on_pair, NULL));
}

/* ---- other threads ---- */
enum { THREADS = 4, WAKES = 20000 };
static atomic_int said;
static int heard, calls;

static void *waker(void *user) {
    (void)user;
    for (int i = 0; i < WAKES; i++) {
        atomic_fetch_add(&said, 1);
        loop_wake(l);
        if (i % 100 == 0) usleep(50);
    }
    return NULL;
}

static void on_woken(void *user) {
    (void)user;
    calls++;
    heard = atomic_load(&said);
    if (heard == THREADS * WAKES) loop_stop(l);
}

/* The last wake is never lost, and many become few. */
static void test_wakes(void **state) {
    pthread_t t[THREADS];
    (void)state;
    calls = 0;
    loop_on_wake(l, on_woken, NULL);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(t + i, NULL, waker, NULL), 0);
    assert_non_null(loop_after(l, 10, on_stop, NULL));
    run();
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    assert_int_equal(heard, THREADS * WAKES);
    assert_in_range(calls, 1, THREADS * WAKES);
}

static atomic_int stage;

static void *wake_in_the_call(void *user) {
    while (atomic_load(&stage) != 1) usleep(10);
    loop_wake(l);
    atomic_store(&stage, 2);
    return user;
}

static void on_two_calls(void *user) {
    (void)user;
    if (++calls == 2) loop_stop(l);
    atomic_store(&stage, 1);
    while (calls == 1 && atomic_load(&stage) != 2) usleep(10);
}

/* Who wakes while the last wake is being heard is heard after it. */
static void test_wake_in_the_call(void **state) {
    pthread_t t;
    (void)state;
    calls = 0;
    loop_on_wake(l, on_two_calls, NULL);
    assert_int_equal(pthread_create(&t, NULL, wake_in_the_call, NULL), 0);
    loop_wake(l);
    assert_non_null(loop_after(l, 10, on_stop, NULL));
    run();
    pthread_join(t, NULL);
    assert_int_equal(calls, 2);
}

/* ---- the end of a wake-up ---- */
static int ends;
static double at_end(void *user) {
    *(double *)user = loop_now(l);
    return ++ends < 3 ? 0 : ends < 5 ? 0.01 : -1;
}

/* It has its next turn at once, later, or when something else happens, as it says. */
static void test_at_end(void **state) {
    double t = 0, t0 = loop_clock();
    (void)state;
    ends = 0;
    loop_at_end(l, at_end, &t);
    assert_non_null(loop_after(l, 0.2, on_stop, NULL));
    run();
    assert_int_equal(ends, 5);
    assert_true(t - t0 >= 0.02 && t - t0 < 0.19);
    loop_at_end(l, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timers, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(test_timers_leave_room, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(test_remove_in_its_own_call, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(test_wakes, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(test_wake_in_the_call, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(test_at_end, open_loop, close_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
