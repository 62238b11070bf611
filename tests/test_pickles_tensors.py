"""Tensors of old checkpoints equal what torch itself would load, without torch's unpickling."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import read_tensors

torch = pytest.importorskip("torch")

FORMATS = [False, True]
"""Whether torch writes its archive (True) or the row of pickles that it wrote before 1.6."""
KINDS = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


class TrainingObject:
    """Something of a training run that torch's safe loading refuses."""

    def __init__(self):
        self.note = argparse.Namespace(lr=1e-4)


def make_tensors():
    torch_random = torch.Generator().manual_seed(4)
    base = torch.randn(6, 5, generator=torch_random)
    tensors = {str(kind): (base * 10).to(kind) for kind in KINDS}
    tensors["transposed"] = base.t()
    tensors["part of another"] = base[2:4, 1:3]
    tensors["one number"] = torch.tensor(3.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = torch.nn.Parameter(base + 1)
    return tensors


def save(place, value, archive):
    torch.save(value, place, _use_new_zipfile_serialization=archive)
    return place


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor.detach()), name


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_every_tensor_comes_back_bit_for_bit(tmp_path, archive, kind):
    tensors = make_tensors()
    assert_equal(read_tensors(save(tmp_path / "a.bin", kind(tensors), archive)), tensors)


@pytest.mark.parametrize("archive", FORMATS)
def test_a_module_s_state_dict_is_read(tmp_path, archive):
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = read_tensors(save(tmp_path / "a.pth", layer.state_dict(), archive))
    assert_equal(found, layer.state_dict())


@pytest.mark.parametrize("archive", FORMATS)
def test_training_objects_are_passed_over(tmp_path, archive):
    tensors = make_tensors()
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    checkpoint = {
        "state_dict": tensors,
        "epoch": 3,
        "callbacks": {TrainingObject: {"best": TrainingObject()}},
        "optimizer_states": [optimizer.state_dict()],
        "array": np.arange(3.0),
    }
    place = save(tmp_path / "a.ckpt", checkpoint, archive)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(place, weights_only=True)
    assert_equal(read_tensors(place), tensors)


@pytest.mark.parametrize("archive", FORMATS)
def test_writing_into_a_tensor_leaves_the_file_alone(tmp_path, archive):
    place = save(tmp_path / "a.bin", {"a": torch.ones(400)}, archive)
    before = place.read_bytes()
    read_tensors(place)["a"].zero_()
    assert place.read_bytes() == before


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_file_is_refused_with_a_sentence(tmp_path, archive, share):
    place = save(tmp_path / "a.bin", {"a": torch.ones(4000)}, archive)
    whole = place.read_bytes()
    place.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=r"a\.bin is"):
        read_tensors(place)


@pytest.mark.parametrize("archive", FORMATS)
def test_many_tensors_hold_no_more_files_open_than_one(tmp_path, archive):
    held = Path("/proc/self/fd")
    if not held.exists():
        pytest.skip("open files can only be counted under Linux")
    place = save(tmp_path / "a.bin", {str(n): torch.ones(400) for n in range(200)}, archive)
    before = len(list(held.iterdir()))
    tensors = read_tensors(place)
    assert len(list(held.iterdir())) <= before + 2
    assert len(tensors) == 200


def rewritten(place, change):
    """The archive with the content of its files changed by `change(name, content)`."""
    with zipfile.ZipFile(io.BytesIO(place.read_bytes())) as old, zipfile.ZipFile(place, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return place


def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path):
    place = save(tmp_path / "a.bin", {"a": torch.ones(4000)}, True)
    rewritten(place, lambda name, content: content[:100] if name.endswith("data/0") else content)
    with pytest.raises(WeightsError, match="has 100 bytes, not 16000"):
        read_tensors(place)


def test_a_tensor_that_reaches_outside_its_storage_is_refused(tmp_path):
    place = save(tmp_path / "a.bin", {"a": torch.ones(40, 40)}, True)
    wide, wider = b"K(K(\x86", b"K)K(\x86"
    rewritten(place, lambda _, content: content.replace(wide, wider, 1))
    with pytest.raises(WeightsError, match="reaches outside"):
        read_tensors(place)


def test_compressed_archives_are_refused_before_they_unpack(tmp_path):
    place = tmp_path / "a.bin"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N0" * 1_000_000 + b"}.")
    with pytest.raises(WeightsError, match="compressed"):
        read_tensors(place)


def test_two_files_of_one_name_in_an_archive_are_refused(tmp_path):
    place = save(tmp_path / "a.bin", {"a": torch.ones(4)}, True)
    with zipfile.ZipFile(place, "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, b"}.")
    with pytest.raises(WeightsError, match="not one that torch writes"):
        read_tensors(place)


@pytest.mark.parametrize("archive", FORMATS)
def test_a_file_without_tensors_is_refused(tmp_path, archive):
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(save(tmp_path / "a.bin", {"epoch": 3}, archive))
