"""Scripts of extensions: loading, one instance for each tab, and their hooks (scripts.py).

An exception of a hook is swallowed and reported (scripts.py:820-1000); BaseException passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr

from modules import errors

AlwaysVisible = object()


@dataclass
class PostprocessImageArgs:
    """What postprocess_image may change: a PIL picture (scripts.py:34)."""

    image: Any


@dataclass(frozen=True)
class OnComponent:
    """What callbacks about components are given (scripts.py:46)."""

    component: gr.Component


@dataclass(frozen=True)
class ScriptClassData:
    """A class that a script file brought (scripts.py:370)."""

    script_class: type[Script]
    path: str
    basedir: str
    module: ModuleType


class Script:
    """The base class of scripts (scripts.py:54-345). args_from, args_to: its place in the args."""

    filename: str = ""
    args_from: int = 0
    args_to: int = 0
    is_img2img: bool = False
    infotext_fields: Sequence[Any] | None = None
    paste_field_names: Sequence[Any] | None = None
    controls: Sequence[gr.Component] | None = None

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> object:
        return True

    def ui(self, is_img2img: bool) -> Sequence[gr.Component] | None:
        return None

    def on_after_component(
        self, callback: Callable[[OnComponent], object], *, elem_id: str
    ) -> None:
        """Have `callback` called once the component of this id is there (scripts.py:315)."""
        after_component.setdefault(elem_id, []).append(callback)


after_component: dict[str, list[Callable[[OnComponent], object]]] = {}
scripts_data: list[ScriptClassData] = []


class ScriptRunner:
    """The scripts of one tab. inputs: the components of all, after a first that is not theirs."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.inputs: list[gr.Component | None] = [None]
        # Keyed by the number of scripts alone, as in the host (scripts.py:805-815): a copy of the
        # runner that shares it may be given the scripts of another.
        self.callback_map: dict[tuple[str, int], list[Script]] = {}

    def initialize_scripts(self, is_img2img: bool) -> None:
        """Make an instance of every class (scripts.py:578-612)."""
        for data in scripts_data:
            script = data.script_class()
            script.filename = data.path
            script.is_img2img = is_img2img
            shown = script.show(is_img2img)
            if shown:
                self.scripts.append(script)
                always = shown is AlwaysVisible
                (self.alwayson_scripts if always else self.selectable_scripts).append(script)

    def setup_ui(self) -> None:
        """Build the components of every script (scripts.py:644-687)."""
        for script in self.scripts:
            script.args_from = script.args_to = len(self.inputs)
            script.controls = script.ui(script.is_img2img)
            for control in script.controls or ():
                control.custom_script_source = Path(script.filename).name
                self.inputs.append(control)
            script.args_to = len(self.inputs)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        """Call `setup` of every script; the name is the host's (scripts.py:987)."""
        self.call("setup", p)

    def call(self, hook: str, p: Any, *more: Any, **named: Any) -> None:
        """Call a hook of every script that has it, with the script's part of the arguments."""
        for script in self._ordered(hook):
            try:
                own = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *more, *own, **named)
            except Exception as fault:
                errors.report(fault)

    def _ordered(self, hook: str) -> list[Script]:
        key = hook, len(self.alwayson_scripts)
        if key not in self.callback_map:
            having = [script for script in self.alwayson_scripts if hasattr(script, hook)]
            self.callback_map[key] = having
        return self.callback_map[key]


scripts_txt2img = ScriptRunner()
scripts_img2img = ScriptRunner()


def load_module(path: Path) -> ModuleType:
    """Run a script file; its module's name is the file's and it is not kept (script_loading.py)."""
    spec = spec_from_file_location(path.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_script(path: Path) -> None:
    """Load one file with its extension first on sys.path; register its classes (scripts.py:490)."""
    before = sys.path
    sys.path = [str(path.parent.parent), *sys.path]
    try:
        module = load_module(path)
    finally:
        sys.path = before
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, Script):
            scripts_data.append(ScriptClassData(kind, str(path), str(path.parent.parent), module))
