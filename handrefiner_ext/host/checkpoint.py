"""Another checkpoint or VAE for the second pass: loaded once, and back before the next sampling.

The WebUI keeps as many checkpoints in memory as its setting says, one by default, and would read
both from disk again for each iteration of a batch. For the request's time it keeps one more, if
there is memory for it; then a swap only moves what is loaded. Forge and Forge Classic have a place
for one only, so that there every swap reads from disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from modules import sd_models, sd_samplers, sd_vae, shared
from modules.processing import StableDiffusionProcessing

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.patches import options
from handrefiner_ext.params import RefineParams

logger = logging.getLogger(__name__)

NO_VAE = ("None", "Automatic")
MEMORY_PER_FILE = 2.5
"""Free memory that another checkpoint needs, in sizes of its file: it may be widened to float32."""


class _Swap:
    """Remembers whether the loaded network is another than the one of the settings."""

    active = False


@contextmanager
def chosen(params: RefineParams) -> Iterator[None]:
    """Load the checkpoint and VAE that `params` names.

    They stay loaded afterwards; `restore` brings the others back, and `let_go` frees them.
    """
    values = _settings(params)
    if not values:
        yield
        return
    with options(values | _room_for_both(params)):
        _Swap.active = True
        the_host().apply_settings()
        yield


def restore(p: StableDiffusionProcessing | None = None) -> None:
    """Load the checkpoint and VAE of the settings again; restore the outer run's token merging."""
    if not _Swap.active:
        return
    with options(_room(len(the_host().loaded_networks()))):
        the_host().apply_settings()
    if p is not None:
        the_host().merge_tokens(p)
        if getattr(p, "sampler", None) is not None:
            # img2img makes its sampler once; the network that it knows may have been unloaded.
            p.sampler = sd_samplers.create_sampler(p.sampler_name, shared.sd_model)
    _Swap.active = False


def let_go() -> None:
    """Free checkpoints until no more are in memory than the WebUI's setting allows."""
    loaded = the_host().loaded_networks()
    for network in [n for n in reversed(loaded) if n is not sd_models.model_data.sd_model]:
        if 0 < shared.opts.sd_checkpoints_limit < len(loaded):
            the_host().discard(network)


def _room_for_both(params: RefineParams) -> dict[str, object]:
    """Return settings under which the checkpoint of `params` does not push out the loaded one."""
    loaded = the_host().loaded_networks()
    if not loaded:
        return {}
    info = sd_models.get_closet_checkpoint_match(params.checkpoint) if params.checkpoint else None
    if info is None or any(model.sd_checkpoint_info.filename == info.filename for model in loaded):
        return _room(len(loaded))
    if psutil.virtual_memory().available < MEMORY_PER_FILE * os.path.getsize(info.filename):
        logger.warning(
            "There is too little memory to keep two checkpoints; each swap reads one from disk."
        )
        return {}
    return _room(len(loaded) + 1)


def _room(count: int) -> dict[str, object]:
    """Return settings under which the WebUI keeps `count` checkpoints; none if it has one place."""
    if count == 0:
        return {}
    limit = max(count, shared.opts.sd_checkpoints_limit)
    return {"sd_checkpoints_limit": limit, "sd_checkpoints_keep_in_cpu": True}


def _settings(params: RefineParams) -> dict[str, object]:
    values: dict[str, object] = {}
    if params.checkpoint:
        info = sd_models.get_closet_checkpoint_match(params.checkpoint)
        if info is None:
            raise InvalidParameter(
                f"checkpoint = {show(params.checkpoint)} is not possible; it must be one of "
                f"{', '.join(sorted(sd_models.checkpoints_list))}."
            )
        values = {"sd_model_checkpoint": info.title, "sd_checkpoint_hash": info.sha256}
    if params.vae:
        known = (*NO_VAE, *sd_vae.vae_dict)
        if params.vae not in known:
            raise InvalidParameter(
                f"vae = {show(params.vae)} is not possible; it must be one of {', '.join(known)}."
            )
        values |= the_host().vae_settings(params.vae)
    return values
