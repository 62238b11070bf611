"""The encoder blocks of MeshGraphormer: self-attention, and a graph convolution on the mesh.

Section 3.2 and figure 2 of arXiv 2104.00272. The layers are BERT's (arXiv 1810.04805), with a
layer norm after each sum. Attributes have the names of the published weights. Tokens are
(n, 265, c): 21 joints, 195 vertices, then 7 x 7 cells of the crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-12
"""Epsilon of every layer norm."""


@dataclass(frozen=True)
class TokenCounts:
    """Number of tokens of each kind, in their order."""

    joints: int = 21
    vertices: int = 195
    cells: int = 49

    @property
    def sizes(self) -> list[int]:
        """The counts as a list, to split tokens by."""
        return [self.joints, self.vertices, self.cells]


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of one encoder block.

    given, hidden, wanted: channels of its tokens before, inside and after. positions: rows of the
    table of position embeddings, of which the first 265 are used.
    """

    given: int
    hidden: int
    wanted: int
    layers: int = 4
    heads: int = 4
    positions: int = 512
    graph: bool = False


class GraphLinear(nn.Module):
    """The same linear map at every vertex: (n, v, given) -> (n, v, wanted)."""

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(wanted, given))
        self.b = nn.Parameter(torch.zeros(wanted))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W, self.b)


class GraphConvolution(nn.Module):
    """Kipf and Welling (arXiv 1609.02907): A X W + b, with A (v, v) and X (n, v, c)."""

    adjacency: Tensor

    def __init__(self, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("adjacency", adjacency, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.adjacency @ (x @ self.weight) + self.bias


class GraphResidualBlock(nn.Module):
    """A graph convolution at half the channels, with a residual connection: keeps (n, v, c)."""

    def __init__(self, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        half = channels // 2
        self.pre_norm = nn.LayerNorm(channels, EPSILON)
        self.lin1 = GraphLinear(channels, half)
        self.norm1 = nn.LayerNorm(half, EPSILON)
        self.conv = GraphConvolution(half, adjacency)
        self.norm2 = nn.LayerNorm(half, EPSILON)
        self.lin2 = GraphLinear(half, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.lin1(torch.relu(self.pre_norm(x)))
        inner = self.conv(torch.relu(self.norm1(inner)))
        return torch.add(x, self.lin2(torch.relu(self.norm2(inner))))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens: (n, t, c) -> (n, t, c)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (n, heads, t, c / heads)
            for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        return seen.transpose(1, 2).flatten(2)


class AddAndNormalise(nn.Module):
    """A linear map of `inner` to the channels of `x`, added to `x` and normalised."""

    def __init__(self, inner: int, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, channels)
        self.LayerNorm = nn.LayerNorm(channels, EPSILON)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        normalised: Tensor = self.LayerNorm(self.dense(inner) + x)
        return normalised


class Attention(nn.Module):
    """Self-attention with its residual connection: (n, t, c) -> (n, t, c)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.self = SelfAttention(channels, heads)
        self.output = AddAndNormalise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.output(self.self(x), x)
        return summed


class Intermediate(nn.Module):
    """The wide layer of the feed-forward part: (n, t, c) -> (n, t, wide)."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, wide)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.dense(x))


class EncoderLayer(nn.Module):
    """Attention, then in the last block a graph convolution of the mesh, then the wide layer."""

    def __init__(self, shape: EncoderShape, counts: TokenCounts, adjacency: Tensor) -> None:
        super().__init__()
        self.counts = counts
        self.attention = Attention(shape.hidden, shape.heads)
        self.graph_conv = GraphResidualBlock(shape.hidden, adjacency) if shape.graph else None
        self.intermediate = Intermediate(shape.hidden, 2 * shape.hidden)
        self.output = AddAndNormalise(2 * shape.hidden, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        if self.graph_conv is not None:
            counts = self.counts
            joints, mesh, cells = torch.split(x, counts.sizes, dim=1)
            x = torch.cat((joints, self.graph_conv(mesh), cells), dim=1)
        summed: Tensor = self.output(self.intermediate(x), x)
        return summed


class Encoder(nn.Module):
    """Encoder layers in sequence."""

    def __init__(self, shape: EncoderShape, counts: TokenCounts, adjacency: Tensor) -> None:
        super().__init__()
        layers = (EncoderLayer(shape, counts, adjacency) for _ in range(shape.layers))
        self.layer = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class Embedder(nn.Module):
    """Embeds tokens and their positions in the hidden channels, and encodes them."""

    def __init__(self, shape: EncoderShape, counts: TokenCounts, adjacency: Tensor) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.img_embedding = nn.Linear(shape.given, shape.hidden)
        self.encoder = Encoder(shape, counts, adjacency)

    def forward(self, x: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: x.shape[1]]
        encoded: Tensor = self.encoder(self.img_embedding(x) + positions)
        return encoded


class EncoderBlock(nn.Module):
    """The encoder with a linear residual connection: (n, t, given) -> (n, t, wanted)."""

    def __init__(self, shape: EncoderShape, counts: TokenCounts, adjacency: Tensor) -> None:
        super().__init__()
        self.bert = Embedder(shape, counts, adjacency)
        self.cls_head = nn.Linear(shape.hidden, shape.wanted)
        self.residual = nn.Linear(shape.given, shape.wanted)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.cls_head(self.bert(x)), self.residual(x))
