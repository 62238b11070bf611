"""Hostile pickles: whatever they try, nothing from them runs, and a sentence says what was met."""

from __future__ import annotations

import builtins
import copyreg
import functools
import importlib
import operator
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
from pickle_files import Calls, dumped, old_dict, write

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import read_arrays, read_tensors

SIGN = "handrefiner_payload_ran"
TOUCH = f"import builtins; builtins.{SIGN} = True"


def inside_array(value):
    array = np.zeros(1, dtype=object)
    array[0] = value
    return array


def in_state(value):
    """An array whose state is another call."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        + dumped(value)[2:-1]
        + b"b."
    )


def overwriting_a_method() -> bytes:
    """BUILD on a class instead of an object: sets attributes of what was named."""
    return b"\x80\x02cnumpy\ndtype\n(N(dS'__setstate__'\ncos\nsystem\nstb."


RUN = Calls(exec, TOUCH)
PAYLOADS = {
    "os.system": dumped(Calls(os.system, f'"{sys.executable}" -c "{TOUCH}" > sign')),
    "subprocess": dumped(Calls(subprocess.call, [sys.executable, "-c", TOUCH])),
    "eval": dumped(Calls(eval, f"__import__('builtins').setattr(builtins, '{SIGN}', 1)")),
    "exec": dumped(RUN),
    "exec as protocol 0": dumped(RUN, 0),
    "exec as protocol 4": dumped(RUN, 4),
    "INST opcode": b"(S'" + TOUCH.encode() + b"'\ni__builtin__\nexec\n.",
    "OBJ opcode": b"(c__builtin__\nexec\nS'" + TOUCH.encode() + b"'\no.",
    "import": dumped(Calls(importlib.import_module, "antigravity")),
    "getattr chain": (
        b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR"
        b"(S'touch sign'\ntR."
    ),
    "dotted name through an allowed module": b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.run\x93)R.",
    "partial": dumped(functools.partial(exec, TOUCH)),
    "partial called": dumped(Calls(functools.partial(exec, TOUCH))),
    "attrgetter": dumped(operator.attrgetter("system")),
    "methodcaller": dumped(operator.methodcaller("exec", TOUCH)),
    "copyreg": dumped(Calls(copyreg.add_extension, "builtins", "exec", 240)),
    "extension code": b"\x80\x02\x82\xf0(S'" + TOUCH.encode() + b"'\ntR.",
    "reconstructor of a foreign class": (
        b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR."
    ),
    "reconstructor of an object": dumped(
        Calls(copyreg._reconstructor, types.SimpleNamespace, object, None)
    ),
    "array of objects": dumped({"v": inside_array(RUN)}),
    "state is a call": in_state(RUN),
    "class attributes": overwriting_a_method(),
    "nested pickle": dumped(Calls(pickle.loads, dumped(RUN))),
    "numpy.load": dumped(Calls(np.load, "model.npy", None, True)),
    "codecs with a codec of one's own": dumped(Calls(__import__("codecs").encode, "x", "rot13")),
    "code object": b"ctypes\nFunctionType\n(Ncbuiltins\nglobals\n)RtR.",
    "key": old_dict({}) + b"(c__builtin__\nexec\nS'x'\noNs.",
    "persistent id": b"S'" + TOUCH.encode() + b"'\nQ.",
}


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """After the test neither the mark in this process nor a file is there."""
    monkeypatch.chdir(tmp_path)
    extensions = dict(copyreg._extension_registry)
    yield
    assert not hasattr(builtins, SIGN)
    assert [p.name for p in tmp_path.iterdir() if p.name != "bad.pkl"] == []
    assert copyreg._extension_registry == extensions


def test_the_marks_would_be_seen():
    pickle.loads(PAYLOADS["exec"])
    assert hasattr(builtins, SIGN)
    delattr(builtins, SIGN)


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_payload_runs_in_a_file_of_arrays(name, tmp_path):
    place = tmp_path / "bad.pkl"
    place.write_bytes(PAYLOADS[name])
    modules = set(sys.modules)
    with pytest.raises(WeightsError, match=r"bad\.pkl is"):
        read_arrays(place)
    assert not set(sys.modules) - modules, "a module was imported for the file"


@pytest.mark.parametrize("name", ["exec", "subprocess", "partial", "copyreg", "nested pickle"])
def test_the_sentence_names_the_global(name, tmp_path):
    place = tmp_path / "bad.pkl"
    place.write_bytes(PAYLOADS[name])
    # Python 3 writes some modules under the names that they had in Python 2.
    named = {
        "exec": r"__builtin__\.exec",
        "subprocess": r"commands\.call",
        "partial": r"functools\.partial",
        "copyreg": r"copy_reg\.add_extension",
        "nested pickle": r"_?pickle\.loads",
    }
    with pytest.raises(WeightsError, match=f"names {named[name]}, .*nothing from it was run"):
        read_arrays(place)


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_payload_runs_in_a_checkpoint(name, tmp_path):
    pytest.importorskip("torch")
    place = tmp_path / "bad.pkl"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("archive/data.pkl", PAYLOADS[name])
    with pytest.raises(WeightsError, match=r"bad\.pkl is"):
        read_tensors(place)
    place.write_bytes(PAYLOADS[name])
    with pytest.raises(WeightsError, match=r"bad\.pkl is"):
        read_tensors(place)


def doubled(levels: int, step: bytes) -> bytes:
    """A container that holds the one before it twice, `levels` times over."""
    body = b"]" if step == b"l" else b")"
    for number in range(levels):
        body += b"q" + bytes([number]) + b"0(h" + bytes([number]) + b"h" + bytes([number]) + step
    return body


HUGE = 2**31 - 1
BOMBS = {
    "memo far away": b"]r" + struct.pack("<I", HUGE) + b".",
    "length of a text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "length of bytes": b"B" + struct.pack("<I", HUGE) + b"x.",
    "negative length": b"T" + struct.pack("<i", -5) + b"x.",
    "long number": b"\x8b" + struct.pack("<i", HUGE) + b"\x01.",
    "array larger than its bytes": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        b"(I100000000000\nI8\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS''\ntb."
    ),
    "item size of its own": b"cnumpy\ndtype\n(S'S2000000000'\nI0\nI1\ntR.",
    "lists doubled": old_dict({b"a": doubled(60, b"l")}) + b".",
    "tuples doubled as a key": b"(d" + doubled(60, b"t") + b"Ns.",
    "nested for ever": old_dict({b"a": b"(" * 50_000 + b"t" * 50_000}) + b".",
    "nested key": b"(d" + b"(" * 50_000 + b"t" * 50_000 + b"Ns.",
    "holds itself": b"(dq\x00S'a'\nh\x00s.",
    "endless marks": b"(" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_neither_fill_the_memory_nor_take_for_ever(name, tmp_path):
    place = tmp_path / "bad.pkl"
    place.write_bytes(BOMBS[name])
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"bad\.pkl (is|holds no)"):
        read_arrays(place)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, f"the memory grew by {grown} kB"


def test_a_pickle_of_too_many_operations_is_refused(tmp_path):
    place = write(tmp_path / "bad.pkl", b"N0" * 2_100_000 + b"(d")
    with pytest.raises(WeightsError, match="operations"):
        read_arrays(place)


def test_a_file_that_is_too_large_is_not_opened(tmp_path):
    place = tmp_path / "bad.pkl"
    with place.open("wb") as stream:
        stream.truncate(2**28 + 1)
    with pytest.raises(WeightsError, match="is the most that is read"):
        read_arrays(place)
