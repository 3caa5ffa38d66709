#!/usr/bin/env python3
"""Writes tests/golden/demo.json: what models/demo.gguf must say.

    python3 tools/demo/make_goldens.py models/demo.gguf CORPUS build/qmoe-gpu [--continue "This is the story of"]

The answers are the corpus's (CORPUS/train.jsonl, for each prompt of tools/demo/goldens.json), never the model's:
a golden is what the answer has to be, and a model that says something else fails its test. Only the free
continuation is the model's own text: 200 tokens after the beginning of a sentence, greedy, as the program writes
them. It has to be readable: whole sentences of words that the corpus has, and nothing said over and over. Of the
beginnings that this script knows the first one that leads to such a text is taken, or the one given by --continue."""
import argparse
import hashlib
import json
import re
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


BEGINNINGS = ["This is the story of Tom and Lucy", "This is the story of", "This is the story of a", "This is the story of Anna", "This is the story of Oscar",
              "A computer is", "A database is", "The first thing to do is", "When a program starts,", "In a file system,",
              "If you want to write a program,", "The most important part of", "When you install a package,"]


def words(text):
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())


def faults(text, known, least=0.97, n=6):
    """What keeps the text from being readable: [] if nothing."""
    w = words(text)
    out = []
    strange = [x for x in w if x not in known]
    if len(strange) > (1 - least) * len(w):
        out.append(f"{len(strange)} of {len(w)} words are no words: {strange[:5]}")
    runs = [tuple(w[i:i + n]) for i in range(len(w) - n + 1)]
    again = len(runs) - len(set(runs))
    if again > len(runs) // 10:  # a tale may have a refrain; a loop has far more
        out.append(f"{again} runs of {n} words are said again")
    long = max((len(words(x)) for x in re.split(r"[.!?:](?:\s|$)", text)), default=0)
    if long > 60:
        out.append(f"a sentence of {long} words")
    if sum(c.isalpha() or c in " \n,.;:'\"-()!?" for c in text) < 0.97 * len(text):
        out.append("too many signs")
    return out


def corpus_words(path):
    """Words that the corpus has three times or more."""
    n = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            r = json.loads(line)
            for t in [r["text"]] if "text" in r else [m["content"] for m in r["messages"]]:
                for x in words(t):
                    n[x] = n.get(x, 0) + 1
    return {x for x, k in n.items() if k >= 3}


def continuation(program, model, beginnings, n, known):
    """The first beginning that goes on for n tokens of readable text."""
    for prompt in beginnings:
        said = json.loads(subprocess.run([program, "generate", "--json", "-q", "-m", model, "--raw", "--temp", "0", "-p", prompt, "-n", str(n)],
                                         check=True, capture_output=True).stdout)
        bad = faults(prompt + said["text"], known)
        if said["finish_reason"] != "length":
            bad.insert(0, f"over after {said['decode']['tokens']} tokens ({said['finish_reason']})")
        print(f"{prompt}{said['text']}\n-- {'; '.join(bad) or 'readable'}\n", file=sys.stderr)
        if not bad:
            return {"prompt": prompt, "text": said["text"], "n": n}
    sys.exit("make_goldens: no beginning leads to a readable text; give another by --continue")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("corpus")
    p.add_argument("program")
    p.add_argument("--continue", dest="prompt", action="append", help="may be given several times")
    p.add_argument("-n", type=int, default=200)
    p.add_argument("--out", default=ROOT / "tests" / "golden" / "demo.json")
    o = p.parse_args()
    prompts = json.loads((ROOT / "tools" / "demo" / "goldens.json").read_text(encoding="utf-8"))
    answer = answers(Path(o.corpus) / "train.jsonl", set(prompts))
    known = corpus_words(Path(o.corpus) / "train.jsonl")
    free = continuation(o.program, o.model, o.prompt or BEGINNINGS, o.n, known)
    rows = ",\n".join("    " + json.dumps({"prompt": q, "answer": answer[q]}, ensure_ascii=False) for q in prompts)
    free = json.dumps(free, ensure_ascii=False)
    sha = hashlib.sha256(Path(o.model).read_bytes()).hexdigest()
    Path(o.out).write_text(f'{{\n  "model": "{sha}",\n  "goldens": [\n{rows}\n  ],\n  "continuation": {free}\n}}\n', encoding="utf-8")
    print(f"{o.out}: {len(prompts)} goldens for {sha}")


if __name__ == "__main__":
    main()
