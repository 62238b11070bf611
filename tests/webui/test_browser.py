"""The panel in a real WebUI's page, driven in headless Chromium."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import LONG_MS, WebuiPage, keep_screenshot
from PIL import Image, PngImagePlugin
from running_host import Host

from handrefiner_ext.host.layout import TABS as FOLDS

TABS = ("txt2img", "img2img")


@pytest.mark.parametrize("tab", TABS)
def test_the_panel_is_closed_and_off_and_opens_with_the_strength_first(webui, tab, tmp_path):
    webui.go_to(tab)
    assert not webui.is_on(tab)
    keep_screenshot(webui.page, f"page_{tab}", tmp_path)
    webui.unfold(tab)
    assert webui.is_on(tab)
    assert webui.get_number(f"handrefiner_{tab}_strength") == 0.55
    labels = webui.panel(tab).locator("label > span:visible, .head label > span:visible")
    assert labels.first.inner_text().strip() == "Strength"
    keep_screenshot(webui.panel(tab), f"panel_{tab}", tmp_path)
    webui.unfold(tab, "advanced")
    for fold in FOLDS:
        webui.press_tab(f"#handrefiner_{tab}_tabs", fold)
        name = f"fold_{fold.lower().replace(' ', '_')}"
        webui.panel(tab, name).wait_for(state="visible")
        picture = Image.open(keep_screenshot(webui.panel(tab), f"panel_{tab}_{name}", tmp_path))
        assert len(picture.convert("RGB").resize((64, 64)).getcolors(4096)) > 20
    assert webui.panel(tab, "skip_img2img").is_visible() == (tab == "img2img")


@pytest.mark.parametrize("tab", TABS)
def test_the_strength_alone_has_its_best_range_marked(webui, tab):
    webui.go_to(tab)
    webui.unfold(tab)
    green = "x => getComputedStyle(x, '::after').backgroundColor === 'rgb(58, 157, 93)'"
    ids = f"e => [...e.querySelectorAll('*')].filter({green}).map(x => x.id)"
    assert webui.panel(tab).evaluate(ids) == [f"handrefiner_{tab}_strength"]


def test_a_warning_stands_beside_a_strength_above_0_8_only(webui):
    webui.unfold("txt2img")
    advice = webui.panel("txt2img", "advice")
    webui.set_number("handrefiner_txt2img_strength", 0.85)
    advice.get_by_text("Above 0.8").wait_for()
    webui.set_number("handrefiner_txt2img_strength", 0.8)
    advice.get_by_text("Above 0.8").wait_for(state="hidden")


def test_what_another_model_recommends_stands_beside_the_slider(webui, host, tmp_path):
    """A model that was put into the folder while the page was open; the list is asked anew."""
    (tmp_path / "control_v11f1p_sd15_depth.safetensors").write_bytes(b"\x10" * 4096)
    host.post("/sdapi/v1/options", {"control_net_models_path": str(tmp_path)})
    try:
        webui.unfold("txt2img")
        webui.unfold("txt2img", "advanced")
        webui.press_tab("#handrefiner_txt2img_tabs", "ControlNet")
        webui.panel("txt2img", "control_model_refresh").click()
        webui.page.wait_for_timeout(2000)
        webui.choose("#handrefiner_txt2img_control_model", "control_v11f1p_sd15_depth")
        advice = webui.panel("txt2img", "advice").get_by_text("recommends strength 0.6.")
        advice.wait_for()
        webui.set_number("handrefiner_txt2img_strength", 0.6)
        advice.wait_for(state="hidden")
    finally:
        host.post("/sdapi/v1/options", {"control_net_models_path": ""})
        host.get("/controlnet/model_list")


def test_every_element_of_the_panel_has_an_id_of_ours_and_its_own(webui):
    webui.unfold("txt2img")
    ids = webui.panel("txt2img").evaluate(
        "e => [...e.querySelectorAll('.block[id], .tabitem[id], .tabs[id]')].map(x => x.id)"
    )
    own = [name for name in ids if not name.startswith("component-")]
    assert len(own) > 30
    assert all(name.startswith("handrefiner") for name in own)
    assert len(set(own)) == len(own)


def test_checkbox_and_slider_reach_the_generation(webui):
    webui.make_small("txt2img")
    assert "HandRefiner" not in webui.generate("txt2img")
    webui.unfold("txt2img")
    webui.set_number("handrefiner_txt2img_strength", 0.7)
    assert "HandRefiner strength: 0.7" in webui.generate("txt2img")


def test_a_hand_photograph_is_repainted_at_each_strength_of_a_sweep(webui, photographs):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.choose("#img2img_script_container #script_list", "X/Y/Z plot")
    webui.choose("#script_img2img_xyz_plot_x_type", "[HandRefiner] Strength")
    webui.fill_for_good("#script_img2img_xyz_plot_x_values textarea", "0.2, 0.55, 0.9")
    sub_images = "#script_img2img_xyz_plot_include_lone_images input"
    webui.page.locator(sub_images).check()
    webui.generate("img2img")
    made = json.loads(webui.page.locator("#generation_info_img2img textarea").input_value())
    texts = made["infotexts"][-3:]
    for text, strength in zip(texts, ("0.2", "0.55", "0.9"), strict=True):
        assert f"HandRefiner strength: {strength}," in text
    pictures = webui.read_gallery("img2img")[-3:]
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_batch_tab_repaints_every_picture_of_a_folder(webui, photographs, tmp_path):
    given, made = tmp_path / "given", tmp_path / "made"
    given.mkdir()
    names = ("1", "2")
    for name in names:
        shutil.copy(photographs / f"{name}.jpg", given)
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.press_tab("#mode_img2img", "Batch")
    if webui.page.locator("#img2img_batch_source").count():  # reForge knows folders only
        webui.press_tab("#img2img_batch_source", "From directory")
    for part, folder in (("input", given), ("output", made)):
        webui.page.locator(f"#img2img_batch_{part}_dir textarea").fill(str(folder))
    webui.page.locator("#img2img_generate").click()
    for _ in range(LONG_MS // 500):
        if len(list(made.glob("*.png"))) == len(names):
            break
        webui.page.wait_for_timeout(500)
    webui.page.wait_for_timeout(1000)
    files = list(made.glob("*.png"))  # Forge names them by number alone
    assert len(files) == len(names)
    for file in files:
        with Image.open(file) as picture:
            assert "HandRefiner hands: 1 right refined" in picture.text["parameters"]


PASTED = (
    "a hand\nNegative prompt: gloves\n"
    "Steps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 256x256, HandRefiner: 0.1.0, "
    "HandRefiner strength: 0.7, HandRefiner mask padding: 44, HandRefiner which hands: left, "
    'HandRefiner prompt: "five fingers, [PROMPT]", HandRefiner hands: none found, Version: v1.10.1'
)
FOREIGN = "a dog\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 2, Size: 256x256, Version: v1.10.1"


def write_png(path: Path, infotext: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", infotext)
    Image.new("RGB", (64, 64), "gray").save(path, pnginfo=info)
    return path


def send_png(webui: WebuiPage, path: Path, tab: str) -> None:
    """Drop a picture into PNG Info and send what it says to a tab."""
    webui.go_to("PNG Info")
    webui.page.set_input_files("#pnginfo_image input[type=file]", str(path))
    webui.page.locator("#tab_pnginfo").get_by_text("HandRefiner").first.wait_for()
    webui.page.locator(f"#tab_pnginfo #{tab}_tab").click()


@pytest.mark.parametrize("tab", TABS)
def test_a_picture_restores_its_values_and_a_foreign_text_changes_nothing(webui, tab, tmp_path):
    send_png(webui, write_png(tmp_path / "ours.png", PASTED), tab)
    webui.wait_for_prompt(tab, "a hand")
    webui.page.wait_for_function(
        "id => document.querySelector(id).checked", arg=f"#handrefiner_{tab}-visible-checkbox"
    )
    check_pasted(webui, tab)
    webui.paste(tab, FOREIGN)
    webui.wait_for_prompt(tab, "a dog")
    check_pasted(webui, tab)
    webui.paste(tab, PASTED.replace("strength: 0.7", "strength: 0.4"))
    webui.wait_for_prompt(tab, "a hand")
    assert webui.get_number(f"handrefiner_{tab}_strength") == 0.4


def check_pasted(webui: WebuiPage, tab: str) -> None:
    """The panel shows what PASTED says."""
    assert webui.is_on(tab)
    assert webui.get_number(f"handrefiner_{tab}_strength") == 0.7
    assert webui.get_number(f"handrefiner_{tab}_padding_bbox") == 44
    assert webui.read_text(tab, "hands") == "left"
    assert webui.read_text(tab, "prompt") == "five fingers, [PROMPT]"


@pytest.mark.parametrize("tab", TABS)
def test_the_preview_shows_hand_depth_and_mask_and_what_was_painted(webui, photographs, tab):
    webui.go_to(tab)
    webui.unfold(tab)
    webui.unfold(tab, "preview")
    said = webui.panel(tab, "said")
    webui.panel(tab, "show").click()
    said.get_by_text("Drop a picture").wait_for()
    webui.drop(tab, photographs / "1.jpg")
    webui.panel(tab, "show").click()
    said.get_by_text("1: right hand").wait_for()
    _, depth, box = webui.read_preview(tab)
    assert 0.005 < np.mean(depth > 0) < 0.2
    assert (box[depth > 0] == 255).all(), "the mask covers the hand"
    webui.unfold(tab, "advanced")
    webui.press_tab(f"#handrefiner_{tab}_tabs", "Mesh and mask")
    webui.choose(f"#handrefiner_{tab}_mask", "union")
    webui.paint_stroke(tab)
    webui.panel(tab, "show").click()
    webui.page.wait_for_timeout(500)
    webui.page.wait_for_function(
        "id => !document.querySelector(id + ' .generating')", arg=f"#handrefiner_{tab}_hints"
    )
    _, _, union = webui.read_preview(tab, unlike=box)
    assert union.shape == box.shape
    assert (union >= box).all()
    assert (union > box).sum() > 500


def test_another_mesh_is_shown_and_used_by_the_next_run(webui, photographs):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.drop("img2img", photographs / "1.jpg")
    webui.panel("img2img", "show").click()
    webui.panel("img2img", "said").get_by_text("1: right hand").wait_for()
    _, first, _ = webui.read_preview("img2img")
    webui.panel("img2img", "show_another").click()
    webui.page.wait_for_function(
        "id => document.querySelector(id).value === '1'",
        arg="#handrefiner_img2img_another input[type=number]",
    )
    webui.page.wait_for_timeout(1000)
    _, second, _ = webui.read_preview("img2img")
    assert (first != second).any()
    assert "HandRefiner another mesh: 1" in webui.generate("img2img")


def test_a_mask_painted_in_the_preview_is_used_by_the_next_run(webui, photographs):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.unfold("img2img", "advanced")
    webui.press_tab("#handrefiner_img2img_tabs", "Painting")
    webui.panel("img2img", "extra_images").locator("input").check()
    webui.press_tab("#handrefiner_img2img_tabs", "Mesh and mask")
    webui.choose("#handrefiner_img2img_mask", "union")
    webui.drop("img2img", photographs / "1.jpg")
    said = webui.generate("img2img")
    assert "HandRefiner mask: union" in said
    assert "refined" in said
    without = webui.read_gallery("img2img")
    webui.paint_stroke("img2img", start=0.35, end=0.7)
    webui.page.locator("#img2img_seed input").first.fill("8")
    assert "refined" in webui.generate("img2img")
    painted = webui.read_gallery("img2img")
    assert len(without) == len(painted) == 4
    before, after = (np.asarray(pictures[2].convert("L")) > 127 for pictures in (without, painted))
    # Another seed moves the mesh a little, but not as far as the stroke reaches.
    assert (after & ~before)[:, :300].sum() > 500
    assert (before & ~after).mean() < 0.01


def test_send_to_img2img_takes_the_panel_along(webui):
    webui.make_small("txt2img")
    webui.unfold("txt2img")
    webui.set_number("handrefiner_txt2img_strength", 0.7)
    webui.unfold("txt2img", "advanced")
    webui.press_tab("#handrefiner_txt2img_tabs", "Mesh and mask")
    webui.set_number("handrefiner_txt2img_padding_bbox", 55)
    webui.generate("txt2img")
    webui.page.locator("#txt2img_send_to_img2img").click()
    webui.page.wait_for_function(
        "id => document.querySelector(id).checked", arg="#handrefiner_img2img-visible-checkbox"
    )
    assert webui.get_number("handrefiner_img2img_strength") == 0.7
    assert webui.get_number("handrefiner_img2img_padding_bbox") == 55


def test_the_last_generated_picture_can_be_taken(webui):
    webui.make_small("txt2img")
    webui.generate("txt2img")
    webui.unfold("txt2img")
    webui.unfold("txt2img", "preview")
    webui.panel("txt2img", "take").click()
    webui.panel("txt2img", "sketch").locator("canvas").first.wait_for()
    webui.panel("txt2img", "show").click()
    webui.panel("txt2img", "said").get_by_text("No hand was found").wait_for(timeout=LONG_MS)


def test_the_settings_page_has_our_section_and_says_where_the_order_is_set(webui, tmp_path):
    webui.go_to("Settings")
    webui.press_tab("#settings", "HandRefiner")
    section = webui.page.locator("#settings_handrefiner")
    for label in ("Models folder", "Keep hand models on the CPU", "Save copies"):
        section.get_by_text(label).first.wait_for()
    section.get_by_text("script_postprocess_image").wait_for()
    keep_screenshot(section, "settings", tmp_path)


def test_the_script_info_names_every_argument(host: Host):
    from handrefiner_ext.api.body import GIVEN
    from handrefiner_ext.knobs import WEBUI
    from handrefiner_ext.params import fields_of

    for tab_is_img2img in (False, True):
        (info,) = (
            script
            for script in host.get("/sdapi/v1/script-info")
            if script["name"] == "handrefiner" and script["is_img2img"] == tab_is_img2img
        )
        labels = [argument["label"] for argument in info["args"]]
        wanted = [f.metadata["knob"].label for f in fields_of(WEBUI)]
        assert labels[0] == "HandRefiner"
        assert labels[1 : -len(GIVEN)] == wanted[1:]
        assert [argument.get("value") for argument in info["args"][: -len(GIVEN)]] == [
            f.default for f in fields_of(WEBUI)
        ]


def test_every_axis_of_ours_is_offered_once_with_the_strength_first(webui):
    webui.choose("#txt2img_script_container #script_list", "X/Y/Z plot")
    webui.page.locator("#script_txt2img_xyz_plot_x_type input").first.click()
    entries = webui.page.locator("#script_txt2img_xyz_plot_x_type ul.options li")
    ours = [text.strip(" ✓\n") for text in entries.all_inner_texts() if "[HandRefiner]" in text]
    assert ours[0].endswith("[HandRefiner] Strength")
    assert len(ours) == len(set(ours)) == 21
