"""The button *Fix hands* on the stand-in: what it repaints, adds, saves and says."""

from __future__ import annotations

import json

import gradio as gr
import numpy as np
import pytest
from hand_scenes import BOTH, picture_with
from host_runs import BRIGHT, PLAIN, differs, hands_of, run
from modules import errors, images, scripts, shared
from PIL import Image

from handrefiner_ext.api.body import NAMES
from handrefiner_ext.host import fix
from handrefiner_ext.host.infotexts import add_to_text, read_generation
from handrefiner_ext.infotext import MARK

pytest.importorskip("torch")
TABS = ("txt2img", "img2img")
EMPTY = picture_with((), height=256, width=512)
OTHER = picture_with(BOTH[:1], height=256, width=512)
OPTIONS = {"width": 512, "height": 256, "prompt": "a hand, <lora:x:1>", "negative_prompt": "blurry"}


def part(tab, name):
    return gr.page.blocks[f"handrefiner_{tab}_{name}"]


def set_panel(tab, **values):
    script = scripts.scripts_txt2img if tab == "txt2img" else scripts.scripts_img2img
    (ours,) = (s for s in script.scripts if s.title() == "HandRefiner")
    by_name = dict(zip(NAMES, ours.controls, strict=True))
    for name, value in values.items():
        by_name[name].value = value


def press(tab, gallery, info, selected=0):
    """What the page shows after a press: gallery, info, text below, log; as its script asks."""
    (event,) = part(tab, "fix").events["click"]
    given = [component.value for component in event.inputs]
    given[:5] = "task(7)", gallery, selected, json.dumps(info), tab
    outputs = [getattr(block, "elem_id", None) for block in event.outputs]
    assert outputs == [
        *(f"{tab}_gallery", f"generation_info_{tab}", f"html_info_{tab}", f"html_log_{tab}")
    ]
    return event.fn(*given)


def as_gallery(processed, folder):
    """The pictures of a run as gradio hands them over: by the files that they were saved as."""
    entries = []
    for number, image in enumerate(processed.images):
        place = folder / f"shown{number}.png"
        image.save(place)
        entries.append({"name": f"{place}?17.5", "data": None, "is_file": True})
    return entries, {"infotexts": list(processed.infotexts), "all_seeds": [7]}


@pytest.mark.parametrize("tries", [1, 3])
def test_the_result_is_what_the_run_would_have_given_with_the_panel_ticked(webui, tmp_path, tries):
    values = {**PLAIN, "candidates": tries, "strength": 0.7}
    off = run(webui.txt2img([BRIGHT], seed=23, steps=11, sampler_name="Euler a", **OPTIONS))
    on = run(webui.txt2img([BRIGHT], values, seed=23, steps=11, sampler_name="Euler a", **OPTIONS))
    assert differs(off.images[0], on.images[0]).any()
    set_panel("txt2img", **{**values, "enabled": False})
    pictures, info, below, log = press("txt2img", *as_gallery(off, tmp_path))
    assert len(pictures) == 2
    assert not differs(pictures[1], on.images[0]).any()
    texts = json.loads(info)["infotexts"]
    assert texts == [off.infotexts[0], on.infotexts[0]]
    assert pictures[1].info["parameters"] == on.infotexts[0]
    assert "1 right refined" in below
    assert "1 right refined" in log


@pytest.mark.parametrize("tab", TABS)
def test_the_new_picture_stands_behind_the_selected_one_and_the_others_stay(webui, tmp_path, tab):
    made = run(webui.txt2img([EMPTY, BRIGHT, OTHER], batch_size=3, **OPTIONS))
    gallery, info = as_gallery(made, tmp_path)
    assert len(gallery) == 4, "a grid first"
    set_panel(tab, **PLAIN)
    pictures, told, *_ = press(tab, gallery, info, selected=2)
    assert len(pictures) == 5
    names = [str(getattr(picture, "already_saved_as", "")) for picture in pictures]
    shown = [entry["name"].partition("?")[0] for entry in gallery]
    assert names[:3] + names[4:] == shown
    assert differs(pictures[3], made.images[2]).any()
    texts = json.loads(told)["infotexts"]
    assert texts[:3] + texts[4:] == made.infotexts
    assert texts[3].startswith(made.infotexts[2])


@pytest.mark.parametrize("tab", TABS)
def test_before_and_after_is_done_by_the_page_alone(webui, tab):
    (event,) = part(tab, "compare").events["click"]
    assert event.fn is None
    assert event.js == f"() => handrefinerCompare('{tab}')"


def test_it_is_saved_once_with_its_text_or_not_at_all_where_nothing_is_saved(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    gallery, info = as_gallery(made, tmp_path)
    set_panel("txt2img", **PLAIN)
    images.saved.clear()
    pictures, *_ = press("txt2img", gallery, info)
    ((_, saved),) = images.saved
    assert saved is pictures[1]
    with Image.open(saved.already_saved_as) as file:
        assert hands_of(file.text["parameters"]).count("refined") == 2
    images.saved.clear()
    shared.opts.data["samples_save"] = False
    pictures, *_ = press("txt2img", gallery, info)
    assert images.saved == []
    assert MARK in pictures[1].info["parameters"]


def test_what_an_earlier_run_said_makes_way(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], {**PLAIN, "strength": 0.3, "hands": "1"}, **OPTIONS))
    gallery, info = as_gallery(made, tmp_path)
    set_panel("txt2img", **{**PLAIN, "strength": 0.9, "hands": "2"})
    _, told, *_ = press("txt2img", gallery, info)
    first, second = json.loads(told)["infotexts"]
    assert "HandRefiner strength: 0.3" in first
    assert "HandRefiner strength: 0.9" in second
    assert second.count("HandRefiner strength") == second.count("HandRefiner hands") == 1
    assert second.count("HandRefiner which hands: 2") == 1


def unchanged(answer):
    """The log of an answer that leaves gallery, info and text as they are."""
    *kept, log = answer
    assert all(part == gr.update() for part in kept)
    return log


def test_a_picture_without_hands_stays_alone_and_that_is_said(webui, tmp_path):
    made = run(webui.txt2img([EMPTY], **OPTIONS))
    images.saved.clear()
    assert "hands: none found" in unchanged(press("txt2img", *as_gallery(made, tmp_path)))
    assert images.saved == []


def test_an_empty_gallery_is_said(webui):
    assert fix.NO_PICTURE in unchanged(press("txt2img", [], {}))


def test_wrong_values_are_said_with_the_allowed_ones(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    set_panel("txt2img", boxes="<middle>")
    log = unchanged(press("txt2img", *as_gallery(made, tmp_path)))
    assert "boxes" in log
    assert "<middle>" not in log


def test_a_fault_costs_no_picture_and_is_said(webui, tmp_path, monkeypatch, caplog):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    monkeypatch.setattr(fix, "refine", None)
    assert "It failed with TypeError" in unchanged(press("txt2img", *as_gallery(made, tmp_path)))
    assert "could not fix this picture" in caplog.text
    assert errors.reported == []


def test_an_interrupt_keeps_the_picture_and_says_so(webui, tmp_path, monkeypatch):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    set_panel("txt2img", **PLAIN)
    begin = shared.State.begin

    def interrupted(state, job="(unknown)"):
        begin(state, job)
        state.interrupted = True

    monkeypatch.setattr(shared.State, "begin", interrupted)
    log = unchanged(press("txt2img", *as_gallery(made, tmp_path)))
    assert "interrupted or skipped" in log


def test_without_controlnet_the_reason_is_said(tmp_path, monkeypatch):
    import stand_in
    from hand_scenes import hold_tiny_backends

    hold_tiny_backends(monkeypatch)
    webui = stand_in.WebUI(tmp_path, controlnet=False)
    webui.build_page()
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    assert "ControlNet extension is missing" in unchanged(
        press("txt2img", *as_gallery(made, tmp_path))
    )


def test_a_picture_without_a_text_is_fixed_too(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    gallery, _ = as_gallery(made, tmp_path)
    set_panel("txt2img", **PLAIN)
    pictures, told, *_ = press("txt2img", gallery, {})
    empty, text = json.loads(told)["infotexts"]
    assert empty == ""
    assert text.startswith(f"{MARK}: ")
    assert np.asarray(pictures[1]).shape == BRIGHT.shape


def test_progress_counts_every_region(webui, tmp_path, monkeypatch):
    made = run(webui.txt2img([BRIGHT], **OPTIONS))
    set_panel("txt2img", **PLAIN)
    counts = []
    end = shared.State.end
    monkeypatch.setattr(
        shared.State, "end", lambda s: (counts.append((s.job_no, s.job_count)), end(s))
    )
    press("txt2img", *as_gallery(made, tmp_path))
    assert counts == [(2, 3)]


# --- the text


def test_a_text_gives_what_the_second_pass_needs():
    text = (
        'two\nlines, "quoted"\nNegative prompt: bad\nSteps: 9, Sampler: Euler, Schedule type: '
        "Karras, CFG scale: 4.5, Seed: 12, Variation seed: 3, Variation seed strength: 0.2"
    )
    made = read_generation(text)
    assert (made.prompt, made.negative_prompt) == ('two\nlines, "quoted"', "bad")
    assert (made.steps, made.sampler_name, made.scheduler) == (9, "Euler", "Karras")
    assert (made.cfg_scale, made.seed, made.subseed, made.subseed_strength) == (4.5, 12, 3, 0.2)
    assert read_generation("").steps is None


def test_our_entries_replace_our_entries_and_nothing_else():
    text = 'p\nSteps: 9, Seed: 1, X: "a, b: c", HandRefiner: 0.1.0, HandRefiner hands: "1, 2", Z: 4'
    written = add_to_text(text, {MARK: "9", "HandRefiner hands": "one, two"})
    assert (
        written
        == 'p\nSteps: 9, Seed: 1, X: "a, b: c", Z: 4, HandRefiner: 9, HandRefiner hands: "one, two"'
    )
    assert add_to_text(written, {MARK: "9", "HandRefiner hands": "one, two"}) == written
    last = "p\nSteps: 9, Seed: 1, X: 2, Version: v1.10.1"
    assert (
        add_to_text(last, {MARK: "9"})
        == "p\nSteps: 9, Seed: 1, X: 2, HandRefiner: 9, Version: v1.10.1"
    )
    assert add_to_text("only words", {MARK: "9"}) == "only words\nHandRefiner: 9"
