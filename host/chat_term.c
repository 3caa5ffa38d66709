/* chat_term.c: the terminal while a chat has it: what is typed is not echoed but by the editor, and a paste comes in
 * brackets. However the chat ends, stops or goes on, the terminal gets its own modes back first. */
#include <errno.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>
#include "chat.h"

static struct termios before, quiet;
static const struct termios *now = &quiet; /* what holds while the terminal is ours */
static volatile sig_atomic_t held;         /* it is, and the modes are to be given back */
static int codes_to = -1;                  /* where escape codes go; -1: nowhere */

/* Bracketed paste on and off; with off goes dimmed text. */
static const char begin[] = "\033[?2004h", end[] = "\033[0m\033[?2004l";

/* The functions below are called by signal handlers too: they use nothing that is not safe there. A process in the
 * background leaves the terminal alone: it would be stopped for touching it. */
static void set_modes(const struct termios *t, const char *codes, size_t n) {
    int why = errno;
    if (tcgetpgrp(0) == getpgrp()) {
        if (codes_to >= 0 && write(codes_to, codes, n) < 0) errno = 0; /* nobody is there to see it */
        tcsetattr(0, TCSANOW, t);
    }
    errno = why;
}

static void give_back(void) {
    if (held) set_modes(&before, end, sizeof end - 1);
}

static void on_stop(int sig) { /* and SIGCONT, when it comes, is qm_term_continue's */
    sigset_t it;
    int why = errno;
    give_back();
    signal(sig, SIG_DFL);
    sigemptyset(&it);
    sigaddset(&it, sig);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &it, NULL); /* it stops here */
    sigaction(sig, &(struct sigaction){.sa_handler = on_stop}, NULL);
    errno = why;
}

void qm_term_continue(void) {
    if (held) set_modes(now, begin, sizeof begin - 1);
}

void qm_term_open(int fd) {
    if (tcgetattr(0, &before)) return;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (fd >= 0) { /* an editor reads: single keys */
        quiet.c_lflag &= ~(tcflag_t)ICANON;
        quiet.c_cc[VMIN] = 1;
        quiet.c_cc[VTIME] = 0;
    }
    codes_to = fd;
    held = 1;
    qm_host_at_end(give_back);
    sigaction(SIGTSTP, &(struct sigaction){.sa_handler = on_stop}, NULL);
    set_modes(&quiet, begin, sizeof begin - 1);
}

void qm_term_echo(int on) {
    now = on ? &before : &quiet;
    if (held) set_modes(now, "", 0);
}

void qm_term_close(void) {
    give_back();
    held = 0;
}
