"""People and faces in a picture: MediaPipe's pose and face networks, run by LiteRT.

A body's wrists say where hands must be, small, dark, drawn and malformed ones too, and which side
they are. A face says what must not be painted. BlazePose (Bazarevsky et al. 2020, arXiv 2006.10204)
and BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047); numbers below are those of MediaPipe's
pose_detection, pose_landmark and face_detection_full_range graphs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from handrefiner_ext.detect.anchors import AnchorGrid, blend, decode
from handrefiner_ext.geometry.boxes import bounding_box, grow
from handrefiner_ext.geometry.windows import Roi, around_box, turn_from_upright, warp
from handrefiner_ext.tflite import FACE_NETWORK, POSE_LANDMARK_NETWORK, POSE_NETWORK, TfliteNetwork
from handrefiner_ext.types import Box, FloatArray, Hand, Handedness, Image

POSE_SIZE, POSE_LANDMARK_SIZE, FACE_SIZE = 224, 256, 192
"""Sides of the networks' inputs, pixels."""
POSE_GRIDS = (AnchorGrid(28, 2), AnchorGrid(14, 2), AnchorGrid(7, 6))
FACE_GRIDS = (AnchorGrid(48, 1),)
POSE_POINTS, FACE_POINTS = 4, 6
BODY_CENTRE, BODY_REACH = 0, 1
"""Indices of the hips' centre and of a point on the circle around the whole body."""
BODY_SCALE = 1.25
MOST_PEOPLE, MOST_FACES = 4, 16
PERSON_SCORE, POSE_SCORE, FACE_SCORE = 0.4, 0.5, 0.5
"""Least scores of the pose detector, of the pose landmarks and of the face detector. MediaPipe asks
for 0.5 each; drawn people score 0.4 to 0.5, and a wrong body only costs a look at its wrists."""
NEAR_WRIST, SAME_PALM = 0.6, 0.5
"""A hand belongs to a wrist if its own wrist, or its middle, lies this near, in hand sizes."""
LEAST_OF_WRIST = 0.4
"""A hand is at least this part of the size that its body suggests; fingers alone are smaller."""
LIKELY_FACE = 0.3
"""Score from which there may be a face: most drawn ones score 0.3 to 0.6."""
SHOULDERS, HIPS = (11, 12), (23, 24)
ARMS: dict[Handedness, tuple[int, int, int, int]] = {
    "left": (13, 15, 17, 19),
    "right": (14, 16, 18, 20),
}
"""Elbow, wrist, base of the little finger and of the index finger among the 33 landmarks."""
LEAST_HAND = 0.45
"""A hand is taken to be at least this part of the shoulders' width: arms that point at the viewer
show their hand's landmarks almost in one place."""


SIDE_ODDS = 3.7
"""Log-odds for a hand's side from a wrist that is fully in sight. At 91 hands of real pictures the
body and the landmark network name different sides 8 times; in at least 6 of these the body is
right, and in one it is wrong, where the network is certain of its side by 0.98."""
NO_OTHER_WRIST = 2.0
"""How many times as far off the body's other wrist must be, so that the nearer one tells."""


@dataclass(frozen=True)
class Wrist:
    """Where a body's hand must be.

    point: (2,) the wrist. centre: (2,) the middle of the palm. size_px: estimate of the hand's
    size. visibility: 0..1, whether it is in sight.
    """

    side: Handedness
    point: FloatArray
    centre: FloatArray
    size_px: float
    visibility: float

    @property
    def box(self) -> Box:
        """Square that should hold the hand."""
        half = 0.6 * self.size_px
        corners = np.array([self.centre - half, self.centre + half])
        return bounding_box(corners)


@dataclass(frozen=True)
class Person:
    """One body: landmarks (33, 2) pixels in BlazePose's order, visibility (33,) 0..1."""

    score: float
    landmarks: FloatArray
    visibility: FloatArray

    @property
    def wrists(self) -> tuple[Wrist, ...]:
        """Both wrists, whether they are in sight or not."""
        return tuple(self._find_wrist(side) for side in ARMS)

    def _find_wrist(self, side: Handedness) -> Wrist:
        _, wrist, little, index = ARMS[side]
        point = self.landmarks[wrist]
        # MediaPipe's hand window from a pose (holistic's HandLandmarksFromPoseToRecropRoi).
        centre = (2.0 * self.landmarks[index] + self.landmarks[little]) / 3.0
        size = max(2.0 * float(np.linalg.norm(centre - point)), LEAST_HAND * self._measure_build())
        return Wrist(side, point, centre, size, float(self.visibility[wrist]))

    def _measure_build(self) -> float:
        """Return the shoulders' width, pixels; from the trunk for people seen from the side."""
        left, right = self.landmarks[list(SHOULDERS)]
        trunk = self.landmarks[list(SHOULDERS)].mean(axis=0) - self.landmarks[list(HIPS)].mean(0)
        return float(max(np.linalg.norm(left - right), 0.75 * np.linalg.norm(trunk)))


@dataclass(frozen=True)
class Surroundings:
    """What is seen in a picture besides its hands.

    likely_faces: the faces, and what may be a drawn one.
    """

    people: tuple[Person, ...] = ()
    faces: tuple[Box, ...] = ()
    likely_faces: tuple[Box, ...] = ()

    def list_wrists(self, least_visibility: float, height: int, width: int) -> list[Wrist]:
        """Return the wrists in sight that lie in the picture, most visible first."""
        seen = [
            wrist
            for person in self.people
            for wrist in person.wrists
            if wrist.visibility >= least_visibility
            and 0.0 <= wrist.point[0] < width
            and 0.0 <= wrist.point[1] < height
        ]
        return sorted(seen, key=lambda wrist: -wrist.visibility)


HANDS_OF_FACE, REACH_OF_FACE = (0.3, 1.6), 4.5
"""Sizes of a person's hands and their distance from the middle of the face, in heights of it.
Drawn heads are large, and a hand stretched towards the viewer is."""
EARS = 0.2
"""Rim on both sides of a face in which its ears lie, widths of the face."""
HEAD_WIDER, HEAD_HIGHER = 0.25, 0.3
"""A head reaches beyond its face by these shares of the face's width and height, on every side.
Wider than the ears, because hair must stay too; a hand at an ear is beside a face."""
SMALLEST_FACE = 0.2
"""Size of the smallest face, in sizes of the smallest hand. A face is about as large as a hand;
what is much smaller is a blurred light or a spot that was taken for one."""


def belongs_to_face(hand: Hand, face: Box) -> bool:
    """Whether a hand can be one of the person whose face this is, by its size and distance."""
    middle = np.array([face.x0 + face.x1, face.y0 + face.y1]) / 2
    apart = float(np.linalg.norm(hand.landmarks.mean(axis=0) - middle))
    low, high = (share * face.height for share in HANDS_OF_FACE)
    return low <= hand.size_px <= high and apart <= REACH_OF_FACE * face.height


def is_palm_of(face: Box, hand: Hand) -> bool:
    """Whether a face is the palm of a larger hand, taken for one."""
    x, y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    inside = hand.box.x0 <= x < hand.box.x1 and hand.box.y0 <= y < hand.box.y1
    return inside and hand.size_px > max(face.width, face.height)


def with_ears(face: Box) -> Box:
    """Return the box of a face and its ears."""
    return grow(face, round(EARS * face.width), 0)


def list_heads(faces: Sequence[Box], smallest_hand_px: float) -> list[Box]:
    """Return the boxes of the heads, ears and hair included, of a picture's faces."""
    return [
        grow(face, round(HEAD_WIDER * face.width), round(HEAD_HIGHER * face.height))
        for face in faces
        if face.height >= SMALLEST_FACE * smallest_hand_px
    ]


def belongs_to_wrist(hand: Hand, wrist: Wrist) -> bool:
    """Whether a hand can be the one at a body's wrist."""
    if hand.size_px < LEAST_OF_WRIST * wrist.size_px:
        return False
    to_palm = float(np.linalg.norm(hand.landmarks.mean(axis=0) - wrist.centre))
    same_palm = to_palm < SAME_PALM * max(hand.size_px, wrist.size_px)
    return same_palm or wrist_distance(hand, wrist) < NEAR_WRIST


def wrist_distance(hand: Hand, wrist: Wrist) -> float:
    """Return how far a hand's wrist lies from a body's, in hand sizes."""
    apart = float(np.linalg.norm(hand.landmarks[0] - wrist.point))
    return apart / max(hand.size_px, wrist.size_px, 1e-6)


def side_odds(hand: Hand, wrists: Sequence[Wrist]) -> float:
    """Return the log-odds, from the bodies' wrists, that a hand is a right one; 0 if none tells."""
    near = sorted(
        ((wrist_distance(hand, wrist), wrist) for wrist in wrists if belongs_to_wrist(hand, wrist)),
        key=lambda pair: pair[0],
    )
    if not near:
        return 0.0
    apart, nearest = near[0]
    if any(w.side != nearest.side and other < NO_OTHER_WRIST * apart for other, w in near):
        return 0.0
    sign = 1.0 if nearest.side == "right" else -1.0
    return sign * SIDE_ODDS * nearest.visibility


class PeopleNetworks:
    """Runs the pose and face networks on one picture at a time."""

    def __init__(self) -> None:
        self._pose = TfliteNetwork(POSE_NETWORK)
        self._landmarks = TfliteNetwork(POSE_LANDMARK_NETWORK)
        self._face = TfliteNetwork(FACE_NETWORK)

    def look(self, image: Image) -> Surroundings:
        """Find the people and faces of a picture."""
        faces = self.find_faces(image)
        sure = tuple(face for score, face in faces if score >= FACE_SCORE)
        return Surroundings(self.find_people(image), sure, tuple(face for _, face in faces))

    def find_people(self, image: Image) -> tuple[Person, ...]:
        """Find up to MOST_PEOPLE bodies, best first."""
        window = _whole(image)
        picture = warp(image, window, POSE_SIZE, cv2.BORDER_CONSTANT) * 2.0 - 1.0
        raw, logits = self._pose.run(picture.astype(np.float32))
        boxes, scores = decode(
            raw, logits[:, 0], PERSON_SCORE, _anchors(POSE_GRIDS), POSE_SIZE, POSE_POINTS
        )
        people = []
        for score, box in blend(boxes, scores, MOST_PEOPLE):
            points = window.to_picture(box[4:].reshape(-1, 2))
            person = self._read_pose(image, _around_body(points), score)
            if person is not None:
                people.append(person)
        return tuple(people)

    def find_faces(self, image: Image) -> tuple[tuple[float, Box], ...]:
        """Find likely faces, best first: scores, and boxes from forehead to chin."""
        window = _whole(image)
        picture = warp(image, window, FACE_SIZE, cv2.BORDER_CONSTANT) * 2.0 - 1.0
        raw, logits = self._face.run(picture.astype(np.float32))
        boxes, scores = decode(
            raw, logits[:, 0], LIKELY_FACE, _anchors(FACE_GRIDS), FACE_SIZE, FACE_POINTS
        )
        found = blend(boxes, scores, MOST_FACES)
        return tuple(
            (score, bounding_box(window.to_picture(box[:4].reshape(2, 2)))) for score, box in found
        )

    def _read_pose(self, image: Image, window: Roi, score: float) -> Person | None:
        picture = warp(image, window, POSE_LANDMARK_SIZE, cv2.BORDER_CONSTANT)
        values, presence, *_ = self._landmarks.run(picture)
        if float(presence[0]) < POSE_SCORE:
            return None
        points = values.reshape(-1, 5)[:33]
        places = window.to_picture(points[:, :2] / POSE_LANDMARK_SIZE)
        return Person(score, places, 1.0 / (1.0 + np.exp(-np.clip(points[:, 3], -50.0, 50.0))))


def _whole(image: Image) -> Roi:
    return around_box(Box(0, 0, image.shape[1], image.shape[0]))


def _around_body(points: FloatArray) -> Roi:
    """Return the window of a body, upright, from the detector's (4, 2) points."""
    centre = points[BODY_CENTRE]
    reach = points[BODY_REACH] - centre
    side = 2.0 * BODY_SCALE * math.hypot(*reach)
    return Roi(float(centre[0]), float(centre[1]), side, turn_from_upright(reach))


@lru_cache(maxsize=4)
def _anchors(grids: Sequence[AnchorGrid]) -> FloatArray:
    return np.concatenate([grid.centers() for grid in grids])
