#!/bin/sh
# format.sh [--check] [FILE...]: sets the C sources, or FILE..., as .clang-format says; --check only tells which lines
# would change, and fails if there are any. Needs clang-format 14: others set differently.
# Left alone: contracts/ (tables, which the PTX includes too) and runtime/text/unicode_tables.c (made by a script).
set -eu
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/.."
how=-i
if [ "${1:-}" = --check ]; then how="--dry-run -Werror"; shift; fi
for tool in clang-format-14 clang-format none; do
    $tool --version 2>/dev/null | grep -q 'version 14\.' && break
done
[ $tool != none ] || { echo "format: no clang-format 14; on Debian 12: apt-get install clang-format" >&2; exit 2; }
if [ $# = 0 ]; then
    # shellcheck disable=SC2046
    set -- $(find runtime host kernels bench tests tools -name '*.[ch]' ! -path runtime/text/unicode_tables.c | sort)
fi
printf '%s\n' "$@" | xargs -n 96 -P 2 $tool --style=file $how
