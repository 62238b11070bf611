"""Pictures and files of older versions are read as they were meant (files in tests/data)."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image
from test_infotext import host_line, host_reads

from handrefiner_ext import __version__
from handrefiner_ext.api.body import NAMES, Arguments, read_arguments
from handrefiner_ext.infotext import MARK, REPORT, migrations, restore, to_infotext
from handrefiner_ext.infotext.migrations import (
    MASK_PLACE,
    Change,
    as_of,
    parse_version,
    renumber_order,
    renumber_parts,
)
from handrefiner_ext.knobs import WEBUI, coerce
from handrefiner_ext.params import RefineParams, fields_of

DATA = Path(__file__).parent / "data"
OLD = "0.1.0"
FIELDS = {f.name: f for f in fields(RefineParams)}


def data(name, version=OLD):
    return json.loads((DATA / version / name).read_text("utf-8"))


def restored(infotext):
    """What pasting sets every parameter to."""
    return {f.name: restore(f, infotext) for f in fields_of(WEBUI)}


# --- the tables say all that has changed

SNAPSHOTS = sorted(path.parent.name for path in DATA.glob("*/parameters.json"))


@pytest.mark.parametrize("version", SNAPSHOTS)
def test_the_tables_know_every_parameter_as_each_version_had_it(version):
    for name, was in data("parameters.json", version).items():
        f, advice = FIELDS[name], f"{name}: add a row to handrefiner_ext/infotext/migrations.py"
        past, limits = as_of(f, version), f.metadata["knob"]
        assert (past.label, past.default) == (was["label"], was["default"]), advice
        for word in was.get("choices", ()):
            assert coerce(f, past.translate(word)) in limits.choices, advice
        for bound in ("ge", "le"):
            if bound in was:
                assert coerce(f, was[bound]) == was[bound], f"{name} no longer takes {was[bound]}"


@pytest.mark.parametrize("version", SNAPSHOTS)
def test_places_in_the_api_and_ids_on_the_page_stay_as_they_were(version, webui):
    for name, was in data("parameters.json", version).items():
        if "position" in was:
            assert NAMES.index(name) == was["position"]
    made = (webui.find("HandRefiner", img2img=tab) for tab in (False, True))
    # Extensions that keep presets name components by their ids.
    assert set(data("elem_ids.json", version)) <= {c.elem_id for s in made for c in s.controls}


# --- pictures

CASES = data("infotexts.json")
TODAY = {
    "two_of_four": {
        "occlusion_order": "3,2",
        "prompt": "a fist [SEP] a fist [SEP] an open hand",
    }
}
"""Parameters that said the same in other words."""


@pytest.mark.parametrize("case", CASES)
def test_a_picture_of_0_1_0_sets_what_it_was_made_with(case):
    written = CASES[case]
    read = host_reads(written["infotext"])
    asked = {"keep_best": False, **written["asked"], **TODAY.get(case, {})}
    # The model that was taken stands in the picture, also where "auto" took it.
    asked["control_model"] = read["HandRefiner control model"]
    assert RefineParams(**restored(read)) == RefineParams(enabled=True, **asked)


def test_the_picture_file_of_0_1_0_says_the_same_to_todays_code():
    with Image.open(DATA / OLD / "picture.png") as picture:
        text = picture.info["parameters"]
    read = restored(host_reads(text))
    control_model = read["control_model"]  # what "auto" took
    expected = RefineParams(enabled=True, keep_best=False, control_model=control_model)
    assert RefineParams(**read) == expected
    assert control_model.startswith("control_sd15_inpaint_depth_hand")


def picture(**more):
    return {MARK: OLD, "HandRefiner strength": "0.55", **more}


@pytest.mark.parametrize(
    ("version", "said", "keep_best"),
    [
        (OLD, "1 right refined", False),
        (OLD, "1 right refined from quality 0.31 to 0.80", True),
        (
            OLD,
            "1 left kept (The original was kept: its quality is 0.70, the new hand's 0.60)",
            True,
        ),
        ("0.2.0", "1 right refined", True),
        ("99.0.0", "1 right refined", True),
        ("unknown", "1 right refined", True),
    ],
)
def test_keep_best_was_off_until_it_could_judge(version, said, keep_best):
    """Later development versions were called 0.1.0, too, but spoke of quality."""
    read = {**picture(), MARK: version, REPORT: said}
    assert restored(read)["keep_best"] is keep_best
    for written in (True, False):
        assert restored({**read, "HandRefiner keep best": str(written)})["keep_best"] is written


def test_what_this_version_writes_it_reads_unchanged():
    for params in (RefineParams(enabled=True), RefineParams(enabled=True, keep_best=False)):
        assert RefineParams(**restored(host_reads(host_line(to_infotext(params))))) == params


@pytest.mark.parametrize(
    ("said", "order"),
    [
        (
            "1 left refined; 2 right kept (It lies outside); left alone (Hand 1 (right) is not)",
            "3,2",
        ),
        ("not repainted (The generation was interrupted or skipped)", "3,2"),
        ("2 left refined; 3 right assumed refined; 1 left alone (This left hand is not)", "2,1"),
    ],
)
def test_hands_were_counted_among_the_chosen_ones_unless_the_picture_shows_otherwise(said, order):
    chosen = {"HandRefiner which hands": "3, 2", "HandRefiner hands from near to far": "2,1"}
    assert restored({**picture(**chosen), REPORT: said})["occlusion_order"] == order
    today = {**picture(**chosen), REPORT: said, MARK: __version__}
    assert restored(today)["occlusion_order"] == "2,1"


@pytest.mark.parametrize("hands", ["all", "left", "left >120", "0", ""])
def test_without_numbers_of_hands_their_order_stays(hands):
    said = {"HandRefiner which hands": hands, "HandRefiner hands from near to far": "2,1"}
    assert restored(picture(**said))["occlusion_order"] == "2,1"


@pytest.mark.parametrize(
    ("value", "chosen", "today"),
    [("2,1", (2, 5), "5,2"), ("3,1", (2, 5), "3,1"), ("x", (2,), "x"), ("1", (4,), "4")],
)
def test_an_order_names_the_same_hands_as_before(value, chosen, today):
    assert renumber_order(value, chosen) == today


@pytest.mark.parametrize("chosen", [(1,), (2,), (1, 3), (2, 3), (2, 5, 6)])
@pytest.mark.parametrize("prompt", ["one", "a [SEP] b", "a [SEP] [SEP] c", " [SEP] b"])
def test_each_chosen_hand_keeps_its_part_of_the_prompt(chosen, prompt):
    before = [part.strip() for part in prompt.split("[SEP]")]
    after = [part.strip() for part in renumber_parts(prompt, chosen).split("[SEP]")]
    for rank, number in enumerate(chosen):
        meant = before[min(rank, len(before) - 1)]
        assert after[min(number, len(after)) - 1] == meant


# --- requests that give values by position


@pytest.mark.parametrize("mask", ["iVBORw0KGgo" * 20, {"image": None, "mask": None}])
@pytest.mark.parametrize("filled", [True, False])
def test_a_request_of_0_1_0_gives_its_mask_behind_its_own_parameters(mask, filled):
    """The WebUI fills the places behind those that a request gives with the panel's defaults."""
    was = data("parameters.json")
    ours = sorted((row["position"], row["default"]) for row in was.values() if "position" in row)
    values = [True, *(default for place, default in ours if place)]
    now = [getattr(FIELDS.get(name), "default", None) for name in NAMES]
    given = [*values, mask, *(now[len(values) + 1 :] if filled else ())]
    expected = RefineParams(enabled=True, keep_best=False)
    assert read_arguments(given) == Arguments(expected, mask)


@pytest.mark.parametrize("value", [2, "2", 2.0])
def test_a_number_in_that_place_is_what_stands_there_now(value):
    now = [getattr(FIELDS.get(name), "default", None) for name in NAMES]
    now[MASK_PLACE] = value
    assert read_arguments(now) == Arguments(RefineParams(candidates=2))


# --- rows that later versions may need

INVENTED = (
    Change("detector", until="0.1.0", label="Finder", default="old", choices={"old": "older"}),
    Change("detector", until="0.1.5", label="Seeker", choices={"older": "litert"}),
    Change("detector", until="0.1.5", default="mediapipe"),
)


@pytest.mark.parametrize(
    ("version", "label", "default", "word"),
    [
        ("0.1.0", "Finder", "old", "old"),
        ("0.1.2", "Seeker", "mediapipe", "older"),
        (__version__, "Detector", "auto", "litert"),
    ],
)
def test_renamed_labels_choices_and_defaults_are_read_through_every_version_between(
    monkeypatch, version, label, default, word
):
    monkeypatch.setattr(migrations, "CHANGES", INVENTED)
    past = as_of(FIELDS["detector"], version)
    assert (past.label, past.default, past.translate(word)) == (label, default, "litert")
    read = {MARK: version, f"HandRefiner {label.lower()}": word}
    assert restored(read)["detector"] == "litert"
    unsaid = {"old": "litert"}.get(default, default)
    assert restored({MARK: version})["detector"] == past.meant == unsaid


@pytest.mark.parametrize("version", [None, "", "next", 2, __version__])
def test_a_version_that_is_no_version_counts_as_this_one(version):
    assert ".".join(map(str, parse_version(version))) == __version__


def test_versions_are_compared_as_numbers():
    assert parse_version("0.9.1") < parse_version("0.10.0") < parse_version("1.0.0-rc1")


# --- results in a folder


def test_results_of_0_1_0_in_the_folder_are_kept(tmp_path, tiny_stages, capsys):
    from cli_runs import run

    before = DATA / OLD / "badly_drawn_hand_hands.json"
    shutil.copy(before, tmp_path)
    example = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
    assert run("hints", example, "--out_dir", tmp_path) == 0
    assert (tmp_path / before.name).read_bytes() == before.read_bytes()
    assert (tmp_path / "badly_drawn_hand_png_hands.json").exists()
    assert "is kept" in capsys.readouterr().out


@pytest.mark.parametrize("version", SNAPSHOTS)
def test_a_default_of_an_older_version_is_possible_today(version):
    for name, f in FIELDS.items():
        assert replace(RefineParams(), **{name: as_of(f, version).meant})
