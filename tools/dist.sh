#!/bin/sh
# dist.sh [check]: packs $B/qmoe-gpu-VERSION-ARCH.tar.gz: the program, tests, benches and all they need, to
# run unpacked on another Linux with glibc 2.36 or later, with nothing installed and no network.
#   B      the build directory (default build); the parts are built in $B/dist/ARCH
#   ARCH   x86_64 or aarch64 (default: this machine's); another one is cross-built with Debian's compiler
#          and libraries, which are unpacked under $B and not installed, and tried with qemu-user
#   COMMIT what the results will say they were made from
# What can be verified without running is: the size, the newest glibc symbol, that every library needed
# is glibc's or in lib/. The unpacked tarball then generates a few tokens on the software device; with
# `check` every test program that needs no GPU runs from it too (minutes under qemu).
#
# dist.sh papers DIR: only what there is to read (README, docs, contracts, results, models), into DIR.
#
# The program links the small libraries statically; that of HTTP comes with those of TLS, which Debian has as shared ones
# alone: they lie in build/lib, where the program looks first. The test programs share one libqmoe.so, else the same two
# megabytes would be in the tarball sixty times.
set -eu
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
B=${B:-build}
ARCH=${ARCH:-$(uname -m)}
COMMIT=${COMMIT:-unknown}
MAKE=${MAKE:-make}
MAX_BYTES=40000000
MAX_GLIBC=2.36
check=${1:-}

# What a reader wants, with all that README.md and docs/ link to.
papers() {
    mkdir -p "$1/bench" "$1/contracts" "$1/tools" "$1/runtime/arch"
    cp runtime/qmoe.h runtime/qmoe_guide.h runtime/qmoe_text.h runtime/qmoe_tools.h "$1/runtime/" # the public surface
    cp runtime/arch/qwen3moe.c "$1/runtime/arch/"           # a family, to be read
    cp -r docs models "$1/"
    cp -r bench/results "$1/bench/"
    cp contracts/*.yaml "$1/contracts/"
    for f in README.md CHANGELOG.md CONTRIBUTING.md LICENSE; do [ ! -f $f ] || cp $f "$1/"; done
}
if [ "${1:-}" = papers ]; then papers "$2"; exit 0; fi

say() { echo "dist: $*" >&2; }
die() { say "$*"; exit 1; }

case $ARCH in
x86_64) deb=amd64 ;;
aarch64) deb=arm64 ;;
*) die "ARCH=$ARCH: expected x86_64 or aarch64" ;;
esac
triple=$ARCH-linux-gnu
D=$B/dist/$ARCH
O=$D/build
mkdir -p "$D"

# ---- the compiler and where its libraries are -------------------------------------------------------
packages="libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libjansson-dev libjansson4 libpopt-dev libpopt0
          libedit-dev libedit2 libncurses-dev libtinfo6 libbsd-dev libbsd0 libmd-dev libmd0 libcmocka-dev libcmocka0 libbenchmark-dev libbenchmark1debian libstdc++6 libgcc-s1
          libmicrohttpd-dev libmicrohttpd12 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 libffi8"
cross=
CC=${CC:-gcc} CXX=${CXX:-g++}
emulator= sysroot= tool=
if [ "$ARCH" != "$(uname -m)" ]; then
    cross=1
    tool=$triple-
    emulator="qemu-$ARCH -L /usr/$triple"
    sysroot=$D/sysroot
    for c in "${tool}gcc" "${tool}g++" "qemu-$ARCH"; do
        command -v "$c" >/dev/null 2>&1 ||
            die "no $c; on Debian: apt-get install gcc-$(echo $triple | tr _ -) g++-$(echo $triple | tr _ -) qemu-user"
    done
    if [ "$(cat "$sysroot/complete" 2>/dev/null)" != "$packages" ]; then
        say "fetching Debian's $deb libraries into $sysroot"
        rm -rf "$sysroot"
        mkdir -p "$sysroot/deb" "$sysroot/lists/partial" "$sysroot/cache/archives/partial"
        state=$(cd "$sysroot" && pwd)
        : > "$state/status"
        # Lists of their own: the machine's package state is not touched.
        apt="apt-get -q -o APT::Architecture=$deb -o APT::Architectures=$deb -o Dir::State::Lists=$state/lists
             -o Dir::Cache=$state/cache -o Dir::State::status=$state/status"
        $apt update > "$state/apt.log" 2>&1 || { tail -n 5 "$state/apt.log" >&2; die "apt-get update failed"; }
        (cd "$sysroot/deb" && $apt -o APT::Sandbox::User=root download $packages) >> "$state/apt.log" 2>&1 ||
            { tail -n 5 "$state/apt.log" >&2; die "apt-get download failed"; }
        for p in "$sysroot"/deb/*.deb; do dpkg-deb -x "$p" "$sysroot"; done
        rm -rf "$sysroot/deb" "$sysroot/lists" "$sysroot/cache"
        echo "$packages" > "$sysroot/complete"
    fi
    # The headers of these libraries do not depend on the architecture; the C library is the compiler's own.
    flags="-isystem $sysroot/usr/include -isystem $sysroot/usr/include/$triple"
    flags="$flags -L$sysroot/usr/lib/$triple -Wl,-rpath-link,$sysroot/usr/lib/$triple"
    CC="${tool}gcc $flags"
    CXX="${tool}g++ $flags"
fi

# ---- build -------------------------------------------------------------------------------------------
build() {
    $MAKE --no-print-directory B="$O" CC="$CC" CXX="$CXX" COMMIT="$COMMIT" SAN= \
        CFLAGS="-O2 -g1 -fPIC -fno-semantic-interposition" LIBQMOE="$O/libqmoe.so" "$@"
}
system="-lm -ldl -lpthread"
build HOSTLIBS='-Wl,--disable-new-dtags,-rpath,\$$ORIGIN/lib -Wl,-Bstatic -ledit -ltinfo -lbsd -lmd -Wl,-Bdynamic -lmicrohttpd' LDLIBS="-Wl,-Bstatic -lpcre2-8 -lutf8proc -ljansson -lpopt -Wl,-Bdynamic $system" all
# DT_RPATH and not DT_RUNPATH: it holds for the libraries of the libraries too.
build LDLIBS='-Wl,--disable-new-dtags,-rpath,\$$ORIGIN/../lib -lpcre2-8 -lutf8proc -ljansson -lpopt '"$system" \
    tests bench

# ---- collect -----------------------------------------------------------------------------------------
version=$(sed -n 's/^#define QM_VERSION "\(.*\)"/\1/p' runtime/qmoe.h)
name=qmoe-gpu-$version-$ARCH
T=$D/$name
rm -rf "$T"
mkdir -p "$T/build/tests" "$T/build/bench" "$T/build/lib" "$T/build/fixtures" "$T/tests" "$T/bench" "$T/tools" "$T/docs" "$T/licenses"

put() { # put FILE FOLDER: a stripped copy
    ${tool}strip -o "$2/$(basename "$1")" "$1" && chmod 755 "$2/$(basename "$1")"
}
put "$O/qmoe-gpu" "$T/build"
ln -s build/qmoe-gpu "$T/qmoe-gpu"
put "$O/libqmoe.so" "$T/build/lib"
for c in tests/*/unit_*.c tests/*/check_*.c; do put "$O/tests/$(basename "$c" .c)" "$T/build/tests"; done
for p in "$O"/bench/*; do if [ -f "$p" ] && [ -x "$p" ]; then put "$p" "$T/build/bench"; fi; done
for f in "$O"/fixtures/*.so; do [ ! -f "$f" ] || put "$f" "$T/build/fixtures"; done
cp -r "$O/isa" "$T/build/"
# What tests read: all rooms of tests/, without sources.
for d in tests/*/; do cp -r "${d%/}" "$T/tests/"; done
find "$T/tests" -type f \( -name '*.c' -o -name '*.h' -o -name '*.py' -o -name '*.pyc' \) -delete
find "$T/tests" -type d -empty -delete
papers "$T"
for f in gpu_check.sh bench_diff.py timeline.py trace_picture.py needs.py; do cp tools/$f "$T/tools/"; done
# Tests in Python run where there is a python3.
for f in tests/cli/test_demo.py tests/support/tap.py; do mkdir -p "$T/${f%/*}" && cp $f "$T/$f"; done
mkdir -p "$T/tools/demo" && cp tools/demo/chat_template.jinja "$T/tools/demo/" # unit_turns reads it
printf 'qmoe-gpu %s for %s Linux, glibc %s or later\ncommit %s\n' "$version" "$ARCH" "$MAX_GLIBC" "$COMMIT" > "$T/VERSION"

# The libraries needed, from the first folder that has them; glibc's own stay with the system.
needed() { ${tool}objdump -p "$1" | sed -n 's/^ *NEEDED *//p'; }
is_glibc() {
    case $1 in libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | ld-linux-*) return 0 ;; esac
    return 1
}
where() { # where NAME: its path on this machine
    for d in $sysroot/usr/lib/$triple $sysroot/lib/$triple; do
        if [ -n "$cross" ] && [ -e "$d/$1" ]; then echo "$d/$1"; return; fi
    done
    ${tool}gcc -print-file-name="$1"
}
more=1
while [ -n "$more" ]; do
    more=
    for f in "$T/build/qmoe-gpu" "$T"/build/tests/* "$T"/build/bench/* "$T"/build/lib/* "$T"/build/fixtures/*; do
        [ -f "$f" ] || continue
        for n in $(needed "$f"); do
            if is_glibc "$n" || [ -f "$T/build/lib/$n" ]; then continue; fi
            from=$(where "$n")
            [ -f "$from" ] || die "$f needs $n, which is not here"
            ${tool}strip -o "$T/build/lib/$n" "$(readlink -f "$from")"
            more=1
        done
    done
done
for p in libpcre2-8-0 libutf8proc2 libjansson4 libpopt0 libedit2 libtinfo6 libbsd0 libmd0 libcmocka0 libbenchmark1debian libstdc++6 libgcc-s1 \
    libmicrohttpd12 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 libffi8; do
    f=$sysroot/usr/share/doc/$p/copyright
    [ ! -f "$f" ] || cp "$f" "$T/licenses/$p"
done

# ---- verify, without running -------------------------------------------------------------------------
for n in $(needed "$T/build/qmoe-gpu"); do
    is_glibc "$n" || [ "${n%.so.*}" = libmicrohttpd ] || die "the program needs $n: it should be linked statically"
done
newest=0
for f in "$T"/build/qmoe-gpu "$T"/build/*/*; do
    [ -f "$f" ] || continue
    ${tool}objdump -p "$f" 2>/dev/null | grep -qE 'R(UN)?PATH +[^$]*/' && die "$f looks for libraries in this machine's folders"
    v=$(${tool}objdump -T "$f" 2>/dev/null | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -n 1)
    newest=$(printf '%s\n%s\n' "$newest" "${v:-0}" | sort -V | tail -n 1)
    [ "$(printf '%s\n%s\n' "${v:-0}" $MAX_GLIBC | sort -V | tail -n 1)" = $MAX_GLIBC ] ||
        die "$f needs glibc $v: build on a system with glibc $MAX_GLIBC (Debian 12)"
done
tar=$B/$name.tar.gz
tar -C "$D" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n > "$tar"
bytes=$(wc -c < "$tar")
[ "$bytes" -lt $MAX_BYTES ] || die "$tar has $bytes bytes: more than $MAX_BYTES"

# ---- verify, by running it somewhere else ------------------------------------------------------------
X=$(mktemp -d)
trap 'rm -rf "$X"' EXIT
tar -C "$X" -xzf "$tar"
(
    cd "$X/$name"
    export QMOE_TEST_TMP="$X" HOME="$X" CMOCKA_MESSAGE_OUTPUT=STDOUT
    $emulator build/qmoe-gpu synth -o "$X/tiny.gguf" --seed 1 > "$X/log" 2>&1 &&
        $emulator build/qmoe-gpu generate -m "$X/tiny.gguf" -p "Hi" -n 4 --temp 0 --device sim >> "$X/log" 2>&1 ||
        { cat "$X/log" >&2; die "the unpacked program does not generate"; }
    [ -n "$cross" ] || sh tools/gpu_check.sh --device sim --only doctor,micro --out "$X/out" > "$X/log" 2>&1 ||
        { cat "$X/log" >&2; die "the unpacked gpu_check.sh does not run"; }
    [ -n "$check" ] || exit 0
    for p in build/tests/*; do
        t0=$(date +%s)
        $emulator "$p" > "$X/log" 2>&1 || { tail -n 60 "$X/log" >&2; die "$p failed"; }
        say "$(basename "$p"): $(sed -n 's/^\[  PASSED  \] *//p' "$X/log" | head -n 1) $(($(date +%s) - t0)) s"
    done
)
say "$tar: $bytes bytes, $(find "$T" -type f | wc -l) files, glibc $newest or later, commit $COMMIT"
