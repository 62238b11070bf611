"""The page about the API says what the code does."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest

from handrefiner_ext.api.body import read_arguments
from handrefiner_ext.params import RefineParams

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the package alone is installed")


@pytest.fixture
def text():
    return PAGE.read_text("utf-8")


def test_both_examples_of_a_generation_say_the_same(text):
    bodies = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    read = [read_arguments(b["alwayson_scripts"]["HandRefiner"]["args"]) for b in bodies]
    assert [r.params for r in read] == 2 * [
        RefineParams(enabled=True, strength=0.6, padding_bbox=40)
    ]


def test_the_sentence_that_it_quotes_is_the_one_that_is_said(text):
    with pytest.raises(Exception, match="strength = 3") as caught:
        read_arguments([{"strength": 3}])
    assert f"HandRefiner: {caught.value}" in text


def test_the_example_in_python_runs(text, monkeypatch, tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    import io
    import urllib.request

    from api_client import make_client
    from hand_scenes import BOTH, make_stages, picture_with
    from PIL import Image

    from handrefiner_ext import pipeline
    from handrefiner_ext.api.worker import Services
    from handrefiner_ext.registry import Registry

    tiny = make_stages()
    kinds = {"detector": tiny.detector, "mesh": tiny.reconstructor, "renderer": tiny.renderer}
    monkeypatch.setattr(Registry, "build", lambda registry, name, **options: kinds[registry.kind])

    def refine(image, params, given):
        return pipeline.refine(image, params, tiny, given.drawn_mask, given.depth_in)

    client = make_client(Services(refine=refine))

    def urlopen(request):
        path = request.full_url.removeprefix("http://127.0.0.1:7860")
        answer = client.post(path, content=request.data, headers=request.headers)
        assert answer.status_code == 200, answer.text
        return io.BytesIO(answer.content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.chdir(tmp_path)
    picture = picture_with(BOTH)
    Image.fromarray(picture).save("picture.png")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the example leaves closing to Python
        exec(code, {})
    assert (to_array_of("refined.png") != picture).any()


def to_array_of(name):
    import numpy as np
    from PIL import Image

    with Image.open(name) as opened:
        return np.array(opened)
