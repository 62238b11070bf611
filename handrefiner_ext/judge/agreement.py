"""Landmark agreement: is what the detector sees in a picture the hand that was reconstructed?

The score is HandRefiner's MPJPE (Lu et al. 2023, arXiv 2311.17957, section 3.3), divided by the
hand's size so that large and small hands compare.
"""

from __future__ import annotations

import numpy as np

from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Agreement, Detector, Hand, HandMesh, Image

NOT_FOUND = Agreement(mpjpe_px=None, mpjpe=None)


def measure_agreement(
    detector: Detector, image: Image, meshes: tuple[HandMesh, ...], params: RefineParams
) -> tuple[Agreement, ...]:
    """Agreement of every mesh with the hand that `detector` finds near its place in `image`."""
    if not meshes:
        return ()
    seen = detector.redetect(image, tuple(mesh.hand for mesh in meshes), params)
    return tuple(compare(mesh, hand) for mesh, hand in zip(meshes, seen, strict=True))


def compare(mesh: HandMesh, seen: Hand | None) -> Agreement:
    """Mean distance of `seen`'s landmarks from the mesh's joints, pixels and hand sizes.

    A hand of the other side is not the hand that was reconstructed. The size is the mesh's, so
    that the picture before and the picture after are divided by the same number.
    """
    if seen is None or seen.handedness != mesh.handedness:
        return NOT_FOUND
    joints = mesh.joints_2d
    size_px = float(np.ptp(joints, axis=0).max())
    mpjpe_px = float(np.linalg.norm(seen.landmarks - joints, axis=1).mean())
    return Agreement(mpjpe_px=mpjpe_px, mpjpe=mpjpe_px / size_px if size_px > 0 else None)
