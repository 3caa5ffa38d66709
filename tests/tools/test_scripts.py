"""Every script runs: run bits, --help, the tokenizer's program for tok_compare, and what the tarball has to read."""
import os, re, subprocess, sys, tempfile
import tap

sys.path.insert(0, "tools")
import tok_compare  # noqa: E402

B = os.path.dirname(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")


def files():
    for base, dirs, names in os.walk("."):
        dirs[:] = sorted(d for d in dirs if not d.startswith((".git", "build", "__pycache__")))
        yield from (os.path.join(base, n)[2:] for n in sorted(names))


def scripts():
    for path in files():
        with open(path, "rb") as f:
            if f.read(3) == b"#!/":
                yield path


def test_run_bits():
    """What begins with #! can be run, and nothing else says it could."""
    found = set(scripts())
    assert len(found) > 25, found
    wrong = [p for p in files() if os.path.isfile(p) and os.access(p, os.X_OK) != (p in found)]
    assert not wrong, f"run bit and #! disagree: {wrong}"


def test_help():
    """Every script in tools/ answers --help at once, also where no package of its own is installed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("QMOE_", "MAKE"))}
    env.update(PIP_NO_INDEX="1", PYTHONDONTWRITEBYTECODE="1", QMOE_NEEDS_AGAIN="1")
    tools = [p for p in scripts() if p.startswith("tools/")]
    assert len(tools) > 20, tools
    for path in tools:
        p = subprocess.run([os.path.abspath(path), "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=env)
        assert p.returncode == 0 and len(p.stdout.split()) > 5 and not p.stderr, f"{path}: {p.returncode}\n{p.stdout}\n{p.stderr}"


def test_tok_cli():
    """The program behind tok_compare and llama_greedy is built with the rest and tokenises."""
    exe = os.path.join(B, "tok_cli")
    texts = ["", "What is 2+2?", "  naïve 中文\n\n\t<|im_end|> x"]
    for chat in (0, tok_compare.CHAT):
        for text, (ids, joined) in zip(texts, tok_compare.ask(exe, "models/demo.gguf", [(t.encode(), chat) for t in texts])):
            assert chat or joined == text.encode(), (text, joined)
            assert bool(ids) == bool(text or chat), (text, ids)
    plain, special = (tok_compare.ask(exe, "models/demo.gguf", [(b"<|im_end|>", f)])[0][0] for f in (0, tok_compare.SPECIAL))
    assert len(special) == 1 < len(plain), (plain, special)


def test_tarball_papers():
    """The tarball has README, LICENSE and docs, and what they link to."""
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["sh", "tools/dist.sh", "papers", tmp], check=True)
        pages = [p for p in subprocess.run(["find", tmp, "-name", "*.md"], capture_output=True, text=True, check=True).stdout.split()]
        assert len(pages) > 12 and os.path.exists(tmp + "/LICENSE") and os.path.exists(tmp + "/docs/qmoe-gpu.1")
        for page in pages:
            with open(page, encoding="utf-8") as f:
                text = f.read()
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
                assert os.path.exists(os.path.join(os.path.dirname(page), link)), f"{page[len(tmp) + 1:]}: {link} is not in the tarball"


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
