"""What training reads: the sets of `handrefiner dataset`, masks, and the order of the examples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.cli.commands import main
from handrefiner_ext.errors import HandRefinerError, PictureError
from handrefiner_ext.train.data import HIDDEN_FROM, NARROWEST, WIDEST, Chances, HandSet, draw_mask
from handrefiner_ext.train.memory import check_memory, count_bytes
from handrefiner_ext.train.settings import Settings, keep_settings

COUNT, SIDE = 6, 64


def make_set(folder, *more):
    command = ["dataset", "--count", str(COUNT), "--size", str(SIDE), "--jobs", "1", *more]
    assert main([*command, "--malformed", "0.5", "--seed", "3", "--out_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def rows(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_only_the_well_formed_pictures_are_learnt_from(folder, rows):
    hands = HandSet(folder, SIDE)
    good = [row for row in rows if not row["malformed"]]
    assert 0 < len(good) < COUNT
    assert (len(hands), hands.skipped) == (len(good), COUNT - len(good))
    assert [hands[n].prompt for n in range(len(hands))] == [row["text"] for row in good]


def test_shards_hold_the_same_examples_as_files(folder, tmp_path):
    files, shards = HandSet(folder, SIDE), HandSet(make_set(tmp_path, "--shards", "2"), SIDE)
    assert len(files) == len(shards)
    for number in range(len(files)):
        one, other = files[number], shards[number]
        assert one.prompt == other.prompt
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.control, other.control)


def test_pictures_come_in_the_size_that_is_asked_for(folder):
    example = HandSet(folder, 2 * SIDE)[0]
    assert example.image.shape == (2 * SIDE, 2 * SIDE, 3)
    assert example.control.shape == (2 * SIDE, 2 * SIDE)
    assert example.control.max() > 100


def test_the_colours_are_those_of_the_file(folder, rows):
    from handrefiner_ext.pictures import load_picture

    first = next(row for row in rows if not row["malformed"])
    stored = load_picture(folder / first["file_name"]).image
    np.testing.assert_array_equal(HandSet(folder, SIDE)[0].image, stored)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds neither"),
        ("{", "make it anew"),
        ("{}", "make it anew"),
        ("", "no well-formed"),
        ("[" * 100_000, "make it anew"),
        ('{"file_name": "a\\u0000b", "text": "", "malformed": false}', "is missing"),
    ],
)
def test_what_is_no_set_is_refused_in_a_sentence(tmp_path, text, said):
    if text is not None:
        (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(PictureError, match=said):
        HandSet(tmp_path, SIDE)


def test_a_damaged_picture_is_named(tmp_path):
    folder = make_set(tmp_path)
    hands = HandSet(folder, SIDE)
    for path in (folder / "control").iterdir():
        path.write_bytes(b"")
    with pytest.raises(PictureError, match=r"\.png is damaged"):
        hands[0]


@pytest.mark.parametrize("part", ["images", "control"])
def test_a_picture_that_is_missing_is_named_before_the_training_begins(tmp_path, part):
    folder = make_set(tmp_path)
    gone = min((folder / part).iterdir())
    gone.unlink()
    with pytest.raises(PictureError, match=f"{part}.{gone.name} is missing"):
        HandSet(folder, SIDE)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), epoch=st.integers(0, 5))
def test_every_epoch_shows_every_picture_once(seed, count, epoch):
    chances = Chances(seed, 0.5)
    shown = [
        chances.draw(place, count).number for place in range(epoch * count, (epoch + 1) * count)
    ]
    assert sorted(shown) == list(range(count))


def test_draws_depend_on_seed_and_place_alone():
    def draws(seed):
        return [Chances(seed, 0.5).draw(place, 10) for place in (7, 8)]

    first, again, other = draws(1), draws(1), draws(2)
    for one, two in zip(first, again, strict=True):
        assert (one.number, one.timestep, one.noise_seed) == (
            two.number,
            two.timestep,
            two.noise_seed,
        )
        assert one.rng.uniform() == two.rng.uniform()
    assert first[0].noise_seed != first[1].noise_seed
    assert first[0].noise_seed != other[0].noise_seed


def test_prompts_are_hidden_as_often_as_asked_and_timesteps_are_spread_evenly():
    draws = [Chances(0, 0.25).draw(place, 100) for place in range(4000)]
    hidden = sum(not draw.shows_prompt for draw in draws) / len(draws)
    assert hidden == pytest.approx(0.25, abs=0.03)
    assert all(draw.shows_control for draw in draws)
    tenths = Counter(int(10 * draw.timestep) for draw in draws)
    assert sorted(tenths) == list(range(10))
    assert min(tenths.values()) > 330


def test_pictures_are_hidden_as_often_as_asked_and_only_where_sampling_begins():
    draws = [Chances(0, 0.25, hides_picture=0.2).draw(place, 100) for place in range(4000)]
    hidden = [draw for draw in draws if draw.hides_picture]
    assert len(hidden) / len(draws) == pytest.approx(0.2, abs=0.03)
    assert all(HIDDEN_FROM <= draw.timestep < 1.0 for draw in hidden)
    # Runs that hide none go on with the order and the noise they have always had.
    usual = [Chances(0, 0.25).draw(place, 100) for place in range(4000)]
    assert [d.noise_seed for d in draws] == [d.noise_seed for d in usual]
    assert not any(draw.hides_picture for draw in usual)


@pytest.mark.parametrize("seed", range(20))
def test_masks_cover_the_hand_with_a_padding_drawn_at_random(seed):
    control = np.zeros((200, 200), dtype=np.uint8)
    control[80:120, 90:130] = 200
    mask = draw_mask(control, np.random.default_rng(seed))
    assert mask[80:120, 90:130].all()
    rows, columns = np.nonzero(mask)
    pads = [80 - rows.min(), rows.max() - 119, 90 - columns.min(), columns.max() - 129]
    assert min(pads) >= round(NARROWEST * 40) - 1
    assert max(pads) <= round(WIDEST * 40) + 1


def test_masks_differ_in_size_and_kind():
    control = np.zeros((200, 200), dtype=np.uint8)
    control[80:120, 90:130] = 200
    control[80:90, 90:100] = 0  # no rectangle
    masks = [draw_mask(control, np.random.default_rng(seed)) for seed in range(100)]
    assert len({int(mask.sum()) for mask in masks}) > 60
    boxes = [mask for mask in masks if mask.sum() == np.prod(np.ptp(np.nonzero(mask), axis=1) + 1)]
    assert 60 < len(boxes) < 90


def test_a_picture_without_hands_has_an_empty_mask():
    assert not draw_mask(np.zeros((64, 64), dtype=np.uint8), np.random.default_rng(0)).any()


def settings(**values):
    return Settings(**{"dataset": "d", "checkpoint": "c", "out_dir": "o", **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 100}, "multiple of 64"),
        ({"size": 4096}, "from 64 to 2048"),
        ({"steps": 0}, "at least 1"),
        ({"prompt_dropout": 1.5}, "from 0 to 1"),
        ({"learning_rate": 0.0}, "1e-5"),
        ({"mixed_precision": "fp8"}, "not one of no, fp16, bf16"),
    ],
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(HandRefinerError, match=said):
        settings(**values).check()
    settings().check()


def test_a_run_is_resumed_with_its_own_settings_only(tmp_path):
    with pytest.raises(HandRefinerError, match="no run to resume"):
        keep_settings(tmp_path, settings(), resumes=True)
    keep_settings(tmp_path, settings(), resumes=False)
    with pytest.raises(PictureError, match="add --resume"):
        keep_settings(tmp_path, settings(), resumes=False)
    with pytest.raises(HandRefinerError, match=r"--seed 0, not 4"):
        keep_settings(tmp_path, settings(seed=4), resumes=True)
    keep_settings(tmp_path, settings(steps=5000), resumes=True)
    for text in ("{", "[1]", "3"):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(PictureError, match="damaged"):
            keep_settings(tmp_path, settings(), resumes=True)


def test_a_new_run_does_not_mix_with_other_files(tmp_path):
    Path(tmp_path, "diary.txt").write_text("mine")
    with pytest.raises(PictureError, match="not empty"):
        keep_settings(tmp_path, settings(), resumes=False)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_memory_that_will_not_do_is_said_before_anything_is_trained():
    torch = pytest.importorskip("torch")
    small = torch.nn.Linear(10, 10)
    assert count_bytes([small], []) == 110 * 16
    assert count_bytes([small], [], "adafactor") == 110 * 8
    assert count_bytes([], [small.half()]) == 110 * 2
    check_memory(1000, torch.device("cpu"))
    with pytest.raises(HandRefinerError, match=r"needs 1048576\.0 GiB .* free on cpu"):
        check_memory(2**50, torch.device("cpu"))
