"""The embedded reconstructor: a freely licensed hand model, fitted to the landmarks in numpy."""

from handrefiner_ext.mesh.open_hand.backend import OpenHandReconstructor

__all__ = ["OpenHandReconstructor"]
