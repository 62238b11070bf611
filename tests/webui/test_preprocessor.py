"""Our depth as a preprocessor of ControlNet, through its own route and in a unit of its own."""

from __future__ import annotations

import numpy as np
import pytest
from generation import SIZE, alike, control_model, decode, encode, img2img

from handrefiner_ext.api import PREFIX

NAME = "depth_hand_open"


def detect(host, picture, resolution=SIZE):
    body = {"controlnet_module": NAME, "controlnet_input_images": [encode(picture)]}
    said = host.post("/controlnet/detect", {**body, "controlnet_processor_res": resolution})
    (image,) = said["images"]
    return decode(image)


def test_controlnet_lists_it(host):
    assert NAME in host.get("/controlnet/module_list")["module_list"]


@pytest.mark.parametrize("resolution", [SIZE, SIZE // 2])
def test_controlnets_route_answers_with_our_depth(host, woman, resolution):
    ours = decode(host.post(PREFIX + "/hints", {"image": encode(woman)})["depth"])
    made = detect(host, woman, resolution)
    assert made.shape == (resolution, resolution, 3)
    assert made.any()
    if resolution == SIZE:
        np.testing.assert_array_equal(made, ours)


def test_a_picture_without_a_hand_gives_an_empty_map_and_a_warning(host):
    logged = len(host.read_log())
    assert not detect(host, np.full((256, 256, 3), 128, np.uint8), 256).any()
    if host.log is not None:
        assert f"{NAME} gives an empty map" in host.read_log()[logged:]


def test_a_unit_of_ones_own_is_steered_by_it(host, woman):
    unit = {"enabled": True, "module": NAME, "image": encode(woman)}
    unit["model"] = control_model(host)
    more = {"denoising_strength": 0.3, "steps": 4}
    bare = img2img(host, woman, **more)
    scripts = {"ControlNet": {"args": [{**unit, "pixel_perfect": True}]}}
    steered = img2img(host, woman, alwayson_scripts=scripts, **more)
    assert not alike(steered.image, bare.image)
