"""The mesh backend graphormer in a real WebUI, on files that a test made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from generation import GENTLE, alike, as_mask, changed, encode, img2img, load
from running_host import Host, missing_for_a_host, start_host

sys.path.append(str(Path(__file__).parent.parent))

SIDE = "right"
"""Of the hand in the photograph, one near enough to a hand at rest: these files see no picture."""


@pytest.fixture(scope="module")
def models_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose models folder holds MeshGraphormer's and MANO's files."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    for package in ("torch", "safetensors"):
        pytest.importorskip(package, reason="makes files for MeshGraphormer")
    from graphormer_files import write_models

    models = tmp_path_factory.mktemp("models")
    write_models(models, with_unused=True)
    folder = tmp_path_factory.mktemp("graphormer")
    running = start_host(folder, "--handrefiner-models-dir", str(models))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def photograph(photographs: Path, models_host: Host):
    picture = load(photographs / "3.jpg")
    img2img(models_host, picture)
    return picture


@pytest.mark.parametrize(("mesh", "used"), [("auto", "graphormer"), ("open_hand", "open_hand")])
def test_auto_takes_graphormer_where_its_files_are(models_host, photograph, mesh, used):
    said = models_host.post("/handrefiner/v1/hints", {"image": encode(photograph), "mesh": mesh})
    assert [hand["mesh"] for hand in said["hands"]] == [used]
    assert said["hands"][0]["handedness"] == SIDE


def test_a_generation_is_repainted_under_its_mesh(models_host, photograph):
    plain = img2img(models_host, photograph)
    hands = {**GENTLE, "mesh": "graphormer", "extra_images": True}
    on = img2img(models_host, photograph, hands)
    assert on.decisions == f"1 {SIDE} refined"
    mask = as_mask(on.images[-2])
    assert changed(on.image, plain.image)[mask].any()
    assert not changed(on.image, plain.image)[~mask].any()
    assert alike(img2img(models_host, photograph).image, plain.image), "nothing stays behind"


def test_without_the_files_the_sentence_says_what_is_missing(host, photographs):
    picture = encode(load(photographs / "3.jpg"))
    answer = host.ask("POST", "/handrefiner/v1/hints", {"image": picture, "mesh": "graphormer"})
    assert answer.status == 503
    assert "MANO_RIGHT.pkl" in answer.body["detail"]
    assert "handrefiner weights" in answer.body["detail"]
