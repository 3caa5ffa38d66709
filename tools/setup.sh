#!/bin/sh
# setup.sh [build|all|browser|litellm]: finds or installs what the build (or the build and the tests, or these and a browser or
# litellm) needs, and writes $B/config.mk. Asks nothing; quick when everything is there; make runs it every time.
#
# On Debian and its relatives missing packages come from apt-get. The CUDA headers and ptxas come from
# $CUDA_HOME or /usr/local/cuda, else from NVIDIA's Python wheels (CUDA 13.0) in build/venv; no GPU and
# no driver are needed. QMOE_NO_SYSTEM_CUDA=1 takes the wheels even where a toolkit is installed.
set -eu
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
B=${B:-build}
what=${1:-all}
venv=build/venv
mkdir -p "$B"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# ---- packages -------------------------------------------------------------------------------------
packages="gcc libc6-dev make cpp binutils libpcre2-dev libutf8proc-dev libjansson-dev libpopt-dev libedit-dev libmicrohttpd-dev"
if [ "$what" != build ]; then
    packages="$packages g++ libcmocka-dev libbenchmark-dev openssl python3 python3-yaml python3-pyte python3-jsonschema haproxy curl zsh clang clang-format libclang-rt-dev"
fi

[ "$what" != browser ] || packages="$packages chromium-headless-shell"

# Names of the packages in $1 that are not installed.
missing() {
    for p in $1; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null || true) in
        ii*) ;;
        *) echo "$p" ;;
        esac
    done
}

# All in one query is quick; one by one only when something is amiss.
all_installed() {
    n=$(dpkg-query -W -f '${db:Status-Abbrev}\n' $1 2>/dev/null | grep -c '^ii') || true
    [ "$n" = "$(echo $1 | wc -w)" ]
}

need() {
    command -v dpkg-query >/dev/null 2>&1 || return 0
    all_installed "$1" && return 0
    list=$(missing "$1" | tr '\n' ' ')
    [ -n "$list" ] || return 0
    command -v apt-get >/dev/null 2>&1 || die "please install: $list"
    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "please install as root: apt-get install $list"
        root=sudo
    fi
    say "installing $list"
    log=$B/setup.log
    if ! { $root apt-get -o DPkg::Lock::Timeout=300 update &&
           $root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
               install -y --no-install-recommends $list; } >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        die "apt-get failed; the whole output is in $log"
    fi
}

need "$packages"
if ! command -v dpkg-query >/dev/null 2>&1; then
    command -v gcc >/dev/null 2>&1 || die "no gcc found; install a C11 compiler"
    for h in pcre2.h utf8proc.h jansson.h popt.h histedit.h microhttpd.h; do
        echo "#include <$h>" | gcc -DPCRE2_CODE_UNIT_WIDTH=8 -E - >/dev/null 2>&1 ||
            die "no <$h> found; install its development package (this is not a Debian system)"
    done
fi

# ---- CUDA headers, ptxas, NVRTC -------------------------------------------------------------------
# cuda.h of CUDA 12 or later (older ones lack types that the driver table names).
good_inc() {
    [ -f "$1/cuda.h" ] && [ -f "$1/nvtx3/nvToolsExt.h" ] &&
        v=$(sed -n 's/^#define CUDA_VERSION \([0-9]*\).*/\1/p' "$1/cuda.h" | head -n 1) &&
        [ "${v:-0}" -ge 12000 ]
}
# A ptxas that knows every architecture we check. (The string is in its help text.)
good_ptxas() { [ -x "$1" ] && "$1" --help 2>/dev/null | grep -q sm_121; }

inc= ptxas= nvrtc=
if [ -z "${QMOE_NO_SYSTEM_CUDA:-}" ]; then
    for d in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda /opt/cuda; do
        [ -n "$d" ] || continue
        [ -z "$inc" ] && good_inc "$d/include" && inc=$d/include
        [ -z "$ptxas" ] && good_ptxas "$d/bin/ptxas" && ptxas=$d/bin/ptxas
        [ -z "$nvrtc" ] && [ -f "$d/lib64/libnvrtc.so.13" ] && nvrtc=$d/lib64/libnvrtc.so.13
    done
fi

# Wheels: the headers for every build; ptxas for the tests; NVRTC once there is CUDA C to compile.
wheels=
[ -n "$inc" ] || wheels="nvidia-cuda-runtime==13.0.* nvidia-nvtx==13.0.*"
[ -n "$ptxas" ] || [ "$what" = build ] || wheels="$wheels nvidia-cuda-nvcc==13.0.*"
if [ -z "$nvrtc" ] && ls kernels/cu/*.cu >/dev/null 2>&1; then wheels="$wheels nvidia-cuda-nvrtc==13.0.*"; fi
todo=
for x in $wheels; do
    [ -f "$venv/have-${x%%=*}" ] || todo="$todo $x"
done
make_venv() {
    need "python3 python3-venv"
    py=/usr/bin/python3
    [ -x $py ] || py=python3
    [ -x $venv/bin/pip ] || $py -m venv $venv || die "python3 -m venv failed (is python3-venv installed?)"
}
if [ -n "$todo" ]; then
    make_venv
    say "fetching$todo into $venv"
    $venv/bin/python3 -m pip install -q --disable-pip-version-check --no-deps $todo >&2 </dev/null ||
        die "pip could not install NVIDIA's wheels; or install the CUDA toolkit and set CUDA_HOME"
    for x in $todo; do : > "$venv/have-${x%%=*}"; done
fi
# ---- clients of the server, for its tests ----------------------------------------------------------
if [ "$what" != build ]; then
    clients=$(cksum < tests/requirements.txt)
    if [ "$(cat $venv/have-clients 2>/dev/null)" != "$clients" ]; then
        make_venv
        say "fetching tests/requirements.txt into $venv"
        $venv/bin/python3 -m pip install -q --disable-pip-version-check --no-deps -r tests/requirements.txt >&2 </dev/null ||
            die "pip could not install what tests/requirements.txt lists"
        printf '%s' "$clients" > $venv/have-clients
    fi
fi

# Apart: it is large, and every file has to be the one that was looked at.
if [ "$what" = litellm ]; then
    clients=$(cksum < tests/requirements-litellm.txt)
    if [ "$(cat $venv/have-litellm 2>/dev/null)" != "$clients" ]; then
        say "fetching tests/requirements-litellm.txt into $venv"
        $venv/bin/python3 -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r tests/requirements-litellm.txt \
            >&2 </dev/null || die "pip could not install what tests/requirements-litellm.txt lists"
        printf '%s' "$clients" > $venv/have-litellm
    fi
fi

w=$(ls -d $venv/lib/python3*/site-packages/nvidia/cu13 2>/dev/null | head -n 1)
if [ -n "$w" ]; then
    w=$(pwd)/$w
    [ -n "$inc" ] || ! good_inc "$w/include" || inc=$w/include
    [ -n "$ptxas" ] || ! good_ptxas "$w/bin/ptxas" || ptxas=$w/bin/ptxas
    [ -n "$nvrtc" ] || [ ! -f "$w/lib/libnvrtc.so.13" ] || nvrtc=$w/lib/libnvrtc.so.13
fi
[ -n "$inc" ] || die "no cuda.h (CUDA 12 or later) with nvtx3: install the CUDA toolkit and set CUDA_HOME"

# ---- what was found -------------------------------------------------------------------------------
python=python3
[ ! -x /usr/bin/python3 ] || python=/usr/bin/python3
new=$(printf 'CUDA_INC := %s\nPTXAS := %s\nNVRTC_LIB := %s\nPYTHON := %s' "$inc" "$ptxas" "$nvrtc" "$python")
# Left alone when nothing changed, so that make does not start over.
[ "$(cat "$B/config.mk" 2>/dev/null || true)" = "$new" ] || printf '%s\n' "$new" > "$B/config.mk"
