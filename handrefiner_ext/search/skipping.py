"""Well-formed hands are left alone: what is good already can only get worse."""

from __future__ import annotations

from handrefiner_ext.search.task import Task


def leave_good_hands(task: Task) -> Task:
    """The task without the hands whose quality is at least `skip_good`; 0 leaves none out."""
    least = task.params.skip_good
    if not least:
        return task
    qualities = task.rate(task.image, True)
    reasons = {
        number: f"It looks well formed: its quality {quality.score:.2f} is at least skip_good "
        f"{least:g}."
        for number, quality in enumerate(qualities)
        if quality.score >= least
    }
    return task.without(reasons) if reasons else task
