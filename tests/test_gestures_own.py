"""People's own gestures: the file that holds them, whatever is in it, and the commands for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from handrefiner_ext.cli import main
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.hands import gestures
from handrefiner_ext.hands.gestures import (
    find_gesture,
    load_gestures,
    load_shipped,
    own_place,
    remove_gesture,
    save_gesture,
)
from handrefiner_ext.types import HandPose

EXAMPLE = Path(__file__).parent.parent / "examples" / "badly_drawn_hand.png"
NAMES = tuple(load_shipped())


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A file of the user's own gestures in a fresh place."""
    place = tmp_path / "settings" / "gestures.json"
    monkeypatch.setenv(gestures.PLACE_VARIABLE, str(place))
    return place


def pose_of(name):
    return find_gesture(name).give_to(HandPose("right", (0.0, 0.0), 1e3, (0.0, 0.0, 0.0), {}, {}))


def file_of(gestures):
    return f'{{"handrefiner_gestures": 1, "gestures": {gestures}}}'


def test_own_gestures_are_listed_and_removed(own, capsys):
    save_gesture("wink", pose_of("rock"))
    assert main(["gestures", "list"]) == 0
    said = capsys.readouterr().out
    assert "wink (yours)" in said
    assert str(own) in said
    assert main(["gestures", "remove", "wink"]) == 0
    assert "wink" not in load_gestures()
    assert main(["gestures", "remove", "wink"]) != 0
    assert "does not exist" in capsys.readouterr().err
    with pytest.raises(InvalidParameter, match="'fist' ships with HandRefiner"):
        remove_gesture("fist")


def test_all_can_be_drawn_into_one_picture(tmp_path, capsys):
    assert main(["gestures", "draw", str(tmp_path / "all.png")]) == 0
    with Image.open(tmp_path / "all.png") as drawn:
        assert drawn.size == (8 * 160, 160 * -(-len(NAMES) // 8))
    assert main(["gestures", "draw", str(tmp_path / "all.png")]) == 0, "our own is replaced"
    mine = tmp_path / "mine.png"
    mine.write_bytes(EXAMPLE.read_bytes())
    assert main(["gestures", "draw", str(mine)]) == 1
    assert mine.read_bytes() == EXAMPLE.read_bytes()
    assert "is no picture of gestures, so it is kept" in capsys.readouterr().err
    assert main(["gestures", "draw", str(tmp_path / "all.jpg")]) != 0
    assert "ends in .png" in capsys.readouterr().err
    assert not (tmp_path / "all.jpg").exists()


def test_a_name_of_ours_is_not_taken_and_ones_own_may_be_changed(own):
    with pytest.raises(InvalidParameter, match="ships with HandRefiner"):
        save_gesture("Victory", pose_of("rock"))
    save_gesture("mine", pose_of("rock"))
    save_gesture("mine", pose_of("fist"))
    assert find_gesture("mine").angles == pytest.approx(find_gesture("fist").angles)
    assert not list(own.parent.glob("*.handrefiner*")), "no half file is left"


@pytest.mark.parametrize(
    "name", ["", "  ", ";", "a;b", "a:b", "a,b", '"x"', "x" * 41, "a\x1b[31m", "a\ud800", "a\u200b"]
)
def test_names_that_the_parameter_cannot_hold_are_refused(name):
    with pytest.raises(InvalidParameter, match="cannot be named"):
        save_gesture(name, pose_of("rock"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is no file of gestures"),
        ('{"handrefiner_gestures": 2, "gestures": {}}', "is no file of gestures"),
        ('{"handrefiner_gestures": 1, "gestures": {"a": 1}}', 'needs "angles"'),
        ('{"handrefiner_gestures": 1, "gestures": {"a": {"angles": {"x": 1}}}}', "'x' = 1"),
        (
            '{"handrefiner_gestures": 1, "gestures": {"a": {"angles": {"thumb_ip_flexion": NaN}}}}',
            "nan is not possible",
        ),
        ('{"handrefiner_gestures": 1, "gestures": {"a": {"angles": {}, "thumb": "x"}}}', "thumb"),
        (file_of('{"a": {"angles": {"thumb_ip_flexion": 1%s}}}' % ("0" * 400)), "at most 360"),
        (file_of('{"a": {"angles": {"thumb_ip_flexion": "%s"}}}' % ("x" * 9999)), "…"),
        (file_of('{"%s": {"angles": {}}}' % ("x" * 9999)), "cannot be named"),
        (file_of('{"a\\ud800": {"angles": {}}}'), "invisible"),
        (file_of('{"My_Wave": {"angles": {}}, "my wave": {"angles": {}}}'), "'my wave' twice"),
        (" " * (gestures.LARGEST_FILE + 1), "too large"),
    ],
)
def test_a_file_that_is_wrong_is_said_with_its_place(own, text, said):
    own.parent.mkdir()
    own.write_text(text)
    with pytest.raises(InvalidParameter, match=said) as caught:
        load_gestures()
    assert str(own) in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_file_from_an_editor_of_windows_is_read(own):
    own.parent.mkdir()
    own.write_bytes(b"\xef\xbb\xbf" + file_of('{"mine": {"angles": {}}}').encode())
    assert "mine" in load_gestures()


def test_a_link_to_a_file_that_is_kept_elsewhere_stays_one(own, tmp_path):
    kept = tmp_path / "kept.json"
    own.parent.mkdir()
    own.symlink_to(kept)
    save_gesture("mine", pose_of("fist"))
    assert own.is_symlink()
    assert "mine" in kept.read_text("utf-8")


def test_the_file_lies_where_each_system_keeps_settings(tmp_path):
    tail = Path("handrefiner") / "gestures.json"
    assert own_place({"APPDATA": "C:/Users/x"}, "win32") == Path("C:/Users/x") / tail
    assert own_place({}, "darwin") == Path.home() / "Library" / "Application Support" / tail
    assert own_place({"XDG_CONFIG_HOME": "/x"}, "linux") == Path("/x") / tail
    assert own_place({}, "linux") == Path.home() / ".config" / tail
    assert own_place({gestures.PLACE_VARIABLE: "~/g.json"}) == Path.home() / "g.json"
