"""reForge and Forge Classic: A1111's way with checkpoints, Forge's with ControlNet."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from handrefiner_ext.host.adapters.built_in import BuiltIn

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing

logger = logging.getLogger(__name__)


class ReForge(BuiltIn):
    """Keeps several checkpoints as A1111 does; its networks have nothing to be put in the trash."""

    name = "reForge"

    def make_unit(self, fields: Mapping[str, object]) -> object:
        """Return a ControlNetUnit, and say what will come of its control mode.

        reForge notes the weights of a mode (modules_forge/controlnet.py:62) and never reads them.
        """
        if fields["control_mode"] != "Balanced":
            logger.warning(
                "HandRefiner: %s takes no notice of the control mode; the hands are painted as "
                "with Balanced.",
                self.name,
            )
        return super().make_unit(fields)

    def discard(self, network: Any) -> None:
        from modules import sd_models

        sd_models.model_data.loaded_sd_models.remove(network)

    def merge_tokens(self, p: StableDiffusionProcessing) -> None:
        """Do nothing; it is set at each sampling (modules/processing.py of reForge, `sample`)."""


class Classic(ReForge):
    """Has one checkpoint in memory, and no schedulers: they are part of the samplers' names."""

    name = "Forge Classic"

    def make_unit(self, fields: Mapping[str, object]) -> object:
        return BuiltIn.make_unit(self, fields)

    def loaded_networks(self) -> tuple[()]:
        return ()

    def list_schedulers(self) -> list[str]:
        return []

    def knows_scheduler(self, name: str) -> bool:
        return False
