"""What the host's modules share: settings, flags, progress and the loaded model."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from modules.options import Options

DEFAULTS: dict[str, object] = {
    "enable_pnginfo": True,
    "img2img_background_color": "#ffffff",
    "outdir_grids": "",
    "outdir_img2img_grids": "grids",
    "outdir_img2img_samples": "samples",
    "outdir_samples": "",
    "outdir_txt2img_samples": "samples",
    "overlay_inpaint": True,
    "return_grid": True,
    "samples_format": "png",
    "samples_save": True,
    "save_init_img": False,
    "sd_checkpoint_hash": "",
    "sd_checkpoints_keep_in_cpu": True,
    "sd_checkpoints_limit": 1,
    "sd_model_checkpoint": "",
    "sd_vae": "Automatic",
    "sd_vae_overrides_per_model_preferences": True,
}
FLAGS: dict[str, object] = {
    "api": True,
    "api_auth": None,
    "disable_extension_access": False,
    "lowvram": False,
    "medvram": False,
    "medvram_sdxl": False,
    "no_prompt_history": False,
    "nowebui": False,
}


class State:
    """Progress and the user's wish to stop (shared_state.py:12-160)."""

    def __init__(self) -> None:
        self.interrupted = False
        self.skipped = False
        self.stopping_generation = False
        self.job = ""
        self.job_count = 0
        self.job_no = 0
        self.textinfo: str | None = None

    def begin(self, job: str = "(unknown)") -> None:
        """Start a job."""
        self.__init__()  # type: ignore[misc]  # the host resets every member, too
        self.job = job
        self.job_count = -1

    def end(self) -> None:
        """End the job."""
        self.job = ""
        self.job_count = 0

    def nextjob(self) -> None:
        """Count a job as done."""
        self.job_no += 1


class TotalTqdm:
    """The bar in the console; here a count of how often it was cleared."""

    cleared = 0

    def clear(self) -> None:
        """Remove the bar."""
        self.cleared += 1


opts = Options(DEFAULTS)
cmd_opts = Namespace(**FLAGS)
state = State()
total_tqdm = TotalTqdm()
sd_model: Any = None
"""The loaded network: `modules.sd_models.Network` here."""
