"""Remarks that the loaded network collects for the run in work (sd_hijack.py:168-330)."""

from __future__ import annotations


class ModelHijack:
    """comments: shown to the user. extra_generation_params: go into the infotext."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, object] = {}

    def clear_comments(self) -> None:
        """Forget both, as each `process_images` does at its start (processing.py:896)."""
        self.comments = []
        self.extra_generation_params = {}


model_hijack = ModelHijack()
