"""Trains a depth ControlNet for hands as the authors of the paper did.

Lu et al. 2023 (arXiv 2311.17957), and the program that they published, training/train.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handrefiner_ext.files.outputs import open_folder
from handrefiner_ext.inpaint.control_models import SD1, SDXL
from handrefiner_ext.inpaint.diffusion.loading import (
    Loader,
    Models,
    find_checkpoint,
    find_control,
    libraries_quiet,
)
from handrefiner_ext.pictures import write_atomically
from handrefiner_ext.train.card import write_card
from handrefiner_ext.train.data import Chances, HandSet, draw_mask
from handrefiner_ext.train.export import name_control_weights, write_weights
from handrefiner_ext.train.run import Learning, Progress, Reader, Trainer, check_packages
from handrefiner_ext.train.settings import UNET, Settings, keep_settings, resolved
from handrefiner_ext.train.steps import Batch, Encoder, find_error, predict

NAMES = {SD1: "control_sd15_depth_hand_open", SDXL: "control_sdxl_depth_hand_open"}
"""Family -> name of the file; `refine` and the panel tell family and kind by it."""
INPAINTING = {
    SD1: "control_sd15_inpaint_depth_hand_open",
    SDXL: "control_sdxl_inpaint_depth_hand_open",
}
SAMPLES, SHOWN = "samples", 4
SAMPLE_STEPS = 20


def train_controlnet(
    settings: Settings, resumes: bool, tell: Callable[[Progress], None]
) -> tuple[Path, Progress]:
    """Train, and return the exported file and how far it came.

    Raises HandRefinerError: a package, the checkpoint or memory is missing, or a setting is wrong.
    """
    settings.check()
    check_packages()
    settings = resolved(settings)
    hands = HandSet(Path(settings.dataset), settings.size)
    find_checkpoint(settings.checkpoint, None)  # a run that cannot begin leaves its folder free
    folder = open_folder(settings.out_dir)
    keep_settings(folder, settings, resumes)
    with libraries_quiet():
        return _train(folder, settings, hands, resumes, tell)


def _train(
    folder: Path,
    settings: Settings,
    hands: HandSet,
    resumes: bool,
    tell: Callable[[Progress], None],
) -> tuple[Path, Progress]:
    models = _load(settings)
    encoder = Encoder(models)
    pipeline = models.pipeline
    frozen = [getattr(pipeline, name, None) for name in ("vae", "text_encoder", "text_encoder_2")]
    for model in (pipeline.unet, pipeline.controlnet):
        model.train()  # only in this mode are activations computed twice
        if settings.gradient_checkpointing:
            model.enable_gradient_checkpointing()

    def find_loss(trained: Sequence[Any], batch: Batch) -> Any:
        return find_error(predict(pipeline.unet, trained[0], batch), batch)

    learning = Learning(
        trained=[pipeline.controlnet],
        frozen=[pipeline.unet, *(model for model in frozen if model is not None)],
        find_loss=find_loss,
    )
    trainer = Trainer(folder, settings, learning)
    reader = Reader(hands, Chances(settings.seed, settings.prompt_dropout), settings.workers)
    start = trainer.restore() if resumes else 0
    progress = Progress(start, float("nan"), 0.0)
    for progress in trainer.run(lambda places: encoder.encode(*reader.read(places)), start):
        tell(progress)
        if settings.sample_every and progress.step % settings.sample_every == 0:
            _show(folder, models, hands, trainer, progress.step)
    return _export(folder, settings, models, trainer, hands), progress


def _load(settings: Settings) -> Models:
    """Load everything in float32, on the CPU; the ControlNet is the one to begin with.

    What is new in it is drawn from the seed.
    """
    import torch

    loader = Loader("cpu", dtype="float32")

    def find(family: str) -> Path | None:
        given = settings.control_model
        return None if given == UNET else find_control(given, family, None)

    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return loader.load(find_checkpoint(settings.checkpoint, None), find, uses_own=False)


def _show(folder: Path, models: Models, hands: HandSet, trainer: Trainer, step: int) -> None:
    """Paint the first pictures of the set: masked, depth, painted, as rendered, side by side."""
    import torch

    accelerator = trainer.accelerator
    if not accelerator.is_main_process:
        return
    rows = []
    with torch.no_grad(), _in_one_precision(models):
        for number in range(min(SHOWN, len(hands))):
            example = hands[number]
            mask = draw_mask(
                example.control, np.random.default_rng([trainer.settings.seed, number])
            )
            depth = np.repeat(example.control[..., None], 3, axis=2)
            painted = models.pipeline(
                prompt=example.prompt,
                image=(example.image / np.float32(255.0))[None],
                mask_image=mask.astype(np.float32)[None],
                control_image=(depth / np.float32(255.0))[None],
                height=hands.size,
                width=hands.size,
                strength=1.0,
                num_inference_steps=SAMPLE_STEPS,
                generator=torch.Generator("cpu").manual_seed(number),
                output_type="np",
            ).images[0]
            shown = np.asarray(np.rint(np.clip(painted, 0, 1) * 255), dtype=np.uint8)
            hidden = np.where(mask[..., None], np.uint8(127), example.image)
            rows.append(np.concatenate([hidden, depth, shown, example.image], axis=1))
    place = open_folder(str(folder / SAMPLES)) / f"step-{step:07d}.png"
    _, data = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    write_atomically(place, data.tobytes())


@contextmanager
def _in_one_precision(models: Models) -> Iterator[None]:
    """Let the pipeline paint with a copy of the ControlNet in the UNet's precision."""
    pipeline, trained = models.pipeline, models.pipeline.controlnet
    kept = pipeline.vae.dtype
    # Not a deep copy: accelerate's wrapper around the trained one always answers in float32.
    painting = type(trained).from_config(trained.config)
    painting.load_state_dict(trained.state_dict())
    pipeline.controlnet = painting.to(pipeline.unet.device, pipeline.unet.dtype)
    try:
        yield
    finally:
        pipeline.controlnet = trained
        pipeline.vae.to(kept)  # the pipeline of SDXL moves it to its own


def _export(
    folder: Path, settings: Settings, models: Models, trainer: Trainer, hands: HandSet
) -> Path:
    """Write the weights as one file and as diffusers' folder, and the card."""
    inpaints = int(models.pipeline.unet.config.in_channels) != 4
    name = (INPAINTING if inpaints else NAMES)[models.family]
    place = folder / f"{name}.safetensors"
    if trainer.accelerator.is_main_process:
        controlnet: Any = trainer.accelerator.unwrap_model(trainer.trained[0])
        write_weights(name_control_weights(controlnet), place)
        controlnet.save_pretrained(folder / "diffusers" / name)
        write_card(folder, settings, name, models, len(hands))
    return place
