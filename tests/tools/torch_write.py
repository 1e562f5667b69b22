"""What torch.save writes, from plain Python: pickles opcode by opcode, zip archives byte by byte (so that any field can be wrong),
and the format before 1.6. Tensors are (dtype, shape, bytes) or View(...) of a shared storage. Written from the formats' descriptions
(pickletools, APPNOTE, torch/serialization.py); tests/golden/torch.py holds it against torch itself where torch is installed."""
import struct, zlib

CLASSES = {"F32": "Float", "F64": "Double", "F16": "Half", "BF16": "BFloat16", "I64": "Long", "I32": "Int", "I16": "Short", "I8": "Char",
           "U8": "Byte", "BOOL": "Bool", "C64": "ComplexFloat"}
UNTYPED = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "U16": "uint16", "U32": "uint32", "U64": "uint64"}
BYTES = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1,
         "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "U32": 4, "U64": 8}


class Storage:
    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, data
        self.n = len(data) // BYTES[dtype]


class View:
    """A tensor in a storage: offset and strides in elements."""
    def __init__(self, storage, shape, offset=0, strides=None):
        self.storage, self.shape, self.offset = storage, list(shape), offset
        if strides is None:
            strides, n = [], 1
            for d in reversed(self.shape):
                strides.insert(0, n)
                n *= d
        self.strides = list(strides)


class Parameter:
    def __init__(self, view):
        self.view = view


class Ordered(list):
    """An OrderedDict: pairs."""


class Raw(bytes):
    """Opcodes that stand where a value would."""


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, callee, *args, op=b"R"):
        self.callee, self.args, self.op = callee, tuple(args), op


class Build:
    """An object with a state."""
    def __init__(self, obj, state):
        self.obj, self.state = obj, state


class Pickler:
    def __init__(self, protocol=2, legacy=False):
        self.p, self.legacy, self.out, self.storages = protocol, legacy, bytearray(), []

    def text(self, s):
        b = s.encode()
        if self.p == 0:
            return b"V" + b + b"\n"
        return b"\x8c" + bytes([len(b)]) + b if self.p >= 4 and len(b) < 256 else b"X" + struct.pack("<I", len(b)) + b

    def number(self, i):
        if self.p == 0:
            return b"I%d\n" % i
        if 0 <= i < 256:
            return b"K" + bytes([i])
        if -2**31 <= i < 2**31:
            return b"J" + struct.pack("<i", i)
        if self.p == 1:
            return b"L%dL\n" % i
        n = i.bit_length() // 8 + 1
        return b"\x8a" + bytes([n]) + i.to_bytes(n, "little", signed=True)

    def call(self, module, name, args, op=b"R"):
        self.put(Global(module, name))
        self.put(tuple(args))
        self.out += op

    def put(self, v):
        o = self.out
        if isinstance(v, Raw): o += v
        elif v is None: o += b"N"
        elif isinstance(v, bool): o += (b"I01\n" if v else b"I00\n") if self.p < 2 else (b"\x88" if v else b"\x89")
        elif isinstance(v, int): o += self.number(v)
        elif isinstance(v, float): o += b"G" + struct.pack(">d", v)
        elif isinstance(v, str): o += self.text(v)
        elif isinstance(v, bytes): o += b"B" + struct.pack("<I", len(v)) + v
        elif isinstance(v, Global):
            if self.p >= 4:
                o += self.text(v.module) + self.text(v.name) + b"\x93"
            else:
                o += b"c" + v.module.encode() + b"\n" + v.name.encode() + b"\n"
        elif isinstance(v, Call):
            self.put(v.callee if isinstance(v.callee, Raw) else Global(*v.callee))
            self.put(tuple(v.args))
            o += v.op
        elif isinstance(v, Build):
            self.put(v.obj)
            self.put(v.state)
            o += b"b"
        elif isinstance(v, tuple):
            o += b"("
            for x in v: self.put(x)
            o += b"t"
        elif isinstance(v, Ordered):
            self.call("collections", "OrderedDict", ())
            self.items(v)
        elif isinstance(v, list):
            o += b"](" if self.p else b"(l("
            for x in v: self.put(x)
            o += b"e"
        elif isinstance(v, dict):
            o += b"}" if self.p else b"(d"
            self.items(v.items())
        elif isinstance(v, Storage): self.storage(v)
        elif isinstance(v, Parameter):
            self.call("torch._utils", "_rebuild_parameter", (v.view, True, Ordered()))
        elif isinstance(v, View): self.tensor(v)
        else: raise TypeError(v)

    def items(self, pairs):
        self.out += b"("
        for k, x in pairs:
            self.put(k)
            self.put(x)
        self.out += b"u"

    def storage(self, s):
        if s not in self.storages:
            self.storages.append(s)
        key = str(self.storages.index(s))
        untyped = s.dtype in UNTYPED
        cls = Global("torch.storage", "UntypedStorage") if untyped else Global("torch", CLASSES[s.dtype] + "Storage")
        self.put(("storage", cls, key, "cpu", len(s.data) if untyped else s.n) + ((None,) if self.legacy else ()))
        self.out += b"Q"

    def tensor(self, v):
        args = (v.storage, v.offset, tuple(v.shape), tuple(v.strides), False, Ordered())
        if v.storage.dtype in UNTYPED:
            self.call("torch._utils", "_rebuild_tensor_v3", args + (Global("torch", UNTYPED[v.storage.dtype]),))
        else:
            self.call("torch._utils", "_rebuild_tensor_v2", args)

    def done(self, value):
        if self.p >= 2:
            self.out += bytes([0x80, self.p])
        self.put(value)
        return bytes(self.out) + b"."


def pickled(value, protocol=2):
    return Pickler(protocol).done(value)


class Entry:
    """A member of an archive; every field that a reader compares can be made to differ."""
    def __init__(self, name, data, **odd):
        self.name, self.data, self.odd = name, data, odd


def zip_bytes(entries, zip64=False, descriptor=False, comment=b"", align=64, **odd):
    out, central = bytearray(), bytearray()
    for e in entries:
        o, at = e.odd, len(out)
        name = e.name if isinstance(e.name, bytes) else e.name.encode()
        crc, size = o.get("crc", zlib.crc32(e.data)), o.get("size", len(e.data))
        flags, method = o.get("flags", 0x808 if descriptor else 0x800), o.get("method", 0)
        wide = zip64 or size > 0xffffffff
        extra = struct.pack("<HHQQ", 1, 16, size, size) if wide and not descriptor else b""
        pad = -(at + 30 + len(name) + len(extra) + 4) % align if align else 0
        extra += struct.pack("<2sH", b"FB", pad) + b"Z" * pad if align else b""
        local = o.get("local_name", name)
        s32 = 0 if descriptor else 0xffffffff if wide else size
        out += struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, o.get("local_flags", flags), o.get("local_method", method), 0, 0,
                           o.get("local_crc", 0 if descriptor else crc), o.get("local_size", s32), o.get("local_size", s32), len(local), len(extra))
        out += local + extra + e.data
        if descriptor:
            out += struct.pack("<II" + ("QQ" if wide else "II"), 0x08074b50, o.get("descriptor_crc", crc), size, size)
        at = o.get("at", at)
        more = struct.pack("<HHQQQ", 1, 24, size, size, at) if wide else b""
        c32 = 0xffffffff if wide else size
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0, 20, flags, method, 0, 0, crc, o.get("stored", c32), c32, len(name), len(more), 0, 0,
                               0, 0, 0xffffffff if wide else at) + name + more
    at, n = len(out), odd.get("count", len(entries))
    out += central
    end = len(out)
    if zip64:
        out += struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, n, n, len(central), at) + struct.pack("<IIQI", 0x07064b50, 0, end, 1)
    out += struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff if zip64 else n, 0xffff if zip64 else n, 0xffffffff if zip64 else odd.get("bytes", len(central)),
                       0xffffffff if zip64 else odd.get("offset", at), len(comment)) + comment
    return bytes(out)



def members(value, protocol=2, prefix="archive"):
    p = Pickler(protocol)
    data = p.done(value)
    return [Entry(prefix + "/data.pkl", data), Entry(prefix + "/byteorder", b"little")] + \
           [Entry(f"{prefix}/data/{i}", s.data) for i, s in enumerate(p.storages)] + [Entry(prefix + "/version", b"3\n")]


def save(value, protocol=2, prefix="archive", **how):
    return zip_bytes(members(value, protocol, prefix), **how)


MAGIC = 0x1950a86a20f9469cfc6c


def legacy(value, protocol=2):
    p = Pickler(protocol, legacy=True)
    tree = p.done(value)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    magic = (b"\x80" + bytes([protocol]) if protocol >= 2 else b"") + (b"\x8a\x0a" + MAGIC.to_bytes(10, "little") if protocol >= 2 else b"L%dL\n" % MAGIC) + b"."
    out = magic + pickled(1001, protocol) + pickled(system, protocol) + tree + pickled([str(i) for i in range(len(p.storages))], protocol)
    for s in p.storages:
        out += struct.pack("<Q", len(s.data) if s.dtype in UNTYPED else s.n) + s.data
    return out


def tensor(dtype, shape, data):
    return View(Storage(dtype, bytes(data)), shape)


def read_safetensors(path):
    """name -> (dtype, shape, bytes), in the order of the data."""
    import json
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
        data = f.read()
    head.pop("__metadata__", None)
    order = sorted(head.items(), key=lambda kv: kv[1]["data_offsets"])
    return {k: (v["dtype"], v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in order}
