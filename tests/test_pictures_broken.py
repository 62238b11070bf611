"""What cannot be read is refused with a sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures import encode_png, load_picture
from handrefiner_ext.pictures.decode import decode
from handrefiner_ext.pictures.metadata import Chunk, join_png, split_png

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def encode(name):
    rng = np.random.default_rng(3)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(buffer, name)
    return buffer.getvalue()


ENCODED = {name: encode(name) for name in FORMATS}
ENCODED["DEEP"] = encode_png(np.arange(480 * 3, dtype=np.uint16).reshape(24, 20, 3) * 40)


def decode_or_refuse(data):
    try:
        pixels = decode(data).pixels
    except PictureError:
        return None
    assert pixels.ndim == 3
    assert pixels.dtype in (np.uint8, np.uint16)
    return pixels


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(ENCODED)), where=st.floats(0, 1), what=st.binary(max_size=6))
def test_overwritten_bytes_give_a_picture_or_a_sentence(name, where, what):
    data = ENCODED[name]
    at = int(where * len(data))
    decode_or_refuse(data[:at] + what + data[at + len(what) :])


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(ENCODED)), share=st.floats(0, 0.9))
def test_a_file_that_breaks_off_is_refused(name, share):
    data = ENCODED[name]
    # JPEG and GIF decoders may find all rows in what is left; PNG, WebP, BMP never do.
    pixels = decode_or_refuse(data[: int(share * len(data))])
    assert pixels is None or name in ("JPEG", "GIF", "TIFF")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"pHYs"]),
    body=st.binary(max_size=40),
    deep=st.booleans(),
)
def test_hostile_chunks_give_a_picture_or_a_sentence(kind, body, deep):
    header, *rest = split_png(ENCODED["DEEP" if deep else "PNG"])
    decode_or_refuse(join_png([header, Chunk(kind, body), *rest]))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.png is empty."),
        (b"hello", "a.png is not a picture that can be read; use PNG, JPEG or WebP."),
        (b"\x89PNG\r\n\x1a\n", "is damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
    ],
    ids=["empty", "text", "signature", "postscript", "svg"],
)
def test_files_that_are_no_pictures_are_named_as_such(tmp_path, content, sentence):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=sentence):
        load_picture(tmp_path / "a.png")


@pytest.mark.parametrize("depth", [8, 16])
def test_a_bomb_is_refused_before_it_unpacks(tmp_path, depth):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, depth, 2, 0, 0, 0)
    chunks = [
        Chunk(b"IHDR", header),
        Chunk(b"IDAT", zlib.compress(b"\0" * 99)),
        Chunk(b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(join_png(chunks))
    with pytest.raises(PictureError, match="pixels"):
        load_picture(tmp_path / "a.png")


def test_a_size_just_above_the_limit_is_refused_with_the_limit(tmp_path):
    header = struct.pack(">IIBBBBB", 10_001, 10_000, 8, 0, 0, 0, 0)
    chunks = [
        Chunk(b"IHDR", header),
        Chunk(b"IDAT", zlib.compress(b"\0" * 99)),
        Chunk(b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(join_png(chunks))
    with pytest.raises(PictureError, match="has 10001 × 10000 pixels; at most 100 million"):
        load_picture(tmp_path / "a.png")


def test_missing_files_folders_and_devices_are_refused(tmp_path):
    with pytest.raises(PictureError, match=r"nothing\.png does not exist"):
        load_picture(tmp_path / "nothing.png")
    with pytest.raises(PictureError, match="is a folder, not a picture"):
        load_picture(tmp_path)
    if os.path.exists("/dev/zero"):
        with pytest.raises(PictureError, match="is a device or a pipe"):
            load_picture(Path("/dev/zero"))


def test_thirty_two_bits_a_channel_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=r"a\.tif has 32 bits a channel"):
        load_picture(tmp_path / "a.tif")
