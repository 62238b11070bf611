"""The order in which a picture is searched, so that a clear hand pays for none of the later looks.

1. The whole picture, by the palm network, and the people and faces in it.
2. Around every wrist of a body that no hand explains yet.
3. Where nothing is found, or a wrist stays unexplained, the picture's quarters and the picture with
   a rim, then the same mirrored and smoothed.
4. Fine tiles, for small hands without a body, as `tiles` asks.

What is not clear at once is believed only if several looks agree (`views`); how many must depends
on what else speaks for it: a body's wrist, the whole picture's look, its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from handrefiner_ext.detect.flow import enlarge
from handrefiner_ext.detect.networks import HandNetworks, Palm
from handrefiner_ext.detect.people import PeopleNetworks, Surroundings, Wrist
from handrefiner_ext.detect.sightings import Sighting, is_same_hand
from handrefiner_ext.detect.views import measure_support, smooth
from handrefiner_ext.detect.windows import around_box, around_landmarks, plan_tiles
from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow, intersect
from handrefiner_ext.geometry.transforms import mirror_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Hand, Image

CLEAR_PALM, CLEAR_PRESENCE = 0.85, 0.95
"""Scores of a palm in the whole picture and of its hand from which no other look is needed."""
FAINT_HAND = 0.25
"""Presence from which a palm's window is looked at a second time."""
MOST_READINGS, MOST_FINE_READINGS = 12, 64
"""Palms of one step of the second search that are read; each costs two runs of the network."""
NEAR_WRIST, SAME_PALM = 0.6, 0.5
"""A hand belongs to a wrist if its own wrist, or its middle, lies this near, in hand sizes."""
LEAST_OF_WRIST = 0.4
"""A hand is at least this part of the size that its body suggests; fingers alone are smaller."""
GLIMPSED, IN_SIGHT = 0.1, 0.35
"""Visibility from which a wrist is looked at, and from which a hand is missed there."""
IN_FACE = 0.5
"""Part of a hand's box inside a face from which it is taken for a part of the face."""
QUARTER = 0.62
"""Side of the second search's tiles, in long sides of the picture: a third larger than a half."""
WRIST_PARTS = (2.1, 5.0)
"""Sides of the views around a wrist in the second search, in sides of its box."""
RIM = 0.25
"""Rim around a close-up whose hand is cut off by the frame, in sides of the picture."""
WORK_PX = 1536
"""Longest side at which the picture is smoothed: the filter's time grows with the pixels."""


@dataclass(frozen=True)
class Evidence:
    """What must speak for a sighting.

    presence: of the best look, where more is asked for than `presence_threshold`. support: mean
    over several looks. mean: least mean of these two and the palm's score; it is not asked for
    where both are CERTAIN.
    """

    presence: float
    support: float
    mean: float = 0.0

    def accepts(self, sighting: Sighting, support: float) -> bool:
        """Whether a sighting with that support is a hand."""
        presence = sighting.hand.score
        if presence < self.presence or support < self.support:
            return False
        mean = (presence + support + sighting.rank) / 3.0
        return mean >= self.mean or min(presence, support) >= CERTAIN


CERTAIN = 0.95
AT_WRIST = Evidence(0.0, 0.45)
IN_PICTURE = Evidence(0.0, 0.5)
IN_TILE = Evidence(0.65, 0.7, 0.82)
CLOSE_UP = Evidence(0.0, 0.22)
AGAINST_FACE = Evidence(CERTAIN, CERTAIN)
"""Chosen on real photographs, generated and drawn pictures with and without hands, see
docs/detection.md. Nine of ten real hands have a support above 0.8. Of the things in 34 pictures
without hands that scored at least 0.25 once, none reaches a mean above 0.78."""
CLOSE_UP_SIZE, CLOSE_UP_PALM = 0.15, 0.6
"""Share of the long side and palm score from which a hand in a picture without people is the
picture's subject, so that less agreement is asked for: malformed hands are seen so."""

MIDDLE, TURNS = 1.0, 8
LONE_IN_QUARTER, LONE_IN_TILE = 0.45, 0.25
"""Share of the long side from which a hand in a picture without people is its only subject, so that
quarters, and fine tiles, are not searched for others."""


@dataclass
class HandSearch:
    """One search of one picture; `found` grows from step to step."""

    networks: HandNetworks
    image: Image
    params: RefineParams
    surroundings: Surroundings = field(default_factory=Surroundings)
    found: list[Sighting] = field(default_factory=list)
    doubted: list[Sighting] = field(default_factory=list)

    def run(self, first: Sequence[Sighting], people: PeopleNetworks) -> list[Sighting]:
        """Search until nothing is missed; return the believed sightings and the doubted ones.

        first: what the whole picture's look has shown.
        """
        self.surroundings = people.look(self.image)
        self._drop_faces_on_hands(first)
        faults = [s for s in first if s.fault]
        self.consider((s for s in first if not s.fault), IN_PICTURE)
        self.search_wrists()
        tiles = self.params.tiles
        if tiles != "off" and (self.misses_something() or self.may_hide_more(LONE_IN_QUARTER)):
            self.search_again()
        if tiles == "on" or (tiles == "auto" and self.may_hide_more(LONE_IN_TILE)):
            self.search_fine_tiles()
        return [*self.found, *faults, *self.doubted]

    def _drop_faces_on_hands(self, first: Sequence[Sighting]) -> None:
        """Forget faces in the middle of a larger, clear hand: palms are taken for faces."""
        hands = [s.hand for s in first if not s.fault and s.rank >= CLEAR_PALM]
        faces = tuple(
            face for face in self._faces if not any(_is_palm_of(face, hand) for hand in hands)
        )
        self.surroundings = replace(self.surroundings, faces=faces)

    # Steps ---------------------------------------------------------------------------------

    def search_wrists(self) -> None:
        """Look around every wrist that no hand explains."""
        for wrist in self.list_unexplained(GLIMPSED):
            scales = (1.6, 2.6) if wrist.visibility >= IN_SIGHT else (2.0,)
            views = [enlarge(wrist.box, scale) for scale in scales]
            self.consider(self.sight(self.image, views), IN_TILE)

    def search_again(self) -> None:
        """Look at parts of the picture; then mirrored and smoothed, while something is missed."""
        parts = self._choose_parts()
        height, width = self.image.shape[:2]
        whole = Box(0, 0, width, height)
        rim = [] if self.found else [grow(whole, round(RIM * width), round(RIM * height))]
        self.consider(self.sight(self.image, [*rim, *parts]), IN_TILE)
        more = parts if self.found else [whole, *parts]
        if self.misses_something():
            self.consider(self.sight_mirrored(more), IN_TILE)
        if self.misses_something():
            self.consider(self.sight_smoothed(more), IN_TILE)
        if not self.found and not self.surroundings.people:
            self.consider(self.sight_close_up(), IN_TILE)

    def _choose_parts(self) -> list[Box]:
        """Return the surroundings of the unexplained wrists; the quarters where no body tells."""
        if self.found and self._has_person():
            wrists = self.list_unexplained(IN_SIGHT)
            return [enlarge(wrist.box, scale) for wrist in wrists for scale in WRIST_PARTS]
        return cut_quarters(*self.image.shape[:2])

    def search_fine_tiles(self) -> None:
        """Look for small hands without a body; a tile's look alone is worth least."""
        height, width = self.image.shape[:2]
        tiles = plan_tiles(height, width, self.params.tiles)
        threshold = self.params.detection_threshold
        palms = self.networks.find_palms(self.image, tiles, threshold, threshold)
        seen = [self._read(self.image, palm) for palm in palms[:MOST_FINE_READINGS]]
        self.consider((s for s in seen if s is not None), IN_TILE)

    def sight(self, image: Image, views: Iterable[Box]) -> list[Sighting]:
        """Read the best palms of the views, best first."""
        palms = self.networks.find_palms(image, views, self._faint_palm, self._faint_palm)
        return [s for palm in palms[:MOST_READINGS] if (s := self._read(image, palm)) is not None]

    def sight_smoothed(self, views: Sequence[Box]) -> list[Sighting]:
        """Read every palm of the views without the picture's grain and hatching."""
        height, width = self.image.shape[:2]
        shrink = min(1.0, WORK_PX / max(height, width))
        if shrink == 1.0:
            return self.sight(smooth(self.image), views)
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        seen = self.sight(
            smooth(np.asarray(small, dtype=np.uint8)),
            [Box(*(round(edge * shrink) for edge in view)) for view in views],
        )
        back = (width / size[0], height / size[1])
        return [replace(s, hand=scale_hand(s.hand, back, (height, width))) for s in seen]

    def sight_close_up(self) -> list[Sighting]:
        """Read the picture's middle as a hand in TURNS directions, without asking for a palm."""
        if self._faces:
            return []
        height, width = self.image.shape[:2]
        middle = around_box(Box(0, 0, width, height), MIDDLE)
        turned = [replace(middle, angle=2 * math.pi * n / TURNS) for n in range(TURNS)]
        best = max(
            (self.networks.read(self.image, window) for window in turned), key=lambda h: h.score
        )
        palm = Palm(CLOSE_UP_PALM, around_landmarks(best.landmarks))
        seen = self._read(self.image, palm)
        return [] if seen is None else [seen]

    def sight_mirrored(self, views: Sequence[Box]) -> list[Sighting]:
        """Read every palm of the picture's mirror image."""
        width = self.image.shape[1]
        mirrored = np.ascontiguousarray(self.image[:, ::-1])
        turned = [Box(width - v.x1, v.y0, width - v.x0, v.y1) for v in views]
        seen = self.sight(mirrored, turned)
        return [replace(s, hand=mirror_hand(s.hand, *self.image.shape[:2])) for s in seen]

    @property
    def _faint_palm(self) -> float:
        """Least score of a palm in the second search: 0.25 where the first look asks for 0.5."""
        return self.params.detection_threshold**2

    def _read(self, image: Image, palm: Palm) -> Sighting | None:
        hand = self.networks.read_closely(image, palm.roi, FAINT_HAND)
        return Sighting(hand, palm.score, from_tile=True) if hand.score > FAINT_HAND else None

    # Belief --------------------------------------------------------------------------------

    def consider(self, sightings: Iterable[Sighting], usual: Evidence) -> None:
        """Believe or doubt each sighting that shows no hand found before."""
        for sighting in sorted(sightings, key=lambda s: -s.hand.score):
            if any(is_same_hand(sighting.hand, s.hand) for s in self.found):
                continue
            needed = self.choose_evidence(sighting, usual)
            if self._is_clear(sighting, needed) or self._is_believed(sighting, needed):
                self.found.append(sighting)
            elif not sighting.from_tile:
                self.doubted.append(replace(sighting, fault=describe_doubt(needed)))

    def choose_evidence(self, sighting: Sighting, usual: Evidence) -> Evidence:
        """Return what must speak for a sighting."""
        hand = sighting.hand
        if any(belongs_to_wrist(hand, wrist) for wrist in self._list_wrists(IN_SIGHT / 2)):
            return AT_WRIST
        if any(area(intersect(hand.box, face)) > IN_FACE * area(hand.box) for face in self._faces):
            return AGAINST_FACE
        long_side = max(self.image.shape[:2])
        if (
            not self.surroundings.people
            and not self._faces
            and hand.size_px >= CLOSE_UP_SIZE * long_side
            and sighting.rank >= CLOSE_UP_PALM
        ):
            return CLOSE_UP
        return usual

    def _is_clear(self, sighting: Sighting, needed: Evidence) -> bool:
        if sighting.from_tile or needed is AGAINST_FACE:
            return False
        return sighting.rank >= CLEAR_PALM and sighting.hand.score >= CLEAR_PRESENCE

    def _is_believed(self, sighting: Sighting, needed: Evidence) -> bool:
        presence = sighting.hand.score
        if presence < needed.presence or presence <= self.params.presence_threshold:
            return False
        if sighting.rank < self._faint_palm:
            return False
        support = measure_support(self.networks, self.image, sighting.hand, needed.support)
        return needed.accepts(sighting, support)

    # What is missed ------------------------------------------------------------------------

    def misses_something(self) -> bool:
        """Whether there should be hands that are not found."""
        if not self.found:
            return True
        if self._has_person():
            return bool(self.list_unexplained(IN_SIGHT))
        # A drawn body is often not seen where its face is; then a second hand may be missed.
        return bool(self._faces) and len(self.found) < 2

    def may_hide_more(self, lone: float) -> bool:
        """Whether nothing says how many hands there are.

        That is so where no body is seen, and no hand of at least `lone` of the long side.
        """
        largest = max((s.hand.size_px for s in self.found), default=0.0)
        return not self._has_person() and largest < lone * max(self.image.shape[:2])

    def _has_person(self) -> bool:
        """Whether a body is surely one: hands alone are sometimes taken for a body, too."""
        if not self.surroundings.people:
            return False
        wrists = self._list_wrists(GLIMPSED)
        at_wrist = any(belongs_to_wrist(s.hand, w) for s in self.found for w in wrists)
        return at_wrist or bool(self._faces)

    def list_unexplained(self, least_visibility: float) -> list[Wrist]:
        """Return the wrists at which no hand is found; a hand explains one wrist, its nearest."""
        wrists = self._list_wrists(least_visibility)
        pairs = [
            (wrist_distance(s.hand, wrist), number, place)
            for number, s in enumerate(self.found)
            for place, wrist in enumerate(wrists)
            if belongs_to_wrist(s.hand, wrist)
        ]
        used: set[int] = set()
        explained: set[int] = set()
        for _, number, place in sorted(pairs):
            if number not in used and place not in explained:
                used.add(number)
                explained.add(place)
        return [wrist for place, wrist in enumerate(wrists) if place not in explained]

    def _list_wrists(self, least_visibility: float) -> list[Wrist]:
        return self.surroundings.list_wrists(least_visibility, *self.image.shape[:2])

    @property
    def _faces(self) -> tuple[Box, ...]:
        return self.surroundings.faces


def _is_palm_of(face: Box, hand: Hand) -> bool:
    x, y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    inside = hand.box.x0 <= x < hand.box.x1 and hand.box.y0 <= y < hand.box.y1
    return inside and hand.size_px > max(face.width, face.height)


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


def scale_hand(hand: Hand, factors: tuple[float, float], size: tuple[int, int]) -> Hand:
    """Return the hand in a picture of `size` (height, width) that is larger by `factors` (x, y)."""
    landmarks = hand.landmarks * np.array(factors)
    return replace(
        hand,
        landmarks=landmarks,
        landmark_depth=hand.landmark_depth * factors[0],
        box=clip(bounding_box(landmarks), *size),
    )


def cut_quarters(height: int, width: int) -> list[Box]:
    """Return overlapping tiles of QUARTER of the long side that cover the picture."""
    side = round(QUARTER * max(height, width))
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in sorted({0, max(0, height - side)})
        for x in sorted({0, max(0, width - side)})
    ]


def describe_doubt(needed: Evidence) -> str:
    """Say why a sighting is not believed."""
    if needed is AGAINST_FACE:
        return "It lies in a face, and other looks at it do not show a hand for certain."
    return "Other looks at it (mirrored, turned, smoothed) do not show the same hand."
