#!/usr/bin/env python3
"""layers.py [ROOT]: who may include whom, how long a file may be, that nobody asks for a device's name, and that every
kernel is one word in all its places. Prints one line per breach and exits 1, or one line and 0. The rules are docs/tour.md's
map of the rooms made exact."""
import os, re, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from needs import show_help  # noqa: E402

# A room is a folder. What it may include besides itself: a room, or one file of a room.
ROOMS = {
    "contracts": [],
    "runtime/base": [],
    "runtime": ["runtime/base"],  # qmoe.h, qmoe_guide.h, qmoe_text.h and qmoe_tools.h, the public surface
    # qmoe.h: who does what it promises includes it, to be held to it.
    "runtime/file": ["contracts/abi.h", "contracts/streams.def", "runtime/base", "runtime/qmoe.h"],
    "runtime/text": ["runtime/base", "runtime/file/gguf.h", "runtime/qmoe.h", "runtime/qmoe_text.h", "runtime/qmoe_guide.h"],  # gguf.h: a vocabulary is metadata
    "runtime/convert": ["contracts/streams.def", "runtime/base", "runtime/file", "runtime/arch/family.h", "runtime/qmoe_tools.h"],
    # What the peers share: quant.h (types, block sizes, the packed layout), and the one way to write a file.
    "runtime/device": ["contracts", "runtime/base", "runtime/qmoe.h", "runtime/file/quant.h", "runtime/file/outfile.h"],
    "runtime/sim": ["contracts", "runtime/base", "runtime/device/cuda.h"],
    "kernels/ref": ["contracts", "runtime/base", "runtime/file/quant.h"],
    "kernels/ptx": ["contracts"],
    "kernels/cu": ["contracts"],
    "runtime/arch": ["contracts", "runtime/base", "runtime/file", "runtime/plan/model.h", "runtime/plan/build.h"],
    # kernel_table.h: which kernels there are. It is data, without cuda.h: a plan is made with no device.
    "runtime/plan": ["contracts", "runtime/base", "kernels/ref", "runtime/file/quant.h",
                     "runtime/device/kernel_table.h"],
    # Of the references what a sequence's sampling state looks like; of files what a weight type is; kv.def: the cache's
    # types, by name.
    "runtime/engine": ["runtime/base", "runtime/plan", "runtime/arch", "runtime/device", "runtime/file", "runtime/text",
                       "kernels/ref/sample.h", "contracts/kv.def", "runtime/qmoe.h"],
    # engine: the door alone. Of device: what is measured (bandwidth, clocks, counters, stamps) and what doctor and machine
    # ask about it. file and text, arch: inspect shows a file and what stands against it; vectors and log-probabilities.
    "runtime/observe": ["contracts", "runtime/base", "runtime/plan", "kernels/ref", "runtime/engine/inside.h",
                        "runtime/device/cuda.h", "runtime/device/kernels.h", "runtime/device/counters.h",
                        "runtime/device/prof.h", "runtime/device/nvrtc.h", "runtime/device/cache.h", "runtime/device/dependent.h",
                        "runtime/file/npy.h", "runtime/file/input.h", "runtime/file/outfile.h", "runtime/file/quant.h",
                        "runtime/arch/arch.h", "runtime/text/tokenizer.h", "runtime/qmoe.h", "runtime/qmoe_tools.h"],
    "host": ["runtime/qmoe.h", "runtime/qmoe_tools.h", "runtime/qmoe_text.h", "host/serve/serve.h"],
    # The server: of host what all commands share.
    "host/serve": ["host", "runtime/qmoe.h", "runtime/qmoe_text.h", "runtime/qmoe_guide.h"],
}
# Headers that the build writes, by what they are written from.
WRITTEN = {"op_offsets.h": "contracts/ops.def", "streams.h": "contracts/streams.def", "each_type.inc": "contracts/streams.def",
           "each_rows.inc": "contracts/streams.def", "walk_cases.inc": "contracts/kernels.def"}
ANYTHING = ("tests", "bench", "tools")  # may include any room; no room includes them
# What tokenizer.ggml.pre may be is said where a vocabulary is read and written: "qwen2" is that of every Qwen.
PRE = ("runtime/text/tokenizer_open.c", "runtime/convert/synth_vocab.c")
MAX_LINES = 900
CHECKED = (".c", ".h", ".inc", ".def", ".ptx", ".cu", ".S", ".py", ".sh", ".cc", ".cpp")


def files(root):
    for base, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not d.startswith(".") and not d.startswith("build"))
        for n in sorted(names):
            if n.endswith(CHECKED):
                yield os.path.relpath(os.path.join(base, n), root)


def target(root, path, name):
    """The file that #include "name" in `path` means, as the compiler looks for it; None if outside."""
    for folder in (os.path.dirname(path), "", "runtime", "kernels/ptx", "contracts"):
        p = os.path.normpath(os.path.join(folder, name))
        if os.path.exists(os.path.join(root, p)):
            return p
    return None


def check_includes(root, path, lines, say):
    room = os.path.dirname(path)
    top = path.split("/")[0]
    if top in ANYTHING:
        return
    if room not in ROOMS:
        if top in ("runtime", "kernels", "host", "contracts"):
            say(f"{path}: {room} is no room of the house (tools/layers.py lists them)")
        return
    for no, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not m:
            continue
        to = WRITTEN.get(m.group(1)) or target(root, path, m.group(1))
        if to is None:
            say(f'{path}:{no}: includes "{m.group(1)}", which does not exist')
        elif os.path.dirname(to) != room and to not in ROOMS[room] and os.path.dirname(to) not in ROOMS[room]:
            say(f"{path}:{no}: {room} may not include {to}")
        elif to.endswith("_impl.h") and os.path.dirname(to) != room:
            say(f"{path}:{no}: {to} is its own room's alone")


def kernels(root):
    """The lines of contracts/kernels.def, which has loops over streams.def: [(op, of, shape, entry)], all strings; of: the
    type of the weights or of the cache, or -1; shape: the heads' dim, or of a product of many rows a warp's width."""
    folder = os.path.join(root, "contracts")
    keep = [f"-D{m}(...)={m}(__VA_ARGS__)" for m in ("QM_KERNEL", "QM_KERNEL_KV", "QM_KERNEL_ROWS")]
    text = subprocess.run(["cpp", "-P", "-undef", "-nostdinc", *keep, "-I", folder, os.path.join(folder, "kernels.def")],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.findall(r"\bQM_KERNEL(?:_KV|_ROWS)?\((\w+), *([\w-]+), *(\d+), *(\w+),", text)


# A device's name is for people: what it can do stands in its qm_caps. The one who reads names is who opens devices.
NAME_ASKED = re.compile(r'\bstrn?cmp\([^;]*(->|\.)(spec|device)\b[^;]*"sim"')


def check_names(path, lines, say):
    for no, line in enumerate(lines, 1):
        if path.endswith((".c", ".h", ".inc", ".cc")) and path != "runtime/device/device.c" and NAME_ASKED.search(line):
            say(f"{path}:{no}: asks for a device's name; qm_caps (runtime/device/cuda.h) says what it can do")


def check_words(root, say):
    """kernels.def names an op <=> kernels/ref/<op>.c, kernels/ptx/<op>.ptx and tests/kernels/check_<op>.c exist."""
    entries = [(op, entry) for op, _, _, entry in kernels(root)]
    ops = {op for op, _ in entries}
    ptx_dir = os.path.join(root, "kernels/ptx")
    have = {n[:-4] for n in os.listdir(ptx_dir) if n.endswith(".ptx")} if os.path.isdir(ptx_dir) else set()
    for op in sorted(ops | have):
        if op not in ops:
            say(f"kernels/ptx/{op}.ptx: no line in contracts/kernels.def")
        for p in (f"kernels/ref/{op}.c", f"kernels/ptx/{op}.ptx", f"tests/kernels/check_{op}.c"):
            if not os.path.exists(os.path.join(root, p)):
                say(f"kernel {op}: {p} is missing")
    for op, entry in entries:
        if entry != f"qm_{op}" and not entry.startswith(f"qm_{op}_"):
            say(f"contracts/kernels.def: entry {entry} of {op} should be called qm_{op}_...")
    for e in {e for _, e in entries if [x for _, x in entries].count(e) > 1}:
        say(f"contracts/kernels.def: {e} stands there twice")


def check_families(root, say):
    """families.def names a family <=> runtime/arch/<family>.c; its name and its keys stand nowhere else. (In PRE a name
    in quotes is a pre-tokenizer's.)"""
    arch = os.path.join(root, "runtime/arch")
    if not os.path.exists(os.path.join(arch, "families.def")):
        return
    with open(os.path.join(arch, "families.def")) as f:
        families = re.findall(r"^QM_FAMILY\((\w+)\)", f.read(), re.M)
    for x in families:
        if not os.path.exists(os.path.join(arch, x + ".c")):
            say(f"runtime/arch/{x}.c is missing: families.def names it")
    names = "|".join(families)
    known, keys = (re.compile(rf'"({names}){end}|qm_family_({names})\b') for end in (r'[."]', r'\.'))
    for path in files(root):
        if path.split("/")[0] not in ("runtime", "kernels", "host") or path.startswith("runtime/arch/"):
            continue
        with open(os.path.join(root, path), encoding="utf-8") as f:
            for no, line in enumerate(f, 1):
                if (keys if path in PRE else known).search(line):
                    say(f"{path}:{no}: knows a model family by name: that is runtime/arch's")


def check(root):
    faults, n = [], 0
    for path in files(root):
        n += 1
        with open(os.path.join(root, path), encoding="utf-8") as f:
            lines = f.read().splitlines()
        # Tables that a tool writes are data, not reading matter.
        if len(lines) > MAX_LINES and not any(re.search(r"(generated|written) by \S+\.py", x) for x in lines[:5]):
            faults.append(f"{path}: {len(lines)} lines; {MAX_LINES} is the most")
        check_includes(root, path, lines, faults.append)
        check_names(path, lines, faults.append)
    check_words(root, faults.append)
    check_families(root, faults.append)
    return faults, n


if __name__ == "__main__":
    show_help(__doc__)
    found, count = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(found) if found else f"{count} files keep the layer rules")
    sys.exit(1 if found else 0)
