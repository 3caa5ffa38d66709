"""A headless Chromium, driven by its own protocol over a pipe (--remote-debugging-pipe): no port, no driver program.

It does what a person does (keys, text, clicks at places) and looks at what a person gets (what is shown, the accessibility
tree, a picture). Whatever the page complains of (exceptions, its policy's violations) is kept in `complaints`."""
import base64, fcntl, json, os, select, shutil, subprocess, tempfile, time

PROGRAMS = ("chromium-headless-shell", "chromium")
KEYS = {"Enter": (13, "\r"), "Escape": (27, None), "Tab": (9, None), "Backspace": (8, None), "ArrowDown": (40, None), " ": (32, " ")}


def program():
    """The browser, or None."""
    return next((p for p in map(shutil.which, PROGRAMS) if p), None)


class Browser:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="browser-")
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
        # The browser reads descriptor 3 and writes descriptor 4.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_read, to_write)]
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.process = subprocess.Popen(
            [program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
             f"--user-data-dir={self.dir}/profile", "--remote-debugging-pipe", "about:blank"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            close_fds=False, start_new_session=True, preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)))
        for fd in (to_read, to_write, *high):
            os.close(fd)
        self.rest, self.n = b"", 0
        self.pages = {}  # by session
        self.dialogs = []
        self.answer = True  # to the next dialogs

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except Exception:
            self.process.kill()
            self.process.wait()
        os.close(self.out), os.close(self.inp), self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def send(self, method, session=None, **params):
        self.n += 1
        m = {"id": self.n, "method": method, "params": params}
        if session:
            m["sessionId"] = session
        data = json.dumps(m).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        return self.n

    def receive(self, limit):
        while b"\0" not in self.rest:
            if not select.select([self.inp], [], [], max(0, limit - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self.inp, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended: " + open(self.log.name, errors="replace").read()[-2000:])
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, session=None, **params):
        n, limit = self.send(method, session, **params), time.monotonic() + 60
        while True:
            m = self.receive(limit)
            if m.get("id") == n:
                if "error" in m:
                    raise RuntimeError(f"{method}: {m['error']['message']}")
                return m["result"]
            self.event(m)

    def event(self, m):
        page, p = self.pages.get(m.get("sessionId")), m.get("params", {})
        if m.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(p["message"])
            self.send("Page.handleJavaScriptDialog", m["sessionId"], accept=self.answer)
        elif page and m.get("method") == "Runtime.exceptionThrown":
            d = p["exceptionDetails"]
            page.complaints.append(d.get("exception", {}).get("description") or d["text"])
        elif page and m.get("method") == "Log.entryAdded" and p["entry"]["level"] == "error":
            page.complaints.append(p["entry"]["text"])

    def open(self, url, width=1100, height=800):
        """A tab in a context of its own: nothing is kept there yet."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        return self.tab(url, context, width, height)

    def tab(self, url, context, width=1100, height=800):
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        return Page(self, context, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"], url, width, height)


class Page:
    def __init__(self, browser, context, session, url, width, height):
        self.browser, self.context, self.session, self.complaints = browser, context, session, []
        browser.pages[session] = self
        for domain in ("Page", "Runtime", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.url = url
        self.load()

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def load(self):
        """The page, anew."""
        self.call("Page.navigate", url=self.url)
        self.wait(f"location.href === {json.dumps(self.url)} && document.readyState === 'complete'")

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def media(self, **features):
        """media(prefers_color_scheme="dark")"""
        self.call("Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])

    def eval(self, js, *args):
        """A JavaScript expression's value; args are there as a, b, c."""
        names = ",".join("abcdef"[:len(args)])
        r = self.call("Runtime.evaluate", expression=f"(async ({names}) => ({js}))({','.join(map(json.dumps, args))})",
                      awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in r:
            d = r["exceptionDetails"]
            raise RuntimeError(f"{js}: {d.get('exception', {}).get('description') or d['text']}")
        return r["result"].get("value")

    def wait(self, js, *args, limit=20):
        """Until the expression is true."""
        end = time.monotonic() + limit
        while not self.eval(f"!!({js})", *args):
            assert time.monotonic() < end, f"not within {limit} s: {js} {args}\n{self.eval('document.body.innerText')[:3000]}"
            time.sleep(0.02)

    def text(self, selector):
        return self.eval("(document.querySelector(a) || {}).innerText", selector)

    def texts(self, selector):
        return self.eval("[...document.querySelectorAll(a)].map(e => e.innerText)", selector)

    def type(self, text):
        """As a keyboard does, into what has the focus; a newline is Shift+Enter."""
        for i, line in enumerate(text.split("\n")):
            if i:
                self.key("Enter", shift=True)
            if line:
                self.call("Input.insertText", text=line)

    def key(self, name, shift=False):
        code, text = KEYS[name]
        key = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **key, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def click(self, selector, nth=0):
        """With the mouse, where it is: what is covered or hidden cannot be clicked."""
        self.press("document.querySelectorAll(a)[b]", selector, nth)

    def press(self, js, *args):
        at = self.eval("""(e => { if (!e) return 'is not there'; e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();
            const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
            return r.width && top && (e.contains(top) || top.contains(e)) ? [x, y] : 'is hidden'; })(""" + js + ")", *args)
        assert isinstance(at, list), f"{args} {at}"
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=at[0], y=at[1], button="left", clickCount=1)

    def button(self, name, nth=-1):
        """Clicks the shown button that is called so; of several the last."""
        self.press("""[...document.querySelectorAll('button')].filter(e => e.checkVisibility() &&
            (e.getAttribute('aria-label') || e.innerText) === a).at(b)""", name, nth)

    def choose_file(self, selector, path):
        node = self.call("DOM.querySelector", nodeId=self.call("DOM.getDocument")["root"]["nodeId"], selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[path], nodeId=node)

    def download_to(self, folder):
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", browserContextId=self.context, downloadPath=folder)

    def accessible(self):
        """What a screen reader is told: [(role, name, properties)]"""
        return [(n["role"]["value"], n.get("name", {}).get("value", ""), {p["name"]: p["value"].get("value") for p in n.get("properties", [])})
                for n in self.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]

    def picture(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
