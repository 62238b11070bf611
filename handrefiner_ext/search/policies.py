"""How often a picture is painted and what of it is kept, chosen by the parameters."""

from __future__ import annotations

from collections.abc import Callable

from handrefiner_ext.params import OFF, RefineParams
from handrefiner_ext.search.adaptive import paint_adaptively
from handrefiner_ext.search.one_pass import Outcome, Task, paint_once

Policy = Callable[[Task], Outcome]
WITHOUT_STRENGTH = ("draft",)
"""Backends that paint the same at every strength."""


def choose_policy(params: RefineParams, backend: str) -> Policy:
    """The policy for the inpainting backend of that name."""
    if params.adaptive_strength == OFF or backend in WITHOUT_STRENGTH:
        return paint_once
    return paint_adaptively
