#!/usr/bin/env python3
"""contracts.py [--root DIR] [--ran FILE] [--update]: checks contracts/*.yaml and that every claim's test exists
and, given the list of what ran and passed (tests/run writes B/tests.ran), that it did.

A claim that this machine cannot decide says so: `needs: gpu`, `needs: model` (real weights), `needs: browser`, `needs: litellm`,
`needs: namespace` (of networks). It is listed as unproven, never counted as passed; only such a claim may have
`test: none`, or one that waits for a part of the program that is not written: `awaits: PATH`, a path of AWAITED below. It stands in a file of status
DRAFT, and once the path exists it is a fault.

contracts/ids.txt says which claims there are and how far each has got (RANKS): a claim that is gone, renamed or
demoted is a fault. --update writes claims that are new or have risen into it, and never takes anything out.

Paths of this repository that a contract names must exist.
Unknown keys, missing keys, keys or ids that occur twice and wrong values are errors: a misspelt key
must not leave a gate silently open. Exit status 1 with one line per fault."""
import argparse, glob, os, re, sys
import yaml

STATUS = ["DRAFT", "ACTIVE_ALGORITHM_LEVEL", "ACTIVE_RUNTIME"]
NEEDS = ("gpu", "model", "browser", "litellm", "namespace")
# What claims may wait for, and what comes with it.
AWAITED = {"host/serve.c": "the HTTP server"}
# How far a claim has got: it waits; a GPU or real weights are needed and no test is written; one is; tests decide it here.
RANKS = ["awaits", "untested", "elsewhere", "here"]
ROOMS = "tools|tests|docs|contracts|kernels|runtime|host|bench|models"
TOP = {"metadata": dict, "equations": dict, "proof_obligations": list, "falsification_tests": list, "status": str,
       "status_history": list, "evidence": list}
# section: (required keys, allowed besides)
META = ({"version", "created", "author", "description", "references"}, set())
EQUATION = ({"formula"}, {"domain", "invariants", "source"})
OBLIGATION = ({"property", "checked_by"}, {"formal"})
CLAIM = ({"id", "rule", "prediction", "test", "if_fails"}, {"needs", "awaits"})
HISTORY = ({"status", "date", "why"}, set())
EVIDENCE = ({"command", "machine", "commit", "numbers"}, {"date"})


class Loader(yaml.SafeLoader):
    """YAML in which a key that occurs twice is an error (the library would keep the last)."""


def mapping(loader, node, deep=False):
    seen = set()
    for k, _ in node.value:
        key = loader.construct_object(k, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' occurs twice", k.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
# Dates and numbers like 1.0 stay the text they are.
Loader.yaml_implicit_resolvers = {k: [(t, r) for t, r in v if "timestamp" not in t]
                                  for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def keys(where, d, spec, say):
    """Whether d is a mapping with exactly the keys that spec allows and values that say something."""
    required, more = spec
    if not isinstance(d, dict):
        say(f"{where}: not a mapping")
        return False
    for k in sorted(map(str, set(d) - required - more)):
        say(f"{where}: unknown key '{k}'")
    for k in sorted(required - set(d)):
        say(f"{where}: key '{k}' is missing")
    for k, v in d.items():
        if v is None or v == "" or v == [] and k != "references":
            say(f"{where}: '{k}' is empty")
    return required <= set(d)


def known_tests(root):
    """Every test name that the sources define: program:test, and the steps of tests/run."""
    names = set()
    for path in glob.glob(os.path.join(root, "tests", "*", "*.c")):
        prog = os.path.basename(path)[:-2]
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"/\*.*?\*/|//[^\n]*", "", f.read(), flags=re.S)
        names |= {f"{prog}:{t}" for t in re.findall(r"\bcmocka_unit_test\w*\(\s*(\w+)", text)}
        # tests entered by hand, as {"name", function, ...
        names |= {f"{prog}:{t}" for t in re.findall(r'\{\s*"(\w+)"\s*,\s*[a-z]\w*\s*,', text)}
    for path in glob.glob(os.path.join(root, "tests", "*", "test_*.py")):
        with open(path, encoding="utf-8") as f:
            names |= {f"{os.path.basename(path)[:-3]}:{t}" for t in re.findall(r"^\s*def (test_\w+)", f.read(), re.M)}
    run = os.path.join(root, "tests", "run")
    if os.path.exists(run):
        with open(run, encoding="utf-8") as f:
            names |= set(re.findall(r'"((?:tools|bench|lazy):\w+)"', f.read()))
    names |= {f"fuzz:{os.path.basename(p)[:-2]}" for p in glob.glob(os.path.join(root, "tests", "fuzz", "fuzz_*.c"))}
    return names


def check_paths(name, text, root, say):
    """Every path in a contract's text is there; build/tests/x and build/bench/x stand for their sources."""
    for path in re.findall(rf"(?<![\w/.-])(?:build/)?(?:{ROOMS})/[\w./*-]*[\w*]", text):
        src = re.sub(r"^build/tests/(\w+)$", r"tests/*/\1.c", re.sub(r"^build/bench/(\w+)$", r"bench/\1.c", path))
        if path not in AWAITED and not glob.glob(os.path.join(root, src)):
            say(f"{name}: {path} does not exist")


def rank(claim):
    if "awaits" in claim:
        return "awaits"
    if "needs" in claim:
        return "untested" if claim["test"] in ("none", ["none"]) else "elsewhere"
    return "here"


def check_ids(root, ranks, say, update):
    """Holds the claims (id: rank) against the committed list."""
    path = os.path.join(root, "contracts", "ids.txt")
    head, listed = [], {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for i, line in enumerate(f, 1):
                word = line.split()
                if line.startswith("#") or not word:
                    head.append(line)
                elif len(word) != 2 or word[1] not in RANKS or word[0] in listed:
                    say(f"contracts/ids.txt: line {i}: expected an id that is new and one of {', '.join(RANKS)}")
                else:
                    listed[word[0]] = word[1]
    for k, was in listed.items():
        if k not in ranks:
            say(f"contracts/ids.txt: {k}: no contract has this claim any more")
        elif RANKS.index(ranks[k]) < RANKS.index(was):
            say(f"contracts/ids.txt: {k}: was '{was}' and is '{ranks[k]}' now: claims are not demoted")
    news = {k: r for k, r in ranks.items() if RANKS.index(r) > (RANKS.index(listed[k]) if k in listed else -1)}
    if update and news:
        listed.update(news)
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(head + [f"{k} {listed[k]}\n" for k in sorted(listed)])
    elif news:
        say(f"contracts/ids.txt: {', '.join(sorted(news))}: not there, or better now: tools/contracts.py --update")


def check_file(root, name, doc, known, ran, ids, ranks, say, unproven):
    if not keys(name, doc, (set(TOP), set()), lambda m: None if "'evidence' is empty" in m else say(m)):
        return 0
    for k, kind in TOP.items():
        if not isinstance(doc[k], kind):
            say(f"{name}: '{k}' must be a {'mapping' if kind is dict else 'list' if kind is list else 'word'}")
            return 0
    keys(f"{name}: metadata", doc["metadata"], META, say)
    for k, eq in doc["equations"].items():
        keys(f"{name}: equation {k}", eq, EQUATION, say)

    here, used = set(), set()
    for i, claim in enumerate(doc["falsification_tests"]):
        where = f"{name}: claim {claim.get('id', i + 1) if isinstance(claim, dict) else i + 1}"
        if not keys(where, claim, CLAIM, say):
            continue
        if claim["id"] in ids:
            say(f"{where}: the id is taken by {ids[claim['id']]}")
        ids[claim["id"]] = name
        ranks[claim["id"]] = rank(claim)
        here.add(claim["id"])
        needs = claim.get("needs")
        if needs is not None and needs not in NEEDS:
            say(f"{where}: needs: '{needs}' is none of {', '.join(NEEDS)}")
        tests = claim["test"] if isinstance(claim["test"], list) else [claim["test"]]
        awaits = claim.get("awaits")
        if awaits is not None:
            if awaits not in AWAITED:
                say(f"{where}: awaits: '{awaits}' is none of {', '.join(AWAITED)}")
            elif os.path.exists(os.path.join(root, awaits)):
                say(f"{where}: {awaits} is there now: the claim wants its test")
            if doc["status"] != "DRAFT" or needs is not None or tests != ["none"]:
                say(f"{where}: a claim that awaits something has no needs and no test, in a file of status DRAFT")
            unproven.append(f"{claim['id']} (awaits {AWAITED.get(awaits, awaits)})")
        if tests == ["none"]:
            if needs is None and awaits is None:
                say(f"{where}: has no test; only a claim that needs {' or '.join(NEEDS)} may")
            tests = []
        for t in tests:
            if t not in known:
                say(f"{where}: test '{t}' does not exist")
            elif ran is not None and t not in ran and needs is None:
                say(f"{where}: test '{t}' did not run and pass")
        if needs and not (tests and ran is not None and set(tests) <= set(ran)):
            unproven.append(f"{claim['id']} (needs {needs}{'' if tests else '; no test yet'})")
    for i, ob in enumerate(doc["proof_obligations"]):
        where = f"{name}: proof obligation {i + 1}"
        if not keys(where, ob, OBLIGATION, say):
            continue
        for c in ob["checked_by"] if isinstance(ob["checked_by"], list) else [ob["checked_by"]]:
            used.add(c)
            if c not in here:
                say(f"{where}: checked_by names '{c}', which is no claim of this file")

    history = []
    for i, h in enumerate(doc["status_history"]):
        if keys(f"{name}: status_history {i + 1}", h, HISTORY, say):
            history.append((str(h["date"]), h["status"]))
            if h["status"] not in STATUS:
                say(f"{name}: status_history {i + 1}: '{h['status']}' is none of {', '.join(STATUS)}")
    if doc["status"] not in STATUS:
        say(f"{name}: status '{doc['status']}' is none of {', '.join(STATUS)}")
    if not history or history[-1][1] != doc["status"]:
        say(f"{name}: status_history does not end in the status, {doc['status']}")
    if [d for d, _ in history] != sorted(d for d, _ in history):
        say(f"{name}: status_history is not in the order of its dates")
    for i, ev in enumerate(doc["evidence"]):
        if keys(f"{name}: evidence {i + 1}", ev, EVIDENCE, say) and not isinstance(ev["numbers"], dict):
            say(f"{name}: evidence {i + 1}: numbers must be a mapping")
    if doc["status"] == "ACTIVE_RUNTIME" and not doc["evidence"]:
        say(f"{name}: ACTIVE_RUNTIME without evidence")
    return len(here)


def check(root, ran=None, update=False):
    """(faults, number of claims, unproven claims)"""
    faults, ids, ranks, unproven, n = [], {}, {}, [], 0
    known = known_tests(root)
    paths = sorted(glob.glob(os.path.join(root, "contracts", "*.yaml")))
    if not paths:
        faults.append("contracts: no *.yaml")
    for path in paths:
        name = os.path.relpath(path, root)
        try:
            with open(path, encoding="utf-8") as f:
                text = f.read()
            doc = yaml.load(text, Loader)
        except yaml.YAMLError as e:
            faults.append(f"{name}: " + " ".join(str(e).split()))
            continue
        n += check_file(root, name, doc, known, ran, ids, ranks, faults.append, unproven)
        check_paths(name, text, root, faults.append)
    check_ids(root, ranks, faults.append, update)
    return faults, n, unproven


if __name__ == "__main__":
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--root", default=".")
    a.add_argument("--ran")
    a.add_argument("--update", action="store_true", help="write new and risen claims into contracts/ids.txt")
    o = a.parse_args()
    ran_names = None
    if o.ran:
        with open(o.ran) as fh:
            ran_names = {x.strip() for x in fh}
    bad, count, open_claims = check(o.root, ran_names, o.update)
    for line in bad:
        print(line)
    for line in open_claims:
        print(f"unproven on this machine: {line}")
    print(f"{count} claims, {len(open_claims)} unproven here, {len(bad)} faults" + ("" if o.ran else " (names only)"))
    sys.exit(1 if bad else 0)
