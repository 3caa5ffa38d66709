#!/usr/bin/env python3
"""Do llama.cpp and the goldens agree? Runs the model in llama.cpp, greedily, for every prompt of
tests/golden/demo.json and for its free continuation, and prints a table of what it said.

    python3 tools/peers/llama_greedy.py models/demo.gguf > tests/golden/demo_llama.txt

The prompts go in as our own token ids (runtime/text/chatml.c, through tools/tok_cli.c); that llama.cpp makes
the same ids from its chat template and tokenizer is checked as well. Where its words leave ours, the lead
of its likeliest token over the second one at that place, in nats, is given: below --tie (0.1) the two were as
good as equal and either may win, since llama.cpp rounds activations to 8 bits and we do not. Exit status 1 if
any difference is left without such a reason. The first run installs llama.cpp (tools/peers/llama.py)."""
import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from llama import Llama  # finds what is in tools/, too
from needs import needs
from tok_compare import CHAT, ask, build_cli

ROOT = Path(__file__).resolve().parent.parent.parent


def lead_at_parting(m, prompt, ids, want):
    """The lead that llama.cpp's likeliest token has where its answer `ids` leaves the wanted text; None if it
    does not tell (the token is half a character)."""
    n = 0
    while n < len(ids) and want.startswith(m.text(ids[:n + 1])):
        n += 1
    said = m.greedy(prompt + ids[:n], 1)["leads"]
    return said[0][2] if said else None


def judge(m, prompt, said, want, must_end, tie):
    """(verdict, lead where they part)"""
    if said["text"] == want and (said["eog"] or not must_end):
        return "same", None
    lead = lead_at_parting(m, prompt, said["ids"], want)
    return ("near tie" if lead is not None and lead < tie else "DIFFERS"), lead


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--goldens", default=ROOT / "tests" / "golden" / "demo.json")
    p.add_argument("--tie", type=float, default=0.1, help="nats; a lead below it is a near tie (0.1)")
    p.add_argument("--any-model", action="store_true", help="also a model that the goldens were not made for")
    o = p.parse_args()
    needs("llama", {"xllamacpp": "xllamacpp"})
    gold = json.loads(Path(o.goldens).read_text(encoding="utf-8"))
    sha = hashlib.sha256(Path(o.model).read_bytes()).hexdigest()
    if sha != gold["model"] and not o.any_model:
        sys.exit(f"llama_greedy: {o.model} has the SHA-256 {sha}; the goldens are for {gold['model']}")
    free = gold["continuation"]
    prompts = [(g["prompt"].encode(), CHAT) for g in gold["goldens"]] + [(free["prompt"].encode(), 0)]
    ids = [x for x, _ in ask(build_cli(), o.model, prompts)]
    # The library talks to both streams while it works; the table goes where it was meant to go, at the end.
    keep = os.dup(1)
    os.dup2(2, 1)
    m = Llama(o.model, n_ctx=1024)
    rows, others, worst = [], 0, None
    for g, mine in zip(gold["goldens"], ids):
        others += m.tokenize(m.chat([{"role": "user", "content": g["prompt"]}])) != mine
        said = m.greedy(mine, 128)
        verdict, lead = judge(m, mine, said, g["answer"], True, o.tie)
        least = min((x for _, _, x in said["leads"]), default=None)
        worst = least if worst is None or least is not None and least < worst else worst
        rows.append((verdict, lead, least, len(said["ids"]), g["prompt"], g["answer"], said["text"], said["eog"]))
    others += m.tokenize(free["prompt"], special=False) != ids[-1]
    said = m.greedy(ids[-1], free["n"])
    verdict, lead = judge(m, ids[-1], said, free["text"], False, o.tie)
    del m
    os.dup2(keep, 1)

    print(f"The demo model in llama.cpp (xllamacpp {llama_version()}), greedy, against tests/golden/demo.json; tools/peers/llama_greedy.py")
    print(f"model {sha}\n\nverdict   least lead  tokens  prompt => answer")
    for v, at, least, n, prompt, answer, text, eog in rows:
        print(f"{v:8}  {'-' if least is None else f'{least:.3f}':>10}  {n:6}  {prompt} => {answer}".replace("\n", "\\n"))
        if v != "same":
            print(f"          llama.cpp: {text!r}{'' if eog else ' (and did not end)'}, lead there {at}")
    same = sum(r[0] == "same" for r in rows)
    parted = "" if verdict == "same" else f", where its words part with a lead of {lead} nats after {common(said['text'], free['text'])} of {len(free['text'])} characters"
    bad = sum(r[0] == "DIFFERS" for r in rows) + (verdict == "DIFFERS") + others
    print(f"\ngoldens: {same} of {len(rows)} the same, {sum(r[0] == 'near tie' for r in rows)} parted at a near tie (lead below {o.tie} nats); "
          f"least lead of all {worst}")
    print(f"continuation of {free['n']} tokens: {verdict}{parted}")
    print(f"prompts to which llama.cpp's own template and tokenizer give other ids: {others} of {len(ids)}")
    return 1 if bad else 0


def common(a, b):
    return len(os.path.commonprefix([a, b]))


def llama_version():
    from importlib.metadata import version
    return version("xllamacpp")


if __name__ == "__main__":
    sys.exit(main())
