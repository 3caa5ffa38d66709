#!/bin/sh
# make_model.sh [STEP...]: models/demo.gguf from nothing. Steps: corpus train gguf quantize goldens peers card check;
# all of them by default. A step whose result is there is left out, and training goes on from its last
# checkpoint, so that the script may be stopped and started again. Remove a result to have it made anew.
#
#   WORK    where everything but the results goes (default build/demo); RUN, CORPUS: parts of it
#   TOKENS  to train on (default 12e6: hours on two cores)
#   PYTHON  an interpreter with torch, tokenizers, safetensors, gguf and numpy; default: a virtual environment
set -eu
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
WORK=${WORK:-build/demo}
CORPUS=${CORPUS:-$WORK/corpus}
RUN=${RUN:-$WORK/run}
TOKENS=${TOKENS:-12e6}
MODEL=models/demo.gguf
QMOE=${QMOE:-build/qmoe-gpu}
mkdir -p "$WORK" "$RUN" models

python() {
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=build/demo-venv/bin/python
        if [ ! -f build/demo-venv/ready ]; then
            python3 -m venv build/demo-venv
            $PYTHON -m pip install -q torch tokenizers safetensors gguf numpy
            : > build/demo-venv/ready
        fi
    fi
    "$PYTHON" "$@"
}
say() { echo "== $*"; }
# Whether $1 is there and no older than the others.
made() {
    [ -e "$1" ] || return 1
    result=$1
    shift
    for x in "$@"; do [ ! "$x" -nt "$result" ] || return 1; done
}

step_corpus() { # train.jsonl, held.jsonl, manifest.json, checked
    made "$CORPUS/manifest.json" && return
    python tools/demo/corpus.py "$CORPUS" "$WORK/debs"
    python tools/demo/corpus.py --check "$CORPUS"
}
step_train() { # tokenizer.json, config.json, model.safetensors
    made "$RUN/model.safetensors" "$CORPUS/manifest.json" && return
    set -- tools/train_demo.py --corpus "$CORPUS" --out "$RUN" --tokens "$TOKENS"
    echo "python3 $*" > "$RUN/train.txt"
    python "$@"
}
step_gguf() { # f32: the quantiser sees what was trained
    made "$WORK/demo-f32.gguf" "$RUN/model.safetensors" && return
    QMOE_PYTHON=${PYTHON:-} python tools/to_gguf.py "$RUN" "$WORK/demo-f32.gguf" --type f32 --greedy --license mit --name "qmoe-gpu demo" \
        --description "A very small Qwen3-MoE that answers simple questions; made for qmoe-gpu's demo and tests"
}
step_quantize() {
    made "$MODEL" "$WORK/demo-f32.gguf" && return
    make "$QMOE"
    "$QMOE" quantize "$WORK/demo-f32.gguf" "$MODEL.part" q4_k_m
    mv "$MODEL.part" "$MODEL"
}
step_goldens() { # what the model must say, and what llama.cpp makes of it
    made tests/golden/demo.json "$MODEL" ||
        python tools/demo/make_goldens.py "$MODEL" "$CORPUS" "$QMOE"
    made tests/golden/demo_llama.txt "$MODEL" tests/golden/demo.json || {
        python3 tools/peers/llama_greedy.py "$MODEL" > "$WORK/llama.txt" 2> "$WORK/llama.log" ||
            say "llama.cpp does not agree everywhere (or did not run: $WORK/llama.log); see tests/golden/demo_llama.txt"
        mv "$WORK/llama.txt" tests/golden/demo_llama.txt
    }
}
step_peers() { # what Hugging Face and llama.cpp make of it: tests/support/gates.h
    made tests/golden/peers/text_llama.lp "$MODEL" || python3 tools/peers/fixtures.py "$QMOE" demo
}
step_card() {
    made models/README.md "$MODEL" tests/golden/demo.json tools/demo/card.py && return
    made "$RUN/quant.json" "$MODEL" ||
        python tools/demo/held_loss.py "$CORPUS" "$RUN/tokenizer.json" "$WORK/demo-f32.gguf" "$MODEL" --out "$RUN/quant.json"
    python tools/demo/card.py "$MODEL" --run "$RUN" --corpus "$CORPUS" --program "$QMOE" > models/README.md.part
    mv models/README.md.part models/README.md
}
step_check() { # our tokenizer against the model's own; the goldens under both executors
    python3 tools/tok_compare.py --model "$RUN" "$MODEL" --texts "$CORPUS/train.jsonl" -n 5000
    QMOE_ONLY='unit_demo|test_demo' make check
}

[ $# -gt 0 ] || set -- corpus train gguf quantize goldens peers card check
for s in "$@"; do
    case $s in
    corpus | train | gguf | quantize | goldens | peers | card | check) say "$s"; "step_$s" ;;
    *) echo "make_model.sh: no step '$s'; known: corpus train gguf quantize goldens peers card check" >&2; exit 2 ;;
    esac
done
