"""Backend `draft`: the fitted mesh itself, lit like the old hand and laid into the picture.

This is not diffusion: nothing is generated. It is a preview, the fallback where no weights
exist, and later the start image from which diffusion goes on.
"""

from __future__ import annotations

import numpy as np

from handrefiner_ext.inpaint.blend import Canvas, order_from_far
from handrefiner_ext.inpaint.draw import draw_hand
from handrefiner_ext.inpaint.remove import remove_hand
from handrefiner_ext.inpaint.study import study_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import ControlMaps, HandMesh, Image


class DraftInpainter:
    """Removes each old hand, renders the new one in its skin and light, and blends it in.

    Not diffusion but a preview, a fallback and a start image; `strength` has no meaning here.
    """

    name = "draft"

    def paint(
        self, image: Image, meshes: tuple[HandMesh, ...], maps: ControlMaps, params: RefineParams
    ) -> Image:
        """`image` with new hands inside `maps.mask`; the very same object where that is empty."""
        if not maps.mask.any():
            return image
        found = (study_hand(image, mesh, maps, number) for number, mesh in enumerate(meshes))
        studies = {study.number: study for study in found if study is not None}
        canvas = Canvas(image.copy(), maps, params.mask_blur, np.random.default_rng(params.seed))
        for study in studies.values():
            canvas.lay(remove_hand(image, study, list(studies.values())))
        drawn: tuple[int, ...] = ()
        for number in order_from_far(list(studies), maps):
            patch = draw_hand(image, studies[number], maps)
            if patch is not None:
                canvas.lay(patch, behind=drawn)
            drawn = (*drawn, number)
        return canvas.picture
