#!/usr/bin/env python3
"""exercises.py [--apply]: how many files it takes to add something to this program. docs/exercises/NAME.patch is a commit
that adds it; counted are the files that it changes or makes, beside tests and docs. Prints a line for each and fails where one
takes more than its limit. --apply also says whether each patch still applies to the tree as it is (those that do not have to be
done again, some day)."""
import os, re, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from needs import show_help  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATCHES = os.path.join(ROOT, "docs", "exercises")
LIMITS = {  # name: (what it adds, files at most)
    "op": ("an op: a gated attention output", 9),
    "weight_type": ("a weight type", 5),
    "command": ("a command", 3),
    "kv_type": ("a type of the KV cache", 12),
    "family": ("a model family", 2),
}
NOT_COUNTED = re.compile(r"^(tests/|docs/|[A-Z]+\.md$)")


def changed(patch):
    """The files of a patch: (counted, not counted)."""
    with open(patch, encoding="utf-8") as f:
        names = re.findall(r"^diff --git a/(\S+) b/\S+$", f.read(), re.M)
    return [n for n in names if not NOT_COUNTED.match(n)], [n for n in names if NOT_COUNTED.match(n)]


def main():
    bad = 0
    for name, (what, limit) in LIMITS.items():
        patch = os.path.join(PATCHES, name + ".patch")
        if not os.path.exists(patch):
            print(f"{name}: docs/exercises/{name}.patch is missing")
            bad = 1
            continue
        counted, others = changed(patch)
        over = len(counted) > limit
        bad |= over or not counted
        print(f"{what}: {len(counted)} files of at most {limit}{': TOO MANY' if over else ''}; {len(others)} of tests and docs")
        for n in counted:
            print(f"    {n}")
        if "--apply" in sys.argv:
            r = subprocess.run(["git", "apply", "--check", patch], cwd=ROOT, capture_output=True, text=True)
            print("    applies to the tree" if r.returncode == 0 else "    does not apply any more: " + r.stderr.splitlines()[0])
    return bad


if __name__ == "__main__":
    show_help(__doc__)
    sys.exit(main())
