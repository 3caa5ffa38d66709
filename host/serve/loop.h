/* loop.h: the server's one event loop: descriptors by epoll, timers, and a way in for other threads. Everything that is called
 * from here runs on the thread of loop_run; nothing of it may block. An idle loop sleeps in epoll_wait without a timeout. */
#ifndef QM_SERVE_LOOP_H
#define QM_SERVE_LOOP_H
#include <stdint.h>
#include "runtime/qmoe.h"

typedef struct loop loop;
int loop_open(loop **out, qm_err *e);
void loop_close(loop *l);
/* Until loop_stop. 0, or an error of epoll. */
int loop_run(loop *l, qm_err *e);
void loop_stop(loop *l);
double loop_clock(void);        /* seconds, monotonic; any thread */
double loop_now(const loop *l); /* seconds, monotonic; one value for all that one wake-up does */

typedef struct loop_watch loop_watch;
/* events: EPOLLIN, EPOLLOUT, EPOLLRDHUP ..; fn gets those that are there. NULL: no memory, or epoll refused. */
loop_watch *loop_add(loop *l, int fd, uint32_t events, void (*fn)(void *user, uint32_t events), void *user);
void loop_remove(loop *l, loop_watch *w); /* before fd is closed; from inside its own fn too */

typedef struct loop_timer loop_timer;
/* Once, `seconds` from now. NULL: no memory. The timer is gone when fn is called. */
loop_timer *loop_after(loop *l, double seconds, void (*fn)(void *user), void *user);
void loop_cancel(loop *l, loop_timer *t);

/* fn is called at the end of each wake-up, when descriptors and timers have had their turn. It returns for how long the loop
 * may sleep at most, in seconds: 0: it wants its next turn at once; below 0: no matter. One such function a loop; NULL: none. */
void loop_at_end(loop *l, double (*fn)(void *user), void *user);

/* Any thread: fn(user) is called once on the loop's thread soon; several wakes before that may become one. One such function a
 * loop. */
void loop_on_wake(loop *l, void (*fn)(void *user), void *user);
void loop_wake(loop *l);
#endif
