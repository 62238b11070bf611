"""The notebook in examples/ runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "examples" / "hands_before_and_after.ipynb"
pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the package alone is installed")


@pytest.fixture(scope="module")
def cells():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def run(cells):
    """Every name that the notebook leaves behind, and what each cell shows, as Jupyter runs it."""
    names, shown = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NOTEBOOK.parent)
        for cell in cells:
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, str(NOTEBOOK), "exec"), names)
            if last is not None:
                shown.append(
                    eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
                )
    return names, shown


def test_it_is_committed_without_outputs(cells):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_what_its_text_says_is_true_of_its_run(run):
    names, shown = run
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    assert len(pictures) == 4, "the picture, its maps, before and after, two depth maps"
    height, width = names["before"].shape[:2]
    assert [picture.size for picture in pictures[1:]] == [(2 * width, height)] * 3
    (outside,) = [value for value in shown if isinstance(value, int)]
    assert outside == 0
    assert names["found"]._repr_png_().startswith(b"\x89PNG")
    assert [decision.refined for decision in names["result"].decisions] == [True]
    assert not np.array_equal(names["maps"].control, names["other"].maps.control)
