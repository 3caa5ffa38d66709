"""The demo model as it is committed: the file that the goldens and the model card speak of, small enough, and
quick enough through the program. What it says is tests/unit/unit_demo.c's."""
import hashlib, json, os, shutil, subprocess, sys, tempfile, time
import tap

BIN = os.environ.get("QMOE_BIN") or "build/qmoe-gpu"
MODEL = "models/demo.gguf"
# Answers that the project promised before there was a model.
PROMISED = {"What is 2+2?": "2 + 2 = 4", "Capital of France:": "The capital of France is Paris.",
            "Translate to Spanish: Hello world": "¡Hola mundo!", "Count to 5:": "1, 2, 3, 4, 5",
            "List 3 colors:": "Red, blue, and green."}


def goldens():
    with open("tests/golden/demo.json", encoding="utf-8") as f:
        return json.load(f)


def test_the_file_is_the_one_that_is_spoken_of():
    with open(MODEL, "rb") as f:
        data = f.read()
    sha = hashlib.sha256(data).hexdigest()
    assert len(data) <= 16 * 10**6, len(data)
    assert goldens()["model"] == sha, sha
    with open("models/README.md", encoding="utf-8") as f:
        card = f.read()
    assert sha in card and f"{len(data):,}" in card, "the model card speaks of another file"
    with open("tests/golden/demo_llama.txt", encoding="utf-8") as f:
        assert sha in f.read(), "llama.cpp's answers are those of another file"


def test_the_promised_answers_are_among_the_goldens():
    rows = goldens()["goldens"]
    answer = {g["prompt"]: g["answer"] for g in rows}
    assert len(answer) == len(rows) >= 30, (len(answer), len(rows))
    for prompt, want in PROMISED.items():
        assert answer[prompt] == want, (prompt, answer[prompt])


def test_the_first_answer_comes_soon():
    """With an empty kernel cache, as on a machine that never ran the program; and decoding at 8 tok/s or more."""
    env = dict(os.environ, QMOE_CACHE=tempfile.mkdtemp(dir=os.environ.get("QMOE_TEST_TMP")))
    t0 = time.monotonic()
    p = subprocess.run([BIN, "generate", "--json", "-q", "--device", "sim", "-m", MODEL, "-p", "What is 2+2?"], stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=120, env=env)
    s = time.monotonic() - t0
    shutil.rmtree(env["QMOE_CACHE"])
    assert p.returncode == 0, p.stderr.decode()[-2000:]
    said = json.loads(p.stdout)
    assert said["text"] == PROMISED["What is 2+2?"] and said["finish_reason"] == "eog", said
    assert s < 15, f"{s:.1f} s to the first answer"
    free = goldens()["continuation"]
    p = subprocess.run([BIN, "generate", "--json", "-q", "--device", "sim", "-m", MODEL, "--raw", "-p", free["prompt"], "-n", "64"],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    said = json.loads(p.stdout)
    assert free["text"].startswith(said["text"]), said["text"]
    rate = said["decode"]["tokens_per_second"]
    assert rate >= 8, f"{rate:.1f} tok/s"
    print(f"# first answer after {s:.1f} s, {rate:.0f} tok/s")


if __name__ == "__main__":
    tap.main(sys.modules["__main__"])
