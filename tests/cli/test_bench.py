"""The benches on the software device: whether their checks bite, whether every kernel has its bench, whether
results have the form that is promised; and tools/bench_diff.py on results of each kind."""
import glob, io, json, os, re, shutil, subprocess, sys, tempfile
from contextlib import redirect_stderr, redirect_stdout
import tap

sys.path.insert(0, "tools")
import bench_diff, layers  # noqa: E402

B = os.environ.get("B") or "build"
MICRO, KERNELS = (os.path.join(B, "bench", n) for n in ("micro", "kernels"))


def sh(*cmd, cc="80"):
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=dict(os.environ, QMOE_SIM_CC=cc, QMOE_LIBCUDA="/nonexistent/libcuda.so.1"))
    return p.returncode, p.stdout, p.stderr


def built():
    if os.environ.get("SAN"):
        raise tap.Skip("SAN=1 builds no benches")


def micro(*args, cc="80"):
    """Exit status, result or None, stderr."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "out.json")
        rc, _, err = sh(MICRO, "--device", "sim", "-o", path, *args, cc=cc)
        if not os.path.exists(path):
            return rc, None, err
        with open(path) as f:
            return rc, json.load(f), err


# ---- micro ----
def test_micro_result():
    built()
    rc, r, err = micro("--only", "launch", cc="90")
    assert rc == 0, err
    assert r["tool"] == "micro" and r["complete"] and r["machine"]["simulated"] and r["machine"]["commit"] and r["machine"]["date"]
    names = [x["name"] for x in r["results"]]
    assert "launch/dependent graph step" in names and "launch/graph empty" in names and len(set(names)) == len(names), names
    for x in r["results"]:
        assert x["checked"] and x["ns_median"] is None and x["samples_ns"] == [], x  # sim has no times


def test_micro_times():
    """How times are reported, with those of the software device, which mean nothing."""
    built()
    for only, n in (("barrier 1x", 3), ("launch/stream", 3), ("dram ld u4 1x", 3), ("copy/", 2)):
        rc, r, err = micro("--timed", "-r", "4", "--only", only)
        assert rc == 0 and len(r["results"]) == n and "mean nothing" in r["times"], (only, err, r)
        for x in r["results"]:
            t = x["samples_ns"]
            assert len(t) == 4 and t == sorted(t) and x["ns_min"] == t[0], x
            assert abs(x["ns_median"] - (t[1] + t[2]) / 2) <= 1e-6 * max(abs(v) for v in t), x  # 9 digits are written
            if "bytes" in x:
                assert abs(x["bytes_per_s"] * x["ns_median"] / x["bytes"] / 1e9 - 1) < 1e-6, x
        if only == "launch/stream":
            assert all(x["params"]["host_ns"] is not None for x in r["results"])
        best = {"dram": "dram_read_bytes_per_s", "copy": "copy_bytes_per_s"}.get(only[:4])
        if best:
            rates = [x["bytes_per_s"] for x in r["results"] if "fill" not in x["name"]]
            assert abs(r["summary"][best] / max(rates) - 1) < 1e-6, r["summary"]


def test_micro_skips_by_name():
    built()
    rc, r, _ = micro("--only", "dependent")
    assert rc == 0 and len(r["results"]) == 4
    assert all("9.0" in x["skipped"] for x in r["results"]), r["results"]


def test_micro_refuses():
    built()
    assert sh(MICRO, "--devise", "sim")[0] == 2
    assert sh(MICRO, "-r", "0")[0] == 2
    rc, r, err = micro("--only", "nothing of that name")
    assert rc == 1 and "no measurement" in err and not r["complete"]
    rc, _, err = micro("--only", "barrier", "--ptx", "/nonexistent")
    assert rc == 1 and "/nonexistent/sync.ptx" in err


def test_micro_goes_on_after_a_failed_group():
    built()
    with tempfile.TemporaryDirectory() as tmp:
        for n in ("sync.ptx", "dependent.ptx", "bulk.ptx"):
            shutil.copy(os.path.join(B, "bench", "ptx", n), tmp)
        with open(os.path.join(tmp, "sync.ptx"), "a") as f:
            f.write("nonsense")
        rc, r, err = micro("--ptx", tmp)
    assert rc == 1 and "sync" in err and not r["complete"]
    assert [x["name"] for x in r["results"] if "error" in x] == ["sync", "launch", "stream"], r["results"]
    assert "stream.ptx" in [x for x in r["results"] if x["name"] == "stream"][0]["error"]


def broken(file, what, by, only, cc="80", count=1):
    """The result with one change in a text: it must be found out."""
    built()
    with tempfile.TemporaryDirectory() as tmp:
        for n in os.listdir(os.path.join(B, "bench", "ptx")):
            shutil.copy(os.path.join(B, "bench", "ptx", n), tmp)
        path = os.path.join(tmp, file)
        with open(path) as f:
            text = f.read()
        assert what in text, f"{file} has no '{what}' any more"
        with open(path, "w") as f:
            f.write(text.replace(what, by, count) if count else text.replace(what, by))
        rc, r, err = micro("--only", only, "--ptx", tmp, cc=cc)
        assert rc == 1, f"'{what}' -> '{by}' was not noticed"
        return r, err


def test_micro_finds_a_barrier_that_does_not_wait():
    r, _ = broken("sync.ptx", "@early_ bra L_poll", "@early_ bra L_on; L_on:", "barrier_data", count=0)
    assert all("data" in x["wrong"] and x["ns_median"] is None for x in r["results"]), r["results"]


def test_micro_gives_up_on_a_signal_that_never_comes():
    # The host has 4 million polls for it; the sum is right where nothing but the count is watched.
    r, err = broken("sync.ptx", "red.release.gpu.global.add.u32 [count], 1", "red.release.gpu.global.add.u32 [count], 0", "barrier 1x32")
    assert "deadlock" in err or "given up" in json.dumps(r["results"]), (err, r["results"])


def test_micro_finds_loads_left_out():
    r, _ = broken("stream.ptx", "add.u32 sum, sum, c_1;", "", "dram ld u2 1x256 chunk")
    assert "sum" in r["results"][0]["wrong"]


def test_micro_finds_a_slot_read_too_early():
    r, _ = broken("stream.ptx", "cp.async.wait_group 2", "cp.async.wait_group 4", "dram cp.async s4 1x256 chunk")
    assert "sum" in r["results"][0]["wrong"]


def test_micro_finds_a_word_not_counted():
    r, _ = broken("dependent.ptx", "add.u32 v, v, 1;", "add.u32 v, v, 2;", "dependent graph step", cc="90")
    assert "before" in r["results"][0]["wrong"]


# ---- kernels ----
def kernels(*args):
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "out.json")
        rc, _, err = sh(KERNELS, "--device", "sim", f"--benchmark_out={path}", *args)
        if not os.path.exists(path) or not os.path.getsize(path):
            return rc, None, err
        with open(path) as f:
            return rc, json.load(f), err


def test_kernels_every_kernel_has_a_bench():
    built()
    rc, r, err = kernels("--rows", "64")
    assert rc == 0, err
    assert r["context"]["device"] == "sim" and r["context"]["commit"]
    got = {}
    for x in r["benchmarks"]:
        assert not x.get("error_occurred"), x
        assert x["inst"] > 0 and x["bytes"] > 0 and "sim" in x["label"], x
        model, _, op, *rest = x["run_name"].split("/")
        of = rest[0] if rest and ":" not in rest[0] and rest[0] != "manual_time" else "-1"
        got.setdefault((op, of.upper()), set()).add(model)
        assert ("inst_per_weight" in x) == (op in ("matvec", "moe_up", "moe_matvec", "moe_down", "gemm", "moe_gemm_up", "moe_gemm")), x
        assert ("warp_inst_per_block" in x) == ("gemm" in op), x
    lines = [line[:3] for line in layers.kernels(".")]
    assert len({of for _, of, _ in lines}) >= 9, lines  # the types of streams.def and of kv.def, and none
    planned = set()
    for path in glob.glob("runtime/plan/build*.c"):
        with open(path) as f:
            planned |= {x.lower() for x in re.findall(r"push(?:_rows|_kv)?\(s, QM_OP_(\w+)", f.read())}
    assert "matvec" in planned and len(planned) >= 8, planned
    for op, of, dim in lines:
        if op not in planned and op not in {o for o, _ in got}:
            print(f"# no bench for {op}, which no plan contains")
            continue
        want = {"64": {"small"}, "128": {"30b"}}.get(dim, {"30b", "small"})  # else no heads' dim, but a width or none
        assert want <= got.get((op, re.sub("QM_(TYPE|KV_CACHE)_", "", of)), set()), f"{op} {of} {dim} has no bench: it wants a case in bench/jobs.c"


def test_kernels_sweep():
    """Every geometry of a sweep runs and asks for all that there is to read; nothing else is in it."""
    built()
    rc, r, err = kernels("--sweep", "--model", "30b", "--rows", "256")
    assert rc == 0, err
    names = [x["run_name"] for x in r["benchmarks"]]
    assert len(set(names)) == len(names) > 60 and all("/tiles:" in n and "/slices:" in n and "/parts:" in n for n in names), names
    for x in r["benchmarks"]:
        assert not x.get("error_occurred") and 0.99 < x["requested"] < 2, x
    assert {n.split("/")[1] for n in names} == {"qkv", "attn_v", "attn_out", "lm_head", "moe_up", "moe_down"}, names
    # K = 2048 has 4 parts, 4096 has 8: each in a CTA of its own, or all in one
    for slot, parts in (("qkv", "14"), ("attn_out", "18"), ("moe_up", "1"), ("lm_head", "1")):
        assert {n.split("/parts:")[1][0] for n in names if f"/{slot}/" in n} == set(parts), (slot, names)


def test_micro_append():
    """A second run adds to what the first has left; a file that cannot be written is an error."""
    built()
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "m.json")
        for only in ("sync/barrier 1x256", "prefetch/after load"):
            rc, _, err = sh(MICRO, "--device", "sim", "-o", path, "--append", "--only", only)
            assert rc == 0, err
        with open(path) as f:
            r = json.load(f)
        names = [x["name"] for x in r["results"]]
        assert names == ["sync/barrier 1x256"] + [f"prefetch/after load, asked by {x}" for x in ("nobody", "prefetch", "loads")], names
        assert r["complete"] and all(x["checked"] for x in r["results"]) and os.listdir(tmp) == ["m.json"]
        assert sh(MICRO, "--device", "sim", "-o", path, "--only", "nothing like it")[0] == 1
        rc, _, err = sh(MICRO, "--device", "sim", "-o", os.path.join(tmp, "no", "m.json"), "--only", "sync/barrier 1x32")
        assert rc == 1 and "cannot write" in err, err


def test_kernels_count_what_counters_counts():
    built()
    with open("bench/results/counters.json") as f:
        was = json.load(f)
    rc, r, err = kernels("--model", "30b", "--rows", "0", "--benchmark_filter=/qkv/matvec/Q4_K|/moe_down/moe_matvec/Q6_K")
    assert rc == 0, err
    now = {x["run_name"]: x["inst_per_weight"] for x in r["benchmarks"]}
    for key, name in (("qkv matvec Q4_K [5120,2048]", "30b/qkv/matvec/Q4_K"), ("moe_down moe_matvec Q6_K [2048,768]", "30b/moe_down/moe_matvec/Q6_K")):
        (v,) = [v for n, v in now.items() if n.startswith(name + "/")]
        assert v <= was[key]["inst"] * 1.00001 and v > 0.5 * was[key]["inst"], (key, v, was[key])


def test_kernels_the_timed_way():
    """What a GPU takes: graphs, copies of the weights in turn, rates. Times here mean nothing."""
    built()
    rc, r, err = kernels("--timed", "--cold-l2", "--model", "small", "--copy-bandwidth", "2", "--benchmark_min_time=0.0001",
                         "--benchmark_filter=small/(embed/embed/Q4_K|attn_v/matvec/Q6_K|sample_draw)")
    assert rc == 0 and len(r["benchmarks"]) == 4, err  # sample_draw: of one row and of eight
    for x in r["benchmarks"]:
        assert x["iterations"] >= 100 and x["real_time"] > 0 and not x.get("error_occurred"), x
        assert abs(x["of_copy"] * 2e9 / x["bytes_per_second"] - 1) < 1e-6, x
        assert abs(x["bytes_per_second"] * x["real_time"] * 1e-6 / x["bytes"] - 1) < 1e-3, x  # us
        assert (x["copies"] > 100) == ("matvec" in x["run_name"]), x
    assert r["context"]["l2"] == "cold"


def test_kernels_refuses():
    built()
    assert sh(KERNELS, "--cold")[0] == 2
    assert sh(KERNELS, "--device", "sim", "--model", "70b")[0] == 2
    assert sh(KERNELS, "--device", "sim", "--benchmark_nonsense=1")[0] == 2
    rc, _, err = kernels("--benchmark_filter=no such bench")
    assert rc == 1 and "matches" in err


# ---- bench_diff ----
M = {"device": "cuda:0", "device_name": "NVIDIA H200", "simulated": False, "commit": "0123456789ab", "date": "2026-12-01T10:00:00Z"}
MICRO_DOC = {"tool": "micro", "machine": M, "results": [
    {"name": "sync/barrier", "params": {"grid": 132}, "ns_median": 1000.0, "ns_min": 900.0, "samples_ns": [900.0, 1000.0]},
    {"name": "stream/dram", "params": {}, "ns_median": 10.0, "ns_min": 9.0, "bytes": 40.0, "bytes_per_s": 4e12},
    {"name": "sync/gone", "params": {}, "ns_median": 1.0, "ns_min": 1.0},
    {"name": "launch/dependent", "skipped": "no"}]}
GBENCH_DOC = {"context": dict(M), "benchmarks": [
    {"name": "30b/qkv/matvec/Q4_K/manual_time", "run_name": "30b/qkv/matvec/Q4_K/manual_time", "run_type": "iteration",
     "iterations": 100, "real_time": 2.0, "cpu_time": 9.0, "time_unit": "us", "of_copy": 0.8, "bytes": 5e6}]}
BENCH_DOC = [{"test": "tg128", "avg_ts": 100.0, "avg_ns": 10, "first_token_ns": 5.0, "n_gen": 128, "load": {"seconds": 9.0, "bytes": 7}, "machine": M}]
OPS_DOC = [{"record": "step", "estimate": False, "depth": 0, "device": "H200", "step_ns": 3000.0, "machine": M},
           {"record": "op", "depth": 0, "i": 0, "slot": "qkv", "time_ns": 10.0, "gap_ns": 1.0, "thread_insts": 7},
           {"record": "op", "depth": 0, "i": 9, "slot": "qkv", "time_ns": 20.0, "gap_ns": 1.0, "thread_insts": 7}]
COUNTERS_DOC = {"qkv": {"inst": 1.5, "req": 1.0, "sect": 1.0, "shared": 20.0, "bar": 4.0}}


def saved(tmp, name, doc, lines=False):
    path = os.path.join(tmp, name)
    with open(path, "w") as f:
        f.write("\n".join(json.dumps(x) for x in doc) if lines else doc if isinstance(doc, str) else json.dumps(doc))
    return path


def diff(a, b, *args, lines=False):
    """Exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as tmp, redirect_stdout(out), redirect_stderr(err):
        rc = bench_diff.main([saved(tmp, "a", a), saved(tmp, "b", b, lines), *args])
    return rc, out.getvalue(), err.getvalue()


def copy_with(doc, *path, to):
    doc = json.loads(json.dumps(doc))
    d = doc
    for k in path[:-1]:
        d = d[k]
    d[path[-1]] = to
    return doc


def test_diff_every_kind():
    for doc, path, to, word, figure in (
        (MICRO_DOC, ("results", 0, "ns_median"), 500.0, "better", "ns_median"),
        (MICRO_DOC, ("results", 1, "bytes_per_s"), 2e12, "worse", "bytes_per_s"),
        (GBENCH_DOC, ("benchmarks", 0, "real_time"), 1.0, "better", "real_time_ns"),
        (GBENCH_DOC, ("benchmarks", 0, "of_copy"), 0.4, "worse", "of_copy"),
        (BENCH_DOC, (0, "avg_ts"), 200.0, "better", "avg_ts"),
        (BENCH_DOC, (0, "load", "seconds"), 18.0, "worse", "load.seconds"),
        (OPS_DOC, (2, "time_ns"), 50.0, "worse", "time_ns"),
        (COUNTERS_DOC, ("qkv", "inst"), 0.75, "better", "inst"),
    ):
        rc, out, err = diff(doc, copy_with(doc, *path, to=to))
        changed = [x for x in out.splitlines()[:-1] if x.endswith((" better", " worse"))]
        assert rc == 0 and len(changed) == 1, (figure, out, err)
        assert changed[0].endswith(word) and f" {figure} " in changed[0] and ("2.000" in changed[0] or "0.500" in changed[0]), changed
        same = diff(doc, doc)[1]
        assert ", 0 worse" in same and ": 0 better" in same, same


def test_diff_sums_ops_by_slot():
    row = [x for x in diff(OPS_DOC, OPS_DOC)[1].splitlines() if "d0 qkv" in x][0]
    assert row.split()[2:] == ["time_ns", "30", "30", "1.000", "same"], row


def test_diff_json_lines():
    rc, out, _ = diff(BENCH_DOC, BENCH_DOC, lines=True)
    assert rc == 0 and "tg128" in out
    assert diff(OPS_DOC, OPS_DOC, lines=True)[0] == 0


def test_diff_says_what_only_one_side_has():
    less = copy_with(MICRO_DOC, "results", to=MICRO_DOC["results"][:2])
    rc, out, _ = diff(MICRO_DOC, less)
    assert rc == 0 and "only in A: sync/gone" in out
    assert "only in B: sync/gone" in diff(less, MICRO_DOC)[1]


def test_diff_exit_status():
    slower = copy_with(MICRO_DOC, "results", 0, "ns_median", to=1100.0)
    assert diff(MICRO_DOC, slower)[0] == 0
    assert diff(MICRO_DOC, slower, "--worse", "5")[0] == 1
    assert diff(MICRO_DOC, slower, "--worse", "15")[0] == 0
    assert diff(slower, MICRO_DOC, "--worse", "5")[0] == 0
    assert diff(MICRO_DOC, slower, "--worse", "5", "--only", "dram")[0] == 0


def test_diff_refuses():
    for bad, word in (("{", "neither JSON"), ("[]", "not a result"), ({"tool": "micro"}, "missing"), ({"x": 1}, "not a result"), ("", "not a result")):
        rc, _, err = diff(MICRO_DOC, bad)
        assert rc == 2 and word in err, (bad, rc, err)
    rc, _, err = diff(MICRO_DOC, COUNTERS_DOC)
    assert rc == 2 and "no figure in common" in err


def test_diff_names_and_estimates():
    assert bench_diff.canonical(bench_diff.of_micro(MICRO_DOC)) == "h200-2026-12-01-0123456789ab-micro.json"
    guess = copy_with(OPS_DOC, 0, "estimate", to=True)
    out = diff(guess, OPS_DOC)[1]
    assert "A is estimated, B is measured" in out, out


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
