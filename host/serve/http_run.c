/* http_run.c: libmicrohttpd's turn, at the end of the loop's wake-ups: when its own epoll descriptor is ready, when it said that
 * it has more to do, and when a connection is to go on. */
#include <sys/epoll.h>
#include "http_inside.h"

static double turn(void *user) {
    http *h = user;
    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (!h->due) return -1;
    h->due = 0;
    h->round++;
    MHD_run(h->d);
    if (MHD_get_timeout(h->d, &ms) == MHD_YES) h->due = 1;
    return h->due ? 1e-3 * (double)ms : -1;
}

static void on_library(void *user, uint32_t events) {
    (void)events;
    http_run_soon(user);
}

void http_run_soon(http *h) { h->due = 1; }

int http_run_begin(http *h) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->d, MHD_DAEMON_INFO_EPOLL_FD);
    h->library = info ? loop_add(h->loop, info->epoll_fd, EPOLLIN, on_library, h) : NULL;
    loop_at_end(h->loop, turn, h);
    return h->library ? 0 : -1;
}

void http_run_end(http *h) {
    loop_remove(h->loop, h->library);
    h->library = NULL;
    loop_at_end(h->loop, NULL, NULL);
}
