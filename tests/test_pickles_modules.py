"""Whole pickled modules: tensors and plain values are read, nothing is built or called."""

from __future__ import annotations

import os

import pytest

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import read_module
from handrefiner_ext.pickles.modules import MOST_PARTS, is_plain

torch = pytest.importorskip("torch")

LAYERS = [[-1, 1, "Conv", [16, 3, 2]], [[0], 1, "Detect", ["nc"]]]


class Detector(torch.nn.Module):
    """A small network with everything that a pickled one holds."""

    def __init__(self):
        super().__init__()
        self.names = {0: "hand", 1: "face"}
        self.yaml = {"nc": 2, "backbone": LAYERS, "act": None}
        self.note = torch.device("cpu")  # not plain, so left out
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, bias=False),
            torch.nn.BatchNorm2d(4),
            torch.nn.Upsample(None, 2),
        )
        self.layers[0].half()
        self.register_buffer("steps", torch.arange(5))
        self.register_buffer("scratch", torch.ones(3), persistent=False)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_tensors_have_the_names_and_numbers_of_the_state_dict(tmp_path):
    network = Detector()
    place = tmp_path / "a.pt"
    beside = {"epoch": 3, "train_args": {"imgsz": 160}, "optimizer": torch.optim.SGD}
    torch.save({"ema": None, "model": network, **beside}, place)
    content = read_module(place, ("ema", "model"))
    expected = network.state_dict()
    assert content.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert content.tensors[name].dtype == tensor.dtype
        assert torch.equal(content.tensors[name], tensor)
    assert content.kind.name == "Detector"
    assert content.attributes["names"] == network.names
    assert content.attributes["yaml"] == network.yaml
    assert "note" not in content.attributes
    assert content.beside == {"epoch": 3, "train_args": {"imgsz": 160}, "ema": None}


def test_nothing_in_the_file_is_run(tmp_path):
    network = Detector()
    network.hook = Hostile(tmp_path / "ran")
    place = tmp_path / "a.pt"
    torch.save({"model": network, "more": Hostile(tmp_path / "ran too")}, place)
    content = read_module(place, ("model",))
    assert "hook" not in content.attributes
    assert "more" not in content.beside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt"]


def test_tensors_alone_are_no_whole_network(tmp_path):
    place = tmp_path / "a.pt"
    torch.save({"model": Detector().state_dict()["steps"], "other": 1}, place)
    with pytest.raises(WeightsError, match="no whole network"):
        read_module(place, ("ema",))


def test_the_format_before_torch_1_6_is_refused_with_a_sentence(tmp_path):
    place = tmp_path / "a.pt"
    torch.save({"model": Detector()}, place, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="not an intact checkpoint"):
        read_module(place, ("model",))


def test_values_that_hold_themselves_are_not_plain():
    loop = [1]
    loop += [loop, loop]
    assert not is_plain(loop)
    assert is_plain([0] * (MOST_PARTS - 2))
    assert not is_plain({"a": [object()]})
