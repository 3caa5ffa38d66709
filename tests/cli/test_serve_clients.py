"""qmoe-gpu serve and curl: docs/curl.md, line by line."""
import os, re, subprocess, sys
import tap
from server import Server, TMP

KEY = "secret"


def recipes():
    """[(what stands before, script, what it says)]"""
    with open("docs/curl.md", encoding="utf-8") as f:
        found = re.findall(r"([^\n]+)\n\n```sh\n(.*?)```\n\n((?:    [^\n]*\n)+)", f.read(), re.S)
    return [(a, b, "".join(x[4:] + "\n" for x in c.splitlines())) for a, b, c in found]


def test_the_recipes_of_the_docs():
    folder = os.path.join(TMP, "curl")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "question.txt"), "w") as f:
        f.write("Capital of France:")
    with open(os.path.join(folder, "keys"), "w") as f:
        f.write(KEY + "\n")
    with open("docs/curl.md", encoding="utf-8") as f:
        assert f.read().count("```sh\n") == len(recipes()) > 6
    wrong = []
    with Server() as plain, Server("--api-key-file", os.path.join(folder, "keys")) as keyed:
        for what, script, want in recipes():
            url = (keyed if "$KEY" in script else plain).url
            assert "http://127.0.0.1:8080" in script, what
            p = subprocess.run(["sh", "-ec", script.replace("http://127.0.0.1:8080", url)], cwd=folder, env=dict(os.environ, KEY=KEY), stdin=subprocess.DEVNULL,
                               capture_output=True, text=True, timeout=60)
            if p.returncode or p.stdout != want:
                wrong.append(f"{what}\n  says {p.stdout!r}\n  not  {want!r} ({p.returncode}, {p.stderr!r})")
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
