#!/bin/sh
# gpu_check.sh: everything that a GPU can tell about qmoe-gpu, in one command and under nine minutes.
#
#   tools/gpu_check.sh [--device cuda:0|sim] [--out DIR] [--only STEP[,STEP]] [--list]
#                      [--model FILE] [--dir DIR] [--keep] [--peer LLAMA-BENCH] [--budget SECONDS]
#
# Runs from an unpacked `make dist` tarball, or from a source tree that has been built (B=build). Needs a
# shell, coreutils and awk. The steps that decide most come first. Each has a time limit of its own; one that fails does
# not stop the next. What is known is in DIR at any time, two seconds old at most, however the run ends: at most eight
# files (default ./gpu_check-DATE, or $OUT where that is set), each whole:
#   summary.json summary.txt   machine, commit, for each step result, seconds, key figure; clocks while decoding, peer
#   checks.txt                 what the doctor, the opcode tests, the kernel checks and the goldens printed
#   bench.json perop.json micro.json kernels.json   the measurements (docs/gpu-check.md says how to read them)
#   tools.txt                  compute-sanitizer, ncu, and whatever else was printed
# Settings of the GPU (clocks, power, modes) are read and never changed. Exit status 1 if a step failed.
#
#   --model FILE   measure this model instead of writing a synthetic 30B (17.3 GiB) into --dir (default: the
#                  first of $TMPDIR, /tmp, /var/tmp, ., /dev/shm with room); --keep leaves it there
#   --peer PATH    also runs this llama-bench on the same file, by turns with ours, and prints the ratio
#   --budget N     all limits together, default 540; each step gets its share, so a slower machine wants more
#   --device sim   the same on the software device with a tiny model: for trying this script
set -u

# Does it run at all; what every estimate of speed waits for (barrier to read); is it right; how fast is the whole.
STEPS="doctor isa barrier nodes hint stamps sweep read kernels goldens sanitizer synth decode rungs perop micro bench ncu"
# Shares of the budget: seconds when it is 540.
limit_of() {
    case $1 in
    doctor) echo 10 ;; isa) echo 30 ;; barrier) echo 10 ;; nodes) echo 10 ;; hint) echo 10 ;; stamps) echo 25 ;;
    sweep) echo 30 ;; read) echo 15 ;; kernels) echo 40 ;; goldens) echo 60 ;; sanitizer) echo 30 ;; synth) echo 45 ;;
    decode) echo 60 ;; rungs) echo 90 ;; perop) echo 30 ;; micro) echo 5 ;; bench) echo 25 ;; ncu) echo 15 ;;
    peer) echo 240 ;; # beyond the budget: asked for by name
    esac
}
proves() {
    case $1 in
    doctor) echo "driver, GPU and NVRTC are there" ;;
    isa) echo "every opcode test of tests/isa, the GPU against C and the software device; then one kernel, matvec" ;;
    barrier) echo "what a barrier of the whole grid costs, and a hop from CTA to CTA" ;;
    nodes) echo "what a node of a graph costs, plain and as a dependent launch" ;;
    hint) echo "whether prefetches bring what is read next, idle and beside loads that keep the memory busy" ;;
    stamps) echo "the time of each op of two layers of the 30B at depths 0 and 4096, attention and the choice of experts above all" ;;
    sweep) echo "the streaming kernels in every geometry: tiles, warps, parts" ;;
    read) echo "the bandwidth of plain reads from DRAM" ;;
    kernels) echo "every kernel check: the GPU against the C reference" ;;
    goldens) echo "whole models: logits of Hugging Face, the reference op by op, determinism, answers of the demo" ;;
    sanitizer) echo "compute-sanitizer over a small model: memcheck, racecheck, synccheck, initcheck" ;;
    synth) echo "the synthetic 30B is written to local disk" ;;
    decode) echo "load, and tokens per second at depths 0, 4096, 32768, as a graph and by the persistent kernel; a prompt of 512" ;;
    rungs) echo "what each rung of the ladder brings: a step with and without it, the same bits, one table" ;;
    perop) echo "the time of each op of a step at those depths" ;;
    micro) echo "what is left of the microbenchmarks: reads from L2, copies" ;;
    bench) echo "each kernel alone at the 30B's shapes" ;;
    ncu) echo "hardware counters of the three largest kernels" ;;
    peer) echo "llama-bench on the same file, by turns with ours" ;;
    esac
}

usage() { sed -n '2,/^set -u/{s/^# \{0,1\}//;/^set -u/d;p;}' "$0"; }
die() { echo "gpu_check: $*" >&2; exit 2; }

# ---- options -----------------------------------------------------------------------------------------
if [ "${1:-}" != --step ]; then
    device=cuda:0 out=${OUT:-} only= model= dir= keep= peer= budget=540
    while [ $# -gt 0 ]; do
        case $1 in
        --device | --out | --only | --model | --dir | --peer | --budget)
            [ $# -gt 1 ] || die "$1 wants a value"
            eval "${1#--}=\$2"
            shift ;;
        --keep) keep=1 ;;
        --list)
            for s in $STEPS peer; do printf '%-10s %4s s  %s\n' "$s" "$(limit_of "$s")" "$(proves "$s")"; done
            exit 0 ;;
        -h | --help) usage; exit 0 ;;
        *) die "no option $1 (--help shows them)" ;;
        esac
        shift
    done
    case $budget in '' | *[!0-9]*) die "--budget $budget: a number of seconds" ;; esac
    for s in $(echo "$only" | tr , ' '); do
        case " $STEPS peer " in *" $s "*) ;; *) die "--only $s: no such step (--list shows them)" ;; esac
    done
    case " $(echo "$only" | tr , ' ') " in *" peer "*) [ -n "$peer" ] || die "--only peer wants --peer PATH" ;; esac
    here=$(pwd)
    absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
    [ -z "$model" ] || { model=$(absolute "$model"); [ -r "$model" ] || die "--model $model cannot be read"; }
    [ -z "$dir" ] || { dir=$(absolute "$dir"); mkdir -p "$dir" || die "--dir $dir cannot be made"; }
    case $peer in */*) peer=$(absolute "$peer") ;; esac
    [ -n "$out" ] || out=gpu_check-$(date -u +%Y%m%dT%H%M%SZ)
    out=$(absolute "$out")
    [ -z "${B:-}" ] || B=$(absolute "$B")
    cd "$(dirname "$0")/.." || exit 2
    B=${B:-$(pwd)/build}
    [ -x "$B/qmoe-gpu" ] || die "$B/qmoe-gpu is not there: unpack the whole tarball, or build (make all tests bench)"
    command -v timeout >/dev/null || die "no timeout(1): coreutils is needed"
    mkdir -p "$out" || die "$out cannot be made"
    W=$(mktemp -d "${TMPDIR:-/tmp}/gpu_check.XXXXXX") || exit 2
    QMOE_TEST_DEVICE=$device QMOE_TEST_TMP=$W QMOE_CACHE=$W/cache CMOCKA_MESSAGE_OUTPUT=TAP
    QMOE_BIN=$B/qmoe-gpu
    # The driver's cache of compiled kernels: shared by all steps, and none of an older run.
    CUDA_CACHE_PATH=$W/nv
    export CUDA_CACHE_PATH B W device peer model dir QMOE_BIN QMOE_TEST_DEVICE QMOE_TEST_TMP QMOE_CACHE CMOCKA_MESSAGE_OUTPUT
    # NVIDIA's Python wheels have an NVRTC where no toolkit is installed; the program looks in the other places.
    if [ -z "${QMOE_NVRTC:-}" ] && ! "$B/qmoe-gpu" doctor 2>/dev/null | grep -q '^nvrtc.*/'; then
        py='import glob, sys; print("\n".join(g for p in sys.path for g in glob.glob(p + "/nvidia/*/lib/libnvrtc.so.1[23]")))'
        wheel=$(python3 -c "$py" 2>/dev/null | head -n 1)
        if [ -n "$wheel" ]; then QMOE_NVRTC=$wheel; export QMOE_NVRTC; fi
    fi
fi

# ---- what steps use ------------------------------------------------------------------------------------
sim() { [ "$device" = sim ]; }
figure() { echo "$*" > "$W/$step.figure"; } # the step's key figure, one line
skip() { figure "$*"; exit 77; }
have() { command -v "$1" >/dev/null 2>&1; }
# limited SECONDS COMMAND...: a limit inside the step's own. timeout(1) leads a process group of its own, which
# the end of the step would not reach: hence the trap, lest a program that hangs goes on beside the next step.
limited() {
    timeout -k 2 "$@" &
    inner=$!
    wait $inner
}

# Runs test programs, and counts what their TAP says. A program that dies or runs nothing is a failure.
run_tests() {
    : > "$W/$step.tap"
    bad=0 programs=0
    for p in "$@"; do
        case $p in *.py) [ -f "$p" ] && have python3 || continue; with=python3 ;; *) [ -x "$p" ] || continue; with= ;; esac
        programs=$((programs + 1))
        n=$(basename "$p")
        echo "== $n"
        # One that hangs leaves time for the others.
        limited $((limit / 2 + 1)) $with "$p" > "$W/one.tap" 2>&1
        rc=$?
        cat "$W/one.tap"
        cat "$W/one.tap" >> "$W/$step.tap"
        if [ $rc != 0 ] || ! grep -q '^\(not \)\{0,1\}ok' "$W/one.tap"; then
            bad=1
            echo "== $n: exit status $rc$([ $rc != 124 ] || echo ", stopped after $((limit / 2 + 1)) s")"
            echo "$n" >> "$W/$step.bad"
        fi
        # What the summary would say if the time limit struck now.
        awk -v n=$programs '
            /^not ok.*# *SKIP/ { s++; next } /^ok.*# *SKIP/ { s++; next } /^not ok/ { f++ } /^ok/ { p++ }
            END { printf "%d passed, %d failed, %d skipped, programs %d", p, f, s, n }' "$W/$step.tap" > "$W/$step.count"
        figure "$(cat "$W/$step.count")$([ ! -f "$W/$step.bad" ] || printf ', bad: %s' "$(paste -sd ' ' "$W/$step.bad")")"
    done
    [ $programs -gt 0 ] || skip "not built: none of these test programs is in $B/tests"
    return $bad
}

# The number behind "key": in JSON text, from records whose text matches, one a line.
numbers() { tr -d '\n' < "$1" | tr '{}' '\n\n' | grep -o "\"$2\": *[-0-9.eE+]*" | sed 's/.*: *//'; }

# One JSON array of a file with one record a line (the last may have been cut off).
array() { awk 'BEGIN { print "[" } /^[{].*[}]$/ { if (n++) print ","; printf "%s", $0 } END { print "\n]" }' "$1"; }

# The executor graph, unless another is named: auto would be another on another GPU.
executor_of() { case " $* " in *" --executor "*) ;; *) echo "--executor graph" ;; esac; }
bench() { "$B/qmoe-gpu" bench -m "$M" --device "$device" $(executor_of "$@") "$@"; }
depths() { if sim; then echo 0 16 48; else echo 0 4096 32768; fi; }

# ---- the steps -------------------------------------------------------------------------------------------
# Each runs in a process of its own with its output in a log; status 77 means skipped.
step_doctor() {
    "$B/qmoe-gpu" doctor || exit 1
    "$B/qmoe-gpu" doctor --json > "$W/doctor.json" || exit 1
    echo "== system"
    uname -srm
    ldd --version 2>/dev/null | head -n 1
    df -Pk . "${TMPDIR:-/tmp}" 2>/dev/null
    if have nvidia-smi; then
        echo "== nvidia-smi"
        nvidia-smi -q -d CLOCK,POWER,PERFORMANCE,TEMPERATURE,ECC,MEMORY
    fi
    if sim; then figure "sim: $(sed -n 's/^sim  *//p' "$W/doctor.log" | head -n 1)"; exit 0; fi
    line=$(sed -n "s/^$device  *//p" "$W/doctor.log" | head -n 1)
    figure "${line:-no $device: $(sed -n 's/^driver  *//p' "$W/doctor.log" | head -n 1)}"
    case $line in '' | *'does not work'*) exit 1 ;; esac
}

step_isa() {
    run_tests "$B/tests/check_isa" "$B/tests/check_matvec"
    rc=$?
    against=$(grep -o 'against sim: .*' "$W/isa.tap" | tail -n 1)
    [ -z "$against" ] || figure "$(cat "$W/isa.figure"); $against"
    exit $rc
}

step_kernels() {
    set --
    for p in "$B"/tests/check_*; do case $p in */check_isa | */check_matvec) ;; *) set -- "$@" "$p" ;; esac; done
    run_tests "$@"
}

# The tests that run whole models on the device of QMOE_TEST_DEVICE.
step_goldens() {
    run_tests "$B/tests/unit_hf" "$B/tests/unit_parity" "$B/tests/unit_engine" "$B/tests/unit_walk" "$B"/tests/unit_demo* \
        "$B/tests/unit_upload" "$B/tests/unit_nvrtc" "$B/tests/unit_perop" "$B/tests/unit_bench" tests/cli/test_demo.py "$B/tests/unit_gates_demo"
}

step_sanitizer() {
    tool=compute-sanitizer
    have $tool || tool=$(ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
    [ -n "$tool" ] || skip "no compute-sanitizer here"
    "$B/qmoe-gpu" synth -o "$W/small.gguf" --layers 2 || exit 1
    said= bad=0
    for t in memcheck racecheck synccheck initcheck; do
        echo "== $t"
        limited $((limit / 4)) $tool --tool $t --error-exitcode 9 --print-limit 20 \
            "$B/qmoe-gpu" generate -m "$W/small.gguf" --device "$device" --raw -p a -n 3 -c 64 --temp 0 > "$W/one.txt" 2>&1
        rc=$?
        cat "$W/one.txt"
        case $rc in
        0) said="$said $t 0;" ;;
        124 | 137) said="$said $t no end;" bad=1 ;;
        *) said="$said $t $(grep -c '^========= .*\(Invalid\|Error\|Race\|hazard\|Barrier\|Uninit\)' "$W/one.txt") errors;" bad=1 ;;
        esac
        grep -q 'Device not supported\|not supported on this' "$W/one.txt" && skip "$tool cannot work on this machine"
        figure "errors:$said"
    done
    exit $bad
}

step_synth() {
    [ -z "$model" ] || skip "--model $model"
    t0=$(date +%s)
    if sim; then "$B/qmoe-gpu" synth -o "$M" --bf16-routers; else "$B/qmoe-gpu" synth --preset qwen3-30b-a3b -o "$M"; fi || exit 1
    bytes=$(wc -c < "$M")
    figure "$bytes bytes in $(($(date +%s) - t0)) s: $M"
}

# Clocks, power and temperature while a command runs, read once a second.
watch_clocks() {
    have nvidia-smi || return 0
    while :; do
        nvidia-smi -i "${device#cuda:}" --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active --format=csv,noheader
        sleep 1
    done >> "$W/clocks.csv" 2>/dev/null &
    watcher=$!
}

step_decode() {
    [ -f "$M" ] || skip "no model: step synth did not write one"
    list=$(depths | tr ' ' ,)
    if sim; then n=4 reps=2 prompt=8; else n=128 reps=5 prompt=512; fi
    watcher=
    sim || watch_clocks
    # A record as each test ends: what the time limit cuts off leaves the rest.
    bench -p 0 -n $n -d "$list" -r $reps -o jsonl >> "$W/bench.jsonl"
    rc=$?
    figure "$(tell_decode)"
    bench --executor persistent -p 0 -n $n -d "$list" -r $reps -o jsonl >> "$W/bench.jsonl" || rc=1
    figure "$(tell_decode)"
    bench -p $prompt -n 0 -d 0 -r 2 -o jsonl >> "$W/bench.jsonl" || rc=1
    [ -z "$watcher" ] || kill $watcher
    figure "$(tell_decode)"
    exit $rc
}
tell_decode() {
    awk '{
        name = $0; sub(/.*"test": *"/, "", name); sub(/".*/, "", name)
        ts = $0; sub(/.*"avg_ts": */, "", ts); sub(/[,}].*/, "", ts)
        f = ""; x = index($0, "\"executor\": \"persistent\"") || index($0, "\"executor\":\"persistent\"") ? "persistent " : ""
        if (match($0, /"fraction_of_bandwidth": *[0-9.]+/)) {
            f = substr($0, RSTART, RLENGTH); sub(/.*: */, "", f); f = sprintf(" (%.0f%% of bandwidth)", 100 * f)
        }
        printf "%s%s%s %.1f tok/s%s", n++ ? ", " : "", x, name, ts, f
    }' "$W/bench.jsonl"
}

# rung NAME OPTIONS...: a step of the large model with these options; and the logits of a small one, which no rung changes.
# NAME "~...": what it computes is not the same to the bit.
rung() {
    name=$1
    shift
    echo "== $name: $*"
    bench -p 0 -n $n -d "$list" -r $reps "$@" -o jsonl > "$W/rung.one" || { rc=1; echo "== $name does not run"; }
    sed "s/^{/{\"rung\": \"${name#\~}\", /" "$W/rung.one" >> "$W/rungs.jsonl"
    hash=$("$B/qmoe-gpu" generate -m "$W/two.gguf" --device "$device" --raw -p a -n 6 -c 64 --temp 0 --ignore-eos --json $(executor_of "$@") "$@" |
        sed -n 's/.*"logits_hash": *"\([0-9a-f]*\)".*/\1/p')
    echo "logits ${hash:-none}"
    case $name in "~"*) ;; *)
        : "${first:=$hash}"
        if [ -z "$hash" ] || [ "$hash" != "$first" ]; then rc=1; echo "== $name: other logits, not $first"; differ="$differ $name;"; fi ;;
    esac
    figure "$(tell_rungs | awk -F '|' 'NR > 2 { printf "%s%s %s", (NR > 3 ? ", " : ""), $2, $3 }' | tr -s ' ' | sed 's/ ,/,/g')${differ:+; OTHER LOGITS:$differ}"
}
# The ladder (docs/decode.md): all of it, none of it, each rung left out; in the order of what a minute is worth.
step_rungs() {
    [ -f "$M" ] || skip "no model: step synth did not write one"
    two_layers || exit 1
    if sim; then n=2 reps=1 list=0,16; else n=32 reps=3 list=0,4096; fi
    rc=0 first= differ=
    rung "all"
    rung "none" --apart all --dependent-launch off
    if "$B/qmoe-gpu" bench -m "$W/two.gguf" --device "$device" --executor graph -p 0 -n 1 -r 1 --dependent-launch on > "$W/rung.one" 2>&1; then
        rung "all but dependent launch" --dependent-launch off
        rung "dependent launch alone" --apart all
    else cat "$W/rung.one"; fi
    rung "persistent" --executor persistent
    rung "persistent, none" --executor persistent --apart all
    for w in $("$B/qmoe-gpu" bench --help | grep -o 'none|all|[a-z|]*' | cut -d '|' -f 3- | tr '|' ' '); do
        rung "all but $w" --apart "$w"
    done
    for t in $("$B/qmoe-gpu" bench --help | sed -n 's/.*--cache-type-k[= ]f16|\([a-z0-9_|]*\).*/\1/p' | tr '|' ' '); do
        rung "~all, cache in $t" -ctk "$t" -ctv "$t"
    done
    QMOE_CONCURRENT=0 rung "all but ops side by side"
    QMOE_FLIGHT=0 rung "all but few warps"
    QMOE_FLIGHT=0 rung "persistent but few warps" --executor persistent
    QMOE_PREFETCH=0 rung "persistent but prefetch" --executor persistent
    QMOE_RING=0 rung "persistent but ring" --executor persistent
    QMOE_NARROW=0 rung "all but narrow routers"
    QMOE_L2_KEEP=0 rung "all but L2 policy"
    QMOE_L2_KEEP=0 rung "persistent but L2 policy" --executor persistent
    exit $rc
}
# A line a rung: tokens a second at each depth, and against the first rung.
tell_rungs() {
    awk '{
        who = $0; sub(/.*"rung": *"/, "", who); sub(/".*/, "", who)
        d = $0; sub(/.*"n_depth": */, "", d); sub(/[,}].*/, "", d)
        ts = $0; if (!sub(/.*"avg_ts": */, "", ts)) next; sub(/[,}].*/, "", ts)
        if (!(who in seen)) { seen[who] = 1; name[++n] = who }
        if (!(d in depth)) { depth[d] = 1; at[++m] = d }
        v[who, d] = ts
    } END {
        printf "| %-26s |", "rung"
        for (j = 1; j <= m; j++) printf " %10s | %6s |", "d" at[j], "of all"
        printf "\n| -------------------------- |"
        for (j = 1; j <= m; j++) printf " ---------: | -----: |"
        printf "\n"
        for (i = 1; i <= n; i++) {
            printf "| %-26s |", name[i]
            for (j = 1; j <= m; j++) {
                x = v[name[i], at[j]]
                if (x == "") printf " %10s | %6s |", "-", "-"
                else printf " %10.1f | %5.0f%% |", x, (v[name[1], at[j]] > 0 ? 100 * x / v[name[1], at[j]] : 0)
            }
            printf "\n"
        }
    }' "$W/rungs.jsonl"
}

step_perop() {
    [ -f "$M" ] || skip "no model: step synth did not write one"
    said= rc=0
    for d in $(depths); do
        bench --per-op -d "$d" -o jsonl > "$W/perop.one" || { rc=1; continue; }
        cat "$W/perop.one" >> "$W/perop.jsonl"
        if sim; then said="$said d$d $(numbers "$W/perop.one" thread_insts | head -n 1) thread instructions,"
        else said="$said d$d $(numbers "$W/perop.one" step_ns | head -n 1 | awk '{ printf "%.0f us", $1 / 1000 }') a step,"; fi
        figure "${said# }"
    done
    if ! sim && bench --executor persistent --per-op -d 0 -o jsonl > "$W/perop.one"; then
        cat "$W/perop.one" >> "$W/perop.jsonl"
        figure "$said persistent d0 $(numbers "$W/perop.one" step_ns | head -n 1 | awk '{ printf "%.0f us", $1 / 1000 }')"
    fi
    exit $rc
}

# micro TEXT...: the measurements whose names contain a text, added to what micro.json has.
micro() {
    [ -x "$B/bench/micro" ] || skip "not built: $B/bench/micro"
    rc=0
    for text in "$@"; do "$B/bench/micro" --device "$device" -o "$W/micro.json" --append --only "$text" || rc=1; done
    figure "$(tail -n 1 "$W/$step.log")"
}
# The medians, in us, of measurements by their whole names: the step's figure, where there are times.
tell_micro() {
    figure "$(printf '%s\n' "$@" | awk -v otherwise="$(cat "$W/$step.figure")" '
        NR == FNR { name[NR] = $0; n = NR; next }
        /"name":/ { who = $0; sub(/.*"name": "/, "", who); sub(/".*/, "", who) }
        /"ns_median": [0-9]/ { v = $0; gsub(/[^0-9.eE+]*"ns_median":|[ ,]/, "", v); ns[who] = v }
        END { for (i = 1; i <= n; i++) if (name[i] in ns) said = said sprintf("%s%s %.2f us", said ? ", " : "", name[i], ns[name[i]] / 1000)
              print said ? said : otherwise }' - "$W/micro.json")"
    exit $rc
}
step_barrier() { micro sync/; tell_micro "sync/barrier 1x256" "sync/barrier 1x1024" "sync/barrier_data 1x256" "sync/hop_st middle"; }
step_nodes() {
    micro launch/
    tell_micro "launch/graph empty wide" "launch/graph step" "launch/graph fork empty wide" "launch/dependent graph empty" "launch/dependent graph step"
}
step_hint() {
    micro prefetch/
    tell_micro "prefetch/cold read" "prefetch/read after one every 32 bytes" "prefetch/after load, asked by nobody" \
        "prefetch/after load, asked by prefetch" "prefetch/after load, asked by loads"
}
step_read() { micro stream/dram; exit $rc; }
step_micro() { micro stream/l2 copy/; exit $rc; }

# Two layers of the 30B's shape: the same kernels at the same shapes, without 17 GiB to write and load.
two_layers() {
    [ -f "$W/two.gguf" ] || if sim; then "$B/qmoe-gpu" synth -o "$W/two.gguf" --layers 2 --bf16-routers
    else "$B/qmoe-gpu" synth --preset qwen3-30b-a3b --layers 2 -o "$W/two.gguf"; fi
}
step_stamps() {
    two_layers || exit 1
    M=$W/two.gguf said= rc=0
    if sim; then list="0 16" unit=thread_insts; else list="0 4096" unit=time_ns; fi
    for how in graph persistent apart; do # apart: the graph with all ops apart
        if [ $how = apart ]; then set -- --executor graph --apart all; else set -- --executor $how; fi
        for d in $list; do
            bench "$@" --per-op -d "$d" -o jsonl > "$W/stamps.one" || { rc=1; continue; }
            cat "$W/stamps.one" >> "$W/stamps.jsonl"
            said="$said $how d$d$(tell_stamps),"
            figure "$(echo "$said" | sed 's/^ //; s/,$//')"
        done
    done
    exit $rc
}
# Means over the layers.
tell_stamps() {
    for op in router attn attn_decode moe_up; do
        grep "\"op\": *\"$op\"" "$W/stamps.one" | sed "s/.*\"$unit\": *\([0-9.eE+]*\).*/\1/" |
            awk -v op=$op -v unit=$unit '{ s += $1 } END { if (NR) printf unit == "time_ns" ? " %s %.2f us" : " %s %d instructions", op, s / NR / (unit == "time_ns" ? 1000 : 1) }'
    done
}

step_bench() {
    # On a GPU only the weight types of a Q4_K_M file.
    if sim; then kernels kernels.json --model small
    else kernels kernels.json --model 30b --cold-l2 --benchmark_min_time=0.1 '--benchmark_filter=-/(B?F16|Q._[01]|Q[^46]_K)/|lm_head/matvec/(F32|Q4_K)/'; fi
    tell_bench
    exit $rc
}
step_sweep() {
    if sim; then kernels sweep.json --sweep --model small '--benchmark_filter=/moe_up/.*/tiles:2/'
    else kernels sweep.json --sweep --model 30b --cold-l2 --benchmark_min_time=0.02 '--benchmark_filter=(qkv|attn_out|moe_up|moe_down)/.*/Q4_K/|(moe_down|lm_head)/.*/Q6_K/'; fi
    tell_sweep
    exit $rc
}
kernels() { # kernels FILE OPTIONS...
    [ -x "$B/bench/kernels" ] || skip "not built: $B/bench/kernels"
    file=$1
    shift
    "$B/bench/kernels" --device "$device" --benchmark_out="$W/$file" --benchmark_out_format=json "$@"
    rc=$?
}
# The best geometry of each op.
tell_sweep() {
    figure "$(awk -F ': ' '
        /"name":/ { name = $2; gsub(/[",]/, "", name); sub(/\/manual_time.*/, "", name); split(name, part, "/"); n++
                    op = part[2] " " part[4]; shape = part[5] " " part[6] " " part[7] }
        /"of_copy":/ { if ($2 + 0 > best[op]) { best[op] = $2 + 0; of[op] = shape } }
        END { for (op in best) said = said sprintf("; %s %.0f%% with %s", op, 100 * best[op], of[op])
              printf "%d geometries%s%s", n, said ? ", of the copy bandwidth" : "", said }' "$W/sweep.json")"
}
tell_bench() {
    figure "$(awk -F ': ' '
        /"name":/ { split($2, part, "/"); op = part[2] " " part[4] }
        /"run_type": *"iteration"/ { n++ }
        /"of_copy":/ { v = $2 + 0; if (op ~ /^(moe_up|moe_down|qkv|lm_head) /) said = said sprintf("; %s %.0f%%", op, 100 * v) }
        END { printf "%d kernels timed%s%s", n, said ? ", of the copy bandwidth" : "", said }' "$W/kernels.json")"
}
# kernels_of FILE...: the files of Google Benchmark as one: the first one's context, and every whole record, since a run may be
# in the middle of one.
kernels_of() {
    awk 'FNR == 1 { on = 0 }
         /"benchmarks": \[/ { on = 1; if (!begun++) print head $0; next }
         !on { head = head $0 "\n"; next }
         /^    [{]/ { record = $0; next }
         /^    [}]/ { printf "%s%s\n    }", n++ ? ",\n" : "", record; next }
         { record = record "\n" $0 }
         END { if (begun) print "\n  ]\n}" }' "$@"
}

step_ncu() {
    tool=ncu
    have $tool || tool=$(ls /usr/local/cuda*/bin/ncu /opt/nvidia/nsight-compute/*/ncu 2>/dev/null | head -n 1)
    [ -n "$tool" ] || skip "no ncu here"
    two_layers || exit 1
    m=gpu__time_duration.sum,dram__bytes_read.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
    m=$m,sm__throughput.avg.pct_of_peak_sustained_elapsed,smsp__inst_executed.sum,launch__registers_per_thread
    m=$m,sm__warps_active.avg.pct_of_peak_sustained_active,lts__t_sector_hit_rate.pct
    # The expert matrices, the attention's and the output's: the three that stream nearly all bytes. The
    # first step is skipped (about 13 such launches).
    $tool --clock-control none --graph-profiling node --kernel-name 'regex:^qm_(moe_up|moe_matvec|matvec)' \
        --launch-skip 13 --launch-count 13 --metrics $m --csv \
        "$B/qmoe-gpu" generate -m "$W/two.gguf" --device "$device" --raw -p a -n 3 -c 64 --temp 0 --executor graph > "$W/ncu.csv" 2> "$W/ncu.err"
    rc=$?
    cat "$W/ncu.csv" "$W/ncu.err"
    if cat "$W/ncu.csv" "$W/ncu.err" | grep -q 'ERR_NVGPUCTRPERM\|LibraryNotLoaded\|not supported'; then
        skip "ncu cannot read the counters here: $(cat "$W/ncu.csv" "$W/ncu.err" | grep -m 1 '==ERROR==' | cut -c 1-80)"
    fi
    # Long form: one line a metric; fields are quoted, the kernel's name is the fifth.
    figure "$(awk -F '","' '/dram__throughput/ { v = $NF; gsub(/[",]/, "", v); k = $5; if (!(k in most) || v + 0 > most[k]) most[k] = v + 0 }
        END { for (k in most) printf "%s %.0f%% of DRAM; ", k, most[k] }' "$W/ncu.csv")"
    [ -s "$W/ncu.figure" ] && grep -q . "$W/ncu.figure" || { figure "no kernel was profiled"; exit 1; }
    exit $rc
}

# By turns, so that a clock that drifts or a busy machine touches both alike.
step_peer() {
    [ -f "$M" ] || skip "no model: step synth did not write one"
    if sim; then n=4 rounds=1; else n=128 rounds=3; fi
    : > "$W/peer.jsonl"
    rc=0
    for i in $(seq $rounds); do
        echo "== round $i"
        bench -p 0 -n $n -d 0 -r 3 -o jsonl > "$W/ours.one" || rc=1
        "$peer" -m "$M" -p 0 -n $n -r 3 -ngl 99 -fa 1 -o jsonl > "$W/theirs.one" || rc=1
        cat "$W/ours.one" "$W/theirs.one"
        sed "s/^{/{\"who\": \"qmoe-gpu\", \"round\": $i, /" "$W/ours.one" >> "$W/peer.jsonl"
        grep '^{' "$W/theirs.one" | sed "s/^{/{\"who\": \"peer\", \"round\": $i, /" >> "$W/peer.jsonl"
    done
    figure "$(awk '
        { ts = $0; if (!sub(/.*"avg_ts": */, "", ts)) next; sub(/[,}].*/, "", ts); w = /"who": "peer"/; s[w] += ts; n[w]++ }
        END { if (!n[0] || !n[1]) print "no figures from " (n[0] ? "the peer" : "ours")
              else printf "tg: ours %.1f tok/s, peer %.1f tok/s, ratio %.2f", s[0] / n[0], s[1] / n[1], (s[0] / n[0]) / (s[1] / n[1]) }' "$W/peer.jsonl")"
    grep -q ratio "$W/peer.figure" || rc=1
    exit $rc
}

if [ "${1:-}" = --step ]; then
    step=$2 limit=$3 inner=
    trap '[ -z "$inner" ] || kill $inner; exit 124' TERM
    "step_$step"
    exit $?
fi

# ---- the run ---------------------------------------------------------------------------------------------
# Text as a JSON string.
jstr() { printf '%s' "$*" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&"/'; [ -n "$*" ] || printf '""'; }
commit=$(sed -n 's/^commit //p' VERSION 2>/dev/null)
[ -n "$commit" ] || commit=$(git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null || echo unknown)
began=$(date +%s) date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
smi_fields=name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu,persistence_mode,ecc.mode.current,memory.total,pcie.link.gen.current,pcie.link.width.current
smi=
if ! sim && have nvidia-smi; then
    smi=$(timeout 20 nvidia-smi -i "${device#cuda:}" --query-gpu=$smi_fields --format=csv,noheader 2>&1 | head -n 1)
fi

# The large model: a given one, or room for one.
M=$model
if [ -z "$M" ]; then
    need_kb=19000000
    if sim; then need_kb=50000; fi
    for d in ${dir:-"${TMPDIR:-/tmp}" /tmp /var/tmp "$out" /dev/shm}; do
        [ -w "$d" ] || continue
        free=$(df -Pk "$d" | awk 'NR == 2 { print $4 }')
        if [ "${free:-0}" -ge $need_kb ]; then M=$d/qmoe-gpu-check-$$.gguf; break; fi
    done
fi
export M
cleanup() {
    if [ -z "$model" ] && [ -n "$M" ] && [ -z "$keep" ]; then rm -f "$M"; fi
    rm -rf "$W"
}
trap cleanup EXIT
# Told to end: the step ends, what it had is written.
child=
ended() {
    [ -z "$child" ] || { kill "$child"; wait "$child"; } 2>/dev/null
    write_out false
    exit "$1"
}
trap 'ended 130' INT
trap 'ended 143' TERM

# A log of at most 5 MB: its head and its tail.
capped() {
    n=$(wc -c < "$1")
    if [ "$n" -le 5000000 ]; then cat "$1"; return; fi
    head -c 2500000 "$1"; printf '\n... %s bytes left out ...\n' $((n - 5000000)); tail -c 2500000 "$1"
}
logs() { # logs STEP...: their output under headings
    for s in "$@"; do
        [ -f "$W/$s.log" ] || continue
        printf '==== %s ====\n' "$s"
        capped "$W/$s.log"
    done
}
all="doctor isa kernels goldens"
rest="barrier nodes hint stamps sweep read sanitizer synth decode rungs perop micro bench ncu peer"
# A file of the results, as a whole or not at all.
put() { cat > "$out/.new" && mv "$out/.new" "$out/$1"; }
# Written while steps run and after each, so that a run that is cut off leaves what it had.
write_out() {
    {
        printf '{\n "tool": "gpu_check", "date": %s, "commit": %s, "device": %s,\n' "$(jstr "$date")" "$(jstr "$commit")" "$(jstr "$device")"
        printf ' "seconds": %s, "complete": %s, "failed": %s, "budget_s": %s,\n' $(($(date +%s) - began)) "$1" "$n_failed" "$budget"
        printf ' "model": %s,\n "nvidia_smi": {"fields": %s, "values": %s},\n "machine": ' "$(jstr "$M")" "$(jstr "$smi_fields")" "$(jstr "$smi")"
        if [ -s "$W/doctor.json" ]; then cat "$W/doctor.json"; else echo null; fi
        printf ' ,"steps": [\n%s\n ],\n "clocks": ' "$rows"
        if [ -s "$W/clocks.csv" ]; then
            awk 'BEGIN { printf "{\"columns\": \"time, SM clock, memory clock, power, temperature, throttle reasons\", \"rows\": [" }
                 { gsub(/["\\]/, ""); printf "%s\"%s\"", n++ ? ", " : "", $0 } END { printf "]}" }' "$W/clocks.csv"
        else printf null; fi
        printf ',\n "peer": '
        if [ -s "$W/peer.jsonl" ]; then array "$W/peer.jsonl"; else echo null; fi
        printf '}\n'
    } | put summary.json
    {
        printf 'qmoe-gpu %s on %s, %s\n' "$commit" "$device" "$date"
        [ -z "$smi" ] || printf '%s\n%s\n' "$smi_fields" "$smi"
        printf '\n%-10s %-10s %8s  %s\n%s\n' step result seconds "key figure" "$table"
        if [ -s "$W/rungs.jsonl" ]; then
            printf '\nTokens a second of a decode step, what each rung brings (docs/decode.md):\n\n'
            tell_rungs
        fi
    } | put summary.txt
    # shellcheck disable=SC2086
    logs $all | put checks.txt
    # shellcheck disable=SC2086
    logs $rest | put tools.txt
    cat "$W/bench.jsonl" "$W/rungs.jsonl" > "$W/benches.jsonl" 2>/dev/null
    [ ! -s "$W/benches.jsonl" ] || array "$W/benches.jsonl" | put bench.json
    # The whole model's steps first: the tools take the first that fits.
    cat "$W/perop.jsonl" "$W/stamps.jsonl" > "$W/steps.jsonl" 2>/dev/null
    [ ! -s "$W/steps.jsonl" ] || array "$W/steps.jsonl" | put perop.json
    [ ! -s "$W/micro.json" ] || put micro.json < "$W/micro.json"
    set --
    for f in kernels sweep; do ! grep -q '"benchmarks"' "$W/$f.json" 2>/dev/null || set -- "$@" "$W/$f.json"; done
    [ $# = 0 ] || kernels_of "$@" | put kernels.json
}

# In their order, and with what they read: decode, rungs, perop and peer want the model that synth writes.
asked=" $(echo "${only:-$STEPS ${peer:+peer}}" | tr , ' ') "
if [ -z "$model" ]; then
    case $asked in *" decode "* | *" rungs "* | *" perop "* | *" peer "*) asked="$asked synth " ;; esac
fi
todo=
for s in $STEPS peer; do
    case $asked in *" $s "*) todo="$todo $s" ;; esac
done

# tell RESULT FIGURE: the row of step $s.
tell() {
    seconds=$(echo "$t0 $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    row=$(printf '%-10s %-10s %8s  %s' "$s" "$1" "$seconds" "$2")
    table="$table$row
"
    [ -z "$rows" ] || rows="$rows,
"
    rows="$rows  {\"step\": \"$s\", \"result\": \"$1\", \"seconds\": $seconds, \"limit_s\": $limit, \"figure\": $(jstr "$2")}"
}

rows='' table='' n_failed=0
stop=$((began + budget))
for s in $todo; do
    now=$(date +%s)
    limit=$(($(limit_of "$s") * budget / 540))
    [ "$limit" -ge 3 ] || limit=3
    # The peer is asked for by name, beyond the budget.
    if [ "$s" = peer ]; then limit=$(limit_of peer); elif [ $((stop - now)) -lt "$limit" ]; then limit=$((stop - now)); fi
    t0=$(date +%s.%N)
    rm -f "$W/$s.figure"
    if [ "$s" = synth ] && [ -z "$M" ]; then
        result=skipped figure="no folder with 18 GiB free: give --dir or --model"
    elif [ "$limit" -lt 3 ]; then
        result="no time" figure="the budget of $budget s is spent"
        n_failed=$((n_failed + 1))
    else
        timeout -k 5 "$limit" sh tools/gpu_check.sh --step "$s" "$limit" > "$W/$s.log" 2>&1 < /dev/null &
        child=$!
        done_rows=$rows done_table=$table turns=0
        while kill -0 $child 2>/dev/null; do
            sleep 0.25
            turns=$(((turns + 1) % 8))
            [ $turns = 0 ] || continue
            tell running "$(cat "$W/$s.figure" 2>/dev/null)"
            write_out false
            rows=$done_rows table=$done_table
        done
        wait $child
        rc=$?
        child=
        figure=$(cat "$W/$s.figure" 2>/dev/null)
        case $rc in
        0) result=ok ;;
        77) result=skipped ;;
        124 | 137) result="time limit" n_failed=$((n_failed + 1)) ;;
        *) result=FAILED n_failed=$((n_failed + 1)); [ -n "$figure" ] || figure=$(tail -n 1 "$W/$s.log") ;;
        esac
        # What a step had measured when its time ended is told.
        if [ "$result" = "time limit" ]; then
            step=$s
            case $s in
            bench) [ ! -s "$W/kernels.json" ] || { tell_bench; figure=$(cat "$W/bench.figure"); } ;;
            sweep) [ ! -s "$W/sweep.json" ] || { tell_sweep; figure=$(cat "$W/sweep.figure"); } ;;
            esac
        fi
    fi
    tell "$result" "$figure"
    echo "$row" >&2
    write_out false
done
write_out true
echo
cat "$out/summary.txt"
echo "$(($(date +%s) - began)) s; results in $out"
[ "$n_failed" = 0 ]
