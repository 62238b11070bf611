"""Prompts for regions, masks drawn by hand, and the words about what became of a picture."""

from __future__ import annotations

import base64
import copy
import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from hand_scenes import BOTH, FloodPainter, make_stages, picture_with
from host_runs import BRIGHT, PLAIN, run
from PIL import Image

from handrefiner_ext.api.body import decode_picture
from handrefiner_ext.errors import HandRefinerError, InvalidParameter
from handrefiner_ext.host.inputs import read_drawn_mask
from handrefiner_ext.host.reports import describe, fail
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.repaint import keep_best
from handrefiner_ext.repaint.regions import prompt_for
from handrefiner_ext.report import NONE_FOUND
from handrefiner_ext.types import Painting, RegionReport

PICTURE = "a man <lora:detail:0.8>"


@pytest.mark.parametrize(
    ("template", "numbers", "prompt"),
    [
        ("", (1,), PICTURE),
        ("a fist", (4,), "a fist"),
        ("[PROMPT], five fingers", (1,), f"{PICTURE}, five fingers"),
        ("one [SEP] two", (1,), "one"),
        ("one [SEP] two", (2,), "two"),
        ("one [SEP] two", (6,), "two"),
        ("one [SEP] [SEP] three", (2,), PICTURE),
        ("one [SEP] two", (1, 2), "one, two"),
        ("same", (1, 2), "same"),
    ],
)
def test_each_region_has_the_prompt_of_its_hands(template, numbers, prompt):
    assert prompt_for(template, PICTURE, numbers) == prompt


def drawn_mask():
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:20, 10:30] = True
    return mask


def as_text(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


GREY = Image.fromarray(drawn_mask().astype(np.uint8) * 255)
CLEAR = Image.merge("RGBA", [Image.new("L", GREY.size)] * 3 + [GREY])
FORMS = {
    "grey": GREY,
    "rgb": GREY.convert("RGB"),
    "opaque rgba": GREY.convert("RGBA"),
    "painted on clear": CLEAR,
    "sketch": {"image": Image.new("RGB", GREY.size), "mask": GREY.convert("RGBA")},
    "bytes": np.asarray(GREY),
    "bool": drawn_mask(),
    "base64": as_text(GREY),
    "data url": f"data:image/png;base64,{as_text(GREY)}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_drawn_mask_is_read_in_every_form(form):
    assert np.array_equal(read_drawn_mask(form, (40, 60)), drawn_mask())


def huge(width, height):
    """A black and white PNG of so many pixels, as base64."""
    buffer = io.BytesIO()
    Image.new("1", (width, height), 1).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


@pytest.mark.parametrize(("side", "fits"), [(8300, True), (10_001, False)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_panel_and_the_routes_decode_masks_of_the_same_sizes(side, fits):
    text = huge(side, 10_000 if not fits else side)
    if fits:
        assert read_drawn_mask(text, (40, 60)).all()
        assert decode_picture(text, "drawn_mask").image.shape[:2] == (side, side)
        return
    for read in (lambda: read_drawn_mask(text, (40, 60)), lambda: decode_picture(text, "x")):
        with pytest.raises(HandRefinerError, match="has 10001 × 10000 pixels; at most 100 million"):
            read()


def test_a_mask_drawn_on_another_size_is_scaled():
    mask = read_drawn_mask(GREY, (80, 120))
    assert np.array_equal(mask[::2, ::2], drawn_mask())


@pytest.mark.parametrize(
    "nothing", [None, "", {"mask": None}, {}, {"mask": Image.new("L", (60, 40))}]
)
def test_nothing_drawn_is_no_mask(nothing):
    assert read_drawn_mask(nothing, (40, 60)) is None


def test_a_black_mask_says_that_nothing_may_change():
    assert not read_drawn_mask(np.zeros((40, 60), np.uint8), (40, 60)).any()
    assert not read_drawn_mask(as_text(Image.new("L", (60, 40))), (40, 60)).any()


def test_a_picture_is_refused_as_a_mask():
    colours = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    with pytest.raises(InvalidParameter, match="drawn_mask is a picture, not a mask"):
        read_drawn_mask(colours, (40, 60))


@pytest.mark.parametrize(
    "wrong", ["no picture", "https://example.org/m.png", "/etc/passwd", 7, [1, 2], b"raw"]
)
def test_what_is_no_picture_is_refused_and_never_fetched(wrong):
    with pytest.raises(InvalidParameter, match="drawn_mask"):
        read_drawn_mask(wrong, (40, 60))


@dataclass
class LosesTheSecond(FloodPainter):
    """Paints as any other, but reports that the second hand could not be painted."""

    def paint_candidates(self, request, count):
        painted = self.paint(request)
        box, mask = request.maps.hand_masks[1]
        painted[box.slices][mask] = request.image[box.slices][mask]
        lost = RegionReport((1,), "The second pass failed: no memory.")
        return Painting((painted,) * count, (RegionReport((0,)), lost), "a model")


def result_of(hands, painter=None):
    stages = make_stages(inpainter=painter or FloodPainter())
    return refine(picture_with(hands), RefineParams(keep_best=False), stages)


def test_the_words_name_every_hand_and_the_reason_that_only_the_painter_knows():
    result = result_of(BOTH)
    assert describe(result).words.count("refined") == 2
    result = result_of(BOTH, LosesTheSecond())
    report = describe(result)
    first, second = report.words.split("; ")
    assert first.endswith("refined")
    assert second.endswith("kept (The second pass failed: no memory)")
    assert report.refined == 1
    assert report.problems == ("The second pass failed: no memory.",)
    assert [decision.failed for decision in result.decisions] == [False, True]
    assert result.control_model == "a model"


def test_no_hand_is_said():
    assert describe(result_of(())).words == NONE_FOUND


def test_a_failure_keeps_the_reason_on_one_line():
    assert fail("It broke\nbadly.").words == "not repainted (It broke badly)"


def test_a_hand_that_was_kept_is_told_below_the_picture_with_what_to_try(webui, monkeypatch):
    pytest.importorskip("torch")
    reason = "The original was kept: it looks well formed (quality 0.90)."
    monkeypatch.setattr(keep_best, "find_worse", lambda *_: {0: reason})
    done = run(webui.txt2img([BRIGHT], {**PLAIN, "keep_best": True}, width=512, height=256))
    cell = copy.copy(done)  # as the X/Y/Z plot makes its answer
    cell.infotexts = ["of the plot"]
    assert json.loads(cell.js())["infotexts"] == ["of the plot"]
    said = json.loads(done.js())["comments"]
    assert said == done.comments.splitlines()
    assert f"HandRefiner: Hand 1 right: {reason}" in said
    assert "change the seed" in said[-1]


def test_a_picture_without_hands_is_told_below_the_picture(webui):
    done = run(webui.txt2img([picture_with(())], PLAIN, width=512, height=256))
    assert any("No hand was repainted" in comment for comment in done.comments.splitlines())


def test_where_every_hand_was_repainted_nothing_is_told(webui):
    pytest.importorskip("torch")
    assert run(webui.txt2img([BRIGHT], PLAIN, width=512, height=256)).comments == ""
