"""What the draft must not replace.

The draft is a rendering: smooth, complete, and loved by the judge for it. It can mend the shape of
a hand, and nothing else. So it never takes the place of a hand that looks well formed and has no
finger too many, of a drawn one, of one whose outline it would not change, or of one with something
beside it that would be lost with it. Stable Diffusion paints skin, drawings and backgrounds, and is
judged by `keep_best` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from handrefiner_ext.inpaint.draft import is_drawing
from handrefiner_ext.inpaint.outlines import Outlines, compare_outlines
from handrefiner_ext.inpaint.study import study_hand
from handrefiner_ext.judge.quality import BETWEEN, MALFORMED_BELOW
from handrefiner_ext.repaint.beside import find_damage
from handrefiner_ext.repaint.keep_best import WELL_FORMED, explain_doubt
from handrefiner_ext.types import Decision, Hints, Image

DRAWN = (
    "The original was kept: it is drawn, and the draft cannot draw like its maker; "
    "Stable Diffusion can."
)
LEAST_CHANGED = 0.045
"""Squared hand sizes by which old and new outline must differ. Drafts of real malformed hands that
got better by eye changed at least 0.052; of nine drafts of well-formed hands that the judge had
called malformed or hardly well formed, seven changed at most 0.035."""
LEAST_QUALITY = 0.7
"""Quality that a draft needs. A smooth rendering looks well formed to the judge almost always. Of
six drafts below this, one was better than the hand it replaced, three were equal and two worse; of
twelve above, ten were better, two equal and none worse."""
MOST_COVERED = 0.08
"""Squared hand sizes of a draft that may lie off the old hand. Drafts that were better lay off it
by at most 0.05; one of a hand that was read wrongly by 0.12."""
FINGER_TOO_MANY, NOT_A_FINGER, MOST_BEYOND = 0.004, 0.06, 0.01
"""Squared hand sizes of old hand that shows a finger too many where the mesh explains the rest: a
fingertip at least, and less than another hand or a face; and how much of the new hand may lie off
the old one, because then the hand was read wrongly. Of 150 labelled real hands from 0.6 on, one
shows this and gains MUCH_BETTER: it has six fingers, as the example picture has."""
SURELY_MALFORMED = 0.38
"""Quality from which to MALFORMED_BELOW a hand is too doubtful for a draft; the judge's own band of
doubt begins higher. Of two drafts of such hands one was of cloth, the other gained nothing."""
SAME_OUTLINE = (
    "The original was kept: the new hand has nearly the same outline, so that the draft would only "
    "replace its skin."
)


def find_unfit(
    before: Image, after: Image, hints: Hints, judged: Sequence[Decision], guards: bool
) -> dict[int, str]:
    """Return number -> reason for the hands that a draft must not replace.

    Arguments:
        before, after: (H, W, 3), the picture and its draft.
        judged: decisions on the hands that keep_best judges; somebody posed the others.
        guards: whether what is beside the hands is guarded.
    """
    maps, meshes = hints.maps, hints.meshes
    reasons = find_damage(before, after, maps, meshes) if guards else {}
    painted = [d for d in judged if d.refined and d.number not in reasons]
    if not painted:
        return reasons
    found = (study_hand(before, mesh, maps, number) for number, mesh in enumerate(meshes))
    studies = {study.number: study for study in found if study is not None}
    # Where one hand of a picture is drawn, all are.
    if any(is_drawing(before, study) for study in studies.values()):
        return reasons | dict.fromkeys((d.number for d in painted), DRAWN)
    for decision in painted:
        study = studies.get(decision.number)
        said = study and _find_problem(decision, compare_outlines(study, after))
        if said:
            reasons[decision.number] = said
    return reasons


def _find_problem(decision: Decision, outlines: Outlines) -> str | None:
    """Return why a draft must not replace one hand, or None."""
    new = decision.quality_after
    if new is not None and new.score < LEAST_QUALITY:
        return (
            "The original was kept: the draft does not look well formed enough (quality "
            f"{new.score:.2f}); it needs {LEAST_QUALITY:g}."
        )
    quality = decision.quality_before
    if quality is not None and SURELY_MALFORMED <= quality.score < MALFORMED_BELOW:
        return explain_doubt(BETWEEN)
    if FINGER_TOO_MANY <= outlines.surplus <= NOT_A_FINGER and outlines.beyond <= MOST_BEYOND:
        return None
    if outlines.beyond > MOST_COVERED:
        return (
            "The original was kept: the draft would cover what lies beside the hand, over "
            f"{outlines.beyond:.0%} of the hand's square."
        )
    if quality is not None and quality.score >= WELL_FORMED:
        return (
            f"The original was kept: it looks well formed (quality {quality.score:.2f}), and a "
            f"draft replaces only hands below {WELL_FORMED:g} or with a finger too many."
        )
    return SAME_OUTLINE if outlines.changed < LEAST_CHANGED else None
