"""logprobs.py: files of log-probabilities (docs/logprobs.md) for the tools that ask others what comes next.

    seqs = [Seq([1, 2, 3], 0, 3)]                   # tokens, first and end of the scored positions
    write("x.lp", "who, from what", n_vocab, k, seqs, records)
    f = read("x.lp")                                # f.note, f.n_vocab, f.k, f.seqs, f.records

A record is (next, rest, [(id, log p)]): the log-probability of the token that follows in the sequence (NaN: none, or
not known), of all that are not named, and of the k likeliest, likeliest first."""
import json
import math
import struct
import zlib
from collections import namedtuple
from pathlib import Path

Seq = namedtuple("Seq", "tokens first end")
File = namedtuple("File", "note n_vocab k seqs records")
MAGIC, RANGE, LEVELS = b"qmoe-lp1", 32.0, 65535


def crc(path):
    """CRC-32 of a model file: ties a fixture to its model."""
    v = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            v = zlib.crc32(block, v)
    return v


def note(who, model):
    return f"{who}; {Path(model).name}, CRC-32 {crc(model):08x}"


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def write(path, about, n_vocab, k, seqs, records):
    about = about.encode()
    out = [MAGIC, struct.pack("<4I", n_vocab, k, len(seqs), len(about)), about]
    out += [struct.pack("<3I", len(s.tokens), s.first, s.end) for s in seqs]
    out += [struct.pack(f"<{len(s.tokens)}I", *s.tokens) for s in seqs]
    n = 0
    for nxt, rest, top in records:
        top = sorted(top, key=lambda x: x[0] if k == n_vocab else (-x[1], x[0]))
        assert len(top) == k, f"record {n} has {len(top)} entries, not {k}"
        best = f32(max(p for _, p in top))
        step = f32((best - max(min(p for _, p in top), best - RANGE)) / LEVELS)
        q = [max(0, min(LEVELS, round((best - p) / step))) if step > 0 else 0 for _, p in top]
        ids = b"" if k == n_vocab else struct.pack(f"<{k}{'H' if n_vocab <= 65536 else 'I'}", *(i for i, _ in top))
        out += [struct.pack("<4f", nxt, rest, best, step), ids, struct.pack(f"<{k}H", *q)]
        n += 1
    assert n == sum(s.end - s.first for s in seqs), f"{n} records"
    Path(path).write_bytes(b"".join(out))


def read(path):
    data, at = Path(path).read_bytes(), 8
    if data[:8] != MAGIC:
        raise SystemExit(f"{path}: not a file of log-probabilities")

    def take(form):
        nonlocal at
        at += struct.calcsize("<" + form)
        return struct.unpack_from("<" + form, data, at - struct.calcsize("<" + form))
    n_vocab, k, n_seqs, n_note = take("4I")
    about = take(f"{n_note}s")[0].decode()
    heads = [take("3I") for _ in range(n_seqs)]
    seqs = [Seq(list(take(f"{n}I")), first, end) for n, first, end in heads]
    records = []
    for _ in range(sum(s.end - s.first for s in seqs)):
        nxt, rest, best, step = take("4f")
        ids = range(k) if k == n_vocab else take(f"{k}{'H' if n_vocab <= 65536 else 'I'}")
        lp = [best - step * q for q in take(f"{k}H")]
        shift = math.log(math.exp(rest) + sum(map(math.exp, lp)))
        records.append((nxt, rest - shift, [(i, p - shift) for i, p in zip(ids, lp)]))
    return File(about, n_vocab, k, seqs, records)


def sequences(path):
    """(vocabulary or None, sequences) of a file of log-probabilities, or of a JSON list: [[ids], ...], all positions
    scored, or [{"tokens": [...], "first": 0, "end": 3}, ...]."""
    if Path(path).read_bytes()[:8] == MAGIC:
        f = read(path)
        return f.n_vocab, f.seqs
    out = []
    for s in json.loads(Path(path).read_text()):
        s = s if isinstance(s, dict) else {"tokens": s}
        out.append(Seq(s["tokens"], s.get("first", 0), s.get("end", len(s["tokens"]))))
    return None, out
