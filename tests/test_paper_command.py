"""The paper's command line: its options, its prompt file, several outputs, resuming, processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run
from hand_scenes import BrightDetector, FloodPainter

from handrefiner_ext.cli.commands import DONE, FAILED, STOPPED, WRONG_USAGE, build_parser
from handrefiner_ext.errors import UsageError, WeightsError
from handrefiner_ext.files.sources import read_prompts

PAPERS_OPTIONS = (
    *("input_dir", "input_img", "out_dir", "log_json", "strength", "depth_dir", "mask_dir", "eval"),
    *("finetuned", "weights", "num_samples", "prompt_file", "prompt", "n_iter"),
    *("adaptive_control", "padding_bbox", "seed"),
)
PAPERS_NUMBERS = {
    **{"eval": True, "finetuned": True, "adaptive_control": True, "seed": -1, "strength": 0.5},
    **{"num_samples": 1, "n_iter": 1, "padding_bbox": 1},
}
"""Options whose text is read as something else."""
EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"


class SeedPainter(FloodPainter):
    """A colour for each seed and prompt; `name` is that of a backend that has both."""

    def __init__(self):
        super().__init__("diffusers")

    def paint(self, request):
        params = request.params
        self.colour = (params.seed % 256, len(params.prompt), round(100 * params.strength))
        return super().paint(request)


@pytest.fixture(autouse=True)
def painter(tiny_stages):
    tiny_stages["inpainter"] = SeedPainter()
    return tiny_stages["inpainter"]


def colours(folder):
    """Output -> the colour it was flooded with."""
    return {name: tuple(read(folder / name)[30, 30].tolist()) for name in names(folder)}


def write_prompts(path, *lines):
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


# --- options


def test_every_option_of_the_paper_is_known():
    text = build_parser().parse_args(["refine", "--out_dir", "o", "--input_img", "a"])
    assert text.input_img == "a"
    for name in PAPERS_OPTIONS:
        text = {"eval": "True", "seed": "-1", "strength": "0.5"}.get(name, "1")
        value = PAPERS_NUMBERS.get(name, text)
        parsed = build_parser().parse_args(["refine", "--out_dir", "o", f"--{name}", text])
        assert getattr(parsed, name) == value
        assert type(getattr(parsed, name)) is type(value)


@pytest.mark.parametrize("words", [["--eval"], ["--eval", "True"], ["--eval", "1"]])
def test_eval_says_the_mpjpe_in_pixels(pictures, tmp_path, capsys, words):
    assert refine_folder(pictures, tmp_path / "out", *words) == DONE
    assert capsys.readouterr().out.count("MPJPE 0.00 px") == 2  # the third has no hand


def test_without_eval_nothing_is_said_of_it(pictures, tmp_path, capsys):
    assert refine_folder(pictures, tmp_path / "out", "--eval", "False") == DONE
    assert "MPJPE" not in capsys.readouterr().out


def test_adaptive_control_is_the_papers_search(pictures, tmp_path, painter):
    arguments = ("--input_img", pictures / "one.jpg", "--out_dir", tmp_path / "out")
    assert run("refine", *arguments, "--adaptive_control", "True") == DONE
    tried = [call.strength for call in painter.calls]
    assert tried[0] == 1.0  # the reference
    assert {0.4, 0.5, 0.9} <= set(tried)  # flooded hands lie at their mesh: no error beats 0


def test_empty_texts_are_options_not_given(pictures, tmp_path):
    options = ("--input_img", "--depth_dir", "--mask_dir", "--prompt_file", "--weights")
    empty = [word for option in options for word in (option, "")]
    assert refine_folder(pictures, tmp_path / "out", *empty) == DONE
    assert len(names(tmp_path / "out")) == 3


def test_the_log_has_a_line_for_every_output(pictures, tmp_path):
    log = tmp_path / "logs" / "run.json"
    more = ("--log_json", log, "--strength", 0.7, "--num_samples", 2, "--seed", 5)
    more += ("--keep_best", "False")
    assert refine_folder(pictures, tmp_path / "out", *more) == DONE
    said = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(Path(s["img"]).name, Path(s["output"]).name) for s in said] == [
        (source, f"{source.partition('.')[0]}_{k}.png")
        for source in ("both.png", "none.png", "one.jpg")
        for k in (0, 1)
    ]
    assert all(s["strength"] == 0.7 for s in said)
    assert [s["seed"] for s in said] == [5, 6] * 3
    assert [s["mpjpe_px"] for s in said] == [0.0, 0.0, None, None, 0.0, 0.0]
    assert [len(s["hands"]) for s in said] == [2, 2, 0, 0, 1, 1]
    keys = ("number", "handedness", "assumed", "refined", "reason", "strength")
    more_keys = ("candidate", "quality_before", "quality_after")
    assert tuple(said[0]["hands"][0]) == (*keys, "mpjpe_px", "mpjpe", "pck", *more_keys, "mesh")
    assert all(said[0]["hands"][0][key] is None for key in more_keys), "nothing asked for them"


def test_eval_measures_quality_before_and_after(pictures, tmp_path, capsys):
    log = tmp_path / "run.json"
    assert refine_folder(pictures, tmp_path / "out", "--eval", "--log_json", log) == DONE
    said = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    hands = [hand for line in said for hand in line["hands"]]
    assert len(hands) == 3
    assert all((hand["quality_before"], hand["quality_after"]) == (0.5, 1.0) for hand in hands)
    assert "hand 1 quality 0.50 -> 1.00" in capsys.readouterr().out


def test_every_candidate_is_there_on_request(pictures, tmp_path):
    out, beside = tmp_path / "out", tmp_path / "beside"
    source = ("--input_img", pictures / "both.png", "--seed", 40, "--candidates", 3)
    assert run("refine", *source, "--out_dir", out, "--candidates_dir", beside) == DONE
    assert colours(beside) == {f"both_0_candidate{k + 1}.png": (40 + k, 0, 55) for k in range(3)}
    kept = read(out / "both_0.png")
    assert any(np.array_equal(kept, read(path)) for path in beside.iterdir())


@pytest.mark.parametrize("more", [("--engine", "ray"), ("--url", "http://127.0.0.1:9")])
def test_candidates_are_written_where_the_work_is_done(pictures, tmp_path, more, capsys):
    source = ("--input_dir", pictures, "--out_dir", tmp_path / "out")
    beside = ("--candidates_dir", tmp_path / "beside")
    assert run("refine", *source, *beside, *more) == WRONG_USAGE
    assert "--candidates_dir" in capsys.readouterr().err


# --- several outputs


def test_each_output_has_a_seed_of_its_own(pictures, tmp_path):
    out = tmp_path / "out"
    more = ("--n_iter", 2, "--num_samples", 3, "--seed", 40)
    assert run("refine", "--input_img", pictures / "both.png", "--out_dir", out, *more) == DONE
    assert colours(out) == {f"both_{k}.png": (40 + k, 0, 55) for k in range(6)}


def test_output_k_is_that_of_seed_plus_k_alone(pictures, tmp_path):
    one, six = tmp_path / "one", tmp_path / "six"
    source = ("--input_img", pictures / "both.png")
    assert run("refine", *source, "--out_dir", six, "--n_iter", 6, "--seed", 40) == DONE
    assert run("refine", *source, "--out_dir", one, "--seed", 43) == DONE
    np.testing.assert_array_equal(read(one / "both_0.png"), read(six / "both_3.png"))


def test_hands_are_looked_for_once_however_many_outputs(pictures, tmp_path, tiny_stages):
    looked = []

    class Counting(BrightDetector):
        def detect(self, image, params):
            looked.append(1)
            return super().detect(image, params)

    tiny_stages["detector"] = Counting()
    arguments = ("--input_img", pictures / "both.png", "--out_dir", tmp_path / "out")
    assert run("refine", *arguments, "--num_samples", 4) == DONE
    assert len(looked) == 1


def test_a_drawn_seed_is_told_and_gives_the_same_again(pictures, tmp_path, capsys):
    first, second = tmp_path / "a", tmp_path / "b"
    assert refine_folder(pictures, first, "--seed", "-1") == DONE
    seed = capsys.readouterr().out.partition("--seed ")[2].split()[0]
    assert refine_folder(pictures, second, "--seed", seed) == DONE
    assert colours(first) == colours(second)
    assert colours(first)["both_0.png"][0] == int(seed) % 256


# --- the prompt file


def test_the_prompt_file_chooses_pictures_and_their_prompts(pictures, tmp_path, painter):
    prompts = write_prompts(
        tmp_path / "p.json",
        {"img": "one.jpg", "txt": "four"},
        "",
        {"img": "both.png", "txt": "a longer one", "more": 1},
    )
    out = tmp_path / "out"
    assert refine_folder(pictures, out, "--prompt_file", prompts, *as_diffusers()) == DONE
    assert [call.prompt for call in painter.calls] == ["four", "a longer one"]
    assert names(out) == ["both_0.png", "one_0.png"]


def as_diffusers():
    return ("--backend", "diffusers")


def test_a_picture_with_two_prompts_has_outputs_of_both(pictures, tmp_path):
    prompts = write_prompts(
        tmp_path / "p.json",
        {"img": "both.png", "txt": "1"},
        {"img": "one.jpg", "txt": "12"},
        {"img": "both.png", "txt": "123"},
    )
    more = ("--prompt_file", prompts, "--num_samples", 2, *as_diffusers())
    assert refine_folder(pictures, tmp_path / "out", *more) == DONE
    assert {name: colour[:2] for name, colour in colours(tmp_path / "out").items()} == {
        "both_0.png": (0, 1),
        "both_1.png": (1, 1),
        "both_2.png": (0, 3),
        "both_3.png": (1, 3),
        "one_0.png": (0, 2),
        "one_1.png": (1, 2),
    }


def test_a_picture_that_the_file_names_in_vain_costs_no_other(pictures, tmp_path, capsys):
    prompts = write_prompts(
        tmp_path / "p.json", {"img": "gone.png", "txt": "a"}, {"img": "both.png", "txt": "b"}
    )
    more = ("--prompt_file", prompts, *as_diffusers())
    assert refine_folder(pictures, tmp_path / "out", *more) == FAILED
    assert names(tmp_path / "out") == ["both_0.png"]
    assert f"{prompts}, line 1: {pictures / 'gone.png'} does not exist." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 3 is not JSON"),
        ("[1]", "line 3 is not a JSON object"),
        ('{"img": "a.png"}', "line 3 has no text under 'txt'"),
        ('{"img": 1, "txt": "a"}', "line 3 has no text under 'img'"),
        ('{"img": " ", "txt": "a"}', "line 3 names no picture"),
    ],
)
def test_a_bad_line_is_named_before_any_picture_is_opened(
    pictures, tmp_path, capsys, line, sentence
):
    good = {"img": "both.png", "txt": "a"}
    prompts = write_prompts(tmp_path / "p.json", good, "", line, good)
    out = tmp_path / "out"
    assert refine_folder(pictures, out, "--prompt_file", prompts, *as_diffusers()) == WRONG_USAGE
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_a_prompt_file_in_another_encoding_is_a_sentence(tmp_path):
    place = tmp_path / "p.json"
    place.write_bytes('{"img": "a", "txt": "ä"}'.encode("latin-1"))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_prompts(place, tmp_path)
    place.write_bytes(b"\xef\xbb\xbf" + '{"img": "ä.png", "txt": ""}\r\n'.encode())
    (one,) = read_prompts(place, tmp_path)
    assert (one.source, one.prompt) == (tmp_path / "ä.png", "")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--n_iter", "0"), "--n_iter: '0' is not possible"),
        (("--num_samples", "two"), "--num_samples: 'two' is not possible"),
        (("--n_iter", "101", "--num_samples", "100"), "at most 10000"),
        (("--eval", "maybe"), "--eval: 'maybe' is not possible; it must be true or false."),
        (("--finetuned", "2"), "--finetuned: '2'"),
        (("--adaptive_control", "--adaptive_strength", "fast"), "--adaptive_strength fast"),
        (("--weights", "w", "--backend", "draft"), "--weights means --backend diffusers"),
        (("--weights", "w", "--checkpoint", "x"), "--checkpoint x was given, too"),
        (("--weights", "w", "--url", "u"), "the WebUI behind --url has its own files"),
        (("--finetuned", "False", "--url", "u"), "--finetuned False is for painting here"),
        (("--prompt_file", "p", "--prompt", "a"), "exclude each other"),
        (("--jobs", "0"), "--jobs: '0' is not possible"),
        (("--device", "gpu"), "--device: 'gpu' is not possible"),
    ],
)
def test_options_that_contradict_are_exit_code_2(pictures, tmp_path, capsys, more, sentence):
    out = tmp_path / "out"
    assert refine_folder(pictures, out, *more) == WRONG_USAGE
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists() or not names(out)


def test_a_prompt_file_wants_a_folder(pictures, tmp_path, capsys):
    prompts = write_prompts(tmp_path / "p.json", {"img": "both.png", "txt": "a"})
    arguments = ("--input_img", pictures / "both.png", "--out_dir", tmp_path / "out")
    assert run("refine", *arguments, "--prompt_file", prompts) == WRONG_USAGE
    assert "give --input_dir" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--prompt_file", "--log_json", "--models_dir"])
def test_a_file_that_does_not_serve_is_exit_code_1(pictures, tmp_path, capsys, option):
    (tmp_path / "file").write_text("")
    where = tmp_path / ("gone" if option == "--prompt_file" else "file/x")
    assert refine_folder(pictures, tmp_path / "out", option, where) == FAILED
    assert str(where) in capsys.readouterr().err


# --- resuming


def test_an_interrupted_run_goes_on_where_it_stopped(pictures, tmp_path, tiny_stages, capsys):
    class Stopped(SeedPainter):
        def paint(self, request):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().paint(request)

    out, log, whole = tmp_path / "out", tmp_path / "log.json", tmp_path / "whole"
    more = ("--num_samples", 2, "--mask_dir", tmp_path / "mask", "--resume", "--log_json", log)
    tiny_stages["inpainter"] = Stopped()
    assert refine_folder(pictures, out, *more) == STOPPED
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert sorted(before) == ["both_0.png", "both_1.png", "none_0.png", "none_1.png", "one_0.png"]

    tiny_stages["inpainter"] = again = SeedPainter()
    assert refine_folder(pictures, out, *more) == DONE
    assert len(again.calls) == 2  # of the picture that was in flight
    del before["one_0.png"]
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert "finished by an earlier run" in capsys.readouterr().out
    assert refine_folder(pictures, whole, "--num_samples", 2) == DONE
    assert colours(out) == colours(whole)
    outputs = [Path(json.loads(line)["output"]).name for line in log.read_text().splitlines()]
    assert sorted(outputs) == names(whole)


def test_what_was_made_with_other_settings_is_made_again(pictures, tmp_path, painter):
    out = tmp_path / "out"
    assert refine_folder(pictures, out) == DONE
    painter.calls.clear()
    assert refine_folder(pictures, out, "--resume", "--strength", 0.7) == DONE
    assert len(painter.calls) == 2
    assert refine_folder(pictures, out, "--resume", "--strength", 0.7) == DONE
    assert len(painter.calls) == 2


def test_a_missing_map_is_written_by_a_resumed_run(pictures, tmp_path):
    out, mask = tmp_path / "out", tmp_path / "mask"
    assert refine_folder(pictures, out) == DONE
    assert refine_folder(pictures, out, "--mask_dir", mask, "--resume") == DONE
    assert len(names(mask)) == 3


# --- what is wrong with the models


@pytest.mark.parametrize("error", [WeightsError("No weights."), UsageError("No sampler.")])
def test_models_that_do_not_serve_stop_before_the_first_picture(
    pictures, tmp_path, capsys, tiny_stages, error
):
    class Unready(SeedPainter):
        def prepare(self, params):
            raise error

    tiny_stages["inpainter"] = Unready()
    wanted = WRONG_USAGE if isinstance(error, UsageError) else FAILED
    assert refine_folder(pictures, tmp_path / "out") == wanted
    assert capsys.readouterr().err == f"handrefiner: {error}\n"
    assert names(tmp_path / "out") == []
