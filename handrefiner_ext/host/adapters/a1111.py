"""AUTOMATIC1111's WebUI, with the extension sd-webui-controlnet."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from handrefiner_ext.host.patches import options
from handrefiner_ext.types import Image

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing

logger = logging.getLogger(__name__)
FLAGS = (("sdxl", "is_sdxl"), ("sd3", "is_sd3"), ("sd2", "is_sd2"), ("sd1", "is_sd1"))
"""Family -> the flag of a network that tells it."""


class A1111:
    """A1111 from 1.10 on; the other WebUIs were made from it, and differ where they override."""

    name = "stable-diffusion-webui"

    @property
    def missing_controlnet(self) -> str:
        return (
            "The ControlNet extension is missing or switched off; install sd-webui-controlnet and "
            "restart the WebUI."
        )

    # --- ControlNet

    def list_control_models(self) -> dict[str, str]:
        module = find_module("global_state", "cn_models")
        if module is None:
            return {}
        state = module.global_state
        if not any(state.cn_models.values()):
            state.update_cn_models()
        return dict(state.cn_models)

    def refresh_control_models(self) -> None:
        module = find_module("global_state", "cn_models")
        if module is not None:
            module.global_state.update_cn_models()

    def make_unit(self, fields: Mapping[str, object]) -> object:
        return dict(fields)

    def nested_script(self, script: Any) -> Any:
        """Return the script itself: a copy would clear its cache of models at every run."""
        return script

    def is_applied(self, script: Any) -> bool:
        network = getattr(script, "latest_network", None)
        return bool(network is not None and getattr(network, "control_params", None))

    def unhook(self, script: Any, p: StableDiffusionProcessing) -> None:
        from modules import processing

        if getattr(script, "latest_network", None) is not None:
            script.postprocess(p, processing.Processed(p, []))

    @contextmanager
    def outer_unhooked(
        self,
        script: Any,
        p: StableDiffusionProcessing,
        restore_model: Callable[[StableDiffusionProcessing], None],
    ) -> Iterator[None]:
        from modules import processing

        if getattr(script, "latest_network", None) is None:
            yield
            return
        args = p.script_args[script.args_from : script.args_to]
        with options({"control_net_detectmap_autosaving": False}):
            script.postprocess(copy.copy(p), processing.Processed(p, []), *args)
        try:
            yield
        finally:
            try:
                restore_model(p)
                script.process(copy.copy(p), *args)
            except Exception:
                logger.exception("ControlNet could not be set up again for the pictures to come.")

    def add_preprocessor(self, name: str, draw: Callable[[np.ndarray, int], Image]) -> None:
        module = find_module("Preprocessor", "add_supported_preprocessor")
        if module is None or module.Preprocessor.get_preprocessor(name) is not None:
            return
        kind = module.Preprocessor
        kind.add_supported_preprocessor(hand_depth(kind, name, draw, name=name))

    # --- checkpoint and VAE

    def load_checkpoint(self) -> bool:
        from modules import shared

        return shared.sd_model is not None

    def family(self) -> str:
        from modules import shared

        return family_of(shared.sd_model) or "other"

    def vae_settings(self, vae: str) -> dict[str, object]:
        return {"sd_vae": vae, "sd_vae_overrides_per_model_preferences": True}

    def apply_settings(self) -> None:
        from modules import sd_models, sd_vae

        sd_models.reload_model_weights()
        if not sd_vae.loaded_vae_file:
            # A network that is taken from memory counts as one whose own VAE was put aside
            # (sd_models.set_sd_model). It never was, and so it would never come back.
            sd_vae.delete_base_vae()
        sd_vae.reload_vae_weights()

    def loaded_networks(self) -> Sequence[Any]:
        from modules import sd_models

        return sd_models.model_data.loaded_sd_models

    def discard(self, network: Any) -> None:
        from modules import sd_models

        sd_models.model_data.loaded_sd_models.remove(network)
        sd_models.send_model_to_trash(network)

    # --- the rest

    @contextmanager
    def remarks_kept(self) -> Iterator[None]:
        from modules.sd_hijack import model_hijack

        comments, params = model_hijack.comments, model_hijack.extra_generation_params
        try:
            yield
        finally:
            model_hijack.comments, model_hijack.extra_generation_params = comments, params

    def merge_tokens(self, p: StableDiffusionProcessing) -> None:
        from modules import sd_models, shared

        sd_models.apply_token_merging(shared.sd_model, p.get_token_merging_ratio())

    def list_schedulers(self) -> list[str]:
        from modules import sd_schedulers

        return [scheduler.label for scheduler in sd_schedulers.schedulers]

    def knows_scheduler(self, name: str) -> bool:
        from modules import sd_schedulers

        return name in sd_schedulers.schedulers_map


def family_of(network: object) -> str | None:
    """Return the family that a loaded network says it is of; None if it says none."""
    return next((family for family, flag in FLAGS if getattr(network, flag, False)), None)


def find_module(name: str, member: str) -> Any | None:
    """Return the loaded script that imported a module `name` with this `member`.

    So ControlNet is found wherever it is installed.
    """
    from modules import scripts

    for data in scripts.scripts_data:
        module = getattr(data, "module", None)
        if hasattr(getattr(module, name, None), member):
            return module
    return None


def hand_depth(
    kind: Any, name: str, draw: Callable[[np.ndarray, int], Image], /, **wanted: str
) -> object:
    """Return a preprocessor of ControlNet's own class `kind`. wanted: by its constructor."""

    class HandDepth(kind):  # type: ignore[misc]  # the class is known at run time only
        def __init__(self) -> None:
            super().__init__(**wanted)
            self.name = name
            self.tags = ["Depth"]
            # Forge and reForge offer models by their names; sd-webui-controlnet does so by tag.
            self.model_filename_filters = ["depth"]

        def __call__(
            self, input_image: np.ndarray, resolution: int, *args: Any, **kwargs: Any
        ) -> Image:
            return draw(input_image, int(resolution))

    return HandDepth()
