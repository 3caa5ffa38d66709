"""tools/gpu_check.sh on the software device: every step, and what happens when one fails, hangs or lacks its tool.

The build it looks at is made of links to a few programs of this build, so that a test can put a broken one in,
and the tools that come with CUDA are small scripts: their presence must not depend on the machine."""
import glob, json, os, re, shutil, signal, subprocess, tempfile, time
import tap

BIN = os.path.abspath(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
BUILD = os.path.dirname(BIN)
TMP = os.path.abspath(os.environ.get("QMOE_TEST_TMP") or "/tmp")
STEPS = ["doctor", "isa", "barrier", "nodes", "hint", "stamps", "sweep", "read", "kernels", "goldens", "sanitizer", "synth", "decode",
         "rungs", "perop", "micro", "bench", "ncu"]
LONG = ("--budget", "2160")  # four times the limits: this machine may have other work

# Each runs the program behind its options, as the real one does.
SANITIZER = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do [ "$1 $2" != "--tool ${FAKE_FINDS:-}" ] || bad=1; shift 2; done
echo "========= COMPUTE-SANITIZER"
"$@" || exit 1
[ -z "${bad:-}" ] || { echo "========= Error: Race reported between Write and Read access"; exit 9; }
echo "========= ERROR SUMMARY: 0 errors"
"""
NCU = """#!/bin/sh
while [ "${1##*/}" != qmoe-gpu ]; do shift; done
[ -z "${FAKE_NO_COUNTERS:-}" ] || { echo "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"; exit 1; }
echo '==PROF== Connected to process 7'
"$@" || exit 1
echo '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Section Name","Metric Name","Metric Unit","Metric Value"'
echo '"0","7","qmoe-gpu","127.0.0.1","qm_moe_up_q4_k_q16a","1","Command line profiler metrics","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","71.25"'
echo '"1","7","qmoe-gpu","127.0.0.1","qm_matvec_q6_k_q16a","1","Command line profiler metrics","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","64.50"'
"""
PEER = """#!/bin/sh
[ -r "$2" ] || exit 1
echo 'ggml_cuda_init: found 1 device' >&2
echo '{"build_commit": "abc", "n_prompt": 0, "n_gen": 4, "n_depth": 0, "avg_ns": 2000000, "stddev_ns": 1, "avg_ts": 2000.0, "stddev_ts": 1.0, "samples_ns": [2000000]}'
"""


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


class Tree:
    """A build of links, and the tools."""

    def __init__(self, tests=("check_isa", "check_rmsnorm", "unit_upload")):
        self.root = tempfile.mkdtemp(dir=TMP, prefix="gpu_check_test")
        self.b, self.tools = self.root + "/b", self.root + "/tools"
        for folder, names in (("tests", tests), ("bench", ("micro", "kernels"))):
            os.makedirs(f"{self.b}/{folder}")
            for n in names:
                os.symlink(os.path.join(BUILD, folder, n), f"{self.b}/{folder}/{n}")
        os.symlink(BIN, self.b + "/qmoe-gpu")
        script(self.tools + "/compute-sanitizer", SANITIZER)
        script(self.tools + "/ncu", NCU)

    def run(self, *args, status=0, env=None):
        out = self.root + "/out"
        shutil.rmtree(out, ignore_errors=True)
        e = dict(os.environ, B=self.b, PATH=self.tools + ":" + os.environ["PATH"], QMOE_TEST_ISA="add_int", TMPDIR=self.root,
                 **(env or {}))
        e.pop("OUT", None)
        p = subprocess.run(["sh", "tools/gpu_check.sh", "--device", "sim", "--out", out, *args], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, env=e)
        text = p.stdout.decode()
        assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\n{text}"
        files = sorted(os.listdir(out)) if os.path.isdir(out) else []
        assert len(files) <= 8, files
        for f in files:
            assert re.fullmatch(r"[A-Za-z0-9._-]+", f) and os.path.getsize(f"{out}/{f}") <= 16 << 20, f
        self.out, self.files, self.text = out, files, text
        left = glob.glob(self.root + "/gpu_check.*") + glob.glob(self.root + "/*.gguf")
        assert not left, f"left behind: {left}"
        if not files:
            return {}
        self.summary = self.json("summary.json")
        return {s["step"]: s for s in self.summary["steps"]}

    def json(self, name):
        with open(f"{self.out}/{name}") as f:
            return json.load(f)

    def read(self, name):
        with open(f"{self.out}/{name}") as f:
            return f.read()

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)


def in_tree(fn):
    def test():
        if not os.path.exists(os.path.join(BUILD, "bench", "kernels")):
            raise tap.Skip("the benches are not built")
        t = Tree()
        try:
            fn(t)
        finally:
            t.close()
    test.__name__ = fn.__name__
    return test


@in_tree
def test_every_step(t):
    os.symlink(os.path.join(BUILD, "tests", "check_matvec"), t.b + "/tests/check_matvec")
    got = t.run(*LONG)
    assert list(got) == STEPS, list(got)
    for name, s in got.items():
        assert s["result"] == "ok", f"{s}\n{t.read('checks.txt')}\n{t.read('tools.txt')}"
        assert 0 <= s["seconds"] <= s["limit_s"] + 6 and s["figure"], s
    assert t.files == ["bench.json", "checks.txt", "kernels.json", "micro.json", "perop.json", "summary.json", "summary.txt",
                       "tools.txt"], t.files
    assert t.summary["complete"] is True and t.summary["failed"] == 0 and t.summary["device"] == "sim"
    assert t.summary["machine"]["sim"]["works"] is True and t.summary["commit"] and t.summary["date"].endswith("Z")
    tests = t.json("bench.json")
    whole = [x for x in tests if "rung" not in x]
    assert [x["test"] for x in whole] == ["tg4", "tg4 @ d16", "tg4 @ d48"] * 2 + ["pp8"] and tests[:7] == whole, tests
    assert all(x["machine"]["simulated"] for x in tests)
    perop = t.json("perop.json")
    steps = [(x["layers"], x["depth"]) for x in perop if x["record"] == "step"]
    assert steps == [(4, 0), (4, 16), (4, 48)] + [(2, 0), (2, 16)] * 3 and len(perop) > 120, steps
    assert re.search(r"graph d0 attn_decode \d+ instructions moe_up \d+ instructions, graph d16.*apart d0 router \d+ instructions attn \d+ instructions moe_up", got["stamps"]["figure"]), got["stamps"]
    assert got["isa"]["figure"].endswith("programs 2"), got["isa"]
    results = t.json("micro.json")["results"]
    assert len({x["name"] for x in results}) == len(results) > 200 and all(x.get("checked", True) for x in results)
    groups = [x["name"].split()[0].split("/")[0] for x in results]
    assert sorted(set(groups), key=groups.index) == ["sync", "launch", "prefetch", "stream", "copy"]
    rows = t.json("kernels.json")["benchmarks"]
    assert any("/tiles:2/" in x["name"] for x in rows) and any("embed" in x["name"] for x in rows), "both the sweep and the plan's own"
    for f in ("bench", "perop", "micro", "kernels"):  # as bench/results wants them
        p = subprocess.run(["python3", "tools/bench_diff.py", "--name", f"{t.out}/{f}.json"], stdout=subprocess.PIPE)
        assert p.returncode == 0 and p.stdout.startswith(b"qmoe-software-device-"), f
    assert t.json("micro.json")["complete"] and t.json("kernels.json")["benchmarks"]
    assert "moe_up_q4_k_q16a 71% of DRAM" in got["ncu"]["figure"] and "racecheck 0" in got["sanitizer"]["figure"]
    checks = t.read("checks.txt")
    assert all(f"==== {s} ====" in checks for s in ("doctor", "isa", "kernels", "goldens")) and "check_rmsnorm" in checks
    table = t.read("summary.txt")
    assert table in t.text and t.text.rstrip().splitlines()[-1].endswith("results in " + t.out)
    assert all(re.search(rf"^{s} +ok +[0-9.]+ ", table, re.M) for s in STEPS), table


def apart_words():
    with open("contracts/apart.def") as f:
        return re.findall(r"^QM_APART\((\w+),", f.read(), re.M)


@in_tree
def test_rungs(t):
    """Each rung with and without, where dependent launches work and where not; one that changes the logits is named."""
    alone = ["all but dependent launch", "dependent launch alone"]
    always = ["all", "none", "persistent", "persistent, none", *(f"all but {w}" for w in apart_words()),
              "all but ops side by side", "all but few warps", "persistent but few warps", "persistent but prefetch",
              "persistent but ring", "all but narrow routers",
              "all but L2 policy", "persistent but L2 policy"]
    for cc in ("80", "90"):
        got = t.run(*LONG, "--only", "rungs", env={"QMOE_SIM_CC": cc})
        assert got["rungs"]["result"] == "ok", f"{got}\n{t.read('tools.txt')}"
        records = t.json("bench.json")
        by = {}
        for x in records:
            by.setdefault(x["rung"], []).append(x)
        kv = [r for r in by if r.startswith("all, cache in ")]
        names = always[:2] + (alone if cc == "90" else []) + always[2:]
        assert [r for r in by if r not in kv] == names, list(by)
        assert all([x["n_depth"] for x in v] == [0, 16] for v in by.values()), by
        set_by = {r: (v[0]["executor"], v[0]["apart"], v[0]["dependent"], v[0]["concurrent"], v[0]["prefetch_bytes"] > 0) for r, v in by.items()}
        on = cc == "90"
        assert set_by["all"] == ("graph", "none", on, True, True) and set_by["none"] == ("graph", "all", False, True, True), set_by
        assert set_by["persistent"] == ("persistent", "none", on, True, True), set_by
        assert set_by["persistent but prefetch"][4] is False and set_by["all but ops side by side"][3] is False, set_by
        assert [set_by[f"all but {w}"][1] for w in apart_words()] == apart_words(), set_by
        assert not on or [set_by[r][1:3] for r in alone] == [("none", False), ("all", True)], set_by
        ring = {r: {x["ring_bytes"] > 0 for x in v} for r, v in by.items()}  # weights copied to shared memory ahead
        assert ring.pop("persistent but ring") == {False} and all(v == {True} for v in ring.values()), ring
        flight = {r: {x["flight_bytes"] > 0 for x in v} for r, v in by.items()}  # whether warps are as many as the memory asks for
        assert {r for r, v in flight.items() if v == {False}} == {"all but few warps", "persistent but few warps"}, flight
        narrow = {r: {x["narrow"] for x in v} for r, v in by.items()}  # whether routers lie in fewer bytes than in the file
        assert narrow.pop("all but narrow routers") == {0} and all(v == {4} for v in narrow.values()), narrow
        kept = {r: {x["kept_bytes"] > 0 for x in v} for r, v in by.items()}  # whether the L2 is told anything
        assert {r for r, v in kept.items() if v == {False}} == {"all but L2 policy", "persistent but L2 policy"}, kept
        for v in kv:
            assert by[v][0]["memory"]["kv_type"] == v.split()[-1], v
        table = [x.split("|")[1].strip() for x in t.read("summary.txt").splitlines() if x.startswith("|")]
        assert table[2:] == list(by), table
        assert "| all                        |" in t.text and "100% |" in t.text
    # Of the timings, which are as before, one will do for all.
    with open(t.root + "/timed.jsonl", "w") as f:
        f.writelines(json.dumps({k: v for k, v in x.items() if k != "rung"}) + "\n" for x in by["all"])
    os.unlink(t.b + "/qmoe-gpu")
    script(t.b + "/qmoe-gpu", f"""#!/bin/sh
case "$*" in
generate*"--apart attn"*) {BIN} "$@" | sed '/logits_hash/y/0123456789abcdef/123456789abcdef0/' ;;
*--help*) exec {BIN} "$@" ;;
bench*) cat {t.root}/timed.jsonl ;;
*) exec {BIN} "$@" ;;
esac
""")
    got = t.run("--only", "rungs", status=1)
    assert got["rungs"]["result"] == "FAILED" and got["rungs"]["figure"].endswith("OTHER LOGITS: all but attn;"), got


@in_tree
def test_failures_do_not_stop_the_rest(t):
    script(t.b + "/tests/check_aaa", "#!/bin/sh\necho 1..2\necho ok 1 - one\necho not ok 2 - two\nexit 1\n")
    script(t.b + "/tests/check_dies", "#!/bin/sh\nkill -11 $$\n")
    script(t.b + "/tests/check_silent", "#!/bin/sh\nexit 0\n")
    script(t.b + "/bench/micro", "#!/bin/sh\necho 'no such luck' >&2\nexit 1\n")
    got = t.run("--only", "isa,kernels,sanitizer,decode,micro,ncu", status=1, env={"FAKE_FINDS": "racecheck", "FAKE_NO_COUNTERS": "1"})
    # decode brings synth along
    assert {s: x["result"] for s, x in got.items()} == {
        "synth": "ok", "isa": "ok", "kernels": "FAILED", "sanitizer": "FAILED", "decode": "ok", "micro": "FAILED", "ncu": "skipped"}, got
    figure = got["kernels"]["figure"]
    assert "1 failed" in figure and re.search(r"bad: check_aaa check_dies check_silent *$", figure), figure
    assert re.search(r"\b[1-9]\d* passed", figure) and "check_rmsnorm" in t.read("checks.txt")
    assert "memcheck 0" in got["sanitizer"]["figure"] and "racecheck 1 errors" in got["sanitizer"]["figure"]
    assert got["micro"]["figure"] == "no such luck" and "ERR_NVGPUCTRPERM" in got["ncu"]["figure"]
    assert t.summary["failed"] == 3 and t.summary["complete"] is True


@in_tree
def test_time_limits(t):
    for n in ("check_aaa", "check_bbb", "check_ccc"):
        script(f"{t.b}/tests/{n}", f"#!/bin/sh\necho $$ >> {t.root}/pids\necho ok 1 - begins\nsleep 100\n")
    # A tenth of the time: 6 s for the kernels, at most 4 s for each program.
    got = t.run("--budget", "54", "--only", "kernels,synth", status=1)
    assert got["kernels"]["result"] == "time limit" and got["kernels"]["seconds"] < 12, got
    assert got["kernels"]["figure"].endswith("bad: check_aaa"), got
    assert got["synth"]["result"] == "ok"
    with open(t.root + "/pids") as f:
        pids = f.read().split()
    assert len(pids) == 2 and not any(os.path.exists("/proc/" + x) for x in pids), f"{pids}: one goes on"
    for n in ("check_bbb", "check_ccc"):
        os.unlink(f"{t.b}/tests/{n}")
    # Google Benchmark stopped in the middle of a record: the whole ones are kept.
    real = os.path.join(BUILD, "bench", "kernels")
    script(t.b + "/bench/kernels", f"""#!/bin/sh
for a; do case $a in --benchmark_out=*) f=${{a#*=}} ;; esac; done
{real} "$@" --benchmark_filter=embed && n=$(wc -c < "$f") && head -c $((n - 100)) "$f" > "$f.cut" && mv "$f.cut" "$f" && sleep 100
""")
    got = t.run("--budget", "108", "--only", "bench", status=1)
    assert got["bench"]["result"] == "time limit" and re.match(r"[1-9]\d* kernels timed", got["bench"]["figure"]), got
    assert all("embed" in x["name"] for x in t.json("kernels.json")["benchmarks"]) and t.json("kernels.json")["context"]
    got = t.run("--budget", "54", "--only", "kernels", status=1)
    assert got["kernels"]["result"] == "FAILED" and "stopped after" in t.read("checks.txt"), got


@in_tree
def test_cut_short(t):
    """Killed in the middle, or told to end: what was known by then is there, every file whole."""
    for sig, word in ((signal.SIGKILL, "running"), (signal.SIGTERM, "FAILED|running")):
        script(t.b + "/tests/check_aaa", f"#!/bin/sh\necho $$ > {t.root}/pid\necho ok 1 - begins\nsleep 100\n")
        out = t.root + "/out"
        shutil.rmtree(out, ignore_errors=True)
        env = dict(os.environ, B=t.b, QMOE_TEST_ISA="add_int", TMPDIR=t.root)
        p = subprocess.Popen(["sh", "tools/gpu_check.sh", "--device", "sim", "--out", out, "--only", "isa,barrier,hint,sweep,kernels"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        t.out, steps = out, []
        for _ in range(600):
            time.sleep(0.1)
            if os.path.exists(out + "/summary.json"):
                steps = t.json("summary.json")["steps"]  # whole at any time
            if steps and steps[-1]["step"] == "kernels":
                break
        p.send_signal(sig)
        assert p.wait(timeout=30) == (-9 if sig == signal.SIGKILL else 143)
        summary = t.json("summary.json")
        assert summary["complete"] is False
        assert [(x["step"], x["result"]) for x in summary["steps"][:4]] == [(s, "ok") for s in ("isa", "barrier", "hint", "sweep")], summary
        assert summary["steps"][4:] == [] or re.fullmatch(word, summary["steps"][4]["result"]), summary
        names = {x["name"].split("/")[0] for x in t.json("micro.json")["results"]}
        assert names == {"sync", "prefetch"} and t.json("kernels.json")["benchmarks"]
        assert "hint       ok" in t.read("summary.txt") and "==== isa ====" in t.read("checks.txt")
        with open(t.root + "/pid") as f:
            pid = int(f.read())
        if sig == signal.SIGTERM:  # nothing goes on
            assert not os.path.exists(f"/proc/{pid}")
        else:
            os.kill(pid, signal.SIGKILL)
            for d in glob.glob(t.root + "/gpu_check.*"):
                shutil.rmtree(d, ignore_errors=True)


@in_tree
def test_without_model_or_tools(t):
    os.unlink(t.b + "/bench/kernels")
    for n in os.listdir(t.b + "/tests"):
        os.unlink(f"{t.b}/tests/{n}")
    got = t.run("--only", "isa,kernels,bench")  # the goldens are checked by a script too
    assert {x["result"] for x in got.values()} == {"skipped"} and all("not built" in x["figure"] for x in got.values()), got
    # The doctor says which device is not there; nothing else hides it.
    got = t.run("--device", "cuda:7", "--only", "doctor", status=1, env={"QMOE_LIBCUDA": "/nowhere/libcuda.so.1"})
    assert got["doctor"]["result"] == "FAILED" and "cuda:7" in got["doctor"]["figure"], got


@in_tree
def test_model_and_peer(t):
    model = t.root + "/given.bin"
    subprocess.run([BIN, "synth", "-o", model, "--seed", "5", "--layers", "1"], check=True, stdout=subprocess.DEVNULL)
    peer = script(t.root + "/llama-bench", PEER)
    got = t.run("--only", "synth,peer", "--model", model, "--peer", peer)
    assert got["synth"]["result"] == "skipped" and got["peer"]["result"] == "ok", f"{got}\n{t.read('tools.txt')}"
    assert re.search(r"ours [0-9.]+ tok/s, peer 2000.0 tok/s, ratio 0\.\d\d", got["peer"]["figure"]), got
    both = t.summary["peer"]
    assert [x["who"] for x in both] == ["qmoe-gpu", "peer"] and both[0]["avg_ts"] > 0, both
    assert os.path.exists(model), "a given model is not ours to remove"
    got = t.run("--only", "peer", "--model", model, "--peer", script(t.root + "/broken", "#!/bin/sh\nexit 1\n"), status=1)
    assert got["peer"]["result"] == "FAILED", got


@in_tree
def test_options(t):
    for args, word in ((("--only", "nonesuch"), "--list"), (("--budget", "x"), "seconds"), (("--frob",), "--help"),
                       (("--only", "peer"), "--peer"), (("--model", t.root + "/none"), "cannot be read"), (("--dir",), "value")):
        t.run(*args, status=2)
        assert word in t.text and not t.files, t.text
    for args in (("--list",), ("--help",)):
        t.run(*args)
        assert not t.files and "kernels" in t.text
    t.run("--list")
    limits = {x.split()[0]: int(x.split()[1]) for x in t.text.splitlines()}
    assert list(limits) == STEPS + ["peer"] and sum(limits[s] for s in STEPS) == 540, limits  # nine minutes


if __name__ == "__main__":
    import sys
    tap.main(sys.modules[__name__])
