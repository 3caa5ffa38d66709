"""The Makefile where something goes wrong, or a path is not the usual one."""
import os, subprocess, sys
import tap

B = os.environ.get("B") or "build"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
# A make of its own: nothing of the one that runs the tests.
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "SAN")}


def make(*args, before=""):
    p = subprocess.run(["sh", "-c", before + 'exec make "$@"', "make", *args], env=ENV, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100)
    return p.returncode, p.stdout.decode()


def test_full_disk():
    """A rule that cannot write its file to the end leaves none: else the next make takes the piece for the whole."""
    b = os.path.join(TMP, "full")
    target = os.path.join(b, "embed.S")
    rc, out = make("B=" + b, target)
    assert rc == 0 and os.path.getsize(target) > 1024, out
    os.unlink(target)
    rc, out = make("B=" + b, target, before="ulimit -f 1; ")
    assert rc != 0, out
    assert not os.path.exists(target), f"{os.path.getsize(target)} bytes of embed.S were left behind\n{out}"
    rc, out = make("B=" + b, target)
    assert rc == 0 and os.path.getsize(target) > 1024, out


def test_install_into_a_folder_with_a_space():
    if not os.path.exists(os.path.join(B, "qmoe-gpu")):
        raise tap.Skip("no program in " + B)
    dest = os.path.join(TMP, "dest dir")
    rc, out = make("B=" + B, "-o", os.path.join(B, "qmoe-gpu"), "install", "DESTDIR=" + dest, "PREFIX=/usr")
    assert rc == 0, out
    assert os.access(os.path.join(dest, "usr/bin/qmoe-gpu"), os.X_OK), out
    assert os.path.exists(os.path.join(dest, "usr/share/man/man1/qmoe-gpu.1")), out


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
