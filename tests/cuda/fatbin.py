#!/usr/bin/env python3
"""fatbin.py PROGRAM "80 86 90a": that the program holds machine code of every kernel for exactly these chips, and PTX of
the oldest and of the newest; and that it needs no CUDA library to start. Reads the ELF file and the containers in its
section .nv_fatbin itself: their layout is not documented, and is what a container of `fatbinary` shows."""
import re, struct, sys

path, chips = sys.argv[1], sys.argv[2].split()
data = open(path, "rb").read()
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:400]))


def sections(elf):
    at, size, n, names = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HHH", elf, 58)
    rows = [struct.unpack_from("<IIQQQQ", elf, at + i * size) for i in range(n)]
    base = rows[names][4]
    return {elf[base + r[0] : elf.index(b"\0", base + r[0])].decode(): elf[r[4] : r[4] + r[5]] for r in rows}


def entries(fat):
    """(kind, chip): kind 1 is PTX, 2 machine code; bit 20 of the flags says that a chip is "a"."""
    out, at = [], 0
    while True:
        at = fat.find(struct.pack("<I", 0xBA55ED50), at)
        if at < 0:
            return out
        header, size = struct.unpack_from("<HQ", fat, at + 6)
        pos, end = at + header, at + header + size
        while pos < end:
            kind, _, head, padded = struct.unpack_from("<HHIQ", fat, pos)
            chip, flags = struct.unpack_from("<I", fat, pos + 28)[0], struct.unpack_from("<Q", fat, pos + 40)[0]
            out.append((kind, f"{chip}{'a' if flags >> 20 & 1 else ''}"))
            pos += head + padded
        at = end


found = sections(data)
needed = set(re.findall(rb"lib[a-z]*cuda[a-z0-9._-]*\.so[.0-9]*|libnv[a-z]+\.so[.0-9]*", found.get(".dynstr", b"")))
check("the program starts without a library of CUDA", not needed, needed)
fat = entries(found.get(".nv_fatbin", b""))
code, ptx = [c for kind, c in fat if kind == 2], [c for kind, c in fat if kind == 1]
check("machine code for sm_" + ", ".join(chips), code == chips, code)
check("PTX of the oldest and of the newest", sorted(set(ptx)) == sorted({chips[0].rstrip("a"), chips[-1].rstrip("a")}), ptx)
sys.exit(1 if bad else 0)
