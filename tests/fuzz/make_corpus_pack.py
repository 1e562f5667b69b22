#!/usr/bin/env python3
"""Writes the seed corpora of fuzz_tar, fuzz_oci and fuzz_bundle: make_corpus_pack.py [tests/fuzz/corpus].

Written from the specifications with the Python standard library alone, so that the seeds do not come from the code that is
fuzzed. Deterministic: running it again changes nothing."""
import base64, hashlib, io, json, os, struct, sys, tarfile

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus"
D1, D2 = "sha256:" + "44136fa3" * 8, "sha256:" + "0cbd1a25" * 8
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EPOCH = "1970-01-01T00:00:00Z"


def save(kind, name, data):
    os.makedirs(f"{OUT}/{kind}", exist_ok=True)
    with open(f"{OUT}/{kind}/{name}", "wb") as f:
        f.write(data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode())


def ustar(name, size, kind=b"0", mode=0o644):
    h = bytearray(512)
    h[: len(name)] = name
    for at, width, value in ((100, 8, mode), (108, 8, 0), (116, 8, 0), (124, 12, size), (136, 12, 0), (329, 8, 0), (337, 8, 0)):
        h[at : at + width] = b"%0*o\0" % (width - 1, value)
    h[156:157] = kind
    h[257:265] = b"ustar\x0000"
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def layer(path, data):
    out = b""
    parts = path.split(b"/")
    for i in range(1, len(parts)):
        out += ustar(b"/".join(parts[:i]) + b"/", 0, b"5", 0o755)
    pad = (-(len(out) + 1024)) % 4096 or 4096
    record = b"%d comment=" % pad
    out += ustar(b"PaxHeaders/align", pad, b"x") + record + b" " * (pad - len(record) - 1) + b"\n" + ustar(path, len(data))
    return out + data + b"\0" * (-len(data) % 512) + b"\0" * 1024


def python_tar(fmt, *members):
    f = io.BytesIO()
    with tarfile.open(fileobj=f, mode="w", format=fmt) as t:
        for name, kind, data in members:
            m = tarfile.TarInfo(name)
            m.type, m.size = kind, len(data)
            m.linkname = "target" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            t.addfile(m, io.BytesIO(data))
    return f.getvalue()


def tars():
    save("tar", "empty-file", layer(b"models/config.json", b""))
    save("tar", "small-file", layer(b"models/sub/a.json", b"{}\n"))
    save("tar", "no-parent", layer(b"a", b"x" * 513))
    save("tar", "cut", layer(b"models/a", b"x" * 100)[:4400])
    save("tar", "two-files", layer(b"models/a", b"1")[:-1024] + layer(b"models/b", b"2"))
    for fmt, word in ((tarfile.USTAR_FORMAT, "ustar"), (tarfile.GNU_FORMAT, "gnu"), (tarfile.PAX_FORMAT, "pax")):
        save("tar", f"python-{word}", python_tar(fmt, ("models/" + "n" * (60 if word == "ustar" else 120), tarfile.REGTYPE, b"data")))
    for kind, word in ((tarfile.SYMTYPE, "symlink"), (tarfile.LNKTYPE, "hardlink"), (tarfile.CHRTYPE, "device"), (tarfile.FIFOTYPE, "fifo")):
        save("tar", word, python_tar(tarfile.USTAR_FORMAT, ("models/a", kind, b"")))
    save("tar", "traversal", python_tar(tarfile.USTAR_FORMAT, ("../../etc/passwd", tarfile.REGTYPE, b"x")))
    pax = b"13 size=1024\n" + b"19 path=models/big\n"
    save("tar", "pax-sizes-differ", ustar(b"x", len(pax), b"x") + pax.ljust(512, b"\0") + ustar(b"models/a", 1) + b"y" * 1024 + b"\0" * 1024)
    # path, size and one changed byte, as fuzz_tar's second half takes them
    save("tar", "knobs", struct.pack("<IHBB", 700, 4000, 0x41, 0) + b"models/some/long/" + b"n" * 120)


def descriptor(media, digest=D1, size=2, **more):
    return {"mediaType": media, "digest": digest, "size": size, **more}


def documents():
    image_layer = descriptor("application/vnd.oci.image.layer.v1.tar", D2, 5632, annotations={"org.opencontainers.image.title": "models/config.json"})
    config = descriptor("application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [image_layer], "annotations": {"a": "b"}}
    save("oci", "manifest", manifest)
    save("oci", "referrer", {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": descriptor("application/vnd.oci.empty.v1+json"),
                             "layers": [descriptor(BUNDLE, D2, 659)], "subject": descriptor(MANIFEST, D2, 1146)})
    entry = descriptor(MANIFEST, annotations={"kind": "dev.cosignproject.cosign/image", "org.opencontainers.image.ref.name": "v1"})
    save("oci", "index", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry, descriptor(MANIFEST, D2, artifactType=BUNDLE)]})
    save("oci", "index-oras", {"schemaVersion": 2, "manifests": [descriptor(MANIFEST)]})
    save("oci", "config", {"created": EPOCH, "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [D1]},
                           "history": [{"created": EPOCH, "created_by": "models/config.json"}]})
    save("oci", "both", {**manifest, "manifests": [entry]})
    save("oci", "traversal", {**manifest, "layers": [descriptor("a/b", "sha256:../../etc/passwd")]})
    save("oci", "deep", b"[" * 200 + b"]" * 200)
    save("oci", "twice", b'{"schemaVersion":2,"schemaVersion":2,"manifests":[]}')
    save("oci", "escapes", b'{"schemaVersion":2,"manifests":[],"\\u006dediaType":"\\ud83d\\ude00"}')
    save("oci", "ref", b"oci:dist/super:v1.2")


def bundles():
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": D1[7:]}}], "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}}

    def bundle(payload, material={"publicKey": {}}, **signature):
        sig = {"sig": "MAYCAQECAQE=", **signature}
        return {"mediaType": BUNDLE, "verificationMaterial": material,
                "dsseEnvelope": {"payload": base64.b64encode(payload).decode(), "payloadType": "application/vnd.in-toto+json", "signatures": [sig]}}

    text = json.dumps(statement, separators=(",", ":")).encode()
    save("bundle", "smallest", bundle(text))
    save("bundle", "cosign", bundle(text, {"publicKey": {"hint": "F45syzfsRd0kyAntnm5TlS4Hu7KA1jwULkAopzWqiKU="}, "tlogEntries": []}, keyid=""))
    save("bundle", "certificate", bundle(text, {"certificate": {"rawBytes": "MIIB"}}))
    save("bundle", "key-id", bundle(text, keyid="me"))
    save("bundle", "no-statement", bundle(b"hello"))
    save("bundle", "statement", text)
    save("bundle", "statement-named", {**statement, "subject": [{"name": "n", "digest": {"sha256": D2[7:]}, "annotations": {}}]})
    save("bundle", "statement-v0.1", {**statement, "_type": "https://in-toto.io/Statement/v0.1"})
    save("bundle", "old", {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"})



def archives():
    """Layouts as one tar file, by Python's own writer."""
    def pack(members, form=tarfile.USTAR_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as t:
            for name, data, fields in members:
                i = tarfile.TarInfo(name)
                i.size = len(data)
                for k, v in fields.items():
                    setattr(i, k, v)
                t.addfile(i, io.BytesIO(data))
        raw = out.getvalue().rstrip(b"\0")
        return raw + bytes(-len(raw) % 512 + 1024)

    base = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', {}), ("index.json", b'{"schemaVersion":2,"manifests":[]}', {}),
            ("blobs/sha256/" + hashlib.sha256(b"{}").hexdigest(), b"{}", {})]
    save("archive", "plain", pack(base))
    save("archive", "pax", pack([(n, d, {"pax_headers": {"mtime": "1.5", "size": str(len(d))}}) for n, d, _ in base], tarfile.PAX_FORMAT))
    save("archive", "twice", pack(base + base[2:]))
    save("archive", "traversal", pack(base + [("../evil", b"x", {})]))
    save("archive", "link", pack(base + [("blobs/sha256/" + "0" * 64, b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})]))
    save("archive", "cut", pack(base)[:1600])


tars()
archives()
documents()
bundles()
