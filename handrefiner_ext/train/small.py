"""A small diffusion model that obeys depth, trained from nothing on rendered hands.

It is for tests and benchmarks: with it `refine` can be asked whether a hand appears, not only
whether something changes. First the VAE learns; then every picture is encoded once; then UNet and
ControlNet learn together. The text encoder keeps its random weights: as a fixed code of the words
it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.outputs import open_folder
from handrefiner_ext.inpaint.control_models import SD1
from handrefiner_ext.inpaint.diffusion.loading import Models, libraries_quiet
from handrefiner_ext.inpaint.diffusion.text import build_tokenizer
from handrefiner_ext.train.codec import make_linear
from handrefiner_ext.train.data import Chances
from handrefiner_ext.train.encoded import EncodedSet, encode_once, encode_pictures
from handrefiner_ext.train.kept import CONTROLNET, Start, load_painting, load_vae, save
from handrefiner_ext.train.presets import INPAINTING_CHANNELS, Preset
from handrefiner_ext.train.run import Learning, Progress, Reader, Trainer, check_packages
from handrefiner_ext.train.settings import Settings, keep_settings, resolved
from handrefiner_ext.train.steps import Batch, Encoder, find_error, predict
from handrefiner_ext.train.views import CloseUps, Pictures

if TYPE_CHECKING:
    import torch

LOG_VARIANCE, NONE = -6.0, -20.0
"""Of the VAE's latents, to begin with and at the end: programs draw latents from that spread, and
the WebUI from a generator that each request leaves elsewhere."""
SPREAD, COARSE = 1e-6, 8
"""Weight of the divergence from a normal distribution in the VAE's loss (Rombach et al. 2022,
appendix G), and the pixels over which colours are averaged once more, so that they are learnt
early."""
HIDES_PROMPT, HIDES_CONTROL = 0.2, 0.1
"""Share of the examples that are learnt without prompt, and without depth."""
ENCODED = "encoded.npz"
"""File beside the runs with the encoded set, for as long as the painting is learnt."""
MEASURED = 256
"""Pictures that the spread of the latents is measured on."""


@dataclass(frozen=True)
class Stages:
    """Settings of both stages; the folders of their runs lie in that of the model."""

    vae: Settings
    painting: Settings


def plan_stages(settings: Settings, vae_steps: int, vae_pace: float = 1.0) -> Stages:
    """settings: of the painting stage; its out_dir is the model's. vae_pace: the preset's."""
    folder = Path(settings.out_dir)
    return Stages(
        replace(
            settings,
            steps=vae_steps,
            learning_rate=settings.learning_rate * vae_pace,
            batch_size=max(settings.batch_size // 2, 1),
            mixed_precision="no",  # the constants of the linear code are too large for bfloat16
            out_dir=str(folder / "vae"),
        ),
        replace(settings, out_dir=str(folder / "painting")),
    )


def train_small(
    stages: Stages,
    preset: Preset,
    start: Start,
    resumes: bool,
    tell: Callable[[str, Progress], None],
) -> Path:
    """Train and return the folder of the finished model.

    tell: is called with the stage's name after every step. Raises HandRefinerError.
    """
    for settings in (stages.vae, stages.painting):
        settings.check()
    check_packages()
    folder = open_folder(str(Path(stages.painting.out_dir).parent))
    if not resumes and any(folder.iterdir()):
        raise PictureError(f"{folder} is not empty; give a new folder, or add --resume.")
    start.check()
    with libraries_quiet():
        pipeline = build_pipeline(preset, stages.painting.seed)
        hands = CloseUps(Path(stages.painting.dataset), stages.painting.size, stages.painting.seed)
        if start.model is not None:
            load_painting(pipeline, start.model)
        if start.vae_file is None:
            _train_vae(pipeline.vae, preset.linear, hands, stages.vae, resumes, tell)
        else:
            load_vae(pipeline.vae, start.vae_file, preset)
        _train_painting(pipeline, hands, stages.painting, preset.hides_picture, resumes, tell)
        return save(pipeline, Path(stages.painting.out_dir).parent)


def build_pipeline(preset: Preset, seed: int) -> Any:
    """Return diffusers' inpainting pipeline with ControlNet, with random weights of a seed."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionControlNetInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from handrefiner_ext.inpaint.diffusion.loading import copy_encoder

    shape = preset.architecture
    sees = shape.controlnet["conditioning_embedding_out_channels"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_config({**shape.unet, "in_channels": INPAINTING_CHANNELS})
        vae = AutoencoderKL.from_config(dict(shape.vae))
        # As it comes, latents are mostly noise, and what has little contrast, such as colour,
        # is learnt very late.
        if preset.linear:
            make_linear(vae)
        _fix_variance(vae, LOG_VARIANCE)
        controlnet = copy_encoder(unet, sees)
        _open_control(controlnet)
        return StableDiffusionControlNetInpaintPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(CLIPTextConfig(**shape.text)).eval(),
            tokenizer=build_tokenizer(),
            unet=unet,
            controlnet=controlnet,
            scheduler=DDIMScheduler(**shape.noise),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def _fix_variance(vae: Any, log_variance: float) -> None:
    """Have each latent drawn from a normal distribution of the same spread."""
    import torch

    latents = int(vae.config.latent_channels)
    torch.nn.init.zeros_(vae.quant_conv.weight[latents:])
    torch.nn.init.constant_(vae.quant_conv.bias[latents:], log_variance)


def _open_control(controlnet: Any) -> None:
    """Let the depth through from the first step on.

    As it comes, a ControlNet is multiplied by zero, so that a UNet that paints already is not
    disturbed, and its layers for the depth leave a thousandth of it. Here nothing can be disturbed.
    """
    import torch

    seeing = controlnet.controlnet_cond_embedding
    leaving = (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block)
    for conv in (*seeing.modules(), *leaving):
        if isinstance(conv, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")


def _train_vae(
    vae: Any,
    is_linear: bool,
    hands: Pictures,
    settings: Settings,
    resumes: bool,
    tell: Callable[[str, Progress], None],
) -> None:
    """Train the VAE, and give its latents the spread that Stable Diffusion's have.

    An encoder that began as a linear code stays as it is.
    """
    import torch

    chances = Chances(settings.seed, 0.0)
    reader = Reader(hands, chances, settings.workers)

    def make_batch(places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        examples, draws = reader.read(places)
        noise = [np.random.default_rng(d.noise_seed).standard_normal((4, 64, 64)) for d in draws]
        images = np.stack([each.image for each in examples]).transpose(0, 3, 1, 2)
        return torch.from_numpy(images / np.float32(127.5) - 1), torch.from_numpy(
            np.stack(noise).astype(np.float32)
        )

    def find_loss(trained: Sequence[Any], batch: tuple[torch.Tensor, torch.Tensor]) -> Any:
        images, noise = batch
        posterior = vae.encode(images).latent_dist
        side = posterior.mean.shape[-1]
        drawn = posterior.mean + posterior.std * noise[..., :side, :side]
        said = vae.decode(drawn).sample
        wrong = said - images
        coarse = torch.nn.functional.avg_pool2d(wrong, COARSE).abs().mean()
        near = wrong.square().mean() + wrong.abs().mean() + _edges(wrong).mean()
        return near + coarse + SPREAD * posterior.kl().mean()

    if is_linear:
        _unify_spread(vae, hands)
        learning = Learning(
            [vae.decoder, vae.post_quant_conv], [vae.encoder, vae.quant_conv], find_loss
        )
        _run("vae", learning, settings, resumes, make_batch, tell)
    else:
        _run("vae", Learning([vae], [], find_loss), settings, resumes, make_batch, tell)
        _unify_spread(vae, hands)
    _fix_variance(vae, NONE)


def _unify_spread(vae: Any, hands: Pictures) -> None:
    images = [hands[number].image for number in range(min(len(hands), MEASURED))]
    spread = float(encode_pictures(vae, images).std())
    scale_latents(vae, 1.0 / (float(vae.config.scaling_factor) * spread))


def scale_latents(vae: Any, factor: float) -> None:
    """Multiply the latents by `factor`; what is decoded stays the same.

    So the scaling factor can stay the one that every program expects of Stable Diffusion 1.x.
    """
    import torch

    latents = int(vae.config.latent_channels)
    with torch.no_grad():
        vae.quant_conv.weight[:latents] *= factor
        vae.quant_conv.bias[:latents] *= factor
        vae.quant_conv.bias[latents:] += 2.0 * float(np.log(factor))  # log of the variance
        vae.post_quant_conv.weight /= factor


def _edges(difference: torch.Tensor) -> torch.Tensor:
    """How a difference of pictures changes from pixel to pixel, to the right and down."""
    inner = difference[..., :-1, :-1]
    return (difference[..., :-1, 1:] - inner).abs() + (difference[..., 1:, :-1] - inner).abs()


def _run(
    name: str,
    learning: Learning,
    settings: Settings,
    resumes: bool,
    make_batch: Callable[[Sequence[int]], Any],
    tell: Callable[[str, Progress], None],
) -> None:
    from accelerate.state import AcceleratorState

    folder = open_folder(settings.out_dir)
    begun = resumes and any(folder.iterdir())
    keep_settings(folder, resolved(settings), begun)
    trainer = Trainer(folder, settings, learning)
    start = trainer.restore() if begun else 0
    for progress in trainer.run(make_batch, start):
        tell(name, progress)
    # accelerate refuses a second stage of another precision in the same process otherwise.
    AcceleratorState._reset_state(reset_partial_state=True)


def _train_painting(
    pipeline: Any,
    hands: Pictures,
    settings: Settings,
    hides_picture: float,
    resumes: bool,
    tell: Callable[[str, Progress], None],
) -> None:
    from diffusers.models.attention_processor import AttnProcessor

    for frozen in (pipeline.vae, pipeline.text_encoder):
        frozen.requires_grad_(False)
    kept = Path(settings.out_dir).parent / ENCODED
    encoded = encode_once(pipeline.vae, hands, settings.seed, kept)
    views = EncodedSet(Encoder(Models(pipeline, SD1, CONTROLNET)), encoded)
    chances = Chances(settings.seed, HIDES_PROMPT, HIDES_CONTROL, hides_picture)

    def make_batch(places: Sequence[int]) -> Batch:
        return views.make_batch([chances.draw(place, len(hands)) for place in places])

    def find_loss(trained: Sequence[Any], batch: Batch) -> Any:
        unet, controlnet = trained
        return find_error(predict(unet, controlnet, batch), batch)

    import torch

    networks = [pipeline.unet.train(), pipeline.controlnet.train()]
    for network in networks:
        network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        # torch's own attention takes a third of a CPU's step in bfloat16 when it goes backwards.
        network.set_attn_processor(AttnProcessor())
    learning = Learning(networks, [], find_loss, averages=True)
    _run("painting", learning, settings, resumes, make_batch, tell)
    kept.unlink()
