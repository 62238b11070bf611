"""Forge, and what builds on it: one network in memory, loaded late and by parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.host.adapters.a1111 import family_of
from handrefiner_ext.host.adapters.built_in import BuiltIn
from handrefiner_ext.host.patches import attribute

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing

NO_VAE = ("None", "Automatic")
TEXT_KEY = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
FAMILY_BY_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 1280: "sdxl", 2048: "sdxl"}
"""Width of the text that this layer reads -> family, as Forge itself tells them apart
(backend/loader.py, `replace_state_dict`); 1280 is SDXL's refiner."""
FAMILY_BY_NAME = (
    ("conditioner.embedders.", "sdxl"),
    ("cond_stage_model.model.", "sd2"),
    ("cond_stage_model.transformer.", "sd1"),
    ("model.diffusion_model.double_blocks.", "flux"),
    ("model.diffusion_model.joint_blocks.", "sd3"),
)
"""What the names of some weights begin with, in one family only -> that family."""
LARGEST_HEADER = 100 * 2**20


class Forge(BuiltIn):
    """A checkpoint is loaded by `forge_loading_parameters`, which are made from the settings."""

    name = "Forge"

    def load_checkpoint(self) -> bool:
        if _sd_models().select_checkpoint() is None:
            return False
        if _network() is None:
            self.apply_settings()
        return True

    def family(self) -> str:
        network = _network()
        if network is None:
            return _family_to_come()
        if "flux" in type(network).__name__.lower():
            return "flux"
        return family_of(network) or "other"

    def vae_settings(self, vae: str) -> dict[str, object]:
        """Return the list of modules with this VAE instead of the others; text encoders stay."""
        from modules import sd_vae, shared

        vaes = {Path(path).resolve() for path in sd_vae.vae_dict.values()}
        chosen = shared.opts.data.get("forge_additional_modules") or []
        modules = [path for path in chosen if Path(path).resolve() not in vaes]
        own = [] if vae in NO_VAE else [sd_vae.vae_dict[vae]]
        return {"forge_additional_modules": modules + own}

    def apply_settings(self) -> None:
        processing = import_module("modules.processing")
        # A pending wish to empty the graphics card is the host's own; ours is granted here.
        with attribute(processing, "need_global_unload", processing.need_global_unload):
            import_module("modules_forge.main_entry").refresh_model_loading_parameters()
            _sd_models().forge_model_reload()

    def loaded_networks(self) -> Sequence[Any]:
        return ()

    def discard(self, network: Any) -> None:
        """Do nothing; there is never a second one."""

    @contextmanager
    def remarks_kept(self) -> Iterator[None]:
        """Keep them on the network, where Forge has them (modules/processing.py:885-886).

        The network itself is not kept: another checkpoint may need its memory.
        """
        from modules import shared

        comments = shared.sd_model.comments
        params = shared.sd_model.extra_generation_params
        try:
            yield
        finally:
            shared.sd_model.comments = comments
            shared.sd_model.extra_generation_params = params

    def merge_tokens(self, p: StableDiffusionProcessing) -> None:
        """Do nothing; it is set at each sampling (modules/processing.py, `sample`)."""


def _sd_models() -> Any:
    """Return the host's module, which has more here than A1111's."""
    return import_module("modules.sd_models")


def _network() -> Any | None:
    """Return the loaded network; None before the first, when a placeholder stands for it."""
    network = _sd_models().model_data.sd_model
    return network if hasattr(network, "forge_objects") else None


def _family_to_come() -> str:
    """Return the family of the checkpoint that the settings name, from its file."""
    info = _sd_models().select_checkpoint()
    return "other" if info is None else family_of_file(Path(info.filename))


def family_of_file(path: Path) -> str:
    """Return the family of a safetensors checkpoint by the shapes and names in its header.

    The width of the text comes first, since a file may hold the network alone. `other` where
    neither tells.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length < LARGEST_HEADER:
                return "other"
            header = json.loads(file.read(length))
    except (OSError, ValueError):
        return "other"
    if not isinstance(header, dict):
        return "other"
    shape = header.get(TEXT_KEY, {}).get("shape", (0, 0))
    by_name = (
        family
        for beginning, family in FAMILY_BY_NAME
        if any(name.startswith(beginning) for name in header)
    )
    return FAMILY_BY_TEXT_WIDTH.get(shape[1]) or next(by_name, "other")
