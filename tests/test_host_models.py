"""Which ControlNet model suits a checkpoint, and what is said where none does."""

from __future__ import annotations

import itertools

import pytest

from handrefiner_ext.host.controlnet import choose_model, make_unit, model_family
from handrefiner_ext.params import RefineParams

HAND = "control_sd15_inpaint_depth_hand_fp16 [09456e54]"
DEPTH = "control_v11f1p_sd15_depth [cfd03158]"
LORA = "control_lora_rank128_v11f1p_sd15_depth_fp16 [d5c2c4f5]"
ADAPTER = "t2iadapter_depth_sd15v2 [3489cd37]"
CANNY = "control_v11p_sd15_canny [d14c016b]"
XL = "diffusers_xl_depth_full [2f51180b]"
XL_ADAPTER = "t2i-adapter_diffusers_xl_depth_midas [9c183166]"
UNION = "controlnet-union-sdxl-1.0-promax [9460e4db]"
ALL = [CANNY, ADAPTER, UNION, LORA, DEPTH, XL_ADAPTER, XL, HAND]


@pytest.mark.parametrize(
    ("family", "order"),
    [("sd1", [HAND, DEPTH, LORA, ADAPTER]), ("sdxl", [XL, XL_ADAPTER, UNION])],
)
def test_the_best_model_installed_is_chosen(family, order):
    for length in range(1, len(order) + 1):
        for some in itertools.combinations(order, length):
            assert choose_model([CANNY, *reversed(some)], family).name == some[0]


@pytest.mark.parametrize("names", [[], [CANNY], [XL, UNION]])
def test_no_fitting_model_is_a_sentence_and_no_guess(names):
    choice = choose_model(names, "sd1")
    assert choice.name is None
    assert "models/ControlNet" in choice.reason


@pytest.mark.parametrize("family", ["sd2", "sd3", "flux", "other"])
def test_another_kind_of_checkpoint_gets_a_sentence(family):
    choice = choose_model(ALL, family, HAND)
    assert choice.name is None
    assert "SDXL" in choice.reason


@pytest.mark.parametrize("wanted", [HAND, HAND.upper(), HAND.split(" [")[0]])
def test_a_model_may_be_named_with_or_without_its_hash(wanted):
    assert choose_model(ALL, "sd1", wanted).name == HAND


def test_a_model_of_another_family_is_refused():
    choice = choose_model(ALL, "sd1", XL)
    assert choice.name is None
    assert "SDXL" in choice.reason


def test_a_part_of_a_name_is_not_enough():
    assert choose_model(ALL, "sd1", "depth").name is None


def test_the_hand_model_recommends_the_default_strength():
    default = RefineParams().strength
    assert choose_model(ALL, "sd1").recommended_strength == default
    assert choose_model([DEPTH], "sd1").recommended_strength != default


@pytest.mark.parametrize(
    ("name", "family"),
    [
        *((name, "sd1") for name in (HAND, DEPTH, LORA, ADAPTER, CANNY)),
        *((name, "sdxl") for name in (XL, XL_ADAPTER, UNION, "noobaiXLControlnet_epsDepth")),
        ("control_v11p_sd21_depth", "sd2"),
        ("flux.1-dev-controlnet-depth", "flux"),
        ("my_depth", None),
    ],
)
def test_a_name_tells_its_family(name, family):
    assert model_family(name) == family


def test_the_unit_carries_the_strength_literally():
    unit = make_unit(HAND, None, RefineParams(strength=0.85, control_mode="prompt"))
    assert unit["weight"] == 0.85
    assert unit["module"] == "none"
    assert unit["control_mode"] == "My prompt is more important"
    assert "union_control_type" not in unit
    assert make_unit(UNION, None, RefineParams())["union_control_type"] == "Depth"
