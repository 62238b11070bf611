"""The options of `handrefiner refine` that are no parameters of the schema.

They are those of the paper's command line, under their own names and with their own way of giving
values (`--eval True` as well as bare `--eval`), and what a long run over a folder needs.
"""

from __future__ import annotations

import argparse
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import PictureError, UsageError
from handrefiner_ext.files.prompts import Prompted, read_prompts
from handrefiner_ext.params import CLI, Knob, fields_of, parse_switch
from handrefiner_ext.weights.manifest import PLAIN_DEPTH


def options_table() -> str:
    """The command line's options as a Markdown table, for the README."""
    rows = ["| option | default | allowed | what it does |", "|---|---|---|---|"]
    for f in fields_of(CLI):
        k: Knob = f.metadata["knob"]
        default = str(f.default).lower() if isinstance(f.default, bool) else f.default
        allowed = k.describe_allowed(type(f.default))
        rows.append(
            f"| `--{f.name}` | {default if default != '' else 'empty'} | {allowed} | "
            f"{k.help_on(CLI)} |"
        )
    return "\n".join(rows) + "\n"


if TYPE_CHECKING:
    from handrefiner_ext.types import ModelHome

DIFFUSERS = "diffusers"
MOST_DRAWN_SEED = 65535
MOST_OUTPUTS = 10_000
DTYPES = ("float32", "float16", "bfloat16")
DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
SWITCHES = ("eval", "finetuned", "adaptive_control", "resume")


def add_paper_options(refine: argparse.ArgumentParser) -> None:
    """What the paper's command line has beside the parameters of the schema."""
    group = refine.add_argument_group("options of the paper's command line")
    group.add_argument(
        "--prompt_file",
        metavar="F",
        help='JSON lines {"img": file name, "txt": prompt}: which pictures of --input_dir to work '
        "on, each with a prompt of its own",
    )
    group.add_argument(
        "--weights",
        metavar="F",
        help="a checkpoint, or one with its ControlNet in the same file, such as the paper's "
        "inpaint_depth_control.ckpt; implies --backend diffusers",
    )
    _add_switch(
        group,
        "finetuned",
        "the paper's hand ControlNet; false = the plain depth ControlNet "
        f"{PLAIN_DEPTH.name}, which implies --backend diffusers (true)",
    )
    group.add_argument(
        "--num_samples", metavar="N", default="1", help="outputs of each iteration (1)"
    )
    group.add_argument(
        "--n_iter",
        metavar="N",
        default="1",
        help="iterations; each picture gives n_iter x num_samples outputs, name_0.png, name_1.png "
        "and so on; the seed of output k is --seed + k (1)",
    )
    _add_switch(group, "adaptive_control", "the same as --adaptive_strength paper (false)")
    _add_switch(group, "eval", "say the MPJPE of every output, in pixels (false)")
    group.add_argument(
        "--log_json", metavar="F", help="write a JSON line with strength and MPJPE for every output"
    )


def add_run_options(refine: argparse.ArgumentParser) -> None:
    """What a long run over a folder needs."""
    group = refine.add_argument_group("long runs")
    _add_switch(
        group,
        "resume",
        "leave alone what an interrupted run with the same settings has written (false)",
    )


def add_home_options(parser: argparse.ArgumentParser) -> None:
    """Where files lie and what computes; for hints too."""
    group = parser.add_argument_group("models and where they compute")
    group.add_argument("--models_dir", metavar="D", help="folder to look for weights in first")
    group.add_argument(
        "--device",
        metavar="V",
        help="as torch names it: cpu, cuda, cuda:1, mps (the best there is)",
    )
    group.add_argument(
        "--dtype",
        metavar="V",
        choices=DTYPES,
        help=f"of Stable Diffusion's weights, one of {', '.join(DTYPES)} (float16 on cuda, else "
        "float32)",
    )


def read_home(options: argparse.Namespace) -> ModelHome:
    """Those options as a record."""
    from handrefiner_ext.types import ModelHome

    folder = Path(options.models_dir).expanduser() if options.models_dir else None
    if folder is not None and not folder.is_dir():
        raise PictureError(f"--models_dir {folder} is no folder.")
    device = options.device or None
    if device is not None and not DEVICE.fullmatch(device):
        raise UsageError(f"--device = {device!r} is not possible; write cpu, cuda, cuda:1 or mps.")
    return ModelHome(folder, device, keep_on_device=True, dtype=options.dtype or None)


def _add_switch(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    group.add_argument(f"--{name}", nargs="?", const="true", metavar="V", help=text)


@dataclass(frozen=True)
class RunOptions:
    """What those options say. count: outputs of each picture. prompts: None without a file."""

    count: int = 1
    evaluates: bool = False
    resumes: bool = False
    workers: int = 1
    log_json: Path | None = None
    prompts: tuple[Prompted, ...] | None = None


def read_run_options(options: argparse.Namespace) -> RunOptions:
    """The options as a record; those that are other names of parameters become these in `options`.

    Raises UsageError for what contradicts itself, before anything is opened but the prompt file.
    """
    switches = {name: _read_switch(options, name) for name in SWITCHES}
    _translate_weights(options, switches["finetuned"])
    if switches["adaptive_control"]:
        _set(options, "adaptive_strength", "paper", "--adaptive_control")
    _draw_seed(options)
    count = _read_count(options, "n_iter") * _read_count(options, "num_samples")
    if count > MOST_OUTPUTS:
        raise UsageError(f"--n_iter x --num_samples is {count}; at most {MOST_OUTPUTS} are made.")
    return RunOptions(
        count=count,
        evaluates=bool(switches["eval"]),
        resumes=bool(switches["resume"]),
        workers=1 if options.jobs is None else _read_count(options, "jobs"),
        log_json=Path(options.log_json) if options.log_json else None,
        prompts=_read_prompt_file(options),
    )


def _read_switch(options: argparse.Namespace, name: str) -> bool | None:
    """None where it was not given."""
    text = getattr(options, name)
    return None if text is None else parse_switch(f"--{name}", text)


def _translate_weights(options: argparse.Namespace, finetuned: bool | None) -> None:
    """--weights and --finetuned in the words of the schema."""
    if options.weights:
        _need_no_url(options, "--weights")
        _set(options, "checkpoint", options.weights, "--weights")
    if finetuned is False:
        _need_no_url(options, "--finetuned False")
        _set(options, "control_model", PLAIN_DEPTH.name, "--finetuned False")
    if options.weights or finetuned is False:
        _set(options, "backend", DIFFUSERS, "--weights" if options.weights else "--finetuned False")


def _need_no_url(options: argparse.Namespace, name: str) -> None:
    if options.url:
        raise UsageError(
            f"{name} is for painting here; the WebUI behind --url has its own files. Leave out one "
            "of them."
        )


def _set(options: argparse.Namespace, name: str, value: str, why: str) -> None:
    """A parameter that another option implies; it must not be given with another value."""
    given = getattr(options, name, None)
    if given not in (None, value):
        raise UsageError(f"{why} means --{name} {value}, but --{name} {given} was given, too.")
    setattr(options, name, value)


def _draw_seed(options: argparse.Namespace) -> None:
    """-1 asks for a seed drawn by lot, as in the paper; it is kept for the whole run."""
    if str(getattr(options, "seed", "")).strip() == "-1":
        options.seed = str(random.SystemRandom().randint(0, MOST_DRAWN_SEED))
        options.drawn_seed = options.seed


def _read_count(options: argparse.Namespace, name: str) -> int:
    text: Any = getattr(options, name)
    if not str(text).strip().isascii() or not str(text).strip().isdigit() or int(text) < 1:
        raise UsageError(f"--{name} = {text!r} is not possible; it must be a whole number from 1.")
    return int(text)


def _read_prompt_file(options: argparse.Namespace) -> tuple[Prompted, ...] | None:
    if not options.prompt_file:
        return None
    if getattr(options, "prompt", None):
        raise UsageError("--prompt and --prompt_file exclude each other; give one of them.")
    if not options.input_dir:
        raise UsageError(
            "--prompt_file names pictures of a folder; give --input_dir, or --prompt for a single "
            "picture."
        )
    return tuple(read_prompts(Path(options.prompt_file), Path(options.input_dir)))
