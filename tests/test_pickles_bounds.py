"""Hostile files of weights cost neither a minute nor a gigabyte, and end with one sentence."""

from __future__ import annotations

import sys

import hostile_files as hostile
import pytest
from process_cost import Cost

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import read_arrays, read_tensors
from handrefiner_ext.pickles.machine import Name, describe

SECONDS, MEMORY = 5.0, 500 * 2**20
"""The most that a file may cost beyond what its own size justifies."""
if sys.gettrace() is not None:
    SECONDS *= 5  # measuring coverage costs that much
SENTENCE = 600


def assert_refused(read, place):
    """One printable sentence, in time, within the memory that the file's size justifies."""
    with Cost() as cost, pytest.raises(WeightsError) as caught:
        read(place)
    said = str(caught.value).replace(str(place), "")
    assert said.isprintable()
    assert len(said) < SENTENCE
    assert said.endswith(".")
    assert "object has no attribute" not in said
    assert "()" not in said
    assert cost.seconds < SECONDS
    assert cost.bytes < MEMORY + 4 * place.stat().st_size


def put(place, content):
    place.write_bytes(content)
    return place


@pytest.mark.parametrize("attack", hostile.ARRAYS)
def test_a_hostile_file_of_arrays_costs_little(attack, tmp_path):
    place = put(tmp_path / "MANO_RIGHT.pkl", hostile.ARRAYS[attack]() + b".")
    assert_refused(read_arrays, place)


@pytest.mark.parametrize("attack", hostile.TENSORS)
def test_a_hostile_checkpoint_costs_little(attack, tmp_path):
    torch = pytest.importorskip("torch")

    def read(place):
        return {k: v.to(torch.float32) for k, v in read_tensors(place).items()}

    body = hostile.TENSORS[attack]()
    assert_refused(read, hostile.write_archive(tmp_path / "new.ckpt", body))
    assert_refused(read, put(tmp_path / "old.ckpt", hostile.legacy(body)))


def test_storages_that_cannot_be_mapped_are_copied_once(tmp_path):
    pytest.importorskip("torch")
    body = hostile.one_storage_in_many_tensors(4)
    for name in ("archive", "archive2"):  # one of them is not aligned
        place = hostile.write_archive(tmp_path / f"{name}.ckpt", body, name=name)
        with Cost() as cost:
            found = read_tensors(place)
        assert len(found) == hostile.COPIES
        assert len({tensor.data_ptr() for tensor in found.values()}) == 1
        assert cost.seconds < SECONDS
        assert cost.bytes < MEMORY


def test_a_byte_order_that_unpacks_to_much_is_refused(tmp_path):
    pytest.importorskip("torch")
    place = put(tmp_path / "a.ckpt", hostile.deflated_byte_order())
    with Cost() as cost, pytest.raises(WeightsError, match="compressed"):
        read_tensors(place)
    assert cost.bytes < 100 * 2**20


def test_an_old_checkpoint_without_a_description_of_its_machine_is_refused(tmp_path):
    pytest.importorskip("torch")
    for machine in (b"ctorch\nFloatStorage\n)R", b"N", b"(d"):
        body = hostile.legacy(hostile.old_dict({b"a": hostile.tensor()}), machine)
        assert_refused(read_tensors, put(tmp_path / "a.ckpt", body))


def test_good_files_of_the_same_builders_are_read(tmp_path):
    pytest.importorskip("torch")
    body = hostile.old_dict({b"a": hostile.tensor()})
    old = read_tensors(put(tmp_path / "old.ckpt", hostile.legacy(body)))["a"]
    assert old.tolist() == [1.0, 2.0, 3.0, 4.0]
    new = read_tensors(hostile.write_archive(tmp_path / "new.ckpt", body))["a"]
    assert new.shape == (4,)
    matrix = hostile.sparse(3, 2, hostile.whole_numbers(0, 0, 0))
    place = put(tmp_path / "a.pkl", hostile.old_dict({b"a": matrix}) + b".")
    assert read_arrays(place)["a"].dense().tolist() == [[0.0, 0.0]] * 3


SAID = {
    r"'a\x1b[2Jb'": "a\x1b[2Jb",
    "'" + "x" * 80 + "…'": "x" * 10**6,
    r"os\n.system": Name("os\n", "system"),
    "a number of 16,610 bits": 10**5000,
    "a tuple": (1, 2),
    "None": None,
    "a bytes": b"x",
    r"'\u202egnp.exe'": "\u202egnp.exe",
}


@pytest.mark.parametrize("said", SAID)
def test_values_of_a_file_are_named_briefly_and_escaped(said):
    assert describe(SAID[said]) == said
