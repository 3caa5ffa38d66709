/* process.c: what the program owes its surroundings, whatever the command: three open descriptors, and no leavings when
 * a signal ends it. The library installs no handlers: that is done here. */
#include "host.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opened the wrong way round: what uses a descriptor that was closed fails as it would have, and no file that is
 * opened later becomes standard output. */
static void open_standard(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            _exit(QM_EXIT_FAIL);
}

static void (*at_end)(void);
void qm_host_at_end(void (*restore)(void)) { at_end = restore; }

/* The handler is gone by now (SA_RESETHAND): raised again, the signal ends the process as it should. */
static void on_end(int sig) {
    if (at_end) at_end();
    qm_abandon_files();
    raise(sig);
}

static void put(const char *s) { (void)!write(STDERR_FILENO, s, strlen(s)); }

/* A page of a mapped file that cannot be read. Any other such fault is a mistake of ours and goes its way. Threads that
 * read the same file run into it together: the first one speaks. */
static void on_bus(int sig, siginfo_t *info, void *context) {
    static atomic_flag spoken = ATOMIC_FLAG_INIT;
    int shrank = 0;
    const char *name = qm_input_fault(info->si_addr, &shrank);
    (void)context;
    if (!name) {
        signal(sig, SIG_DFL);
        raise(sig);
        return;
    }
    while (atomic_flag_test_and_set(&spoken)) pause();
    qm_abandon_files();
    put("qmoe-gpu: ");
    put(name);
    put(shrank ? ": the file shrank while it was in use\n" : ": the file cannot be read: its disk failed\n");
    _exit(QM_EXIT_FAIL);
}

void qm_host_begin(void) {
    static const int end[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU};
    open_standard();
    /* A reader that goes away (`| head`), a file too long (ulimit -f): errors of the write, not silent deaths. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof end / sizeof *end; i++) {
        struct sigaction old, a = {.sa_handler = on_end, .sa_flags = SA_RESETHAND | SA_NODEFER};
        if (sigaction(end[i], NULL, &old) || old.sa_handler == SIG_IGN) continue; /* nohup stays */
        sigaction(end[i], &a, NULL);
    }
    struct sigaction bus = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &bus, NULL);
}

FILE *qm_host_report_stream(const char *path) {
    struct stat a, b;
    if (fstat(STDOUT_FILENO, &a) || stat(path, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino) return stdout;
    return S_ISCHR(a.st_mode) ? stdout : stderr; /* two who write to /dev/null or to one terminal do no harm */
}
