#!/bin/sh
# Installs what check_quant.sh needs into .tools/quant, some gigabytes: versions it was proven with.
set -eu
cd "$(dirname "$0")/../.."
T=$PWD/.tools
"$T/quant/bin/python" -c 'import compressed_tensors, torch, transformers, vllm' >/dev/null 2>&1 && exit 0
echo "  installing vllm, compressed-tensors and transformers"
python3 -m venv "$T/quant"
"$T/quant/bin/pip" install -q vllm==0.32.0 compressed-tensors transformers safetensors numpy
