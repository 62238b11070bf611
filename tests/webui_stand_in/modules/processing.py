"""Runs: a request's parameters, and the loop that makes pictures of it (processing.py).

What stands in for the network: txt2img gives the picture of `drawn_by_network`; img2img inverts its
picture, shifted by seed, network and control units, where the mask lets it. Both are exact, so that
a test can tell what was painted, by which network, with which seed and under which control.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from modules import devices, images, paths, scripts, sd_models, sd_samplers, shared
from modules.infotext_utils import quote
from modules.sd_hijack import model_hijack

Infotext = Callable[..., str | None]
Box = tuple[int, int, int, int]
drawn_by_network: list[Image.Image] = []
"""The pictures of txt2img, by their place in the batch."""
prompt_history: list[str] = []
"""What was written into params.txt."""


class DecodedSamples(list[Any]):
    """Samples that are pictures already, (3, H, W) in -1…1 (processing.py:619)."""

    already_decoded = True


class Processed:
    """What came of a run (processing.py:516)."""

    def __init__(
        self,
        p: StableDiffusionProcessing,
        images_list: list[Image.Image],
        info: str = "",
        index_of_first_image: int = 0,
        infotexts: list[str] | None = None,
    ) -> None:
        self.images = images_list
        self.info = info
        self.index_of_first_image = index_of_first_image
        self.infotexts = infotexts or [info] * len(images_list)
        self.comments = "".join(f"{comment}\n" for comment in p.comments)

    def js(self) -> str:
        """What the API answers as `info`; the comments are not in it (processing.py:571)."""
        return json.dumps({"infotexts": self.infotexts})


@dataclass(eq=False)
class StableDiffusionProcessing:
    """A request, and where its work stands. sd_model is not kept: it is the loaded network."""

    sd_model: Any = None
    outpath_samples: str = ""
    outpath_grids: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = field(default_factory=list)
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    sampler_name: str = "Euler"
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    do_not_reload_embeddings: bool = False
    eta: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    sampler_noise_scheduler_override: Any = None
    disable_extra_networks: bool = False
    token_merging_ratio: float = 0.0
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    override_settings: dict[str, Any] = field(default_factory=dict)
    refiner_checkpoint: str | None = None

    is_api = False

    def __post_init__(self) -> None:
        self.comments: dict[str, int] = {}
        self.sd_model_name: str | None = None
        self.iteration = 0
        self.batch_index = 0
        self.scripts_setup_complete = False
        self.scripts_value: scripts.ScriptRunner | None = None
        self.script_args_value: Sequence[Any] = ()
        self.all_prompts: list[str] = []
        self.all_seeds: list[int] = []
        self.all_subseeds: list[int] = []
        self.prompts: list[str] = []
        self.negative_prompts: list[str] = []
        self.seeds: list[int] = []
        self.subseeds: list[int] = []
        self.sampler: sd_samplers.Sampler | None = None
        self.color_corrections: list[Any] | None = None
        self.overlay_images: list[Image.Image] | None = None
        self.mask_for_overlay: Image.Image | None = None
        self.paste_to: Box | None = None
        self.cached_c: list[Any] = [None, None]
        self.cached_uc: list[Any] = [None, None]
        self.closed = False

    def __getattribute__(self, name: str) -> Any:
        # Whatever was given: the network in use (processing.py:303).
        return shared.sd_model if name == "sd_model" else super().__getattribute__(name)

    @property
    def scripts(self) -> scripts.ScriptRunner | None:
        """The runner; once it and the arguments are there, every script's setup is called."""
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: scripts.ScriptRunner | None) -> None:
        self.scripts_value = value
        self._set_up()

    @property
    def script_args(self) -> Sequence[Any]:
        """The values of all scripts' components."""
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Sequence[Any]) -> None:
        self.script_args_value = value
        self._set_up()

    def _set_up(self) -> None:
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.scripts_setup_complete = True
            self.scripts_value.setup_scrips(self)

    def comment(self, text: str) -> None:
        """Show the user a remark with the picture."""
        self.comments[text] = 1

    def get_token_merging_ratio(self) -> float:
        """Return the ratio of this run."""
        return self.token_merging_ratio

    def close(self) -> None:
        """Free what the run holds."""
        self.closed = True

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        """Prepare sampling, once for a run."""
        self.sampler = sd_samplers.create_sampler(self.sampler_name, shared.sd_model)

    def sample(self, **values: Any) -> Sequence[Any]:
        """Return a picture for each prompt of the batch, (3, H, W) in -1…1."""
        raise NotImplementedError


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """A request without a picture."""

    txt2img_upscale = False

    def sample(self, **values: Any) -> Sequence[Any]:
        count = len(self.prompts)
        drawn = [drawn_by_network[n % len(drawn_by_network)] for n in range(count)]
        return DecodedSamples(to_sample(np.asarray(image)) for image in drawn)


@dataclass(eq=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """A request with pictures. mask: L, white may change; it is kept as `image_mask`."""

    init_images: list[Image.Image] = field(default_factory=list)
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: Image.Image | None = None
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        super().init(all_prompts, all_seeds, all_subseeds)
        color = shared.opts.img2img_background_color
        pictures = [images.flatten(image, color) for image in self.init_images]
        self._mask: NDArray[np.bool_] | None = None
        if self.image_mask is not None:
            pictures = self._take_mask(self.image_mask, pictures)
        size = self.width, self.height
        self._start = [np.asarray(images.resize_image(0, image, *size)) for image in pictures]
        if len(self._start) > 1:
            self.batch_size = len(self._start)

    def _take_mask(self, mask: Image.Image, pictures: list[Image.Image]) -> list[Image.Image]:
        """Set mask and overlays; return the pictures, or their parts for "only masked"."""
        mask = create_binary_mask(mask)
        if self.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
        if self.inpaint_full_res:
            self.mask_for_overlay = mask
            box = _grow(mask.getbbox() or (0, 0, *mask.size), self.inpaint_full_res_padding, mask)
            self.paste_to = (box[0], box[1], box[2] - box[0], box[3] - box[1])
            mask = mask.crop(box)
        else:
            box = (0, 0, *pictures[0].size)
            mask = mask.resize((self.width, self.height))
            self.mask_for_overlay = mask
        self._mask = np.asarray(mask.resize((self.width, self.height))) > 127
        self.overlay_images = list(pictures)
        return [image.crop(box) for image in pictures]

    def sample(self, **values: Any) -> Sequence[Any]:
        network = shared.sd_model
        weight = sum(unit["weight"] for unit in network.hooked)
        samples = []
        for number, seed in enumerate(self.seeds):
            start = self._start[number % len(self._start)]
            shift = network.offset + seed % 50 + round(20 * weight)
            painted = 255 - start + np.uint8(shift % 256)
            if self._mask is not None:
                painted = np.where(self._mask[..., None], painted, start)
            samples.append(to_sample(painted))
        return samples


def to_sample(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, H, W) in -1…1, in the middle of the steps of uint8."""
    values = (picture.astype(np.float64) + 0.5) / 255.0 * 2.0 - 1.0
    moved: NDArray[np.float32] = np.moveaxis(values, 2, 0).astype(np.float32)
    return moved


def to_picture(sample: Any) -> Image.Image:
    """Cut off what follows the decimal point, as the host does (processing.py:1034)."""
    values = np.clip((np.asarray(sample, dtype=np.float32) + 1.0) / 2.0, 0.0, 1.0)
    return Image.fromarray((255.0 * np.moveaxis(values, 0, 2)).astype(np.uint8))


def _grow(box: Box, padding: int, mask: Image.Image) -> Box:
    width, height = mask.size
    low = max(0, box[0] - padding), max(0, box[1] - padding)
    return (*low, min(width, box[2] + padding), min(height, box[3] + padding))


def create_binary_mask(image: Image.Image) -> Image.Image:
    """Return L: alpha where the picture is partly transparent, else brightness."""
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        return image.getchannel("A").point(lambda value: 255 if value > 128 else 0)
    return image.convert("L")


def create_infotext(p: StableDiffusionProcessing, index: int) -> str:
    """Return a picture's text; index: its place in the batch. Callables are asked for theirs."""
    entries: dict[str, Any] = {
        **{"Steps": p.steps, "Sampler": p.sampler_name, "CFG scale": p.cfg_scale},
        **{"Seed": p.seeds[index] if p.seeds else p.seed, "Size": f"{p.width}x{p.height}"},
        **p.extra_generation_params,
    }
    written = []
    for name, value in entries.items():
        text = value(p=p, index=index, all_prompts=p.all_prompts) if callable(value) else value
        if text is not None:
            written.append(f"{name}: {quote(text)}")
    prompt = p.prompts[index] if p.prompts else p.prompt
    negative = [f"Negative prompt: {p.negative_prompt}"] if p.negative_prompt else []
    return "\n".join([prompt, *negative, ", ".join(written)])


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Run a request under its settings (processing.py:818-862)."""
    if p.scripts is not None:
        p.scripts.call("before_process", p)
    sd_models.reload_model_weights()
    sd_models.apply_token_merging(shared.sd_model, p.get_token_merging_ratio())
    try:
        return process_images_inner(p)
    finally:
        sd_models.apply_token_merging(shared.sd_model, 0)


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """Make the pictures of every iteration and batch, with all hooks (processing.py:865-1150)."""
    model_hijack.clear_comments()
    count = p.batch_size * p.n_iter
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.all_prompts = [p.prompt] * count
    p.all_seeds = [int(p.seed) + number for number in range(count)]
    p.all_subseeds = [int(p.subseed) + number for number in range(count)]
    _call(p, "process")
    p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
    if shared.state.job_count == -1:
        shared.state.job_count = p.n_iter
    made: list[Image.Image] = []
    texts: list[str] = []
    for number in range(p.n_iter):
        p.iteration = number
        shared.state.skipped = False
        if shared.state.interrupted or shared.state.stopping_generation:
            break
        sd_models.reload_model_weights()
        _make_batch(p, made, texts)
    first = 0
    if len(made) > 1 and shared.opts.return_grid and not p.do_not_save_grid:
        made.insert(0, Image.new("RGB", made[0].size))
        texts.insert(0, texts[0])
        first = 1
    texts = texts or [create_infotext(p, 0)]
    processed = Processed(p, made, texts[0], first, texts)
    _call(p, "postprocess", processed)
    return processed


def _make_batch(p: StableDiffusionProcessing, made: list[Image.Image], texts: list[str]) -> None:
    """Make the pictures of one iteration."""
    part = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
    p.prompts, p.seeds = p.all_prompts[part], p.all_seeds[part]
    p.negative_prompts = [p.negative_prompt] * len(p.prompts)
    p.subseeds = p.all_subseeds[part]
    named = {"prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    _call(p, "before_process_batch", batch_number=p.iteration, **named)
    _call(p, "process_batch", batch_number=p.iteration, **named)
    if p.iteration == 0 and not shared.cmd_opts.no_prompt_history:
        prompt_history.append(create_infotext(p, 0))
        (Path(paths.data_path) / "params.txt").write_text(prompt_history[-1], "utf-8")
    samples = p.sample(seeds=p.seeds, prompts=p.prompts)
    devices.torch_gc()
    shared.state.nextjob()
    for p.batch_index, sample in enumerate(samples):
        changed = scripts.PostprocessImageArgs(to_picture(sample))
        _call(p, "postprocess_image", changed)
        image = _apply_overlay(p, changed.image)
        texts.append(create_infotext(p, p.batch_index))
        if shared.opts.enable_pnginfo:
            image.info["parameters"] = texts[-1]
        made.append(image)


def _apply_overlay(p: StableDiffusionProcessing, image: Image.Image) -> Image.Image:
    """Return the whole picture: the original wherever the user's mask is black."""
    if not shared.opts.overlay_inpaint or not p.overlay_images or p.mask_for_overlay is None:
        return image
    whole = p.overlay_images[p.batch_index % len(p.overlay_images)].copy()
    painted = whole.copy()
    if p.paste_to is None:
        painted = image.resize(whole.size)
    else:
        x, y, width, height = p.paste_to
        painted.paste(image.resize((width, height)), (x, y))
    return Image.composite(painted, whole, p.mask_for_overlay.resize(whole.size))


def _call(p: StableDiffusionProcessing, hook: str, *more: Any, **named: Any) -> None:
    if p.scripts is not None:
        p.scripts.call(hook, p, *more, **named)
