#!/usr/bin/env python3
"""Trains the demo model: a Qwen3-MoE of 21 M weights that fits into a repository and answers simple questions.

    tools/train_demo.py --corpus DIR --out DIR [--tokens N]

DIR/train.jsonl and DIR/held.jsonl come from tools/demo/corpus.py. Needs torch (2.9 or later), tokenizers and
safetensors. Seeded; a run that was stopped goes on from its last checkpoint. Leaves tokenizer.json,
config.json, model.safetensors (Hugging Face's names), log.jsonl. tools/to_gguf.py makes a GGUF of them.

Muon (Jordan et al. 2024: momentum, then the nearest orthogonal matrix by Newton-Schulz steps) for the
matrices inside the layers, Adam for embeddings, output, router and norms."""
import argparse
import json
import math
import os
import sys
import time

from needs import show_help

show_help(__doc__)
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "demo"))
from data import Encoder, Sampler, load, train_tokenizer  # noqa: E402
from make_goldens import answers  # noqa: E402
from moe import Batch, Config, Model  # noqa: E402


def orthogonal(g, steps=5):
    """The quintic Newton-Schulz iteration on [..., m, n]: singular values towards 1."""
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).to(x.dtype) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon:
    def __init__(self, params, lr, momentum=0.95, decay=0.01):
        self.params, self.lr, self.momentum, self.decay = params, lr, momentum, decay
        self.buf = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, scale):
        for p, b in zip(self.params, self.buf):
            b.lerp_(p.grad, 1 - self.momentum)
            u = orthogonal(p.grad.lerp(b, self.momentum))
            p.mul_(1 - self.lr * scale * self.decay)
            p.add_(u, alpha=-self.lr * scale * max(1, p.shape[-2] / p.shape[-1]) ** 0.5)


def loss_of(model, docs, backward_scale=None):
    """Summed cross-entropy of the wanted tokens of docs, their number, the hits; with backward_scale the
    gradient of (mean loss + balance) times it."""
    batch = Batch([d[1].long() for d in docs])
    wanted = torch.cat([docs[i][2] for i in batch.order])
    want = wanted.nonzero().squeeze(1) - 1  # the place before says it; a document never starts with a wanted one
    target = batch.ids[want + 1]
    logits, balance = model(batch, want)
    ce = F.cross_entropy(logits, target, reduction="none")
    if backward_scale is not None:
        ((ce.mean() + 0.01 * balance) * backward_scale).backward()
    return ce.detach(), (logits.detach().argmax(-1) == target), [docs[i] for i in batch.order]


@torch.no_grad()
def held_out(model, docs, n_tokens=8192):
    """Mean loss per source over held-out documents."""
    sums, part, n = {}, [], 0
    for d in docs + [None]:
        if d is None or n + len(d[1]) > n_tokens:
            if part:
                ce, _, order = loss_of(model, part)
                for piece, o in zip(ce.split([int(o[2].sum()) for o in order]), order):
                    s = sums.setdefault(o[0], [0.0, 0])
                    s[0] += float(piece.sum())
                    s[1] += len(piece)
            part, n = [], 0
        if d is not None:
            part.append(d)
            n += len(d[1])
    total = [sum(s[0] for s in sums.values()), sum(s[1] for s in sums.values())]
    return total[0] / total[1], {k: round(s[0] / s[1], 4) for k, s in sorted(sums.items())}


@torch.no_grad()
def goldens_right(model, docs):
    """How many exchanges greedy decoding would answer word for word, and the prompts of the others."""
    _, hit, order = loss_of(model, docs)
    ok = [bool(h.all()) for h in hit.split([int(o[2].sum()) for o in order])]
    return sum(ok), [o[0] for o, k in zip(order, ok) if not k]


def schedule(done, warmup=0.01, decay=0.55):
    """Share of the peak rate: a short rise, a plateau, then straight down to 2 % of it."""
    if done < warmup:
        return done / warmup
    return 1.0 if done < 1 - decay else max(0.02, (1 - done) / decay)


def export(model, tok, folder):
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    save_file(model.hf_state(), os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(model.c.hf() | {"eos_token_id": tok.token_to_id("<|im_end|>"),
                                  "pad_token_id": tok.token_to_id("<|endoftext|>")}, f, indent=1)
    tok.save(os.path.join(folder, "tokenizer.json"))


def keep_memory():
    """Starts the program again with glibc told to keep what is freed: without it a third of the time goes to
    the kernel, which clears the same pages at every step."""
    want = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000",
            "MALLOC_TOP_PAD_": "500000000", "GOMP_SPINCOUNT": "20000"}
    if any(k not in os.environ for k in want):
        os.execve(sys.executable, [sys.executable, *sys.argv], want | os.environ)


def main():
    keep_memory()
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--corpus", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--tokens", type=float, default=12e6, help="tokens to train on in all")
    ap.add_argument("--batch", type=int, default=8192, help="tokens a step")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--muon-lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=3e-3)
    ap.add_argument("--eval-every", type=int, default=100, help="steps between looks at the held-out part")
    ap.add_argument("--export-every", type=int, default=0, help="steps between exports to OUT/export-STEP")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)

    from tokenizers import Tokenizer
    cfg = Config()
    tok_path = os.path.join(a.out, "tokenizer.json")
    if os.path.exists(tok_path):
        tok = Tokenizer.from_file(tok_path)
    else:
        print("training the tokenizer", flush=True)
        tok = train_tokenizer(os.path.join(a.corpus, "train.jsonl"), cfg.vocab_size)
        tok.save(tok_path)
    enc = Encoder(tok)
    train = load(os.path.join(a.corpus, "train.jsonl"), enc, cfg.max_position_embeddings)
    held = load(os.path.join(a.corpus, "held.jsonl"), enc, cfg.max_position_embeddings)
    with open(os.path.join(HERE, "demo", "goldens.json"), encoding="utf-8") as f:
        gold = answers(os.path.join(a.corpus, "train.jsonl"), json.load(f))
    gold = [(q, *enc.documents({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": x}]},
                               cfg.max_position_embeddings)[0]) for q, x in gold.items()]
    gold = [(q, torch.tensor(ids, dtype=torch.int32), torch.tensor(wanted)) for q, ids, wanted in gold]
    n_train = sum(len(d[1]) for d in train)
    print(f"{len(train)} documents, {n_train} tokens ({sum(int(d[2].sum()) for d in train)} to learn); held out "
          f"{len(held)}, {sum(len(d[1]) for d in held)}; {a.tokens / n_train:.1f} epochs", flush=True)

    model = Model(cfg)
    named = dict(model.named_parameters())
    inner = [p for n, p in named.items() if n.endswith(("qkv", "o_proj", "gate_up", "down"))]
    outer = [p for n, p in named.items() if not n.endswith(("qkv", "o_proj", "gate_up", "down"))]
    muon = Muon(inner, a.muon_lr)
    adam = torch.optim.Adam(outer, lr=a.adam_lr, betas=(0.9, 0.95), eps=1e-10, fused=True)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M weights", flush=True)

    sampler = Sampler(train, a.batch, a.seed)
    n_steps, step = math.ceil(a.tokens / a.batch), 0
    ckpt = os.path.join(a.out, "ckpt.pt")
    if os.path.exists(ckpt):
        c = torch.load(ckpt, weights_only=True)
        model.load_state_dict(c["model"])
        adam.load_state_dict(c["adam"])
        muon.buf = c["muon"]
        step = c["step"]
        for _ in range(step):
            sampler.next()
        print(f"going on from step {step}", flush=True)
    log = open(os.path.join(a.out, "log.jsonl"), "a", encoding="utf-8")
    t0, tokens, mean = time.time(), 0, None
    while step < n_steps:
        scale = schedule(step / n_steps)
        docs = sampler.next()
        for p in named.values():
            p.grad = None
        ce, _, _ = loss_of(model, docs, 1.0)
        for g in adam.param_groups:
            g["lr"] = a.adam_lr * scale
        torch.nn.utils.clip_grad_norm_(outer, 1.0)
        adam.step()
        muon.step(scale)
        step += 1
        tokens += sum(len(d[1]) for d in docs)
        loss = float(ce.mean())
        mean = loss if mean is None else 0.95 * mean + 0.05 * loss
        if step % 10 == 0:
            rate = tokens / (time.time() - t0)
            print(f"step {step}/{n_steps} loss {loss:.3f} (mean {mean:.3f}) {rate:.0f} tok/s, "
                  f"{(n_steps - step) * a.batch / rate / 60:.0f} min left", flush=True)
        if step % a.eval_every == 0 or step == n_steps:
            h, by_source = held_out(model, held)
            right, wrong = goldens_right(model, gold)
            rec = {"step": step, "tokens": step * a.batch, "train_loss": round(mean, 4), "held_loss": round(h, 4),
                   "held_by_source": by_source, "goldens": right, "of": len(gold), "seconds": round(time.time() - t0)}
            print(json.dumps(rec), wrong[:8], flush=True)
            log.write(json.dumps(rec) + "\n")
            log.flush()
            torch.save({"model": model.state_dict(), "adam": adam.state_dict(), "muon": muon.buf, "step": step},
                       ckpt + ".new")
            os.replace(ckpt + ".new", ckpt)
        if a.export_every and step % a.export_every == 0:
            export(model, tok, os.path.join(a.out, f"export-{step}"))
    export(model, tok, a.out)
    print(f"done: {a.out}/model.safetensors", flush=True)


if __name__ == "__main__":
    main()
