#!/usr/bin/env python3
"""What quantising cost the demo model: its loss on the held-out texts, and how many goldens it has right, with
the weights of each GGUF given (as the gguf package dequantises them) in the training's own forward pass.

    python3 tools/demo/held_loss.py CORPUS RUN/tokenizer.json F32.gguf Q4.gguf... [--out RUN/quant.json]

Needs torch, tokenizers, gguf and numpy."""
import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from needs import show_help  # noqa: E402

show_help(__doc__)
from data import Encoder, load  # noqa: E402
from make_goldens import answers  # noqa: E402
from moe import Config, Model  # noqa: E402
from train_demo import goldens_right, held_out  # noqa: E402


def weights(path, model):
    """model with the file's weights, dequantised."""
    import gguf
    import torch
    w = {t.name.removesuffix(".weight"): torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy()) for t in gguf.GGUFReader(path).tensors}
    with torch.no_grad():
        for p, name in ((model.embed_tokens, "token_embd"), (model.norm, "output_norm"), (model.lm_head, "output")):
            p.copy_(w[name])
        for i, l in enumerate(model.layers):
            b = f"blk.{i}."
            a, m = l.self_attn, l.mlp
            for p, value in ((l.input_layernorm, w[b + "attn_norm"]), (l.post_attention_layernorm, w[b + "ffn_norm"]),
                             (a.qkv, torch.cat([w[b + f"attn_{k}"] for k in "qkv"])), (a.o_proj, w[b + "attn_output"]),
                             (a.q_norm, w[b + "attn_q_norm"]), (a.k_norm, w[b + "attn_k_norm"]), (m.gate, w[b + "ffn_gate_inp"]),
                             (m.gate_up, torch.cat([w[b + "ffn_gate_exps"], w[b + "ffn_up_exps"]], 1)), (m.down, w[b + "ffn_down_exps"])):
                p.copy_(value)
    return model


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("corpus", type=Path)
    a.add_argument("tokenizer")
    a.add_argument("models", nargs="+")
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--out", type=Path)
    o = a.parse_args()
    import torch
    from tokenizers import Tokenizer
    torch.set_num_threads(o.threads)
    cfg = Config()
    enc = Encoder(Tokenizer.from_file(o.tokenizer))
    held = load(o.corpus / "held.jsonl", enc, cfg.max_position_embeddings)
    prompts = json.loads((HERE / "goldens.json").read_text(encoding="utf-8"))
    said = answers(o.corpus / "train.jsonl", prompts)
    gold = []
    for q in prompts:
        ids, wanted = enc.documents({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": said[q]}]}, 1024)[0]
        gold.append((q, torch.tensor(ids, dtype=torch.int32), torch.tensor(wanted)))
    rows = []
    for path in o.models:
        model = weights(path, Model(cfg))
        loss, by_source = held_out(model, held)
        right, wrong = goldens_right(model, gold)
        rows.append({"file": Path(path).name, "bytes": Path(path).stat().st_size, "held_loss": round(loss, 4), "held_by_source": by_source,
                     "goldens": right, "of": len(gold)})
        print(json.dumps(rows[-1]), wrong, flush=True)
    if o.out:
        o.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
