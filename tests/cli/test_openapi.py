"""docs/openapi.yaml against the code: it is a valid OpenAPI file, its paths are the endpoints, the fields of its requests are those
that the code asks for, and what a server answers is what it says."""
import json, re, sys
import tap
from server import Server, need

ROOT = "host/serve/"
# Where the fields of requests are asked for.
READERS = {("ChatRequest",): ["fields_ask.c", "openai.c", "openai_chat.c"], ("CompletionRequest",): ["fields_ask.c", "openai.c", "openai_completions.c"],
           ("MessagesRequest",): ["fields_ask.c", "anthropic.c"], ("ResponsesRequest",): ["fields_ask.c", "responses.c", "responses_input.c"],
           ("TokenizeRequest", "DetokenizeRequest", "TemplateRequest"): ["small.c"]}
# Of the request itself: f; what lies inside of fields is read through others. add_special is refused where it is true.
READ = re.compile(r'fields_(?:number|int|bool|string|array|object|any|sampling)\(&?f, (?:s, )?"(\w+)"|fields_refuse\(&f, "(add_special)"')
MAX_TOKENS = re.compile(r"max_names?(?:\[\])? = ([^;]*);")


def spec():
    yaml = need("yaml")
    with open("docs/openapi.yaml", encoding="utf-8") as f:
        return yaml.safe_load(f)


def text(name):
    with open(ROOT + name, encoding="utf-8") as f:
        return f.read()


def test_it_is_valid():
    need("openapi_spec_validator").validate(spec())


def test_paths_are_the_endpoints():
    have = {(m.upper(), p.replace("{model}", "*"), o["operationId"]) for p, ops in spec()["paths"].items() for m, o in ops.items()}
    code = {(m, p, n) for m, p, n in re.findall(r'^QM_ENDPOINT\("(\w+)", "([^"]+)", (\w+),', text("endpoints.def"), re.M)}
    assert have == code, have ^ code
    for p, ops in spec()["paths"].items():
        for o in ops.values():
            is_open = f'"{p}", {o["operationId"]}, 1)' in text("endpoints.def")
            assert (o.get("security") == [{}]) == is_open, p
            assert is_open or {"401", "403"} <= set(o["responses"]), p


def properties(s, name):
    """Of a request, with what it is made of."""
    node, found = s["components"]["schemas"][name], {}
    for part in node.get("allOf", [node]):
        found |= properties(s, part["$ref"].split("/")[-1]) if "$ref" in part else part.get("properties", {})
    return found


def test_fields_are_those_that_are_read():
    s = spec()
    for names, files in READERS.items():
        have = {field for n in names for field in properties(s, n)}
        code = set()
        for body in map(text, files):
            code |= {x or y for x, y in READ.findall(body)} | set(re.findall(r'"(\w+)"', " ".join(MAX_TOKENS.findall(body))))
        assert have == code, (names, "only in the file:", have - code, "only in the code:", code - have)


def test_answers_are_what_it_says():
    jsonschema, s = need("jsonschema"), spec()
    def check(where, value):
        jsonschema.Draft202012Validator({"$ref": "#/components/schemas/" + where, "components": s["components"]}).validate(value)
    def answered(path, method, status, value):
        r = s["paths"][path][method]["responses"][str(status)]
        if "$ref" in r:
            r = s["components"]["responses"][r["$ref"].split("/")[-1]]
        jsonschema.Draft202012Validator({**r["content"]["application/json"]["schema"], "components": s["components"]}).validate(value)
    says = {"messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 6}
    with Server("--parallel", "2") as srv:
        for path in ("/health", "/ready", "/slots", "/props", "/v1/models"):
            status, value = srv.get(path)
            answered(path, "get", status, value)
        for path, url in (("/v1/models/{model}", "/v1/models/demo"), ("/v1/models/{model}", "/v1/models/none")):
            status, value = srv.get(url)
            answered(path, "get", status, value)
        asks = [("/v1/chat/completions", says), ("/v1/chat/completions", {**says, "n": 2, "logprobs": True, "top_logprobs": 2}), ("/v1/chat/completions", {}),
                ("/v1/completions", {"prompt": "Once", "max_tokens": 3, "logprobs": 1}), ("/v1/completions", {"prompt": ["Once", [5, 6]], "max_tokens": 2, "echo": True}),
                ("/v1/completions", {"prompt": []}), ("/v1/messages", says), ("/v1/messages", {}), ("/v1/messages/count_tokens", says),
                ("/v1/responses", {"input": "What is 2+2?", "max_output_tokens": 6}), ("/v1/responses", {"input": 5}),
                ("/tokenize", {"content": "Hi"}), ("/tokenize", {"content": "日本 Hi", "with_pieces": True}), ("/tokenize", {}), ("/detokenize", {"tokens": [1, 2]}),
                ("/apply-template", {"messages": says["messages"]})]
        for path, body in asks:
            status, value = srv.post(path, body)
            assert status in (200, 400), (path, body, status, value)
            answered(path, "post", status, value)
            # What it takes, the file allows, and the other way round.
            request = s["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
            valid = jsonschema.Draft202012Validator({"$ref": "#/components/schemas/" + request, "components": s["components"]}).is_valid(body)
            assert valid == (status == 200), (path, body, status, value)
        for usage in (False, True):
            for _, data, _ in srv.stream("/v1/chat/completions", {**says, "stream": True, "stream_options": {"include_usage": usage}, "logprobs": True})[:-1]:
                check("ChatChunk", json.loads(data))
        for _, data, _ in srv.stream("/v1/completions", {"prompt": "Once", "max_tokens": 3, "stream": True})[:-1]:
            check("CompletionAnswer", json.loads(data))


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
