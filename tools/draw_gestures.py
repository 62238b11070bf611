"""Draw the gestures that ship, for the panel: `python tools/draw_gestures.py`.

Run it after a change of assets/gestures.json or of how gestures are drawn; a test compares.
"""

from __future__ import annotations

from PIL import Image

from handrefiner_ext.hands.gesture_pictures import SHIPPED_PX, draw_cut_out, shipped_picture
from handrefiner_ext.hands.gestures import load_shipped
from handrefiner_ext.registry import RENDERERS


def main() -> None:
    """Write one PNG for each gesture."""
    renderer = RENDERERS.build("raster")
    for gesture in load_shipped().values():
        place = shipped_picture(gesture)
        assert place is not None
        place.parent.mkdir(exist_ok=True)
        picture = Image.fromarray(draw_cut_out(gesture, renderer, SHIPPED_PX))
        picture.quantize(64, method=Image.Quantize.FASTOCTREE).save(place, optimize=True)


if __name__ == "__main__":
    main()
