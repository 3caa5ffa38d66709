#!/usr/bin/env python3
"""mutate.py: breaks the program on purpose, one break at a time, and sees whether its tests notice.

A mutant is an entry of tests/mutants/*.yaml: a text that stands once in one file, what it is replaced by, and the
tests (programs or steps of tests/run) that must then fail. White space counts as one space on both sides, so that
reformatting the source does not lose a mutant. Each is applied to a copy of the tree (BUILD/mutants/N), built and
tried; the tests named must first pass on the unbroken copy. Takes minutes to hours: by hand or at night, not in
make check, which runs --check: every mutant still applies and names tests that exist.

Exits 1 if one survives without an entry `survives:` (the reason why it may), does not apply, or does not build."""
import argparse, filecmp, glob, os, re, shutil, subprocess, sys, threading, time
import yaml

KEYS = {"id", "file", "old", "new", "tests", "why", "env", "survives"}
NEEDED = {"id", "file", "old", "new", "tests", "why"}


def load(root):
    """Every mutant, in the files' order."""
    out = []
    for path in sorted(glob.glob(os.path.join(root, "tests/mutants/*.yaml"))):
        with open(path, encoding="utf-8") as f:
            for m in yaml.safe_load(f) or []:
                m["from"] = os.path.basename(path)
                out.append(m)
    return out


def pattern(text):
    """A regular expression for text, whatever its white space."""
    # between a word and a sign, or two signs, there may be white space or none
    tokens = re.findall(r"\w+|[^\w\s]", text)
    out = ""
    for k, tok in enumerate(tokens):
        if k:
            out += r"\s+" if re.match(r"\w", tok) and re.match(r"\w", tokens[k - 1]) else r"\s*(?:\\\n)?\s*"
        out += re.escape(tok)
    return out


def apply(text, m):
    """The broken text; ValueError where `old` does not stand there once."""
    found = list(re.finditer(pattern(m["old"]), text))
    if len(found) != 1:
        raise ValueError(f"its old text stands {len(found)} times in {m['file']}")
    a, b = found[0].span()
    return text[:a] + m["new"].strip() + text[b:]


def known_tests(root):
    """Programs and steps that tests/run can run."""
    names = {os.path.splitext(os.path.basename(p))[0] for k in ("unit_*.c", "check_*.c", "test_*.py")
             for p in glob.glob(os.path.join(root, "tests/*", k))}
    with open(os.path.join(root, "tests/run"), encoding="utf-8") as f:
        return names | set(re.findall(r'"(\w+:\w+)"', f.read()))


def faults(root, mutants):
    out, ids, known = [], set(), known_tests(root)
    for m in mutants:
        where = f"{m['from']}: {m.get('id', '(no id)')}"
        for k in sorted(set(m) - KEYS - {"from"}):
            out.append(f"{where}: unknown key {k}")
        missing = sorted(NEEDED - set(m))
        if missing:
            out.append(f"{where}: lacks {', '.join(missing)}")
            continue
        if m["id"] in ids:
            out.append(f"{where}: the id is taken")
        ids.add(m["id"])
        for t in m["tests"]:
            if t not in known:
                out.append(f"{where}: there is no test {t}")
        try:
            with open(os.path.join(root, m["file"]), encoding="utf-8") as f:
                text = f.read()
            if apply(text, m) == text:
                out.append(f"{where}: changes nothing")
        except (OSError, ValueError) as e:
            out.append(f"{where}: {e}")
    return out


class Tree:
    """A copy of the tracked files, with a build of its own."""
    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)
        tracked = set(subprocess.check_output(["git", "ls-files", "-z"], text=True).split("\0"))
        for base, dirs, names in os.walk(path):  # what the tree has lost since the copy was made
            if base == path and "build" in dirs:
                dirs.remove("build")
            for f in names:
                if os.path.relpath(os.path.join(base, f), path) not in tracked:
                    os.remove(os.path.join(base, f))
        for f in tracked:
            to = os.path.join(path, f)
            # only what differs, so that make builds no more than it must
            if f and os.path.isfile(f) and not (os.path.isfile(to) and filecmp.cmp(f, to, shallow=False)):
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy(f, to)
        if not os.path.isdir(os.path.join(path, "build/venv")) and os.path.isdir("build/venv"):
            os.makedirs(os.path.join(path, "build"), exist_ok=True)
            os.symlink(os.path.abspath("build/venv"), os.path.join(path, "build/venv"))

    def make(self, goals):
        p = subprocess.run(["make", *goals], cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        return p.returncode, p.stdout

    def run(self, tests, env):
        """(all passed, output) of these programs and steps."""
        only = "^(" + "|".join(f"(.*/)?{re.escape(t)}(\\.py)?" for t in tests) + ")$"
        programs = [f"build/tests/{t}" for t in tests if re.match("unit_|check_", t)]
        scripts = [os.path.relpath(p, self.path) for t in tests for p in glob.glob(os.path.join(self.path, f"tests/*/{t}.py"))]
        with open(os.path.join(self.path, "build/config.mk")) as f:
            config = dict(re.findall(r"^(\w+) := ?(.*)$", f.read(), re.M))
        p = subprocess.run([config.get("PYTHON", sys.executable), "tests/run", *programs, *scripts], cwd=self.path, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           env=dict(os.environ, B="build", QMOE_ONLY=only, PTXAS=config.get("PTXAS", ""),
                                    NVRTC_LIB=config.get("NVRTC_LIB", ""), **{k: str(v) for k, v in env.items()}))
        return p.returncode == 0, p.stdout

    def goals(self, tests):
        """What has to be built before these tests can run."""
        programs = [f"build/tests/{t}" for t in tests if re.match("unit_|check_", t)]
        return programs + (["all"] if len(programs) < len(tests) else []) + \
            (["build/http_server"] if "test_http" in tests else []) + \
            (["bench"] if any(t.startswith("bench:") for t in tests) else [])


def try_one(tree, m):
    """('killed' | 'survived' | 'does not build' | 'does not apply', output)"""
    path = os.path.join(tree.path, m["file"])
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        broken = apply(text, m)
    except ValueError as e:
        return "does not apply", str(e)
    try:
        with open(path, "w", encoding="utf-8") as f:
            f.write(broken)
        rc, out = tree.make(tree.goals(m["tests"]))
        if rc:
            return "does not build", out
        passed, out = tree.run(m["tests"], m.get("env", {}))
        return ("survived" if passed else "killed"), out
    finally:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--check", action="store_true", help="only see whether all apply and name tests that exist")
    ap.add_argument("--only", default="", metavar="REGEX", help="only mutants whose id matches")
    ap.add_argument("--jobs", type=int, default=1, metavar="N", help="so many copies of the tree at a time (default 1)")
    ap.add_argument("--build", default="build", metavar="DIR", help="where the copies and the output go (default build)")
    o = ap.parse_args()
    mutants = load(".")
    bad = faults(".", mutants)
    if bad or o.check:
        print("\n".join(bad) if bad else f"{len(mutants)} mutants apply and name tests that exist")
        return 1 if bad else 0
    mutants = [m for m in mutants if re.search(o.only, m["id"])]
    home = os.path.join(o.build, "mutants")
    trees = [Tree(os.path.join(home, str(k))) for k in range(o.jobs)]
    for t in trees:
        rc, out = t.make(["all", "tests", "bench", "build/http_server"])
        if rc:
            print(out, "\nthe unbroken tree does not build")
            return 1
    # each test once, in the environment in which a mutant asks for it
    fine = {}
    for m in mutants:
        fine.setdefault(tuple(sorted((k, str(v)) for k, v in m.get("env", {}).items())), set()).update(m["tests"])
    for env, tests in fine.items():
        passed, out = trees[0].run(sorted(tests), dict(env))
        if not passed:
            print(out, f"\nthe unbroken tree fails {' '.join(sorted(tests))} {dict(env)}")
            return 1
    lock, results, todo = threading.Lock(), {}, list(mutants)

    def work(tree):
        while True:
            with lock:
                if not todo:
                    return
                m = todo.pop(0)
            t0 = time.monotonic()
            what, out = try_one(tree, m)
            with open(os.path.join(home, m["id"] + ".log"), "w", encoding="utf-8") as f:
                f.write(out)
            with lock:
                results[m["id"]] = what
                print(f"{what:8} {m['id']}  ({' '.join(m['tests'])}, {time.monotonic() - t0:.0f} s)", flush=True)

    threads = [threading.Thread(target=work, args=(t,)) for t in trees]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lost = [m for m in mutants if results[m["id"]] != "killed" and not (results[m["id"]] == "survived" and m.get("survives"))]
    for m in mutants:
        if results[m["id"]] == "survived":
            print(f"survived: {m['id']}: {m.get('survives') or m['why']}")
    n = sum(r == "killed" for r in results.values())
    print(f"{n} of {len(mutants)} killed, {sum(r == 'survived' for r in results.values())} survived, {len(lost)} not accounted for")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
