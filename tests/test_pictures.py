"""Picture files: what goes in comes out."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures import load_mask, load_picture, save_picture
from handrefiner_ext.pictures.decode import own_pixels
from handrefiner_ext.pictures.metadata import Chunk, text_chunk
from handrefiner_ext.pictures.picture import (
    encode_map,
    encode_png,
    repaint,
    to_grey,
    write_atomically,
)

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
OWN_MODES = st.sampled_from(
    [
        *((1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8)),
        *((1, np.uint16), (3, np.uint16), (4, np.uint16)),
    ]
)


def random_pixels(size, channels, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (*size, channels)).astype(dtype)


def stored_pixels(path):
    """What a PNG holds, read without the project's code."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if path.read_bytes()[24] == 16:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2:
            return pixels[..., None]
        return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    with Image.open(path) as opened:
        pixels = np.array(opened)
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@settings(max_examples=60, deadline=None)
@given(size=SIZES, mode=OWN_MODES, seed=st.integers(0, 99))
def test_pixels_that_are_not_repainted_keep_every_bit(folder, size, mode, seed):
    pixels = random_pixels(size, *mode, seed=seed)
    source, target = folder / "in.png", folder / "out.png"
    source.write_bytes(encode_png(pixels))
    picture = load_picture(source)
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < 0.5
    image = np.where(mask[..., None], rng.integers(0, 256, (*size, 3)), picture.image)
    save_picture(picture, image.astype(np.uint8), target)
    stored = stored_pixels(target)
    assert stored.dtype == pixels.dtype
    assert stored.shape == pixels.shape
    np.testing.assert_array_equal(stored[~mask], pixels[~mask])
    if mode[0] in (2, 4):
        np.testing.assert_array_equal(stored[..., -1], pixels[..., -1])


@settings(max_examples=40, deadline=None)
@given(size=SIZES, mode=OWN_MODES, seed=st.integers(0, 99))
def test_repainted_pixels_are_the_painted_ones(folder, size, mode, seed):
    source, target = folder / "in.png", folder / "out.png"
    source.write_bytes(encode_png(random_pixels(size, *mode, seed=seed)))
    image = random_pixels(size, 3, np.uint8, seed + 1)
    save_picture(load_picture(source), image, target)
    again = load_picture(target).image
    if mode[0] >= 3:
        np.testing.assert_array_equal(again, image)
    else:
        grey = np.array(Image.fromarray(image).convert("L"))
        np.testing.assert_array_equal(again, grey[..., None].repeat(3, axis=2))


@settings(max_examples=40, deadline=None)
@given(size=SIZES, mode=OWN_MODES, seed=st.integers(0, 99))
def test_an_unchanged_png_is_copied_byte_for_byte(folder, size, mode, seed):
    source, target = folder / "in.png", folder / "out.png"
    source.write_bytes(encode_png(random_pixels(size, *mode, seed=seed)))
    picture = load_picture(source)
    save_picture(picture, picture.image, target)
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_worked_on_as_their_high_bytes(tmp_path, channels):
    pixels = random_pixels((9, 7), channels, np.uint16)
    (tmp_path / "deep.png").write_bytes(encode_png(pixels))
    picture = load_picture(tmp_path / "deep.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    high = (pixels >> 8).astype(np.uint8)
    np.testing.assert_array_equal(picture.image, np.broadcast_to(high[..., :3], (9, 7, 3)))
    if channels >= 3:  # Pillow's reading of 16-bit colour, as a second opinion
        with Image.open(tmp_path / "deep.png") as opened:
            np.testing.assert_array_equal(np.array(opened.convert("RGB")), picture.image)


def test_black_and_white_are_painted_as_the_ends_of_sixteen_bits(tmp_path):
    (tmp_path / "deep.png").write_bytes(encode_png(np.full((2, 1, 3), 9999, dtype=np.uint16)))
    image = np.array([[[0, 0, 0]], [[255, 255, 255]]], dtype=np.uint8)
    pixels = repaint(load_picture(tmp_path / "deep.png"), image)
    np.testing.assert_array_equal(pixels[:, 0, 0], [0, 65535])


def palette_picture(transparent):
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).quantize(16)
    extra = {"transparency": 3} if transparent else {}
    return picture, extra


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_palette_is_turned_into_the_colours_it_stands_for(tmp_path, name, transparent):
    palette, extra = palette_picture(transparent)
    palette.save(tmp_path / name, **extra)
    picture = load_picture(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        expected = np.array(opened.convert("RGBA"))
    assert picture.pixels.shape[2] == (4 if transparent else 3)
    np.testing.assert_array_equal(picture.pixels, expected[..., : picture.pixels.shape[2]])


@pytest.mark.parametrize(
    ("mode", "key"), [("L", 7), ("RGB", (7, 8, 9)), ("1", 255)], ids=["grey", "colour", "bit"]
)
def test_a_transparent_colour_becomes_alpha(tmp_path, mode, key):
    grey = np.full((4, 5), 200 if mode != "1" else 0, dtype=np.uint8)
    picture = Image.fromarray(grey).convert(mode)
    picture.putpixel((2, 1), key)
    picture.save(tmp_path / "a.png", transparency=key)
    pixels = load_picture(tmp_path / "a.png").pixels
    hidden = np.zeros((4, 5), dtype=bool)
    hidden[1, 2] = True
    np.testing.assert_array_equal(pixels[..., -1] == 0, hidden)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_sixteen_bits_becomes_alpha(tmp_path, channels):
    pixels = random_pixels((6, 5), channels, np.uint16)
    key = Chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(encode_png(pixels, (key,)))
    loaded = load_picture(tmp_path / "a.png").pixels
    assert loaded.shape[2] == 4
    np.testing.assert_array_equal(loaded[..., 3] == 0, (pixels == pixels[2, 3]).all(axis=2))
    np.testing.assert_array_equal(loaded[..., :3], np.broadcast_to(pixels, (6, 5, 3)))


MODES = ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16")
WRITTEN = {  # what Pillow writes each format in
    "png": MODES[:6] + MODES[7:],
    "jpg": ("1", "L", "RGB", "CMYK"),
    "webp": MODES[:6],
    "bmp": ("1", "L", "RGB", "RGBA", "P"),
    "tif": MODES,
    "gif": MODES[:6],
}


@pytest.mark.parametrize(
    ("ending", "mode"), [(ending, mode) for ending, modes in WRITTEN.items() for mode in modes]
)
def test_every_mode_that_pillow_writes_is_read_as_pillow_shows_it(tmp_path, ending, mode):
    rng = np.random.default_rng(1)
    colours = Image.fromarray(rng.integers(0, 256, (16, 12, 4), dtype=np.uint8))
    picture = (
        Image.fromarray(rng.integers(0, 65536, (16, 12), dtype=np.uint16))
        if mode == "I;16"
        else colours.convert("RGB").convert(mode)
        if mode in ("1", "P", "CMYK")
        else colours.convert(mode)
    )
    path = tmp_path / f"a.{ending}"
    picture.save(path)
    with Image.open(path) as opened:
        if opened.mode.startswith("I"):
            expected = np.array(opened).astype(np.uint16)[..., None].repeat(3, axis=2) >> 8
        else:
            expected = np.array(opened.convert("RGBA" if "A" in opened.mode else "RGB"))[..., :3]
    loaded = load_picture(path)
    np.testing.assert_array_equal(loaded.image, expected)
    save_picture(loaded, loaded.image, tmp_path / "out.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "out.png").image, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_a_turned_picture_is_set_upright_once(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    colours = random_pixels((16, 24), 3, np.uint8)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(colours).save(path, exif=exif, lossless=True)
    with Image.open(path) as opened:
        upright = np.array(ImageOps.exif_transpose(opened).convert("RGB"))
    picture = load_picture(path)
    np.testing.assert_array_equal(picture.image, upright)
    save_picture(picture, picture.image, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        np.testing.assert_array_equal(np.array(ImageOps.exif_transpose(saved)), upright)
        assert saved.size == upright.shape[1::-1]
        assert saved.getexif()[0x0112] == 1
        assert saved.getexif()[0x010F] == "Maker"


def test_the_mask_drawn_by_hand_is_white_and_not_transparent(tmp_path):
    drawn = np.zeros((4, 6, 4), dtype=np.uint8)
    drawn[:, :3] = (255, 255, 255, 255)
    drawn[:, 3] = (255, 255, 255, 0)
    (tmp_path / "mask.png").write_bytes(encode_png(drawn))
    mask = load_mask(tmp_path / "mask.png", 4, 6)
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(6) < 3, (4, 6)))


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    (tmp_path / "mask.png").write_bytes(encode_png(np.zeros((4, 6), dtype=np.uint8)))
    with pytest.raises(PictureError, match=r"6 × 4 pixels but the picture has 7 × 4"):
        load_mask(tmp_path / "mask.png", 4, 7)


def test_grey_is_what_pillow_calls_grey():
    image = random_pixels((64, 64), 3, np.uint8)
    np.testing.assert_array_equal(to_grey(image), np.array(Image.fromarray(image).convert("L")))


def test_loading_changes_nothing_in_what_is_kept(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(random_pixels((5, 5), 3, np.uint8)))
    picture = load_picture(path)
    before = picture.pixels.copy()
    image = 255 - picture.image
    repaint(picture, image)
    np.testing.assert_array_equal(picture.pixels, before)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def disk_full(self, data):
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(PictureError, match="No space left on device"):
        write_atomically(path, b"new content")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_in_the_way_of_an_output_is_a_sentence(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(PictureError, match="cannot be written"):
        write_atomically(tmp_path / "a.png", b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a b.png", "ñandú 手.png", "x" * 200 + ".png", "a.b.c.png"])
def test_any_file_name_is_read(tmp_path, name):
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    (tmp_path / name).write_bytes(encode_png(pixels))
    np.testing.assert_array_equal(load_picture(tmp_path / name).image, pixels)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_used_and_the_user_told(tmp_path, ending):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    path = tmp_path / f"a.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    picture = load_picture(path)
    assert (picture.image == (255, 0, 0)).all()
    assert picture.notes == ("Only the first frame is used.",)


def test_a_still_picture_has_no_notes(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.webp")
    assert load_picture(tmp_path / "a.webp").notes == ()


def test_a_printers_profile_is_applied_and_not_kept(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    with Image.open(tmp_path / "a.jpg") as opened:
        expected = np.array(opened.convert("RGB"))
    np.testing.assert_array_equal(load_picture(tmp_path / "a.jpg").image, expected)


def test_png_encoding_is_lossless_for_pillow_too():
    pixels = random_pixels((10, 11), 4, np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as opened:
        np.testing.assert_array_equal(np.array(opened), pixels)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    colour=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_map_is_a_png_with_the_same_pixels_and_its_chunks(size, colour, seed):
    shape = (*size, 3) if colour else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    data = encode_map(pixels, (text_chunk("key", "value"),))
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(np.array(opened), pixels)
        assert opened.info["key"] == "value"
    flag = cv2.IMREAD_UNCHANGED
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    np.testing.assert_array_equal(stored[..., ::-1] if colour else stored, pixels)


def test_maps_stay_small():
    """At most half as large again as the slower encoder of pictures makes them."""
    depth = np.zeros((512, 512), dtype=np.uint8)
    yy, xx = np.mgrid[:512, :512]
    inside = (yy - 250) ** 2 + (xx - 200) ** 2 < 150**2
    depth[inside] = (51 + (yy + xx)[inside] / 5).astype(np.uint8)
    mask = np.where(depth > 0, 255, 0).astype(np.uint8)
    small = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    photo = cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC)
    for pixels in (depth, mask, photo):
        assert len(encode_map(pixels)) < 1.5 * len(encode_png(pixels))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_huge_picture_lies_in_memory_once_beside_pillows_own(mode):
    opened = Image.new(mode, (3000, 2000), "teal" if mode != "L" else 7)
    tracemalloc.start()
    pixels = own_pixels(opened)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(pixels[-1, -1], np.atleast_1d(opened.getpixel((0, 0))))
    assert peak < 1.5 * pixels.nbytes
