"""qmoe-gpu chat in a pipe; test_terminal.py has it on terminals."""
import json, os, re, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "chat.gguf")
DEMO = "models/demo.gguf"  # says words: the other's answers are noise, with bytes that are no characters
ESC = "\x1b"


def model():
    if not os.path.exists(MODEL):
        subprocess.run([BIN, "synth", "-o", MODEL, "--seed", "3", "--layers", "2"], check=True, stdout=subprocess.DEVNULL)
    return MODEL


def chat(lines, *args, status=0, how=("--temp", "0"), file=None):
    """A conversation in a pipe: (stdout, stderr)."""
    p = subprocess.run([BIN, "chat", file or model(), "--device", "sim", *how, *args], input=lines.encode(errors="surrogateescape"), stdout=subprocess.PIPE,
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
    out, err = chat("Hello\n/stats\nTell me more\n/stats\n/reset\n/stats\nHello\n/stats\n", "-n", "5", file=DEMO)
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
                       ("/", "there is no command /;"), ("/reset now", "/reset takes no argument"),
                       ("/save", "/save FILE: it is missing"), ("/think loudly", "/think hide or /think show"),
                       ("/regen", "there is no message to answer")):
        out, err = chat(line + "\n", status=1)
        assert not out and said in err and err.count("\n") == 1, (line, out, err)
    out, err = chat("/help\n")
    assert not out and all(c in err for c in ("/reset", "/system", "/stats", "/help", "/quit", "Ctrl-C"))
    for word in ("/quit", "/exit", "/bye"):
        assert chat(word + "\nHello\n") == ("", "")
    assert chat("exit\n", "-n", "2")[0]  # in a pipe a word is a message


def test_full_context():
    out, err = chat("Hello\n" + "word " * 60 + "\n/stats\nHi\n", "-n", "2", "-c", "64", status=1)
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
    assert not out and [x.split()[:2] for x in err.splitlines()[1:]] == [
        ["temp", "0.8"], ["top-k", "40"], ["top-p", "0.95"], ["min-p", "0.05"], ["repeat-penalty", "1"], ["repeat-last-n", "64"],
        ["presence-penalty", "0"], ["frequency-penalty", "0"], ["seed", "42"], ["samplers", "penalties;temperature;top_k;top_p;min_p"],
        ["logit-bias", "0"]]
    for line, said in (("/set temp -1001", "temp -1001: expected -1000 to 1000"), ("/set temp", "NAME VALUE"), ("/set tmp 1", "did you mean temp?"),
                       ("/set temp 1 2", "NAME VALUE"), ("/set x 1", "/set lists"), ("/set top-p 1.5", "expected 0 to 1"),
                       ("/set seed x", "expected 0 to 9223372036854775807, or -1"),
                       ("/set samplers infill", "samplers: infill is not supported"), ("/set logit-bias 5", "expected ID+BIAS")):
        out, err = chat(line + "\n/set\n", status=1, how=("--temp", "0.7", "--seed", "42"))
        assert said in err.splitlines()[1] and "temp              0.7" in err, (line, err)


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
            assert p.returncode == 1, p  # a chat goes on, and says at its end that a turn had no answer
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
                       (("more",), "one argument too many")):
        out, err = chat("", *args, status=2)
        assert not out and said in err, (args, err)
    p = subprocess.run([BIN, "chat", os.path.join(TMP, "missing.gguf")], input=b"Hi\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"missing.gguf" in p.stderr and not p.stdout


def test_no_answer_is_told():
    """A pipe whose turn got no answer goes on and fails in the end; what was drawn can be repeated."""
    how = ("--temp", "2", "--top-k", "0", "--min-p", "0")
    out, err = chat("Hello\n", "-n", "4", how=how)
    seed = re.search(r"^sample  temp 2, .*seed (\d+)$", err, re.M)
    assert seed and chat("Hello\n", "-n", "4", "--seed", seed.group(1), how=how)[0] == out, err
    assert chat("Hello\n", "-n", "4", "-q", how=how)[1] == ""
    out, err = chat("caf\udce9\nHello\n", "-n", "4", status=1)
    assert "message 0 (user): not UTF-8 at byte 3 (0xe9)" in err and out == chat("Hello\n", "-n", "4")[0]
    for args in (("-p", "a\udcffb"), ("-p", "x", "--system", "caf\udce9"), ("-f", "-")):
        p = subprocess.run([BIN, "generate", model(), "-n", "2", "-q", *args], input=b"ab\xc3(", capture_output=True)
        assert p.returncode == 1 and not p.stdout and b"not UTF-8 at byte" in p.stderr, p


def test_empty_message():
    want = subprocess.run([BIN, "generate", model(), "-p", "", "-n", "4", "--temp", "0", "-q"], capture_output=True, check=True).stdout
    assert want.strip() and want == subprocess.run([BIN, "generate", model(), "-n", "4", "--temp", "0", "-q"], input=b"", capture_output=True,
                                                   check=True).stdout
    assert chat("", "-n", "4", "-p", "")[0].encode() == want
    assert chat('""""""\n', "-n", "4")[0].encode() == want
    p = subprocess.run([BIN, "generate", model(), "--raw", "-p", ""], capture_output=True)
    assert p.returncode == 2 and b"the prompt is empty" in p.stderr


def test_single_turn():
    one = chat("Hello\n", "-n", "4")[0]
    assert chat("/stats\n\nHello\nAgain\n", "-n", "4", "--single-turn")[0] == one
    assert chat("Again\n", "-n", "4", "-p", "Hello", "--single-turn")[0] == one
    chat("caf\udce9\nHello\n", "-n", "4", "--single-turn", status=1)


def test_regen():
    how = ("--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "42")
    out, err = chat("Hello\n/regen\nAgain\n", "-n", "6", file=DEMO, how=how)
    # As if the second answer had been the first: nothing of the other is left. (Answers may hold line ends.)
    want = chat("/set seed 43\nHello\nAgain\n", "-n", "6", file=DEMO, how=how)[0]
    first = out[:len(out) - len(want)]
    assert "seed 43" in err and out == first + want and first.strip() and not want.startswith(first), (out, want)
    out, err = chat("Hello\n/regen\n/stats\n", "-n", "4")
    assert len(set(out.splitlines())) == 1 and "the same again" in err and "all      2 turns" in err


def test_save_and_load():
    path, other = os.path.join(TMP, "talk.json"), os.path.join(TMP, "other.json")
    first = chat(f'What is 2+2?\n"""One\ntwo"""\n/save {path}\nWho are you?\n', "-sys", "Be brief", file=DEMO)[0].splitlines()
    with open(path) as f:
        saved = json.load(f)
    assert [m["role"] for m in saved] == ["system", "user", "assistant", "user", "assistant"]
    assert [m["content"] for m in saved] == ["Be brief", "What is 2+2?", first[0], "One\ntwo", "\n".join(first[1:-1])], saved
    # Loaded, the conversation goes on as it did; saved again, it is the same file.
    out, err = chat(f"Hello\n/load {path}\n/save {other}\nWho are you?\n/system\n", file=DEMO)
    assert out.splitlines()[-1] == first[-1] and "5 messages from" in err and "system message: Be brief" in err, (out, err)
    assert open(path).read() == open(other).read()
    assert sorted(os.listdir(os.path.dirname(path)), key=len)[-1].count(".") < 2  # no temporary file is left
    # What a chat server takes is taken; a last message without an answer gets one by /regen.
    with open(other, "w") as f:
        json.dump({"model": "x", "messages": saved[:-1]}, f)
    out, err = chat(f"/load {other}\n/regen\n", file=DEMO)
    assert "no answer yet" in err and out.splitlines() == first[1:-1], (out, err)
    # A file that does not hold a conversation changes nothing.
    for text, said in (("[", "line 1, column 1"), ("{}", "an array of messages"), ("[1]", "message 0: expected an object"),
                       ('[{"role": "user"}]', 'message 0: "content"'), ('[{"role": "tool", "content": ""}]', 'message 0: "role"'),
                       ('[{"role": "user", "content": ""}, {"role": "user", "content": ""}]', 'message 1: "role"'),
                       ('[{"role": "user", "content": "a"}, {"role": "system", "content": ""}]', 'message 1: "role"')):
        with open(other, "w") as f:
            f.write(text)
        out, err = chat(f"What is 2+2?\n/load {other}\n/stats\n", file=DEMO, status=1)
        assert other + ": " in err and said in err and "all      1 turns" in err and stats(err)[0][0] > 0, (text, err)
    assert "/nowhere/x.json: " in chat("/load /nowhere/x.json\n", status=1)[1]
    assert "/nowhere/x.json: " in chat("/save /nowhere/x.json\n", status=1)[1]
    # A link is followed, a device is written to, a file keeps its mode.
    os.chmod(path, 0o600)
    link = os.path.join(TMP, "link.json")
    os.symlink(path, link)
    chat(f"/save {link}\n/save /dev/null\n")
    assert os.path.islink(link) and json.load(open(path)) == [] and os.stat(path).st_mode & 0o777 == 0o600
    assert not os.path.isfile("/dev/null")


THINKS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n"


def test_hidden_thinking():
    """A template that opens the block: the answer begins inside of it, and does not end it here."""
    args = ("-n", "6", "--chat-template", template("thinks.jinja", THINKS))
    shown = chat("Hello\n", *args, file=DEMO)[0]
    assert shown.strip() and ESC not in shown
    assert chat("Hello\n", *args, "--hide-thinking", file=DEMO)[0] == "\n"
    out, err = chat("/think hide\nHello\n/think show\n/reset\nHello\n/think\n", *args, file=DEMO)
    assert out == "\n" + shown and err.splitlines()[:2] == ["what the model thinks is hidden", "what the model thinks is shown"]
    # A message that ends in the tag opens nothing.
    plain = ("-n", "6", "--chat-template", template("ends.jinja", "{{ messages[-1].content }}"))
    assert chat("Hello <think>\n", *plain, "--hide-thinking", file=DEMO)[0] == chat("Hello <think>\n", *plain, file=DEMO)[0]


def test_rates():
    err = chat("Hello\n", "-n", "4", "-v")[1]
    assert re.search(r"^4 tokens, [\d.]+ tok/s; prompt \d+ tokens, [\d.]+ tok/s, 0 from the cache; finish length$", err, re.M), err


def test_closed_output():
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "chat", model(), "-n", "2"], input=b"Hi\nHi\n", stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"standard output" in p.stderr


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
