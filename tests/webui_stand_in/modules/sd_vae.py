"""VAE files and the one in use (sd_vae.py:72-108, 132-145, 251-285)."""

from __future__ import annotations

from modules import shared

vae_dict: dict[str, str] = {}
"""Name -> path."""
loaded_vae_file: str | None = None
"""The file in use; None for the network's own VAE."""


def delete_base_vae() -> None:
    """Forget the network's own VAE, which another one has made way for."""


def refresh_vae_list() -> None:
    """Look for files again."""


def reload_vae_weights() -> None:
    """Put the VAE of the settings in use."""
    global loaded_vae_file
    loaded_vae_file = vae_dict.get(shared.opts.sd_vae)
    shared.sd_model.vae = shared.opts.sd_vae
