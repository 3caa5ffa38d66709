"""qmoe-gpu serve beside what llama.cpp's server said to the same requests (tools/serve_compare.py, docs/serve-compare.md)."""
import hashlib, json, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import serve_compare as sc
import tap
from server import BIN

there, said = {}, {}


def recorded():
    if not there:
        there.update(json.loads(sc.RECORD.read_text(encoding="utf-8")))
    return there["answers"]


def answers():
    if not said:
        with sc.ours(BIN, sc.MODEL) as urls:
            said.update(sc.ask(urls))
    return said


def table():
    return sc.rows(sc.DOC.read_text(encoding="utf-8"))


def test_the_record_is_of_this_model_and_these_requests():
    assert list(recorded()) == [c.name for c in sc.CASES], "tools/serve_compare.py --record"
    assert there["gguf_sha256"] == hashlib.sha256(sc.MODEL.read_bytes()).hexdigest()
    lacking = [(c.name, p) for c in sc.CASES for p in c.same if not recorded()[c.name]["same"].get(p)]
    assert not lacking, lacking


def test_the_same_is_said():
    wrong = sc.differences(answers(), recorded())[1]
    assert not wrong, "\n".join(wrong)


def test_every_difference_in_shape_is_explained_and_no_other():
    left, stale = sc.explained(sc.differences(answers(), recorded())[0], table())
    assert not left and not stale, "\n".join(map(str, left + stale))
    assert len(table()) > 40 and all(len(r[4]) > 5 for r in table())


def test_a_difference_would_be_seen():
    """What is held here can be broken: a text, a count, a field more, a field less, another type, a row too many."""
    status, content, text = answers()["chat"]
    for change in (lambda o: o["choices"][0]["message"].update(content="5"), lambda o: o["usage"].update(completion_tokens=9),
                   lambda o: o["choices"][0].update(finish_reason="length")):
        o = json.loads(text)
        change(o)
        assert len(sc.differences({**answers(), "chat": (status, content, json.dumps(o))}, recorded())[1]) == 1
    for change in (lambda o: o.update(more=1), lambda o: o.pop("created"), lambda o: o.update(created="now"), lambda o: o["choices"][0].update(finish_reason=None)):
        o = json.loads(text)
        change(o)
        assert len(sc.explained(sc.differences({**answers(), "chat": (status, content, json.dumps(o))}, recorded())[0], table())[0]) == 1
    left, stale = sc.explained(sc.differences({**answers(), "chat": (201, content, text)}, recorded())[0], table() + [(["chat"], ["more"], "number", "-", "none")])
    assert left == [("chat", "status", "201", "200")] and [r[1] for r in stale] == [["more"]]


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
