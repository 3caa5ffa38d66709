"""A command is its file, its line in host/commands.def and its test: all that tells of it follows from these."""
import glob, os, re, subprocess, sys
import tap

B = os.environ.get("B") or "build"
BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
with open("host/commands.def") as f:
    COMMANDS = re.findall(r"^QM_CMD\((\w+), '(.)',", f.read(), re.M)

FILE = r"""#include "host.h"
static struct {
    int times, quiet;
} opt = {.times = 1};
static const struct poptOption table[] = {
    {"times", 't', POPT_ARG_INT, &opt.times, 0, "how often (default: 1)", "N"},
    {"quiet", 'q', POPT_ARG_NONE, &opt.quiet, 0, "nothing on stderr but errors", NULL},
    POPT_TABLEEND};

int qm_cmd_greet(int argc, char **argv) {
    poptContext con;
    const char *name;
    int rc = qm_host_options(&con, argc, argv, table, "NAME [options]");
    if (rc >= 0 || (rc = qm_host_args(&con, &name, 1, "NAME")) >= 0) return rc;
    for (int i = 0; i < opt.times; i++) printf("Hello, %s\n", name);
    poptFreeContext(con);
    return QM_EXIT_OK;
}
"""


def program():
    """The program with one command more: what reads commands.def is compiled anew, all else is as it was built."""
    if os.environ.get("SAN"):
        raise tap.Skip("objects with sanitizers link with more than is named here")
    made = sorted(glob.glob(os.path.join(B, "o/host/*.o")) + glob.glob(os.path.join(B, "o/host/serve/*.o")) + glob.glob(os.path.join(B, "o/page.o")))
    if not made:
        raise tap.Skip("no objects in " + B)
    host = os.path.join(TMP, "host")
    os.makedirs(host, exist_ok=True)
    os.symlink(os.path.abspath("host/serve"), os.path.join(host, "serve"))
    for path in filter(os.path.isfile, glob.glob("host/*")):
        with open(path) as f, open(os.path.join(host, os.path.basename(path)), "w") as g:
            g.write(f.read())
    with open(os.path.join(host, "commands.def"), "a") as f:
        f.write("QM_CMD(greet, 'h', \"NAME\", \"say hello\")\n")
    with open(os.path.join(host, "greet.c"), "w") as f:
        f.write(FILE)
    with open(os.path.join(host, "flags.def"), "a") as f:
        f.write("QM_FLAG(\"h\", \"--repeat-it\", ALIAS, NONE, \"times\")\n")
    readers = [os.path.basename(p)[:-2] for p in glob.glob("host/*.c") if re.search(r'#include "(commands|flags)\.def"', open(p).read())]
    with open("Makefile") as f:
        libs = [w for x in re.findall(r"^(?:HOSTLIBS|LDLIBS) *= *(.*)$", f.read(), re.M) for w in x.split()]
    binary = os.path.join(TMP, "qmoe-gpu")
    p = subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I.", "-o", binary,
                        *[os.path.join(host, r + ".c") for r in readers + ["greet"]],
                        *[o for o in made if os.path.relpath(o, os.path.join(B, "o/host"))[:-2] not in readers], os.path.join(B, "libqmoe.a"), *libs],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert p.returncode == 0, p.stdout[-3000:]
    return binary


def test_a_command_is_its_file_and_its_line():
    binary = program()

    def run(*args):
        p = subprocess.run([binary, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return p.returncode, p.stdout, p.stderr
    assert run("greet", "you", "-t", "2") == (0, "Hello, you\n" * 2, "")
    assert re.search(r"^  greet NAME +say hello$", run("help")[1], re.M)
    assert "--times N" in run("help", "greet")[1] and run("greet", "--help")[1] == run("help", "greet")[1]
    assert "did you mean 'greet'?" in run("gret")[2]
    assert "did you mean --times?" in run("greet", "--tmes", "2")[2]
    assert run("greet", "you", "--repeat-it", "2") == (0, "Hello, you\n" * 2, "")  # llama.cpp's name: its line in flags.def
    assert re.search(r"--repeat-it *\n +in greet: --times$", run("help", "flags")[1], re.M)
    for shell in ("bash", "zsh"):
        script = run("completion", shell)[1]
        body = script[script.index("_qmoe_gpu_greet() {"):]
        assert "--times" in body[:body.index("\n}\n")], shell
        assert re.search(r"\bgreet\b", script[script.index("\n_qmoe_gpu() {"):]), shell


def test_the_man_page_and_the_tests_have_every_command():
    with open("docs/qmoe-gpu.1") as f:
        man = f.read()
    synopsis = man[man.index(".Sh SYNOPSIS"):man.index(".Sh DESCRIPTION")]
    texts = ""
    for path in glob.glob("tests/cli/*.py"):
        if path != __file__:
            with open(path) as f:
                texts += f.read()
    letters = [x for _, x in COMMANDS if x != "-"]
    assert len(COMMANDS) >= 10 and len(letters) == len(set(letters)), COMMANDS
    for c, _ in COMMANDS:
        assert os.path.exists(f"host/{c}.c"), c
        assert f".Cm {c}\n" in synopsis and f"\n.Ss {c}\n" in man, f"{c} is not in the man page"
        assert f'"{c}"' in texts, f"no test of the command line runs {c}"


def test_every_command_answers_alike():
    """Whatever a command does, --help and wrong options end as exit_status in contracts/cli.yaml says."""

    def run(*args, **more):
        p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **{"stdout": subprocess.PIPE, **more})
        return p.returncode, p.stdout, p.stderr
    for c, _ in COMMANDS:
        for args in (("--no-such-option",), ("--help=1",), ("-x=",)):
            status, out, err = run(c, *args)
            assert status == 2 and not out and err.startswith("qmoe-gpu: ") and err.count("\n") == 1 and args[0].split("=")[0] in err, (c, args, status, out, err)
        status, out, err = run(c, "--help")
        assert status == 0 and out.startswith(f"usage: qmoe-gpu {c} ") and not err, (c, status, out, err)
        with open("/dev/full", "w") as full:
            assert run(c, "--help", stdout=full)[0] == 1, c


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
