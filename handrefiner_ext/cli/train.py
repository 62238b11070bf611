"""`handrefiner train`: networks that learn from the pictures of `handrefiner dataset`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import UsageError, escape

if TYPE_CHECKING:
    from handrefiner_ext.train.run import Progress

DONE = 0
OPTIONS = {
    "size": ("N", "pixels of each side, a multiple of 64 (512)"),
    "steps": ("N", "steps of the optimiser (1000)"),
    "batch_size": ("N", "pictures at once on each device (4)"),
    "gradient_accumulation": ("N", "batches for a step (4)"),
    "learning_rate": ("V", "(1e-5)"),
    "warmup_steps": ("N", "steps in which the learning rate rises to its value (0)"),
    "prompt_dropout": ("V", "share of the pictures whose prompt is hidden (0.5)"),
    "checkpoint_every": ("N", "steps from one checkpoint to the next (500)"),
    "sample_every": ("N", "steps from one page of sample pictures to the next; 0 = none (500)"),
    "seed": ("S", "(0)"),
    "workers": ("N", "threads that read pictures (2)"),
}
"""Option -> what its value is called, and its help. Types and defaults are those of `Settings`."""
CHOICES = {
    "mixed_precision": (("no", "fp16", "bf16"), "(no)"),
    "optimizer": (("adamw", "adafactor"), "adafactor needs half the memory (adamw)"),
    "lr_schedule": (("constant", "cosine"), "cosine falls to 0 at the last step (constant)"),
}
"""Option -> its values, the default first, and its help."""
SMALL = {
    "size": "pixels of each side, a multiple of 64 (128 for tiny, 256 for sd15)",
    "steps": "steps of UNet and ControlNet (4000)",
    "batch_size": "pictures at once (16)",
    "learning_rate": "(1e-3)",
    "checkpoint_every": "steps from one checkpoint to the next (250)",
    "seed": "(0)",
}
UNET = "unet"


def add_train(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command; what it needs is imported when it runs."""
    train = commands.add_parser(
        "train",
        help="train a hand ControlNet on rendered hands",
        description="Trains networks on the pictures of handrefiner dataset. Needs the extra "
        "[train].",
        allow_abbrev=False,
    )
    kinds = train.add_subparsers(dest="kind", metavar="WHAT", required=True)
    control = kinds.add_parser(
        "controlnet",
        help="a depth ControlNet for hands, for Stable Diffusion 1.x or SDXL",
        description="Trains a depth ControlNet for hands as the paper did: the checkpoint stays as "
        "it is, masks are padded at random, the loss counts in the whole picture. On several GPUs: "
        "accelerate launch -m handrefiner_ext train controlnet …",
        allow_abbrev=False,
    )
    _add_folders(control)
    control.add_argument(
        "--checkpoint",
        default="",
        metavar="F",
        help="the checkpoint that it will steer: a file, or a folder of diffusers; ordinary or "
        "inpainting (sd-v1-5-inpainting.ckpt)",
    )
    control.add_argument(
        "--control_model",
        default="unet",
        metavar="F",
        help="the ControlNet to begin with; auto = the best that is installed (the paper began "
        "with control_v11f1p_sd15_depth.pth); unet = a copy of the checkpoint's encoder (unet)",
    )
    for name, (value, help_text) in OPTIONS.items():
        control.add_argument(f"--{name}", metavar=value, help=help_text)
    for name, (choices, help_text) in CHOICES.items():
        control.add_argument(f"--{name}", choices=choices, default=choices[0], help=help_text)
    control.add_argument(
        "--gradient_checkpointing",
        action="store_true",
        help="compute activations twice, so that they need less memory",
    )
    control.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in --out_dir"
    )
    control.set_defaults(run=_run_controlnet)
    _add_small(kinds)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    """Add what is read and where the results go."""
    parser.add_argument("--dataset", required=True, metavar="D", help="of handrefiner dataset")
    parser.add_argument("--out_dir", required=True, metavar="D", help="a new or empty folder")


def _add_small(kinds: argparse._SubParsersAction[Any]) -> None:
    small = kinds.add_parser(
        "small",
        help="a small model, from nothing, for tests of the method",
        description="Trains a small inpainting model with its ControlNet from nothing, on a CPU in "
        "an hour or more. It is for tests and benchmarks of the method; tests/data/small holds "
        "one, and docs/training.md how it was made.",
        allow_abbrev=False,
    )
    _add_folders(small)
    small.add_argument(
        "--preset",
        choices=("tiny", "sd15"),
        default="tiny",
        help="tiny: 8 MB, 128 pixels, for diffusers alone; sd15: Stable Diffusion 1.5's topology "
        "at width 32, 31 MB, 256 pixels, for the WebUI too (tiny)",
    )
    small.add_argument(
        "--vae", metavar="F", help="a file with a VAE of that shape, to use as it is"
    )
    small.add_argument(
        "--begin_with",
        metavar="D",
        help="an --out_dir of this command, whose networks go on learning; with its VAE as it is",
    )
    small.add_argument("--vae_steps", metavar="N", help="steps of the VAE (2000)")
    for name, text in SMALL.items():
        small.add_argument(f"--{name}", metavar="V" if name == "learning_rate" else "N", help=text)
    small.add_argument(
        "--mixed_precision",
        choices=("no", "bf16"),
        default="no",
        help="bf16: faster on CPUs that compute with it (AMX, AVX512-BF16), else slower (no)",
    )
    small.add_argument("--resume", action="store_true", help="go on where a run stopped")
    small.set_defaults(run=_run_small)


def _run_small(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from handrefiner_ext.train.kept import CHECKPOINT, CONTROLNET, Start
    from handrefiner_ext.train.presets import PRESETS
    from handrefiner_ext.train.settings import COSINE, Settings
    from handrefiner_ext.train.small import plan_stages, train_small

    preset = PRESETS[options.preset]
    usual: dict[str, Any] = {"batch_size": 16, "learning_rate": 1e-3, "steps": 4000}
    usual |= {
        "warmup_steps": 50,
        "gradient_accumulation": 1,
        "lr_schedule": COSINE,
        "checkpoint_every": 250,
    }
    values = {**usual, "size": preset.size, "sample_every": 0, **_read_values(options, Settings)}
    stages = plan_stages(
        Settings(checkpoint=options.preset, control_model=UNET, **values),
        _read_whole("vae_steps", options.vae_steps or "2000"),
        preset.vae_pace,
    )
    bars: dict[str, Any] = {}

    def tell(stage: str, progress: Progress) -> None:
        if stage not in bars:
            total = stages.vae.steps if stage == "vae" else stages.painting.steps
            bars[stage] = tqdm(total=total, unit="step", desc=stage, mininterval=1.0)
        bars[stage].update(progress.step - bars[stage].n)
        bars[stage].set_postfix(loss=f"{progress.loss:.4f}")

    vae, model = (Path(p) if p else None for p in (options.vae, options.begin_with))
    place = train_small(stages, preset, Start(vae, model), options.resume, tell)
    for bar in bars.values():
        bar.close()
    checkpoint, control = (escape(str(place / part)) for part in (CHECKPOINT, CONTROLNET))
    print(
        f"handrefiner refine --backend diffusers --checkpoint {checkpoint} "
        f"--control_model {control} --region_size {stages.painting.size}"
    )
    return DONE


def _read_whole(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit()):
        raise UsageError(f"--{name} = {given!r} is not a whole number.")
    return int(given)


def _run_controlnet(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from handrefiner_ext.train.controlnet import train_controlnet
    from handrefiner_ext.train.settings import Settings, is_first_process

    settings = Settings(**_read_values(options, Settings))
    with tqdm(
        total=settings.steps, unit="step", mininterval=1.0, disable=not sys.stderr.isatty()
    ) as bar:

        def tell(progress: Progress) -> None:
            bar.update(progress.step - bar.n)
            bar.set_postfix(loss=f"{progress.loss:.4f}")

        place, progress = train_controlnet(settings, options.resume, tell)
    if not is_first_process():
        return DONE
    done = "done before, nothing was left to do"
    if progress.seconds:
        done = f"{progress.seconds:.2f} s a step, loss {progress.loss:.4f}"
    print(f"{progress.step} steps, {done} -> {escape(str(place))}")
    return DONE


def _read_values(options: argparse.Namespace, kind: type[Any]) -> dict[str, Any]:
    """Return what was given, as the types of the settings."""
    values = {}
    for field in fields(kind):
        given = getattr(options, field.name, None)
        if given is None:
            continue
        try:
            values[field.name] = (
                (float if isinstance(field.default, float) else int)(given)
                if field.name in OPTIONS
                else given
            )
        except ValueError as error:
            kind_of_value = "a whole number" if isinstance(field.default, int) else "a number"
            raise UsageError(f"--{field.name} = {given!r} is not {kind_of_value}.") from error
    return values
