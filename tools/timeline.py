#!/usr/bin/env python3
"""timeline.py FILE.json [-o OUT.svg] [--png OUT.png]: a picture of one token.

FILE.json is what `qmoe-gpu bench --per-op -o json` writes on a GPU (measured), or with --predict CHIP
(an estimate, and the picture says so); - is standard input. A row is a layer, read like a text: time runs
to the right and on into the next row. A bar is an op: as long as it takes, filled as high as the share of
the chip's bandwidth that it uses, so that the filled area is the bytes. White between bars is an idle chip.

  --depth N, --device WORD   which step, where the file holds several (default: the first)
  --title TEXT               instead of the model's name
  --png OUT.png              also as PNG; needs the package cairosvg
"""
import argparse, json, sys
from xml.sax.saxutils import escape

COLOURS = {
    "embed": "#9c755f", "attn_norm": "#8f8f8f", "ffn_norm": "#8f8f8f", "output_norm": "#8f8f8f", "qkv": "#4e79a7",
    "qkrope": "#86b4d8", "attn": "#2a9d8f", "attn_heads": "#86cdc2", "attn_out": "#35608f", "router_logits": "#9b6bb0",
    "router": "#cfa3d6", "ffn_gate": "#ffc27a", "ffn_up": "#f28e2b", "ffn_act": "#c9a227", "ffn_out": "#e15759",
    "logits": "#59a14f", "sample_scan": "#9fd18b", "sample_draw": "#c5e6b6",
}
OTHER = "#444444"
WIDTH, LEFT, PLOT, PITCH, BAR = 1400, 104, 968, 17, 14
FONT = "font-family=\"'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif\""


class Unfit(Exception):
    """The file is not something to draw; the message says why."""


def load(text, depth=None, device=None):
    """The step record and its op records."""
    try:
        records = json.loads(text)
    except ValueError as e:
        try:
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise Unfit(f"not JSON: {e}") from None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise Unfit("not a list of records, as bench --per-op -o json writes it")
    steps = []
    for r in records:
        if r.get("record") == "step":
            steps.append((r, []))
        elif r.get("record") == "op" and steps:
            steps[-1][1].append(r)
    if not steps:
        raise Unfit("no record of a step in it, as bench --per-op -o json writes it")
    fit = [s for s in steps if (depth is None or s[0]["depth"] == depth) and
           (device is None or device.lower() in s[0]["device"].lower())]
    if not fit:
        have = ", ".join(f"{s['device']} at depth {s['depth']}" for s, _ in steps)
        raise Unfit(f"no such step in it; there are {have}")
    step, ops = fit[0]
    if len(ops) != step["ops"]:
        raise Unfit(f"{len(ops)} ops of {step['ops']}: the file is cut off")
    if any(op.get("begin_ns") is None or op.get("time_ns") is None for op in ops):
        raise Unfit("it holds no times: the software device has none. Draw an estimate: bench --predict CHIP -o json")
    return step, ops


def bytes_of(op):
    return op["weight_bytes"] + op["kv_bytes"]


def rows_of(ops):
    """[(name, begin, end, ops)]: consecutive ops of one layer. A row begins where the one before it ended, so
    that its first gap belongs to it. The first row takes the embedding along, the last is the output."""
    rows, at = [], 0.0
    for op in ops:
        name = "output" if op["layer"] < 0 else f"layer {op['layer']}"
        if op is ops[0] and op["layer"] < 0:
            name = "embed"
        if not rows or rows[-1][0] != name:
            rows.append([name, at, at, []])
        rows[-1][3].append(op)
        rows[-1][2] = at = op["begin_ns"] + op["time_ns"]
    if len(rows) > 1 and rows[0][0] == "embed":  # one short op does not deserve a line of its own
        first = rows.pop(0)
        rows[0][1] = first[1]
        rows[0][3] = first[3] + rows[0][3]
    return rows


def nice(span, parts):
    """The least of 1, 2, 5, 10, 20 ... (and 0.1, 0.2 ...) that cuts span into at most `parts`."""
    return next(f * 10.0 ** e for e in range(-3, 12) for f in (1, 2, 5) if f * 10.0 ** e >= span / parts)


class Svg:
    def __init__(self):
        self.out = []

    def put(self, s):
        self.out.append(s)

    def text(self, x, y, s, size=11, anchor="start", fill="#222", weight=None):
        if not s:
            return
        w = f' font-weight="{weight}"' if weight else ""
        self.put(f'<text x="{num(x)}" y="{num(y)}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{w}>{escape(s)}</text>')

    def rect(self, x, y, w, h, fill, more=""):
        self.put(f'<rect x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}" fill="{fill}"{more}/>')

    def line(self, x1, y1, x2, y2, stroke, width=1, more=""):
        self.put(f'<path d="M{num(x1)} {num(y1)}L{num(x2)} {num(y2)}" stroke="{stroke}" stroke-width="{width}" fill="none"{more}/>')


def num(v):
    return f"{v:.2f}".rstrip("0").rstrip(".")


def us(ns):
    return f"{ns / 1e3:.1f}"


def mb(n):
    return f"{n / 1e6:.1f}" if n >= 5e4 else "-"


def rate(n, ns):
    return f"{n / ns:.0f}" if n >= 5e4 and ns > 0 else "-"


def spelled(op, step):
    """What one sees with the pointer on a bar."""
    where = f"layer {op['layer']}, " if op["layer"] >= 0 else ""
    s = f"{where}{op['slot']} ({op['kernel']}, {op['grid'][0]}x{op['grid'][1]}x{op['grid'][2]} of {op['block']}): {us(op['time_ns'])} us"
    if bytes_of(op):
        s += f", {bytes_of(op) / 1e6:.3f} MB, {rate(bytes_of(op), op['time_ns'])} GB/s"
    s += f", gap before {op['gap_ns'] / 1e3:.2f} us"
    return s + (f", bound by {op['bound']}" if step["estimate"] and op.get("bound") else "")


def draw_op(svg, op, step, row_begin, per_line, x_of, y0):
    """One op, over as many lines as it takes."""
    colour = COLOURS.get(op["slot"], OTHER)
    peak = step.get("bandwidth")
    full = bytes_of(op) / op["time_ns"] * 1e9 / peak if peak and op["time_ns"] > 0 else 0
    fill = BAR * min(1, full) if peak else BAR
    svg.put(f'<g class="op" fill="{colour}"><title>{escape(spelled(op, step))}</title>')
    begin, left = op["begin_ns"] - row_begin, op["time_ns"]
    while True:
        line = int(begin // per_line)
        part = min(left, (line + 1) * per_line - begin)
        x, w, y = x_of(begin - line * per_line), part / per_line * PLOT, y0 + line * PITCH
        shapes = f"M{num(x)} {num(y)}h{num(w)}v{BAR}h{num(-w)}z"
        svg.put(f'<path opacity=".28" d="{shapes}"/>')
        if fill >= 0.1:
            svg.put(f'<path d="M{num(x)} {num(y + BAR - fill)}h{num(w)}v{num(fill)}h{num(-w)}z"/>')
        left -= part
        begin += part
        if left <= 1e-3:
            break
    svg.put("</g>")


def picture(step, ops, title=None):
    """The picture as SVG text."""
    rows = rows_of(ops)
    layer_ns = max((r[2] - r[1] for r in rows if r[0] != "output"), default=1)
    per_line = max(layer_ns, max(r[2] - r[1] for r in rows) / 6) * 1.005
    lines = [max(1, int(-(-(r[2] - r[1]) // per_line))) for r in rows]
    peak = step.get("bandwidth")
    total_bytes = step["weight_bytes"] + step["kv_bytes"]
    ideal = total_bytes / peak * 1e9 if peak else None
    kinds = {}
    for op in ops:
        k = kinds.setdefault(op["slot"], [0, 0.0, 0, 0.0])
        k[0] += 1
        k[1] += op["time_ns"]
        k[2] += bytes_of(op)
        k[3] += op["gap_ns"]
    top = 118
    bottom = top + sum(lines) * PITCH
    per_column = -(-(len(kinds) + 1) // 2)
    height = bottom + 150 + 18 * per_column + 30
    svg = Svg()
    svg.put(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {num(height)}" width="{WIDTH}" height="{num(height)}" {FONT}>')
    svg.put(f'<rect width="{WIDTH}" height="{num(height)}" fill="#fff"/>')

    # head
    name = title or step["model_name"] or "a model"
    svg.text(24, 36, f"One token of {name}", 21, weight="bold")
    kind = "ESTIMATE, not measured: " if step["estimate"] else "measured: "
    svg.text(24, 60, f"{kind}{step['device']}, {step['depth']} positions in the cache", 14, fill="#b3261e" if step["estimate"] else "#222",
             weight="bold")
    s = f"{us(step['step_ns'])} µs = {1e9 / step['step_ns']:.0f} tokens/s · {len(ops)} ops · {total_bytes / 1e6:.1f} MB read · " \
        f"{total_bytes / step['step_ns']:.0f} GB/s"
    if ideal:
        s += f" = {100 * ideal / step['step_ns']:.0f}% of {peak / 1e9:.0f} GB/s"
    if step.get("step_with_stamps_ns"):
        s += f" · drawn from steps with time stamps, {us(step['step_with_stamps_ns'])} µs"
    svg.text(24, 81, s, 13)

    # axis
    x_of = lambda ns: LEFT + ns / per_line * PLOT
    tick = nice(per_line / 1e3, 8) * 1e3
    for i in range(int(per_line // tick) + 1):
        x = x_of(i * tick)
        svg.line(x, top - 5, x, bottom, "#e3e3e3")
        svg.text(x, top - 9, f"{num(i * tick / 1e3)}{' µs' if not i else ''}", 10.5, "middle", "#666")
    for x, word in ((WIDTH - 222, "begin µs"), (WIDTH - 148, "µs"), (WIDTH - 88, "MB"), (WIDTH - 24, "GB/s")):
        svg.text(x, top - 9, word, 10.5, "end", "#666")

    # rows
    y = top
    for (row, begin, end, members), n in zip(rows, lines):
        for i in range(n):
            w = min(end - begin - i * per_line, per_line) / per_line * PLOT
            svg.rect(LEFT, y + i * PITCH, w, BAR, "#f6f6f6")
        for op in members:
            draw_op(svg, op, step, begin, per_line, x_of, y)
        b = sum(map(bytes_of, members))
        if peak:
            at = b / peak * 1e9
            i = min(int(at // per_line), n - 1)
            x = x_of(at - i * per_line)
            svg.line(x, y + i * PITCH - 1.5, x, y + i * PITCH + BAR + 1.5, "#000", 1.6)
        base = y + BAR - 3
        svg.text(LEFT - 8, base, row, 10.5, "end")
        for x, word in ((WIDTH - 222, us(begin)), (WIDTH - 148, us(end - begin)), (WIDTH - 88, mb(b)), (WIDTH - 24, rate(b, end - begin))):
            svg.text(x, base, word, 10.5, "end", "#222")
        y += n * PITCH

    # the whole step as one bar
    y = bottom + 34
    svg.text(24, y, "The whole step, by kind of op", 13, weight="bold")
    y += 12
    whole, at = max(step["step_ns"], ideal or 0), 24.0
    scale = (WIDTH - 48) / whole
    svg.rect(24, y, (WIDTH - 48) * step["step_ns"] / whole, 26, "#f0f0f0", ' stroke="#bbb"')
    for slot, (_, ns, _, _) in sorted(kinds.items(), key=lambda k: -k[1][1]):
        w = ns * scale
        svg.rect(at, y, w, 26, COLOURS.get(slot, OTHER))
        long, mark = 7.2 * len(slot) + 8, 24 + ideal * scale if ideal else at
        fit = max([(at, at + w)] if not at < mark < at + w else [(at, mark), (mark, at + w)], key=lambda f: f[1] - f[0])
        if fit[1] - fit[0] > long:  # beside the mark, not under it
            svg.text(sum(fit) / 2, y + 17, slot, 11, "middle", "#fff")
        elif fit[1] - fit[0] > long * 0.8:
            svg.text(sum(fit) / 2, y + 16.5, slot, 9, "middle", "#fff")
        at += w
    gap = 24 + step["step_ns"] * scale - at
    if gap > 40:
        svg.text(at + gap / 2, y + 17, "idle", 11, "middle", "#666")
    if ideal:
        x = 24 + ideal * scale
        svg.line(x, y - 5, x, y + 33, "#000", 2)
        left = x > WIDTH / 2
        svg.text(x + (-6 if left else 6), y + 43, f"all bytes at {peak / 1e9:.0f} GB/s: {us(ideal)} µs = {1e9 / ideal:.0f} tokens/s", 11,
                 "end" if left else "start")

    # legend
    y += 70
    columns = ((0, 0), (1, (WIDTH - 24) / 2))
    names = list(kinds.items()) + [("idle", [len(ops), step["step_ns"] - sum(k[1] for k in kinds.values()), 0, 0])]
    for c, x0 in columns:
        part = names[c * per_column:(c + 1) * per_column]
        for dx, word in ((250, "ops"), (340, "µs"), (420, "share"), (510, "MB"), (590, "GB/s")):
            svg.text(24 + x0 + dx, y, word, 10.5, "end", "#666")
        for i, (slot, (n, ns, b, _)) in enumerate(part):
            yy = y + 18 * (i + 1)
            if slot == "idle":
                svg.rect(24 + x0, yy - 10, 22, 12, "#f6f6f6", ' stroke="#bbb"')
            else:
                svg.rect(24 + x0, yy - 10, 22, 12, COLOURS.get(slot, OTHER))
            svg.text(24 + x0 + 30, yy, slot if slot != "idle" else "idle (gaps)", 11.5)
            for dx, word in ((250, str(n) if slot != "idle" else ""), (340, us(ns)), (420, f"{100 * ns / step['step_ns']:.1f}%"),
                             (510, mb(b)), (590, rate(b, ns))):
                svg.text(24 + x0 + dx, yy, word, 11.5, "end")
    svg.text(24, height - 14, "A bar is as long as its op takes" + (
        ", and filled as high as the share of the bandwidth it uses: the filled area is the bytes. Black mark: where the row would end at full bandwidth."
        if peak else "."), 10.5, fill="#666")
    svg.put("</svg>")
    return "\n".join(svg.out) + "\n"


def write(svg, output, png, tool):
    """The picture to a file or standard output, and as a PNG where one is asked for; the exit status."""
    if output or not png:
        with (open(output, "w", encoding="utf-8") if output else sys.stdout) as f:
            f.write(svg)
    if png:
        try:
            import cairosvg
        except ImportError:
            print(f"{tool}: --png needs the package cairosvg (pip install cairosvg)", file=sys.stderr)
            return 1
        cairosvg.svg2png(bytestring=svg.encode(), write_to=png, scale=1.5)
    return 0


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("file")
    a.add_argument("-o", "--output")
    a.add_argument("--png")
    a.add_argument("--depth", type=int)
    a.add_argument("--device")
    a.add_argument("--title")
    o = a.parse_args()
    try:
        text = sys.stdin.read() if o.file == "-" else open(o.file, encoding="utf-8").read()
        step, ops = load(text, o.depth, o.device)
    except (OSError, Unfit) as e:
        print(f"timeline.py: {o.file}: {e}", file=sys.stderr)
        return 1
    svg = picture(step, ops, o.title)
    return write(svg, o.output, o.png, "timeline.py")


if __name__ == "__main__":
    sys.exit(main())
