"""Files in both directions between the C code and Python.
formats.py make DIR    write what the C tests read      (numpy, and the safetensors package or the 20 lines below)
formats.py check DIR   read what the C tests wrote
Pictures are decoded with zlib and struct alone. Exit 0, 1, or 77 where numpy is missing and the rest is right."""
import json
import math
import struct
import sys
import zlib

try:
    import numpy as np
except ImportError:
    np = None
try:
    import safetensors.numpy
except ImportError:
    safetensors = None


# ---- PNG, from its standard ----

def png(path):
    """(width, height, channels, rows of bytes); every CRC, the filters and the length are checked."""
    b = open(path, "rb").read()
    assert b[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(b):
        n, kind = struct.unpack(">I4s", b[at:at + 8])
        data = b[at + 8:at + 8 + n]
        assert struct.unpack(">I", b[at + 8 + n:at + 12 + n])[0] == zlib.crc32(kind + data), kind
        chunks.append((kind, data))
        at += 12 + n
    assert [k for k, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"] and at == len(b) and chunks[2][1] == b""
    w, h, depth, colour, deflate, filters, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    assert depth == 8 and colour in (0, 2) and (deflate, filters, interlace) == (0, 0, 0)
    c = 3 if colour == 2 else 1
    z = zlib.decompressobj()
    raw = z.decompress(chunks[1][1])
    assert z.eof and not z.unused_data and len(raw) == h * (1 + w * c)
    rows, above = [], bytes(w * c)
    for y in range(h):
        line = raw[y * (1 + w * c):(y + 1) * (1 + w * c)]
        kind, row = line[0], bytearray(line[1:])
        assert kind in (0, 1, 2), kind
        for i in range(w * c):
            before = (row[i - c] if i >= c else 0) if kind == 1 else above[i] if kind == 2 else 0
            row[i] = (row[i] + before) & 255
        above = bytes(row)
        rows.append(above)
    return w, h, c, rows


def grid(n, c, h, w, columns, zoom):
    """The rows of the picture that write_pictures in test_formats.c asks for."""
    f32 = lambda v: struct.unpack("f", struct.pack("f", v))[0]
    x = [f32(f32(37 * i % 101) / 100) for i in range(n * c * h * w)]
    x[0], x[1], x[2] = 0, 1, 0                       # below 0, above 1, not a number
    rows = -(-n // columns)
    width, height = columns * (w * zoom + 1) + 1, rows * (h * zoom + 1) + 1
    out = [[[128] * c for _ in range(width)] for _ in range(height)]
    for i in range(n):
        for y in range(h * zoom):
            for k in range(w * zoom):
                for ch in range(c):
                    v = x[((i * c + ch) * h + y // zoom) * w + k // zoom]
                    out[i // columns * (h * zoom + 1) + 1 + y][i % columns * (w * zoom + 1) + 1 + k][ch] = math.floor(255 * v + 0.5)
    return width, height, c, [bytes(v for p in row for v in p) for row in out]


def stripes():
    rows, r = [], 1
    for y in range(300):
        row = bytearray()
        for i in range(601 * 3):
            if y < 100:
                r = (r * 1664525 + 1013904223) & 0xffffffff
                row.append(r >> 24)
            else:
                row.append((200 if i < 5 * y else 17 * i & 255) if y < 200 else y // 3)
        rows.append(bytes(row))
    return 601, 300, 3, rows


def points():
    rows = [bytearray(b"\xff" * 128) for _ in range(128)]
    rows[127][0] -= 64                               # (0,0): lower left
    rows[0][127] -= 64                               # (1,1)
    rows[127 - 32][64] -= 128                        # (0.5,0.25), twice
    return 128, 128, 1, [bytes(r) for r in rows]


def check_pictures(folder):
    assert png(folder + "/one.png") == (1, 1, 1, [b"\x4d"])
    assert png(folder + "/grey.png") == grid(7, 1, 5, 6, 3, 2)
    assert png(folder + "/colour.png") == grid(2, 3, 40, 50, 2, 3)
    assert png(folder + "/points.png") == points()
    assert png(folder + "/stripes.png") == stripes()
    print("5 pictures decoded: CRCs, filters and every pixel as they should be")


# ---- safetensors, from its format's description ----

TYPES = {"F32": "f", "F64": "d", "U8": "B", "I32": "i", "I64": "q"}


def st_read(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    assert n % 8 == 0
    head = json.loads(b[8:8 + n].decode("utf-8"))
    meta, out = head.pop("__metadata__", {}), {}
    for name, t in head.items():
        begin, end = t["data_offsets"]
        out[name] = (t["dtype"], t["shape"], [v for v, in struct.iter_unpack("<" + TYPES[t["dtype"]], b[8 + n + begin:8 + n + end])])
    return out, meta


def st_write(path, tensors, meta):
    head, data = {"__metadata__": meta}, b""
    for name, (kind, shape, values) in tensors.items():
        packed = struct.pack("<%d%s" % (len(values), TYPES[kind]), *values)
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


FOR_C = {"F32": [-2.5, 0.5, 3.0], "F64": [1e300, -0.125, 7.0], "U8": [0, 128, 255], "I32": [-2**31, -1, 2**31 - 1],
         "I64": [-2**63, -1, 2**40]}
META = {"icd.arch": "full: conv 64 | swish", "quotes \"\\/": "tab\tline\nbell\x07 \u00fc \u6f22 \U0001f600"}


def make_safetensors(folder):
    st_write(folder + "/in-plain.safetensors", {"t." + k: (k, [1, 3], v) for k, v in FOR_C.items()}, META)
    if safetensors and np:
        types = {"F32": "f4", "F64": "f8", "U8": "u1", "I32": "i4", "I64": "i8"}
        safetensors.numpy.save_file({"t." + k: np.array([v], types[k]) for k, v in FOR_C.items()},
                                    folder + "/in-package.safetensors", META)


def check_safetensors(folder):
    path = folder + "/out.safetensors"
    tensors, meta = st_read(path)
    assert meta == META, meta
    for k, v in FOR_C.items():
        assert tensors["t." + k] == (k, [1, 3], v), (k, tensors["t." + k])
    assert tensors["scalar \u00fc\n"] == ("F64", [], [1e300]) and tensors["none"] == ("F32", [0, 4], [])
    assert len(tensors) == 7
    if not (safetensors and np):
        print("1 safetensors file read by a reader of 20 lines (the safetensors package is not installed)")
        return
    with safetensors.safe_open(path, framework="np") as f:
        assert f.metadata() == META
        assert sorted(f.keys()) == sorted(tensors)
        for k, v in FOR_C.items():
            t = f.get_tensor("t." + k)
            assert t.shape == (1, 3) and t.ravel().tolist() == v, k
        assert f.get_tensor("scalar \u00fc\n").shape == () and f.get_tensor("none").shape == (0, 4)
    print("1 safetensors file read by the safetensors package too")


# ---- npy ----

def make_npy(folder):
    v = np.array([(7 * i + 5) % 11 - 8 * (i % 4) for i in range(24)]).reshape(2, 3, 4)
    for name, descr in [("u1", "|u1"), ("lf4", "<f4"), ("bf4", ">f4"), ("lf8", "<f8"), ("bf8", ">f8"), ("li4", "<i4"),
                        ("bi4", ">i4"), ("li8", "<i8"), ("bi8", ">i8")]:
        np.save(f"{folder}/in-{name}.npy", (v & 255 if descr == "|u1" else v).astype(descr))
    for version in (2, 3):
        with open(f"{folder}/in-v{version}.npy", "wb") as f:
            np.lib.format.write_array(f, v.astype("<f4"), version=(version, 0))
    np.save(folder + "/in-fortran.npy", np.asfortranarray(v.astype("<f4")))
    np.save(folder + "/in-half.npy", v.astype("<f2"))
    np.save(folder + "/in-bool.npy", v > 0)
    np.save(folder + "/in-struct.npy", np.zeros(2, dtype=[("a", "<f4")]))


def check_npy(folder):
    want = {"f": (np.float32, [-2.5, 0.1, 1e-38, 3, 4, 5]), "d": (np.float64, [-2.5, 0.1, 1e-300, 3, 4, 5]),
            "u": (np.uint8, [0, 1, 2, 127, 128, 255]), "l": (np.int64, [-2**63, -1, 0, 1, 1000000007, 2**63 - 1])}
    for k, (kind, values) in want.items():
        a = np.load(f"{folder}/out-{k}.npy", allow_pickle=False)
        assert a.dtype == kind and a.shape == (2, 3) and (a.ravel() == np.array(values, kind)).all(), k
    assert np.load(folder + "/out-none.npy").shape == (0, 4)
    assert np.load(folder + "/out-one.npy").tolist() == [-2.5, 0.1]
    assert np.load(folder + "/out-scalar.npy").shape == () and np.load(folder + "/out-scalar.npy") == -2.5
    print("7 npy files read by numpy")


task, where = sys.argv[1:3]
if task == "make":
    make_safetensors(where)
    if np:
        make_npy(where)
else:
    check_pictures(where)
    check_safetensors(where)
    if np:
        check_npy(where)
sys.exit(0 if np else 77)
