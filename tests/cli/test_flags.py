"""llama.cpp's options, single dashes, values that begin with a dash, progress, help texts and the man page."""
import functools, json, os, re, subprocess, sys
import farend, tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "flags.gguf")
COMMANDS = re.findall(r"^QM_CMD\((\w+),", open("host/commands.def").read(), re.M)


def run(*args, status=0, stdin=b"", env=None, limit=120):
    p = subprocess.run([BIN, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit, env=dict(os.environ, **(env or {})))
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}"
    return out, err


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "2")
    return MODEL


def generate(*args, **more):
    """The ids of a short greedy answer, and stderr."""
    out, err = run("generate", "-m", model(), "--device", "sim", "--temp", "0", "--json", *args, **more)
    return json.loads(out)["token_ids"], err


def refused(*args):
    """The one line that says why not."""
    out, err = run(*args, status=2)
    assert not out and err.startswith("qmoe-gpu: ") and err.count("\n") == 1, (args, out, err)
    return err


def long_options(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", text))


@functools.cache
def own_options(command):
    """The long options of a command, from the lines of its --help that begin with one."""
    return set(re.findall(r"^ {2}(?:-\w, |    )--([a-z0-9-]+)", run(command, "--help")[0], re.M))


# ---- the table of llama.cpp's options ----

def table():
    """[(kind, names, commands, text)] of `help flags`."""
    rows, kind = [], None
    kinds = {"The": "alias", "Asks": "same", "Without": "pass", "Refused,": "refuse"}
    names = []
    for line in run("help", "flags")[0].splitlines():
        if line and not line.startswith(" "):
            kind = kinds[line.split()[0]]
        elif line.startswith("      in "):
            commands, _, text = line[9:].partition(":")
            rows.append((kind, names, [c for c in commands.split() if c in COMMANDS], text.strip()))
            names = []
        elif line.strip():
            names = names + line.split()
    return rows


def test_table_is_whole():
    rows = table()
    assert len(rows) > 80 and {r[0] for r in rows} == {"alias", "same", "pass", "refuse"}
    seen = set()
    for kind, names, commands, text in rows:
        assert names and commands, (kind, names, commands)
        for c in commands:
            for n in names:
                assert (c, n) not in seen, f"{n} of {c} stands twice"
                seen.add((c, n))
                assert n.lstrip("-") not in own_options(c) or not n.startswith("--") or c == "tokenize" and n == "--log-disable", f"{c} has {n} of its own"


def test_aliases_exist():
    for kind, names, commands, text in table():
        if kind == "alias":
            for c in commands:
                assert text.lstrip("-") in own_options(c), (c, names, text)


def test_documented():
    with open("docs/flags.md") as f:
        doc = f.read()
    assert run("help", "flags")[0].strip() in doc, "docs/flags.md does not hold what `qmoe-gpu help flags` prints"


def test_every_refusal_is_one_line():
    for kind, names, commands, text in table():
        if kind == "refuse":
            for n in names:
                line = refused(commands[0], "-m", "nowhere.gguf", n, "3", "5")
                assert line.startswith(f"qmoe-gpu: {n}") and text.split(" (only")[0] in line, (n, line)


def test_aliases_mean_the_same():
    base = generate("-p", "Hi\tyou", "-n", "6")[0]
    assert len(base) == 6
    for args in (("-p", "Hi\tyou", "--predict", "6"), ("--prompt", "Hi\\tyou", "-e", "--n-predict", "6"), ("-p", "Hi\\tyou", "--escape", "--n_predict", "6"),
                 ("-p", "Hi\tyou", "-n", "6", "--ctx-size", "64"), ("-p=Hi\tyou", "--predict=6"), ("-p", "Hi\tyou", "-n", "6", "--temperature", "0", "-st", "--no-escape")):
        ids, err = generate(*args)
        assert ids == base and not err.count("passed over"), (args, ids, err)
    assert generate("-p", "Hi\\tyou", "-n", "6")[0] != base  # escapes are text by default
    assert generate("-p", "x", "-n", "2", "--prompt", "Hi\tyou", "--predict", "6")[0] == base  # the last one holds
    text = os.path.join(TMP, "system.txt")
    with open(text, "w") as f:
        f.write("Be brief")
    system = generate("-p", "Hi", "-n", "4", "--system", "Be brief")[0]
    for args in (("-sys", "Be brief"), ("--system-prompt", "Be brief"), ("-sysf", text), ("--system-prompt-file", text), ("--system-file", text)):
        assert generate("-p", "Hi", "-n", "4", *args)[0] == system, args
    raw = generate("-p", "Hi", "-n", "4", "--raw")[0]
    assert generate("-p", "Hi", "-n", "4", "-no-cnv")[0] == raw == generate("-p", "Hi", "-n", "4", "--no-conversation")[0]
    assert raw != generate("-p", "Hi", "-n", "4")[0]


def test_reverse_prompt_stops():
    out, _ = run("generate", "-m", model(), "-p", "Hi", "-n", "24", "--temp", "0", "-q")
    text = out[:-1]
    assert len(text) > 8, repr(text)
    stop = text[4:6]
    for name in ("-r", "--reverse-prompt", "--stop"):
        assert run("generate", "-m", model(), "-p", "Hi", "-n", "24", "--temp", "0", "-q", name, stop)[0][:-1] == text[:text.index(stop)], name
    chat = run("chat", "-m", model(), "-n", "24", "--temp", "0", "-q", "-r", stop, stdin=b"Hi\n")[0]
    assert chat.rstrip("\n") == text[:text.index(stop)].rstrip("\n"), (chat, text)


def test_passed_over_once():
    base = generate("-p", "Hi", "-n", "4")[0]
    args = ("-ngl", "99", "-t", "8", "-tb", "8", "-b", "512", "-fa", "--jinja", "--mlock", "--no-mmap", "-mg", "1", "-sm", "none",
            "-ts", "3,1", "--no-warmup", "--color", "-kvu", "-fa", "on", "--flash-attn", "auto", "-lv", "3", "--keep", "-1")
    ids, err = generate("-p", "Hi", "-n", "4", *args)
    assert ids == base and err.count("passed over, without a meaning here:") == 1, err
    for what in ("-ngl 99 (every layer is on the device)", "-t 8,", "-fa,", "-fa on,", "-mg 1 (--device cuda:N chooses the GPU)", "--keep -1"):
        assert what in err, (what, err)
    assert "passed over" not in generate("-p", "Hi", "-n", "4", *args, "-q")[1]
    ids, err = generate("-ctk", "f16", "--cache-type-v", "f16", "-np", "1", "--mirostat", "0", "--typical", "1.0", "--no-display-prompt", "-p", "Hi", "-n", "4")
    assert ids == base and "passed over" not in err, "what is done anyway is not worth a line"
    assert "-fa" in run("bench", "-m", "nowhere.gguf", "-ngl", "99", "-fa", "1", "-t", "4", status=1)[1]
    assert "-t 4" in run("perplexity", "-m", model(), "-ngl", "99", "-t", "4", "-f", "/nowhere.txt", status=1)[1]


UBATCHES = (1, 7, 64, 512)


def test_ubatch():
    """How many positions are computed together is not seen in what comes out: logits, figures, the traced step."""
    text = "The quick brown fox jumps over the lazy dog, and nobody knows why it would. " * 2  # more than 64 tokens
    for executor, sizes in (("graph", UBATCHES), ("ref", (1, 7))):
        where = ("-m", model(), "--device", "sim", "--executor", executor, "-c", "256")
        hashes, figures = set(), set()
        for n in sizes:
            r = json.loads(run("generate", *where, "-p", text, "-n", "3", "--temp", "0", "--json", "-ub", str(n))[0])
            assert 64 < r["prompt"]["tokens"] < 250, r["prompt"]
            hashes.add((r["logits_hash"], tuple(r["token_ids"])))
            p = json.loads(run("perplexity", *where, "-f", "README.md", "-c", "100", "--chunks", "1", "-o", "json", "-q", "--ubatch", str(n))[0])
            figures.add((p["nll"], p["ppl_err"], p["n_scored"]))
        assert len(hashes) == 1, (executor, hashes)
        assert len(figures) == 1, (executor, figures)
    traces = {run("trace", "-m", model(), "--device", "sim", "-p", text, "-j", "-ub", str(n))[0] for n in (1, 64)}
    assert len(traces) == 1


def test_ubatch_range():
    commands = [("generate", "-p", "Hi"), ("chat",), ("trace", "-p", "Hi"), ("perplexity", "-f", "README.md"), ("doctor",)]
    for c in commands:
        for n in ("0", "-1", "513", "2147483647"):
            for name in ("--ubatch",) if c[0] == "doctor" else ("--ubatch", "-ub", "--ubatch-size"):
                assert f"--ubatch {n}: expected 1 to 512" in refused(*c, "-m", "nowhere.gguf", name, n), (c, n)
        assert "expected a number" in refused(*c, "-m", "nowhere.gguf", "--ubatch", "many")
    assert "steps   64 positions at most" in run("generate", "-m", model(), "-p", "Hi", "-n", "1", "-v", "-ub", "33")[1]


def test_memory_of_steps():
    """What a step of many rows, more sequences and their cache take is in the check, with the numbers."""
    def memory(*args, status=0):
        return json.loads(run("doctor", "-m", model(), "--device", "sim", "-c", "512", "--json", *args, status=status)[0])["model"]
    few, many = memory("--ubatch", "1"), memory("--ubatch", "512")
    assert few["n_ubatch"] == 1 and many["n_ubatch"] == 512
    assert few["activation_bytes"] * 4 < many["activation_bytes"] and many["need_bytes"] - few["need_bytes"] == many["activation_bytes"] - few["activation_bytes"]
    eight, shared = memory("--parallel", "8"), memory("--parallel", "8", "--kv", "1024")
    assert eight["n_kv"] == 8 * 512 and shared["n_kv"] == 1024 and eight["n_parallel"] == shared["n_parallel"] == 8
    assert eight["kv_bytes"] == 4 * shared["kv_bytes"]
    text = run("doctor", "-m", model(), "--device", "sim", "-c", "512", "--ubatch", "64", "--parallel", "8")[0]
    assert "for 4096 positions" in text and "of steps of 64 rows and 8 sequences" in text, text
    small = {"QMOE_SIM_MEM": str(many["need_bytes"] - 65536)}
    assert "for steps of 512 rows" in run("generate", "-m", model(), "-p", "Hi", "-c", "512", "-ub", "512", "--device", "sim", env=small, status=1)[1]
    for args, said in ((("--parallel", "-1"), "--parallel -1: expected"), (("--kv", "-1"), "--kv -1: expected"), (("--kv", "5"), "--kv is for --model")):
        assert said in refused("doctor", *args), args


def test_refused_by_name():
    for args, said in ((("-hf", "some/model"), "-hf some/model: nothing is downloaded here"), 
                       (("--grammar", "root ::= x"), "--grammar"), (("--json-schema={}",), "--json-schema"), (("--lora", "x"), "--lora x"),
                       (("--mirostat", "2"), "no such sampler"), (("--rope-scaling", "yarn"), "--rope-scaling yarn"), (("-np", "4"), "one sequence"),
                       (("-i",), "qmoe-gpu chat"), (("--list-devices",), "qmoe-gpu doctor"), (("-rea", "off"), "enable_thinking")):
        assert said in refused("generate", "-m", "nowhere.gguf", *args), args
    assert "--raw" in refused("chat", "-m", "nowhere.gguf", "-no-cnv")
    assert "-p and -n" in refused("bench", "-m", "nowhere.gguf", "-pg", "512,128")
    assert "--kl FILE" in refused("perplexity", "-m", "nowhere.gguf", "--kl-divergence")


def test_cache_type():
    """Of the cache there are the types of contracts/kv.def, keys and values alike."""
    with open("contracts/kv.def") as f:
        types = re.findall(r"^QM_KV_CACHE\((\w+),", f.read(), re.M)
    base = generate("-p", "Hi", "-n", "4")[0]
    for t in types:
        assert len(generate("-p", "Hi", "-n", "4", "-ctk", t, "-ctv", t)[0]) == 4, t
        assert f"positions in {t}, " in run("generate", "-m", model(), "-p", "Hi", "-n", "1", "-v", "-ctk", t, "--cache-type-v", t)[1], t
    assert generate("-p", "Hi", "-n", "4", "-ctk", "f16")[0] == base
    commands = [("generate", "-p", "Hi"), ("chat",), ("trace", "-p", "Hi"), ("perplexity", "-f", "tests/cli/test_flags.py"), ("bench",),
                ("serve",)]
    for c in commands:
        for args in (("-ctk", "q9_9", "-ctv", "q9_9"), ("-ctv", "q9_9"), ("-ctk", "F16")):
            line = refused(*c, "-m", "nowhere.gguf", *args)
            assert f"keys and values in {args[1]}: the KV cache (-ctk, -ctv) has {'|'.join(types)}" in line, (c, line)
        for t in types[1:]:
            assert f"keys in {t} and values in f16" in refused(*c, "-m", "nowhere.gguf", "-ctk", t), c
            assert f"keys in f16 and values in {t}" in refused(*c, "-m", "nowhere.gguf", "-ctv", t, "-ctk", "f16"), c
        assert "--cache-type-k=" + "|".join(types) in re.sub(r"\s+", " ", run(c[0], "--help")[0]).replace("--cache-type-k ", "--cache-type-k="), c
    assert "keys in q8_0 and values in f16" in refused("bench", "--predict", "rtx4090", "-ctk", "q8_0")
    assert "--cache-type-k and -v are for --model" in refused("doctor", "--cache-type-k", "f16")
    assert "has f16" in refused("doctor", "-m", model(), "--cache-type-k", "q9_9", "-d", "sim")


def test_apart():
    """What a step keeps apart changes no id; an unknown word is refused by name."""
    with open("contracts/apart.def") as f:
        words = re.findall(r"^QM_APART\((\w+),", f.read(), re.M)
    base = generate("-p", "Hi", "-n", "4")[0]
    for w in (*words, "all", "none", ",".join(words[:2])):
        assert generate("-p", "Hi", "-n", "4", "--apart", w)[0] == base, w
    for w in ("nrm", "norm,,attn", "norm attn"):
        assert "none|all|" + "|".join(words) in refused("generate", "-m", model(), "-p", "Hi", "--apart", w), w
    assert "'x' is not one of" in refused("bench", "--predict", "rtx4090", "--apart", "norm,x")


def test_dependent_launch():
    """The same ids with and without; asked for where there are none, an error that says why; doctor and bench say it."""
    on90, base = {"QMOE_SIM_CC": "90", "QMOE_SIM_CHECK": "dependent"}, generate("-p", "Hi", "-n", "4", env={"QMOE_SIM_CC": "80"})[0]
    for word, said in (("auto", True), ("on", True), ("off", False)):
        ids, err = generate("-p", "Hi", "-n", "4", "--dependent-launch", word, env=on90)
        assert ids == base and (", dependent launches" in err) == said, (word, err)
    ids, err = generate("-p", "Hi", "-n", "4", env={"QMOE_SIM_CC": "80"})
    assert ids == base and ", dependent launches" not in err, err
    err = run("generate", "-m", model(), "-d", "sim", "-p", "Hi", "--dependent-launch", "on", env={"QMOE_SIM_CC": "89"}, status=1)[1]
    assert "dependent launches do not work here: compute capability 8.9: 9.0 is needed" in err and err.count("\n") == 1, err
    assert "--dependent-launch: 'yes' is not one of auto, on, off" in refused("generate", "-m", model(), "-p", "Hi", "--dependent-launch", "yes", "-d", "sim")
    for cc, line in (("80", "launches do not work there: compute capability 8.0: 9.0 is needed"), ("90", "launches work there")):
        far = {"QMOE_SIM_CC": cc, "QMOE_LIBCUDA": "/nowhere/libcuda.so.1"}
        assert re.search(f"^dependent +{line}$", run("doctor", env=far)[0], re.M), cc
        assert json.loads(run("doctor", "--json", env=far)[0])["auto"]["dependent_launch"] is (cc == "90")
        args = ("bench", "-m", model(), "--device", "sim", "-p", "0", "-n", "1", "-r", "1")
        assert (", dependent launches, commit" in run(*args, env=far)[0]) == (cc == "90")
        assert json.loads(run(*args, "-o", "json", env=far)[0])[0]["dependent"] is (cc == "90")


def test_one_dash_is_one_name():
    for args, said in ((("-promt", "x"), "there is no option -promt; did you mean --prompt?"), (("-prompt", "x"), "did you mean --prompt?"),
                       (("-qv",), "did you mean -q -v?"), (("-n128",), "did you mean -n 128?"), (("-ngll", "9"), "did you mean -ngl?"),
                       (("-z",), "there is no option -z;"), (("-xyzzy",), "there is no option -xyzzy;")):
        assert said in refused("generate", "-m", "nowhere.gguf", *args), args
    assert "did you mean -m -t -p?" in refused("inspect", "-mtp", "nowhere.gguf")


def test_values_may_begin_with_a_dash():
    assert len(generate("-p", "-x", "-n", "3")[0]) == 3
    assert generate("--prompt", "--raw", "-n", "3")[0] == generate("--prompt=--raw", "-n", "3")[0]
    assert json.loads(run("generate", "-m", model(), "-p", "Hi", "-n", "3", "-s", "-1", "--json", "-q")[0])["sampling"]["seed"] >= 0
    assert len(generate("-p", "Hi", "-n", "-1", "-c", "24", "--ignore-eos")[0]) > 4
    for name in ("-p", "--seed", "-m"):
        assert f"{name}: a value is missing" in refused("generate", name), name
    assert "--raw takes no value" in refused("generate", "--raw=1")
    for value in ("x", "", "1x"):
        assert f"--n-predict {value or repr(value)}: expected a number" in refused("generate", "-m", "x", "-p", "x", "-n", value), value


def test_where_options_stand():
    """Options and words in any order, also where the environment asks getopt-like programs for another; -- ends options."""
    base = generate("-p", "Hi", "-n", "3")[0]
    for env in ({}, {"POSIXLY_CORRECT": "1", "POSIX_ME_HARDER": "1"}):
        out, _ = run("generate", model(), "-p", "Hi", "-n", "3", "--temp", "0", "--json", env=env)
        assert json.loads(out)["token_ids"] == base
    odd = os.path.join(TMP, "-odd.gguf")
    if not os.path.exists(odd):
        os.link(model(), odd)
    p = subprocess.run([os.path.abspath(BIN), "inspect", "--", "-odd.gguf"], cwd=TMP, stdout=subprocess.PIPE)
    assert p.returncode == 0 and b"qwen3moe" in p.stdout
    os.remove(odd)


def test_context_of_the_model():
    deep = os.path.join(TMP, "deep.gguf")
    run("synth", "-o", deep, "--layers", "1", "--ctx", "9000")

    def n_ctx(*args):
        err = run("generate", "-m", deep, "-p", "Hi", "-n", "1", "-v", "--temp", "0", *args)[1]
        return int(re.search(r"KV cache for (\d+) positions", err).group(1))
    assert n_ctx("-c", "0") == 9000 and n_ctx("-c", "48") == 48 and n_ctx() < 9000
    assert "--ctx -5" in refused("generate", "-m", deep, "-p", "Hi", "-c", "-5")


def test_wrong_usage_is_2():
    for args in (("-d", "gpu"), ("-d", "cuda:99"), ("--executor", "rf"), ("-c", "99999999"), ("-c", "-1"), ("--template-kwargs", '{"messages": 1}')):
        for cmd in (("generate", "-p", "Hi"), ("chat",)):
            if args == ("-d", "cuda:99") and "no CUDA driver" in run("doctor")[0]:
                continue
            refused(*cmd, "-m", model(), *args)
    text = os.path.join(TMP, "text.txt")
    with open(text, "w") as f:
        f.write("some words " * 60)
    for args in (("-d", "gpu"), ("--executor", "rf"), ("-c", "99999999")):
        refused("perplexity", "-m", model(), "-f", text, *args)
        refused("trace", "-m", model(), "-p", "Hi", *args)
    for args in (("--device", "gpu"), ("--executor", "rf"), ("-c", "99999999")):
        refused("bench", "-m", model(), "-p", "3", "-n", "0", "-q", *args)
    assert "missing.gguf" in run("generate", "-m", os.path.join(TMP, "missing.gguf"), "-p", "Hi", status=1)[1]


def test_what_is_meant():
    assert "`qmoe-gpu chat -m some/Model.GGUF`" in refused("some/Model.GGUF")
    for word, said in (("run", "qmoe-gpu chat"), ("pull", "fetch a GGUF file"), ("cli", "qmoe-gpu generate"), ("server", "qmoe-gpu serve"),
                       ("ppl", "perplexity"), ("tokenise", "did you mean 'tokenize'?")):
        assert said in refused(word), word
    assert "qmoe-gpu generate -m" in refused("-m", "x.gguf", "-p", "Hi")


# ---- help, man page ----

def wide(columns, *args):
    """What a terminal of so many columns shows."""
    return farend.all_of([BIN, *args], columns=columns, env=dict(os.environ, TERM="xterm"))[1].decode().replace("\r\n", "\n")


def test_help_is_wrapped():
    for c in COMMANDS:
        for columns in (50, 80, 100):
            text = wide(columns, c, "--help")
            lines = text.splitlines()
            assert lines[0].startswith(f"usage: qmoe-gpu {c} "), lines[0]
            at = next(i for i, x in enumerate(lines) if re.match(r" {2}(-\w, |    )--", x))
            for x in lines[at:]:  # an option, its text, or the heading of a group
                assert not x or x.startswith("  ") or x.endswith(":"), (c, columns, x)
            for x in lines[1:]:  # what stands as it is may need 80
                assert len(x) <= (80 if x.startswith("  ") and lines.index(x) < at else columns), (c, columns, x)
        assert run(c, "--help")[0] == run("help", c)[0] == run(c, "-h")[0]
        assert run(c, "--version")[0] == run("version")[0]


def man_sections():
    """{command: its part of the man page}"""
    with open("docs/qmoe-gpu.1") as f:
        text = f.read()
    parts = re.split(r"^\.Ss (.*)$", text[:text.index(".Sh ENVIRONMENT")], flags=re.M)
    return {name.strip(): body for name, body in zip(parts[1::2], parts[2::2])}


def man_options(body):
    found = set()
    for line in re.findall(r"^\.It (?!Xo).*$|^\.It Xo\n(?:.*\n)*?\.Xc", body, re.M):
        found |= set(re.findall(r"(?:Fl | , )-([a-z][a-z0-9-]+)", line))
    return found


def test_man_page_has_every_option():
    man = man_sections()
    common = {"help", "version"}
    assert common <= man_options(man["Common options"]), "the options of every command"
    for c in COMMANDS:
        there, here = man_options(man[c]), own_options(c) - common
        if c == "serve":
            there |= man_options(man["generate"]) - set(re.findall(r" -([a-z-]+)", re.search(r"but for\n((?:\.Fl .*\n|and\n)+)", man[c]).group(1)))
        if c == "chat":
            but = re.search(r"are those of\n\.Cm generate\nbut for\n((?:\.Fl .*\n|and\n)+)", man[c]).group(1)
            there |= man_options(man["generate"]) - set(re.findall(r" -([a-z-]+)", but))
        assert here == there, f"{c}: only in --help: {sorted(here - there)}; only in the man page: {sorted(there - here)}"


# ---- progress ----

def terminal(*args, term="xterm", columns=100):
    """stderr of a run that has a terminal there, and stdout."""
    *said, p = farend.pieces([BIN, *args], columns=columns, to=("stderr",), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             env=dict(os.environ, TERM=term))
    err, out = [(t, piece.decode()) for t, piece in said], p.stdout.read().decode()
    p.stdout.close()
    assert p.returncode == 0, (err, out)
    return err, out


LONG = "The quick brown fox jumps over the lazy dog. " * 9


def test_progress_of_a_prompt():
    args = ("generate", "-m", model(), "-p", LONG, "-n", "2", "--temp", "0", "--device", "sim", "-c", "1000", "-ub", "4")
    pieces, out = terminal(*args)
    err = "".join(x for _, x in pieces)
    lines = re.findall(r"\rprompt  (\d+) of (\d+) tokens(?:, ([0-9.]+) tok/s, ([0-9:]+)( s)? left)?\x1b\[K", err)
    assert len(lines) >= 3, err
    done = [int(x[0]) for x in lines]
    assert done == sorted(done) and done[-1] < int(lines[0][1]) and all(x[2] for x in lines[1:]), lines
    assert re.search(r"left\x1b\[K\r\x1b\[K", err), "the line is erased"
    assert not re.search(r"\rprompt  \d+ of", err[err.rindex("\r\x1b[K"):]), err
    seconds = pieces[-1][0] - pieces[0][0]
    assert len(lines) <= 10 * seconds + 3, (len(lines), seconds)
    short = [x[:250] if x == LONG else x for x in args]  # long enough for several lines
    for quiet in (("-q",), ("--json",)):
        assert not re.search(r"\d of \d", "".join(x for _, x in terminal(*short, *quiet)[0])), quiet
    narrow = "".join(x for _, x in terminal(*args, columns=30)[0])
    lines = re.findall(r"\r([^\r\n]*)\x1b\[K", narrow)
    assert len(lines) > 3 and max(map(len, lines)) == 29, lines  # a line that wraps could not be written over
    assert "\rprompt" not in run(*short)[1]
    assert "\rprompt" not in "".join(x for _, x in terminal(*short, term="dumb")[0])


def test_progress_of_perplexity():
    text = os.path.join(TMP, "progress.txt")
    with open(text, "w") as f:
        f.write(LONG * 4)
    args = ("perplexity", "-m", model(), "-f", text, "-c", "64", "--chunks", "3", "--device", "sim", "-ub", "4")
    pieces, out = terminal(*args)
    err = "".join(x for _, x in pieces)
    lines = re.findall(r"\rchunk (\d) of 3,(?: PPL ([0-9.]+),)? (\d+) of 189 tokens(?:, [0-9.]+ tok/s, ([0-9:]+)(?: s)? left)?\x1b\[K", err)
    assert len(lines) >= 3 and lines[-1][1] and "Final estimate" in out, (err, out)
    assert [int(x[2]) for x in lines] == sorted(int(x[2]) for x in lines)
    assert "\r\x1b[K" in err
    plain = run(*args)[1]
    assert "[1]" in plain and "[3]" in plain and "\r" not in plain, plain


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
