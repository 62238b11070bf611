"""The WebUI's page in headless Chromium, driven as a user does."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
HOSTS_OWN_ERROR = "Cannot read properties of undefined (reading 'props')"
"""The page throws this, at most twice, without our extension too."""
HOSTS_OWN_ERRORS = 2
LONG_MS = 240_000
BRUSH = "Draw button"
"""The name of the brush in gradio 4's editor, which begins without one."""


EDITORS_FRAMES = """(() => {
    const next = window.requestAnimationFrame.bind(window);
    const known = new WeakMap();
    const isEditors = draw => {
        if (!known.has(draw)) known.set(draw, String(draw).includes('_requestId'));
        return known.get(draw);
    };
    window.requestAnimationFrame = draw =>
        isEditors(draw) ? setTimeout(next, 1000, draw) : next(draw);
})()"""
"""Gradio 4's editor draws all the time, seen or not, with WebGL, which is software where there is
no graphics card: the page answered no click for half a minute. So it draws once a second here."""


def find_chromium() -> str:
    """Its path, or a skip."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("HANDREFINER_CHROMIUM") or next(
        filter(None, map(shutil.which, names)), ""
    )
    if not found:
        pytest.skip("needs Chromium on the PATH or in HANDREFINER_CHROMIUM")
    return found


@dataclass
class WebuiPage:
    """One page. page: playwright's."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def go_to(self, tab: str) -> None:
        """Open one of the tabs at the top."""
        self.press_tab("#tabs", tab)

    def press_tab(self, tabs: str, name: str) -> None:
        button = self.page.locator(f"{tabs} > .tab-nav > button")
        button.filter(
            has_text=re.compile(rf"^\s*{re.escape(name)}\s*$", re.IGNORECASE)
        ).first.click()

    def panel(self, tab: str = "txt2img", part: str = "") -> Any:
        return self.page.locator(f"#handrefiner_{tab}{f'_{part}' if part else ''}")

    def unfold(self, tab: str, part: str = "") -> None:
        """Open a fold of the panel, or the panel itself, which switches it on."""
        fold = self.panel(tab, part)
        if "open" not in (fold.locator("> .label-wrap").get_attribute("class") or ""):
            fold.locator("> .label-wrap").click()
        fold.locator("> .label-wrap.open").wait_for()

    def set_number(self, elem_id: str, value: float) -> None:
        box = self.page.locator(f"#{elem_id} input[type=number]")
        box.fill(f"{value:g}")
        box.press("Tab")

    def get_number(self, elem_id: str) -> float:
        return float(self.page.locator(f"#{elem_id} input[type=number]").input_value())

    def choose(self, container: str, value: str) -> None:
        """Pick an entry of a dropdown."""
        self.page.locator(f"{container} input").first.click()
        entries = self.page.locator(f"{container} ul.options li")
        entries.filter(has_text=value).first.click()

    def fill_for_good(self, field: str, text: str) -> None:
        """Write into a field that an answer still under way may put back to what it was."""
        place = self.page.locator(field)
        held = 0
        for _ in range(30):
            if place.input_value() == text:
                held += 1
            else:
                place.fill(text)
                held = 0
            if held == 4:
                return
            self.page.wait_for_timeout(500)
        raise AssertionError(f"{field} does not keep {text!r}")

    def is_on(self, tab: str) -> bool:
        return bool(self.panel(tab, "").locator(".input-accordion-checkbox").is_checked())

    def make_small(self, tab: str, side: int = 256, steps: int = 2) -> None:
        for part, value in (("steps", steps), ("width", side), ("height", side)):
            self.set_number(f"{tab}_{part}", value)

    def accept_everything(self, tab: str) -> None:
        """Switch Keep the better hand off: a random network paints noise."""
        self.panel(tab, "keep_best").locator("input").uncheck()

    def generate(self, tab: str) -> str:
        """Press Generate and wait; returns the infotext under the picture."""
        info = self.page.locator(f"#html_info_{tab}").first
        before = info.inner_text()
        self.page.locator(f"#{tab}_generate").click()
        self.page.wait_for_function(
            "([id, old]) => { const e = document.querySelector(id);"
            " return e.innerText !== old && e.innerText.includes('Steps:'); }",
            arg=[f"#html_info_{tab}", before],
            timeout=LONG_MS,
        )
        return str(info.inner_text())

    def load_gently(self, photograph: Path) -> None:
        """Set img2img so little denoising, with a fixed seed, that its hand is still found."""
        self.go_to("img2img")
        self.page.set_input_files("#img2img_image input[type=file]", str(photograph))
        self.make_small("img2img", side=512, steps=2)
        self.set_number("img2img_denoising_strength", 0.01)
        self.page.locator("#img2img_seed input").first.fill("7")

    def read_text(self, tab: str, name: str) -> str:
        """What stands in a text of the panel."""
        return str(self.panel(tab, name).locator("textarea, input").first.input_value())

    def paste(self, tab: str, text: str) -> None:
        """Put an infotext into the prompt and press the arrow beside it."""
        prompt = self.page.locator(f"#{tab}_prompt textarea")
        prompt.fill(text)
        self.page.wait_for_timeout(300)
        self.page.locator(f"#{tab}_tools #paste").click()

    def wait_for_prompt(self, tab: str, said: str) -> None:
        self.page.wait_for_function(
            "([id, said]) => document.querySelector(id).value === said",
            arg=[f"#{tab}_prompt textarea", said],
        )

    def drop(self, tab: str, picture: Path) -> None:
        """Put a picture into the preview."""
        self.unfold(tab, "preview")
        sketch = self.panel(tab, "sketch")
        sketch.locator("input[type=file]").set_input_files(str(picture))
        sketch.locator("canvas").first.wait_for()
        if sketch.get_by_label(BRUSH).count():  # gradio 4 has its canvas before the picture
            self.page.wait_for_timeout(3000)

    def paint_stroke(self, tab: str, start: float = 0.2, end: float = 0.4) -> None:
        """Paint along the diagonal, from and to shares of the picture's sides."""
        sketch = self.panel(tab, "sketch")
        if sketch.get_by_label(BRUSH).count():
            sketch.get_by_label(BRUSH).click()
        canvas = sketch.locator("canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        mouse = self.page.mouse
        mouse.move(box["x"] + start * box["width"], box["y"] + start * box["height"])
        mouse.down()
        for share in np.linspace(start, end, 10):
            mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        mouse.up()
        self.page.wait_for_timeout(500)

    def show_hands(self, tab: str, picture: Path) -> None:
        """Put a picture into the preview and press its button."""
        self.drop(tab, picture)
        self.panel(tab, "show").click()

    def generate_with_hints(self, tab: str) -> tuple[Any, Any]:
        """Generate; returns depth and mask of the run, which repainted a hand."""
        self.unfold(tab, "advanced")
        self.press_tab(f"#handrefiner_{tab}_tabs", "Painting")
        self.panel(tab, "extra_images").locator("input").check()
        said = self.generate(tab)
        assert " refined" in said.partition("HandRefiner hands:")[2], said
        _, depth, mask, _ = (np.asarray(p.convert("L")) for p in self.read_gallery(tab))
        return depth, mask

    def read_gallery(self, tab: str) -> list[Image.Image]:
        found = self.page.locator(f"#{tab}_gallery .thumbnails img")
        return [picture.convert("RGB") for picture in self._load(found)]

    def read_preview(self, tab: str, unlike: Any = None) -> list[Any]:
        """Overlay, depth and mask in grey; waits for a mask unlike an older one."""
        pictures: list[Any] = []
        for _ in range(40):
            found = self._load(self.panel(tab, "hints").locator("img"))
            pictures = [np.asarray(picture.convert("L")) for picture in found]
            if len(pictures) == 3 and (unlike is None or (pictures[2] != unlike).any()):
                return pictures
            self.page.wait_for_timeout(250)
        raise AssertionError(f"{len(pictures)} pictures are shown")

    def load(self, url: str) -> Image.Image:
        """Return the picture at an address of the page's own server."""
        return Image.open(io.BytesIO(self.page.request.get(url).body())).convert("RGB")

    def _load(self, shown: Any) -> list[Image.Image]:
        urls = shown.evaluate_all("found => found.map(x => x.src)")
        return [Image.open(io.BytesIO(self.page.request.get(url).body())) for url in urls]

    def check_errors(self) -> None:
        foreign = [error for error in self.errors if error != HOSTS_OWN_ERROR]
        assert not foreign
        assert len(self.errors) <= HOSTS_OWN_ERRORS


@contextmanager
def open_page(
    browser: Any, url: str, theme: str = "light", width: int = 1400
) -> Iterator[WebuiPage]:
    """A fresh page, ready to be used; at the end its errors must be the host's own."""
    page = browser.new_page(viewport={"width": width, "height": 1300})
    opened = WebuiPage(page)
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.set_default_timeout(30_000)
    page.add_init_script(EDITORS_FRAMES)
    page.goto(f"{url}/?__theme={theme}", wait_until="domcontentloaded")
    page.wait_for_selector("#txt2img_generate", timeout=LONG_MS)
    page.wait_for_selector("#handrefiner_txt2img .input-accordion-checkbox")
    try:
        yield opened
        opened.check_errors()
    finally:
        page.close()


def keep_screenshot(part: Any, name: str, folder: Path) -> Path:
    """A picture of `part`; into HANDREFINER_SCREENSHOTS where that is set."""
    target = Path(os.environ.get("HANDREFINER_SCREENSHOTS") or folder) / f"{name}.png"
    part.screenshot(path=str(target))
    return target
