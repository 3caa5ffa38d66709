#!/usr/bin/env python3
"""Our quantiser beside llama.cpp's (ggml_quantize_chunk of the library inside the xllamacpp package).

    python3 tools/quant_compare.py build/qmoe-gpu IN.gguf [TYPE]
        quantises IN (F32, F16 or BF16) by our program and, tensor by tensor and to the same types, by
        llama.cpp; shows the error of both. Exit status 1 if ours is over 1.05 of llama.cpp's anywhere.
    python3 tools/quant_compare.py --golden build/tests/unit_quantize
        writes tests/golden/quant_llama.json: llama.cpp's error on the unit test's tensors, hashes of our
        blocks and of the values that the gguf package reads in them.

Errors are root mean squares over the tensor; "weighted" weighs each square by the weight's magnitude. The
first run installs gguf, numpy and xllamacpp (tools/needs.py)."""
import ctypes, json, os, re, subprocess, sys, tempfile
from importlib.metadata import version

from needs import needs, show_help

show_help(__doc__)
needs("llama", {"xllamacpp": "xllamacpp", "gguf": "gguf==0.19.0", "numpy": "numpy"})
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import xllamacpp  # noqa: E402

STREAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "contracts/streams.def")
with open(STREAMS, encoding="utf-8") as streams:
    NAMES = re.findall(r"^QM_STREAM\(\w+, *(\w+)", streams.read(), re.M)
LIMIT = 1.05
lib = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                    ctypes.c_int64, ctypes.c_void_p]


def llama(x, qtype):
    """llama.cpp's blocks for the rows of x, read back to f32."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    rows = x.reshape(-1, x.shape[-1])
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    if qtype == gguf.GGMLQuantizationType.F32:
        return x
    out = np.zeros(rows.size // block * size, np.uint8)
    n = lib.ggml_quantize_chunk(int(qtype), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], None)
    assert n == out.size, (qtype, n, out.size)
    return decode(out, qtype, x.shape)


def decode(raw, qtype, shape):
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    return gguf.dequantize(np.asarray(raw, np.uint8).reshape(-1, shape[-1] // block * size), qtype).reshape(shape)


def errors(x, y):
    """(rms error, the same weighted by magnitude)"""
    x, y = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    e = (x - y) ** 2
    return float(np.sqrt(e.mean())), float(np.sqrt((np.abs(x) * e).mean() / max(np.abs(x).mean(), 1e-300)))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in bytes(data):
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def golden(program, path="tests/golden/quant_llama.json"):
    tensors = {}
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([program], env=dict(os.environ, QMOE_QUANT_DUMP=tmp), check=True)
        for name in sorted(f[:-4] for f in os.listdir(tmp) if f.endswith(".F32")):
            read = lambda t: np.fromfile(os.path.join(tmp, f"{name}.{t}"), np.uint8)  # noqa: E731
            x = read("F32").view("<f4").reshape(-1, 1024)
            types = {}
            for t in NAMES:
                qtype, raw = gguf.GGMLQuantizationType[t], read(t)
                y = decode(raw, qtype, x.shape)
                types[t] = {"llama_rmse": errors(x, llama(x, qtype))[0], "our_rmse": errors(x, y)[0], "blocks_fnv": fnv(raw),
                            "gguf_values_fnv": fnv(np.ascontiguousarray(y, "<f4").tobytes())}
            tensors[name] = {"weights_fnv": fnv(x.tobytes()), "types": types}
            print(f"{name:14}" + "".join(f"  {t} {v['our_rmse'] / v['llama_rmse']:.3f}" for t, v in types.items() if v["llama_rmse"]))
    with open(path, "w") as f:
        json.dump({"about": "the tensors of tests/unit/unit_quantize.c: llama.cpp's error, hashes (FNV-1a) of our blocks and of the "
                            "values that the gguf package reads in them; tools/quant_compare.py --golden",
                   "versions": {p: version(p) for p in ("gguf", "xllamacpp")}, "tensors": tensors}, f, indent=1)
        f.write("\n")


def compare(program, path, mix):
    worst, total = (0, ""), {}
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "ours.gguf")
        subprocess.run([program, "quantize", "--quiet", path, out, mix], check=True, stdout=subprocess.DEVNULL)
        theirs, ours = gguf.GGUFReader(path), gguf.GGUFReader(out)
        source = {t.name: t for t in theirs.tensors}
        print(f"{mix}, llama.cpp by xllamacpp {version('xllamacpp')}; rmse and magnitude-weighted rmse over the tensor's rms")
        print(f"{'tensor':34}{'type':6}{'rms':>10}{'ours':>9}{'llama':>9}{'ratio':>8}   {'weighted':>8}{'llama':>9}{'ratio':>8}")
        for t in ours.tensors:
            if t.tensor_type.name in ("F32", "F16", "BF16"):
                continue
            s = source[t.name]
            x = gguf.dequantize(s.data, s.tensor_type)
            rms = float(np.sqrt((x.astype(np.float64) ** 2).mean())) or 1.0
            a, b = errors(x, gguf.dequantize(t.data, t.tensor_type)), errors(x, llama(x, t.tensor_type))
            ratio = [u / v if v else float(u > 0) * 9 + float(u == 0) for u, v in zip(a, b)]
            print(f"{t.name:34}{t.tensor_type.name:6}{rms:10.4g}{a[0] / rms:9.5f}{b[0] / rms:9.5f}{ratio[0]:8.4f}   {a[1] / rms:8.5f}{b[1] / rms:9.5f}{ratio[1]:8.4f}")
            worst = max(worst, (ratio[0], t.name))
            n = total.setdefault(t.tensor_type.name, [0, 0, 0, 0])
            n[0] += x.size
            n[1] += a[0] ** 2 * x.size
            n[2] += b[0] ** 2 * x.size
            n[3] += 1
    for t, n in sorted(total.items()):
        print(f"all {n[3]} {t}: rmse {np.sqrt(n[1] / n[0]):.6g}, llama.cpp {np.sqrt(n[2] / n[0]):.6g}, ratio {np.sqrt(n[1] / n[2]):.4f}")
    print(f"worst ratio {worst[0]:.4f} ({worst[1]})")
    return 1 if worst[0] > LIMIT else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--golden":
        sys.exit(golden(sys.argv[2]))
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(compare(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else "q4_k_m"))
