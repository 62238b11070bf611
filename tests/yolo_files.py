"""Small ONNX networks with the outputs of YOLO, written byte by byte: they see what is red.

Fields and numbers are those of onnx.proto3, so that no package is needed to write them.
"""

from __future__ import annotations

import struct

import numpy as np

FLOAT, INT64 = 1, 7
INTS = 7
"""TensorProto.DataType and AttributeProto.AttributeType."""
OPSET = 12
CELL = 32
"""Side of the squares of the input of which each gives one box, pixels."""
REDNESS = np.array([1.0, -0.5, -0.5], np.float32)


def varint(value):
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number, value):
    """One field: bytes and texts with their length, whole numbers as varints."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name, values):
    kind = FLOAT if values.dtype == np.float32 else INT64
    shape = b"".join(field(1, int(length)) for length in values.shape)
    return field(8, name) + shape + field(2, kind) + field(9, values.tobytes())


def described(name, shape):
    """A ValueInfoProto."""
    lengths = b"".join(field(1, field(1, length)) for length in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, lengths)))


def node(kind, inputs, output, **attributes):
    content = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
    for name, values in attributes.items():
        if isinstance(values, int):
            content += field(5, field(1, name) + field(3, values) + field(20, 2))
        else:
            whole = b"".join(field(8, value) for value in values)
            content += field(5, field(1, name) + whole + field(20, INTS))
    return content


def write_network(path, side=320, names="{0: 'hand'}", size=CELL):
    """A network whose boxes, `size` pixels wide, have the redness of their cells as scores.

    Output (1, 4 + classes, cells); every class gets the same score.
    """
    count = side // CELL
    classes = names.count(":")
    centres = (np.arange(count, dtype=np.float32) + 0.5) * CELL
    y, x = np.meshgrid(centres, centres, indexing="ij")
    sizes = np.full(count**2, size, np.float32)
    boxes = np.stack([x.ravel(), y.ravel(), sizes, sizes])[None]
    weights = np.tile(REDNESS[None, :, None, None] / CELL**2, (classes, 1, CELL, CELL))
    graph = [
        field(1, node("Conv", ("images", "weights"), "red", kernel_shape=(CELL, CELL),
                      strides=(CELL, CELL))),
        field(1, node("Reshape", ("red", "shape"), "scores")),
        field(1, node("Concat", ("boxes", "scores"), "output0", axis=1)),
        field(2, "red"),
        field(5, tensor("weights", weights.astype(np.float32))),
        field(5, tensor("shape", np.array([1, classes, count**2], np.int64))),
        field(5, tensor("boxes", boxes)),
        field(11, described("images", (1, 3, side, side))),
        field(12, described("output0", (1, 4 + classes, count**2))),
    ]  # fmt: skip
    about = {"imgsz": f"[{side}, {side}]", "names": names, "task": "detect"}
    metadata = b"".join(field(14, field(1, key) + field(2, text)) for key, text in about.items())
    model = field(1, 7) + field(7, b"".join(graph)) + field(8, field(2, OPSET)) + metadata
    path.write_bytes(model)
    return path


def packed_float(value):
    """A fixed32 field, which a reader of metadata has to step over."""
    return varint(3 << 3 | 5) + struct.pack("<f", value)
