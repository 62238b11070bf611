"""YOLO networks from files: ONNX by OpenCV or onnxruntime, ADetailer's .pt by ultralytics.

A .pt of ultralytics is a pickle of the whole network. It is not unpickled: its description and its
tensors are read (`pickles.read_module`), and ultralytics builds the network from the description.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.detect.proposals import decode, list_hand_classes
from handrefiner_ext.errors import BackendUnavailable, HandRefinerError, WeightsError
from handrefiner_ext.pickles import ModuleContent, printable, read_module
from handrefiner_ext.types import ModelHome
from handrefiner_ext.weights.manifest import ANIME_HANDS

USUAL_SIDE = 640
"""Side of the input where a file does not say it."""
SIDES = range(32, 4097)
ONE_CLASS = {0: "hand"}
NO_CLASSES = "its list of classes cannot be read"
LONGEST_LIST = 100_000
"""Characters of a list of classes; that of 1,203 classes, the longest in use, has 30,000."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes a picture (3, side, side) in 0..1, returns the output without the batch axis."""


@dataclass(frozen=True)
class YoloNetwork:
    """A network, the side of its input in pixels, and its classes. origin: the file."""

    origin: Path
    side: int
    names: Mapping[int, str]
    run: Run


def open_network(path: Path, home: ModelHome) -> YoloNetwork:
    """Load a network; BackendUnavailable with the file and the reason where it cannot be used."""
    try:
        return _open_onnx(path) if path.suffix == ".onnx" else _open_module(path, home)
    except BackendUnavailable:
        raise
    except HandRefinerError as error:
        raise BackendUnavailable(f"{error}") from error
    except Exception as error:  # a file from elsewhere, read by libraries that raise anything
        reason = printable(" ".join(str(error).split())[:200])
        raise BackendUnavailable(
            f"The hand detector {path} cannot be used ({reason}); download it again or remove it."
        ) from error


# ONNX ------------------------------------------------------------------------------------------


def _open_onnx(path: Path) -> YoloNetwork:
    content = path.read_bytes()
    about = read_metadata(content)
    side, names = _read_side(about.get("imgsz", "")), _read_names(about.get("names", ""))
    sample = np.zeros((3, side, side), np.float32)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != ANIME_HANDS.sha256:
        _try_apart(path, side, checksum)
    try:
        run = _open_with_opencv(content)
        output = run(sample)
    except cv2.error:
        run = _open_with_onnxruntime(content, path)
        output = run(sample)
    if list_hand_classes(names):
        decode(output, names, 1.0)  # ValueError where it is no output of YOLO
    return YoloNetwork(path, side, names, run)


TRIAL = """
import sys, cv2, numpy
network = cv2.dnn.readNetFromONNX(numpy.fromfile(sys.argv[1], numpy.uint8))
side = int(sys.argv[2])
network.setInput(numpy.zeros((1, 3, side, side), numpy.float32))
network.forward()
"""
RAISED = (0, 1)
"""Exit codes of a process that has lived, with or without an error."""
LONGEST_TRIAL_S = 120.0


@lru_cache(maxsize=8)  # `auto` tries again with every picture
def _try_apart(path: Path, side: int, checksum: str) -> None:
    """Run a file that nobody knows in a process of its own; ValueError if that dies.

    A damaged network can end the process in which OpenCV reads it, and that may be the WebUI's.
    """
    if not sys.executable:  # Python inside another program
        return
    command = [sys.executable, "-c", TRIAL, str(path), str(side)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=LONGEST_TRIAL_S).returncode
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"it took longer than {LONGEST_TRIAL_S:g} s") from error
    if ended not in RAISED:
        raise ValueError("it makes OpenCV crash")


def _open_with_opencv(content: bytes) -> Run:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    lock = threading.Lock()

    def run(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            network.setInput(picture[None])
            output = network.forward()
            if output is None:
                raise ValueError("it has no output")
            return np.array(output[0], dtype=np.float32)

    return run


def _open_with_onnxruntime(content: bytes, path: Path) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"OpenCV {cv2.__version__} cannot run {path}; if it is whole, run: pip install "
            "onnxruntime, else download it again"
        ) from error
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name

    def run(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {entry: picture[None]})[0][0], dtype=np.float32)

    return run


GRAPH, METADATA, KEY, VALUE = 7, 14, 1, 2
"""Fields of onnx.proto3: graph and metadata_props of ModelProto, key and value of its entries."""
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file; ValueError if it is none.

    OpenCV runs networks but does not tell their metadata, in which ultralytics writes the classes
    and the input's size.
    """
    about: dict[str, str] = {}
    has_graph = False
    for number, part in _read_fields(memoryview(content)):
        has_graph |= number == GRAPH
        if number == METADATA:
            entry = {n: bytes(value).decode("utf-8", "replace") for n, value in _read_fields(part)}
            about[entry.get(KEY, "")] = entry.get(VALUE, "")
    if not has_graph:
        raise ValueError("it is no ONNX file")
    return about


def _read_fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of every length-delimited field of a protobuf message."""
    place = 0
    while place < len(content):
        tag, place = _read_varint(content, place)
        kind = tag & 7
        if kind == VARINT:
            _, place = _read_varint(content, place)
        elif kind in (FIXED64, FIXED32):
            place += 8 if kind == FIXED64 else 4
        elif kind == DELIMITED:
            length, place = _read_varint(content, place)
            if place + length > len(content):
                raise ValueError("it is no whole ONNX file")
            yield tag >> 3, content[place : place + length]
            place += length
        else:
            raise ValueError("it is no ONNX file")


def _read_varint(content: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(content):
            break
        byte = content[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
    raise ValueError("it is no whole ONNX file")


def _read_side(text: str) -> int:
    """Return the input's side from metadata such as "[640, 640]"."""
    if not text:
        return USUAL_SIDE
    try:
        sides = json.loads(text)
        side = max(sides) if isinstance(sides, list) else sides
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("the size of its input cannot be read") from error
    return _check_side(side)


def _check_side(side: Any) -> int:
    if not isinstance(side, int) or side not in SIDES:
        raise ValueError(f"its input cannot have a side of {printable(str(side))[:20]} pixels")
    return side


def _read_names(text: str) -> dict[int, str]:
    """Return the classes from metadata such as "{0: 'hand'}"."""
    if not text:
        return dict(ONE_CLASS)
    if len(text) > LONGEST_LIST:
        raise ValueError(NO_CLASSES)
    try:
        return _check_names(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(NO_CLASSES) from error


def _check_names(names: Any) -> dict[int, str]:
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))) or not names:
        raise ValueError(NO_CLASSES)
    return {int(number): str(name) for number, name in names.items()}


# ultralytics -----------------------------------------------------------------------------------

DESCRIPTION = {
    *("nc", "backbone", "head", "depth_multiple", "width_multiple", "scale", "scales"),
    *("ch", "reg_max", "end2end", "max_channels"),
}
"""What ultralytics needs of a description; some of its versions evaluate other entries as code."""
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""The texts that may stand in a description: names of layers, and words such as `nearest`."""


def _open_module(path: Path, home: ModelHome) -> YoloNetwork:
    try:
        from ultralytics.nn.tasks import DetectionModel
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            f"The hand detector {path} needs ultralytics ({error}); run: pip install ultralytics, "
            "or: handrefiner weights download anime_hands"
        ) from error
    content = read_module(path, ("ema", "model"))
    names = _check_names(content.attributes.get("names"))
    network = DetectionModel(_read_description(content), nc=len(names), verbose=False)
    network.load_state_dict({name: t.float() for name, t in content.tensors.items()})
    training = content.beside.get("train_args")
    side = training.get("imgsz") if isinstance(training, dict) else None
    return YoloNetwork(
        path, _check_side(side or USUAL_SIDE), names, _prepare(network.eval(), home.device)
    )


def _read_description(content: ModuleContent) -> dict[str, Any]:
    """Return the network's description; WeightsError for one that is more than layers and words."""
    found = content.attributes.get("yaml")
    if not isinstance(found, dict) or not {"backbone", "head"} <= set(found):
        raise WeightsError("It does not describe its network; it is no detector of ultralytics.")
    description = {key: value for key, value in found.items() if key in DESCRIPTION}
    for word in _list_texts(description):
        if not WORD.fullmatch(word):
            raise WeightsError(
                f"Its description holds {printable(word)[:80]!r}, which is no layer."
            )
    return description


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _list_texts(key)
            yield from _list_texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _list_texts(part)


def _prepare(network: Any, device: str | None) -> Run:
    import torch

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = network.to(place)
    lock = threading.Lock()

    def run(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock, torch.inference_mode():
            output = network(torch.from_numpy(picture)[None].to(place))
            first = output[0] if isinstance(output, (list, tuple)) else output
            return np.asarray(first[0].float().cpu().numpy(), dtype=np.float32)

    return run
