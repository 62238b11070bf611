"""The one builder of backends: everybody's models folder and device are used, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_scenes import BOTH, FloodPainter, hold_tiny_backends, make_stages, picture_with
from modules import shared
from PIL import Image

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.host.preview import show_hands
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import DETECTORS, INPAINTERS, RECONSTRUCTORS, Registry
from handrefiner_ext.stages import BackendCache, build_stages, list_obstacles
from handrefiner_ext.types import ModelHome

HERE = ModelHome(Path("models"), "cpu", keep_on_device=True, dtype="float32")


@pytest.fixture
def built(monkeypatch):
    """(kind, name, home) of every backend that is built; the backends are tiny."""
    tiny = make_stages()
    kinds = {"detector": tiny.detector, "mesh": tiny.reconstructor, "renderer": tiny.renderer}
    calls = []

    def build(registry, name, **options):
        calls.append((registry.kind, name, options.get("home")))
        return kinds.get(registry.kind) or FloodPainter()

    monkeypatch.setattr(Registry, "build", build)
    return calls


def test_every_backend_is_built_for_the_home_that_was_given(built):
    stages = build_stages(RefineParams(backend="diffusers"), HERE)
    assert stages.inpainter.backend.name == "flood"
    assert {kind for kind, _, _ in built} == {"detector", "mesh", "renderer", "backend"}
    assert {home for _, _, home in built} == {HERE}
    stages.fallbacks.reconstructors  # noqa: B018  # built at the first look
    assert {home for _, _, home in built} == {HERE}


def test_a_backend_is_built_once_whether_it_is_named_or_found_by_auto(built):
    first = DETECTORS.names()[0]
    for detector in (first, "auto", first):
        build_stages(RefineParams(detector=detector), HERE)
    assert [name for kind, name, _ in built if kind == "detector"] == [first]


def test_another_home_drops_what_depends_on_it_before_the_new_one_is_built(monkeypatch):
    kept, seen = BackendCache(), []

    def build(registry, name, **options):
        seen.append((registry.kind, name, (registry.kind, name) in kept._kept))
        return object()

    monkeypatch.setattr(Registry, "build", build)
    for home in (HERE, ModelHome(device="cuda"), ModelHome(device="cuda")):
        kept.build(INPAINTERS, "diffusers", home)
        kept.build(RECONSTRUCTORS, "open_hand", home)
    assert seen == [
        ("backend", "diffusers", False),
        ("mesh", "open_hand", False),
        ("backend", "diffusers", False),
    ]


def test_what_cannot_be_built_is_tried_again(monkeypatch):
    kept = BackendCache()
    answers = [BackendUnavailable("It is not here yet."), "it"]

    def build(registry, name, **options):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Registry, "build", build)
    with pytest.raises(BackendUnavailable):
        kept.build(RECONSTRUCTORS, "graphormer", HERE)
    assert kept.build(RECONSTRUCTORS, "graphormer", HERE) == "it"


def test_obstacles_are_sentences(monkeypatch):
    hold_tiny_backends(monkeypatch)
    found = list_obstacles(HERE)
    assert found["mesh"] == {"graphormer": None, "open_hand": None}

    def refuse(registry, name, **options):
        raise BackendUnavailable(f"{name} is not here.")

    monkeypatch.setattr(Registry, "build", refuse)
    assert list_obstacles(ModelHome())["backend"]["diffusers"] == "diffusers is not here."


def test_the_route_uses_the_models_folder_and_the_device_and_loads_once(built):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from api_client import ask, make_client, to_text

    from handrefiner_ext.api.worker import Services

    client = make_client(Services(home=lambda: HERE))
    picture = to_text(picture_with(BOTH))
    for _ in range(2):
        answer = ask(client, "/refine", image=picture, backend="diffusers", keep_best=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["decisions"][0]["refined"]
    assert [call for call in built if call[0] == "backend"] == [("backend", "diffusers", HERE)]


def test_the_preview_uses_the_models_folder_and_the_backends_of_the_run(
    built, tmp_path, monkeypatch
):
    monkeypatch.setitem(shared.opts.data, "handrefiner_models_dir", str(tmp_path))
    sketch = {"image": Image.fromarray(picture_with(BOTH)), "mask": None}
    for _ in range(2):
        shown, said = show_hands({"drawn_mask": sketch})
        assert len(shown["value"]) == 3, said
    assert {home.models_dir for _, _, home in built} == {tmp_path}
    before = len(built)
    build_stages(RefineParams(), read_model_home(), FloodPainter())
    assert len(built) == before
