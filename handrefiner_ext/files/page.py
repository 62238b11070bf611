"""One page that shows what became of every picture of a run (`--report`).

It holds everything it shows, needs no network, and is written picture by picture, so that a run of
any length costs no memory. Pictures are small JPEGs: before, after, depth.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handrefiner_ext import __version__
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.log import Report, Thumbnails
from handrefiner_ext.files.marks import check_own
from handrefiner_ext.files.naming import plain
from handrefiner_ext.pictures import encode_thumbnail
from handrefiner_ext.pictures.disk import writing_to
from handrefiner_ext.types import Image

SIDE = 224
"""Longest side of a picture on the page, pixels: about 7 kB."""
DECISIONS = {
    "repainted": "repainted",
    "kept": "kept as it was",
    "none": "no hand found",
    "done": "finished earlier",
    "failed": "failed",
}
"""Decision -> its words on the page."""


def make_thumbnails(before: Image, after: Image, depth: np.ndarray | None) -> Thumbnails:
    """Return the thumbnails of pictures (H, W, 3) and of a control image (H, W)."""
    shrunk = None if depth is None else shrink(np.dstack([depth] * 3))
    return Thumbnails(shrink(before), shrink(after), shrunk)


def shrink(image: Image) -> bytes:
    """Return a picture, (H, W, 3), as a small JPEG."""
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_thumbnail(np.asarray(small, dtype=np.uint8))


def decide(report: Report) -> str:
    """Return the decision on a picture, a key of `DECISIONS`."""
    if report.error is not None:
        return "failed"
    if not report.output:
        return "done"
    if report.refined:
        return "repainted"
    return "kept" if report.hands else "none"


@contextmanager
def open_page(path: Path | None) -> Iterator[Callable[[Report], None]]:
    """Yield a function that adds a picture's report to the page, or does nothing if path is None.

    The page gets its name when it is complete; what an interrupted run has shown is kept as well.
    PictureError where it cannot be written.
    """
    if path is None:
        yield lambda report: None
        return
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PictureError(f"{path} is no ordinary file; give the page another name.")
    check_own(path, lambda line: line == FIRST_LINE)
    partial = path.with_name(f".handrefiner-{os.getpid()}-{path.name}")
    counts = dict.fromkeys(DECISIONS, 0)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("w", encoding="utf-8")
        file.write(HEAD)

    def add(report: Report) -> None:
        counts[decide(report)] += 1
        with writing_to(path):
            file.write(render(report))

    try:
        yield add
    finally:
        try:
            with writing_to(path), file:
                file.write(_end(counts))
            with writing_to(path):
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def render(report: Report) -> str:
    """Return one picture's part of the page, as HTML."""
    decision = decide(report)
    lines = [f"<li>{_say(line)}</li>" for line in _list_lines(report)]
    shown = "".join(_figures(thumbnails) for thumbnails in report.thumbnails)
    to = f" → {_say(report.output)}" if report.output else ""
    return (
        f'<article data-decision="{decision}"><h2>{_say(str(report.source))}'
        f"<small>{to}</small></h2><b>{DECISIONS[decision]}</b>{shown}<ul>{''.join(lines)}</ul>"
        "</article>\n"
    )


def _list_lines(report: Report) -> list[str]:
    """Return a line for every hand with its decision and reason, and what else was said."""
    if report.error is not None:
        return [report.error]
    hands = [_describe(hand) for record in report.records for hand in record["hands"]]
    notes = [line for line in report.lines if line.startswith(("note:", "left alone", "hands "))]
    return [*hands, *notes] or list(report.lines)


def _describe(hand: Mapping[str, Any]) -> str:
    said = f"Hand {hand['number']} ({hand['handedness']}): "
    said += "repainted" if hand["refined"] else f"kept. {hand['reason']}"
    before, after = hand["quality_before"], hand["quality_after"]
    if before is not None and after is not None:
        said += f" (quality {before:.2f} → {after:.2f})"
    return said


def _figures(thumbnails: Thumbnails) -> str:
    parts = {"before": thumbnails.before, "after": thumbnails.after, "depth": thumbnails.depth}
    figures = [
        f'<figure><img loading="lazy" decoding="async" alt="{name}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(data).decode("ascii")}"><figcaption>{name}</figcaption></figure>'
        for name, data in parts.items()
        if data is not None
    ]
    return f"<div>{''.join(figures)}</div>"


def _say(text: str) -> str:
    return escape(plain(text))


def _end(counts: dict[str, int]) -> str:
    """Return the end of the page: how many there are of each decision, and the filter."""
    buttons = [f'<button data-show="">all ({sum(counts.values())})</button>']
    buttons += [
        f'<button data-show="{decision}">{words} ({counts[decision]})</button>'
        for decision, words in DECISIONS.items()
        if counts[decision]
    ]
    return f"</main><nav>{''.join(buttons)}</nav>{SCRIPT}</body></html>\n"


FIRST_LINE = "<!DOCTYPE html><!-- HandRefiner -->\n"
HEAD = f"""{FIRST_LINE}<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>HandRefiner</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 0; background: #f4f4f2; color: #222;
  display: flex; flex-direction: column; }}
header, nav, main {{ padding: 8px 16px; }}
nav {{ order: -1; position: sticky; top: 0; background: #fff; border-bottom: 1px solid #ccc; }}
header {{ order: -2; }}
button {{ font: inherit; margin-right: 8px; }}
button[aria-pressed=true] {{ background: #2a6; color: #fff; }}
article {{ background: #fff; margin: 12px 0; padding: 12px; border-left: 6px solid #999;
  content-visibility: auto; contain-intrinsic-size: auto 330px; }}
article[data-decision=repainted] {{ border-color: #2a6; }}
article[data-decision=failed] {{ border-color: #c33; }}
article[hidden] {{ display: none; }}
h1, h2 {{ font-size: 17px; margin: 0 0 6px; overflow-wrap: anywhere; }}
small {{ font-weight: normal; color: #666; }}
div {{ display: flex; gap: 8px; flex-wrap: wrap; margin: 8px 0; }}
figure {{ margin: 0; }} figcaption {{ color: #666; font-size: 13px; }}
ul {{ margin: 4px 0; padding-left: 20px; }}
</style></head><body><header><h1>HandRefiner {__version__}</h1></header><main>
"""
SCRIPT = """<script>
const buttons = document.querySelectorAll("nav button");
function show(decision) {
  for (const article of document.querySelectorAll("article"))
    article.hidden = decision !== "" && article.dataset.decision !== decision;
  for (const button of buttons) button.ariaPressed = button.dataset.show === decision;
}
for (const button of buttons)
  button.onclick = () => { location.hash = button.dataset.show; show(button.dataset.show); };
show(location.hash.slice(1));
</script>"""
