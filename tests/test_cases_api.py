"""What a path accepts, PIL pictures and arrays accept; a result is saved as its name says."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hand_scenes import BOTH, hold_tiny_backends, picture_with
from PIL import Image, ImageOps

from handrefiner_ext import hints, refine
from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.pictures import encode_png, load_picture, take_picture
from handrefiner_ext.pictures.metadata import list_exif_texts, read_text, read_user_comment

PARAMETERS = "a woman waving, ü, 手\nNegative prompt: bad hands\nSteps: 20, Sampler: Euler a"
PROMPT = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}})
WORKFLOW = json.dumps({"nodes": [{"id": 1, "type": "KSampler"}], "version": 0.4})


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    return hold_tiny_backends(monkeypatch)


def texts_of(path):
    chunks = load_picture(path).metadata
    return {chunk.keyword: read_text(chunk) for chunk in chunks if chunk.keyword}


# --- a picture and its mask in any form


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_a_pil_picture_is_worked_on_like_its_file(mode, tmp_path):
    pixels = picture_with(BOTH)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "LA":
        image = image.convert("L").convert("LA")
        image.putalpha(Image.fromarray(pixels[..., 0]))
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    from_file, from_pil = refine(path, keep_best=False), refine(image, keep_best=False)
    np.testing.assert_array_equal(from_pil.image, from_file.image)
    assert from_pil.source.pixels.dtype == from_file.source.pixels.dtype
    np.testing.assert_array_equal(from_pil.source.pixels, from_file.source.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_picture_stands_upright_as_its_file_does(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    with Image.open(tmp_path / "a.jpg") as opened:
        upright = np.array(ImageOps.exif_transpose(opened))
        seen = hints(opened)
        np.testing.assert_array_equal(seen.image, upright)
    np.testing.assert_array_equal(hints(tmp_path / "a.jpg").image, upright)


def test_a_pil_picture_keeps_its_transparency_and_texts(tmp_path):
    pixels = np.dstack([picture_with(BOTH), np.full((60, 120), 99, dtype=np.uint8)])
    image = Image.fromarray(pixels)
    image.info["parameters"] = PARAMETERS
    refine(image, keep_best=False).save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as saved:
        assert saved.info["parameters"] == PARAMETERS
        assert (np.array(saved)[..., 3] == 99).all()


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_array_is_worked_on_like_its_file(channels, kind, tmp_path):
    base = picture_with(BOTH)
    planes = {None: base[..., 0], 1: base[..., :1], 2: base[..., :2], 3: base}
    array = planes.get(channels, np.dstack([base, base[..., :1]]))
    array = array.astype(kind) * (257 if kind is np.uint16 else 1)
    if channels == 2 and kind is np.uint16:  # OpenCV writes no grey with alpha of 16 bits
        assert refine(array, keep_best=False).image.shape == (60, 120, 3)
        return
    (tmp_path / "a.png").write_bytes(encode_png(array))
    from_file = refine(tmp_path / "a.png", keep_best=False)
    np.testing.assert_array_equal(refine(array, keep_best=False).image, from_file.image)


def test_an_array_in_which_nothing_changes_is_the_result_itself():
    image = picture_with(())
    assert refine(image).image is image


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 5)), np.zeros((4, 5, 5), np.uint8), np.zeros((0, 5), np.uint8), 7]
)
def test_what_is_no_picture_is_a_sentence(wrong):
    with pytest.raises(PictureError, match=r"The picture (must be a path|needs pixels)"):
        refine(wrong)


def test_a_drawn_mask_may_have_any_form(tmp_path):
    image = picture_with(BOTH)
    drawn = np.zeros((60, 120), dtype=bool)
    drawn[10:50, 10:50] = True
    grey = np.where(drawn, 255, 0).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    forms = [drawn, grey, drawn.astype(int), grey[..., None].repeat(3, axis=2)]
    forms += [Image.fromarray(grey), tmp_path / "mask.png", str(tmp_path / "mask.png")]
    for form in forms:
        result = refine(image, mask="drawn", drawn_mask=form, keep_best=False)
        changed = (result.image != image).any(axis=2)
        np.testing.assert_array_equal(changed, drawn)
    small = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    photo = cv2.resize(small, (120, 60))
    with pytest.raises(PictureError, match="drawn_mask is a picture, not a mask"):
        refine(image, mask="drawn", drawn_mask=photo)
    with pytest.raises(PictureError, match="has 5 × 4 pixels but the picture has 120 × 60"):
        refine(image, mask="drawn", drawn_mask=np.zeros((4, 5), np.uint8))


def test_lists_may_be_given_as_lists():
    image = picture_with(BOTH)
    as_text = hints(image, boxes="10,10,50,50;70,10,110,50", hands="1,2", occlusion_order="2,1")
    for boxes in (
        [(10, 10, 50, 50), (70, 10, 110, 50)],
        np.array([[10, 10, 50, 50], [70, 10, 110, 50]]),
    ):
        as_list = hints(image, boxes=boxes, hands=[1, 2], occlusion_order=(2, 1))
        np.testing.assert_array_equal(as_list.maps.control, as_text.maps.control)
    with pytest.raises(InvalidParameter, match="hands"):
        hints(image, hands=["nobody"])


# --- saved as the name says


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.webp", "WEBP"), ("x.png", "PNG"), ("x", "PNG")],
)
def test_a_result_is_saved_in_the_format_that_its_name_says(name, kind, tmp_path):
    image = Image.fromarray(picture_with(BOTH))
    image.info["parameters"] = PARAMETERS
    result = refine(image, keep_best=False)
    result.save(tmp_path / name)
    with Image.open(tmp_path / name) as saved:
        assert saved.format == kind
        apart = abs(np.array(saved.convert("RGB")).astype(int) - result.image)
        assert apart.mean() < (0.5 if kind == "PNG" else 12)
    assert texts_of(tmp_path / name)["parameters"] == PARAMETERS


def test_quality_is_what_it_says(tmp_path):
    result = refine(picture_with(()))
    for ending in ("jpg", "webp"):
        for quality in (20, 90):
            result.save(tmp_path / f"{quality}.{ending}", quality=quality)
        sizes = [(tmp_path / f"{quality}.{ending}").stat().st_size for quality in (20, 90)]
        assert sizes[0] < 0.6 * sizes[1]


def test_what_a_format_cannot_hold_is_a_sentence(tmp_path):
    pixels = np.dstack([picture_with(BOTH), np.full((60, 120), 99, dtype=np.uint8)])
    result = refine(pixels, keep_best=False)
    with pytest.raises(PictureError, match="cannot hold this picture's transparency; use PNG"):
        result.save(tmp_path / "x.jpg")
    with pytest.raises(PictureError, match=r"cannot be written as '\.gif'; use"):
        result.save(tmp_path / "x.gif")
    result.save(tmp_path / "x.webp")
    with Image.open(tmp_path / "x.webp") as saved:
        assert saved.mode == "RGBA"
    assert [path.name for path in tmp_path.iterdir()] == ["x.webp"]


def test_a_jpeg_is_written_with_the_tables_of_its_source(tmp_path):
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "a.jpg", quality=63, subsampling=2)
    refine(tmp_path / "a.jpg", keep_best=False).save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "a.jpg") as a, Image.open(tmp_path / "b.jpg") as b:
        assert a.quantization == b.quantization
        assert a.layer == b.layer  # the sampling of each channel


# --- ComfyUI's workflow goes where ComfyUI looks for it


def save_comfy_webp(path, **options):
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = f"prompt:{PROMPT}", f"workflow:{WORKFLOW}"
    Image.fromarray(picture_with(BOTH)).save(path, exif=exif, **options)


def test_the_workflow_of_a_webp_becomes_texts_of_a_png(tmp_path):
    save_comfy_webp(tmp_path / "a.webp", lossless=True)
    refine(tmp_path / "a.webp", keep_best=False).save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as saved:
        assert saved.info["prompt"] == PROMPT
        assert saved.info["workflow"] == WORKFLOW


def test_the_workflow_of_a_png_becomes_exif_of_a_webp_and_stays_there(tmp_path):
    image = Image.fromarray(picture_with(BOTH))
    image.info |= {"prompt": PROMPT, "workflow": WORKFLOW}
    refine(image, keep_best=False).save(tmp_path / "a.webp")
    refine(tmp_path / "a.webp", keep_best=False).save(tmp_path / "b.webp")
    for name in ("a.webp", "b.webp"):
        with Image.open(tmp_path / name) as saved:
            exif = saved.getexif()
            assert exif[0x0110] == f"prompt:{PROMPT}"
            assert exif[0x010F] == f"workflow:{WORKFLOW}"
            texts = list_exif_texts(saved.info["exif"].removeprefix(b"Exif\0\0"))
            assert sorted(texts) == [f"prompt:{PROMPT}", f"workflow:{WORKFLOW}"]


def test_a_prompt_too_long_for_a_jpeg_leaves_the_picture_readable(tmp_path, caplog):
    image = Image.fromarray(picture_with(BOTH))
    image.info["parameters"] = "long " * 20_000
    refine(image, keep_best=False).save(tmp_path / "a.jpg")
    assert "does not fit into a JPEG" in caplog.text
    assert load_picture(tmp_path / "a.jpg").image.shape == (60, 120, 3)


def test_other_exif_stays_beside_the_parameters(tmp_path):
    image = Image.fromarray(picture_with(BOTH))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image.info |= {"exif": exif.tobytes(), "parameters": PARAMETERS}
    refine(image, keep_best=False).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.getexif()[0x010E] == "a description"
        assert read_user_comment(saved.info["exif"].removeprefix(b"Exif\0\0")) == PARAMETERS


def test_a_picture_taken_is_the_picture_given():
    image = picture_with(BOTH)
    assert take_picture(image).image is image
