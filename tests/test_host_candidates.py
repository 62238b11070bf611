"""The button *Candidates* on the stand-in: what a run keeps, and what a click takes."""

from __future__ import annotations

import json

import gradio as gr
import numpy as np
import pytest
from host_runs import BRIGHT, PLAIN, differs, hands_of, run
from modules import images, shared
from stand_in import to_array
from test_host_fix import EMPTY, OPTIONS, as_gallery, part, press, set_panel

from handrefiner_ext.host import fix
from handrefiner_ext.host.infotexts import replace_entry
from handrefiner_ext.host.last_run import LAST
from handrefiner_ext.infotext import REPORT

pytest.importorskip("torch")
TRIES = {**PLAIN, "candidates": 3}


def kept():
    return [{"id": number, **picture.describe()} for number, picture in LAST.list().items()]


def click(tab, gallery, info, choice, selected=0):
    """What the page shows after a choice: gallery, info, text below, log; as its script asks."""
    (event,) = part(tab, "candidates_button").events["click"]
    outputs = [getattr(block, "elem_id", None) for block in event.outputs]
    assert outputs == [
        *(f"{tab}_gallery", f"generation_info_{tab}", f"html_info_{tab}", f"html_log_{tab}")
    ]
    assert len(event.inputs) == 5
    return event.fn(gallery, selected, json.dumps(info), choice, tab)


def test_a_run_keeps_its_pictures_with_the_texts_that_the_page_shows(webui):
    made = run(webui.txt2img([BRIGHT, EMPTY], TRIES, batch_size=2, **OPTIONS))
    (picture,) = kept()  # in the other nothing was painted
    assert picture["infotext"] == made.infotexts[0]
    assert [len(hand["candidates"]) for hand in picture["hands"]] == [4, 4]
    before = LAST.get(picture["id"]).before
    assert np.array_equal(before, BRIGHT)


def test_another_run_drops_what_the_last_one_kept(webui):
    run(webui.txt2img([BRIGHT], TRIES, **OPTIONS))
    (first,) = kept()
    run(webui.txt2img([BRIGHT], TRIES, seed=9, **OPTIONS))
    (second,) = kept()
    assert first["id"] != second["id"]


def test_a_grid_in_front_does_not_mix_up_the_texts(webui):
    made = run(webui.txt2img([BRIGHT, BRIGHT], TRIES, batch_size=2, **OPTIONS))
    first = made.index_of_first_image
    texts = [picture["infotext"] for picture in kept()]
    assert texts == list(made.infotexts[first : first + 2])


def test_a_candidate_that_is_clicked_joins_the_gallery_with_its_text(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], TRIES, **OPTIONS))
    (picture,) = kept()
    other = next(one for one in picture["hands"][0]["candidates"][1:] if not one["used"])
    choice = json.dumps([picture["id"], 1, other["number"]])
    pictures, info, below, log = click("txt2img", *as_gallery(made, tmp_path), choice)
    assert len(pictures) == 2
    changed = differs(pictures[1], made.images[0])
    x0, y0, x1, y1 = picture["hands"][0]["box"]
    assert changed[y0:y1, x0:x1].any()
    assert not changed[:, 300:].any()
    first, second = json.loads(info)["infotexts"]
    assert first == made.infotexts[0]
    assert f"1 right refined as candidate {other['number']}" in hands_of(second)
    assert replace_entry(second, REPORT, hands_of(first)) == first
    assert pictures[1].info["parameters"] == second
    assert f"candidate {other['number']}" in below
    assert f"candidate {other['number']}" in log
    assert second == kept()[-1]["infotext"]  # so that more can be taken from the new picture


def test_the_taken_picture_is_saved_as_fix_hands_saves(webui, tmp_path, monkeypatch):
    made = run(webui.txt2img([BRIGHT], TRIES, **OPTIONS))
    saved = []
    monkeypatch.setattr(
        images, "save_image", lambda image, *args, **more: saved.append((image, args, more))
    )
    (picture,) = kept()
    _, info, _, _ = click("img2img", *as_gallery(made, tmp_path), json.dumps([picture["id"], 2, 0]))
    [(image, args, more)] = saved
    folder = shared.opts.outdir_samples or shared.opts.outdir_img2img_samples
    assert args[0] == folder
    assert more["info"] == json.loads(info)["infotexts"][1]
    assert np.array_equal(to_array(image)[:, 300:], BRIGHT[:, 300:])


def test_what_fix_hands_made_has_candidates_too(webui, tmp_path):
    off = run(webui.txt2img([BRIGHT], **OPTIONS))
    assert kept() == [] or kept()[-1]["infotext"] != off.infotexts[0]
    set_panel("txt2img", **{**TRIES, "enabled": False})
    _, info, _, _ = press("txt2img", *as_gallery(off, tmp_path))
    assert kept()[-1]["infotext"] == json.loads(info)["infotexts"][1]
    assert np.array_equal(LAST.get(kept()[-1]["id"]).before, to_array(off.images[0]))


def test_closing_the_list_changes_nothing(webui, tmp_path):
    made = run(webui.txt2img([BRIGHT], TRIES, **OPTIONS))
    assert click("txt2img", *as_gallery(made, tmp_path), "") == (gr.update(),) * 4


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ("none", fix.NOTHING_TO_CHOOSE),
        ('["999", 1, 1]', "Picture 999 is not kept"),
        ('["{id}", 7, 1]', "hand = 7 does not exist"),
        ('["{id}", 1, 7]', "candidate = 7 does not exist"),
    ],
)
def test_what_cannot_be_taken_is_said_and_the_gallery_stays(webui, tmp_path, choice, sentence):
    made = run(webui.txt2img([BRIGHT], TRIES, **OPTIONS))
    choice = choice.replace("{id}", kept()[0]["id"])
    gallery, info, below, log = click("txt2img", *as_gallery(made, tmp_path), choice)
    assert (gallery, info, below) == (gr.update(),) * 3
    assert sentence in log


@pytest.mark.parametrize(
    "text",
    [
        "a hand\nSteps: 3, HandRefiner hands: 1 left refined, Seed: 5",
        'a hand\nSteps: 3, HandRefiner hands: "1 left kept (a, b: c)", Seed: 5',
        "a hand\nSteps: 3, Seed: 5, HandRefiner hands: none found",
    ],
)
def test_one_entry_of_a_text_is_replaced_and_the_rest_stays(text):
    again = replace_entry(text, REPORT, "2, two")
    assert 'HandRefiner hands: "2, two"' in again
    for part_ in ("a hand\nSteps: 3", "Seed: 5"):
        assert part_ in again
    assert again.count("HandRefiner") == 1
    assert replace_entry(again, REPORT, hands_of(text)) == text


def test_a_text_without_the_entry_stays_as_it_is():
    assert replace_entry("a hand\nSteps: 3, Seed: 5", REPORT, "x") == "a hand\nSteps: 3, Seed: 5"
