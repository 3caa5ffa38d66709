"""qmoe-gpu tokenize, and generate --verbose-prompt: ids and pieces."""
import json, os, re, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = "models/demo.gguf"
TEXT = "Hello, world!\n\tIt's 3 o'clock: naïve 日本語 😀 <|im_start|>user"


def run(*args, status=0, stdin=b""):
    p = subprocess.run([BIN, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}"
    return out, err


def tokenize(*args, **more):
    return run("tokenize", "-m", MODEL, *args, **more)[0]


def ids(*args, **more):
    return json.loads(tokenize(*args, "--ids", **more))


def test_ids_and_pieces_are_the_text():
    d = json.loads(tokenize("-p", TEXT, "--json"))
    assert d["n_tokens"] == len(d["ids"]) == len(d["pieces"]) and d["ids"] == ids("-p", TEXT)
    data = b"".join(x.encode() if isinstance(x, str) else bytes(x) for x in d["pieces"])
    assert data == TEXT.encode() and any(isinstance(x, list) for x in d["pieces"]) and "<|im_start|>" in d["pieces"]
    listed = tokenize("-p", TEXT, "--show-count")
    rows = re.findall(r"^ *(\d+) -> '(.*)'$", listed, re.M)
    assert [int(i) for i, _ in rows] == d["ids"] and listed.endswith(f"\nTotal number of tokens: {d['n_tokens']}\n")
    # What cannot be printed as it is, is written so that it can be read back.
    back = b"".join(eval("b'" + "".join(c if ord(c) < 128 else "".join(f"\\x{b:02x}" for b in c.encode()) for c in s) + "'") for _, s in rows)
    assert back == TEXT.encode() and "\\n" in listed and "\\t" in listed, listed


def test_control_tokens():
    with_, without = ids("-p", TEXT), ids("-p", TEXT, "--no-parse-special")
    assert ids("-p", TEXT, "--special") == with_ and len(without) > len(with_)
    control = ids("-p", "<|im_start|>")
    assert len(control) == 1 and control[0] in with_ and control[0] not in without


def test_where_the_text_comes_from():
    path = os.path.join(TMP, "text.txt")
    with open(path, "w") as f:
        f.write(TEXT)
    want = ids("-p", TEXT)
    assert ids("-f", path) == ids("--stdin", stdin=TEXT.encode()) == ids(stdin=TEXT.encode()) == ids("-f", "-", stdin=TEXT.encode()) == want
    assert ids("-p", "a\\n\\x41b\\q", "-e") == ids("-p", "a\nAb\\q") != ids("-p", "a\\n\\x41b\\q") == ids("-p", "a\\n\\x41b\\q", "--no-escape")
    assert ids("-p", "") == [] and tokenize("-p", "") == ""
    assert ids("-p", "Hi", "--no-bos", "--log-disable", "-ngl", "99") == ids("-p", "Hi")
    assert ids("-p", "e\u0301") == ids("-p", "\u00e9") != ids("-p", "e\u0301", "--no-nfc")


def test_a_model_that_wants_a_bos_token():
    """add_bos_token set in a copy of a model: the ids begin with it, unless --no-bos is given."""
    path, other = os.path.join(TMP, "plain.gguf"), os.path.join(TMP, "bos.gguf")
    run("synth", "-o", path, "--layers", "1")
    with open(path, "rb") as f:
        b = f.read()
    key = b"tokenizer.ggml.add_bos_token"
    at = b.index(key) + len(key)
    assert b[at:at + 5] == b"\x07\0\0\0\0", b[at:at + 5]
    with open(other, "wb") as f:
        f.write(b[:at + 4] + b"\1" + b[at + 5:])
    meta = json.loads(run("inspect", "--json", "--meta", other)[0])["metadata"]
    def of(p, *args):
        return json.loads(run("tokenize", "-m", p, "-p", "Hi", "--ids", *args)[0])
    assert of(other) == [meta["tokenizer.ggml.bos_token_id"]] + of(path) and of(other, "--no-bos") == of(path)


def test_verbose_prompt():
    out, err = run("generate", "-m", MODEL, "-p", "What is 2+2?", "--raw", "-n", "2", "-q", "--verbose-prompt", "--temp", "0")
    assert err == "prompt  7 tokens\n" + tokenize("-p", "What is 2+2?"), err
    out, err = run("generate", "-m", MODEL, "-p", "What is 2+2?", "-n", "2", "-q", "--verbose-prompt", "--temp", "0")
    assert "'<|im_start|>'" in err and "'<|im_end|>'" in err and len(err.splitlines()) > 10, err  # the whole rendered prompt


def test_refuses():
    for args, said in (((), "no model"), (("-m", MODEL, "-p", "x", "-f", "y"), "one of"), (("-m", MODEL, "-p", "x", "--ids", "--json"), "at once"),
                       (("-m", MODEL, "-p", "x", "--special", "--no-parse-special"), "at once"), (("-m", MODEL, "more", "-p", "x"), "too many")):
        out, err = run("tokenize", *args, status=2)
        assert not out and said in err and err.count("\n") == 1, (args, err)
    for args in (("-m", "/nowhere.gguf", "-p", "x"), ("-m", MODEL, "-f", "/nowhere.txt")):
        out, err = run("tokenize", *args, status=1)
        assert not out and "/nowhere" in err and err.count("\n") == 1, err
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "tokenize", "-m", MODEL, "-p", "x"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"standard output" in p.stderr


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
