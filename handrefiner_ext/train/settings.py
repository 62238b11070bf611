"""What `handrefiner train controlnet` can be told."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import InvalidParameter, PictureError, UsageError

UNET = "unet"
"""A ControlNet to begin with: a copy of the checkpoint's own encoder."""
ADAMW, ADAFACTOR = "adamw", "adafactor"
CONSTANT, COSINE = "constant", "cosine"
CHOICES = {
    "mixed_precision": ("no", "fp16", "bf16"),
    "optimizer": (ADAMW, ADAFACTOR),
    "lr_schedule": (CONSTANT, COSINE),
}
GRID = 8
"""Pixels of one latent; pictures have whole numbers of them, and of the UNet's three halvings."""
SMALLEST, LARGEST = 64, 2048
FREE = ("steps", "checkpoint_every", "sample_every", "gradient_checkpointing", "workers")
"""Settings that may differ when a run is resumed."""
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """The settings of a run; `check` says which are impossible.

    dataset: folder of `handrefiner dataset`. checkpoint: as `refine --checkpoint` takes it.
    control_model: what training begins with: a ControlNet, or "unet". size: pixels of each side.
    steps: of the optimiser; each sees batch_size * gradient_accumulation pictures per process.
    prompt_dropout: share of the pictures whose prompt is hidden. workers: processes that read.
    """

    dataset: str
    checkpoint: str
    out_dir: str
    control_model: str = UNET
    size: int = 512
    steps: int = 1000
    batch_size: int = 4
    gradient_accumulation: int = 4
    learning_rate: float = 1e-5
    lr_schedule: str = CONSTANT
    warmup_steps: int = 0
    optimizer: str = ADAMW
    prompt_dropout: float = 0.5
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    checkpoint_every: int = 500
    sample_every: int = 500
    seed: int = 0
    workers: int = 2

    def check(self) -> None:
        """Raise InvalidParameter for the first setting that is impossible."""
        for name in ("steps", "batch_size", "gradient_accumulation", "checkpoint_every"):
            _check_range(name, getattr(self, name), 1, None)
        for name in ("warmup_steps", "sample_every", "seed", "workers"):
            _check_range(name, getattr(self, name), 0, None)
        _check_range("size", self.size, SMALLEST, LARGEST)
        if self.size % (GRID * 8):
            raise InvalidParameter(f"size = {self.size} is not a multiple of {GRID * 8}.")
        _check_range("prompt_dropout", self.prompt_dropout, 0.0, 1.0)
        if not 0.0 < self.learning_rate < 1.0:
            raise InvalidParameter(
                f"learning_rate = {self.learning_rate} is not possible; the paper's is 1e-5."
            )
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InvalidParameter(
                    f"{name} = {getattr(self, name)!r} is not one of {', '.join(known)}."
                )


def _check_range(name: str, value: float, least: float, most: float | None) -> None:
    if value < least or (most is not None and value > most):
        limit = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise InvalidParameter(f"{name} = {value} is not possible; it must be {limit}.")


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def keep_settings(folder: Path, settings: Settings, resumes: bool) -> None:
    """Write the settings into the run's folder, or compare them with those that lie there.

    The first process of a run does it for all.

    Raises PictureError where a new run would meet an old one's files, UsageError where a resumed
    one would become another.
    """
    if not is_first_process():
        return
    place = folder / SETTINGS_FILE
    if not place.is_file():
        if resumes:
            raise UsageError(f"{folder} holds no run to resume; leave out --resume.")
        if any(folder.iterdir()):
            raise PictureError(f"{folder} is not empty; give a new folder, or add --resume.")
    elif not resumes:
        raise PictureError(f"{folder} holds a run already; add --resume, or give a new folder.")
    else:
        _compare(_read(place), settings)
    place.write_text(json.dumps(asdict(settings), indent=2) + "\n", "utf-8")


def _read(place: Path) -> dict[str, Any]:
    try:
        values = json.loads(place.read_text("utf-8"))
        return dict(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise PictureError(
            f"{place} is damaged and cannot be read; begin anew in a new folder."
        ) from error


def _compare(before: dict[str, Any], now: Settings) -> None:
    for field in fields(now):
        old, new = before.get(field.name), getattr(now, field.name)
        if field.name not in (*FREE, "out_dir") and old != new:
            raise UsageError(
                f"The run was begun with --{field.name} {old}, not {new}; resume it with the same "
                "settings, or begin anew in a new folder."
            )


def resolved(settings: Settings) -> Settings:
    """Return the settings with whole paths, so that a run can be resumed from any folder."""

    def whole(value: str) -> str:
        if not value:  # nothing was given; it is not the folder that one stands in
            return value
        return (
            str(Path(value).expanduser().resolve()) if Path(value).expanduser().exists() else value
        )

    return replace(
        settings,
        dataset=whole(settings.dataset),
        checkpoint=whole(settings.checkpoint),
        control_model=whole(settings.control_model),
    )
