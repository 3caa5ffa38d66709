#!/usr/bin/env python3
"""Writes runtime/text/unicode_tables.c: python3 tools/unicode_tables.py > runtime/text/unicode_tables.c

The classes (letter, number, space) are asked of the Hugging Face `tokenizers` library itself, one
code point at a time, because it decides what a piece is; the code points that its NFC knows are
those of Unicode 9.0, which Perl's property Present_In=9.0 lists. `check` in tools/tok_compare.py
finds out when a newer library has moved. Needs: pip install tokenizers; perl."""
import subprocess
import sys

from needs import show_help

show_help(__doc__)
import tokenizers  # noqa: E402
from tokenizers import Regex, pre_tokenizers  # noqa: E402

CPS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(regex):
    """Code points that a one-character class of the library's regex engine matches."""
    split = pre_tokenizers.Split(Regex(regex), "removed")
    out = set()
    for i in range(0, len(CPS), 4096):
        block = CPS[i:i + 4096]
        kept = {ord(ch) for w, _ in split.pre_tokenize_str("".join(map(chr, block))) for ch in w}
        out.update(c for c in block if c not in kept)
    return out


def known_to_nfc():
    prog = r'for (0..0x10ffff) { next if $_ >= 0xd800 && $_ < 0xe000; print "$_\n" if chr($_) =~ /\p{Present_In=9.0}/ }'
    return set(map(int, subprocess.run(["perl", "-e", prog], check=True, capture_output=True, text=True).stdout.split()))


def runs(pairs):
    """[(code point, value)] in order -> [(first, last, value)]"""
    out = []
    for c, v in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == v:
            out[-1][1] = c
        else:
            out.append([c, c, v])
    return out


def emit(name, kind, rows, fmt, what):
    print(f"/* {what} */\nconst {kind} {name}[] = {{")
    line = "   "
    for r in rows:
        item = " " + fmt(r) + ","
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print(f"const size_t {name}_n = sizeof {name} / sizeof {name}[0];\n")


def main():
    classes = {}
    for rx, v in ((r"\p{L}", "L"), (r"\p{N}", "N"), (r"\s", "S")):
        for c in members(rx):
            classes[c] = v
    nfc = known_to_nfc()
    print("/* unicode_tables.c: written by tools/unicode_tables.py from tokenizers " + tokenizers.__version__ +
          " (Unicode 16.0\n * classes, Unicode 9.0 normalisation); see there. */")
    print('#include "unicode.h"\n')
    print("#define L QM_UC_LETTER\n#define N QM_UC_NUMBER\n#define S QM_UC_SPACE\n")
    emit("qm_uc_class_runs", "qm_uc_run", runs(sorted(classes.items())),
         lambda r: f"{{0x{r[0]:x},0x{r[1]:x},{r[2]}}}", "Letters, numbers and spaces in code point order; everything else is QM_UC_OTHER.")
    emit("qm_uc_unnormalised", "qm_uc_span", runs((c, 0) for c in range(0x110000) if c not in nfc and not 0xD800 <= c < 0xE000),
         lambda r: f"{{0x{r[0]:x},0x{r[1]:x}}}", "Code points that NFC of the reference does not know: unassigned in Unicode 9.0.")


if __name__ == "__main__":
    sys.exit(main())
