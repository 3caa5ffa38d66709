"""A `qmoe-gpu serve` for a test: started on a free port, waited for, stopped; its log is kept. And the packages of
tests/requirements.txt, which tools/setup.sh puts into build/venv."""
import glob, http.client, json, os, re, signal, subprocess, sys, tempfile, threading, time
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
TMP = os.environ.get("QMOE_TEST_TMP") or tempfile.gettempdir()
DEMO = "models/demo.gguf"


def need(*packages):
    """The packages, imported; the test is skipped where the checkout has no build/venv with them."""
    for d in glob.glob("build/venv/lib/python3*/site-packages"):
        if d not in sys.path:
            sys.path.insert(0, d)
    try:
        found = [__import__(p, fromlist=["_"]) for p in packages]
    except ImportError as e:
        raise tap.Skip(f"{e}; `make setup` brings what tests/requirements.txt lists")
    return found[0] if len(found) == 1 else found


class Server:
    """with Server("--parallel", "4") as s: s.url, s.port, s.get(path), s.post(path, object)"""

    def __init__(self, *args, model=DEMO, env=None, wait_s=60, pass_fds=()):
        self.args = [BIN, "serve", "-m", model, "--port", "0", *args]
        self.env = dict(os.environ, **(env or {}))
        self.lines, self.port, self.wait_s, self.pass_fds = [], None, wait_s, pass_fds

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env,
                                        pass_fds=self.pass_fds)
        self.listening = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.listening.wait(self.wait_s) or self.port is None:
            self.process.kill()
            self.reader.join()
            raise AssertionError(f"the server did not begin to listen: exit status {self.process.wait()}\n{self.log()}")
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
            m = re.search(r"listening on https?://\S+?:(\d+)", self.lines[-1])
            if m:
                self.port = int(m.group(1))
                self.listening.set()
        self.listening.set()

    def log(self):
        return "\n".join(self.lines)

    def stop(self, sig=signal.SIGTERM, wait_s=60):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end within {wait_s} s of signal {sig}\n{self.log()}")
        finally:
            self.reader.join()
        return status

    def __exit__(self, kind, value, trace):
        status = self.stop()
        if kind is None:
            assert status == 0, f"exit status {status}\n{self.log()}"
        else:
            print("\n".join("# server: " + x for x in self.lines[-60:]), flush=True)

    # ---- plain HTTP ----
    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes). body: bytes, or what becomes JSON."""
        c = self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            c.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def get(self, path, **headers):
        """(status, object or text)"""
        status, h, data = self.request("GET", path, headers=headers)
        return status, json.loads(data) if h.get_content_type() == "application/json" else data.decode()

    def post(self, path, body, **headers):
        status, h, data = self.request("POST", path, body, headers)
        return status, json.loads(data) if h.get_content_type() == "application/json" else data.decode()

    def stream(self, path, body):
        """The events of a stream, as (name or None, data) and when each came."""
        c = self.connect()
        try:
            c.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            r = c.getresponse()
            assert r.status == 200 and r.headers.get_content_type() == "text/event-stream", (r.status, r.read())
            return list(events(r))
        finally:
            c.close()


def events(response):
    name = None
    for line in response:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, line[6:], time.monotonic()
            name = None
        else:
            assert line == "", f"not an event: {line!r}"
