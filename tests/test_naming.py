"""Output names overwrite nothing that they must not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handrefiner_ext.files.marks import KEY, digest, mark_jpeg, mark_webp, read_head, read_mark
from handrefiner_ext.files.naming import Job, OutputKind, fold, plan
from handrefiner_ext.files.sources import list_pictures
from handrefiner_ext.pictures import encode_png

BLACK = encode_png(np.zeros((2, 2), dtype=np.uint8))
REFINED = "_0.png"


def write(folder, *names, data=BLACK):
    for name in names:
        (folder / name).write_bytes(data)
    return [folder / name for name in names]


def stems(sources, folder, *endings):
    return [
        job.stem for job in plan(sources, [OutputKind(folder, e) for e in endings or (REFINED,)])
    ]


def test_a_lone_picture_keeps_its_name(tmp_path):
    for name in ("a.png", "a.b.jpg", "ü 手.webp", "noextension"):
        source = tmp_path / "in" / name
        assert stems([source], tmp_path / "out") == [source.stem]


def test_pictures_of_one_name_are_told_apart_by_their_extension(tmp_path):
    sources = [tmp_path / name for name in ("a.jpg", "a.png", "A.webp", "b.png")]
    assert stems(sources, tmp_path / "out") == ["a", "a_png", "A_webp", "b"]


def test_a_plain_name_is_not_taken_by_anothers_second_choice(tmp_path):
    sources = [tmp_path / name for name in ("a.jpg", "a.png", "a_png.jpg")]
    assert stems(sources, tmp_path / "out") == ["a", "a_png_2", "a_png"]


def test_pictures_of_one_name_from_several_folders_are_numbered(tmp_path):
    sources = [tmp_path / f / "a.png" for f in ("x", "y", "z")]
    assert stems(sources, tmp_path / "out") == ["a", "a_png", "a_png_2"]


def test_an_input_is_never_an_output(tmp_path):
    sources = write(tmp_path, "a.png", "a_0.png", "a_png_0.png")
    outputs = [stem + REFINED for stem in stems(sources, tmp_path)]
    assert outputs == ["a_png_2_0.png", "a_0_0.png", "a_png_0_0.png"]


def test_a_picture_of_the_users_beside_its_source_is_no_output(tmp_path):
    source, _ = write(tmp_path, "a.png", "a_0.png")
    assert stems([source], tmp_path) == ["a_png"]
    assert stems([source], tmp_path / "out") == ["a"]


def test_a_second_run_takes_the_names_of_the_first(tmp_path):
    sources = write(tmp_path, "a.jpg", "a.png")
    for _ in range(2):
        jobs = plan(sources, [OutputKind(tmp_path, REFINED)])
        assert [job.stem for job in jobs] == ["a", "a_png"]
        for job in jobs:
            marked = encode_png(np.zeros((2, 2), dtype=np.uint8), (job.mark("").chunk,))
            write(tmp_path, job.stem + REFINED, data=marked)


def test_what_another_picture_gave_in_an_earlier_run_stays(tmp_path):
    mark = Job(tmp_path / "in" / "a.png", "a").mark("")
    old = encode_png(np.zeros((2, 2), dtype=np.uint8), (mark.chunk,))
    write(tmp_path, "a_0.png", data=old)
    assert stems([tmp_path / "in" / "a.jpg"], tmp_path) == ["a_jpg"]
    assert stems([tmp_path / "in" / "a.png"], tmp_path) == ["a"]


@pytest.mark.timeout(20)
def test_a_name_is_found_where_no_file_can_be_looked_for(tmp_path):
    """As in a folder that may not be searched, or below what is no folder: writing says why."""
    (source,) = write(tmp_path, "a.png")
    assert stems([source], source / "below") == ["a"]


def test_one_collision_renames_all_outputs_of_a_picture(tmp_path):
    source, _ = write(tmp_path, "a.png", "a_mask.png")
    assert stems([source], tmp_path, "_depth.png", "_mask.png") == ["a_png"]


def test_a_mark_names_its_source_and_other_files_have_none(tmp_path):
    source = tmp_path / "手 a.png"
    mark = Job(source, "a").mark(digest(b"content"), "code")
    assert mark.source == source.name
    marked = encode_png(np.zeros((2, 2), dtype=np.uint8), (mark.chunk,))
    write(tmp_path, "b.png", data=marked)
    write(tmp_path, "c.png")
    write(tmp_path, "d.png", data=b"text")
    write(tmp_path, "e.json", data=json.dumps({"hands": [], KEY: mark.describe()}).encode())
    assert read_mark(read_head(tmp_path / "b.png")) == mark
    assert read_mark(read_head(tmp_path / "e.json")) == mark
    assert read_mark(read_head(tmp_path / "c.png")) is None
    assert read_mark(read_head(tmp_path / "d.png")) is None
    assert read_head(tmp_path / "nothing.png") is None


@settings(max_examples=200, deadline=None)
@given(
    head=st.sampled_from([b"", b"{", b"RIFF", b"glTF", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]),
    data=st.binary(max_size=300),
)
def test_what_is_not_ours_has_no_mark_whatever_it_is(head, data):
    assert read_mark(head + data) is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_jpeg_and_webp_carry_a_mark_that_readers_pass_over(kind):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010E] = "a description"
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    mark = Job(Path("a.jpg"), "a").mark(digest(b"content"))
    add = mark_jpeg if kind == "JPEG" else mark_webp
    marked = add(buffer.getvalue(), mark)
    assert read_mark(marked) == mark
    assert read_mark(buffer.getvalue()) is None
    with Image.open(io.BytesIO(buffer.getvalue())) as bare, Image.open(io.BytesIO(marked)) as ours:
        np.testing.assert_array_equal(np.array(bare), np.array(ours))
        assert bare.info.get("exif") == ours.info.get("exif")
    assert cv2.imdecode(np.frombuffer(marked, np.uint8), cv2.IMREAD_COLOR).shape == pixels.shape


def test_only_pictures_of_the_folder_itself_are_listed_by_name(tmp_path):
    write(tmp_path, "b.PNG", "a.jpg", "test.json", "c.txt", "d.webp", ".hidden")
    (tmp_path / "folder.png").mkdir()
    write(tmp_path / "folder.png", "inside.png")
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpg", "b.PNG", "d.webp"]


@pytest.mark.parametrize("letter", ["x", "手"])
def test_the_longest_names_give_outputs_that_a_file_system_takes(tmp_path, letter):
    longest = 251 // len(letter.encode())
    names = [letter * longest + ending for ending in (".png", ".jpg")]
    names.append(letter * (longest - 1) + ("y.png"))
    sources = [tmp_path / name for name in names]
    outputs = [stem + "_overlay.png" for stem in stems(sources, tmp_path, "_overlay.png")]
    assert len(set(outputs)) == 3
    write(tmp_path, *outputs)


NAMES = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["a", "A", "é", "é", "a_0", "a_png", "a_png_0"]),
    st.sampled_from(["", "_0", "_depth"]),
    st.sampled_from(["png", "jpg", "PNG"]),
)


@settings(max_examples=100, deadline=None)
@given(names=st.lists(NAMES, unique=True, max_size=8), in_place=st.booleans())
def test_no_two_outputs_meet_and_none_is_an_input(tmp_path_factory, names, in_place):
    folder = tmp_path_factory.getbasetemp() / "in"
    out = folder if in_place else folder / "out"
    sources = [folder / name for name in names]
    jobs = plan(sources, [OutputKind(out, "_0.png"), OutputKind(out, "_depth.png")])
    assert [job.source for job in jobs] == sources
    written = [fold(str(out / (job.stem + e))) for job in jobs for e in ("_0.png", "_depth.png")]
    assert len(set(written)) == len(written)
    assert not set(written) & {fold(str(source)) for source in sources}
