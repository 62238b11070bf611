"""Landmark agreement: is what the detector sees in a picture the hand that was reconstructed?

The score is HandRefiner's MPJPE (Lu et al. 2023, arXiv 2311.17957, section 3.3), divided by the
hand's size so that large and small hands compare; beside it the percentage of correct keypoints
(PCK: Yang and Ramanan 2013, section 6.1), whose normaliser is the hand's size, too.
"""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.types import Agreement, Box, FloatArray, Hand, HandMesh, Image, Mask

NOT_FOUND = Agreement(mpjpe_px=None, mpjpe=None)
PCK_WITHIN = 0.1
"""Hand sizes from its joint within which a landmark counts as correct."""


def measure_agreement(
    detector: Detector, image: Image, meshes: tuple[HandMesh, ...], params: RefineParams
) -> tuple[Agreement, ...]:
    """Agreement of every mesh with the hand that `detector` finds near its place in `image`."""
    if not meshes:
        return ()
    seen = detector.redetect(image, tuple(mesh.hand for mesh in meshes), params)
    return tuple(compare(mesh, hand) for mesh, hand in zip(meshes, seen, strict=True))


def compare(mesh: HandMesh, seen: Hand | None) -> Agreement:
    """How far `seen`'s landmarks are from the mesh's joints.

    The size is the mesh's, so that the picture before and the picture after are divided by the same
    number. The side is not compared: a hand of the other side has its thumb elsewhere, and where it
    has not, the reading of the side is less certain than the landmarks are.
    """
    if seen is None:
        return NOT_FOUND
    size_px = mesh.size_px
    if size_px <= 0.0:
        return NOT_FOUND
    apart: FloatArray = np.linalg.norm(seen.landmarks - mesh.joints_2d, axis=1)
    mpjpe_px = float(apart.mean())
    return Agreement(mpjpe_px, mpjpe_px / size_px, float((apart <= PCK_WITHIN * size_px).mean()))


BLUR = 0.015
"""Grain finer than this is not seen, hand sizes."""
STEP = 10.0
"""Grey levels by which a place must differ."""
LEAST = 0.005
"""Area that must differ, squared hand sizes; half of a finger's last phalanx."""


def is_changed(before: Image, after: Image, place: tuple[Box, Mask], size_px: float) -> bool:
    """Whether a hand of `size_px` looks another in `after` than in `before`, (H, W, 3) both.

    place: where it may have changed, as in `ControlMaps.hand_masks`.
    """
    box, mask = place
    apart = before[box.slices].astype(np.float32) - after[box.slices].astype(np.float32)
    if apart.size == 0:
        return False
    seen = cv2.GaussianBlur(apart, (0, 0), max(BLUR * size_px, 0.5))
    differing = (np.abs(seen).max(axis=2) > STEP) & mask
    return int(differing.sum()) > LEAST * size_px**2
