"""The line under the panel: what the next run uses, or what is missing and what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host import controlnet
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL
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
NO_MODEL = controlnet.ModelChoice(None, None, "")
MESH_NAMES = {"open_hand": "open hand", "graphormer": "MeshGraphormer"}


@dataclass(frozen=True)
class Status:
    """parts: what the next run uses; where `missing` says what to do, it cannot repaint a hand.

    model: the ControlNet model that would be used. can_download: whether the missing model is the
    one that the panel downloads.
    """

    parts: tuple[str, ...] = ()
    missing: str = ""
    model: controlnet.ModelChoice = NO_MODEL
    can_download: bool = False


def find_status(wanted: str, mesh: str, checkpoint: str) -> Status:
    """Return what a run with these values of the panel would use, for the loaded checkpoint."""
    if not controlnet.is_installed():
        return Status(missing=INSTALL_CONTROLNET)
    try:
        reconstructor = CACHE.build(RECONSTRUCTORS, mesh, read_model_home()).name
    except HandRefinerError as error:
        return Status(missing=str(error))
    hand = MESH_NAMES.get(reconstructor, reconstructor)
    if checkpoint.strip():
        return Status((checkpoint.strip(), LATER, hand))
    family = controlnet.checkpoint_family()
    choice = controlnet.choose_model(controlnet.list_models(), family, wanted)
    if choice.name is None:  # a file may have been added since ControlNet last looked
        choice = controlnet.choose_model(controlnet.refresh_models(), family, wanted)
    if choice.name is not None:
        return Status((FAMILY_NAMES[family], choice.name, hand), model=choice)
    if wanted.strip().lower() not in (AUTO, "") or family not in (SD1, SDXL):
        return Status(missing=choice.reason)
    if family == SDXL:
        return Status(missing=GET_SDXL_MODEL)
    return Status(missing=GET_HAND_MODEL, can_download=True)


def write_line(head: str, parts: Sequence[str]) -> str:
    """Return the line as HTML; each part is a text of its own, so that it can be translated.

    Screen readers say it when it changes.
    """
    kind = {READY: "ready", MISSING: "missing"}.get(head, "working")
    said = " · ".join(f"<span>{escape(part)}</span>" for part in parts)
    return f'<div role="status" class="{kind}"><b>{head}</b> {said}</div>'
