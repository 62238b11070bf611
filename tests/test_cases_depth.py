"""A depth map of the user's own: used as it is, and refused where it is none."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from api_client import ask, make_client
from cli_runs import names, read, refine_folder, run
from hand_scenes import BOTH, FloodPainter, make_stages, picture_with
from host_runs import PLAIN, hands_of
from host_runs import run as run_webui
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import handrefiner_ext
from handrefiner_ext import pipeline
from handrefiner_ext.api.body import to_text
from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE
from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.geometry.boxes import RegionCrop, resize_grey
from handrefiner_ext.geometry.relief import build_surface, find_layer
from handrefiner_ext.hands.mapped import EMPTY_DEPTH
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import load_picture, take_picture, to_depth
from handrefiner_ext.render.masks import widen
from handrefiner_ext.repaint.regions import RegionPlan, paint_regions
from handrefiner_ext.types import Box, Relief, WeakPerspective

EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
SIZE = (200, 300)
DARK = picture_with((), *SIZE)
"""No detector of the tests sees a hand in it."""


def blobs(*centres, size=SIZE, radius=32):
    """A depth map of round things: brightest in their middle, 0 elsewhere."""
    grey = np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for cx, cy in centres:
        height = 1.0 - np.hypot(x - cx, y - cy) / radius
        grey = np.maximum(grey, np.where(height > 0, 51 + 204 * height, 0).astype(np.uint8))
    return grey


TWO = blobs((80, 100), (220, 100))


def encode(pixels, kind="PNG", **more):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


@cache
def example():
    """The picture that ships, its hands, and another depth map for them: theirs, turned."""
    image = load_picture(EXAMPLE).image
    seen = handrefiner_ext.hints(image)
    middle = tuple(seen.meshes[0].joints_2d.mean(axis=0))
    turn = cv2.getRotationMatrix2D(middle, 12, 1.0)
    size = (image.shape[1], image.shape[0])
    return image, seen, cv2.warpAffine(seen.maps.control, turn, size, flags=cv2.INTER_NEAREST)


# --- the control image, the masks, the hands


def test_the_map_is_the_control_image_grey_by_grey():
    seen = pipeline.hints(DARK, RefineParams(), make_stages(), None, TWO)
    np.testing.assert_array_equal(seen.maps.control, TWO)
    assert [mesh.hand.number for mesh in seen.meshes] == [1, 2]
    assert [mesh.backend for mesh in seen.meshes] == ["depth_in", "depth_in"]
    assert seen.notes == (
        "Hands 1, 2: the depth is that of depth_in, as it is.",
        "Hands 1, 2: no hand is seen there in the picture, so the judge abstains.",
    )


@pytest.mark.parametrize("kind", ["box", "silhouette"])
def test_the_mask_is_the_padded_silhouette_of_the_map(kind):
    params = RefineParams(mask=kind, padding_bbox=20)
    seen = pipeline.hints(DARK, params, make_stages(), None, TWO)
    np.testing.assert_array_equal(seen.maps.mask, widen((TWO > 0).astype(np.uint8), 20))


def test_an_old_hand_below_the_map_is_repainted_whole():
    image = picture_with(("left half",), *SIZE)
    grey = blobs((75, 130))
    alone = pipeline.hints(DARK, RefineParams(), make_stages(), None, grey)
    seen = pipeline.hints(image, RefineParams(), make_stages(), None, grey)
    (mesh,) = seen.meshes
    assert not mesh.hand.assumed
    x, y = np.rint(mesh.hand.landmarks).astype(int).T
    assert seen.maps.mask[y, x].all()
    assert (seen.maps.mask & ~alone.maps.mask).any()
    np.testing.assert_array_equal(seen.maps.control, grey)


def test_hands_of_a_map_can_be_chosen_and_others_stay():
    image = picture_with(BOTH, *SIZE)
    grey = blobs((75, 100))
    params = RefineParams(keep_best=False)
    result = pipeline.refine(image, params, make_stages(), None, grey)
    changed = (result.image != image).any(axis=2)
    assert changed[grey > 0].all()
    assert not (changed & ~result.hints.maps.mask).any()
    assert len(result.decisions) == 1  # the hand on the right is left alone
    only = pipeline.hints(image, RefineParams(hands="2"), make_stages(), None, TWO)
    np.testing.assert_array_equal(only.maps.control[:, :150], 0)
    np.testing.assert_array_equal(only.maps.control[:, 150:], TWO[:, 150:])


def test_another_hand_and_a_drawn_mask_bound_the_mask():
    image = picture_with(BOTH, *SIZE)
    drawn = np.zeros(SIZE, dtype=bool)
    drawn[80:120, 60:100] = True
    params = RefineParams(mask="drawn", keep_best=False)
    result = pipeline.refine(image, params, make_stages(), drawn, TWO)
    changed = (result.image != image).any(axis=2)
    assert changed.any()
    assert not changed[~drawn].any()


def test_an_empty_map_changes_nothing_and_says_so():
    image = picture_with(BOTH)
    result = pipeline.refine(
        image, RefineParams(), make_stages(), None, np.zeros(image.shape[:2], np.uint8)
    )
    assert result.image is image
    assert result.hints.notes == (EMPTY_DEPTH,)


def test_what_is_smaller_than_a_hand_is_said_once():
    grey = blobs((80, 100)) | blobs((10, 10), (30, 10), radius=4)
    seen = pipeline.hints(DARK, RefineParams(), make_stages(), None, grey)
    assert len(seen.meshes) == 1
    (refusal,) = seen.detection.refused
    assert refusal.reason == (
        "2 parts of the depth map are smaller than a hand may be; min_hand_size is 24."
    )
    np.testing.assert_array_equal(seen.maps.control, blobs((80, 100)))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(-20, 320), st.integers(-20, 220)), max_size=4),
    st.integers(3, 90),
    st.sampled_from(["box", "silhouette"]),
)
def test_any_map_is_painted_where_it_is_and_nowhere_else(centres, radius, mask):
    grey = blobs(*centres, radius=radius)
    params = RefineParams(mask=mask, keep_best=False, padding_bbox=5)
    result = pipeline.refine(DARK, params, make_stages(), None, grey)
    control = result.hints.maps.control
    assert ((control == grey) | (control == 0)).all()
    changed = (result.image != DARK).any(axis=2)
    assert not (changed & ~result.hints.maps.mask).any()
    assert result.hints.maps.mask[control > 0].all()


# --- the painters


class Watching(FloodPainter):
    """Notes the regions that it is asked to paint."""

    def __init__(self):
        self.tasks = []

    def native_side(self, params):
        return 256

    def paint_region(self, tasks, params):
        self.tasks += tasks
        return [task.image for task in tasks]

    def work_on(self, place, total):
        from contextlib import nullcontext

        return nullcontext()


def test_a_region_gets_its_part_of_the_map_enlarged():
    from handrefiner_ext.protocols import PaintRequest
    from handrefiner_ext.render.renderers import RasterRenderer

    seen = pipeline.hints(DARK, RefineParams(), make_stages(), None, blobs((80, 100)))
    request = PaintRequest(DARK, seen.meshes, seen.maps, RefineParams())
    painter = Watching()
    paint_regions(RegionPlan(request, RasterRenderer(), 0), painter)
    (task,) = painter.tasks
    shown = task.control > 0
    scale = np.sqrt(shown.sum() / (seen.maps.control > 0).sum())
    assert scale > 1.1
    assert abs(int(task.control.max()) - seen.maps.control.max()) <= 2
    assert task.control[shown].min() == 51
    assert task.mask[shown].all()


def test_the_draft_paints_the_shape_of_the_map():
    image, seen, grey = example()
    result = handrefiner_ext.refine(image, depth_in=grey, keep_best=False)
    np.testing.assert_array_equal(result.hints.maps.control, grey)
    usual = handrefiner_ext.refine(image, keep_best=False)
    moved = (grey > 0) & (seen.maps.control == 0)
    assert moved.sum() > 200
    apart = np.abs(result.image[moved].astype(int) - image[moved]).mean()
    assert apart > 2 * np.abs(usual.image[moved].astype(int) - image[moved]).mean()


def test_the_surface_is_the_map_seen_from_the_front():
    grey = blobs((60, 50), size=(100, 120), radius=40)
    relief = Relief(Box(0, 0, 120, 100), grey, 0.1, True)
    camera = WeakPerspective(900.0, 7.0, 9.0)
    vertices, faces = build_surface(relief, camera)
    flat = camera.project(vertices)
    depth = find_layer(relief).depth
    corners = flat[faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    size = np.abs(ax * by - ay * bx).sum() / 2
    assert size == pytest.approx((grey > 0).sum(), rel=0.06)
    x, y = np.floor(flat).astype(int).T
    expected = depth[y, x]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(vertices[:, 2], expected, atol=0.006)


# --- the judge


def test_the_judge_works_where_a_hand_is_seen_in_the_map():
    image, seen, grey = example()
    found = handrefiner_ext.hints(image, depth_in=grey)
    (mesh,) = found.meshes
    assert mesh.is_known
    middle = seen.meshes[0].joints_2d.mean(axis=0)
    turned = cv2.getRotationMatrix2D(tuple(middle), 12, 1.0)
    expected = np.column_stack([seen.meshes[0].joints_2d, np.ones(21)]) @ turned.T
    apart = np.linalg.norm(mesh.joints_2d - expected, axis=1).mean() / mesh.size_px
    assert apart < 0.1
    result = handrefiner_ext.refine(image, depth_in=grey)
    (decision,) = result.decisions
    assert decision.before.mpjpe is not None
    assert decision.quality_before is not None
    assert result.hints.notes == ("Hand 1: the depth is that of depth_in, as it is.",)


def test_a_hand_of_the_map_where_none_is_seen_is_painted_without_a_judgement():
    image, _, grey = example()
    empty = np.full_like(image, 128)
    result = handrefiner_ext.refine(empty, depth_in=grey)
    (mesh,) = result.hints.meshes
    assert mesh.relief.fits
    assert not mesh.is_known
    assert result.decisions[0].refined
    assert "no hand is seen there in the picture, so the judge" in " ".join(result.hints.notes)


def test_a_map_that_is_no_hand_is_painted_without_a_judgement():
    image, seen, _ = example()
    x, y = seen.meshes[0].joints_2d.mean(axis=0)
    grey = blobs((x, y), size=image.shape[:2], radius=90)
    result = handrefiner_ext.refine(image, depth_in=grey)
    (mesh,) = result.hints.meshes
    assert not mesh.is_known
    assert result.decisions[0].refined
    assert "so the judge abstains" in " ".join(result.hints.notes)


# --- what is read


def test_every_form_of_a_map_is_the_same_map():
    grey = TWO
    forms = [
        grey,
        grey.astype(np.uint16) * 257,
        grey[..., None].repeat(3, axis=2),
        np.dstack([grey, grey, grey, np.full_like(grey, 255)]),
        np.dstack([np.full_like(grey, 7)] * 3 + [np.where(grey > 0, 255, 0).astype(np.uint8)]),
    ]
    forms[-1][grey > 0, :3] = grey[grey > 0, None]
    for form in forms:
        np.testing.assert_array_equal(to_depth(take_picture(form), *SIZE), grey)
    np.testing.assert_array_equal(to_depth(take_picture(Image.fromarray(grey)), *SIZE), grey)
    faint = np.where(grey > 0, 1, 0).astype(np.uint16)
    assert (to_depth(take_picture(faint), *SIZE) > 0).sum() == (grey > 0).sum()


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_map_of_another_size_has_no_grey_between_hand_and_background(factor):
    grey = np.zeros((60, 80), np.uint8)
    grey[20:40, 20:60] = 180
    size = (round(80 * factor), round(60 * factor))
    scaled = resize_grey(grey, *size)
    assert set(np.unique(scaled)) == {0, 180}
    assert (scaled > 0).mean() == pytest.approx((grey > 0).mean(), rel=0.1)
    crop = RegionCrop(Box(0, 0, 80, 60), *size)
    relief = Relief(Box(20, 20, 60, 40), grey[20:40, 20:60], 0.1, True)
    moved = crop._move_relief(relief)
    np.testing.assert_array_equal(moved.grey, scaled[moved.box.slices])
    assert (moved.grey > 0).sum() == (scaled > 0).sum()


def test_a_jpeg_of_a_map_is_a_map():
    data = encode(TWO[..., None].repeat(3, axis=2), "JPEG", quality=80)
    read_back = to_depth(take_picture(Image.open(io.BytesIO(data))), *SIZE)
    assert np.abs(read_back.astype(int) - TWO)[TWO > 0].mean() < 6


COLOURED = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
SCENE = np.tile(np.linspace(20, 230, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
WRONG = [(COLOURED, "is a coloured picture, not a depth map"), (SCENE, "covers 100% of the")]


@pytest.mark.parametrize(("pixels", "said"), WRONG)
def test_what_is_no_depth_map_is_refused_everywhere(pixels, said, tmp_path, capsys, client):
    Image.fromarray(DARK).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "d.png")
    with pytest.raises(PictureError, match=f"depth_in {said}"):
        handrefiner_ext.refine(DARK, depth_in=pixels)
    where = ("--input_img", tmp_path / "a.png", "--out_dir", tmp_path / "out")
    assert run("refine", *where, "--depth_in", tmp_path / "d.png") == FAILED
    assert f"d.png {said}" in capsys.readouterr().err
    assert names(tmp_path / "out") == []
    body = {"image": to_text(encode(DARK)), "depth_in": to_text(encode(pixels))}
    answer = ask(client, "/hints", **body)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True)


def test_a_pose_and_a_map_exclude_each_other(tmp_path, capsys):
    pose = json.dumps({"handrefiner_pose": 1, "hands": []})
    with pytest.raises(InvalidParameter, match="exclude each other"):
        handrefiner_ext.refine(DARK, depth_in=TWO, pose=pose)
    Image.fromarray(DARK).save(tmp_path / "a.png")
    where = ("--input_img", tmp_path / "a.png", "--out_dir", tmp_path / "out")
    assert run("refine", *where, "--depth_in", tmp_path / "a.png", "--pose", pose) == WRONG_USAGE
    assert run("refine", *where, "--depth_in", tmp_path / "none.png") == FAILED
    assert "none.png does not exist" in capsys.readouterr().err


# --- command line


@pytest.mark.usefixtures("tiny_stages")
def test_a_folder_has_a_map_for_every_picture_and_resume_sees_that_one_changed(tmp_path, capsys):
    folder, maps = tmp_path / "in", tmp_path / "maps"
    folder.mkdir()
    maps.mkdir()
    for name, centre in (("a", (80, 100)), ("b", (220, 100))):
        Image.fromarray(DARK).save(folder / f"{name}.png")
        Image.fromarray(blobs(centre)).save(maps / f"{name}_depth.png")
    Image.fromarray(DARK).save(folder / "c.png")
    more = ("--depth_in", maps, "--resume", "--log_json", tmp_path / "log")
    assert refine_folder(folder, tmp_path / "out", *more) == FAILED
    captured = capsys.readouterr()
    assert "holds no depth map for c.png; name it c_depth.png or c.png." in captured.err
    assert "a.png: 1 hand, 1 repainted" in captured.out
    assert "note: Hand 1: the depth is that of depth_in" in captured.out
    for name, centre in (("a", (80, 100)), ("b", (220, 100))):
        changed = (read(tmp_path / "out" / f"{name}_0.png") != DARK).any(axis=2)
        assert changed[blobs(centre) > 0].all()
        assert not changed[:, 150:].any() or not changed[:, :150].any()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {hand["mesh"] for record in records for hand in record["hands"]} == {"depth_in"}
    Image.fromarray(blobs((220, 100))).save(maps / "a_depth.png")
    (folder / "c.png").unlink()
    assert refine_folder(folder, tmp_path / "out", *more) == DONE
    said = capsys.readouterr().out
    assert "b.png:\n  finished" in said
    changed = (read(tmp_path / "out" / "a_0.png") != DARK).any(axis=2)
    assert changed[blobs((220, 100)) > 0].all()
    assert not changed[:, :150].any()


@pytest.mark.usefixtures("tiny_stages")
def test_the_map_of_the_command_is_never_replaced(tmp_path, capsys):
    Image.fromarray(DARK).save(tmp_path / "a.png")
    Image.fromarray(TWO).save(tmp_path / "a_depth.png")
    before = (tmp_path / "a_depth.png").read_bytes()
    more = ("--depth_in", tmp_path / "a_depth.png", "--depth_dir", tmp_path)
    out = ("--out_dir", tmp_path / "out")
    assert run("refine", "--input_img", tmp_path / "a.png", *out, *more) == DONE
    assert (tmp_path / "a_depth.png").read_bytes() == before
    assert "note: " in capsys.readouterr().out


@pytest.mark.usefixtures("tiny_stages")
def test_hints_write_the_map_as_it_is(tmp_path):
    Image.fromarray(DARK).save(tmp_path / "a.png")
    Image.fromarray(TWO.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    more = ("--depth_in", tmp_path / "deep.png", "--mesh_dir", tmp_path / "m")
    assert run("hints", tmp_path / "a.png", "--out_dir", tmp_path / "out", *more) == DONE
    np.testing.assert_array_equal(read(tmp_path / "out" / "a_depth.png"), TWO)
    assert names(tmp_path / "m") == ["a_hand1.glb", "a_hand2.glb"]
    said = json.loads((tmp_path / "out" / "a_hands.json").read_text())
    assert [hand["mesh"] for hand in said["hands"]] == ["depth_in", "depth_in"]


@pytest.mark.slow  # that several processes do as one does is shown in test_parallel.py
def test_several_processes_use_the_map_too(tmp_path):
    image, _, grey = example()
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    Image.fromarray(grey).save(tmp_path / "d.png")
    more = ("--depth_in", tmp_path / "d.png", "--depth_dir", tmp_path / "out", "--jobs", 2)
    quick = ("--keep_best", "false")
    assert refine_folder(tmp_path / "in", tmp_path / "out", *more, *quick) == DONE
    for name in "ab":
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{name}_depth.png"), grey)


# --- API and panel


@pytest.fixture
def client(monkeypatch):
    from hand_scenes import hold_tiny_backends

    hold_tiny_backends(monkeypatch)
    return make_client()


@pytest.mark.parametrize("path", ["/hints", "/refine"])
def test_the_routes_take_a_map(client, path):
    body = {"image": to_text(encode(DARK)), "depth_in": to_text(encode(TWO)), "keep_best": False}
    answer = ask(client, path, **body, backend="draft")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [hand["mesh"] for hand in said["hands"]] == ["depth_in", "depth_in"]
    assert said["notes"][0] == "Hands 1, 2: the depth is that of depth_in, as it is."


def as_panel(pixels):
    """What gradio hands over of a file: with image_mode "I", 32 bits for each pixel."""
    return Image.open(io.BytesIO(encode(pixels))).convert("I")


@pytest.mark.parametrize("form", [TWO, TWO.astype(np.uint16) * 257], ids=["8 bits", "16 bits"])
def test_the_webui_paints_by_the_map_and_says_so(webui, form):
    pytest.importorskip("torch")
    picture = picture_with((), 256, 512)
    for depth_in in (to_text(encode(form)), as_panel(form)):
        request = webui.txt2img([picture], {**PLAIN, "depth_in": depth_in}, width=512, height=256)
        done = run_webui(request)
        said = hands_of(done.infotexts[0])
        assert "Hands 1, 2: the depth is that of depth_in, as it is" in said
        units = webui.find("ControlNet").seen[-2:]
        assert [int(unit["image"].max()) for unit in units] == [TWO.max() - 1] * 2  # enlarged
        assert [int(u["image"][u["image"] > 0].min()) for u in units] == [51, 51]


def test_the_preview_shows_the_map(webui):
    from handrefiner_ext.host.preview import show_hands

    sketch = {"image": Image.fromarray(DARK), "mask": None}
    shown, said = show_hands({"drawn_mask": sketch, "depth_in": as_panel(TWO)})
    (_, depth, _) = (picture for picture, _ in shown["value"])
    np.testing.assert_array_equal(np.asarray(Image.open(depth)), TWO)
    assert "the depth is that of depth_in" in said
    _, said = show_hands({"drawn_mask": sketch, "depth_in": as_panel(SCENE)})
    assert "depth_in covers 100% of the picture" in said


def test_what_another_worker_saw_of_the_picture_changes_nothing():
    from handrefiner_ext.cluster.memory import find_hands, recall

    image, params = picture_with(BOTH, *SIZE), RefineParams(keep_best=False)
    grey = blobs((75, 130), (230, 60))
    (seen,) = find_hands([image], params, make_stages())
    alone = pipeline.refine(image, params, make_stages(), None, grey)
    there = pipeline.refine(image, params, recall(seen, make_stages()), None, grey)
    np.testing.assert_array_equal(there.image, alone.image)
    assert there.hints.notes == alone.hints.notes
    np.testing.assert_array_equal(there.hints.maps.mask, alone.hints.maps.mask)
