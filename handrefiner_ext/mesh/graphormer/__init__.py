"""MeshGraphormer (Lin, Wang, Liu 2021, arXiv 2104.00272), the reconstructor of the paper.

Its weights and MANO are the user's own; `backend.py` is what the pipeline uses. torch is imported
with the first network that is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handrefiner_ext.mesh.graphormer.network import HandNetwork


def build_network(
    template: Any, adjacency: Any, downsampling: Sequence[Any], seed: int
) -> HandNetwork:
    """The network with random weights; see `network.build_network`."""
    from handrefiner_ext.mesh.graphormer import network

    return network.build_network(template, adjacency, downsampling, seed)
