"""A request's arguments inside the WebUI -> parameters.

The WebUI hands a script its values by position, in the order of `fields_of(WEBUI)`, and after
them the mask drawn by hand. Through its API a request may give ONE dict instead, with the
schema's names for keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.params import WEBUI, RefineParams, fields_of
from handrefiner_ext.pipeline import check_values

DRAWN_MASK = "drawn_mask"
NAMES = (*(f.name for f in fields_of(WEBUI)), DRAWN_MASK)
"""What stands at each position."""


@dataclass(frozen=True)
class Arguments:
    """drawn_mask: as it came (base64 text, array, picture or sketch), or None."""

    params: RefineParams
    drawn_mask: object | None = None


def read_arguments(
    args: Sequence[object], overrides: Mapping[str, object] | None = None
) -> Arguments:
    """Positional values, or one dict in the first place, with `overrides` on top.

    A value that is not given has its default. What follows a dict is not read: the WebUI fills
    the other places with the panel's defaults. InvalidParameter names what is wrong and what is
    allowed.
    """
    by_name = bool(args) and isinstance(args[0], Mapping)
    values = check_names(args[0], NAMES) if by_name else _by_position(args)
    values.update(check_names(overrides or {}, NAMES))
    drawn_mask = values.pop(DRAWN_MASK, None)
    return Arguments(read_parameters(values), drawn_mask)


def read_parameters(values: Mapping[str, object]) -> RefineParams:
    """Parameters with their values checked, those that are lists too."""
    params = RefineParams(**values)  # type: ignore[arg-type]  # every value is coerced
    check_values(params)
    return params


def check_names(values: Any, names: Sequence[str]) -> dict[str, object]:
    """The same values; InvalidParameter where a key is not among `names`."""
    for name in values:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise InvalidParameter(
                f"{name} is no parameter of HandRefiner.{meant} It knows {', '.join(names)}."
            )
    return dict(values)


def _by_position(args: Sequence[object]) -> dict[str, object]:
    if len(args) > len(NAMES):
        raise InvalidParameter(
            f"HandRefiner takes at most {len(NAMES)} arguments, not {len(args)}; their order is "
            f"{', '.join(NAMES)}."
        )
    return dict(zip(NAMES, args, strict=False))
