"""What a hand can do: free angles with limits and priors, the spread of shapes, the relaxed pose.

Angles are relative to the rest pose, in which every joint is already bent by 6 to 16 degrees.
Ranges follow the clinical norms (Luttgens & Hamilton 1997; Norkin & White 2016), widened by a few
degrees because the model's metacarpals do not move; the coupling of the last two joints is that
of Lin, Wu & Huang 2000, "Modeling the constraints of human hand motion" (DIP = 2/3 PIP).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.mesh.open_hand.model import ABDUCTION, ANGLES_SHAPE, FLEXION, TWIST
from handrefiner_ext.types import FloatArray

DIP_PER_PIP = 2.0 / 3.0


@dataclass(frozen=True)
class Angle:
    """One free joint angle: its index in an `ANGLES_SHAPE` array, range and prior in degrees."""

    finger: int
    level: int
    axis: int
    low: float
    high: float
    mean: float
    deviation: float


def _thumb() -> list[Angle]:
    return [
        Angle(0, 0, FLEXION, -40, 45, 0, 16),
        Angle(0, 0, ABDUCTION, -35, 40, 0, 16),
        Angle(0, 0, TWIST, -30, 40, 0, 12),
        Angle(0, 1, FLEXION, -35, 60, 5, 20),
        Angle(0, 2, FLEXION, -45, 75, 5, 25),
    ]


def _long_finger(finger: int) -> list[Angle]:
    return [
        Angle(finger, 0, FLEXION, -50, 85, 5, 35),
        Angle(finger, 0, ABDUCTION, -25, 25, 0, 9),
        Angle(finger, 0, TWIST, -8, 8, 0, 4),
        Angle(finger, 1, FLEXION, -25, 100, 10, 40),
        Angle(finger, 2, FLEXION, -35, 75, 5, 25),
    ]


FREE_ANGLES = (*_thumb(), *(angle for finger in range(1, 5) for angle in _long_finger(finger)))

SHAPE_DEVIATIONS = {
    "finger_length": 0.6,
    "thumb_length": 0.6,
    "finger_thickness": 0.6,
    "finger_spread": 0.4,
    "palm_width": 0.6,
}
"""Shapes that the fit may change, with their deviation in units of 10 %. Only the outline says
anything about thickness. Hand size cannot be told apart from the camera's scale and stays at the
mean, as does the wrist."""

RELAXED_DEGREES = {
    **{(0, 0, FLEXION): 5, (0, 1, FLEXION): 10, (0, 2, FLEXION): 10},
    **{(1, 0, ABDUCTION): 2, (4, 0, ABDUCTION): -4},
    **{(finger, 0, FLEXION): 6 + 3 * finger for finger in range(1, 5)},
    **{(finger, 1, FLEXION): 10 + 4 * finger for finger in range(1, 5)},
    **{(finger, 2, FLEXION): 6 + 3 * finger for finger in range(1, 5)},
}
"""Degrees beyond the rest pose of each (finger, joint, axis) in a relaxed hand, whose fingers bend
more and more from the index to the little finger."""


@dataclass(frozen=True)
class Anatomy:
    """The tables above as arrays, in their order; angles in radians.

    where: index arrays into an `ANGLES_SHAPE` array. coupled: (PIP, DIP) pairs of free angles.
    """

    where: tuple[NDArray[np.intp], ...]
    low: FloatArray
    high: FloatArray
    mean: FloatArray
    deviation: FloatArray
    coupled: tuple[NDArray[np.intp], NDArray[np.intp]]
    shapes: NDArray[np.intp]
    shape_deviation: FloatArray

    @property
    def angle_count(self) -> int:
        """Number of free angles."""
        return len(self.low)

    def angles(self, free: FloatArray) -> FloatArray:
        """Return all angles (5, 3, 3), zero except for the (m,) free ones."""
        full = np.zeros(ANGLES_SHAPE)
        full[self.where] = free
        return full


@cache
def load_anatomy(shape_names: tuple[str, ...]) -> Anatomy:
    """Return the tables as arrays, for a model with these shapes."""
    numbers = np.array([[a.finger, a.level, a.axis] for a in FREE_ANGLES])
    low, high, mean, deviation = np.radians(
        np.array([[a.low, a.high, a.mean, a.deviation] for a in FREE_ANGLES]).T
    )
    at = {(a.finger, a.level, a.axis): i for i, a in enumerate(FREE_ANGLES)}
    pairs = np.array([(at[f, 1, FLEXION], at[f, 2, FLEXION]) for f in range(1, 5)])
    return Anatomy(
        where=(numbers[:, 0], numbers[:, 1], numbers[:, 2]),
        low=low,
        high=high,
        mean=mean,
        deviation=deviation,
        coupled=(pairs[:, 0], pairs[:, 1]),
        shapes=np.array([shape_names.index(name) for name in SHAPE_DEVIATIONS]),
        shape_deviation=np.array(list(SHAPE_DEVIATIONS.values())),
    )
