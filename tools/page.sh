#!/bin/sh
# page.sh DIR OUT: makes the server's page one file, OUT/page.html, of DIR/page.html, its style and its scripts, and
# OUT/page.csp, the Content-Security-Policy that lets these run, by their hashes, and nothing else.
set -eu
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
dir=$1 out=$2
style="$dir/page.css"
script="$dir/markdown.js $dir/store.js $dir/stream.js $dir/page.js"
mkdir -p "$out"

# The base64 of a SHA-256, by coreutils alone.
hash() { cat "$@" | sha256sum | cut -c 1-64 | tr a-f A-F | basenc -d --base16 | base64; }

while IFS= read -r line; do
    case $line in
    '<!-- style -->') printf '<style>'; cat $style; echo '</style>' ;;
    '<!-- script -->') printf '<script>'; cat $script; echo '</script>' ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$dir/page.html" >"$out/page.html"

# img-src: the icon. Trusted types: the browser itself refuses to make HTML of a text.
printf '%s' "default-src 'none'; script-src 'sha256-$(hash $script)'; style-src 'sha256-$(hash $style)'; connect-src 'self'; \
img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
trusted-types 'none'" >"$out/page.csp"
