"""The line under the panel: what the next run uses, or what is missing and what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from modules import shared

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host import controlnet
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.inpaint.checkpoints import Engine, find_family, find_few_steps, warn_of_pace
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import AUTO, RECONSTRUCTORS
from handrefiner_ext.stages import CACHE

logger = logging.getLogger(__name__)

ASK = "Press ↻ to see what the next run uses."
READY, MISSING, WORKING = "Ready:", "Not ready:", "Downloading:"
INSTALL_CONTROLNET = (
    "The ControlNet extension is missing or switched off. Open Extensions, Install from URL, paste "
    "https://github.com/Mikubill/sd-webui-controlnet, install it and restart the WebUI."
)
GET_HAND_MODEL = (
    "There is no depth ControlNet for Stable Diffusion 1.x yet. Download the one that was trained "
    "on hands with the button below, or put control_sd15_inpaint_depth_hand_fp16 into "
    "models/ControlNet and press ↻."
)
GET_SDXL_MODEL = (
    "There is no depth ControlNet for SDXL yet. Put one, such as a depth or union model, into "
    "models/ControlNet and press ↻."
)
LATER = "the ControlNet that suits the checkpoint for the hands, chosen when it is loaded"
AS_PICTURE = "steps, CFG scale and sampler of the picture"
REST_AS_PICTURE = "the rest as in the picture"
NO_MODEL = controlnet.ModelChoice(None, None, "")
MESH_NAMES = {"open_hand": "open hand", "graphormer": "MeshGraphormer"}


@dataclass(frozen=True)
class Status:
    """parts: what the next run uses; where `missing` says what to do, it cannot repaint a hand.

    warning: what had better be set first; empty where nothing speaks against the run.
    model: the ControlNet model that would be used. can_download: whether the missing model is the
    one that the panel downloads.
    """

    parts: tuple[str, ...] = ()
    warning: str = ""
    missing: str = ""
    model: controlnet.ModelChoice = NO_MODEL
    can_download: bool = False


def find_status(params: RefineParams) -> Status:
    """Return what a run with these values of the panel would use, for the loaded checkpoint."""
    if not controlnet.is_installed():
        return Status(missing=INSTALL_CONTROLNET)
    try:
        reconstructor = CACHE.build(RECONSTRUCTORS, params.mesh, read_model_home()).name
    except HandRefinerError as error:
        return Status(missing=str(error))
    hand = MESH_NAMES.get(reconstructor, reconstructor)
    loaded, chosen = str(shared.opts.sd_model_checkpoint or ""), params.checkpoint.strip()
    warning = warn_of_pace(Engine(loaded), Engine(chosen or loaded), params) or ""
    if chosen:
        return Status((chosen, LATER, hand, *_describe_sampling(params)), warning)
    wanted, family = params.control_model, controlnet.checkpoint_family()
    choice = controlnet.choose_model(controlnet.list_models(), family, wanted)
    if choice.name is None:  # a file may have been added since ControlNet last looked
        choice = controlnet.choose_model(controlnet.refresh_models(), family, wanted)
    if choice.name is not None:
        kind = _describe_checkpoint(family, loaded)
        parts = (kind, choice.name, hand, *_describe_sampling(params))
        return Status(parts, warning, model=choice)
    if wanted.strip().lower() not in (AUTO, "") or family not in (SD1, SDXL):
        return Status(missing=choice.reason)
    if family == SDXL:
        return Status(missing=GET_SDXL_MODEL)
    return Status(missing=GET_HAND_MODEL, can_download=True)


def _describe_checkpoint(family: str, name: str) -> str:
    """Return a checkpoint's kind in words, such as SDXL (Pony, Lightning)."""
    more = (find_family(name) if family == SDXL else None, find_few_steps(name))
    said = ", ".join(filter(None, more))
    return FAMILY_NAMES[family] + (f" ({said})" if said else "")


def _describe_sampling(params: RefineParams) -> tuple[str, ...]:
    """Return how hands are sampled: what is set for them, and that the rest is the picture's."""
    said = {
        "Steps": params.steps or "",
        "CFG scale": f"{params.cfg_scale:g}" if params.cfg_scale else "",
        "Sampler": params.sampler,
        "Scheduler": params.scheduler,
    }
    own = tuple(f"{name}: {value}" for name, value in said.items() if value)
    return own + ((REST_AS_PICTURE if own else AS_PICTURE,) if len(own) < len(said) else ())


def write_line(head: str, parts: Sequence[str]) -> str:
    """Return the line as HTML; each part is a text of its own, so that it can be translated.

    Screen readers say it when it changes.
    """
    kind = {READY: "ready", MISSING: "missing"}.get(head, "working")
    said = " · ".join(f"<span>{escape(part)}</span>" for part in parts)
    return f'<div role="status" class="{kind}"><b>{head}</b> {said}</div>'
