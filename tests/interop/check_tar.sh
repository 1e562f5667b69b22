#!/bin/sh
# GNU tar and Python read our layers: the same file, extracted or mapped at the recorded place; also past 8 GiB.
. "$(dirname "$0")/common.inc"
need tar python3 sha256sum
package p
"$PACK_TOOL" files "oci:$WORK/p:v1" >"$WORK/files"
must "members read in place are the model's files" sh -c "cd '$WORK/p.model' && sha256sum -c --quiet '$WORK/files'"
mkdir "$WORK/gnu"
for l in $(python3 -c 'import json,sys; d=sys.argv[1]; r=lambda x: json.load(open(d+"/blobs/sha256/"+x["digest"][7:]))
print(*[l["digest"][7:] for l in r(json.load(open(d+"/index.json"))["manifests"][0])["layers"]])' "$WORK/p"); do
    tar -C "$WORK/gnu" -xf "$WORK/p/blobs/sha256/$l" 2>"$WORK/tar.err" && [ ! -s "$WORK/tar.err" ] || { say "FAIL GNU tar on a layer"; cat "$WORK/tar.err"; exit 1; }
done
must "GNU tar unpacks the same tree" diff -r "$WORK/gnu/models" "$WORK/p.model"
echo >>"$WORK/gnu/models/config.json"
mustnot "a tree that differs" diff -r "$WORK/gnu/models" "$WORK/p.model"
L=$(blob "$WORK/p" layer)
cp "$L" "$WORK/bad.tar"; flip "$WORK/bad.tar" 100   # the mode of models/, without a new checksum
mustsay "GNU tar on a header byte changed" "doesn't look like a tar\|skipping to next header" tar -tf "$WORK/bad.tar"
mustnot "pack_tool on a header byte changed" python3 - "$WORK/bad.tar" <<'PY'
import sys, tarfile
tarfile.open(sys.argv[1], "r:").getmembers()
PY
python3 - "$PACK_TOOL" "$WORK" <<'PY'
import mmap, os, subprocess, sys, tarfile
tool, work = sys.argv[1:]
def check(path, size):
    """Lays a header, makes the layer a sparse file with marks at both ends of the data, and lets Python and GNU tar find them."""
    r = subprocess.run([tool, "layer", path, str(size)], capture_output=True, check=True)
    offset, total = map(int, r.stderr.split())
    assert offset == len(r.stdout) and offset % 4096 == 0, (offset, len(r.stdout))
    name = work + "/sparse.tar"
    with open(name, "wb") as f:
        f.write(r.stdout)
        f.truncate(total)
        if size:
            f.seek(offset); f.write(b"<"[:1])
            f.seek(offset + size - 1); f.write(b">")
    with tarfile.open(name, "r:") as t:
        members = t.getmembers()
        dirs = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
        assert [m.name for m in members] == dirs + [path], [m.name for m in members]
        m = members[-1]
        assert m.isreg() and m.size == size and m.offset_data == offset, (m.size, size, m.offset_data, offset)
        assert all(x.mtime == 0 and x.uid == 0 and x.gid == 0 and x.uname == "" for x in members)
        assert [x.mode for x in members] == [0o755] * len(dirs) + [0o644]
    listed = subprocess.run(["tar", "--full-time", "-tvf", name], capture_output=True, text=True, env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"})
    assert listed.returncode == 0 and not listed.stderr, listed.stderr
    last = listed.stdout.splitlines()[-1].split(maxsplit=5)
    assert int(last[2]) == size and last[3] == "1970-01-01", last
    with open(name, "rb") as f:
        if 0 < size < 1 << 33:
            with mmap.mmap(f.fileno(), size, offset=offset, access=mmap.ACCESS_READ) as view:
                assert view[size - 1:size] == b">" and (size == 1 or view[:1] == b"<")
    os.unlink(name)
for path in ("config.json", "models/config.json", "a/b/c/d/e/f/g/h/i", "models/" + "n" * 93, "models/" + "n" * 94, "models/" + "é" * 90 + ".bin",
             "/".join(["d" * 60] * 6) + "/file", "/".join(["long" * 50] * 4)):
    for size in (0, 1, 511, 512, 4097):
        check(path, size)
print("ok   Python and GNU tar read 40 layers of short and long names at the place we say")
for size in ((1 << 33) - 1, 1 << 33, 9 << 30):
    check("models/model-00001-of-00001.safetensors", size)
print("ok   and files on both sides of 8 GiB")
try:
    check("models/a", 10 ** 15)
    print("FAIL a size beyond all limits was taken")
except subprocess.CalledProcessError:
    print("ok   refused: a size beyond all limits")
PY
