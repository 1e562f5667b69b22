#!/bin/sh
# check_cuda.sh PROGRAM DIR [PART...]: what only a machine with a GPU can show. DIR holds the programs that `make check-cuda`
# or `make cuda-kit` built. Prints ok, FAIL and skip lines and the seconds of each part; exit 1 when one failed. Parts:
#
#   binary       what the program holds, and that it starts without a driver (on every machine)
#   kernels      every kernel on the device against the scalar one; first all 16-bit inputs and all codes
#   backend      the same through lanes
#   convert      conversion instructions, division and directed rounding for all inputs
#   checkpoints  whole checkpoints, CPU = GPU, every file; one of CHECK_GIB (default 1, 0 for none) is made
#   sanitizer    kernels and lanes under compute-sanitizer, in SANITIZER_SECONDS (default 240) at most
#   speed        bandwidth of every kernel and of the link (`make bench-cuda`)
#   quantize     quantize end to end on a checkpoint of BENCH_GIB (default 4) that it makes in memory (`make bench-cuda`)
#
# Without names: all but the last two. It needs a shell and coreutils, no compiler, so the machine may be bare
# (docs/cuda.md). CUDA_ROOT: where else a toolkit is.
set -u
ingot=$1 dir=$2; shift 2
root=$(cd "$(dirname "$0")/../.." && pwd) example=$(cd "$(dirname "$0")/../.." && pwd)/examples/nano-hybrid bad=0
[ $# -gt 0 ] || set -- binary kernels backend convert checkpoints sanitizer
fail() { echo "FAIL $*"; bad=1; }
tmp=$(mktemp -d) big=$tmp
trap 'rm -rf "$tmp" "$big"' EXIT

find_make_checkpoint() {
    for make_checkpoint in "$dir/bench/make_checkpoint" "$root"/build/*/bench/make_checkpoint; do
        [ -x "$make_checkpoint" ] && return 0
    done
    return 1
}

# Room for GIB in memory rather than on a disk, where there is some.
big_folder() {
    [ "$big" = "$tmp" ] || return 0
    free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "${free:-0}" -gt $((2 * $1)) ] && big=$(mktemp -d /dev/shm/ingot-cuda.XXXXXX) || big=$tmp
}

part_binary() {
    if ! command -v python3 >/dev/null; then echo "skip what the program holds: there is no python3"; return; fi
    if [ ! -f "$dir/chips" ] || grep -q '^none$' "$dir/chips"; then echo "skip what the program holds: it was built without CUDA"; return; fi
    python3 "$root/tests/cuda/fatbin.py" "$ingot" "$(cut -d' ' -f2- "$dir/chips")" || bad=1
}

run_program() { # run_program NAME [ARGUMENT]...
    name=$1; shift
    [ -x "$dir/$name" ] || { fail "$dir/$name is not built"; return; }
    CMOCKA_MESSAGE_OUTPUT=TAP "$dir/$name" "$@" >"$tmp/log" 2>&1; rc=$?
    grep -E '^(ok|FAIL|not ok|skip) ' "$tmp/log"
    if [ $rc != 0 ]; then fail "$name ended with status $rc"; grep -vE '^(ok|FAIL|not ok|skip) ' "$tmp/log" | tail -n 20; fi
}
part_kernels() { run_program tests/cuda/test_cuda_kernels; }
part_backend() { run_program tests/cuda/test_cuda_backend; }
part_convert() { run_program device_convert; }

# same WHAT MODEL ARGUMENT...: quantized by CPU and GPU, every file
same() {
    what=$1 model=$2; shift 2
    for b in cpu cuda; do
        "$ingot" quantize -q --force --backend $b -o "$big/$b" "$@" "$model" >"$tmp/log" 2>&1 ||
            { fail "$what on $b: $(tail -n 1 "$tmp/log")"; return; }
    done
    if diff -rq "$big/cpu" "$big/cuda" >"$tmp/log"; then echo "ok $what: the same files from CPU and GPU"
    else fail "$what: $(head -n 3 "$tmp/log" | tr '\n' ' ')"; fi
    rm -rf "$big/cpu" "$big/cuda"
}

# Statistics come from the CPU: the forward pass has no CUDA kernels.
part_checkpoints() {
    big_folder 4
    for r in nvfp4-data-free nvfp4_weight_only-kv_fp16 nvfp4_experts_only_input_scale1-kv_fp8_cast; do same $r "$example/model" -r $r; done
    for r in nvfp4_default-kv_fp8_cast super-nvfp4-max-calib super-nvfp4-mse fp8_default-kv_fp8; do
        if "$ingot" calibrate -q --backend cpu -r $r --data "$example/calibration.jsonl" --max-texts 2 --max-tokens 64 \
            -o "$tmp/$r.safetensors" "$example/model" >"$tmp/log" 2>&1
        then same $r "$example/model" -r $r -s "$tmp/$r.safetensors"; else fail "calibrate $r: $(tail -n 1 "$tmp/log")"; fi
    done
    [ "${CHECK_GIB:-1}" != 0 ] || return
    if ! find_make_checkpoint; then echo "skip a checkpoint of ${CHECK_GIB:-1} GiB: make_checkpoint is not built"; return; fi
    if "$make_checkpoint" "$big/model" "${CHECK_GIB:-1}" >"$tmp/log" 2>&1
    then same "a checkpoint of ${CHECK_GIB:-1} GiB" "$big/model" -r nvfp4-data-free; else fail "make_checkpoint: $(tail -n 1 "$tmp/log")"; fi
    rm -rf "$big/model"
}

# racecheck looks at shared memory, which no kernel has: synccheck and initcheck instead. Some hundred times slower than
# without, so a part at a time; what the seconds do not reach is said.
part_sanitizer() {
    sanitizer=
    for s in "$(command -v compute-sanitizer)" "${CUDA_ROOT:-/usr/local/cuda}"/bin/compute-sanitizer \
        "${CUDA_ROOT:-/usr/local/cuda}"/compute-sanitizer/compute-sanitizer /usr/local/cuda*/bin/compute-sanitizer; do
        [ -x "$s" ] && sanitizer=$s && break
    done
    kernels=$dir/tests/cuda/test_cuda_kernels
    if [ -z "$sanitizer" ]; then echo "skip compute-sanitizer: it is not installed"; return; fi
    if ! timeout 120 "$sanitizer" --tool memcheck --error-exitcode 9 "$kernels" nothing_of_this_name >"$tmp/log" 2>&1; then
        echo "skip compute-sanitizer: it does not run here: $(grep -m 1 -iE 'error|not supported' "$tmp/log")"; return
    fi
    end=$(($(date +%s) + ${SANITIZER_SECONDS:-240}))
    sanitize initcheck "the backend" "$dir/tests/cuda/test_cuda_backend"
    sanitize memcheck "the backend" "$dir/tests/cuda/test_cuda_backend"
    for op in encode_fp8_block amax encode_fp8_channel; do sanitize synccheck $op "$kernels" $op --few; done
    for op in amax widen encode_nvfp4 sweep_nvfp4 four_six_nvfp4 encode_fp8 encode_mxfp encode_int4 decode input; do
        sanitize memcheck $op "$kernels" $op --few
    done
}
sanitize() { # sanitize TOOL WHAT COMMAND...
    tool=$1 what=$2; shift 2
    left=$((end - $(date +%s)))
    if [ $left -le 0 ]; then echo "skip $tool: $what: SANITIZER_SECONDS are over"; return; fi
    timeout "$left" "$sanitizer" --tool "$tool" --error-exitcode 9 "$@" >"$tmp/log" 2>&1; rc=$?
    case $rc in
    0) echo "ok $tool: $what" ;;
    124) echo "skip $tool: $what: SANITIZER_SECONDS are over" ;;
    *) fail "$tool: $what: status $rc: $(grep -m 3 '=========' "$tmp/log" | tr '\n' ' ')" ;;
    esac
}

part_speed() { "$dir/bench/cuda/bench_cuda" || bad=1; }

# In turn and twice, as the first run also meets cold caches.
part_quantize() {
    if ! find_make_checkpoint; then echo "skip quantize end to end: make_checkpoint is not built"; return; fi
    big_folder $((2 * ${BENCH_GIB:-4}))
    "$make_checkpoint" "$big/model" "${BENCH_GIB:-4}" >"$tmp/log" 2>&1 || { fail "make_checkpoint: $(tail -n 1 "$tmp/log")"; return; }
    cat "$big/model"/*.safetensors >/dev/null
    bytes=$(du -sLb "$big/model" | cut -f1)
    for backend in cpu cuda cpu cuda; do
        start=$(date +%s.%N)
        "$ingot" quantize -q --force -r nvfp4-data-free --backend $backend -o "$big/out" "$big/model" >"$tmp/log" 2>&1 || { fail "$backend: $(cat "$tmp/log")"; return; }
        echo "$(date +%s.%N) $start $bytes" | awk -v b=$backend -v where="$big" '{printf "quantize in %s, %-4s %6.2f s %6.2f GB/s of source\n", where, b, $1-$2, $3/($1-$2)/1e9}'
    done
}

line=$("$ingot" list backends | sed -n 's/^cuda  *//p' | head -n 1)
echo "# cuda: $line"
for p in "$@"; do
    case $p in binary | kernels | backend | convert | checkpoints | sanitizer | speed | quantize) ;; *) fail "there is no part '$p'"; continue ;; esac
    start=$(date +%s)
    case $p,$line in
    binary,* | *,available*) "part_$p"; echo "# $p: $(($(date +%s) - start)) s" ;;
    *) echo "skip $p: cuda is $line" ;;
    esac
done
exit $bad
