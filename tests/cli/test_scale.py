"""Several servers behind HAProxy, as docs/scale/haproxy.cfg has them: a server that is killed, one that shuts down, a client
that leaves. And the other recipes of docs/scale, as far as they can be looked at here."""
import http.client, json, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time
import yaml
import tap
from server import BIN, Server, events

TMP = os.environ.get("QMOE_TEST_TMP") or tempfile.gettempdir()
RECIPES = "docs/scale"
NAMES = ("one", "two", "three")
PROMPTS = ["What is 2+2?", "Capital of France:", "Translate to Spanish: Hello world", "Count to 5:", "List 3 colors:", "Who are you?",
           "Write a Python function that adds two numbers.", "What is a GPU?"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """HAProxy by its recipe: only the ports are others."""

    def __init__(self, servers):
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            raise tap.Skip("no haproxy here")
        self.port = free_port()
        text = open(f"{RECIPES}/haproxy.cfg").read().replace("bind :8000", f"bind 127.0.0.1:{self.port}")
        for i, s in enumerate(servers, 1):
            text = text.replace(f"127.0.0.1:808{i}", f"127.0.0.1:{s.port}")
        assert not re.search(r":80[08]\d", text)
        path = os.path.join(TMP, "haproxy.cfg")
        open(path, "w").write(text)
        self.process = subprocess.Popen([program, "-db", "-f", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, "HAProxy does not listen"
                time.sleep(0.05)

    def __exit__(self, *args):
        self.process.terminate()
        self.process.wait()


class Client(threading.Thread):
    """One streamed chat, noted as far as it came."""

    def __init__(self, port, prompt, tokens=24):
        super().__init__(daemon=True)
        self.port, self.prompt, self.tokens = port, prompt, tokens
        self.status, self.server, self.text, self.whole, self.fault = None, None, "", False, None
        self.start()

    def run(self):
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            c.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": self.prompt}], "stream": True,
                                                                  "max_tokens": self.tokens, "temperature": 0}),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            self.status = r.status
            if r.status != 200:
                self.fault = r.read()[:200]
                return
            for _, data, _ in events(r):
                if data == "[DONE]":
                    self.whole = True
                    return
                o = json.loads(data)
                self.server = o["model"]
                for choice in o["choices"]:
                    self.text += choice["delta"].get("content") or ""
        except (OSError, http.client.HTTPException, AssertionError) as e:
            self.fault = e

    def __repr__(self):
        return f"{self.prompt!r} at {self.server}: {self.status}, {self.text!r}, {'whole' if self.whole else self.fault!r}"


def count(s, what):
    return int(float(re.search(rf"^vllm:num_requests_{what}{{.*}} (\S+)$", s.get("/metrics")[1], re.M).group(1)))


class Mortal(Server):
    """A server that may be killed."""

    def __exit__(self, *args):
        self.stop()


def serve(i, *more):
    return Mortal("--device", "sim", "--parallel", "2", "-c", "1024", "--alias", NAMES[i], *more)


def alone(s):
    """Each prompt's answer."""
    want = {}
    for p in PROMPTS:
        status, o = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": p}], "max_tokens": 24, "temperature": 0})
        assert status == 200
        want[p] = o["choices"][0]["message"]["content"]
    return want


class Dropping:
    """A server that says it is ready and drops half of what is asked of it: it closes, it resets, or it does not even read."""

    def __init__(self, how):
        self.how, self.asked, self.lock = how, 0, threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            threading.Thread(target=self.one, args=(self.socket.accept()[0],), daemon=True).start()

    def one(self, c):
        head = c.recv(5, socket.MSG_PEEK)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        if head.startswith(b"GET"):
            c.recv(65536), c.sendall(answer)
        elif head:
            with self.lock:
                self.asked += 1
                drop = self.asked % 2
            if drop and self.how == "reset":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if not drop or self.how == "close":
                while not data_ends(c.recv(65536, socket.MSG_PEEK)):
                    time.sleep(0.001)
                c.recv(65536)
            if not drop:
                c.sendall(answer)
        c.close()


def data_ends(data):
    return data.endswith(b"THE END")


def test_what_is_dropped_is_asked_again():
    for how in ("close", "reset", "unread"):
        servers = [Dropping(how) for _ in NAMES]
        with Proxy(servers) as proxy:
            for i in range(20):
                c = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
                c.request("POST", "/v1/chat/completions", b"x" * 3000 * i + b"THE END")
                r = c.getresponse()
                assert (r.status, r.read()) == (200, b"ok"), (how, i)
                c.close()
        assert sum(s.asked for s in servers) > 25, "nothing was dropped"


def test_killed_and_shut_down_under_load():
    with serve(0) as one, serve(1) as two, serve(2) as three, Proxy([one, two, three]) as proxy:
        want = alone(three)
        # The first is killed, with answers on their way and requests that wait for their turn there.
        clients = [Client(proxy.port, PROMPTS[i % len(PROMPTS)]) for i in range(18)]
        end = time.monotonic() + 20
        while not (count(one, "waiting") and any(c.server == "one" and c.text for c in clients)):
            assert time.monotonic() < end and any(c.is_alive() for c in clients), "the first server never had requests that run and others that wait"
            time.sleep(0.01)
        one.process.kill()
        for c in clients:
            c.join(60)
        broken = [c for c in clients if not c.whole]
        assert broken, "the kill came too late to show anything"
        assert all(c.server == "one" and c.status == 200 for c in broken), f"a request was lost that had not begun: {broken}"
        assert len(broken) <= 2, f"two could run: {broken}"  # --parallel
        assert all(c.text == want[c.prompt] for c in clients if c.whole), clients
        assert all(want[c.prompt].startswith(c.text) for c in broken), broken
        assert {c.server for c in clients if c.whole} >= {"two", "three"}
        # The second shuts down: nothing at all is lost.
        clients = [Client(proxy.port, PROMPTS[i % len(PROMPTS)]) for i in range(8)]
        end = time.monotonic() + 20
        while not (count(two, "running") and any(c.server == "two" for c in clients)):
            assert time.monotonic() < end
            time.sleep(0.01)
        two.process.send_signal(signal.SIGTERM)
        clients += [Client(proxy.port, PROMPTS[i % len(PROMPTS)]) for i in range(4)]
        for c in clients:
            c.join(60)
        assert all(c.whole and c.text == want[c.prompt] for c in clients), clients
        assert two.process.wait(10) == 0
        # A new one at the first's place is found.
        with serve(0, "--port", str(one.port)):
            end = time.monotonic() + 10
            while True:
                c = Client(proxy.port, PROMPTS[0])
                c.join(30)
                assert c.whole and c.text == want[c.prompt], c
                if c.server == "one":
                    break
                assert time.monotonic() < end, "the server that came back gets no requests"
                time.sleep(0.1)
            # A client that leaves ends its request, through the proxy too: while it runs, and while it waits.
            there = [one, three]
            gone = []
            for i in range(6):
                k = socket.create_connection(("127.0.0.1", proxy.port))
                body = json.dumps({"messages": [{"role": "user", "content": "Once upon a time"}], "stream": i % 2 == 0, "max_tokens": 900,
                                   "temperature": 1.5, "seed": i, "ignore_eos": True}).encode()
                k.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                gone.append(k)
            end = time.monotonic() + 20
            while not (sum(count(s, "running") for s in there) == 4 and sum(count(s, "waiting") for s in there) == 2):
                assert time.monotonic() < end, [(count(s, "running"), count(s, "waiting")) for s in there]
                time.sleep(0.02)
            for k in gone:
                k.close()
            end = time.monotonic() + 5
            while any(count(s, "running") + count(s, "waiting") for s in there):
                assert time.monotonic() < end, [(count(s, "running"), count(s, "waiting")) for s in there]
                time.sleep(0.02)


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
