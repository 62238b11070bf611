"""The device on which the network computes, and where its weights are between pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from handrefiner_ext.mesh.graphormer.network import HandEstimate, HandNetwork
from handrefiner_ext.types import ModelHome

HALF = frozenset({"cuda"})
"""Kinds of device on which the network computes in fp16."""
SUPPORTED = frozenset({"cpu", "cuda", "mps", "xpu"})
"""Kinds of device on which the network computes; instead of any other, the CPU is used."""

logger = logging.getLogger(__name__)


def choose_device(home: ModelHome) -> torch.device:
    """Return the device that was asked for, or the best one that torch finds."""
    if home.device is not None:
        wanted = torch.device(home.device)
        return wanted if wanted.type in SUPPORTED else torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class NetworkRunner:
    """Runs the network on a device; its own weights stay on the CPU.

    Another device gets copies of them, in fp16 where that is fast, which are freed after every
    call unless `stay` is set. No setting of torch is changed, no random number is drawn, and a
    surrounding autocast or inference mode has no effect.
    """

    def __init__(self, network: HandNetwork, device: torch.device, stay: bool = False) -> None:
        self.network = network
        self.device = device
        self.dtype = torch.float16 if device.type in HALF else torch.float32
        self.stay = stay
        self.copies: dict[str, Tensor] | None = None
        # The panel's preview may run during a generation; without the lock, one would free the
        # copies that the other computes with.
        self.lock = Lock()

    def run(self, batches: Sequence[NDArray[np.float32]]) -> list[HandEstimate]:
        """Return the estimate for every batch (n, 3, 224, 224), on the CPU in fp32.

        If the graphics card is out of memory, the CPU computes instead.
        """
        with self.lock:
            try:
                return self._run_on(self.device, batches)
            except torch.cuda.OutOfMemoryError:
                logger.warning(
                    "The graphics card is out of memory; MeshGraphormer runs on the CPU."
                )
                return self._run_on(torch.device("cpu"), batches)
            finally:
                if not self.stay:
                    self.copies = None

    def _run_on(
        self, device: torch.device, batches: Sequence[NDArray[np.float32]]
    ) -> list[HandEstimate]:
        with torch.autocast(device.type, enabled=False), torch.inference_mode():
            return [self._run_one(torch.from_numpy(batch), device) for batch in batches]

    def _run_one(self, batch: Tensor, device: torch.device) -> HandEstimate:
        if device.type == "cpu":
            estimate: HandEstimate = self.network(batch)
        else:
            self.copies = self.copies or self._copy()
            crops = (batch.to(self.device, self.dtype),)
            estimate = functional_call(self.network, self.copies, crops)
        return HandEstimate(*(part.float().cpu() for part in estimate))

    def _copy(self) -> dict[str, Tensor]:
        """Copy every parameter and buffer to the device."""
        own = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)
            for name, tensor in own.items()
        }
