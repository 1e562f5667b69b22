#!/bin/sh
# check_cuda.sh PROGRAM DIR ROOT [MAKE_CHECKPOINT]: what only a machine with a GPU can show. DIR holds the programs that `make
# check-cuda` built, ROOT is the toolkit; both empty when there is no compiler. Prints ok, FAIL and skip lines; exit 1
# when one failed. With a fourth word: quantize end to end instead, on a 4 GiB checkpoint that it makes below DIR.
set -u
ingot=$1 dir=$2 root=$3 make_checkpoint=${4:-} bad=0
fail() { echo "FAIL $*"; bad=1; }
line=$("$ingot" list backends | sed -n 's/^cuda  *//p' | head -n 1)
case $line in
available*) echo "# $line" ;;
*)
    for t in 'kernels on the device' 'the backend on the device' 'conversions and arithmetic of the device' \
        'compute-sanitizer' 'whole checkpoints, CPU = GPU'; do echo "skip $t: $line"; done
    exit 0 ;;
esac
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
has_option() { "$ingot" quantize --help | grep -q -- '--backend'; }

if [ -n "$make_checkpoint" ]; then
    has_option || { echo "skip quantize end to end: the program has no --backend"; exit 0; }
    model=$dir/bench-model
    [ -d "$model" ] || { "$make_checkpoint" "$model.part" 4 && mv "$model.part" "$model"; } || exit 1
    cat "$model"/*.safetensors >/dev/null # so that both read from memory
    for backend in cpu cuda; do
        start=$(date +%s.%N)
        "$ingot" quantize -q -r nvfp4-data-free --backend $backend -o "$dir/bench-out" --force "$model" || exit 1
        echo "$(date +%s.%N) $start $(du -sLb "$model" | cut -f1)" |
            awk -v b=$backend '{printf "quantize, %s: %.1f s, %.2f GB/s of source\n", b, $1-$2, $3/($1-$2)/1e9}'
    done
    exit 0
fi

# Every kernel against the scalar kernels (first all 16-bit inputs and all codes), then the lanes.
CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT
for t in tests/cuda/test_cuda_kernels tests/cuda/test_cuda_backend device_convert; do
    "$dir/$t" >"$tmp/log" 2>&1; rc=$?
    grep -E '^(ok|FAIL|not ok|skip) ' "$tmp/log"
    if [ $rc != 0 ]; then fail "$t ended with status $rc"; grep -vE '^(ok|FAIL|not ok|skip) ' "$tmp/log" | tail -n 20; fi
done

# The same under compute-sanitizer, an operation at a time: it is some hundred times slower.
sanitizer=$(command -v compute-sanitizer || ls "$root/bin/compute-sanitizer" "$root/compute-sanitizer/compute-sanitizer" 2>/dev/null | head -n 1)
if [ -z "$sanitizer" ]; then echo "skip compute-sanitizer: it is not installed"
elif ! "$sanitizer" --tool memcheck --error-exitcode 9 "$dir/tests/cuda/test_cuda_kernels" nothing_of_this_name >"$tmp/log" 2>&1; then
    echo "skip compute-sanitizer: it does not run here: $(grep -m 1 -i error "$tmp/log")"
else
    for tool in memcheck racecheck; do
        for op in amax encode_nvfp4 sweep encode_fp8_block encode_fp8_channel mxfp int4 input; do
            if timeout 300 "$sanitizer" --tool $tool --error-exitcode 9 "$dir/tests/cuda/test_cuda_kernels" $op --few >"$tmp/log" 2>&1
            then echo "ok $tool: $op"; else fail "$tool: $op: $(grep -m 3 '=========' "$tmp/log" | tr '\n' ' ')"; fi
        done
    done
fi

# Whole checkpoints: every file of every recipe that needs no data.
if ! has_option; then echo "skip whole checkpoints, CPU = GPU: the program has no quantize --backend"; exit $bad; fi
for r in nvfp4-data-free nvfp4_weight_only-kv_fp16 nvfp4_experts_only_input_scale1-kv_fp8_cast nvfp4_default-kv_fp8_cast \
    nvfp4_experts_only_mse-kv_fp8_cast fp8_default-kv_fp8; do
    data=
    case $r in *data-free | *weight_only*) ;; *) data="--data examples/nano-hybrid/calibration.jsonl --max-texts 2" ;; esac
    for b in cpu cuda; do
        # shellcheck disable=SC2086
        "$ingot" quantize -q --force -r $r $data --backend $b -o "$tmp/$b" examples/nano-hybrid/model >"$tmp/log" 2>&1 ||
            fail "$r on $b: $(tail -n 1 "$tmp/log")"
    done
    if diff -rq "$tmp/cpu" "$tmp/cuda" >"$tmp/log"; then echo "ok $r: the same files from CPU and GPU"
    else fail "$r: $(head -n 3 "$tmp/log" | tr '\n' ' ')"; fi
done
exit $bad
