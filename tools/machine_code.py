#!/usr/bin/env python3
"""machine_code.py: what ptxas makes of the loops that decoding lives in: docs/machine-code.md.

Assembles kernels and disassembles them with nvdisasm (--nvdisasm, $NVDISASM, the toolkit's, or the PATH's; the wheel
nvidia-cuda-nvdisasm has one). Of each kernel's main loop, the innermost one that loads from global memory and multiplies, it
counts

  SASS      instructions
  LDG       loads from global memory
  boards    scoreboards that those loads report to: a wait for one of them waits for all loads that share it
  waits     instructions that wait for one of these
  ahead     instructions from a load to the first that waits for its scoreboard, around the loop's end too: least and mean. A
            load that is waited for a whole loop later is in flight across the products in between
  spills    bytes that ptxas stores and loads for want of registers (LDL, STL of the whole kernel, 4 bytes each at least)

The control bits of an instruction are in its second 64-bit word (bits 41 to 63: stall, yield, the scoreboard that a write sets,
the one that a read sets, a mask of those waited for), as nvdisasm -hex prints it; sm_70 and later.

  machine_code.py            prints the table
  machine_code.py --update   writes it into docs/machine-code.md, with a hash of each kernel's text
  machine_code.py --save F   also writes what was measured; --before F has it in the table (docs/machine-code-before.json)
  machine_code.py --check    says which kernels are newer than the table; needs neither ptxas nor nvdisasm
"""
import argparse, hashlib, json, os, re, shutil, subprocess, sys, tempfile

ARCHS = (89, 90, 120, 121)
# entry, and the multiplication that marks its loop
KERNELS = (
    ("matvec", "qm_matvec_q4_k_q16a", r"IDP"),
    ("matvec", "qm_matvec_q6_k_q16a", r"IDP"),
    ("matvec", "qm_matvec_f32_f32", r"FFMA"),
    ("moe_up", "qm_moe_up_q4_k_q16a", r"IDP"),
    ("moe_matvec", "qm_moe_matvec_q4_k_q16a", r"IDP"),
    ("moe_matvec", "qm_moe_matvec_q6_k_q16a", r"IDP"),
    ("moe_down", "qm_moe_down_q4_k_q16a", r"IDP"),
    ("moe_down", "qm_moe_down_q6_k_q16a", r"IDP"),
    ("attn", "qm_attn_f16_hd128", r"HMMA"),
    ("attn_decode", "qm_attn_decode_f16_hd128", r"HMMA"),
)
PAGE = "docs/machine-code.md"
BEGIN, END = "<!-- machine_code.py: from here -->", "<!-- to here -->"


# ---- texts ----
def text_of(build, file, sm):
    """The kernel file's text for an architecture: that for dependent launches where there is one. None: there is no such kernel."""
    for name in ([f"{file}.sm_90"] if sm >= 90 else []) + [file]:
        path = os.path.join(build, "ptx", f"{name}.ptx")
        if os.path.exists(path) and os.path.exists(f"kernels/ptx/{file}.ptx"):
            with open(path, encoding="utf-8") as f:
                return f.read()
    return None


def entry_text(text, entry):
    """The file with this entry alone: what surrounds entries, and the entry."""
    parts = re.split(r"(?m)^(?=\s*(?:\.visible\s+)?\.entry\b)", text)
    mine = [p for p in parts[1:] if re.match(rf"\s*(?:\.visible\s+)?\.entry\s+{entry}\b", p)]
    return parts[0] + mine[0] if mine else None


def present(build):
    """[(entry, mark, {sm: text})] of the kernels that there are."""
    out = []
    for file, entry, mark in KERNELS:
        texts = {}
        for sm in ARCHS:
            text = text_of(build, file, sm)
            one = text and entry_text(text, entry)
            if one:
                texts[sm] = one
        if texts:
            out.append((entry, mark, texts))
    return out


def hash_of(texts):
    return hashlib.sha256("\0".join(texts[sm] for sm in sorted(texts)).encode()).hexdigest()[:12]


# ---- machine code ----
class Instruction:
    def __init__(self, at, text, high):
        self.at, self.text = at, text
        control = high >> 41
        self.sets = [b for b in ((control >> 5) & 7, (control >> 8) & 7) if b != 7]
        self.write_board = (control >> 5) & 7
        self.waits = (control >> 11) & 63
        body = re.sub(r"^@!?U?P\w+\s+", "", text)
        self.op = body.split()[0].rstrip(";") if body.split() else ""


def parse(listing):
    """Instructions of an `nvdisasm -hex` listing of one kernel, and its labels' addresses."""
    found, labels, pending, low = [], {}, [], None
    for line in listing.splitlines():
        m = re.match(r"\s*(\.L_\w+):", line)
        if m:
            pending.append(m.group(1))
            continue
        m = re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*/\* 0x([0-9a-f]{16}) \*/", line)
        if m:
            low = (int(m.group(1), 16), m.group(2))
            continue
        m = re.match(r"\s*/\* 0x([0-9a-f]{16}) \*/", line)
        if m and low:
            for label in pending:
                labels[label] = low[0]
            pending = []
            found.append(Instruction(low[0], low[1], int(m.group(1), 16)))
            low = None
    return found, labels


def loops(code, labels):
    """[first, last] of each loop: a branch back, from its target to it."""
    where = {i.at: k for k, i in enumerate(code)}
    out = []
    for k, i in enumerate(code):
        m = re.search(r"\bBRA\b.*?(?:`\((\.L_\w+)\)|(0x[0-9a-f]+))", i.text)
        if not m:
            continue
        at = labels.get(m.group(1)) if m.group(1) else int(m.group(2), 16)
        if at is not None and at in where and where[at] < k:
            out.append((where[at], k))
    return out


def main_loop(code, labels, mark):
    """The one with the most multiplications among those that load and have no such loop within them."""
    def work(lo, hi):
        body = code[lo:hi + 1]
        n = sum(bool(re.match(mark, i.op)) for i in body)
        return n if any(i.op.startswith("LDG") for i in body) else 0
    all_of = [(lo, hi) for lo, hi in loops(code, labels) if work(lo, hi)]
    inner = [(lo, hi) for lo, hi in all_of
             if not any((a, b) != (lo, hi) and lo <= a and b <= hi for a, b in all_of)]
    return max(inner, key=lambda r: work(*r), default=None)


def measure(code, labels, mark):
    r = main_loop(code, labels, mark)
    out = {"spills": 4 * sum(i.op.startswith(("LDL", "STL")) for i in code), "kernel": len(code)}
    if not r:
        return out
    body = code[r[0]:r[1] + 1]
    n = len(body)
    loads = [(k, i.write_board) for k, i in enumerate(body) if i.op.startswith("LDG") and i.write_board != 7]
    boards = {b for _, b in loads}
    ahead = []
    for k, board in loads:
        d = next((d for d in range(1, n + 1) if body[(k + d) % n].waits >> board & 1), n)
        ahead.append(d)
    waits = sum(any(i.waits >> b & 1 for b in boards) for i in body)
    out.update(sass=n, ldg=sum(i.op.startswith("LDG") for i in body), boards=len(boards), waits=waits,
               least=min(ahead, default=0), mean=round(sum(ahead) / len(ahead)) if ahead else 0)
    return out


def disassemble(ptxas, nvdisasm, text, sm):
    """Listing and registers of a text with one entry."""
    with tempfile.TemporaryDirectory() as d:
        ptx, cubin = os.path.join(d, "k.ptx"), os.path.join(d, "k.cubin")
        with open(ptx, "w") as f:
            f.write(text)
        p = subprocess.run([ptxas, "-v", f"-arch=sm_{sm}", "-o", cubin, ptx], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if p.returncode:
            raise RuntimeError(f"sm_{sm}: ptxas failed:\n{p.stdout.strip()}")
        regs = int(re.search(r"Used (\d+) registers", p.stdout).group(1))
        listing = subprocess.run([nvdisasm, "-hex", "-c", cubin], stdout=subprocess.PIPE, text=True, check=True).stdout
        return listing, regs


def table(measured, before):
    lines = ["| kernel | sm | registers | SASS | LDG | boards | waits | ahead: least, mean | spills |" + (" before: SASS, waits, mean |" if before else ""),
             "|:---|---:|---:|---:|---:|---:|---:|---:|---:|" + ("---:|" if before else "")]
    for entry in dict.fromkeys(e for e, _ in measured):
        for sm in ARCHS:
            m = measured.get((entry, sm))
            if not m:
                continue
            loop = (f"{m['sass']} | {m['ldg']} | {m['boards']} | {m['waits']} | {m['least']}, {m['mean']}" if "sass" in m
                    else "no loop | | | |")
            line = f"| `{entry}` | {sm} | {m['registers']} | {loop} | {m['spills']} |"
            if before:
                b = before.get(f"{entry} {sm}", {})
                line += f" {b['sass']}, {b['waits']}, {b['mean']} |" if "sass" in b else " - |"
            lines.append(line)
    return lines


def hashes_of(page):
    return dict(re.findall(r"^- `(\w+)` ([0-9a-f]{12})$", page, re.M))


def compare(page, build):
    """What the page says of kernels against those that there are."""
    said, faults = hashes_of(page), []
    for entry, _, texts in present(build):
        if entry not in said:
            faults.append(f"{PAGE}: {entry} is not in it")
        elif said[entry] != hash_of(texts):
            faults.append(f"{PAGE}: {entry} has changed since")
    for entry in set(said) - {e for e, _, _ in present(build)}:
        faults.append(f"{PAGE}: there is no kernel {entry}")
    return faults


def find_nvdisasm(given):
    for path in (given, os.environ.get("NVDISASM"), "/usr/local/cuda/bin/nvdisasm", shutil.which("nvdisasm")):
        if path and os.path.exists(path):
            return path
    raise RuntimeError("no nvdisasm: --nvdisasm FILE; pip's nvidia-cuda-nvdisasm has one")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--build", default="build")
    a.add_argument("--ptxas", default="/usr/local/cuda/bin/ptxas")
    a.add_argument("--nvdisasm")
    a.add_argument("--update", action="store_true")
    a.add_argument("--check", action="store_true")
    a.add_argument("--save", metavar="FILE", help="what was measured, for a later --before")
    a.add_argument("--before", metavar="FILE", default="docs/machine-code-before.json")
    o = a.parse_args()
    if o.check:
        with open(PAGE, encoding="utf-8") as f:
            faults = compare(f.read(), o.build)
        print("\n".join(faults + [f"{len(faults)} faults" + ("; tools/machine_code.py --update" if faults else "")]))
        return 1 if faults else 0
    nvdisasm, measured, kernels = find_nvdisasm(o.nvdisasm), {}, present(o.build)
    for entry, mark, texts in kernels:
        for sm, text in texts.items():
            listing, regs = disassemble(o.ptxas, nvdisasm, text, sm)
            measured[entry, sm] = dict(measure(*parse(listing), mark), registers=regs)
    before = {}
    if os.path.exists(o.before):
        with open(o.before) as f:
            before = json.load(f)
    if o.save:
        with open(o.save, "w") as f:
            json.dump({f"{e} {sm}": m for (e, sm), m in measured.items()}, f, indent=1, sort_keys=True)
            f.write("\n")
    version = re.search(r"release ([\d.]+)", subprocess.run([o.ptxas, "--version"], stdout=subprocess.PIPE, text=True).stdout).group(1)
    lines = [f"ptxas {version}.", ""] + table(measured, before) + ["", "Of these texts:", ""]
    lines += [f"- `{entry}` {hash_of(texts)}" for entry, _, texts in kernels]
    if not o.update:
        print("\n".join(lines))
        return 0
    with open(PAGE, encoding="utf-8") as f:
        page = f.read()
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
        print(f"machine_code: {e}", file=sys.stderr)
        sys.exit(1)
