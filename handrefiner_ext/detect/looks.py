"""Looks at a picture: at parts of it, mirrored, smoothed, and where a hand may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from handrefiner_ext.detect.networks import HandNetworks, Palm, PalmAnswers
from handrefiner_ext.detect.people import Wrist
from handrefiner_ext.detect.proposals import Proposal
from handrefiner_ext.detect.sightings import Sighting
from handrefiner_ext.detect.views import smooth
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.transforms import mirror_hand
from handrefiner_ext.geometry.windows import Roi, around_box, around_landmarks, turn_from_upright
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Hand, Image

FAINT_HAND = 0.25
"""Presence from which a palm's window is looked at a second time."""
MOST_READINGS = 12
"""Palms of one look that are read; each costs two runs of the landmark network."""
FAINTEST_PALM = 0.03
"""Least score of a palm that is read at all. Drawn hands score 0.03 to 0.3 where photographed ones
score 0.9, but the landmark network, once it is shown the place, reads both alike."""
FAINT_WINDOWS = ((1.4, 0.0), (1.0, 0.0), (2.0, 0.0), (1.4, math.pi / 2), (1.4, -math.pi / 2))
"""Sides (in its own) and turns of the windows of a faint palm: it often covers only a part of a
drawn hand, and its direction is often wrong."""
LEAST_GLIMPSES = (0.003, 0.03)
"""Presence that the first window, and the first two, must show for another one to be tried. Of the
faint palms of pictures without hands 41 and 17 % go on. Of 66 that the second window shows a likely
hand, all pass the first; of twelve of drawn hands that only a later one shows, nine pass both."""
LIKELY_HAND = 0.5
"""Presence from which a faint palm's hand is looked at from other sides."""
WIDER, ALIKE = 1.8, 0.97
"""How much wider a window is tried for such a hand, and the part of the presence it must reach."""
ARM_TURNS = (0.0, 0.9, -0.9)
"""Directions in which the hand at a wrist is read, radians from that of the forearm."""
ARM_WINDOW = 2.0
"""Side of the window of a wrist's hand, in hand sizes."""
WORK_PX = 1536
"""Longest side at which the picture is smoothed: the filter's time grows with the pixels."""
CLOSE_UP_PALM = 0.6
"""Palm score from which a large hand can be a close-up's subject."""
MIDDLE, BOX_WINDOW, TURNS = 1.0, 1.4, 8
"""Windows tried where no palm tells the direction: their sides, in longer sides of the picture or
of a box, and the number of turns."""
USUAL_THRESHOLD = 0.5
"""`detection_threshold` above which no faint palms are read."""


@dataclass
class Looks:
    """Looks at one picture.

    faint: the palms below `least_palm` that were seen in it. answers: see `find_palms`.
    """

    networks: HandNetworks
    image: Image
    params: RefineParams
    faint: list[Palm] = field(default_factory=list)
    answers: PalmAnswers = field(default_factory=dict)

    @property
    def least_palm(self) -> float:
        """Least score of a palm in the second search: 0.25 where the first look asks for 0.5."""
        return self.params.detection_threshold**2

    @property
    def reads_faint(self) -> bool:
        """Whether palms below that are read too: not where the user asks for surer ones."""
        return self.params.detection_threshold <= USUAL_THRESHOLD

    def sight(self, image: Image, views: Iterable[Box]) -> list[Sighting]:
        """Read the best palms of the views, best first."""
        own = image is self.image
        faintest = FAINTEST_PALM if own and self.reads_faint else self.least_palm
        answers = self.answers if own else None
        palms = self.networks.find_palms(image, views, self.least_palm, faintest, answers)
        self.faint += [palm for palm in palms if palm.score < self.least_palm]
        clear = [palm for palm in palms if palm.score >= self.least_palm][:MOST_READINGS]
        return [s for palm in clear if (s := self.read(image, palm)) is not None]

    def sight_at(self, wrist: Wrist) -> list[Sighting]:
        """Read the hand at a wrist where no palm was seen, in the directions of ARM_TURNS."""
        angle = turn_from_upright(wrist.centre - wrist.point)
        x, y = (float(v) for v in wrist.centre)
        windows = [Roi(x, y, ARM_WINDOW * wrist.size_px, angle + turn) for turn in ARM_TURNS]
        seen = (self.read(self.image, Palm(0.0, window)) for window in windows)
        return [self.centre(sighting) for sighting in seen if sighting is not None]

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
        height, width = self.image.shape[:2]
        middle = around_box(Box(0, 0, width, height), MIDDLE)
        best = read_turned(self.networks, self.image, middle)
        seen = self.read(self.image, Palm(CLOSE_UP_PALM, around_landmarks(best.landmarks)))
        return [] if seen is None else [seen]

    def sight_proposed(self, proposal: Proposal) -> Sighting:
        """Read the hand in a proposed box; it may have hardly any presence."""
        best = read_turned(self.networks, self.image, around_box(proposal.box, BOX_WINDOW))
        seen = self.read(self.image, Palm(proposal.score, around_landmarks(best.landmarks)))
        if seen is None:
            return Sighting(replace(best, score=0.0), proposal.score, from_tile=True)
        return self.centre(seen)

    def sight_mirrored(self, views: Sequence[Box]) -> list[Sighting]:
        """Read every palm of the picture's mirror image."""
        width = self.image.shape[1]
        mirrored = np.asarray(cv2.flip(self.image, 1), dtype=np.uint8)
        turned = [Box(width - v.x1, v.y0, width - v.x0, v.y1) for v in views]
        seen = self.sight(mirrored, turned)
        return [replace(s, hand=mirror_hand(s.hand, *self.image.shape[:2])) for s in seen]

    def read(self, image: Image, palm: Palm) -> Sighting | None:
        """Read the hand of a palm, None where there is none."""
        hand = self.networks.read_closely(image, palm.roi, FAINT_HAND)
        return Sighting(hand, palm.score, from_tile=True) if hand.score > FAINT_HAND else None

    def read_faint(self, palm: Palm) -> Sighting | None:
        """Read a faint palm through FAINT_WINDOWS until one shows a likely hand."""
        best = 0.0
        for number, (size, turn) in enumerate(FAINT_WINDOWS):
            if 0 < number <= len(LEAST_GLIMPSES) and best < LEAST_GLIMPSES[number - 1]:
                return None
            roi = replace(palm.roi, side=size * palm.roi.side, angle=palm.roi.angle + turn)
            hand = self.networks.read_closely(self.image, roi, FAINT_HAND)
            if hand.score >= LIKELY_HAND:
                return Sighting(hand, palm.score, from_tile=True)
            best = max(best, hand.score)
        return None

    def centre(self, sighting: Sighting) -> Sighting:
        """Read a hand once more through the window of its landmarks, and through a wider one.

        Without a palm's window the fingers alone are often read as a hand. The larger reading wins
        if it is as certain.
        """
        window = around_landmarks(sighting.hand.landmarks)
        again = self.networks.read(self.image, window)
        best = again if again.score > sighting.hand.score else sighting.hand
        window = around_landmarks(best.landmarks)
        wide = self.networks.read_closely(
            self.image, replace(window, side=WIDER * window.side), LIKELY_HAND
        )
        if wide.score >= ALIKE * best.score and wide.size_px > best.size_px:
            best = wide
        return replace(sighting, hand=best)


def read_turned(networks: HandNetworks, image: Image, window: Roi) -> Hand:
    """Return the reading with the most presence through a window turned in TURNS directions."""
    turns = (2 * math.pi * turn / TURNS for turn in range(TURNS))
    seen = (networks.read(image, replace(window, angle=angle)) for angle in turns)
    return max(seen, key=lambda hand: hand.score)


def scale_hand(hand: Hand, factors: tuple[float, float], size: tuple[int, int]) -> Hand:
    """Return the hand in a picture of `size` (height, width) that is larger by `factors` (x, y)."""
    landmarks = hand.landmarks * np.array(factors)
    return replace(
        hand,
        landmarks=landmarks,
        landmark_depth=hand.landmark_depth * factors[0],
        box=clip(bounding_box(landmarks), *size),
    )
