#!/usr/bin/env python3
"""bench_diff.py A B: two results side by side, with ratios. Reads what our tools write, whichever it is:

  micro -o FILE                     microbenchmarks
  kernels --benchmark_out=FILE      Google Benchmark's JSON
  qmoe-gpu bench -o json | jsonl    tests, and --per-op or --predict (ops are summed by slot)
  counters -o FILE                  bench/results/counters.json

The two files need not be of one kind only where their names meet: "measured" can stand beside "estimated".
A ratio is B / A; "better" and "worse" say which way that is, within --noise percent (default 2) it is "same".

  --only REGEX     rows whose name matches       --all          every figure, not the leading ones
  --worse PERCENT  exit status 1 if any figure of B is worse by more than that
  --name A         prints the name under which A belongs into bench/results"""
import argparse, json, re, signal, sys

# Leading figures of each kind, in this order; HIGHER: more is better, else less is.
LEADING = {
    "micro": ["bytes_per_s", "ns_median"],
    "gbench": ["real_time_ns", "of_copy", "inst_per_weight", "inst", "requested", "sectors"],
    "bench": ["avg_ts", "first_token_ns", "fraction_of_bandwidth", "load.seconds"],
    "per-op": ["time_ns", "gap_ns", "thread_insts", "requested_bytes"],
    "counters": ["inst", "req", "sect", "shared", "bar"],
}
HIGHER = re.compile(r"(_per_s(econd)?(_best)?|_ts|of_copy|fraction_of_\w+|tokens_per_s)$")
# Not figures of merit: what was run rather than how it went.
INPUTS = re.compile(r"^(n_|i$|layer$|depth$|family_index|per_family|repetition|threads|iterations|seed|block|shared_bytes|"
                    r"model_size|copies|weights$|weight_bytes$|kv_bytes$|bytes$|stddev|bandwidth\.(bytes|passes)|ops$|layers$|runs$|"
                    r"machine\.|memory\.|load\.(bytes|file_cached)|clock_tick)")
GBENCH_UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


class Refused(Exception):
    pass


def flat(o, prefix=""):
    """Numbers of an object, nested names joined by dots; flags and lists are left out."""
    out = {}
    for k, v in o.items():
        if isinstance(v, dict):
            out.update(flat(v, f"{prefix}{k}."))
        elif isinstance(v, (int, float)) and not isinstance(v, bool):
            out[prefix + k] = float(v)
    return out


def figures(o):
    return {k: v for k, v in flat(o).items() if not INPUTS.search(k)}


def of_micro(doc):
    rows = {}
    for r in doc["results"]:
        if "skipped" not in r and "error" not in r:
            rows[r["name"]] = {k: v for k, v in figures(r).items() if not k.startswith("params.")}
            if r["params"].get("host_ns") is not None:
                rows[r["name"]]["host_ns"] = float(r["params"]["host_ns"])
    return "micro", rows, doc["machine"], "no times" if doc["machine"]["simulated"] else "measured"


def of_gbench(doc):
    rows, sim = {}, doc["context"].get("device") == "sim"
    for r in doc["benchmarks"]:
        if r.get("error_occurred") or r.get("run_type") == "aggregate" and r.get("aggregate_name") != "median":
            continue
        f = figures(r)
        for k in ("real_time", "cpu_time"):
            t = f.pop(k, None)
            if k == "real_time" and t is not None and not sim:
                f["real_time_ns"] = t * GBENCH_UNITS[r.get("time_unit", "ns")]
        rows[re.sub(r"/iterations:\d+|/manual_time", "", r.get("run_name", r["name"]))] = f
    return "gbench", rows, doc["context"], "no times" if sim else "measured"


def of_bench(tests):
    rows = {}
    for t in tests:
        rows[t["test"] if t["test"] not in rows else f"{t['test']} ({t.get('model_filename')})"] = figures(t)
    m = tests[0]["machine"]
    return "bench", rows, m, "measured, on the software device" if m["simulated"] else "measured"


def of_ops(records):
    rows, machine, how = {}, {}, set()
    for r in records:
        if r["record"] == "step":
            machine = dict(r.get("machine") or {}, device_name=r["device"])  # the chip that an estimate is of
            how.add("estimated" if r.get("estimate") else "measured" if r.get("step_ns") is not None else "no times")
            f = figures({k: v for k, v in r.items() if k not in ("chip", "machine")})
            rows[f"d{r['depth']} step"] = dict(f, time_ns=f["step_ns"]) if "step_ns" in f else f
        elif r["record"] == "op":
            row = rows.setdefault(f"d{r['depth']} {r['slot']}", {})
            for k, v in figures(r).items():
                if k not in ("begin_ns", "bytes_per_s"):
                    row[k] = row.get(k, 0) + v
    return "per-op", rows, machine, ", ".join(sorted(how))


def read(path):
    """(kind, {row: {figure: number}}, machine, how it came about)"""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        doc = json.loads(text)
    except json.JSONDecodeError:
        try:
            doc = [json.loads(x) for x in text.splitlines() if x.strip()]
        except json.JSONDecodeError as e:
            raise Refused(f"{path}: neither JSON nor one JSON object a line: {e}")
    try:
        if isinstance(doc, dict) and doc.get("tool") == "micro":
            return of_micro(doc)
        if isinstance(doc, dict) and "benchmarks" in doc:
            return of_gbench(doc)
        if isinstance(doc, dict) and ("test" in doc or "record" in doc):
            doc = [doc]  # JSON lines with one line
        if isinstance(doc, list) and doc and all("record" in x for x in doc):
            return of_ops(doc)
        if isinstance(doc, list) and doc and all("test" in x for x in doc):
            return of_bench(doc)
        if isinstance(doc, dict) and doc and all(isinstance(v, dict) and "inst" in v for v in doc.values()):
            return "counters", {k: flat(v) for k, v in doc.items()}, {"device": "sim"}, "counted"
    except (KeyError, TypeError, AttributeError) as e:
        raise Refused(f"{path}: a field is missing or of the wrong kind: {e}")
    raise Refused(f"{path}: not a result of ours")


def compare(a, b, show_all=False, only=None, noise=2.0):
    """Rows (name, figure, a, b, ratio or None, word), then names that only one side has."""
    leading = LEADING[a[0]] + [x for x in LEADING[b[0]] if x not in LEADING[a[0]]]
    rows, both = [], [n for n in a[1] if n in b[1]]
    for n in both:
        if only and not re.search(only, n):
            continue
        fa, fb = a[1][n], b[1][n]
        keys = [k for k in fa if k in fb]
        if not show_all:
            keys = [k for k in leading if k in keys]
            if a[0] == b[0] == "micro":
                keys = keys[:1]  # a rate says it where there is one
        for k in keys:
            x, y = fa[k], fb[k]
            ratio = y / x if x else None
            gain = None if ratio is None else 100 * (ratio - 1) * (1 if HIGHER.search(k) else -1)
            word = ("same" if x == y else "?") if gain is None else "same" if abs(gain) <= noise else "better" if gain > 0 else "worse"
            rows.append((n, k, x, y, ratio, word, gain))
    return rows, [n for n in a[1] if n not in b[1]], [n for n in b[1] if n not in a[1]]


def number(v):
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(v) >= limit:
            return f"{v / (1e3 if unit == 'k' else limit):.4g}{unit}"
    return f"{v:.4g}"


def title(path, r):
    m = r[2]
    who = m.get("device_name") or m.get("device") or "?"
    return f"{path}: {r[0]}, {r[3]}, {who}, {m.get('commit') or '?'}, {(m.get('date') or '?')[:10]}"


def canonical(r):
    m = r[2]
    who = m.get("device_name") or m.get("device") or "unknown"
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?i)nvidia|geforce|\(.*?\)", "", who).lower()).strip("-")
    return f"{slug}-{(m.get('date') or 'undated')[:10]}-{m.get('commit') or 'unknown'}-{r[0]}.json"


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("files", nargs="*", metavar="FILE")
    p.add_argument("--only")
    p.add_argument("--all", action="store_true")
    p.add_argument("--noise", type=float, default=2.0)
    p.add_argument("--worse", type=float)
    p.add_argument("--name")
    o = p.parse_args(argv)
    try:
        if o.name:
            print(canonical(read(o.name)))
            return 0
        if len(o.files) != 2:
            p.error("two files, please")
        a, b = read(o.files[0]), read(o.files[1])
    except (Refused, OSError) as e:
        print(f"bench_diff: {e}", file=sys.stderr)
        return 2
    print("A  " + title(o.files[0], a) + "\nB  " + title(o.files[1], b))
    if a[3] != b[3]:
        print(f"A is {a[3]}, B is {b[3]}")
    rows, only_a, only_b = compare(a, b, o.all, o.only, o.noise)
    width = max([len(r[0]) for r in rows] + [4])
    print(f"\n{'what':<{width}}  {'figure':<22} {'A':>10} {'B':>10} {'B/A':>8}")
    last = None
    for n, k, x, y, ratio, word, _ in rows:
        print(f"{n if n != last else '':<{width}}  {k:<22} {number(x):>10} {number(y):>10} {f'{ratio:.3f}' if ratio is not None else '-':>8}  {word}")
        last = n
    for side, names in (("A", only_a), ("B", only_b)):
        names = [n for n in names if not o.only or re.search(o.only, n)]
        if names:
            print(f"only in {side}: " + ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else ""))
    words = [r[5] for r in rows]
    print(f"{len(rows)} figures: {words.count('better')} better, {words.count('same')} same, {words.count('worse')} worse")
    if not rows:
        print("bench_diff: the two have no figure in common", file=sys.stderr)
        return 2
    bad = [r for r in rows if o.worse is not None and r[6] is not None and r[6] < -o.worse]
    for r in bad:
        print(f"worse by more than {o.worse:g}%: {r[0]} {r[1]}")
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
