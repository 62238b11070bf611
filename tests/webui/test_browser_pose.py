"""A pose in the panel of a real WebUI: shown, used, restored, and refused where it is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from browser import LONG_MS, WebuiPage, keep_screenshot

from handrefiner_ext.cli import main

LEFT_BY_PX = 160
"""How far the pose stands from the picture's hand: a search finds none there."""


@pytest.fixture(scope="module")
def poses(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `--pose_dir` writes for the photograph, both forms moved to the left, by name."""
    written = tmp_path_factory.mktemp("written")
    picture = str(photographs / "1.jpg")
    assert main(["hints", picture, "--out_dir", str(written), "--pose_dir", str(written)]) == 0
    ours = json.loads((written / "1_pose.json").read_text("utf-8"))
    ours["hands"][0]["wrist"][0] -= LEFT_BY_PX
    theirs = json.loads((written / "1_openpose.json").read_text("utf-8"))
    for person in theirs["people"]:
        for key in [key for key in person if key.startswith("hand_") and person[key]]:
            numbers = np.reshape(person[key], (-1, 3))
            numbers[numbers[:, 2] > 0, 0] -= LEFT_BY_PX
            person[key] = numbers.ravel().tolist()
    return {"ours": json.dumps(ours), "openpose": json.dumps(theirs)}


def give_pose(webui: WebuiPage, tab: str, text: str) -> None:
    webui.unfold(tab, "advanced")
    webui.press_tab(f"#handrefiner_{tab}_tabs", "Mesh and mask")
    webui.panel(tab, "pose").locator("textarea").fill(text)


def middle_of(mask: np.ndarray) -> float:
    """The x of a mask's middle, px."""
    return float(np.nonzero(mask)[1].mean())


@pytest.mark.parametrize("form", ["ours", "openpose"])
def test_a_pose_is_shown_by_the_preview_and_used_by_the_next_run(
    webui, photographs, poses, form, tmp_path
):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.show_hands("img2img", photographs / "1.jpg")
    said = webui.panel("img2img", "said")
    said.get_by_text("1: right hand").wait_for(timeout=LONG_MS)
    _, found, old = webui.read_preview("img2img")
    give_pose(webui, "img2img", poses[form])
    webui.panel("img2img", "show").click()
    _, depth, mask = webui.read_preview("img2img", unlike=old)
    keep_screenshot(webui.panel("img2img"), f"pose_{form}", tmp_path)
    assert middle_of(found) - middle_of(depth) == pytest.approx(LEFT_BY_PX, abs=8)
    assert (mask[depth > 0] == 255).all()
    drawn, painted = webui.generate_with_hints("img2img")
    assert middle_of(drawn) == pytest.approx(middle_of(depth), abs=2)
    assert middle_of(painted > 127) == pytest.approx(middle_of(mask > 127), abs=2)


def test_the_infotext_takes_a_pose_to_the_other_tab(webui, photographs, poses):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    give_pose(webui, "img2img", poses["ours"])
    webui.generate("img2img")
    made = webui.page.locator("#generation_info_img2img textarea").input_value()
    (text, *_) = json.loads(made)["infotexts"]
    webui.go_to("txt2img")
    webui.paste("txt2img", text)
    webui.page.wait_for_function(
        "id => document.querySelector(id).checked", arg="#handrefiner_txt2img-visible-checkbox"
    )
    assert json.loads(webui.read_text("txt2img", "pose")) == json.loads(poses["ours"])


def test_what_is_no_pose_is_refused_with_a_sentence(webui, photographs):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    give_pose(webui, "img2img", '{"hands": []')
    webui.show_hands("img2img", photographs / "1.jpg")
    webui.panel("img2img", "said").get_by_text("pose").first.wait_for(timeout=LONG_MS)
    text = webui.generate("img2img")
    assert "pose" in text.partition("HandRefiner hands:")[2]
    assert "refined" not in text.partition("HandRefiner hands:")[2]
