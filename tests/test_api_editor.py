"""The hand editor's routes: a hand is found, edited, shown and repainted; the rest is refused."""

from __future__ import annotations

import base64
import io
import json
import math
import runpy
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hand_scenes import BOTH, hold_tiny_backends, make_stages, picture_with

from handrefiner_ext import pipeline
from handrefiner_ext.hands.editing import edit
from handrefiner_ext.hands.posed import describe_poses, parse_pose
from handrefiner_ext.hands.records import read_hand, shorten_hand
from handrefiner_ext.infotext import restore
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh
from handrefiner_ext.params import RefineParams
from handrefiner_ext.report import EMPTY_POSE, list_panel_lines

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import ask, make_client, to_array, to_text

from handrefiner_ext.api.routes import PREFIX
from handrefiner_ext.api.worker import Services

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "badly_drawn_hand.png"
STORY = ROOT / "examples" / "pose_a_hand.py"
SIZE = {"width": 400, "height": 300}
HAND = {"side": "right", "wrist": [200, 220], "scale": 900, "angles": [], "shapes": []}


@pytest.fixture
def client(monkeypatch):
    hold_tiny_backends(monkeypatch)
    return make_client(Services(heavy=False))


def step(client, **body):
    answer = ask(client, "/editor/step", **{**SIZE, "hand": HAND, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def pose_with(*hands):
    return {"handrefiner_pose": 1, **SIZE, "hands": list(hands)}


def test_a_page_is_told_what_it_needs(client):
    said = client.get(f"{PREFIX}/editor").json()
    mesh = build_mesh(read_hand(HAND, "hand"), (300, 400))
    assert said["faces"] == mesh.faces.tolist()
    assert len(said["face_fingers"]) == len(said["faces"])
    assert set(said["face_fingers"]) == set(range(6))
    assert said["angle_names"] == list(ANGLE_NAMES)
    assert "victory" in said["gestures"]
    assert (len(said["joint_names"]), len(said["bones"])) == (21, 20)
    tips = [step(client, do={"gesture": name})["joints"] for name in said["gestures"][:2]]
    assert tips[0] != tips[1]


def test_a_step_answers_with_the_hand_that_its_record_builds(client):
    said = step(client, do={"gesture": "victory"}, number=2)
    mesh = build_mesh(read_hand(said["hand"], "hand"), (300, 400))
    assert np.allclose(mesh.joints_2d, said["joints"], atol=0.006)
    assert np.allclose(
        mesh.camera.project(mesh.vertices), np.array(said["vertices"])[:, :2], atol=0.06
    )
    assert (said["number"], said["clamped"]) == (2, False)
    assert step(client, hand=said["hand"], do={})["vertices"] == said["vertices"]
    x0, _, _, y1 = said["box"]
    assert x0 <= min(x for x, _, _ in said["vertices"])
    assert y1 >= max(y for _, y, _ in said["vertices"])


def test_packed_vertices_are_the_same(client):
    plain, packed = (step(client, do={"spin": 20}, packed=packed) for packed in (False, True))
    said = packed.pop("vertices")
    counts = np.frombuffer(base64.b64decode(said["int16"]), dtype="<i2").reshape(-1, 3)
    assert np.allclose(counts * said["unit"] + said["from"], plain.pop("vertices"), atol=0.06)
    assert packed == plain
    answer = ask(client, "/editor/step", **SIZE, hand=HAND, do={}, packed="yes")
    assert (answer.status_code, "packed" in answer.text) == (422, True)


def test_a_hand_is_added_without_a_record(client):
    said = step(client, hand=None, do={"add": {"at": [100, 150], "size": 120, "side": "left"}})
    assert said["hand"]["side"] == "left"
    assert said["hand"]["old"] == []


def test_the_hands_found_are_those_that_a_run_would_repaint(monkeypatch):
    client = make_client(Services(heavy=False))
    image = base64.b64encode(EXAMPLE.read_bytes()).decode()
    said = ask(client, "/editor/find", image=f"data:image/png;base64,{image}").json()
    [hand] = said["hands"]
    seen = ask(make_client(), "/hints", image=image).json()
    assert np.abs(np.array(hand["joints"]) - seen["hands"][0]["joints_2d"]).max() < 0.5
    assert hand["number"] == 1
    assert "old" not in hand["hand"]
    assert said["notes"][0].startswith("1: ")


def test_hands_of_a_pose_are_found_instead_of_searched(client):
    edited = step(client, do={"move": [30, 10]})["hand"]
    text = json.dumps(pose_with(edited))
    image = to_text(picture_with(BOTH, 300, 400))
    said = ask(client, "/editor/find", image=image, params={"pose": text}).json()
    assert [hand["hand"] for hand in said["hands"]] == [edited]


def test_a_pose_that_does_not_fit_the_picture_is_named(client):
    far = {**pose_with({**HAND, "wrist": [9e8, 200]}), "width": 10, "height": 10}
    image = to_text(picture_with(BOTH, 300, 400))
    answer = ask(client, "/editor/find", image=image, params={"pose": json.dumps(far)})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("pose, in a picture of 400 x 300 pixels: hand, wrist")


def test_depth_and_mask_of_a_pose_are_those_of_the_run(client):
    edited = step(client, do={"gesture": "fist"})["hand"]
    text = json.dumps(pose_with(edited))
    said = ask(client, "/editor/maps", **SIZE, pose=pose_with(edited)).json()
    blank = np.zeros((300, 400, 3), dtype=np.uint8)
    expected = pipeline.hints(blank, RefineParams(pose=text), make_stages()).maps
    assert np.array_equal(to_array(said["depth"]), expected.control)
    assert np.array_equal(to_array(said["mask"]) > 0, expected.mask)
    assert "overlay" not in said
    small = ask(client, "/editor/maps", **SIZE, pose=text, preview=100).json()
    assert to_array(small["depth"]).shape == (75, 100)
    whole = ask(client, "/editor/maps", image=to_text(blank), pose=text).json()
    assert to_array(whole["overlay"]).shape == blank.shape
    assert whole["mask"] == said["mask"]


@pytest.mark.parametrize("mask", ["box", "silhouette"])
def test_the_mask_covers_the_old_fingers(client, mask):
    before = step(client, do={})
    moved = step(client, do={"move": [90, 0]})["hand"]
    shown = ask(client, "/editor/maps", **SIZE, pose=pose_with(moved), params={"mask": mask}).json()
    covered = to_array(shown["mask"]) > 0
    columns, rows = np.array(before["vertices"])[:, :2].astype(int).T
    assert covered[rows, columns].all()
    fresh = {key: value for key, value in moved.items() if key != "old"}
    shown = ask(client, "/editor/maps", **SIZE, pose=pose_with(fresh), params={"mask": mask}).json()
    assert not (to_array(shown["mask"]) > 0)[rows, columns].all()


def test_a_pose_is_scaled_with_its_old_box():
    text = json.dumps(pose_with({**HAND, "old": [10, 20, 30, 40]}))
    _, (mesh,) = parse_pose(text).build(600, 1200)
    assert mesh.pose.old == (30.0, 40.0, 90.0, 80.0)


def test_a_pose_that_is_written_keeps_what_was_edited():
    pose = edit(read_hand(HAND, "hand"), {"wrist_length": 2.5}, (300, 400)).pose
    mesh = build_mesh(pose, (300, 400))
    text = json.dumps(describe_poses([mesh], 300, 400))
    (again,) = parse_pose(text).hands
    assert (again.wrist_length, again.old) == (2.5, pose.old)


def test_a_posed_hand_is_painted_as_it_is_and_a_found_one_is_judged():
    image = picture_with(BOTH, 300, 400)
    for more, kept in (({}, False), ({"old": [150, 100, 250, 260]}, True)):
        params = RefineParams(pose=json.dumps(pose_with({**HAND, **more})), keep_best=True)
        seen = pipeline.hints(image, params, make_stages())
        assert seen.meshes[0].is_known is not kept


def test_a_pose_without_hands_repaints_none_and_says_so():
    image = picture_with(BOTH)
    params = RefineParams(pose=json.dumps(pose_with()))
    result = pipeline.refine(image, params, make_stages())
    assert result.image is image
    assert result.hints.notes == (EMPTY_POSE,)
    assert list_panel_lines(result.hints) == [EMPTY_POSE]


# --- the story of a hand without a browser


def test_the_example_poses_a_hand_from_search_to_infotext(monkeypatch, tmp_path):
    import urllib.request

    client = make_client()

    def urlopen(request):
        path = request.full_url.removeprefix("http://127.0.0.1:7860")
        answer = client.post(path, content=request.data, headers=request.headers)
        assert answer.status_code == 200, answer.text
        return closing(io.BytesIO(answer.content))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    main = runpy.run_path(str(STORY))["main"]
    done = main(EXAMPLE, tmp_path / "posed.png", backend="draft")
    assert (to_array(done["image"]) != to_array(base64.b64encode(EXAMPLE.read_bytes()))).any()
    assert [decision["refined"] for decision in done["decisions"]] == [True]
    (pose,) = (f for f in fields(RefineParams) if f.name == "pose")
    pasted = restore(pose, done["infotext"])
    [hand] = parse_pose(pasted).hands
    assert math.degrees(hand.angles["ring_pip_flexion"]) > 40  # as in victory
    assert hand.old
    again = ask(
        client,
        "/refine",
        image=base64.b64encode(EXAMPLE.read_bytes()).decode(),
        pose=pasted,
        backend="draft",
    )
    assert again.json()["image"] == done["image"]


def test_the_pose_of_two_hands_is_short_in_the_infotext():
    pose = edit(read_hand(HAND, "hand"), {"gesture": "ok"}, (300, 400)).pose
    text = json.dumps(pose_with(shorten_hand(pose), shorten_hand(pose)), indent=2)
    (written,) = (value for key, value in _infotext(text).items() if key == "HandRefiner pose")
    assert len(written) < 800
    assert parse_pose(written) == parse_pose(text)


def _infotext(pose):
    from handrefiner_ext.infotext import to_infotext

    return to_infotext(RefineParams(pose=pose))


def test_spaces_within_words_of_a_json_stay():
    assert _infotext('{"a b": " c ",  "d":\n"\\" e"}')["HandRefiner pose"] == (
        '{"a b":" c ","d":"\\" e"}'
    )
    assert _infotext("{no json, but  text}")["HandRefiner pose"] == "{no json, but  text}"


# --- refusals


@pytest.mark.parametrize(
    ("route", "body", "sentence"),
    [
        ("find", {}, "image is missing"),
        ("find", {"image": "/etc/passwd"}, "no PNG, JPEG or WebP"),
        ("find", {"image": "AAAA", "more": 1}, "not known here"),
        ("find", {"params": {"strenght": 1}, "image": ""}, "Did you mean strength"),
        ("find", {"params": [1], "image": ""}, "params must be an object"),
        ("step", {}, "width = None"),
        ("step", {**SIZE}, "only add needs none"),
        ("step", {**SIZE, "hand": HAND, "do": {"spin": "x"}}, "spin must be 1 finite"),
        ("step", {**SIZE, "hand": {"side": "right"}, "do": {}}, "hand, wrist must be"),
        ("step", {**SIZE, "width": True, "hand": HAND}, "width = True"),
        ("step", {**SIZE, "width": 10**9, "hand": HAND}, "1 to 16384"),
        ("step", {**SIZE, "hand": HAND, "number": -1}, "number = -1"),
        ("step", {**SIZE, "hand": HAND, "number": "1"}, "number = '1'"),
        ("step", {**SIZE, "hand": [1], "do": {}}, "left or right"),
        ("maps", {**SIZE, "pose": {}}, "neither a pose"),
        ("maps", {**SIZE}, "neither a pose"),
        ("maps", {**SIZE, "pose": pose_with(), "preview": 3}, "preview = 3"),
        ("maps", {**SIZE, "pose": pose_with({"side": "right"})}, "pose, hand 1, wrist"),
        ("maps", {**SIZE, "pose": {**pose_with(HAND), "width": 1e-300}}, "at least 1 pixel"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(client, route, body, sentence):
    answer = ask(client, f"/editor/{route}", **body)
    assert answer.status_code == 422, answer.text
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1" * 9999])
def test_a_body_that_is_no_object_is_refused(client, content):
    for route in ("find", "step", "maps"):
        answer = client.post(
            f"{PREFIX}/editor/{route}",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 422
        assert "JSON" in answer.json()["detail"]


def test_a_step_of_more_than_a_megabyte_is_refused(client):
    assert ask(client, "/editor/step", hand="x" * (1 << 20)).status_code == 413


def test_the_routes_ask_for_the_login():
    client = make_client(Services(users={"ann": "secret"}, heavy=False))
    assert client.get(f"{PREFIX}/editor").status_code == 401
    for route in ("find", "step", "maps"):
        assert ask(client, f"/editor/{route}", **SIZE).status_code == 401
