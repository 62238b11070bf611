"""Requests for pictures with hands, and what came back."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from running_host import Host

SIZE = 512
MODEL = "control_sd15_inpaint_depth_hand_fp16"
BASE = {
    "prompt": "a hand",
    "seed": 7,
    "steps": 4,
    "cfg_scale": 5,
    "sampler_name": "Euler",
    "width": SIZE,
    "height": SIZE,
}
GENTLE = {
    **{"enabled": True, "strength": 0.55, "denoising_strength": 0.05, "region_size": 256},
    "keep_best": False,
}
"""A random network paints noise; at this strength most of the picture survives it, and no judge may
hold it back."""
ADETAILER = {"ad_model": "mediapipe_face_full", "ad_confidence": 0.1, "ad_inpaint_width": 256}
FACES = {"args": [True, False, {**ADETAILER, "ad_denoising_strength": 0.05}]}
"""ADetailer's arguments: it repaints the face."""


@dataclass(frozen=True)
class Outcome:
    """images: (H, W, 3) each. texts: infotext of each. info: the answer's, decoded."""

    images: list[np.ndarray]
    texts: list[str]
    info: dict[str, Any]

    @property
    def image(self) -> np.ndarray:
        return self.images[0]

    @property
    def hands(self) -> str:
        """What the first picture's infotext says about its hands; empty where nothing."""
        return hands_of(self.texts[0])

    @property
    def decisions(self) -> str:
        """The same without its notes."""
        return decisions_of(self.texts[0])


def decisions_of(text: str) -> str:
    """What an infotext says happened to each hand, without the notes.

    Notes depend on the detector that is there: ai-edge-litert finds a face beside the hand, too.
    """
    return "; ".join(part for part in hands_of(text).split("; ") if part[:1].isdigit())


def hands_of(text: str) -> str:
    _, found, rest = text.partition("HandRefiner hands: ")
    if not found:
        return ""
    return json.JSONDecoder().raw_decode(rest)[0] if rest[0] == '"' else rest.partition(",")[0]


def load(path: Path, size: tuple[int, int] | None = (SIZE, SIZE)) -> np.ndarray:
    """A picture file as (H, W, 3), scaled to (width, height)."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    return np.asarray(image if size is None else image.resize(size, Image.Resampling.LANCZOS))


def encode(image: np.ndarray) -> str:
    """PNG as base64; a mask of bool becomes black and white."""
    array = np.where(image, 255, 0).astype(np.uint8) if image.dtype == bool else image
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def decode(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))


def read(body: dict[str, Any]) -> Outcome:
    info = json.loads(body["info"])
    return Outcome([decode(i) for i in body["images"]], info["infotexts"], info)


def img2img(host: Host, image: np.ndarray, hands: object = None, **more: object) -> Outcome:
    """One img2img request that nearly keeps `image`; hands: our dict, None = without us."""
    body = {**BASE, "init_images": [encode(image)], "denoising_strength": 0.01, **more}
    return read(host.post("/sdapi/v1/img2img", _with_scripts(body, hands)))


def txt2img(host: Host, photograph: np.ndarray, hands: object = None, **more: object) -> Outcome:
    """One txt2img request whose generated pictures a test-only script replaces."""
    body = _with_scripts({**BASE, **more}, hands)
    body["alwayson_scripts"]["Photograph"] = {"args": [encode(photograph)]}
    return read(host.post("/sdapi/v1/txt2img", body))


def _with_scripts(body: dict[str, Any], hands: object) -> dict[str, Any]:
    scripts = dict(body.pop("alwayson_scripts", {}))
    if hands is not None:
        scripts["HandRefiner"] = {"args": hands if isinstance(hands, list) else [hands]}
    return {**body, "alwayson_scripts": scripts}


def control_model(host: Host) -> str:
    """The hand ControlNet as the host lists it: Forge takes no name without its hash."""
    listed = host.get("/controlnet/model_list")["model_list"]
    return str(next(name for name in listed if name.startswith(MODEL)))


PLOT = "x/y/z plot"
AXES = 3


def plot_axes(host: Host, img2img: bool = False) -> list[str]:
    """The names of the plot's axes in a tab."""
    return list(_plot(host, img2img)[0]["choices"])


def plot_arguments(host: Host, axis: str, values: str, img2img: bool = False) -> list[object]:
    """Arguments of the X/Y/Z plot that sweep one axis and give the single pictures, too.

    By the plot's own list: reForge's has more of them.
    """
    arguments = _plot(host, img2img)
    axes = arguments[0]["choices"]
    chosen: list[object] = [axes.index(axis), values, []]
    chosen += [axes.index("Nothing"), "", []] * (AXES - 1)
    switches = {"Include Sub Images": True, "Include Sub Grids": False}
    switches["Use text inputs instead of dropdowns"] = True
    rest = arguments[len(chosen) :]
    return chosen + [switches.get(argument["label"], argument["value"]) for argument in rest]


def _plot(host: Host, img2img: bool) -> list[dict[str, Any]]:
    for script in host.get("/sdapi/v1/script-info"):
        if script["name"] == PLOT and script["is_img2img"] == img2img:
            return list(script["args"])
    raise AssertionError("no plot")


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W): where two pictures differ."""
    return (a != b).any(axis=2)


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two requests gave the same picture.

    When a picture becomes a latent, the WebUI's VAE draws from a generator that stands where the
    request before left it: that moves a few values by one, with us or without. Behind a request of
    the same seed it stands at the same place.
    """
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def as_mask(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] > 127
