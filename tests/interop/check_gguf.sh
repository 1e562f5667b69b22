#!/bin/sh
# llama.cpp and gguf-py on our GGUF files, and ours on theirs: tests/interop/gguf_peer.py.
. "$(dirname "$0")/common.inc"
: "${INGOT:=build/ingot}"
INGOT=$(realpath "$INGOT"); export INGOT
P=$HERE/../../.tools/gguf/bin/python
[ -x "$P" ] || P=${GGUF_PYTHON:-python3}
if ! "$P" -c 'import gguf, llama_cpp, numpy' 2>/dev/null; then
    if [ -n "${INTEROP_REQUIRED:-}" ]; then say "FAIL check_gguf: llama-cpp-python is not installed"; exit 1; fi
    say "skip check_gguf: llama-cpp-python is not installed (make check-interop installs it)"; exit 0
fi
status=0
"$P" "$HERE/gguf_peer.py" "$WORK" || status=1
MAKE=
for m in "$HERE"/../../build/*/bench/make_checkpoint; do [ -x "$m" ] && MAKE=$m; done
if [ -n "$MAKE" ]; then "$P" "$HERE/gguf_types_peer.py" "$WORK" "$MAKE" || status=1
else say "skip gguf_types_peer: build/*/bench/make_checkpoint is not built (make test-programs)"; fi
exit $status
