#!/usr/bin/env python3
"""The same model with all weights in F32, as the gguf package dequantises them: llama.cpp then computes with f32
activations, where it rounds them to 8 bits beside Q4_K, Q6_K or Q8_0 weights.

    python3 tools/peers/gguf_f32.py MODEL.gguf OUT.gguf

Metadata, tokenizer and template are copied; general.file_type becomes F32. Any GGUF will do; one tensor at a time is
in memory. The first run installs gguf (tools/needs.py)."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from needs import needs, show_help  # noqa: E402

F32_FILE = 0  # general.file_type of a file whose tensors are mostly F32


def convert(src, dst):
    needs("gguf", {"gguf": "gguf==0.19.0", "numpy": "numpy"})
    import gguf
    import numpy
    r = gguf.GGUFReader(src)
    w = gguf.GGUFWriter(dst, r.fields["general.architecture"].contents())  # which writes the architecture itself
    for name, f in r.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = F32_FILE if name == "general.file_type" else f.contents()
        w.add_key_value(name, value, f.types[0], f.types[1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        w.add_tensor_info(t.name, shape, numpy.dtype("float32"), 4 * int(t.n_elements))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for t in r.tensors:
        w.write_tensor_data(gguf.dequantize(t.data, t.tensor_type).astype("<f4").reshape([int(n) for n in reversed(t.shape)]))
    w.close()
    return len(r.tensors)


if __name__ == "__main__":
    show_help(__doc__)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{sys.argv[2]}: {convert(sys.argv[1], sys.argv[2])} tensors in F32")
