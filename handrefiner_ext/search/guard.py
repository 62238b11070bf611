"""keep_best, its first part: a new hand in which no such hand is seen does not replace the old one.

The distance between landmarks and mesh before and after cannot be compared: the mesh was fitted to
the landmarks before. What can be asked of the new hand alone is whether it is the hand of the mesh.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handrefiner_ext.geometry.regions import group_overlapping
from handrefiner_ext.types import Agreement, ControlMaps, Image

FARTHEST = 0.15
"""Mean distance from the mesh, hand sizes, up to which a hand counts as that of the mesh."""


def find_lost(after: Sequence[Agreement], maps: ControlMaps) -> frozenset[int]:
    """Numbers of the hands to give back: not seen any more, or in one region with such a hand."""
    unseen = {n for n, a in enumerate(after) if a.mpjpe is None or a.mpjpe > FARTHEST}
    groups = group_overlapping(list(maps.hand_masks))
    return frozenset(n for group in groups if unseen & set(group) for n in group)


def give_back(image: Image, painted: Image, lost: frozenset[int], maps: ControlMaps) -> Image:
    """`painted` with the pixels of `image` wherever only lost hands could change them."""
    restored = painted.copy()
    for number in lost:
        box, mask = maps.hand_masks[number]
        part = restored[box.slices]
        part[mask] = image[box.slices][mask]
    return image if np.array_equal(restored, image) else restored


def explain(agreement: Agreement) -> str:
    """Why the original was kept."""
    if agreement.mpjpe is None:
        return "The original was kept: no such hand is seen in the new picture."
    return (
        f"The original was kept: the new hand lies {agreement.mpjpe:.0%} of its size off its mesh, "
        f"or shares its region with one that does; {FARTHEST:.0%} is allowed."
    )
