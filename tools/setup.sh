#!/bin/sh
# setup.sh: finds or installs what the build needs; writes $B/config.mk. Asks nothing.
set -eu
B=${B:-build}
mkdir -p "$B"
cuda=/usr/local/cuda
[ -f "$cuda/include/cuda.h" ] || { echo "setup: no CUDA headers" >&2; exit 1; }
printf 'CUDA_INC := %s/include\nPTXAS := %s/bin/ptxas\n' "$cuda" "$cuda" > "$B/config.mk"
