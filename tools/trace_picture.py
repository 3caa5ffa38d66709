#!/usr/bin/env python3
"""trace_picture.py FILE.json [-o OUT.svg] [--png OUT.png]: a picture of a step, seen from inside.

FILE.json is what `qmoe-gpu trace --json` writes; - is standard input. Three parts: the standard deviation of each
slot over the layers; which experts the routers chose (with --all-positions how often, else with which weight);
and, where the trace was made with --compare, how far each vector is from the reference's (1 - cosine).

  --title TEXT   instead of the model's name
  --png OUT.png  also as PNG; needs the package cairosvg
"""
import argparse, json, math, sys
from timeline import FONT, Svg, num, write

SLOTS = (("output", "#222222", 2.6), ("attn_norm", "#8f8f8f", 1.4), ("qkv", "#4e79a7", 1.6), ("attn_out", "#2a9d8f", 1.6),
         ("ffn_norm", "#c9a227", 1.4), ("ffn_out", "#e15759", 1.6))
# of ops that are compared but are no slots of the report
MORE = {"qkrope": "#86b4d8", "q_rope": "#86b4d8", "attn": "#59a14f", "attn_heads": "#86cdc2", "router_logits": "#9b6bb0", "router": "#cfa3d6",
        "ffn_gate": "#ffc27a", "ffn_up": "#f28e2b", "ffn_act": "#b07d2b"}
RED, GREY, GRID, LEVELS = "#b3261e", "#666", "#e3e3e3", 12
WIDTH, LEFT, RIGHT = 1200, 84, 190


class Unfit(Exception):
    """The file is not something to draw; the message says why."""


def load(text):
    try:
        t = json.loads(text)
    except ValueError as e:
        raise Unfit(f"not JSON: {e}") from None
    need = ("architecture", "layers", "logits", "expert_use", "verdict", "encoded_tokens")
    if not isinstance(t, dict) or any(k not in t for k in need):
        raise Unfit("not what trace --json writes")
    if not t["layers"]:
        raise Unfit("it has no layers")
    return t


def heat(f):
    """White to dark blue over light yellow and green, f in 0..1."""
    stops = ((0, (255, 255, 255)), (0.15, (237, 246, 214)), (0.4, (127, 205, 187)), (0.7, (44, 127, 184)), (1, (8, 29, 88)))
    for (a, ca), (b, cb) in zip(stops, stops[1:]):
        if f <= b:
            u = (f - a) / (b - a)
            return "#" + "".join(f"{round(x + (y - x) * u):02x}" for x, y in zip(ca, cb))
    return "#081d58"


def sig(v):
    return f"{v:.3g}" if v is not None else "-"


class Plot:
    """A frame with layers along x and a logarithmic y."""

    def __init__(self, svg, top, height, n, lo, hi, title, note=""):
        self.svg, self.top, self.height, self.n = svg, top, height, n
        self.lo, self.hi = lo - 0.08, max(hi + 0.08, lo + 0.5)
        svg.text(24, top - 14, title, 14, weight="bold")
        svg.text(WIDTH - 24, top - 14, note, 11, "end", GREY)
        span = self.hi - self.lo
        for e in range(math.floor(self.lo), math.ceil(self.hi) + 1, max(1, math.ceil(span / 8))):
            for f in (1, 2, 5) if span <= 3 else (1,):
                if self.lo <= math.log10(f) + e <= self.hi:
                    y = self.y(f * 10.0 ** e)
                    svg.line(LEFT, y, WIDTH - RIGHT, y, GRID)
                    svg.text(LEFT - 8, y + 4, f"{f * 10.0 ** e:g}" if -3 <= e <= 4 else f"{f}e{e}", 10.5, "end", GREY)
        every = max(1, -(-n // 24))
        for i in range(0, n, every):
            svg.text(self.x(i), top + height + 16, str(i), 10.5, "middle", GREY)
        svg.text(LEFT - 8, top + height + 16, "layer", 10.5, "end", GREY)

    def x(self, layer):
        return LEFT + (layer + 0.5) / self.n * (WIDTH - RIGHT - LEFT)

    def y(self, v):
        e = math.log10(v) if v > 0 else self.lo
        e = min(max(e, self.lo), self.hi)
        return self.top + self.height * (self.hi - e) / (self.hi - self.lo)

    def series(self, name, values, colour, width):
        """values: [(layer, value)]; a value that is not there breaks the line."""
        d, pen = "", "M"
        for layer, v in values:
            if v is None or not v > 0:
                pen = "M"
                continue
            d += f"{pen}{num(self.x(layer))} {num(self.y(v))}"
            pen = "L"
        shown = [(layer, v) for layer, v in values if v is not None and v > 0]
        self.svg.put(f'<g class="series"><title>{name}</title>')
        if d:
            self.svg.put(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>')
        if self.n <= 60:
            for layer, v in shown:
                self.svg.put(f'<circle cx="{num(self.x(layer))}" cy="{num(self.y(v))}" r="{num(width + 0.6)}" fill="{colour}"/>')
        self.svg.put("</g>")
        return self.y(shown[-1][1]) if shown else None


def labels(svg, named, bottom):
    """[(y, text, colour)] at the right edge, pushed apart so that none covers another, down to bottom."""
    named = sorted(x for x in named if x[0] is not None)
    at = -1e9
    placed = []
    for y, text, colour in named:
        at = max(y, at + 14)
        placed.append([at, y, text, colour])
    for p in reversed(placed):
        bottom = p[0] = min(p[0], bottom)
        bottom -= 14
    for p in placed:
        x = WIDTH - RIGHT
        svg.line(x + 4, p[1], x + 16, p[0], "#bbb")
        svg.text(x + 20, p[0] + 4, p[2], 11.5, fill=p[3])


def deviations(svg, t, top, height):
    rows = {name: [(l["layer_idx"], (l.get(name) or {}).get("std_dev")) for l in t["layers"]] for name, _, _ in SLOTS}
    values = [v for r in rows.values() for _, v in r if v]
    lo, hi = (math.log10(min(values)), math.log10(max(values))) if values else (0, 1)
    p = Plot(svg, top, height, len(t["layers"]), lo, hi, "Standard deviation of each slot, layer by layer",
             f"embedding {sig((t.get('embedding') or {}).get('std_dev'))}, final norm {sig((t.get('final_norm') or {}).get('std_dev'))}")
    if math.log10(50) <= p.hi:
        svg.line(LEFT, p.y(50), WIDTH - RIGHT, p.y(50), RED, 1, ' stroke-dasharray="5 4"')
        svg.text(LEFT + 4, p.y(50) + 13, "50: the bar", 10.5, fill=RED)
    ends = []
    for name, colour, width in reversed(SLOTS):
        y = p.series(name, rows[name], colour, width)
        last = next((v for _, v in reversed(rows[name]) if v), None)
        ends.append((y, f"{name} {sig(last)}", colour))
    labels(svg, ends, top + height)
    for l in t["layers"]:
        if l["status"] != "OK":
            svg.line(p.x(l["layer_idx"]), top, p.x(l["layer_idx"]), top + height, RED, 1)
            svg.text(p.x(l["layer_idx"]) + 4, top + 12, l["status"], 10.5, fill=RED)


def chosen(t):
    """(matrix in 0..1 [layers][experts], what a full cell means, whether over many positions)"""
    use = t["expert_use"]
    n = use["positions"]
    if n > 1:
        most = max((v for row in use["layers"] for v in row), default=0) or 1
        return [[v / most for v in row] for row in use["layers"]], f"chosen at {most} of {n} positions", True
    m = [[0.0] * use["num_experts"] for _ in use["layers"]]
    for row, l in zip(m, t["layers"]):
        for i, w in zip(l["router"]["ids"], l["router"]["weights"]):
            if i < len(row):
                row[i] = w or 0
    most = max((v for row in m for v in row), default=0) or 1
    return [[v / most for v in row] for row in m], f"weight {most:.2f}", False


def experts(svg, t, top, cell):
    m, full, many = chosen(t)
    n_x, n_y = len(m[0]), len(m)
    use = t["expert_use"]
    svg.text(24, top - 14, "Experts: " + ("how often each was chosen" if many else "chosen at this position, by weight"), 14, weight="bold")
    wide = (WIDTH - RIGHT - LEFT) / n_x
    gap = 1 if wide > 5 and cell > 5 else 0
    svg.rect(LEFT, top, WIDTH - RIGHT - LEFT, cell * n_y, "#f1f1ee")
    paths = {}
    never = 0
    for y, row in enumerate(m):
        for x, v in enumerate(row):
            if v <= 0:
                never += 1
                continue
            level = max(1, math.ceil(v * LEVELS))
            paths.setdefault(level, []).append(f"M{num(LEFT + x * wide)} {num(top + y * cell)}h{num(wide - gap)}v{num(cell - gap)}h{num(gap - wide)}z")
    for level, d in sorted(paths.items()):
        svg.put(f'<path class="cells" fill="{heat(level / LEVELS)}" d="{"".join(d)}"/>')
    every = max(1, -(-n_x // 16))
    for x in range(0, n_x, every):
        svg.text(LEFT + (x + 0.5) * wide, top + cell * n_y + 15, str(x), 10.5, "middle", GREY)
    svg.text(LEFT - 8, top + cell * n_y + 15, "expert", 10.5, "end", GREY)
    every = max(1, -(-14 // int(max(cell, 1))))
    for y in range(0, n_y, every):
        svg.text(LEFT - 8, top + (y + 0.5) * cell + 4, f"layer {y}" if y == 0 else str(y), 10.5, "end", GREY)
    # scale
    x0 = WIDTH - RIGHT + 20
    for k in range(LEVELS):
        svg.rect(x0, top + 14 + k * 7, 16, 7, heat((LEVELS - k) / LEVELS))
    svg.text(x0, top + 6, full, 10.5, fill=GREY)
    svg.text(x0 + 22, top + 14 + LEVELS * 7, "1" if many else "0", 10.5, fill=GREY)
    svg.rect(x0, top + 24 + LEVELS * 7, 16, 10, "#f1f1ee", ' stroke="#ccc"')
    svg.text(x0 + 22, top + 33 + LEVELS * 7, f"never: {never} of {n_x * n_y}" if many else "not chosen", 10.5, fill=GREY)
    if many:
        even = use["positions"] * use["num_experts_used"] / use["num_experts"]
        svg.text(x0, top + 52 + LEVELS * 7, f"even use: {even:.1f} each", 10.5, fill=GREY)


FLOOR = 1e-13  # what double precision says of two equal f32 vectors


def against(svg, t, top, height):
    c = t["compare"]
    by = {}
    for d in c["ops"]:
        if d["layer"] >= 0:
            cos = d["cosine"] if d["cosine"] is not None else 0
            by.setdefault(d["slot"], []).append((d["layer"], max(1 - cos, FLOOR), d))
    bar = max(1 - c["min_cosine"], FLOOR)
    values = [v for r in by.values() for _, v, _ in r] + [bar]
    whom = "the C references" if c["with"] == "ref" else c["with"]
    p = Plot(svg, top, height, len(t["layers"]), math.log10(min(values)), math.log10(max(values)),
             f"1 − cosine against {whom}, " + ("op by op" if c["mode"] == "op by op" else "both on their own"),
             f"{len(c['ops'])} compared; below {FLOOR:g} all is equal" + (f"; {c['missing']} without a file" if c["missing"] else ""))
    svg.line(LEFT, p.y(bar), WIDTH - RIGHT, p.y(bar), RED, 1, ' stroke-dasharray="5 4"')
    svg.text(LEFT + 4, p.y(bar) + 13, f"departs: cosine below {c['min_cosine']:g}", 10.5, fill=RED)
    colours = {name: colour for name, colour, _ in SLOTS}
    ends = []
    for slot, r in by.items():
        colour = colours.get(slot) or MORE.get(slot, "#444")
        y = p.series(slot, [(layer, v) for layer, v, _ in r], colour, 1.4)
        ends.append((y, slot, colour))
        for layer, v, d in r:
            if d["departs"]:
                svg.put(f'<circle cx="{num(p.x(layer))}" cy="{num(p.y(v))}" r="5" fill="none" stroke="{RED}" stroke-width="1.6"/>')
    labels(svg, ends, top + height)
    f = c["first_departure"]
    said = f"first departure: {'layer %d, ' % f['layer'] if f['layer'] >= 0 else ''}{f['slot']}, {f['tensor']}: cosine {f['cosine']}, " \
           f"relative L2 {sig(f['rel_l2'])}, worst at {f['worst_index']}" if f else "nothing departs"
    svg.text(24, top + height + 38, said, 12, fill=RED if f else "#2e7d32", weight="bold")


def short(s, n):
    s = " ".join(s.split())
    return s if len(s) <= n else "…" + s[-n + 1:]


def picture(t, title=None):
    """The picture as SVG text."""
    n = len(t["layers"])
    cell = max(7, min(32, 300 / n))
    y_std, h_std = 150, 230
    y_use = y_std + h_std + 74
    h_use = max(cell * n, 140)
    y_cos, h_cos = y_use + h_use + 74, 230
    bottom = y_cos + h_cos + 50 if t.get("compare") else y_use + h_use + 30
    svg = Svg()
    svg.put(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {num(bottom)}" width="{WIDTH}" height="{num(bottom)}" {FONT}>')
    svg.put(f'<rect width="{WIDTH}" height="{num(bottom)}" fill="#fff"/>')
    v = t["verdict"]
    svg.text(24, 36, f"One step of {title or t.get('model') or 'a model'}, seen from inside", 21, weight="bold")
    svg.text(WIDTH - 24, 36, v["level"], 21, "end", {"OK": "#2e7d32", "NOTE": "#a15c00"}.get(v["level"], RED), "bold")
    d = t["device"]
    svg.text(24, 60, f"{n} layers of {t['hidden_dim']}, {t['expert_use']['num_experts_used']} of {t['expert_use']['num_experts']} experts · "
             f"{d['id']}, executor {t['executor']} · position {t['position']} of {len(t['encoded_tokens'])} tokens · "
             f"logits L2 {sig(t['logits']['l2_norm'])}, hash {t['logits']['hash']}", 12.5)
    svg.text(24, 82, f"“{short(t['prompt'], 110)}”", 12.5, fill="#444")
    tops = " · ".join(f"“{k['text']}” {sig(k['logit'])}" for k in t["logits"]["top_k"][:5])
    svg.text(24, 103, f"then: {tops}", 12.5, fill="#444")
    deviations(svg, t, y_std, h_std)
    experts(svg, t, y_use, cell)
    if t.get("compare"):
        against(svg, t, y_cos, h_cos)
    svg.put("</svg>")
    return "\n".join(svg.out) + "\n"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("file")
    a.add_argument("-o", "--output")
    a.add_argument("--png")
    a.add_argument("--title")
    o = a.parse_args()
    try:
        text = sys.stdin.read() if o.file == "-" else open(o.file, encoding="utf-8").read()
        svg = picture(load(text), o.title)
    except (OSError, Unfit) as e:
        print(f"trace_picture.py: {o.file}: {e}", file=sys.stderr)
        return 1
    return write(svg, o.output, o.png, "trace_picture.py")


if __name__ == "__main__":
    sys.exit(main())
