#!/usr/bin/env python3
"""Packages made to harm: names that lead elsewhere, tar entries that two readers read differently, layers that are repeated. All digests but the
signature's are right (tests/tools/hostile_package.py)."""
import json, os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from hostile_package import Package, done, refused

# names that lead elsewhere
for what in ("../../../secret", "sha256:../../../../secret", "sha256:" + "/" * 64, "sha512:" + "0" * 128, "SHA256:" + "0" * 64, "sha256:" + "A" * 64, "sha256:" + "0" * 63, ""):
    p = Package()
    p.entry["digest"] = what
    p.save()
    refused(f"index: digest '{what[:24]}'", p)
    p = Package()
    p.manifest["layers"][0]["digest"] = what
    p.remake()
    refused(f"manifest: layer's digest '{what[:24]}'", p)
for what in ("../evil", "/etc/passwd", "models/../../evil", "models/./x", "models//x", "", "models/a\x1b[2J", "models/" + "x" * 300):
    p = Package()
    p.manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = what
    p.remake()
    refused(f"title {what[:24]!r}", p)

# tar entries
good = Package()
tar = good.blob(good.manifest["layers"][0]["digest"])


def header_at(data, name_part=b""):
    """Offset of the ustar header of the file itself: the last one with type '0'."""
    at, found = 0, None
    while at + 512 <= len(data) and data[at:at + 512].strip(b"\0"):
        size = int(data[at + 124:at + 135], 8)
        found = (at, size) if data[at + 156:at + 157] == b"0" else found
        at += 512 + (size + 511) // 512 * 512
    return found[0], found[1], at


def reseal(block):
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


at, size, end = header_at(tar)
for name, where, value in (("a symbolic link", 156, b"2"), ("a hard link", 156, b"1"), ("a device", 156, b"3"), ("a pipe", 156, b"6"), ("a folder where a file is said", 156, b"5"), ("GNU's long name", 156, b"L"),
                           ("mode set-uid", 100, b"0004755\0"), ("an owner", 108, b"0001750\0"), ("a date", 136, b"14000000000\0"), ("another size", 124, b"00000000001\0"), ("a traversal", 0, b"../../evil\0"), ("an absolute path", 0, b"/evil\0"),
                           ("a link's name", 157, b"/etc/passwd\0"), ("size in base 256", 124, b"\x80" + b"\0" * 10 + b"\1")):
    data = bytearray(tar)
    block = bytearray(data[at:at + 512])
    block[where:where + len(value)] = value
    data[at:at + 512] = reseal(block)
    p = Package()
    p.layer(0, bytes(data))
    refused(f"tar: {name}", p)
for name, data in (("its entry twice", tar[:end] + tar[at:end] + tar[end:]), ("an entry behind the end", tar + tar), ("bytes behind the end", tar + b"x" * 512), ("no end", tar[:end]), ("one zero block at the end", tar[:end] + b"\0" * 512), ("empty", b""),
                   ("gzip", __import__("gzip").compress(tar)), ("a wrong checksum", tar[:at + 148] + b"000000\0 " + tar[at + 156:])):
    p = Package()
    p.layer(0, data)
    refused(f"tar: {name}", p)
# two readers, two archives: a pax size that is not the header's
px = tar.find(b"comment=")
if px > 0:
    record = b"18 size=%09d\n" % (size + 512)
    start = px // 512 * 512
    n = int(tar[start:px].split()[0])
    rest = n - len(record)
    if rest > 20:
        comment = b"%d comment=" % rest
        pax = record + comment + b" " * (rest - len(comment) - 1) + b"\n"
        p = Package()
        p.layer(0, tar[:start] + pax + tar[start + n:])
        refused("tar: pax says another size than ustar", p)

# layers
p = Package()
p.manifest["layers"].append(dict(p.manifest["layers"][0]))
p.remake()
refused("a layer repeated", p)
p = Package()
del p.manifest["layers"][1]
p.remake()
refused("a layer removed, rightly signed", p)
p = Package()
p.manifest["layers"] = p.manifest["layers"][:1] * 9000
p.remake()
refused("nine thousand layers", p)

# one blob named eight thousand times is read once
p = Package()
biggest = max(p.manifest["layers"], key=lambda l: l["size"])
p.manifest["layers"] = [biggest] * 8000
config = json.loads(p.blob(p.manifest["config"]["digest"]))
config["rootfs"]["diff_ids"], config["history"] = [biggest["digest"]] * 8000, [config["history"][0]] * 8000
p.manifest["config"]["digest"], p.manifest["config"]["size"] = p.put(json.dumps(config, separators=(",", ":")).encode())
p.remake()
refused(f"a layer of {biggest['size'] >> 10} KiB eight thousand times", p, "layout|digest")
done()
