"""The order in which a picture is searched, so that a clear hand pays for none of the later looks.

1. The whole picture, by the palm network, and the people and faces in it; then the boxes that
   another network proposes (`yolo`).
2. Around every wrist of a body that no hand explains yet; then the landmark network reads the wrist
   itself.
3. Where nothing is found, or a wrist stays unexplained, or a face has fewer than two hands, the
   picture's quarters and the picture with a rim. Then what hardly looks like a palm there is read,
   as drawn hands do. Where still nothing is found, the same views mirrored and smoothed.
4. Fine tiles, for small hands without a body, as `tiles` asks.

What is not clear at once is believed only if several looks agree (`views`); how many must depends
on what else speaks for it: a body's wrist, the whole picture's look, its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from handrefiner_ext.detect.flow import belongs_to, enlarge
from handrefiner_ext.detect.looks import CLOSE_UP_PALM, LIKELY_HAND, Looks
from handrefiner_ext.detect.networks import HandNetworks, Palm, PalmAnswers
from handrefiner_ext.detect.people import (
    PeopleNetworks,
    Surroundings,
    Wrist,
    belongs_to_face,
    belongs_to_wrist,
    is_palm_of,
    side_odds,
    with_ears,
    wrist_distance,
)
from handrefiner_ext.detect.proposals import Proposal
from handrefiner_ext.detect.sightings import Sighting, is_same_hand, temper_side
from handrefiner_ext.detect.tiles import plan_tiles
from handrefiner_ext.detect.views import (
    AGAINST_FACE,
    AT_WRIST,
    CLOSE_UP,
    IN_PICTURE,
    IN_TILE,
    LANDMARKS_ALONE,
    LANDMARKS_AT_WRIST,
    NEAR_FACE,
    PROPOSED,
    Evidence,
    describe_doubt,
    measure_support,
)
from handrefiner_ext.geometry.boxes import area, grow, intersect
from handrefiner_ext.geometry.probability import log_odds, logistic
from handrefiner_ext.geometry.windows import Roi, Tolerance, around_landmarks
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Hand, Handedness, Image

CLEAR_PALM, CLEAR_PRESENCE = 0.85, 0.95
"""Scores of a palm in the whole picture and of its hand from which no other look is needed."""
MOST_FINE_READINGS, MOST_FAINT_READINGS = 64, 24
"""Palms of the fine tiles, and faint palms, that are read; each costs two runs of the network."""
MORE_FAINT_READINGS = 32
"""Faint palms that are read where a hand is found already, so that a second one is likely."""
ALIKE = Tolerance(place=0.25, size=1.5, turn=0.8)
"""Windows that differ by less are alike to the landmark network, which forgives much."""
SAME_WINDOW = 0.35
"""Distance, in hand sizes, within which a faint palm is one that was found before."""
GLIMPSED, IN_SIGHT = 0.1, 0.35
"""Visibility from which a wrist is looked at, and from which a hand is missed there."""
EDGE_OF_SIDE = 0.01
"""A certainty of the side nearer to 0 or 1 than this counts as this."""
NARROWEST = 0.2
"""Least ratio of the sides of a hand's box; a flat hand seen from its edge has 0.25."""
IN_FACE = 0.5
"""Part of a hand's box inside a face from which it is taken for a part of the face."""
QUARTER = 0.62
"""Side of the second search's tiles, in long sides of the picture: a third larger than a half."""
WRIST_PARTS = (2.1, 5.0)
"""Sides of the views around a wrist in the second search, in sides of its box."""
RIM = 0.25
"""Rim around a close-up whose hand is cut off by the frame, in sides of the picture."""
CLOSE_UP_SIZE = 0.15
"""Share of the long side from which a hand in a picture without people is its subject, so that less
agreement is asked for: malformed hands are seen so."""
SUBJECT_SIZE, SUBJECT_PRESENCE, SUBJECT_SUPPORT = 0.35, 0.65, 0.28
"""What makes the middle of a picture without faces, in which nothing else is found, a hand: its
size in long sides, its presence in parts of `presence_threshold`, and its support. Of 80 pictures
without hands one shows any presence there, with a support of 0.05; of 11 close-ups of lumps that
should be hands, 7 pass."""
LONE_IN_QUARTER, LONE_IN_TILE = 0.45, 0.25
"""Share of the long side from which a hand in a picture without people is its only subject, so that
quarters, and fine tiles, are not searched for others."""


WORTH_REPORTING = 0.5
"""Score from which a proposed box in which no hand is read is reported as left alone."""
UNREAD = "A hand detector sees a hand here, but its fingers cannot be read well enough."


@dataclass
class HandSearch:
    """One search of one picture; `found` grows from step to step.

    answers: of the palm network, to views of the picture that it has been shown.
    """

    networks: HandNetworks
    image: Image
    params: RefineParams
    surroundings: Surroundings = field(default_factory=Surroundings)
    found: list[Sighting] = field(default_factory=list)
    doubted: list[Sighting] = field(default_factory=list)
    proposals: Sequence[Proposal] = ()
    answers: PalmAnswers = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.looks = Looks(self.networks, self.image, self.params, answers=self.answers)

    def run(self, first: Sequence[Sighting], people: PeopleNetworks) -> list[Sighting]:
        """Search until nothing is missed; return the believed sightings and the doubted ones.

        first: what the whole picture's look has shown.
        """
        self.surroundings = people.look(self.image)
        self._drop_faces_on_hands(first)
        faults = [s for s in first if s.fault]
        self.consider((s for s in first if not s.fault), IN_PICTURE)
        self.search_proposals()
        self.search_wrists()
        tiles = self.params.tiles
        if tiles != "off" and (self.misses_something() or self.may_hide_more(LONE_IN_QUARTER)):
            self.search_again()
        if tiles == "on" or (tiles == "auto" and self.may_hide_more(LONE_IN_TILE)):
            self.search_fine_tiles()
        return [*map(self._with_side, self.found), *faults, *self.doubted]

    def _drop_faces_on_hands(self, first: Sequence[Sighting]) -> None:
        """Forget faces in the middle of a larger, clear hand: palms are taken for faces."""
        hands = [s.hand for s in first if not s.fault and s.rank >= CLEAR_PALM]

        def keep(faces: tuple[Box, ...]) -> tuple[Box, ...]:
            return tuple(face for face in faces if not any(is_palm_of(face, h) for h in hands))

        self.surroundings = replace(
            self.surroundings,
            faces=keep(self._faces),
            likely_faces=keep(self.surroundings.likely_faces),
        )

    def _with_side(self, sighting: Sighting) -> Sighting:
        """Weigh what the body says of a hand's side against what the landmark network says."""
        hand = temper_side(sighting.hand)
        body = side_odds(hand, self._list_wrists(GLIMPSED))
        if not body:
            return replace(sighting, hand=hand)
        own = log_odds(hand.handedness_score, EDGE_OF_SIDE)
        right = body + (own if hand.handedness == "right" else -own)
        side: Handedness = "right" if right > 0.0 else "left"
        weighed = replace(hand, handedness=side, handedness_score=logistic(abs(right)))
        return replace(sighting, hand=weighed)

    # Steps ---------------------------------------------------------------------------------

    def search_proposals(self) -> None:
        """Read the boxes in which another network sees hands that are not found yet."""
        for proposal in self.proposals:
            if any(belongs_to(s.hand, proposal.box) for s in self.found):
                continue
            sighting = self.looks.sight_proposed(proposal)
            known = len(self.found)
            if belongs_to(sighting.hand, proposal.box):
                self.consider([sighting], PROPOSED)
            if len(self.found) == known and proposal.score >= WORTH_REPORTING:
                hand = replace(sighting.hand, box=proposal.box)
                self.doubted.append(replace(sighting, hand=hand, fault=UNREAD))

    def search_wrists(self) -> None:
        """Look around every wrist that no hand explains."""
        for wrist in self.list_unexplained(GLIMPSED):
            scales = (1.6, 2.6) if wrist.visibility >= IN_SIGHT else (2.0,)
            views = [enlarge(wrist.box, scale) for scale in scales]
            self.consider(self.looks.sight(self.image, views), IN_TILE)
        for wrist in self.list_unexplained(GLIMPSED) if self.looks.reads_faint else ():
            self.consider(self.looks.sight_at(wrist), LANDMARKS_ALONE)

    def search_again(self) -> None:
        """Look at parts of the picture, at its faint palms, and then mirrored and smoothed."""
        parts = self._choose_parts()
        height, width = self.image.shape[:2]
        whole = Box(0, 0, width, height)
        rim = grow(whole, round(RIM * width), round(RIM * height))
        self.consider(self.looks.sight(self.image, [whole, rim, *parts]), IN_TILE)
        if self.misses_something() and self.looks.reads_faint:
            self.search_faint_palms()
        if not self.found:
            self.consider(self.looks.sight_mirrored([whole, *parts]), IN_TILE)
        if not self.found:
            self.consider(self.looks.sight_smoothed([whole, *parts]), IN_TILE)
        if not self.found and not self._faces:
            self.search_middle()

    def search_middle(self) -> None:
        """Take the picture for a close-up of one hand, which may be drawn too badly for a palm."""
        least = SUBJECT_PRESENCE * self.params.presence_threshold
        for sighting in self.looks.sight_close_up():
            hand = sighting.hand
            large = hand.size_px >= SUBJECT_SIZE * max(self.image.shape[:2])
            support = measure_support(self.networks, self.image, hand, SUBJECT_SUPPORT)
            if large and hand.score >= least and support >= SUBJECT_SUPPORT:
                self.found.append(sighting)
            elif not self.surroundings.people:
                self.consider([sighting], IN_TILE)

    def search_faint_palms(self) -> None:
        """Read what hardly looks like a palm, most likely first, until nothing is missed."""
        if self.found and self._has_person():
            return  # the palm and the landmark network have looked at the wrists themselves
        if any(s.rank >= CLEAR_PALM for s in self.found):
            return  # the palm network sees the hands of this picture
        most = MORE_FAINT_READINGS if self.found else MOST_FAINT_READINGS
        tried: list[Roi] = []
        for palm in sorted(self.looks.faint, key=lambda p: -p.score):
            if len(tried) >= most or not self.misses_something():
                return
            if self._is_known(palm.roi) or any(ALIKE.allows(palm.roi, window) for window in tried):
                continue
            tried.append(palm.roi)
            self.consider(self._read_faint(palm), LANDMARKS_ALONE)

    def _read_faint(self, palm: Palm) -> list[Sighting]:
        """Read a faint palm; nothing where its hand is found already."""
        seen = self.looks.read_faint(palm)
        if seen is None:
            return []
        better = self.looks.centre(seen)
        return [] if self._is_known(around_landmarks(better.hand.landmarks)) else [better]

    def _is_known(self, window: Roi) -> bool:
        """Whether a window shows the middle of a hand that is found already."""
        place = np.array([window.center_x, window.center_y])
        return any(
            float(np.linalg.norm(s.hand.landmarks.mean(axis=0) - place))
            < SAME_WINDOW * s.hand.size_px
            for s in self.found
        )

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
        seen = [self.looks.read(self.image, palm) for palm in palms[:MOST_FINE_READINGS]]
        self.consider((s for s in seen if s is not None), IN_TILE)

    # Belief --------------------------------------------------------------------------------

    def consider(self, sightings: Iterable[Sighting], usual: Evidence) -> None:
        """Believe or doubt each sighting that shows no hand found before."""
        for sighting in sorted(sightings, key=lambda s: -s.hand.score):
            if _is_sliver(sighting.hand) or any(
                is_same_hand(sighting.hand, s.hand) for s in self.found
            ):
                continue
            needed = self.choose_evidence(sighting, usual)
            if self._is_clear(sighting, needed) or self._is_believed(sighting, needed):
                self.found.append(sighting)
            elif LIKELY_HAND <= sighting.hand.score < needed.presence and (
                better := self._read_better(sighting, usual)
            ):
                self.found.append(better)
            elif not sighting.from_tile:
                self.doubted.append(replace(sighting, fault=describe_doubt(needed)))

    def _read_better(self, sighting: Sighting, usual: Evidence) -> Sighting | None:
        """Read a likely hand through the window of its landmarks; None if it is not believed."""
        better = self.looks.centre(sighting)
        if any(is_same_hand(better.hand, s.hand) for s in self.found):
            return None
        return better if self._is_believed(better, self.choose_evidence(better, usual)) else None

    def choose_evidence(self, sighting: Sighting, usual: Evidence) -> Evidence:
        """Return what must speak for a sighting."""
        hand = sighting.hand
        faint = sighting.rank < self.looks.least_palm
        if any(belongs_to_wrist(hand, wrist) for wrist in self._list_wrists(IN_SIGHT / 2)):
            if not faint:
                return AT_WRIST
            if sighting.rank == 0.0:
                return LANDMARKS_AT_WRIST
        if any(area(intersect(hand.box, face)) > IN_FACE * area(hand.box) for face in self._faces):
            return AGAINST_FACE
        if usual not in (IN_PICTURE, PROPOSED) and self._belongs_to_face(hand):
            return NEAR_FACE
        long_side = max(self.image.shape[:2])
        if (
            not self.surroundings.people
            and not self._faces
            and hand.size_px >= CLOSE_UP_SIZE * long_side
            and sighting.rank >= CLOSE_UP_PALM
        ):
            return CLOSE_UP
        return usual

    def _belongs_to_face(self, hand: Hand) -> bool:
        faces = self.surroundings.likely_faces
        beside = any(
            area(intersect(hand.box, with_ears(face))) > IN_FACE * area(hand.box) for face in faces
        )
        return not beside and any(belongs_to_face(hand, face) for face in faces)

    def _is_clear(self, sighting: Sighting, needed: Evidence) -> bool:
        if sighting.from_tile or needed is AGAINST_FACE:
            return False
        return sighting.rank >= CLEAR_PALM and sighting.hand.score >= CLEAR_PRESENCE

    def _is_believed(self, sighting: Sighting, needed: Evidence) -> bool:
        presence = sighting.hand.score
        if presence < needed.presence or presence <= self.params.presence_threshold:
            return False
        if sighting.rank < self.looks.least_palm and not self.looks.reads_faint:
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
        return len(self.found) < 2 * len(self.surroundings.likely_faces)

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


def _is_sliver(hand: Hand) -> bool:
    """Whether too narrow a strip of the hand lies in the picture for it to be one."""
    short, long = sorted((hand.box.width, hand.box.height))
    return short < NARROWEST * long


def cut_quarters(height: int, width: int) -> list[Box]:
    """Return overlapping tiles of QUARTER of the long side that cover the picture."""
    side = round(QUARTER * max(height, width))
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in sorted({0, max(0, height - side)})
        for x in sorted({0, max(0, width - side)})
    ]
