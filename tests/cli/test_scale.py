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


def recipe(name):
    return open(f"{RECIPES}/{name}", encoding="utf-8").read()


def test_recipes_name_what_there_is():
    """Options, paths and metrics that recipes name are the program's."""
    usage = subprocess.run([BIN, "serve", "--help"], check=True, capture_output=True, text=True).stdout
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage))
    paths = set(re.findall(r'QM_ENDPOINT\("\w+", "([^"]+)"', open("host/serve/endpoints.def").read()))
    named = {"qmoe-gpu.service": re.findall(r"^ExecStart=\S+ serve (.*)$", recipe("qmoe-gpu.service"), re.M) + re.findall(r'"(--api-key-file)', recipe("qmoe-gpu.service")),
             "Containerfile": re.findall(r"qmoe-gpu serve (.*?)  ", recipe("Containerfile")),
             "ray_serve.py": re.findall(r'"serve", (.*),$', recipe("ray_serve.py"), re.M)}
    docs = [d for d in yaml.safe_load_all(recipe("kubernetes.yaml"))]
    server = docs[0]["spec"]["template"]["spec"]["containers"][0]
    named["kubernetes.yaml"] = [" ".join(server["args"])]
    for name, texts in named.items():
        used = {o for t in texts for o in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", t)}
        assert used and used <= options, (name, used - options)
    assert server["args"][0] == "serve" and f'"{server["ports"][0]["containerPort"]}"' == '"8080"'
    probed = {server[p]["httpGet"]["path"] for p in ("startupProbe", "livenessProbe", "readinessProbe")}
    probed |= set(re.findall(r"httpchk GET (\S+)", recipe("haproxy.cfg"))) | {docs[0]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]}
    assert probed == {"/health", "/ready", "/metrics"} <= paths, probed
    assert server["livenessProbe"]["httpGet"]["path"] == "/health" and server["readinessProbe"]["httpGet"]["path"] == "/ready"
    # What runs may end before it is killed.
    drain = int(server["args"][server["args"].index("--drain") + 1]) + server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert docs[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain
    labels = docs[0]["spec"]["template"]["metadata"]["labels"].items()
    for d in docs[1:]:
        s = d["spec"].get("selector") or d["spec"]["podSelector"]
        assert s.get("matchLabels", s).items() <= labels, d["kind"]
    compile(recipe("ray_serve.py"), "ray_serve.py", "exec")
    unit = recipe("qmoe-gpu.service")
    assert int(re.search(r"^TimeoutStopSec=(\d+)", unit, re.M).group(1)) > int(re.search(r"--drain (\d+)", unit).group(1))
    with Server("--device", "sim") as s:
        metrics = s.get("/metrics")[1]
        for name in re.findall(r"vllm:\w+", recipe("kubernetes.yaml")):
            assert re.search(rf"^{name}{{", metrics, re.M), name


def test_unit():
    if not shutil.which("systemd-analyze"):
        raise tap.Skip("no systemd here")
    path = os.path.join(TMP, "qmoe-gpu.service")
    open(path, "w").write(recipe("qmoe-gpu.service").replace("/usr/local/bin/qmoe-gpu", os.path.abspath(BIN)))
    p = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    said = [x for x in p.stderr.splitlines() if "qmoe-gpu" in x]
    assert p.returncode == 0 and not said, p.stderr
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", path], capture_output=True, text=True)
    assert p.returncode == 0, p.stdout[-300:]


def test_container_has_its_libraries():
    """The packages that the image has are those of what the program is linked with."""
    if os.environ.get("SAN"):
        raise tap.Skip("this build has the sanitizers' libraries besides")
    if not shutil.which("dpkg-query"):
        raise tap.Skip("not a Debian system")
    needed = set()
    for path in re.findall(r"=> (/\S+)", subprocess.run(["ldd", BIN], check=True, capture_output=True, text=True).stdout):
        for at in (path, os.path.realpath(path), path.replace("/lib/", "/usr/lib/", 1)):
            p = subprocess.run(["dpkg-query", "-S", at], capture_output=True, text=True)
            if p.returncode == 0:
                needed.add(p.stdout.split(":")[0])
                break
    have = set(re.search(r"\\\n\s+(lib[\w. -]+?) &&", recipe("Containerfile")).group(1).split())
    # What those depend on themselves comes with them.
    comes = set(have) | {"libc6"}
    for p in have:
        deps = subprocess.run(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
                               "--no-enhances", p], capture_output=True, text=True).stdout
        comes |= set(re.findall(r"Depends: ([\w.+-]+)", deps))
    assert needed and needed <= comes, needed - comes
    assert have <= needed, f"not needed: {have - needed}"


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
        clients = [Client(proxy.port, PROMPTS[i % len(PROMPTS)]) for i in range(12)]
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
