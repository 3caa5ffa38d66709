"""A program behind a pseudo-terminal of our own, started by a small shell with job control; the screen is pyte's."""
import os, re, resource, select, signal, struct, sys, termios, time, fcntl, tap

try:
    import pyte
except ImportError:
    pyte = None

# Its child is a job in the foreground. It tells of a stop by "s" and of the end by the status, and goes on by any byte.
SHELL = """
import os, resource, signal, sys
say, hear = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.close(say), os.close(hear)
    os.execvp(sys.argv[3], sys.argv[3:])
try: os.setpgid(pid, pid)
except OSError: pass
os.write(say, b"%d " % pid)
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.tcsetpgrp(0, os.getpgrp())
        os.write(say, b"s")
        if not os.read(hear, 1): break
        os.tcsetpgrp(0, pid)
        os.kill(pid, signal.SIGCONT)
    else:
        os.write(say, b"%d." % os.waitstatus_to_exitcode(status))
        break
"""


class Terminal:
    def __init__(self, argv, rows=24, cols=80, term="xterm"):
        if not pyte:
            raise tap.Skip("there is no python3-pyte")
        self.fd, slave = os.openpty()
        self.screen = pyte.Screen(cols, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.seen = b""  # not yet taken by read()
        self.resize(rows, cols, tell=False)
        self.before = termios.tcgetattr(slave)
        self.told, say = os.pipe()
        hear, self.tell = os.pipe()
        env = dict(os.environ, TERM=term, LC_ALL="C.UTF-8", HOME="/nonexistent")
        self.shell = os.fork()
        if not self.shell:
            try:
                os.login_tty(slave)
                for fd in (say, hear):
                    os.set_inheritable(fd, True)
                os.execve(sys.executable, [sys.executable, "-c", SHELL, str(say), str(hear), *argv], env)
            finally:
                os._exit(127)
        for fd in (slave, say, hear):
            os.close(fd)
        self.pid = int(self._told(b" "))

    def _told(self, end):
        out = b""
        while not out.endswith(end):
            assert select.select([self.told], [], [], 60)[0], f"the shell says nothing; {self.show()}"
            more = os.read(self.told, 1)
            assert more, f"the shell has gone; {self.show()}"
            out += more
        return out[:-1]

    def show(self):
        return "the screen:\n" + "\n".join(f"|{x}|" for x in self.screen.display) + f"\nnot yet read: {self.seen!r}"

    def _more(self, wait):
        """Takes what has come; False at the end."""
        if not select.select([self.fd], [], [], wait)[0]:
            return True
        try:
            out = os.read(self.fd, 65536)
        except OSError:
            out = b""
        self.seen += out
        self.stream.feed(out)
        return bool(out)

    def until(self, true, limit=60):
        """Reads on until true(rows) holds of what the screen shows: its rows, without the empty ones below."""
        end = time.monotonic() + limit
        while not true(self.rows()):
            assert time.monotonic() < end, f"it did not come; {self.show()}"
            assert self._more(1) or true(self.rows()), f"the program ended; {self.show()}"
        return self.rows()

    def settle(self, quiet=0.3):
        """Reads on until nothing has come for a while."""
        end = time.monotonic() + quiet
        while time.monotonic() < end:
            n = len(self.seen)
            if not self._more(quiet):
                break
            if len(self.seen) != n:
                end = time.monotonic() + quiet
        return self.rows()

    def rows(self):
        rows = [x.rstrip() for x in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def read(self, what, limit=60):
        """Reads on until `what` (a regular expression) has come; returns what came up to and with it."""
        end = time.monotonic() + limit
        while True:
            m = re.search(what.encode(), self.seen, re.S)
            if m:
                out, self.seen = self.seen[:m.end()], self.seen[m.end():]
                return out.decode(errors="replace")
            assert time.monotonic() < end, f"{what!r} did not come; {self.show()}"
            assert self._more(1), f"the program ended before {what!r}; {self.show()}"

    def forget(self):
        """What has come so far is not for read()."""
        self.settle(0.1)
        self.seen = b""

    def type(self, text):
        os.write(self.fd, text.encode())

    def resize(self, rows, cols, tell=True):
        self.screen.resize(rows, cols)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def modes(self):
        return termios.tcgetattr(self.fd)

    def kill(self, sig):
        os.kill(self.pid, sig)

    def stopped(self):
        """Waits until the job has been stopped."""
        self._told(b"s")

    def go_on(self):
        os.write(self.tell, b"c")

    def end(self, status=0):
        """What is left of the output, once the program has ended by itself with this status (negative: a signal)."""
        end = time.monotonic() + 60
        while self._more(1):
            assert time.monotonic() < end, f"it did not end; {self.show()}"
        got = int(self._told(b"."))
        os.waitpid(self.shell, 0)
        self.after = self.modes()
        for fd in (self.fd, self.told, self.tell):
            os.close(fd)
        assert got == status, f"exit status {got}, not {status}; {self.show()}"
        return self.seen.decode(errors="replace")
