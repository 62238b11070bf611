"""The options of `handrefiner hints` and `refine`, as argparse knows them.

Beside the parameters of the schema there are the options of the paper's command line, under their
own names and with their own way of giving values (`--eval True` as well as bare `--eval`), and what
a long run over a folder needs. `cli.reading` says what they ask for.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import Field
from functools import partial
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import show
from handrefiner_ext.knobs import CLI, URL, Knob, coerce, parse_bool
from handrefiner_ext.params import fields_of
from handrefiner_ext.weights.manifest import PLAIN_DEPTH

# What works on pictures is imported when a command runs, so that --help answers at once.
if TYPE_CHECKING:
    pass

LOCAL, RAY = "local", "ray"
NUMBER, KEEP = "number", "keep"
RANDOM_SEED = -1
MOST_RANDOM_SEED = 65535
"""The paper's command line draws its seeds from as many."""
MOST_OUTPUTS = 10_000
MOST_DIGITS = 100
"""Python itself refuses to read a number of some thousand digits."""
DTYPES = ("float32", "float16", "bfloat16")
DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")


def add_hints_options(hints: argparse.ArgumentParser) -> None:
    hints.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, or a folder of them")
    hints.add_argument("--out_dir", required=True, metavar="D", help="folder to write to")
    _add_switch(hints, "recursive", "go into the folders inside, and mirror them (false)")
    hints.add_argument("--mesh_dir", metavar="D", help="write meshes too: name_hand1.glb and so on")
    _add_common_options(hints, coerce)


def add_refine_options(refine: argparse.ArgumentParser) -> None:
    _add_file_options(refine)
    refine.add_argument(
        "--url",
        metavar="U",
        help="let a running WebUI with HandRefiner do the work, such as http://127.0.0.1:7860",
    )
    refine.add_argument(
        "--login",
        metavar="USER:PASSWORD",
        default=os.environ.get("HANDREFINER_LOGIN", ""),
        help="login of that WebUI; safer in the environment variable HANDREFINER_LOGIN",
    )
    _add_engine_options(refine)
    _add_paper_options(refine)
    _add_switch(
        refine.add_argument_group("long runs"),
        "resume",
        "skip what an interrupted run with the same settings has already written (false)",
    )
    refine.add_argument(
        "--report",
        metavar="F",
        help="write a page (HTML) with every picture before and after, depth, decision and reason",
    )
    _add_common_options(refine, _coerce_or_random)
    group = refine.add_argument_group(
        "parameters of Stable Diffusion, for --url and (all but a few) --backend diffusers"
    )
    for f in fields_of(URL):
        _add_parameter(group, f, coerce)


def _add_file_options(refine: argparse.ArgumentParser) -> None:
    refine.add_argument("--input_img", metavar="F", help="a picture")
    refine.add_argument("--input_dir", metavar="D", help="a folder of pictures")
    _add_switch(refine, "recursive", "go into the folders inside, and mirror them (false)")
    refine.add_argument("--out_dir", metavar="D", help="folder to write to")
    refine.add_argument(
        "--name",
        choices=(NUMBER, KEEP),
        default=NUMBER,
        help="number writes name_0.png; keep writes the name and the format of the input (PNG, "
        "JPEG, WebP), and numbers only several outputs of one picture (number)",
    )
    refine.add_argument(
        "--quality",
        metavar="N",
        type=_read_quality,
        help="of JPEG and WebP, 1 to 100, with --name keep or --in_place (that of the input)",
    )
    _add_switch(
        refine,
        "in_place",
        "replace the pictures themselves where a hand is repainted; needs --backup_dir (false)",
    )
    refine.add_argument(
        "--backup_dir", metavar="D", help="where --in_place keeps the pictures as they were"
    )
    refine.add_argument("--depth_dir", metavar="D", help="write name_depth.png to this folder")
    refine.add_argument("--mask_dir", metavar="D", help="write name_mask.png to this folder")
    refine.add_argument(
        "--candidates_dir",
        metavar="D",
        help="write every candidate to this folder: name_0_candidate1.png and so on",
    )


def _add_engine_options(refine: argparse.ArgumentParser) -> None:
    group = refine.add_argument_group("several pictures at a time (docs/clusters.md)")
    group.add_argument(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help="ray streams the folder through workers, survives the death of any of them, and "
        'continues an interrupted folder; it needs the extra "cluster" (local)',
    )
    group.add_argument(
        "--address",
        metavar="A",
        help="a running Ray cluster: auto for the one that this machine is part of, or host:port; "
        "without it, --engine ray works on this machine alone",
    )
    group.add_argument(
        "--jobs",
        metavar="N",
        type=read_count,
        help="pictures to work on at a time, each in a process with models of its own; with "
        "--engine ray one processor core each (1, with --engine ray all cores)",
    )


def _add_paper_options(refine: argparse.ArgumentParser) -> None:
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
        "--num_samples",
        metavar="N",
        type=read_count,
        default=1,
        help="outputs of each iteration (1)",
    )
    group.add_argument(
        "--n_iter",
        metavar="N",
        type=read_count,
        default=1,
        help="iterations; each picture gives n_iter x num_samples outputs, name_0.png, name_1.png "
        "and so on; the seed of output k is --seed + k (1)",
    )
    _add_switch(group, "adaptive_control", "the same as --adaptive_strength paper (false)")
    _add_switch(group, "eval", "print the MPJPE of every output, in pixels (false)")
    group.add_argument(
        "--log_json", metavar="F", help="write a JSON line with strength and MPJPE for every output"
    )


def _add_common_options(
    parser: argparse.ArgumentParser, read: Callable[[Field[Any], object], object]
) -> None:
    """Add what both commands have: the drawn mask, where models compute, the schema's parameters.

    read: turns the text of a parameter into its value.
    """
    parser.add_argument(
        "--drawn_mask",
        metavar="F",
        help="the mask drawn by hand (white may change), or a folder with one mask per picture, "
        "of the same name; for --mask drawn or union",
    )
    parser.add_argument(
        "--pose_file",
        metavar="F",
        help="the hands instead of a search: a pose as --pose_dir writes it or OpenPose's JSON, or "
        "a folder with one per picture, of the same name",
    )
    parser.add_argument(
        "--depth_in",
        metavar="F",
        help="a depth map of your own instead of a search (grey, near is bright, 0 where there is "
        "no hand), used as it is, or a folder with one per picture, of the same name",
    )
    parser.add_argument(
        "--pose_dir",
        metavar="D",
        help="write the hands' poses to this folder: name_pose.json, name_openpose.json and, drawn "
        "for ControlNet's openpose models, name_openpose.png",
    )
    group = parser.add_argument_group("models and where they compute")
    group.add_argument("--models_dir", metavar="D", help="folder to look for weights in first")
    group.add_argument(
        "--device",
        metavar="V",
        type=_device,
        help="as torch names it: cpu, cuda, cuda:1, mps (the best there is)",
    )
    group.add_argument(
        "--dtype",
        metavar="V",
        choices=DTYPES,
        help=f"of Stable Diffusion's weights, one of {', '.join(DTYPES)} (float16 on cuda, else "
        "float32)",
    )
    group = parser.add_argument_group("parameters")
    for f in fields_of(CLI):
        _add_parameter(group, f, read)


def _add_parameter(
    group: argparse._ArgumentGroup,
    f: Field[Any],
    read: Callable[[Field[Any], object], object],
) -> None:
    """Add a parameter of the schema; it is absent from the namespace if it is not given."""
    is_switch = {"nargs": "?", "const": True} if isinstance(f.default, bool) else {}
    shown = f"{f.metadata['knob'].help_on(CLI)} ({_allowed(f)}; {_shown_default(f)})"
    group.add_argument(
        f"--{f.name}",
        default=argparse.SUPPRESS,
        metavar="V",
        type=partial(read, f),
        help=shown.replace("%", "%%"),
        **is_switch,  # type: ignore[arg-type]
    )


def options_table() -> str:
    """Return the parameters of the command line as a Markdown table."""
    rows = ["| option | default | allowed | what it does |", "|---|---|---|---|"]
    rows += [
        f"| `--{f.name}` | {_shown_default(f)} | {_allowed(f)} | "
        f"{f.metadata['knob'].help_on(CLI)} |"
        for f in fields_of(CLI)
    ]
    return "\n".join(rows) + "\n"


def _allowed(f: Field[Any]) -> str:
    knob: Knob = f.metadata["knob"]
    return knob.describe_allowed(type(f.default))


def _shown_default(f: Field[Any]) -> str:
    default = str(f.default).lower() if isinstance(f.default, bool) else str(f.default)
    return default or "empty"


def _add_switch(group: argparse._ActionsContainer, name: str, text: str) -> None:
    group.add_argument(f"--{name}", nargs="?", const=True, type=_switch, metavar="V", help=text)


def _coerce_or_random(f: Field[Any], value: object) -> object:
    """Read a parameter of refine, where --seed -1 picks a random seed, as in the paper."""
    if f.name == "seed" and str(value).strip() == str(RANDOM_SEED):
        return RANDOM_SEED
    return coerce(f, value)


def _switch(text: str) -> bool:
    value = parse_bool(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not possible; it must be true or false")
    return value


def read_count(text: str) -> int:
    number = read_digits(text)
    if number is None or number < 1:
        raise argparse.ArgumentTypeError(
            f"{show(text)} is not possible; it must be a whole number from 1"
        )
    return number


def read_digits(text: str) -> int | None:
    """Return the whole number that a text is; None for another text, or for too many digits."""
    digits = text.strip()
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS
    return int(digits) if is_number else None


def _read_quality(text: str) -> int:
    number = read_digits(text)
    if number is None or not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{show(text)} is not possible; it must be from 1 to 100")
    return number


def _device(text: str) -> str | None:
    if text and not DEVICE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not possible; write cpu, cuda, cuda:1 or mps"
        )
    return text or None
