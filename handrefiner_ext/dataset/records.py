"""What a picture of the set comes with: the truth about its hands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from handrefiner_ext.dataset.faults import NO_FAULT
from handrefiner_ext.dataset.scene import Lens
from handrefiner_ext.types import Box, ControlMaps, FloatArray, Handedness, HandMesh, Image

RENDERER, DRAFT = "renderer", "draft"
DIGITS = 5
"""Decimals of metres in the JSON."""


@dataclass(frozen=True)
class TrueHand:
    """mesh: the well-formed hand as a reconstructor would give it: its camera is weak-perspective
    and the lens' perspective lies in its vertices, so that it covers exactly the drawn hand.

    joints_3d, landmarks_3d: (21, 3) metres in camera space (z from the lens): where the bones
    turn, and where detectors see the joints. visible: share of the hand's pixels that nothing
    hides, of those that lie in an endless picture. fault: of the drawn hand, "none" where it is
    well formed. painted_by: "renderer" or "draft" (our own inpainter).
    """

    mesh: HandMesh
    joints_3d: FloatArray
    landmarks_3d: FloatArray
    gesture: str
    build: str
    fault: str
    painted_by: str
    visible: float

    @property
    def side(self) -> Handedness:
        return self.mesh.handedness

    @property
    def is_malformed(self) -> bool:
        return self.fault != NO_FAULT

    @property
    def box(self) -> Box:
        return self.mesh.hand.box


@dataclass(frozen=True)
class Sample:
    """A picture. name: of its files. number: of its scene; twins share it.

    maps: control image, depth and mask of the well-formed hands, as `refine` would make them.
    """

    name: str
    number: int
    image: Image
    maps: ControlMaps
    hands: tuple[TrueHand, ...]
    lens: Lens
    prompt: str
    style: str
    arrangement: str
    view: str

    @property
    def is_malformed(self) -> bool:
        return any(hand.is_malformed for hand in self.hands)

    def describe(self) -> dict[str, Any]:
        """JSON: everything but the pixels."""
        height, width = self.image.shape[:2]
        return {
            "text": self.prompt,
            "number": self.number,
            "width": width,
            "height": height,
            "malformed": self.is_malformed,
            "style": self.style,
            "arrangement": self.arrangement,
            "view": self.view,
            "camera": {
                "focal_px": round(self.lens.focal_px, 3),
                "centre": [round(float(v), 3) for v in self.lens.centre],
            },
            "hands": [_describe_hand(hand) for hand in self.hands],
        }


def _describe_hand(hand: TrueHand) -> dict[str, Any]:
    camera = hand.mesh.camera
    return {
        "side": hand.side,
        "gesture": hand.gesture,
        "build": hand.build,
        "fault": hand.fault,
        "painted_by": hand.painted_by,
        "visible": round(hand.visible, 4),
        "box": list(hand.box),
        "weak_camera": {
            "scale": round(camera.scale, 4),
            "shift": [round(camera.shift_x, 4), round(camera.shift_y, 4)],
        },
        "landmarks": _round(hand.mesh.hand.landmarks, 2),
        "joints_3d": _round(hand.joints_3d, DIGITS),
        "landmarks_3d": _round(hand.landmarks_3d, DIGITS),
    }


def _round(values: FloatArray, digits: int) -> list[Any]:
    return list(np.round(values, digits).tolist())
