#!/usr/bin/env python3
"""circles.py [--graph] BUILD ROOM...: whether source files of a room use each other in a circle: by the symbols (nm) of
their object files in BUILD/o/ROOM. A file uses the one that defines what it names. Prints one line per circle and
exits 1, or one line and 0. --graph prints who uses whom, the lowest first."""
import glob, os, re, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from needs import show_help  # noqa: E402


def symbols(build, room):
    """{file: (defined, undefined)}: the global symbols of each source file's object."""
    objects = {f"{build}/o/{os.path.splitext(c)[0]}.o": os.path.basename(c)[:-2] for c in sorted(glob.glob(f"{room}/*.c"))}
    missing = [o for o in objects if not os.path.exists(o)]
    if missing:
        sys.exit(f"circles: {missing[0]} is not built")
    table = {name: (set(), set()) for name in objects.values()}
    if objects:
        text = subprocess.run(["nm", "-g", "--print-file-name", *objects], check=True, capture_output=True, text=True).stdout
        for path, kind, name in (re.match(r"(.+?):\s*\S*\s+(\w) (\S+)$", x).groups() for x in text.splitlines()):
            table[objects[path]][kind in "Uwv"].add(name)
    return table


def arrows(table):
    """{file: set of files that it uses}, of {file: (defined, undefined)}."""
    owner = {s: f for f, (defined, _) in table.items() for s in defined}
    return {f: {owner[s] for s in used if s in owner} - {f} for f, (_, used) in table.items()}


def strong_components(graph):
    """Lists of files that reach each other, lowest first (Tarjan, SIAM J. Comput. 1972)."""
    index, low, stack, out = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(graph[v]):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            part = []
            while not part or part[-1] != v:
                part.append(stack.pop())
            out.append(sorted(part))

    for v in sorted(graph):
        if v not in index:
            visit(v)
    return out


def circles(graph):
    return [p for p in strong_components(graph) if len(p) > 1]


def main(args):
    show = "--graph" in args
    build, *rooms = [a for a in args if a != "--graph"]
    n_files, found = 0, 0
    for room in rooms:
        graph = arrows(symbols(build, room))
        n_files += len(graph)
        if show:
            for part in strong_components(graph):
                for f in part:
                    print(f"{room}/{f}: {' '.join(sorted(graph[f]))}")
        for p in circles(graph):
            found += 1
            print(f"{room}: circle: " + "; ".join(f"{f} uses {', '.join(sorted(graph[f] & set(p)))}" for f in p))
    if not found:
        print(f"{n_files} files of {len(rooms)} rooms, no circle")
    return 1 if found or not n_files else 0


if __name__ == "__main__":
    show_help(__doc__)
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
