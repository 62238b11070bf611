"""The hand editor in the WebUI's page, used as a person does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser import LONG_MS, WebuiPage

WHERE = """joint => {
    const {canvas, session} = HandrefinerDialog.shown;
    const place = canvas.joints(session.chosen())[session.vocabulary.joint_names.indexOf(joint)];
    const box = canvas.canvas.getBoundingClientRect();
    return [box.left + place[0] / canvas.scale, box.top + place[1] / canvas.scale];
}"""
QUIET = """() => {
    const {session} = HandrefinerDialog.shown;
    return session && !session.steps.busy && session.measured === null;
}"""


@dataclass
class EditorPage:
    """The editor's window over the page."""

    webui: WebuiPage
    tab: str

    @property
    def page(self) -> Any:
        return self.webui.page

    @property
    def window(self) -> Any:
        return self.page.locator("#handrefiner_editor")

    def open(self, button: str = "edit") -> EditorPage:
        """Press the button and wait until the hands are there."""
        self.webui.panel(self.tab, button).click()
        self.window.locator(".maps img[src]").first.wait_for(timeout=LONG_MS)
        self.wait()
        return self

    def open_with(self, picture: Path) -> EditorPage:
        """Put a picture into the preview and open it."""
        self.webui.drop(self.tab, picture)
        return self.open()

    def wait(self) -> None:
        """Wait until every step is answered and drawn."""
        self.page.wait_for_function(QUIET, timeout=LONG_MS)

    def press(self, name: str) -> None:
        self.window.get_by_role("button", name=name, exact=True).click()
        self.wait()

    def type(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.wait()

    def choose(self, label: str, value: str) -> None:
        self.window.get_by_label(label, exact=True).select_option(value)
        self.wait()

    def where(self, joint: str) -> tuple[float, float]:
        """Where a joint of the chosen hand is on the page."""
        x, y = self.page.evaluate(WHERE, joint)
        return x, y

    def drag(self, joint: str, x: float, y: float, steps: int = 8) -> None:
        """Drag a joint by so many pixels of the page."""
        at = self.where(joint)
        self.page.mouse.move(*at)
        self.page.mouse.down()
        self.page.mouse.move(at[0] + x, at[1] + y, steps=steps)
        self.page.mouse.up()
        self.wait()

    def hands(self) -> list[dict[str, Any]]:
        """The pose's records as they would be used."""
        said = self.page.evaluate("JSON.stringify(HandrefinerDialog.shown.session.pose())")
        return list(json.loads(said)["hands"])

    def status(self) -> str:
        return str(self.window.locator(".status").inner_text())

    def use(self) -> dict[str, Any]:
        """Press *Use this pose*; returns what the panel then says."""
        self.window.get_by_role("button", name="Use this pose").click()
        self.window.wait_for(state="detached")
        return dict(json.loads(self.webui.read_text(self.tab, "pose")))
