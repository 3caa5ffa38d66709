#!/usr/bin/env python3
"""A Qwen3-MoE or Qwen3 model in Hugging Face form (config.json, tokenizer.json, *.safetensors, one file or many) to
a GGUF file of F32, F16 or BF16 weights, with the names and keys that llama.cpp's converter gives.

    python3 tools/to_gguf.py DIR OUT.gguf [--type f16]

Norms and routers stay F32. The experts of a layer become one tensor [n_expert, rows, columns]; one such
stack is in memory at a time. Whatever the format cannot carry, or does not say, is an error of one line:
missing, superfluous or misshapen tensors, a tokenizer that is not Qwen2's, dense layers among others with
experts, unnormalised expert weights. The first run installs gguf and numpy (tools/needs.py)."""
import argparse
import json
import os
import sys
from pathlib import Path

from needs import needs

HERE = Path(__file__).resolve().parent
# Qwen2's pre-tokenizer, as its tokenizer.json spells it.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


class Fault(Exception):
    """Something is wrong with the input; the message is for the user."""


def read_json(path, optional=False):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        raise Fault(f"{path}: no such file") from None
    except ValueError as e:
        raise Fault(f"{path}: {e}") from None


# ---- weights: safetensors is 8 bytes of length, a JSON header, and the data ----
class Weights:
    """The tensors of a folder by name; each is mapped, and read as float32 when asked for."""

    def __init__(self, folder):
        self.at = {}  # name: (path, dtype, shape, offset, bytes)
        paths = sorted(folder.glob("*.safetensors"))
        index = read_json(folder / "model.safetensors.index.json", optional=True).get("weight_map")
        if index:
            paths = sorted({folder / f for f in index.values()})
        elif (folder / "model.safetensors").exists():
            paths = [folder / "model.safetensors"]
        if not paths:
            raise Fault(f"{folder}: no *.safetensors")
        for path in paths:
            self.add(path)
        for name in index or []:
            if name not in self.at:
                raise Fault(f"{folder}: the index has {name}, which {index[name]} lacks")

    def add(self, path):
        try:
            size = path.stat().st_size
            with open(path, "rb") as f:
                n = int.from_bytes(f.read(8), "little")
                if n > size - 8:
                    raise Fault(f"{path}: not a safetensors file (a header of {n} bytes in a file of {size})")
                head = json.loads(f.read(n))
        except FileNotFoundError:
            raise Fault(f"{path}: no such file") from None
        except ValueError as e:
            raise Fault(f"{path}: not a safetensors file ({e})") from None
        for name, t in head.items():
            if name == "__metadata__":
                continue
            if name in self.at:
                raise Fault(f"{path}: {name} is also in {self.at[name][0].name}")
            lo, hi = t["data_offsets"]
            if not 0 <= lo <= hi <= size - 8 - n:
                raise Fault(f"{path}: {name} ends outside the file")
            self.at[name] = (path, t["dtype"], t["shape"], 8 + n + lo, hi - lo)

    def shape(self, name):
        return self.at[name][2]

    def dtype(self, name):
        return self.at[name][1]

    def get(self, name):
        """float32, in the file's shape"""
        import numpy as np
        path, dtype, shape, off, n = self.at[name]
        kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
        if dtype not in kinds:
            raise Fault(f"{path}: {name} is {dtype}; known: F32, F16, BF16")
        kind = np.dtype(kinds[dtype])
        if n != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise Fault(f"{path}: {name} {shape} of {dtype} has {n} bytes")
        if not n:
            raise Fault(f"{path}: {name} is empty")
        a = np.memmap(path, dtype=kind, mode="r", offset=off, shape=tuple(shape))
        if dtype == "BF16":
            return (a.astype(np.uint32) << 16).view(np.float32)
        return a.astype(np.float32)


# ---- hyperparameters ----
# transformers' model_type: its architecture, general.architecture, what the family is called, has it experts
FAMILIES = {"qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3moe", "Qwen3-MoE", True),
            "qwen3": ("Qwen3ForCausalLM", "qwen3", "Qwen3", False)}


class Config:
    def __init__(self, folder):
        self.path = folder / "config.json"
        self.c = read_json(self.path)
        names, kind = self.c.get("architectures"), self.c.get("model_type")
        found = [f for k, f in FAMILIES.items() if names in (None, [f[0]]) and kind in (None, k) and (names or kind)]
        if not found:
            raise Fault(f"{self.path}: {names} ({kind}) is none of {', '.join(f[0] for f in FAMILIES.values())}")
        _, self.arch, self.title, self.routed = found[0]
        # What a GGUF of this architecture cannot say: llama.cpp and we take these for granted.
        experts = (("norm_topk_prob", True), ("decoder_sparse_step", 1)) if self.routed else ()
        for key, only in (("hidden_act", "silu"), ("use_sliding_window", False), *experts):
            if self.c.get(key, only) != only:
                raise Fault(f"{self.path}: {key} is {self.c[key]!r}; only {only!r} can be converted")
        if self.routed and self.c.get("mlp_only_layers"):
            raise Fault(f"{self.path}: mlp_only_layers {self.c['mlp_only_layers']}: dense layers cannot be converted")
        self.layers = self.n("num_hidden_layers")
        self.hidden = self.n("hidden_size")
        self.heads = self.n("num_attention_heads")
        self.kv_heads = self.n("num_key_value_heads", self.heads)
        self.head_dim = self.n("head_dim", self.hidden // self.heads)
        if self.routed:
            self.experts, self.used = self.n("num_experts"), self.n("num_experts_per_tok")
        self.ff = self.n("moe_intermediate_size" if self.routed else "intermediate_size")
        self.vocab = self.n("vocab_size")
        self.context = self.n("max_position_embeddings")
        self.tied = bool(self.c.get("tie_word_embeddings", False))
        rope = self.c.get("rope_parameters") or self.c.get("rope_scaling") or {}  # transformers 5, or before
        self.rope = rope if rope.get("rope_type", rope.get("type", "default")) != "default" else {}
        self.theta = self.number("rope_theta", rope.get("rope_theta"))
        self.eps = self.number("rms_norm_eps")

    def number(self, key, other=None):
        v = self.c.get(key, other)
        if not isinstance(v, (int, float)) or isinstance(v, bool):
            raise Fault(f"{self.path}: {key} is {'missing' if v is None else repr(v)}; expected a number")
        return float(v)

    def n(self, key, default=None):
        v = self.c.get(key)
        v = default if v is None else v
        if not isinstance(v, int) or isinstance(v, bool) or v < 1:
            raise Fault(f"{self.path}: {key} is {'missing' if v is None else repr(v)}; expected a whole number above 0")
        return v

    def tensors(self):
        """[(GGUF name, [names in safetensors], shape of each, stays F32)], in the file's order. Several
        names are stacked."""
        h, q, kv, d = self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim, self.head_dim
        out = [("token_embd.weight", ["model.embed_tokens.weight"], [self.vocab, h], False)]
        for i in range(self.layers):
            a, m, b = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp", f"blk.{i}"
            out += [(f"{b}.attn_norm.weight", [f"model.layers.{i}.input_layernorm.weight"], [h], True)]
            for ours, theirs, rows, cols in (("q", "q", q, h), ("k", "k", kv, h), ("v", "v", kv, h), ("output", "o", h, q)):
                out += [(f"{b}.attn_{ours}.weight", [f"{a}.{theirs}_proj.weight"], [rows, cols], False)]
                if self.c.get("attention_bias"):
                    out += [(f"{b}.attn_{ours}.bias", [f"{a}.{theirs}_proj.bias"], [rows], True)]
            out += [(f"{b}.attn_q_norm.weight", [f"{a}.q_norm.weight"], [d], True),
                    (f"{b}.attn_k_norm.weight", [f"{a}.k_norm.weight"], [d], True),
                    (f"{b}.ffn_norm.weight", [f"model.layers.{i}.post_attention_layernorm.weight"], [h], True)]
            if self.routed:
                out += [(f"{b}.ffn_gate_inp.weight", [f"{m}.gate.weight"], [self.experts, h], True)]
            for k, rows, cols in (("gate", self.ff, h), ("up", self.ff, h), ("down", h, self.ff)):
                if not self.routed:
                    out += [(f"{b}.ffn_{k}.weight", [f"{m}.{k}_proj.weight"], [rows, cols], False)]
                    continue
                out += [(f"{b}.ffn_{k}_exps.weight", [f"{m}.experts.{x}.{k}_proj.weight" for x in range(self.experts)],
                         [rows, cols], False)]
        out += [("output_norm.weight", ["model.norm.weight"], [h], True)]
        if not self.tied:
            out += [("output.weight", ["lm_head.weight"], [self.vocab, h], False)]
        return out


def check_tensors(folder, tensors, weights, config):
    wanted = {n: shape for _, names, shape, _ in tensors for n in names}
    for name, shape in wanted.items():
        if name not in weights.at:
            raise Fault(f"{folder}: no tensor {name}")
        if weights.shape(name) != shape:
            raise Fault(f"{folder}: {name} is {weights.shape(name)}; the configuration makes it {shape}")
    spare = [n for n in weights.at if n not in wanted and not (config.tied and n == "lm_head.weight")]
    if spare:
        raise Fault(f"{folder}: {len(spare)} tensors have no place in a {config.title}, the first is {sorted(spare)[0]}")


# ---- tokenizer ----
class Tokens:
    """tokenizer.json: texts and types by id, merges by rank, padded to the embedding's rows."""

    def __init__(self, folder, n_vocab):
        from gguf import TokenType
        path = folder / "tokenizer.json"
        t = read_json(path)
        model = t.get("model") or {}
        if model.get("type", "BPE") != "BPE" or "merges" not in model:
            raise Fault(f"{path}: the model is {model.get('type')!r}; only byte-level BPE can be converted")
        self.check_pieces(path, t, model)
        merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        if any(len(m) != 2 or " " in m[0] + m[1] for m in merges):
            raise Fault(f"{path}: a merge is not two tokens")
        self.merges = [" ".join(m) for m in merges]
        self.texts, self.types = [None] * n_vocab, [TokenType.UNUSED] * n_vocab
        added = {a["id"]: a for a in t.get("added_tokens", [])}
        for text, i in [*model["vocab"].items(), *((a["content"], i) for i, a in added.items())]:
            if not 0 <= i < n_vocab:
                raise Fault(f"{path}: {text!r} has the id {i}; the embedding has {n_vocab} rows")
            if self.texts[i] not in (None, text):
                raise Fault(f"{path}: {self.texts[i]!r} and {text!r} both have the id {i}")
            self.texts[i] = text
            # As llama.cpp: what looks like <|this|> is a control token, whatever the flag says.
            look = text.startswith("<|") and text.endswith("|>")
            self.types[i] = (TokenType.NORMAL if i not in added else
                             TokenType.CONTROL if added[i].get("special") or look else TokenType.USER_DEFINED)
        self.n_used = sum(x is not None for x in self.texts)
        self.texts = [f"[PAD{i}]" if x is None else x for i, x in enumerate(self.texts)]
        self.id = {x: i for i, x in enumerate(self.texts)}
        if len(self.id) != n_vocab:
            raise Fault(f"{path}: two tokens have the same text")

    @staticmethod
    def check_pieces(path, t, model):
        """The rules that `tokenizer.ggml.pre = qwen2` stands for."""
        norm = t.get("normalizer") or {}
        if norm.get("type") != "NFC":
            raise Fault(f"{path}: the normalizer is {norm.get('type')!r}; Qwen2's is 'NFC'")
        pre = t.get("pre_tokenizer") or {}
        steps = pre.get("pretokenizers", [pre])
        split = [s for s in steps if s.get("type") == "Split"]
        level = [s for s in steps if s.get("type") == "ByteLevel"]
        if (len(steps) != 2 or not split or not level or split[0].get("pattern") != {"Regex": SPLIT} or
                split[0].get("behavior") != "Isolated" or split[0].get("invert") or
                level[0].get("use_regex", True) or level[0].get("add_prefix_space")):
            raise Fault(f"{path}: the pre-tokenizer is not Qwen2's")
        for key in ("byte_fallback", "ignore_merges", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(key):
                raise Fault(f"{path}: model.{key} is {model[key]!r}; only without it can it be converted")

    def find(self, path, text):
        if text not in self.id:
            raise Fault(f"{path}: {text!r} is no token of tokenizer.json")
        return self.id[text]


def special_ids(folder, config, tokens):
    """(end of sequence, padding or None): tokenizer_config.json, else config.json, else Qwen's own names."""
    path = folder / "tokenizer_config.json"
    tc = read_json(path, optional=True)

    def pick(word, name):
        v = tc.get(f"{word}_token")
        v = v.get("content") if isinstance(v, dict) else v
        if v is not None:
            return tokens.find(path, v)
        v = config.c.get(f"{word}_token_id")
        v = v[0] if isinstance(v, list) and v else v
        if v is not None:
            if not isinstance(v, int) or not 0 <= v < len(tokens.texts):
                raise Fault(f"{config.path}: {word}_token_id {v!r} is not below the vocabulary's {len(tokens.texts)}")
            return v
        return tokens.id.get(name)
    eos = pick("eos", "<|im_end|>")
    if eos is None:
        raise Fault(f"{folder}: no end-of-sequence token: neither eos_token, nor eos_token_id, nor <|im_end|>")
    return eos, pick("pad", "<|endoftext|>"), tc.get("chat_template")


# ---- the file ----
def put_metadata(w, o, folder, config, tokens, ftype):
    import gguf
    w.add_type("model")
    w.add_name(o.name or folder.resolve().name)
    for text, put in ((o.description, w.add_description), (o.license, w.add_license)):
        if text:
            put(text)
    defaults = read_json(folder / "generation_config.json", optional=True)
    if o.greedy or defaults.get("do_sample") is False:
        w.add_sampling_temp(0.0)
    elif defaults.get("do_sample"):
        for key, put in (("temperature", w.add_sampling_temp), ("top_k", w.add_sampling_top_k), ("top_p", w.add_sampling_top_p),
                         ("min_p", w.add_sampling_min_p)):
            if key in defaults:
                put(defaults[key])
    w.add_file_type(ftype)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(config.layers)
    w.add_context_length(config.context)
    w.add_embedding_length(config.hidden)
    if "intermediate_size" in config.c:  # with experts: of dense layers, which there are none of; others ask for it
        w.add_feed_forward_length(config.n("intermediate_size"))
    w.add_head_count(config.heads)
    w.add_head_count_kv(config.kv_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_layer_norm_rms_eps(config.eps)
    w.add_rope_freq_base(config.theta)
    if config.routed:
        w.add_expert_count(config.experts)
        w.add_expert_used_count(config.used)
        w.add_expert_feed_forward_length(config.ff)
    if config.rope:
        kind = config.rope.get("rope_type", config.rope.get("type"))
        if kind not in ("linear", "yarn") or "factor" not in config.rope:
            raise Fault(f"{config.path}: rope scaling {config.rope}: only linear and yarn with a factor can be converted")
        known = {"rope_type", "type", "factor", "original_max_position_embeddings", "rope_theta", "beta_fast", "beta_slow",
                 "attention_factor"}
        for key in sorted(set(config.rope) - known):
            if config.rope[key] is not None and not (key == "truncate" and config.rope[key] is True):
                raise Fault(f"{config.path}: rope scaling: {key} has no place in a GGUF of this architecture")
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(float(config.rope["factor"]))
        if "original_max_position_embeddings" in config.rope:
            w.add_rope_scaling_orig_ctx_len(config.rope["original_max_position_embeddings"])
        for key, put in (("beta_fast", w.add_rope_scaling_yarn_beta_fast), ("beta_slow", w.add_rope_scaling_yarn_beta_slow),
                         ("attention_factor", w.add_rope_scaling_yarn_attn_factor)):
            if kind == "yarn" and config.rope.get(key) is not None:
                put(float(config.rope[key]))

    eos, pad, template = special_ids(folder, config, tokens)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens.texts)
    w.add_token_types(tokens.types)
    w.add_token_merges(tokens.merges)
    w.add_eos_token_id(eos)
    if pad is not None:
        w.add_pad_token_id(pad)
    w.add_add_bos_token(False)
    if o.chat_template:
        template = Path(o.chat_template).read_text(encoding="utf-8")
    elif (folder / "chat_template.jinja").exists():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    elif not isinstance(template, str):
        template = (HERE / "demo" / "chat_template.jinja").read_text(encoding="utf-8")
    w.add_chat_template(template)


def convert(o):
    import gguf
    import numpy as np
    folder, out = Path(o.folder), Path(o.out)
    if not folder.is_dir():
        raise Fault(f"{folder}: not a folder")
    config = Config(folder)
    weights = Weights(folder)
    tensors = config.tensors()
    check_tensors(folder, tensors, weights, config)
    tokens = Tokens(folder, config.vocab)
    Q = gguf.GGMLQuantizationType
    kind, ftype = {"f32": (Q.F32, gguf.LlamaFileType.ALL_F32), "f16": (Q.F16, gguf.LlamaFileType.MOSTLY_F16),
                   "bf16": (Q.BF16, gguf.LlamaFileType.MOSTLY_BF16)}[o.type]

    part = out.with_name(out.name + ".part")  # OUT appears whole or not at all
    try:
        w = gguf.GGUFWriter(part, config.arch)
        put_metadata(w, o, folder, config, tokens, ftype)
        for name, names, shape, f32 in tensors:
            full = ([len(names)] if len(names) > 1 or "_exps." in name else []) + shape
            n = int(np.prod(full, dtype=np.int64))
            t = Q.F32 if f32 else kind
            if t is Q.BF16:  # the writer takes its stored form for an array of bytes
                w.add_tensor_info(name, [*full[:-1], 2 * full[-1]], np.dtype(np.uint8), 2 * n, raw_dtype=t)
            else:
                w.add_tensor_info(name, full, np.dtype(np.float32 if t is Q.F32 else np.float16), n * (4 if t is Q.F32 else 2))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_ti_data_to_file()
        for name, names, _, f32 in tensors:
            a = weights.get(names[0]) if "_exps." not in name else np.stack([weights.get(x) for x in names])
            if not np.isfinite(a).all():
                raise Fault(f"{folder}: {names[0]} holds a value that is no finite number")
            if not f32 and kind is Q.F16 and np.abs(a).max() >= 65520:  # would round to infinity
                raise Fault(f"{folder}: {names[0]} holds a value beyond F16's range: convert with --type bf16 or f32")
            w.write_tensor_data(gguf.quantize(a, Q.F32 if f32 else kind))
        w.close()
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    n = sum(int(np.prod(weights.shape(x), dtype=np.int64)) for _, names, _, _ in tensors for x in names)
    print(f"{out}: {out.stat().st_size} bytes, {len(tensors)} tensors, {n} parameters, {tokens.n_used} tokens of {config.vocab}")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder")
    a.add_argument("out")
    a.add_argument("--type", choices=["f32", "f16", "bf16"], default="f16", help="of the weight matrices (default f16)")
    a.add_argument("--name", help="general.name; default: the folder's")
    a.add_argument("--description", help="general.description")
    a.add_argument("--license", help="general.license")
    a.add_argument("--greedy", action="store_true", help="general.sampling.temp = 0: the model is meant for greedy decoding")
    a.add_argument("--chat-template", help="a file; default: the folder's own, else tools/demo/chat_template.jinja")
    o = a.parse_args()
    needs("gguf", {"gguf": "gguf==0.19.0", "numpy": "numpy"})
    try:
        convert(o)
    except (Fault, OSError) as e:
        sys.exit(f"to_gguf: {e}")


if __name__ == "__main__":
    main()
