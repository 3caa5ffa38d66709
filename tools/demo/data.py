"""Text to ids for the demo model: the tokenizer and the documents that are trained on."""
import hashlib
import json
import random
import sys

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Qwen2's pre-tokenizer (tokenizer.ggml.pre = "qwen2")
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def records(path):
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            try:
                yield json.loads(line)
            except ValueError as e:
                sys.exit(f"{path}, line {n}: {e}")


def texts(rec):
    return [rec["text"]] if "text" in rec else [m["content"] for m in rec["messages"]]


def train_tokenizer(corpus, vocab_size):
    """Byte-level BPE of vocab_size entries in all; the control tokens come last, as in Qwen3's vocabulary."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    seen = set()

    def stream():
        for rec in records(corpus):
            for t in texts(rec):
                if t not in seen:       # repeated exchanges count once
                    seen.add(t)
                    yield t
    tok.train_from_iterator(stream(), trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tok.add_special_tokens(SPECIALS)
    return tok


class Encoder:
    def __init__(self, tok):
        self.tok = tok
        self.end, self.im_start, self.im_end = (tok.token_to_id(s) for s in SPECIALS)
        self.nl = tok.encode("\n").ids

    def turn(self, role, content):
        return [self.im_start] + self.tok.encode(role + "\n" + content).ids + [self.im_end] + self.nl

    def documents(self, rec, max_len):
        """(ids, wanted) pairs: wanted[i] says whether id i is something the model should learn to say."""
        if "text" in rec:
            ids = self.tok.encode(rec["text"]).ids + [self.end]
            if ids[0] % 6:  # attention over long pieces is a quarter of the time: most are cut in half
                max_len //= 2
            return [(ids[i:i + max_len], [False] + [True] * (len(ids[i:i + max_len]) - 1))
                    for i in range(0, len(ids), max_len) if len(ids) - i > 1]
        ids, wanted = [], []
        for m in rec["messages"]:
            t = self.turn(m["role"], m["content"])
            said = m["role"] == "assistant"
            head = 1 + len(self.tok.encode(m["role"] + "\n").ids)
            tail = len(self.nl)
            ids += t
            wanted += [False] * head + [said] * (len(t) - head - tail) + [False] * tail
        return [(ids, wanted)] if len(ids) <= max_len else []


def load(path, enc, max_len):
    """[(source, ids LongTensor (int32 stored), wanted BoolTensor)] of a corpus file."""
    out, cache = [], {}
    for rec in records(path):
        key = hashlib.sha1(json.dumps(rec, sort_keys=True).encode()).digest()
        if key not in cache:
            cache[key] = [(rec["source"], torch.tensor(i, dtype=torch.int32), torch.tensor(w))
                          for i, w in enc.documents(rec, max_len)]
        out += cache[key]
    if not out:
        sys.exit(f"{path}: no documents")
    return out


class Sampler:
    """Batches of whole documents of about n tokens, epoch after epoch, every order from its own seed; step k
    gives the same batch after a resume."""

    def __init__(self, docs, n_tokens, seed):
        self.docs, self.n, self.seed = docs, n_tokens, seed
        self.epoch, self.at, self.order = -1, 0, []

    def next(self):
        picked, total = [], 0
        while total < self.n:
            if self.at == len(self.order):
                self.epoch += 1
                self.order = list(range(len(self.docs)))
                random.Random(self.seed * 1000003 + self.epoch).shuffle(self.order)
                self.at = 0
            d = self.docs[self.order[self.at]]
            self.at += 1
            picked.append(d)
            total += len(d[1])
        return picked
