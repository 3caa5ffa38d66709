"""What files say reaches terminal and JSON harmlessly; what the program writes, and what it must not touch."""
import json, os, struct, subprocess, sys
import tap

BIN = os.path.abspath(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
SMALL = ("--layers", "1", "--embd", "256", "--heads", "2", "--kv-heads", "1", "--experts", "4", "--experts-used", "2", "--ff", "256",
         "--vocab", "512", "--ctx", "128")


def run(*args, status=0, stdin=subprocess.DEVNULL, limit=120, **more):
    """(standard output, standard error) as bytes, of a run that must end with this status."""
    p = subprocess.run([BIN, *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit, **more)
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\n{p.stdout[-1000:]}\n{p.stderr[-1000:]}"
    return p.stdout, p.stderr


def at(name):
    return os.path.join(TMP, name)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def model():
    if not os.path.exists(at("m.gguf")):
        run("synth", "-o", at("m.gguf"), "--seed", "3", *SMALL)
    return at("m.gguf")


def string(b):
    return struct.pack("<Q", len(b)) + b


def with_keys(path, keys, name=None):
    """A copy of the model with more keys, (bytes, type, value bytes) each, and general.name in place of its own. A last
    key fills up to the alignment of what follows."""
    b = read(model())
    n_kv = struct.unpack_from("<Q", b, 16)[0]
    if name is not None:  # the old one is renamed: lengths before it stay
        b = b.replace(b"general.name", b"general.old_", 1)
        keys = [*keys, (b"general.name", 8, string(name))]
    more = b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in keys)
    fill = -(len(more) + 8 + 4 + 4 + 8) % 32
    more += string(b"fill") + struct.pack("<I", 8) + string(b"x" * fill)
    return write(path, b[:16] + struct.pack("<Q", n_kv + len(keys) + 1) + b[24:24] + more + b[24:])


EVIL = b"\x1b]0;x\x07 \x1b[2J\r\n\x7f \xc2\x9b31m \xff\xe2\x80\xae"


def harmless(*texts):
    for t in texts:
        s = t.decode()  # UTF-8 throughout
        bad = [c for c in s if c != "\n" and (ord(c) < 32 or 0x7f <= ord(c) < 0xa0 or c in "\u2028\u2029\u202e\u2066")]
        assert not bad, (bad, s)


def test_terminals_are_not_steered():
    evil = with_keys(at("evil.gguf"), [(b"a.key" + EVIL, 8, string(b"value" + EVIL)), (b"list" + EVIL, 9, struct.pack("<IQ", 8, 1) + string(EVIL))],
                     name=b"name" + EVIL)
    for what in ("--meta", "--tensors", "--plan"):
        harmless(*run("inspect", what, evil))
    out = run("inspect", evil)[0]
    assert rb"a.key\x1b]0;x\x07 \x1b[2J\r\n\x7f \u009b31m \xff\u202e" in out, out[-2000:]
    harmless(*run("generate", evil, "-p", "Hi", "-n", "1", "-v", "--json"))
    harmless(*run("trace", evil, "-p", "Hi"))
    harmless(*run("perplexity", evil, "-f", write(at("t.txt"), b"one two three " * 40), "-c", "16", "--chunks", "1", "-v"))
    harmless(*run("quantize", evil, at("evil-q.gguf"), "q8_0"))
    # tensor names, paths, options and commands
    odd = write(at("odd.gguf"), read(model()).replace(b"blk.0.attn_k_norm.weight", b"blk.0.\x1b[31m\nk\xc2\x9b.weight\xff\xfe"))
    for args, status in ((("inspect", "--tensors", odd), 0), (("quantize", odd, at("odd-q.gguf"), "q8_0"), 0), (("generate", odd, "-p", "Hi"), 1),
                         (("inspect", at("no\x1b[31m\nfile")), 1), (("synth", "-o", at("no\x1b/dir\n/x")), 1),
                         (("inspect", "--x\x1b[31m"), 2), (("\x1b]0;x\x07",), 2)):
        harmless(*run(*args, status=status))


def test_inspect_json_keeps_every_key_and_number():
    long = b"k" * 300
    keys = [(long + b"1", 4, struct.pack("<I", 1)), (long + b"2", 4, struct.pack("<I", 2)), (b"big", 10, struct.pack("<Q", 2**64 - 1)),
            (b"half", 10, struct.pack("<Q", 2**63)), (b"most", 10, struct.pack("<Q", 2**63 - 1)), (b"least", 11, struct.pack("<q", -2**63)),
            (b"nan", 6, struct.pack("<f", float("nan"))), (b"inf", 12, struct.pack("<d", float("inf"))),
            (b"-inf", 6, struct.pack("<f", float("-inf"))), (b"bytes", 8, string(b"caf\xe9")), (b"\xff", 7, b"\1"), (b"\xfe", 7, b"\0"),
            (long + b"list", 9, struct.pack("<IQ", 8, 2) + string(b"a") + string(b"b\xff"))]
    path = with_keys(at("keys.gguf"), keys)
    meta = json.loads(run("inspect", "--json", path)[0])["metadata"]
    want = {"k" * 300 + "1": 1, "k" * 300 + "2": 2, "big": str(2**64 - 1), "half": str(2**63), "most": 2**63 - 1, "least": -2**63,
            "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "bytes": "caf\ufffd", "\ufffd": True, "\ufffd (2)": False,
            "k" * 300 + "list": {"array_of": "str", "length": 2, "first": ["a", "b\ufffd"]}}
    for k, v in want.items():
        assert k in meta and meta[k] == v and type(meta[k]) is type(v), (k[-8:], v, meta.get(k))
    text = run("inspect", path)[0].decode()
    for words in ("18446744073709551615", "9223372036854775808", "NaN", "Infinity", "-Infinity"):
        assert words in text, words


def test_no_json_answer_is_lost():
    """A name that is not UTF-8, or whose cut falls inside a character, in the answers of all commands; so other bytes of files."""
    text = write(at("t.txt"), b"one two three " * 40)
    ppl = ("-f", text, "-c", "16", "--chunks", "1", "-q")
    for name in (b"caf\xe9", "日".encode() * 40, b"x" * 94 + "é".encode() * 4, b"x" * 95 + "😀".encode()):
        m = with_keys(at("name.gguf"), [], name=name)
        said = json.loads(run("generate", m, "-p", "Hi", "-n", "2", "--json", "-q")[0])["model"]
        assert said.rstrip(".").startswith(name.decode("utf-8", "replace")[:29]), said
        assert "\ufffd" not in said or b"\xe9" in name[:5], said
        assert json.loads(run("perplexity", m, *ppl, "-o", "json")[0])["ppl"] > 1
        run("perplexity", m, *ppl, "--logits-out", at("name.lp"))
        assert json.loads(run("perplexity", m, "--kl", at("name.lp"), "-q", "-o", "json")[0])["kl"]["n_positions"] == 7
        assert json.loads(run("trace", m, "-p", "Hi", "--json")[0])["model"] == said
    bad = os.path.join(os.fsencode(TMP), b"m\xe9.gguf")
    write(bad, read(model()))
    assert json.loads(run("bench", bad, "-p", "0", "-n", "2", "-r", "1", "-o", "json", "-q")[0])[0]["model_filename"].endswith("m\ufffd.gguf")
    assert json.loads(run("bench", bad, "--per-op", "-o", "json", "-q")[0])
    assert json.loads(run("doctor", "--json", env=dict(os.environ, QMOE_CACHE=b"/tmp/\xe9"))[0])["cache"]["path"] == "/tmp/\ufffd"
    note = read(at("name.lp"))
    at_note = 8 + 16 + 4
    write(at("note.lp"), note[:at_note] + EVIL[:12] + b"\xff" + note[at_note + 13:])
    out = run("perplexity", bad, "--kl", at("note.lp"), "-q")
    harmless(*out)
    assert json.loads(run("perplexity", bad, "--kl", at("note.lp"), "-q", "-o", "json")[0])["kl"]["note"]


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
