"""A server that pretends: it serves the built page and answers chats as a test tells it to, cut and timed as it says. What a
real server never sends on purpose (cuts within a character, half answers, markup) a page has to stand all the same."""
import http.server, json, os, threading, time


class Pretend:
    def __init__(self, folder):
        """folder: where page.html and page.csp are."""
        self.html, self.csp = open(os.path.join(folder, "page.html"), "rb").read(), open(os.path.join(folder, "page.csp")).read()
        self.asked = []     # bodies of chats
        self.gone = []      # requests whose client left before the answer's end
        self.key = None     # the key to ask for
        self.model = "demo"
        self.reply = lambda body: pieces("Hello")
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def send(self, status, kind, data, **headers):
                self.send_response(status)
                for k, v in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                    self.send_header(k.replace("_", "-"), v)
                self.end_headers()
                self.wfile.write(data)

            def json(self, status, o):
                self.send(status, "application/json", json.dumps(o).encode())

            def refused(self):
                if outer.key and self.headers.get("Authorization") != f"Bearer {outer.key}":
                    self.json(401, {"error": {"message": "an API key is needed", "type": "authentication_error", "param": None, "code": None}})
                    return True

            def do_GET(self):
                if self.path == "/":
                    self.send(200, "text/html; charset=utf-8", outer.html, Content_Security_Policy=outer.csp)
                elif self.refused():
                    pass
                elif self.path == "/props":
                    self.json(200, outer.props())
                elif self.path == "/v1/models":
                    self.json(200, {"object": "list", "data": [{"id": outer.model, "object": "model"}]})
                else:
                    self.json(404, {"error": {"message": "no such path"}})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.refused():
                    return
                outer.asked.append(body)
                reply = outer.reply(body)
                if isinstance(reply, tuple):
                    self.send(*reply)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for data in reply:
                        if isinstance(data, float):
                            time.sleep(data)
                        elif data is None:  # the connection breaks
                            self.close_connection = True
                            self.connection.shutdown(2)
                            return
                        else:
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.write(b"0\r\n\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    outer.gone.append(body)
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):
                pass  # a browser that leaves is nothing new

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def props(self):
        return {"default_generation_settings": {"n_ctx": 4096, "params": {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0, "seed": -1}},
                "device": "sim", "device_name": "sim (4 SMs)", "executor": "graph"}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def event(delta=None, finish=None, **more):
    o = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(o, ensure_ascii=False).encode() + b"\n\n"


def usage(prompt, out, cached=0):
    return b"data: " + json.dumps({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out,
                                                           "prompt_tokens_details": {"cached_tokens": cached}},
                                   "timings": {"predicted_per_second": 57.9}}).encode() + b"\n\n"


def pieces(text, think="", size=4, pause=0.0, finish="stop"):
    """An answer as events of `size` characters."""
    out = [event({"role": "assistant", "content": ""})]
    for key, s in (("reasoning_content", think), ("content", text)):
        for i in range(0, len(s), size):
            out += [event({key: s[i:i + size]})] + ([pause] if pause else [])
    return out + [event(finish=finish), usage(20, len(text) // size, 12), b"data: [DONE]\n\n"]
