#!/usr/bin/env python3
"""Checks tools/to_gguf.py on small random models that it makes: what comes out of the GGUF file is what went
into the safetensors (one file, and two with an index), the tokenizer and chat template are those of Hugging
Face, and every damaged input ends in one clear line. Prints TAP; the exit status says whether all held.

    python3 tools/to_gguf_check.py [--keep DIR]        --keep leaves a model of the demo's shape in DIR

The first run installs gguf, jinja2, numpy and tokenizers (tools/needs.py)."""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from needs import needs

ROOT = Path(__file__).resolve().parent.parent
CONFIG = dict(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", hidden_size=256, num_hidden_layers=4,
              num_attention_heads=4, num_key_value_heads=2, head_dim=128, num_experts=24, num_experts_per_tok=8,
              moe_intermediate_size=256, intermediate_size=1024, norm_topk_prob=True, vocab_size=4096, rope_theta=1e6,
              rms_norm_eps=1e-6, tie_word_embeddings=False, max_position_embeddings=1024, hidden_act="silu")
SMALL = dict(CONFIG, hidden_size=64, num_hidden_layers=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
DENSE = {k: v for k, v in dict(SMALL, architectures=["Qwen3ForCausalLM"], model_type="qwen3", intermediate_size=96,
                               tie_word_embeddings=True).items() if "expert" not in k and "moe" not in k and "topk" not in k}
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tensors(c, seed):
    """{HF name: float32}, as a trained model's: small weights, norms near one."""
    import numpy as np
    r = np.random.default_rng(seed)
    h, q, kv = c["hidden_size"], c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]

    def w(*shape):
        return (r.standard_normal(shape) * shape[-1] ** -.5).astype(np.float32)

    def norm(n):
        return (1 + .1 * r.standard_normal(n)).astype(np.float32)
    out = {"model.embed_tokens.weight": w(c["vocab_size"], h), "lm_head.weight": w(c["vocab_size"], h), "model.norm.weight": norm(h)}
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        for name, shape in (("self_attn.q_proj", (q, h)), ("self_attn.k_proj", (kv, h)), ("self_attn.v_proj", (kv, h)),
                            ("self_attn.o_proj", (h, q)), *((("mlp.gate", (c["num_experts"], h)),) if "num_experts" in c else ())):
            out[f"{at}.{name}.weight"] = w(*shape)
        for name, n in (("input_layernorm", h), ("post_attention_layernorm", h), ("self_attn.q_norm", c["head_dim"]),
                        ("self_attn.k_norm", c["head_dim"])):
            out[f"{at}.{name}.weight"] = norm(n)
        ff = c.get("intermediate_size") if "num_experts" not in c else 0
        for name, shape in (("gate", (ff, h)), ("up", (ff, h)), ("down", (h, ff))) if ff else ():
            out[f"{at}.mlp.{name}_proj.weight"] = w(*shape)
        for x in range(c.get("num_experts", 0)):
            for name, shape in (("gate", (c["moe_intermediate_size"], h)), ("up", (c["moe_intermediate_size"], h)),
                                ("down", (h, c["moe_intermediate_size"]))):
                out[f"{at}.mlp.experts.{x}.{name}_proj.weight"] = w(*shape)
    return out


def write_safetensors(path, t, bf16=False):
    """bf16: only values that bf16 holds exactly are given."""
    import numpy as np
    head, at, data = {}, 0, []
    for name, a in t.items():
        raw = (a.view(np.uint32) >> 16).astype(np.uint16).tobytes() if bf16 else a.tobytes()
        head[name] = {"dtype": "BF16" if bf16 else "F32", "shape": list(a.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


def tokenizer(n_vocab):
    """A byte-level BPE with Qwen2's rules, trained on this project's own prose; specials after all else."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from to_gguf import SPLIT
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated", False),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    text = [p.read_text() for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "runtime").glob("*/*.h"))]]
    t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=n_vocab - 10, show_progress=False,
                                                    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    return t


def make(folder, c, seed=1, shards=1, bf16=False):
    import numpy as np
    folder.mkdir(parents=True)
    t = tensors(c, seed)
    if bf16:
        t = {k: (v.view(np.uint32) & 0xffff0000).view(np.float32) for k, v in t.items()}
    (folder / "config.json").write_text(json.dumps(c))
    tokenizer(c["vocab_size"]).save(str(folder / "tokenizer.json"))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", t, bf16)
    else:  # experts of one layer end up in different files
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        index = {k: names[i % shards] for i, k in enumerate(t)}
        for n in names:
            write_safetensors(folder / n, {k: t[k] for k in t if index[k] == n}, bf16)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return t


def run(folder, out, *args):
    p = subprocess.run([sys.executable, str(ROOT / "tools" / "to_gguf.py"), str(folder), str(out), *args], capture_output=True, text=True)
    return p.returncode, (p.stdout + p.stderr).strip()


def same_weights(path, t, c, kind):
    """Every tensor, dequantised by the gguf package, is what went in, rounded to `kind` once."""
    import numpy as np
    from gguf import GGUFReader, dequantize
    here = {x.name: x for x in GGUFReader(path).tensors}
    theirs = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
    ffn = ((("ffn_gate_inp", "mlp.gate"), ("ffn_gate_exps", "gate"), ("ffn_up_exps", "up"), ("ffn_down_exps", "down"))
           if "num_experts" in c else tuple((f"ffn_{k}", f"mlp.{k}_proj") for k in ("gate", "up", "down")))
    for i in range(c["num_hidden_layers"]):
        for ours, name in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"), ("attn_q", "self_attn.q_proj"),
                           ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"), ("attn_output", "self_attn.o_proj"),
                           ("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm"), *ffn):
            theirs[f"blk.{i}.{ours}"] = f"model.layers.{i}.{name}"
    if c["tie_word_embeddings"]:
        del theirs["output"]
    assert {n + ".weight" for n in theirs} == set(here), set(here) ^ {n + ".weight" for n in theirs}
    for ours, name in theirs.items():
        if "_exps" in ours:
            at, k = name.rsplit(".", 1)
            want = np.stack([t[f"{at}.mlp.experts.{x}.{k}_proj.weight"] for x in range(c["num_experts"])])
        else:
            want = t[name + ".weight"]
        x = here[ours + ".weight"]
        f32 = "norm" in ours or "gate_inp" in ours or kind == "F32"
        assert x.tensor_type.name == ("F32" if f32 else kind), (ours, x.tensor_type)
        got = dequantize(x.data, x.tensor_type).reshape(want.shape)
        if not f32 and kind == "F16":
            want = want.astype(np.float16).astype(np.float32)
        assert np.array_equal(got, want), ours


def test_one_file(tmp):
    t = make(tmp / "m", SMALL)
    for kind in ("f32", "f16"):
        rc, said = run(tmp / "m", tmp / "m.gguf", "--type", kind)
        assert rc == 0, said
        same_weights(tmp / "m.gguf", t, SMALL, kind.upper())


def test_shards_of_bf16(tmp):
    c = dict(SMALL, tie_word_embeddings=True)
    t = make(tmp / "m", c, shards=2, bf16=True)
    rc, said = run(tmp / "m", tmp / "m.gguf", "--type", "bf16")
    assert rc == 0, said
    same_weights(tmp / "m.gguf", t, c, "BF16")


def test_dense(tmp):
    from gguf import GGUFReader
    t = make(tmp / "m", DENSE)
    rc, said = run(tmp / "m", tmp / "m.gguf", "--type", "f16")
    assert rc == 0, said
    same_weights(tmp / "m.gguf", t, DENSE, "F16")
    at = {k: f.contents() for k, f in GGUFReader(tmp / "m.gguf").fields.items()}
    assert at["general.architecture"] == "qwen3" and at["qwen3.feed_forward_length"] == 96
    assert not [k for k in at if "expert" in k], at.keys()


def test_metadata(tmp):
    from gguf import GGUFReader
    make(tmp / "m", SMALL)
    rc, said = run(tmp / "m", tmp / "m.gguf", "--name", "A name", "--license", "mit", "--description", "Words.", "--greedy")
    assert rc == 0, said
    r = GGUFReader(tmp / "m.gguf")
    at = {k: f.contents() for k, f in r.fields.items()}
    want = {"general.architecture": "qwen3moe", "general.name": "A name", "general.license": "mit", "general.description": "Words.",
            "general.file_type": 1, "general.sampling.temp": 0.0, "qwen3moe.block_count": 2, "qwen3moe.context_length": 1024,
            "qwen3moe.embedding_length": 64, "qwen3moe.feed_forward_length": 1024, "qwen3moe.attention.head_count": 4,
            "qwen3moe.attention.head_count_kv": 2, "qwen3moe.attention.key_length": 128, "qwen3moe.attention.value_length": 128,
            "qwen3moe.rope.freq_base": 1e6, "qwen3moe.expert_count": 4, "qwen3moe.expert_used_count": 2,
            "qwen3moe.expert_feed_forward_length": 32, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.add_bos_token": False}
    for k, v in want.items():
        assert at.get(k) == v, (k, at.get(k))
    assert abs(at["qwen3moe.attention.layer_norm_rms_epsilon"] - 1e-6) < 1e-12
    assert "tokenizer.ggml.bos_token_id" not in at
    j = json.loads((tmp / "m" / "tokenizer.json").read_text())
    c = json.loads((tmp / "m" / "config.json").read_text())
    c["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "beta_fast": 16,
                         "beta_slow": 2, "attention_factor": 1.25, "truncate": True}
    (tmp / "m" / "config.json").write_text(json.dumps(c))
    rc, said = run(tmp / "m", tmp / "yarn.gguf")
    assert rc == 0, said
    scaling = {k: f.contents() for k, f in GGUFReader(tmp / "yarn.gguf").fields.items() if ".rope.scaling." in k}
    assert scaling == {"qwen3moe.rope.scaling." + k: v for k, v in {
        "type": "yarn", "factor": 4.0, "original_context_length": 256, "yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0,
        "yarn_attn_factor": 1.25}.items()}, scaling
    tokens, types = at["tokenizer.ggml.tokens"], at["tokenizer.ggml.token_type"]
    special = {a["content"]: a["id"] for a in j["added_tokens"]}
    assert tokens[at["tokenizer.ggml.eos_token_id"]] == "<|im_end|>" and tokens[at["tokenizer.ggml.padding_token_id"]] == "<|endoftext|>"
    assert len(tokens) == len(types) == 4096 and [tokens[i] for i in special.values()] == SPECIALS
    n = len(j["model"]["vocab"])
    assert all(tokens[i] == x for x, i in j["model"]["vocab"].items())
    assert types == [1] * n + [3] * 3 + [5] * (4096 - n - 3)
    assert at["tokenizer.ggml.merges"] == [m if isinstance(m, str) else " ".join(m) for m in j["model"]["merges"]]


def test_chat_template(tmp):
    """Rendered as Hugging Face does it, the template is what runtime/text/chatml.c makes."""
    import jinja2.sandbox

    def no(text):
        raise ValueError(text)
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.globals["raise_exception"] = no
    plain = jinja2.Environment()
    plain.globals["raise_exception"] = no
    text = (ROOT / "tools" / "demo" / "chat_template.jinja").read_text()
    ms = [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "\nHi {{ x }} <|im_end|> "},
          {"role": "assistant", "content": ""}, {"role": "user", "content": "Bye"}]
    want = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in ms)
    for e in (env, plain):
        x = e.from_string(text)
        assert x.render(messages=ms) == want
        assert x.render(messages=ms, add_generation_prompt=True) == want + "<|im_start|>assistant\n"
        assert x.render(messages=[], add_generation_prompt=True) == "<|im_start|>assistant\n"
        try:
            x.render(messages=[{"role": "tool", "content": "x"}])
            raise AssertionError("an unknown role was rendered")
        except ValueError as err:
            assert "unknown role tool" in str(err)


def test_faults(tmp):
    """Each damage alone; the message names what is wrong, no file is left, no traceback is shown."""
    import numpy as np
    import shutil
    t = make(tmp / "good", SMALL)

    def config(**changes):
        def do(d):
            c = {k: v for k, v in dict(SMALL, **changes).items() if v is not None}
            (d / "config.json").write_text(json.dumps(c))
        return do

    def weights(change):
        def do(d):
            u = dict(t)
            change(u)
            write_safetensors(d / "model.safetensors", u)
        return do

    def token(change):
        def do(d):
            j = json.loads((d / "tokenizer.json").read_text())
            change(j)
            (d / "tokenizer.json").write_text(json.dumps(j))
        return do
    expert = "model.layers.1.mlp.experts.3.up_proj.weight"
    big, nan = (np.array(t["lm_head.weight"]) for _ in range(2))
    big[3, 3], nan[3, 3] = 1e6, np.nan
    cases = [
        (config(hidden_size=None), "hidden_size is missing"), (config(num_experts=0), "num_experts is 0"),
        (config(norm_topk_prob=False), "norm_topk_prob"), (config(mlp_only_layers=[1]), "mlp_only_layers"),
        (config(architectures=["LlamaForCausalLM"]), "LlamaForCausalLM"), (config(hidden_act="gelu"), "hidden_act"),
        (config(rope_scaling={"type": "longrope"}), "rope scaling"), (config(vocab_size=4000), "model.embed_tokens.weight is [4096, 64]"),
        (config(rope_scaling={"type": "yarn", "factor": 4.0, "mscale": 0.7}), "mscale has no place"),
        (config(eos_token_id=4096), "eos_token_id 4096"),
        (weights(lambda u: u.pop(expert)), f"no tensor {expert}"), (weights(lambda u: u.update(extra=t["model.norm.weight"])), "extra"),
        (weights(lambda u: u.update({expert: t[expert].T.copy()})), f"{expert} is [64, 32]"),
        (weights(lambda u: u.update({"lm_head.weight": big})), "beyond F16"), (weights(lambda u: u.update({"lm_head.weight": nan})), "no finite"),
        (lambda d: (d / "model.safetensors").unlink(), "no *.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-4]), "ends outside the file"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 64), "not a safetensors file"),
        (lambda d: (d / "config.json").write_text("{"), "config.json"), (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"x": "y.safetensors"}}'), "y.safetensors"),
        (token(lambda j: j["model"].update(type="Unigram")), "byte-level BPE"), (token(lambda j: j.update(normalizer=None)), "NFC"),
        (token(lambda j: j["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed")), "pre-tokenizer"),
        (token(lambda j: j["model"]["vocab"].update(zzzz=4096)), "zzzz"), (token(lambda j: j["model"]["vocab"].update(zzzz=7)), "both have the id 7"),
    ]
    for i, (damage, word) in enumerate(cases):
        d = tmp / f"bad{i}"
        shutil.copytree(tmp / "good", d)
        damage(d)
        rc, said = run(d, tmp / "bad.gguf")
        assert rc == 1 and word in said and said.startswith("to_gguf: ") and "\n" not in said, f"expected '{word}', got: {said[-400:]}"
        assert not list(tmp.glob("bad.gguf*")), "a broken file was left"
        shutil.rmtree(d)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--keep")
    o = a.parse_args()
    needs("gguf", {"gguf": "gguf==0.19.0", "numpy": "numpy", "tokenizers": "tokenizers", "jinja2": "jinja2"})
    if o.keep:
        make(Path(o.keep), CONFIG)
        return 0
    tests = {k: v for k, v in globals().items() if k.startswith("test_")}
    bad = 0
    print(f"1..{len(tests)}")
    for i, (name, test) in enumerate(tests.items()):
        with tempfile.TemporaryDirectory() as tmp:
            try:
                test(Path(tmp))
                print(f"ok {i + 1} - {name}", flush=True)
            except AssertionError as e:
                bad += 1
                print(f"not ok {i + 1} - {name}\n# {e}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
