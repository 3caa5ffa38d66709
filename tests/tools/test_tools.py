"""The checkers are checked: each mistake that they exist for must make them fail."""
import copy, os, subprocess, sys, tempfile
import yaml
import tap

sys.path.insert(0, "tools")
import circles, contracts, layers, ptx_lint, ptxas_budget  # noqa: E402

GOOD = {
    "metadata": {"version": "1.0", "created": "2026-01-01", "author": "a", "description": "d", "references": ["r"]},
    "equations": {"e": {"formula": "y = x"}},
    "proof_obligations": [{"property": "p", "checked_by": "ID_1"}],
    "falsification_tests": [
        {"id": "ID_1", "rule": "r", "prediction": "p", "test": "unit_a:test_one", "if_fails": "f"},
        {"id": "ID_2", "rule": "r", "prediction": "p", "test": "none", "needs": "gpu", "if_fails": "f"},
    ],
    "status": "DRAFT",
    "status_history": [{"status": "DRAFT", "date": "2026-01-01", "why": "w"}],
    "evidence": [],
}
RAN = {"unit_a:test_one"}


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as f:
        f.write(text)


TESTS = "int t = cmocka_unit_test(test_one), cmocka_unit_test_setup(test_two, s); // cmocka_unit_test(gone)\n"


def judge(doc, ran=RAN, more=None, ids="as they are", files=()):
    """The faults of one contract (a mapping, or YAML text) beside a test file with test_one and test_two; ids: the text of
    contracts/ids.txt; files: others that are there."""
    with tempfile.TemporaryDirectory() as root:
        write(root, "contracts/c.yaml", doc if isinstance(doc, str) else yaml.safe_dump(doc))
        if more:
            write(root, "contracts/d.yaml", yaml.safe_dump(more))
        write(root, "tests/unit/unit_a.c", TESTS)
        for f in files:
            write(root, f, "")
        if ids == "as they are":
            contracts.check(root, ran, update=True)
        elif ids:
            write(root, "contracts/ids.txt", ids)
        return contracts.check(root, ran)


def refused(doc, word, **kw):
    faults, _, _ = judge(doc, **kw)
    assert len(faults) >= 1 and any(word in f for f in faults), f"expected a fault with '{word}', got {faults}"


def changed(*path, to=None, drop=False):
    doc = copy.deepcopy(GOOD)
    d = doc
    for k in path[:-1]:
        d = d[k]
    if drop:
        del d[path[-1]]
    else:
        d[path[-1]] = to
    return doc


def test_contract_good():
    faults, n, unproven = judge(GOOD)
    assert (faults, n) == ([], 2), faults
    assert len(unproven) == 1 and "ID_2" in unproven[0] and "gpu" in unproven[0]


def test_contract_unknown_keys():
    refused(changed("metdata", to={"x": 1}), "unknown key 'metdata'")
    refused(changed("metadata", "autor", to="x"), "unknown key 'autor'")
    refused(changed("equations", "e", "formla", to="x"), "unknown key 'formla'")
    refused(changed("falsification_tests", 0, "tests", to="x"), "unknown key 'tests'")
    refused(changed("proof_obligations", 0, "check", to="x"), "unknown key 'check'")
    refused(changed("status_history", 0, "reason", to="x"), "unknown key 'reason'")


def test_contract_missing_keys():
    for k in GOOD:
        refused(changed(k, drop=True), f"key '{k}' is missing")
    for k in ("id", "rule", "prediction", "test", "if_fails"):
        refused(changed("falsification_tests", 0, k, drop=True), f"key '{k}' is missing")
    refused(changed("falsification_tests", 0, "rule", to=""), "'rule' is empty")
    refused(changed("falsification_tests", to=[]), "'falsification_tests' is empty")


def test_contract_duplicates():
    refused(yaml.safe_dump(GOOD) + "status: DRAFT\n", "occurs twice")
    doc = copy.deepcopy(GOOD)
    doc["falsification_tests"].append(dict(doc["falsification_tests"][0]))
    refused(doc, "the id is taken")
    refused(GOOD, "the id is taken", more=GOOD)


def test_contract_test_names():
    refused(changed("falsification_tests", 0, "test", to="unit_a:test_tow"), "does not exist")
    refused(changed("falsification_tests", 0, "test", to="unit_b:test_one"), "does not exist")
    refused(changed("falsification_tests", 0, "test", to="unit_a:gone"), "does not exist")
    refused(changed("falsification_tests", 0, "test", to=["unit_a:test_one", "unit_a:x"]), "does not exist")
    # it exists, but did not pass in this run
    refused(changed("falsification_tests", 0, "test", to="unit_a:test_two"), "did not run")
    refused(GOOD, "did not run", ran=set())
    refused(changed("falsification_tests", 0, "test", to="none"), "has no test")
    refused(changed("falsification_tests", 1, "needs", to="luck"), "none of gpu, model")


def test_contract_obligations_and_status():
    refused(changed("proof_obligations", 0, "checked_by", to="ID_9"), "no claim of this file")
    refused(changed("status", to="ACTIVE"), "none of DRAFT")
    refused(changed("status", to="ACTIVE_ALGORITHM_LEVEL"), "does not end in the status")
    doc = changed("status", to="ACTIVE_RUNTIME")
    doc["status_history"].append({"status": "ACTIVE_RUNTIME", "date": "2026-01-02", "why": "w"})
    refused(doc, "without evidence")
    doc["evidence"] = [{"command": "c", "machine": "m", "commit": "1", "numbers": {"tok_s": 1}}]
    assert judge(doc)[0] == []
    doc["status_history"][1]["date"] = "2025-01-01"
    refused(doc, "order of its dates")


def test_contract_ids():
    """A claim that is gone, renamed or demoted is a fault; one that is new or better is, until the list has it."""
    def faults(ids, doc=GOOD, more=None):
        return judge(doc, ids=ids, more=more)[0]
    both = "# head\nID_1 here\nID_2 untested\n"
    assert faults(both) == []
    assert any("ID_0: no contract" in f for f in faults("ID_0 here\n" + both))  # removed, renamed, its file gone
    demoted = changed("falsification_tests", 0, "needs", to="gpu")
    assert any("ID_1: was 'here' and is 'elsewhere'" in f for f in faults(both, demoted))
    demoted["falsification_tests"][0]["test"] = "none"
    assert any("ID_1: was 'here' and is 'untested'" in f for f in faults(both, demoted))
    assert any("ID_2: not there" in f for f in faults("ID_1 here\n"))
    assert any("ID_1: not there, or better" in f for f in faults("ID_1 elsewhere\nID_2 untested\n"))
    for bad in ("ID_1 here now\n", "ID_1\n", "ID_1 fine\n", "ID_1 here\nID_1 here\n"):
        assert any("line" in f for f in faults(bad + "ID_2 untested\n")), bad
    assert any("ID_1, ID_2" in f for f in faults(None))
    with tempfile.TemporaryDirectory() as root:  # --update writes what is new and what has risen, and takes nothing out
        write(root, "contracts/c.yaml", yaml.safe_dump(GOOD))
        write(root, "tests/unit/unit_a.c", TESTS)
        write(root, "contracts/ids.txt", "# head\nID_0 here\nID_1 awaits\n")
        assert any("ID_0" in f for f in contracts.check(root, RAN, update=True)[0])
        with open(root + "/contracts/ids.txt") as f:
            assert f.read() == "# head\nID_0 here\nID_1 here\nID_2 untested\n"


def test_contract_awaits():
    """A claim may wait for what is in the list of things awaited, in a draft, without a test, until the thing is there."""
    def waiting(**kw):
        doc = changed("falsification_tests", 1, "awaits", to="host/serve.c")
        del doc["falsification_tests"][1]["needs"]
        doc["falsification_tests"][1].update(kw)
        return doc
    faults, _, unproven = judge(waiting())
    assert not faults and any("awaits the HTTP server" in u for u in unproven), (faults, unproven)
    refused(waiting(awaits="host/never.c"), "none of host/serve.c")
    refused(waiting(needs="gpu"), "no needs and no test")
    refused(waiting(test="unit_a:test_two"), "no needs and no test")
    refused(waiting(), "host/serve.c is there now", files=["host/serve.c"])
    doc = waiting()
    doc["status"] = "ACTIVE_ALGORITHM_LEVEL"
    doc["status_history"].append({"status": "ACTIVE_ALGORITHM_LEVEL", "date": "2026-01-02", "why": "w"})
    refused(doc, "in a file of status DRAFT")


def test_contract_paths():
    """A script or file that a contract names is there."""
    evidence = [{"command": "python3 tools/gone.py x", "machine": "m", "commit": "1", "numbers": {"n": 1}}]
    refused(changed("evidence", to=evidence), "tools/gone.py does not exist")
    assert judge(changed("evidence", to=evidence), files=["tools/gone.py"])[0] == []
    refused(changed("metadata", "references", to=["docs/none.md, all of it"]), "docs/none.md does not exist")
    refused(changed("falsification_tests", 0, "prediction", to="as build/tests/unit_b says."), "build/tests/unit_b does not exist")
    assert judge(changed("falsification_tests", 0, "prediction", to="as build/tests/unit_a says, contracts/*.yaml too."))[0] == []


def test_contract_broken_yaml():
    refused("a: [1", "contracts/c.yaml")
    refused("- 1\n", "not a mapping")


def house(root):
    write(root, "contracts/kernels.def", "#ifndef QM_KERNEL\n#define QM_KERNEL(...)\n#endif\n"
          "QM_KERNEL(foo, -1, 0, qm_foo, 32, 0.0)\n#undef QM_KERNEL\n")
    write(root, "contracts/abi.h", "")
    write(root, "runtime/base/err.h", "")
    write(root, "runtime/file/gguf_impl.h", "")
    write(root, "runtime/arch/families.def", "QM_FAMILY(foo)\n")
    write(root, "runtime/arch/foo.c", "")
    write(root, "runtime/qmoe.h", '#include "base/err.h"\n')
    write(root, "runtime/plan/plan.h", '#include "../base/err.h"\n')
    write(root, "runtime/engine/engine.c", '#include "../plan/plan.h"\n')
    write(root, "host/main.c", '#include "runtime/qmoe.h"\n')
    write(root, "kernels/ref/foo.c", "")
    write(root, "kernels/ptx/foo.ptx", '#include "abi.h"\n')
    write(root, "tests/kernels/check_foo.c", '#include "../../runtime/engine/engine.c"\n')


def layer_faults(*changes):
    with tempfile.TemporaryDirectory() as root:
        house(root)
        for path, text in changes:
            write(root, path, text) if text is not None else os.remove(os.path.join(root, path))
        return layers.check(root)[0]


def test_layers():
    assert layer_faults() == [], layer_faults()
    pre = layer_faults(("runtime/text/tokenizer_open.c", 'memcmp(s.s, "foo", 3)\n'))  # a pre-tokenizer of that name
    assert pre == [], pre
    for path, text, word in (
        ("runtime/plan/plan.h", '#include "../engine/engine.c"\n', "runtime/plan may not include runtime/engine/engine.c"),
        ("runtime/base/err.h", ' # include "plan/plan.h"\n', "runtime/base may not include"),
        ("host/main.c", '#include "runtime/plan/plan.h"\n', "host may not include"),
        ("host/main.c", '#include "runtime/base/err.h"\n', "host may not include"),
        ("runtime/engine/x.h", '#include "tests/kernels/check_foo.c"\n', "may not include tests"),
        ("contracts/abi.h", '#include "runtime/qmoe.h"\n', "contracts may not include"),
        ("runtime/engine/x.h", '#include "nowhere.h"\n', "does not exist"),
        ("runtime/convert/x.c", '#include "../file/gguf_impl.h"\n', "runtime/file/gguf_impl.h is its own room's alone"),
        ("runtime/attic/x.c", "", "is no room"),
        ("host/main.c", "\n" * 901, "901 lines"),
        ("host/main.c", 'if (!strcmp(i->device, "sim") && s > 1)\n', "asks for a device's name"),
        ("tests/unit/unit_x.c", 'if (strcmp(g->info.device, "sim")) {\n', "asks for a device's name"),
        ("bench/x.cc", 'return !strcmp(d->spec, "sim");\n', "asks for a device's name"),
        ("runtime/arch/families.def", "QM_FAMILY(foo)\nQM_FAMILY(gone)\n", "runtime/arch/gone.c is missing"),
        ("runtime/plan/build.c", 'if (!strcmp(arch, "foo"))\n', "runtime/plan/build.c:1: knows a model family by name"),
        ("runtime/engine/x.c", 'qm_gguf_find(g, "foo.block_count");\n', "knows a model family by name"),
        ("runtime/plan/build.c", "p = &qm_family_foo;\n", "knows a model family by name"),
        ("runtime/convert/synth.c", "p = &qm_family_foo;\n", "knows a model family by name"),
        ("runtime/text/tokenizer_open.c", 'qm_gguf_find(g, "foo.block_count");\n', "knows a model family by name"),
        ("kernels/ref/foo.c", None, "kernels/ref/foo.c is missing"),
        ("tests/kernels/check_foo.c", None, "tests/kernels/check_foo.c is missing"),
        ("kernels/ptx/bar.ptx", "", "no line in contracts/kernels.def"),
        ("contracts/kernels.def", "QM_KERNEL(foo, -1, 0, qm_bar, 32, 0.0)\n", "should be called qm_foo"),
        ("contracts/kernels.def", '#define QM_STREAM(w) QM_KERNEL(foo, 1, 0, qm_bar_##w, 32, 0.0)\nQM_STREAM(q)\n', "qm_bar_q of foo"),
    ):
        faults = layer_faults((path, text))
        assert any(word in f for f in faults), (word, faults)


def test_circles():
    """Two files that use each other are found through the ones between; a file of its own is no circle."""
    line = {"a": ({"fa"}, {"fb", "malloc"}), "b": ({"fb"}, {"fc"}), "c": ({"fc"}, set())}
    graph = circles.arrows(line)
    assert graph == {"a": {"b"}, "b": {"c"}, "c": set()} and circles.circles(graph) == []
    assert circles.strong_components(graph) == [["c"], ["b"], ["a"]]
    assert circles.circles(circles.arrows(dict(line, c=({"fc"}, {"fa"})))) == [["a", "b", "c"]]
    assert circles.circles(circles.arrows(dict(line, c=({"fc"}, {"fc"})))) == []
    with tempfile.TemporaryDirectory() as root:  # through the compiler and nm
        for name, text in (("x", "int g(int); int f(int i) { return i ? g(i) : 0; }"), ("y", "int f(int); int g(int i) { return f(i - 1); }")):
            write(root, f"room/{name}.c", text)
            os.makedirs(f"{root}/build/o/room", exist_ok=True)
            subprocess.run(["cc", "-c", "-o", f"{root}/build/o/room/{name}.o", f"{root}/room/{name}.c"], check=True)
        p = subprocess.run([sys.executable, os.path.abspath("tools/circles.py"), "build", "room"], cwd=root, capture_output=True, text=True)
        assert p.returncode == 1 and "room: circle: x uses y; y uses x" in p.stdout, p


def test_budgets():
    assert ptxas_budget.compare({("k", 80): (40, 0)}, {("k", 80): 40}) == ([], [])
    for measured, budgets, word in (
        ({("k", 80): (41, 0)}, {("k", 80): 40}, "41 registers, budget 40"),
        ({("k", 80): (40, 8)}, {("k", 80): 40}, "spills 8"),
        ({("k", 80): (40, 0)}, {}, "no budget"),
        ({}, {("k", 80): 40}, "does not exist"),
    ):
        faults, _ = ptxas_budget.compare(measured, budgets)
        assert len(faults) == 1 and word in faults[0], faults
    faults, notes = ptxas_budget.compare({("k", 80): (32, 0)}, {("k", 80): 40})
    assert not faults and len(notes) == 1


def test_ptx_lint():
    """Every loop is closed by a predicated branch; labels count within their scope."""
    def lint(body):
        return [label for _, label in ptx_lint.back_edges(".visible .entry k(.param .u64 a)\n{\n" + body + "\n}\n")]
    assert lint("L: add.u32 a, a, 1; bra L;") == ["L"]
    assert lint("L_x:\n add.u32 a, a, 1;\n bra.uni L_x;") == ["L_x"]
    assert lint("L: ld.global.v2.u32 {a, b}, [x]; { .reg .u32 t; bra L; }") == ["L"]
    assert lint("L: add.u32 a, a, 1; @p bra L; @!p bra.uni L; ret;") == []
    assert lint("bra M; /* M: */ // M:\n M: ret;") == []  # forward
    assert lint("{ L: ret; } { bra L; mov.b64 {a, b}, c; L: ret; }") == []  # another scope's L


def test_runner():
    """The runner counts what cmocka 1.1.5 prints, and a program that lies about its tests has failed."""
    import importlib.machinery, importlib.util, io
    from contextlib import redirect_stdout
    loader = importlib.machinery.SourceFileLoader("runner", "tests/run")
    run = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    loader.exec_module(run)
    tests, plan = run.parse_tap("1..4\nhello\nok 1 - a\nnot ok 2 - b\n# 0x1 != 0x2\nnot ok 3 # SKIP c\nok 4 - d # SKIP no gpu\n")
    assert plan == 4 and [(t[0], t[1]) for t in tests] == [("passed", "a"), ("failed", "b"), ("skipped", "c"), ("skipped", "d")]
    for script, word in (("print('1..2\\nok 1 - a')", "announced 2"), ("", "no test"), ("print('1..1\\nok 1 - a'); import sys; sys.exit(3)", "exit status 3"),
                         ("print('1..1\\nnot ok 1 - a')", "")):
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "p.py")
            write(tmp, "p.py", script)
            res = run.Results()
            with redirect_stdout(io.StringIO()):
                run.run_program(res, path, tmp)
            assert res.failed and word in res.failed[-1][1], (script, res.failed)


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
