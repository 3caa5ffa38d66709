"""jinja_texts.py: other people's chat templates, from the Python packages that carry them. Their texts are not ours to
hand on: tests/golden/jinja/qwen.json has their digests and where they are, and this fetches them once.

    texts(folder, templates)    templates: [{"name", "package": "trl==1.16.0", "path": in the wheel, "sha256"}]

returns {name: text}. A path that ends in .json is a list of models, of which the first one's chat_template counts.
What is fetched stays in folder. A text with another digest is an error."""
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def pip(folder):
    """A Python that has pip: this one, or that of a virtual environment in folder."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return sys.executable
    venv = folder / "venv"
    if not (venv / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    return str(venv / "bin" / "python")


def texts(folder, templates):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for package in sorted({t["package"] for t in templates}):
        here = [t for t in templates if t["package"] == package]
        if all((folder / f"{t['name']}.jinja").exists() for t in here):
            continue
        with tempfile.TemporaryDirectory(dir=folder) as tmp:
            subprocess.run([pip(folder), "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-cache-dir",
                            "--only-binary=:all:", "-d", tmp, package], check=True)
            wheel = zipfile.ZipFile(next(Path(tmp).glob("*.whl")))
            for t in here:
                raw = wheel.read(t["path"])
                if t["path"].endswith(".json"):
                    raw = json.loads(raw)[0]["chat_template"].encode()
                (folder / f"{t['name']}.jinja").write_bytes(raw)
    out = {}
    for t in templates:
        raw = (folder / f"{t['name']}.jinja").read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        if digest != t.get("sha256", digest):
            raise ValueError(f"{folder / t['name']}.jinja of {t['package']} has the digest {digest}, not {t['sha256']}")
        out[t["name"]] = raw.decode()
    return out
