"""Bodies of requests and answers, and their pydantic models.

The models are derived from records by `create_model`, which pydantic 1 (AUTOMATIC1111) and 2
(Forge) both take in the same form.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from types import GenericAlias, UnionType
from typing import Any, Literal, Optional, Union, get_args, get_origin, get_type_hints

from pydantic import Field, create_model

from handrefiner_ext.api.body import IMAGE, ParameterReport, SchemaReport, describe_parameters
from handrefiner_ext.api.worker import ControlModel, ModelsReport, VersionReport
from handrefiner_ext.report import (
    DecisionReport,
    HandReport,
    QualityReport,
    RefusalReport,
    told,
)

build: Any = create_model
KINDS: dict[str, Any] = {"boolean": bool, "integer": int, "number": float, "string": str}
TITLES = {
    HandReport: "HandRefinerHand",
    RefusalReport: "HandRefinerSkipped",
    QualityReport: "HandRefinerQuality",
    DecisionReport: "HandRefinerDecision",
    ParameterReport: "HandRefinerParameter",
    ControlModel: "HandRefinerControlModel",
}
"""Record -> the name of its model in OpenAPI."""


def derive(kind: type, title: str) -> Any:
    """Return the pydantic model of a record: its members with their descriptions, all required."""
    hints = get_type_hints(kind)
    members = {
        f.name: (_translate(hints[f.name]), Field(..., description=f.metadata["told"]))
        for f in fields(kind)
    }
    model = build(title, **members)
    model.__doc__ = (kind.__doc__ or "").partition("\n")[0]
    return model


@cache
def _derive_nested(kind: type) -> Any:
    return derive(kind, TITLES[kind])


def _translate(hint: Any) -> Any:
    """Return a type hint with models instead of records.

    `X | None` becomes Optional, because pydantic 1 on Python 3.10 does not know the former.
    """
    if hint in TITLES:
        return _derive_nested(hint)
    parts = tuple(_translate(part) for part in get_args(hint))
    if isinstance(hint, UnionType):
        return Union.__getitem__(parts)
    return GenericAlias(get_origin(hint), parts) if parts else hint


def _request_model() -> Any:
    members: dict[str, Any] = {
        IMAGE: (str, Field(..., description="PNG, JPEG or WebP as base64; no path, no address."))
    }
    for said in describe_parameters():
        choices = said.choices
        kind = KINDS[said.type] if choices is None else Literal.__getitem__(tuple(choices))
        limits = {"ge": said.minimum, "le": said.maximum}
        given: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
        kind = kind if said.default is not None else Optional[str]  # noqa: UP045
        members[said.name] = (
            kind,
            Field(said.default, title=said.label, description=said.help, **given),
        )
    return build("HandRefinerRequest", **members)


def json_schema(model: Any) -> dict[str, Any]:
    """Return the JSON schema of a model without nested ones."""
    write = getattr(model, "model_json_schema", None) or model.schema
    schema: dict[str, Any] = write()
    return schema


REQUEST_SCHEMA = json_schema(_request_model())


@dataclass(frozen=True)
class ProblemReport:
    """The reason of a refusal."""

    detail: str = told("What is wrong and what to do.")


Problem = derive(ProblemReport, "HandRefinerProblem")
Version = derive(VersionReport, "HandRefinerVersion")
Schema = derive(SchemaReport, "HandRefinerSchema")
Models = derive(ModelsReport, "HandRefinerModels")


@dataclass(frozen=True)
class HintsReport:
    """Everything known before painting."""

    width: int = told("Of the picture, upright.")
    height: int = told("Of the picture, upright.")
    hands: list[HandReport] = told("Hands with a mesh, from left to right.")
    skipped: list[RefusalReport] = told("Hands that are left alone.")
    notes: list[str] = told("What else is worth knowing.")
    depth: str = told("Control image, PNG as base64.")
    mask: str = told("White where pixels may change, PNG as base64.")
    overlay: str = told("The picture with what was found, PNG as base64.")
    pose: dict[str, Any] = told("The hands as a pose, which `pose` takes again (as text).")
    openpose: dict[str, Any] = told("The hands' keypoints in OpenPose's form.")
    openpose_image: str = told("The keypoints as openpose models take them, PNG as base64.")


@dataclass(frozen=True)
class RefineReport:
    """The picture and what was decided."""

    width: int = told("Of the picture, upright.")
    height: int = told("Of the picture, upright.")
    hands: list[HandReport] = told("Hands with a mesh, from left to right.")
    skipped: list[RefusalReport] = told("Hands that are left alone.")
    image: str = told("The picture, PNG as base64.")
    decisions: list[DecisionReport] = told("One for each hand.")
    notes: list[str] = told("What else is worth knowing.")
    candidates: list[str] = told("Every picture painted to choose from, PNG as base64.")
    infotext: dict[str, str] = told("What the WebUI would write below the picture, by name.")


HintsAnswer = derive(HintsReport, "HandRefinerHints")
RefineAnswer = derive(RefineReport, "HandRefinerRefined")
