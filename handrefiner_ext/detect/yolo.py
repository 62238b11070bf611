"""The detector `yolo`: today's search, and a hand detector of the user's that proposes boxes.

The palm network knows photographed palms. A YOLO network that has learnt drawn hands sees what it
misses; a box of it is believed only if the landmark network reads a hand there (`PROPOSED`).
"""

from __future__ import annotations

import logging
from pathlib import Path

from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.detect.proposals import (
    Letterbox,
    Proposal,
    decode,
    list_hand_classes,
    to_proposals,
)
from handrefiner_ext.detect.yolo_networks import YoloNetwork, open_network
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pickles import printable
from handrefiner_ext.types import Image, ModelHome
from handrefiner_ext.weights import find
from handrefiner_ext.weights.manifest import ADETAILER_HANDS, ANIME_HANDS

FILES = (ANIME_HANDS, *ADETAILER_HANDS)
"""The best for drawn hands first; the first that can be used is used."""
LEAST_SCORE = 0.6
"""Least score of a box in parts of `detection_threshold`: 0.3 by default, as ADetailer has it."""

TOLD: set[str] = set()
"""Reasons that the log holds already."""

logger = logging.getLogger(__name__)


class YoloDetector(LitertDetector):
    """Finds hands as `litert` does, and where a YOLO network sees some."""

    name = "yolo"

    def __init__(self, home: ModelHome | None = None) -> None:
        self._yolo = _open_first(home or ModelHome())
        super().__init__()
        logger.info("Hands are also searched for with %s.", self._yolo.origin)

    def propose(self, image: Image, params: RefineParams) -> list[Proposal]:
        """Return the boxes in which the network sees hands, best first."""
        height, width = image.shape[:2]
        frame = Letterbox.around(image, self._yolo.side)
        output = self._yolo.run(frame.enter(image))
        least = LEAST_SCORE * params.detection_threshold
        boxes, scores = decode(output, self._yolo.names, least)
        return to_proposals(frame.leave(boxes), scores, height, width)


def _open_first(home: ModelHome) -> YoloNetwork:
    """Load the first file of FILES that is here and can be used."""
    places = [find(file.name, home.models_dir) for file in FILES]
    reasons = []
    for path in [place for place in places if place is not None]:
        try:
            return _open_checked(path, home)
        except BackendUnavailable as error:
            reasons.append(str(error))
            if reasons[-1] not in TOLD:  # `auto` tries again with every picture
                TOLD.add(reasons[-1])
                logger.warning("%s", error)
    if reasons:
        raise BackendUnavailable(" ".join(reasons))
    raise BackendUnavailable(
        "The detector yolo needs a hand detector's file, and none is here; run: handrefiner "
        "weights download anime_hands, or put ADetailer's hand_yolov8n.pt into the models folder."
    )


def _open_checked(path: Path, home: ModelHome) -> YoloNetwork:
    """Load a network; BackendUnavailable if it is none that finds hands."""
    network = open_network(path, home)
    if not list_hand_classes(network.names):
        others = printable(", ".join(network.names.values()))
        raise BackendUnavailable(f"{path} finds {others}, but no hands.")
    return network
