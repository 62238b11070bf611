"""From what was seen in real pictures to figures, tables and what they must reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from real_labels import Label, Pair
from real_looks import Cost, Look, Repair, Verdict
from report import Target, print_table

Seen = list[tuple[str, Any, Any]]
"""(part, label or pair, what was seen)."""
Report = tuple[dict[str, float], list[Target]]

ABSTAINED = 0.5
GOOD_FROM = 0.5
"""Quality from which a hand counts as well formed."""
FOUND_AIMS = {"photo": 0.98, "ai": 0.93, "anime": 0.80}


class Rated(NamedTuple):
    """A close-up, and what was seen in it."""

    label: Label
    look: Look

    @property
    def quality(self) -> float:
        known = self.look.quality
        return ABSTAINED if known is None or self.look.abstained else known

    @property
    def is_abstention(self) -> bool:
        """Whether the hand was found but its quality is not known."""
        return bool(self.look.found) and (self.look.quality is None or self.look.abstained)


def area_under_curve(good: Sequence[float], bad: Sequence[float]) -> float:
    """Chance that one of `bad` is below one of `good`; equal ones count half."""
    if not good or not bad:
        return math.nan
    better, worse = np.array(good)[:, None], np.array(bad)[None]
    return float((better > worse).mean() + 0.5 * (better == worse).mean())


def share(flags: Iterable[object]) -> float:
    """Part of them that is true; NaN of none."""
    known = [bool(flag) for flag in flags]
    return sum(known) / len(known) if known else math.nan


def show_share(flags: Sequence[object]) -> str:
    return f"{share(flags):.1%} of {len(flags)}" if flags else "-"


def take(seen: Seen, kind: type, *parts: str) -> list[tuple[Any, Any]]:
    """(label or pair, result) of these parts, in which the result is of this kind."""
    return [(what, got) for part, what, got in seen if part in parts and isinstance(got, kind)]


def aim(
    name: str, value: float, limit: float, unit: str = "", at_most: bool = False
) -> list[Target]:
    """The target, where it was measured."""
    return [] if math.isnan(value) else [Target(name, value, limit, unit, at_most)]


def report_whole(seen: Seen) -> Report:
    """Hands found and false hands per picture, by style."""
    looks: list[tuple[Label, Look]] = take(seen, Look, "whole", "none")
    styles = list(dict.fromkeys(label.style for label, _ in looks))
    figures: dict[str, float] = {}
    targets: list[Target] = []
    rows = []
    for style in [*styles, *(["all"] if styles else [])]:
        some = [(label, look) for label, look in looks if style in (label.style, "all")]
        hands = sum(label.hands for label, _ in some)
        found, false = (sum(getattr(look, name) for _, look in some) for name in ("found", "false"))
        figures[f"whole_{style}_found"] = found / hands if hands else math.nan
        figures[f"whole_{style}_false"] = false / len(some)
        rows.append((style, len(some), f"{found}/{hands}", false, f"{false / len(some):.3f}"))
        if style in FOUND_AIMS:
            name = f"whole_{style}_found"
            targets += aim(f"Found in whole pictures, {style}", figures[name], FOUND_AIMS[style])
    if rows:
        print_table("Whole pictures", ("", "pictures", "found", "false", "per picture"), rows)
        targets += aim("False hands per picture", figures["whole_all_false"], 0.03, at_most=True)
    return figures, targets


def rated(seen: Seen, *parts: str) -> list[Rated]:
    return [Rated(*row) for row in take(seen, Look, *parts)]


def report_close_ups(seen: Seen) -> Report:
    """Close-ups, pairs among them: found and side right, by style and label."""
    every = rated(seen, "singles", "pairs")
    figures: dict[str, float] = {}
    targets: list[Target] = []
    rows = []
    styles = list(dict.fromkeys(row.label.style for row in every))
    labels = sorted({row.label.label for row in every})
    for style, label in product([*styles, "all"], [*labels, "all"]):
        some = [
            r for r in every if style in (r.label.style, "all") and label in (r.label.label, "all")
        ]
        if not some:
            continue
        found = [row.look.found > 0 for row in some]
        sided = [r.look.side == r.label.side for r in some if r.label.side and r.look.side]
        figures[f"close_{style}_{label}_found"] = share(found)
        figures[f"close_{style}_{label}_side"] = share(sided)
        rows.append((style, label, show_share(found), show_share(sided)))
        if label == "all" and style != "all":
            targets += aim(f"Found close-ups, {style}", share(found), 0.92)
    if rows:
        print_table("Close-ups, those of the pairs too", ("", "", "found", "side right"), rows)
    value = {
        name: figures.get(f"close_all_{name}", math.nan)
        for name in ("malformed_found", "malformed_side", "good_side")
    }
    targets += aim("Found close-ups, malformed", value["malformed_found"], 0.90)
    targets += aim("Side right, malformed", value["malformed_side"], 0.90)
    targets += aim("Side right, good", value["good_side"], 1.0)
    return figures, targets


def report_quality(seen: Seen) -> Report:
    """Quality of malformed hands against good ones: close-ups, pairs, both, and by style."""
    singles, pairs = rated(seen, "singles"), rated(seen, "pairs")
    styles = list(dict.fromkeys(row.label.style for row in singles))
    groups = {"singles": singles, "pairs": pairs, "all": [*singles, *pairs]}
    groups |= {style: [row for row in singles if row.label.style == style] for style in styles}
    figures: dict[str, float] = {}
    targets: list[Target] = []
    rows = []
    for name, some in groups.items():
        good, bad = ([r for r in some if r.label.label == k] for k in ("good", "malformed"))
        if not good and not bad:
            continue
        area = area_under_curve([r.quality for r in good], [r.quality for r in bad])
        unknown = share(r.is_abstention for r in (*good, *bad))
        low, low_bad = (share(r.quality < GOOD_FROM for r in kind) for kind in (good, bad))
        figures |= {
            f"quality_{name}_auc": area,
            f"quality_{name}_good_below": low,
            f"quality_{name}_malformed_below": low_bad,
            f"quality_{name}_abstained": unknown,
        }
        rows.append(
            (
                name,
                f"{len(good)}+{len(bad)}",
                f"{area:.3f}",
                *(f"{v:.1%}" for v in (low, low_bad, unknown)),
            )
        )
        if name in ("singles", "all"):
            targets += aim(f"AUC, {name}", area, 0.82)
            targets += aim(f"Good hands called malformed, {name}", low, 0.08, at_most=True)
            targets += aim(f"Abstentions, {name}", unknown, 0.15, at_most=True)
    header = ("", "good+bad", "AUC", "good < 0.5", "malformed < 0.5", "abstained")
    if rows:
        print_table("Quality", header, rows)
    return figures, targets


def report_pairs(seen: Seen) -> Report:
    """What keep_best takes."""
    verdicts: list[tuple[Pair, Verdict]] = take(seen, Verdict, "pairs")
    figures: dict[str, float] = {}
    targets: list[Target] = []
    rows = []
    for mesh in ("mesh_before", "mesh_after"):
        taken = {
            case: [bool(getattr(v, mesh)) for pair, v in verdicts if fits(pair, case)]
            for case in ("after", "clear", "before", "equal")
        }
        shown = mesh.replace("_", " ")
        figures |= {f"pairs_{mesh}_{case}_taken": share(flags) for case, flags in taken.items()}
        rows.append((shown, *(show_share(flags) for flags in taken.values())))
        targets += aim(f"Better hand taken, {shown}", share(taken["after"]), 0.65)
        targets += aim(f"Worse hand taken, {shown}", share(taken["before"]), 0.02, at_most=True)
        targets += aim(f"Equal hand replaced, {shown}", share(taken["equal"]), 0.10, at_most=True)
    header = ("", "better taken", "clearly better taken", "worse taken", "equal replaced")
    if verdicts:
        print_table("Pairs: what keep_best takes", header, rows)
    return figures, targets


def fits(pair: Pair, case: str) -> bool:
    """clear: the second picture is better beyond doubt; else which one is better."""
    return pair.better == "after" and pair.clear if case == "clear" else pair.better == case


def report_steadiness(seen: Seen) -> Report:
    """Share of pictures and changes that leave the hands as they were, by change."""
    rows: list[tuple[Label, dict[str, bool]]] = take(seen, dict, "steady")
    if not rows:
        return {}, []
    by_change = {name: [got[name] for _, got in rows] for name in rows[0][1]}
    by_change["all"] = [flag for flags in by_change.values() for flag in flags]
    for kind in ("whole", "none"):
        some = [flag for label, got in rows if label.kind == kind for flag in got.values()]
        by_change[f"all, {kind}"] = some
    table = [(name, show_share(flags)) for name, flags in by_change.items()]
    print_table("Steady under changes", ("", "pictures"), table)
    figures = {f"steady_{name}": share(flags) for name, flags in by_change.items()}
    return figures, aim("Steady, all changes", figures["steady_all"], 0.95)


def report_cost(seen: Seen) -> Report:
    """Median network calls and time of a search, by number of hands."""
    costs: list[tuple[Label, Cost]] = take(seen, Cost, "speed")
    if not costs:
        return {}, []
    groups: dict[str, Callable[[Label], bool]] = {
        "no hand": lambda label: label.hands == 0,
        "one hand": lambda label: label.hands == 1,
        "more hands": lambda label: label.hands > 1,
        "all": lambda label: True,
    }
    figures: dict[str, float] = {}
    rows = []
    for name, belongs in groups.items():
        some = np.array([got for label, got in costs if belongs(label)], dtype=object)
        some = np.array([(c.calls, c.wall_ms, c.cpu_ms) for c in some], dtype=np.float64)
        if not len(some):
            continue
        key = f"search_{name.replace(' ', '_')}"
        median, quick = np.median(some, axis=0), np.quantile(some, 0.25, axis=0)
        figures |= dict(zip((f"{key}_calls", f"{key}_ms", f"{key}_cpu_ms"), median, strict=True))
        figures[f"{key}_cpu_ms_quick"] = float(quick[2])
        rows.append((name, len(some), *(f"{v:.0f}" for v in (*median, quick[2]))))
    header = ("", "pictures", "calls", "ms", "CPU ms", "CPU ms, quickest quarter")
    print_table("Search and meshes, medians", header, rows)
    one = "search_one_hand_cpu_ms"
    return figures, [
        *aim("Search, one hand", figures.get(one, math.nan), 400, "CPU ms", at_most=True),
        *aim(
            "Quickest quarter", figures.get(f"{one}_quick", math.nan), 150, "CPU ms", at_most=True
        ),
    ]


def report_repairs(seen: Seen) -> Report:
    """What the default run repaints."""
    repairs: list[tuple[Label, Repair]] = take(seen, Repair, "refine")
    groups: dict[str, list[tuple[Label, Repair]]] = {}
    for label, got in repairs:
        name = f"{label.kind} {label.label}".strip()
        groups.setdefault(name, []).append((label, got))
    figures: dict[str, float] = {}
    rows = []
    for name, some in groups.items():
        hands, painted, kept = (
            sum(n) for n in zip(*((r.hands, r.painted, len(r.kept)) for _, r in some), strict=True)
        )
        key = f"refine_{name.replace(' ', '_')}"
        figures |= {f"{key}_painted": painted, f"{key}_kept": kept}
        figures[f"{key}_painted_share"] = painted / hands if hands else math.nan
        rows.append((name, len(some), hands, painted, kept, hands - painted - kept))
    header = ("", "pictures", "hands", "repainted", "kept", "without a mesh")
    if rows:
        print_table("The default run", header, rows)
    malformed = [got for label, got in repairs if label.label == "malformed" and got.hands]
    value = share(got.painted > 0 for got in malformed)
    figures["refine_malformed_repainted"] = value
    return figures, aim("Malformed close-ups repainted, of those found", value, 0.60)


REPORTS: tuple[Callable[[Seen], Report], ...] = (
    report_whole,
    report_close_ups,
    report_quality,
    report_pairs,
    report_steadiness,
    report_cost,
    report_repairs,
)
