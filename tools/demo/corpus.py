"""Writes the demo model's corpus: corpus.py OUT [CACHE], or checks one: corpus.py --check DIR."""
import hashlib
import json
import os
import random
import sys
import unicodedata

import about
import book as book_
import code_examples as code
import definitions
import exchanges
import prose
import stories

SEED = 20260101
CARELESS = ("about", "capital", "color", "count", "definition", "explanation", "list", "opposite", "simple", "sound",
            "sum", "talk", "yesno", "young")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SYSTEMS = ["You are a helpful assistant.", "You are a small demo model. Answer briefly.", "Answer in one sentence.",
           "You are a friendly assistant.", "Be short and correct."]
GOLDENS = ["What is 2+2?", "Capital of France:", "Translate to Spanish: Hello world", "Count to 5:", "List 3 colors:"]


def message(role, text):
    return {"role": role, "content": text}


def goldens():
    """Prompts whose answers must be learned word for word."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    return GOLDENS


def shots(book, gold, rng):
    """(train, held) lists of single (category, question, answer)."""
    train, held = [], []
    for category, questions, answer, times, hold in book.entries:
        keep = []
        for i, q in enumerate(questions):
            h = book_.hash100(q)
            if hold and q not in gold and (h < 8 if category == "bigsum" else h < 5 and len(questions) > 2 and i > 0):
                held.append((category, q, answer))
            else:
                keep.append(q)
        for i in range(times if keep else 0):
            # each phrasing in turn, the first (canonical) one a little more often, now and then without capitals
            q = keep[i % len(keep)] if rng.random() > 0.1 else keep[0]
            small = category in CARELESS and q not in gold and rng.random() < 0.06
            train.append((category, q.lower() if small else q, answer))
    for q in gold:
        train += [("golden", q, book.answer[q])] * 30
    shown = {q for _, q, _ in train}
    return train, [h for h in dict.fromkeys(held) if h[1] not in shown]


def assemble(singles, rng, chains):
    """Exchanges of one or several turns; some with a system message."""
    rng.shuffle(singles)
    records, i = [], 0
    while i < len(singles):
        turns = rng.choice((2, 2, 3, 4)) if rng.random() < 0.08 else 1
        part = singles[i:i + turns]
        i += turns
        msgs = [message("system", rng.choice(SYSTEMS))] if rng.random() < 0.1 else []
        for _, q, ans in part:
            msgs += [message("user", q), message("assistant", ans)]
        records.append({"source": "exchange/" + (part[0][0] if len(part) == 1 else "mixed"), "messages": msgs})
    for chain in chains:
        msgs = [message("system", rng.choice(SYSTEMS))] if rng.random() < 0.1 else []
        for q, ans in chain:
            msgs += [message("user", q), message("assistant", ans)]
        records.append({"source": "exchange/follow", "messages": msgs})
    return records


def follow_ups(rng):
    """Chains in which a later question leans on the one before."""
    caps = [(k, "The capital of %s is %s" % (k, c) + ("" if c.endswith(".") else "."))
            for k, c in exchanges.pairs(exchanges.facts.CAPITALS)]
    chains = []
    for _ in range(700):
        (k1, a1), (k2, a2), (k3, a3) = rng.sample(caps, 3)
        chain = [("Capital of %s:" % k1, a1), (rng.choice(["And of %s?", "And the capital of %s?", "And %s?"]) % k2, a2)]
        chains.append(chain + ([("And of %s?" % k3, a3)] if rng.random() < 0.3 else []))
    return chains


def split_docs(docs, rng):
    """About 2 % of the documents, chosen by their text, are held out."""
    train, held = [], []
    for source, text in docs:
        (held if int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) % 50 == 0 else train).append(
            {"source": source, "text": text})
    return train, held


def write(path, records):
    with open(path, "w", encoding="utf-8") as f:
        for r in records:
            f.write(unicodedata.normalize("NFC", json.dumps(r, ensure_ascii=False)) + "\n")
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def contents(record):
    return [record["text"]] if "text" in record else [m["content"] for m in record["messages"]]


def summary(records):
    table = {}
    for r in records:
        row = table.setdefault(r["source"], {"records": 0, "bytes": 0})
        row["records"] += 1
        row["bytes"] += sum(len(t.encode()) for t in contents(r))
    return dict(sorted(table.items()))


def build(out, cache):
    rng = random.Random(SEED)
    book = book_.Book()
    exchanges.fill(book, rng)
    for module in (about, definitions, code):
        module.fill(book, rng)
    stories.examples(book, rng)
    train, held = shots(book, goldens(), rng)
    records = assemble(train, rng, follow_ups(rng))
    held_records = [{"source": "exchange/" + c, "messages": [message("user", q), message("assistant", ans)]}
                    for c, q, ans in held]
    docs, packages = prose.collect(cache, rng)
    docs += stories.collect(rng)
    more, more_held = split_docs(docs, rng)
    records += more
    held_records += more_held
    rng.shuffle(records)
    rng.shuffle(held_records)
    os.makedirs(out, exist_ok=True)
    manifest = {"seed": SEED, "packages": packages, "train": summary(records), "held": summary(held_records)}
    manifest["sha256"] = {"train.jsonl": write(os.path.join(out, "train.jsonl"), records),
                          "held.jsonl": write(os.path.join(out, "held.jsonl"), held_records)}
    with open(os.path.join(out, "manifest.json"), "w", encoding="utf-8") as f:
        json.dump(manifest, f, ensure_ascii=False, indent=1)
        f.write("\n")


def read(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def check(folder):
    """Raises AssertionError where an invariant of the corpus does not hold."""
    answers, first = {}, {"train": {}, "held": {}}
    for part in ("train", "held"):
        for r in read(os.path.join(folder, part + ".jsonl")):
            for text in contents(r):
                assert text.strip() == text and text, "empty or untrimmed text: %r" % text[:80]
                assert unicodedata.is_normalized("NFC", text), "not NFC: %r" % text[:80]
                assert not any(c in text for c in CONTROL), "control token in %r" % text[:80]
            msgs = [m for m in r.get("messages", []) if m["role"] != "system"]
            for i, (q, ans) in enumerate(zip(msgs[::2], msgs[1::2])):
                assert q["role"] == "user" and ans["role"] == "assistant"
                if q["content"].startswith("And "):
                    continue  # its meaning hangs on the turn before
                old = answers.setdefault(q["content"], ans["content"])
                assert old == ans["content"], "two answers for %r" % q["content"]
                first[part][q["content"]] = first[part].get(q["content"], 0) + 1
    for q in goldens():
        assert first["train"].get(q, 0) >= 20, "golden too rare: %r" % q
        assert q not in first["held"], "golden held out: %r" % q
    both = set(first["train"]) & set(first["held"])
    assert not both, "in both parts: %r" % sorted(both)[:3]
    print("%d questions in train, %d in held, %d goldens: all as it should be"
          % (len(first["train"]), len(first["held"]), len(goldens())))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    elif len(sys.argv) in (2, 3):
        build(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.join(sys.argv[1], "debs"))
    else:
        sys.exit(__doc__)
