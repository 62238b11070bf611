"""Mutated files of weights are read or refused with one sentence; none runs, hangs or unfolds."""

from __future__ import annotations

import builtins
import collections
import faulthandler
import io
import pickle
import sys
import time
import zipfile
from pathlib import Path

import hostile_files as hostile
import numpy as np
import pytest
import scipy.sparse
from pickle_files import Calls, dumped, old_array, old_dict, old_object
from process_cost import Cost

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import read_arrays, read_tensors

QUICK, MANY = 200, 10_000
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]
SIGN = "handrefiner_payload_ran"
ROUND_S = 5.0
INTERESTING = (
    *(hostile.SHARED, hostile.SHARED_LIST, hostile.ESCAPES, b"L5000000000L\n", b"I-1\n", b"(" * 99),
    *(b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8, b"h\x00", b"j\x00\x00\x00\x00", b".", b"}"),
    *(b"cos\nsystem\n", b"c__builtin__\nexec\n", b"R", b"b", b"\x81", b"\x93", b"Q", b"e", b"u"),
    dumped(Calls(exec, f"import builtins; builtins.{SIGN} = True"))[2:-1],
)
"""What is put into good files: opcodes, impossible numbers, and pieces of attacks."""


def good_arrays() -> list[bytes]:
    """Files of arrays as each protocol writes them, and as Python 2 wrote MANO's."""
    matrix = scipy.sparse.random(16, 78, density=0.1, random_state=1)
    content = {
        "v": np.arange(30.0).reshape(10, 3),
        "f": np.asfortranarray(np.arange(12, dtype=np.uint32).reshape(4, 3)),
        "J": matrix.tocsc(),
        "r": matrix.tocsr(),
        "n": {"deep": [1, (2.5, "ü", None)], "big": 2**70},
    }
    old = old_dict(
        {
            b"v": old_array(np.arange(6.0)),
            b"s": old_object(
                b"chumpy.reordering",
                b"Select",
                {
                    b"a": old_object(b"chumpy.ch", b"Ch", {b"x": old_array(np.arange(6.0))}),
                    b"idxs": old_array(np.arange(6)),
                    b"preferred_shape": b"(I2\nI3\nt",
                },
            ),
        }
    )
    ordered = collections.OrderedDict(content)
    files = [pickle.dumps(content, protocol) for protocol in range(6)]
    return [*files, pickle.dumps(ordered, 2), old + b"."]


def good_checkpoints() -> list[bytes]:
    """Checkpoints in both formats of torch, with an optimizer that is passed over."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(layer.parameters())
    states = [
        layer.state_dict(),
        {"state_dict": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
    ]
    files = []
    for state in states:
        for archive in (True, False):
            place = io.BytesIO()
            torch.save(state, place, _use_new_zipfile_serialization=archive)
            files.append(place.getvalue())
    return files


def mutate(content: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """One to three changes: bytes flipped, cut, doubled, moved or put in."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 4)):
        start = int(random.integers(0, len(changed) + 1))
        end = min(start + int(random.integers(1, 40)), len(changed))
        kind = random.integers(0, 6)
        if kind == 0 and start < len(changed):
            changed[start] = int(random.integers(0, 256))
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end] * int(random.integers(1, 50))
        elif kind == 3:
            changed[start:start] = INTERESTING[random.integers(0, len(INTERESTING))]
        elif kind == 4:
            other = others[random.integers(0, len(others))]
            place = int(random.integers(0, len(other)))
            changed[start:end] = other[place : place + int(random.integers(1, 400))]
        else:
            del changed[start:]
    return bytes(changed)


def mutate_archive(content: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """A change within the pickle, so that the archive itself stays whole."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            inside = old.read(name)
            if name.endswith("data.pkl"):
                inside = mutate(inside, others, random)
            new.writestr(name, inside)
    return target.getvalue()


def fuzz(read, files: list[bytes], rounds: int, place: Path) -> dict[str, int]:
    """Read `rounds` mutated files and count what became of them; breaches are failures."""
    random = np.random.default_rng(17)
    modules, counts = set(sys.modules), {"read": 0, "refused": 0}
    for number in range(rounds):
        content = files[number % len(files)]
        packed = content[:2] == b"PK" and random.random() < 0.7
        changed = (mutate_archive if packed else mutate)(content, files, random)
        place.write_bytes(changed)
        faulthandler.dump_traceback_later(60, exit=True)
        begun = time.process_time()
        try:
            read(place)
            counts["read"] += 1
        except WeightsError as error:
            said = str(error).replace(str(place), "")
            assert said.isprintable(), (number, ascii(said))
            assert len(said) < 600, number
            counts["refused"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
        assert time.process_time() - begun < ROUND_S, number
        assert not hasattr(builtins, SIGN), number
    assert {
        name for name in set(sys.modules) - modules if not name.startswith(("torch", "encodings"))
    } == set()
    return counts


@pytest.mark.parametrize("rounds", [QUICK, pytest.param(MANY, marks=LONG)], ids=["quick", "slow"])
@pytest.mark.parametrize("kind", ["arrays", "checkpoints"])
def test_mutated_files_are_read_or_refused(kind, rounds, tmp_path):
    files = good_arrays() if kind == "arrays" else good_checkpoints()
    read = read_arrays if kind == "arrays" else read_tensors
    place = tmp_path / "any.pkl"
    for content in files:
        place.write_bytes(content)
        assert read(place)
    with Cost() as cost:
        counts = fuzz(read, files, rounds, place)
    assert cost.bytes < 500 * 2**20
    assert counts["refused"] > rounds // 3
    assert counts["read"] > 0  # not every mutation is one that the format notices
