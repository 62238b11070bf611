"""Parameters, EXIF and colour profiles survive."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from handrefiner_ext.pictures import encode_png, load_picture, save_picture
from handrefiner_ext.pictures.decode import build_metadata
from handrefiner_ext.pictures.metadata import (
    Chunk,
    insert_after_header,
    join_png,
    read_orientation,
    read_resolution,
    read_user_comment,
    set_upright,
    split_png,
    text_chunk,
)

PARAMETERS = "a hand, <lora:x:1>\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, Size: 64x64"
TEXTS = [PARAMETERS, "une main — ひと", "", "x" * 3_000_000]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def painted(picture):
    return 255 - picture.image


def save_and_open(source, target, paint=painted):
    picture = load_picture(source)
    save_picture(picture, paint(picture), target)
    with Image.open(target) as opened:
        opened.load()
        return opened


@pytest.mark.parametrize("text", TEXTS, ids=["latin", "unicode", "empty", "long"])
def test_the_parameters_of_a_png_survive_repainting(tmp_path, text):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    info.add_itxt("workflow", '{"nodes": "ü手"}', lang="en", tkey="flow")
    info.add_text("note", "zipped", zip=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png", pnginfo=info)
    saved = save_and_open(tmp_path / "a.png", tmp_path / "out.png")
    assert saved.info["parameters"] == text
    assert saved.info["workflow"] == '{"nodes": "ü手"}'
    assert saved.info["workflow"].lang == "en"
    assert saved.info["note"] == "zipped"


def test_a_text_that_unpacks_to_a_flood_does_not_stop_the_picture(tmp_path):
    flood = zlib.compress(b"0" * 80_000_000, 1)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "plain.png")
    data = insert_after_header(
        (tmp_path / "plain.png").read_bytes(), [Chunk(b"zTXt", b"parameters\0\0" + flood)]
    )
    (tmp_path / "a.png").write_bytes(data)
    picture = load_picture(tmp_path / "a.png")
    assert picture.image.shape == (8, 8, 3)
    assert picture.metadata == (Chunk(b"zTXt", b"parameters\0\0" + flood),)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_profile_exif_and_resolution_of_a_png_survive_repainting(tmp_path, depth):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.new("RGB", (8, 8), "red").save(
        tmp_path / "a.png", icc_profile=PROFILE, exif=exif, dpi=(300, 300)
    )
    if depth == np.uint16:
        eight = load_picture(tmp_path / "a.png")
        deep = eight.pixels.astype(np.uint16) * 257
        (tmp_path / "a.png").write_bytes(encode_png(deep, eight.metadata))
    saved = save_and_open(tmp_path / "a.png", tmp_path / "out.png")
    assert saved.info["icc_profile"] == PROFILE
    assert saved.getexif()[0x010F] == "Maker"
    assert saved.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("ending", ["jpg", "webp", "tif"])
def test_the_profile_of_other_files_survives(tmp_path, ending):
    Image.new("RGB", (8, 8), "red").save(tmp_path / f"a.{ending}", icc_profile=PROFILE)
    saved = save_and_open(tmp_path / f"a.{ending}", tmp_path / "out.png", lambda p: p.image)
    assert saved.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("dpi", [(300, 300), (72, 144)])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_the_resolution_of_a_jpeg_survives(tmp_path, ending, dpi):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg", dpi=dpi)
    saved = save_and_open(tmp_path / "a.jpg", tmp_path / f"out.{ending}")
    assert saved.info["dpi"] == pytest.approx(dpi, abs=0.1)


@pytest.mark.parametrize("dpi", [None, (0, 0), (float("nan"), 72), (-3, 5), (1e300, 1), "72", (1,)])
def test_a_resolution_that_cannot_be_is_left_out(dpi):
    assert not build_metadata({"dpi": dpi}, keep_profile=True)


@pytest.mark.parametrize("info", [{"jfif_unit": 0}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_no_resolution_is_made_up(info):
    chunks = build_metadata({"dpi": (72, 72), **info}, keep_profile=True)
    assert all(chunk.kind != b"pHYs" for chunk in chunks)


@pytest.mark.parametrize("body", [b"", b"\0" * 8, struct.pack(">IIB", 1, 2, 0)])
def test_a_damaged_resolution_is_none(body):
    assert read_resolution(Chunk(b"pHYs", body)) is None


def user_comment(text, coding, order=">"):
    """EXIF with a user comment, as piexif (the WebUI) and others write it."""
    codes = {"utf-16-be": b"UNICODE\0", "utf-16-le": b"UNICODE\0", "ascii": b"ASCII\0\0\0"}
    comment = codes.get(coding, b"\0" * 8) + text.encode(coding)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    second = struct.pack(order + "HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return head + first + second + comment


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "ascii", "utf-8"])
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_the_parameters_of_jpeg_and_webp_become_those_of_the_png(tmp_path, ending, coding):
    source = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8), "red").save(
        source, exif=b"Exif\0\0" + user_comment(PARAMETERS, coding)
    )
    saved = save_and_open(source, tmp_path / "out.png")
    assert saved.info["parameters"] == PARAMETERS
    assert read_user_comment(saved.info["exif"].removeprefix(b"Exif\0\0"))


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "ascii", "utf-8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_parameters_are_found_in_either_byte_order_of_the_file(order, coding):
    exif = user_comment(PARAMETERS, coding, order)
    assert read_user_comment(exif) == PARAMETERS


def test_the_comment_of_a_jpeg_survives(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg", comment="drawn by hand")
    assert (
        save_and_open(tmp_path / "a.jpg", tmp_path / "out.png").info["Comment"] == "drawn by hand"
    )


@settings(max_examples=200, deadline=None)
@given(exif=st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b"II*\0\x08\0\0\0" + b))
def test_any_exif_is_read_without_complaint(exif):
    assert read_orientation(exif) in range(1, 9)
    upright = set_upright(exif)
    assert len(upright) >= len(exif) or read_orientation(upright) == 1
    read_user_comment(exif)


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_a_text_chunk_says_what_it_was_given(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "text.png"
    Image.new("L", (1, 1)).save(path)
    data = insert_after_header(path.read_bytes(), [text_chunk("parameters", text)])
    path.write_bytes(data)
    with Image.open(path) as opened:
        assert opened.info["parameters"] == text


@settings(max_examples=50, deadline=None)
@given(bodies=st.lists(st.tuples(st.sampled_from([b"tEXt", b"IDAT", b"abCd"]), st.binary())))
def test_splitting_undoes_joining(bodies):
    chunks = tuple(Chunk(kind, body) for kind, body in bodies)
    assert split_png(join_png(chunks)) == chunks


def test_a_mark_takes_the_place_of_an_older_one_and_of_nothing_else(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    save_picture(picture, picture.image, tmp_path / "b.png", text_chunk("mark", "old"))
    again = load_picture(tmp_path / "b.png")
    for image in (again.image, painted(again)):
        save_picture(again, image, tmp_path / "c.png", text_chunk("mark", "new"))
        marks = [c for c in load_picture(tmp_path / "c.png").metadata if c.keyword == "mark"]
        assert marks == [text_chunk("mark", "new")]
    # The picture data of the copy are those of the source, byte for byte.
    chunks = [split_png((tmp_path / name).read_bytes()) for name in ("a.png", "b.png")]
    assert [c for c in chunks[1] if c.keyword != "mark"] == list(chunks[0])
