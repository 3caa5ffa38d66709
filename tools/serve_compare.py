#!/usr/bin/env python3
"""`qmoe-gpu serve` beside llama.cpp's server: the same file, the same requests, greedily. What must be the same is held to be the
same (text, tokens, counts, why it ended); every field that only one of them has, or that has another type there, is a
difference, and each must stand in the table of docs/serve-compare.md, which says why.

    python3 tools/serve_compare.py build/qmoe-gpu                  both, now
    python3 tools/serve_compare.py build/qmoe-gpu --recorded       ours, beside what llama.cpp said when it was recorded
    python3 tools/serve_compare.py --record                        writes tests/golden/peers/llama_serve.json anew
    ... --rows      prints the table's rows for what is not explained yet
    ... --show NAME the two answers to one request, whole

Exit status 1: something that must be the same is not, a difference is not explained, or a row explains none. The first run
installs llama.cpp (the xllamacpp package: tools/needs.py)."""
import argparse
import contextlib
import fnmatch
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests" / "support")]
from serve_compare_cases import CASES, KEY  # noqa: E402

DOC, RECORD = ROOT / "docs" / "serve-compare.md", ROOT / "tests" / "golden" / "peers" / "llama_serve.json"
MODEL, TOOLS = ROOT / "models" / "demo.gguf", ROOT / "tests" / "golden" / "jinja" / "json_tools.jinja"


# ---- asking ----
def talk(url, case, key, led):
    """(status, content type, text) of a case's answer; of one that streams the whole stream."""
    body = case.body
    if led and case.led:
        body = {**body, "chat_template_kwargs": {**body["chat_template_kwargs"], "begin": case.led}}
    host, port = re.fullmatch(r"http://([^:/]+):(\d+)/?", url).groups()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def send(method, path, body):
        c = http.client.HTTPConnection(host, int(port), timeout=300)
        c.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body), headers)
        return c, c.getresponse()

    with contextlib.ExitStack() as stack:
        if case.during:  # while this streams
            other, r = send("POST", "/v1/chat/completions", case.during)
            stack.callback(other.close)
            r.readline()
        c, r = send(case.method, case.path, body)
        stack.callback(c.close)
        return r.status, r.headers.get_content_type(), r.read().decode()


# ---- shapes ----
def kind(v):
    return "null" if v is None else "boolean" if isinstance(v, bool) else "number" if isinstance(v, (int, float)) else "string"


def flatten(v, path, out):
    """{path: [values]}; of arrays all members are one, [] stands for an empty one."""
    if isinstance(v, dict) and v and path.endswith("top_logprobs[]") and "logprob" not in v:
        out.setdefault(path + ".*", []).extend(v.values())  # its names are tokens
    elif isinstance(v, dict):
        if not v:
            out.setdefault(path + "{}", []).append("")
        for k, x in v.items():
            flatten(x, f"{path}.{k}" if path else k, out)
    elif isinstance(v, list):
        if not v:
            out.setdefault(path + "[]", []).append("")
        for x in v:
            flatten(x, path + "[]", out)
    else:
        out.setdefault(path, []).append(v)
    return out


def part(event, o, first):
    """Which part of a stream an event is."""
    if event:
        return event
    if not isinstance(o.get("choices"), list):
        return "event"
    if not o["choices"]:
        return "usage"
    return "finish" if any(c.get("finish_reason") for c in o["choices"]) else "first" if first else "delta"


def events(text):
    name, seen = None, set()
    for line in text.splitlines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            o = line[6:] if line[6:] == "[DONE]" else json.loads(line[6:])
            if o == "[DONE]":
                yield "[DONE]", ""
            else:
                i = o["choices"][0]["index"] if o.get("choices") else None
                yield part(name, o, i not in seen), o
                seen.add(i)
            name = None


def metrics(text):
    """{name: type}"""
    return {name: kind for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", text, re.M)}


def answer(said):
    """What is compared of an answer: {"status", "type", "shape": {field: types}, "values": {field: [values]}}."""
    status, content, text = said
    a = {"status": status, "type": content, "shape": {}}
    found = {}
    if content == "application/json":
        flatten(json.loads(text), "", found)
    elif content == "text/event-stream":
        for where, o in events(text):
            flatten(o, where + ":" if o else where, found)
        found = {k.replace(":.", ": "): v for k, v in found.items()}
    if content == "text/plain":
        a["shape"] = metrics(text)
    else:
        a["shape"] = {k: "/".join(sorted(set(map(kind, v)))) if not k.endswith(("[]", "{}")) or v != [""] * len(v) else "empty" for k, v in found.items()}
    a["values"] = found
    return a


def drawn(a, patterns):
    """{pattern: {field: values}}, which must be the same; of a stream the texts joined."""
    out = {}
    for p in patterns:
        for field, v in a["values"].items():
            if fnmatch.fnmatchcase(re.sub(r"^\S+: ", "", re.sub(r"^\[\]", "#", field)).replace("[]", ""), p):
                if field.endswith(("[]", "{}")) and v == [""] * len(v):
                    continue
                if a["type"] == "text/event-stream" and all(isinstance(x, str) or x is None for x in v):
                    joined = out.setdefault(p, {})
                    name = field.split(".")[-1]
                    joined[name] = joined.get(name, "") + "".join(x or "" for x in v)
                else:
                    out.setdefault(p, {}).setdefault(re.sub(r"^\S+: ", "", field), []).extend(v)
    return out


# ---- the servers ----
def tools_template():
    """The template, with two variables more: `opened` opens a think block, `begin` is what the answer begins with."""
    text, end = TOOLS.read_text().rstrip(), "{%- endif %}"
    assert text.endswith(end)
    return text[:-len(end)] + "{%- if opened is defined %}{{- '<think>\\n' }}{%- endif %}{%- if begin is defined %}{{- begin }}{%- endif %}\n" + end


@contextlib.contextmanager
def ours(program, model):
    import server  # of the tests
    server.BIN = program
    with tempfile.TemporaryDirectory() as d:
        keys, template = Path(d) / "keys", Path(d) / "template"
        keys.write_text(KEY + "\n")
        template.write_text(tools_template())
        common = ("--parallel", "4", "-c", "4096")
        with server.Server(*common, model=str(model)) as plain, \
                server.Server(*common, "--chat-template", str(template), "--api-key-file", str(keys), model=str(model)) as tools:
            yield {"plain": plain.url, "tools": tools.url}


@contextlib.contextmanager
def llama(model):
    """llama.cpp's, as ours: as much context for each sequence, one thread (more of them spin against the other server's)."""
    import xllamacpp
    running, urls = [], {}
    for name in ("plain", "tools"):
        p = xllamacpp.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel, p.warmup = str(model), 4096, 4, False
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
        p.endpoint_metrics = p.endpoint_slots = p.use_jinja = True
        if name == "tools":
            p.chat_template, p.api_keys = tools_template(), [KEY]
        running.append(xllamacpp.Server(p))
        urls[name] = running[-1].listening_address.rstrip("/")
    yield urls


def ask(urls, led=False, only=None):
    return {c.name: talk(urls[c.server], c, KEY if c.server == "tools" and not c.no_key else None, led) for c in CASES if only in (None, c.name)}


def record(model):
    from importlib.metadata import version
    with llama(model) as urls:
        said = ask(urls, led=True)
    answers = {}
    for c in CASES:
        a = answer(said[c.name])
        answers[c.name] = {"status": a["status"], "type": a["type"], "shape": a["shape"], "same": drawn(a, c.same)}
    return {"about": "what llama.cpp's server answers to tools/serve_compare_cases.py: the shapes, and what must be the same",
            "xllamacpp": version("xllamacpp"), "gguf_sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "answers": answers}


# ---- the comparison ----
def differences(here, there):
    """[(case, field, here, there)] of all shapes, and [words] about what must be the same."""
    shapes, wrong = [], []
    for c in CASES:
        a, b = answer(here[c.name]), there[c.name]
        pairs = [("status", str(a["status"]), str(b["status"])), ("Content-Type", a["type"], b["type"])]
        pairs += [(f, a["shape"].get(f, "-"), b["shape"].get(f, "-")) for f in {**a["shape"], **b["shape"]}]
        shapes += [(c.name, f, x, y) for f, x, y in pairs if x != y]
        mine = drawn(a, c.same)
        for p in c.same:
            if mine.get(p) is None or mine[p] != b["same"].get(p):
                wrong.append(f"{c.name}: {p}: here {mine.get(p)!r}, llama.cpp {b['same'].get(p)!r}")
    return shapes, wrong


def rows(text):
    """The table's rows: [(requests, fields, here, llama.cpp, why)]."""
    out = []
    for line in text.splitlines():
        cells = [x.strip().strip("`") for x in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if line.startswith("| `") and len(cells) == 5:
            out.append(([x.strip("` ") for x in cells[0].split(" ")], [x.strip("` ") for x in cells[1].split("` `")], cells[2], cells[3], cells[4]))
    return out


def names(patterns, name):
    """Whether one of the patterns is that name; only * means something in one."""
    return any(re.fullmatch(".*".join(map(re.escape, p.split("*"))), name) for p in patterns)


def holds(cell, types):
    return cell == types or (cell == "any" and types != "-")


def explained(shapes, table):
    """(differences without a row, rows without a difference)"""
    used, left = set(), []
    for case, field, here, there in shapes:
        hits = [i for i, r in enumerate(table) if names(r[0], case) and names(r[1], field) and holds(r[2], here) and holds(r[3], there)]
        used.update(hits)
        if not hits:
            left.append((case, field, here, there))
    return left, [r for i, r in enumerate(table) if i not in used]


def print_rows(left):
    """Of differences, as the table has them: those of one kind in one row."""
    by = {}
    for case, field, here, there in left:
        by.setdefault((field, here, there), []).append(case)
    merged = {}
    for (field, here, there), cases in by.items():
        merged.setdefault((tuple(cases), here, there), []).append(field)
    for (cases, here, there), fields in merged.items():
        print(f"| {' '.join(f'`{c}`' for c in cases)} | {' '.join(f'`{f}`' for f in fields)} | {here} | {there} | |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", nargs="?", default=os.environ.get("QMOE_BIN") or str(ROOT / "build" / "qmoe-gpu"))
    p.add_argument("--model", type=Path, default=MODEL)
    p.add_argument("--record", action="store_true")
    p.add_argument("--recorded", action="store_true")
    p.add_argument("--rows", action="store_true")
    p.add_argument("--show", metavar="NAME")
    o = p.parse_args()
    if not o.recorded:
        from needs import needs
        needs("llama", {"xllamacpp": "xllamacpp"})
    keep = os.dup(1)  # llama.cpp talks to both streams
    os.dup2(2, 1)
    if o.show:
        with ours(o.program, o.model) as a, llama(o.model) as b:
            texts = [f"==== {who}\n{x[0]} {x[1]}\n{x[2]}" for who, x in (("here", ask(a, only=o.show)[o.show]), ("llama.cpp", ask(b, True, o.show)[o.show]))]
        os.dup2(keep, 1)
        print("\n".join(texts), flush=True)
        os._exit(0)
    there = json.loads(RECORD.read_text()) if o.recorded else record(o.model)
    if o.record:
        one_a_line = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in there["answers"].items())
        head = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in there.items() if k != "answers")
        RECORD.write_text("{\n" + head + ',\n "answers": {\n' + one_a_line + "\n }\n}\n", encoding="utf-8")
        os._exit(0)
    with ours(o.program, o.model) as urls:
        shapes, wrong = differences(ask(urls), there["answers"])
    left, stale = explained(shapes, rows(DOC.read_text(encoding="utf-8")) if DOC.exists() else [])
    os.dup2(keep, 1)
    if o.rows:
        print_rows(left)
    else:
        print(f"{len(CASES)} requests, llama.cpp of xllamacpp {there['xllamacpp']}: {len(shapes)} differences in shape, {len(left)} of them not explained")
        for x in left:
            print("  {}: {}: here {}, llama.cpp {}".format(*x))
        for r in stale:
            print(f"  a row of {DOC.name} explains nothing: {' '.join(r[0])}: {' '.join(r[1])}")
        for w in wrong:
            print(f"  NOT THE SAME: {w}")
    sys.stdout.flush()
    os._exit(1 if wrong or left or stale else 0)  # llama.cpp's threads do not end by themselves


if __name__ == "__main__":
    main()
