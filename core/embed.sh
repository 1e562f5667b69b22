#!/bin/sh
# embed.sh FILE... : C source with the bytes of each file and the table embedded_files[] (core/embed.h).
set -eu
echo '#include "core/embed.h"'
n=0
for f in "$@"; do
    printf 'static const unsigned char data_%d[] = {' $n
    od -An -v -tu1 "$f" | sed 's/  */,/g; s/^,//; s/$/,/'
    echo '0};'
    n=$((n + 1))
done
echo 'const struct embedded_file embedded_files[] = {'
n=0
for f in "$@"; do
    printf '    {"%s", data_%d, sizeof data_%d - 1},\n' "$f" $n $n
    n=$((n + 1))
done
echo '    {0, 0, 0}};'
