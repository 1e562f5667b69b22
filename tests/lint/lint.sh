#!/bin/sh
# lint.sh: the rules of the house that a script can check. Prints "ok ..." or "FAIL file: why".
set -u
bad=0
# Product folders that are there ("convert" is to come).
ROOMS=$(for d in core numeric formats models plan backends engine convert calibrate quantize pack verify cli; do if [ -d $d ]; then echo $d; fi; done)
fail() { echo "FAIL $*"; bad=1; }

# Who may include whom (docs/adding.md, "Rooms"): folder, then the folders it may include besides itself.
allowed() {
    case $1 in
    numeric) echo ;;
    core) echo ;;
    formats) echo core numeric ;;
    models) echo formats core numeric ;;
    backends) echo numeric core ;;
    plan) echo models formats numeric core ;;
    engine) echo backends models formats numeric core ;;
    convert) echo engine plan backends models formats numeric core ;; # quantized sources are read as the engine reads them
    quantize) echo plan backends models formats numeric core ;;
    calibrate | verify) echo plan engine backends models formats numeric core ;;
    pack) echo plan models formats numeric core ;;
    cli | tests | bench) echo ANY ;;
    esac
}
for f in $(find $ROOMS -name '*.[ch]' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' | sort); do
    d=${f%%/*}
    for i in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$f"); do
        to=${i%%/*}
        [ "$to" = "$d" ] && continue
        case " $(allowed "$d") " in *" ANY "* | *" $to "*) ;; *) fail "$f: $d/ may not include $i" ;; esac
        [ -f "$i" ] || fail "$f: includes $i, which is not there"
    done
done
[ $bad = 0 ] && echo "ok include rules"

# Each outside library has one door.
door() { # door HEADER-REGEX FILES...
    re=$1; shift
    for f in $(grep -rlE "^#include <($re)" $ROOMS 2>/dev/null); do
        case " $* " in *" $f "*) ;; *) fail "$f: only $* may include <$re>" ;; esac
    done
}
door 'openssl/' core/crypto.c core/crypto_key.c core/crypto_kind.h core/crypto_kind.c core/crypto_sign.c core/crypto_cosign.c core/crypto_cert.c
door 'p11-kit/' core/pkcs11.c
door 'jansson.h' core/json.h
door 'yaml.h' core/yaml.c
door 'archive' formats/tar_check.c
door 'pcre2' engine/pretokenizer_match.c
door 'utf8proc.h' engine/unicode.c
door 'curl/' pack/registry_curl.h
door 'cuda' backends/cuda/cuda_device.h
[ $bad = 0 ] && echo "ok library doors"

# Every header compiles alone (CUDA's runtime is the tests' fake of it; .cuh headers are nvcc's: make check-cuda-host).
for h in $(find $ROOMS -name '*.h' | sort); do
    case $h in *_body.h | *_neon.h) continue ;; esac     # parts of others; make check-neon compiles ARM's
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Wno-unused-function -I. -Itests/cuda/fake -x c "$h" 2>/tmp/lint.$$ || { fail "$h does not compile alone"; head -3 /tmp/lint.$$; }
done
rm -f /tmp/lint.$$
[ $bad = 0 ] && echo "ok headers compile alone"

# The specification of the numbers is also C++ (and CUDA: make check-cuda-host), and stands on nothing but two headers.
for h in numeric/*.h; do
    if command -v "${CXX:-c++}" >/dev/null; then
        ${CXX:-c++} -std=c++17 -fsyntax-only -Wall -Wextra -Wconversion -Wno-unused-function -Werror -I. -x c++ "$h" 2>/tmp/lint.$$ || { fail "$h is not C++17"; head -3 /tmp/lint.$$; }
    fi
    grep -nE '^#include <' "$h" | grep -vE '<(stdint|string)\.h>' && fail "$h may include only stdint.h and string.h"
    grep -nE '\bdouble\b' "$h" | grep -v '^[0-9]*: \*' && fail "$h uses double"
done
rm -f /tmp/lint.$$
[ $bad = 0 ] && echo "ok numeric/ is C++ too"

# Lines and files that a reader can hold.
long=$(find bench $ROOMS -name '*.[ch]' | xargs awk 'length($0) > 120 {print FILENAME":"FNR": "length($0)" columns"}')
[ -z "$long" ] && echo "ok line lengths" || { fail "lines over 120 columns:"; echo "$long"; }
names=$(find $ROOMS -name '*.[ch]' | xargs -n1 basename | sort | uniq -d)
[ -z "$names" ] && echo "ok file names are unique" || fail "file names used twice: $names"
todo=$(grep -rnE 'TODO|FIXME|XXX' $ROOMS --include=*.[ch] | grep -v '#[0-9]' | head)
[ -z "$todo" ] && echo "ok nothing left to do without an issue" || fail "$todo"
if grep -rnE '\b(printf|puts|exit|abort)\(' $(echo "$ROOMS" | grep -vx cli) --include=*.c | grep -vE 'snprintf|fprintf\(f|_printf' | head -5 | grep .; then fail "printing or exiting below cli/"; else echo "ok nothing below cli/ prints or exits"; fi
exit $bad
