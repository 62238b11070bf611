"""VAE files and the one in use (sd_vae.py:72-108, 132-145, 251-285)."""

from __future__ import annotations

from modules import shared

vae_dict: dict[str, str] = {}
"""Name -> path."""


def refresh_vae_list() -> None:
    """Look for files again."""


def reload_vae_weights() -> None:
    """Put the VAE of the settings in use."""
    shared.sd_model.vae = shared.opts.sd_vae
