"""qmoe-gpu trace as a person or a script meets it, and the picture of a step (tools/trace_picture.py)."""
import json, math, os, shutil, struct, subprocess, sys
import xml.etree.ElementTree as ET
import tap

sys.path.insert(0, "tools")
import trace_picture  # noqa: E402

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "trace.gguf")
PROMPT = "Once upon a time"
NS = "{http://www.w3.org/2000/svg}"
SLOTS = ("attn_norm", "qkv", "attn_out", "ffn_norm", "ffn_out", "output")
STATS = {"min", "max", "mean", "std_dev", "l2", "nan_count", "inf_count", "zero_count", "count"}


def run(*args, status=0):
    p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=240)
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\n{out[-1500:]}\n{err[-1500:]}"
    return out, err


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "3", "--heads", "4")
    return MODEL


def trace(*args, status=0, prompt=PROMPT):
    return run("trace", "-m", model(), "-p", prompt, "--device", "sim", *args, status=status)


def trace_json(*args, **kw):
    """Parsed whole: a byte that is no JSON on stdout is an error."""
    out, err = trace("--json", *args, **kw)
    assert not err, err
    return json.loads(out)


def is_stats(s, count=None):
    assert set(s) >= STATS, s
    assert s["min"] <= s["mean"] <= s["max"] and s["std_dev"] > 0 and s["nan_count"] == s["inf_count"] == 0
    assert count is None or s["count"] == count
    # l2^2 = n (mean^2 + std^2)
    assert math.isclose(s["l2"] ** 2, s["count"] * (s["mean"] ** 2 + s["std_dev"] ** 2), rel_tol=1e-6), s


def test_json_payload():
    """F-APR-TRACE-JSON-PAYLOAD-001 and F-QW3-MOE-STEP2-001."""
    t = trace_json()
    info = json.loads(run("inspect", "--json", "--meta", model())[0])["metadata"]
    assert t["format"] == "GGUF" and t["architecture"] == "qwen3moe"
    assert (t["num_layers"], t["hidden_dim"], t["num_heads"]) == (3, info["qwen3moe.embedding_length"], 4)
    assert t["num_kv_heads"] == info["qwen3moe.attention.head_count_kv"] and t["prompt"] == PROMPT
    assert t["encoded_tokens"] and all(isinstance(i, int) and 0 <= i < t["vocab_size"] for i in t["encoded_tokens"])
    n = t["hidden_dim"]
    is_stats(t["embedding"], n)
    is_stats(t["final_norm"], n)
    is_stats(t["logits_stats"], t["vocab_size"])
    assert len(t["layers"]) == 3
    used, experts = info["qwen3moe.expert_used_count"], info["qwen3moe.expert_count"]
    for i, layer in enumerate(t["layers"]):
        assert layer["layer"] == i and layer["status"] == "OK"
        for s in SLOTS:
            is_stats(layer[s], None if s == "qkv" else n)
        ids, weights = layer["router"]["ids"], layer["router"]["weights"]
        assert len(set(ids)) == used == len(weights) and all(0 <= x < experts for x in ids)
        assert abs(sum(weights) - 1) < 1e-6 and weights == sorted(weights, reverse=True)
        assert [e["id"] for e in layer["experts"]] == ids
        for e in layer["experts"]:
            is_stats(e, n)
    top = t["logits"]["top_k"]
    assert t["logits"]["vocab_size"] == t["vocab_size"] and len(top) == 5
    assert math.isclose(t["logits"]["l2_norm"], t["logits_stats"]["l2"], rel_tol=1e-9)
    assert top[0]["logit"] == max(x["logit"] for x in top) and math.isclose(top[0]["logit"], t["logits_stats"]["max"], rel_tol=1e-6)
    assert all(set(x) == {"token_id", "logit", "text"} for x in top)
    assert t["verdict"]["level"] == "OK" and t["compare"] is None
    assert len(trace_json("--top-k", "9")["logits"]["top_k"]) == 9


def test_same_hash_as_generate():
    t = trace_json()
    g = json.loads(run("generate", "-m", model(), "-p", PROMPT, "--raw", "-n", "1", "--temp", "0", "--json", "-q", "--device", "sim")[0])
    assert t["logits"]["hash"] == g["logits_hash"] and t["logits"]["top_k"][0]["token_id"] == g["token_ids"][0]
    chat = trace_json("--chat")
    g = json.loads(run("generate", "-m", model(), "-p", PROMPT, "-n", "1", "--temp", "0", "--json", "-q", "--device", "sim")[0])
    assert chat["logits"]["hash"] == g["logits_hash"] != t["logits"]["hash"]


def test_free_prompt():
    """Any text is a prompt; the same text gives the same bytes, another text others."""
    odd = "naïve \"quotes\" \\ 中文\n\ttab"
    a, b = trace("--json", prompt=odd)[0], trace("--json", prompt=odd)[0]
    assert a == b and json.loads(a)["prompt"] == odd and json.loads(a)["logits"]["hash"] != trace_json()["logits"]["hash"]


def test_text():
    out, err = trace()
    assert not err
    lines = out.splitlines()
    rows = [x for x in lines if x.endswith("[OK]") and x.split()[0].isdigit()]
    assert [int(x.split()[0]) for x in rows] == [0, 1, 2], out
    for words in ("final norm", "L2", "verdict: OK", "below 50", "5.  "):
        assert words in out, words
    every, _ = trace("--verbose")
    assert every.count(" min ") >= 3 * (6 + 8) and "expert " in every


def test_compare_ref():
    out, err = trace("--compare", "ref")
    assert "nothing departs" in out and "FIRST DEPARTURE" not in out
    t = trace_json("--compare", "ref")
    c = t["compare"]
    assert c["mode"] == "op by op" and c["first_departure"] is None and len(c["ops"]) == t["observation"]["ops"]
    assert min(x["cosine"] for x in c["ops"]) >= 0.9999
    free = trace_json("--compare", "ref", "--free")["compare"]
    assert free["mode"] == "whole runs" and free["ops"][-1]["slot"] == "logits" and free["first_departure"] is None
    part = trace_json("--compare", "ref", "--layers", "1", "--stop-after", "1.attn_out")["compare"]["ops"]
    assert {x["layer"] for x in part} == {1} and part[-1]["slot"] == "attn_out"


def npy(path):
    """(shape, floats) of a file that --dump wrote, by the format's own text."""
    with open(path, "rb") as f:
        b = f.read()
    assert b[:8] == b"\x93NUMPY\x01\x00"
    n = struct.unpack_from("<H", b, 8)[0]
    head = eval(b[10:10 + n].decode("ascii"), {})  # noqa: S307: the format is a Python literal
    assert head["descr"] == "<f4" and head["fortran_order"] is False and (10 + n) % 64 == 0 and b[9 + n:10 + n] == b"\n"
    data = b[10 + n:]
    assert len(data) == 4 * math.prod(head["shape"])
    return head["shape"], struct.unpack(f"<{len(data) // 4}f", data)


def test_dump_and_compare():
    d = os.path.join(TMP, "trace-dump")
    shutil.rmtree(d, ignore_errors=True)
    t = trace_json("--dump", d)
    assert len([x for x in os.listdir(d) if x.endswith(".npy")]) == len(os.listdir(d)) > 3 * 16
    for layer in t["layers"]:
        for s in SLOTS:
            shape, v = npy(os.path.join(d, f"{layer['layer']}.{s}.npy"))
            assert shape == (layer[s]["count"],) and min(v) == struct.unpack("<f", struct.pack("<f", layer[s]["min"]))[0]
            assert math.isclose(math.sqrt(math.fsum(x * x for x in v)), layer[s]["l2"], rel_tol=1e-9)
        assert list(npy(os.path.join(d, f"{layer['layer']}.router_ids.npy"))[1]) == layer["router"]["ids"]
    assert "nothing departs" in trace("--compare", d)[0]
    out, _ = trace("--compare", d, prompt="Once upon a tide", status=1)
    assert "FIRST DEPARTURE" in out
    os.remove(os.path.join(d, "1.qkv.npy"))
    assert "1 vectors of the trace have no file" in trace("--compare", d)[0]
    with open(os.path.join(d, "1.qkv.npy"), "wb") as f:
        f.write(b"hello")
    out, err = trace("--compare", d, status=1)
    assert not out and "1.qkv.npy: not a .npy file" in err
    part = os.path.join(TMP, "trace-dump-2")
    shutil.rmtree(part, ignore_errors=True)
    trace("--dump", part, "--layers", "1-2")
    assert {x.split(".")[0] for x in os.listdir(part)} == {"1", "2"}
    shutil.rmtree(d)
    shutil.rmtree(part)


def test_refuses():
    for args, prompt, status, said in (
            ((), "", 2, "the prompt is empty"), (("--layers", "7-3"), "x", 2, "--layers 7-3"), (("--layers", "x"), "x", 2, "--layers x"),
            (("--layers", "2-3"), "x", 2, "layers 0 to 2"), (("--free",), "x", 2, "--free goes with"), (("--stop-after", "qkv"), "x", 2, "--stop-after goes"),
            (("--compare", "ref", "--stop-after", "qvk"), "x", 2, "--stop-after qvk"), (("--compare", "/nowhere/at/all"), "x", 1, "/nowhere/at/all"),
            (("--compare", "ref", "--executor", "ref"), "x", 2, "--executor ref has none"), (("--cosine", "2"), "x", 2, "--cosine 2"),
            (("--compare", TMP), "x", 2, "no file in it"), (("--comapre", "ref"), "x", 2, "did you mean --compare?"),
            (("-c", "3"), "a long text that does not fit", 2, "the context (-c) is 3")):
        out, err = trace(*args, prompt=prompt, status=status)
        assert not out and said in err and err.count("\n") == 1, (args, out, err)
    assert "give --prompt" in run("trace", "-m", model(), status=2)[1] and "give --model" in run("trace", "-p", "x", status=2)[1]
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "trace", model(), "-p", "x", "--json", "--device", "sim"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"written" in p.stderr, p.stderr


# ---- the picture ----

def words(svg):
    return " ".join(x.text for x in ET.fromstring(svg).iter(NS + "text"))


def cells(svg):
    """How many expert cells are drawn."""
    return sum(p.get("d").count("M") for p in ET.fromstring(svg).iter(NS + "path") if p.get("class") == "cells")


def series(svg):
    return [(g.find(NS + "title").text, len(g.findall(NS + "circle"))) for g in ET.fromstring(svg).iter(NS + "g") if g.get("class") == "series"]


def test_picture():
    t = trace_json("--all-positions", "--compare", "ref")
    svg = trace_picture.picture(t)
    assert cells(svg) == sum(v > 0 for row in t["expert_use"]["layers"] for v in row)
    s = series(svg)
    assert [x for x in s if x[0] in SLOTS][:6] == [(x, 3) for x in ("ffn_out", "ffn_norm", "attn_out", "qkv", "attn_norm", "output")]
    assert len(s) == 6 + len({d["slot"] for d in t["compare"]["ops"] if d["layer"] >= 0})
    w = words(svg)
    assert "nothing departs" in w and "OK" in w and t["logits"]["hash"] in w and "Experts: how often" in w
    single = trace_json()
    svg = trace_picture.picture(single, "another name")
    assert cells(svg) == 3 * 8 and "another name" in words(svg) and "cosine" not in words(svg)


def test_picture_of_a_sick_step():
    """What is wrong shows: a layer's status, a departure, a value that is not there."""
    t = trace_json("--compare", "ref")
    t["layers"][1]["status"] = "3 NaN and 0 inf of 512 in qkv"
    t["layers"][1]["qkv"]["std_dev"] = None
    d = next(x for x in t["compare"]["ops"] if x["layer"] == 1 and x["slot"] == "qkv")
    d.update(departs=True, cosine=None, rel_l2=None)
    t["compare"]["first_departure"] = d
    t["verdict"]["level"] = "BAD"
    svg = trace_picture.picture(t)
    assert "3 NaN" in words(svg) and "first departure: layer 1, qkv" in words(svg) and "BAD" in words(svg)
    assert ("qkv", 2) in series(svg)


def test_picture_refuses():
    for text, said in (("hello", "not JSON"), ("[]", "not what trace"), ("{}", "not what trace")):
        try:
            trace_picture.load(text)
        except trace_picture.Unfit as e:
            assert said in str(e)
        else:
            raise AssertionError(text)
    tool = [sys.executable, "tools/trace_picture.py"]
    p = subprocess.run([*tool, "-"], input=trace("--json")[0], capture_output=True, text=True)
    assert p.returncode == 0 and p.stdout.startswith("<svg") and not p.stderr
    p = subprocess.run([*tool, os.path.join(TMP, "nothing.json")], capture_output=True, text=True)
    assert p.returncode == 1 and "nothing.json" in p.stderr and "Traceback" not in p.stderr


def test_picture_example():
    """The one in docs/ is such a picture."""
    with open("docs/trace-demo.svg", encoding="utf-8") as f:
        svg = f.read()
    assert len(svg) < 200_000 and cells(svg) > 60 and len(series(svg)) > 12 and "C references" in words(svg)


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
