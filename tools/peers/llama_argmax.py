#!/usr/bin/env python3
"""What llama.cpp would say next after each prefix of a list of token ids: its most likely token and the
lead of that token over the second one, in nats.

    python3 tools/peers/llama_argmax.py MODEL.gguf tests/golden/hf_tiny.json tests/golden/llama_tiny.json

The ids are the second file's "ids". The first run installs llama.cpp (tools/peers/llama.py).
"""
import hashlib
import json
import sys
from pathlib import Path

from llama import Llama  # finds what is in tools/, too
from needs import show_help


def main():
    model, ids_file, out = sys.argv[1:4]
    ids = json.loads(Path(ids_file).read_text())["ids"]
    m = Llama(model, n_ctx=len(ids) + 16)
    arg, lead = [], []
    for n in range(1, len(ids) + 1):
        said = m.greedy(ids[:n], 1)["leads"]
        # nothing is said of an end of generation or half a character
        arg.append(said[0][0] if said else -1)
        lead.append(said[0][2] if said else 0.0)
    doc = {"about": "llama.cpp's arg max after each prefix, and its lead in nats; tools/peers/llama_argmax.py",
           "xllamacpp": m.version, "gguf_sha256": hashlib.sha256(Path(model).read_bytes()).hexdigest(),
           "arg_max": arg, "lead": lead}
    body = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in doc.items())
    Path(out).write_text("{\n" + body + "\n}\n")


if __name__ == "__main__":
    show_help(__doc__)
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
