"""Files made to harm: a saved model with its bytes, its text or its tensors spoilt, often signed again.

A check sum is no signature, so whoever spoils a file can make it right again; then only what the file says
and holds tells that it is no slim model.
"""

import hashlib
import json
import struct

import numpy as np

# Stand for any value of a plan or of a header.
VALUES = (
    None, True, -1, 0, 1, 7, 2**40, 10**400, 0.5, float("nan"), float("inf"), "", "0", "name", "__class__",
    "secret", "..", "../../x", "a\nb", "\ud800", "x" * 100_000, [], ["name"], ["__dict__", "secret"],
    [[]] * 50, {}, {"0": {}}, [float("nan")], [-1.0] * 8, [10**9] * 8,
)  # fmt: skip
# Numbers as a header names them, with the names of numpy, and of torch behind "torch.".
NUMBERS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I8": "int8", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def taken_apart(data):
    """Return the header of a safetensors file as JSON, and the bytes behind it."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put_together(header, body):
    """Return the file of a header, a text or an object, and of the bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


class Signed:
    """The plan and the tensors of a file, to be spoilt and written with a right check sum."""

    def __init__(self, data):
        header, body = taken_apart(data)
        self.metadata = header.pop("__metadata__")
        self.plan = self.metadata["plan"]
        self.arrays = {
            name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }

    def array(self, name):
        """Return one tensor."""
        dtype, shape, raw = self.arrays[name]
        return np.frombuffer(raw, NUMBERS[dtype]).reshape(shape)

    def put(self, name, array):
        """Put an array in the place of a tensor, or leave it out."""
        del self.arrays[name]
        if array is not None:
            dtype = next(key for key, known in NUMBERS.items() if known == array.dtype.name)
            self.arrays[name] = dtype, list(array.shape), array.tobytes()

    def whole(self):
        """Return the file."""
        digest = hashlib.sha256(self.plan.encode("utf-8", "replace"))
        header, body = {}, b""
        for name, (dtype, shape, raw) in sorted(self.arrays.items()):
            digest.update(f"{name} torch.{NUMBERS[dtype]} {tuple(shape)}".encode())
            digest.update(raw)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
            body += raw
        metadata = {**self.metadata, "plan": self.plan, "sha256": digest.hexdigest()}
        return put_together({"__metadata__": metadata, **header}, body)


def places(value, path=()):
    """Yield the path of every value inside nested lists and objects."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(value, path, new):
    """Return nested lists and objects with another value at a path."""
    copied = json.loads(json.dumps(value))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copied


def pick(draw, values):
    values = list(values)
    return values[draw.integers(len(values))]


def flipped(data, draw, others):
    spoilt = bytearray(data)
    for _ in range(draw.integers(1, 9)):
        spoilt[draw.integers(len(spoilt))] ^= 1 << draw.integers(8)
    return bytes(spoilt)


def cut(data, draw, others):
    end = int(draw.integers(len(data)))
    return data[:end] if draw.random() < 0.7 else data + data[:end]


def other_header(data, draw, others):
    header, body = taken_apart(data)
    return put_together(changed(header, pick(draw, places(header)), pick(draw, VALUES)), body)


def nested_header(data, draw, others):
    depth = int(draw.integers(100, 200_000))
    return put_together(b'{"a":' + b"[" * depth + b"]" * depth + b"}", b"")


def long_header(data, draw, others):
    return struct.pack("<Q", int(draw.integers(2**24, 2**63))) + data[8:]


def other_plan(data, draw, others):
    file = Signed(data)
    plan = json.loads(file.plan)
    file.plan = json.dumps(changed(plan, pick(draw, places(plan)), pick(draw, VALUES)))
    return file.whole()


def first_plan(data, draw, others):
    """A plan of the first format, which names layers, with a word that is none."""
    file = Signed(data)
    file.metadata["format"] = "jlab-compress 1"
    block = {
        "name": "0", "kind": "mlp", "incoming": ["0"], "outgoing": "2", "width_before": 24, "width_after": 8,
        "method": "k-means", "gauge": "weighted", "indices": None, "multiplicities": None,
    }  # fmt: skip
    block |= {"norm": None, "repeat": 1, "sections": [], "chain": []}
    block = changed(block, pick(draw, places(block)), pick(draw, VALUES))
    file.plan = json.dumps({"blocks": [block], "preserve": "dynamics", "seed": 0})
    return file.whole()


def nested_plan(data, draw, others):
    file, depth = Signed(data), int(draw.integers(100, 1_000_000))
    file.plan = "[" * depth + "]" * depth
    return file.whole()


def swapped_plan(data, draw, others):
    file = Signed(data)
    file.plan = Signed(pick(draw, others)).plan
    return file.whole()


def other_numbers(data, draw, others):
    file = Signed(data)
    name = pick(draw, file.arrays)
    with np.errstate(all="ignore"):
        file.put(name, file.array(name).astype(pick(draw, NUMBERS.values())))
    return file.whole()


def other_shape(data, draw, others):
    file = Signed(data)
    name = pick(draw, file.arrays)
    dtype, shape, raw = file.arrays[name]
    shape = pick(draw, ([*shape, 1], [1, *shape], shape[::-1], [len(raw) // 8], [0], [], [2**31, 2**31, 0]))
    file.arrays[name] = dtype, shape, raw[: 8 * int(np.prod(shape, dtype=object))]
    return file.whole()


def giant(data, draw, others):
    """Terabytes by the header, of which the file holds nothing."""
    header, body = taken_apart(data)
    entry = header[pick(draw, (name for name in header if name != "__metadata__"))]
    entry["shape"] = [int(draw.integers(2**30, 2**60)), int(draw.integers(1, 2**30))]
    if draw.random() < 0.5:
        entry["data_offsets"][1] = entry["data_offsets"][0] + 8 * entry["shape"][0] * entry["shape"][1]
    return put_together(header, body)


def other_names(data, draw, others):
    file = Signed(data)
    name = pick(draw, file.arrays)
    new = pick(
        draw,
        (
            "name",
            "0.name",
            "2.secret",
            "0.__class__",
            "",
            ".",
            "..",
            "0.weight.x",
            "2.head_multiplicities",
            "a\nb",
        ),
    )
    file.arrays[new] = file.arrays[name] if draw.random() < 0.5 else file.arrays.pop(name)
    return file.whole()


def other_counts(data, draw, others):
    file = Signed(data)
    name = pick(draw, [name for name in file.arrays if "multiplicities" in name] or file.arrays)
    counts = file.array(name).astype("float64")
    counts.flat[draw.integers(counts.size)] = pick(draw, (np.nan, np.inf, 0.0, -1.0, -np.inf, 3.25))
    file.put(name, counts)
    return file.whole()


WAYS = (
    flipped, cut, other_header, nested_header, long_header, other_plan, other_plan, other_plan, first_plan,
    first_plan, nested_plan, swapped_plan, other_numbers, other_shape, giant, other_names, other_counts,
)  # fmt: skip


def spoilt(data, number, others=(), seed=0):
    """Yield a number of spoilt files, each with the way in which it was made."""
    draw = np.random.default_rng(seed)
    for index in range(number):
        way = WAYS[index % len(WAYS)]
        yield way.__name__, way(data, draw, others)
