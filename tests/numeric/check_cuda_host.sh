#!/bin/sh
# check_cuda_host.sh OUT: what can be said about numeric/ on a GPU from a machine without one. Needs `make cuda-deps`.
# Prints ok, FAIL and skip lines; exit 1 when one failed.
set -u
out=$1 bad=0
fail() { echo "FAIL $*"; bad=1; }
root=$(ls -d .cuda/lib/python3*/site-packages/nvidia/cu1[0-9] 2>/dev/null | head -n 1)
if [ -z "$root" ] || [ ! -x "$root/bin/nvcc" ]; then
    echo "skip agreement with CUDA: no compiler in .cuda/ (make cuda-deps)"
    exit 0
fi
nvcc=$root/bin/nvcc source=tests/numeric/numeric_device.cu
mkdir -p "$out"
exact="$(sed -n "s/^CUDA_EXACT := //p" Makefile) -I. --Werror all-warnings"

# inexact PTX: prints instructions that change numbers; false when there are none. (rcp.rn and div.rn are exact. The
# compiler fuses to fma.rn; fma.rp is written where a fused product rounded upwards is meant, backends/cuda/encode_body.h.)
inexact() {
    grep -nE '\.ftz|\.approx|div\.full|(fma|mad)\.(rn\.|rz\.|ftz\.|sat\.)*f32|\.f64' "$1" | head -n 3 | tr -s '\t\n' '  ' | grep .
}

# Every header of numeric/ is compiled as device code, also one that the source forgot.
for h in numeric/*.h; do
    grep -q "#include \"$h\"" $source || fail "$h is not included by $source"
done
# exact_ptx SOURCE NAME ARCH: compiles and reads; leaves $out/NAME.ARCH.ptx.
exact_ptx() {
    ptx=$out/$2.$3.ptx log=$out/$2.$3.log
    # shellcheck disable=SC2086
    if "$nvcc" $exact -arch="$3" -ptx -o "$ptx" "$1" >"$log" 2>&1 &&
        "$nvcc" $exact -arch="$3" -cubin -o "$out/$2.$3.cubin" "$1" >>"$log" 2>&1; then
        echo "ok $2 compiles for $3"
    else
        fail "$2 does not compile for $3"; head -n 20 "$log"; return
    fi
    if found=$(inexact "$ptx"); then
        fail "$2, $3: inexact or fused instructions in the PTX: $found"
    elif ! grep -q 'div\.rn\.f32' "$ptx"; then
        fail "$2, $3: no correctly rounded division in the PTX"
    else
        echo "ok $2, $3: $(grep -c 'div\.rn\.f32' "$ptx") exact divisions, nothing approximate, fused or flushed"
    fi
}
kernels=backends/cuda/kernels.cu
for arch in sm_90a sm_100a; do
    exact_ptx $source numeric $arch
    exact_ptx $kernels kernels $arch
done

# The same look at what must not be: compiled with the wrong flags it has to see something.
for wrong in --use_fast_math -ftz=true -prec-div=false -fmad=true; do
    for s in $source $kernels; do
        "$nvcc" -std=c++17 -I. -arch=sm_90a $wrong -ptx -o "$out/wrong.ptx" "$s" >"$out/wrong.log" 2>&1
        if found=$(inexact "$out/wrong.ptx"); then
            echo "ok $wrong is noticed in $s"
        else
            fail "$wrong leaves no trace in $s that this script sees"
        fi
    done
done

# The guards of conversion instructions: open where the chip has them, closed elsewhere and on demand; and a kernel per
# function of the list, so that nothing of it was left out.
has() { # has PATTERN FILE WANT WHAT
    n=$(grep -c "$1" "$2")
    if [ "$3" = yes ] && [ "$n" = 0 ]; then fail "$4: not used"
    elif [ "$3" = no ] && [ "$n" != 0 ]; then fail "$4: used $n times"
    else echo "ok $4: $n"; fi
}
has 'cvt.rn.satfinite.e4m3x2' "$out/kernels.sm_90a.ptx" yes "sm_90a converts to E4M3 in hardware"
has 'cvt.rn.satfinite.e2m1x2' "$out/kernels.sm_90a.ptx" no "sm_90a has no conversion to E2M1"
has 'cvt.rn.satfinite.e4m3x2' "$out/kernels.sm_100a.ptx" yes "sm_100a converts to E4M3 in hardware"
has 'cvt.rn.satfinite.e2m1x2' "$out/kernels.sm_100a.ptx" yes "sm_100a converts to E2M1 in hardware"
# shellcheck disable=SC2086
"$nvcc" $exact -arch=sm_100a -DGPU_SOFTWARE_CONVERSIONS -ptx -o "$out/software.ptx" $kernels >"$out/software.log" 2>&1
has 'cvt.rn.satfinite' "$out/software.ptx" no "GPU_SOFTWARE_CONVERSIONS closes the guards"
for fn in $(sed -n 's/^CUDA_KERNEL([A-Z0-9_]*, \([a-z0-9_]*\),.*/\1/p' backends/cuda/kernels.inc | sort -u); do
    grep -q "\.entry $fn(" "$out/kernels.sm_90a.ptx" || fail "$fn is in the list and not in the PTX"
done
has '\.local' "$out/kernels.sm_90a.ptx" no "nothing lies in local memory"

if ${CXX:-g++} -std=c++17 -O2 -ffp-contract=off -I. -isystem "$root/include" -Wall -Wextra -o "$out/cuda_host" \
    tests/numeric/cuda_host.cpp >"$out/host.log" 2>&1; then
    "$out/cuda_host" || bad=1
    [ -z "${CUDA_HOST_ALL:-}" ] || "$out/cuda_host" all || bad=1 # minutes
else
    fail "tests/numeric/cuda_host.cpp does not compile"; head -n 20 "$out/host.log"
fi
exit $bad
