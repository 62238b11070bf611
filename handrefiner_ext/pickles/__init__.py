"""Readers for pickled weights in which nothing from the file is ever called.

`pickle.Unpickler` calls whatever a file names; an allow-list in front of it still runs
constructors and `__setstate__`. Here a small stack machine only notes what would have been called
(`machine.Built`), and the readers translate the few names they know into arrays or tensors.
"""

from __future__ import annotations

from handrefiner_ext.pickles.arrays import SparseMatrix, read_arrays
from handrefiner_ext.pickles.bounds import printable
from handrefiner_ext.pickles.modules import ModuleContent, read_module
from handrefiner_ext.pickles.tensors import read_tensors

__all__ = [
    "ModuleContent",
    "SparseMatrix",
    "printable",
    "read_arrays",
    "read_module",
    "read_tensors",
]
