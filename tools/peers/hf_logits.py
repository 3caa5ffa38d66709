#!/usr/bin/env python3
"""Logits of a Qwen3-MoE, Qwen3 or Qwen2 GGUF as Hugging Face transformers computes them, in float32, from the weights
that the gguf package dequantises: an oracle that shares no code with this project.

    python3 tools/peers/hf_logits.py MODEL.gguf --ids '[1, 2, 3]' --keep 0,2 --out tests/golden/hf_tiny

writes OUT.json (the file's hash, the ids, and for every position the arg max, its logit and the
log-sum-exp) and OUT.f32 (the full logits of the kept positions, little-endian f32 [kept, vocabulary]).
--as ARCHITECTURE: the same weights as that family's (qwen3vlmoe: a qwen3moe as the text part).
--note adds words to the manifest: how the model was made.
--set KEY=VALUE, any number of times: as if the file said ARCHITECTURE.KEY (rope.* only); --bias X: as if every layer had
biases of q, k, v and output, X sin(i + 1). Both are kept in the manifest, so that a test can write them into the file.

The first run installs torch, transformers and gguf (tools/needs.py; any torch will do, a CPU one is enough).
"""
import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from needs import needs  # noqa: E402


def rope_parameters(key):
    """transformers' words for what the file says of rotary positions."""
    factor = key("rope.scaling.factor", 0)
    kind = key("rope.scaling.type", "linear" if factor else "none")
    rope = {"rope_type": "default", "rope_theta": float(key("rope.freq_base"))}
    if kind == "none":
        return rope
    rope |= {"rope_type": kind, "factor": float(factor)}
    if kind == "yarn":
        rope |= {"original_max_position_embeddings": key("rope.scaling.original_context_length"),
                 "beta_fast": key("rope.scaling.yarn_beta_fast", None), "beta_slow": key("rope.scaling.yarn_beta_slow", None),
                 "attention_factor": key("rope.scaling.yarn_attn_factor", None)}
    return {k: v for k, v in rope.items() if v is not None}


# general.architecture: the names of its configuration and its model in transformers
FAMILIES = {"qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
            "qwen3moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM"), "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
            "qwen3vlmoe": ("Qwen3VLMoeConfig", "Qwen3VLMoeForConditionalGeneration"),
            "qwen3vl": ("Qwen3VLConfig", "Qwen3VLForConditionalGeneration")}


def family(reader, name=None):
    import transformers
    name = name or reader.fields["general.architecture"].contents()
    if name not in FAMILIES:
        sys.exit(f"hf_logits: {name} is none of {', '.join(FAMILIES)}")
    return name, *(getattr(transformers, x) for x in FAMILIES[name])


def config(reader, said, bias, name):
    import inspect
    arch, Config, _ = family(reader)
    Config = family(reader, name)[1]

    def key(name, *default):
        if name in said:
            return said[name]
        f = reader.fields.get(f"{arch}.{name}")
        return f.contents() if f or not default else default[0]

    rope = rope_parameters(key)
    args = dict(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"),
        head_dim=key("attention.key_length"),
        max_position_embeddings=key("context_length"),
        rms_norm_eps=float(key("attention.layer_norm_rms_epsilon")),
        hidden_act="silu", attention_bias=bool(bias), use_sliding_window=False,
        tie_word_embeddings=not any(t.name == "output.weight" for t in reader.tensors),
    )
    if arch == "qwen3moe":
        args |= dict(num_experts=key("expert_count"), num_experts_per_tok=key("expert_used_count"),
                     moe_intermediate_size=key("expert_feed_forward_length"), norm_topk_prob=True, decoder_sparse_step=1,
                     mlp_only_layers=[])
    if "VL" in Config.__name__:  # the text part; the smallest tower that the class takes stands beside it, unused
        args["rope_parameters"] = rope | {"mrope_section": [24, 20, 20], "mrope_interleaved": True}
        return Config(text_config=args, tie_word_embeddings=args["tie_word_embeddings"], vision_config=dict(
            depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=args["hidden_size"],
            deepstack_visual_indexes=[0]))
    # transformers 5 keeps the rope settings in a dictionary; 4 had one argument
    if "rope_parameters" in inspect.signature(Config.__init__).parameters or hasattr(Config(), "rope_parameters"):
        args["rope_parameters"] = rope
    else:
        args["rope_theta"] = rope.pop("rope_theta")
        args["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    return Config(**args)


PER_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
}
DENSE = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
ROUTED = {"ffn_gate_inp": "mlp.gate"}


def state(reader, wanted, bias):
    """The state dictionary; `wanted` are the model's own names and shapes, which tell how it stores its experts."""
    import gguf
    import torch

    w = {t.name: torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    out = {"model.embed_tokens.weight": w["token_embd.weight"], "model.norm.weight": w["output_norm.weight"],
           "lm_head.weight": w.get("output.weight", w["token_embd.weight"])}
    layers = 1 + max(int(n.split(".")[1]) for n in w if n.startswith("blk."))
    for i in range(layers):
        routed = f"blk.{i}.ffn_gate_inp.weight" in w
        for ours, theirs in (PER_LAYER | (ROUTED if routed else DENSE)).items():
            for part in ("weight", "bias"):  # what the model has and the file lacks, load_state_dict names
                if f"blk.{i}.{ours}.{part}" in w:
                    out[f"model.layers.{i}.{theirs}.{part}"] = w[f"blk.{i}.{ours}.{part}"]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj") if bias else ():
            at = f"model.layers.{i}.self_attn.{name}.bias"
            out[at] = bias * torch.sin(torch.arange(1, wanted[at].shape[0] + 1, dtype=torch.float64)).to(torch.float32)
        if not routed:
            continue
        gate, up, down = (w[f"blk.{i}.ffn_{k}_exps.weight"] for k in ("gate", "up", "down"))
        at = f"model.layers.{i}.mlp.experts"
        if f"{at}.gate_up_proj" in wanted:  # [experts, 2 * ff, hidden] and [experts, hidden, ff]
            out[f"{at}.gate_up_proj"] = torch.cat([gate, up], dim=1)
            out[f"{at}.down_proj"] = down
        else:
            for x in range(gate.shape[0]):
                out[f"{at}.{x}.gate_proj.weight"] = gate[x]
                out[f"{at}.{x}.up_proj.weight"] = up[x]
                out[f"{at}.{x}.down_proj.weight"] = down[x]
    return out


def load(path, said={}, bias=0, name=None):
    """(the model, in float32, ready to run; who it is, in words)"""
    needs("hf", {p: p for p in ("torch", "transformers", "gguf", "numpy")})
    import torch
    import transformers
    from gguf import GGUFReader

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    torch.manual_seed(0)
    reader = GGUFReader(path)
    cfg = config(reader, said, bias, name)
    cfg._attn_implementation = "eager"
    with torch.no_grad():
        model = family(reader, name)[2](cfg).to(torch.float32).eval()
        text = "model.language_model."  # where a model of several parts has the names that others have under model.
        own = {k.replace(text, "model."): v for k, v in model.state_dict().items() if ".visual." not in k}
        got = state(reader, own, bias)
        for k, v in got.items():
            if k in own and own[k].shape != v.shape:
                sys.exit(f"hf_logits: {k} is {tuple(own[k].shape)} in the model, {tuple(v.shape)} in the file")
        parts = any(k.startswith(text) for k in model.state_dict())
        got = {k.replace("model.", text) if parts and k.startswith("model.") else k: v for k, v in got.items()}
        lacking = model.load_state_dict(got, strict=not parts).missing_keys
        if any(".visual." not in k for k in lacking) or set(got) - set(model.state_dict()):
            sys.exit(f"hf_logits: the file lacks {lacking}, or has {set(got) - set(model.state_dict())} beside")
    return model, f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--ids", required=True, help="a JSON list of token ids, or the name of a file that holds one")
    a.add_argument("--keep", default="", help="positions whose full logits are written; default: the last")
    a.add_argument("--out", required=True, help="OUT.json and OUT.f32 are written")
    a.add_argument("--note", default="")
    a.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    a.add_argument("--as", dest="family", metavar="ARCHITECTURE")
    a.add_argument("--bias", type=float, default=0, metavar="X")
    a = a.parse_args()
    said = {k: v if v.isalpha() else json.loads(v) for k, v in (s.split("=", 1) for s in a.set)}
    model, version = load(a.model, said, a.bias, a.family)
    import torch
    ids = json.loads(Path(a.ids).read_text() if os.path.exists(a.ids) else a.ids)
    keep = [int(x) for x in a.keep.split(",")] if a.keep else [len(ids) - 1]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].to(torch.float32)
    top, arg = logits.max(dim=-1)
    lse = torch.logsumexp(logits.double(), dim=-1)
    out = {
        "about": "logits by Hugging Face transformers from the same dequantised weights; tools/peers/hf_logits.py",
        "model": a.note, "gguf_sha256": hashlib.sha256(Path(a.model).read_bytes()).hexdigest(),
        "by": version, **({"as": a.family} if a.family else {}), **({"set": said} if said else {}), **({"bias": a.bias} if a.bias else {}),
        "n_vocab": logits.shape[1], "ids": ids, "keep": keep,
        "arg_max": arg.tolist(), "max": [round(x, 5) for x in top.tolist()],
        "log_sum_exp": [round(x, 5) for x in lse.tolist()],
    }
    # one key a line: readable, and small changes stay small in a diff
    body = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in out.items())
    Path(a.out + ".json").write_text("{\n" + body + "\n}\n")
    Path(a.out + ".f32").write_bytes(logits[keep].numpy().astype("<f4").tobytes())
    print(f"{a.out}.json, {a.out}.f32: {len(ids)} positions, {len(keep)} kept, standard deviation of the logits "
          f"{logits.std().item():.3f}")


if __name__ == "__main__":
    main()
