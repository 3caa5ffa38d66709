"""tools/machine_code.py: what it counts, on a listing whose answer is known; and that its page is not older than the kernels."""
import os, sys
import tap

sys.path.insert(0, "tools")
import machine_code as mc  # noqa: E402


def line(at, text, write=7, read=7, waits=0):
    """As nvdisasm -hex prints an instruction: 128 bits, the control bits 41 to 63 of the second word."""
    high = (waits << 11 | read << 8 | write << 5) << 41
    return f"        /*{at:04x}*/                   {text} ;      /* 0x0000000000000000 */\n" \
           f"                                                  /* 0x{high:016x} */\n"


# 0 1 | 2: the loop: 2 waits for board 0, 3 and 4 load to it, 5 multiplies, 6 loads to board 1, 7 waits for that, 8 goes back
LISTING = (line(0x00, "LDG.E.128 R4, [R2.64]", write=0) + line(0x10, "MOV R1, R2") + ".L_x_1:\n" +
           line(0x20, "IDP.4A.S8.S8 R0, R4, R5, R0", waits=1) + line(0x30, "@P0 LDG.E.128 R4, [R2.64]", write=0) +
           line(0x40, "LDG.E.128 R8, [R2.64+0x10]", write=0) + line(0x50, "IDP.4A.S8.S8 R0, R8, R5, R0") +
           line(0x60, "LDG.E R9, [R2.64+0x20]", write=1) + line(0x70, "FADD R9, R9, R9", waits=2) +
           line(0x80, "@P0 BRA `(.L_x_1)") + line(0x90, "STL [R1], R2") + line(0xa0, "LDL R2, [R1]") + line(0xb0, "EXIT") +
           ".L_x_2:\n" + line(0xc0, "BRA `(.L_x_2)"))


def test_counts():
    code, labels = mc.parse(LISTING)
    assert len(code) == 13 and labels == {".L_x_1": 0x20, ".L_x_2": 0xc0}, labels
    assert mc.loops(code, labels) == [(2, 8)]
    # a load at 3 is waited for at 2, six later around the end; at 4 five later; at 6 one later
    assert mc.measure(code, labels, "IDP") == {
        "spills": 8, "kernel": 13, "sass": 7, "ldg": 3, "boards": 2, "waits": 2, "least": 1, "mean": 4}
    assert "sass" not in mc.measure(code, labels, "HMMA")


def test_inner_loop():
    """Of two loops, one in the other, the inner one; a loop that loads nothing is not it."""
    code, labels = mc.parse(".L_a:\n" + line(0, "IDP R0, R4, R5, R0") + ".L_b:\n" + line(0x10, "LDG.E R4, [R2]", write=0) +
                            line(0x20, "IDP R0, R4, R5, R0", waits=1) + line(0x30, "@P1 BRA `(.L_b)") + line(0x40, "@P0 BRA `(.L_a)") +
                            ".L_c:\n" + line(0x50, "IDP R0, R4, R5, R0") + line(0x60, "IDP R0, R4, R5, R0") +
                            line(0x70, "@P0 BRA `(.L_c)"))
    assert mc.loops(code, labels) == [(1, 3), (0, 4), (5, 7)]
    assert mc.main_loop(code, labels, "IDP") == (1, 3)


def test_entries():
    text = ".version 7.4\n.visible .entry qm_a(\n.param .u64 p)\n{\n ret;\n}\n.visible .entry qm_ab(\n)\n{\n exit;\n}\n"
    one = mc.entry_text(text, "qm_a")
    assert ".version" in one and "ret;" in one and "exit;" not in one
    assert "exit;" in mc.entry_text(text, "qm_ab") and mc.entry_text(text, "qm_b") is None


def test_page_is_not_older_than_the_kernels():
    with open(mc.PAGE, encoding="utf-8") as f:
        page = f.read()
    build = os.path.dirname(os.environ.get("QMOE_BIN", "build/qmoe-gpu"))
    assert mc.compare(page, build) == [], "tools/machine_code.py --update"
    kernels = mc.present(build)
    entry, _, texts = kernels[0]
    other = page.replace(mc.hash_of(texts), "0" * 12)
    assert mc.compare(other, build) == [f"{mc.PAGE}: {entry} has changed since"]
    gone = "\n".join(x for x in page.splitlines() if not x.startswith(f"- `{entry}`"))
    assert mc.compare(gone, build) == [f"{mc.PAGE}: {entry} is not in it"]
    assert mc.compare(page + "\n- `qm_nothing` 0123456789ab", build) == [f"{mc.PAGE}: there is no kernel qm_nothing"]
    assert len(kernels) >= 7 and all(len(t) == len(mc.ARCHS) for _, _, t in kernels)


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
