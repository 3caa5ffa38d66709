#!/usr/bin/env python3
"""Makes the fixtures of the parity gates (tests/support/gates.h) anew: what Hugging Face transformers and llama.cpp make
of the same tokens, for small random models and for the demo model.

    python3 tools/peers/fixtures.py build/qmoe-gpu [tiny] [dense] [demo]       default: all three
    python3 tools/peers/fixtures.py build/qmoe-gpu llama32             only *_llama32.lp, of the sequences that are there
    python3 tools/peers/fixtures.py build/qmoe-gpu rope                tests/golden/hf_{rope_*,bias}.{json,f32} (unit_hf)
    python3 tools/peers/fixtures.py build/qmoe-gpu qwen3               tests/golden/hf_qwen3*.{json,f32} (unit_hf)
    python3 tools/peers/fixtures.py build/qmoe-gpu qwen2               tests/golden/hf_qwen2*.{json,f32} (unit_hf)

  tests/golden/peers/tiny_PEER.lp           20 sequences of random ids, every position
  tests/golden/peers/dense_PEER.lp          8 sequences of random ids, of a Qwen3 without experts
  tests/golden/peers/demo_PEER.lp           24 prompts in the chat format, with llama.cpp's greedy answers, every position
  tests/golden/peers/text_PEER.lp           2048 tokens of text in chunks of 512, the second halves: as perplexity takes them
  tests/golden/peers/{tiny,demo}_hf.f32     full logits at the end of the first 8 sequences; dense: 4

PEER: hf, Hugging Face in f32; llama, llama.cpp on the file; llama32, llama.cpp on the file's weights in F32.

The first run installs what tools/peers/llama.py and hf_logits.py ask for."""
import json
import os
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT, TMP = ROOT / "tests" / "golden" / "peers", ROOT / "build" / "peers"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "demo")]
from needs import show_help  # noqa: E402

show_help(__doc__)
import logprobs  # noqa: E402
from llama import Llama  # noqa: E402

PROMPTS, ANSWER, CHUNK = 24, 24, 512


def peers(name, model, seqs, k, logits, only=None, n_rows=8):
    path = TMP / f"{name}.json"
    path.write_text(json.dumps([s._asdict() for s in seqs]))
    rows = ["--logits", str(OUT / f"{name}_hf.f32"), "--rows", str(n_rows)] if logits else []
    env = {k: v for k, v in os.environ.items() if k != "QMOE_NEEDS_AGAIN"}  # each finds its own packages
    for peer, more in only or (("hf", rows), ("llama", []), ("llama32", ["--f32"])):
        tool = HERE / f"{peer.removesuffix('32')}_logprobs.py"
        subprocess.run([sys.executable, str(tool), str(model), str(path), str(OUT / f"{name}_{peer}.lp"), "--k", str(k), *more],
                       check=True, env=env)


def tiny_model(qmoe):
    model = TMP / "tiny.gguf"
    subprocess.run([qmoe, "synth", "--preset", "tiny", "--seed", "1", "-o", str(model)], check=True)
    return model


def demo_model():
    return Path(os.environ.get("QMOE_DEMO") or ROOT / "models" / "demo.gguf")


def tiny(qmoe):
    model, r = tiny_model(qmoe), random.Random(1)
    peers("tiny", model, [logprobs.Seq([r.randrange(2000) for _ in range(24)], 0, 24) for _ in range(20)], 20, True)


def dense(qmoe):
    model, r = TMP / "dense.gguf", random.Random(5)
    subprocess.run([qmoe, "synth", "--preset", "tiny-dense", "--seed", "1", "-o", str(model)], check=True)
    peers("dense", model, [logprobs.Seq([r.randrange(2000) for _ in range(24)], 0, 24) for _ in range(8)], 20, True, None, 4)


def llama32(qmoe):
    for name, model in (("tiny", tiny_model(qmoe)), ("demo", demo_model()), ("text", demo_model())):
        hf = logprobs.read(OUT / f"{name}_hf.lp")
        peers(name, model, hf.seqs, hf.k, False, [("llama32", ["--f32"])])


# Rotary settings and biases of tests/unit/unit_hf.c: positions on both sides of YaRN's original context.
YARN = {"rope.freq_base": 1e4, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 256}
ROPE = {
    "hf_rope_linear": {"rope.freq_base": 1e4, "rope.scaling.factor": 4.0},  # no type: linear
    "hf_rope_yarn": YARN,
    "hf_rope_yarn_all": YARN | {"rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0,
                                "rope.scaling.yarn_attn_factor": 1.5},
    "hf_bias": {},
}
SHAPE = ("synth --seed 3 --layers 2 --embd 128 --heads 4 --kv-heads 2 --head-dim 128 --experts 8 --experts-used 2 --ff 64 "
         "--vocab 512 --ctx 1024 -t f16")


def rope(qmoe):
    model, r = TMP / "rope.gguf", random.Random(11)
    subprocess.run([qmoe, *SHAPE.split(), "-o", str(model)], check=True)
    ids = TMP / "rope_ids.json"
    ids.write_text(json.dumps([r.randrange(480) for _ in range(300)]))
    env = {k: v for k, v in os.environ.items() if k != "QMOE_NEEDS_AGAIN"}
    for name, said in ROPE.items():
        sets = [a for k, v in said.items() for a in ("--set", f"{k}={v}")]
        subprocess.run([sys.executable, str(HERE / "hf_logits.py"), str(model), "--ids", str(ids), "--out",
                        str(OUT.parent / name), "--keep", "31,64,200,255,256,257,288,299", "--note", f"qmoe-gpu {SHAPE}",
                        *sets, *(["--bias", "0.5"] if not said else [])], check=True, env=env)


# Qwen3 without experts (unit_hf), and the text parts of the models that see: name, synth's options, number of ids below
# what, of which seed, the positions kept, options of hf_logits.py.
TIED = "--preset tiny-dense --seed 2 --layers 2 --embd 256 --heads 4 --kv-heads 2 --ff 512 --vocab 512 --tied --types "
QWEN3 = [("hf_qwen3", "--preset tiny-dense --seed 1", (80, 2048, 3), "0,1,31,32,63,64,78,79", ""),
         *((f"hf_qwen3_{t}", TIED + t, (48, 512, 4), "0,31,32,47", "") for t in ("f16", "bf16", "q8_0")),
         ("hf_qwen3vl", TIED + "f16", (48, 512, 4), "0,31,32,47", "--as qwen3vl"),
         ("hf_qwen3vlmoe", SHAPE.removeprefix("synth "), (300, 480, 11), "31,64,255,256,299", "--as qwen3vlmoe"),
         ("hf_qwen3_bias", "--preset tiny-dense --seed 3 --layers 2 --embd 128 --heads 4 --kv-heads 2 --ff 256 --vocab 512 "
          "--ctx 1024 --types f16", (300, 480, 11), "0,31,32,255,256,257,298,299", "--bias 0.1 --set rope.scaling.type=yarn "
          "--set rope.scaling.factor=4 --set rope.scaling.original_context_length=256")]


# Qwen2: biases in the file, no norms of q and k, heads of 64 with 7 queries a key as in the 0.5B, of 128 as in the others.
QWEN2 = [("hf_qwen2", "--preset tiny-qwen2 --seed 1", (80, 2048, 3), "0,1,31,32,63,64,78,79", ""),
         ("hf_qwen2_tied", "--preset tiny-qwen2 --seed 2 --layers 2 --embd 448 --heads 7 --kv-heads 1 --head-dim 64 --ff 640 "
          "--vocab 512 --tied --types q8_0", (48, 512, 4), "0,31,32,47", ""),
         ("hf_qwen2_yarn", "--preset tiny-qwen2 --seed 3 --layers 2 --embd 256 --heads 2 --kv-heads 1 --ff 256 --vocab 512 "
          "--ctx 1024 --types f16", (300, 480, 11), "0,31,32,255,256,257,298,299", "--set rope.scaling.type=yarn "
          "--set rope.scaling.factor=4 --set rope.scaling.original_context_length=256")]


def dense_models(qmoe, models):
    env = {k: v for k, v in os.environ.items() if k != "QMOE_NEEDS_AGAIN"}
    for name, shape, (n, below, seed), keep, more in models:
        model, ids, r = TMP / f"{name}.gguf", TMP / f"{name}.json", random.Random(seed)
        subprocess.run([qmoe, "synth", *shape.split(), "-o", str(model)], check=True)
        ids.write_text(json.dumps([r.randrange(below) for _ in range(n)]))
        subprocess.run([sys.executable, str(HERE / "hf_logits.py"), str(model), "--ids", str(ids), "--out", str(OUT.parent / name),
                        "--keep", keep, "--note", f"qmoe-gpu synth {shape}", *more.split()], check=True, env=env)


def prose():
    """Stories, which the demo model knows, and our own documents, which it does not."""
    import stories
    r = random.Random(7)
    tales = "\n\n".join(stories.story(r) for _ in range(40))
    return tales, (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")


def demo():
    model = demo_model()
    m = Llama(model, n_ctx=1024, threads=1)
    prompts = json.loads((HERE.parent / "demo" / "goldens.json").read_text(encoding="utf-8"))[:PROMPTS]
    chats = []
    for p in prompts:
        ids = m.tokenize(m.chat([{"role": "user", "content": p}]))
        ids += m.greedy(ids, ANSWER)["ids"]
        chats.append(logprobs.Seq(ids, 0, len(ids)))
    chunks = []
    for text in prose():
        ids = m.tokenize(text, special=False)[:2 * CHUNK]
        assert len(ids) == 2 * CHUNK, f"a text of {len(ids)} tokens"
        chunks += [logprobs.Seq(ids[i:i + CHUNK], CHUNK // 2, CHUNK - 1) for i in (0, CHUNK)]
    del m
    peers("demo", model, chats, 20, True)
    peers("text", model, chunks, 32, False)


if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - {"tiny", "dense", "demo", "llama32", "rope", "qwen3", "qwen2"}:
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    TMP.mkdir(parents=True, exist_ok=True)
    which = sys.argv[2:] or ["tiny", "dense", "demo"]
    if "tiny" in which:
        tiny(sys.argv[1])
    if "dense" in which:
        dense(sys.argv[1])
    if "demo" in which:
        demo()
    if "llama32" in which:
        llama32(sys.argv[1])
    if "rope" in which:
        rope(sys.argv[1])
    if "qwen3" in which:
        dense_models(sys.argv[1], QWEN3)
    if "qwen2" in which:
        dense_models(sys.argv[1], QWEN2)
