"""The server as a whole, on the demo model: clients that leave, its own end, a device that is lost, load."""
import json, os, re, signal, socket, struct, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
import far, tap
from server import BIN, DEMO, TMP, Server

CHAT = "/v1/chat/completions"


def ask(text="Tell me a story", n=16, **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": n, "temperature": 0, **more}


def content(data):
    return "".join(c["delta"].get("content") or "" for d in data if d != "[DONE]" for c in json.loads(d)["choices"])


def metric(s, name):
    text = s.get("/metrics")[1]
    return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))


def until(fn, what, limit=30):
    end = time.monotonic() + limit
    while not fn():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.01)


def idle(s):
    return metric(s, "vllm:num_requests_running") == 0 == metric(s, "vllm:num_requests_waiting") and metric(s, "qmoe_kv_pages_held") == 0


class Client:
    """A streamed request on a socket of its own, that can be left in several ways."""

    def __init__(self, s, body, path=CHAT):
        data = json.dumps(body).encode()
        self.s = socket.create_connection(("127.0.0.1", s.port), timeout=60)
        self.s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        self.got = b""

    def tokens(self):
        return len(re.findall(rb'"content":"[^"]', self.got))

    def read(self, n_tokens):
        while self.tokens() < n_tokens:
            more = self.s.recv(65536)
            assert more, self.got
            self.got += more

    def leave(self, how):
        if how == "reset":
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-closed":
            self.s.shutdown(socket.SHUT_WR)
        else:
            self.s.close()


_shared = None


def shared():
    global _shared
    if _shared is None:
        _shared = Server("--parallel", "2", "--max-queue", "8", "--log-json").__enter__()
    return _shared


def logged(s, id=None):
    out = []
    for line in s.lines:
        if line.startswith("{"):
            o = json.loads(line)
            if "finish" in o and id in (None, o["id"]):
                out.append(o)
    return out


# ---- clients that leave ----

def left_during(phase, how):
    """The tokens that were computed for a client after it had the last one that it read."""
    s = shared()
    until(lambda: idle(s), "an idle server")
    other = ask("A neighbour", n=40, stream=True)
    alone = content(d for _, d, _ in s.stream(CHAT, other))
    before = len(logged(s))
    neighbour = Client(s, other)
    neighbour.read(1)
    blocking = Client(s, ask("Another neighbour", n=60, stream=True)) if phase == "queue" else None
    if blocking:
        blocking.read(1)
    c = Client(s, ask("A client that leaves. " + "x y z " * (150 if phase == "prefill" else 1), n=200, stream=True, ignore_eos=True))
    if phase == "decode":
        c.read(4)
    elif phase == "queue":
        until(lambda: metric(s, "vllm:num_requests_waiting") == 1, "one that waits")
    else:
        until(lambda: metric(s, "vllm:num_requests_running") == 2, "one more that runs")
    steps = metric(s, "qmoe_steps_total")
    c.leave(how)
    until(lambda: any(x["finish"] == "cancelled" for x in logged(s)[before:]), "the log's line")
    steps = metric(s, "qmoe_steps_total") - steps
    while b"[DONE]" not in neighbour.got:
        neighbour.got += neighbour.s.recv(65536)
    data = re.findall(rb"data: ([^\r\n]*)", neighbour.got)
    assert content(d.decode() for d in data) == alone, "the neighbour's answer changed"
    c.s.close()
    if blocking:
        blocking.leave("closed")
    until(lambda: idle(s), "pages given back")
    line = next(x for x in logged(s)[before:] if x["finish"] == "cancelled")
    return line["completion_tokens"] - c.tokens(), steps


def left_in_time(phase, how):
    got = [left_during(phase, how)]
    while got[-1][0] > 3 and len(got) < 4:  # bytes on their way and a busy machine look like tokens: the best of four
        got.append(left_during(phase, how))
    assert got[-1][0] <= 3, (phase, how, got)


def test_left_while_decoding():
    for how in ("closed", "reset", "half-closed"):
        left_in_time("decode", how)


def test_left_while_the_prompt_is_computed():
    for how in ("closed", "half-closed"):
        left_in_time("prefill", how)


def test_left_while_waiting():
    for how in ("closed", "reset"):
        left_in_time("queue", how)


def test_vanished_behind_a_dropped_link():
    """One whose answer streams, one who waits for its turn: gone within --vanish and a probe, or as soon as it is computed."""
    def body(n, text="x"):
        return json.dumps(ask(text, n=n, stream=True, ignore_eos=True))
    said = far.cut([BIN, "serve", "-m", DEMO, "--host", "HERE", "--port", "0", "--parallel", "1", "-c", "1024", "--vanish", "2", "--log-json"],
                   [("POST", CHAT, body(900), 2000), ("POST", CHAT, body(900, "A second one"), 0)], 2, 30, '"finish"')
    ends = [(t, json.loads(line)) for t, line in said]
    assert len(ends) == 2 and all(o["finish"] == "cancelled" for _, o in ends), ends
    assert max(t for t, _ in ends) < 10, ends
    assert all(o["completion_tokens"] < 900 for _, o in ends), ends


def test_idle_costs_nothing():
    s = shared()
    until(lambda: idle(s), "an idle server")
    time.sleep(0.3)

    def switches():
        n = 0
        for t in os.listdir(f"/proc/{s.process.pid}/task"):
            with open(f"/proc/{s.process.pid}/task/{t}/status") as f:
                n += sum(int(x) for x in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
        return n
    before = switches()
    time.sleep(2)
    assert switches() - before <= 2, switches() - before


def test_the_shared_server_ends_well():
    s = shared()
    assert s.stop() == 0, s.log()


# ---- its end ----

def test_drain():
    with Server("--parallel", "2", "--drain", "60") as s:
        c = Client(s, ask(n=60, stream=True, ignore_eos=True))
        c.read(2)
        s.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in s.log(), "the log's word of it")
        try:
            other = s.request("POST", CHAT, ask(n=1))[0]
        except OSError:
            other = None
        assert other in (None, 503)
        while b"[DONE]" not in c.got:
            more = c.s.recv(65536)
            assert more, "the stream was cut"
            c.got += more
        assert c.tokens() >= 40
        assert s.process.wait(30) == 0


def test_second_signal():
    with Server("--drain", "60") as s:
        c = Client(s, ask(n=900, stream=True, ignore_eos=True))
        c.read(2)
        s.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in s.log(), "the log's word of it")
        assert s.process.poll() is None
        t = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(20) == 0 and time.monotonic() - t < 10
        c.s.close()


def test_lost_device():
    """What runs is told, /ready says no, and the process ends with 1."""
    s = Server("--parallel", "2", env={"QMOE_SIM_LOST": "12"})
    s.__enter__()
    try:
        assert s.get("/ready")[0] == 200
        c = Client(s, ask(n=100, stream=True, ignore_eos=True))
        while more := c.s.recv(65536):
            c.got += more
            if b"error" in c.got:
                break
        assert b'"error"' in c.got and b"lost" in c.got, c.got[-400:]
        until(lambda: s.get("/ready")[0] == 503, "/ready that says no", 2)
        assert s.get("/health")[0] == 200
        assert s.post(CHAT, ask(n=1))[0] == 503
        assert s.process.wait(30) == 1, s.log()
        s.reader.join()
        assert "the device failed" in s.log(), s.log()
    finally:
        s.process.kill()
        s.process.wait()


# ---- load ----

def test_sixteen_share_their_steps():
    """A step reads the weights once, whatever it has rows: so 16 at once are to need a third of one alone's steps a token, and of the
    bytes of weights, at most."""
    with Server("--parallel", "16", "-c", "4096") as s:
        def steps():
            return metric(s, "qmoe_steps_total")
        alone = steps()
        one = content(d for _, d, _ in s.stream(CHAT, ask(n=48, stream=True, ignore_eos=True)))
        alone = steps() - alone
        clients = [Client(s, ask(n=48, stream=True, ignore_eos=True)) for _ in range(16)]
        together = steps()
        for c in clients:
            while b"[DONE]" not in c.got:
                c.got += c.s.recv(65536)
        together = steps() - together
        assert all(content(d.decode() for d in re.findall(rb"data: ([^\r\n]*)", c.got)) == one for c in clients), "an answer changed"
        assert 44 <= alone <= 54 and together * 3 <= 16 * alone, (alone, together)


# ---- a cache in q8_0 ----

def test_a_cache_in_q8_0():
    """With keys and values in q8_0 answers are what generate says with the same flags, each alone and all at once; and no others': the
    draws, which follow small differences, are not those of a cache in f16."""
    wild = {"temperature": 3.0, "top_k": 0, "top_p": 1, "min_p": 0}

    def generated(body, cache):
        args = ["-n", str(body["max_tokens"]), *sum(([f"--{k.replace('_', '-').replace('temperature', 'temp')}", str(body[k])]
                                                    for k in ("temperature", "seed", *list(wild)[1:]) if k in body), [])]
        p = subprocess.run([BIN, "generate", "-m", DEMO, "--json", "-q", "-ctk", cache, "-ctv", cache, *args,
                            *(("--raw", "-p", body["prompt"]) if "prompt" in body else ("-p", body["messages"][0]["content"]))],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        assert p.returncode == 0, p.stderr
        return json.loads(p.stdout)["text"]

    def said(s, body):
        status, a = s.post("/v1/completions" if "prompt" in body else CHAT, body)
        assert status == 200, a
        c = a["choices"][0]
        return c["text"] if "prompt" in body else c["message"]["content"]

    bodies = [ask(t, n=40) for t in ("What is 2+2?", "Tell me a story", "Translate to French: Good morning")]
    bodies += [{"prompt": "Once upon a time", "max_tokens": 40, "seed": seed, **wild} for seed in (11, 12)]
    want = [generated(b, "q8_0") for b in bodies]
    other = [generated(b, "f16") for b in bodies]
    assert all(a != b for a, b in zip(want[3:], other[3:])), "the cache does not show"
    with Server("--parallel", "8", "-c", "2048", "-ctk", "q8_0", "-ctv", "q8_0") as s:
        assert [said(s, b) for b in bodies] == want
        with ThreadPoolExecutor(len(bodies)) as pool:
            assert list(pool.map(lambda b: said(s, b), bodies)) == want
        until(lambda: idle(s), "idle")


def test_soak():
    """tools/serve_soak.py in short; docs/serve.md has the long run's figures."""
    p = subprocess.run([sys.executable, "tools/serve_soak.py", "--bin", BIN, "--requests", "48", "--at-once", "16", "--kinds", "12"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200)
    out = p.stdout.decode()
    assert p.returncode == 0 and out.startswith("48 requests, 16 at once"), out


def soak(*args, **env):
    """(status, output) of 60 requests in ten rounds, on a small model."""
    model = os.path.join(TMP, "soak.gguf")
    subprocess.run([BIN, "synth", "-o", model, "--preset", "tiny", "--layers", "1", "--embd", "256", "--heads", "2", "--kv-heads", "1", "--experts", "8",
                    "--ff", "256", "--seed", "5"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    p = subprocess.run([sys.executable, "tools/serve_soak.py", "--bin", BIN, "--model", model, "--requests", "60", "--at-once", "4", "--parallel", "2",
                        "--kinds", "6"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400, env=dict(os.environ, **env))
    return p.returncode, p.stdout.decode()


def test_soak_counts_the_live_heap():
    """Ten rounds, and what is live after most of them is what it was before; 100 bytes a connection, lost but not forgotten, are seen."""
    status, out = soak()
    assert status == 0 and out.startswith("60 requests, 4 at once") and "in 10 rounds" in out, out
    status, out = soak(LD_PRELOAD=os.path.abspath(os.path.join(os.path.dirname(BIN), "fixtures", "leak.so")))
    assert status == 1 and "the live heap grew" in out, out


if __name__ == "__main__":
    tap.main(sys.modules[__name__])
