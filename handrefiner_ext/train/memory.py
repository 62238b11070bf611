"""Whether a training fits into memory, said before hours are lost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.train.settings import ADAFACTOR, ADAMW

if TYPE_CHECKING:
    import torch

TRAINED_BYTES = {ADAMW: 16, ADAFACTOR: 8}
"""Of each number that is trained: itself, its gradient and AdamW's two moments, in float32.
Adafactor keeps a number for each row and column only (Shazeer and Stern 2018)."""
ADVICE = (
    "Try --gradient_checkpointing, --mixed_precision bf16, a smaller --batch_size with more "
    "--gradient_accumulation, or a smaller --size."
)


def count_bytes(trained: Iterable[Any], frozen: Iterable[Any], optimizer: str = ADAMW) -> int:
    """Return what the weights of networks need, without the activations of a batch."""
    still = sum(p.numel() * p.element_size() for model in frozen for p in model.parameters())
    learning = sum(p.numel() for model in trained for p in model.parameters())
    return int(still + TRAINED_BYTES[optimizer] * learning)


def check_memory(needed: int, device: torch.device) -> None:
    """Raise HandRefinerError where a device has not even room for the weights."""
    free = _count_free(device)
    if free is not None and needed > free:
        raise HandRefinerError(
            f"Training needs {needed / 2**30:.1f} GiB for the weights, their gradients and the "
            f"optimiser alone; {free / 2**30:.1f} GiB are free on {device.type}. Try --optimizer "
            "adafactor and --mixed_precision bf16, or use a machine with more memory."
        )


def _count_free(device: torch.device) -> int | None:
    """Free bytes; None where nobody says."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
