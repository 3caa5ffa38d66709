#!/usr/bin/env python3
"""ptx_lint.py FILE...: refuses what our PTX must not hold, in the preprocessed text (BUILD/ptx/*.ptx).

A loop is closed by a predicated branch: loops closed by an unconditional one (bra, bra.uni) were reported to
lose iterations under a driver's compiler for sm_121 (docs/ptx-style.md). Prints a line for each breach and
exits 1, or one line and 0. A label counts within its function or {} scope, as in PTX."""
import argparse, re, sys

TOKEN = re.compile(r"(?P<label>[A-Za-z_$%][\w$]*)\s*:(?!:)|(?P<brace>[{}])|(?P<end>;)|(?P<other>[^\s:;{}]+)|(?P<ws>\s+|:)")


def back_edges(text):
    """[(line, label)] of the unconditional backward branches of one file."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    found, scopes, words, line = [], [set()], [], 1
    for m in TOKEN.finditer(text):
        kind = m.lastgroup
        if kind == "label" and not words:
            scopes[-1].add(m.group("label"))
        elif kind == "brace" and not words: # within an instruction, braces hold its vector
            scopes.append(set()) if m.group() == "{" else len(scopes) > 1 and scopes.pop()
        elif kind == "brace" and words[0].startswith("."): # .entry name(...) {: a body
            words = []
            scopes.append(set())
        elif kind == "end":
            if words and re.fullmatch(r"bra(\.uni)?", words[0]) and any(words[1] in s for s in scopes):
                found.append((line, words[1]))
            words = []
        elif kind in ("other", "label"):
            words += m.group(0).split()
        line += m.group(0).count("\n")
    return found


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("files", nargs="+", metavar="FILE")
    files, faults = ap.parse_args().files, 0
    for path in files:
        with open(path, encoding="utf-8") as f:
            for line, label in back_edges(f.read()):
                print(f"{path}:{line}: the loop at {label} is closed by an unconditional branch")
                faults += 1
    if not faults:
        print(f"{len(files)} PTX files close their loops by predicated branches")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
