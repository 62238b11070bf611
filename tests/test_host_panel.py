"""The panel, its preview and the settings page, built and used on the stand-in of the WebUI."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import stand_in
from host_runs import BRIGHT, PLAIN, run
from modules import sd_samplers, shared
from PIL import Image

from handrefiner_ext.api.body import NAMES
from handrefiner_ext.host import controlnet, preview, ui
from handrefiner_ext.host.layout import AS_PICTURE, FIELDS, LISTS, TABS, knob_of
from handrefiner_ext.host.settings import ORDER_HINT, SECTION, read_model_home, read_settings
from handrefiner_ext.infotext import key_of, written_fields
from handrefiner_ext.types import ModelHome

TAB_NAMES = ("txt2img", "img2img")


def part(tab, name):
    return gr.page.blocks[f"handrefiner_{tab}_{name}"]


def click(component, *values):
    """What a click answers; values: of its inputs, in place of those in view."""
    (event,) = component.events["click"]
    return event.fn(*values) if values else gr.fire(event)


@pytest.mark.parametrize("tab", TAB_NAMES)
def test_the_components_are_the_arguments_in_their_order_and_have_their_defaults(webui, tab):
    script = webui.find("HandRefiner", img2img=tab == "img2img")
    assert script.args_to - script.args_from == len(script.controls) == len(NAMES)
    for name, component in zip(NAMES, script.controls, strict=True):
        assert component.label
        if name in FIELDS:
            assert component.value == FIELDS[name].default
            assert component is not None
            assert component.label == (ui.TITLE if name == "enabled" else knob_of(name).label)
    assert len({component.label for component in script.controls}) == len(NAMES)


@pytest.mark.parametrize("tab", TAB_NAMES)
def test_every_fold_holds_its_parameters(webui, tab):
    for title, rows in TABS.items():
        for row in rows:
            for name in row:
                assert title in [getattr(b, "label", None) for b in part(tab, name).inside]
    assert part("img2img", "skip_img2img").visible
    assert not part("txt2img", "skip_img2img").visible


def test_the_panel_can_be_built_again_as_the_api_does_for_its_defaults(webui):
    script = webui.find("HandRefiner")
    first = [component.elem_id for component in script.controls]
    gr.page.clear()
    assert [component.elem_id for component in script.ui(False)] == first


def test_lists_offer_what_the_webui_has_and_the_pictures_own(webui):
    tab = "txt2img"
    assert part(tab, "control_model").choices == ["auto", stand_in.HAND]
    assert part(tab, "sampler").choices == [AS_PICTURE, "DPM++ 2M", "Euler", "Euler a"]
    assert part(tab, "scheduler").choices == [AS_PICTURE, "Automatic", "Karras"]
    assert part(tab, "vae").choices == [AS_PICTURE, "Automatic", "None", "soft.vae.pt"]
    assert len(part(tab, "checkpoint").choices) == 3
    assert all(part(tab, name).allow_custom_value for name in LISTS)
    sd_samplers.hidden.add("Euler")
    assert "Euler" not in LISTS["sampler"].read()


def test_the_refresh_button_finds_a_model_that_was_added(webui):
    webui.add_control_model("control_v11f1p_sd15_depth [cfd03158]", known=False)
    answer = click(part("txt2img", "control_model_refresh"))
    assert answer["choices"][-1].startswith("control_v11f1p_sd15_depth")
    assert part("txt2img", "control_model").choices == answer["choices"]
    for name in ("checkpoint", "vae"):
        assert click(part("img2img", f"{name}_refresh"))["choices"] == LISTS[name].read()


def test_a_list_that_cannot_be_read_offers_our_own_choices(webui, monkeypatch, caplog):
    monkeypatch.setattr(sd_samplers, "visible_sampler_names", None)
    assert LISTS["sampler"].read() == [AS_PICTURE]
    assert "could not read a list" in caplog.text


def test_a_model_whose_file_is_gone_is_not_offered(webui):
    Path(webui.controlnet_state.cn_models[stand_in.HAND]).unlink()
    assert controlnet.list_models() == []


# --- the advice beside the slider, and the line below


def look(**values):
    """Advice, status line and download that a look shows; values: of the panel's components."""
    for name, value in values.items():
        part("txt2img", name).value = value
    advice, status, fetch = click(part("txt2img", "look"))
    return advice["value"], status, fetch["visible"]


@pytest.mark.parametrize(
    "name", ["strength", "control_model", "mesh", "checkpoint", "sampler", "enabled"]
)
def test_advice_and_status_follow_what_they_depend_on(webui, name):
    script = webui.find("HandRefiner")
    component = dict(zip(NAMES, script.controls, strict=True))[name]
    (event,) = [event for event in component.events["change"] if event.fn is not None]
    assert event.outputs[:2] == (part("txt2img", "advice"), part("txt2img", "status"))
    assert gr.fire(event)[0]["visible"] is False
    part("txt2img", "strength").value = 0.9
    assert "plastic" in gr.fire(event)[0]["value"]


def test_the_status_says_what_the_next_run_uses(webui):
    _, status, fetch = look()
    for said in ("Ready:", "Stable Diffusion 1.x", stand_in.HAND, "plate"):
        assert f">{said}<" in status
    assert not fetch
    assert 'role="status"' in status


def test_the_status_says_that_another_checkpoint_decides_later(webui):
    _, status, _ = look(checkpoint="other <1>")
    assert "other &lt;1&gt;" in status
    assert "chosen when it is loaded" in status


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, ["steps, CFG scale and sampler of the picture"]),
        ({"steps": 12, "sampler": "Euler a"}, ["Steps: 12", "Sampler: Euler a", "the rest as"]),
        ({"steps": 6, "cfg_scale": 1.5, "checkpoint": "other"}, ["Steps: 6", "CFG scale: 1.5"]),
    ],
)
def test_the_status_says_how_hands_are_sampled(webui, values, said):
    _, status, _ = look(**values)
    assert all(words in status for words in said)


def test_the_status_says_which_kind_of_sdxl_is_loaded_and_that_few_steps_do(webui):
    webui.add_control_model("controlnet-depth-sdxl-1.0")
    shared.sd_model.is_sd1, shared.sd_model.is_sdxl = False, True
    shared.opts.data["sd_model_checkpoint"] = "ponyRealism_lightning.safetensors [12ab34cd56]"
    advice, status, _ = look()
    assert "SDXL (Pony, Lightning)" in status
    assert "Set Steps" not in advice
    advice, _, _ = look(checkpoint="v1-5-pruned-emaonly")
    assert "Set Steps and CFG scale" in advice
    assert "Lightning in few steps" in advice


def test_without_controlnet_the_status_says_how_to_install_it(tmp_path):
    stand_in.WebUI(tmp_path, controlnet=False).build_page()
    _, status, fetch = look()
    assert "Not ready:" in status
    assert "Install from URL" in status
    assert not fetch


def test_without_the_hand_model_the_panel_offers_to_download_it(webui):
    Path(webui.controlnet_state.cn_models[stand_in.HAND]).unlink()
    _, status, fetch = look()
    assert "Download the one that was trained on hands" in status
    assert fetch
    licence = part("txt2img", "licence").value
    assert "CreativeML Open RAIL-M" in licence
    assert "huggingface.co/hr16" in licence


def test_a_model_that_was_added_is_found_by_looking_again(webui):
    Path(webui.controlnet_state.cn_models[stand_in.HAND]).unlink()
    webui.add_control_model("control_v11f1p_sd15_depth [cfd03158]", known=False)
    assert "control_v11f1p_sd15_depth" in look()[1]


@pytest.mark.parametrize(
    ("sdxl", "wanted", "said"),
    [
        (True, "auto", "Put one, such as a depth or union model"),
        (True, stand_in.HAND, "but the checkpoint is SDXL"),
        (False, "nothing", "The ControlNet model nothing is not installed"),
    ],
)
def test_the_status_says_why_no_model_fits(webui, sdxl, wanted, said):
    shared.sd_model.is_sd1, shared.sd_model.is_sdxl = not sdxl, sdxl
    _, status, fetch = look(control_model=wanted)
    assert said in status
    assert not fetch


def test_the_status_names_the_real_mesh_or_says_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stand_in.WebUI(tmp_path).build_page()
    assert ">open hand<" in look()[1]
    assert "The mesh graphormer lacks" in look(mesh="graphormer")[1]


def test_where_the_webui_cannot_be_asked_the_status_says_so(webui, monkeypatch, caplog):
    monkeypatch.setattr(controlnet, "is_installed", None)
    assert "The WebUI could not be asked" in look()[1]
    assert "could not ask which ControlNet model" in caplog.text


# --- pasting


def test_what_a_picture_says_sets_the_panel_to_the_same_values(webui):
    pytest.importorskip("torch")
    hands = {**PLAIN, "strength": 0.65, "prompt": "a fist, [PROMPT]", "hands": "1", "tiles": "off"}
    text = run(webui.txt2img([BRIGHT], hands, width=512, height=256)).infotexts[0]
    script = webui.find("HandRefiner")
    pasted = paste(script, text)
    for name, value in hands.items():
        assert pasted[name] == value, name
    assert set(script.paste_field_names) == {field.function for field in script.infotext_fields}
    assert all(field.api is None for field in script.infotext_fields)


def paste(script, text):
    """Name -> the value that pasting a text puts into its component."""
    parameters = read_infotext(text)
    names = dict(zip(map(id, script.controls), NAMES, strict=True))
    fields = script.infotext_fields
    return {names[id(field.component)]: field.function(parameters) for field in fields}


def read_infotext(text):
    """The last line's `key: value` pairs; a value with a comma is quoted."""
    import json
    import re

    pairs = re.findall(r'(\w[\w \-/]+): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)', text.splitlines()[-1])
    return {key: json.loads(v) if v.startswith('"') else v for key, v in pairs}


def test_pasting_a_text_without_us_leaves_the_panel_as_it_is(webui):
    pasted = paste(webui.find("HandRefiner"), "a dog\nSteps: 1, Seed: 3")
    assert set(pasted.values()) == {None}


def test_every_written_key_can_be_pasted(webui):
    script = webui.find("HandRefiner")
    for f in written_fields():
        value = f.default if f.metadata["knob"].choices else type(f.default)(1)
        text = f"a dog\nSteps: 1, Seed: 3, HandRefiner: 9.0.0, {key_of(f)}: {value}"
        assert paste(script, text)[f.name] == value


# --- the preview


def sketch(picture=BRIGHT, mask=None):
    return {"image": Image.fromarray(picture), "mask": mask}


def view(tab, image):
    """Put a picture into the sketch."""
    part(tab, "sketch").value = image


def read_shown(pictures):
    """The pixels of what the preview shows."""
    shown = []
    for place, _ in pictures["value"]:
        with Image.open(place) as opened:
            shown.append(np.asarray(opened))
    return shown


@pytest.mark.parametrize("tab", TAB_NAMES)
def test_the_preview_shows_hands_depth_and_mask_for_the_values_in_view(webui, tab):
    view(tab, sketch())
    pictures, said = click(part(tab, "show"))
    assert pictures["visible"]
    assert [words for _, words in pictures["value"]] == ["hands", "depth", "mask"]
    overlay, depth, mask = read_shown(pictures)
    assert overlay.shape == BRIGHT.shape
    assert depth.shape == mask.shape == BRIGHT.shape[:2]
    assert not depth[mask == 0].any()
    assert said.count("<p>") >= 2
    part(tab, "hands").value = "1"
    _, _, one = read_shown(click(part(tab, "show"))[0])
    assert 0 < (one > 0).sum() < (mask > 0).sum()


@pytest.mark.parametrize("name", ["show", "show_another"])
def test_the_page_is_told_that_a_search_goes_on_by_the_only_event(webui, name):
    """Each event lets gradio update the whole page, so that its end is no event of its own."""
    [begin] = part("img2img", name).events["click"]
    assert "handrefinerLooking?.('img2img'); return values;" in begin.js
    assert "then" not in part("img2img", name).events


def test_the_page_can_tell_a_look_from_one_with_the_same_words(webui):
    said = [click(part("txt2img", "show"))[1] for _ in range(2)]
    numbers = [re.search(r'data-looks="(\d+)"', words) for words in said]
    assert all(numbers)
    assert numbers[0][1] != numbers[1][1]
    without = [re.sub(r'data-looks="\d+"', "", words) for words in said]
    assert without[0] == without[1]


def test_another_mesh_is_counted_up_and_starts_again_after_the_last(webui):
    view("txt2img", sketch())
    button = part("txt2img", "show_another")
    (event,) = button.events["click"]
    assert event.outputs[0] is part("txt2img", "another")
    last = int(knob_of("another").le)
    for shown, following in ((0, 1), (1, 2), (last, 0), ("x", 0)):
        part("txt2img", "another").value = shown
        number, pictures, _ = click(button)
        assert number == following
        assert pictures["visible"]


def test_where_no_hand_is_found_another_mesh_does_not_count_up(webui):
    view("txt2img", sketch(np.zeros_like(BRIGHT)))
    part("txt2img", "another").value = 0
    number, _, said = click(part("txt2img", "show_another"))
    assert number == 0
    assert "No hand was found" in said
    assert preview.OTHER_IS_USED not in said


@pytest.mark.parametrize("tab", TAB_NAMES)
@pytest.mark.parametrize(
    ("name", "event"), [("sketch", "upload"), ("sketch", "clear"), ("take", "click")]
)
def test_another_mesh_belongs_to_the_picture_it_was_chosen_for(webui, tab, name, event):
    view(tab, sketch())
    number, _, said = click(part(tab, "show_another"))
    assert number == 1
    assert preview.OTHER_IS_USED in said
    resets = [e for e in part(tab, name).events[event] if e.outputs == (part(tab, "another"),)]
    assert [e.fn() for e in resets] == [0]


def test_the_preview_works_after_the_folder_of_temporary_files_was_cleared(webui):
    view("txt2img", sketch())
    first = click(part("txt2img", "show"))[0]["value"][0][0]
    shutil.rmtree(Path(first).parent)
    again = click(part("txt2img", "show"))[0]["value"][0][0]
    assert Path(again).is_file()


def test_without_a_picture_the_preview_says_what_to_do(webui):
    pictures, said = click(part("txt2img", "show"))
    assert not pictures["visible"]
    assert preview.NO_PICTURE in said


def test_a_drawing_that_does_not_count_is_said(webui):
    drawing = np.zeros(BRIGHT.shape[:2], np.uint8)
    drawing[100:200, 50:150] = 255
    view("txt2img", sketch(mask=Image.fromarray(drawing)))
    assert preview.UNUSED_DRAWING in click(part("txt2img", "show"))[1]
    part("txt2img", "mask").value = "union"
    assert preview.UNUSED_DRAWING not in click(part("txt2img", "show"))[1]


def test_wrong_values_and_faults_are_said_in_the_preview(webui, monkeypatch, caplog):
    view("txt2img", sketch())
    part("txt2img", "boxes").value = "<middle>"
    pictures, said = click(part("txt2img", "show"))
    assert not pictures["visible"]
    assert "boxes" in said
    assert "<middle>" not in said
    part("txt2img", "boxes").value = ""
    monkeypatch.setattr(preview, "hints", None)
    assert "The preview failed: TypeError" in click(part("txt2img", "show"))[1]
    assert "preview failed" in caplog.text


@pytest.mark.parametrize("tab", TAB_NAMES)
def test_the_last_picture_is_taken_from_the_gallery_of_the_same_tab(webui, tab):
    *_, event = part(tab, "take").events["click"]
    assert event.inputs == (gr.page.blocks[f"{tab}_gallery"],)
    assert event.outputs == (part(tab, "sketch"),)
    assert event.js == "extract_image_from_gallery"


# --- the settings page


def test_the_settings_page_has_a_section_of_ours_with_the_defaults(webui):
    ours = {k: v for k, v in shared.opts.data_labels.items() if k.startswith("handrefiner_")}
    assert {info.section for info in ours.values()} == {SECTION}
    assert ours["handrefiner_order_hint"].default == ORDER_HINT
    assert "handrefiner_order_hint" not in shared.opts.data
    settings = read_settings()
    assert settings.models_dir is None
    assert settings.keep_on_cpu is True
    assert settings.save_copies == ()
    assert settings.refine_upscaled is False


def test_before_the_page_was_opened_the_defaults_count(webui):
    opened = read_settings()
    for name in [name for name in shared.opts.data if name.startswith("handrefiner_")]:
        del shared.opts.data[name]
    assert read_settings() == opened


def test_the_models_folder_is_the_settings_else_the_flags(tmp_path):
    stand_in.WebUI(tmp_path, "--handrefiner-models-dir", "from a flag").build_page()
    assert read_model_home().models_dir == Path("from a flag")
    shared.opts.data["handrefiner_models_dir"] = " chosen "
    assert read_model_home().models_dir == Path("chosen")


@pytest.mark.parametrize(
    ("flag", "keep_on_cpu", "home"),
    [
        (None, True, ModelHome(None, "cuda:0", keep_on_device=False)),
        (None, False, ModelHome(None, "cuda:0", keep_on_device=True)),
        ("medvram", False, ModelHome(None, "cuda:0", keep_on_device=False)),
        ("medvram_sdxl", False, ModelHome(None, "cuda:0", keep_on_device=False)),
        ("lowvram", False, ModelHome(None, "cpu")),
    ],
)
def test_where_models_compute_follows_settings_and_flags(
    webui, monkeypatch, flag, keep_on_cpu, home
):
    monkeypatch.setattr("modules.devices.get_device_for", lambda task: "cuda:0")
    shared.opts.data["handrefiner_keep_on_cpu"] = keep_on_cpu
    if flag is not None:
        setattr(shared.cmd_opts, flag, True)
    assert read_model_home() == home


def test_copies_that_do_not_exist_are_not_saved(webui):
    shared.opts.data["handrefiner_save_copies"] = ["mask", "everything", "before"]
    assert read_settings().save_copies == ("before", "mask")
    shared.opts.data["handrefiner_save_copies"] = None
    assert read_settings().save_copies == ()
