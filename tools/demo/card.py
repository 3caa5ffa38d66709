#!/usr/bin/env python3
"""Writes the model card, models/README.md, from what the run left behind.

    python3 tools/demo/card.py models/demo.gguf --run RUN --corpus CORPUS --program build/qmoe-gpu > models/README.md

RUN is tools/train_demo.py's --out (config.json, log.jsonl, train.txt with its command line, quant.json by
tools/demo/held_loss.py), CORPUS is tools/demo/corpus.py's folder (manifest.json)."""
import argparse
import hashlib
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def load(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, r)) + " |" for r in rows])


def mb(n):
    return f"{n / 1e6:.2f} MB"


def count(tensors, used, experts):
    """(all weights, those that one token meets); of the embedding it meets a row."""
    total = active = 0
    for t in tensors:
        n = 1
        for d in t["shape"]:
            n *= d
        total += n
        active += t["shape"][0] if t["name"] == "token_embd.weight" else n * used // experts if "_exps." in t["name"] else n
    return total, active


def corpus_tables(manifest):
    packages = [(p["package"], p["version"], p["licence"], p["documents"], mb(p["bytes"]))
                for p in manifest["packages"] if "version" in p]
    groups = {}
    for source, row in manifest["train"].items():
        g = groups.setdefault(source if not source.startswith("exchange/") else "exchanges", [0, 0, []])
        g[0] += row["records"]
        g[1] += row["bytes"]
        if source.startswith("exchange/"):
            g[2].append(source[9:])
    return packages, groups


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--run", type=Path, required=True)
    a.add_argument("--corpus", type=Path, required=True)
    a.add_argument("--program", required=True)
    o = a.parse_args()
    data = Path(o.model).read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    c, manifest = load(o.run / "config.json"), load(o.corpus / "manifest.json")
    log = [json.loads(x) for x in (o.run / "log.jsonl").read_text().splitlines()]
    last = log[-1]
    seen = json.loads(subprocess.run([o.program, "inspect", "--json", "--tensors", "--meta", o.model], check=True, capture_output=True).stdout)
    total, active = count(seen["tensors"], c["num_experts_per_tok"], c["num_experts"])
    kinds = {}
    for t in seen["tensors"]:
        k = kinds.setdefault(t["type"], [0, 0])
        k[0] += 1
        k[1] += t["bytes"]
    gold = load(ROOT / "tests" / "golden" / "demo.json")
    packages, groups = corpus_tables(manifest)
    exchanges = groups.get("exchanges", [0, 0, []])
    held = sorted(last["held_by_source"].items())
    command = (o.run / "train.txt").read_text().strip()
    quant = load(o.run / "quant.json")

    print(f"""# demo.gguf

A Qwen3-MoE small enough to lie in this repository and to answer at once on the software device. It was trained
from scratch for this project, on two processor cores, to give `make demo` and the tests a model that says true
sentences: it exists to be run, not to be asked for advice.

    SHA-256  {sha}
    bytes    {len(data):,}

## Shape

{table(["", ""], [
        ("architecture", "qwen3moe (RMSNorm, grouped-query attention with q/k norm, RoPE, top-k softmax router, SwiGLU experts)"),
        ("layers, width", f"{c['num_hidden_layers']}, {c['hidden_size']}"),
        ("attention", f"{c['num_attention_heads']} query heads, {c['num_key_value_heads']} key/value heads, head size {c['head_dim']}"),
        ("experts", f"{c['num_experts_per_tok']} of {c['num_experts']}, {c['moe_intermediate_size']} wide; weights normalised"),
        ("vocabulary", f"{c['vocab_size']:,} (byte-level BPE, Qwen2's rules, trained on this corpus), embeddings not tied"),
        ("context", f"{c['max_position_embeddings']:,} tokens; RoPE base {c['rope_theta']:,.0f}"),
        ("weights", f"{total:,}, of which a token meets {active:,}"),
    ])}

## Corpus

{sum(g[0] for g in groups.values()):,} records, {mb(sum(g[1] for g in groups.values()))}, made by `tools/demo/corpus.py` (seed {manifest['seed']}).
Held out and never trained on: {sum(r['records'] for r in manifest['held'].values()):,} records, {mb(sum(r['bytes'] for r in manifest['held'].values()))}.

- **Exchanges**: {exchanges[0]:,}, {mb(exchanges[1])}, written for this project (MIT, as the project): {', '.join(exchanges[2])}.""")
    for name, g in sorted(groups.items()):
        if name != "exchanges" and not name.startswith("prose/"):
            print(f"- **{name}**: {g[0]:,}, {mb(g[1])}, written by this project's own grammar (MIT, as the project).")
    print(f"""- **Prose** from Debian's documentation packages, their own paragraphs with markup and listings left out:

{table(["package", "version", "licence", "documents", "size"], packages)}

None of these texts is in this repository; the script fetches the packages.

## Training

    {command}

Adam for embeddings, output, router and norms, Muon for the matrices inside the layers; {last['tokens'] / 1e6:.1f} M tokens in {last['step']:,} steps.
Loss (nats a token): training {last['train_loss']:.3f} (a running mean at the end), held out {last['held_loss']:.3f}.

{table(["held-out source", "loss"], [(k, f"{v:.3f}") for k, v in held])}

Over the run:

{table(["step", "tokens", "training", "held out"], [(r["step"], f"{r['tokens'] / 1e6:.1f} M", f"{r['train_loss']:.3f}", f"{r['held_loss']:.3f}") for r in thin(log)])}

## Quantisation

Trained in bfloat16 with f32 master weights, exported as f32, then `qmoe-gpu quantize … q4_k_m`, the mix of llama.cpp's Q4_K_M:
{', '.join(f"{n} tensors of {k.upper()} ({mb(b)})" for k, (n, b) in sorted(kinds.items(), key=lambda x: -x[1][1]))}.

{table(["file", "size", "held-out loss", "goldens right"], [(q["file"], mb(q["bytes"]), f"{q['held_loss']:.4f}", f"{q['goldens']} of {q['of']}") for q in quant])}

(`tools/demo/held_loss.py`: the dequantised weights in the training's own forward pass.)

## What it can do

Short questions of the kinds above, word for word as it learned them: `tests/golden/demo.json` has {len(gold['goldens'])}, and the tests
hold both executors to every one of them. Short simple stories; prose in the manner of Debian's manuals. Greedy
decoding is what it was made for (`general.sampling.temp` = 0 says so).

## What it cannot do

Know things. It has met a few hundred facts and answers any other question with the nearest one, in the same
confident tone. It cannot calculate beyond the sums that it has seen, translates only words and phrases of its
list, loses the thread after a few sentences, and speaks English only. Its prose imitates manuals and invents
commands: do not follow them. Long or odd prompts lead anywhere.

## Making it again

    sh tools/demo/make_model.sh            # corpus, training (hours on two cores), GGUF, quantisation, goldens, checks

The corpus and the order of training are seeded; torch does not promise the same bits on another machine or
version, so that the weights come out alike, not equal.

Licence: the weights and our own texts are MIT, as the project; the prose keeps its own licences and is not handed on.""")


def thin(log, n=12):
    """About n rows of the log, the last among them."""
    step = max(1, len(log) // n)
    rows = log[step - 1::step]
    return rows if rows and rows[-1] is log[-1] else [*rows, log[-1]]


if __name__ == "__main__":
    main()
