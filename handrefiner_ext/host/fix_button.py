"""Place *Fix hands*, *Before and after*, *Edit hands* and *Candidates* below the gallery."""

from __future__ import annotations

from functools import partial
from typing import Any

from modules.call_queue import wrap_gradio_gpu_call
from modules.ui_components import ToolButton

from handrefiner_ext.host.fix import fix_selected, take_candidate
from handrefiner_ext.host.layout import FIELDS, call_editor

SIGN = "✋"
TOOLTIP = (
    "Fix hands: repaint the hands of the selected picture in place, with HandRefiner's values."
)
COMPARE_SIGN = "◧"
COMPARE_TOOLTIP = (
    "Before and after: compare the selected picture with what it was before its hands were "
    "repainted."
)
NOTHING_TO_COMPARE = (
    "Nothing is kept of this picture; select one of the last run, or one that has another before "
    "it."
)
"""Said by javascript/handrefiner_compare.js."""
EDIT_SIGN = "✎"
EDIT_TOOLTIP = "Edit hands: pose the hands of the selected picture, joint by joint."
CANDIDATES_SIGN = "❖"
CANDIDATES_TOOLTIP = (
    "Candidates: see what the last run painted of each hand, side by side, and take another one."
)
BESIDE = {"txt2img": "txt2img_upscale", "img2img": "img2img_send_to_extras"}
"""The WebUI's own button behind which ours stands."""
PARTS = ("{tab}_gallery", "generation_info_{tab}", "html_info_{tab}", "html_log_{tab}")
"""What a run of the tab fills, in the order of its outputs."""


class FixButton:
    """One tab's button. panel: the components whose values it uses, in the script's order.

    The WebUI builds the gallery and its row after the panel, so the button waits for them.
    """

    def __init__(self, script: Any, tab: str, panel: list[Any]) -> None:
        self.tab = tab
        self.panel = panel
        self.button: Any = None
        self.compare: Any = None
        self.edit: Any = None
        self.candidates: Any = None
        self.parts: dict[str, Any] = {}
        script.on_after_component(self._place, elem_id=BESIDE[tab])
        for part in (name.format(tab=tab) for name in PARTS):
            script.on_after_component(partial(self._keep, part), elem_id=part)

    def _place(self, made: Any) -> None:
        self.button = ToolButton(SIGN, elem_id=f"handrefiner_{self.tab}_fix", tooltip=TOOLTIP)
        self.compare = ToolButton(
            COMPARE_SIGN, elem_id=f"handrefiner_{self.tab}_compare", tooltip=COMPARE_TOOLTIP
        )
        self.edit = ToolButton(
            EDIT_SIGN, elem_id=f"handrefiner_{self.tab}_edit_selected", tooltip=EDIT_TOOLTIP
        )
        self.candidates = ToolButton(
            CANDIDATES_SIGN,
            elem_id=f"handrefiner_{self.tab}_candidates_button",
            tooltip=CANDIDATES_TOOLTIP,
        )
        self._connect()

    def _keep(self, part: str, made: Any) -> None:
        self.parts[part] = made.component
        self._connect()

    def _connect(self) -> None:
        """Connect the button as soon as everything is there."""
        if self.button is None or len(self.parts) < len(PARTS):
            return
        gallery, info, below, log = (self.parts[part.format(tab=self.tab)] for part in PARTS)
        self.compare.click(
            None, _js=f"() => handrefinerCompare('{self.tab}')", inputs=[], outputs=[log]
        )
        # Without the preview's picture, the editor takes the one that is selected in the gallery.
        values = self.panel[: len(FIELDS)]
        opened = f"(...values) => {{ ({call_editor(self.tab)})(...values); return []; }}"
        self.edit.click(None, _js=opened, inputs=values, outputs=[])
        # The page puts the selected picture's number, the choice and the tab in place of these.
        self.candidates.click(
            take_candidate,
            _js=f"(...values) => handrefinerCandidates('{self.tab}', values.slice(0, 5))",
            inputs=[gallery, below, info, log, below],
            outputs=[gallery, info, below, log],
            show_progress=False,
        )
        # The page puts its own values in place of the first, third and fifth.
        inputs = [log, gallery, below, info, log, *self.panel]
        count = len(inputs)
        self.button.click(
            wrap_gradio_gpu_call(fix_selected, extra_outputs=[None, "", ""]),
            _js=f"(...values) => handrefinerFix('{self.tab}', values.slice(0, {count}))",
            inputs=inputs,
            outputs=[gallery, info, below, log],
            show_progress=False,
        )
