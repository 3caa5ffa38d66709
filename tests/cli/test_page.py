"""The server's page in a headless Chromium, against a server that pretends (support/pretend.py); test_page_serve.py has it
with the real one."""
import base64, hashlib, json, os, re, tempfile, time
import tap
from browser import Browser, program
from pretend import Pretend, event, pieces, usage

TMP = os.environ.get("QMOE_TEST_TMP") or tempfile.gettempdir()
BUILT = os.path.join(os.environ.get("B") or "build", "page")
browser = server = None


def page(reply=None, **how):
    """A new page in a new profile, and a server that replies so."""
    global browser, server
    if not program():
        assert not os.environ.get("QMOE_BROWSER"), "make check-browser, and there is no Chromium"
        raise tap.Skip("no Chromium here; make check-browser installs it")
    browser, server = browser or Browser(), server or Pretend(BUILT)
    server.asked.clear()
    server.key, server.gone, server.model = None, [], "demo"
    server.reply = reply if callable(reply) else lambda body: reply or pieces("Hello")
    p = browser.open(server.url, **how)
    p.wait("document.querySelector('#device').innerText.includes('sim')")
    return p


ANSWERED = "document.querySelector('#log').getAttribute('aria-busy') === 'false' && document.querySelectorAll('.answer').length >= a"


def say(p, text, n=None):
    """Types and sends; waits until n answers are there (without n: not)."""
    p.eval("document.querySelector('#ask').focus()")
    p.type(text)
    p.key("Enter")
    if n is not None:
        p.wait(ANSWERED, n)


def quiet(p):
    """Nothing went wrong in the page."""
    p.eval("1")
    assert not p.complaints, p.complaints


def last(p):
    return p.texts(".answer > .text")[-1]


# ---- the file ----
def test_one_small_file_that_loads_nothing():
    html = open(os.path.join(BUILT, "page.html"), encoding="utf-8").read()
    assert len(html.encode()) < 60 * 1024, len(html.encode())
    # No address but its own, the icon's inside of itself, and the name of SVG.
    loads = re.findall(r"<(?:link|script|img|iframe|source|object|embed)\b[^>]*?\b(?:src|href)=\"([^\"]{0,5})", html)
    assert loads == ["data:"], loads
    assert set(re.findall(r"https?://[\w.]+", html)) == {"http://www.w3.org"} and "@import" not in html and " url(" not in html and ":url(" not in html
    # Text becomes text: what could make markup or code of it is not there.
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "createContextualFragment", "DOMParser", "srcdoc"):
        assert sink not in html, sink
    assert not re.search(r"\son\w+=|\sstyle=", html), "an inline handler or style: the policy would refuse it"
    policy = dict(x.split(" ", 1) for x in open(os.path.join(BUILT, "page.csp")).read().split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'" and "unsafe" not in json.dumps(policy), policy
    for tag, where in (("script", "script-src"), ("style", "style-src")):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(inside) == 1
        assert policy[where] == f"'sha256-{base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()}'", tag


# ---- answers ----
def test_typed_streamed_and_shown():
    p = page(pieces("One two three four five six seven eight nine ten.", pause=0.03))
    assert p.eval("document.activeElement.id") == "ask"
    say(p, "Count,\nplease")
    seen = set()
    while p.eval("document.querySelector('#log').getAttribute('aria-busy')") == "true":
        seen.add(last(p))
        time.sleep(0.01)
    assert len(seen) > 4, f"it was not shown as it came: {seen}"
    assert last(p) == "One two three four five six seven eight nine ten."
    assert p.texts(".user") == ["Count,\nplease"]
    stats = p.text(".stats")
    for part in ("57.9 tok/s", "first token 0.", "12 tokens", "prompt 20, 12 cached", "sim graph"):
        assert part in stats, stats
    assert p.text("#used") == "32 of 4,096 tokens" and p.text("#device") == "demo · sim (4 SMs) · graph"
    assert p.eval("document.activeElement.id") == "ask" and p.eval("document.querySelector('#ask').value") == ""
    assert p.text("#title") == "Count,"
    asked = server.asked[0]
    assert asked == {"model": "demo", "messages": [{"role": "user", "content": "Count,\nplease"}], "stream": True,
                     "stream_options": {"include_usage": True}}, asked
    say(p, "Go on", 2)
    assert [m["role"] for m in server.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert server.asked[1]["messages"][1]["content"] == "One two three four five six seven eight nine ten."
    quiet(p)


def test_events_may_be_cut_anywhere():
    text = "Grüße, 世界 🌍! `a\\nb`"
    for end in (b"\n", b"\r\n", b"\r"):
        whole = b": a comment" + end * 2 + b"".join(pieces(text, size=3)).replace(b"\n", end).replace(b"data: [DONE]", b"event: end" + end + b"data:[DONE]")
        # An event's data may be several lines.
        whole += b"ignored: yes" + end * 2
        p = page([whole[i:i + 1] for i in range(len(whole))])
        say(p, "Cut", 1)
        assert last(p) == "Grüße, 世界 🌍! a\\nb" and not p.texts(".error"), (end, last(p), p.texts(".error"))
        quiet(p)
        # The network joins what it likes; so once more by hand, in pieces of 1 to 7 bytes.
        want = ["two\nlines"] + [line[5:].strip() for line in whole.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.startswith("data:")]
        for size in range(1, 8):
            got = p.eval("""await (async () => {
                const all = [], bytes = Uint8Array.from(atob(a), c => c.charCodeAt(0)); let i = 0;
                const body = new ReadableStream({pull(c) { if (i >= bytes.length) c.close(); else c.enqueue(bytes.slice(i, i += b)); }});
                for await (const d of events(body)) all.push(d);
                return all; })()""", base64.b64encode(b"data: two" + end + b"data:lines" + end * 2 + whole).decode(), size)
            assert got == want and len(got) > 8, (end, size, got)
    two = event({"content": "joined"}).replace(b'"index"', b'\ndata: "index"')
    p = page([two, event(finish="stop"), b"data: [DONE]\n\n"])
    say(p, "Lines", 1)
    assert last(p) == "joined"


def test_stop():
    for how in ("key", "button"):
        p = page(pieces("word " * 400, size=5, pause=0.02))
        say(p, "A story")
        p.wait("(document.querySelector('.answer > .text') || {innerText: ''}).innerText.length > 20")
        assert p.eval("document.querySelector('#send').hidden && !document.querySelector('#stop').hidden")
        p.key("Escape") if how == "key" else p.click("#stop")
        p.wait(ANSWERED, 1)
        text = last(p)
        assert p.text(".note") == "stopped" and 20 < len(text) < 1500, text
        end = time.monotonic() + 5
        while not server.gone:  # the server has noticed
            assert time.monotonic() < end, "the request goes on"
            time.sleep(0.02)
        time.sleep(0.2)
        assert last(p) == text and p.eval("document.activeElement.id") == "ask"
        server.reply = lambda body: pieces("Well.")
        say(p, "Go on", 2)
        assert last(p) == "Well." and server.asked[-1]["messages"][1]["content"].strip() == text.strip()
        quiet(p)


def test_thinking_is_folded():
    p = page(pieces("The answer is **4**.", think="Two and two.\n\nThat makes four.", pause=0.03))
    say(p, "2+2?")
    p.wait("(document.querySelector('summary') || {}).innerText === 'Thinking …'")
    p.wait(ANSWERED, 1)
    assert not p.eval("document.querySelector('details.think').open") and p.text("summary") == "Thought"
    assert last(p) == "The answer is 4."
    p.click("summary")
    assert p.eval("document.querySelector('details.think').open") and "That makes four." in p.text("details.think")
    say(p, "And?", 2)
    assert server.asked[1]["messages"][1]["reasoning_content"] == "Two and two.\n\nThat makes four."
    quiet(p)


def test_edit_and_regenerate_are_branches():
    p = page(lambda body: pieces(f"You said {body['messages'][-1]['content']} ({len(server.asked)})"))
    say(p, "one", 1)
    say(p, "two", 2)
    assert p.texts(".answer > .text") == ["You said one (1)", "You said two (2)"]
    p.button("Edit", 0)  # the first message: what came after it is another branch
    assert p.eval("document.activeElement.value") == "one"
    p.type(" more")
    p.key("Enter")
    p.wait(ANSWERED, 1)
    assert p.texts(".user") == ["one more"] and last(p) == "You said one more (3)"
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["one more"]
    assert "2 of 2" in p.texts(".acts")[0]
    p.button("The version before")
    assert p.texts(".user") == ["one", "two"] and p.eval("document.activeElement.dataset.act") == "after"
    p.button("The next version")
    assert p.texts(".user") == ["one more"]
    p.button("Regenerate")
    p.wait("document.querySelector('.answer > .text').innerText === 'You said one more (4)'")
    p.wait(ANSWERED, 1)
    assert "2 of 2" in p.texts(".acts")[1]
    p.button("Ask again", 0)
    p.wait("document.querySelector('.answer > .text').innerText === 'You said one more (5)'")
    p.wait(ANSWERED, 1)
    p.button("Edit", 0)
    p.key("Escape")
    assert p.texts(".user") == ["one more"] and p.eval("document.activeElement.dataset.act") == "edit"
    p.button("Edit")  # the answer: kept as it was written, nothing is asked
    n = len(server.asked)
    p.type(" and so on")
    p.button("Keep")
    assert last(p) == "You said one more (5) and so on" and p.text(".note") == "edited" and len(server.asked) == n
    say(p, "next", 2)
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["one more", "You said one more (5) and so on", "next"]
    quiet(p)


def test_regenerating_ends_what_is_written():
    p = page(lambda body: pieces("word " * 200, size=5, pause=0.02) if len(server.asked) == 1 else pieces("Second."))
    say(p, "Go")
    p.wait("(document.querySelector('.answer > .text') || {innerText: ''}).innerText.length > 10")
    p.button("Ask again", 0)
    p.wait("document.querySelector('.answer > .text').innerText === 'Second.'")
    time.sleep(0.2)
    assert last(p) == "Second." and not p.texts(".error") and "2 of 2" in p.texts(".acts")[1]
    quiet(p)


def test_markdown():
    p = page()
    show = "(() => { const d = document.createElement('div'); showMarkdown(d, a); return d.innerHTML; })()"
    link = '<a href="{0}" rel="noopener noreferrer nofollow" target="_blank">{1}</a>'.format
    cases = [
        ("a **b** *c* `d` ~~e~~ __f__ _g_", "<p>a <strong>b</strong> <em>c</em> <code>d</code> <del>e</del> <strong>f</strong> <em>g</em></p>"),
        ("***x*** **a *b* c**", "<p><strong><em>x</em></strong> <strong>a <em>b</em> c</strong></p>"),
        ("snake_case_name 2 * 3 * 4 a*b", "<p>snake_case_name 2 * 3 * 4 a*b</p>"),
        ("\\*no\\* ``a ` b`` `<b>`", "<p>*no* <code>a ` b</code> <code>&lt;b&gt;</code></p>"),
        ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
        ("# A\n### B #\n####### C", '<h2 class="size1">A</h2><h4 class="size3">B</h4><p>####### C</p>'),
        ("- a\n- b\n  - c\n\n1. x\n2. y", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><ol><li>x</li><li>y</li></ol>"),
        ("3. c\n4. d", '<ol start="3"><li>c</li><li>d</li></ol>'),
        ("1. a\n\n   b\n\n2. c", "<ol><li><p>a</p><p>b</p></li><li>c</li></ol>"),
        ("Steps:\n1. a\n2. b", "<p>Steps:</p><ol><li>a</li><li>b</li></ol>"),
        ("> q\n> r\n\nx", "<blockquote><p>q<br>r</p></blockquote><p>x</p>"),
        ("---\n***", "<hr><hr>"),
        ("[t](https://a.b/c_(d)) <https://x.y/> see https://z.w/q?a=1.", f"<p>{link('https://a.b/c_(d)', 't')} {link('https://x.y/', 'https://x.y/')} "
         f"see {link('https://z.w/q?a=1', 'https://z.w/q?a=1')}.</p>"),
        ("[**b**](http://a.b)", f"<p>{link('http://a.b/', '**b**')}</p>"),
        ("![alt](https://a.b/c.png)", f"<p>{link('https://a.b/c.png', 'alt')}</p>"),
        ("[x](javascript:alert(1)) [y](data:text/html,z) [z](/etc)", "<p>[x](javascript:alert(1)) [y](data:text/html,z) [z](/etc)</p>"),
        ("", ""), ("   \n\n", ""), ("*", "<ul><li></li></ul>"), ("**", "<p>**</p>"), ("`", "<p>`</p>"), ("- ", "<ul><li></li></ul>"),
    ]
    for source, want in cases:
        assert p.eval(show, source) == want, (source, p.eval(show, source))
    table = p.eval(show, "| a | b |\n|:-:|--:|\n| `x|y` | 2 \\| 3 |\n| only |")
    assert '<th class="center" scope="col">a</th><th class="right" scope="col">b</th>' in table, table
    assert '<td class="center"><code>x|y</code></td><td class="right">2 | 3</td>' in table and table.count("<tr>") == 3, table
    for source in ("```py\nx = '<b>'\n\n# no heading\n```\nafter", "```py\nx = '<b>'\n\n# no heading"):  # closed, and while it is written
        code = p.eval(show, source)
        assert "<code>x = '&lt;b&gt;'\n\n# no heading</code>" in code and "<span>py</span>" in code, code
    assert "</div><p>after</p>" in p.eval(show, "```py\nx\n```\nafter")
    inside = p.eval(show, "1. do\n   ```sh\n   make\n     -j\n   ```\n2. done")
    assert "<code>make\n  -j</code>" in inside and "<li>done</li>" in inside, inside
    # However long, and whatever its marks are, a text takes no time that could be felt; nor is depth a danger.
    for bad in ("*a " * 20000, "[" * 20000, "`" * 20000 + " x", "> " * 5000 + "x", "_a" * 20000, "- " * 3000, "|a" * 9000 + "\n" + "|-" * 9000,
                "https://" * 5000, "**a*" * 9000, "[a](" * 9000, "`" .join("``" * (i % 7) for i in range(4000)), "<" * 30000, "~~a*b**" * 5000):
        t = time.monotonic()
        assert p.eval(show + ".length", bad) > 0
        assert time.monotonic() - t < 3, (bad[:10], time.monotonic() - t)
    quiet(p)


def test_what_is_shown_stays_while_more_comes():
    p = page(pieces("First.\n\n```c\nint x;\n```\n\n" + "And a long tail. " * 40, size=8, pause=0.01))
    say(p, "Go")
    p.wait("document.querySelector('.code + p')")  # the code is whole
    p.eval("(window.kept = document.querySelector('.code'), document.querySelector('.code button').focus())")
    p.wait(ANSWERED, 1)
    assert p.eval("window.kept === document.querySelector('.code') && document.activeElement === document.querySelector('.code button')")
    # Its cost is that of what is new: a text of half a megabyte grows by a word as fast as a short one.
    took = p.eval("""(() => { const d = document.createElement('div'), part = 'Some *words* and `code`.\\n\\n', t = []; let s = '';
        for (const n of [100, 20000]) { s = part.repeat(n); showMarkdown(d, s); const from = performance.now();
            for (let i = 0; i < 10; i++) showMarkdown(d, s += ' word'); t.push((performance.now() - from) / 10); } return t; })()""")
    assert took[1] < 50, took
    quiet(p)


def test_copy():
    p = page(pieces("So:\n\n```py\nprint('<x>')\n```\n"))
    say(p, "Code?", 1)
    p.eval("(window.got = [], navigator.clipboard.writeText = async t => { window.got.push(t); }, 1)")
    p.button("Copy this code")
    p.wait("document.querySelector('.code button').innerText === 'Copied'")
    p.button("Copy")
    p.wait("window.got.length === 2")
    assert p.eval("window.got") == ["print('<x>')", "So:\n\n```py\nprint('<x>')\n```\n"]
    quiet(p)


# ---- nothing that is said becomes markup ----
ATTACKS = ["<script>window.hit=1</script>", "<img src=x onerror='window.hit=1'>", "</textarea><svg onload=window.hit=1>",
           "[x](javascript:window.hit=1)", "[x](JaVaScRiPt:window.hit=1)", "![x](data:text/html;base64,PHNjcmlwdD4=)", "<a href='javascript:window.hit=1'>x</a>",
           "```\"><img src=x onerror=window.hit=1>\ncode\n```", "| <img src=x onerror=window.hit=1> | b |\n|---|---|\n| <iframe src=//a.b> | c |",
           "<javascript:window.hit=1>", "<details open ontoggle=window.hit=1>", "[a\"onmouseover=\"window.hit=1](https://a.b/\"onmouseover=\"x)",
           "&lt;script&gt;window.hit=1&lt;/script&gt;", "<style>*{display:none}</style>", "`<img src=x onerror=window.hit=1>`", "<base href=//a.b>"]


def test_markup_stays_text():
    p = page()
    server.model = ATTACKS[1]
    p.load()
    p.wait("document.querySelector('#device').innerText.includes('sim')")
    for n, attack in enumerate(ATTACKS, 1):
        server.reply = lambda body: pieces(attack, think=attack)
        say(p, attack, n)
        if attack.startswith("<"):
            assert last(p) == attack, (attack, last(p))
    server.reply = lambda body: (400, "application/json", json.dumps({"error": {"message": ATTACKS[1]}}).encode())
    say(p, "x", len(ATTACKS) + 1)
    assert p.text(".error") == ATTACKS[1]
    assert p.text("#title") == ATTACKS[0] == p.text("#list .open") and ATTACKS[1] in p.text("#device")
    assert p.texts(".user")[:len(ATTACKS)] == ATTACKS
    for when in ("at once", "from what was kept"):
        made = "main script, img, svg, iframe, base, main style, #log [onerror], #log [onmouseover]"
        assert not p.eval("document.querySelectorAll(a).length", made), when
        assert p.eval("[...document.querySelectorAll('#log a')].every(a => /^https?:/.test(a.href) && a.rel.includes('noopener'))")
        assert p.eval("window.hit === undefined"), when
        p.load()
        p.wait(ANSWERED, len(ATTACKS))
    # The policy itself: what would run, were it ever made, is refused, and nothing is fetched from elsewhere.
    assert p.eval("(() => { try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (e) { return e.name; } })()") == "TypeError"
    assert p.eval("fetch('http://127.0.0.1:9/').then(() => 'went', e => e.name)") == "TypeError"
    p.eval("1")
    assert any("Content Security Policy" in c for c in p.complaints), p.complaints


# ---- what goes wrong is said ----
def test_errors():
    def refuse(status, data, kind="application/json"):
        server.reply = lambda body: (status, kind, data)
    p = page()
    n = 0
    full = "messages: 5000 tokens, the context is 4096"
    for status, data, want in ((400, json.dumps({"error": {"message": full, "param": "messages"}}).encode(), full),
                               (503, b'{"error":{"message":"the queue is full"}}', "the queue is full"),
                               (502, b"Bad gateway <b>", "Bad gateway <b>"), (500, b"", "The server answered 500 Internal Server Error")):
        refuse(status, data)
        n += 1
        say(p, "x", n)
        assert p.texts(".error")[-1] == want, p.texts(".error")
    for reply, want in (([event({"content": "Half "}), b'data: {"error":{"message":"the device failed"}}\n\n'], "the device failed"),
                        ([event({"content": "Half "})], "The connection ended before the answer did"),
                        ([event({"content": "Half "}), 0.3, None], "connection broke")):
        server.reply = lambda body: reply
        n += 1
        say(p, "x", n)
        assert last(p) == "Half" and want in p.texts(".error")[-1], (want, p.texts(".error"))
    server.reply = lambda body: pieces("Cut", finish="length")
    say(p, "x", n + 1)
    assert "limit of tokens" in p.texts(".note")[-1]
    server.reply = lambda body: pieces("Fine.")
    p.button("Regenerate")
    p.wait("[...document.querySelectorAll('.answer > .text')].at(-1).innerText === 'Fine.'")
    # Answers of which nothing came are not sent along.
    assert all(m["content"] for m in server.asked[-1]["messages"])


def test_no_server():
    p = page()
    p.eval("(window.fetch = () => Promise.reject(new TypeError('Failed to fetch')), 1)")
    say(p, "Hello?", 1)
    assert "cannot be reached" in p.text(".error") and p.texts(".user") == ["Hello?"]


def test_api_key():
    p = page()
    server.key = "sk-1"
    p.load()
    p.wait("document.querySelector('#alert').innerText.includes('API key')")
    p.button("Settings")
    p.click("#key")
    p.type("sk-1")
    p.button("Done")
    p.wait("document.querySelector('#alert').innerText === '' && document.querySelector('#device').innerText.includes('sim')")
    say(p, "Hi", 1)
    assert last(p) == "Hello"
    p.load()
    p.wait("document.querySelector('#device').innerText.includes('sim')")  # the browser has kept it
    assert p.eval("document.querySelector('#key').type") == "password" and "sk-1" not in json.dumps(server.asked)


# ---- settings ----
def test_settings_are_sent():
    p = page()
    p.button("Settings")
    assert p.eval("[...document.querySelectorAll('#numbers input')].map(i => [i.id, i.placeholder])") == [
        ["set-temperature", "0.7"], ["set-top_p", "0.8"], ["set-top_k", "20"], ["set-min_p", "0"], ["set-max_tokens", "as it comes"], ["set-seed", "random"]]
    values = {"temperature": "0.25", "top_p": "0.9", "top_k": "40", "min_p": "0.05", "max_tokens": "99", "seed": "7"}
    for name, value in values.items():
        p.click(f"#set-{name}")
        p.type(value)
    p.click("#system")
    p.type("Be brief.")
    p.eval("(e => { e.value = 'off'; e.dispatchEvent(new Event('change')); })(document.querySelector('#thinking'))")
    p.key("Escape")
    p.wait("!document.querySelector('#settings').open && document.activeElement.id === 'ask'")
    for again in (False, True):
        if again:
            p.load()
        say(p, "Hi", 2 if again else 1)
        asked = dict(server.asked[-1])
        assert {k: asked[k] for k in values} == {k: json.loads(v) for k, v in values.items()}, asked
        assert asked["chat_template_kwargs"] == {"enable_thinking": False}
        assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    p.button("New conversation")  # the system prompt is the conversation's
    say(p, "Hi", 1)
    assert server.asked[-1]["messages"][0]["role"] == "user" and server.asked[-1]["seed"] == 7
    p.button("Settings")
    p.click("#set-top_p")
    p.type("5")  # 0.95: more than 1
    p.eval("(e => { e.value = '5'; e.dispatchEvent(new Event('change')); })(document.querySelector('#set-top_p'))")
    assert p.eval("JSON.parse(localStorage.getItem('qmoe-gpu.settings')).top_p") == 0.9
    quiet(p)


# ---- conversations ----
def test_conversations_are_kept():
    p = page(lambda body: pieces(f"To {body['messages'][-1]['content']}"))
    say(p, "First", 1)
    p.button("New conversation")
    assert p.eval("!document.querySelector('.answer')")
    say(p, "Second", 1)
    assert p.texts("#list .open") == ["Second", "First"]
    p.load()
    p.wait(ANSWERED, 1)
    assert p.texts("#list .open") == ["Second", "First"] and p.texts(".user") == ["Second"] and last(p) == "To Second"
    p.button("First")
    assert p.texts(".user") == ["First"] and last(p) == "To First"
    say(p, "More", 2)
    assert p.texts("#list .open") == ["First", "Second"] and [m["content"] for m in server.asked[-1]["messages"]] == ["First", "To First", "More"]
    p.button("Rename First")
    p.type("A better name")
    p.key("Enter")
    assert p.texts("#list .open")[0] == "A better name" == p.text("#title") and p.eval("document.activeElement.innerText") == "A better name"
    p.button("Rename Second")
    p.type("no")
    p.key("Escape")
    assert p.texts("#list .open") == ["A better name", "Second"]
    browser.answer, browser.dialogs[:] = False, []
    p.button("Delete A better name")
    assert len(p.texts("#list .open")) == 2 and "A better name" in browser.dialogs[0]
    browser.answer = True
    p.button("Delete A better name")
    assert p.texts("#list .open") == ["Second"] and p.texts(".user") == ["Second"]
    p.load()
    p.wait(ANSWERED, 1)
    assert p.texts("#list .open") == ["Second"]
    quiet(p)


def test_a_reload_loses_a_second_at_most():
    p = page(pieces("word " * 400, size=5, pause=0.02))
    say(p, "Go")
    p.wait("(document.querySelector('.answer > .text') || {innerText: ''}).innerText.length > 60")
    before = last(p)
    p.load()
    p.wait(ANSWERED, 1)
    assert len(last(p)) >= len(before) - 10 and p.text(".note") == "stopped", (before, last(p))


def test_an_answer_goes_on_behind_another_conversation():
    p = page(lambda body: pieces("word " * 40, size=5, pause=0.02) if body["messages"][-1]["content"] == "long" else pieces("Short."))
    say(p, "long")
    p.wait("document.querySelectorAll('.answer > .text > *').length")
    p.button("New conversation")
    say(p, "short", 1)
    assert last(p) == "Short."
    kept = "JSON.parse(localStorage.getItem('qmoe-gpu.chat.' + chats.find(c => c.title === 'long').id)).nodes[1]"
    p.wait(f"{kept} && !{kept}.note")  # it has ended
    assert p.texts("#list .open") == ["short", "long"]  # its end moves nothing in the list
    p.button("long")
    p.wait("document.querySelector('.answer > .text').innerText.split(' ').length >= 40")
    p.wait(ANSWERED, 1)
    assert not p.texts(".note") and server.asked[0] not in server.gone  # by the request: a page before this may leave late
    quiet(p)


def test_the_end_of_an_answer_is_read():
    p = page(pieces("Hello") + [0.1, b": late\n\n", 0.1, b": later\n\n"])
    say(p, "Hi", 1)  # "[DONE]" ends the answer at once; what the connection still brings is waited for behind it
    time.sleep(0.4)
    assert last(p) == "Hello" and not p.texts(".note") and server.asked[0] not in server.gone
    quiet(p)


def test_two_tabs():
    p = page(lambda body: pieces(f"To {body['messages'][-1]['content']}"))
    say(p, "One", 1)
    q = browser.tab(server.url, p.context)
    q.wait(ANSWERED, 1)
    say(q, "Two", 2)
    p.wait(ANSWERED, 2)
    assert p.texts(".user") == ["One", "Two"]
    say(p, "Three", 3)
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["One", "To One", "Two", "To Two", "Three"]


def test_export_and_import():
    p = page(pieces("Yes, **so**.", think="Hm."))
    say(p, "Well?", 1)
    p.button("Regenerate")
    p.wait("document.querySelectorAll('.acts')[1].innerText.includes('2 of 2')")
    p.wait(ANSWERED, 1)
    folder = tempfile.mkdtemp(dir=TMP)
    p.download_to(folder)
    p.button("Export")
    end = time.monotonic() + 10
    while not (names := [n for n in os.listdir(folder) if n.endswith(".json")]):
        assert time.monotonic() < end, os.listdir(folder)
        time.sleep(0.05)
    path = os.path.join(folder, names[0])
    end = time.monotonic() + 10
    while not os.path.getsize(path) and time.monotonic() < end:
        time.sleep(0.05)
    kept = json.load(open(path))
    assert kept["format"] == "qmoe-gpu conversations" and [n["role"] for n in kept["conversations"][0]["nodes"]] == ["user", "assistant", "assistant"]
    q = page()
    q.choose_file("#import-file", path)
    q.wait("document.querySelectorAll('#list .open').length === 1")
    q.button("Well?")
    assert last(q) == "Yes, so." and "2 of 2" in q.texts(".acts")[1]
    q.choose_file("#import-file", path)  # once more: it is here already
    q.wait("document.querySelector('#status').innerText.startsWith('0 of 1')")
    assert len(q.texts("#list .open")) == 1
    for i, (bad, want) in enumerate((("{", "JSON"), ("[]", "no conversations"), ('{"conversations":[{}]}', "conversation 1: it has no messages"),
                      ('{"conversations":[{"nodes":[{"role":"system","text":"x","up":-1}]}]}', "message 1 is none"),
                      ('{"conversations":[{"nodes":[{"role":"user","text":"x","up":0}]}]}', "message 1 follows one"))):
        path = os.path.join(folder, f"bad{i}.json")
        open(path, "w").write(bad)
        q.choose_file("#import-file", path)
        q.wait("[a, b].every(s => document.querySelector('#alert').innerText.includes(s))", want, f"bad{i}.json was not imported")
        assert len(q.texts("#list .open")) == 1
    quiet(p), quiet(q)


def test_full_storage_is_said():
    p = page(pieces("An answer."))
    p.eval("""(() => { let s = 'x'.repeat(1 << 20);
        for (let i = 0; s.length > 10; i++) try { localStorage.setItem('full' + i, s); } catch { s = s.slice(s.length / 2); } })()""")
    say(p, "Hello", 1)
    assert "storage is full" in p.text("#alert") and last(p) == "An answer."
    quiet(p)


# ---- for everybody ----
def test_keyboard_alone():
    p = page(pieces("Done. [A link](https://a.b/)\n\n```c\nx\n```"))
    seen = []
    for _ in range(60):
        p.key("Tab")
        at = p.eval("""(e => e === document.body ? ["(the window)", true] : [e.id || e.getAttribute('aria-label') || e.innerText, getComputedStyle(e).outlineStyle !== 'none'
            && parseFloat(getComputedStyle(e).outlineWidth) >= 2])(document.activeElement)""")
        if at in seen:
            break
        assert at[1], f"the focus on {at[0]} cannot be seen"
        seen.append(at)
    names = [s[0] for s in seen]
    assert names[(names.index("(the window)") + 1) % len(names)] == "skip", names
    assert {"new", "export", "import", "settings-open", "scroll", "ask", "send"} <= set(names), names
    p.load()
    p.wait("document.querySelector('#device').innerText.includes('sim')")
    p.eval("document.querySelector('.skip').focus()")
    p.key("Enter")
    assert p.eval("document.activeElement.id") == "ask"
    p.type("Hello")
    p.key("Enter")
    p.wait(ANSWERED, 1)
    # Back to the answer's buttons by Shift+Tab, and on: everything there is within reach.
    back = []
    for _ in range(12):
        p.key("Tab", shift=True)
        back.append(p.eval("(e => e.getAttribute('aria-label') || e.innerText)(document.activeElement)"))
    assert {"Regenerate", "Edit", "Copy", "Copy this code", "Code, c", "A link"} <= set(back), back
    p.eval("document.querySelector('#settings-open').focus()")
    p.key("Enter")
    assert p.eval("document.querySelector('#settings').open")
    p.key("Tab"), p.key("Tab")
    assert p.eval("document.querySelector('#settings').contains(document.activeElement)")
    p.key("Escape")
    p.wait("document.activeElement.id === 'ask'")
    quiet(p)


def test_screen_reader():
    p = page(pieces("It is **so**.\n\n| a |\n|---|\n| b |", think="Hm."))
    p.eval("""(() => { const s = document.querySelector('#status'); window.said = [];
        new MutationObserver(() => window.said.push(s.textContent)).observe(s, {childList: true}); })()""")
    say(p, "Is it?", 1)
    told = p.eval("window.said")
    assert told[0] == "Answering" and told[1].startswith("It is so.") and len(told) == 2, told  # the finished text, once
    tree = p.accessible()
    roles = [r for r, _, _ in tree]
    assert roles.count("main") == 1 and roles.count("navigation") == 1 and "status" in roles and "alert" in roles, roles
    assert [n for r, n, q in tree if r == "heading" and q.get("level") == 1] == ["Is it?"]
    for role, name, _ in tree:
        if role in ("button", "textbox", "link", "region", "navigation", "spinbutton", "combobox", "meter", "listitem"):
            assert name or role == "listitem", f"a {role} without a name"
    names = {(r, n) for r, n, _ in tree}
    assert {("textbox", "Message"), ("button", "Send"), ("button", "Regenerate"), ("button", "Rename Is it?"), ("meter", "Context used"),
            ("columnheader", "a")} <= names, sorted(names)
    p.button("Settings")
    dialog = p.accessible()
    assert any(r == "dialog" and n == "Settings" and q.get("modal") for r, n, q in dialog), dialog
    assert {n for r, n, _ in dialog if r in ("spinbutton", "textbox", "combobox")} >= {
        "Temperature", "Top p", "Top k", "Min p", "Most tokens", "Seed", "Thinking", "API key, kept in this browser", "System prompt of this conversation"}
    assert p.eval("document.documentElement.lang") == "en"
    assert p.eval("[...document.querySelectorAll('[id]')].every((e, i, all) => all.findIndex(x => x.id === e.id) === i)")
    quiet(p)


# The lowest ratio of a text's colour to what lies behind it (WCAG 2: 4.5 for text, 3 for borders of controls).
CONTRAST = """(() => {
    const rgb = s => { const m = s.match(/[\\d.]+/g).map(Number); return [...m.slice(0, 3), m.length > 3 ? m[3] : 1]; };
    const light = c => { const [r, g, b] = c.map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const over = (a, b) => a.slice(0, 3).map((x, i) => x * a[3] + b[i] * (1 - a[3]));
    const behind = e => { const all = []; for (; e; e = e.parentElement) all.unshift(rgb(getComputedStyle(e).backgroundColor)); return all.reduce((b, a) => over(a, b), rgb('255,255,255')); };
    const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
    const low = [];
    for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
        const s = getComputedStyle(e), back = behind(e);
        const texts = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (texts) { const r = ratio(over(rgb(s.color), back), back); if (r < 4.5) low.push([e.outerHTML.slice(0, 80), r]); }
        if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.tagName)) {
            const r = ratio(over(rgb(s.borderTopColor), behind(e.parentElement)), behind(e.parentElement)); if (r < 3) low.push(['border ' + e.id, r]);
            const h = ratio(over(rgb(getComputedStyle(e, '::placeholder').color), back), back); if (h < 4.5) low.push(['placeholder ' + e.id, h]);
        }
    }
    return low; })()"""


def test_contrast():
    for scheme in ("light", "dark"):
        p = page(pieces("Text, `code`, [link](https://a.b/), **bold**.\n\n> quote\n\n```c\nx\n```\n\n| a |\n|---|\n| b |\n\n# Title", think="Hm."))
        p.media(prefers_color_scheme=scheme)
        say(p, "Show", 1)
        p.eval("(document.querySelector('details').open = true, 1)")
        server.reply = lambda body: (400, "application/json", b'{"error":{"message":"no"}}')
        say(p, "x", 2)
        p.eval("(complain('Something is wrong'), document.querySelector('.tool').focus(), 1)")
        low = p.eval(CONTRAST)
        assert not low, (scheme, low)
        p.button("Settings")
        assert not p.eval(CONTRAST), (scheme, p.eval(CONTRAST))
        back = p.eval("getComputedStyle(document.body).backgroundColor")
        assert (scheme == "dark") == (sum(int(x) for x in back[4:-1].split(",")) < 200), back


def test_on_a_phone():
    p = page(pieces("A wide thing:\n\n```c\n" + "x" * 300 + "\n```\n\n| a | b |\n|---|---|\n| " + "word " * 60 + "|" + "y" * 200 + " |\n\n" + "z" * 400))
    p.size(320, 640, phone=True)
    p.load()
    p.wait("document.querySelector('#device').innerText.includes('sim')")
    say(p, "Wide", 1)
    assert p.eval("document.documentElement.scrollWidth <= 320 && document.querySelector('#scroll').scrollWidth <= 320"), p.eval("document.querySelector('#scroll').scrollWidth")
    assert p.eval("getComputedStyle(document.querySelector('#side')).display") == "none"
    p.button("Conversations")
    assert p.eval("document.querySelector('#side').checkVisibility() && document.querySelector('#side-open').getAttribute('aria-expanded') === 'true'")
    p.key("Escape")
    assert p.eval("!document.querySelector('#side').checkVisibility() && document.activeElement.id === 'side-open'")
    p.button("Conversations")
    p.button("New conversation")
    assert p.eval("!document.querySelector('#side').checkVisibility() && !document.querySelector('.answer')")
    assert p.eval("""[...document.querySelectorAll('header button, #form button, #side button')].filter(b => b.checkVisibility())
        .map(b => b.getBoundingClientRect()).filter(r => r.height < 32 || r.width < 32).length""") == 0, "too small for a finger"
    p.button("Settings")
    assert p.eval("(r => r.left >= 0 && r.right <= 320)(document.querySelector('#settings').getBoundingClientRect())")
    quiet(p)


def test_reduced_motion():
    p = page([event({"role": "assistant"}), 1.0, event({"content": "x"}), event(finish="stop"), usage(1, 1), b"data: [DONE]\n\n"])
    say(p, "x")
    p.wait("document.querySelector('.busy')")
    name = "getComputedStyle(document.querySelector('.busy'), '::after').animationName"
    assert p.eval(name) == "blink"
    p.media(prefers_reduced_motion="reduce")
    assert p.eval(name) == "none"


def test_nothing_is_fetched_from_elsewhere():
    p = page()
    say(p, "Hello", 1)
    urls = p.eval("performance.getEntriesByType('resource').map(e => e.name)")
    assert urls and all(u.startswith(server.url) for u in urls), urls
    quiet(p)


if __name__ == "__main__":
    try:
        tap.main(__import__("__main__"))
    finally:
        if browser:
            browser.close()
            server.close()
