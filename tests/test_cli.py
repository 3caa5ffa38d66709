"""The program as a person or a script meets it: exit statuses, messages, the two streams."""
import json, os, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "cli.gguf")


def run(*args, status=0, env=None, limit=120):
    p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit,
                       env=dict(os.environ, **(env or {})))
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}"
    return out, err


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "2")
    return MODEL


def test_no_arguments():
    out, err = run(status=2)
    assert not out and "usage: qmoe-gpu COMMAND" in err


def test_help_and_version():
    out, err = run("help")
    assert "generate" in out and "doctor" in out and "exit status" in out and not err
    assert run("--help")[0] == out and run("-h")[0] == out
    version = run("version")[0]
    assert version.startswith("qmoe-gpu ") and run("--version")[0] == version
    for cmd in ("generate", "quantize", "inspect", "synth", "doctor"):
        out, err = run("help", cmd)
        assert f"qmoe-gpu {cmd}" in out and "--help" in out and not err
        assert run(cmd, "--help")[0] == out


def test_unknown_command():
    for word, near in (("generte", "generate"), ("gen", "generate"), ("dokter", "doctor"), ("inspct", "inspect")):
        out, err = run(word, status=2)
        assert not out and f"did you mean '{near}'?" in err, err
    out, err = run("frobnicate", status=2)
    assert "did you mean" not in err and "`qmoe-gpu help`" in err
    assert "options follow a command" in run("--jsno", status=2)[1]


def test_unknown_option():
    for args, near in ((("doctor", "--jsno"), "--json"), (("synth", "--laers", "2"), "--layers"),
                       (("generate", "x.gguf", "--promt", "Hi"), "--prompt")):
        out, err = run(*args, status=2)
        assert not out and f"did you mean {near}?" in err, err
    assert "no option" in run("doctor", "--zzzzzzz", status=2)[1]
    assert run("generate", status=2)[1]


def test_doctor():
    out, err = run("doctor", env={"QMOE_LIBCUDA": "/nowhere/libcuda.so.1"})
    assert "sim" in out, out
    d = json.loads(run("doctor", "--json")[0])
    assert isinstance(d, dict) and d


def test_errors_name_the_file():
    missing = os.path.join(TMP, "missing.gguf")
    for cmd in (("inspect", missing), ("generate", missing, "--prompt", "Hi")):
        out, err = run(*cmd, status=1)
        assert not out and err.startswith("qmoe-gpu: ") and "missing.gguf" in err, err
    broken = os.path.join(TMP, "broken.gguf")
    with open(broken, "wb") as f:
        f.write(b"GGUF\x03\0\0\0" + b"\xff" * 16)
    out, err = run("generate", broken, "--prompt", "Hi", status=1)
    assert "broken.gguf" in err and not out


def test_write_failure_is_an_error():
    if not os.path.exists("/dev/full"):
        raise tap.Skip("no /dev/full")
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "help"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"writing" in p.stderr


def test_synth_and_inspect():
    out, err = run("inspect", model())
    assert "qwen3moe" in out
    same = os.path.join(TMP, "same.gguf")
    run("synth", "-o", same, "--seed", "3", "--layers", "2")
    with open(same, "rb") as a, open(model(), "rb") as b:
        assert a.read() == b.read()
    os.remove(same)


def test_generate_says_something():
    out, err = run("generate", model(), "--prompt", "Hi", "-n", "8")
    assert any(c.isprintable() and not c.isspace() for c in out), repr(out)
    again, _ = run("generate", model(), "--prompt", "Hi", "-n", "8")
    assert again == out


def test_quantize():
    f16, q4 = os.path.join(TMP, "f16.gguf"), os.path.join(TMP, "q4.gguf")
    run("synth", "-o", f16, "--seed", "3", "--layers", "2", "-t", "f16")
    out, err = run("quantize", f16, q4)
    lines = out.splitlines()
    assert len(lines) == 28 and not err, (out, err)
    assert any("blk.0.attn_q.weight" in x and "512 x 1024" in x and "F16   Q4_K" in x and "error" in x for x in lines), out
    assert lines[-1].startswith(f"{q4}: 27 tensors, ") and os.path.getsize(q4) < os.path.getsize(f16) * 0.32
    tensors = {t["name"]: t["type"] for t in json.loads(run("inspect", "--json", "--tensors", q4)[0])["tensors"]}
    assert tensors["output.weight"] == "Q6_K" and tensors["token_embd.weight"] == "Q4_K"
    assert tensors["blk.1.ffn_down_exps.weight"] == "Q6_K" and tensors["blk.0.ffn_gate_inp.weight"] == "F32"
    meta = json.loads(run("inspect", "--json", "--meta", q4)[0])["metadata"]
    assert meta["general.file_type"] == 15 and meta["general.quantization_version"] == 2, meta
    out, err = run("generate", q4, "--prompt", "Hi", "-n", "8")
    assert any(c.isprintable() and not c.isspace() for c in out), repr(out)
    again = os.path.join(TMP, "again.gguf")
    out, err = run("quantize", "--quiet", "--threads", "3", f16, again, "Q4_K_M")
    assert out.count("\n") == 1 and not err
    with open(q4, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()
    out, err = run("quantize", "-q", q4, again, "q5_k_m")
    assert "warning" in err and "quantised already" in err, err
    for p in (f16, q4, again):
        os.remove(p)


def test_quantize_refuses():
    missing, out_path = os.path.join(TMP, "missing.gguf"), os.path.join(TMP, "refused.gguf")
    for args, status, words in (
        ((missing, out_path), 1, ("missing.gguf",)),
        ((model(), out_path, "q3_k_xl"), 2, ("there is no type 'q3_k_xl'", "q4_k_m")),
        ((model(), model()), 2, ("cannot be the output",)),
        ((model(),), 2, ("the file to read and the file to write",)),
        ((), 2, ("the file to read and the file to write",)),
        ((model(), out_path, "q8_0", "more"), 2, ("'more' is one argument too many",)),
        ((model(), out_path, "--threads", "-1"), 2, ("--threads -1",)),
        ((model(), os.path.join(TMP, "nowhere", "x.gguf")), 1, ("nowhere",)),
    ):
        out, err = run("quantize", *args, status=status)
        assert not out and err.startswith("qmoe-gpu: ") and err.count("\n") == 1 and all(w in err for w in words), (args, err)
        assert not os.path.exists(out_path)


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
