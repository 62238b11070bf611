"""Report what happened to every hand, as records, JSON and sentences.

The log, `_hands.json`, the API's answers, the command line's output, the infotext and the panel's
preview all come from the records below, so that a new fact is added in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from handrefiner_ext.types import (
    Agreement,
    Decision,
    FloatArray,
    HandMesh,
    Hints,
    Image,
    Quality,
    RefineResult,
    Refusal,
)

Said = Sequence[Mapping[str, Any]]
"""Hands, decisions or refusals as JSON of the API (docs/api.md)."""
NONE_FOUND = "none found"
DEPTH_IN = "depth_in"
"""What stands for the mesh's backend where the user gave the depth: the argument's name."""
EMPTY_POSE = "The pose holds no hand, so nothing is repainted."
ADVICE = "Lower the thresholds, turn tiles on, or give its box under Hand boxes."


def told(text: str, **default: Any) -> Any:
    """Return a dataclass field with the description that the API's schema shows."""
    return field(metadata={"told": text}, **default)


@dataclass(frozen=True)
class QualityReport:
    """How well formed a hand looks."""

    score: float = told("0 to 1; 0 where no hand is seen.")
    parts: dict[str, float] = told(
        "Presence, form, certainty, soundness, steadiness, anatomy; 0 to 1."
    )
    doubt: str = told("Why the judge cannot tell; empty where it can.", default="")


@dataclass(frozen=True)
class HandReport:
    """One hand; pixels, half-open boxes, pixel centres at halves."""

    number: int = told("Its number in the overlay, from 1.")
    handedness: str = told("left or right hand of the person.")
    assumed: bool = told("Whether it was not seen: a relaxed hand, put where the mask was drawn.")
    handedness_score: float = told("Certainty of the side, 0.5 to 1.")
    score: float = told("Certainty that it is a hand, 0 to 1.")
    box: list[int] = told("x0, y0, x1, y1 of its landmarks.")
    landmarks: list[list[float]] = told(
        "21 points, wrist first, then thumb to little finger, base to tip."
    )
    joints_2d: list[list[float]] = told("The same 21 points of the fitted mesh.")
    reprojection_error: float = told("Mean distance of the two, in hand sizes.")
    mesh: str = told("What reconstructed it.")
    gesture: str = told("The gesture it is given; empty where none.", default="")

    @property
    def line(self) -> str:
        """The hand's name on the command line."""
        return f"hand {self.number} ({self.handedness}{', assumed' if self.assumed else ''})"

    @property
    def words(self) -> str:
        """The hand's name in the infotext."""
        return f"{self.number} {self.handedness}{' assumed' if self.assumed else ''}"

    @property
    def panel_line(self) -> str:
        """The hand in the panel's preview."""
        fit = f"score {self.score:.2f}, fit {self.reprojection_error:.1%} of its size"
        if self.assumed:
            fit = "assumed at rest because you painted there and none was seen"
            if self.mesh == DEPTH_IN:
                fit = "from your depth map, none was seen there"
        if self.gesture:
            fit += f", gesture {self.gesture}"
        box = ", ".join(map(str, self.box))
        return f"{self.number}: {self.handedness} hand, {fit}, box {box}"


@dataclass(frozen=True)
class RefusalReport:
    """A hand left alone."""

    number: int | None = told("Its number; null where it was not counted as a hand.")
    box: list[int] = told("Where.")
    reason: str = told("Why.")

    @property
    def line(self) -> str:
        """The refusal on the command line."""
        hand = f"hand {self.number} " if self.number else ""
        return f"{hand}left alone: {self.box}: {self.reason}"

    @property
    def words(self) -> str:
        """The refusal in the infotext."""
        hand = f"{self.number} " if self.number else ""
        return f"{hand}left alone ({shorten(self.reason)})"

    @property
    def panel_line(self) -> str:
        """The refusal in the panel's preview."""
        return f"{f'{self.number}: left' if self.number else 'Left'} alone: {self.reason}"


@dataclass(frozen=True)
class DecisionReport:
    """What happened to one hand."""

    number: int = told("Number of the hand, from 1.")
    refined: bool = told("Whether it was repainted.")
    reason: str = told("Why, or why not.")
    distance_before: float | None = told(
        "Mean distance from its mesh in hand sizes; null: not found."
    )
    distance_after: float | None = told("The same afterwards.")
    distance_px_before: float | None = told("The distance in pixels.")
    distance_px_after: float | None = told("The same afterwards.")
    pck_before: float | None = told(
        "Share of landmarks within a tenth of the hand from its mesh's joints."
    )
    pck_after: float | None = told("The same afterwards.")
    strength: float | None = told("What adaptive_strength found; null where it is off.")
    candidate: int | None = told("Number of the candidate kept, from 1; null without a choice.")
    quality_before: QualityReport | None = told("Null where it was not measured.")
    quality_after: QualityReport | None = told("Of the new hand, also where it was not kept.")

    def line(self, hand: HandReport) -> str:
        """Return the decision on `hand` as the command line prints it."""
        name = hand.line
        if self.strength is not None:
            name += f" at strength {self.strength:g}"
        if self.candidate is not None:
            name += f", candidate {self.candidate}"
        if not self.refined:
            return f"{name} left alone: {self.reason}"
        before, after = map(_say_distance, (self.distance_before, self.distance_after))
        return f"{name} repainted; distance from its mesh {before} before, {after} after"

    @property
    def quality_line(self) -> str:
        """The qualities before and after, for `--eval`; empty where they were not measured."""
        measured = [q for q in (self.quality_before, self.quality_after) if q is not None]
        scores = " -> ".join(
            f"{quality.score:.2f}{' (cannot tell)' if quality.doubt else ''}"
            for quality in measured
        )
        return f"hand {self.number} quality {scores}" if scores else ""

    def words(self, hand: HandReport) -> str:
        """Return the decision on `hand` as the infotext says it."""
        if not self.refined:
            return f"{hand.words} kept ({shorten(self.reason)})"
        said = f"{hand.words} refined"
        if self.strength is not None:
            said += f" at {self.strength:g}"
        if self.candidate is not None:
            said += f" as candidate {self.candidate}"
        if self.quality_before is not None and self.quality_after is not None:
            before, after = self.quality_before.score, self.quality_after.score
            said += f" from quality {before:.2f} to {after:.2f}"
        return said


def _say_distance(mpjpe: float | None) -> str:
    return "unknown (not found)" if mpjpe is None else f"{mpjpe:.1%} of the hand"


def shorten(sentence: str) -> str:
    """Return a sentence without line breaks and final full stop, for use in parentheses."""
    return " ".join(sentence.split()).removesuffix(".")


Record = TypeVar("Record", HandReport, RefusalReport, DecisionReport)


def read(kind: type[Record], said: Mapping[str, Any]) -> Record:
    """Return a record from its JSON; fields that an older version lacks are None."""
    values: dict[str, Any] = {f.name: said.get(f.name) for f in fields(kind)}
    for name in ("quality_before", "quality_after"):
        quality = values.get(name)
        if quality is not None:
            values[name] = QualityReport(
                quality["score"], quality.get("parts", {}), quality.get("doubt", "")
            )
    return kind(**values)


# --- records of a result


def number_meshes(meshes: Sequence[HandMesh]) -> tuple[int, ...]:
    """Return the meshes' numbers as users count them; their places if the hands have none."""
    return tuple(mesh.hand.number or place for place, mesh in enumerate(meshes, start=1))


def report_hands(hints: Hints) -> list[HandReport]:
    """Return a record for every hand with a mesh, from left to right."""
    return [
        _report_hand(mesh, number)
        for mesh, number in zip(hints.meshes, number_meshes(hints.meshes), strict=True)
    ]


def report_refusals(hints: Hints) -> list[RefusalReport]:
    """Return a record for every hand left alone, those of the detection first."""
    return [
        RefusalReport(refusal.number or None, [int(v) for v in refusal.box], refusal.reason)
        for refusal in (*hints.detection.refused, *hints.refused)
    ]


def report_decision(decision: Decision, hints: Hints) -> DecisionReport:
    """Return the record of one decision."""
    before, after = decision.before, decision.after or Agreement(None, None)
    return DecisionReport(
        number=number_meshes(hints.meshes)[decision.number],
        refined=decision.refined,
        reason=decision.reason,
        distance_before=before.mpjpe,
        distance_after=after.mpjpe,
        distance_px_before=before.mpjpe_px,
        distance_px_after=after.mpjpe_px,
        pck_before=before.pck,
        pck_after=after.pck,
        strength=decision.strength,
        candidate=None if decision.candidate is None else decision.candidate + 1,
        quality_before=report_quality(decision.quality_before),
        quality_after=report_quality(decision.quality_after),
    )


def _report_hand(mesh: HandMesh, number: int) -> HandReport:
    return HandReport(
        number=number,
        handedness=mesh.handedness,
        assumed=mesh.hand.assumed,
        handedness_score=round(float(mesh.hand.handedness_score), 6),
        score=round(float(mesh.hand.score), 6),
        box=[int(v) for v in mesh.hand.box],
        landmarks=_points(mesh.hand.landmarks),
        joints_2d=_points(mesh.joints_2d),
        reprojection_error=round(float(mesh.reprojection_error), 6),
        mesh=mesh.backend,
        gesture=mesh.gesture,
    )


def _points(points: FloatArray) -> list[list[float]]:
    return [[round(float(x), 3), round(float(y), 3)] for x, y in points]


def report_quality(quality: Quality | None) -> QualityReport | None:
    """Return the record of a quality."""
    if quality is None:
        return None
    parts = {name: round(value, 4) for name, value in quality.parts.items()}
    return QualityReport(round(quality.score, 4), parts, quality.doubt)


# --- JSON


def describe_found(image: Image, hints: Hints) -> dict[str, Any]:
    """Return the picture's size, its hands, and the hands left alone with the reason."""
    height, width = image.shape[:2]
    return {
        "width": width,
        "height": height,
        "hands": [asdict(hand) for hand in report_hands(hints)],
        "skipped": [asdict(refusal) for refusal in report_refusals(hints)],
    }


def describe_hands(image: Image, hints: Hints) -> dict[str, Any]:
    """Return the same for `_hands.json`, which has never included the certainty of the side."""
    found = describe_found(image, hints)
    for hand in found["hands"]:
        del hand["handedness_score"]
    return found


def describe_decision(decision: Decision, hints: Hints) -> dict[str, Any]:
    """Return one decision for the log and the API."""
    return asdict(report_decision(decision, hints))


# --- sentences


def list_hint_lines(hints: Hints) -> list[str]:
    """Return the command line's output on refusals, uncertain overlaps and notes."""
    numbers = number_meshes(hints.meshes)
    overlaps = [
        f"hands {numbers[overlap.front]} and {numbers[overlap.back]} overlap and which is nearer "
        f"is uncertain: {overlap.reason}"
        for overlap in hints.maps.overlaps
        if not overlap.certain
    ]
    refusals = [refusal.line for refusal in report_refusals(hints)]
    return [*refusals, *overlaps, *list_note_lines(hints.notes)]


def list_decision_lines(hands: Said, decisions: Said) -> list[str]:
    """Return the command line's output on each decision."""
    found = {said["number"]: read(HandReport, said) for said in hands}
    reports = [read(DecisionReport, said) for said in decisions]
    return [report.line(found[report.number]) for report in reports]


def list_refusal_lines(skipped: Said) -> list[str]:
    """Return the command line's output on each hand left alone."""
    return [read(RefusalReport, said).line for said in skipped]


def list_quality_lines(decisions: Said) -> list[str]:
    """Return the output of `--eval` on the hands' qualities."""
    lines = [read(DecisionReport, said).quality_line for said in decisions]
    return [line for line in lines if line]


def list_note_lines(notes: Iterable[str]) -> list[str]:
    """Return the command line's output on notes."""
    return [f"note: {note}" for note in notes]


def say_result(result: RefineResult) -> str:
    """Return one line for the infotext: every hand, what was left alone, and the notes."""
    hands = report_hands(result.hints)
    words = [
        report_decision(decision, result.hints).words(hands[decision.number])
        for decision in result.decisions
    ]
    return "; ".join([*words, *say_rest(result.hints)]) or NONE_FOUND


def say_rest(hints: Hints) -> list[str]:
    """Return what the infotext says beside the hands with a mesh: refusals and notes."""
    refusals = [refusal.words for refusal in _report_distinct_refusals(hints)]
    return [*refusals, *map(shorten, hints.notes)]


def list_panel_lines(hints: Hints) -> list[str]:
    """Return the lines of the panel's preview: hands, refusals, uncertain overlaps, notes."""
    lines = [hand.panel_line for hand in report_hands(hints)]
    lines += [refusal.panel_line for refusal in report_refusals(hints)]
    lines += [overlap.reason for overlap in hints.maps.overlaps if not overlap.certain]
    lines += hints.notes
    if hints.meshes or EMPTY_POSE in hints.notes:
        return lines
    return [f"No hand was found. {ADVICE}", *lines]


def _report_distinct_refusals(hints: Hints) -> list[RefusalReport]:
    """Return each refusal once, those of the meshes first: the infotext names no boxes."""
    refusals: tuple[Refusal, ...] = (*hints.refused, *hints.detection.refused)
    distinct = {(refusal.number, refusal.reason): refusal for refusal in refusals}
    return [
        RefusalReport(refusal.number or None, [int(v) for v in refusal.box], refusal.reason)
        for refusal in distinct.values()
    ]
