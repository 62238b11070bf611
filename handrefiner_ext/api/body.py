"""What comes in and goes out: arguments inside the WebUI, bodies of requests, bodies of answers.

The WebUI hands a script its values by position, in the order of `fields_of(WEBUI)`, and after them
the mask drawn by hand and the depth map. Through its API a request may give ONE dict instead, keyed
by the schema's names. The routes of our own take a JSON object with the same names and the picture.
What is wrong with a body is raised as a `Problem`, what is wrong with a value as InvalidParameter.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import LONGEST_SAID, HandRefinerError, InvalidParameter, PictureError
from handrefiner_ext.hands.posed import Poses
from handrefiner_ext.infotext import REPORT, to_infotext
from handrefiner_ext.infotext.migrations import MASK_PLACE, is_mask
from handrefiner_ext.knobs import WEBUI, Knob, format_number
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.pictures import (
    Picture,
    draw_mask,
    encode_map,
    encode_picture,
    encode_png,
    read_picture,
    to_depth,
    to_mask,
)
from handrefiner_ext.pictures.decode import MAX_PIXELS
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.pipeline import check_values
from handrefiner_ext.report import describe_decision, describe_found, say_result, told
from handrefiner_ext.types import Given, Hints, Image, RefineResult

# --- arguments inside the WebUI

DRAWN_MASK, DEPTH_IN = "drawn_mask", "depth_in"
GIVEN = (DRAWN_MASK, DEPTH_IN)
"""Pictures that may come with the parameters; what is new comes last."""
NAMES = (*(f.name for f in fields_of(WEBUI)), *GIVEN)
"""The name of the value at each position."""


@dataclass(frozen=True)
class Arguments:
    """The parameters of a request, its mask and its depth map.

    drawn_mask, depth_in: as they came (base64 text, array, picture or sketch), or None.
    """

    params: RefineParams
    drawn_mask: object | None = None
    depth_in: object | None = None


def read_arguments(
    args: Sequence[object], overrides: Mapping[str, object] | None = None
) -> Arguments:
    """Read positional values, or one dict in the first place, with `overrides` on top.

    A value that is not given has its default. InvalidParameter says what is wrong and what is
    allowed.
    """
    # What follows a dict is not read: the WebUI fills the other places with the panel's defaults.
    by_name = bool(args) and isinstance(args[0], Mapping)
    values = check_names(args[0], NAMES) if by_name else _by_position(args)
    values.update(check_names(overrides or {}, NAMES))
    drawn_mask, depth_in = (values.pop(name, None) for name in GIVEN)
    return Arguments(read_parameters(values), drawn_mask, depth_in)


def read_parameters(values: Mapping[str, object]) -> RefineParams:
    """Return the parameters, with lists and combinations of values checked too."""
    params = RefineParams(**values)  # type: ignore[arg-type]  # every value is coerced
    check_values(params)
    return params


def check_names(values: Any, names: Sequence[str]) -> dict[str, object]:
    """Return the values; raise InvalidParameter if a key is not among `names`."""
    for name in values:
        if name not in names:
            name = str(name)[:LONGEST_SAID]
            near = get_close_matches(name, names, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise InvalidParameter(
                f"{name} is not a parameter of HandRefiner.{meant} It knows {', '.join(names)}."
            )
    return dict(values)


def _by_position(args: Sequence[object]) -> dict[str, object]:
    if len(args) > len(NAMES):
        raise InvalidParameter(
            f"HandRefiner takes at most {len(NAMES)} arguments, not {len(args)}; their order is "
            f"{', '.join(NAMES)}."
        )
    values = dict(zip(NAMES, args, strict=False))
    if len(args) > MASK_PLACE and is_mask(args[MASK_PLACE]):
        values[DRAWN_MASK] = values.pop(NAMES[MASK_PLACE])
    return values


# --- the parameters as data, with all that a client needs to build a form

JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
DRAWN_MASK_HELP = (
    "A mask drawn by hand, of the picture's size: PNG, JPEG or WebP as base64, white may be "
    "repainted. It counts where mask is drawn or union."
)
DEPTH_IN_HELP = (
    "A depth map of your own instead of a search: PNG, JPEG or WebP as base64, grey of 8 or 16 "
    "bits, near is bright, 0 where there is no hand. It is used as it is, scaled to the picture."
)


@dataclass(frozen=True)
class ParameterReport:
    """One parameter."""

    name: str = told("Key in requests.")
    type: str = told("boolean, integer, number or string.")
    default: Any = told("Value where none is given.")
    minimum: float | None = told("Least value.")
    maximum: float | None = told("Greatest value.")
    step: float | None = told("A sensible step of a slider.")
    choices: list[str] | None = told("The values that are possible, where they are few.")
    label: str = told("Short name for people.")
    help: str = told("What it does.")
    position: int | None = told("Place in alwayson_scripts args; none for /hints and /refine only.")


@dataclass(frozen=True)
class SchemaReport:
    """Every parameter, and what a request may hold."""

    parameters: list[ParameterReport] = told("Those with a position first, in that order.")
    max_body_bytes: int = told("Longest body of a request.")
    max_pixels: int = told("Largest picture.")


def describe_parameters() -> list[ParameterReport]:
    """Return every parameter; those that have a position come first, in that order."""
    shown = fields_of(WEBUI)
    hidden = [f for f in fields(RefineParams) if f.name not in NAMES]
    given = (
        _describe_given(DRAWN_MASK, "Drawn mask", DRAWN_MASK_HELP),
        _describe_given(DEPTH_IN, "Depth map of your own", DEPTH_IN_HELP),
    )
    return [*map(_describe, shown), *given, *map(_describe, hidden)]


def _describe_given(name: str, label: str, text: str) -> ParameterReport:
    nothing = (None, None, None, None, None)
    return ParameterReport(name, "string", *nothing, label, text, NAMES.index(name))


def _describe(f: Field[Any]) -> ParameterReport:
    knob: Knob = f.metadata["knob"]
    kind: Any = type(f.default)
    return ParameterReport(
        name=f.name,
        type=JSON_TYPES[kind],
        default=f.default,
        minimum=None if knob.ge is None else kind(knob.ge),
        maximum=None if knob.le is None else kind(knob.le),
        step=None if knob.step is None else kind(knob.step),
        choices=None if knob.choices is None else list(knob.choices),
        label=knob.label,
        help=knob.help,
        position=NAMES.index(f.name) if f.name in NAMES else None,
    )


def api_table() -> str:
    """Return all parameters as a Markdown table, for the documentation."""
    rows = ["| position | name | default | allowed | what it does |", "|---|---|---|---|---|"]
    for said in describe_parameters():
        position = "" if said.position is None else said.position
        default = json.dumps(said.default)
        rows.append(
            f"| {position} | `{said.name}` | `{default}` | {_allowed(said)} | {said.help} |"
        )
    return "\n".join(rows) + "\n"


def _allowed(said: ParameterReport) -> str:
    if said.choices is not None:
        return ", ".join(said.choices)
    if said.minimum is None or said.maximum is None:
        return said.type
    return f"{said.type}, {format_number(said.minimum)} to {format_number(said.maximum)}"


# --- bodies of requests

IMAGE = "image"
MAX_BODY_BYTES = 128 << 20
SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)
"""First bytes of a PNG, a JPEG and a WebP file."""
ADDRESSES = ("http:", "https:", "ftp:", "file:", "//", "\\\\")
INSTEAD = "send the picture itself, PNG, JPEG or WebP, as base64"
PARAMETERS = tuple(f.name for f in fields(RefineParams))


class Problem(HandRefinerError):
    """A request that cannot be answered: an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request for hints or a refinement. named: the parameters that the body names."""

    picture: Picture
    params: RefineParams
    given: Given
    named: frozenset[str]


def read_request(body: bytes, most_pixels: int = MAX_PIXELS) -> Request:
    """Read the JSON body of /hints or /refine; its pictures have no more pixels than that."""
    values = read_json(body)
    if values.get(IMAGE) is None:
        raise Problem(422, f"image is missing; {INSTEAD}.")
    picture = decode_picture(values[IMAGE], IMAGE, most_pixels)
    height, width = picture.image.shape[:2]
    try:
        check_names(values, (IMAGE, *PARAMETERS, *GIVEN))
        params = read_parameters({name: values[name] for name in PARAMETERS if name in values})
        drawn, depth = (
            None if values.get(name) is None else decode_picture(values[name], name, most_pixels)
            for name in GIVEN
        )
        given = Given(
            None if drawn is None else to_mask(drawn, height, width),
            None if depth is None else to_depth(depth, height, width),
        )
    except (InvalidParameter, PictureError) as error:
        raise Problem(422, str(error)) from error
    return Request(picture, params, given, frozenset(values) & frozenset(PARAMETERS))


def decode_picture(text: object, name: str, most_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file from base64, with or without `data:image/...;base64,` in front.

    Addresses and paths are refused: a server must not open files for whoever asks.
    """
    if not isinstance(text, str):
        raise Problem(422, f"{name} is not text; {INSTEAD}.")
    if text.lstrip()[:8].lower().startswith(ADDRESSES):
        raise Problem(422, f"{name} is an address, and addresses are not opened; {INSTEAD}.")
    head, comma, tail = text.partition(",")
    if text.startswith("data:") and comma and head.endswith(";base64"):
        text = tail
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not SIGNATURES.match(data):
        raise Problem(
            422,
            f"{name} is no PNG, JPEG or WebP file in base64, and file paths are not opened; "
            f"{INSTEAD}.",
        )
    try:
        return read_picture(data, Path(name), most_pixels)
    except PictureError as error:
        raise Problem(422, str(error)) from error


def read_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = "a number has too many digits" if "integer string" in str(error) else error
        raise Problem(422, f"The body is not JSON ({said}).") from error
    if not isinstance(values, dict):
        raise Problem(422, 'The body must be a JSON object, such as {"image": "…"}.')
    return values


# --- bodies of answers


def answer_hints(image: Image, hints: Hints) -> dict[str, Any]:
    """Return the answer to /hints. image: (H, W, 3), the picture asked about."""
    poses = Poses.of(hints.meshes, *image.shape[:2])
    return {
        **describe_found(image, hints),
        "notes": list(hints.notes),
        "depth": to_text(encode_map(hints.maps.control)),
        "mask": to_text(encode_map(draw_mask(hints.maps.mask))),
        "overlay": to_text(encode_map(draw_overlay(image, hints))),
        "pose": poses.pose,
        "openpose": poses.openpose,
        "openpose_image": to_text(encode_map(poses.drawn)),
    }


def answer_refine(picture: Picture, result: RefineResult, params: RefineParams) -> dict[str, Any]:
    """Return the answer to /refine."""
    return {
        **describe_found(picture.image, result.hints),
        "image": to_text(encode_picture(picture, result.image)),
        "decisions": [describe_decision(decision, result.hints) for decision in result.decisions],
        "notes": [*picture.notes, *result.hints.notes, *result.notes],
        "candidates": [to_text(encode_png(candidate)) for candidate in result.candidates],
        "infotext": {**to_infotext(params), REPORT: say_result(result)},
    }


def to_text(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")
