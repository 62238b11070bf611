"""What the routes need from the program that serves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Image, Mask, ModelHome, RefineResult

Refine = Callable[[Image, RefineParams, Mask | None], RefineResult]


@dataclass(frozen=True)
class ControlModel:
    """An installed control model. recommended_strength: None where nobody recommends one."""

    name: str
    recommended_strength: float | None = None


@dataclass(frozen=True)
class ModelList:
    """Control models, the loaded checkpoint's family, and what `auto` takes (None: nothing)."""

    control_models: tuple[ControlModel, ...] = ()
    checkpoint_family: str | None = None
    chosen: str | None = None
    reason: str = "No WebUI is running here, so there are no control models."


@dataclass(frozen=True)
class Services:
    """users: name -> password of the API; empty = open. refine: the second pass of the WebUI.

    heavy: whether the routes that compute are added. lock: held while the graphics card works.
    home: where the user keeps files of models, and where they compute.
    check: raises InvalidParameter for what only the program can know to be wrong.
    """

    host: str = "none"
    users: Mapping[str, str] = field(default_factory=dict)
    heavy: bool = True
    home: Callable[[], ModelHome] = ModelHome
    list_models: Callable[[], ModelList] = ModelList
    check: Callable[[RefineParams], None] = lambda params: None
    refine: Refine | None = None
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
