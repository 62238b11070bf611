"""What a checkpoint's name says, and the warning where picture and hands need different steps."""

from __future__ import annotations

import pytest

from handrefiner_ext.inpaint.checkpoints import (
    Engine,
    find_family,
    find_few_steps,
    warn_of_pace,
)
from handrefiner_ext.params import RefineParams

USUAL = "v1-5-pruned-emaonly.safetensors [6ce0161689]"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sd_xl_turbo_1.0_fp16.safetensors [e869ac7d69]", "Turbo"),
        ("juggernautXL_v9Rdphoto2Lightning.safetensors", "Lightning"),
        ("dreamshaper_8LCM", "LCM"),
        ("LCM_Dreamshaper_v7_4k", "LCM"),
        ("Hyper-SDXL-8steps-lora", "Hyper"),
        ("ponyRealism_V22MainVAE_DMD2", "DMD2"),
        (USUAL, None),
        ("hyperrealism_v3", None),
        ("calcmodel_v2", None),
        ("realisticVisionV60B1_v51HyperVAE", "Hyper"),
    ],
)
def test_a_name_says_whether_few_steps_do(name, kind):
    assert find_few_steps(name) == kind


def test_a_lora_of_the_prompt_makes_a_checkpoint_fast():
    assert find_few_steps(USUAL, "a hand <lora:lcm-lora-sdv1-5:1>") == "LCM"
    assert find_few_steps(USUAL, "a hand <lora:detail:1>, turbo engine") is None


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ponyDiffusionV6XL_v6StartWithThisOne", "Pony"),
        ("Illustrious-XL-v0.1", "Illustrious"),
        ("noobaiXLNAIXL_vPred10Version", "Illustrious"),
        ("animagine-xl-4.0", "Animagine"),
        ("sd_xl_base_1.0", None),
    ],
)
def test_a_name_says_which_family_of_sdxl_it_is_of(name, family):
    assert find_family(name) == family


FAST = "sd_xl_turbo_1.0"
PLAIN = RefineParams()


def test_equal_pace_needs_no_words():
    assert warn_of_pace(Engine(FAST), Engine(FAST), PLAIN) is None
    assert warn_of_pace(Engine(USUAL), Engine("other"), PLAIN) is None
    assert warn_of_pace(Engine(FAST), Engine("juggernaut_lightning"), PLAIN) is None


@pytest.mark.parametrize(
    ("picture", "hands", "said"),
    [
        (Engine(FAST), Engine(USUAL), "with Turbo in few steps, the hands are not"),
        (Engine(USUAL), Engine(FAST), "the hands are painted with Turbo"),
        (Engine(USUAL, "<lora:lcm-lora:1>"), Engine(USUAL, "a fist"), "with LCM in few steps"),
    ],
)
def test_steps_that_do_not_suit_are_said_until_both_are_set(picture, hands, said):
    sentence = warn_of_pace(picture, hands, PLAIN)
    assert said in sentence
    assert sentence.startswith("Set Steps and CFG scale")
    assert warn_of_pace(picture, hands, RefineParams(steps=20)) == sentence
    assert warn_of_pace(picture, hands, RefineParams(steps=20, cfg_scale=7.0)) is None
