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
exact="-std=c++17 -I. -fmad=false -prec-div=true -prec-sqrt=true -ftz=false --Werror all-warnings"

# inexact PTX: prints instructions that change numbers; false when there are none. (rcp.rn and div.rn are exact.)
inexact() {
    grep -nE '\.ftz|\.approx|div\.full|(fma|mad)\.[a-z.]*f32|\.f64' "$1" | head -n 3 | tr -s '\t\n' '  ' | grep .
}

# Every header of numeric/ is compiled as device code, also one that the source forgot.
for h in numeric/*.h; do
    grep -q "#include \"$h\"" $source || fail "$h is not included by $source"
done
for arch in sm_90a sm_100a; do
    # shellcheck disable=SC2086
    if "$nvcc" $exact -arch=$arch -ptx -o "$out/$arch.ptx" "$source" >"$out/$arch.log" 2>&1 &&
        "$nvcc" $exact -arch=$arch -cubin -o "$out/$arch.cubin" "$source" >>"$out/$arch.log" 2>&1; then
        echo "ok numeric/ compiles for $arch"
    else
        fail "numeric/ does not compile for $arch"; head -n 20 "$out/$arch.log"; continue
    fi
    if found=$(inexact "$out/$arch.ptx"); then
        fail "$arch: inexact or fused instructions in the PTX: $found"
    elif ! grep -q 'div\.rn\.f32' "$out/$arch.ptx"; then
        fail "$arch: no correctly rounded division in the PTX"
    else
        echo "ok $arch: $(grep -c 'div\.rn\.f32' "$out/$arch.ptx") exact divisions, nothing approximate, fused or flushed"
    fi
done

# The same look at what must not be: compiled with the wrong flags it has to see something.
for wrong in --use_fast_math -ftz=true -prec-div=false -fmad=true; do
    "$nvcc" -std=c++17 -I. -arch=sm_90a $wrong -ptx -o "$out/wrong.ptx" "$source" >"$out/wrong.log" 2>&1
    if found=$(inexact "$out/wrong.ptx"); then
        echo "ok $wrong is noticed"
    else
        fail "$wrong leaves no trace that this script sees"
    fi
done

if ${CXX:-g++} -std=c++17 -O2 -ffp-contract=off -I. -isystem "$root/include" -Wall -Wextra -o "$out/cuda_host" \
    tests/numeric/cuda_host.cpp >"$out/host.log" 2>&1; then
    "$out/cuda_host" || bad=1
else
    fail "tests/numeric/cuda_host.cpp does not compile"; head -n 20 "$out/host.log"
fi
exit $bad
