"""Answers under a guide: whatever tokens are drawn, what is finished is valid by an implementation of JSON Schema that is not
ours; and what is valid can be said. Over the demo model's tokens and over a vocabulary made to be difficult."""
import atexit, datetime, json, os, re, shutil, struct, subprocess, sys, tempfile
import tap
from jsonschema import Draft202012Validator, FormatChecker
from schemas import REFUSED, TREE, WRITTEN, WRONG, Maker, obj

B = os.path.dirname(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
TMP = os.environ.get("QMOE_TEST_TMP") or tempfile.mkdtemp()
if not os.environ.get("QMOE_TEST_TMP"):
    atexit.register(shutil.rmtree, TMP)
ERR_UNSUPPORTED, ERR_ARG = -3, -6
N_SCHEMAS = 150


def byte_chars():
    """GPT-2's character of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in out:
            out[b], n = chr(n), n + 1
    return out


def odd_vocabulary(path):
    """All bytes, and tokens that cross every border: quotes, commas and white space in one, escapes and characters cut
    in the middle, tags that are user-defined tokens and look like their text."""
    pieces = ['{"', '": "', '", "', '":"', '","', '"}', '"}]', '"]', '": [', '": {', '}, {"', '],', ' "', '\n', '\n  ', '\n    "', '  ', ' ' * 8, ' ' * 70, '\n\n', '\t',
              'true', 'false', 'null', 'true,', 'nul', '12', '123', '-1', '0.', '.5', 'e1', '1e', '00', '9' * 20, '\\u', '\\ud83d', '\\ude00', '\\n', '\\\\', '\\"', '"\\', '\\u00', 'a"', 'ab', 'abc',
              'item', ' the', 'hello', 'é', 'éé', '語', '日本', '😀', 'a\nb', '"a"', '": 1', '1}', '1]', '1, ', '</', 'tool', '_call>', '<tool_call', '>\n', 'parameter', '=', '</think', '>\n\n', '{"name": "',
              ', "arguments": ', 'x</parameter>\n', '\n</parameter>\n</function>', '}\n</tool_call>', 'think>', '"name', '},']
    raw = [bytes([b]) for b in range(256)] + [p.encode() for p in pieces] + [b"\xe6\x97", b"\xa5", b"\x9f\x98", b"\xf0\x9f", b'\xe6\x97"', b'\x80"', b'x\xc3', b'\xa9",', b'\xff\xfe', b'"\xc3']
    seen, tokens = set(), []
    for r in raw:
        if r not in seen:
            seen.add(r)
            tokens.append(r)
    ch = byte_chars()
    texts, types = ["".join(ch[b] for b in t) for t in tokens], [1] * len(tokens)
    for text, kind in (("<|endoftext|>", 3), ("<|im_end|>", 3), ("<|im_start|>", 3), ("<think>", 4), ("</think>", 4), ("<tool_call>", 4), ("</tool_call>", 4), ("<tool_response>", 4), ("[PAD1]", 5)):
        texts.append(text)
        types.append(kind)

    def s(x):
        x = x.encode()
        return struct.pack("<Q", len(x)) + x

    def arr(key, kind, items):
        return s(key) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)
    kv = [s("tokenizer.ggml.model") + struct.pack("<I", 8) + s("gpt2"), s("tokenizer.ggml.pre") + struct.pack("<I", 8) + s("qwen2"),
          arr("tokenizer.ggml.tokens", 8, [s(t) for t in texts]), arr("tokenizer.ggml.token_type", 5, [struct.pack("<i", t) for t in types]),
          arr("tokenizer.ggml.merges", 8, [s("a b"), s("ab c")]),
          s("tokenizer.ggml.eos_token_id") + struct.pack("<II", 4, texts.index("<|im_end|>"))]
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(kv)) + b"".join(kv) + bytes(64))


ODD = os.path.join(TMP, "odd.gguf")
odd_vocabulary(ODD)
VOCABS = ["models/demo.gguf", ODD]


def ask(vocab, requests):
    p = subprocess.run([os.path.join(B, "guide_cli"), vocab], input="".join(json.dumps(r) + "\n" for r in requests), text=True, encoding="utf-8", capture_output=True, timeout=200)
    assert p.returncode == 0, p.stderr[-2000:]
    out = [json.loads(x) for x in p.stdout.splitlines()]
    assert len(out) == len(requests), (len(out), p.stderr)
    return out


def rfc3339(text):
    datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return True


CHECKER = FormatChecker()
CHECKER.checks("date-time", raises=ValueError)(lambda x: rfc3339(x) if isinstance(x, str) else True)
CHECKER.checks("time", raises=ValueError)(lambda x: bool(datetime.time.fromisoformat(x.replace("Z", "+00:00"))) or True if isinstance(x, str) else True)


def no_constant(x):
    raise ValueError(f"{x} is not JSON")


def fault(schema, text):
    """Why a text is no answer for a schema, or None."""
    try:
        v = json.loads(text, parse_constant=no_constant)
    except ValueError as e:
        return f"no JSON: {e}"
    text.encode("utf-8")
    return next((e.message[:200] for e in Draft202012Validator(schema, format_checker=CHECKER).iter_errors(v)), None)


def made(n, seed):
    m = Maker(seed)
    for _ in range(n):
        s = m.top()
        yield s, [m.value(s, s) for _ in range(4)]


def all_schemas():
    """N_SCHEMAS of them: (schema, values)."""
    all_ = [(s, ok) for s, ok, _ in WRITTEN if ok]
    return all_ + list(made(N_SCHEMAS - len(all_), 7))


def spellings(v):
    """As writers of JSON put it: compact, as Python does, over several lines."""
    yield json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    yield json.dumps(v, ensure_ascii=False)
    yield json.dumps(v, ensure_ascii=False, indent=2)
    yield json.dumps(v, ensure_ascii=False, indent="\t")


def test_values_are_valid():
    """The tests' own values are what the other implementation says they are: else the rest proves nothing."""
    for s, values in all_schemas():
        Draft202012Validator.check_schema(s)
        for v in values:
            assert fault(s, json.dumps(v)) is None, (s, v, fault(s, json.dumps(v)))


def test_random_answers_are_valid():
    """Every answer that ends, of 150 schemas, drawn as wildly as the masks allow."""
    everything = all_schemas()
    assert len(everything) == N_SCHEMAS
    for vocab in VOCABS:
        n, lengths = 0, set()
        answers = ask(vocab, [{"guide": {"schema": json.dumps(s)}, "walks": 12, "seed": i} for i, (s, _) in enumerate(everything)])
        for (s, _), a in zip(everything, answers):
            assert "error" not in a, (s, a)
            for text in a["walks"]:
                why = fault(s, text)
                assert why is None, f"{vocab}: {json.dumps(s)[:600]}\n{text[:600]}\n{why}"
                n += 1
                lengths.add(len(text))
        assert n == 12 * N_SCHEMAS and len(lengths) > 100, (n, len(lengths))


def test_valid_answers_are_reachable():
    """By bytes and by the tokenizer's own tokens, in four spellings."""
    for vocab in VOCABS:
        jobs = [(s, [t for v in values for t in spellings(v)]) for s, values in all_schemas()]
        for (s, texts), a in zip(jobs, ask(vocab, [{"guide": {"schema": json.dumps(s)}, "accept": texts} for s, texts in jobs])):
            for text, got in zip(texts, a["accept"]):
                want = len(text.encode()) + 1
                assert got == [want, want], f"{vocab}: {json.dumps(s)[:500]}\n{text}\ntaken up to byte {got}: {text.encode()[:min(got)]}"


# Valid as others see it, and yet never said here: docs/structured.md, "Narrower than the standard".
STRICTER = {"-0", "1.0", "3.0", "1e3", "1e-1", "1e400", "1234567890123456789",  # spellings of numbers
            "\"\\ud800\"", "\"a@b\"", "\"@b.co\"", "\"2024-01-01\"",  # half a pair; formats, which that library takes lightly
            "1",  # maxLength without a type
            "{\"b\": \"x\", \"a\": 1}", "{\"c\": true, \"a\": 1}"}  # the order of properties


def test_wrong_answers_are_not():
    """What a schema does not allow does not come to its end."""
    jobs = [(s, bad) for s, _, bad in WRITTEN if bad]
    for vocab in VOCABS:
        for (s, bad), a in zip(jobs, ask(vocab, [{"guide": {"schema": json.dumps(s)}, "accept": bad} for s, bad in jobs])):
            for text, got in zip(bad, a["accept"]):
                assert fault(s, text) or text in STRICTER, ("it is valid", s, text)
                assert max(got) <= len(text.encode()), (s, text, got)


def test_refused_by_name():
    """A keyword outside of the subset is named, with its place; what is no schema, or allows nothing, is said to be so."""
    for cases, code in ((REFUSED, ERR_UNSUPPORTED), (WRONG, ERR_ARG)):
        for (s, words), a in zip(cases, ask(ODD, [{"guide": {"schema": json.dumps(s)}} for s, _ in cases])):
            assert a.get("error", [0, ""])[0] == code and words in a["error"][1], (s, words, a.get("error"))
            assert "\n" not in a["error"][1], a
    for text in ("", "{", "{\"type\": \"string\"} x", "{\"a\": 1, \"a\": 2}"):
        a, = ask(ODD, [{"guide": {"schema": text}}])
        assert a["error"][0] == ERR_ARG and a["error"][1].startswith("schema: "), (text, a)


WHO = {"anyOf": [{"type": "null"}, obj({"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}}, ["name"])]}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "of a place", "parameters": obj({"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14}, "unit": {"enum": ["C", "F"]}}, ["city"])}},
    {"type": "function", "function": {"name": "note", "parameters": obj({"text": {"type": "string", "minLength": 1, "maxLength": 30}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}}, "who": WHO}, ["text"])}},
    {"type": "function", "function": {"name": "now"}},
    {"type": "function", "function": {"name": "tree", "parameters": TREE}},
]
BY_NAME = {t["function"]["name"]: t["function"].get("parameters", obj({})) for t in TOOLS}
AUTO, REQUIRED, NAMED = 0, 1, 2


def json_calls(text):
    """[(name, arguments)] of an answer that is nothing but calls."""
    out, whole = [], re.fullmatch(r"\n{0,2}(<tool_call>\n.*?\n</tool_call>(\n<tool_call>\n.*?\n</tool_call>)*)", text, re.S)
    assert whole, text
    for body in re.split(r"\n</tool_call>\n<tool_call>\n", whole.group(1)[len("<tool_call>\n"):-len("\n</tool_call>")]):
        call = json.loads(body)
        assert list(call) == ["name", "arguments"], body
        out.append((call["name"], call["arguments"]))
    return out


def xml_call(text):
    """The one call of a text, as Qwen3-Coder's parsers read it: strings as they stand, other values as JSON."""
    m = re.fullmatch(r"\n{0,2}<tool_call>\n<function=([^>\n]+)>\n((?:<parameter=[^>\n]+>\n.*?\n</parameter>\n)*)</function>\n</tool_call>", text, re.S)
    assert m, text
    name, args = m.group(1), {}
    for key, value in re.findall(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>\n", m.group(2), re.S):
        kind = BY_NAME[name]["properties"][key]
        args[key] = value if kind.get("type") == "string" or "enum" in kind else json.loads(value)
    return name, args


def test_calls_are_valid():
    """Calls of tools, in both formats: each is of a tool, with arguments that its schema allows; one where one is allowed."""
    tools = json.dumps(TOOLS)
    tools_xml = json.dumps(TOOLS[:3])
    for vocab in VOCABS:
        a, b, c, d = ask(vocab, [
            {"guide": {"tools": tools, "tool_choice": REQUIRED, "parallel": 1}, "walks": 30, "seed": 1},
            {"guide": {"tools": tools, "tool_choice": REQUIRED}, "walks": 30, "seed": 2},
            {"guide": {"tools": tools, "tool_choice": NAMED, "name": "note", "parallel": 1}, "walks": 30, "seed": 3},
            {"guide": {"tools": tools_xml, "tool_choice": REQUIRED, "xml": 1}, "walks": 40, "seed": 4, "end": "\n</parameter>"}])
        called = [json_calls(t) for t in a["walks"]]
        assert max(len(x) for x in called) > 1 and {n for x in called for n, _ in x} == set(BY_NAME), called
        one = [json_calls(t) for t in b["walks"]]
        named = [json_calls(t) for t in c["walks"]]
        assert all(len(x) == 1 for x in one + named) and {x[0][0] for x in named} == {"note"}, (one, named)
        xml = [[xml_call(t)] for t in d["walks"]]
        assert {x[0][0] for x in xml} == {"get_weather", "note", "now"}
        for name, args in (x for y in called + one + named + xml for x in y):
            why = fault(BY_NAME[name], json.dumps(args))
            assert why is None, (name, args, why)


def test_calls_are_reachable():
    """What the models write, word for word; and with text around it where that is left free."""
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich <b>", "days": 3}}\n</tool_call>'
    now = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    xml = "<tool_call>\n<function=note>\n<parameter=text>\nline <1>\n  </param> & \"2\"\n</parameter>\n<parameter=tags>\n[\"a\", \"b\"]\n</parameter>\n</function>\n</tool_call>"
    free = "I look. <tool> </tool_call> <tool_cal {\"a\": \u2028 "
    tools = json.dumps(TOOLS)
    cases = [({"tool_choice": REQUIRED, "parallel": 1}, [call, now, f"{call}\n{now}", f"\n\n{call}"], [f"x{call}", f"{call}{now}", "", "text", call.replace("3}", "15}"), call.replace("city", "town"), call.replace("get_weather", "get_wind"), call[:-1]]),
             ({"tool_choice": REQUIRED}, [call], [f"{call}\n{now}"]),
             ({"tool_choice": NAMED, "name": "now"}, [now], [call]),
             ({"parallel": 1}, ["", free, call, f"{free}{call}", f"{free}{call}\n{now} and so on"], [f"{free}{call[:40]}", f"{free}<tool_call>x"]),
             ({}, ["", free, call, f"{free}{call}"], [f"{call}\n{now}", f"{call} "]),
             ({"schema": json.dumps(obj({"a": {"type": "integer"}}))}, ['{"a": 1}', call], ["x", f'{{"a": 1}}{call}']),
             ({"tool_choice": REQUIRED, "xml": 1, "tools": json.dumps(TOOLS[:3])}, [xml, "<tool_call>\n<function=now>\n</function>\n</tool_call>"], [xml.replace("tags", "tug"), xml.replace("</param>", "</parameter>"), xml.replace("note", "now")]),
             ({"xml": 1, "tools": json.dumps(TOOLS[:3])}, [free + xml], ["<tool_call>\n<function=none>\n"])]
    for vocab in VOCABS:
        for (o, good, bad), a in zip(cases, ask(vocab, [{"guide": {"tools": tools, **o}, "accept": good + bad} for o, good, bad in cases])):
            assert "error" not in a, (o, a)
            for text, got in zip(good + bad, a["accept"]):
                n = len(text.encode())
                assert got == [n + 1] * 2 if text in good else max(got) <= n, (o, text, got, text.encode()[:min(got)])


def test_thinking_is_free():
    """What is thought is held to nothing, and may hold anything but its end; then the schema holds."""
    s = json.dumps(obj({"a": {"type": "integer"}}))
    thought = 'so {"a": "x"}, <tool_call>, or\n\n'
    good, bad = '{"a": 12}', '{"a": "x"}'
    cases = [({"schema": s, "thinking": 2}, [f"{thought}</think>\n\n{good}", f"</think>{good}"], [good, f"{thought}</think>\n\n{bad}", f"{thought}</think>{thought}</think>{good}"]),
             ({"schema": s, "thinking": 1}, [f"<think>{thought}</think>\n\n{good}", good, f"\n<think></think>{good}"], [f"{thought}</think>{good}", "<think>"]),
             ({"schema": s}, [good], [f"<think></think>{good}"]),
             ({"tools": json.dumps(TOOLS), "thinking": 2}, [thought, f"{thought}</think>", f"{thought}</think>\n\ntext"], [f"{thought}</think><tool_call>\nx"])]
    for vocab in VOCABS:
        for (o, yes, no), a in zip(cases, ask(vocab, [{"guide": o, "accept": yes + no, "walks": 4, "seed": 5, "end": "</think>" if o.get("thinking") else None} for o, yes, no in cases])):
            for text, got in zip(yes + no, a["accept"]):
                n = len(text.encode())
                assert got == [n + 1] * 2 if text in yes else max(got) <= n, (o, text, got)
            for text in a["walks"]:
                if "schema" in o:
                    assert fault(json.loads(s), text.rsplit("</think>", 1)[-1]) is None, (o, text)


def test_lenient_tools():
    """Tools that do not say strict are held as far as they are understood, where that is asked for; strict ones never."""
    odd = {"type": "object", "properties": {"u": {"type": "string", "format": "uri", "pattern": "(?i)x"}, "n": {"type": "integer", "multipleOf": 5, "minimum": 1}}, "required": ["n"], "minProperties": 1, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "f", "parameters": odd}}
    strict = {"type": "function", "function": {"name": "f", "strict": True, "parameters": odd}}
    text = '<tool_call>\n{"name": "f", "arguments": {"u": "http://x", "n": 7}}\n</tool_call>'
    a, b, c = ask(ODD, [{"guide": {"tools": json.dumps([t]), "tool_choice": REQUIRED, "lenient": n}, "accept": [text, text.replace("7", "0")]} for t, n in ((tool, 1), (strict, 1), (tool, 0))])
    assert a["accept"][0] == [len(text) + 1] * 2 and max(a["accept"][1]) < len(text), a
    for x in (b, c):
        assert x["error"][0] == ERR_UNSUPPORTED and x["error"][1].startswith("tools: /0/function/parameters/"), x


def test_any_object():
    """response_format json_object."""
    for vocab in VOCABS:
        a, = ask(vocab, [{"guide": {"any_object": 1}, "walks": 60, "seed": 9, "accept": ['{"a": [1, {"b": null}]}', "[]", "1"]}])
        assert all(isinstance(json.loads(t), dict) for t in a["walks"])
        assert [x[0] == x[1] == n + 1 for x, n in zip(a["accept"], (23, 2, 1))] == [True, False, False], a["accept"]


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
