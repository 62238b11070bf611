"""MeshGraphormer (Lin, Wang, Liu 2021, arXiv 2104.00272), the reconstructor of the paper.

The user supplies its weights and MANO. The pipeline uses `backend.py`; torch is imported when the
first network is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handrefiner_ext.mesh.graphormer.network import HandNetwork


def build_network(
    template: Any, adjacency: Any, downsampling: Sequence[Any], seed: int
) -> HandNetwork:
    """Return the network with random weights; see `network.build_network` for the arguments."""
    from handrefiner_ext.mesh.graphormer import network

    return network.build_network(template, adjacency, downsampling, seed)
