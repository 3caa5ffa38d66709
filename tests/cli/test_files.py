"""What files say reaches terminal and JSON harmlessly; what the program writes, and what it must not touch."""
import json, os, struct, subprocess, sys
import farend, tap

BIN = os.path.abspath(os.environ.get("QMOE_BIN") or "build/qmoe-gpu")
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
SMALL = ("--layers", "1", "--embd", "256", "--heads", "2", "--kv-heads", "1", "--experts", "4", "--experts-used", "2", "--ff", "256",
         "--vocab", "512", "--ctx", "128")


def run(*args, status=0, stdin=subprocess.DEVNULL, limit=120, before=(), **more):
    """(standard output, standard error) as bytes, of a run that must end with this status. before: a program that runs it."""
    p = subprocess.run([*before, BIN, *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit, **more)
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\n{p.stdout[-1000:]}\n{p.stderr[-1000:]}"
    return p.stdout, p.stderr


def at(name):
    return os.path.join(TMP, name)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def model():
    if not os.path.exists(at("m.gguf")):
        run("synth", "-o", at("m.gguf"), "--seed", "3", *SMALL)
    return at("m.gguf")


def string(b):
    return struct.pack("<Q", len(b)) + b


def with_keys(path, keys, name=None):
    """A copy of the model with more keys, (bytes, type, value bytes) each, and general.name in place of its own. A last
    key fills up to the alignment of what follows."""
    b = read(model())
    n_kv = struct.unpack_from("<Q", b, 16)[0]
    if name is not None:  # the old one is renamed: lengths before it stay
        b = b.replace(b"general.name", b"general.old_", 1)
        keys = [*keys, (b"general.name", 8, string(name))]
    more = b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in keys)
    fill = -(len(more) + 8 + 4 + 4 + 8) % 32
    more += string(b"fill") + struct.pack("<I", 8) + string(b"x" * fill)
    return write(path, b[:16] + struct.pack("<Q", n_kv + len(keys) + 1) + b[24:24] + more + b[24:])


EVIL = b"\x1b]0;x\x07 \x1b[2J\r\n\x7f \xc2\x9b31m \xff\xe2\x80\xae"


def harmless(*texts):
    for t in texts:
        s = t.decode()  # UTF-8 throughout
        bad = [c for c in s if c != "\n" and (ord(c) < 32 or 0x7f <= ord(c) < 0xa0 or c in "\u2028\u2029\u202e\u2066")]
        assert not bad, (bad, s)


def test_terminals_are_not_steered():
    evil = with_keys(at("evil.gguf"), [(b"a.key" + EVIL, 8, string(b"value" + EVIL)), (b"list" + EVIL, 9, struct.pack("<IQ", 8, 1) + string(EVIL))],
                     name=b"name" + EVIL)
    for what in ("--meta", "--tensors", "--plan"):
        harmless(*run("inspect", what, evil))
    out = run("inspect", evil)[0]
    assert rb"a.key\x1b]0;x\x07 \x1b[2J\r\n\x7f \u009b31m \xff\u202e" in out, out[-2000:]
    harmless(*run("generate", evil, "-p", "Hi", "-n", "1", "-v", "--json"))
    harmless(*run("trace", evil, "-p", "Hi"))
    harmless(*run("perplexity", evil, "-f", write(at("t.txt"), b"one two three " * 40), "-c", "16", "--chunks", "1", "-v"))
    harmless(*run("quantize", evil, at("evil-q.gguf"), "q8_0"))
    # tensor names, paths, options and commands
    odd = write(at("odd.gguf"), read(model()).replace(b"blk.0.attn_k_norm.weight", b"blk.0.\x1b[31m\nk\xc2\x9b.weight\xff\xfe"))
    for args, status in ((("inspect", "--tensors", odd), 0), (("quantize", odd, at("odd-q.gguf"), "q8_0"), 0), (("generate", odd, "-p", "Hi"), 1),
                         (("inspect", at("no\x1b[31m\nfile")), 1), (("synth", "-o", at("no\x1b/dir\n/x")), 1),
                         (("inspect", "--x\x1b[31m"), 2), (("\x1b]0;x\x07",), 2)):
        harmless(*run(*args, status=status))


def test_inspect_json_keeps_every_key_and_number():
    long = b"k" * 300
    keys = [(long + b"1", 4, struct.pack("<I", 1)), (long + b"2", 4, struct.pack("<I", 2)), (b"big", 10, struct.pack("<Q", 2**64 - 1)),
            (b"half", 10, struct.pack("<Q", 2**63)), (b"most", 10, struct.pack("<Q", 2**63 - 1)), (b"least", 11, struct.pack("<q", -2**63)),
            (b"nan", 6, struct.pack("<f", float("nan"))), (b"inf", 12, struct.pack("<d", float("inf"))),
            (b"-inf", 6, struct.pack("<f", float("-inf"))), (b"bytes", 8, string(b"caf\xe9")), (b"\xff", 7, b"\1"), (b"\xfe", 7, b"\0"),
            (long + b"list", 9, struct.pack("<IQ", 8, 2) + string(b"a") + string(b"b\xff"))]
    path = with_keys(at("keys.gguf"), keys)
    meta = json.loads(run("inspect", "--json", path)[0])["metadata"]
    want = {"k" * 300 + "1": 1, "k" * 300 + "2": 2, "big": str(2**64 - 1), "half": str(2**63), "most": 2**63 - 1, "least": -2**63,
            "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "bytes": "caf\ufffd", "\ufffd": True, "\ufffd (2)": False,
            "k" * 300 + "list": {"array_of": "str", "length": 2, "first": ["a", "b\ufffd"]}}
    for k, v in want.items():
        assert k in meta and meta[k] == v and type(meta[k]) is type(v), (k[-8:], v, meta.get(k))
    text = run("inspect", path)[0].decode()
    for words in ("18446744073709551615", "9223372036854775808", "NaN", "Infinity", "-Infinity"):
        assert words in text, words


def test_no_json_answer_is_lost():
    """A name that is not UTF-8, or whose cut falls inside a character, in the answers of all commands; so other bytes of files."""
    text = write(at("t.txt"), b"one two three " * 40)
    ppl = ("-f", text, "-c", "16", "--chunks", "1", "-q")
    for name in (b"caf\xe9", "日".encode() * 40, b"x" * 94 + "é".encode() * 4, b"x" * 95 + "😀".encode()):
        m = with_keys(at("name.gguf"), [], name=name)
        said = json.loads(run("generate", m, "-p", "Hi", "-n", "2", "--json", "-q")[0])["model"]
        assert said.rstrip(".").startswith(name.decode("utf-8", "replace")[:29]), said
        assert "\ufffd" not in said or b"\xe9" in name[:5], said
        assert json.loads(run("perplexity", m, *ppl, "-o", "json")[0])["ppl"] > 1
        run("perplexity", m, *ppl, "--logits-out", at("name.lp"))
        assert json.loads(run("perplexity", m, "--kl", at("name.lp"), "-q", "-o", "json")[0])["kl"]["n_positions"] == 7
        assert json.loads(run("trace", m, "-p", "Hi", "--json")[0])["model"] == said
    bad = os.path.join(os.fsencode(TMP), b"m\xe9.gguf")
    write(bad, read(model()))
    assert json.loads(run("bench", bad, "-p", "0", "-n", "2", "-r", "1", "-o", "json", "-q")[0])[0]["model_filename"].endswith("m\ufffd.gguf")
    assert json.loads(run("bench", bad, "--per-op", "-o", "json", "-q")[0])
    assert json.loads(run("doctor", "--json", env=dict(os.environ, QMOE_CACHE=b"/tmp/\xe9"))[0])["cache"]["path"] == "/tmp/\ufffd"
    note = read(at("name.lp"))
    at_note = 8 + 16 + 4
    write(at("note.lp"), note[:at_note] + EVIL[:12] + b"\xff" + note[at_note + 13:])
    out = run("perplexity", bad, "--kl", at("note.lp"), "-q")
    harmless(*out)
    assert json.loads(run("perplexity", bad, "--kl", at("note.lp"), "-q", "-o", "json")[0])["kl"]["note"]



# ---- what is written ----

def sparse(path):
    """Arguments that write a small model to path."""
    return ("synth", "-o", path, "--seed", "3", *SMALL)


def fresh(name):
    """An empty folder."""
    d = at(name)
    subprocess.run(["rm", "-rf", d], check=True)
    os.mkdir(d)
    return d


TEXT = b"one two three " * 40


def writers():
    """(name, a function that gives the arguments which write path)."""
    text = write(at("t.txt"), TEXT)
    q = at("m.gguf") if os.path.exists(at("m.gguf")) else model()
    return (("synth", lambda path: sparse(path)), ("quantize", lambda path: ("quantize", q, path, "q8_0")),
            ("perplexity", lambda path: ("perplexity", q, "-f", text, "-c", "16", "--chunks", "1", "--logits-out", path)))


def result_of(args):
    out = at("result")
    run(*args(out))
    data = read(out)
    os.remove(out)
    return data


def test_files_are_replaced_with_their_mode():
    old = os.umask(0o027)
    try:
        for name, args in writers():
            d = fresh("modes")
            run(*args(f"{d}/new"))
            assert os.stat(f"{d}/new").st_mode & 0o7777 == 0o640, name
            for mode in (0o600, 0o664, 0o755):
                write(f"{d}/old", b"old")
                os.chmod(f"{d}/old", mode)
                before = os.stat(f"{d}/old").st_ino
                run(*args(f"{d}/old"))
                st = os.stat(f"{d}/old")
                assert st.st_mode & 0o7777 == mode and st.st_ino != before and st.st_size > 1000, (name, oct(st.st_mode))
            assert sorted(os.listdir(d)) == ["new", "old"], os.listdir(d)
    finally:
        os.umask(old)
    run("trace", model(), "-p", "Hi", "--dump", at("dumped"))
    assert {os.stat(f"{at('dumped')}/{n}").st_mode & 0o777 for n in os.listdir(at("dumped"))} == {0o666 & ~old}


def test_links_are_followed():
    for name, args in writers():
        d = fresh("links")
        want = result_of(args)
        os.mkdir(f"{d}/far")
        write(f"{d}/far/target", b"old")
        os.symlink("far/target", f"{d}/one")
        os.symlink(f"{d}/one", f"{d}/two")
        os.symlink("far/nothing", f"{d}/dangling")
        for link, target in (("two", "target"), ("dangling", "nothing")):
            run(*args(f"{d}/{link}"))
            assert os.path.islink(f"{d}/{link}") and read(f"{d}/far/{target}") == want, (name, link)
        assert os.readlink(f"{d}/one") == "far/target" and sorted(os.listdir(f"{d}/far")) == ["nothing", "target"]
        os.symlink("round", f"{d}/round")
        assert b"Too many levels" in run(*args(f"{d}/round"), status=1)[1]
        # a user's own files of likely names stay
        for own in ("x.part", "x.tmp"):
            write(f"{d}/{own}", b"mine")
            run(*args(f"{d}/x"))
            assert read(f"{d}/{own}") == b"mine" and read(f"{d}/x") == want


def test_what_is_no_file_is_written_through():
    import stat, threading
    for name, args in writers():
        d = fresh("through")
        want = result_of(args)
        os.mkfifo(f"{d}/fifo")
        got = []
        reader = threading.Thread(target=lambda: got.append(read(f"{d}/fifo")))
        reader.start()
        run(*args(f"{d}/fifo"))
        reader.join()
        assert got[0] == want and stat.S_ISFIFO(os.stat(f"{d}/fifo").st_mode), name
        # standard output: a pipe, a file, the end of a file
        assert run(*args("/dev/stdout"))[0] == want, name
        for how, before in (("wb", b""), ("ab", b"before")):
            write(f"{d}/out", before)
            with open(f"{d}/out", how) as f:
                p = subprocess.run([BIN, *args("/dev/stdout")], stdout=f, stderr=subprocess.PIPE, timeout=120)
            assert p.returncode == 0 and read(f"{d}/out") == before + want, (name, how, p.stderr)
        with open(f"{d}/five", "wb") as f:
            run(*args(f"/dev/fd/{f.fileno()}"), pass_fds=(f.fileno(),))
        assert read(f"{d}/five") == want, name
        assert sorted(os.listdir(d)) == ["fifo", "five", "out"]
        assert b"Is a directory" in run(*args(d), status=1)[1]
        assert b"Is a directory" in run(*args(f"{d}/none/"), status=1)[1]
        assert b"No such file" in run(*args(f"{d}/none/x"), status=1)[1]


def test_devices_stay_devices():
    import stat
    for name, args in writers():
        d = fresh("devices")
        try:
            os.mknod(f"{d}/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            os.mknod(f"{d}/full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
            open(f"{d}/null", "wb").close()
        except PermissionError:
            raise tap.Skip("devices cannot be made here")
        os.symlink("null", f"{d}/link")
        for path in ("null", "link"):
            run(*args(f"{d}/{path}"))
            assert stat.S_ISCHR(os.stat(f"{d}/{path}").st_mode) and os.stat(f"{d}/{path}").st_rdev == os.makedev(1, 3), (name, path)
        err = run(*args(f"{d}/full"), status=1)[1]
        assert b"/full: writing failed: No space left on device" in err.strip().split(b"\n")[-1], err
        assert sorted(os.listdir(d)) == ["full", "link", "null"]


def test_an_input_is_never_the_output():
    d = fresh("same")
    m = write(f"{d}/m.gguf", read(model()))
    text = write(f"{d}/t.txt", TEXT)
    ppl = ("perplexity", m, "-c", "16", "--chunks", "1")
    run(*ppl, "-f", text, "--logits-out", f"{d}/base.lp")
    template = write(f"{d}/chat.jinja", b"{% for m in messages %}{{ m.content }}{% endfor %}")
    for path in ("m.gguf", "t.txt", "base.lp"):
        os.link(f"{d}/{path}", f"{d}/hard-{path}")
        os.symlink(path, f"{d}/soft-{path}")
    kept = {n: read(f"{d}/{n}") for n in os.listdir(d)}
    cases = [(("quantize", m), "m.gguf", ("q8_0",), 2), ((*ppl, "-f", text, "--logits-out"), "m.gguf", (), 1),
             ((*ppl, "-f", text, "--logits-out"), "t.txt", (), 1), (("perplexity", m, "--kl", f"{d}/base.lp", "--logits-out"), "base.lp", (), 1)]
    for before, path, behind, status in cases:
        for kind in ("", "hard-", "soft-"):
            err = run(*before, f"{d}/{kind}{path}", *behind, status=status)[1]
            assert b"the input cannot be the output too" in err and path.encode() in err, err
            assert {n: read(f"{d}/{n}") for n in os.listdir(d)} == kept, (before, kind)
    with open(text, "rb") as f:
        err = run(*ppl, "-f", "-", "--logits-out", f"{d}/hard-t.txt", status=1, stdin=f)[1]
        assert b"the input cannot be the output too" in err and read(text) == TEXT, err
    # appended to by the shell
    with open(m, "ab") as f:
        p = subprocess.run([BIN, "quantize", m, "/dev/stdout", "q8_0"], stdout=f, stderr=subprocess.PIPE, timeout=60)
    assert p.returncode == 2 and read(m) == kept["m.gguf"], p
    # vectors that a trace is compared with
    run("trace", m, "-p", "Hi", "--dump", f"{d}/vectors")
    before = {n: os.stat(f"{d}/vectors/{n}").st_ino for n in os.listdir(f"{d}/vectors")}
    err = run("trace", m, "-p", "Hi there", "--compare", f"{d}/vectors", "--dump", f"{d}/../same/vectors", status=2)[1]
    assert b"the input cannot be the output too" in err and {n: os.stat(f"{d}/vectors/{n}").st_ino for n in before} == before
    # one of the vectors is the model
    os.remove(f"{d}/vectors/0.qkv.npy")
    os.link(m, f"{d}/vectors/0.qkv.npy")
    run("trace", m, "-p", "Hi", "--dump", f"{d}/vectors", status=2)
    assert read(m) == kept["m.gguf"] and template


def test_read_only_stays():
    # root may write anything: without that right, for once
    before = ("setpriv", "--bounding-set=-dac_override", "--") if os.geteuid() == 0 else ()
    try:
        run("version", before=before)
    except (AssertionError, FileNotFoundError):
        raise tap.Skip("root cannot be kept from writing here")
    for name, args in writers():
        d = fresh("readonly")
        write(f"{d}/file", b"kept")
        os.chmod(f"{d}/file", 0o444)
        os.mkdir(f"{d}/shut", 0o555)
        for path in ("file", "shut/x"):
            err = run(*args(f"{d}/{path}"), status=1, before=before)[1]
            assert f"{d}/{path}".encode() in err and b"Permission denied" in err, (name, err)
        assert read(f"{d}/file") == b"kept" and os.listdir(f"{d}/shut") == []
        os.chmod(f"{d}/shut", 0o755)


def test_two_runs_to_one_path():
    for name, args in writers():
        d = fresh("two")
        want = result_of(args)
        runs = [subprocess.Popen([BIN, *args(f"{d}/x")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
        assert [p.wait(120) for p in runs] == [0] * 4 and read(f"{d}/x") == want and os.listdir(d) == ["x"], name


def preload():
    """An environment in which no file system has O_TMPFILE."""
    lib = os.path.join(os.path.dirname(BIN), "fixtures", "no_tmpfile.so")
    return dict(os.environ, LD_PRELOAD=lib, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")


def open_files(pid):
    """What a process has open; a descriptor may be closed while we look."""
    for n in os.listdir(f"/proc/{pid}/fd"):
        try:
            yield os.readlink(f"/proc/{pid}/fd/{n}")
        except FileNotFoundError:
            pass


def test_nothing_is_left_behind():
    """Every signal that can be caught, with nameless temporary files (KILL too) and with named ones."""
    import signal, time
    big = ("synth", "--seed", "3", "--layers", "6", "-o")
    for env, kinds in ((None, "INT TERM HUP QUIT XCPU KILL"), (preload(), "INT TERM HUP QUIT XCPU")):
        for kind in kinds.split():
            d = fresh("killed")
            write(f"{d}/x", b"kept")
            p = subprocess.Popen([BIN, *big, f"{d}/x"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
            named = lambda: [n for n in os.listdir(d) if n != "x"]
            for _ in range(2000):  # it writes
                if env and named() or not env and any(name.startswith(d) for name in open_files(p.pid)):
                    break
                time.sleep(0.005)
            else:
                raise AssertionError("it does not write")
            p.send_signal(getattr(signal, "SIG" + kind))
            assert p.wait(60) == -getattr(signal, "SIG" + kind), (kind, p.returncode)
            assert not named() and read(f"{d}/x") == b"kept", (kind, os.listdir(d))
    # nohup's choice is respected
    d = fresh("killed")
    p = subprocess.Popen([BIN, *sparse(f"{d}/x")], stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    p.send_signal(signal.SIGHUP)
    assert p.wait(60) == 0 and os.listdir(d) == ["x"]
    # without O_TMPFILE all else is the same
    for name, args in writers():
        d = fresh("named")
        want = result_of(args)
        for target in ("new", "old"):
            if target == "old":
                write(f"{d}/old", b"old")
                os.chmod(f"{d}/old", 0o604)
            run(*args(f"{d}/{target}"), env=preload())
            assert read(f"{d}/{target}") == want and sorted(os.listdir(d)) == ["new", "old"][:1 + (target == "old")], name
        assert os.stat(f"{d}/old").st_mode & 0o777 == 0o604


def test_full_disk_and_limits():
    import resource
    for name, args in writers():
        for env in (None, preload()):
            d = fresh("full")
            write(f"{d}/x", b"kept")
            small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            err = run(*args(f"{d}/x"), status=1, preexec_fn=small, env=env)[1]
            assert b"/x: writing failed: File too large" in err, (name, err)
            assert read(f"{d}/x") == b"kept" and os.listdir(d) == ["x"], os.listdir(d)
    try:
        d = fresh("tiny")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", d], check=True, stderr=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return
    try:
        for name, args in writers():
            write(f"{d}/x", b"kept")
            err = run(*args(f"{d}/x"), status=0 if name == "perplexity" else 1)[1]
            assert name == "perplexity" or b"the disk has 0.000 GiB free" in err or b"No space left" in err, (name, err)
            assert os.listdir(d) == ["x"] and (name == "perplexity" or read(f"{d}/x") == b"kept"), os.listdir(d)
    finally:
        subprocess.run(["umount", d], check=True)


def test_closed_descriptors():
    """Text of the program never gets into a file that it opened."""
    def closing(*fds):
        return lambda: [os.close(fd) for fd in fds]
    for name, args in writers():
        want = result_of(args)
        for fds in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
            d = fresh("closed")
            p = subprocess.Popen([BIN, *args(f"{d}/x")], preexec_fn=closing(*fds), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 stdin=subprocess.DEVNULL)
            rc = p.wait(60)
            assert rc == (1 if 1 in fds else 0), (name, fds, rc)  # what it had to say on stdout is lost: that is a failure
            assert read(f"{d}/x") == want and os.listdir(d) == ["x"], (name, fds)


def test_quantize_takes_llama_quantize_arguments():
    d = fresh("quantize")
    m = write(f"{d}/m.gguf", read(model()))
    want = result_of(lambda path: ("quantize", m, path, "q8_0"))
    for args, out in (((m, "q8_0"), "ggml-model-Q8_0.gguf"), ((m, "Q8_0", "2"), "ggml-model-Q8_0.gguf"),
                      ((m, f"{d}/a", "Q8_0", "1"), "a"), ((m, f"{d}/b", "q8_0", "64"), "b")):
        said = run("quantize", *args, "-q")[0]
        assert read(f"{d}/{out}") == want and said.startswith(f"{d}/{out}: ".encode()), (args, said)
        if out.startswith("ggml"):  # nobody typed that name: it replaces nothing
            err = run("quantize", m, "q8_0", status=1)[1]
            assert b"ggml-model-Q8_0.gguf is there already" in err, err
            os.remove(f"{d}/{out}")
    run("quantize", "m.gguf", "q4_K_M", cwd=d)
    run("quantize", "m.gguf", "q8_0", "q8_0", cwd=d)  # a file of that name
    assert sorted(os.listdir(d)) == ["a", "b", "ggml-model-Q4_K_M.gguf", "m.gguf", "q8_0"], os.listdir(d)


def on_terminal(*args):
    """What a run writes to a terminal that is its stderr."""
    status, said = farend.all_of([BIN, *args], to=("stderr",), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 env=dict(os.environ, TERM="xterm"))
    assert status == 0
    return said


def test_progress_says_what_remains():
    import re
    big = at("big.gguf")
    rate = rb", [\d.]+ [KMG]?i?B/s, (\d+ s|\d+:\d\d) left"
    args = ("synth", "-o", big, "--layers", "1", "--experts", "32", "--embd", "512", "--types", "f32")
    for args, more in ((args, b""), (("quantize", big, at("big-q.gguf"), "q4_k_m", "1"), rate)):
        said = on_terminal(*args)
        assert re.search(rb"\r *\d+\.\d%  [\d.]+ [KMG]?i?B of [\d.]+ [MG]iB" + more + rb".*\x1b\[K", said), (args, said[:2000])
        assert said.endswith(b"\r\x1b[K"), said[-100:]
    assert not run(*args)[1]  # a pipe hears nothing
    assert b"%" not in on_terminal("quantize", big, at("big-q.gguf"), "q4_k_m", "-q")


# ---- what is read ----

def test_inputs_that_never_end():
    d = fresh("inputs")
    os.mkfifo(f"{d}/fifo")
    text = write(at("t.txt"), TEXT)
    for args in (("generate", f"{d}/fifo", "-p", "Hi"), ("inspect", f"{d}/fifo"), ("quantize", f"{d}/fifo", f"{d}/q", "q8_0"),
                 ("perplexity", model(), "--kl", f"{d}/fifo"), ("perplexity", model(), "--kl", "/dev/zero"), ("bench", f"{d}/fifo"),
                 ("inspect", "/dev/zero"), ("inspect", d), ("perplexity", f"{d}/fifo", "-f", text), ("trace", f"{d}/fifo", "-p", "Hi")):
        err = run(*args, status=1, limit=20)[1]
        assert b"not a regular file" in err and len(err.strip().split(b"\n")) == 1, (args, err)
    run("trace", model(), "-p", "Hi", "--dump", f"{d}/v")
    os.remove(f"{d}/v/0.qkv.npy")
    os.mkfifo(f"{d}/v/0.qkv.npy")
    assert b"not a regular file" in run("trace", model(), "-p", "Hi", "--compare", f"{d}/v", status=1, limit=20)[1]
    for args, most in ((("generate", model(), "-f", "/dev/zero"), b"/dev/zero: more than 64 MiB"),
                       (("generate", model(), "-p", "Hi", "--chat-template", "/dev/zero"), b"/dev/zero: more than 4 MiB"),
                       (("perplexity", model(), "-f", "/dev/zero"), b"/dev/zero: more than 1024 MiB")):
        err = run(*args, status=1, limit=60)[1]
        assert most in err, err
    with open("/dev/zero", "rb") as zero:
        assert b"standard input: more than 64 MiB" in run("generate", model(), status=1, stdin=zero)[1]
    # what comes through a pipe is a text as any other
    p = subprocess.run(["bash", "-c", f'"{BIN}" generate "{model()}" -f <(echo Hi) -n 1 -q'], stdout=subprocess.PIPE)
    assert p.returncode == 0 and p.stdout


def test_files_that_shrink():
    """A mapped file that is cut while it is used: one line that names it, status 1, no output. In the last page, too,
    whose missing end reads as zeros."""
    import signal
    d = fresh("shrink")
    run("synth", "-o", f"{d}/m.gguf", "--types", "f32", "--layers", "1", "--experts", "32", "--embd", "512")
    size = os.path.getsize(f"{d}/m.gguf")
    assert size % 4096 > 64, size
    with open(f"{d}/m.gguf", "rb") as f:
        f.seek(4096)
        tail = f.read()
    for args in (("quantize", f"{d}/m.gguf", f"{d}/q", "q4_k_m", "-t", "1", "-q"), ("generate", f"{d}/m.gguf", "-p", "Hi", "-n", "1", "-q"),
                 ("generate", f"{d}/m.gguf", "-p", "Hi", "-n", "1", "--executor", "ref", "-q")):
        for keep in (4096, size // 2, size - 32):
            p = subprocess.Popen([BIN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while True:  # it is mapped
                with open(f"/proc/{p.pid}/maps") as f:
                    if "m.gguf" in f.read():
                        break
            p.send_signal(signal.SIGSTOP)
            os.truncate(f"{d}/m.gguf", keep)
            p.send_signal(signal.SIGCONT)
            out, err = p.communicate(timeout=120)
            lines = [x for x in err.split("\n") if x]
            assert p.returncode == 1 and len(lines) == 1 and "m.gguf: the file shrank " in lines[0], (args, keep, p.returncode, out, err)
            assert os.listdir(d) == ["m.gguf"]
            with open(f"{d}/m.gguf", "r+b") as f:
                f.seek(4096)
                f.write(tail)


# ---- code that is loaded ----

def test_no_build_path_in_the_program():
    """Where the build found NVRTC is nobody's to fill later: neither the build tree's nor a wheel's folder is looked in."""
    b = read(BIN)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".rodata", BIN, at("rodata")], check=True)  # debug information may name it
    strings = read(at("rodata"))
    assert b"/libnvrtc.so" in strings or b"libnvrtc.so" in strings
    for path in (b"site-packages", b"build/venv", os.getcwdb()):
        assert path not in strings, path
    d = fresh("program")
    os.makedirs(f"{d}/bin")
    os.makedirs(f"{d}/lib")
    write(f"{d}/bin/qmoe-gpu", b)
    os.chmod(f"{d}/bin/qmoe-gpu", 0o755)
    fake = os.path.join(os.path.dirname(BIN), "fixtures", "old_libcuda.so")
    for where in ("bin", "lib"):
        write(f"{d}/{where}/libnvrtc.so.13", read(fake))
        for mode, says in ((0o777, "is not loaded: others may write it"), (0o755, "lacks nvrtc")):
            os.chmod(f"{d}/{where}/libnvrtc.so.13", mode)
            env = {k: v for k, v in os.environ.items() if k != "QMOE_NVRTC"}
            p = subprocess.run([f"{d}/bin/qmoe-gpu", "doctor", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
            said = json.loads(p.stdout)["nvrtc"]
            assert said["found"] or (says in said["why_not"] and f"/{where}/" in said["why_not"]), said
        os.remove(f"{d}/{where}/libnvrtc.so.13")


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
