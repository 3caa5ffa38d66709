"""qmoe-gpu serve as OpenAI's own client sees its Responses: answers, events, tools and their results, reasoning, structured
output, log-probabilities, errors, clients that leave."""
import asyncio, json, math, subprocess, sys, time
import tap
from server import BIN, DEMO, Server, need

JSON_TOOLS, XML_TOOLS = "tests/golden/jinja/json_tools.jinja", "tests/golden/jinja/xml_tools.jinja"
THINKS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"
WEATHER = {"type": "function", "name": "weather", "description": "Of a city", "parameters": {"type": "object", "properties": {
    "city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}}, "required": ["city", "days"]}, "strict": True}
NOW = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
running = {}


def server(*args):
    """One for all tests that start it so."""
    if args not in running:
        running[args] = Server("--temp", "0", *args).__enter__()
    return running[args]


def client(*args, kind="OpenAI"):
    return getattr(need("openai"), kind)(base_url=server(*args).url + "/v1", api_key="none", max_retries=0, timeout=120)


def generate(prompt):
    p = subprocess.run([BIN, "generate", "-m", DEMO, "-p", prompt, "--temp", "0", "--json", "-q"], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def refused(fn, says_so):
    try:
        fn()
    except need("openai").BadRequestError as e:
        assert says_so in e.message and e.type == "invalid_request_error", e
        return e
    raise AssertionError(f"not refused: {says_so}")


# ---- answers ----
def test_an_answer_says_what_generate_says():
    for prompt in ("What is 2+2?", "Capital of France:", "Translate to Spanish: Hello world"):
        want = generate(prompt)
        r = client().responses.create(model="any", input=prompt)
        assert r.output_text == want["text"] and (r.status, r.model, r.error, r.store) == ("completed", "demo", None, False), r
        assert [(i.type, i.status, i.role) for i in r.output] == [("message", "completed", "assistant")]
        u = r.usage
        assert (u.input_tokens, u.output_tokens, u.total_tokens) == (want["prompt"]["tokens"], want["decode"]["tokens"], want["prompt"]["tokens"] + want["decode"]["tokens"]), u


def test_a_stream_is_the_answer():
    for prompt in ("What is 2+2?", "Translate to Spanish: Hello world"):
        whole = client().responses.create(model="any", input=prompt)
        with client().responses.stream(model="any", input=prompt) as s:
            events = list(s)
            last = s.get_final_response()
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text == last.output_text
        assert last.usage.output_tokens == whole.usage.output_tokens and last.status == "completed"
        assert [e.sequence_number for e in events] == list(range(len(events))), [e.sequence_number for e in events]


def test_events():
    got = server().stream("/v1/responses", {"input": "Count to 5:", "stream": True})
    names, data = [e[0] for e in got], [json.loads(e[1]) for e in got]
    assert names == [d["type"] for d in data] and [d["sequence_number"] for d in data] == list(range(len(data)))
    n = names.count("response.output_text.delta")
    assert n > 3 and names == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", *["response.output_text.delta"] * n,
                               "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"], names
    text = "".join(d["delta"] for d in data[4:4 + n])
    assert data[4 + n]["text"] == text == data[-1]["response"]["output"][0]["content"][0]["text"] and "\ufffd" not in text
    assert len({d["item_id"] for d in data if "item_id" in d} | {data[-1]["response"]["output"][0]["id"]}) == 1


def test_async():
    async def both():
        c = client(kind="AsyncOpenAI")
        text = ""
        async for e in await c.responses.create(model="any", input="What is 2+2?", stream=True):
            text += e.delta if e.type == "response.output_text.delta" else ""
        many = await asyncio.gather(*(c.responses.create(model="any", input="What is 2+2?") for _ in range(8)))
        return text, {r.output_text for r in many}
    text, many = asyncio.run(both())
    assert many == {text} and text


def test_conversations():
    c = client()
    asked = [{"role": "developer", "content": "You are a helpful assistant that says true sentences, short ones."}, {"role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}]
    r = c.responses.create(model="any", input=asked)
    again = c.responses.create(model="any", input=asked[1:], instructions=asked[0]["content"])
    assert again.output_text == r.output_text and again.usage.input_tokens == r.usage.input_tokens
    assert again.usage.input_tokens_details.cached_tokens == r.usage.input_tokens // 32 * 32 >= 32, again.usage
    more = c.responses.create(model="any", input=[*asked, *(i.model_dump() for i in r.output), {"role": "user", "content": "Capital of France:"}])
    assert more.usage.input_tokens > r.usage.input_tokens + r.usage.output_tokens


def test_how_it_ends():
    c = client()
    r = c.responses.create(model="any", input="What is 2+2?", max_output_tokens=2)
    assert (r.status, r.incomplete_details.reason, r.usage.output_tokens, r.output[0].status) == ("incomplete", "max_output_tokens", 2, "incomplete"), r
    with c.responses.stream(model="any", input="What is 2+2?", max_output_tokens=2) as s:
        assert [e.type for e in s][-1] == "response.incomplete"


# ---- tools ----
def test_tools_and_results():
    for template in (JSON_TOOLS, XML_TOOLS):
        c = client("--chat-template", template)
        ask = dict(model="any", input=[{"role": "user", "content": "Weather in Oslo?"}], tools=[WEATHER, NOW], tool_choice="required", max_output_tokens=200)
        r = c.responses.create(**ask)
        calls = [i for i in r.output if i.type == "function_call"]
        assert calls and r.status == "completed", r
        for i in calls:
            got = json.loads(i.arguments)
            assert i.status == "completed" and i.call_id.startswith("call_") and i.name in ("weather", "now"), i
            assert got == {} if i.name == "now" else got["city"] in ("Oslo", "Rome") and got["days"] in (1, 2, 3), got
        with c.responses.stream(**ask) as s:
            events = list(s)
            last = s.get_final_response()
        same = [(i.name, i.arguments) for i in last.output if i.type == "function_call"]
        assert same == [(i.name, i.arguments) for i in calls], (same, calls)
        done = [e for e in events if e.type == "response.function_call_arguments.done"]
        for e in done:
            assert e.arguments == "".join(x.delta for x in events if x.type == "response.function_call_arguments.delta" and x.output_index == e.output_index)
        assert len(done) == len(calls)
        ask["input"] += [i.model_dump() for i in r.output] + [{"type": "function_call_output", "call_id": i.call_id, "output": "fine"} for i in calls]
        r = c.responses.create(**{**ask, "tool_choice": "none"})
        assert r.usage.output_tokens and all(i.type in ("message", "reasoning") for i in r.output), r
        r = c.responses.create(**{**ask, "tool_choice": {"type": "function", "name": "now"}, "parallel_tool_calls": False})
        assert [(i.name, json.loads(i.arguments)) for i in r.output if i.type == "function_call"] == [("now", {})], r
    refused(lambda: client().responses.create(model="any", input="x", tools=[NOW]), "tools: ")


# ---- reasoning, structure, probabilities ----
def test_reasoning():
    c = client("--chat-template", THINKS)
    r = c.responses.create(model="any", input="What is 2+2?")
    assert [i.type for i in r.output] == ["reasoning"] and r.output[0].content[0].text and r.output[0].summary == [], r
    assert 0 < r.usage.output_tokens_details.reasoning_tokens <= r.usage.output_tokens
    with c.responses.stream(model="any", input="What is 2+2?") as s:
        text = "".join(e.delta for e in s if e.type == "response.reasoning_text.delta")
    assert text == r.output[0].content[0].text
    off = c.responses.create(model="any", input="What is 2+2?", reasoning={"effort": "none"})
    assert off.output_text == "2 + 2 = 4" and off.reasoning.effort == "none", off
    back = c.responses.create(model="any", input=[{"role": "user", "content": "x"}, *(i.model_dump() for i in r.output), {"role": "user", "content": "y"}])
    assert back.usage.output_tokens


def test_structured_output():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"], "additionalProperties": False}
    r = client().responses.create(model="any", input="What is 2+2?", text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}})
    got = json.loads(r.output_text)
    assert list(got) == ["n"] and got["n"] in range(10) and r.text.format.name == "n", r
    e = refused(lambda: client().responses.create(model="any", input="x", text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "not": {}}}}), "text.format.schema")
    assert "not" in e.message, e


def test_logprobs():
    r = client().responses.create(model="any", input="What is 2+2?", top_logprobs=3, include=["message.output_text.logprobs"])
    part = r.output[0].content[0]
    assert "".join(x.token for x in part.logprobs) == part.text and part.logprobs, part
    for x in part.logprobs:
        assert len(x.top_logprobs) == 3 and x.top_logprobs[0].token == x.token and x.logprob <= 0  # greedy: the first of them
        assert abs(x.top_logprobs[0].logprob - x.logprob) < 1e-6 and sum(math.exp(t.logprob) for t in x.top_logprobs) < 1 + 1e-6
    with client().responses.stream(model="any", input="What is 2+2?", top_logprobs=3) as s:
        tokens = [x.token for e in s if e.type == "response.output_text.delta" for x in e.logprobs]
    assert tokens == [x.token for x in part.logprobs]


# ---- what goes wrong ----
def test_errors():
    c = client()
    assert refused(lambda: c.responses.create(model="any", input="x", previous_response_id="resp_1"), "nothing is stored").param == "previous_response_id"
    assert refused(lambda: c.responses.create(model="any", input=[{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]), "type input_image").param.startswith("input[0].content[0]")
    refused(lambda: c.responses.create(model="any", input="x", tools=[{"type": "web_search"}]), "tools[0].type")
    refused(lambda: c.responses.create(model="any", input="x " * 3000), "context")
    refused(lambda: c.responses.create(model="any", input="x", background=True), "background")
    refused(lambda: c.responses.create(model="any", input=[]), "input")


def test_a_client_that_leaves():
    s, c = server(), client()
    stream = c.responses.create(model="any", input="Tell me a story.", stream=True, extra_body={"ignore_eos": True})
    for e in stream:
        if e.type == "response.output_text.delta":
            break
    stream.close()
    end = time.monotonic() + 20
    while not any("cancelled" in x for x in s.lines):
        assert time.monotonic() < end, s.log()
        time.sleep(0.05)
    assert c.responses.create(model="any", input="What is 2+2?").output_text == "2 + 2 = 4"


def test_the_servers_end():
    for s in running.values():
        assert s.stop() == 0, s.log()
    running.clear()


if __name__ == "__main__":
    try:
        tap.main(sys.modules[__name__])
    finally:
        for s in running.values():
            s.stop()
