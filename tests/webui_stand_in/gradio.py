"""A stand-in of gradio 3.41.2 that records what a page is built of: components, places, events.

A keyword that the real class does not have is a TypeError here. A dropdown refuses a value that is
not among its choices, and two components with one elem_id are refused, as neither shows on a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Progress = Literal["full", "minimal", "hidden"] | bool


@dataclass(frozen=True)
class Event:
    """What happens at a click or a change. js: a function of the page that runs first."""

    fn: Callable[..., Any] | None
    inputs: tuple[Component, ...]
    outputs: tuple[Block, ...]
    js: str | None


class Page:
    """Everything that was built since `clear`."""

    def __init__(self) -> None:
        self.open: list[Block] = []
        self.blocks: dict[str, Block] = {}

    def clear(self) -> None:
        """Start an empty page."""
        self.open.clear()
        self.blocks.clear()

    def add(self, block: Block) -> None:
        """Place a block in the container that is open."""
        if block.elem_id in self.blocks:
            raise ValueError(f"Two components have the elem_id {block.elem_id}.")
        if block.elem_id is not None:
            self.blocks[block.elem_id] = block


page = Page()


class Block:
    """Anything on the page. inside: the containers around it, the outermost first."""

    def __init__(self, elem_id: str | None, visible: bool) -> None:
        self.elem_id = elem_id
        self.visible = visible
        self.inside = tuple(page.open)
        page.add(self)


class Container(Block):
    """A block that others stand in, for the length of a `with`."""

    def __init__(self, elem_id: str | None = None, visible: bool = True) -> None:
        super().__init__(elem_id, visible)

    def __enter__(self) -> Container:
        page.open.append(self)
        return self

    def __exit__(self, *fault: object) -> None:
        assert page.open.pop() is self


class Row(Container):
    """Side by side."""


class Tabs(Container):
    """Holds tabs."""


class Tab(Container):
    """One of several leaves."""

    def __init__(self, label: str, *, elem_id: str | None = None) -> None:
        super().__init__(elem_id)
        self.label = label


class Accordion(Container):
    """A fold."""

    def __init__(self, label: str, *, open: bool = True, elem_id: str | None = None) -> None:
        super().__init__(elem_id)
        self.label = label
        self.is_open = open


class Component(Block):
    """A block with a value. The host sets `custom_script_source` and reads `label`.

    tooltip: the host's own addition to every component (gradio_extensons.py:17).
    """

    custom_script_source: str
    do_not_save_to_config = False

    def __init__(
        self,
        value: Any = None,
        *,
        label: str | None = None,
        info: str | None = None,
        tooltip: str | None = None,
        elem_id: str | None = None,
        visible: bool = True,
    ) -> None:
        super().__init__(elem_id, visible)
        self.value = value
        self.label = label
        self.info = info
        self.tooltip = tooltip
        self.events: dict[str, list[Event]] = {}

    def _connect(
        self,
        name: str,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component],
        outputs: Sequence[Block],
        js: str | None,
    ) -> None:
        event = Event(fn, tuple(inputs), tuple(outputs), js)
        self.events.setdefault(name, []).append(event)

    def change(
        self,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        show_progress: Progress = "full",
        queue: bool | None = None,
        _js: str | None = None,
    ) -> None:
        """Call fn(*values of inputs) when the value changes; its answers go to `outputs`."""
        self._connect("change", fn, inputs, outputs, _js)


class Checkbox(Component):
    """True or false."""


class CheckboxGroup(Component):
    """Some of several; only named on the settings page."""


class Textbox(Component):
    """Text of one or more lines."""

    def __init__(
        self,
        value: str = "",
        *,
        lines: int = 1,
        max_lines: int = 20,
        interactive: bool | None = None,
        show_copy_button: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(value, **more)
        self.lines = lines
        self.interactive = interactive
        self.show_copy_button = show_copy_button


class HTML(Component):
    """Text of ours."""

    def __init__(self, value: str = "", *, elem_classes: str | None = None, **more: Any) -> None:
        super().__init__(value, **more)


class Slider(Component):
    """A number between two."""

    def __init__(
        self,
        minimum: float = 0,
        maximum: float = 100,
        value: float | None = None,
        *,
        step: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(value, **more)
        self.minimum = minimum
        self.maximum = maximum
        self.step = step


class Dropdown(Component):
    """One of several; allow_custom_value: or any other text."""

    def __init__(
        self,
        choices: Sequence[str],
        *,
        value: str | None = None,
        allow_custom_value: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(value, **more)
        if value not in choices and not allow_custom_value:
            raise ValueError(f"{value!r} is none of the choices {list(choices)}.")
        self.choices = list(choices)
        self.allow_custom_value = allow_custom_value


class Chain:
    """What an event gives, to say what follows it."""

    def __init__(self, component: Component) -> None:
        self._component = component

    def then(
        self,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        _js: str | None = None,
    ) -> None:
        """Call fn(*values of inputs) after the event, also where that failed."""
        self._component._connect("then", fn, inputs, outputs, _js)


class Button(Component):
    """Something to click."""

    def __init__(
        self,
        value: str = "Run",
        *,
        variant: Literal["primary", "secondary", "stop"] = "secondary",
        size: Literal["sm", "lg"] | None = None,
        elem_id: str | None = None,
        tooltip: str | None = None,
    ) -> None:
        super().__init__(value, elem_id=elem_id, tooltip=tooltip)
        self.variant = variant
        self.size = size

    def click(
        self,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        show_progress: Progress = "full",
        queue: bool | None = None,
        _js: str | None = None,
    ) -> Chain:
        """Call fn(*values of inputs) at a click; its answers go to `outputs`."""
        self._connect("click", fn, inputs, outputs, _js)
        return Chain(self)


class Image(Component):
    """A picture; with tool "sketch" its value is {"image", "mask"}."""

    def __init__(
        self,
        value: Any = None,
        *,
        source: Literal["upload", "webcam", "canvas"] = "upload",
        tool: Literal["editor", "select", "sketch", "color-sketch"] | None = None,
        type: Literal["numpy", "pil", "filepath"] = "numpy",
        image_mode: str = "RGB",
        brush_color: str | None = None,
        height: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(value, **more)
        self.source = source
        self.tool = tool
        self.type = type

    def upload(
        self,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        queue: bool | None = None,
    ) -> None:
        """Call fn(*values of inputs) when a file is put in; its answers go to `outputs`."""
        self._connect("upload", fn, inputs, outputs, None)

    def clear(
        self,
        fn: Callable[..., Any] | None,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        queue: bool | None = None,
    ) -> None:
        """Call fn(*values of inputs) when the picture is taken out; its answers go to `outputs`."""
        self._connect("clear", fn, inputs, outputs, None)


class Gallery(Component):
    """Pictures with words."""

    def __init__(
        self,
        value: Any = None,
        *,
        columns: int | None = None,
        object_fit: str | None = None,
        height: str | None = None,
        show_label: bool = True,
        allow_preview: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(value, **more)
        self.columns = columns
        self.allow_preview = allow_preview

    def select(
        self,
        fn: Callable[..., Any],
        inputs: Sequence[Component] = (),
        outputs: Sequence[Block] = (),
        *,
        show_progress: Progress = "full",
    ) -> None:
        """Call fn(what was selected, *values of inputs) at a click on a picture."""
        self._connect("select", fn, inputs, outputs, None)


@dataclass(frozen=True)
class SelectData:
    """What was selected. index: of a gallery, the picture's number from 0."""

    index: int


def update(**values: Any) -> dict[str, Any]:
    """Return new members of an output."""
    return {**values, "__type__": "update"}


def fire(event: Event) -> Any:
    """Return what a click or change answers for the values in view; only the stand-in has this."""
    if event.fn is None:
        raise ValueError("The page alone does this.")
    return event.fn(*(component.value for component in event.inputs))
