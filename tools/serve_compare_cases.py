"""serve_compare_cases.py: the requests of serve_compare.py. All are greedy. `same`: the fields, streamed ones joined, whose values
must be the same in both answers, as patterns in which indices of arrays are left out."""
from dataclasses import dataclass, field

KEY = "a-key"


@dataclass
class Case:
    name: str
    path: str
    body: object = None         # an object that becomes JSON, or a text
    same: tuple = ()
    server: str = "plain"       # "tools": with a template that knows tools, and a key
    no_key: bool = False
    during: dict = None         # while this chat streams
    led: str = ""               # llama.cpp's template begins the answer with this
    method: str = field(default=None)

    def __post_init__(self):
        self.method = self.method or ("GET" if self.body is None else "POST")


def says(text):
    return [{"role": "user", "content": text}]


TEXT, END = "choices.message.content", "choices.finish_reason"
COUNTS = ("usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens")
CHAT = (TEXT, END, *COUNTS)
STREAM = ("choices.delta.content", END)
COMPLETION = ("choices.text", END, *COUNTS)
LOGPROBS = ("choices.logprobs.content.token", "choices.logprobs.content.bytes", "choices.logprobs.content.top_logprobs.token")
PLACE = {"type": "object", "properties": {"place": {"type": "string", "enum": ["Paris", "Rome"]}, "days": {"type": "integer", "enum": [1, 2]}},
         "required": ["place", "days"], "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a place", "parameters": PLACE}}
CALL = {"messages": says("What is the weather in Paris?"), "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False, "temperature": 0,
        "max_tokens": 120, "chat_template_kwargs": {"enable_thinking": False}}
SCHEMA = {"messages": says("Where?"), "temperature": 0, "max_tokens": 60,
          "response_format": {"type": "json_schema", "json_schema": {"name": "where", "strict": True, "schema": PLACE}}}
TOOL = "<tool_call>\n"  # without it llama.cpp waits for the model to begin a call, which this one never does
THINK = {"messages": says("What is 2+2?"), "temperature": 0, "max_tokens": 8, "chat_template_kwargs": {"opened": True}}
ADD = {"messages": says("What is 2+2?"), "temperature": 0}
STORY = {"messages": says("Tell me a story."), "temperature": 0}
HOLA = {"messages": says("Translate to Spanish: Hello world"), "temperature": 0}
ONCE = {"prompt": "Once upon", "temperature": 0, "max_tokens": 6}
TURNS = [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "2 + 2 = 4"}, {"role": "user", "content": "Count to 5:"}]
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
MESSAGES = {"model": "m", "messages": says("What is 2+2?"), "max_tokens": 40, "temperature": 0}
RESPONSES = {"model": "m", "input": "What is 2+2?", "temperature": 0}

CASES = [
    # what is said
    Case("chat", "/v1/chat/completions", ADD, CHAT),
    Case("chat_utf8", "/v1/chat/completions", HOLA, CHAT),
    Case("chat_turns", "/v1/chat/completions", {"messages": TURNS, "temperature": 0}, CHAT),
    Case("chat_parts", "/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]}], "temperature": 0}, CHAT),
    Case("chat_stop", "/v1/chat/completions", {"messages": says("Count to 5:"), "temperature": 0, "stop": [", 4"]}, (TEXT, END)),
    Case("chat_length", "/v1/chat/completions", {**STORY, "max_tokens": 4}, CHAT),
    Case("chat_bias", "/v1/chat/completions", {**STORY, "max_tokens": 4, "logit_bias": {"2": -100}}, CHAT),
    Case("chat_n", "/v1/chat/completions", {**ADD, "n": 2}, (TEXT, END)),
    Case("chat_logprobs", "/v1/chat/completions", {**STORY, "max_tokens": 4, "logprobs": True, "top_logprobs": 2}, (*CHAT, *LOGPROBS)),
    Case("chat_stream", "/v1/chat/completions", {**HOLA, "stream": True}, STREAM),
    Case("chat_stream_usage", "/v1/chat/completions", {**ADD, **USAGE}, (*STREAM, *COUNTS)),
    Case("chat_stream_n", "/v1/chat/completions", {**ADD, "n": 2, "stream": True, "max_tokens": 1}, ()),
    Case("chat_stream_logprobs", "/v1/chat/completions", {**STORY, "max_tokens": 4, "logprobs": True, "top_logprobs": 2, "stream": True}, (*STREAM, *LOGPROBS)),
    Case("completion", "/v1/completions", ONCE, COMPLETION),
    Case("completion_ids", "/v1/completions", {**ONCE, "prompt": [46, 77, 66]}, COMPLETION),
    Case("completion_list", "/v1/completions", {**ONCE, "prompt": ["Once upon", "The seasons"]}, ("choices.text", END)),
    Case("completion_logprobs", "/v1/completions", {**ONCE, "logprobs": 2}, COMPLETION),
    Case("completion_echo", "/v1/completions", {**ONCE, "echo": True}),
    Case("completion_stream", "/v1/completions", {**ONCE, **USAGE}, COMPLETION),
    # calls and schemas
    Case("tools", "/v1/chat/completions", CALL, ("choices.message.tool_calls.function.*", END), "tools", led=TOOL),
    Case("tools_stream", "/v1/chat/completions", {**CALL, **USAGE}, ("choices.delta.tool_calls.function.*", END), "tools", led=TOOL),
    Case("think", "/v1/chat/completions", THINK, ("choices.message.reasoning_content", *CHAT), "tools"),
    Case("think_stream", "/v1/chat/completions", {**THINK, "stream": True}, ("choices.delta.reasoning_content", END), "tools"),
    Case("schema", "/v1/chat/completions", SCHEMA, (END,)),
    Case("schema_stream", "/v1/chat/completions", {**SCHEMA, "stream": True}, (END,)),
    # other protocols
    Case("messages", "/v1/messages", MESSAGES, ("content.text", "content.type", "stop_reason", "usage.output_tokens", "role", "type")),
    Case("messages_stream", "/v1/messages", {**MESSAGES, "stream": True}, ("delta.text", "delta.stop_reason")),
    Case("messages_tools", "/v1/messages", {**MESSAGES, "max_tokens": 120, "tools": [{"name": "get_weather", "description": "The weather of a place", "input_schema": PLACE}],
                                            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
                                            "chat_template_kwargs": {"enable_thinking": False}}, ("type", "role"), "tools", led=TOOL),
    Case("count_tokens", "/v1/messages/count_tokens", {"model": "m", "messages": says("What is 2+2?")}, ("input_tokens",)),
    Case("responses", "/v1/responses", RESPONSES, ("output.content.text", "output.type", "status")),
    Case("responses_stream", "/v1/responses", {**RESPONSES, "stream": True}, ("delta",)),
    # the small ones
    Case("models", "/v1/models"),
    Case("model", "/v1/models/demo"),
    Case("tokenize", "/tokenize", {"content": "Hello, naïve 日本 <|im_end|>"}, ("tokens",)),
    Case("tokenize_pieces", "/tokenize", {"content": "Hello, 日本", "with_pieces": True}, ("tokens.id", "tokens.piece")),
    Case("tokenize_plain", "/tokenize", {"content": "a <|im_end|>", "parse_special": False, "add_special": False}, ("tokens",)),
    Case("detokenize", "/detokenize", {"tokens": [46, 77, 66, 17]}, ("content",)),
    Case("apply_template", "/apply-template", {"messages": TURNS}, ("prompt",)),
    Case("apply_template_tools", "/apply-template", {"messages": says("Hi"), "tools": [WEATHER], "chat_template_kwargs": {"enable_thinking": False}}, ("prompt",), "tools"),
    Case("props", "/props", same=("total_slots", "default_generation_settings.n_ctx")),
    Case("slots", "/slots", same=("#.id", "#.n_ctx", "#.is_processing")),
    Case("slots_busy", "/slots", during={**STORY, "max_tokens": 900, "stream": True, "ignore_eos": True}, same=("#.id",)),
    Case("health", "/health", same=("status",)),
    Case("ready", "/ready"),
    Case("metrics", "/metrics"),
    # what cannot be
    Case("bad_json", "/v1/chat/completions", "{"),
    Case("bad_utf8_type", "/v1/chat/completions", "[1]"),
    Case("no_messages", "/v1/chat/completions", {"temperature": 0}),
    Case("bad_messages", "/v1/chat/completions", {"messages": "Hi"}),
    Case("bad_role", "/v1/chat/completions", {"messages": [{"role": "wizard", "content": "Hi"}], "max_tokens": 1}),
    Case("bad_type", "/v1/chat/completions", {**ADD, "max_tokens": 1, "temperature": "hot"}),
    Case("bad_top_logprobs", "/v1/chat/completions", {**ADD, "max_tokens": 1, "top_logprobs": 2}),
    Case("bad_schema", "/v1/chat/completions", {**ADD, "max_tokens": 1, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wizard"}}}}),
    Case("bad_format", "/v1/chat/completions", {**ADD, "max_tokens": 1, "response_format": {"type": "xml"}}),
    Case("image", "/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]}),
    Case("no_prompt", "/v1/completions", {"max_tokens": 1}),
    Case("bad_id", "/v1/completions", {"prompt": [10 ** 6], "max_tokens": 1}),
    Case("too_long", "/v1/completions", {"prompt": [5] * 1100, "max_tokens": 1}),
    Case("detokenize_bad_id", "/detokenize", {"tokens": [10 ** 6]}),
    Case("tokenize_nothing", "/tokenize", {}),
    Case("unknown_path", "/no/such/path"),
    Case("wrong_method", "/v1/chat/completions"),
    Case("no_key", "/v1/chat/completions", ADD, server="tools", no_key=True),
    Case("health_no_key", "/health", same=("status",), server="tools", no_key=True),
    Case("models_no_key", "/v1/models", server="tools", no_key=True),
]
