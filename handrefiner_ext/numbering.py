"""The numbers by which users know the hands of a picture."""

from __future__ import annotations

from collections.abc import Sequence

from handrefiner_ext.types import HandMesh, Hints


def number_meshes(meshes: Sequence[HandMesh]) -> tuple[int, ...]:
    """Their numbers as users count hands; by their places where the hands were not counted."""
    return tuple(mesh.hand.number or place for place, mesh in enumerate(meshes, start=1))


def number_of(mesh: int, hints: Hints) -> int:
    """The user's number of a mesh, from its place among the meshes."""
    return number_meshes(hints.meshes)[mesh]
