"""safetensors in a page: 8 bytes little-endian header length, a JSON header, the tensors' bytes."""
import json
import struct

import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8", "U8": "|u1", "I32": "<i4", "I64": "<i8"}


def read(path):
    """-> (tensors: name -> array, in the order of the header; metadata: str -> str)"""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        first, last = t["data_offsets"]
        tensors[name] = np.frombuffer(data[first:last], DTYPES[t["dtype"]]).reshape(t["shape"])
    return tensors, metadata


def write(path, tensors, metadata):
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name, a in tensors.items():
        dtype = next(d for d, code in DTYPES.items() if np.dtype(code) == a.dtype)
        blob = a.astype(DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
