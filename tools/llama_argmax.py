#!/usr/bin/env python3
"""What llama.cpp would say next after each prefix of a list of token ids: its most likely token and the
lead of that token over the second one, in nats.

    python3 tools/llama_argmax.py MODEL.gguf tests/golden/hf_tiny.json tests/golden/llama_tiny.json

The ids are the second file's "ids". Needs `pip install xllamacpp` (llama.cpp prebuilt for the CPU).
"""
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import xllamacpp


def main():
    model, ids_file, out = sys.argv[1:4]
    ids = json.loads(Path(ids_file).read_text())["ids"]
    p = xllamacpp.CommonParams()
    p.model.path = model
    p.n_ctx = len(ids) + 16
    p.n_parallel = 1
    p.cpuparams.n_threads = 2
    p.warmup = False
    server = xllamacpp.Server(p)
    arg, lead = [], []
    for n in range(1, len(ids) + 1):
        r = server.handle_completions({"prompt": ids[:n], "n_predict": 1, "temperature": 0, "n_probs": 2,
                                       "cache_prompt": False})
        r = json.loads(r) if isinstance(r, str) else r
        said = r["choices"][0]["logprobs"]
        if said is None:  # an end of generation or half a character: the server says nothing of it
            arg.append(-1)
            lead.append(0.0)
            continue
        top = said["content"][0]["top_logprobs"]
        arg.append(top[0]["id"])
        lead.append(round(top[0]["logprob"] - top[1]["logprob"], 4))
    doc = {"about": "llama.cpp's arg max after each prefix, and its lead in nats; tools/llama_argmax.py",
           "xllamacpp": version("xllamacpp"), "gguf_sha256": hashlib.sha256(Path(model).read_bytes()).hexdigest(),
           "arg_max": arg, "lead": lead}
    body = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in doc.items())
    Path(out).write_text("{\n" + body + "\n}\n")


if __name__ == "__main__":
    main()
