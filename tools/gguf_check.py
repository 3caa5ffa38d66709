#!/usr/bin/env python3
"""Compares what `qmoe-gpu inspect --json --meta --tensors` says of a file with what the gguf package
reads from it: keys, types, shapes, sizes, offsets. Exit status 0 when they agree.

    python3 tools/gguf_check.py build/qmoe-gpu MODEL.gguf        (the first run installs gguf)
"""
import json
import math
import subprocess
import sys

from needs import needs, show_help

show_help(__doc__)
needs("gguf", {"gguf": "gguf==0.19.0", "numpy": "numpy"})
from gguf import GGUFReader  # noqa: E402


def main():
    program, path = sys.argv[1:3]
    ours = json.loads(subprocess.run([program, "inspect", "--json", "--meta", "--tensors", path], check=True,
                                     capture_output=True).stdout)
    theirs = GGUFReader(path)
    wrong = []
    keys = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    if set(keys) != set(ours["metadata"]):
        wrong.append(f"keys differ: {sorted(set(keys) ^ set(ours['metadata']))}")
    for name, field in keys.items():
        a, b = ours["metadata"].get(name), field.contents()
        if isinstance(b, list):
            same = a["length"] == len(b) and a.get("first", []) == b[:len(a.get("first", []))]
        elif isinstance(b, float):
            same = math.isclose(a, b, rel_tol=1e-6)
        else:
            same = a == b
        if not same:
            wrong.append(f"key {name}: {a} here, {b} there")
    if len(theirs.tensors) != len(ours["tensors"]):
        wrong.append(f"{len(ours['tensors'])} tensors here, {len(theirs.tensors)} there")
    for a, b in zip(ours["tensors"], theirs.tensors):
        here = (a["name"], a["type"], a["shape"], a["bytes"], a["offset"])
        there = (b.name, b.tensor_type.name, [int(x) for x in b.shape], int(b.n_bytes), int(b.data_offset))
        if here != there:
            wrong.append(f"tensor {here} here, {there} there")
    print("\n".join(wrong) or f"{path}: {len(keys)} keys and {len(theirs.tensors)} tensors agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
