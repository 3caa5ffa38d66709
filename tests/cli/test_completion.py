"""The completion scripts of bash and zsh, run by the shells themselves."""
import os, re, shutil, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
COMMANDS = re.findall(r"^QM_CMD\((\w+),", open("host/commands.def").read(), re.M)


def out(*args):
    return subprocess.run([BIN, *args], check=True, stdout=subprocess.PIPE).stdout.decode()


def script(shell):
    path = os.path.join(TMP, "completion." + shell)
    with open(path, "w") as f:
        f.write(out("completion", shell))
    return path


def complete(*words):
    """What bash would offer for the last word."""
    if not shutil.which("bash"):
        raise tap.Skip("no bash")
    folder = os.path.join(TMP, "completion")
    os.makedirs(os.path.join(folder, "sub dir"), exist_ok=True)
    for f in ("a model.gguf", "text.txt"):
        open(os.path.join(folder, f), "w").close()
    harness = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); complete -p qmoe-gpu > /dev/null || exit 3; _qmoe_gpu; printf "%s\\n" "${COMPREPLY[@]}"'
    p = subprocess.run(["bash", "-c", harness, "bash", script("bash"), "qmoe-gpu", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.returncode == 0 and not p.stderr, p
    return sorted(x for x in p.stdout.decode().splitlines() if x)


def options(command):
    return sorted("--" + x for x in re.findall(r"^ {2}(?:-\w, |    )--([a-z0-9-]+)", out(command, "--help"), re.M))


def test_commands():
    listed = [x.split()[0] for x in out("help").splitlines() if x.startswith("  ")]
    assert complete("") == sorted(listed) and set(COMMANDS) < set(listed)
    assert complete("t") == ["tokenize", "trace"] and complete("xyzzy") == []
    assert "flags" in complete("help", "") and complete("completion", "") == ["bash", "zsh"]


def test_every_option_of_every_command():
    for c in COMMANDS:
        assert complete(c, "--") == options(c), c
        assert len(options(c)) >= 3
    assert complete("generate", "--repeat") == ["--repeat-last-n", "--repeat-penalty"]
    assert complete("generate", "-m", "x.gguf", "--rope") == ["--rope-freq-base"]


def test_values():
    assert complete("generate", "--executor", "") == ["auto", "graph", "persistent", "ref"]
    assert complete("bench", "-o", "j") == ["json", "jsonl"]
    assert complete("generate", "-d", "") == ["auto", "sim"]
    assert complete("generate", "-m", "") == ["a model.gguf", "sub dir"]
    assert complete("generate", "-f", "") == ["a model.gguf", "sub dir", "text.txt"]
    assert complete("inspect", "") == ["a model.gguf", "sub dir", "text.txt"]
    assert complete("trace", "--dump", "") == ["sub dir"] and complete("trace", "--compare", "r") == ["ref"]
    assert complete("generate", "-n", "") == []  # nobody can guess it


def test_zsh():
    path = script("zsh")
    with open(path) as f:
        text = f.read()
    assert text.startswith("#compdef qmoe-gpu\n")
    for c in COMMANDS:
        body = text[text.index(f"\n_qmoe_gpu_{c}() {{"):]
        body = body[:body.index("\n}\n")]
        assert sorted(set("--" + x for x in re.findall(r"(?:'\*?|,)--([a-z0-9-]+)(?=[\[}])", body))) == options(c), c
    if not shutil.which("zsh"):
        raise tap.Skip("no zsh: its options are those of --help, the syntax is not seen")
    p = subprocess.run(["zsh", "-f", "-n", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert p.returncode == 0 and not p.stdout, p.stdout
    p = subprocess.run(["zsh", "-f", "-c", f'autoload -Uz compinit && compinit -u -D && source "{path}" && print -r -- $_comps[qmoe-gpu]'],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, HOME=TMP))
    assert p.returncode == 0 and p.stdout.decode().strip() == "_qmoe_gpu", p.stdout


def test_wrong_usage():
    for args in ((), ("fish",), ("bash", "zsh")):
        p = subprocess.run([BIN, "completion", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert p.returncode == 2 and not p.stdout and b"bash or zsh" in p.stderr


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
