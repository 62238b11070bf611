"""What the WebUIs do differently, as one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from handrefiner_ext.types import Image

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing


class Host(Protocol):
    """A WebUI. name: as people call it."""

    name: str

    @property
    def missing_controlnet(self) -> str:
        """Return what to do where ControlNet is missing or switched off, in a sentence."""
        ...

    # --- ControlNet

    def list_control_models(self) -> dict[str, str]:
        """Return ControlNet's models, name -> path; looks for files where it has none yet."""
        ...

    def refresh_control_models(self) -> None:
        """Have ControlNet look for files again."""
        ...

    def make_unit(self, fields: Mapping[str, object]) -> object:
        """Return a unit as this ControlNet takes it.

        fields: those of sd-webui-controlnet; image is (H, W, 3) uint8.
        """
        ...

    def nested_script(self, script: Any) -> Any:
        """Return the ControlNet script that a nested run may use, with no traces for the outer."""
        ...

    def is_applied(self, script: Any) -> bool:
        """Return whether `script` will change what its run paints."""
        ...

    def unhook(self, script: Any, p: StableDiffusionProcessing) -> None:
        """Take the nested run's ControlNet out of the network, where a failure may leave it."""
        ...

    def outer_unhooked(
        self,
        script: Any,
        p: StableDiffusionProcessing,
        restore_model: Callable[[StableDiffusionProcessing], None],
    ) -> AbstractContextManager[None]:
        """Take the outer run's units out of the network; put them back for its next pictures.

        restore_model: called before they are put back.
        """
        ...

    def add_preprocessor(self, name: str, draw: Callable[[np.ndarray, int], Image]) -> None:
        """Add a preprocessor to ControlNet's list, if it is there and has none of this name.

        draw: makes (h, w, 3) uint8 of a picture and the resolution that ControlNet asks for.
        """
        ...

    # --- checkpoint and VAE

    def load_checkpoint(self) -> bool:
        """Have the checkpoint of the settings loaded; return whether there is one."""
        ...

    def family(self) -> str:
        """Return the family of the loaded checkpoint, or of the one that will be loaded."""
        ...

    def vae_settings(self, vae: str) -> dict[str, object]:
        """Return settings that choose a VAE by its name, `Automatic` or `None`."""
        ...

    def apply_settings(self) -> None:
        """Load the checkpoint and the VAE that the settings in force name."""
        ...

    def loaded_networks(self) -> Sequence[Any]:
        """Return every network in memory beside which another could be kept; none if none could."""
        ...

    def discard(self, network: Any) -> None:
        """Free the memory of one of the loaded networks."""
        ...

    # --- the rest

    def remarks_kept(self) -> AbstractContextManager[None]:
        """Keep what the host notes while it reads prompts: comments and infotext."""
        ...

    def merge_tokens(self, p: StableDiffusionProcessing) -> None:
        """Set the network's token merging to that of the run `p`."""
        ...

    def list_schedulers(self) -> list[str]:
        """Return the labels of the schedulers; none where they are part of the samplers."""
        ...

    def knows_scheduler(self, name: str) -> bool:
        """Return whether a scheduler has this name or label."""
        ...
