"""HRNet (Wang et al. 2020, arXiv 1908.07919): an image as one vector and as a grid of features.

Four branches at 1/4 to 1/32 of the image's size run in parallel and exchange features; a head
combines them from fine to coarse. Attributes have the names of the authors' code, because the
published weights use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

EXPANSION = 4
"""Output channels of a bottleneck per inner channel."""


@dataclass(frozen=True)
class HRNetShape:
    """Every number of the backbone.

    stem: channels after the two convolutions that quarter the image's sides. width: channels of
    the finest branch; each coarser one has twice as many. modules: fusing modules of stages 2 to
    4. blocks: residual blocks of stage 1, and of every branch of a module. head: inner channels
    of the head's bottlenecks. features: length of the vector.
    """

    stem: int = 64
    width: int = 64
    modules: tuple[int, ...] = (1, 4, 3)
    blocks: int = 4
    head: tuple[int, ...] = (32, 64, 128, 256)
    features: int = 2048

    def branches(self, stage: int) -> tuple[int, ...]:
        """Return the channels of each branch of stage 2, 3 or 4."""
        return tuple(self.width * 2**k for k in range(stage))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual connection: (n, c, h, w) -> (n, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(channels, channels, 3)
        self.conv2, self.bn2 = _convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu_(self.bn1(self.conv1(x)))
        return torch.relu_(self.bn2(self.conv2(inner)).add_(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions: (n, given, h, w) -> (n, 4 * inner, h, w)."""

    def __init__(self, given: int, inner: int) -> None:
        super().__init__()
        wide = inner * EXPANSION
        self.conv1, self.bn1 = _convolution(given, inner, 1)
        self.conv2, self.bn2 = _convolution(inner, inner, 3)
        self.conv3, self.bn3 = _convolution(inner, wide, 1)
        self.downsample = nn.Sequential(*_convolution(given, wide, 1)) if given != wide else None

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        inner = torch.relu_(self.bn1(self.conv1(x)))
        inner = torch.relu_(self.bn2(self.conv2(inner)))
        return torch.relu_(self.bn3(self.conv3(inner)).add_(beside))


class FusingModule(nn.Module):
    """Residual blocks on every branch; then each branch becomes the sum of all, resized.

    Input and output are one (n, c_k, h / 2^k, w / 2^k) for each branch k.
    """

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(c) for _ in range(blocks))) for c in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resize_branch(channels, source, goal) for source in range(len(channels)))  # type: ignore[misc]
            for goal in range(len(channels))
        )

    def forward(self, given: list[Tensor]) -> list[Tensor]:
        seen = [branch(x) for branch, x in zip(self.branches, given, strict=True)]
        return [self._fuse(row, seen, goal) for goal, row in enumerate(self.fuse_layers)]

    def _fuse(self, row: nn.Module, seen: list[Tensor], goal: int) -> Tensor:
        assert isinstance(row, nn.ModuleList)
        total = torch.zeros_like(seen[goal])
        for source, x in enumerate(seen):
            total += x if source == goal else row[source](x)
        return torch.relu_(total)


class HRNet(nn.Module):
    """Maps images (n, 3, h, w) to vectors (n, 2048) and grids (n, 1024, h / 32, w / 32)."""

    def __init__(self, shape: HRNetShape) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, shape.stem, 3, stride=2)
        self.conv2, self.bn2 = _convolution(shape.stem, shape.stem, 3, stride=2)
        self.layer1 = _bottlenecks(shape.stem, shape.stem, shape.blocks)
        self.transition1 = _transition([shape.stem * EXPANSION], shape.branches(2))
        self.stage2 = _stage(shape, 2)
        self.transition2 = _transition(shape.branches(2), shape.branches(3))
        self.stage3 = _stage(shape, 3)
        self.transition3 = _transition(shape.branches(3), shape.branches(4))
        self.stage4 = _stage(shape, 4)
        gathered = [inner * EXPANSION for inner in shape.head]
        self.incre_modules = nn.ModuleList(
            _bottlenecks(c, inner, 1)
            for c, inner in zip(shape.branches(4), shape.head, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            _step(fine, coarse, 3, stride=2) for fine, coarse in pairwise(gathered)
        )
        self.final_layer = _step(gathered[-1], shape.features, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu_(self.bn1(self.conv1(picture)))
        x = torch.relu_(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            branches = stage(_next_branches(transition, branches))
        grid = self._gather(branches)
        return self.final_layer(grid).mean(dim=(2, 3)), grid

    def _gather(self, branches: list[Tensor]) -> Tensor:
        """Combine the branches from fine to coarse: (n, 1024, h / 32, w / 32)."""
        grid: Tensor = self.incre_modules[0](branches[0])
        for down, widen, x in zip(
            self.downsamp_modules, self.incre_modules[1:], branches[1:], strict=True
        ):
            grid = widen(x) + down(grid)
        return grid


def _convolution(
    given: int, wanted: int, size: int, stride: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a convolution that keeps the size, or divides it by the stride, and its batch norm."""
    convolution = nn.Conv2d(given, wanted, size, stride, size // 2, bias=False)
    return convolution, nn.BatchNorm2d(wanted)


def _activated(given: int, wanted: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*_convolution(given, wanted, 3, stride), nn.ReLU(inplace=True))


def _step(given: int, wanted: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return a step of the head, whose convolutions, unlike others, have a bias before the norm."""
    convolution = nn.Conv2d(given, wanted, size, stride, size // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(wanted), nn.ReLU(inplace=True))


def _bottlenecks(given: int, inner: int, count: int) -> nn.Sequential:
    first = Bottleneck(given, inner)
    return nn.Sequential(first, *(Bottleneck(inner * EXPANSION, inner) for _ in range(count - 1)))


def _stage(shape: HRNetShape, stage: int) -> nn.Sequential:
    count = shape.modules[stage - 2]
    return nn.Sequential(*(FusingModule(shape.branches(stage), shape.blocks) for _ in range(count)))


def _resize_branch(channels: Sequence[int], source: int, goal: int) -> nn.Module | None:
    """Return the layers from one branch's size and channels to another's; None for the same one."""
    if source == goal:
        return None
    if source > goal:
        enlarge = nn.Upsample(scale_factor=2 ** (source - goal), mode="nearest")
        return nn.Sequential(*_convolution(channels[source], channels[goal], 1), enlarge)
    halvings = [_activated(channels[source], channels[source], 2) for _ in range(goal - source - 1)]
    last = nn.Sequential(*_convolution(channels[source], channels[goal], 3, stride=2))
    return nn.Sequential(*halvings, last)


def _transition(given: Sequence[int], wanted: Sequence[int]) -> nn.ModuleList:
    """Return the layers that make the next stage's branches; None where a branch stays as it is."""
    steps: list[nn.Module | None] = []
    for number, channels in enumerate(wanted):
        if number < len(given):
            same = given[number] == channels
            steps.append(None if same else _activated(given[number], channels))
        else:
            steps.append(nn.Sequential(_activated(given[-1], channels, stride=2)))
    return nn.ModuleList(steps)  # type: ignore[arg-type]


def _next_branches(transition: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    """Return the next stage's branches: old ones, changed if need be, and new, coarser ones."""
    widened = []
    for number, step in enumerate(transition):
        x = branches[min(number, len(branches) - 1)]
        widened.append(x if step is None else step(x))
    return widened
