"""The commands that README and docs show do run, on the demo model and the software device, with lengths cut; what cannot
run here (a GPU, the network, hours) at least names scripts and options that exist. And what they show is what comes out."""
import glob, os, re, shutil, subprocess, sys, tempfile
import tap

ROOT = os.getcwd()
BIN = os.path.abspath(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
PAGES = ["README.md", "CONTRIBUTING.md", "models/README.md", "bench/results/README.md", *sorted(glob.glob("docs/*.md"))]
START = re.compile(r"(?:\$ )?((?:printf .*\| *)?(?:[A-Z_]+=\S+ +)*(?:build/|\./)?(?:qmoe-gpu|tools/\S+\.(?:py|sh)|python3 tools/|sh tools/|"
                   r"build/bench/|build/tests/|build/\w+/tests/|python3 tests/|make|(?:nsys|ncu|compute-sanitizer) .*qmoe-gpu) ?.*|for k in .*|tar xf .*)$")
# Commands that are not run, by a part of their text: why. Scripts and options are looked up all the same.
NOT_RUN = {
    "tools/gpu_check.sh": "wants a GPU; test_gpu_check runs it on the software device",
    "tools/peers/": "installs other programs",
    "tools/tok_compare.py": "installs other programs; test_scripts tries its other half",
    "tools/demo/make_model.sh": "trains for hours",
    "tools/train_demo.py": "trains for hours",
    "tools/bench_diff.py": "its files are results of two machines; test_bench runs it",
    "tools/quant_compare.py": "installs other programs",
    "tools/to_gguf": "wants a Hugging Face model; its checker makes some",
    "tools/mutate.py": "takes an hour",
    "tools/jinja_fixtures.py": "installs other programs",
    "build/fuzz/": "wants clang",
}


def commands(page):
    """What the page tells to type: indented or fenced lines that begin like a command, continued lines joined."""
    with open(page, encoding="utf-8") as f:
        text = re.sub(r"\s*\\\n\s*", " ", f.read())
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            m = START.match(line.strip())
            if m:
                yield re.sub(r"\s{2,}[^\s'\"-].*$|\s+# .*$", "", m.group(1))


def cut(cmd):
    """The same with lengths that the software device does in a moment."""
    cmd = re.sub(r"( -n) (\d+)", lambda m: f"{m[1]} {min(int(m[2]), 4)}", cmd)
    if " bench " in cmd:
        cmd = re.sub(r"( -[pd]) ([\d,]+)", lambda m: f"{m[1]} " + ",".join(str(min(int(x), 16)) for x in m[2].split(",")), cmd) + " -r 1"
    if " perplexity " in cmd and " -f " in cmd:
        cmd += " -c 32 --chunks 1"
    return cmd


class Place:
    """A folder that looks like the tree, where commands find the files that the pages speak of."""

    def __init__(self):
        self.root = tempfile.mkdtemp(dir=os.environ.get("QMOE_TEST_TMP"), prefix="docs")
        for name in os.listdir(ROOT):
            if not name.startswith((".git", "build", "models")):
                os.symlink(os.path.join(ROOT, name), os.path.join(self.root, name))
        shutil.copytree(os.path.join(ROOT, "models"), self.root + "/models")
        os.mkdir(self.root + "/bin")
        os.symlink(BIN, self.root + "/bin/qmoe-gpu")
        os.symlink(os.path.dirname(BIN), self.root + "/build")
        for name in ("MODEL.gguf", "model.gguf", "Qwen3-30B-A3B-Q4_K_M.gguf"):  # copies: one of the commands writes to its name
            shutil.copy(os.path.join(ROOT, "models/demo.gguf"), os.path.join(self.root, name))
        with open(self.root + "/text.txt", "w") as f:
            f.write("The capital of France is Paris. Once upon a time there lived a shy painter. " * 12)
        os.mkdir(self.root + "/OUT")
        self.ok("qmoe-gpu synth -o Qwen3-30B-A3B-BF16.gguf --types bf16 --layers 1")
        self.ok("qmoe-gpu trace -m model.gguf -p ... --dump hf -q")
        self.ok("qmoe-gpu perplexity -m model.gguf -f text.txt -c 32 --chunks 1 --logits-out OUT.lp")
        self.ok("qmoe-gpu bench -m model.gguf --predict rtx4090 -d 0 -o json > OUT/perop.json")

    def run(self, cmd):
        env = dict(os.environ, PATH=self.root + "/bin:" + os.environ["PATH"], HOME=self.root, PYTHONDONTWRITEBYTECODE="1",
                   QMOE_LIBCUDA="/nowhere/libcuda.so.1", OUT="OUT")
        p = subprocess.run(["sh", "-c", cmd], cwd=self.root, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        return p.returncode, (p.stdout + p.stderr).decode("utf-8", "replace")

    def serves(self, cmd):
        """A server listens, and ends when it is told to."""
        env = dict(os.environ, PATH=self.root + "/bin:" + os.environ["PATH"], HOME=self.root, QMOE_LIBCUDA="/nowhere/libcuda.so.1")
        p = subprocess.Popen(["sh", "-c", "exec " + re.sub(r" \[.*", "", cmd) + " --port 0"], cwd=self.root, env=env, stdin=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
        text = ""
        while "listening on" not in text and (line := p.stderr.readline()):
            text += line
        p.terminate()
        text += p.communicate(timeout=60)[1]
        assert "listening on" in text and p.returncode == 0, f"{cmd}: exit status {p.returncode}\n{text[-1500:]}"

    def ok(self, cmd):
        if re.match(r"\S*qmoe-gpu serve\b", cmd):
            return self.serves(cmd)
        rc, text = self.run(cmd)
        assert rc == 0, f"{cmd}: exit status {rc}\n{text[-1500:]}"

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)


def look_up(cmd):
    """A command that is not run: its script is there and knows the options."""
    for script in re.findall(r"(?:tools|tests)/[\w./]+\.(?:py|sh)", cmd):
        assert os.path.exists(script), f"{cmd}: there is no {script}"
        text = subprocess.run([os.path.abspath(script), "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        with open(script, encoding="utf-8") as f:
            text += f.read()
        for option in re.findall(r"(?<=\s)--[a-z][\w-]*", cmd.split(script, 1)[1]):
            assert re.search(re.escape(option) + r"\b", text), f"{cmd}: {script} does not know {option}"


def plain_make(cmd):
    """The targets are there, and so are the variables that are set."""
    text = ""
    for path in ("Makefile", "bench/bench.mk", "tools/dist.sh", "tools/setup.sh", "tests/run"):
        with open(path, encoding="utf-8") as f:
            text += f.read()
    for word in cmd.split():
        name, is_set, _ = word.partition("=")
        if is_set:
            assert re.search(rf"\b{name}\b", text), f"{cmd}: nobody reads {name}"
        elif name != "make":
            name = re.sub(r"^build/", "$(B)/", name)
            assert re.search(rf"^(?:[^\s:]+ +)*{re.escape(name)}(?: +[^\s:]+)* *:", text, re.M), f"{cmd}: there is no target {name}"


def test_commands():
    place, n_run, n_looked, bad = Place(), 0, 0, []
    try:
        for page in [p for p in PAGES if os.path.exists(p)]:
            for cmd in commands(page):
                try:
                    if any(part in cmd for part in NOT_RUN):
                        look_up(cmd)
                        n_looked += 1
                        continue
                    cmd = cut(re.sub(r"^(?:nsys|ncu|compute-sanitizer) .*?(?=(?:build/)?qmoe-gpu )", "", cmd))
                    if re.match(r"(?:[A-Z_]+=\S+ +)*make\b", cmd):
                        plain_make(cmd)
                    else:
                        place.ok(cmd)
                    n_run += 1
                except AssertionError as e:
                    bad.append(f"{page}: {e}")
    finally:
        place.close()
    assert not bad, "\n".join(bad)
    assert n_run >= 25 and n_looked >= 12, f"{n_run} commands run and {n_looked} looked up: are they still found?"


def test_commands_are_found():
    """The search itself: what it takes for a command, and what it makes of it."""
    with tempfile.NamedTemporaryFile("w", suffix=".md", delete=False) as f:
        f.write("text\n\n    $ qmoe-gpu doctor    # why\n    program 1\n\n    nsys profile -o x \\\n        qmoe-gpu generate -m M -n 64\n\n"
                "```sh\ntools/timeline.py a.json\n```\n    QMOE_ONLY=check_ make check\n    qmoe-gpu inspect M          shows a file\n")
    try:
        got = list(commands(f.name))
    finally:
        os.unlink(f.name)
    assert got == ["qmoe-gpu doctor", "nsys profile -o x qmoe-gpu generate -m M -n 64", "tools/timeline.py a.json",
                   "QMOE_ONLY=check_ make check", "qmoe-gpu inspect M"], got
    assert cut("qmoe-gpu bench -m M -p 512 -n 128 -d 0,4096") == "qmoe-gpu bench -m M -p 16 -n 4 -d 0,16 -r 1"


def readme_block(begin):
    """The indented block of README.md that begins with a line."""
    with open("README.md", encoding="utf-8") as f:
        text = f.read()
    block = text[text.index("    " + begin):]
    return "\n".join(x[4:] for x in re.match(r"(?:(?:    .*)?\n)+", block)[0].rstrip().split("\n"))


def test_readme_demo():
    """What README shows of `make demo` is what it prints, but for figures of the machine."""
    block = readme_block("$ make demo")
    assert not re.search(r"/(?:tmp|work|home|root)\b", block), "a path of somebody's machine"
    for prompt, answer in re.findall(r"^> (\w.*)\n(.*)$", block, re.M):
        p = subprocess.run([BIN, "generate", "-m", "models/demo.gguf", "-q", "-p", prompt, "--device", "sim"], capture_output=True, text=True, check=True)
        assert p.stdout.strip() == answer, (prompt, p.stdout, answer)
    assert len(re.findall(r"^> \w", block, re.M)) == 3
    p = subprocess.run([BIN, "generate", "-m", "models/demo.gguf", "--raw", "-p", "Once upon a time", "-n", "200", "--device", "sim"],
                       capture_output=True, text=True, check=True)
    story = block[block.index("> (go on) Once upon a time") + len("> (go on) Once upon a time"):block.index("\ndevice  sim")]
    assert story.strip() == p.stdout.strip(), f"README: {story}\nnow: {p.stdout}"
    for line in (r"^decode  \d+ tokens", "^sample .*", "^finish .*"):
        now = re.search(line, p.stderr, re.M)[0]
        assert now in block.split("\n") or line.startswith("^decode") and now in block, f"README does not have: {now}"


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
