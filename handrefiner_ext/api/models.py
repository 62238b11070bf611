"""What goes in and out, for OpenAPI; built in the one way that pydantic 1 and 2 share."""

from __future__ import annotations

from types import GenericAlias
from typing import Any, Literal, Optional

from pydantic import Field, create_model

from handrefiner_ext.api.body import IMAGE
from handrefiner_ext.api.schema import describe_parameters

# The values below are read at run time, where Python 3.10's `X | None` and pydantic 1 disagree.
Number = Optional[float]  # noqa: UP045
Text = Optional[str]  # noqa: UP045
build: Any = create_model
KINDS: dict[str, Any] = {"boolean": bool, "integer": int, "number": float, "string": str}


def record(title: str, doc: str, /, **members: tuple[Any, str]) -> Any:
    """A model whose members are (type, description), all of them required."""
    described = {key: (kind, Field(..., description=text)) for key, (kind, text) in members.items()}
    model = build(title, **described)
    model.__doc__ = doc
    return model


def each(model: Any) -> Any:
    """The type of a list of `model`."""
    return GenericAlias(list, (model,))


def _request_model() -> Any:
    members: dict[str, Any] = {
        IMAGE: (str, Field(..., description="PNG or JPEG as base64; no path, no address."))
    }
    for said in describe_parameters():
        choices = said["choices"]
        kind = KINDS[said["type"]] if choices is None else Literal.__getitem__(tuple(choices))
        limits = {"ge": said["minimum"], "le": said["maximum"]}
        given = {key: value for key, value in limits.items() if value is not None}
        kind = kind if said["default"] is not None else Text
        members[said["name"]] = (
            kind,
            Field(said["default"], title=said["label"], description=said["help"], **given),
        )
    return build("HandRefinerRequest", **members)


def json_schema(model: Any) -> dict[str, Any]:
    """The JSON schema of a model without nested ones."""
    write = getattr(model, "model_json_schema", None) or model.schema
    schema: dict[str, Any] = write()
    return schema


REQUEST_SCHEMA = json_schema(_request_model())

Problem = record("HandRefinerProblem", "Why not.", detail=(str, "What is wrong and what to do."))
Version = record(
    "HandRefinerVersion",
    "Who answers.",
    version=(str, "Of the extension."),
    host=(str, "The program that serves it."),
    computes=(bool, "Whether /hints and /refine are there; the WebUI needs --api for them."),
)
Parameter = record(
    "HandRefinerParameter",
    "One parameter.",
    name=(str, "Key in requests."),
    type=(str, "boolean, integer, number or string."),
    default=(Any, "Value where none is given."),
    minimum=(Number, "Least value."),
    maximum=(Number, "Greatest value."),
    step=(Number, "A sensible step of a slider."),
    choices=(Optional[list[str]], "The values that are possible, where they are few."),  # noqa: UP045
    label=(str, "Short name for people."),
    help=(str, "What it does."),
    position=(Optional[int], "Place in alwayson_scripts args; none for /hints and /refine only."),  # noqa: UP045
)
Schema = record(
    "HandRefinerSchema",
    "Every parameter, and what a request may hold.",
    parameters=(each(Parameter), "Those with a position first, in that order."),
    max_body_bytes=(int, "Longest body of a request."),
    max_pixels=(int, "Largest picture."),
)
ControlModel = record(
    "HandRefinerControlModel",
    "One installed control model.",
    name=(str, "Value for control_model."),
    recommended_strength=(Number, "Strength that suits it, where one is known."),
)
Models = record(
    "HandRefinerModels",
    "What can be chosen here.",
    control_models=(each(ControlModel), "Installed ControlNet models."),
    checkpoint_family=(Text, "Family of the loaded checkpoint."),
    chosen=(Text, "What control_model auto takes now."),
    reason=(str, "Why it takes that one, or none."),
    backends=(dict[str, dict[str, Text]], "Stage, name, and why it cannot be used (null: it can)."),
)
Box = list[int]
Points = list[list[float]]
Hand = record(
    "HandRefinerHand",
    "One hand; pixels, half-open boxes, pixel centres at halves.",
    number=(int, "Its number in the overlay, from 1."),
    handedness=(str, "left or right hand of the person."),
    assumed=(bool, "Whether nobody saw it: a relaxed hand, put where the mask was drawn."),
    handedness_score=(float, "Certainty of the side, 0.5 to 1."),
    score=(float, "Certainty that it is a hand, 0 to 1."),
    box=(Box, "x0, y0, x1, y1 of its landmarks."),
    landmarks=(Points, "21 points, wrist first, then thumb to little finger, base to tip."),
    joints_2d=(Points, "The same 21 points of the fitted mesh."),
    reprojection_error=(float, "Mean distance of the two, in hand sizes."),
    mesh=(str, "What reconstructed it."),
)
Skipped = record(
    "HandRefinerSkipped",
    "A hand left alone.",
    number=(Optional[int], "Its number; null where it was not counted as a hand."),  # noqa: UP045
    box=(Box, "Where."),
    reason=(str, "Why."),
)
FOUND = {
    "width": (int, "Of the picture, upright."),
    "height": (int, "Of the picture, upright."),
    "hands": (each(Hand), "Hands with a mesh, from left to right."),
    "skipped": (each(Skipped), "Hands that are left alone."),
}
HintsAnswer = record(
    "HandRefinerHints",
    "Everything known before painting.",
    **FOUND,
    notes=(list[str], "What else is worth knowing."),
    depth=(str, "Control image, PNG as base64."),
    mask=(str, "White where pixels may change, PNG as base64."),
    overlay=(str, "The picture with what was found, PNG as base64."),
)
Quality = record(
    "HandRefinerQuality",
    "How well formed a hand looks.",
    score=(float, "0 to 1; 0 where no hand is seen."),
    parts=(dict[str, float], "What it was made from: presence, steadiness, anatomy, form."),
)
Decision = record(
    "HandRefinerDecision",
    "What happened to one hand.",
    number=(int, "Number of the hand, from 1."),
    refined=(bool, "Whether it was repainted."),
    reason=(str, "Why, or why not."),
    distance_before=(Number, "Mean distance from its mesh in hand sizes; null: not found."),
    distance_after=(Number, "The same afterwards."),
    distance_px_before=(Number, "The distance in pixels."),
    distance_px_after=(Number, "The same afterwards."),
    pck_before=(Number, "Share of landmarks within a tenth of the hand from its mesh's joints."),
    pck_after=(Number, "The same afterwards."),
    strength=(Number, "What adaptive_strength found; null where it is off."),
    candidate=(Optional[int], "Number of the candidate kept, from 1; null without a choice."),  # noqa: UP045
    quality_before=(Optional[Quality], "Null where it was not measured."),  # noqa: UP045
    quality_after=(Optional[Quality], "Of the new hand, also where it was not kept."),  # noqa: UP045
)
RefineAnswer = record(
    "HandRefinerRefined",
    "The picture and what was decided.",
    **FOUND,
    image=(str, "The picture, PNG as base64."),
    decisions=(each(Decision), "One for each hand."),
    notes=(list[str], "What else is worth knowing."),
    candidates=(list[str], "Every picture painted to choose from, PNG as base64."),
)
