"""The pictures that `handrefiner dataset` wrote, and the order and the masks they are shown with.

All chance is a function of the seed, the step and the place in its batch. So a run that was
interrupted goes on exactly as if it had not been, and the number of processes changes nothing.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.writing import FOLDERS, METADATA
from handrefiner_ext.errors import PictureError
from handrefiner_ext.geometry.boxes import bounding_box, clip, resize_grey
from handrefiner_ext.types import Box, Image, Mask

NARROWEST, WIDEST = 0.05, 0.4
"""How far a mask may reach beyond the hand, as shares of the longer side of the hand's box."""
SILHOUETTES = 0.25
"""Share of the masks that follow the outline of the hand; the others are boxes."""
ORDER, DRAW = range(2)
HIDDEN_FROM = 0.85
"""Timestep from which on a picture may be hidden wholly: sampling begins there, whatever its
number of steps is."""


@dataclass(frozen=True)
class Example:
    """A picture. image: (s, s, 3). control: (s, s), depth; 0 where no hand is. prompt: in words."""

    image: Image
    control: Image
    prompt: str


@dataclass(frozen=True)
class Draw:
    """What chance decides about one place in a batch.

    number: of the picture. timestep: from 0 to 1, as a share of all. noise_seed: of the noise.
    shows_prompt, shows_control: whether the prompt, and the depth, may be seen. hides_picture:
    whether there is nothing but noise. rng: for the mask.
    """

    number: int
    timestep: float
    noise_seed: int
    shows_prompt: bool
    shows_control: bool
    rng: np.random.Generator
    hides_picture: bool = False


@dataclass(frozen=True)
class Chances:
    """The seed, and how often the prompt, the depth and the picture itself are hidden."""

    seed: int
    hides_prompt: float
    hides_control: float = 0.0
    hides_picture: float = 0.0

    def draw(self, place: int, count: int) -> Draw:
        """Decide about the example at `place`, counted from the first step on, of `count`."""
        rng = np.random.default_rng([self.seed, DRAW, place])
        timestep, prompt, control = rng.uniform(size=3)
        noise_seed = int(rng.integers(2**62))
        hides_picture = self.hides_picture > 0.0 and bool(rng.uniform() < self.hides_picture)
        if hides_picture:
            timestep = HIDDEN_FROM + (1.0 - HIDDEN_FROM) * timestep
        return Draw(
            number=int(_order(self.seed, place // count, count)[place % count]),
            timestep=float(timestep),
            noise_seed=noise_seed,
            shows_prompt=bool(prompt >= self.hides_prompt),
            shows_control=bool(control >= self.hides_control),
            rng=rng,
            hides_picture=hides_picture,
        )


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, ORDER, epoch]).permutation(count)


class HandSet:
    """The well-formed pictures of a set, from a folder with metadata.jsonl or from its shards.

    Malformed ones are passed over: their control image shows the hand as it should be.
    skipped: how many. Raises PictureError if `folder` is no such set.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        entries = list(_list_entries(folder))
        self._entries = [entry for entry in entries if not entry.malformed]
        self.skipped = len(entries) - len(self._entries)
        if not self._entries:
            raise PictureError(
                f"{folder} has no well-formed pictures to train on; make some with: handrefiner "
                f"dataset --count 1000 --out_dir {folder}."
            )

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> Example:
        entry = self._entries[number]
        image = _decode(entry.read_image(), cv2.IMREAD_COLOR, entry.name)[..., ::-1]
        control = _decode(entry.read_control(), cv2.IMREAD_GRAYSCALE, entry.name)
        return Example(fit(image, self.size), fit_depth(control, self.size), entry.prompt)


def fit(picture: Image, size: int) -> Image:
    """Return a square picture with sides of `size` pixels."""
    side = (size, size)
    if picture.shape[:2] == side:
        return np.ascontiguousarray(picture)
    way = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, side, interpolation=way), dtype=np.uint8)


def fit_depth(control: Image, size: int) -> Image:
    """The same for depth, as `refine` scales it: the empty background does not blur into a hand."""
    return control if control.shape == (size, size) else resize_grey(control, size, size)


def draw_mask(control: Image, rng: np.random.Generator) -> Mask:
    """Return a mask (s, s) around every hand of a control image, padded at random.

    Most are boxes, as `refine` makes them, with another padding on each side; the others follow the
    outline. Random padding is the paper's: the network must not learn that a hand fills its mask.
    """
    mask = np.zeros(control.shape, dtype=bool)
    count, labels = cv2.connectedComponents((control > 0).astype(np.uint8))
    for label in range(1, count):
        rows, columns = np.nonzero(labels == label)
        box = bounding_box(np.column_stack([columns, rows]))
        pads = max(box.width, box.height) * rng.uniform(NARROWEST, WIDEST, 4)
        left, top, right, bottom = (round(float(pad)) for pad in pads)
        if rng.uniform() < SILHOUETTES:
            shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * left + 1, 2 * left + 1))
            mask |= cv2.dilate((labels == label).astype(np.uint8), shape) > 0
        else:
            wide = Box(box.x0 - left, box.y0 - top, box.x1 + right, box.y1 + bottom)
            mask[clip(wide, *control.shape).slices] = True
    return mask


@dataclass(frozen=True)
class _Entry:
    name: str
    prompt: str
    malformed: bool
    read_image: Callable[[], bytes]
    read_control: Callable[[], bytes]


def _list_entries(folder: Path) -> Iterator[_Entry]:
    shards = sorted(folder.glob("*.tar"))
    try:
        if (folder / METADATA).is_file():
            yield from _list_files(folder)
        elif shards:
            for shard in shards:
                yield from _list_members(shard)
        else:
            raise PictureError(
                f"{folder} is no set of handrefiner dataset: it holds neither {METADATA} nor "
                "archives."
            )
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PictureError(
            f"{folder} is not a set as handrefiner dataset writes it ({error}); make it anew."
        ) from error


def _list_files(folder: Path) -> Iterator[_Entry]:
    for line in (folder / METADATA).read_text("utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        image = folder / str(row["file_name"])
        control = folder / FOLDERS["conditioning_image"] / image.name
        for place in (image, control):
            if not place.is_file():  # said before hours are lost
                raise ValueError(f"{place.relative_to(folder)!s} is missing")
        yield _Entry(
            image.name, str(row["text"]), row["malformed"], image.read_bytes, control.read_bytes
        )


def _list_members(shard: Path) -> Iterator[_Entry]:
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            name, _, ending = member.name.partition(".")
            places.setdefault(name, {})[ending] = (member.offset_data, member.size)
    for name, members in places.items():
        row: dict[str, Any] = json.load(io.BytesIO(_read_part(shard, *members["json"])))
        read = [partial(_read_part, shard, *members[ending]) for ending in ("png", "control.png")]
        yield _Entry(name, str(row["text"]), row["malformed"], *read)


def _read_part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def _decode(data: bytes, kind: int, name: str) -> Image:
    picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), kind) if data else None
    if picture is None:
        raise PictureError(f"The set's picture {name} is damaged; make the set anew.")
    return np.asarray(picture, dtype=np.uint8)
