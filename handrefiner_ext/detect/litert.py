"""The detector `litert`: MediaPipe's hand networks run by LiteRT, without mediapipe or protobuf.

Windows and units are those of MediaPipe's hand graphs, so that both detectors agree. Palms are
searched for in the picture and its tiles. The landmark network then looks at every palm in the full
picture, so that no tile's edge cuts a hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from handrefiner_ext.detect import flow
from handrefiner_ext.detect.looks import BOX_WINDOW, read_turned
from handrefiner_ext.detect.networks import HandNetworks, Palm, PalmAnswers
from handrefiner_ext.detect.people import PeopleNetworks
from handrefiner_ext.detect.proposals import Proposal
from handrefiner_ext.detect.searching import HandSearch
from handrefiner_ext.detect.sightings import Sighting, build_detection
from handrefiner_ext.detect.views import examine, reread
from handrefiner_ext.geometry.windows import around_box, around_landmarks
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Detection, Hand, Image, View

MOST_FAINT = 3
"""Most palms below the threshold that are looked at."""


class LitertDetector:
    """Finds hands with the palm and landmark networks of MediaPipe."""

    name = "litert"

    def __init__(self) -> None:
        self._networks = HandNetworks()

    def detect(self, image: Image, params: RefineParams) -> Detection:
        """Find the hands in `image`, or one in each of the user's boxes."""
        if params.boxes:
            return flow.detect(self, image, params)
        height, width = image.shape[:2]
        answers: PalmAnswers = {}
        first = self._scan(image, [Box(0, 0, width, height)], params, answers)
        proposals = self.propose(image, params)
        search = HandSearch(self._networks, image, params, proposals=proposals, answers=answers)
        seen = search.run(first, self._people)
        found = build_detection(seen, height, width, params)
        return replace(found, faces=search.surroundings.faces)

    def propose(self, image: Image, params: RefineParams) -> list[Proposal]:
        """Return boxes in which another network sees hands; there is none here."""
        return []

    @cached_property
    def _people(self) -> PeopleNetworks:
        """Loaded when first needed: boxes of the user need none."""
        return PeopleNetworks()

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Find each hand again near its old place; None for one that is not there."""
        return flow.redetect(self, image, hands, params)

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        """Read a hand again through turned and wider windows."""
        return reread(self._networks, image, hand, params.presence_threshold)

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Read the hand in other views with the landmark network alone; no palm is searched for."""

        def look(square: Image, expected: Hand) -> Hand | None:
            seen = self._networks.read(square, around_landmarks(expected.landmarks))
            return seen if seen.score > flow.FAINT_PRESENCE else None

        return examine(image, hand, views, look)

    def scan(self, image: Image, views: list[Box], params: RefineParams) -> list[Sighting]:
        """See `flow.SearchSteps`."""
        return self._scan(image, views, params, {})

    def _scan(
        self, image: Image, views: list[Box], params: RefineParams, answers: PalmAnswers
    ) -> list[Sighting]:
        threshold = params.detection_threshold
        palms = self._networks.find_palms(image, views, threshold, flow.FAINT_SCORE, answers)
        clear = [palm for palm in palms if palm.score >= threshold]
        faint = [palm for palm in palms if palm.score < threshold][:MOST_FAINT]
        seen = [
            s for palm in clear if _is_worth_reporting(s := self._sight(image, palm, params), palm)
        ]
        doubtful = (_as_faint(self._sight(image, palm, params), threshold) for palm in faint)
        return [*seen, *(s for s in doubtful if s.hand.score > params.presence_threshold)]

    def look_into(self, image: Image, box: Box, params: RefineParams) -> list[Sighting]:
        """See `flow.SearchSteps`. If no palm is found, the box itself is the window."""
        views = [flow.enlarge(box, scale) for scale in flow.BOX_VIEWS]
        palms = self._networks.find_palms(image, views, flow.FAINT_SCORE, flow.FAINT_SCORE)
        seen = [self._sight(image, palm, params) for palm in palms]
        if any(not s.fault and flow.belongs_to(s.hand, box) for s in seen):
            return seen
        return [*seen, self._sight(image, self._guess_palm(image, box), params)]

    def look_again(self, image: Image, old: Hand, params: RefineParams) -> list[Hand]:
        """See `flow.SearchSteps`. The old landmarks give the window only if no palm does."""
        view = flow.enlarge(old.box, flow.NEARBY_VIEW)
        found = self._networks.find_palms(image, [view], flow.FAINT_SCORE, flow.FAINT_SCORE)
        presence = params.presence_threshold
        seen = [self._networks.read_closely(image, palm.roi, presence) for palm in found]
        near = [h for h in seen if flow.distance(old, h) < flow.STILL_THERE]
        if not any(h.score > presence for h in near):
            window = around_landmarks(old.landmarks)
            seen.append(self._networks.read_closely(image, window, presence))
        return [hand for hand in seen if hand.score > presence]

    def _sight(self, image: Image, palm: Palm, params: RefineParams) -> Sighting:
        threshold = params.presence_threshold
        for window in (palm.roi, *palm.alternatives):
            hand = self._networks.read_closely(image, window, threshold)
            if hand.score > threshold:
                return Sighting(hand, palm.score, from_tile=palm.view > 0)
        fault = f"The hand's presence {hand.score:.2f} is not above presence_threshold"
        return Sighting(hand, palm.score, f"{fault} {threshold:g}.")

    def _guess_palm(self, image: Image, box: Box) -> Palm:
        """Turn the box to where it looks most like a hand; return the window of its landmarks."""
        best = read_turned(self._networks, image, around_box(box, BOX_WINDOW))
        return Palm(0.0, around_landmarks(best.landmarks))


def _is_worth_reporting(sighting: Sighting, palm: Palm) -> bool:
    return not sighting.fault or palm.view == 0 or sighting.hand.score >= flow.FAINT_PRESENCE


def _as_faint(sighting: Sighting, threshold: float) -> Sighting:
    reason = f"The palm's score {sighting.rank:.2f} is below detection_threshold {threshold:g}."
    return replace(sighting, fault=reason)
