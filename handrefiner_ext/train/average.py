"""The mean of the weights over the last steps, which paints better than the newest ones.

Polyak & Juditsky 1992; with a mean that forgets, as diffusion models are trained (Ho et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MEMORY = 0.998
"""Share of the mean that stays at each step; at the beginning less, so that it follows."""


class Average:
    """The mean of the weights of some networks. accelerate saves and restores it with them."""

    def __init__(self, networks: Sequence[Any]) -> None:
        self.count = 0
        self._weights = [p for network in networks for p in network.parameters()]
        self._means = [p.detach().clone() for p in self._weights]

    def add(self) -> None:
        """Take in the weights as they are now."""
        import torch

        self.count += 1
        memory = min(MEMORY, self.count / (self.count + 9.0))
        with torch.no_grad():
            for mean, now in zip(self._means, self._weights, strict=True):
                mean.lerp_(now, 1.0 - memory)

    def use(self) -> None:
        """Give the networks the mean."""
        import torch

        with torch.no_grad():
            for mean, now in zip(self._means, self._weights, strict=True):
                now.copy_(mean)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "means": list(self._means)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = int(state["count"])
        for mean, kept in zip(self._means, state["means"], strict=True):
            mean.copy_(kept)
