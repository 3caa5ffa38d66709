#!/usr/bin/env python3
"""ptxas_budget.py: every kernel through ptxas for every architecture, against kernels/budgets.txt.

A budget line is `entry sm registers`, of a text for dependent launches `entry.sm_90 sm registers`, of a kernel
with the bodies of a mix of types (walk) `entry.MIX sm registers`. More registers than the budget, any spill, a
kernel without a budget, a budget without a kernel, or a ptxas error is a failure. Fewer registers pass (and are
mentioned); --update writes what was measured. The microbenchmarks (bench/ptx) have no budgets, but must
assemble without spills. Results are cached by the text's hash and ptxas' version
in BUILD/ptxas, so that an unchanged kernel costs nothing."""
import argparse, glob, hashlib, os, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

ARCHS = (80, 86, 89, 90, 120, 121)
# The kernel whose bodies are cases of one loop (walk) is assembled as programs load it: with those of a mix of types, entry.MIX.
CASE = re.compile(r"L_case_\d+_(\w+)[:;]$")
# Mixes of weights (routers as F32H), the cache's type and the heads' width, and where they are assembled: a mix takes ptxas some
# seconds for each architecture, and its machine code for 121 is that for 120.
MIXES = {"q4_k_m": ("q4_k|q6_k|f32h", "f16", 128, (80, 89, 90, 120)), "q4_k_m_q8_0": ("q4_k|q6_k|f32h", "q8_0", 128, (90, 120)),
         "q4_k_m_hd64": ("q4_k|q6_k|f32h", "f16", 64, (120,)), "q5_k_m": ("q5_k|q6_k|f32h", "f16", 128, (90, 120)),
         "q8_0": ("q8_0|f32h", "f16", 128, (120,))}
DEPENDENT = ".sm_90"  # the texts for dependent launches: FILE.sm_90.ptx
HEAD = """# Registers per thread of each kernel entry, by architecture: the most that ptxas may use. Zero spills.
# Written by tools/ptxas_budget.py --update; a change here is a change of occupancy: say why.
# entry sm registers
"""


def target_of(text):
    m = re.search(r"^\s*\.target\s+sm_(\d+)", text, re.M)
    return int(m.group(1)) if m else 0


def of_mix(text, mix):
    """The text with the cases of this mix alone (runtime/device/texts.c, qm_ptx_cases)."""
    typed = re.compile(r"(embed|matvec|moe_[a-z]+)_(\w+)$")
    cached = re.compile(r"(?:qkrope|attn|attn_decode)_(f16|q8_0)_hd\d+$")
    weights, kv, head, _ = MIXES[mix]
    out, drop = [], False

    def needed(name):
        m = typed.match(name)
        if m:
            return re.fullmatch(weights, m.group(2)) is not None
        m = cached.match(name)
        return (not m or m.group(1) == kv) and ("_hd" not in name or name.endswith(f"_hd{head}"))

    for line in text.split("\n"):
        m = CASE.search(line.rstrip())
        if line.startswith("L_cases_end:"):
            drop = False
        elif line.startswith("L_case_"):
            drop = not needed(m.group(1))
        if not drop and not (m and not needed(m.group(1))):
            out.append(line)
    return "\n".join(out)


def as_loaded(path, folder):
    """[(what is added to its entries' names, path, architectures)] of one built file."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if not re.search(r"^L_cases_end:", text, re.M):
        return [("", path, ARCHS)]
    made = []
    for mix in MIXES:
        made.append(("." + mix, os.path.join(folder, f"{os.path.basename(path)[:-4]}.{mix}.ptx"), MIXES[mix][3]))
        with open(made[-1][1], "w", encoding="utf-8") as f:
            f.write(of_mix(text, mix))
    return made


def assemble(ptxas, version, path, sm, cache):
    """[(entry, registers, spill bytes)] of one file for one architecture; raises RuntimeError."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    key = hashlib.sha256(f"{version}\n{sm}\n{text}".encode()).hexdigest()[:32]
    memo = os.path.join(cache, key)
    if os.path.exists(memo):
        with open(memo) as f:
            return [(e, int(r), int(s)) for e, r, s in (x.split() for x in f)]
    p = subprocess.run([ptxas, "-v", f"-arch=sm_{sm}", "-o", os.devnull, path], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode:
        raise RuntimeError(f"{path} for sm_{sm}: ptxas failed:\n{p.stdout.strip()}")
    found, name, spill = [], None, 0
    for line in p.stdout.splitlines():
        m = re.search(r"Compiling entry function '(\w+)'", line)
        if m:
            name, spill = m.group(1), 0
        m = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if m:
            spill += int(m.group(1)) + int(m.group(2))
            if not name and found: # a function that the entry calls
                found[-1] = (*found[-1][:2], found[-1][2] + spill)
                spill = 0
        m = re.search(r"Used (\d+) registers", line)
        if m and name:
            found.append((name, int(m.group(1)), spill))
            name, spill = None, 0
    if len(found) != len(re.findall(r"^\s*(?:\.visible\s+)?\.entry\b", text, re.M)):
        raise RuntimeError(f"{path} for sm_{sm}: ptxas reported {len(found)} entries, the file has others")
    with open(memo + f".{os.getpid()}", "w") as f:
        f.writelines(f"{e} {r} {s}\n" for e, r, s in found)
    os.replace(memo + f".{os.getpid()}", memo)
    return found


def read_budgets(path):
    out = {}
    if os.path.exists(path):
        with open(path) as f:
            for no, line in enumerate(f, 1):
                w = line.split("#")[0].split()
                if not w:
                    continue
                if len(w) != 3 or not all(x.isdigit() for x in w[1:]) or (w[0], int(w[1])) in out:
                    raise RuntimeError(f"{path}:{no}: not `entry sm registers`, or twice: {line.strip()}")
                out[w[0], int(w[1])] = int(w[2])
    return out


def compare(measured, budgets):
    """Breaches, and notes on budgets that could be tightened."""
    faults, notes = [], []
    for (entry, sm), (regs, spill) in sorted(measured.items()):
        most = budgets.get((entry, sm))
        if spill:
            faults.append(f"{entry} sm_{sm}: spills {spill} bytes")
        if most is None:
            faults.append(f"{entry} sm_{sm}: no budget (uses {regs}; --update writes it)")
        elif regs > most:
            faults.append(f"{entry} sm_{sm}: {regs} registers, budget {most}")
        elif regs < most:
            notes.append(f"{entry} sm_{sm}: {regs} registers, budget {most}")
    for entry, sm in sorted(set(budgets) - set(measured)):
        faults.append(f"{entry} sm_{sm}: a budget for a kernel that does not exist")
    return faults, notes


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--build", default="build")
    a.add_argument("--ptxas", default="/usr/local/cuda/bin/ptxas")
    a.add_argument("--budgets", default="kernels/budgets.txt")
    a.add_argument("--update", action="store_true")
    o = a.parse_args()
    cache = os.path.join(o.build, "ptxas")
    os.makedirs(cache, exist_ok=True)
    version = subprocess.run([o.ptxas, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    jobs = []
    # Only files that the source tree has: the build folder may hold older ones.
    for src in sorted(glob.glob("kernels/ptx/*.ptx") + glob.glob("bench/ptx/*.ptx")):
        path = os.path.join(o.build, *src.split("/")[src[0] == "k":])
        for p in (path, path[:-4] + DEPENDENT + ".ptx"):
            if p == path or os.path.exists(p):
                with open(p, encoding="utf-8") as f:
                    lowest = target_of(f.read())
                more = DEPENDENT if p != path else ""
                jobs += [(q, sm, more + mix) for mix, q, archs in as_loaded(p, cache) for sm in archs if sm >= lowest]
    measured, faults = {}, []
    with ThreadPoolExecutor(2) as pool:
        for (path, sm, more), r in [(j, pool.submit(assemble, o.ptxas, version, *j[:2], cache)) for j in jobs]:
            try:
                for entry, regs, spill in r.result():
                    if not path.startswith(os.path.join(o.build, "bench")):
                        measured[entry + more, sm] = (regs, spill)
                    elif spill:
                        faults.append(f"{entry} sm_{sm}: spills {spill} bytes")
            except RuntimeError as e:
                faults.append(str(e))
    if o.update and not faults:
        with open(o.budgets, "w") as f:
            f.write(HEAD)
            f.writelines(f"{e} {sm} {r}\n" for (e, sm), (r, _) in sorted(measured.items()))
    breaches, notes = compare(measured, read_budgets(o.budgets))
    faults += breaches
    print("\n".join(faults + [f"could be tightened: {n}" for n in notes]))
    print(f"{len(measured)} budgets, {len(faults)} breaches")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
        print(f"ptxas_budget: {e}", file=sys.stderr)
        sys.exit(1)
