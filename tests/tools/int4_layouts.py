"""INT4 taken apart as each layout publishes its order; for the scripts in tests/cli. Numbers are codes and zero points 0..15 (8 where
the layout is symmetric), and a scale per row and group."""
import struct

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]      # nibble i of a word is row 8 k + AWQ_ORDER[i]


def words(raw):
    return struct.unpack(f"<{len(raw) // 4}I", raw)


def parts(t, layout, rows, cols, group):
    """t: suffix -> (dtype, shape, bytes) of one linear. Codes [rows][cols], zero points [rows][groups], scales in one list."""
    n = cols // group
    if layout == "modelopt":              # a byte holds one column of two rows, in two's complement
        raw = t["weight"][2]
        codes = [[(raw[r // 2 * cols + c] >> r % 2 * 4 & 15) ^ 8 for c in range(cols)] for r in range(rows)]
        return codes, [[8] * n] * rows, struct.unpack(f"<{rows * n}f", t["weight_scale"][2])
    if layout == "compressed-tensors":
        w = words(t["weight_packed"][2])
        z = words(t["weight_zero_point"][2]) if "weight_zero_point" in t else None
        codes = [[w[r * (cols // 8) + c // 8] >> c % 8 * 4 & 15 for c in range(cols)] for r in range(rows)]
        return codes, [[z[r // 8 * n + g] >> r % 8 * 4 & 15 if z else 8 for g in range(n)] for r in range(rows)], \
            struct.unpack(f"<{rows * n}f", t["weight_scale"][2])
    w, z, s = words(t["qweight"][2]), words(t["qzeros"][2]), struct.unpack(f"<{rows * n}e", t["scales"][2])
    awq = layout == "awq"
    place = [AWQ_ORDER.index(i) if awq else i for i in range(8)]
    if awq:
        codes = [[w[c * (rows // 8) + r // 8] >> place[r % 8] * 4 & 15 for c in range(cols)] for r in range(rows)]
    else:
        codes = [[w[c // 8 * rows + r] >> c % 8 * 4 & 15 for c in range(cols)] for r in range(rows)]
    zeros = [[(z[g * (rows // 8) + r // 8] >> place[r % 8] * 4) + (not awq) & 15 for g in range(n)] for r in range(rows)]
    return codes, zeros, [s[g * rows + r] for r in range(rows) for g in range(n)]


def decoded(codes, zeros, scales, group, order=None):
    """Row by row, in double; order: the group of each column, where it is not c // group."""
    rows, cols = len(codes), len(codes[0])
    n, order = cols // group, order or [c // group for c in range(cols)]
    return [(codes[r][c] - zeros[r][order[c]]) * scales[r * n + order[c]] for r in range(rows) for c in range(cols)]
