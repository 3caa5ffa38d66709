"""What the program says of a model's file: any GGUF can be inspected, what does not run is refused in one line, and doctor
says whether it fits."""
import json, os, struct, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "model.gguf")
FILES = "files called after one of these, as Q4_K_M, Q4_K_S, UD-Q4_K_XL, Q5_K_M, Q6_K and Q8_0"


def run(*args, status=0, env=None):
    p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, env=dict(os.environ, **(env or {})))
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}"
    return out, err


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "2", "--ctx", "1000000")
    return MODEL


def gguf(name, arch, tensors):
    """A file of tensors (name, type, bytes of a block of 256 or fewer weights, weights of it); four blocks each."""
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    keys = text("general.architecture") + struct.pack("<I", 8) + text(arch)
    infos, data = b"", b""
    for tensor, kind, size, n in tensors:
        infos += text(tensor) + struct.pack("<IQQIQ", 2, 2 * n, 2, kind, len(data))
        data += bytes(4 * size)
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + keys + infos
    path = os.path.join(TMP, name)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + data)
    return path


def test_inspect_reads_any_file():
    path = gguf("foreign.gguf", "llama", [("token_embd.weight", 2, 18, 32), ("output.weight", 23, 136, 256), ("x.bias", 0, 4, 1)])
    out, err = run("inspect", path)
    first, arch, types = out.split("\n")[:3]
    assert not err and first == "runs here: no"
    assert "architecture 'llama' is not supported; qwen3moe is: Qwen3-30B-A3B" in arch
    assert "1 of Q4_0, 1 of IQ4_XS; supported are F32 F16 BF16 Q8_0 Q4_K Q5_K Q6_K" in types and FILES in types
    out, _ = run("inspect", "--tensors", path)
    assert "IQ4_XS [512, 2]" in out and "544 bytes" in out and "1 of Q4_0 " in out
    j = json.loads(run("inspect", "--json", "--tensors", path)[0])
    assert j["runs"] is False and len(j["why_not"]) == 2
    assert [(t["type"], t["bytes"]) for t in j["tensors"]] == [("Q4_0", 72), ("IQ4_XS", 544), ("F32", 16)]
    out, err = run("inspect", "--plan", path, status=1)
    assert not out and "architecture 'llama'" in err and err.count("\n") == 1
    # what runs: both views say so
    assert run("inspect", model())[0].startswith("runs here: yes\n")
    j = json.loads(run("inspect", "--json", "--plan", model())[0])
    assert j["runs"] is True and j["why_not"] == [] and j["plan"]["ops"]


def test_a_refusal_is_one_line_with_what_is_supported():
    foreign = gguf("foreign.gguf", "llama", [("token_embd.weight", 0, 4, 1)])
    for args in (("generate", foreign, "-p", "Hi"), ("bench", "-m", foreign), ("doctor", "-m", foreign)):
        out, err = run(*args, status=1)
        assert "architecture 'llama' is not supported; qwen3moe is" in err and err.count("\n") == 1, err
    # the right architecture in types without kernels
    with open(model(), "rb") as f:
        data = bytearray(f.read())
    j = json.loads(run("inspect", "--json", "--tensors", model())[0])["tensors"]
    q5k = next(t for t in j if t["type"] == "Q4_K")  # becomes Q4_0, which takes as many bytes
    at = data.index(struct.pack("<Q", len(q5k["name"])) + q5k["name"].encode()) + 8 + len(q5k["name"]) + 4 + 8 * len(q5k["shape"])
    assert struct.unpack_from("<I", data, at) == (12,)
    struct.pack_into("<I", data, at, 2)
    other = os.path.join(TMP, "q4_0.gguf")
    with open(other, "wb") as f:
        f.write(data)
    out, err = run("generate", other, "-p", "Hi", status=1)
    assert not out and "1 of Q4_0; supported are" in err and FILES in err and err.count("\n") == 1
    assert run("inspect", other)[0].startswith("runs here: no\n")


def test_doctor_says_whether_a_model_fits():
    out, err = run("doctor", "-m", model(), "-d", "sim")
    assert not err and "\nneeds " in out and "context of 4096: weights " in out and "\nfits       yes: " in out
    roomy = json.loads(run("doctor", "--json", "-m", model(), "-d", "sim", "-c", "8192", env={"QMOE_SIM_MEM": "1G"})[0])["model"]
    assert roomy["fits"] is True and roomy["n_ctx"] == 8192 and roomy["need_bytes"] <= roomy["usable_bytes"]
    parts = ("weight_bytes", "kv_bytes", "activation_bytes", "loading_bytes", "driver_bytes")
    assert sum(roomy[k] for k in parts) == roomy["need_bytes"] and roomy["usable_bytes"] == int(0.95 * 2**30)
    # the largest context that fits does, one more does not; text, JSON and exit status say the same
    most, small = roomy["n_ctx_max"], {"QMOE_SIM_MEM": "1G"}
    assert 8192 < most < 1000000
    out, _ = run("doctor", "-m", model(), "-d", "sim", "-c", str(most), env=small)
    assert f"the largest context that fits is {most}\n" in out
    out, err = run("doctor", "-m", model(), "-d", "sim", "-c", str(most + 32), env=small, status=1)
    assert "\nfits       no: " in out and f"largest context that fits is {most}\n" in out and not err
    j = json.loads(run("doctor", "--json", "-m", model(), "-d", "sim", "-c", str(most + 32), env=small, status=1)[0])["model"]
    assert j["fits"] is False and j["n_ctx_max"] == most and j["need_bytes"] > j["usable_bytes"]
    # nothing fits
    out, _ = run("doctor", "-m", model(), "-d", "sim", env={"QMOE_SIM_MEM": "64M"}, status=1)
    assert "no context is small enough" in out
    # what doctor says, generate does
    run("generate", model(), "--raw", "-p", "Hi", "-n", "1", "-c", str(most), "-d", "sim", env=small)
    run("generate", model(), "--raw", "-p", "Hi", "-n", "1", "-c", str(most + 32), "-d", "sim", env=small, status=1)


def test_doctor_is_asked_wrongly():
    for args, said in ((("-m", model(), "-c", "2000000"), "exceeds the model's limit of 1000000"), (("-m", model(), "-c", "-1"), "--ctx -1"),
                       (("-m", model(), "-d", "gpu7"), 'unknown device "gpu7"'), (("-c", "5"), "--model FILE"), (("-d", "sim"), "--model FILE")):
        out, err = run("doctor", *args, status=2)
        assert not out and said in err and err.count("\n") == 1, err
    out, err = run("doctor", "-m", "/nowhere.gguf", status=1)
    assert "/nowhere.gguf" in err and err.count("\n") == 1


def test_options_of_no_meaning_are_refused():
    for x in ("-1", "nan", "0.5"):
        for args in (("generate", model(), "-p", "Hi", "--rope-freq-base", x), ("trace", "-m", model(), "-p", "Hi", "--rope-base", x),
                     ("perplexity", "-m", model(), "-f", __file__, "--rope-freq-base", x)):
            out, err = run(*args, status=2)
            assert not out and f"a RoPE base of {x}: must be a number above 1" in err and err.count("\n") == 1, err
    for executor in ("ref", "graph", "persistent"):
        out, err = run("generate", model(), "-p", "Hi", "--device", "foo", "--executor", executor, status=2)
        assert not out and 'unknown device "foo": expected auto, cuda, cuda:N or sim' in err and err.count("\n") == 1, err


def test_synth_refuses_what_would_not_run():
    path = os.path.join(TMP, "never.gguf")
    for args, said in ((("--head-dim", "256"), "--head-dim 256: must be 64 or 128"), (("--experts", "600"), "--experts 600: must be from 1 to 512"),
                       (("--layers", "0"), "--layers 0: must be 1 or more"), (("--vocab", "-1"), "--vocab -1: must be 1 or more"),
                       (("--kv-heads", "3"), "--kv-heads 3: must divide the 8 query heads")):
        out, err = run("synth", "-o", path, *args, status=2)
        assert not out and said in err and err.count("\n") == 1 and not os.path.exists(path), err


def test_sizes_are_binary():
    """GiB for files and memory; GB is for rates."""
    out, err = run("generate", model(), "--raw", "-p", "Hi", "-n", "1", "-d", "sim", "-v")
    assert "MiB of weights, " in err and "MiB of KV cache" in err and " GB/s" in err
    assert " MB" not in err and " GB " not in err and " kB" not in err
    out, _ = run("inspect", "--meta", "--tensors", "--plan", model())
    assert "GiB\n" in out and "GiB on the device" in out and " GB" not in out


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
