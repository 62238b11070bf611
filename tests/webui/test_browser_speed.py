"""How long a user waits for the preview and for a step of the hand editor, by the browser's clock.

The aims are 300 ms beyond the search's own time, and 100 ms a step of which the route takes 50, on
two CPU cores that do nothing else. What is allowed here is three times that, and more where the
machine is busy with other things (`slowdown`). What was measured is logged
(`--log-cli-level=INFO`) and stands in docs/webui.md.
"""

from __future__ import annotations

import base64
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from browser import LONG_MS
from editor_page import EditorPage
from PIL import Image, ImageOps

logger = logging.getLogger(__name__)
EXAMPLE = Path(__file__).parents[2] / "examples" / "badly_drawn_hand.png"
SIDE = 1024
PREVIEW_MS, STEP_MS, ROUTE_MS = 900, 300, 150
BUSY_S = 0.4

SHOW = """tab => new Promise(done => {
    const hints = document.querySelector(`#handrefiner_${tab}_hints`);
    const pictures = () => [...hints.querySelectorAll('.thumbnail-lg img, .thumbnail-item img')];
    const old = new Set(pictures().map(img => img.src));
    const began = performance.now();
    const look = () => {
        const now = pictures();
        const isThere = img => !old.has(img.src) && img.complete && img.naturalWidth;
        if (now.length === 3 && now.every(isThere)) done(performance.now() - began);
        else requestAnimationFrame(look);
    };
    document.querySelector(`#handrefiner_${tab}_show`).click();
    look();
})"""
FIND_MS = """async image => {
    const began = performance.now();
    const body = JSON.stringify({image, params: {hands: 'all'}});
    const headers = {'Content-Type': 'application/json'};
    const answer = await fetch('./handrefiner/v1/editor/find', {method: 'POST', headers, body});
    if (!answer.ok) throw new Error(await answer.text());
    await answer.json();
    return performance.now() - began;
}"""
SKETCHED = "() => document.querySelector('#handrefiner_txt2img_sketch canvas') !== null"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The example's hand at 1024 x 1024, and mirrored."""
    folder = tmp_path_factory.mktemp("large")
    with Image.open(EXAMPLE) as example:
        large = example.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    places = []
    for name, picture in (("one", large), ("other", ImageOps.mirror(large))):
        places.append(folder / f"{name}.png")
        picture.save(places[-1])
    return places


def slowdown() -> float:
    """How much longer work takes than its own time, since others have the cores as well."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < BUSY_S:
        pass
    return (time.perf_counter() - began) / BUSY_S


def give(webui: Any, picture: Path) -> None:
    """Put a picture into the preview in place of the one that is there."""
    sketch = webui.panel("txt2img", "sketch")
    if sketch.locator("canvas").count():
        sketch.locator("button[aria-label='Remove Image']").click()
        sketch.locator("canvas").first.wait_for(state="detached")
    sketch.locator("input[type=file]").set_input_files(str(picture))
    webui.page.wait_for_function(SKETCHED, timeout=LONG_MS)
    webui.page.wait_for_timeout(1000)


def test_the_preview_of_a_large_picture_is_there_soon_after_the_search(webui, pictures):
    webui.unfold("txt2img")
    webui.unfold("txt2img", "preview")
    shown, search, busy = [], [], [slowdown()]
    for picture in (pictures[0], pictures[1], pictures[0]):
        give(webui, picture)
        shown.append(webui.page.evaluate(SHOW, "txt2img"))
        image = base64.b64encode(picture.read_bytes()).decode()
        search += [webui.page.evaluate(FIND_MS, image) for _ in range(2)]
        busy.append(slowdown())
    more = min(shown) - min(search)
    logger.info("preview %.0f ms, search %.0f ms, beyond it %.0f", min(shown), min(search), more)
    logger.info("slowed down %.1f times by others", max(busy))
    assert more < PREVIEW_MS * max(busy)


def test_a_step_of_the_editor_follows_the_hand(webui, pictures):
    webui.unfold("txt2img")
    editor = EditorPage(webui, "txt2img").open_with(pictures[0])
    page = webui.page
    page.evaluate("performance.clearResourceTimings(); performance.clearMeasures()")
    busy = [slowdown()]
    for joint, x, y in (("index_tip", -60, 50), ("little_tip", 30, 40), ("wrist", 20, -20)):
        editor.drag(joint, x, y, steps=40)
        busy.append(slowdown())
    steps = page.evaluate(
        "performance.getEntriesByName('handrefiner editor step').map(e => e.duration)"
    )
    routes = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/editor/step'))"
        ".map(e => e.duration)"
    )
    assert len(steps) >= 10
    logger.info("slowed down %.1f times by others", max(busy))
    for name, times in (("step", steps), ("route", routes)):
        middle, most = statistics.median(times), max(times)
        logger.info("%s: median %.0f ms, longest %.0f of %d", name, middle, most, len(times))
    assert statistics.median(steps) < STEP_MS * max(busy)
    assert statistics.median(routes) < ROUTE_MS * max(busy)
