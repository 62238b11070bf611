"""What stands in a scene: hands, how they lie to one another and to the camera, what they wear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.dataset.arms import ArmSpec, SleeveSpec
from handrefiner_ext.dataset.hands import BentHand, Place, sample_build, shape_model
from handrefiner_ext.dataset.poses import GESTURES, sample_angles, sample_gesture
from handrefiner_ext.dataset.props import HOLDERS, Held, close_around
from handrefiner_ext.geometry.transforms import rotation_about
from handrefiner_ext.mesh.open_hand.anatomy import load_anatomy
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.types import FloatArray, Handedness

ARRANGEMENTS = {
    "single": 0.64,
    "apart": 0.09,
    "overlapping": 0.08,
    "palm_to_palm": 0.06,
    "interlaced": 0.06,
    "palm_on_back": 0.07,
}
VIEWS = {"upright": 0.46, "any": 0.24, "hanging": 0.10, "foreshortened": 0.10, "edge_on": 0.10}
"""How the hand is turned to the camera -> share of the scenes."""
HELD_SHARE = 0.24
CUT_SHARE = 0.16
SMALLEST, LARGEST = 0.24, 0.92
"""Longer side of the hands' box, of the picture's."""
NEAREST_M = 0.06
TILT = np.radians(30.0)
X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class Lens:
    """A pinhole: picture point = focal_px * (x, y) / z + centre."""

    focal_px: float
    centre: FloatArray

    def project(self, points: FloatArray) -> FloatArray:
        """(n, 3) camera space, metres -> (n, 2) pixels; NaN behind NEAREST_M."""
        z = np.where(points[:, 2] > NEAREST_M, points[:, 2], np.nan)
        return np.asarray(self.focal_px * points[:, :2] / z[:, None] + self.centre)


@dataclass(frozen=True)
class Wear:
    """What a hand has on. ring_fingers: numbers of fingers. watch: "", "watch" or "bangle"."""

    arm: ArmSpec | None
    sleeve: SleeveSpec | None
    watch: str
    ring_fingers: tuple[int, ...]
    painted_nails: bool


@dataclass(frozen=True)
class SceneHand:
    """A hand of the scene; held: what it holds, in its own frame."""

    bent: BentHand
    place: Place
    gesture: str
    build: str
    wear: Wear
    held: Held | None = None

    def landmarks(self) -> FloatArray:
        """(21, 3) where detectors see the joints, camera space."""
        return self.place.put(np.asarray(self.bent.posed().landmarks))


@dataclass(frozen=True)
class Scene:
    """Everything but light and colours."""

    hands: tuple[SceneHand, ...]
    lens: Lens
    arrangement: str
    view: str
    size: int


def sample_scene(rng: np.random.Generator, size: int) -> Scene:
    """A random scene for a square picture."""
    arrangement = _pick(rng, ARRANGEMENTS)
    view = _pick(rng, VIEWS)
    lens = _sample_lens(rng, size)
    hands = _MAKERS[arrangement](rng)
    if arrangement == "apart":
        placed = _place_apart(rng, hands, lens, size)
    else:
        turn = _sample_turn(rng, view)
        placed = _place_group(rng, _turn_all(hands, turn), lens, size)
    return Scene(tuple(placed), lens, arrangement, view, size)


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _sample_lens(rng: np.random.Generator, size: int) -> Lens:
    """From a telephoto lens (14 degrees) to a wide one (80)."""
    field = np.radians(np.exp(rng.uniform(np.log(14.0), np.log(80.0))))
    return Lens(float(size / 2 / np.tan(field / 2)), np.full(2, size / 2))


def _sample_hand(
    rng: np.random.Generator, side: Handedness | None = None, gesture: str | None = None
) -> SceneHand:
    """A hand at the origin, its back to the viewer."""
    side = side or ("right" if rng.integers(2) else "left")
    gesture = gesture or sample_gesture(rng)
    names = load_open_hand().shape_names
    build = sample_build(rng, names)
    angles = sample_angles(rng, gesture, load_anatomy(names))
    bent = BentHand(shape_model(build), build.shape, angles)
    place = Place(side, np.eye(3), np.zeros(3))
    return SceneHand(bent, place, gesture, build.name, _sample_wear(rng))


def _sample_wear(rng: np.random.Generator) -> Wear:
    arm = sleeve = None
    if rng.uniform() < 0.9:
        bend = np.radians([rng.normal() * 18.0, rng.normal() * 9.0])
        arm = ArmSpec(float(rng.uniform(0.28, 0.6)), bend, float(rng.uniform(0.25, 0.6)))
        if rng.uniform() < 0.5:
            begin = float(rng.choice([rng.uniform(0.0, 0.02), rng.uniform(0.02, 0.1)]))
            cuff = float(rng.uniform(0.012, 0.05)) if rng.uniform() < 0.5 else 0.0
            width = float(rng.uniform(1.14, 1.5))
            sleeve = SleeveSpec(begin, width, float(rng.uniform(0.01, 0.06)), cuff)
    kind = "" if arm is None or rng.uniform() < 0.8 else str(rng.choice(["watch", "bangle"]))
    rings = tuple(int(f) for f in range(1, 5) if rng.uniform() < 0.07)
    return Wear(arm, sleeve, kind, rings, bool(rng.uniform() < 0.14))


def _make_single(rng: np.random.Generator) -> list[SceneHand]:
    hand = _sample_hand(rng)
    if rng.uniform() >= HELD_SHARE:
        return [hand]
    held = HOLDERS[str(rng.choice(list(HOLDERS)))](rng)
    bent = close_around(hand.bent, held, load_anatomy(hand.bent.model.shape_names))
    return [replace(hand, bent=bent, held=held, gesture=f"holding_{held.name}")]


def _make_apart(rng: np.random.Generator) -> list[SceneHand]:
    first = _sample_hand(rng)
    return [first, _same_person(rng, first, _other(first.place.side))]


def _same_person(
    rng: np.random.Generator, first: SceneHand, side: Handedness, gesture: str | None = None
) -> SceneHand:
    """Another hand of the same build in the same clothes."""
    second = _sample_hand(rng, side, gesture)
    if rng.uniform() < 0.15:
        return second  # of somebody else
    bent = replace(second.bent, model=first.bent.model, shape=first.bent.shape)
    wear = replace(first.wear, ring_fingers=second.wear.ring_fingers, watch="")
    if wear.arm is not None and second.wear.arm is not None:
        wear = replace(wear, arm=second.wear.arm)
    return replace(second, bent=bent, wear=wear, build=first.build)


def _make_overlapping(rng: np.random.Generator) -> list[SceneHand]:
    """One hand in front of the other, each as it likes."""
    first = _sample_hand(rng)
    side = _other(first.place.side) if rng.uniform() < 0.8 else first.place.side
    second = _same_person(rng, first, side)
    direction = rng.uniform(0, 2 * np.pi)
    away = rng.uniform(0.05, 0.11) * (np.cos(direction) * X + np.sin(direction) * Y)
    shift = away + rng.uniform(0.06, 0.12) * Z
    turn = _sample_turn(rng, "upright")
    centre = np.array([0.0, -0.08, 0.0])
    return [first, _set(second, turn, centre + shift - turn @ centre)]


def _make_palm_to_palm(rng: np.random.Generator) -> list[SceneHand]:
    gesture = str(rng.choice(["together", "open", "spread", "cupped"]))
    return _face(rng, _sample_hand(rng, "right", gesture), 0.92, np.zeros(2))


def _make_interlaced(rng: np.random.Generator) -> list[SceneHand]:
    """Palm to palm, the fingers of each between those of the other."""
    hand = _sample_hand(rng, "right", "open")
    angles = hand.bent.angles.copy()
    bends = (rng.uniform(30, 66), rng.uniform(30, 72), rng.uniform(10, 30))
    angles[1:, :, 0] = np.radians(bends) + np.radians(4.0) * rng.normal(size=(4, 3))
    angles[1:, 0, 1] = np.radians([8, 2, -4, -10])
    slim = hand.bent.shape.copy()
    slim[hand.bent.model.shape_names.index("finger_thickness")] -= 1.0
    hand = replace(hand, bent=replace(hand.bent, angles=angles, shape=slim), gesture="interlaced")
    return _face(rng, hand, 0.55, np.array([0.010, rng.uniform(-0.006, 0.006)]))


def _face(
    rng: np.random.Generator, first: SceneHand, depth: float, offset: FloatArray
) -> list[SceneHand]:
    """The hand and its mirror image beyond the plane that its palm touches.

    depth: of the hand's own towards its palm. offset: (2,) metres of the other in that plane.
    """
    palm = first.bent.model.weights[:, 0] > 0.5
    reach = depth * float(first.bent.skin()[palm][:, 2].max())
    other = replace(first, wear=replace(first.wear, watch="", ring_fingers=()))
    noise = 0.06 * rng.normal(size=first.bent.angles.shape) * (first.bent.angles != 0.0)
    other = replace(other, bent=replace(first.bent, angles=first.bent.angles + noise))
    turned = rotation_about(Y, np.array(np.pi))
    other = replace(other, place=Place("left", turned, np.array([*offset, reach])))
    return [_set(first, np.eye(3), np.array([0.0, 0.0, -reach])), other]


def _make_palm_on_back(rng: np.random.Generator) -> list[SceneHand]:
    """A palm laid on the back of the other hand."""
    below_gesture = str(rng.choice(["together", "relaxed", "open", "fist"]))
    below = _sample_hand(rng, None, below_gesture)
    above = _same_person(
        rng, below, _other(below.place.side), str(rng.choice(["together", "relaxed"]))
    )
    turn = rotation_about(Z, np.array(rng.normal() * 0.6))
    palm = above.bent.skin()[above.bent.model.weights[:, 0] > 0.5][:, 2].max()
    back = below.bent.skin()[:, 2].min()
    centre = np.array([0.0, -0.07, 0.0])
    shift = centre + rng.normal(size=3) * (0.02, 0.02, 0.0) - turn @ centre
    shift[2] = back - 0.8 * palm
    return [below, _set(above, turn, shift)]


_MAKERS = {
    "single": _make_single,
    "apart": _make_apart,
    "overlapping": _make_overlapping,
    "palm_to_palm": _make_palm_to_palm,
    "interlaced": _make_interlaced,
    "palm_on_back": _make_palm_on_back,
}


def _other(side: Handedness) -> Handedness:
    return "left" if side == "right" else "right"


def _set(hand: SceneHand, rotation: FloatArray, shift: FloatArray) -> SceneHand:
    return replace(hand, place=replace(hand.place, rotation=rotation, shift=shift))


def _turn_all(hands: list[SceneHand], turn: FloatArray) -> list[SceneHand]:
    return [_set(h, turn @ h.place.rotation, turn @ h.place.shift) for h in hands]


def _sample_turn(rng: np.random.Generator, view: str) -> FloatArray:
    """(3, 3) how the hand is turned from fingers up, back to the viewer."""
    if view == "any":
        q = rng.normal(size=4)
        q /= np.linalg.norm(q)
        axis = q[1:] / max(float(np.linalg.norm(q[1:])), 1e-9)
        return rotation_about(axis, np.array(2 * np.arctan2(np.linalg.norm(q[1:]), q[0])))
    facing = rotation_about(Y, np.array(np.pi * rng.integers(2)))
    direction = rng.uniform(0, 2 * np.pi)
    axis = np.cos(direction) * X + np.sin(direction) * Y
    tilt = rotation_about(axis, np.array(abs(rng.normal()) * TILT))
    roll = rng.normal() * np.radians(45)
    if view == "hanging":
        roll = np.pi + rng.normal() * np.radians(25)
    elif view == "foreshortened":
        towards = np.radians(rng.uniform(45, 95)) * rng.choice([-1, 1])
        tilt = rotation_about(X, np.array(towards)) @ tilt
    elif view == "edge_on":
        tilt = tilt @ rotation_about(Y, np.array(np.pi / 2 + rng.normal() * 0.3))
    return np.asarray(rotation_about(Z, np.array(roll)) @ tilt @ facing)


def _place_group(
    rng: np.random.Generator, hands: list[SceneHand], lens: Lens, size: int
) -> list[SceneHand]:
    """The hands, moved together to where they have a random size and place in the picture."""
    wanted = size * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    centre = _sample_centre(rng, wanted, size)
    points = np.concatenate([hand.landmarks() for hand in hands])
    shift = _find_shift(points, lens, wanted, centre)
    return [_set(hand, hand.place.rotation, hand.place.shift + shift) for hand in hands]


def _sample_centre(rng: np.random.Generator, wanted: float, size: int) -> FloatArray:
    """Inside the picture with the whole hand; now and then cut off by the frame."""
    room = max(0.0, size - wanted) / 2
    centre = size / 2 + room * rng.uniform(-0.9, 0.9, 2)
    if rng.uniform() < CUT_SHARE:
        direction = rng.uniform(0, 2 * np.pi)
        out = np.array([np.cos(direction), np.sin(direction)])
        out /= np.abs(out).max()
        centre = size / 2 + out * (size / 2 - wanted * rng.uniform(-0.05, 0.28))
    return np.asarray(centre)


def _find_shift(points: FloatArray, lens: Lens, wanted: float, centre: FloatArray) -> FloatArray:
    """(3,) metres by which the points get the wanted size and centre in the picture."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    extent = float(np.ptp(points[:, :2], axis=0).max())
    deep = float(np.ptp(points[:, 2])) / 2
    distance = max(lens.focal_px * extent / wanted, deep + 2 * NEAREST_M)
    shift = -middle + (0.0, 0.0, distance)
    for _ in range(4):
        seen = lens.project(points + shift)
        low, high = seen.min(axis=0), seen.max(axis=0)
        grown = float((high - low).max()) / wanted
        distance = max(distance * grown, deep + 1.5 * NEAREST_M)
        shift[2] = distance - middle[2]
        off = (low + high) / 2 - centre
        shift[:2] -= off * distance / lens.focal_px
    return np.asarray(shift)


def _place_apart(
    rng: np.random.Generator, hands: list[SceneHand], lens: Lens, size: int
) -> list[SceneHand]:
    """Two hands side by side, or one above the other, each turned as it likes."""
    horizontal = rng.uniform() < 0.75
    wanted = size * rng.uniform(0.22, 0.44)
    placed = []
    for sign, hand in zip(rng.permutation([-1.0, 1.0]), hands, strict=True):
        turn = _sample_turn(rng, _pick(rng, VIEWS))
        across = sign * rng.uniform(0.23, 0.27)
        along = rng.uniform(-0.2, 0.2)
        place = np.array([across, along] if horizontal else [along, across])
        (hand,) = _turn_all([hand], turn)
        own = wanted * rng.uniform(0.8, 1.1)
        shift = _find_shift(hand.landmarks(), lens, own, size * (0.5 + place))
        placed.append(_set(hand, turn, shift))
    return placed


def describe_hand(hand: SceneHand) -> str:
    """Words for a prompt: "right hand holding a cup"."""
    if hand.held is not None:
        doing = hand.held.words
    elif hand.gesture == "interlaced":
        doing = "with interlaced fingers"
    else:
        doing = GESTURES[hand.gesture].words if hand.gesture in GESTURES else ""
    return f"{hand.place.side} hand {doing}".strip()
