"""What a program writes to a terminal, to the last byte."""
import os, pty, select, subprocess, time


def pieces(argv, columns=None, to=("stdin", "stdout", "stderr"), **more):
    """Runs argv with a terminal as those of its streams and yields (time, bytes) as they come; ends when it has ended, and
    then yields the process. The terminal's far end is held open here: one whose last user is gone may drop what is
    not read yet."""
    import fcntl, struct, termios
    near, far = pty.openpty()
    if columns:
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen(argv, **{k: far for k in to}, **more)
    try:
        while True:
            over = p.poll() is not None  # before the look: what it wrote is there by then
            if select.select([near], [], [], 0.05)[0]:
                yield time.monotonic(), os.read(near, 65536)
            elif over:
                break
    finally:
        os.close(near)
        os.close(far)
    yield p


def all_of(argv, **how):
    """(exit status, all bytes)"""
    *said, p = pieces(argv, **how)
    return p.returncode, b"".join(s for _, s in said)
