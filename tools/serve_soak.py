#!/usr/bin/env python3
"""serve_soak.py [--bin FILE] [--model FILE] [--requests N] [--at-once N] [--seed N]: a server under load. Some requests are
recorded alone, one at a time; then N of them run in up to ten rounds, so many at once, in a random order: streamed and not,
greedy and drawn, with shared beginnings, with and without a schema, some left by their client after a while. Every answer must
be what it was alone. After each round the server rests: all pages must have been given back, and the bytes of its heap that are
live are counted, by BUILD/fixtures/live_heap.so (`make BUILD/fixtures/live_heap.so`), which is preloaded, with AddressSanitizer
or without. A leak, if only of what something still points to, adds to them in every round; a step of a new shape builds a
plan, once. So in most rounds nothing may be added, to a byte a request; fewer than eight rounds are not judged.
Resident memory may not grow by more than a twentieth and 4 MiB; under AddressSanitizer it is told and not judged, as the
sanitizer remembers every thread that ever was. One line of figures, and exit status 0; else what was wrong, and 1."""
import argparse, json, os, random, re, socket, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "support"))
import server  # noqa: E402

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "yy"]}}, "required": ["a", "b"], "additionalProperties": False}
SYSTEM = "You tell stories to children. " * 8


def bodies(rng, n):
    out = []
    for i in range(n):
        m = [{"role": "user", "content": f"Tell me story number {i} " + "about a frog and a house by the sea " * rng.randrange(0, 6)}]
        if i % 2:
            m.insert(0, {"role": "system", "content": SYSTEM})
        b = {"messages": m, "max_tokens": rng.choice((2, 5, 9, 17)), "temperature": rng.choice((0, 0.8, 1.3)), "seed": i}
        if i % 7 == 3:
            b |= {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, "max_tokens": 40}
        if i % 5 == 4:
            b["repeat_penalty"] = 1.2
        out.append(b)
    return out


def text_of(data):
    return "".join(c["delta"].get("content") or "" for c in (x for d in data for x in json.loads(d)["choices"]))


def whole(s, body):
    status, o = s.post("/v1/chat/completions", body)
    assert status == 200, (status, o)
    return o["choices"][0]["message"]["content"], o["choices"][0]["finish_reason"]


def streamed(s, body, leave_after=None):
    """(text, finish), or None: left."""
    c = s.connect()
    try:
        c.request("POST", "/v1/chat/completions", json.dumps(dict(body, stream=True)).encode(), {"Content-Type": "application/json"})
        r = c.getresponse()
        data, finish = [], None
        if leave_after == 0:
            return None
        assert r.status == 200, (r.status, r.read())
        for _, d, _ in server.events(r):
            if d == "[DONE]":
                return text_of(data), finish
            data.append(d)
            for x in json.loads(d)["choices"]:
                finish = x["finish_reason"] or finish
            if leave_after is not None and len(data) > leave_after:
                return None
        raise AssertionError("a stream ended without [DONE]")
    finally:
        c.close()


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


class LiveHeap:
    """The live heap of a server that was started with .env and .pass_fds; asked through a socket that its preloaded
    tests/fixtures/live_heap.c answers."""

    def __init__(self, binary):
        lib = os.path.abspath(os.path.join(os.path.dirname(binary), "fixtures", "live_heap.so"))
        if not os.path.exists(lib):
            sys.exit(f"{lib}: not built; make it")
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        self.theirs, self.pass_fds = theirs, (theirs.fileno(),)
        self.env = {"LD_PRELOAD": " ".join([lib, *os.environ.get("LD_PRELOAD", "").split()]), "QMOE_LIVE_HEAP": str(theirs.fileno()),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
                    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}

    def ask(self):
        """(bytes, who counted them: asan or glibc)"""
        self.theirs.close()  # the server has its copy by now, and a server that ended is noticed
        self.socket.sendall(b"?")
        n, who = (self.socket.recv(64) or b"0 nobody").split()
        return int(n), who.decode()

    def at_rest(self, limit_s=20):
        """When five answers in a row are the same: connections that were closed by their clients are freed a little later."""
        end, last = time.monotonic() + limit_s, []
        while len(last) < 5 or len(set(last[-5:])) > 1:
            if time.monotonic() > end:
                raise AssertionError(f"the live heap does not come to rest: {last[-5:]}")
            last.append(self.ask())
            time.sleep(0.05)
        return last[-1]


def grew(live, requests):
    """Whether most rounds, of so many requests each, have added to what was live after the one before: a byte a request or more."""
    added = sorted(b - a for a, b in zip(live, live[1:]))
    return len(live) >= 8 and added[(len(added) - 1) // 2] >= requests


def gauge(s, name):
    return float(re.search(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", s.get("/metrics")[1], re.M).group(1))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=server.BIN)
    p.add_argument("--model", default=server.DEMO)
    p.add_argument("--requests", type=int, default=10000)
    p.add_argument("--at-once", type=int, default=32)
    p.add_argument("--parallel", type=int, default=8)
    p.add_argument("--kinds", type=int, default=40)
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    server.BIN = o.bin
    rng = random.Random(o.seed)
    wrong, done, left, live, memory = [], [0], [0], [], []
    lock = threading.Lock()
    began = time.monotonic()
    heap = LiveHeap(o.bin)
    with server.Server("--parallel", str(o.parallel), "--max-queue", "0", model=o.model, wait_s=300, env=heap.env, pass_fds=heap.pass_fds) as s:
        kinds = bodies(rng, o.kinds)
        alone = [whole(s, b) for b in kinds]
        todo = [(rng.randrange(len(kinds)), rng.choice(("whole", "stream", "stream", "leave")), rng.randrange(0, 12)) for _ in range(o.requests)]
        todo.reverse()

        def work(until):
            while True:
                with lock:
                    if len(todo) <= until or wrong:
                        return
                    k, how, n = todo.pop()
                try:
                    got = whole(s, kinds[k]) if how == "whole" else streamed(s, kinds[k], n if how == "leave" else None)
                    if got is not None and got != alone[k]:
                        raise AssertionError(f"request {k}, {how}: {got!r}, alone {alone[k]!r}")
                except Exception as e:
                    with lock:
                        wrong.append(f"{type(e).__name__}: {e}")
                    return
                with lock:
                    done[0] += 1
                    left[0] += got is None

        rounds = max(3, min(10, o.requests // o.at_once))  # each has them all at once
        for r in range(rounds):
            threads = [threading.Thread(target=work, args=(o.requests * (rounds - 1 - r) // rounds,)) for _ in range(o.at_once)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            end = time.monotonic() + 60
            while not wrong and (gauge(s, "qmoe_kv_pages_held") or gauge(s, "vllm:num_requests_running")):
                if time.monotonic() > end:
                    wrong.append(f"{gauge(s, 'qmoe_kv_pages_held'):.0f} pages are still held")
                time.sleep(0.05)
            if wrong:
                break
            n, who = heap.at_rest()
            live.append(n)
            memory.append(resident(s.process.pid))
        if not wrong and grew(live, o.requests // rounds):
            wrong.append(f"the live heap grew: {live} bytes, after each round of {o.requests // rounds} requests")
        if not wrong and who != "asan" and memory[-1] > memory[1] * 1.05 + 4096:
            wrong.append(f"resident memory grew: {memory} KiB, after each round of {o.requests // rounds} requests")
        if wrong:
            print("\n".join(wrong[:5]), file=sys.stderr)
            sys.exit(1)
        print(f"{done[0]} requests, {o.at_once} at once, {left[0]} left by their client: each as alone; in {rounds} rounds, after each, "
              f"live heap ({who}) {live} bytes, resident {memory} KiB; all pages given back; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
