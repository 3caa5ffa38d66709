"""qmoe-gpu chat on a terminal: what a person sees, and what is left of the terminal afterwards."""
import os, re, signal, subprocess, sys, termios, time
import tap
from terminal import Terminal

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "terminal.gguf")
DEMO = "models/demo.gguf"
ESC = "\x1b"
STORY = ("--ignore-eos", "-n", "3000")  # an answer that does not end by itself


def model():
    if not os.path.exists(MODEL):
        subprocess.run([BIN, "synth", "-o", MODEL, "--seed", "3", "--layers", "2"], check=True, stdout=subprocess.DEVNULL)
    return MODEL


def chat(*args, file=None, rows=24, cols=80, term="xterm", quiet=("-q",)):
    return Terminal([BIN, "chat", file or model(), "--device", "sim", "--temp", "0", *quiet, *args], rows, cols, term)


def at_prompt(rows):
    return bool(rows) and rows[-1] == ">"


def stats(t):
    """(positions, turns, tokens computed in the last one), asked for at the prompt."""
    t.forget()
    t.type("/stats\r")
    m = re.search(r"context  (\d+) .*last     (\d+) tokens.*all      (\d+) turns.*load ", t.read("load    .*> "), re.S)
    assert m, t.show()
    return int(m.group(1)), int(m.group(3)), int(m.group(2))


FOX = "The quick brown fox jumps over the lazy dog and then runs away"
FOX_40 = ["> The quick brown fox jumps over the laz", "y dog and then runs away"]


def test_wrapped_line():
    """A line over several rows of 40 columns stays readable, whatever is done to it."""
    t = chat("-n", "2", rows=12, cols=40)
    t.until(at_prompt)
    t.type(FOX)
    assert t.settle() == FOX_40 and (t.screen.cursor.y, t.screen.cursor.x) == (1, 24), t.show()
    t.type("\x01XY")  # at the beginning
    assert t.settle() == ["> XYThe quick brown fox jumps over the l", "azy dog and then runs away"], t.show()
    assert (t.screen.cursor.y, t.screen.cursor.x) == (0, 4)
    t.type("\x04" * 4 + "\x05" + "\x7f" * 5)  # forward, to the end, backward
    assert t.settle() == ["> XYquick brown fox jumps over the lazy", "dog and then runs"], t.show()
    t.type("\x02" * 10 + "\x0b")  # over the border, kill the rest
    assert t.settle() == ["> XYquick brown fox jumps over the lazy", "dog and"], t.show()
    t.type("\x15" + "a" * 38)  # a row that is full
    assert t.settle() == ["> " + "a" * 38] and (t.screen.cursor.y, t.screen.cursor.x) == (1, 0), t.show()
    t.type("b\x7f\x7f")
    assert t.settle() == ["> " + "a" * 37] and (t.screen.cursor.y, t.screen.cursor.x) == (0, 39), t.show()
    t.type("\x15" + "\u65e5\u672c\u8a9e" * 10 + "\x01a")  # characters of two columns: one does not fit
    # (pyte's display has an empty cell behind each)
    assert [x.replace(" ", "") for x in t.settle()] == [">a" + ("\u65e5\u672c\u8a9e" * 10)[:18], ("\u65e5\u672c\u8a9e" * 10)[18:]], t.show()
    # Ctrl-C in the first row: what is said goes below the last.
    t.type("\x15" + FOX + "\x01")
    t.settle()
    t.type("\x03")
    rows = t.until(at_prompt)
    assert rows[:2] == FOX_40 and rows[2].startswith("qmoe-gpu: Ctrl-C once more"), t.show()
    # The history brings it back as it was sent, and a shorter line takes all of its rows away.
    t.type(FOX + "\x01\r")
    t.until(lambda r: at_prompt(r) and len(r) >= 8)
    t.type("short\x1b[A")
    assert t.settle()[-2:] == FOX_40, t.show()
    t.type("\x1b[B")
    assert t.settle()[-1] == "> short" and FOX_40[1] not in t.settle()[-2:-1], t.show()
    t.type("\x15/quit\r")
    t.end()


def test_resized_line():
    t = chat("-n", "2", rows=12, cols=40)
    t.until(at_prompt)
    t.type("/think\r/think\r")
    above = ["> /think", "what the model thinks is shown"] * 2
    t.until(lambda r: r == [*above, ">"])
    t.type(FOX)
    t.settle()
    t.resize(12, 30)
    assert t.settle() == [*above, "> The quick brown fox jumps ov", "er the lazy dog and then runs", "away"], t.show()
    t.type("\x01Q\x05Z")
    assert t.settle() == [*above, "> QThe quick brown fox jumps o", "ver the lazy dog and then runs", " awayZ"], t.show()
    t.type("\x7f\x01\x04\x05")
    t.resize(12, 60)
    rows = t.settle()
    assert rows[:4] == above, t.show()
    # A terminal that has not wrapped anew keeps a stale row above; the line itself is whole.
    assert rows[-2:] == ["> The quick brown fox jumps over the lazy dog and then runs", "away"], t.show()
    t.type("\x15/quit\r")
    t.end()


def test_line_taller_than_the_screen():
    t = chat("-n", "2", rows=6, cols=20)
    t.until(at_prompt)
    t.type("".join(f"{i:03} " for i in range(60)))  # 242 columns: 13 rows
    rows = t.settle()
    assert len(rows) == 6 and rows[-2:] == ["4 055 056 057 058 05", "9"], t.show()
    t.type("\x01")
    assert t.settle()[0] == "> 000 001 002 003 00" and (t.screen.cursor.y, t.screen.cursor.x) == (0, 2), t.show()
    t.type("A\x05Z")
    rows = t.settle()
    assert rows[-1] == "59 Z", t.show()
    t.type("\x01")
    t.settle()
    t.type("\x03")  # given up, all of it stands above what is said
    rows = t.until(at_prompt)
    assert rows[1:3] == ["59 Z", "qmoe-gpu: Ctrl-C onc"], t.show()
    t.type("\x04")
    t.end()


def piped(text, *args):
    """Tokens that the prompt of one message has."""
    p = subprocess.run([BIN, "chat", model(), "--device", "sim", "--temp", "0", "-n", "2", *args], input=f'"""{text}"""\n/stats\n'.encode(),
                       capture_output=True, check=True)
    return int(re.search(rb"last     (\d+) tokens", p.stderr).group(1))


def test_paste():
    """A paste of several lines is one message, as it stands, and is not sent before Enter."""
    text = 'one\n/two\n\n  three\ttab "quoted" \\'
    for end in ("", "\r"):
        for line_end in ("\r", "\n", "\r\n"):
            t = chat("-n", "2", cols=60)
            t.until(at_prompt)
            t.type(f"{ESC}[200~{text.replace(chr(10), line_end)}{end}{ESC}[201~")
            rows = t.settle(0.5)
            assert rows[:4] == ["> one", "/two", "", '  three tab "quoted" \\'], t.show()
            t.type("\r")
            t.read("> .*> ")
            positions, turns, computed = stats(t)
            assert turns == 1 and computed == piped(text), (turns, computed, piped(text), t.show())
            t.type("/quit\r")
            t.end()
    # It can be edited, and typed text stands around it; a single line is as if typed.
    t = chat("-n", "2")
    t.until(at_prompt)
    t.type(f"ab{ESC}[200~one\rtwo{ESC}[201~cd\x01X")
    assert t.settle() == ["> Xabone", "twocd"], t.show()
    t.type(f"\x05\x15{ESC}[200~/frob{ESC}[201~\r")
    t.read("no command /frob")
    # Control characters in it do nothing.
    t.type(f"{ESC}[200~a\x01b\x15c\x04{ESC}[201~")
    assert t.settle()[-1] == "> a^Ab^Uc^D", t.show()
    # A big one: far more than a screen.
    t.type(f"\x05\x15{ESC}[200~")
    for _ in range(40):
        t.type("0123456789 " * 10 + "\r")
        t.settle(0)
    t.type(f"last{ESC}[201~")
    assert t.settle()[-1] == "last", t.show()
    t.type("\x03")
    t.read("Ctrl-C once more")
    t.type("/quit\r")
    t.end()


def test_typed_during_an_answer():
    """It is not seen in the answer, and is there at the next prompt; Ctrl-C drops it."""
    t = chat("--ignore-eos", "-n", "60", file=DEMO)
    t.until(at_prompt)
    t.type("Once upon a time\r")
    t.until(lambda r: len(r) > 1 and len(r[1]) > 5)
    t.type("/frob\rhalf")
    t.until(lambda r: r[-1] == "> half")
    rows = t.settle()
    answer = rows[1:rows.index("> /frob")]
    assert answer and not any("/frob" in x or "half" in x for x in answer), t.show()
    assert any("there is no command /frob" in x for x in rows[rows.index("> /frob"):]), t.show()
    want = subprocess.run([BIN, "chat", DEMO, "--device", "sim", "--temp", "0", "-n", "60", "--ignore-eos"], input=b"Once upon a time\n",
                          capture_output=True).stdout.decode()
    assert "".join(answer).replace(" ", "") == want.replace(" ", "").replace("\n", ""), (answer, want)
    t.type("\x15/quit\r")
    t.end()
    t = chat(*STORY)
    t.until(at_prompt)
    t.type("Hello\r/early\r")
    t.until(lambda r: len(r) > 1 and len(r[1]) > 5)
    t.type("/frob\r")
    time.sleep(0.3)
    t.type("\x03")
    t.until(at_prompt)
    assert not any("/frob" in x or "/early" in x for x in t.settle()), t.show()
    t.type("/quit\r")
    t.end()


def test_modes_at_the_end():
    """However the chat ends, the terminal is as it was: echo, line editing, no bracketed paste."""
    def left(t, status):
        out = t.end(status)
        assert t.after == t.before, (status, t.before, t.after)
        assert out.rfind("\x1b[?2004l") > out.rfind("\x1b[?2004h"), out

    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        t = chat("-n", "2")
        t.until(at_prompt)
        assert t.modes() != t.before
        t.type("half a line")
        t.settle()
        t.kill(sig)
        left(t, -sig)
    t = chat("-n", "2")
    t.until(at_prompt)
    t.type("\x1c")  # Ctrl-\\
    left(t, -signal.SIGQUIT)
    t = chat(*STORY)
    t.until(at_prompt)
    t.type("Hello\r")
    t.until(lambda r: len(r) > 1 and len(r[1]) > 5)
    t.kill(signal.SIGTERM)
    left(t, -signal.SIGTERM)
    for keys in ("/quit\r", "\x04", "\x03\x03", "exit\r", "quit\r", "/bye\r"):
        t = chat("-n", "2")
        t.until(at_prompt)
        for k in keys if "\x03" in keys else [keys]:
            t.type(k)
            t.settle()
        left(t, 0)
    t = chat("-n", "2", term="dumb")
    t.read("> ")
    t.kill(signal.SIGTERM)
    t.end(-signal.SIGTERM)
    assert t.after == t.before


def test_stop_and_go_on():
    """Ctrl-Z: the shell gets its terminal as it was, the chat has it again afterwards, at the prompt and in an answer."""
    t = chat("--ignore-eos", "-n", "150", file=DEMO)
    t.until(at_prompt)
    t.type("/sta")
    t.settle()
    ours = t.modes()
    for _ in range(2):
        t.type("\x1a")
        t.stopped()
        assert t.modes() == t.before
        t.forget()
        t.go_on()
        t.read("> /sta")
        assert t.settle() and t.modes() == ours
    t.type("ts\r")
    t.read("all      0 turns")
    # Stopped by what cannot be caught: the modes that a shell sets meanwhile are taken back.
    t.until(at_prompt)
    t.kill(signal.SIGSTOP)
    t.stopped()
    t.forget()
    termios.tcsetattr(t.fd, termios.TCSANOW, t.before)
    t.go_on()
    t.read("> ")
    t.settle()
    assert t.modes() == ours
    t.type("/quit\r")
    t.end()
    assert t.after == t.before
    t = chat(*STORY)
    t.until(at_prompt)
    t.type("Hello\r")
    t.until(lambda r: len(r) > 1 and len(r[1]) > 5)
    quiet = t.modes()
    assert not quiet[3] & termios.ECHO
    for _ in range(2):
        t.type("\x1a")
        t.stopped()
        assert t.modes() == t.before
        t.go_on()
        t.until(lambda r: t.modes() == quiet)
    t.type("\x03")
    t.until(at_prompt)
    t.type("/quit\r")
    t.end()
    assert t.after == t.before
    # The kernel's own editing keeps its echo.
    t = chat("-n", "2", term="dumb")
    t.read("> ")
    t.type("\x1a")
    t.stopped()
    t.go_on()
    t.settle()
    assert t.modes() == t.before
    t.type("/quit\n")
    assert "/quit" in t.end()


def test_completion():
    t = chat("-n", "2")
    t.until(at_prompt)
    t.type("/he\t")
    assert t.settle() == ["> /help"] and t.screen.cursor.x == 8, t.show()
    t.type("\x15/s\t")
    rows = t.settle()
    assert rows[0] == "> /s" and rows[1].split() == ["/system", "/set", "/save", "/stats"] and rows[2] == "> /s", t.show()
    t.type("y\t\"\"\r")  # the argument follows
    t.read("no system message any more")
    t.type("/frob\t")
    assert t.settle()[-1] == "> /frob"
    t.type("\x15a\tb")
    assert t.settle()[-1] == "> a     b", t.show()
    t.type("\x15/quit\r")
    t.end()


THINKS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n"


def test_thinking_is_dimmed():
    path = os.path.join(TMP, "thinks.jinja")
    with open(path, "w") as f:
        f.write(THINKS)
    t = chat("-n", "4", "--chat-template", path, file=DEMO)
    t.until(at_prompt)
    t.type("Hello\r")
    out = t.read("\x1b\\[22m.*> ")
    assert re.search("Hello\r+\n\x1b\\[2m[^\x1b]+\x1b\\[22m\r\n", out), repr(out)
    t.type("/think hide\r")
    t.read("hidden.*> ")
    t.type("Hello\r")
    t.read("thinking \\.\\.\\.")
    rows = t.until(at_prompt)
    assert not any("thinking ..." in x for x in rows), t.show()
    t.type("/quit\r")
    t.end()


def test_ctrl_c_stops_the_answer():
    t = chat(*STORY, quiet=())
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


def test_ctrl_c_at_the_prompt():
    t = chat("-n", "2")
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
    t = chat("-n", "2")
    t.read("> ")
    t.type("\x04")
    t.end()


def test_edits_lines():
    t = chat("-n", "2")
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
    t = chat("-n", "2", term="dumb")
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
