"""make install and make uninstall: what a program outside needs to use the library, and that nothing stays behind."""
import os, re, shutil, subprocess, sys
import tap

B = os.environ.get("B") or "build"
BIN = os.path.join(B, "qmoe-gpu")
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
# A make of its own: nothing of the one that runs the tests.
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "SAN")}
PREFIX = os.path.join(TMP, "prefix")

PROGRAM = r"""
#include <qmoe.h>
#include <stdio.h>

static int on_token(void *user, uint32_t id, const char *text, size_t n) {
    (void)user, (void)text, (void)n;
    if (id != UINT32_MAX) printf("%u ", id);
    return 0;
}

int main(int argc, char **argv) {
    qm_err e;
    qm_engine *g = NULL;
    qm_session *s = NULL;
    qm_tokens ids = {0};
    qm_gen_stats st;
    qm_engine_opts o = {.device = "sim"};
    qm_gen_opts go = {.max_tokens = 4, .ignore_eos = 1, .on_token = on_token};
    int bad = argc != 2 || qm_engine_open(&g, argv[1], &o, &e) || qm_engine_tokenize(g, "Hi", 2, 0, &ids, &e) ||
              qm_session_open(&s, g, &e) || qm_generate(s, ids.v, ids.n, &go, &st, &e);
    if (bad) fprintf(stderr, "%s\n", e.msg);
    qm_session_close(s);
    qm_engine_close(g);
    return bad;
}
"""


def make(*args):
    if os.environ.get("SAN"):
        raise tap.Skip("a library of sanitized objects is none to install")
    if not os.path.exists(BIN):
        raise tap.Skip("no program in " + B)
    p = subprocess.run(["make", "B=" + B, "-o", BIN, "-o", os.path.join(B, "libqmoe.a"), *args], env=ENV, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100)
    assert p.returncode == 0, p.stdout.decode()


def files(folder):
    return sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, names in os.walk(folder) for f in names)


def cflags():
    """The compiler's words for qmoe.pc, as pkg-config reads it."""
    if shutil.which("pkg-config"):
        return subprocess.run(["pkg-config", "--cflags", "--libs", "qmoe"], check=True, stdout=subprocess.PIPE, text=True,
                              env=dict(ENV, PKG_CONFIG_PATH=os.path.join(PREFIX, "lib/pkgconfig"))).stdout.split()
    with open(os.path.join(PREFIX, "lib/pkgconfig/qmoe.pc")) as f:
        lines = f.read().replace("${prefix}", PREFIX).splitlines()
    return [w for x in lines if x.startswith(("Cflags:", "Libs:")) for w in x.split()[1:]]


def test_a_program_outside_uses_the_library():
    make("install", "PREFIX=" + PREFIX)
    outside = os.path.join(TMP, "outside")
    os.makedirs(outside)
    with open(os.path.join(outside, "few.c"), "w") as f:
        f.write(PROGRAM)
    cc = shutil.which("cc") or "gcc"
    p = subprocess.run([cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "few.c", "-o", "few", *cflags()], cwd=outside,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert p.returncode == 0, p.stdout
    model = os.path.join(TMP, "few.gguf")
    program = os.path.join(PREFIX, "bin/qmoe-gpu")
    subprocess.run([program, "synth", "-o", model, "--layers", "2"], check=True, stdout=subprocess.DEVNULL)
    ids = subprocess.run([os.path.join(outside, "few"), model], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    out = subprocess.run([program, "generate", "-m", model, "-p", "Hi", "--raw", "-n", "4", "--temp", "0", "--ignore-eos", "--json", "-q", "-d", "sim"],
                         check=True, stdout=subprocess.PIPE).stdout
    import json
    assert [int(x) for x in ids] == json.loads(out)["token_ids"] and len(ids) == 4, ids


def test_headers_stand_alone():
    """qmoe.h runs models, qmoe_tools.h measures and looks inside; each in C and in C++, with no other library's header."""
    make("install", "PREFIX=" + PREFIX)
    include = os.path.join(PREFIX, "include/qmoe")
    assert sorted(x for x in os.listdir(include) if x.endswith(".h")) == ["qmoe.h", "qmoe_guide.h", "qmoe_text.h", "qmoe_tools.h"], os.listdir(include)
    for compiler, language, null in (("gcc", "c", "0"), ("g++", "c++", "nullptr")):
        if not shutil.which(compiler):
            continue
        for program in (f"#include <qmoe.h>\nint main() {{ qm_engine_close({null}); }}\n",
                        f"#include <qmoe_text.h>\nint main() {{ qm_answer_close({null}); }}\n",
                        f"#include <qmoe_tools.h>\nint main() {{ return qm_machine_json({null}) || qm_doctor(0, {null}, {null}, {null}); }}\n"):
            p = subprocess.run([compiler, "-fsyntax-only", "-x", language, "-Wall", "-Werror", "-I", include, "-"], text=True, input=program,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert p.returncode == 0, p.stdout
    p = subprocess.run(["gcc", "-fsyntax-only", "-x", "c", "-I", include, "-"], text=True, input="#include <qmoe.h>\nint main(void) { return qm_doctor(0, 0, 0, 0); }\n",
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "qm_doctor" in p.stdout, "qmoe.h has the tools too"
    for f in files(include):
        with open(os.path.join(include, f)) as g:
            text = g.read()
        others = [x for x in re.findall(r"#include <([^>]+)>", text) if x not in ("stddef.h", "stdint.h")]
        assert not others and "json_t" not in text and not re.search(r"\bCU[a-z]", text), (f, others)


def test_uninstall_removes_exactly_that():
    dest = os.path.join(TMP, "a dest")
    make("install", "DESTDIR=" + dest, "PREFIX=/usr")
    there = files(dest)
    for f in ("bin/qmoe-gpu", "lib/libqmoe.a", "include/qmoe/qmoe.h", "lib/pkgconfig/qmoe.pc", "share/man/man1/qmoe-gpu.1",
              "share/bash-completion/completions/qmoe-gpu", "share/zsh/site-functions/_qmoe-gpu"):
        assert "usr/" + f in there, (f, there)
    others = ["usr/bin/other", "usr/include/qmoe/base/mine.h", "usr/lib/libother.a"]
    for f in others:
        with open(os.path.join(dest, f), "w"):
            pass
    make("uninstall", "DESTDIR=" + dest, "PREFIX=/usr")
    assert files(dest) == sorted(others), files(dest)
    for f in others:
        os.remove(os.path.join(dest, f))
    make("install", "DESTDIR=" + dest, "PREFIX=/usr")
    assert files(dest) == there
    make("uninstall", "DESTDIR=" + dest, "PREFIX=/usr")
    assert not files(dest) and not os.path.exists(os.path.join(dest, "usr/include/qmoe")), files(dest)
    make("uninstall", "DESTDIR=" + dest, "PREFIX=/usr")  # and nothing to remove is no error


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
