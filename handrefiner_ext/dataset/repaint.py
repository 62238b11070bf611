"""Hands as our own inpainter `draft` paints them, good and bad.

A judge that learns from this set must not know our own hand from a good one, so the draft stands
on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from handrefiner_ext.dataset.hands import Surface
from handrefiner_ext.dataset.records import TrueHand
from handrefiner_ext.dataset.scene import Scene
from handrefiner_ext.dataset.truth import fold_mesh, make_maps
from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.types import Image


def repaint_with_draft(
    image: Image,
    hands: Sequence[TrueHand],
    surfaces: Mapping[int, Surface],
    scene: Scene,
    rng: np.random.Generator,
) -> Image:
    """The picture with every hand painted over by the draft.

    A malformed hand keeps its fault: the draft is given its malformed mesh.
    """
    drawn = [
        replace(hand, mesh=fold_mesh(scene, scene.hands[k], surfaces.get(k)))
        for k, hand in enumerate(hands)
    ]
    wrists = [float(hand.joints_3d[0, 2]) for hand in hands]
    maps = make_maps(drawn, wrists, scene.size)
    params = replace(RefineParams(), seed=int(rng.integers(2**31)))
    meshes = tuple(hand.mesh for hand in drawn)
    return DraftInpainter().paint(PaintRequest(image, meshes, maps, params))
