"""qmoe-gpu serve as litellm sees it, by each of its providers that speak a protocol which the server has. `make check-litellm`
installs it: it is too large to be asked of everybody."""
import asyncio, json, os, sys
import tap
from server import Server, TMP, need
from test_serve_openai import PROMPTS, generate, says
from test_serve_tools import SCHEMA, TEMPLATES, WEATHER, valid

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network for prices
os.environ["LITELLM_LOG"] = "CRITICAL"
KEY, servers = "secret", {}


def litellm():
    try:
        m = need("litellm")
    except tap.Skip:
        assert not os.environ.get("QMOE_LITELLM"), "make check-litellm, and there is no litellm"
        raise tap.Skip("no litellm here; make check-litellm installs it")
    m.suppress_debug_info, m.telemetry = True, False
    return m


def server(kind="plain"):
    if kind not in servers:
        keys = os.path.join(TMP, "litellm-keys")
        with open(keys, "w") as f:
            f.write(KEY + "\n")
        more = ["--chat-template", TEMPLATES["json"]] if kind == "tools" else []
        servers[kind] = Server("--parallel", "4", "--api-key-file", keys, *more).__enter__()
    return servers[kind]


def to(provider="openai", kind="plain", key=KEY):
    base = server(kind).url + ("" if provider == "anthropic" else "/v1")
    return {"model": f"{provider}/demo", "api_base": base, "api_key": key, "num_retries": 0, "timeout": 120}


def test_every_provider_says_what_generate_says():
    ll = litellm()
    for prompt in PROMPTS[:3]:
        want = generate(prompt, "--temp", "0")
        for provider in ("openai", "hosted_vllm", "llamafile", "anthropic"):
            r = ll.completion(messages=says(prompt), temperature=0, max_tokens=100, **to(provider))
            assert r.choices[0].message.content == want["text"] and r.choices[0].finish_reason == "stop", (provider, r)
            assert (r.usage.prompt_tokens, r.usage.completion_tokens) == (want["prompt"]["tokens"], want["decode"]["tokens"]), (provider, r.usage)


def test_streams():
    ll = litellm()
    want = generate("Count to 5:", "--temp", "0")
    for provider in ("openai", "anthropic"):
        chunks = list(ll.completion(messages=says("Count to 5:"), temperature=0, max_tokens=100, stream=True, stream_options={"include_usage": True}, **to(provider)))
        texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(texts) == want["text"] and len([t for t in texts if t]) > 5, (provider, texts)
        assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
        usage = [c.usage for c in chunks if getattr(c, "usage", None)]
        assert usage and usage[-1].completion_tokens == want["decode"]["tokens"], usage
        whole = ll.stream_chunk_builder(chunks)
        assert whole.choices[0].message.content == want["text"]


def test_async_and_a_stream_that_is_left():
    ll = litellm()

    async def main():
        answers = await asyncio.gather(*(ll.acompletion(messages=says(p), temperature=0, **to()) for p in PROMPTS))
        assert [a.choices[0].message.content for a in answers] == [generate(p, "--temp", "0")["text"] for p in PROMPTS]
        stream = await ll.acompletion(messages=says("Tell me a story."), max_tokens=900, stream=True, extra_body={"ignore_eos": True}, **to())
        n = 0
        async for _ in stream:
            if (n := n + 1) == 3:
                break
        await stream.aclose()
        for _ in range(400):  # its rows are gone though nothing was said but that the connection closed
            if not any(x["is_processing"] for x in server().get("/slots", Authorization=f"Bearer {KEY}")[1]):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the stream that was left is still computed")

    asyncio.run(main())


def test_completions_and_responses():
    ll = litellm()
    r = ll.text_completion(prompt="Once upon a time", max_tokens=6, temperature=0, **to("text-completion-openai"))
    assert r.choices[0].text == generate("Once upon a time", "--raw", "--temp", "0", "-n", "6")["text"]
    want = generate("What is 2+2?", "--temp", "0")["text"]
    r = ll.responses(input="What is 2+2?", temperature=0, **to())
    assert r.output[0].content[0].text == want and r.status == "completed", r
    events = list(ll.responses(input="What is 2+2?", temperature=0, stream=True, **to()))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == want and events[-1].type == "response.completed"


def test_tools_and_schemas():
    ll = litellm()
    for provider in ("openai", "anthropic"):
        r = ll.completion(messages=says("What is the weather in Paris?"), tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=200,
                          **to(provider, "tools"))
        calls = r.choices[0].message.tool_calls
        assert r.choices[0].finish_reason == "tool_calls" and len(calls) == 1 and calls[0].function.name == "get_weather", (provider, r)
        valid(calls[0].function.arguments, WEATHER["function"]["parameters"])
    # What it called comes back with a result, in its own words.
    again = [*says("What is the weather in Paris?"), r.choices[0].message.model_dump(), {"role": "tool", "tool_call_id": calls[0].id, "content": "12 degrees"}]
    for provider in ("openai", "anthropic"):
        assert ll.completion(messages=again, tools=[WEATHER], temperature=0, max_tokens=5, **to(provider, "tools")).usage.prompt_tokens > r.usage.prompt_tokens
    r = ll.completion(messages=says("Who?"), temperature=0, max_tokens=200, response_format={"type": "json_schema", "json_schema": {"name": "who", "strict": True, "schema": SCHEMA}}, **to())
    valid(r.choices[0].message.content, SCHEMA)


def test_errors_are_of_the_kinds_that_it_knows():
    ll = litellm()
    for kind, how in [(ll.AuthenticationError, dict(to(key="wrong"), messages=says("Hi"))), (ll.BadRequestError, dict(to(), messages=says("Hi"), logit_bias={"x": 1})),
                      (ll.ContextWindowExceededError, dict(to(), messages=says("much " * 3000))), (ll.ContextWindowExceededError, dict(to("anthropic"), messages=says("much " * 3000), max_tokens=9))]:
        try:
            ll.completion(**how)
            raise RuntimeError(f"no {kind}")
        except kind as e:
            assert e.status_code == (401 if kind is ll.AuthenticationError else 400), e


def test_the_servers_end_well():
    while servers:
        servers.popitem()[1].__exit__(None, None, None)


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
