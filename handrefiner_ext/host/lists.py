"""What the WebUI has installed, for the parameters whose values only it knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modules import sd_models, sd_samplers, sd_schedulers, sd_vae

from handrefiner_ext.host import controlnet

log = logging.getLogger(__name__)
AS_PICTURE = ""
"""The choice that stands for the picture's own."""


@dataclass(frozen=True)
class HostList:
    """first: choices of our own. read_names: the installed ones. refresh: looks for new ones."""

    first: tuple[str, ...]
    read_names: Callable[[], list[str]]
    refresh: Callable[[], object] | None = None

    def read(self) -> list[str]:
        """Every choice; only our own where the WebUI cannot say."""
        try:
            return [*self.first, *self.read_names()]
        except Exception:
            log.exception("HandRefiner could not read a list of the WebUI")
            return list(self.first)


LISTS: Mapping[str, HostList] = {
    "control_model": HostList(("auto",), controlnet.list_models, controlnet.refresh_models),
    "sampler": HostList((AS_PICTURE,), lambda: [s.name for s in sd_samplers.visible_samplers()]),
    "scheduler": HostList((AS_PICTURE,), lambda: [s.label for s in sd_schedulers.schedulers]),
    "checkpoint": HostList(
        (AS_PICTURE,), lambda: list(sd_models.checkpoint_tiles()), lambda: sd_models.list_models()
    ),
    "vae": HostList(
        (AS_PICTURE, "Automatic", "None"),
        lambda: list(sd_vae.vae_dict),
        lambda: sd_vae.refresh_vae_list(),
    ),
}
