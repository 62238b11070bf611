"""The WebUI's own file of defaults holds on to no default of an older version, on the stand-in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import stand_in
from modules import shared

from handrefiner_ext import __version__
from handrefiner_ext.host import ui_config
from handrefiner_ext.host.settings import Settings, read_settings
from handrefiner_ext.host.ui_config import OURS, VERSION_KEY, upgrade_entries
from handrefiner_ext.infotext import migrations
from handrefiner_ext.infotext.migrations import Change

OLD = Path(__file__).parent / "data" / "0.1.0"
TABS = ("txt2img", "img2img")
LABEL, OLD_LABEL = "Keep the better hand", "Keep best"
KEEP_BEST = [f"{OURS}{tab}/{LABEL}/value" for tab in TABS]
FOREIGN = {
    "txt2img/Sampling steps/value": 33,
    "txt2img/Prompt/value": "größer ✋",
    "customscript/seed.py/txt2img/Seed/value": -1,
    "customscript/other.py/txt2img/Keep best/value": False,
}


def start(folder):
    """Start the WebUI in a folder; return its HandRefiner values by label, for both tabs."""
    started = stand_in.WebUI(folder)
    started.build_page()
    scripts = [started.find("HandRefiner", img2img=tab == "img2img") for tab in TABS]
    return [{c.label: getattr(c, "value", None) for c in s.controls} for s in scripts]


def read(folder):
    return json.loads((folder / "ui-config.json").read_text("utf-8"))


def write(folder, **more):
    """The file that 0.1.0 left, with what others and the user have put there."""
    stored = json.loads((OLD / "ui-config.json").read_text("utf-8"))
    text = json.dumps({**FOREIGN, **stored, **more}, indent=4, ensure_ascii=False)
    (folder / "ui-config.json").write_text(text, "utf-8")


def moved(stored):
    """A file of 0.1.0 as it should be now: one parameter has a new label and a new default."""
    new = {
        key.replace(f"/{OLD_LABEL}/", f"/{LABEL}/") if key.startswith(OURS) else key: value
        for key, value in stored.items()
    }
    return {key: value for key, value in new.items() if key not in KEEP_BEST}


def test_a_default_of_0_1_0_gives_way_and_what_the_user_chose_stays(tmp_path, caplog):
    chosen = {f"{OURS}txt2img/Strength/value": 0.7, f"{OURS}img2img/Which hands/value": "left"}
    limits = {f"{OURS}txt2img/Mask padding/maximum": 100}
    write(tmp_path, **chosen, **limits)
    before = read(tmp_path)
    txt2img, img2img = start(tmp_path)
    assert (txt2img[LABEL], img2img[LABEL]) == (True, True)
    assert (txt2img["Strength"], img2img["Strength"]) == (0.7, 0.55)
    assert (txt2img["Which hands"], img2img["Which hands"]) == ("all", "left")
    after = read(tmp_path)
    assert {key: after[key] for key in moved(before)} == moved(before)
    assert [after[key] for key in KEEP_BEST] == [True, True]
    assert after[VERSION_KEY] == __version__
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if LABEL in line and "on by default" in line]) == 2


def test_the_same_value_chosen_later_stays(tmp_path, caplog):
    write(tmp_path)
    start(tmp_path)
    caplog.clear()
    stored = read(tmp_path)
    (tmp_path / "ui-config.json").write_text(json.dumps({**stored, KEEP_BEST[0]: False}))
    for _ in range(2):
        txt2img, img2img = start(tmp_path)
        assert (txt2img[LABEL], img2img[LABEL]) == (False, True)
    assert caplog.text == ""


def test_a_value_chosen_in_a_webui_that_never_ran_an_older_version_stays(tmp_path, caplog):
    assert start(tmp_path)[0][LABEL] is True
    stored = read(tmp_path)
    assert stored[VERSION_KEY] == __version__
    (tmp_path / "ui-config.json").write_text(json.dumps({**stored, KEEP_BEST[1]: False}))
    assert [tab[LABEL] for tab in start(tmp_path)] == [True, False]
    assert caplog.text == ""


def test_nothing_but_our_entries_is_written(tmp_path, monkeypatch):
    """The file is left byte for byte as the WebUI writes it, apart from our entries."""
    write(tmp_path)
    place, before = tmp_path / "ui-config.json", read(tmp_path)
    monkeypatch.setattr(shared.cmd_opts, "ui_config_file", str(place), raising=False)
    ui_config.upgrade_ui_config()
    text = place.read_text("utf-8")
    after = json.loads(text)
    assert after == {**moved(before), VERSION_KEY: __version__}
    assert list(after.items())[: len(FOREIGN)] == list(FOREIGN.items())
    assert text == json.dumps(after, indent=4, ensure_ascii=False)
    changed = place.stat().st_mtime_ns
    ui_config.upgrade_ui_config()
    assert place.stat().st_mtime_ns == changed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_a_file_that_holds_no_defaults_is_left_alone(tmp_path, monkeypatch, caplog, text):
    place = tmp_path / "ui-config.json"
    place.write_text(text)
    monkeypatch.setattr(shared.cmd_opts, "ui_config_file", str(place), raising=False)
    ui_config.upgrade_ui_config()
    assert place.read_text() == text
    is_json = text not in ("", "{")
    assert ("could not bring its defaults" in caplog.text) is not is_json


def test_a_file_that_cannot_be_written_is_said_and_costs_nothing_else(
    tmp_path, monkeypatch, caplog
):
    def refuse(place, data):
        raise PermissionError(13, "Permission denied")

    write(tmp_path)
    monkeypatch.setattr(ui_config, "write_atomically", refuse)
    assert start(tmp_path)[0]["Strength"] == 0.55
    assert "could not bring its defaults in ui-config.json up to date" in caplog.text
    assert "was removed" not in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_the_file_stays_a_link(tmp_path, monkeypatch):
    """As in containers that keep the file in a folder of the user's."""
    kept = tmp_path / "kept"
    kept.mkdir()
    write(kept)
    (tmp_path / "ui-config.json").symlink_to(kept / "ui-config.json")
    place = str(tmp_path / "ui-config.json")
    monkeypatch.setattr(shared.cmd_opts, "ui_config_file", place, raising=False)
    ui_config.upgrade_ui_config()
    assert (tmp_path / "ui-config.json").is_symlink()
    assert VERSION_KEY in read(kept)


def test_renamed_labels_and_choices_take_what_was_chosen_along(monkeypatch):
    rows = (
        Change("padding_bbox", until="0.1.0", label="Padding"),
        Change("tiles", until="0.1.0", default="no", choices={"no": "off", "yes": "on"}),
    )
    monkeypatch.setattr(migrations, "CHANGES", rows)
    stored = {
        f"{OURS}txt2img/Padding/value": 44,
        f"{OURS}txt2img/Padding/maximum": 99,
        f"{OURS}txt2img/Tiles/value": "yes",
        f"{OURS}img2img/Tiles/value": "no",
    }
    (said,) = upgrade_entries(stored, "0.1.0")
    assert stored == {
        f"{OURS}txt2img/Mask padding/value": 44,
        f"{OURS}txt2img/Mask padding/maximum": 99,
        f"{OURS}txt2img/Tiles/value": "on",
    }
    assert said.startswith("Tiles (img2img) is 'auto' by default")


def test_settings_of_0_1_0_mean_the_same(webui):
    stored = json.loads((OLD / "config.json").read_text("utf-8"))
    shared.opts.data.update(stored)
    newer = {name: getattr(read_settings(), name) for name in ("all_axes", "route_megapixels")}
    assert read_settings() == Settings(None, True, (), False, **newer)
    chosen = {
        "handrefiner_models_dir": "hands",
        "handrefiner_keep_on_cpu": False,
        "handrefiner_save_copies": ["before", "mask"],
        "handrefiner_refine_upscaled": True,
    }
    assert set(chosen) == set(stored)
    shared.opts.data.update(chosen)
    assert read_settings() == Settings(Path("hands"), False, ("before", "mask"), True, **newer)


def test_a_webui_without_such_a_file_starts(monkeypatch):
    monkeypatch.delattr(shared.cmd_opts, "ui_config_file", raising=False)
    ui_config.upgrade_ui_config()
