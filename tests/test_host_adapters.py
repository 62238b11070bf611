"""What the adapters can be asked without their WebUI: sketches, headers, which one is chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from handrefiner_ext.host.adapters.a1111 import A1111
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.adapters.forge import TEXT_KEY, family_of_file
from handrefiner_ext.host.inputs import read_drawn_mask
from handrefiner_ext.host.sketch import split_sketch

PICTURE = Image.fromarray(np.full((4, 6, 3), 90, np.uint8))


def layer(painted):
    """A layer of gradio 4 with white paint where `painted`, (H, W) bool, says."""
    shown = np.zeros((*painted.shape, 4), np.uint8)
    shown[painted] = 255
    return Image.fromarray(shown)


def write_header(path, width, *names):
    header = {"__metadata__": {"format": "pt"}, TEXT_KEY: {"shape": [320, width]}}
    header |= {name: {"shape": [4, 4]} for name in names}
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + b"weights")
    return path


def test_the_stand_in_is_an_a1111():
    assert type(the_host()) is A1111


def test_both_gradios_give_the_same_picture_and_mask():
    painted = np.zeros((4, 6), dtype=bool)
    painted[1:3, 2:5] = True
    of_3 = {"image": PICTURE, "mask": Image.fromarray(painted)}
    parts = [painted & (np.arange(6) < 3), painted & (np.arange(6) >= 3)]
    of_4 = {"background": PICTURE, "layers": [layer(p) for p in parts], "composite": PICTURE}
    for sketch in (of_3, of_4):
        assert split_sketch(sketch).picture is PICTURE
        assert np.array_equal(read_drawn_mask(sketch, (4, 6)), painted)


@pytest.mark.parametrize("layers", [[], [layer(np.zeros((4, 6), dtype=bool))]])
def test_the_picture_itself_is_no_mask(layers):
    sketch = {"background": PICTURE, "layers": layers, "composite": PICTURE}
    assert read_drawn_mask(sketch, (4, 6)) is None


def test_an_empty_editor_holds_no_picture():
    for background in (None, Image.new("RGBA", (800, 600))):
        sketch = {"background": background, "layers": [], "composite": background}
        assert split_sketch(sketch).picture is None
    seen = Image.new("RGBA", (4, 6), (0, 0, 0, 255))
    assert split_sketch({"background": seen, "layers": []}).picture is seen
    assert split_sketch("base64 text") is None


@pytest.mark.parametrize(
    ("width", "family"), [(768, "sd1"), (1024, "sd2"), (1280, "sdxl"), (2048, "sdxl")]
)
def test_a_checkpoint_that_is_not_loaded_yet_tells_its_family_by_its_header(
    tmp_path, width, family
):
    assert family_of_file(write_header(tmp_path / "x.safetensors", width)) == family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("conditioner.embedders.1.model.ln_final.bias", "sdxl"),
        ("cond_stage_model.model.ln_final.bias", "sd2"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "sd1"),
        ("model.diffusion_model.double_blocks.0.img_attn.proj.bias", "flux"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.proj.bias", "sd3"),
        ("first_stage_model.decoder.conv_in.bias", "other"),
    ],
)
def test_where_the_width_is_of_none_the_names_tell_the_family(tmp_path, name, family):
    assert family_of_file(write_header(tmp_path / "x.safetensors", 320, name)) == family
    assert family_of_file(write_header(tmp_path / "y.safetensors", 768, name)) == "sd1"


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}", b"\x04" + b"\0" * 11]
)
def test_a_file_that_tells_no_family_is_of_an_unknown_one(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    assert family_of_file(path) == "other"
    assert family_of_file(tmp_path / "none") == "other"
