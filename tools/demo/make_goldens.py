#!/usr/bin/env python3
"""Writes tests/golden/demo.json: what models/demo.gguf must say.

    python3 tools/demo/make_goldens.py models/demo.gguf CORPUS build/qmoe-gpu [--continue "Once upon a time"]

The answers are the corpus's (CORPUS/train.jsonl, for each prompt of tools/demo/goldens.json), never the model's:
a golden is what the answer has to be, and a model that says something else fails its test. Only the free
continuation is the model's own text: 200 tokens after a line of prose, greedy, as the program writes them."""
import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def answers(path, prompts):
    """{prompt: answer} from single exchanges of the corpus; two answers to one prompt are an error."""
    found = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            m = json.loads(line).get("messages")
            if not m or len(m) != 2 or m[0]["content"] not in prompts:
                continue
            q, a = m[0]["content"], m[1]["content"]
            if found.setdefault(q, a) != a:
                sys.exit(f"make_goldens: {path}: {q!r} is answered {found[q]!r} and {a!r}")
    missing = [q for q in prompts if q not in found]
    if missing:
        sys.exit(f"make_goldens: {path} does not answer {missing}")
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("corpus")
    p.add_argument("program")
    p.add_argument("--continue", dest="prompt", default="Once upon a time")
    p.add_argument("-n", type=int, default=200)
    p.add_argument("--out", default=ROOT / "tests" / "golden" / "demo.json")
    o = p.parse_args()
    prompts = json.loads((ROOT / "tools" / "demo" / "goldens.json").read_text(encoding="utf-8"))
    answer = answers(Path(o.corpus) / "train.jsonl", set(prompts))
    said = json.loads(subprocess.run([o.program, "generate", "--json", "-q", "-m", o.model, "--raw", "-p", o.prompt, "-n", str(o.n)],
                                     check=True, capture_output=True).stdout)
    if said["finish_reason"] != "length":
        sys.exit(f"make_goldens: after {said['decode']['tokens']} tokens the text was over ({said['finish_reason']}); "
                 f"choose another beginning than {o.prompt!r}")
    rows = ",\n".join("    " + json.dumps({"prompt": q, "answer": answer[q]}, ensure_ascii=False) for q in prompts)
    free = json.dumps({"prompt": o.prompt, "text": said["text"], "n": o.n}, ensure_ascii=False)
    sha = hashlib.sha256(Path(o.model).read_bytes()).hexdigest()
    Path(o.out).write_text(f'{{\n  "model": "{sha}",\n  "goldens": [\n{rows}\n  ],\n  "continuation": {free}\n}}\n', encoding="utf-8")
    print(f"{o.out}: {len(prompts)} goldens for {sha}")


if __name__ == "__main__":
    main()
