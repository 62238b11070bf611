"""MeshGraphormer's hand network: picture of a right hand -> camera, joints and mesh."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.hrnet import HRNet, HRNetShape
from handrefiner_ext.mesh.graphormer.published_keys import TOLERATED, UNUSED, find_fault
from handrefiner_ext.mesh.graphormer.template import as_dense, make_tokens
from handrefiner_ext.mesh.graphormer.transformer import EncoderBlock, EncoderShape, TokenCounts

VERTICES = 778
CAMERA_INNER = 150
GRID_CHANNELS = 1024
COUNTS = TokenCounts()
BACKBONE = HRNetShape()
ENCODERS = (
    EncoderShape(given=3 + BACKBONE.features, hidden=1024, wanted=512),
    EncoderShape(given=512, hidden=256, wanted=128),
    EncoderShape(given=128, hidden=64, wanted=3, graph=True),
)


class HandEstimate(NamedTuple):
    """What the network says of n pictures of right hands, metres.

    camera: (n, 3) scale and shift x, y: (x, y) of a point lies at scale * ((x, y) + shift) in a
    crop that reaches from -1 to 1. joints: (n, 21, 3) and coarse_vertices: (n, 195, 3), straight
    from the tokens. vertices: (n, 778, 3), the mesh.
    """

    camera: Tensor
    joints: Tensor
    coarse_vertices: Tensor
    vertices: Tensor


class HandNetwork(nn.Module):
    """Crops (n, 3, 224, 224), normalised as for ImageNet, RGB -> HandEstimate.

    template: (216, 3) joints and coarse vertices of the hand at rest, centred on the wrist.
    adjacency: (195, 195) rows that sum to 1.
    """

    template: Tensor

    def __init__(self, template: Tensor, adjacency: Tensor) -> None:
        super().__init__()
        tokens = COUNTS.joints + COUNTS.vertices
        self.backbone = HRNet(BACKBONE)
        self.grid_feat_dim = nn.Linear(GRID_CHANNELS, ENCODERS[0].given)
        self.trans_encoder = nn.Sequential(
            *(EncoderBlock(shape, COUNTS, adjacency) for shape in ENCODERS)
        )
        self.upsampling = nn.Linear(COUNTS.vertices, VERTICES)
        self.cam_param_fc = nn.Linear(3, 1)
        self.cam_param_fc2 = nn.Linear(tokens, CAMERA_INNER)
        self.cam_param_fc3 = nn.Linear(CAMERA_INNER, 3)
        self.register_buffer("template", template, persistent=False)

    def forward(self, crops: Tensor) -> HandEstimate:
        points = self.trans_encoder(self._make_tokens(crops))  # (n, 265, 3)
        joints, coarse, _ = torch.split(points, COUNTS.sizes, dim=1)
        weights = self.cam_param_fc(points[:, : -COUNTS.cells])[..., 0]  # (n, 216)
        camera = self.cam_param_fc3(self.cam_param_fc2(weights))
        vertices = self.upsampling(coarse.transpose(1, 2)).transpose(1, 2)
        return HandEstimate(camera, joints, coarse, vertices)

    def _make_tokens(self, crops: Tensor) -> Tensor:
        """(n, 265, 2051): template points beside the picture's vector, then the picture's cells."""
        vector, grid = self.backbone(crops)
        points = self.template.to(vector).expand(len(crops), -1, -1)
        queries = torch.cat((points, vector[:, None].expand(-1, points.shape[1], -1)), dim=2)
        cells = self.grid_feat_dim(grid.flatten(2).transpose(1, 2))
        return torch.cat((queries, cells), dim=1)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights under their published names; what inference never uses is left out.

        Raises WeightsError for any other state.
        """
        given = {name: tuple(value.shape) for name, value in state_dict.items()}
        own = super().state_dict()
        fault = find_fault({n: tuple(v.shape) for n, v in own.items()}, given) if strict else None
        if fault:
            raise WeightsError(fault)
        unwanted = UNUSED.keys() | TOLERATED
        state = {name: value for name, value in state_dict.items() if name not in unwanted}
        return super().load_state_dict(state, strict=strict, assign=assign)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """All published names, so that the authors' network loads it strictly.

        What inference never uses is zero there and takes no memory.
        """
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        for name, shape in UNUSED.items():
            state[prefix + name] = torch.zeros(()).expand(shape)
        return state

    def own_state(self) -> dict[str, Tensor]:
        """What inference uses, alone."""
        state: dict[str, Tensor] = super().state_dict()
        return state


def build_empty(template: Tensor, adjacency: Tensor) -> HandNetwork:
    """The network without weights: whatever is loaded with assign=True becomes them.

    No random number is drawn and no memory is filled.
    """
    with torch.device("meta"):
        network = HandNetwork(template, adjacency)
    return network.eval().requires_grad_(False)


def build_network(
    template: Any, adjacency: Any, downsampling: Sequence[Any], seed: int
) -> HandNetwork:
    """The network with random weights.

    template: joints and vertices of the hand at rest, metres: a pair (21, 3) and (778, 3) or
    (195, 3), or one array of both. adjacency: (195, 195) sparse or dense, rows that sum to 1.
    downsampling: sparse matrices, the first of which takes 778 vertices to 195.
    """
    tokens = torch.as_tensor(make_tokens(template, downsampling), dtype=torch.float32)
    rows = torch.as_tensor(as_dense(adjacency), dtype=torch.float32)
    network = build_empty(tokens, rows)
    state = network.own_state()
    network.load_state_dict(make_random_weights(state, seed), assign=True)
    return network


DAMPED = 0.15
"""Mean weight of a batch normalisation whose output is added to others; elsewhere it is 1."""
ADDED = re.compile(r"fuse_layers\.|branches\..*\.bn2\.|\.bn3\.")


def make_random_weights(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A value for every entry of a state dict; only names and shapes are looked at."""
    return {name: _draw(name, tuple(value.shape), seed) for name, value in state.items()}


def _draw(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = np.random.default_rng((seed, zlib.crc32(name.encode("ascii"))))
    values = generator.random(shape, dtype=np.float32)
    if name.endswith("running_var"):
        values += np.float32(0.5)
    elif len(shape) == 1:
        _spread(values, 0.1)
        if name.endswith("weight"):
            values += np.float32(DAMPED if ADDED.search(name) else 1.0)
    else:
        gain = 2.0 if len(shape) == 4 else 1.0
        _spread(values, float(np.sqrt(gain / np.prod(shape[1:]))))
    return torch.from_numpy(values)


def _spread(values: NDArray[np.float32], deviation: float) -> None:
    """Uniform numbers between 0 and 1 become ones of mean 0 with this deviation, in place."""
    values -= np.float32(0.5)
    values *= np.float32(deviation * np.sqrt(12.0))
