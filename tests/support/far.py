"""far.py PROGRAM..: a server and its clients in network namespaces of their own: the link between them goes down while a client
waits, or reads a stream. Run by `unshare -rn`. PROGRAM says "port N" or "listening on ..:N" in a line of its output; the lines that
follow are printed with the seconds since the link went down. On the standard input: the clients' requests as JSON, a list of
[method, path, body, how much of the answer is read before the link goes down], and how many lines are waited for."""
import json, os, re, select, shutil, socket, subprocess, sys, time
import tap

HERE, FAR = "10.77.0.1", "10.77.0.2"


def cut(program, requests, n_lines, wait_s, pattern="."):
    """[(seconds, line)]: what the program says, in lines with `pattern`, after its clients' link was cut."""
    for tool in ("unshare", "nsenter", "ip"):
        if not shutil.which(tool):
            raise tap.Skip(f"no {tool}")
    if subprocess.run(["unshare", "-rn", "ip", "link", "add", "near", "type", "veth", "peer", "name", "away"], stderr=subprocess.DEVNULL).returncode:
        raise tap.Skip("no network namespaces with veth here")
    p = subprocess.run(["unshare", "-rn", sys.executable, os.path.abspath(__file__), *program], capture_output=True, text=True,
                       input=json.dumps([requests, n_lines, wait_s, pattern]), timeout=60 + wait_s)
    assert p.returncode == 0, p.stderr
    return [(float(t), line) for t, line in (x.split(" ", 1) for x in p.stdout.splitlines())]


def ip(*args, into=None):
    subprocess.run([*(["nsenter", "-n", "-t", str(into)] if into else []), "ip", *args], check=True)


def client(port, method, path, body, n_bytes):
    """In the far namespace: sends a request, reads so much, says so, reads until it is killed."""
    s = socket.create_connection((HERE, port))
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n" + (f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n" if body else "")
    s.sendall(f"{head}\r\n{body}".encode())
    got = 0
    time.sleep(0.2)
    while got < n_bytes:
        got += len(s.recv(4096))
    print("there", flush=True)
    while s.recv(4096):
        pass


def main(program):
    requests, n_lines, wait_s, pattern = json.load(sys.stdin)
    far = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    clients, s = [], None
    try:
        for _ in range(100):
            if os.readlink(f"/proc/{far.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                break
            time.sleep(0.02)
        ip("link", "add", "near", "type", "veth", "peer", "name", "away", "netns", str(far.pid))
        ip("addr", "add", f"{HERE}/24", "dev", "near")
        ip("link", "set", "near", "up")
        ip("addr", "add", f"{FAR}/24", "dev", "away", into=far.pid)
        ip("link", "set", "away", "up", into=far.pid)
        s = subprocess.Popen([x.replace("HERE", HERE) for x in program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        port = None
        while port is None:
            line = s.stdout.readline().decode()
            assert line, "the server ended"
            m = re.search(r"^port (\d+)$|listening on \S+?:(\d+)", line)
            port = m and int(m.group(1) or m.group(2))
        for method, path, body, n_bytes in requests:
            p = subprocess.Popen(["nsenter", "-n", "-t", str(far.pid), sys.executable, __file__, "client", str(port), method, path, body, str(n_bytes)],
                                 stdout=subprocess.PIPE, text=True)
            clients.append(p)
            assert p.stdout.readline() == "there\n"
        ip("link", "set", "away", "down", into=far.pid)
        t0 = time.monotonic()
        while n_lines and time.monotonic() < t0 + wait_s:
            if not select.select([s.stdout], [], [], 0.2)[0]:
                continue
            line = s.stdout.readline().decode()
            if not line:
                break
            if re.search(pattern, line):
                print(f"{time.monotonic() - t0:.2f}", line.strip(), flush=True)
                n_lines -= 1
    finally:
        for p in (*clients, far, *([s] if s else [])):
            p.kill()
            p.wait()


if __name__ == "__main__":
    if sys.argv[1] == "client":
        client(int(sys.argv[2]), *sys.argv[3:6], int(sys.argv[6]))
    else:
        main(sys.argv[1:])
