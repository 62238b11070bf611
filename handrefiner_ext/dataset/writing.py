"""A set on disk: pictures and `metadata.jsonl` as `datasets` reads them, or WebDataset shards.

Workers make and encode the pictures; one writer puts them down in the order of their numbers, so
that a set is the same, byte for byte, whatever made it.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.records import Sample
from handrefiner_ext.dataset.samples import Options, make_samples
from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures import draw_mask

METADATA = "metadata.jsonl"
FOLDERS = {"image": "images", "conditioning_image": "control", "mask": "mask"}
"""Column in `datasets` (under the names that diffusers' scripts expect) -> folder of its files."""
FILE_MODE = 0o644
PNG_EFFORT = 1


@dataclass(frozen=True)
class Encoded:
    """One picture of the set. files: column -> PNG. description: JSON of everything else."""

    name: str
    files: dict[str, bytes]
    description: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What a worker does with the number of a scene."""

    seed: int
    options: Options

    def __call__(self, number: int) -> list[Encoded]:
        return [encode(sample) for sample in make_samples(self.seed, number, self.options)]


def encode(sample: Sample) -> Encoded:
    """The picture, its control image and its mask as PNG."""
    mask = draw_mask(sample.maps.mask)
    pixels = {"image": sample.image, "conditioning_image": sample.maps.control, "mask": mask}
    files = {column: _to_png(values) for column, values in pixels.items()}
    return Encoded(sample.name, files, sample.describe())


def _to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Grey or RGB; grain hardly shrinks, so that more effort would be wasted."""
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    _, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])
    return data.tobytes()


def check_empty(folder: Path) -> None:
    """Raise PictureError where something lies in the folder already."""
    if any(folder.iterdir()):
        raise PictureError(
            f"{folder} is not empty; give a new folder, so that nothing is replaced."
        )


def write_folder(folder: Path, made: Iterable[list[Encoded]]) -> Iterator[int]:
    """Write the files and their lines; yields how many pictures each scene has given."""
    for name in FOLDERS.values():
        (folder / name).mkdir()
    with (folder / METADATA).open("w", encoding="utf-8", newline="\n") as lines:
        for scene in made:
            for picture in scene:
                named = {}
                for column, data in picture.files.items():
                    place = f"{FOLDERS[column]}/{picture.name}.png"
                    (folder / place).write_bytes(data)
                    named["file_name" if column == "image" else f"{column}_file_name"] = place
                lines.write(_to_json({**named, **picture.description}) + "\n")
            yield len(scene)


def write_shards(
    folder: Path, made: Iterable[list[Encoded]], shards: int, scenes: int
) -> Iterator[int]:
    """Write `shards` archives of about as many scenes each; yields as `write_folder` does."""
    numbered = enumerate(made)
    for shard in range(shards):
        end = scenes * (shard + 1) // shards
        with tarfile.open(
            folder / f"shard-{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT
        ) as tar:
            for number in range(scenes * shard // shards, end):
                found, scene = next(numbered)
                assert found == number
                for picture in scene:
                    _add_picture(tar, picture)
                yield len(scene)


def _add_picture(tar: tarfile.TarFile, picture: Encoded) -> None:
    """WebDataset's members: one name, an ending for each column."""
    members = {
        "png": picture.files["image"],
        "control.png": picture.files["conditioning_image"],
        "mask.png": picture.files["mask"],
        "txt": picture.description["text"].encode(),
        "json": _to_json(picture.description).encode(),
    }
    for ending, data in members.items():
        entry = tarfile.TarInfo(f"{picture.name}.{ending}")
        entry.size, entry.mode, entry.mtime = len(data), FILE_MODE, 0
        tar.addfile(entry, io.BytesIO(data))


def _to_json(description: dict[str, Any]) -> str:
    return json.dumps(description, allow_nan=False, separators=(",", ":"))
