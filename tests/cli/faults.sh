#!/bin/sh
# Killed at a moment, and run again: same bytes. Out of space, or a write that fails, at a moment: one sentence, status 5,
# no final name, nothing left behind. The moments are calls that change the file system, spread over the whole run
# (FAULT_STEPS of them; make check tries every one).
. "$(dirname "$0")/common.inc"
STEPS=${FAULT_STEPS:-9}
M=$EXAMPLE/model
ids 1 40 > "$WORK/ids.json"
"$INGOT" calibrate "$M" -r nvfp4_default-kv_fp8 --ids "$WORK/ids.json" -o "$WORK/s.safetensors" -q >/dev/null
"$INGOT" quantize "$M" -r nvfp4_default-kv_fp8 -s "$WORK/s.safetensors" -o "$WORK/model" -q >/dev/null

# NAME and a command that makes $WORK/out from what is there
quantize() { fault "$@" "$INGOT" quantize "$M" -r nvfp4_default-kv_fp8 -s "$WORK/s.safetensors" -o "$WORK/out" --shard-size 700K -q; }
calibrate() { fault "$@" "$INGOT" calibrate "$M" -r nvfp4_default-kv_fp8 --ids "$WORK/ids.json" -o "$WORK/out.safetensors" -q; }
pack() { fault "$@" "$INGOT" pack "$WORK/model" -o "oci:$WORK/out:t" -q; }
archive() { fault "$@" "$INGOT" pack "$WORK/model" -o "oci-archive:$WORK/out.tar:t" -q; }
sign() { # the package is made without faults, signed with
    [ -d "$WORK/out" ] || cp -r "$WORK/unsigned" "$WORK/out"
    fault "$@" "$INGOT" sign "oci:$WORK/out:t" -k "$WORK/own.key" -q
}
fault() { # fault WHAT AT COMMAND...
    fault_do=$1 fault_at=$2; shift 2
    env ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD="$FAULT_LIB" FAULT_DO="$fault_do" FAULT_AT="$fault_at" FAULT_COUNT="$WORK/count" "$@" >"$WORK/stdout" 2>"$WORK/stderr"
}
names() { (cd "$WORK" && find . -path './out*' -o -path './.*out*' | sort); }
# What is there is what a run without faults makes; a signature has random bytes in it, so that is verified instead
right() { if [ $stage = sign ]; then "$INGOT" verify "oci:$WORK/out:t" -k "$WORK/own.pub" -q >/dev/null 2>&1; else [ "$(tree "$WORK" 'out*')" = "$want" ]; fi; }
clean() { rm -rf "$WORK"/out* "$WORK"/.*out*; }

"$INGOT" keygen -o "$WORK/own" -q >/dev/null
"$INGOT" pack "$WORK/model" -o "oci:$WORK/out:t" -q >/dev/null
unsigned=$(tree "$WORK" 'out*')
mv "$WORK/out" "$WORK/unsigned"
nothing=$(tree "$WORK" 'out*')
for stage in quantize calibrate pack archive sign; do
    clean
    $stage none 0 || { bad "$stage without a fault: $(cat "$WORK/stderr")"; continue; }
    total=$(cat "$WORK/count") want=$(tree "$WORK" 'out*')
    [ "$total" -ge 5 ] || { bad "$stage changes the file system only $total times: is the library loaded?"; continue; }
    killed=0 failed=0 n=0
    for at in $(spread "$total" "$STEPS"); do
        n=$((n + 1))
        clean; $stage kill "$at"; rc=$?
        [ $rc = 137 ] && killed=$((killed + 1))
        now=$(tree "$WORK" 'out*')
        case $stage in
        sign) ;;     # blobs that no index names: verify says so, and the next signer sweeps them
        *) [ "$now" = "$nothing" ] || [ "$now" = "$want" ] || bad "$stage killed at $at left something half-made under its final name" ;;
        esac
        [ "$now" = "$want" ] && continue     # killed after the rename
        $stage none 0 || bad "$stage killed at $at cannot go on: $(cat "$WORK/stderr")"
        right || bad "$stage killed at $at and run again has other bytes"
        [ -z "$(names | grep ingot-partial)" ] || bad "$stage killed at $at and run again leaves $(names | grep ingot-partial)"
        for what in ENOSPC EIO; do
            clean; $stage $what "$at"; rc=$?
            if [ $rc = 0 ]; then right || bad "$stage says yes to $what at $at, with other bytes"; continue; fi
            failed=$((failed + 1))
            [ $rc = 5 ] || bad "$stage, $what at $at: status $rc, expected 5: $(cat "$WORK/stderr")"
            [ "$(wc -l <"$WORK/stderr")" = 1 ] || bad "$stage, $what at $at: not one sentence: $(cat "$WORK/stderr")"
            right && continue     # only the last fsync failed: whole, and the user told
            if [ $stage = sign ]; then
                [ "$(tree "$WORK" 'out*')" = "$unsigned" ] || bad "sign, $what at $at, changes the package: $(diff -rq "$WORK/out" "$WORK/unsigned")"
            else [ -z "$(names)" ] || bad "$stage, $what at $at, leaves $(names | tr '\n' ' ')"; fi
        done
    done
    [ "$killed" -ge $((n / 2)) ] && [ "$failed" -ge "$n" ] || bad "$stage: $killed of $n kills and $failed of $((2 * n)) faults came through: the test tests nothing"
    ok "$stage: $killed kills, $failed faults in $total changes"
done
done_testing
