#!/usr/bin/env python3
"""What Hugging Face transformers makes of token sequences, in float32, from the weights of a Qwen3-MoE or Qwen3 GGUF as the
gguf package dequantises them: log-probabilities to a file (docs/logprobs.md) that `qmoe-gpu perplexity --kl` reads.

    python3 tools/peers/hf_logprobs.py MODEL.gguf SEQS OUT.lp [--k 32] [--logits OUT.f32 --rows 8]

SEQS: a file of log-probabilities, whose sequences are meant, or a JSON list of lists of ids. --logits writes the full
logits of the last scored position of the first --rows sequences, little-endian f32 [rows, vocabulary].
The first run installs torch, transformers and gguf (tools/needs.py)."""
import argparse
import math
from pathlib import Path

import hf_logits
import logprobs


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("seqs")
    a.add_argument("out")
    a.add_argument("--k", type=int, default=32, help="entries for each position; 0: all (32)")
    a.add_argument("--logits")
    a.add_argument("--rows", type=int, default=8)
    a = a.parse_args()
    model, version = hf_logits.load(a.model)
    import torch
    _, seqs = logprobs.sequences(a.seqs)
    records, rows, k = [], [], 0
    for i, s in enumerate(seqs):
        with torch.no_grad():
            logits = model(torch.tensor([s.tokens])).logits[0].double()
        if i < a.rows:
            rows.append(logits[s.end - 1].float())
        lp = torch.log_softmax(logits, dim=-1)
        n_vocab = lp.shape[1]
        k = min(a.k, n_vocab) or n_vocab
        for pos in range(s.first, s.end):
            p, ids = lp[pos].sort(descending=True, stable=True)  # equal ones stay in the order of their ids
            nxt = lp[pos, s.tokens[pos + 1]].item() if pos + 1 < len(s.tokens) else math.nan
            rest = torch.logsumexp(p[k:], 0).item() if k < n_vocab else -math.inf
            records.append((nxt, rest, list(zip(ids[:k].tolist(), p[:k].tolist()))))
    logprobs.write(a.out, logprobs.note(version + ", f32", a.model), n_vocab, k, seqs, records)
    if a.logits:
        Path(a.logits).write_bytes(torch.stack(rows).numpy().astype("<f4").tobytes())
    print(f"{a.out}: {len(records)} positions of {len(seqs)} sequences")


if __name__ == "__main__":
    main()
