"""`handrefiner gestures`: list, draw, add and remove named poses of the fingers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import PictureError, UsageError, escape

DONE = 0
SIDE_PX, COLUMNS = 160, 8
DRAWN = "handrefiner gestures draw"
"""Source in the mark of a picture of gestures."""


def add_gestures(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its actions."""
    gestures = commands.add_parser(
        "gestures",
        help="list, draw, add and remove named poses of the fingers (--gesture)",
        description="Named poses of the fingers, which --gesture gives to hands. Your own are kept "
        "in a file that the WebUI's panel shares.",
        allow_abbrev=False,
    )
    actions = gestures.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list all names, yours last, and where yours are")
    listing.set_defaults(run=_list)
    drawing = actions.add_parser("draw", help="draw all into one picture")
    drawing.add_argument("picture", metavar="FILE", help="a .png to write")
    drawing.set_defaults(run=_draw)
    adding = actions.add_parser("add", help="take the fingers of a hand in a picture as a gesture")
    adding.add_argument("name", metavar="NAME", help="what to call it")
    adding.add_argument("picture", metavar="PICTURE", help="a photograph or drawing of a hand")
    adding.add_argument(
        "--hands",
        default="largest",
        metavar="WHICH",
        help="which hand of the picture, as --hands of refine (default: largest)",
    )
    adding.set_defaults(run=_add)
    removing = actions.add_parser("remove", help="remove one of yours")
    removing.add_argument("name", metavar="NAME")
    removing.set_defaults(run=_remove)


def _list(options: argparse.Namespace) -> int:
    from handrefiner_ext.hands.gestures import load_gestures, load_own, own_place

    own = load_own()
    for name in load_gestures():
        print(f"{name}{' (yours)' if name in own else ''}")
    print(f"Yours are kept in {escape(str(own_place()))}.")
    return DONE


def _draw(options: argparse.Namespace) -> int:
    import numpy as np

    from handrefiner_ext.files.marks import Mark
    from handrefiner_ext.hands.gesture_pictures import draw_gesture
    from handrefiner_ext.hands.gestures import load_gestures
    from handrefiner_ext.pictures import encode_map, write_atomically
    from handrefiner_ext.registry import AUTO, RENDERERS

    place = Path(options.picture)
    _check_drawable(place)
    renderer = RENDERERS.build(AUTO)
    tiles = [draw_gesture(gesture, renderer, SIDE_PX) for gesture in load_gestures().values()]
    tiles += [np.full_like(tiles[0], tiles[0][0, 0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    write_atomically(place, encode_map(np.vstack(rows), (Mark(DRAWN).chunk,)))
    print(f"{', '.join(load_gestures())} -> {escape(options.picture)}")
    return DONE


def _check_drawable(place: Path) -> None:
    """Raise HandRefinerError where a picture of gestures would be no PNG, or replace another."""
    from handrefiner_ext.files.marks import read_head, read_mark

    if place.suffix.lower() != ".png":
        raise UsageError(f"{place} is written as PNG; give a name that ends in .png.")
    head = read_head(place)
    mark = read_mark(head) if head else None
    if head is not None and (mark is None or mark.source != DRAWN):
        raise PictureError(
            f"{place} exists and is no picture of gestures, so it is kept; give another name."
        )


def _add(options: argparse.Namespace) -> int:
    from handrefiner_ext.hands.gestures import save_gesture
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.pictures import load_picture
    from handrefiner_ext.pipeline import read_fingers
    from handrefiner_ext.stages import build_stages
    from handrefiner_ext.types import ModelHome

    params = RefineParams(hands=options.hands)
    stages = build_stages(params, ModelHome())
    pose = read_fingers(load_picture(Path(options.picture)).image, params, stages)
    made = save_gesture(options.name, pose)
    print(f"{made.name}: the fingers of the {pose.handedness} hand in {escape(options.picture)}")
    return DONE


def _remove(options: argparse.Namespace) -> int:
    from handrefiner_ext.hands.gestures import remove_gesture

    remove_gesture(options.name)
    print(f"{escape(options.name)} was removed.")
    return DONE
