"""needs.py: the Python packages that a tool needs, from a virtual environment of its own.

    from needs import needs
    needs("gguf", {"gguf": "gguf==0.19.0", "numpy": "numpy"})     # module: what pip is to install

returns at once where the modules can be imported. Else the script starts again under the interpreter
that QMOE_PYTHON names, or under that of build/NAME-venv, which is made and filled first."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def show_help(doc):
    """Answers -h and --help with a script's docstring: before it imports what may not be there."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(doc.strip())
        sys.exit(0)


def needs(name, packages):
    lacking = [m for m in packages if importlib.util.find_spec(m) is None]
    if not lacking:
        return
    if os.environ.get("QMOE_NEEDS_AGAIN"):
        sys.exit(f"{Path(sys.argv[0]).name}: {sys.executable} lacks {', '.join(lacking)}")
    python = os.environ.get("QMOE_PYTHON")
    if not python:
        venv = ROOT / "build" / f"{name}-venv"
        python, have = str(venv / "bin" / "python"), venv / "installed"
        old = have.read_text().splitlines() if have.exists() else []
        todo = [p for p in packages.values() if p not in old]
        if todo:
            print(f"{Path(sys.argv[0]).name}: installing {', '.join(todo)} into {venv.relative_to(ROOT)}", file=sys.stderr)
            if not old:
                subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *todo], check=True)
            have.write_text("\n".join(old + todo) + "\n")
    os.execve(python, [python, *sys.argv], dict(os.environ, QMOE_NEEDS_AGAIN="1"))
