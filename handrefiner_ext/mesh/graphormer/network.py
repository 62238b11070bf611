"""MeshGraphormer's hand network, from the crop of a right hand to camera, joints and mesh.

It also knows the names in the published weights: those it loads, and those that only the authors'
training network has.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.hrnet import HRNet, HRNetShape
from handrefiner_ext.mesh.graphormer.template import FULL_VERTICES, as_dense, make_tokens
from handrefiner_ext.mesh.graphormer.transformer import EncoderBlock, EncoderShape, TokenCounts
from handrefiner_ext.pickles import printable

CAMERA_INNER = 150
GRID_CHANNELS = 1024
COUNTS = TokenCounts()
BACKBONE = HRNetShape()
ENCODERS = (
    EncoderShape(given=3 + BACKBONE.features, hidden=1024, wanted=512),
    EncoderShape(given=512, hidden=256, wanted=128),
    EncoderShape(given=128, hidden=64, wanted=3, graph=True),
)

BERT_WORDS, BERT_POSITIONS, BERT_TOKEN_TYPES = 30522, 512, 2
IMAGENET_CLASSES = 1000
NAMES_SHOWN = 3
"""Number of arrays that a message names; the others are counted."""


def _list_unused() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that only the training network has."""
    # The published file is the state of that network. It holds BERT's word, position and
    # token-type embeddings and pooler, a skip path of the graph convolution and HRNet's ImageNet
    # classifier. Inference uses none of them, and they are a fifth of the file.
    unused: dict[str, tuple[int, ...]] = {
        "backbone.classifier.weight": (IMAGENET_CLASSES, BACKBONE.features),
        "backbone.classifier.bias": (IMAGENET_CLASSES,),
    }
    for number, shape in enumerate(ENCODERS):
        hidden = shape.hidden
        bert = f"trans_encoder.{number}.bert"
        unused |= {
            f"{bert}.embeddings.word_embeddings.weight": (BERT_WORDS, hidden),
            f"{bert}.embeddings.position_embeddings.weight": (BERT_POSITIONS, hidden),
            f"{bert}.embeddings.token_type_embeddings.weight": (BERT_TOKEN_TYPES, hidden),
            f"{bert}.embeddings.LayerNorm.weight": (hidden,),
            f"{bert}.embeddings.LayerNorm.bias": (hidden,),
            f"{bert}.pooler.dense.weight": (hidden, hidden),
            f"{bert}.pooler.dense.bias": (hidden,),
        }
    last = ENCODERS[-1].hidden
    for layer in range(ENCODERS[-1].layers):
        skip = f"trans_encoder.2.bert.encoder.layer.{layer}.graph_conv.skip_conv"
        unused |= {f"{skip}.W": (last, last), f"{skip}.b": (last,)}
    return unused


UNUSED = _list_unused()
"""Names and shapes in the published file that inference does not need."""

TOLERATED = frozenset(f"trans_encoder.{n}.bert.embeddings.position_ids" for n in range(3))
"""Counters that newer versions of transformers save with the embeddings."""


def find_fault(
    needed: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Say in one sentence why a state is not that of the network; None if it is.

    needed, given: names and shapes.
    """
    missing = [name for name in needed if name not in given]
    if missing:
        return (
            f"It lacks {_name_some(missing)} of the {len(needed)} arrays of MeshGraphormer's hand "
            "network, so it is another model or an unfinished download."
        )
    strange = [n for n in given if n not in needed and n not in UNUSED and n not in TOLERATED]
    if strange:
        return f"It holds {_name_some(strange)}, which MeshGraphormer's hand network has not."
    for name, shape in needed.items():
        if tuple(given[name]) != tuple(shape):
            return (
                f"Its {name} has the shape {tuple(given[name])} where {tuple(shape)} belongs, so "
                "it is a variant with another backbone or for the body."
            )
    return None


def _name_some(names: Collection[str]) -> str:
    shown = list(names)[:NAMES_SHOWN]
    others = len(names) - len(shown)
    return ", ".join(map(printable, shown)) + (f" and {others} more" if others else "")


class HandEstimate(NamedTuple):
    """The network's answer for n crops of right hands, metres.

    camera: (n, 3) scale and shift x, y. A point (x, y) lies at scale * ((x, y) + shift) in a crop
    that extends from -1 to 1. joints: (n, 21, 3) and coarse_vertices: (n, 195, 3), directly from
    the tokens. vertices: (n, 778, 3), the mesh.
    """

    camera: Tensor
    joints: Tensor
    coarse_vertices: Tensor
    vertices: Tensor


class HandNetwork(nn.Module):
    """Maps crops (n, 3, 224, 224), RGB normalised as for ImageNet, to a HandEstimate.

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
        self.upsampling = nn.Linear(COUNTS.vertices, FULL_VERTICES)
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
        """Return (n, 265, 2051): template points with the crop's vector, then the crop's cells."""
        vector, grid = self.backbone(crops)
        points = self.template.to(vector).expand(len(crops), -1, -1)
        queries = torch.cat((points, vector[:, None].expand(-1, points.shape[1], -1)), dim=2)
        cells = self.grid_feat_dim(grid.flatten(2).transpose(1, 2))
        return torch.cat((queries, cells), dim=1)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights under their published names, without those that inference never uses.

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
        """Return a state under all published names, so that the authors' network loads it strictly.

        What inference never uses is zero and takes no memory.
        """
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        for name, shape in UNUSED.items():
            state[prefix + name] = torch.zeros(()).expand(shape)
        return state

    def own_state(self) -> dict[str, Tensor]:
        """Return only what inference uses."""
        state: dict[str, Tensor] = super().state_dict()
        return state


def build_empty(template: Tensor, adjacency: Tensor) -> HandNetwork:
    """Return the network without weights, to be loaded with assign=True.

    template: (216, 3) metres. adjacency: (195, 195).
    """
    # On the meta device no random number is drawn and no memory is filled.
    with torch.device("meta"):
        network = HandNetwork(template, adjacency)
    return network.eval().requires_grad_(False)


def build_network(
    template: Any, adjacency: Any, downsampling: Sequence[Any], seed: int
) -> HandNetwork:
    """Return the network with random weights.

    Arguments:
        template: joints and vertices of the hand at rest, metres: a pair (21, 3) and (778, 3) or
            (195, 3), or one array of both.
        adjacency: (195, 195), sparse or dense, rows that sum to 1.
        downsampling: sparse matrices, the first of which maps 778 vertices to 195.
        seed: the same seed gives the same weights with any version of torch.
    """
    tokens = torch.as_tensor(make_tokens(template, downsampling), dtype=torch.float32)
    rows = torch.as_tensor(as_dense(adjacency), dtype=torch.float32)
    network = build_empty(tokens, rows)
    state = network.own_state()
    network.load_state_dict(make_random_weights(state, seed), assign=True)
    return network


DAMPED = 0.15
"""Mean weight of a batch normalisation whose output is added to others, so that sums stay bounded;
elsewhere it is 1."""
ADDED = re.compile(r"fuse_layers\.|branches\..*\.bn2\.|\.bn3\.")


def make_random_weights(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return random values for a state dict, from its names, its shapes and the seed alone."""
    return {name: _draw_array(name, tuple(value.shape), seed) for name, value in state.items()}


def _draw_array(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = np.random.default_rng((seed, zlib.crc32(name.encode("ascii"))))
    values = generator.random(shape, dtype=np.float32)
    if name.endswith("running_var"):
        values += np.float32(0.5)
    elif len(shape) == 1:
        _centre(values, 0.1)
        if name.endswith("weight"):
            values += np.float32(DAMPED if ADDED.search(name) else 1.0)
    else:
        gain = 2.0 if len(shape) == 4 else 1.0
        _centre(values, float(np.sqrt(gain / np.prod(shape[1:]))))
    return torch.from_numpy(values)


def _centre(values: NDArray[np.float32], deviation: float) -> None:
    """Change uniform numbers between 0 and 1, in place, to mean 0 and this deviation."""
    values -= np.float32(0.5)
    values *= np.float32(deviation * np.sqrt(12.0))
