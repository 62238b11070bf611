"""`handrefiner train`: networks that learn from the pictures of `handrefiner dataset`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import UsageError

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
    control.add_argument("--dataset", required=True, metavar="D", help="of handrefiner dataset")
    control.add_argument("--out_dir", required=True, metavar="D", help="a new or empty folder")
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


def _run_controlnet(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from handrefiner_ext.train.controlnet import train_controlnet
    from handrefiner_ext.train.settings import Settings

    settings = Settings(**_read_values(options, Settings))
    with tqdm(
        total=settings.steps, unit="step", mininterval=1.0, disable=not sys.stderr.isatty()
    ) as bar:

        def tell(progress: Progress) -> None:
            bar.update(progress.step - bar.n)
            bar.set_postfix(loss=f"{progress.loss:.4f}")

        place, progress = train_controlnet(settings, options.resume, tell)
    took = f", {progress.seconds:.2f} s a step" if progress.seconds else ""
    print(f"{progress.step} steps{took}, loss {progress.loss:.4f} -> {place}")
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
