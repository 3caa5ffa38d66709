"""The picture of a token (tools/timeline.py), and bench --per-op and --predict as a person meets them."""
import csv, io, json, os, re, subprocess, sys
import xml.etree.ElementTree as ET
import tap

sys.path.insert(0, "tools")
import timeline  # noqa: E402

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "timeline.gguf")
NS = "{http://www.w3.org/2000/svg}"


def run(*args, status=0):
    p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True)
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\n{p.stdout[-1000:]}\n{p.stderr[-1000:]}"
    return p.stdout, p.stderr


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "3", "--sparse")
    return MODEL


def estimate(*more):
    return run("bench", "-m", model(), "--predict", "rtx4090", "-o", "json", *more)[0]


def groups(svg):
    """[(title, [path data])] of the ops drawn."""
    root = ET.fromstring(svg)
    assert root.tag == NS + "svg"
    return [(g.find(NS + "title").text, [p.get("d") for p in g.findall(NS + "path")])
            for g in root.iter(NS + "g") if g.get("class") == "op"]


def words(svg):
    return " ".join(t.text for t in ET.fromstring(svg).iter(NS + "text"))


def test_bars():
    """One bar an op, as long as the op takes, in order; the sums are the step's."""
    step, ops = timeline.load(estimate("-d", "100"))
    svg = timeline.picture(step, ops)
    drawn = groups(svg)
    assert len(drawn) == len(ops) == step["ops"]
    for op, (title, _) in zip(ops, drawn):
        assert op["slot"] in title and op["kernel"] in title and f"{op['time_ns'] / 1e3:.1f} us" in title, title
    # the pale shapes are the times: their widths are in one proportion to them
    width = [sum(float(re.match(r"M\S+ \S+h([\d.]+)", d).group(1)) for d in p if f"v{timeline.BAR}h" in d) for _, p in drawn]
    scale = sum(width) / sum(op["time_ns"] for op in ops)
    for op, w in zip(ops, width):
        # a filled shape of full height would be counted twice; none is, at 92% of the bandwidth
        assert abs(w - scale * op["time_ns"]) < 0.05, (op["slot"], w, scale * op["time_ns"])
    assert len(svg) < 300_000


def test_inside():
    """Everything lies within the picture, and what is read says what it is."""
    step, ops = timeline.load(estimate())
    svg = timeline.picture(step, ops, "<Title> & more")
    root = ET.fromstring(svg)
    w, h = float(root.get("width")), float(root.get("height"))
    for t in root.iter(NS + "text"):
        assert 0 <= float(t.get("x")) <= w and 0 < float(t.get("y")) <= h, t.text
    for r in root.iter(NS + "rect"):
        x, y = float(r.get("x") or 0), float(r.get("y") or 0)
        assert x >= 0 and x + float(r.get("width")) <= w + 0.1 and y + float(r.get("height")) <= h + 0.1
    text = words(svg)
    assert "<Title> & more" in text and "ESTIMATE, not measured" in text and "RTX 4090" in text and "layer 2" in text
    assert f"{1e9 / step['step_ns']:.0f} tokens/s" in text and "of 1008 GB/s" in text
    for slot in {op["slot"] for op in ops}:
        assert slot in text, slot


def test_measured():
    """A step from a GPU: measured, as the head says; no word of an estimate. (Made from an estimate's records:
    no GPU is needed for a picture.)"""
    step, ops = timeline.load(estimate())
    step = dict(step, estimate=False, measured_by="time stamps in the kernels", device="NVIDIA Some GPU", bandwidth=None,
                step_with_stamps_ns=step["step_ns"] * 1.01)
    svg = timeline.picture(step, ops)
    text = words(svg)
    assert "measured: NVIDIA Some GPU" in text and "ESTIMATE" not in text and "with time stamps" in text
    assert len(groups(svg)) == len(ops)


def test_choice():
    """Of several steps in a file one is drawn; JSON lines do as well."""
    out = estimate("-d", "0,300")
    assert timeline.load(out)[0]["depth"] == 0
    assert timeline.load(out, depth=300)[0]["depth"] == 300
    lines = run("bench", "-m", model(), "--predict", "gb10,h200", "-o", "jsonl")[0]
    assert "H200" in timeline.load(lines, device="h200")[0]["device"]
    refused(out, "at depth 300", depth=7)


def refused(text, word, **kw):
    try:
        timeline.load(text, **kw)
    except timeline.Unfit as e:
        assert word in str(e), e
        return
    raise AssertionError(f"drawn all the same; expected '{word}'")


def test_refuses():
    """A file without times, cut off, or of something else is refused, and why is said."""
    out = estimate()
    records = json.loads(out)
    refused(run("bench", "-m", model(), "--per-op", "--device", "sim", "-o", "json")[0], "--predict")
    refused(json.dumps(records[:-3]), "cut off")
    refused("{}", "list of records")
    refused("[1]", "list of records")
    refused("[]", "no record of a step")
    refused("hello", "not JSON")


def test_program():
    src, dst = os.path.join(TMP, "tl.json"), os.path.join(TMP, "tl.svg")
    with open(src, "w") as f:
        f.write(estimate())
    tool = [sys.executable, "tools/timeline.py"]
    p = subprocess.run([*tool, src, "-o", dst], capture_output=True, text=True)
    assert p.returncode == 0 and not p.stderr, p.stderr
    with open(dst) as f:
        svg = f.read()
    assert groups(svg)
    p = subprocess.run([*tool, "-"], input=open(src).read(), capture_output=True, text=True)
    assert p.returncode == 0 and p.stdout == svg
    p = subprocess.run([*tool, os.path.join(TMP, "nothing.json")], capture_output=True, text=True)
    assert p.returncode == 1 and "nothing.json" in p.stderr and "Traceback" not in p.stderr


def test_example():
    """The example in docs/ is such a picture, and says that it is an estimate."""
    with open("docs/timeline-30b-rtx4090.svg", encoding="utf-8") as f:
        svg = f.read()
    assert len(svg) < 300_000 and len(groups(svg)) > 500 and "ESTIMATE" in words(svg)


def test_command():
    """bench --per-op and --predict: tables, CSV, and what is wrong with a command line."""
    out, _ = run("bench", "-m", model(), "--per-op", "--device", "sim", "-d", "10")
    assert "counted on the software device: no times" in out and "| ffn_up " in out and "GB/s" not in out
    every, _ = run("bench", "-m", model(), "--per-op", "--device", "sim", "-d", "10", "-v", "-q")
    assert "| 2 ffn_up " in every and len(every.splitlines()) > 15
    rows = list(csv.DictReader(io.StringIO(run("bench", "-m", model(), "--per-op", "--device", "sim", "-o", "csv")[0])))
    assert len(rows) > 15 and all(int(r["thread_insts"]) > 0 for r in rows) and not any(r["time_ns"] for r in rows)
    out, _ = run("bench", "-m", model(), "--predict", "all", "-d", "0,64")
    assert "ESTIMATES" in out and all(f"| {c} " in out for c in ("rtx4090", "gb10", "h200", "rtx5090"))
    out, _ = run("bench", "-m", model(), "--predict", "h200", "--per-op")
    assert "ESTIMATE: H200" in out and "bound by" in out
    _, err = run("bench", "-m", model(), "--predict", "h300", status=2)
    assert "h300" in err and "h200" in err
    _, err = run("bench", "-m", model(), "--per-op", "--executor", "ref", status=1)
    assert "runs no kernels" in err
    _, err = run("bench", "--per-op", status=2)
    assert "--model" in err
    _, err = run("bench", "-m", model(), "--predict", "h200", "-d", "9999999", status=1)
    assert "9999999" in err


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
