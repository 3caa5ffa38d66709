"""far.py SERVER: a client in a network namespace of its own whose link goes down while it waits, and while it reads a stream.
Run by `unshare -rn`. Prints what the server says, with the seconds since the link went down."""
import os, socket, subprocess, sys, time

HERE, FAR = "10.77.0.1", "10.77.0.2"


def ip(*args, into=None):
    subprocess.run([*(["nsenter", "-n", "-t", str(into)] if into else []), "ip", *args], check=True)


def client(path, port):
    """In the far namespace: sends a request, says so, reads until it is killed."""
    s = socket.create_connection((HERE, port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    time.sleep(0.2)
    print("there", flush=True)
    while s.recv(4096):
        pass


def main():
    server = sys.argv[1]
    far = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    clients = []
    s = None
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
        s = subprocess.Popen([server, f"host={HERE}", "vanish_s=2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = int(s.stdout.readline().split()[1])
        for path in ("/never?id=1", "/slow?id=2&n=100000&ms=50"):
            p = subprocess.Popen(["nsenter", "-n", "-t", str(far.pid), sys.executable, __file__, "client", path, str(port)],
                                 stdout=subprocess.PIPE, text=True)
            clients.append(p)
            assert p.stdout.readline() == "there\n"
        ip("link", "set", "away", "down", into=far.pid)
        t0 = time.monotonic()
        for _ in range(2):
            print(s.stdout.readline().strip(), f"{time.monotonic() - t0:.2f}", flush=True)
    finally:
        for p in (*clients, far, *([s] if s else [])):
            p.kill()
            p.wait()


if sys.argv[1] == "client":
    client(sys.argv[2], int(sys.argv[3]))
else:
    main()
