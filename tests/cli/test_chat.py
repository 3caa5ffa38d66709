"""qmoe-gpu chat: in a pipe, on a terminal (a pseudo-terminal of our own), on a dumb one."""
import json, os, pty, re, select, signal, subprocess, sys, time
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "chat.gguf")
ESC = "\x1b"


def model():
    if not os.path.exists(MODEL):
        subprocess.run([BIN, "synth", "-o", MODEL, "--seed", "3", "--layers", "2"], check=True, stdout=subprocess.DEVNULL)
    return MODEL


def chat(lines, *args, status=0, how=("--temp", "0")):
    """A conversation in a pipe: (stdout, stderr)."""
    p = subprocess.run([BIN, "chat", model(), "--device", "sim", *how, *args], input=lines.encode(), stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=120)
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"exit status {p.returncode}, not {status}\nstdout: {out}\nstderr: {err}"
    return out, err


def stats(err):
    """Of each /stats in err: (positions held, computed in the last turn, reused in it, generated in it)."""
    return [tuple(int(x) for x in m.groups()) for m in
            re.finditer(r"context  (\d+) of \d+ .*\nlast     (\d+) tokens computed .*, (\d+) taken from the cache; (\d+) generated", err)]


def test_a_line_is_a_turn():
    out, err = chat("Hello\n\n  \nTell me more\n", "-n", "4")
    assert out.count("\n") == 2 and out.endswith("\n") and not err, (out, err)
    assert ESC not in out and "> " not in out
    one, _ = chat("Hello\n", "-n", "4")
    assert out.startswith(one)
    assert chat("Hello", "-n", "4")[0] == one  # the last line needs no end
    assert chat("", "-n", "4") == ("", "")
    assert chat("Tell me more\n", "-n", "4", "-p", "Hello")[0] == out


def test_the_cache_is_kept():
    out, err = chat("Hello\n/stats\nTell me more\n/stats\n/reset\n/stats\nHello\n/stats\n", "-n", "5")
    first, second, reset, again = stats(err)
    assert first[2] == 0 and first[0] == first[1] + first[3] and first[3] == 5, first
    # All but the answer's last token, which nothing has been computed from, is there still; the new turn alone is computed.
    assert second[2] == first[0] - 1 and second[0] == second[1] + second[2] + second[3], (first, second)
    assert second[1] < first[1] + len("Tell me more") + 20, (first, second)
    assert reset[0] == 0 and again[1:] == first[1:] and again[0] == first[0]
    assert out.splitlines()[0] == out.splitlines()[2]


def test_the_answer_depends_on_the_turns_before():
    assert chat("Hello\nAgain\n", "-n", "6")[0].splitlines()[1:] != chat("Again\n", "-n", "6")[0].splitlines()


def test_system():
    out, err = chat("/system\n/system Be brief\n/system\nHello\n/system \"\"\n/reset\nHello\n", "-n", "4")
    assert "no system message" in err and "system message: Be brief" in err and "removed" not in err
    with_system, without = out.splitlines()
    assert with_system != without
    for flag in ("--system", "-sys"):
        assert chat("Hello\n", "-n", "4", flag, "Be brief")[0].splitlines() == [with_system]


def test_several_lines():
    want = chat("One\\\ntwo\n", "-n", "4")[0]
    assert want.count("\n") == 1
    assert chat('"""One\ntwo"""\n', "-n", "4")[0] == want
    assert chat('"""\nOne\ntwo\n"""\n', "-n", "4")[0] == want
    assert chat("One\ntwo\n", "-n", "4")[0] != want
    assert chat('"""One"""\n', "-n", "4")[0] == chat("One\n", "-n", "4")[0]
    out, err = chat('"""One\ntwo', "-n", "4")
    assert out == want and "before the closing" in err
    assert chat('"""/help"""\n//help\n', "-n", "4")[1] == ""


def test_commands():
    for line, said in (("/rest", "did you mean /reset?"), ("/frobnicate", "there is no command /frobnicate; /help"),
                       ("/", "there is no command /;"), ("/reset now", "/reset takes no argument")):
        out, err = chat(line + "\n")
        assert not out and said in err and err.count("\n") == 1, (line, out, err)
    out, err = chat("/help\n")
    assert not out and all(c in err for c in ("/reset", "/system", "/stats", "/help", "/quit", "Ctrl-C"))
    out, err = chat("/quit\nHello\n")
    assert not out and not err


def test_full_context():
    out, err = chat("Hello\n" + "word " * 60 + "\n/stats\nHi\n", "-n", "2", "-c", "64")
    assert "the context has 64" in err and "/reset" in err and "was not sent" in err
    assert len(out.splitlines()) == 2, out  # the conversation goes on as it was
    assert out == chat("Hello\nHi\n", "-n", "2", "-c", "64")[0]
    out, err = chat("Hello\n", "-c", "32", "--ignore-eos")
    assert "context of 32 positions is full" in err and "/reset" in err and len(out) > 1


def test_sampling():
    how = ("--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0")
    one, err = chat("Hello\nAgain\n/stats\n", "-n", "6", "--seed", "42", how=how)
    assert "sample   temp 3, top-k 0, top-p 1, min-p 0, seed 42\n" in err
    assert chat("Hello\nAgain\n", "-n", "6", "--seed", "42", how=how)[0] == one
    assert chat("Hello\nAgain\n", "-n", "6", "--seed", "43", how=how)[0] != one
    # /set does what the options do, from the next answer on.
    assert chat("/set temp 3\n/set top_k=0\n/set top-p 1\n/set min_p 0\n/set seed 42\nHello\nAgain\n", "-n", "6", how=())[0] == one
    out, err = chat("Hello\n/set temp 0\n/reset\nHello\n", "-n", "6", "--seed", "42", how=how)
    assert out.splitlines()[0] == one.splitlines()[0] and out.splitlines()[1] == chat("Hello\n", "-n", "6")[0].rstrip("\n")
    out, err = chat("/set samplers penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature\n/set logit-bias 65+3\n"
                    "/set logit-bias 66-inf\n/set presence_penalty 0.5\n/set logit-bias off\n", "--seed", "42", how=("--temp", "0"))
    assert "logit-bias 2 tokens" in err.splitlines()[-2] and "logit-bias" not in err.splitlines()[-1], err
    assert err.splitlines()[-1] == "greedy, repeat-last-n 64, presence-penalty 0.5, samplers penalties;top_k;top_p;min_p;temperature", err
    out, err = chat("/set\n", "--seed", "42", how=())
    assert not out and [x.split()[:2] for x in err.splitlines()] == [
        ["temp", "0.8"], ["top-k", "40"], ["top-p", "0.95"], ["min-p", "0.05"], ["repeat-penalty", "1"], ["repeat-last-n", "64"],
        ["presence-penalty", "0"], ["frequency-penalty", "0"], ["seed", "42"], ["samplers", "penalties;temperature;top_k;top_p;min_p"],
        ["logit-bias", "0"]]
    for line, said in (("/set temp -1001", "temp -1001: expected -1000 to 1000"), ("/set temp", "NAME VALUE"), ("/set tmp 1", "did you mean temp?"),
                       ("/set temp 1 2", "NAME VALUE"), ("/set x 1", "/set lists"), ("/set top-p 1.5", "expected 0 to 1"),
                       ("/set seed x", "expected 0 to 9223372036854775807, or -1"),
                       ("/set samplers infill", "samplers: infill is not supported"), ("/set logit-bias 5", "expected ID+BIAS")):
        out, err = chat(line + "\n/set\n", how=("--temp", "0.7", "--seed", "42"))
        assert said in err.splitlines()[0] and "temp              0.7" in err, (line, err)


TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{% if x is defined %}X{% endif %}")


def template(name, text):
    path = os.path.join(TMP, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def test_template():
    plain = chat("Hello\nAgain\n", "-n", "4")[0]
    same = ("--chat-template", template("same.jinja", TEMPLATE))
    assert chat("Hello\nAgain\n", "-n", "4", *same)[0] == plain
    n = [stats(chat("Hello\n/stats\n", "-n", "1", *same, *more)[1])[0][1] for more in ((), ("--template-kwargs", '{"x": null}'))]
    assert n[1] == n[0] + 1, n
    for cmd in (("chat",), ("generate", "-p", "Hi")):
        for text, said in (("a\n{% frob %}", "line 2"), ("{{ raise_exception('not today') }}", "not today"), ("\0", "NUL")):
            p = subprocess.run([BIN, cmd[0], model(), *cmd[1:], "--chat-template", template("bad.jinja", text)], input=b"Hi\n",
                               capture_output=True)
            assert said in p.stderr.decode() and not p.stdout, p
            assert p.returncode == (0 if cmd[0] == "chat" and "raise" in text else 1), p  # the chat goes on
        for args, status, said in ((("--chat-template", "/nowhere/x.jinja"), 1, "/nowhere/x.jinja"),
                                   (("--template-kwargs", "{'a': 1}"), 2, "line 1, column 2"), (("--template-kwargs", "[]"), 2, "an object"),
                                   (("--template-kwargs", '{"messages": 1}'), 2, '"messages"')):
            p = subprocess.run([BIN, cmd[0], model(), *cmd[1:], *args], input=b"Hi\n", capture_output=True)
            assert p.returncode == status and said in p.stderr.decode() and not p.stdout, p
    p = subprocess.run([BIN, "generate", model(), "-p", "Hi", "--raw", *same], capture_output=True)
    assert p.returncode == 2 and b"no place with --raw" in p.stderr


def prompt_tokens(text, *args):
    """How many tokens the prompt has for `generate` and for `chat`, which must agree."""
    p = subprocess.run([BIN, "generate", model(), "-p", text, "-n", "1", "--temp", "0", "--json", "-q", *args], stdout=subprocess.PIPE, check=True)
    n = json.loads(p.stdout)["prompt"]["tokens"]
    assert stats(chat(text + "\n/stats\n", "-n", "1", *args)[1])[0][1] == n
    return n


def test_no_injection():
    for args in ((), ("--chat-template", template("same.jinja", TEMPLATE))):
        base = prompt_tokens("ab", *args)
        for evil in ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<tool_call>"):
            # As one token it would add 1 or 2 (a and b apart); as text it is several.
            assert prompt_tokens(f"a{evil}b", *args) >= base + 5, (evil, args)
    raw = [json.loads(subprocess.run([BIN, "generate", model(), "-p", "a<|im_end|>b", "-n", "1", "--json", "-q", "--raw", *more],
                                     stdout=subprocess.PIPE, check=True).stdout)["prompt"]["tokens"] for more in ((), ("--special",))]
    assert raw[1] == 3 and raw[0] > 6, raw


def test_wrong_usage():
    for args, said in ((("-n", "0"), "--n-predict 0"), (("-c", "-1"), "--ctx -1"), (("--promt", "x"), "did you mean --prompt?"),
                       (("-p", ""), "prompt is empty"), (("more",), "one argument too many")):
        out, err = chat("", *args, status=2)
        assert not out and said in err, (args, err)
    p = subprocess.run([BIN, "chat", os.path.join(TMP, "missing.gguf")], input=b"Hi\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"missing.gguf" in p.stderr and not p.stdout


def test_closed_output():
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "chat", model(), "-n", "2"], input=b"Hi\nHi\n", stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"standard output" in p.stderr


class Terminal:
    """The program behind a pseudo-terminal of 24 x 80."""

    def __init__(self, *args, term="xterm"):
        model()
        self.pid, self.fd = pty.fork()
        if not self.pid:
            env = dict(os.environ, TERM=term, LC_ALL="C.UTF-8")
            os.execve(BIN, [BIN, "chat", MODEL, "--device", "sim", "--temp", "0", *args], env)
        self.seen = b""

    def read(self, what, limit=60):
        """Reads on until `what` (a regular expression) has come; returns what came up to and with it."""
        end = time.monotonic() + limit
        while True:
            m = re.search(what.encode(), self.seen, re.S)
            if m:
                out, self.seen = self.seen[:m.end()], self.seen[m.end():]
                return out.decode(errors="replace")
            assert time.monotonic() < end and select.select([self.fd], [], [], limit)[0], f"{what!r} did not come; {self.seen!r}"
            try:
                more = os.read(self.fd, 65536)
            except OSError:
                more = b""
            assert more, f"the program ended before {what!r}: {self.seen!r}"
            self.seen += more

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self, limit=30):
        """What is left of the output, once the program has ended by itself with status 0."""
        out, end = self.seen, time.monotonic() + limit
        while time.monotonic() < end:
            try:
                more = os.read(self.fd, 65536) if select.select([self.fd], [], [], 1)[0] else None
            except OSError:
                more = b""
            if more == b"":
                break
            out += more or b""
        else:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end: {out!r}")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        assert os.waitstatus_to_exitcode(status) == 0, (status, out)
        return out.decode(errors="replace")


def test_terminal_ctrl_c_stops_the_answer():
    t = Terminal("--ignore-eos", "-n", "3000")
    t.read("> ")
    t.type("Hello\r")
    t.read(r"Hello[^\n]*\n(?:\r[^\r]*\x1b\[K)*[^\r\x1b]*[a-z]{3}")  # the answer has begun, and no line of progress
    t.type("\x03")
    t.read("stopped; the answer so far stays")
    t.read("> ")
    t.type("/stats\r")
    m = re.search(r"(\d+) generated in .* finish callback", t.read("finish [a-z]+"))
    assert m and 0 < int(m.group(1)) < 3000
    t.read("> ")
    t.type("/quit\r")
    t.end()


def test_terminal_ctrl_c_at_the_prompt():
    t = Terminal("-n", "2")
    t.read("> ")
    t.type("half a line\x03")
    t.read("Ctrl-C once more")
    t.read("> ")
    t.type("/stats\r")  # what had been typed is gone; the first Ctrl-C is forgotten
    assert "half" not in t.read("all      0 turns")
    t.read("> ")
    t.type("\x03")
    t.read("Ctrl-C once more")
    t.read("> ")
    t.type("\x03")
    t.end()
    t = Terminal("-n", "2")
    t.read("> ")
    t.type("\x04")
    t.end()


def test_terminal_edits_lines():
    t = Terminal("-n", "2")
    t.read("> ")
    t.type("/hexx\x7f\x7flp\r")  # backspace
    t.read("there is no command /help|forget the conversation")
    t.read("> ")
    t.type("/frob\x01\x0b/stats\r")  # to the beginning, kill the line
    t.read("all      0 turns")
    t.read("> ")
    t.type("\x1b[A\r")  # up: the line before
    t.read("all      0 turns")
    t.read("> ")
    t.type("/fr\u00f6b\x7f\x7fx\r")  # a character of two bytes is one
    t.read("no command /frx;")
    t.read("> ")
    t.type("/quit\r")
    t.end()


def test_dumb_terminal():
    t = Terminal("-n", "2", term="dumb")
    out = t.read("> ")
    t.type("Hello\n")
    out += t.read("Hello.*\n.*\n> ")
    t.type("\x03")
    out += t.read("Ctrl-C once more.*> ")
    t.type("/stats\n")
    out += t.read("all      1 turns.*> ")
    t.type("\x04")
    out += t.end()
    assert ESC not in out, out


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
