"""Weights that do not ship with the package: which there are, where they are, how to get them."""

from __future__ import annotations

from handrefiner_ext.weights.places import Places, find, standard_places

__all__ = ["Places", "find", "standard_places"]
