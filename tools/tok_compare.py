#!/usr/bin/env python3
"""Compares our tokenizer with Hugging Face `tokenizers`, id by id, on generated strings.

  python3 tools/tok_compare.py [-n STRINGS] [--seed N]   the whole Qwen vocabulary; demands equality
  python3 tools/tok_compare.py --model DIR X.gguf        a model's own: X.gguf (tools/to_gguf.py) and DIR/tokenizer.json
  python3 tools/tok_compare.py --fixture                 rewrites tests/golden/tokenizer_*
  python3 tools/tok_compare.py --tables                  are our Unicode tables still the library's?

Builds a virtual environment and everything else under --build (default build/tok). The vocabulary is
put together from qwen.tiktoken (in the `dashscope` wheel): 151,643 ranked byte strings. Each of more
than one byte splits into exactly two of lower rank, the last merge that makes it, so that the merges
follow. It is not ours to hand on: nothing of it is committed. The fixture's vocabulary is trained here
on text that this script makes up."""
import argparse
import base64
import glob
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import time
import unicodedata

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PINS = ["tokenizers==0.22.1", "gguf==0.19.0", "numpy"]
BASE = ["dashscope==2.0.2"]  # installed without its dependencies, for one data file
REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
           "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
           "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
USER = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
        "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
SPECIAL, NO_NFC, CHAT = 1, 2, 256
SURROGATES = range(0xD800, 0xE000)


# ---- surroundings ----
def enter_venv(build):
    """Runs this script again inside a virtual environment that has the packages."""
    venv = os.path.join(build, "venv")
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(os.path.join(venv, "ready")):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINS], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *BASE], check=True)
        open(os.path.join(venv, "ready"), "w").close()
    if os.path.realpath(sys.prefix) != os.path.realpath(venv):
        os.execv(python, [python, *sys.argv])
    return venv


def build_cli():
    """tools/tok_cli.c with the library, by make, which knows what the library needs."""
    b = os.environ.get("B") or "build"
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    subprocess.run(["make", "-s", "-C", ROOT, f"B={b}", f"{b}/tok_cli"], check=True, env=env, stdout=sys.stderr)
    return os.path.join(ROOT, b, "tok_cli")


# ---- vocabularies ----
def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, extra = {}, 0
    for b in range(256):
        if b in plain:
            out[b] = chr(b)
        else:
            out[b] = chr(256 + extra)
            extra += 1
    return out


def split_in_two(token, ranks, limit):
    """The two parts that are left when `token` is merged with all ranks below `limit`."""
    parts = [token[i:i + 1] for i in range(len(token))]
    while len(parts) > 1:
        best, at = limit, -1
        for i in range(len(parts) - 1):
            r = ranks.get(parts[i] + parts[i + 1], limit)
            if r < best:
                best, at = r, i
        if at < 0:
            break
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts


def qwen_vocab(venv):
    """(tokens in id order, merges) in the GPT-2 alphabet."""
    path, = glob.glob(os.path.join(venv, "lib", "python3*", "site-packages", "dashscope", "resources", "qwen.tiktoken"))
    ranks = {}
    with open(path, "rb") as f:
        for line in f:
            tok, rank = line.split()
            ranks[base64.b64decode(tok)] = int(rank)
    assert len(ranks) == 151643 and sorted(ranks.values()) == list(range(151643))
    a = byte_alphabet()
    show = lambda b: "".join(a[x] for x in b)
    tokens = [show(t) for t, _ in sorted(ranks.items(), key=lambda kv: kv[1])]
    merges = []
    for tok, rank in sorted(ranks.items(), key=lambda kv: kv[1]):
        if len(tok) == 1:
            continue
        parts = split_in_two(tok, ranks, rank)
        assert len(parts) == 2, tok
        merges.append((show(parts[0]), show(parts[1])))
    assert len(merges) == 151387
    return tokens, merges


def pieces():
    from tokenizers import Regex, pre_tokenizers
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(REGEX), "isolated", False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])


def trained_vocab(n, seed):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pieces()
    r = random.Random(seed)
    text = [prose(r, 60) for _ in range(1500)] + [code(r) for _ in range(1500)] + [scripts(r) for _ in range(3000)]
    t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=n, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                                    show_progress=False))
    model = json.loads(t.to_str())["model"]
    tokens = [k for k, _ in sorted(model["vocab"].items(), key=lambda kv: kv[1])]
    return tokens, [tuple(m) for m in model["merges"]]


class Reference:
    """Hugging Face tokenizers, one for each combination of our flags."""

    def __init__(self, tokens, merges, control, user):
        from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
        self.t = {}
        for flags in range(4):
            t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=merges, fuse_unk=False))
            if not flags & NO_NFC:
                t.normalizer = normalizers.NFC()
            t.pre_tokenizer = pieces()
            t.decoder = decoders.ByteLevel()
            if flags & SPECIAL:
                for s, special in control + user:
                    add = t.add_special_tokens if special else t.add_tokens
                    add([AddedToken(s, normalized=False, special=special)])
            self.t[flags] = t

    @classmethod
    def of_file(cls, path):
        """As tokenizer.json says, less its normalizer or its added tokens where the flags want that."""
        from tokenizers import Tokenizer
        self = cls.__new__(cls)
        self.t = {}
        with open(path, encoding="utf-8") as f:
            doc = json.load(f)
        for flags in range(4):
            less = ({"normalizer": None} if flags & NO_NFC else {}) | ({} if flags & SPECIAL else {"added_tokens": []})
            self.t[flags] = Tokenizer.from_str(json.dumps({**doc, **less}))
        return self

    def ids(self, text, flags):
        if flags & CHAT:  # the rendered template, its control tokens trusted and the message not
            plain = self.t[flags & NO_NFC]
            find = self.t[SPECIAL].token_to_id
            enc = lambda s: plain.encode(s, add_special_tokens=False).ids
            return [find("<|im_start|>"), *enc("user\n" + text), find("<|im_end|>"), *enc("\n"),
                    find("<|im_start|>"), *enc("assistant\n")]
        return self.t[flags].encode(text, add_special_tokens=False).ids


def write_gguf(path, tokens, merges, control, user, padded):
    from gguf import GGUFWriter, TokenType
    added = {s: (TokenType.CONTROL if special else TokenType.USER_DEFINED) for s, special in control + user}
    w = GGUFWriter(path, "qwen3moe")
    all_tokens = [*tokens, *added]
    types = [TokenType.NORMAL] * len(tokens) + list(added.values())
    while len(all_tokens) < padded:
        types.append(TokenType.UNUSED)
        all_tokens.append(f"[PAD{len(all_tokens)}]")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(all_tokens)
    w.add_token_types(types)
    w.add_token_merges([a + " " + b for a, b in merges])
    w.add_eos_token_id(all_tokens.index("<|im_end|>"))
    w.add_bos_token_id(all_tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- strings ----
WORDS = ("the of and to in is that it for was on are as with they at be this from have or by one had not but what all "
         "were when we there can an your which their said if do will each about how up out them then she many some so "
         "these would other into has more her two like him see time could no make than first been its who now people my "
         "made over did down only way find use may water long little very after words called just where most know get "
         "through back much before go good new write our me man too any day same right look think also around another "
         "came come work three word must because does part even place well such here take why things help put years "
         "different away again off went old number great tell men say small every found still between name should home "
         "big give air line set own under read last never us left end along while might next sound below saw something "
         "thought both few those always looked show large often together asked house world going want school important "
         "tensor kernel expert router token prefill decode gradient matrix Vector Model GPU Unicode naïve façade "
         "Zürich coöperate résumé smörgåsbord").split()
IDENT = ("i j k n idx count buf ptr len size_t uint32_t self return if else for while def class import struct static const "
         "void int char float None True False null this new function var let async await fn pub impl match enum switch "
         "case break continue printf include define template typename lambda yield try except finally raise").split()
SCRIPTS = [(0x41, 0x5a), (0x61, 0x7a), (0xc0, 0x17f), (0x180, 0x24f), (0x370, 0x3ff), (0x400, 0x52f), (0x531, 0x58f),
           (0x590, 0x5ff), (0x600, 0x6ff), (0x700, 0x74f), (0x900, 0x97f), (0x980, 0x9ff), (0xa00, 0xa7f), (0xb80, 0xbff),
           (0xc80, 0xcff), (0xe00, 0xe7f), (0xe80, 0xeff), (0xf00, 0xfff), (0x1000, 0x109f), (0x10a0, 0x10ff),
           (0x1200, 0x137f), (0x13a0, 0x13ff), (0x1780, 0x17ff), (0x1800, 0x18af), (0x1e00, 0x1eff), (0x1f00, 0x1fff),
           (0x2c80, 0x2cff), (0x3040, 0x30ff), (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xa000, 0xa48c), (0xac00, 0xd7a3),
           (0xf900, 0xfaff), (0xfb00, 0xfb4f), (0xfe70, 0xfefc), (0xff00, 0xffef), (0x10000, 0x100ff), (0x10300, 0x1034f),
           (0x1d400, 0x1d7ff), (0x20000, 0x2a6df), (0x2f800, 0x2fa1d), (0x30000, 0x323af)]
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\x1c\x1f\0"
MARKS = [*range(0x300, 0x370), *range(0x483, 0x488), *range(0x591, 0x5be), *range(0x64b, 0x660), 0x93c, 0x94d, 0xe38, 0xe48,
         0xf71, 0xf72, 0xf74, *range(0x1ab0, 0x1ace), *range(0x1dc0, 0x1e00), *range(0x20d0, 0x20f1), 0x302a, 0x3099, 0x309a,
         *range(0xfe20, 0xfe30), 0x1d165, 0x1d16d, 0x11938, 0x11930, 0x11935, 0x110ba]
DIGITS = [0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xe50, 0xf20, 0x1040, 0x17e0, 0x1810, 0xff10, 0x104a0, 0x1d7ce, 0x1fbf0,
          0x10d40, 0x116d0, 0x1ccf0]
OTHER_NUMBERS = [0xb2, 0xb9, 0xbc, 0x2070, 0x2153, 0x2160, 0x2180, 0x2460, 0x24ff, 0x3007, 0x3021, 0x3280, 0x10107, 0x1f100]
EMOJI = [0x1f600, 0x1f468, 0x1f469, 0x1f467, 0x1f3f4, 0x2764, 0x1f525, 0x1f1e9, 0x1f1ea, 0x1f44d, 0x2615, 0x1faf6, 0x1f9d1]
PUNCT = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»“”‘’…–—·•¡¿§©®°±×÷€£¥←→∀∑√≤≥、。「」！？"


def ch(r, lo, hi):
    return chr(r.randint(lo, hi))


def prose(r, most=40):
    out = []
    for _ in range(r.randint(1, most)):
        w = r.choice(WORDS)
        k = r.random()
        w = w.capitalize() if k < .1 else w.upper() if k < .13 else w
        if r.random() < .08:
            w += contraction(r)
        out.append(w + r.choice(["", "", "", "", ",", ".", "!", "?", ";", ":", " -", "..."]))
    return r.choice([" ", " ", " ", "  ", "\n", "-"]).join(out)


def contraction(r):
    s = r.choice(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "'x", "'st", "'rex", "'l", "'v", "'ſ", "'ſt", "’s", "ʼs",
                  "'\u212a", "'ﬆ", "'ß", "'ẞ", "'ꞩ", "'ﬁ", "'ı", "'İ", "'ǆ", "''s", " 's", "\n't", "'\u0308s", "'s\u0301", "'Ⓢ", "'ｓ"])
    return "".join(c.upper() if r.random() < .4 and len(c.upper()) == 1 else c for c in s)


def code(r):
    out, depth = [], 0
    for _ in range(r.randint(1, 12)):
        v = [r.choice(IDENT) if r.random() < .6 else r.choice(WORDS) + r.choice(["", "_", "2", "Id", "_t", "::"]) + r.choice(WORDS).capitalize()
             for _ in range(4)]
        num = r.choice([str(r.randint(0, 10 ** r.randint(1, 12))), hex(r.getrandbits(32)), "1e-6f", "3.14159"])
        line = r.choice([f"{v[0]} {v[1]} = {v[2]}[{num}];", f"if ({v[0]} != {v[1]}) {{", "}", f"def {v[0]}({v[1]}, {v[2]}={num}):",
                         f"// {v[0]} {v[1]} {v[2]}", f"{v[0]}.{v[1]}(\"{v[2]}\\n\", &{v[3]});", f"#define {v[0].upper()} ({num})",
                         f"<div class=\"{v[0]}\">{v[1]}</div>", f"{v[0]}->{v[1]}++, {v[2]} <<= {num};", "", f"    return {v[0]} && !{v[1]};"])
        depth = max(0, depth + r.choice([-1, 0, 0, 1]))
        out.append(r.choice(["    ", "    ", "\t", "  "]) * depth + line)
    return r.choice(["\n", "\n", "\n", "\r\n", "\n\n"]).join(out) + r.choice(["", "\n", "  ", "\n\n"])


def scripts(r):
    out = []
    for _ in range(r.randint(1, 6)):
        lo, hi = r.choice(SCRIPTS)
        out.append("".join(ch(r, lo, hi) for _ in range(r.randint(1, 12))))
    return r.choice(["", " ", " ", "，", "\u200f", "\u200d"]).join(out)


def emoji(r):
    out = ""
    for _ in range(r.randint(1, 8)):
        out += chr(r.choice(EMOJI)) + r.choice(["", "", "\u200d", "\ufe0f", "\ufe0f\u200d", chr(r.randint(0x1f3fb, 0x1f3ff)), "\u20e3", " "])
    return out + r.choice(["", "👨\u200d👩\u200d👧\u200d👦", "🏴\U000e0067\U000e0062\U000e007f", "a"])


def marks(r):
    out = ""
    for _ in range(r.randint(1, 8)):
        out += r.choice(["a", "e", "O", "ṩ", "ệ", "ー", "か", "क", "Å", "Ω", "ﬁ", "1", " ", ".", "\u1100", "ő", "Ḝ", "ⅱ", "\U0001d15e", "א"])
        out += "".join(chr(r.choice(MARKS)) for _ in range(r.choice([0, 1, 1, 2, 3, 8, 40])))
    return unicodedata.normalize(r.choice(["NFC", "NFD", "NFD", "NFKD"]), out) if r.random() < .7 else out


def hangul(r):
    jamo = [(0x1100, 0x1112), (0x1161, 0x1175), (0x11a7, 0x11c2), (0x1113, 0x115f), (0x1176, 0x11a6), (0xac00, 0xd7a3), (0xa960, 0xa97c),
            (0xd7b0, 0xd7c6), (0x3131, 0x318e)]
    out = "".join(ch(r, *r.choice(jamo[:3] * 3 + jamo)) for _ in range(r.randint(1, 20)))
    return unicodedata.normalize("NFD", out) if r.random() < .3 else out


def spaces(r):
    few = r.choice([" ", " \n", " \t\n\r", SPACES])
    return "".join(r.choice(["", "", "x", "Ab", "1", ".", "';", "é", "中"]) + "".join(r.choice(few) for _ in range(r.choice([1, 2, 3, 5, 17, 60])))
                   for _ in range(r.randint(1, 6))) + r.choice(["", "x", "!"])


def digits(r):
    out = ""
    for _ in range(r.randint(1, 5)):
        zero = r.choice(DIGITS)
        out += "".join(chr(zero + r.randint(0, 9)) for _ in range(r.randint(1, 12))) + r.choice([".", ",", " ", "%", "", chr(r.choice(OTHER_NUMBERS))])
    return out


def any_code_point(r):
    out = ""
    for _ in range(r.randint(1, 40)):
        c = r.choice([r.randrange(0x110000), r.randrange(0x3000), r.randrange(0x20000), r.randrange(0x800)])
        out += " " if c in SURROGATES else chr(c)
    return out


def random_bytes(r):
    n = r.choice([1, 3, 10, 60, 200])
    return bytes(r.choice([r.randrange(256), r.choice(b"\xc3\xe4\xf0\x9f\x98\x80\xbd\xa9 ax")]) for _ in range(n)).decode("utf-8", "replace")


def specials(r):
    return "".join(r.choice([r.choice(CONTROL + USER), r.choice(CONTROL + USER)[:r.randint(1, 8)], "e\u0301", "\u0301", " ", "\n", "a", "user\n",
                             "<", "<|", "|>", prose(r, 3), "中文", "\u0345\u0301"]) for _ in range(r.randint(1, 12)))


def punctuation(r):
    return "".join(r.choice([r.choice(PUNCT) * r.choice([1, 1, 2, 3, 30]), " ", "\n", r.choice(WORDS)]) for _ in range(r.randint(1, 20)))


def run(r):
    n = r.choice([100, 500, 2000, 5000])
    unit = r.choice(["a", " ", "\n", "\r\n", "ab", "=", "é", "中", "\u0301", "\u0301\u0323\u0345", "0", "\u1160", "한", " \n", "'s", "🔥", "hello", "\t",
                     "".join(r.choice(WORDS) for _ in range(9)), "".join(ch(r, 0x4e00, 0x9fff) for _ in range(50)),
                     "".join(ch(r, 0x61, 0x7a) for _ in range(200))])
    return r.choice(["", "x", " "]) + unit * (n // len(unit) + 1) + r.choice(["", "x", "\n", " "])


def mixed(r):
    return "".join(r.choice(KINDS)(r)[:r.randint(1, 60)] for _ in range(r.randint(2, 8)))


KINDS = [prose, code, scripts, emoji, marks, hangul, spaces, digits, any_code_point, random_bytes, specials, punctuation,
         lambda r: contraction(r) + r.choice(["", " ", "x"]) + contraction(r), lambda r: unicodedata.normalize("NFD", scripts(r))]


def generate(n, seed):
    r = random.Random(seed)
    yield from ["", " ", "\n", "'", "'S", "\0", "don't", "a" * 300000, " " * 300000, "\n" * 200000, " \n" * 100000, "ab " * 100000,
                "\u0301" * 100000, "\u0301\u0323" * 50000, "中" * 100000, "!" * 200000, "".join(chr(c) for c in range(0x110000) if c not in SURROGATES)][:n]
    for c in range(17, n):
        k = r.random()
        yield run(r) if k < .01 else mixed(r) if k < .25 else r.choice(KINDS)(r)


# ---- comparison ----
def ask(exe, gguf, requests):
    """requests: [(bytes, flags)] -> [(ids, bytes joined)]"""
    blob = b"".join(struct.pack("<II", f, len(t)) + t for t, f in requests)
    out = subprocess.run([exe, gguf], input=blob, stdout=subprocess.PIPE, check=True).stdout
    at, answers = 0, []
    for _ in requests:
        n, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{n}I", out, at + 4))
        m, = struct.unpack_from("<I", out, at + 4 + 4 * n)
        answers.append((ids, out[at + 8 + 4 * n:at + 8 + 4 * n + m]))
        at += 8 + 4 * n + m
    assert at == len(out)
    return answers


def raw_bytes_survive(exe, gguf, n, seed):
    """Bytes that are no UTF-8: the reference has no say; they must come back as they went in."""
    r = random.Random(seed)
    reqs = []
    for _ in range(n):
        b = bytearray(r.choice(KINDS)(r).encode("utf-8", "replace"))[:300]
        for _ in range(r.randint(1, 6)):
            b.insert(r.randint(0, len(b)), r.randrange(256))
        reqs.append((bytes(b), NO_NFC | r.randint(0, 1)))
    return sum(a[1] != q[0] for a, q in zip(ask(exe, gguf, reqs), reqs))


def corpus(path, n, seed):
    """n texts of a JSON-lines corpus: records with "text", or with "messages"."""
    with open(path, encoding="utf-8") as f:
        records = [json.loads(line) for line in f]
    for d in random.Random(seed).sample(records, min(n, len(records))):
        yield from [d["text"]] if "text" in d else [m["content"] for m in d["messages"]]


def compare(args, venv):
    exe = build_cli()
    t0 = time.time()
    strings = generate(args.n, args.seed)
    if args.model:
        folder, gguf = args.model
        ref = Reference.of_file(os.path.join(folder, "tokenizer.json"))
        if args.texts:
            strings = itertools.chain(strings, corpus(args.texts, args.n, args.seed))
    else:
        tokens, merges = qwen_vocab(venv)
        control, user = [(s, True) for s in CONTROL], [(s, False) for s in USER]
        gguf = os.path.join(args.build, "qwen-vocab.gguf")
        write_gguf(gguf, tokens, merges, control, user, 151936)
        ref = Reference(tokens, merges, control, user)
        print(f"vocabulary: {len(tokens)} base + {len(control + user)} added tokens, {len(merges)} merges ({time.time() - t0:.0f} s)", flush=True)
        assert ref.t[SPECIAL].token_to_id("<|im_end|>") == 151645 and ref.t[SPECIAL].token_to_id("</think>") == 151668
    n = bad = comparisons = n_ids = n_bytes = 0
    differing = []
    batch = []

    def settle():
        nonlocal bad, comparisons, n_ids, n_bytes
        reqs = [(s.encode(), f) for s in batch for f in (0, NO_NFC, SPECIAL, SPECIAL | NO_NFC, CHAT)]
        for (text, flags), (ids, joined) in zip(reqs, ask(exe, gguf, reqs)):
            want = ref.ids(text.decode(), flags)
            comparisons += 1
            n_ids += len(want)
            n_bytes += len(text)
            lost = flags in (NO_NFC, SPECIAL | NO_NFC) and joined != text
            if ids != want or lost:
                bad += 1
                differing.append({"text": text.hex(), "flags": flags, "want": want, "got": ids, "round_trip": not lost})
                if bad <= 5:
                    print(f"DIFFERS flags={flags} text={text[:120]!r}\n  want {want[:24]}\n  got  {ids[:24]}", flush=True)
        batch.clear()

    for s in strings:
        n += 1
        batch.append(s)
        if len(batch) == 500:
            settle()
    settle()
    lost = raw_bytes_survive(exe, gguf, max(1000, args.n // 10), args.seed)
    if differing:
        with open(os.path.join(args.build, "differences.json"), "w") as f:
            json.dump(differing[:1000], f)
    print(f"tok_compare: seed {args.seed}: {n} strings in 5 modes (plain, no NFC, special, both, chat): {comparisons} comparisons, "
          f"{n_ids} ids, {n_bytes} bytes; {bad} differ; {max(1000, args.n // 10)} byte strings that are no UTF-8, {lost} lost bytes; "
          f"{time.time() - t0:.0f} s")
    return 1 if bad or lost else 0


# ---- fixture ----
# What once differed, or nearly would have; every one is in the committed cases.
REGRESSIONS = [
    "", "'ſ'S'ſt x'ſy", "a\u180eb \u180e c", "\U00031350\U0002ebf0x", "\U00010d40\U00010d41", "a\u0898\u0301", "a\u0301\u0ebax", "\U00011935\U00011930",
    "\u1100\u1161\u11a8\u11a7", "\u1104\u1173\u11a7\u1159", "\uac00\u11a7\u11a8", "\u1100\u1161\u0301\u11a8", "e\u0301<|im_end|>\u0301", "<|im_start|<|im_start|>", "<a><b><c>", "<a><b", "\0\0a\0",
    "\u0344\u0958\u2126\u212b\ufb1d", "\ufeffx", "  \n\n  x  \r\n", " \u3000\u2003x", "\u0345\u0301\u0323" * 40, "a" * 500, " " * 300 + "x", "\n\nafter",
    "\x85\x85x\u2028y", "\x1c\x1d\x1e\x1f", "½²Ⅷ①", "don't DON'T Don’T we'LL 'RE'd", "<think></think><tool_call>", "[PAD2411]"]


def fixture(args):
    exe = build_cli()
    tokens, merges = trained_vocab(2400, 1)
    control = [(s, True) for s in CONTROL[:3]] + [("<a>", True), ("<a><b>", True), ("b><c>", True)]
    user = [(s, False) for s in USER if s.endswith("call>") or s.endswith("think>")]
    gguf = os.path.join(ROOT, "tests", "golden", "tokenizer_vocab.gguf")
    os.makedirs(os.path.dirname(gguf), exist_ok=True)
    write_gguf(gguf, tokens, merges, control, user, len(tokens) + len(control + user) + 4)
    ref = Reference(tokens, merges, control, user)
    r = random.Random(7)
    texts = REGRESSIONS + [k(r)[:80] for k in KINDS for _ in range(22)] + [mixed(r)[:120] for _ in range(60)]
    cases = [{"text": s.encode().hex(), "flags": f, "ids": ref.ids(s, f)}
             for i, s in enumerate(texts) for f in ((0, NO_NFC, SPECIAL, CHAT) if i < len(REGRESSIONS) else (r.choice([0, 0, NO_NFC, SPECIAL, CHAT]),))]
    path = os.path.join(ROOT, "tests", "golden", "tokenizer_cases.json")
    with open(path, "w") as f:
        f.write('{"made_by": "tools/tok_compare.py --fixture; ids are those of tokenizers 0.22.1", "cases": [\n')
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]}\n")
    answers = ask(exe, gguf, [(bytes.fromhex(c["text"]), c["flags"]) for c in cases])
    bad = sum(a[0] != c["ids"] for a, c in zip(answers, cases))
    print(f"fixture: {len(tokens)} tokens, {len(merges)} merges, {os.path.getsize(gguf)} bytes; {len(cases)} cases, {os.path.getsize(path)} bytes; {bad} differ")
    return 1 if bad else 0


def tables():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    made = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "unicode_tables.py")], check=True, capture_output=True, text=True).stdout
    with open(os.path.join(ROOT, "runtime", "text", "unicode_tables.c")) as f:
        same = f.read() == made
    print("tables:", "the library's" if same else "DIFFER from the library's")
    return 0 if same else 1


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("-n", type=int, default=10000, help="strings to compare (10000)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--build", default=os.path.join(ROOT, "build", "tok"))
    p.add_argument("--model", nargs=2, metavar=("DIR", "GGUF"))
    p.add_argument("--texts", metavar="FILE.jsonl", help="with --model: these texts as well")
    p.add_argument("--fixture", action="store_true")
    p.add_argument("--tables", action="store_true")
    args = p.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.makedirs(args.build, exist_ok=True)
    venv = enter_venv(args.build)
    return tables() if args.tables else fixture(args) if args.fixture else compare(args, venv)


if __name__ == "__main__":
    sys.exit(main())
