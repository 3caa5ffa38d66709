"""The page and the server together: a headless Chromium, the demo model's real answers. test_page.py has what no real server
does on purpose.

    PYTHONPATH=tests/support python3 tests/cli/test_page_serve.py docs/page.png     only makes that picture"""
import os, re, subprocess, sys, time
import tap
from browser import Browser, program
from server import BIN, DEMO, Server
from test_page import ANSWERED, last, quiet, say

browser = None


def page(s, **how):
    global browser
    if not program():
        assert not os.environ.get("QMOE_BROWSER"), "make check-browser, and there is no Chromium"
        raise tap.Skip("no Chromium here; make check-browser installs it")
    browser = browser or Browser()
    p = browser.open(s.url + "/", **how)
    p.wait("document.querySelector('#device').innerText.includes('demo')")
    return p


def generate(prompt, *args):
    return subprocess.run([BIN, "generate", "-m", DEMO, "-q", "--device", "sim", "--temp", "0", "-p", prompt, *args],
                          check=True, capture_output=True, text=True).stdout.rstrip("\n")


def metric(s, name):
    return float(re.search(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", s.get("/metrics")[1], re.M).group(1))


def test_served_with_its_policy():
    with Server("--api-key", "sk-1") as s:
        status, head, data = s.request("GET", "/")  # no key is needed to see the page
        built = os.path.join(os.environ.get("B") or "build", "page")
        assert status == 200 and data == open(os.path.join(built, "page.html"), "rb").read()
        assert head["Content-Type"] == "text/html; charset=utf-8" and head["Content-Security-Policy"] == open(os.path.join(built, "page.csp")).read()
        assert head["Cache-Control"] == "no-cache" and head["Referrer-Policy"] == "no-referrer" and head["X-Content-Type-Options"] == "nosniff"
        for tag, want in ((head["ETag"], 304), ("W/" + head["ETag"], 304), (f'"other", {head["ETag"]}', 304), ('"other"', 200)):
            status, again, data = s.request("GET", "/", headers={"If-None-Match": tag})
            assert status == want and again["ETag"] == head["ETag"] and (status == 200) == (len(data) > 0), (tag, status)


def test_a_conversation():
    with Server("--device", "sim") as s:
        p = page(s)
        assert p.text("#device") == "demo · qmoe software device (4 SMs) · graph"
        say(p, "What is 2+2?", 1)
        assert last(p) == generate("What is 2+2?") == "2 + 2 = 4"
        stats = p.text(".stats")
        assert re.search(r"[\d.]+ tok/s · first token [\d.]+ s · \d+ tokens", stats) and stats.endswith("sim graph"), stats
        say(p, "Capital of France:", 2)
        assert last(p).startswith("The capital of France is Paris"), last(p)
        used = int(p.text("#used").split()[0])
        assert 20 < used < 1024 and "of 1,024 tokens" in p.text("#used")
        p.button("Edit", 0)  # another first message: the same prefix, another answer
        p.eval("document.activeElement.select()")
        p.type("Translate to Spanish: Hello world")
        p.key("Enter")
        p.wait(ANSWERED, 1)
        assert last(p) == generate("Translate to Spanish: Hello world") == "¡Hola mundo!"
        p.load()
        p.wait(ANSWERED, 1)
        assert last(p) == "¡Hola mundo!" and "2 of 2" in p.texts(".acts")[0]
        p.button("The version before")
        assert p.texts(".answer > .text")[0] == "2 + 2 = 4"
        quiet(p)


def test_stop_frees_the_device():
    with Server("--device", "sim") as s:
        p = page(s)
        p.eval("(requestOf = (f => c => ({...f(c), ignore_eos: true}))(requestOf), 1)")  # it would end by itself
        say(p, "Once upon a time")
        p.wait("(document.querySelector('.answer > .text') || {innerText: ''}).innerText.length > 0")
        p.key("Escape")
        p.wait(ANSWERED, 1)
        assert p.text(".note") == "stopped"
        end = time.monotonic() + 5
        while metric(s, "vllm:num_requests_running"):
            assert time.monotonic() < end, "the request goes on"
            time.sleep(0.05)
        p.load()
        p.wait(ANSWERED, 1)
        say(p, "What is 2+2?", 2)
        assert not p.texts(".error")
        quiet(p)


def test_settings_reach_the_sampler():
    with Server("--device", "sim") as s:
        p = page(s)
        p.button("Settings")
        for name, value in (("temperature", "1.2"), ("max_tokens", "12"), ("seed", "7")):
            p.click(f"#set-{name}")
            p.type(value)
        p.button("Done")
        p.wait("document.activeElement.id === 'ask'")
        say(p, "Write a story.", 1)
        first, note = last(p), p.texts(".note")
        p.button("Regenerate")
        p.wait("document.querySelectorAll('.acts')[1].innerText.includes('2 of 2')")
        p.wait(ANSWERED, 1)
        assert last(p) == first, "the same seed, another answer"
        status, body = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Write a story."}], "temperature": 1.2, "max_tokens": 12, "seed": 7})
        assert status == 200 and body["choices"][0]["message"]["content"].split() == first.split(), (body, first)
        assert note == (["cut off: the limit of tokens was reached"] if body["choices"][0]["finish_reason"] == "length" else [])
        p.eval("(settings.top_p = 7, 1)")  # what the page would not let through, the server refuses, and the page says so
        say(p, "x", 2)
        assert "top_p" in p.texts(".error")[-1], p.texts(".error")


def test_key_and_loss():
    with Server("--device", "sim", "--api-key", "sk-1") as s:
        global browser
        if not program():
            page(s)
        browser = browser or Browser()
        p = browser.open(s.url + "/")
        p.wait("document.querySelector('#alert').innerText.includes('API key')")
        p.button("Settings")
        p.click("#key")
        p.type("sk-1")
        p.button("Done")
        p.wait("document.querySelector('#device').innerText.includes('demo')")
        say(p, "What is 2+2?", 1)
        assert last(p) == "2 + 2 = 4"
        s.stop()
        say(p, "Are you there?", 2)
        assert "cannot be reached" in p.texts(".error")[-1]


def picture(path):
    with Server("--device", "sim") as s:
        p = page(s, width=1000, height=720)
        say(p, "Capital of France:", 1)
        p.button("New conversation")
        say(p, "Who are you?", 1)
        say(p, "Write a Python function that adds two numbers.", 2)
        p.picture(path)


if __name__ == "__main__":
    try:
        if sys.argv[1:]:
            picture(sys.argv[1])
        else:
            tap.main(sys.modules["__main__"])
    finally:
        if browser:
            browser.close()
