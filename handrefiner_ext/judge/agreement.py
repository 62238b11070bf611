"""Landmark agreement: does the picture show the hand that was reconstructed?

The score is HandRefiner's MPJPE (Lu et al. 2023, arXiv 2311.17957, section 3.3), divided by the
hand's size so that large and small hands can be compared. The second figure is the percentage of
correct keypoints (PCK: Yang and Ramanan 2013, section 6.1), also relative to the hand's size.
"""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.types import Agreement, Box, FloatArray, Hand, HandMesh, Image, Mask

NOT_FOUND = Agreement(mpjpe_px=None, mpjpe=None)
PCK_WITHIN = 0.1
"""Distance from its joint, in hand sizes, up to which a landmark counts as correct."""


def measure_agreement(
    detector: Detector, image: Image, meshes: tuple[HandMesh, ...], params: RefineParams
) -> tuple[Agreement, ...]:
    """Compare every mesh with the hand that `detector` finds near its place in `image`."""
    if not meshes:
        return ()
    seen = detector.redetect(image, tuple(mesh.hand for mesh in meshes), params)
    return tuple(compare(mesh, hand) for mesh, hand in zip(meshes, seen, strict=True))


def compare(mesh: HandMesh, seen: Hand | None) -> Agreement:
    """Measure how far `seen`'s landmarks are from the mesh's joints.

    The size is the mesh's, so that the errors before and after painting are divided by the same
    number. The side is not compared. On good pairs the side that was read differed in 2 to 6 %,
    and the landmarks alone tell every hand of the wrong side, as its thumb lies elsewhere.
    """
    if seen is None:
        return NOT_FOUND
    size_px = mesh.size_px
    if size_px <= 0.0:
        return NOT_FOUND
    apart: FloatArray = np.linalg.norm(seen.landmarks - mesh.joints_2d, axis=1)
    mpjpe_px = float(apart.mean())
    return Agreement(mpjpe_px, mpjpe_px / size_px, float((apart <= PCK_WITHIN * size_px).mean()))


NOISE_BLUR = 0.015
"""Blur, in hand sizes, that removes noise before pictures are compared."""
CHANGED_LEVELS = 10.0
"""Grey levels by which a pixel must differ to count as changed."""
CHANGED_AREA = 0.005
"""Area that must change, squared hand sizes; about half of a finger's last phalanx."""


def is_changed(before: Image, after: Image, place: tuple[Box, Mask], size_px: float) -> bool:
    """Whether a hand of `size_px` looks different in `after` than in `before`, apart from noise.

    before, after: (H, W, 3). place: where it may have changed, as in `ControlMaps.hand_masks`.
    """
    box, mask = place
    apart = before[box.slices].astype(np.float32) - after[box.slices].astype(np.float32)
    if apart.size == 0:
        return False
    seen = cv2.GaussianBlur(apart, (0, 0), max(NOISE_BLUR * size_px, 0.5))
    differing = (np.abs(seen).max(axis=2) > CHANGED_LEVELS) & mask
    return int(differing.sum()) > CHANGED_AREA * size_px**2
