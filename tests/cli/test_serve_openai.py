"""qmoe-gpu serve as OpenAI's own client sees it: chat, completions, streams, errors; and what it answers is what generate says."""
import asyncio, json, os, re, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
import tap
from server import BIN, DEMO, Server, need

PROMPTS = ["What is 2+2?", "Capital of France:", "Translate to Spanish: Hello world", "Count to 5:", "List 3 colors:"]
WILD = {"temperature": 3.0, "top_k": 0, "top_p": 1, "min_p": 0}  # of every token some, parts of characters too
shared = []


def server():
    """One for all tests that need nothing special of it."""
    if not shared:
        shared.append(Server("--parallel", "4", "--max-queue", "64").__enter__())
    return shared[0]


def client():
    return need("openai").OpenAI(base_url=server().url + "/v1", api_key="none", max_retries=0, timeout=120)


def says(prompt):
    return [{"role": "user", "content": prompt}]


def generate(prompt, *args):
    p = subprocess.run([BIN, "generate", "-m", DEMO, "-p", prompt, "--json", "-q", *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def chat(body, **more):
    status, answer = server().post("/v1/chat/completions", {**body, **more})
    assert status == 200, (status, answer)
    return answer


def text_of(answer, i=0):
    c = answer["choices"][i]
    return c["message"]["content"] if "message" in c else c["text"]


def streamed(path, body):
    """([choice's text by index], [objects])"""
    got = server().stream(path, {**body, "stream": True})
    assert got[-1][1] == "[DONE]" and all(x[0] is None for x in got)
    objects, texts = [json.loads(x[1]) for x in got[:-1]], {}
    for o in objects:
        for c in o["choices"]:
            piece = c["text"] if "text" in c else c["delta"].get("content") or ""
            texts[c["index"]] = texts.get(c["index"], "") + piece
    return [texts[i] for i in sorted(texts)], objects


# ---- what is said ----
def test_a_chat_says_what_generate_says():
    for prompt in PROMPTS:
        want = generate(prompt, "--temp", "0")
        answer = chat({"messages": says(prompt), "temperature": 0})
        assert text_of(answer) == want["text"], (prompt, text_of(answer), want["text"])
        assert answer["choices"][0]["message"]["role"] == "assistant" and answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["prompt_tokens"] == want["prompt"]["tokens"] and answer["usage"]["completion_tokens"] == want["decode"]["tokens"]
        assert streamed("/v1/chat/completions", {"messages": says(prompt), "temperature": 0})[0] == [want["text"]]


def test_the_goldens_over_http():
    """What the demo model answers is known; a quarter of it, at once (unit_demo has all)."""
    with open("tests/golden/demo.json", encoding="utf-8") as f:
        rows = json.load(f)["goldens"][::4]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda g: text_of(chat({"messages": says(g["prompt"]), "temperature": 0})), rows))
    assert got == [g["answer"] for g in rows]


def test_not_streamed_is_one_object():
    status, headers, data = server().request("POST", "/v1/chat/completions", {"messages": says("Count to 5:"), "temperature": 0, "stream": False})
    assert status == 200 and headers["Content-Type"] == "application/json" and isinstance(json.loads(data), dict)
    assert not any(line.startswith(b"data:") for line in data.splitlines())


def test_a_seed_draws_what_generate_draws():
    args = ["--seed", "11", "--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0", "-n", "40"]
    want = generate("Tell me a story.", *args)
    body = {"messages": says("Tell me a story."), "seed": 11, "max_tokens": 40, **WILD}
    answer = chat(body)
    assert text_of(answer) == want["text"] and answer["seed"] == 11, (text_of(answer), want["text"])
    assert streamed("/v1/chat/completions", body)[0] == [want["text"]]
    raw = generate("Once upon a time", "--raw", *args)
    body = {"prompt": "Once upon a time", "seed": 11, "max_tokens": 40, **WILD}
    status, answer = server().post("/v1/completions", body)
    assert status == 200 and text_of(answer) == raw["text"], (text_of(answer), raw["text"])
    assert streamed("/v1/completions", body)[0] == [raw["text"]]


def test_the_seed_that_is_told_gives_the_answer_again():
    body = {"messages": says("Tell me a story."), "max_tokens": 12, **WILD}
    one, other = chat(body), chat(body)
    assert one["seed"] != other["seed"] and text_of(one) != text_of(other)
    assert text_of(chat(body, seed=one["seed"])) == text_of(one)


def test_the_servers_own_sampling():
    """What the command line says is what a request has that says nothing, the seed too."""
    args = ["--temp", "1.5", "--top-k", "30", "--seed", "5", "--logit-bias", "5-inf"]
    want = generate("Tell me a story.", *args, "-n", "20")["text"]
    with Server(*args) as s:
        ask = {"messages": says("Tell me a story."), "max_tokens": 20}
        assert text_of(s.post("/v1/chat/completions", ask)[1]) == text_of(s.post("/v1/chat/completions", ask)[1]) == want
        assert text_of(s.post("/v1/chat/completions", {**ask, "temperature": 0, "logit_bias": {}})[1]) == generate("Tell me a story.", "--temp", "0", "--logit-bias", "5-inf", "-n", "20")["text"]
        params = s.get("/props")[1]["default_generation_settings"]["params"]
        assert params["temperature"] == 1.5 and params["top_k"] == 30 and params["seed"] == 5, params


def test_among_sixteen_others():
    bodies = [{"messages": says(PROMPTS[i % 5]), "seed": i, "max_tokens": 8, **WILD} for i in range(16)]
    alone = [text_of(chat(b)) for b in bodies]
    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(lambda b: text_of(chat(b)), bodies))
        streams = list(pool.map(lambda b: streamed("/v1/chat/completions", b)[0][0], bodies))
    assert alone == at_once == streams


# ---- streams ----
def test_chunks():
    _, objects = streamed("/v1/chat/completions", {"messages": says("Count to 5:"), "temperature": 0, "stream_options": {"include_usage": True}})
    assert len({o["id"] for o in objects}) == 1 and all(o["object"] == "chat.completion.chunk" and o["model"] == "demo" for o in objects)
    assert objects[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [o["choices"][0]["finish_reason"] for o in objects[:-1]] == [None] * (len(objects) - 2) + ["stop"]
    last = objects[-1]
    assert last["choices"] == [] and all(o["usage"] is None for o in objects[:-1])
    u, t = last["usage"], last["timings"]
    assert u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] and t["predicted_n"] == u["completion_tokens"]
    assert t["cache_n"] + t["prompt_n"] == u["prompt_tokens"] and t["predicted_per_second"] > 0
    assert last["system_fingerprint"].endswith("-sim-graph"), last["system_fingerprint"]
    _, objects = streamed("/v1/chat/completions", {"messages": says("Count to 5:"), "temperature": 0})
    assert "timings" in objects[-1] and not any("usage" in o for o in objects)


def timed(body):
    """A stream: when each event of text came, in seconds from the request, the text, and the timings that the server tells."""
    start = time.monotonic()
    got = server().stream("/v1/chat/completions", {**body, "stream": True})
    assert got[-1][1] == "[DONE]"
    objects = [(json.loads(data), t - start) for _, data, t in got[:-1]]
    pieces = [(o["choices"][0]["delta"]["content"], t) for o, t in objects if o["choices"][0]["delta"].get("content")]
    return [t for _, t in pieces], "".join(p for p, _ in pieces), objects[-1][0]["timings"], objects[0][1]


def test_tokens_come_one_by_one():
    """Eight tokens: eight events of text, spread over the time that the answer takes, the first event within the prompt's time and
    that of two tokens; and they are the tokens that come when nothing is streamed."""
    body = {"messages": says("Tell me a story."), "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    whole, late = text_of(chat(body)), []
    for _ in range(5):  # a machine that does other things may be late now and then
        at, text, t, first = timed(body)
        assert text == whole and len(at) >= 8, (text, whole, at)
        gaps = [b - a for a, b in zip(at, at[1:])]
        assert sum(g > (at[-1] - at[0]) / 50 for g in gaps) >= 5, gaps
        late.append(first - (t["queued_ms"] + t["prompt_ms"] + 2 * t["predicted_per_token_ms"]) / 1000)
    assert min(late) <= 0, late


def test_the_gaps_are_the_steps_own():
    """The median gap between two events of text is at most 1.5 times a token's time, as the server has it."""
    ratios = []
    for _ in range(3):
        at, _, t, _ = timed({"messages": says("Tell me a story."), "max_tokens": 60, "temperature": 0, "ignore_eos": True})
        gaps = sorted(b - a for a, b in zip(at, at[1:]))
        ratios.append(gaps[len(gaps) // 2] * 1000 / t["predicted_per_token_ms"])
    assert min(ratios) <= 1.5, ratios


def test_a_step_a_token():
    """The prompt's step, one for each token, and those that were on their way when the last one came; and what ran is named."""
    before = wait_for(lambda m: value(m, "vllm:num_requests_running", model_name="demo") == 0)
    answer = chat({"messages": says("Tell me a story."), "max_tokens": 60, "temperature": 0, "ignore_eos": True})
    assert answer["usage"]["completion_tokens"] == 60 and answer["system_fingerprint"].endswith("-sim-graph")
    after = wait_for(lambda m: value(m, "vllm:num_requests_running", model_name="demo") == 0)
    steps = value(after, "qmoe_steps_total") - value(before, "qmoe_steps_total")
    assert 60 <= steps <= 63, steps
    line = [x for x in server().lines if answer["id"] in x]
    assert len(line) == 1 and "sim (graph)" in line[0] and "60 out" in line[0], line


def test_no_character_is_split():
    """Tokens drawn at random, half of them single bytes above 160: what is streamed is what is not, to the byte."""
    for seed in range(3):
        body = {"messages": says("日本語 😀"), "seed": seed, "max_tokens": 40, "ignore_eos": True, **WILD, "logit_bias": {str(i): 16 for i in range(94, 188)}}
        whole = text_of(chat(body))
        assert "\ufffd" in whole and len(whole) > 10, whole
        assert streamed("/v1/chat/completions", body)[0] == [whole]


def test_stop_strings():
    want = generate("Count to 5:", "--temp", "0")["text"]
    assert want == "1, 2, 3, 4, 5"
    for stop, text in [(", 4", "1, 2, 3"), (["zzz", "3,"], "1, 2, "), ([" 2, 3", "5"], "1,"), ("5", "1, 2, 3, 4, "), (["1"], "")]:
        body = {"messages": says("Count to 5:"), "temperature": 0, "stop": stop}
        answer = chat(body)
        assert text_of(answer) == text and answer["choices"][0]["finish_reason"] == "stop", (stop, answer)
        assert streamed("/v1/chat/completions", body)[0][0] == text


def test_lengths():
    answer = chat({"messages": says("Tell me a story."), "max_tokens": 3, "temperature": 0})
    assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 3
    assert chat({"messages": says("Tell me a story."), "max_completion_tokens": 2, "max_tokens": 5})["usage"]["completion_tokens"] == 2
    # More than there is room for is as much as there is room for.
    status, answer = server().post("/v1/completions", {"prompt": [5] * 1000, "max_tokens": 10**6, "ignore_eos": True, "temperature": 0})
    assert status == 200 and answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 24, answer["usage"]
    status, answer = server().post("/v1/completions", {"prompt": [5] * 1024})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded", answer


def test_several_answers():
    body = {"messages": says("Tell me a story."), "seed": 5, "max_tokens": 10, **WILD}
    answer = chat(body, n=3)
    texts = [text_of(answer, i) for i in range(3)]
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2] and len(set(texts)) == 3
    assert texts == [text_of(chat(body, seed=5 + i)) for i in range(3)]
    assert answer["usage"]["completion_tokens"] <= 30 and answer["usage"]["prompt_tokens"] == chat(body)["usage"]["prompt_tokens"]
    assert streamed("/v1/chat/completions", {**body, "n": 3})[0] == texts


def test_a_prefix_is_computed_once():
    long = "Here is a long beginning that two requests share, so that the second finds its pages. " * 4
    first = chat({"messages": says(long + "What is 2+2?"), "temperature": 0})["usage"]
    again = chat({"messages": says(long + "Count to 5:"), "temperature": 0})["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] == 0 and again["prompt_tokens_details"]["cached_tokens"] >= 64, again


def test_sampling_fields_reach_the_sampler():
    body = {"messages": says("Count to 5:"), "temperature": 0}
    one = server().post("/tokenize", {"content": "1"})[1]["tokens"][0]
    for bias in ({str(one): -100}, [[one, False]]):
        assert not text_of(chat(body, logit_bias=bias)).startswith("1")
    body = {"messages": says("Tell me a story."), "temperature": 0, "max_tokens": 40, "ignore_eos": True}
    plain = text_of(chat(body))
    for field, value, flag in [("repetition_penalty", 1.8, "--repeat-penalty"), ("repeat_penalty", 1.8, "--repeat-penalty"),
                               ("presence_penalty", 2.0, "--presence-penalty"), ("frequency_penalty", 2.0, "--frequency-penalty")]:
        got = text_of(chat(body, **{field: value}))
        assert got != plain and got == generate("Tell me a story.", "--temp", "0", "-n", "40", "--ignore-eos", flag, str(value))["text"], field
    for field, value, flag in [("top_k", 2, "--top-k"), ("top_p", 0.3, "--top-p"), ("min_p", 0.4, "--min-p")]:
        got = text_of(chat({"messages": says("Tell me a story."), "max_tokens": 20, "seed": 3, **WILD, field: value}))
        args = {"--top-k": "0", "--top-p": "1", "--min-p": "0", flag: str(value)}
        assert got == generate("Tell me a story.", "--temp", "3", "--seed", "3", "-n", "20", *[x for kv in args.items() for x in kv])["text"], field


# ---- completions ----
def test_prompts_of_all_shapes():
    s = server()
    ids = s.post("/tokenize", {"content": "Once upon a time"})[1]["tokens"]
    other = s.post("/tokenize", {"content": "The seasons"})[1]["tokens"]
    base = {"temperature": 0, "max_tokens": 6}
    def texts(prompt, **more):
        status, answer = s.post("/v1/completions", {"prompt": prompt, **base, **more})
        assert status == 200, answer
        assert answer["object"] == "text_completion" and [c["index"] for c in answer["choices"]] == list(range(len(answer["choices"])))
        return [c["text"] for c in answer["choices"]]
    one, two = texts("Once upon a time")[0], texts("The seasons")[0]
    assert one == generate("Once upon a time", "--raw", "--temp", "0", "-n", "6")["text"]
    assert texts(ids) == texts(["Once upon a time"]) == texts([ids]) == [one]
    assert texts(["Once upon a time", "The seasons"]) == texts([ids, other]) == texts([ids, "The seasons"]) == [one, two]
    assert texts(["Once upon a time", "The seasons"], n=2) == [one, one, two, two]
    assert texts("Once upon a time", echo=True) == ["Once upon a time" + one]
    assert streamed("/v1/completions", {"prompt": ["Once upon a time", "The seasons"], "echo": True, **base})[0] == ["Once upon a time" + one, "The seasons" + two]
    assert len(s.post("/tokenize", {"content": texts("Once upon a time", max_tokens=None, ignore_eos=True)[0]})[1]["tokens"]) >= 12  # 16 by default


# ---- the client, as it is ----
def test_openai_client():
    openai = need("openai")
    c = client()
    assert [m.id for m in c.models.list()] == ["demo"] and c.models.retrieve("demo").owned_by == "qmoe-gpu"
    want = generate("What is 2+2?", "--temp", "0")["text"]
    r = c.chat.completions.create(model="whatever", messages=says("What is 2+2?"), temperature=0)
    assert r.choices[0].message.content == want and r.choices[0].finish_reason == "stop" and r.model == "demo"
    assert r.usage.prompt_tokens_details.cached_tokens >= 0 and r.id.startswith("chatcmpl-")
    text, usage = "", None
    for chunk in c.chat.completions.create(model="demo", messages=says("What is 2+2?"), temperature=0, stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert text == want and usage.completion_tokens == r.usage.completion_tokens
    with c.chat.completions.stream(model="demo", messages=says("What is 2+2?"), temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == want
    assert c.completions.create(model="demo", prompt="Once upon", max_tokens=2, temperature=0).choices[0].text
    assert "".join(x.choices[0].text for x in c.completions.create(model="demo", prompt="Once upon", max_tokens=2, temperature=0, stream=True))
    for what, status in [({"temperature": "hot"}, openai.BadRequestError), ({"extra_body": {"audio": {}}}, openai.BadRequestError)]:
        try:
            c.chat.completions.create(model="demo", messages=says("Hi"), **what)
            raise AssertionError(f"{what} was taken")
        except status as e:
            assert e.status_code == 400 and e.body["type"] == "invalid_request_error" and e.body["param"] in ("temperature", "audio"), e.body


def test_async_client_and_a_stream_that_is_left():
    openai = need("openai")

    async def main():
        async with openai.AsyncOpenAI(base_url=server().url + "/v1", api_key="none", max_retries=0, timeout=120) as c:
            answers = await asyncio.gather(*(c.chat.completions.create(model="demo", messages=says(p), temperature=0) for p in PROMPTS))
            assert [a.choices[0].message.content for a in answers] == [generate(p, "--temp", "0")["text"] for p in PROMPTS]
            stream = await c.chat.completions.create(model="demo", messages=says("Tell me a story."), max_tokens=900, stream=True, extra_body={"ignore_eos": True})
            n = 0
            async for _ in stream:
                if (n := n + 1) == 3:
                    break
            await stream.close()

    before = metrics()
    asyncio.run(main())
    wait_for(lambda m: value(m, "qmoe_finished_total", reason="cancelled") == value(before, "qmoe_finished_total", reason="cancelled") + 1)
    m = wait_for(lambda m: value(m, "vllm:num_requests_running", model_name="demo") == 0)
    assert value(m, "qmoe_kv_pages_held") == 0


def test_the_examples_of_the_docs():
    """What docs/api.md shows, typed."""
    need("openai")
    with open("docs/api.md", encoding="utf-8") as f:
        text = f.read()
    assert text.count("127.0.0.1:8080") == 2
    text = text.replace("http://127.0.0.1:8080", server().url)
    python = text.split("```python\n")[1].split("```")[0]
    p = subprocess.run([sys.executable, "-c", "import sys; sys.path[:0] = " + repr(sys.path) + "\n" + python], capture_output=True, text=True, timeout=120)
    assert p.returncode == 0 and p.stdout == "2 + 2 = 4\n", (p.stdout, p.stderr)
    url, body = re.search(r"curl (\S+) -d '(.*)'", text).groups()
    status, answer = server().post(url[len(server().url):], json.loads(body))
    assert status == 200 and text_of(answer) == "2 + 2 = 4", answer


# ---- metrics ----
def metrics():
    parser = need("prometheus_client.parser")
    return {f.name: f for f in parser.text_string_to_metric_families(server().get("/metrics")[1])}


def value(m, name, **labels):
    for f in m.values():
        for s in f.samples:
            if s.name == name and s.labels == labels:
                return s.value
    return 0


def wait_for(fn, seconds=20):
    end = time.monotonic() + seconds
    while not fn(m := metrics()):
        assert time.monotonic() < end, {s.name: s.value for f in m.values() for s in f.samples if "bucket" not in s.name}
        time.sleep(0.05)
    return m


def test_metrics():
    server()
    status, headers, _ = server().request("GET", "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    before = metrics()
    a = chat({"messages": says("Count to 5:"), "temperature": 0})["usage"]
    server().get("/no/such/path")
    m = wait_for(lambda m: value(m, "vllm:num_requests_running", model_name="demo") == 0)
    def grew(name, **labels):
        return value(m, name, **labels) - value(before, name, **labels)
    assert grew("qmoe_prompt_tokens_total") == a["prompt_tokens"] and grew("qmoe_generated_tokens_total") == a["completion_tokens"]
    assert grew("qmoe_cached_tokens_total") == a["prompt_tokens_details"]["cached_tokens"]
    assert grew("qmoe_requests_total", path="/v1/chat/completions", status="200") == 1 and grew("qmoe_requests_total", path="other", status="404") == 1
    assert grew("qmoe_finished_total", reason="stop") == 1
    for name, n in [("qmoe_time_to_first_token_seconds", 1), ("qmoe_request_seconds", 1), ("qmoe_queue_seconds", 1), ("qmoe_time_per_output_token_seconds", a["completion_tokens"] - 1)]:
        assert m[name].type == "histogram" and grew(name + "_count") == n and grew(name + "_sum") > 0, (name, grew(name + "_count"))
        buckets = [s for s in m[name].samples if s.name.endswith("_bucket")]
        counts = [s.value for s in buckets]
        assert counts == sorted(counts) and buckets[-1].labels["le"] == "+Inf" and counts[-1] == value(m, name + "_count")
    assert value(m, "qmoe_step_rows_count") == value(m, "qmoe_steps_total") > 0 and value(m, "qmoe_step_rows_sum") > 0
    info = m["vllm:cache_config_info"].samples[0].labels
    assert info["block_size"] == "32" and int(info["num_gpu_blocks"]) == value(m, "qmoe_kv_pages") > 0
    assert 0 <= value(m, "vllm:kv_cache_usage_perc", model_name="demo") <= 1 and value(m, "qmoe_uptime_seconds") > 0


# ---- small ones ----
def test_small_endpoints():
    s = server()
    text = "Hello, naïve 日本 😀 <|im_end|>"
    want = json.loads(subprocess.run([BIN, "tokenize", "-m", DEMO, "-p", text, "--json"], capture_output=True, check=True).stdout)
    assert s.post("/tokenize", {"content": text})[1] == {"tokens": want["ids"]}
    pieces = s.post("/tokenize", {"content": text, "with_pieces": True})[1]["tokens"]
    assert [p["id"] for p in pieces] == want["ids"] and [p["piece"] for p in pieces] == want["pieces"]
    assert len(s.post("/tokenize", {"content": text, "parse_special": False})[1]["tokens"]) > len(want["ids"])
    assert s.post("/detokenize", {"tokens": want["ids"]})[1] == {"content": text} and s.post("/detokenize", {"tokens": []})[1] == {"content": ""}
    prompt = s.post("/apply-template", {"messages": says("Hi <|im_end|>")})[1]["prompt"]
    assert prompt.startswith("<|im_start|>") and prompt.endswith("<|im_start|>assistant\n") and "Hi <|im_end|>" in prompt
    assert not s.post("/apply-template", {"messages": says("Hi"), "add_generation_prompt": False})[1]["prompt"].endswith("assistant\n")
    assert s.get("/health") == (200, {"status": "ok"}) and s.get("/ready")[0] == 200
    props = s.get("/props")[1]
    assert props["device"] == "sim" and props["executor"] == "graph" and props["total_slots"] == 4 and props["default_generation_settings"]["n_ctx"] == 1024
    assert props["default_generation_settings"]["params"]["temperature"] == 0 and props["tool_format"] == "none"


def test_slots():
    s = server()
    assert [(x["id"], x["is_processing"]) for x in s.get("/slots")[1]] == [(i, False) for i in range(4)]
    c = s.connect()
    c.request("POST", "/v1/chat/completions", json.dumps({"messages": says("Tell me a story."), "n": 2, "max_tokens": 900, "ignore_eos": True, "stream": True}))
    r = c.getresponse()
    first = json.loads(r.readline()[6:])
    busy = [x for x in s.get("/slots")[1] if x["is_processing"]]
    assert len(busy) == 2 and {x["id_task"] for x in busy} == {first["id"]}, busy
    assert s.get("/slots?fail_on_no_slot=1")[0] == 200
    c.close()
    end = time.monotonic() + 20
    while any(x["is_processing"] for x in s.get("/slots")[1]):
        assert time.monotonic() < end
        time.sleep(0.05)


# ---- errors ----
BAD_FIELDS = {  # by field, values that are no such thing
    "messages": [None, "Hi", {}, [], 1, ["Hi"], [{}], [{"role": 1, "content": "x"}], [{"role": "user"}], [{"role": "user", "content": 5}],
                 [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], [{"role": "user", "content": [{"type": "text", "text": 1}]}]],
    "temperature": ["1", [], 1001, -1001, True], "top_p": ["1", 1.1, -0.1], "top_k": [1.5, "1", -2], "min_p": [2, {}],
    "presence_penalty": ["x", 101], "frequency_penalty": ["x", -101], "repetition_penalty": [0, "x"], "repeat_penalty": [0, "x"], "repeat_last_n": [-2, 0.5],
    "seed": ["1", 0.5, []], "max_tokens": [0, -2, 1.5, "5", 2**31], "max_completion_tokens": [0, "5"], "n": [0, 129, "1", 1.5],
    "stop": [1, [1], [""], "", ["x"] * 17, {}], "stream": ["true", 1], "stream_options": [{"include_usage": True}, 1],
    "logit_bias": [1, {"x": 1}, {"1": "x"}, {"-1": 1}, {"999999": 1}, [[1]]], "ignore_eos": ["x"],
    "logprobs": ["x", 1], "top_logprobs": [21, -1, "x", 5],
    "tools": [1, {}, ["x"], [{"type": "web_search"}], [{"type": "function"}], [{"type": "function", "function": {"name": ""}}],
              [{"type": "function", "function": {"name": "f", "parameters": []}}]],
    "tool_choice": [1, "some", {"type": "function"}, "required", {"type": "function", "function": {"name": "f"}}, {"type": "allowed_tools"}], "parallel_tool_calls": [1],
    "response_format": [1, "json", {}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x"}},
                        {"type": "json_schema", "json_schema": {"schema": []}}, {"type": "json_object", "schema": 1}],
    "chat_template_kwargs": [1, []], "model": [1], "user": [1], "metadata": [1], "store": [True], "service_tier": ["flex"], "modalities": [["audio"]],
    "audio": [{}], "prediction": [{}], "web_search_options": [{}], "functions": [[{}]], "function_call": ["auto"], "reasoning_effort": ["much", 1],
    "best_of": [2], "grammar": ["x"], "guided_json": [{}], "echo": [True], "mirostat": [2], "n_probs": [1], "stop_token_ids": [[1]], "typical_p": [0.5],
}


def test_wrong_types_in_every_field():
    s = server()
    for field, values in BAD_FIELDS.items():
        for v in values:
            status, answer = s.post("/v1/chat/completions", {"messages": says("Hi"), "max_tokens": 1, field: v})
            assert status == 400, (field, v, status, answer)
            e = answer["error"]
            assert set(e) == {"message", "type", "param", "code"} and e["type"] == "invalid_request_error" and e["message"], (field, v, e)
            where = e["param"] or ""
            assert where.split(".")[0].split("[")[0] == field, (field, v, e)
    for field, values in {"prompt": [None, 1, {}, [], [[]], [""], "", [1, "x"], [1.5], [-1], [10**6], ["x"] * 129, [[1], [10**6]]], "suffix": ["x"], "logprobs": [True, 21],
                          "echo": ["x"], "max_tokens": [0], "n": [129], "tools": [[{}]], "best_of": [3]}.items():
        for v in values:
            status, answer = s.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1, field: v})
            assert status == 400 and answer["error"]["param"] == field, (field, v, status, answer)
    for path, body in [("/tokenize", {}), ("/tokenize", {"content": 1}), ("/tokenize", {"content": "x", "add_special": True}), ("/detokenize", {}), ("/detokenize", {"tokens": [-1]}),
                       ("/detokenize", {"tokens": ["x"]}), ("/detokenize", {"tokens": [10**9]}), ("/apply-template", {}), ("/apply-template", {"messages": [{}]})]:
        status, answer = s.post(path, body)
        assert status == 400 and answer["error"]["type"] == "invalid_request_error", (path, body, status, answer)


def test_harmless_fields_and_unknown_ones():
    body = {"messages": says("What is 2+2?"), "temperature": 0}
    want = text_of(chat(body))
    harmless = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "modalities": ["text"], "safety_identifier": "x", "prompt_cache_key": "y",
                "parallel_tool_calls": True, "tool_choice": "none", "tools": [], "functions": [], "response_format": {"type": "text"}, "logit_bias": {}, "n": 1, "stop": None,
                "presence_penalty": 0, "top_logprobs": 0, "logprobs": False, "cache_prompt": True, "typical_p": 1.0, "mirostat": 0, "best_of": 1, "reasoning_effort": "medium", "chat_template_kwargs": {}}
    assert text_of(chat(body, **harmless)) == want
    for _ in range(3):
        assert text_of(chat(body, some_new_field={"x": [1]})) == want
    unknown = [line for line in server().lines if "is not known" in line]
    assert len(unknown) == 1 and "some_new_field" in unknown[0], unknown


def test_bodies_that_are_none():
    s = server()
    for data in [b"", b"{", b"[]", b"1", b'{"messages":[],"messages":[]}', b'{"a":"\xff"}', b'{"a":"\\u0000"}', b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", b"\x00", b"null"]:
        status, _, answer = s.request("POST", "/v1/chat/completions", data)
        assert status == 400 and json.loads(answer)["error"]["type"] == "invalid_request_error", (data, status, answer)
    status, answer = s.post("/v1/chat/completions", {"messages": says("What is 2+2?\x00")})
    assert status == 400
    assert s.get("/nothing")[0] == 404 and s.get("/v1/chat/completions")[0] == 405 and s.get("/v1/models/other")[0] == 404
    status, headers, _ = s.request("DELETE", "/tokenize")
    assert status == 405 and headers["Allow"] == "POST, OPTIONS"


# ---- keys, and a queue that is full ----
def test_keys():
    path = os.path.join(os.environ.get("QMOE_TEST_TMP") or "/tmp", "keys")
    with open(path, "w") as f:
        f.write("# ours\nsecret-1\n\n  secret-2  \n")
    with Server("--api-key-file", path, "--alias", 'a "name"') as s:
        for key, status in [("secret-1", 200), ("secret-2", 200), ("secret-3", 401), ("", 401), ("secret-1x", 401), ("# ours", 401)]:
            assert s.get("/v1/models", Authorization=f"Bearer {key}")[0] == status == s.get("/v1/models", **{"x-api-key": key})[0], key
        status, answer = s.get("/v1/models")
        assert status == 401 and answer["error"]["code"] == "invalid_api_key"
        assert s.get("/health")[0] == 200 == s.get("/ready")[0] and s.get("/metrics")[0] == 401
        assert s.get("/v1/models", **{"x-api-key": "secret-1"})[1]["data"][0]["id"] == 'a "name"'
        m = s.get("/metrics", **{"x-api-key": "secret-1"})[1]
        assert r'model_name="a \"name\""' in m


def test_a_full_queue():
    with Server("--parallel", "1", "--max-queue", "1") as s:
        body = {"messages": says("Tell me a story."), "max_tokens": 300, "ignore_eos": True}
        open_ = []
        for _ in range(2):
            c = s.connect()
            c.request("POST", "/v1/chat/completions", json.dumps(body))
            open_.append(c)
        end = time.monotonic() + 20
        while s.get("/ready")[0] == 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        status, headers, answer = s.request("POST", "/v1/chat/completions", body)
        assert status == 429 and headers["Retry-After"] and json.loads(answer)["error"]["code"] == "rate_limit_exceeded", (status, answer)
        assert s.get("/health")[0] == 200 and s.get("/ready")[1]["reason"] == "the queue is full"
        for c in open_:
            c.close()
        while s.get("/ready")[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_the_shared_server_ends_well():
    """Last of all: what it has seen has left nothing behind."""
    if shared:
        shared.pop().__exit__(None, None, None)


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
