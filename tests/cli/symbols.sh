#!/bin/sh
# No function of ours may have the name of a library's: the program's own definition would be called inside the library
# (a yaml_free of ours once was). Compares the archive's symbols with those of every shared library the program loads.
set -eu
archive=${1:-$(ls -t build/*/libingot.a | head -1)}
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
ldd "$INGOT" "$(dirname "$archive")"/tests/unit/test_* 2>/dev/null | awk '/=> \//{print $3}' | sort -u | while read -r lib; do nm -D --defined-only "$lib"; done | awk '{sub(/@.*/, "", $3); print $3}' | sort -u >"$tmp/libraries"
nm --defined-only --extern-only "$archive" | awk 'NF == 3 {print $3}' | grep -vE '^(__|_Z)' | sort -u >"$tmp/ours"
[ -s "$tmp/ours" ] || { echo "FAIL no symbols found in $archive"; exit 1; }
[ -s "$tmp/libraries" ] || { echo "skip symbols: $INGOT loads no shared libraries"; exit 0; }
both=$(comm -12 "$tmp/libraries" "$tmp/ours")
[ -z "$both" ] && echo "ok no symbol shadows a library's" || { echo "FAIL defined here and in a library: $both"; exit 1; }
