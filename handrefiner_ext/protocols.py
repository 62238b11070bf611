"""Define what a backend must offer, one protocol for each stage, and what it may offer besides.

A backend is any class with these members; it inherits from nothing here unless it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from handrefiner_ext.params import SEEDS, RefineParams
from handrefiner_ext.types import (
    Agreement,
    ControlMaps,
    Detection,
    Hand,
    HandLayer,
    HandMesh,
    Image,
    Painting,
    Quality,
    Refusal,
    View,
)


class Detector(Protocol):
    """Finds hands; `handedness` is that of the person in the picture."""

    name: str

    def detect(self, image: Image, params: RefineParams) -> Detection:
        """Find every hand of `image`, (H, W, 3) uint8 RGB, or one in each of `params.boxes`."""
        ...

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Look for each of `hands` again near its place; None where nothing is found there."""
        ...

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        """Return other readings of a hand seen before, for a retry; empty if there are none."""
        ...

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Return the hand as each view shows it, in the picture's pixels; None if not seen."""
        ...


class Reconstructor(Protocol):
    """Fits a mesh to one hand, or says why it cannot."""

    name: str

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        """Return the mesh of `hand`, or a refusal with the reason; never raise for a bad hand."""
        ...


@runtime_checkable
class BatchReconstructor(Reconstructor, Protocol):
    """A reconstructor that is faster with many hands at once, of one picture or of several.

    It reads the picture itself, so it is never asked again with other readings of the landmarks.
    """

    def reconstruct_all(
        self, hands: Sequence[tuple[Image, Hand]], params: RefineParams
    ) -> tuple[HandMesh | Refusal, ...]:
        """Return one mesh or refusal for each hand, given with the picture it is in."""
        ...


class Renderer(Protocol):
    """Renders one mesh to depth."""

    name: str

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Return the depth of `mesh` over its own box in a picture of the given size."""
        ...


@dataclass(frozen=True)
class PaintRequest:
    """What an inpainter is asked to paint: the hands of one picture, once.

    image: (H, W, 3) uint8 RGB. maps: of the picture's size, its layers and masks in the order of
    `meshes`.
    """

    image: Image
    meshes: tuple[HandMesh, ...]
    maps: ControlMaps
    params: RefineParams

    def with_seed_after(self, steps: int) -> PaintRequest:
        """Return the request with the seed that comes `steps` later; seeds wrap around."""
        seed = (self.params.seed + steps) % SEEDS
        return replace(self, params=replace(self.params, seed=seed))


class Inpainter(Protocol):
    """Paints new hands inside the mask; pixels outside stay bit-identical."""

    name: str

    def paint(self, request: PaintRequest) -> Image:
        """Return the picture, (H, W, 3), with its hands painted where the maps' mask is True."""
        ...


@runtime_checkable
class CandidatePainter(Inpainter, Protocol):
    """An inpainter that reports on every region, and may be faster with several candidates at once.

    Inherit to get `paint`.
    """

    def paint(self, request: PaintRequest) -> Image:
        return self.paint_candidates(request, 1).pictures[0]

    def paint_candidates(self, request: PaintRequest, count: int) -> Painting:
        """Paint with the seeds seed, seed + 1, …; at least one picture, fewer if interrupted."""
        ...


class QualityMeter(Protocol):
    """Measures how well formed hands look, without regard to their meshes."""

    def measure(
        self,
        detector: Detector,
        image: Image,
        hands: tuple[Hand, ...],
        params: RefineParams,
    ) -> tuple[Quality, ...]:
        """Return the quality of what is seen where each hand is."""
        ...


class Judge(Protocol):
    """Measures how well each mesh agrees with what is seen in a picture."""

    def __call__(
        self,
        detector: Detector,
        image: Image,
        meshes: tuple[HandMesh, ...],
        params: RefineParams,
    ) -> tuple[Agreement, ...]:
        """Return one agreement for each mesh, from detecting its hand in `image` again."""
        ...


@runtime_checkable
class Advising(Protocol):
    """An inpainter that has advice on the parameters."""

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """Return sentences for the user after a picture was painted with `params`."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """An inpainter that loads files."""

    def prepare(self, params: RefineParams) -> None:
        """Load the files, or raise what is wrong with them or with `params`."""
        ...
