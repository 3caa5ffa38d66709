"""Free prose out of Debian's documentation packages: clean running paragraphs, joined to documents."""
import collections
import gzip
import html.parser
import os
import re
import subprocess
import sys
import unicodedata

# package, pattern of the files inside it that count, licence
PACKAGES = [
    ("debian-handbook", r"usr/share/doc/debian-handbook/html/en-US/.*\.html$",
     "GPL-2+ or CC-BY-SA-3.0"),
    ("debian-reference-en", r"usr/share/.*\.en\.html$", "GPL-2+"),
    ("git-doc", r".*/(user-manual|everyday|git.*|howto/.*|technical/.*)\.html$", "GPL-2"),
    ("python3.11-doc", r".*/html/(tutorial|howto|faq|reference|whatsnew|library)/.*\.html$|.*/glossary\.html$",
     "PSF-2.0"),
    ("maint-guide", r".*\.en\.html$", "GPL-2+"),
    ("developers-reference", r".*/developers-reference/[a-z-]*\.html$", "GPL-2+"),
    ("debian-policy", r".*/policy\.html/.*\.html$", "GPL-2+"),
    ("sqlite3-doc", r".*/sqlite3/[a-z0-9_]+\.html$", "public domain"),
    ("gnome-user-docs", r"usr/share/help/C/gnome-help/.*\.page$", "CC-BY-SA-3.0"),
    ("postgresql-doc-15", r".*/html/[a-z0-9-]+\.html$", "PostgreSQL"),
    ("doc-debian", r".*(FAQ|constitution|social-contract|manifesto|mailing|bug).*", "GPL-2+"),
]
MOST_BYTES = 1_000_000
SKIP_TAGS = {"pre", "table", "script", "style", "nav", "head", "code-block", "footer", "header"}
VOID = {"br", "img", "hr", "meta", "link", "input", "wbr", "col", "area", "base"}
SIMPLE = {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": " - ", "…": "...", "\u00a0": " ",
          "\u00ad": "", "\u200b": "", "«": '"', "»": '"', "→": "->", "¶": ""}
COMMON = set("the of and to in a is that it for as with be by on are this you or not can from an which have if will "
             "was but at when all one has more other there use they he his him unto shall your we my i".split())


class Paragraphs(html.parser.HTMLParser):
    """Text of <p> elements outside of tables, listings and navigation."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.skip, self.text, self.out = [], None, []

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            if tag == "br" and self.text is not None:
                self.text.append(" ")
            return
        cls = dict(attrs).get("class") or ""
        bad = tag in SKIP_TAGS or re.search(r"sphinxsidebar|navheader|navfooter|related|highlight|programlisting|"
                                            r"screen|headerlink|footer|copyright|toc\b", cls)
        if bad or (self.skip and self.skip[-1][0] == tag):
            self.skip.append((tag, bool(bad)))
        elif (tag == "p" or tag == "div" and cls == "para") and not self.skip:
            self.flush()
            self.text = []
        elif tag in ("ul", "ol", "dl", "div", "li", "h1", "h2", "h3", "h4") and not self.skip:
            self.flush()

    def handle_endtag(self, tag):
        if self.skip:
            if self.skip[-1][0] == tag:
                self.skip.pop()
        elif tag in ("p", "div"):
            self.flush()

    def handle_data(self, data):
        if self.text is not None and not self.skip:
            self.text.append(data)

    def flush(self):
        if self.text:
            self.out.append("".join(self.text))
        self.text = None


def tidy(text):
    """One line of NFC text with plain quotes and dashes."""
    for a, b in SIMPLE.items():
        text = text.replace(a, b)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def readable(par, least=90):
    """True for a paragraph of ordinary English sentences."""
    if not least <= len(par) <= 2500 or not par[0].isupper() and par[0] != '"' or par[-1] not in '.?!"':
        return False
    if any(ord(c) > 0x17F or c in "\\|<>{}^~@#=$_[]" for c in par):
        odd = sum(ord(c) > 0x17F or c in "\\|<>{}^~@#=$_[]" for c in par)
        if odd > 1 or any(ord(c) > 0x17F for c in par):
            return False
    letters = sum(c.isalpha() or c == " " for c in par)
    words = re.findall(r"[a-z']+", par.lower())
    if letters < 0.91 * len(par) or len(words) < 9 or "://" in par or "..." in par[:-3]:
        return False
    if max(len(w) for w in par.split()) > 30 or re.search(r"--|::|\(\)|/[a-z]+/", par):
        return False
    return sum(w in COMMON for w in words) >= 0.32 * len(words)


def documents(pars, rng, least=100, most=700):
    """Runs of paragraphs of one file joined to documents of about least to most words."""
    out, cur, n, goal = [], [], 0, rng.randint(least, most)
    for p in pars:
        cur.append(p)
        n += len(p.split())
        if n >= goal:
            out.append("\n\n".join(cur))
            cur, n, goal = [], 0, rng.randint(least, most)
    if n >= 40:
        out.append("\n\n".join(cur))
    return out


def unpack(package, cache):
    """(folder, version) of the unpacked package, fetched with apt-get when the cache lacks it."""
    os.makedirs(os.path.join(cache, "x"), exist_ok=True)

    def found():
        debs = [f for f in sorted(os.listdir(cache)) if f.startswith(package + "_") and f.endswith(".deb")]
        return debs[-1] if debs else None
    if not found():
        subprocess.run(["apt-get", "-q", "download", package], cwd=cache, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deb = found()
    folder = os.path.join(cache, "x", package)
    if not os.path.isdir(folder):
        subprocess.run(["dpkg-deb", "-x", os.path.join(cache, deb), folder + ".part"], check=True)
        os.rename(folder + ".part", folder)  # never a half-unpacked folder
    return folder, deb.split("_")[1].replace("%3a", ":")


def text_of(path):
    """Text of a file that may be gzipped and may be latin-1."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
        data = f.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def from_package(package, pattern, cache, seen):
    """([paragraphs of one file], version): each paragraph once, whatever file repeats it."""
    folder, version = unpack(package, cache)
    out = []
    for root, dirs, files in os.walk(folder):
        dirs.sort()
        for name in sorted(files):
            path = os.path.join(root, name)
            inside = os.path.relpath(path, folder)
            if not re.match(pattern, inside) or os.path.islink(path):
                continue
            text = text_of(path)
            if name.endswith((".html", ".page")):
                parser = Paragraphs()
                parser.feed(text)
                parser.flush()
                pars = parser.out
            else:
                pars = re.split(r"\n\s*\n", text)
            pars = [tidy(p) for p in pars]
            keep = []
            for p in pars:
                p = re.sub(r"\s*\[[0-9]+\]", "", p)
                if p not in seen and readable(p):
                    seen.add(p)
                    keep.append(p)
            out.append(keep)
    return out, version


def words_of(par):
    return set(re.findall(r"[a-z]+", par.lower()))


def plain(files, count, often=10, share=0.94):
    """The paragraphs nearly all of whose words stand in at least `often` paragraphs."""
    for pars in files:
        yield [p for p in pars if sum(count[w] >= often for w in words_of(p)) >= share * len(words_of(p))]


def collect(cache, rng):
    """[(source, text)] and a table of the packages."""
    docs, table, seen, got = [], [], set(), []
    for package, pattern, licence in PACKAGES:
        try:
            files, version = from_package(package, pattern, cache, seen)
        except (OSError, subprocess.CalledProcessError, AttributeError) as e:
            print("prose: %s is missing: %s" % (package, e), file=sys.stderr)
            table.append({"package": package, "missing": str(e)})
            continue
        got.append((package, version, licence, files))
    count = collections.Counter(w for p in sorted(seen) for w in words_of(p))
    for package, version, licence, files in got:
        texts = [d for pars in plain(files, count) for d in documents(pars, rng)]
        while sum(map(len, texts)) > MOST_BYTES:  # no single package may set the tone
            texts.pop(rng.randrange(len(texts)))
        docs += [("prose/" + package, t) for t in texts]
        table.append({"package": package, "version": version, "licence": licence, "documents": len(texts),
                      "bytes": sum(len(t.encode()) for t in texts)})
    return docs, table


if __name__ == "__main__":
    import random
    got, packages = collect(sys.argv[1], random.Random(1))
    for row in packages:
        print(row)
    for source, doc in random.Random(2).sample(got, 6):
        print("==", source, "\n" + doc[:600])
