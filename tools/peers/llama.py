"""llama.py: llama.cpp (the xllamacpp package: prebuilt for the CPU) for the tools that ask for its opinion.

    from llama import Llama
    m = Llama("MODEL.gguf", n_ctx=1024)      # the first use installs the package (needs.py)
    m.greedy([1, 2, 3], n=20)
    m = Llama("F32.gguf", n_ctx=1024, exact=True)      # nothing but f32: the KV cache too, and attention as it is written

A lead is how far the likeliest token is ahead of the second one, in nats."""
import json
import math
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from needs import needs  # noqa: E402


class Llama:
    def __init__(self, model, n_ctx, threads=2, exact=False):
        needs("llama", {"xllamacpp": "xllamacpp"})
        import xllamacpp
        p = xllamacpp.CommonParams()
        p.model.path = str(model)
        p.n_ctx = n_ctx
        p.n_parallel = 1
        p.cpuparams.n_threads = threads
        p.warmup = False
        if exact:  # else K and V are kept in f16
            p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.version = version("xllamacpp")
        self.server = xllamacpp.Server(p)  # listens on a port of this machine alone
        self.plain = self.tokenize("a")[0]

    @property
    def n_vocab(self):
        with urllib.request.urlopen(self.server.listening_address.rstrip("/") + "/v1/models") as r:
            return json.loads(r.read())["data"][0]["meta"]["n_vocab"]

    def post(self, path, body):
        q = urllib.request.Request(self.server.listening_address.rstrip("/") + path, json.dumps(body).encode(),
                                   {"Content-Type": "application/json"})
        with urllib.request.urlopen(q) as r:
            return json.loads(r.read())

    def tokenize(self, text, special=True):
        return self.post("/tokenize", {"content": text, "parse_special": special})["tokens"]

    def text(self, ids):
        return self.post("/detokenize", {"tokens": ids})["content"]

    def chat(self, messages):
        """The text that the file's chat template makes, with the assistant's turn opened."""
        return self.post("/apply-template", {"messages": messages})["prompt"]

    def greedy(self, ids, n, ignore_eos=False):
        """{"ids", "text", "eog": ended by itself, "leads": [(id, bytes, lead)]}; leads may lack tokens that end
        the text or inside a character."""
        r = self.post("/completion", {"prompt": ids, "n_predict": n, "temperature": 0, "n_probs": 2, "cache_prompt": False,
                                      "return_tokens": True, "ignore_eos": ignore_eos})
        leads = []
        for p in r.get("completion_probabilities") or []:
            top = p["top_logprobs"]
            leads.append((top[0]["id"], bytes(top[0]["bytes"]), round(top[0]["logprob"] - top[1]["logprob"], 4)))
        return {"ids": r["tokens"], "text": r["content"], "eog": r["stop_type"] == "eos", "leads": leads}

    def following(self, ids, k, following=None):
        """What may follow ids: (log p of `following`, log p of what is not named, [(id, log p)] of the k likeliest),
        from the logits as they are; NaN where there is none or the server does not tell.
        It answers only where the token that it samples is a whole character, but with the probabilities of all
        tokens: so it is made to sample one that is."""
        nan, top = math.nan, None
        for say in [self.plain] if following is None else [following, self.plain]:
            r = self.post("/completion", {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": k, "cache_prompt": True,
                                          "ignore_eos": False, "logit_bias": [[say, 1e6]]})
            said = (r.get("completion_probabilities") or [None])[0]
            if said and said["id"] == say:
                top = {t["id"]: t["logprob"] for t in said["top_logprobs"]}
                break
        if not top:
            raise RuntimeError(f"llama.cpp does not say what may follow {ids[-8:]}")
        log_p = nan if following is None else said["logprob"] if say == following else top.get(following, nan)
        return log_p, math.log(max(1 - sum(map(math.exp, top.values())), 1e-9)), list(top.items())
