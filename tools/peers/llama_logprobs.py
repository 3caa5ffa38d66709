#!/usr/bin/env python3
"""What llama.cpp makes of token sequences: log-probabilities to a file (docs/logprobs.md) that
`qmoe-gpu perplexity --kl` reads; or its own greedy answers, with the likeliest tokens of each step.

    python3 tools/peers/llama_logprobs.py MODEL.gguf SEQS OUT.lp [--k 32]
    python3 tools/peers/llama_logprobs.py MODEL.gguf SEQS OUT.lp --greedy 16 [--k 20]
    python3 tools/peers/llama_logprobs.py MODEL.gguf SEQS OUT.lp --f32

--f32: of the same weights, dequantised to F32 first (gguf_f32.py), with a KV cache of f32 and without flash attention:
llama.cpp then rounds activations nowhere. The file is made beside OUT and removed.

SEQS: a file of log-probabilities, whose sequences are meant, or a JSON list of lists of ids. With --greedy they are
prompts: each is continued by at most so many tokens, and the prompt's last position and all of the answer are scored.
The first run installs llama.cpp (tools/peers/llama.py)."""
import argparse
import os
import subprocess
import sys
from pathlib import Path

import logprobs
from llama import Llama


def ask(m, seqs, k):
    for s in seqs:
        for pos in range(s.first, s.end):
            yield m.following(s.tokens[:pos + 1], k, s.tokens[pos + 1] if pos + 1 < len(s.tokens) else None)


def dequantise(model, out):
    env = {k: v for k, v in os.environ.items() if k != "QMOE_NEEDS_AGAIN"}  # it finds its own packages
    subprocess.run([sys.executable, str(Path(__file__).with_name("gguf_f32.py")), model, out], check=True, env=env)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("seqs")
    a.add_argument("out")
    a.add_argument("--k", type=int, default=32, help="entries for each position (32)")
    a.add_argument("--greedy", type=int, default=0, metavar="N")
    a.add_argument("--f32", action="store_true")
    a = a.parse_args()
    _, seqs = logprobs.sequences(a.seqs)
    n_ctx, who = max(len(s.tokens) for s in seqs) + a.greedy + 16, "llama.cpp"
    if a.f32:
        wide = a.out + ".f32.gguf"
        dequantise(a.model, wide)
        try:
            m = Llama(wide, n_ctx, threads=1, exact=True)
        finally:
            os.unlink(wide)  # it is mapped, or there is none
        who = "llama.cpp on the weights in F32, f32 KV cache, no flash attention"
    else:
        m = Llama(a.model, n_ctx, threads=1)
    if a.greedy:
        answers = [s.tokens + m.greedy(s.tokens, a.greedy)["ids"] for s in seqs]
        seqs = [logprobs.Seq(t, len(s.tokens) - 1, len(t)) for s, t in zip(seqs, answers)]
    records = list(ask(m, seqs, a.k))
    logprobs.write(a.out, logprobs.note(f"{who} (xllamacpp {m.version})", a.model), m.n_vocab, a.k, seqs, records)
    print(f"{a.out}: {len(records)} positions of {len(seqs)} sequences")


if __name__ == "__main__":
    main()
