#!/bin/sh
# run.sh PROGRAM BUILD [PATTERN]: runs every test whose name holds PATTERN, but for those that hold a word of $SKIP, and counts. A test is a program or script that prints lines
# "ok ...", "FAIL ..." or "skip ...", or TAP (cmocka's). Ends with "N passed, N failed, N skipped"; exit 1 when one failed.
set -u
INGOT=$(realpath "$1") B=$2 PATTERN=${3:-}
INGOT_TOOLS=$(realpath "$B")/tests/tools   # small programs for scripts that need more than the command line
FAULT_LIB=$(realpath "$B")/tests/preload/fault.so
INGOT_FAKE_CUDA=$(realpath "$B")/tests/cuda/fake_ingot
export INGOT INGOT_TOOLS FAULT_LIB INGOT_FAKE_CUDA CMOCKA_MESSAGE_OUTPUT=TAP
[ -n "${INGOT_SHARED:-}" ] || { [ -d ../shared/fixtures ] && INGOT_SHARED=$(realpath ../shared) && export INGOT_SHARED; } || :
passed=0 failed=0 skipped=0
log=$(mktemp) all=$(mktemp); trap 'rm -f "$log" "$all"' EXIT
count() { grep -cE "$1" "$log" || :; }
one() { # one NAME COMMAND...
    name=$1; shift
    case $name in *"$PATTERN"*) ;; *) return ;; esac
    for word in ${SKIP:-}; do case $name in *"$word"*) return ;; esac; done
    start=$(date +%s.%N)
    "$@" >"$log" 2>&1; rc=$?
    # cmocka writes a skipped test as "not ok N # SKIP name".
    s=$(count '^(skip |(not )?ok .*# SKIP)') f=$(grep -E '^(FAIL|not ok) ' "$log" | grep -vc '# SKIP' || :)
    p=$(grep -E '^ok ' "$log" | grep -vc '# SKIP' || :)
    if [ "$rc" != 0 ] && [ "$f" = 0 ]; then f=1; echo "FAIL $name ended with status $rc" >>"$log"; fi
    if [ "$p" = 0 ] && [ "$f" = 0 ] && [ "$s" = 0 ]; then f=1; echo "FAIL $name tested nothing" >>"$log"; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-40s %4d ok %s%s %6.1f s\n' "$name" "$p" "$([ "$f" = 0 ] || echo "$f FAILED ")" "$([ "$s" = 0 ] || echo "$s skipped ")" "$(echo "$(date +%s.%N) $start" | awk '{print $1-$2}')"
    if [ "$f" != 0 ]; then grep -vE '^ok ' "$log" | sed 's/^/    /' | tail -n 60; fi
    grep -E '^(skip |(not )?ok .*# SKIP)' "$log" | sed 's/^/    /' >>"$all" || :
}
one lint sh tests/lint/lint.sh
for t in tests/unit/test_*.c; do n=$(basename "$t" .c); [ -f "$t" ] && one "unit/$n" "$B/tests/unit/$n"; done
for t in tests/kernels/test_*.c; do n=$(basename "$t" .c); [ -f "$t" ] && one "kernels/$n" "$B/tests/kernels/$n"; done
for t in tests/cuda/test_*.c; do n=$(basename "$t" .c); [ -f "$t" ] && one "cuda/$n" "$B/tests/cuda/$n"; done
for t in tests/fuzz/fuzz_*.c; do n=$(basename "$t" .c); [ -f "$t" ] && one "fuzz/$n" "$B/tests/fuzz/$n" "tests/fuzz/corpus/${n#fuzz_}"; done
PACK_TOOL=$B/tests/tools/pack_tool; export PACK_TOOL
for t in tests/interop/check_*.sh; do [ -f "$t" ] && one "${t#tests/}" sh "$t"; done
for t in tests/golden/*.sh tests/golden/*.py tests/cli/*.sh tests/cli/*.py; do
    [ -f "$t" ] || continue
    case $t in *.py) one "${t#tests/}" python3 "$t" ;; *) one "${t#tests/}" sh "$t" ;; esac
done
if [ -s "$all" ]; then echo 'skipped:'; sort -u "$all"; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
