"""Another checkpoint or VAE for the second pass: loaded once, and back before the next sampling."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import sd_models, sd_samplers, sd_vae, shared

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.host.state import options
from handrefiner_ext.params import RefineParams

logger = logging.getLogger(__name__)

NO_VAE = ("None", "Automatic")


class _Swap:
    """Whether the WebUI's network is, right now, not the one of its settings."""

    active = False


@contextmanager
def chosen(params: RefineParams) -> Iterator[None]:
    """The checkpoint and VAE that `params` names are loaded.

    They stay loaded afterwards, so that a batch swaps once; `restore` brings the others back.
    """
    values = _settings(params)
    if not values:
        yield
        return
    with options(values):
        _Swap.active = True
        sd_models.reload_model_weights()
        sd_vae.reload_vae_weights()
        yield


def restore(p: Any | None = None) -> None:
    """The checkpoint and VAE of the WebUI's settings again, and the outer run's token merging."""
    if not _Swap.active:
        return
    sd_models.reload_model_weights()
    sd_vae.reload_vae_weights()
    if p is not None:
        sd_models.apply_token_merging(shared.sd_model, p.get_token_merging_ratio())
        if getattr(p, "sampler", None) is not None:
            # img2img makes its sampler once; the network that it knows may have been unloaded.
            p.sampler = sd_samplers.create_sampler(p.sampler_name, shared.sd_model)
    _Swap.active = False


def _settings(params: RefineParams) -> dict[str, object]:
    values: dict[str, object] = {}
    if params.checkpoint:
        info = sd_models.get_closet_checkpoint_match(params.checkpoint)
        if info is None:
            raise InvalidParameter(
                f"checkpoint = {params.checkpoint!r} is not possible; it must be one of "
                f"{', '.join(sorted(sd_models.checkpoints_list))}."
            )
        values = {"sd_model_checkpoint": info.title, "sd_checkpoint_hash": info.sha256}
    if params.vae:
        known = (*NO_VAE, *sd_vae.vae_dict)
        if params.vae not in known:
            raise InvalidParameter(
                f"vae = {params.vae!r} is not possible; it must be one of {', '.join(known)}."
            )
        values |= {"sd_vae": params.vae, "sd_vae_overrides_per_model_preferences": True}
    return values
