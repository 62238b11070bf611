"""Define the records and conventions that all stages share.

What a backend must offer is in `protocols`. These conventions hold everywhere in the package:

- image: `(H, W, 3)` uint8, RGB. mask: `(H, W)` bool, True where a pixel may change.
- box: `Box(x0, y0, x1, y1)`, whole pixels, half-open, inside the picture.
- point in the picture: `(x, y)` float pixels; the centre of the top-left pixel is (0.5, 0.5).
- camera space: x to the right, y down, z away from the viewer, metres.
- depth: `(H, W)` float32, metres from the hand's own origin (smaller is nearer) at the mesh's
  assumed hand length; infinity where empty.
- control image: `(H, W)` uint8, near is bright, 0 where empty.
- hand size: longer side of the box around the 21 points, pixels; errors are fractions of it.
- handedness: "left" or "right" hand of the person in the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Faces = NDArray[np.integer[Any]]  # (m, 3) numbers of the vertices at each face's corners
DepthMap = NDArray[np.float32]
Handedness = Literal["left", "right"]
OTHER_SIDE: dict[Handedness, Handedness] = {"left": "right", "right": "left"}


class Box(NamedTuple):
    """Half-open rectangle in whole pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns), to index an image."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Hand:
    """One detected hand.

    landmarks: (21, 2) pixels, in the order of `topology.JOINT_NAMES`.
    landmark_depth: (21,) pixels relative to the wrist, negative is nearer, as the network gave it.
    world_landmarks: (21, 3) metres in camera space, centred on the hand.
    score: presence of a hand, 0..1. handedness_score: certainty of the side, 0.5..1. box: bounding
    box of the landmarks, clipped to the picture. number: as users count the hands of the picture,
    from 1; 0 until then. assumed: not seen; a relaxed hand was put where a mask was drawn.
    """

    handedness: Handedness
    handedness_score: float
    score: float
    box: Box
    landmarks: FloatArray
    landmark_depth: FloatArray
    world_landmarks: FloatArray
    number: int = 0
    assumed: bool = False

    @property
    def size_px(self) -> float:
        """Hand size: longer side of the box around the landmarks, unclipped."""
        return float(np.ptp(self.landmarks, axis=0).max())


@dataclass(frozen=True)
class Refusal:
    """A hand that is left alone, and why (one sentence); `number` as for `Hand`."""

    box: Box
    reason: str
    number: int = 0


@dataclass(frozen=True)
class Detection:
    """Hands from left to right, candidates that were rejected, and faces if they are looked for."""

    hands: tuple[Hand, ...]
    refused: tuple[Refusal, ...] = ()
    faces: tuple[Box, ...] = ()


@dataclass(frozen=True)
class WeakPerspective:
    """Picture point = scale * (x, y) + shift; pixels per metre and pixels."""

    scale: float
    shift_x: float
    shift_y: float

    def project(self, points: FloatArray) -> FloatArray:
        """(n, 3) metres in camera space -> (n, 2) pixels."""
        shift = np.array([self.shift_x, self.shift_y])
        return np.asarray(self.scale * points[:, :2] + shift, dtype=np.float64)


@dataclass(frozen=True)
class HandPose:
    """The open hand as numbers that people can change.

    wrist: (x, y) pixels. scale: pixels per metre. turn: rotation vector in radians from a hand that
    shows its back, fingers up; a left hand is the mirror image of the right one. angles: joint ->
    radians beyond the rest pose. shapes: name -> units of 10 %. wrist_length: 1 is the model's.
    old: None unless somebody posed the hand, which is then not judged: x0, y0, x1, y1 of the hand
    that lay there before, empty where none did.
    """

    handedness: Handedness
    wrist: tuple[float, float]
    scale: float
    turn: tuple[float, float, float]
    angles: Mapping[str, float]
    shapes: Mapping[str, float] = field(default_factory=dict)
    wrist_length: float = 1.0
    old: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Relief:
    """The depth of one hand as the user gave it, instead of a mesh's.

    grey: (box.height, box.width) uint8, near is bright, 0 where empty; it becomes the control
    image as it is. depth_m: metres between grey 255 and 0. fits: whether the mesh's joints are
    those of this hand; otherwise nobody can tell whether a new hand is it.
    """

    box: Box
    grey: NDArray[np.uint8]
    depth_m: float
    fits: bool


@dataclass(frozen=True)
class HandMesh:
    """One reconstructed hand.

    vertices: (n, 3) metres in camera space, origin at the wrist joint. joints: (21, 3), the same.
    faces: (m, 3) int32, counter-clockwise seen from outside for a right-handed frame.
    reprojection_error: mean distance of projected joints from the landmarks, in hand sizes.
    outline_disagreement: area where picture and mesh disagree about what is hand, as a share of
    the mesh's silhouette; None if the picture's colours do not tell.
    strain: how far landmarks, depth, limits and priors contradict one another; comparable only
    between fits of the same landmarks; None if the backend does not measure it.
    pose: the record of the open hand; None for other meshes. gesture: the one it was given. relief:
    depth that was given; the vertices are then its surface, without a back.
    """

    hand: Hand
    vertices: FloatArray
    faces: Faces
    joints: FloatArray
    camera: WeakPerspective
    reprojection_error: float
    backend: str
    outline_disagreement: float | None = None
    strain: float | None = None
    pose: HandPose | None = None
    relief: Relief | None = None
    gesture: str = ""

    @property
    def is_known(self) -> bool:
        """Whether a new hand can be judged: an old one was seen, and the mesh is that hand's."""
        wished = self.gesture or (self.pose and self.pose.old is not None)
        return not (self.hand.assumed or wished or (self.relief and not self.relief.fits))

    @property
    def handedness(self) -> Handedness:
        return self.hand.handedness

    @property
    def joints_2d(self) -> FloatArray:
        """(21, 2) pixels."""
        return self.camera.project(self.joints)

    @property
    def size_px(self) -> float:
        """Long side of the box around the joints, pixels."""
        return float(np.ptp(self.joints_2d, axis=0).max())


@dataclass(frozen=True)
class HandLayer:
    """Depth of one hand alone over `box` (the part of it inside the picture).

    depth: (box.height, box.width) float32 metres, infinity where empty.
    """

    box: Box
    depth: DepthMap


@dataclass(frozen=True)
class Overlap:
    """Two hands that overlap in the picture: which is in front, and whether that is certain."""

    front: int
    back: int
    certain: bool
    reason: str


@dataclass(frozen=True)
class ControlMaps:
    """What guides the inpainting stage; every map has the picture's size.

    layers: each hand alone, in the order of the meshes. owner: (H, W) int16, number of the mesh
    visible at a pixel, -1 where there is none. control: (H, W) uint8 control image. hand_masks: for
    each mesh, its box and its pixels that may change. mask: their union. spared: left out of it.
    """

    layers: tuple[HandLayer, ...]
    owner: NDArray[np.int16]
    control: NDArray[np.uint8]
    mask: Mask
    hand_masks: tuple[tuple[Box, Mask], ...]
    overlaps: tuple[Overlap, ...] = ()
    spared: tuple[Box, ...] = ()

    def narrow(self, hand_masks: Sequence[tuple[Box, Mask]]) -> ControlMaps:
        """Return the maps with smaller masks of the hands, and a whole mask that fits them."""
        whole = np.zeros_like(self.mask)
        for box, mask in hand_masks:
            whole[box.slices] |= mask
        return replace(self, hand_masks=tuple(hand_masks), mask=whole & self.mask)


@dataclass(frozen=True)
class Agreement:
    """How well a picture's hand agrees with its mesh.

    mpjpe_px: mean distance between re-detected landmarks and the mesh's joints, pixels. mpjpe: in
    hand sizes. pck: share within a tenth of a hand size. All None where no hand is found.
    """

    mpjpe_px: float | None
    mpjpe: float | None
    pck: float | None = None


@dataclass(frozen=True)
class Quality:
    """How well formed the hand at one place of a picture looks, regardless of its mesh.

    score: 0..1, 0 where no hand is seen. parts: the scores it is made of, name -> 0..1. doubt: why
    the judge cannot tell, empty where it can; the score is given all the same.
    """

    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    doubt: str = ""

    @property
    def abstained(self) -> bool:
        """Whether the judge cannot tell."""
        return bool(self.doubt)


@dataclass(frozen=True)
class View:
    """Another view of a hand: its window turned (radians), enlarged (factor), or mirrored."""

    turn: float = 0.0
    size: float = 1.0
    mirrored: bool = False


@dataclass(frozen=True)
class Assessment:
    """One hand of one picture as the judge sees it; quality is None where it was not measured."""

    agreement: Agreement
    quality: Quality | None = None


Trial = tuple[Image, tuple[Assessment, ...]]
"""A painted picture, and each of its hands as the judge sees it."""


@dataclass(frozen=True)
class Decision:
    """What happened to one hand; `number` counts the meshes from 0.

    strength: what adaptive strength found, None if it is off. candidate: number of the best one,
    from 0; None without a choice. Qualities are None if not measured. failed: it was not painted.
    """

    number: int
    refined: bool
    reason: str
    before: Agreement
    after: Agreement | None
    strength: float | None = None
    candidate: int | None = None
    quality_before: Quality | None = None
    quality_after: Quality | None = None
    failed: bool = False


@dataclass(frozen=True)
class RegionReport:
    """The outcome for hands that are painted together; `numbers` count the meshes from 0.

    problem: why they were left as they were (a sentence), None where they were repainted.
    """

    numbers: tuple[int, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Painting:
    """What an inpainter made of a picture: one or more candidates of the whole picture.

    regions: empty where the inpainter does not work region by region. control_model: the ControlNet
    model that was used, None where there was none or its name is not known.
    """

    pictures: tuple[Image, ...]
    regions: tuple[RegionReport, ...] = ()
    control_model: str | None = None

    @property
    def problems(self) -> dict[int, str]:
        """Number of the mesh -> why its hand could not be painted."""
        return {n: r.problem for r in self.regions if r.problem for n in r.numbers}


@dataclass(frozen=True)
class Given:
    """What the user hands over beside a picture, of its size.

    drawn_mask: (H, W) bool, what may change. depth_in: (H, W) uint8, the control image.
    """

    drawn_mask: Mask | None = None
    depth_in: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Hints:
    """Everything known before painting. notes: sentences for the user."""

    detection: Detection
    meshes: tuple[HandMesh, ...]
    refused: tuple[Refusal, ...]
    maps: ControlMaps
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefineResult:
    """The picture kept, and why. `image` is the input object itself if nothing changed.

    candidates: every picture that was painted to choose from; empty without a choice. tried: those
    or the one that was painted, as judged. control_model: as for `Painting`.
    """

    image: Image
    hints: Hints
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = field(default=())
    candidates: tuple[Image, ...] = ()
    control_model: str | None = None
    tried: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class ModelHome:
    """Where a backend finds its files, and where it computes.

    models_dir: searched before the standard folders. device: as torch names it; None = the best.
    keep_on_device: leave weights there between pictures, not only during work. dtype: of Stable
    Diffusion's weights, as torch names it; None = half precision on a CUDA GPU.
    """

    models_dir: Path | None = None
    device: str | None = None
    keep_on_device: bool = False
    dtype: str | None = None
