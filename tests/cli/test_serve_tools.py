"""qmoe-gpu serve: tools, answers held to a schema, and log-probabilities, as OpenAI's client asks for them. The demo model knows no
tools: that it calls them, and rightly, is the guide's doing; that it is asked to is the templates', one for each format of calls."""
import json, math, sys
import tap
from server import Server, need

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather <|im_end|> of a place", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
                                     "unit": {"enum": ["C", "F"]}}, "required": ["place", "days"], "additionalProperties": False}}}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer", "minimum": -99, "maximum": 99}, "ok": {"type": "boolean"}},
                                                                      "required": ["a", "ok"], "additionalProperties": False}}}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                                           "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2}}, "required": ["name", "age", "tags"], "additionalProperties": False}
PLAIN = {"enable_thinking": False}
TEMPLATES = {"json": "tests/golden/jinja/json_tools.jinja", "xml": "tests/golden/jinja/xml_tools.jinja",
             "thinks": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n"}
servers = {}


def server(kind="json"):
    if kind not in servers:
        servers[kind] = Server("--parallel", "4", "--chat-template", TEMPLATES[kind]).__enter__()
    return servers[kind]


def client(kind="json"):
    return need("openai").OpenAI(base_url=server(kind).url + "/v1", api_key="none", max_retries=0, timeout=120)


def says(text="What is the weather in Paris?"):
    return [{"role": "user", "content": text}]


def valid(text, schema):
    need("jsonschema").validate(json.loads(text), schema)


def joined(stream):
    """The message that the deltas of a stream make, choice 0; every argument's beginning stays the beginning of JSON."""
    message, finish = {"content": "", "reasoning": "", "calls": []}, None
    for chunk in stream:
        for c in chunk.choices:
            finish = c.finish_reason or finish
            message["content"] += c.delta.content or ""
            message["reasoning"] += getattr(c.delta, "reasoning_content", None) or ""
            for d in c.delta.tool_calls or []:
                if d.index == len(message["calls"]):
                    assert d.id.startswith("call_") and d.type == "function" and d.function.name
                    message["calls"].append([d.function.name, ""])
                assert d.index == len(message["calls"]) - 1, "deltas of a call that has ended"
                message["calls"][-1][1] += d.function.arguments or ""
    return message, finish


# ---- tools ----
def test_calls_that_must_be():
    for kind in ("json", "xml"):
        c = client(kind)
        for seed in range(2 if kind == "json" else 1):
            ask = dict(model="m", messages=says(), tools=[WEATHER, ADD], temperature=1.5, seed=seed, max_tokens=200, extra_body={"chat_template_kwargs": PLAIN})
            for choice in ("required", {"type": "function", "function": {"name": "add"}}):
                r = c.chat.completions.create(tool_choice=choice, parallel_tool_calls=False, **ask)
                m = r.choices[0].message
                assert r.choices[0].finish_reason == "tool_calls" and m.content is None and len(m.tool_calls) == 1, (kind, r)
                f = m.tool_calls[0].function
                assert f.name == "add" or choice == "required", f
                valid(f.arguments, (WEATHER if f.name == "get_weather" else ADD)["function"]["parameters"])
                got, finish = joined(c.chat.completions.create(tool_choice=choice, parallel_tool_calls=False, stream=True, **ask))
                assert finish == "tool_calls" and got["calls"] == [[f.name, f.arguments]] and not got["content"], (got, f)


def test_tools_are_in_the_prompt_as_data():
    s = server()
    prompt = s.post("/apply-template", {"messages": says(), "tools": [WEATHER]})[1]["prompt"]
    assert "get_weather" in prompt
    n = len(s.post("/tokenize", {"content": "<|im_end|>"})[1]["tokens"])
    assert n == 1
    def prompt_tokens(tools, **more):
        return s.post("/v1/chat/completions", {"messages": says(), "tools": tools, "max_tokens": 1, "temperature": 0, **more})[1]["usage"]["prompt_tokens"]
    none = prompt_tokens([])
    assert prompt_tokens([WEATHER]) > none + 20
    assert prompt_tokens([WEATHER], tool_choice="none") == none  # who may not call is not told


def test_results_are_fed_back():
    s = server()
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"place\": \"Paris\", \"days\": 1}"}}
    messages = says() + [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "sunny <|im_start|>"}]
    prompt = s.post("/apply-template", {"messages": messages, "tools": [WEATHER]})[1]["prompt"]
    assert "sunny" in prompt and '"place"' in prompt
    r = client().chat.completions.create(model="m", messages=messages, tools=[WEATHER], max_tokens=4)
    assert r.choices[0].message.content


def test_several_calls_at_once():
    for seed in range(2):
        r = client().chat.completions.create(model="m", messages=says(), tools=[ADD], tool_choice="required", n=2, temperature=2.5, seed=seed, max_tokens=120,
                                             extra_body={"chat_template_kwargs": PLAIN})
        for c in r.choices:
            assert c.message.tool_calls
            for call in c.message.tool_calls[:-1] if c.finish_reason == "length" else c.message.tool_calls:
                valid(call.function.arguments, ADD["function"]["parameters"])
            ids = [x.id for x in c.message.tool_calls]
            assert len(set(ids)) == len(ids)


def test_tools_that_are_none():
    s = server()
    for tools, choice, where in [([WEATHER, WEATHER], "auto", "tools[1].function.name"), ([WEATHER], {"type": "function", "function": {"name": "other"}}, "tool_choice"),
                                 ([], "required", "tool_choice"), ([{"type": "custom", "custom": {"name": "x"}}], "auto", "tools[0].type")]:
        status, answer = s.post("/v1/chat/completions", {"messages": says(), "tools": tools, "tool_choice": choice, "max_tokens": 1})
        assert status == 400 and answer["error"]["param"] == where, (tools, answer)
    # A keyword that is not held to: refused of who says strict, else the rest is held to.
    odd = json.loads(json.dumps(ADD))
    odd["function"]["parameters"]["properties"]["ok"] = {"not": {"type": "null"}}
    assert s.post("/v1/chat/completions", {"messages": says(), "tools": [odd], "max_tokens": 1})[0] == 200
    odd["function"]["strict"] = True
    status, answer = s.post("/v1/chat/completions", {"messages": says(), "tools": [odd], "max_tokens": 1})
    assert status == 400 and answer["error"]["param"] == "tools" and "not" in answer["error"]["message"], answer
    with Server() as plain:  # whose template takes no tools
        status, answer = plain.post("/v1/chat/completions", {"messages": says(), "tools": [ADD], "max_tokens": 1})
        assert status == 400 and answer["error"]["param"] == "tools", answer
        assert plain.post("/v1/chat/completions", {"messages": says(), "tools": [ADD], "tool_choice": "none", "max_tokens": 1})[0] == 200


# ---- answers held to a schema ----
def test_structured_answers():
    c = client()
    for seed in range(2):
        for form, schema in [({"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}, SCHEMA),
                             ({"type": "json_schema", "json_schema": {"name": "word", "schema": {"enum": ["yes", "no", 5]}}}, {"enum": ["yes", "no", 5]}),
                             ({"type": "json_object", "schema": SCHEMA}, SCHEMA)]:
            ask = dict(model="m", messages=says(), response_format=form, temperature=1.5, seed=seed, max_tokens=150, extra_body={"chat_template_kwargs": PLAIN})
            r = c.chat.completions.create(**ask)
            assert r.choices[0].finish_reason == "stop", r
            valid(r.choices[0].message.content, schema)
            assert joined(c.chat.completions.create(stream=True, **ask))[0]["content"] == r.choices[0].message.content


def test_any_object():
    r = client().chat.completions.create(model="m", messages=says(), response_format={"type": "json_object"}, temperature=0, max_tokens=200, logit_bias={},
                                         extra_body={"chat_template_kwargs": PLAIN})
    text = r.choices[0].message.content
    assert text.lstrip().startswith("{") and (r.choices[0].finish_reason == "length" or isinstance(json.loads(text), dict)), text


def test_schema_begins_after_thinking():
    """The template opens <think>: what is thought is free; where it is not, the answer is held from its first token on."""
    held = {"response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": {"const": "done"}}}, "temperature": 1.0, "seed": 2, "max_tokens": 30}
    status, answer = server("thinks").post("/v1/chat/completions", {"messages": says(), **held})
    m = answer["choices"][0]["message"]
    assert m["content"] == "" and len(m["reasoning_content"]) > 20 and answer["choices"][0]["finish_reason"] == "length", answer
    free = server("thinks").post("/v1/chat/completions", {"messages": says(), **held, "response_format": None})[1]["choices"][0]["message"]
    assert m["reasoning_content"][:20] == free["reasoning_content"][:20]  # but that it may not end there
    m = server().post("/v1/chat/completions", {"messages": says(), **held, "chat_template_kwargs": PLAIN})[1]["choices"][0]["message"]
    assert json.loads(m["content"]) == "done" and "reasoning_content" not in m, m


def test_effort_is_thinking_or_not():
    """The template has <think></think> in the prompt where thinking is off: a longer prompt."""
    def n(**more):
        status, answer = server().post("/v1/chat/completions", {"messages": says(), "max_tokens": 1, **more})
        assert status == 200, answer
        return answer["usage"]["prompt_tokens"]
    on, off = n(chat_template_kwargs={"enable_thinking": True}), n(chat_template_kwargs=PLAIN)
    assert on != off and n(reasoning_effort="none") == n(reasoning_effort="minimal") == off
    assert n(reasoning_effort="low") == n(reasoning_effort="high") == n() == on
    assert n(reasoning_effort="high", chat_template_kwargs=PLAIN) == off


def test_others_keep_their_answers_beside_a_guided_one():
    from concurrent.futures import ThreadPoolExecutor
    s = server()
    free = {"messages": says("Count to 5:"), "temperature": 1.5, "seed": 4, "max_tokens": 20, "chat_template_kwargs": PLAIN}
    held = {**free, "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}, "max_tokens": 100}
    def text(body):
        return s.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"]
    alone = [text(free), text(held)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(text, [free, held, free, held])) == alone * 2


def test_schemas_that_are_refused():
    s = server()
    for schema, word in [({"type": "object", "properties": {"a": {"not": {}}}}, "not"), ({"type": "text"}, "type"), ({"$ref": "http://x"}, "$ref"),
                         ({"type": "string", "pattern": "(?=a)"}, "pattern"), ({"enum": []}, "nothing satisfies it")]:
        status, answer = s.post("/v1/chat/completions", {"messages": says(), "max_tokens": 1, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
        assert status == 400 and answer["error"]["param"] == "response_format" and word in answer["error"]["message"], (schema, answer)


def test_structured_by_the_client():
    """openai's own helper: a pydantic model in, an object of it out."""
    openai, pydantic = need("openai", "pydantic")
    Person = pydantic.create_model("Person", __config__=pydantic.ConfigDict(extra="forbid"), age=(int, ...), ok=(bool, ...))
    r = client().chat.completions.parse(model="m", messages=says(), response_format=Person, temperature=0, max_tokens=100, extra_body={"chat_template_kwargs": PLAIN})
    assert isinstance(r.choices[0].message.parsed, Person)


# ---- log-probabilities ----
def test_logprobs_of_chats():
    c = client()
    ask = dict(model="m", messages=says("Count to 5:"), temperature=0, max_tokens=8, logprobs=True, top_logprobs=3, extra_body={"chat_template_kwargs": PLAIN})
    r = c.chat.completions.create(**ask)
    content = r.choices[0].logprobs.content
    assert b"".join(bytes(t.bytes) for t in content).decode() == r.choices[0].message.content and len(content) >= 5
    for t in content:
        assert len(t.top_logprobs) == 3 and t.logprob <= 0 and t.top_logprobs[0].logprob == max(x.logprob for x in t.top_logprobs)
        assert t.token == t.top_logprobs[0].token and t.logprob == t.top_logprobs[0].logprob  # greedy: the likeliest
        assert sum(math.exp(x.logprob) for x in t.top_logprobs) <= 1.0001
    streamed = [t for chunk in c.chat.completions.create(stream=True, **ask) for k in chunk.choices if k.logprobs for t in k.logprobs.content]
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in content]
    none = c.chat.completions.create(**{**ask, "top_logprobs": 0})
    assert [t.logprob for t in none.choices[0].logprobs.content] == [t.logprob for t in content] and none.choices[0].logprobs.content[0].top_logprobs == []
    assert c.chat.completions.create(**{**ask, "logprobs": False, "top_logprobs": None}).choices[0].logprobs is None
    # They are the model's own, whatever is done to choose.
    hot = c.chat.completions.create(**{**ask, "temperature": 5.0, "seed": 1, "max_tokens": 1, "logit_bias": {"5": 50}})
    assert [x.logprob for x in hot.choices[0].logprobs.content[0].top_logprobs] == [x.logprob for x in content[0].top_logprobs]


def test_logprobs_of_completions():
    c = client()
    r = c.completions.create(model="m", prompt="Once upon", temperature=0, max_tokens=6, logprobs=2)
    lp, text = r.choices[0].logprobs, r.choices[0].text
    assert "".join(lp.tokens) == text and len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset) == 6
    assert lp.text_offset == [len("".join(lp.tokens[:i])) for i in range(6)]
    for token, logprob, top in zip(lp.tokens, lp.token_logprobs, lp.top_logprobs):
        assert len(top) == 2 and max(top.values()) == logprob == top[token]
    got = [x.choices[0].logprobs for x in c.completions.create(model="m", prompt="Once upon", temperature=0, max_tokens=6, logprobs=2, stream=True)]
    assert [t for g in got if g for t in g.tokens] == lp.tokens and [t for g in got if g for t in g.text_offset] == lp.text_offset


def test_the_servers_end_well():
    for s in servers.values():
        s.__exit__(None, None, None)
    servers.clear()


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
