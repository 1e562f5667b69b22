#!/bin/sh
# vLLM's checkpoint configurations and the compressed-tensors library on folders of every recipe, family and layout: quant_peer.py;
# Mistral Large 3 as a Hugging Face folder in transformers: native_hf_peer.py.
# The libraries are large: `make check-quant-clients` installs them (tests/interop/quant_tools.sh); QUANT_PYTHON names another Python.
. "$(dirname "$0")/common.inc"
: "${INGOT:=build/ingot}"
INGOT=$(realpath "$INGOT"); export INGOT
P=${QUANT_PYTHON:-$HERE/../../.tools/quant/bin/python}
if ! [ -x "$P" ] || ! "$P" -c 'import compressed_tensors, torch, transformers, vllm' >/dev/null 2>&1; then
    if [ -n "${QUANT_REQUIRED:-}" ]; then say "FAIL check_quant: vllm, compressed-tensors and transformers are not installed"; exit 1; fi
    say "skip check_quant: vllm, compressed-tensors and transformers are not installed (make check-quant-clients installs them)"; exit 0
fi
"$P" "$HERE/quant_peer.py" "$WORK" vllm 2>"$WORK/log" || { tail -n 5 "$WORK/log"; exit 1; }
"$P" "$HERE/quant_peer.py" "$WORK" ct 2>"$WORK/log" || { tail -n 5 "$WORK/log"; exit 1; }
"$P" "$HERE/native_hf_peer.py" "$WORK" 2>"$WORK/log" || { tail -n 5 "$WORK/log"; exit 1; }
