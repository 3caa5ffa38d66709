"""The program as a person or a script meets it: exit statuses, messages, the two streams."""
import csv, io, json, os, re, statistics, struct, subprocess, sys
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or "/tmp"
MODEL = os.path.join(TMP, "cli.gguf")


def run(*args, status=0, env=None, limit=120):
    p = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit,
                       env=dict(os.environ, **(env or {})))
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{args}: exit status {p.returncode}, not {status}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}"
    return out, err


def model():
    if not os.path.exists(MODEL):
        run("synth", "-o", MODEL, "--seed", "3", "--layers", "2")
    return MODEL


def test_no_arguments():
    out, err = run(status=2)
    assert not out and "usage: qmoe-gpu COMMAND" in err


def test_help_and_version():
    out, err = run("help")
    assert "generate" in out and "doctor" in out and "exit status" in out and not err
    assert run("--help")[0] == out and run("-h")[0] == out
    version = run("version")[0]
    assert version.startswith("qmoe-gpu ") and run("--version")[0] == version
    for cmd in ("generate", "quantize", "perplexity", "inspect", "synth", "doctor"):
        out, err = run("help", cmd)
        assert f"qmoe-gpu {cmd}" in out and "--help" in out and not err
        assert run(cmd, "--help")[0] == out


def test_unknown_command():
    for word, near in (("generte", "generate"), ("gen", "generate"), ("dokter", "doctor"), ("inspct", "inspect")):
        out, err = run(word, status=2)
        assert not out and f"did you mean '{near}'?" in err, err
    out, err = run("frobnicate", status=2)
    assert "did you mean" not in err and "`qmoe-gpu help`" in err
    assert "options follow a command" in run("--jsno", status=2)[1]


def test_unknown_option():
    for args, near in ((("doctor", "--jsno"), "--json"), (("synth", "--laers", "2"), "--layers"),
                       (("generate", "x.gguf", "--promt", "Hi"), "--prompt")):
        out, err = run(*args, status=2)
        assert not out and f"did you mean {near}?" in err, err
    assert "no option" in run("doctor", "--zzzzzzz", status=2)[1]
    assert run("generate", status=2)[1]


def test_doctor():
    out, err = run("doctor", env={"QMOE_LIBCUDA": "/nowhere/libcuda.so.1"})
    assert "sim" in out, out
    d = json.loads(run("doctor", "--json")[0])
    assert isinstance(d, dict) and d


def test_errors_name_the_file():
    missing = os.path.join(TMP, "missing.gguf")
    for cmd in (("inspect", missing), ("generate", missing, "--prompt", "Hi")):
        out, err = run(*cmd, status=1)
        assert not out and err.startswith("qmoe-gpu: ") and "missing.gguf" in err, err
    broken = os.path.join(TMP, "broken.gguf")
    with open(broken, "wb") as f:
        f.write(b"GGUF\x03\0\0\0" + b"\xff" * 16)
    out, err = run("generate", broken, "--prompt", "Hi", status=1)
    assert "broken.gguf" in err and not out


def test_write_failure_is_an_error():
    if not os.path.exists("/dev/full"):
        raise tap.Skip("no /dev/full")
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "help"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"writing" in p.stderr


def test_synth_and_inspect():
    out, err = run("inspect", model())
    assert "qwen3moe" in out
    same = os.path.join(TMP, "same.gguf")
    run("synth", "-o", same, "--seed", "3", "--layers", "2")
    with open(same, "rb") as a, open(model(), "rb") as b:
        assert a.read() == b.read()
    os.remove(same)


def test_generate_says_something():
    out, err = run("generate", model(), "--prompt", "Hi", "-n", "8", "--temp", "0")
    assert any(c.isprintable() and not c.isspace() for c in out), repr(out)
    again, _ = run("generate", model(), "--prompt", "Hi", "-n", "8", "--temp", "0")
    assert again == out


def test_cache_types():
    """How far each type of the KV cache may be from f16: mean KL in nats, over positions of a text."""
    most = {"f16": 1e-7, "q8_0": 1e-3}
    with open("contracts/kv.def") as f:
        assert set(re.findall(r"^QM_KV_CACHE\((\w+),", f.read(), re.M)) == set(most), "every type has its figure"
    lp = os.path.join(TMP, "types.lp")
    run("perplexity", "-m", "models/demo.gguf", "-f", "LICENSE", "-c", "128", "--chunks", "2", "--logits-out", lp, "-q")
    for t, limit in most.items():
        a = ("perplexity", "-m", "models/demo.gguf", "--kl", lp, "-o", "json", "-q", "-ctk", t, "-ctv", t)
        kl, ref = (json.loads(run(*a, *more)[0])["kl"]["mean_kl"] for more in ((), ("--executor", "ref")))
        assert 0 <= kl < limit and ref < limit + 1e-4, (t, kl, ref)
        assert t == "f16" or kl > 1e-6, f"{t} is not what ran"


def test_perplexity():
    text, lp = os.path.join(TMP, "ppl.txt"), os.path.join(TMP, "ppl.lp")
    with open(text, "w") as f:
        f.write("The quick brown fox jumps over the lazy dog. " * 12)
    a = ("-m", model(), "-c", "32", "--chunks", "2")
    out, err = run("perplexity", *a, "-f", text, "--logits-out", lp, "--top-k", "8")
    assert out.startswith("Final estimate: PPL = ") and " +/- " in out and "30 of 62 tokens scored, 2 chunks" in out, out
    assert "[1]" in err and "[2]" in err and "executor graph" in err, err
    ppl = out.split("PPL = ")[1].split()[0]
    d = json.loads(run("perplexity", *a, "-f", text, "-o", "json", "-q")[0])
    assert abs(d['ppl'] / float(ppl) - 1) < 1e-8 and d["n_scored"] == 30 and d["n_chunks"] == 2 and "kl" not in d, d
    out, err = run("perplexity", "-m", model(), "--kl", lp, "-q")
    assert ppl in out and "mean KL" in out and "same top        100.000 %" in out and "it names 8 of" in out and not err, out + err
    r = json.loads(run("perplexity", "-m", model(), "--kl", lp, "--executor", "ref", "-o", "json")[0])
    assert r["executor"] == "ref" and r["f32_activations"] and r["kl"]["n_positions"] == 30 and r["kl"]["k"] == 8, r
    assert r["kl"]["same_top"] == 1 and 0 <= r["kl"]["mean_kl"] < 1e-3 and r["kl"]["max_kl"] >= r["kl"]["p99_kl"], r
    assert abs(r["ppl"] / d["ppl"] - 1) < 1e-2 and abs(r["kl"]["base_ppl"] / d["ppl"] - 1) < 1e-4, (r, d)
    for args, what in (((), "no model"), (("-m", "x.gguf"), "no text"), (("-m", "x.gguf", "-f", text, "--kl", lp), "its own tokens"),
                       (("-m", "x.gguf", "-f", text, "-c", "3"), "--ctx 3"), (("-m", "x.gguf", "-f", text, "--top-k", "3"), "--logits-out"),
                       (("-m", "x.gguf", "-f", text, "-o", "xml"), "--output xml")):
        out, err = run("perplexity", *args, status=2)
        assert not out and what in err, err
    for args, what in ((("-f", text, "-c", "512"), "less than one chunk of 512"), (("-f", "/nowhere.txt"), "/nowhere.txt: No such file"),
                       (("--kl", text), "not a file of log-probabilities")):
        out, err = run("perplexity", "-m", model(), *args, status=1)
        assert not out and what in err, err


def sampled(*args):
    """What `generate` says when it is asked for eight tokens, and how they were chosen."""
    out, err = run("generate", model(), "--prompt", "Hi", "-n", "8", "--json", "--device", "sim", *args)
    return json.loads(out)


ORDER = "penalties;temperature;top_k;top_p;min_p"
LLAMA = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"


def test_sampling_defaults():
    how = sampled()["sampling"]
    assert how.pop("seed") >= 0  # drawn
    assert how == {"greedy": False, "temp": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0, "repeat_last_n": 64,
                   "presence_penalty": 0.0, "frequency_penalty": 0.0, "samplers": ORDER, "logit_bias": []}
    assert sampled("--temp", "0")["sampling"]["greedy"] is True and sampled("--top-k", "1")["sampling"]["greedy"] is True


def with_keys(path, keys):
    """A copy of the model with more keys of type f32, i32 or string; one more string fills up to the alignment of what follows."""
    with open(model(), "rb") as f:
        b = f.read()
    more = b""
    for k, v in keys.items():
        more += struct.pack("<Q", len(k)) + k.encode()
        if isinstance(v, str):
            more += struct.pack("<IQ", 8, len(v)) + v.encode()
        else:
            more += struct.pack("<If", 6, v) if isinstance(v, float) else struct.pack("<Ii", 5, v)
    pad = -(len(more) + 8 + 3 + 4 + 8) % 32
    more += struct.pack("<Q", 3) + b"pad" + struct.pack("<IQ", 8, pad) + b" " * pad
    n = struct.unpack_from("<Q", b, 16)[0] + len(keys) + 1
    with open(path, "wb") as f:
        f.write(b[:16] + struct.pack("<Q", n) + more + b[24:])
    return path


def test_sampling_of_the_file():
    def how(path, *args):
        out, err = run("generate", path, "--prompt", "Hi", "-n", "1", "--json", "--seed", "1", *args)
        return json.loads(out)["sampling"], err
    path = with_keys(os.path.join(TMP, "keys.gguf"), {
        "general.sampling.temp": 0.6, "general.sampling.top_k": 20, "general.sampling.top_p": 0.5, "general.sampling.min_p": 0.25,
        "general.sampling.penalty_repeat": 1.5, "general.sampling.penalty_last_n": -1})
    h, err = how(path)
    assert h == {"greedy": False, "temp": 0.6, "top_k": 20, "top_p": 0.5, "min_p": 0.25, "repeat_penalty": 1.5, "repeat_last_n": -1,
                 "presence_penalty": 0.0, "frequency_penalty": 0.0, "samplers": ORDER, "logit_bias": [], "seed": 1}
    h, err = how(path, "--temp", "0.9", "--top-k", "0", "--repeat-last-n", "8")
    assert (h["temp"], h["top_k"], h["top_p"], h["repeat_last_n"]) == (0.9, 0, 0.5, 8)
    assert how(with_keys(path, {"general.sampling.temp": 0.0}))[0]["greedy"] is True
    h, err = how(with_keys(path, {"general.sampling.top_p": 1.5}))
    assert h["top_p"] == 0.95 and "general.sampling.top_p is 1.5, outside 0 .. 1; 0.95 is used" in err, err
    # -1 is off and a temperature below 0 is greedy, as elsewhere
    h, err = how(with_keys(path, {"general.sampling.temp": -1.0, "general.sampling.top_k": -1}))
    assert h["greedy"] is True and h["top_k"] == -1 and "general.sampling" not in err, err
    # the order: obeyed, unless an option says otherwise; what cannot be had is named
    h, err = how(with_keys(path, {"general.sampling.sequence": LLAMA}))
    assert h["samplers"] == "penalties;top_k;top_p;min_p;temperature" and "sequence" not in err, err
    assert how(path, "--samplers", "top_k;temperature")[0]["samplers"] == "top_k;temperature"
    for sequence, why in (("top_k;infill", "infill is not supported"), ("top_k;x", "x is not known"), ("", "names none"),
                          ("x" * 300, "not a list of samplers")):
        h, err = how(with_keys(path, {"general.sampling.sequence": sequence}))
        line = [x for x in err.splitlines() if "general.sampling.sequence" in x]
        assert h["samplers"] == ORDER and len(line) == 1 and why in line[0] and "the default order is used" in line[0], err
    h, err = how(with_keys(path, {"general.sampling.sequence": "top_k;penalties", "general.sampling.penalty_repeat": 1.1}))
    assert h["samplers"] == ORDER and "penalties that are on come first" in err, err
    h, err = how(with_keys(path, {"general.sampling.sequence": 5}))
    assert h["samplers"] == ORDER and "general.sampling.sequence" in err, err
    h, err = how(with_keys(path, {"general.sampling.mirostat": 2, "general.sampling.xtc_probability": 0.5, "general.sampling.xtc_threshold": 0.1,
                                  "general.sampling.new": "x"}))
    for said in ("mirostat is 2; this is not supported", "xtc_probability is 0.5; this is not supported", "general.sampling.new is not supported"):
        assert err.count(said) == 1, err
    assert "threshold" not in err
    assert "general.sampling" not in how(with_keys(path, {"general.sampling.mirostat": 0, "general.sampling.xtc_probability": 0.0}))[1]
    os.remove(path)


def test_sampling_seed():
    a = sampled("--temp", "5", "--top-k", "0", "--min-p", "0", "--top-p", "1")
    seed = str(a["sampling"]["seed"])
    same = ("--temp", "5", "--top-k", "0", "--min-p", "0", "--top-p", "1")
    assert sampled(*same, "--seed", seed)["token_ids"] == a["token_ids"]  # what is printed repeats the run
    assert sampled(*same, "-s", "42")["token_ids"] != sampled(*same, "-s", "43")["token_ids"]
    assert sampled(*same, "-s", "-1")["sampling"]["seed"] != sampled(*same)["sampling"]["seed"]
    out, err = run("generate", model(), "--prompt", "Hi", "-n", "2", "--seed", "7", "--top-p", "0.5", "--repeat-penalty", "1.5")
    assert "\nsample  temp 0.8, top-k 40, top-p 0.5, min-p 0.05, repeat-penalty 1.5, repeat-last-n 64, seed 7\n" in err, err
    # all 64 bits of it
    wide = sampled(*same, "-s", str(42 + (1 << 33)))
    assert wide["sampling"]["seed"] == 42 + (1 << 33) and wide["token_ids"] != sampled(*same, "-s", "42")["token_ids"]
    assert "\nsample  greedy\n" in run("generate", model(), "--prompt", "Hi", "-n", "2", "--temp", "0")[1]


def test_samplers():
    """Both orders, by names, by letters and by other names; what is not to be had is refused by name."""
    hot = ("--temp", "30", "--min-p", "0.5", "--top-k", "0", "--top-p", "1", "-n", "12", "-s", "5")
    ours, last = sampled(*hot), sampled(*hot, "--samplers", LLAMA)
    assert ours["sampling"]["samplers"] == ORDER and last["sampling"]["samplers"] == "penalties;top_k;top_p;min_p;temperature"
    assert ours["token_ids"] != last["token_ids"]  # at a temperature of 30 min-p 0.5 cuts nothing
    for same in (("--samplers", "penalties;top-k;nucleus;min-p;temp"), ("--sampler-seq", "ekpmt"), ("--sampling-seq", "edskypmxt")):
        assert sampled(*hot, *same)["token_ids"] == last["token_ids"], same
    assert sampled(*hot, "--samplers", ORDER)["token_ids"] == ours["token_ids"]
    err = run("generate", model(), "--prompt", "Hi", "-n", "1", *hot[:-4], "--seed", "5", "--samplers", "temperature;top_k")[1]
    assert "--min-p 0.5 has no effect: the samplers that were asked for do not name min_p\n" in err
    assert "\nsample  temp 30, top-k 0, samplers temperature;top_k, seed 5\n" in err, err
    assert sampled("--temp", "0", "--samplers", "top_k")["sampling"]["greedy"] is False  # no temperature, as in llama.cpp
    for args, why in ((("--samplers", "top_k;infill"), "--samplers: infill is not supported; there are penalties, top_k, top_p, min_p, temperature"),
                      (("--samplers", "adaptive_p"), "--samplers: adaptive_p is not supported"), (("--samplers", "mirostat"), "--samplers: mirostat is not known"),
                      (("--samplers", "top_k;top_k"), "--samplers: top_k is there twice"), (("--samplers", ""), "names none"),
                      (("--sampler-seq", "kz"), "--samplers: z is not known"), (("--sampler-seq", "t", "--samplers", "temperature"), "give one of them"),
                      (("--samplers", "top_k;penalties", "--presence-penalty", "1"), "--samplers: penalties that are on come first, not behind top_k")):
        for cmd in (("generate", "--prompt", "Hi"), ("chat",)):
            out, err = run(*cmd, model(), *args, status=2)
            assert not out and why in err and err.count("\n") == 1, err


def test_bias_and_penalties():
    """Greedy, and yet other tokens: a bias makes a token certain or impossible, penalties keep it from coming again."""
    plain = sampled("--temp", "0")["token_ids"]
    first = plain[0]
    banned = sampled("--temp", "0", "--logit-bias", f"{first}-inf")
    assert first not in banned["token_ids"] and banned["sampling"]["logit_bias"] == [[first, False]]
    other = (first + 7) % 100 + 1
    forced = sampled("--temp", "0", "--ignore-eos", "--logit-bias", f"{other}+400", "--logit-bias", f"{other}+600")
    assert forced["token_ids"] == [other] * 8 and forced["sampling"]["logit_bias"] == [[other, 400.0], [other, 600.0]]
    # 1000 less a hundred for each time that it was there still wins; less than nothing does not
    how = ("--temp", "0", "--ignore-eos", "--logit-bias", f"{other}+1000")
    assert sampled(*how, "--frequency-penalty", "100")["token_ids"] == [other] * 8
    assert sampled(*how, "--presence-penalty", "100", "--repeat-last-n", "0")["token_ids"] == [other] * 8
    few = sampled("--temp", "0", "--ignore-eos", "--logit-bias", f"{other}+250", "--frequency-penalty", "100")["token_ids"]
    once = sampled("--temp", "0", "--ignore-eos", "--logit-bias", f"{other}+60", "--presence-penalty", "100")["token_ids"]
    assert few[:3] == [other] * 3 and few.count(other) < 8 and once[0] == other and once[1] != other, (few, once)
    out, err = run("generate", model(), "--prompt", "Hi", "-n", "1", "--temp", "0", "--presence-penalty", "0.5", "--logit-bias", "5+1")
    assert "\nsample  greedy, repeat-last-n 64, presence-penalty 0.5, logit-bias 1 token\n" in err, err
    for bad in ("5", "+1", "x+1", "5+x", "5+inf", "5+2000000", "-5+1", "5*2", "4294967296+1", "5+1,6+1", "", "5+nan"):
        out, err = run("generate", model(), "--prompt", "Hi", "--logit-bias", bad, status=2)
        assert err == f"qmoe-gpu: --logit-bias {bad}: expected ID+BIAS or ID-BIAS, at most 1000000 or -inf\n", err
    err = run("generate", model(), "--prompt", "Hi", "--logit-bias", "400000+1", status=1)[1]
    assert "logit bias: token 400000 is outside the vocabulary of" in err, err
    many = [x for i in range(1025) for x in ("--logit-bias", f"{i}+1")]
    assert "logit bias: more than 1024 tokens" in run("generate", model(), "--prompt", "Hi", *many, status=2)[1]


def test_sampling_narrows():
    greedy = sampled("--temp", "0")["token_ids"]
    for args in (("--top-k", "1"), ("--top-p", "0"), ("--min-p", "1"), ("--temp", "0", "--seed", "9"), ("--temp", "-1")):
        assert sampled("--temp", "2", *args)["token_ids"] == greedy, args
    # Under a heavy penalty over the whole context no token comes twice that the unpenalised run repeats.
    kept = sampled("--temp", "0", "--repeat-penalty", "100", "--repeat-last-n", "-1")["token_ids"]
    assert len(set(kept)) >= len(set(greedy)) and sampled("--temp", "0", "--repeat-penalty", "100", "--repeat-last-n", "0")["token_ids"] == greedy


def test_sampling_ranges():
    for flag, range_, bad in (("--temp", "-1000 to 1000", ("-1001", "1001", "nan", "inf", "x", "", "1x")),
                              ("--top-k", "-1 to 2147483647", ("-2", "2147483648", "1.5", "x")),
                              ("--top-p", "0 to 1;", ("-0.01", "1.01", "nan")), ("--min-p", "0 to 1;", ("-0.01", "1.01", "nan")),
                              ("--repeat-penalty", "0.01 to 100", ("0", "-1", "101")),
                              ("--repeat-last-n", "-1 to 2147483647", ("-2", "1e3")),
                              ("--presence-penalty", "-100 to 100;", ("-101", "nan")), ("--frequency-penalty", "-100 to 100;", ("101", "x")),
                              ("--seed", "0 to 9223372036854775807, or -1", ("-2", "9223372036854775808", "0.5"))):
        for value in bad:
            for cmd in (("generate", "--prompt", "Hi"), ("chat",)):
                out, err = run(*cmd, model(), flag, value, status=2)
                assert not out and err == f"qmoe-gpu: {flag} {value}: expected {err.split('expected ')[1]}" and range_ in err, err
                assert err.count("\n") == 1


def test_quantize():
    f16, q4 = os.path.join(TMP, "f16.gguf"), os.path.join(TMP, "q4.gguf")
    run("synth", "-o", f16, "--seed", "3", "--layers", "2", "-t", "f16")
    out, err = run("quantize", f16, q4)
    lines = out.splitlines()
    assert len(lines) == 28 and not err, (out, err)
    assert any("blk.0.attn_q.weight" in x and "512 x 1024" in x and "F16   Q4_K" in x and "error" in x for x in lines), out
    assert lines[-1].startswith(f"{q4}: 27 tensors, ") and os.path.getsize(q4) < os.path.getsize(f16) * 0.32
    tensors = {t["name"]: t["type"] for t in json.loads(run("inspect", "--json", "--tensors", q4)[0])["tensors"]}
    assert tensors["output.weight"] == "Q6_K" and tensors["token_embd.weight"] == "Q4_K"
    assert tensors["blk.1.ffn_down_exps.weight"] == "Q6_K" and tensors["blk.0.ffn_gate_inp.weight"] == "F32"
    meta = json.loads(run("inspect", "--json", "--meta", q4)[0])["metadata"]
    assert meta["general.file_type"] == 15 and meta["general.quantization_version"] == 2, meta
    out, err = run("generate", q4, "--prompt", "Hi", "-n", "8", "--temp", "0")
    assert any(c.isprintable() and not c.isspace() for c in out), repr(out)
    again = os.path.join(TMP, "again.gguf")
    out, err = run("quantize", "--quiet", "--threads", "3", f16, again, "Q4_K_M")
    assert out.count("\n") == 1 and not err
    with open(q4, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()
    out, err = run("quantize", "-q", q4, again, "q5_k_m")
    assert "warning" in err and "quantised already" in err, err
    for p in (f16, q4, again):
        os.remove(p)


def test_quantize_refuses():
    missing, out_path = os.path.join(TMP, "missing.gguf"), os.path.join(TMP, "refused.gguf")
    for args, status, words in (
        ((missing, out_path), 1, ("missing.gguf",)),
        ((model(), out_path, "q3_k_xl"), 2, ("there is no type 'q3_k_xl'", "q4_k_m")),
        ((model(), model()), 2, ("cannot be the output",)),
        ((model(),), 2, ("the file to read, and the file to write or the type",)),
        ((), 2, ("the file to read, and the file to write or the type",)),
        ((model(), out_path, "q8_0", "2", "more"), 2, ("'more' is one argument too many",)),
        ((model(), "q8_0", "2", "more"), 2, ("'more' is one argument too many",)),
        ((model(), out_path, "q8_0", "more"), 2, ("'more': expected a number of threads",)),
        ((model(), out_path, "q8_0", "0"), 2, ("'0': expected a number of threads",)),
        ((model(), out_path, "q8_0", "2", "-t", "2"), 2, ("threads are given twice",)),
        ((model(), out_path, "--threads", "-1"), 2, ("--threads -1",)),
        ((model(), os.path.join(TMP, "nowhere", "x.gguf")), 1, ("nowhere",)),
    ):
        out, err = run("quantize", *args, status=status)
        assert not out and err.startswith("qmoe-gpu: ") and err.count("\n") == 1 and all(w in err for w in words), (args, err)
        assert not os.path.exists(out_path)


BENCH = ("-p", "3", "-n", "4,2", "-d", "0,40", "-r", "3", "--device", "sim")
NAMES = ["pp3", "tg4", "tg2", "pp3 @ d40", "tg4 @ d40", "tg2 @ d40"]


def close(a, b, rel=1e-6):
    return abs(a - b) <= rel * max(abs(a), abs(b), 1e-30)


def check_record(r):
    """One record of bench: what must be there, and the sums that must hold."""
    tokens = r["n_prompt"] + r["n_gen"]
    assert (r["n_prompt"] == 0) != (r["n_gen"] == 0) and tokens > 0
    ns, ts = r["samples_ns"], r["samples_ts"]
    assert len(ns) == len(ts) == 3 and all(isinstance(x, int) and x > 0 for x in ns)
    assert all(close(t, tokens * 1e9 / n) for n, t in zip(ns, ts)), r
    assert abs(r["avg_ns"] - statistics.mean(ns)) <= 1 and abs(r["stddev_ns"] - statistics.stdev(ns)) <= 1, r
    assert close(r["avg_ts"], statistics.mean(ts)) and close(r["stddev_ts"], statistics.stdev(ts), 1e-4), r
    assert abs(r["bytes_per_token"] - r["weight_bytes_per_token"] - r["kv_bytes_per_token"]) <= 1
    assert close(r["bytes_per_s"], r["bytes_per_token"] * r["avg_ts"], 1e-5)
    b, load, memory, machine = r["bandwidth"], r["load"], r["memory"], r["machine"]
    assert b["read_bytes_per_s"] >= b["read_median_bytes_per_s"] > 0 and b["copy_bytes_per_s"] >= b["copy_median_bytes_per_s"] > 0
    assert close(r["fraction_of_bandwidth"], r["bytes_per_s"] / b["read_bytes_per_s"], 1e-5)
    slower = min(load["storage_bytes_per_s"], load["bus_bytes_per_s"])
    assert load["slower"] in ("storage", "bus") and load[load["slower"] + "_bytes_per_s"] == slower
    assert 0 < load["compile_seconds"] < load["seconds"]
    assert close(load["bytes_per_s"], load["bytes"] / (load["seconds"] - load["compile_seconds"]), 1e-5)
    assert 0 < load["upload_seconds"] <= load["seconds"]
    assert close(load["fraction_of_slower"], load["bytes_per_s"] / slower, 1e-5) and 0 <= load["file_cached"] <= 1
    assert memory["device_bytes"] > memory["device_used_bytes"] >= memory["weights_bytes"] + memory["kv_bytes"]
    assert memory["weights_bytes"] == load["bytes"] == r["model_size"]
    assert machine["device"] == "sim" == r["backends"] and machine["simulated"] is True and machine["commit"] == r["build_commit"]
    assert r["sampling_timed"] is True and r["sampling"] == "greedy" and r["warmup"] is True
    assert r["depth_filled_by"] == ("random" if r["n_depth"] else None)
    assert r["first_token_ns"] > 0 and r["n_ctx"] == 44 and r["executor"] == "graph" and r["model_filename"] == MODEL
    assert len(r["test_time"]) == 20 and r["seed"] == 1


def test_bench_json_and_jsonl():
    out, err = run("bench", model(), *BENCH, "-o", "json")
    records = json.loads(out)
    assert not err and [r["test"] for r in records] == NAMES
    for r in records:
        check_record(r)
    by = {r["test"]: r for r in records}
    per_position = by["tg2"]["kv_bytes_per_token"] / 1.5  # positions 1 and 2
    assert per_position == by["tg4"]["kv_bytes_per_token"] / 2.5 == by["tg4 @ d40"]["kv_bytes_per_token"] / 42.5 > 0
    assert by["tg4"]["weight_bytes_per_token"] == by["tg2 @ d40"]["weight_bytes_per_token"] > by["pp3"]["weight_bytes_per_token"]
    lines = run("bench", model(), *BENCH, "-o", "jsonl")[0].splitlines()
    assert [json.loads(x)["test"] for x in lines] == NAMES
    for x in lines:
        check_record(json.loads(x))
        assert list(json.loads(x)) == list(records[0])


def test_bench_csv_and_md():
    rows = list(csv.reader(io.StringIO(run("bench", model(), *BENCH, "-o", "csv")[0])))
    assert len(rows) == 7 and all(len(r) == len(rows[0]) for r in rows) and len(set(rows[0])) == len(rows[0])
    table = [dict(zip(rows[0], r)) for r in rows[1:]]
    assert [t["test"] for t in table] == NAMES and all(float(t["avg_ts"]) > 0 for t in table)
    assert all(t["machine_device"] == "sim" and t["n_depth"] in ("0", "40") for t in table)
    out, err = run("bench", model(), *BENCH)
    lines = out.splitlines()
    cells = [[c.strip() for c in x.strip("|").split("|")] for x in lines if x.startswith("|")]
    assert cells[0][3:5] == ["test", "t/s"] and [c[3] for c in cells[2:]] == NAMES and not err
    assert all(len(x) == len(lines[0]) for x in lines if x.startswith("|")), "the table's columns do not line up"
    assert all(float(c[4].split("±")[0]) > 0 and c[2] == "sim" for c in cells[2:])
    for said in ("no GPU: sim", "say nothing about a GPU", "sampling (greedy) is part of every time", "random keys and values",
                 "slower of storage", "in use on the device"):
        assert said in out, said


def test_bench_options():
    one = ("--device", "sim", "-r", "1", "-o", "json", "--no-warmup")
    r, = json.loads(run("bench", "-m", model(), "-p", "0", "-n", "1", *one)[0])
    assert r["test"] == "tg1" and r["warmup"] is False and r["stddev_ts"] == 0 and r["samples_ns"] == [r["avg_ns"]]
    assert r["first_token_ns"] <= r["avg_ns"] and r["depth_filled_by"] is None and r["n_ctx"] == 1
    r, = json.loads(run("bench", model(), "-p", "2", "-n", "0", "-d", "3", "--prefill", "-c", "64", "--seed", "9", *one)[0])
    assert r["test"] == "pp2 @ d3" and r["depth_filled_by"] == "prefill" and r["n_ctx"] == 64 and r["seed"] == 9
    assert r["first_token_ns"] == r["avg_ns"]
    r, = json.loads(run("bench", model(), "-p", "1", "-n", "0", "--executor", "ref", *one)[0])
    assert r["executor"] == "ref" and r["machine"]["device"] == "host" and r["bandwidth"] is None
    assert r["fraction_of_bandwidth"] is None and r["load"]["bus_bytes_per_s"] is None and r["load"]["slower"] == "storage"


def test_bench_sequences():
    """-np: several sequences in shared steps; each test has its record, whatever the order of numbers."""
    args = ("-p", "5", "-n", "3", "-np", "1,3", "-d", "0,9", "-r", "2", "--device", "sim", "-ub", "16", "--no-warmup")
    records = json.loads(run("bench", model(), *args, "-o", "json")[0])
    assert [r["test"] for r in records] == ["pp5", "pp5 x3", "tg3", "tg3 x3", "pp5 @ d9", "pp5 x3 @ d9", "tg3 @ d9", "tg3 x3 @ d9"]
    for r in records:
        tokens = r["n_seqs"] * (r["n_prompt"] + r["n_gen"])
        assert r["n_seqs"] in (1, 3) and r["n_ubatch"] == 16 and r["first_token_ns"] > 0
        assert all(close(t, tokens * 1e9 / n) for n, t in zip(r["samples_ns"], r["samples_ts"])), r
        assert close(r["avg_ts"], statistics.mean(r["samples_ts"]))
    by = {r["test"]: r for r in records}
    # three share the dense weights, and more or fewer experts; keys and values are each one's own
    for t in ("pp5", "tg3"):
        assert by[t + " x3"]["weight_bytes_per_token"] < by[t]["weight_bytes_per_token"]
        assert by[t + " x3"]["kv_bytes_per_token"] == by[t]["kv_bytes_per_token"]
    out = run("bench", model(), *args)[0]
    assert "tg3 x3 @ d9" in out
    r, = json.loads(run("bench", model(), "-p", "0", "-n", "2", "-npl", "5", "-d", "4", "--prefill", "--executor", "ref", "-r", "1", "-o", "json",
                        "--ubatch-size", "2")[0])
    assert r["test"] == "tg2 x5 @ d4" and r["depth_filled_by"] == "prefill" and r["executor"] == "ref"


def test_bench_predict_tests():
    """--predict with -p, -n, -np: one record a test; without any of them a decode step at each depth, as ever."""
    rows = json.loads(run("bench", "-m", model(), "--predict", "rtx4090,h200", "-p", "64,200", "-n", "16", "-np", "1,8", "-ub", "128", "-o", "json")[0])
    assert [r["test"] for r in rows] == ["pp64", "pp64 x8", "pp200", "pp200 x8", "tg16", "tg16 x8"] * 2
    assert all(r["estimate"] is True and r["tokens_per_s"] > 0 and r["chip"]["mma_int"]["source"] for r in rows)
    assert [r["chip_id"] for r in rows] == ["rtx4090"] * 6 + ["h200"] * 6
    r, = json.loads(run("bench", "-m", model(), "--predict", "rtx4090", "-p", "512", "-n", "0", "-o", "json")[0])
    assert r["test"] == "pp512" and r["steps"] == 1 and r["n_ubatch"] == 512
    assert close(r["tokens_per_s"], 512e9 / r["time_ns"], 1e-4) and r["ops"]
    lines = run("bench", "-m", model(), "--predict", "gb10", "-p", "64", "-n", "0", "-o", "jsonl")[0].splitlines()
    assert [json.loads(x)["test"] for x in lines] == ["pp64"]
    rows = list(csv.DictReader(io.StringIO(run("bench", "-m", model(), "--predict", "gb10", "-p", "64", "-n", "8", "-o", "csv")[0])))
    assert [r["test"] for r in rows] == ["pp64", "tg8"] and all(float(r["tokens_per_s"]) > 0 for r in rows)
    out = run("bench", "-m", model(), "--predict", "gb10", "-p", "64", "-n", "8")[0]
    assert "ESTIMATES" in out and "| pp64 " in out and "| tg8 " in out
    out = run("bench", "-m", model(), "--predict", "gb10", "-p", "64", "-n", "0", "--per-op")[0]
    assert "64 rows of 1 sequence" in out and "bound by" in out
    steps = json.loads(run("bench", "-m", model(), "--predict", "gb10", "-o", "json")[0])
    assert steps[0]["record"] == "step" and steps[0]["rows"] == 1
    for args, said in ((("-np", "0"), "--parallel 0: expected 1 to 512"), (("-np", "513"), "--parallel 513"), (("-ub", "0"), "--ubatch 0: expected 1 to 512"),
                       (("-ub", "1000"), "--ubatch 1000"), (("-p", "0", "-n", "0"), "nothing to do"), (("-np", "x"), "--parallel x")):
        for more in ((), ("--predict", "gb10")):
            out, err = run("bench", "-m", model(), *args, *more, status=2)
            assert not out and said in err and err.count("\n") == 1, (args, err)
    err = run("bench", "-m", model(), "--predict", "gb10", "-p", "8", "-d", "99999999", status=1)[1]
    assert "pp8 @ d99999999" in err and err.count("\n") == 1


def test_bench_refuses():
    for args, said in ((("-p", "1,,2"), "--n-prompt 1,,2"), (("-n", "x"), "--n-gen x"), (("-d", "-4"), "--n-depth"),
                       (("-d", "5000000000"), "--n-depth"), (("-r", "0"), "--repetitions 0"), (("-r", "1001"), "1 to 1000"),
                       (("-o", "xml"), "md, csv, json or jsonl"), (("-p", "0", "-n", "0"), "nothing to do"),
                       (("-c", "100"), "pp512 needs a context of 512"), (("--seed", "-1"), "--seed"),
                       (("-d", "2147483647"), "pp512 @ d2147483647 needs a context"), (("--repetitons", "3"), "--repetitions")):
        out, err = run("bench", model(), *args, status=2)
        assert not out and said in err and err.count("\n") == 1, (args, err)
    assert "give --model" in run("bench", status=2)[1]
    out, err = run("bench", model(), "-d", "32768", "--device", "sim", status=1)
    assert not out and "pp512 @ d32768 does not fit: a context of 33280 exceeds the model's limit" in err and err.count("\n") == 1
    out, err = run("bench", model(), "-p", "0", "-n", "4", "-d", "1000", "--device", "sim", status=1, env={"QMOE_SIM_MEM": "64M"})
    assert not out and "tg4 @ d1000 does not fit" in err and "device memory" in err and err.count("\n") == 1
    assert "missing.gguf" in run("bench", os.path.join(TMP, "missing.gguf"), status=1)[1]
    with open("/dev/full", "w") as full:
        p = subprocess.run([BIN, "bench", model(), "-p", "1", "-n", "0", "-r", "1", "-o", "csv"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"standard output" in p.stderr


def test_context():
    """Without -c the context is what is asked for; what cannot be had is refused before a weight is loaded."""
    small = os.path.join(TMP, "cli-ctx.gguf")
    run("synth", "-o", small, "--seed", "3", "--layers", "2", "--ctx", "6000")
    for args, n in ((("-n", "1"), 4096), (("-n", "5000"), None), ((), 6000), (("-n", "2", "-c", "100"), 100)):
        err = run("generate", small, "--raw", "-p", "Hi", "-v", "--stop", "e", "--temp", "0", "--device", "sim", *args)[1]
        got = int(err.split("of KV cache for ")[1].split()[0])
        assert got == n if n else 5008 < got < 5020, (args, got)
    for args, status, said in ((("-n", "6000"), 1, "limit is 6000"), (("-c", "6001"), 2, "limit of 6000"),
                               (("-n", "50", "-c", "40"), 2, "(-c) is 40")):
        out, err = run("generate", small, "--raw", "-p", "Hi", "--device", "sim", *args, status=status)
        assert not out and said in err and err.count("\n") == 1, err
    # 32768 positions, or what fits: here memory for the weights, the driver's share and little more
    wide = os.path.join(TMP, "cli-wide.gguf")
    run("synth", "-o", wide, "--seed", "3", "--layers", "2", "--ctx", "1000000")
    chat = lambda **env: subprocess.run([BIN, "chat", wide, "--device", "sim", "-v"], input=b"", capture_output=True, env=dict(os.environ, **env))
    assert "KV cache for 32768 " in chat().stderr.decode()
    got = int(chat(QMOE_SIM_MEM="420M").stderr.decode().split("of KV cache for ")[1].split()[0])
    assert 4096 <= got < 32768, got
    out, err = run("generate", wide, "--raw", "-p", "Hi", "-n", "900000", "--device", "sim", status=1, env={"QMOE_SIM_MEM": "420M"})
    assert not out and "device memory" in err and "-c" in err and err.count("\n") == 1, err


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
