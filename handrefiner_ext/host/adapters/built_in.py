"""The ControlNet that Forge and its descendants have built in.

It hooks nothing into the network for longer than a sampling: what it needs for that stands in
`current_params` of its script, by the place of the unit (scripts/controlnet.py:546-572).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from handrefiner_ext.host.adapters.a1111 import A1111, find_module, hand_depth
from handrefiner_ext.types import Image

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing

NONE = "None"
"""The name of no preprocessor, and of no model."""


class BuiltIn(A1111):
    """ControlNet's part of the adapter, for all WebUIs that have it built in."""

    @property
    def missing_controlnet(self) -> str:
        return (
            f"ControlNet, which {self.name} has built in, is switched off; switch on "
            "sd_forge_controlnet under Extensions and restart the WebUI."
        )

    def list_control_models(self) -> dict[str, str]:
        module = _controlnet()
        if module is None:
            return {}
        models = module.global_state.controlnet_filename_dict
        return {name: str(path) for name, path in models.items() if name != NONE}

    def refresh_control_models(self) -> None:
        module = _controlnet()
        if module is not None:
            module.global_state.update_controlnet_filenames()

    def make_unit(self, fields: Mapping[str, object]) -> object:
        """Return a ControlNetUnit.

        A dict would do on Forge. reForge makes its control mode an enumeration and then compares
        that with texts (scripts/controlnet.py:515-519), so that only Balanced would ever work.
        """
        module = _controlnet()
        assert module is not None
        kind = module.external_code.ControlNetUnit
        given = {**fields, "module": NONE, **_picture(kind, np.asarray(fields["image"]))}
        unit = kind.from_dict(given)
        unit.control_mode = fields["control_mode"]
        return unit

    def nested_script(self, script: Any) -> Any:
        """Return a copy; the outer run's units stay in the script for its next iteration."""
        nested = copy.copy(script)
        nested.current_params = {}
        return nested

    def is_applied(self, script: Any) -> bool:
        return bool(getattr(script, "current_params", None))

    def unhook(self, script: Any, p: StableDiffusionProcessing) -> None:
        script.current_params = {}

    @contextmanager
    def outer_unhooked(
        self,
        script: Any,
        p: StableDiffusionProcessing,
        restore_model: Callable[[StableDiffusionProcessing], None],
    ) -> Iterator[None]:
        """Do nothing; between two samplings nothing is hooked."""
        yield

    def add_preprocessor(self, name: str, draw: Callable[[np.ndarray, int], Image]) -> None:
        shared: Any = import_module("modules_forge.shared")
        if name in shared.supported_preprocessors:
            return
        kind: Any = import_module("modules_forge.supported_preprocessor").Preprocessor
        shared.add_supported_preprocessor(hand_depth(kind, name, draw))


def _controlnet() -> Any | None:
    return find_module("global_state", "controlnet_filename_dict")


def _picture(kind: Any, image: np.ndarray) -> dict[str, object]:
    """Return the fields of a picture on which nothing is painted. image: (H, W, 3) uint8.

    Forge has two layers (scripts/controlnet.py:188-201 there), the older ones gradio's sketch.
    """
    if hasattr(kind, "image_fg"):
        return {"image": image, "image_fg": np.zeros((*image.shape[:2], 4), np.uint8)}
    return {"image": {"image": image, "mask": np.zeros_like(image)}}
