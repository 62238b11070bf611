"""Files that belong to a picture: its pose, the mask drawn for it, a depth map of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.files.marks import digest
from handrefiner_ext.files.naming import Job, fold
from handrefiner_ext.files.sources import list_pictures, sort_out, walk
from handrefiner_ext.hands.posed import parse_pose
from handrefiner_ext.pictures import Picture, read_file, read_picture, to_depth, to_mask
from handrefiner_ext.types import Given

POSE_ENDINGS = ("", "_pose", "_openpose", "_keypoints")
MASK_ENDINGS = ("", "_mask")
DEPTH_ENDINGS = ("_depth", "")
"""What may follow a picture's name, the likelier first."""


def read_pose(job: Job, place: Path) -> str:
    """Return the text of the pose file `place`, or of the picture's own where that is a folder.

    PictureError where it cannot be read, or is no pose.
    """
    path = place
    if place.is_dir():
        folder = place / job.under
        names = [job.source.stem + ending for ending in POSE_ENDINGS]
        found = [folder / f"{name}.json" for name in names if (folder / f"{name}.json").is_file()]
        if not found:
            raise PictureError(
                f"{folder} holds no pose for {job.source.name}; name it {names[0]}.json or "
                f"{names[1]}.json."
            )
        path = found[0]
    try:
        text = read_file(path).decode("utf-8-sig")
        parse_pose(text)
    except UnicodeDecodeError as error:
        raise PictureError(f"{path} is not text in UTF-8.") from error
    except InvalidParameter as error:
        raise PictureError(f"{path}: {error}") from error
    return text


@dataclass(frozen=True)
class Beside:
    """A picture file that belongs to another, as it was read."""

    path: Path
    data: bytes

    @property
    def picture(self) -> Picture:
        return read_picture(self.data, self.path)


@dataclass(frozen=True)
class GivenFiles:
    """The drawn mask and the depth map of a picture, where there are any."""

    drawn_mask: Beside | None = None
    depth_in: Beside | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """What differs where one of them is another file; without a depth map as it always was."""
        mask = "" if self.drawn_mask is None else digest(self.drawn_mask.data)
        return (mask,) if self.depth_in is None else (mask, digest(self.depth_in.data))

    def fit(self, picture: Picture) -> Given:
        """Return them as arrays of the picture's size; PictureError where one is not possible."""
        size = (picture.image.shape[0], picture.image.shape[1])
        mask, depth = self.drawn_mask, self.depth_in
        return Given(
            None if mask is None else to_mask(mask.picture, *size),
            None if depth is None else to_depth(depth.picture, *size),
        )


def read_given(job: Job, drawn_mask: Path | None, depth_in: Path | None) -> GivenFiles:
    """Read the files, or the picture's own where those are folders."""
    return GivenFiles(
        _read_beside(job, drawn_mask, MASK_ENDINGS, "mask"),
        _read_beside(job, depth_in, DEPTH_ENDINGS, "depth map"),
    )


def _read_beside(job: Job, place: Path | None, endings: Sequence[str], what: str) -> Beside | None:
    if place is None:
        return None
    path = find_beside(place / job.under, job.source, endings, what) if place.is_dir() else place
    return Beside(path, read_file(path))


@lru_cache(maxsize=2)
def _index_pictures(folder: Path, changed_ns: int) -> Mapping[str, Path]:
    """Return folded stem -> picture; the folder is listed again only once it has changed."""
    return {fold(path.stem): path for path in list_pictures(folder)}


def find_beside(folder: Path, source: Path, endings: Sequence[str], what: str) -> Path:
    """Return the picture in a folder that has the name of `source` with one of the endings."""
    held = _index_pictures(folder, folder.stat().st_mtime_ns) if folder.is_dir() else {}
    for ending in endings:
        path = held.get(fold(source.stem + ending))
        if path is not None:
            return path
    names = " or ".join(f"{source.stem}{ending}.png" for ending in endings)
    raise PictureError(f"{folder} holds no {what} for {source.name}; name it {names}.")


def list_given_files(places: Iterable[Path | None]) -> list[Path]:
    """Return the files among `places`, and the pictures in those that are folders."""
    found: list[Path] = []
    for place in places:
        if place is not None and place.is_dir():
            found += [place / name for name in sort_out(walk(place, set(), True)[0]).pictures]
        elif place is not None:
            found.append(place)
    return found
