"""`handrefiner dataset`: labelled pictures of hands, as many as asked for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.cli.options import LOCAL, RAY, read_count, read_digits
from handrefiner_ext.errors import PictureError, UsageError, escape, show

if TYPE_CHECKING:
    from handrefiner_ext.dataset import Options
    from handrefiner_ext.dataset.writing import Encoded, Work

DONE, FAILED = 0, 1
SMALLEST, LARGEST = 64, 2048


def add_dataset(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command; what it needs is imported when it runs."""
    dataset = commands.add_parser(
        "dataset",
        help="render labelled pictures of hands, for training",
        description="Renders pictures of hands with their control image, mask, prompt and truth "
        "(joints, camera, side, gesture, fault). One seed always makes the same set.",
        allow_abbrev=False,
    )
    dataset.add_argument("--count", required=True, metavar="N", help="scenes to render")
    dataset.add_argument("--seed", default="0", metavar="S", help="a whole number (0)")
    dataset.add_argument("--out_dir", required=True, metavar="D", help="a new or empty folder")
    dataset.add_argument("--size", default="512", metavar="N", help="pixels of each side (512)")
    dataset.add_argument(
        "--malformed", default="0", metavar="V", help="share of scenes drawn malformed, 0 to 1 (0)"
    )
    dataset.add_argument(
        "--twins",
        action="store_true",
        help="draw every scene twice: well formed, and malformed with nothing else changed",
    )
    dataset.add_argument(
        "--drafts",
        default="0",
        metavar="V",
        help="share of pictures whose hands are painted by the backend draft, 0 to 1 (0)",
    )
    dataset.add_argument(
        "--styles", metavar="A,B", help="photo, render, painting, toon, flat, line, sketch (all)"
    )
    dataset.add_argument(
        "--backgrounds", metavar="D", help="folder of pictures to cut backgrounds from"
    )
    dataset.add_argument(
        "--shards",
        metavar="N",
        help="write N WebDataset archives instead of single files with metadata.jsonl",
    )
    dataset.add_argument(
        "--jobs", type=read_count, metavar="N", help="processes, or cores of Ray (all cores)"
    )
    dataset.add_argument(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help='ray renders on a cluster; it needs the extra "cluster" (local)',
    )
    dataset.add_argument("--address", metavar="A", help="a running Ray cluster, for --engine ray")
    dataset.set_defaults(run=_run_dataset)


def _run_dataset(options: argparse.Namespace) -> int:
    count, seed = _read_whole(options, "count", 1), _read_whole(options, "seed", 0)
    shards = None if options.shards is None else _read_whole(options, "shards", 1)
    if shards is not None and shards > count:
        raise UsageError(f"--shards {shards} is more than --count {count}; give fewer shards.")
    if options.address is not None and options.engine != RAY:
        raise UsageError("--address is for --engine ray; add that, or leave it out.")
    wanted = _read_options(options)
    from handrefiner_ext.dataset.writing import Work, check_empty, write_folder, write_shards
    from handrefiner_ext.files.outputs import open_folder

    folder = open_folder(options.out_dir)
    check_empty(folder)
    lost: list[str] = []
    made = _make(options, Work(seed, wanted), count, lost)
    written = write_folder(folder, made)
    if shards is not None:
        written = write_shards(folder, made, shards, count)
    _tell(written, count, folder)
    for sentence in lost:
        print(f"handrefiner: {sentence}", file=sys.stderr)
    return FAILED if lost else DONE


def _make(
    options: argparse.Namespace, work: Work, count: int, lost: list[str]
) -> Iterator[list[Encoded]]:
    """Yield every scene's pictures, in order; none for a scene that is then named in `lost`."""
    jobs = options.jobs
    if options.engine == RAY:
        from handrefiner_ext.cluster.session import map_on_ray

        return map_on_ray(work, range(count), options.address, jobs)
    from handrefiner_ext.dataset.workers import map_in_order

    def lose(number: int, how: str) -> list[Encoded]:
        lost.append(
            f"Scene {number} was not rendered: its process {how}, also when it was tried alone. "
            "The others are there."
        )
        return []

    return map_in_order(work, range(count), jobs or _count_cores(), lose)


def _tell(written: Iterator[int], count: int, folder: Path) -> None:
    from tqdm import tqdm

    pictures = 0
    with tqdm(total=count, unit="scene", mininterval=1.0) as bar:
        for more in written:
            pictures += more
            bar.update()
    print(f"{pictures} pictures of {count} scenes -> {escape(str(folder))}")


def _count_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_options(options: argparse.Namespace) -> Options:
    """Return what to render; UsageError for what is impossible."""
    size = _read_whole(options, "size", SMALLEST)
    if size > LARGEST:
        raise UsageError(f"--size = {size} is not possible; it must be at most {LARGEST}.")
    malformed, drafts = _read_share(options, "malformed"), _read_share(options, "drafts")
    if options.twins and malformed:
        raise UsageError("--twins draws every scene malformed too; leave out --malformed.")
    from handrefiner_ext.dataset import Options
    from handrefiner_ext.dataset.looks import STYLES

    styles = tuple(options.styles.split(",")) if options.styles else tuple(STYLES)
    unknown = [name for name in styles if name not in STYLES]
    if unknown:
        raise UsageError(f"--styles: {unknown[0]!r} is not one of {', '.join(STYLES)}.")
    return Options(
        size=size,
        malformed=malformed,
        twins=options.twins,
        drafts=drafts,
        styles=styles,
        backgrounds=_list_backgrounds(options.backgrounds),
    )


def _list_backgrounds(name: str | None) -> tuple[Path, ...]:
    """Return the folder's pictures, sorted by name."""
    if name is None:
        return ()
    folder = Path(name)
    if not folder.is_dir():
        raise PictureError(f"--backgrounds {folder} is not a folder.")
    from handrefiner_ext.files.sources import list_pictures

    pictures = tuple(list_pictures(folder))
    if not pictures:
        raise PictureError(f"--backgrounds {folder} holds no pictures.")
    return pictures


def _read_whole(options: argparse.Namespace, name: str, least: int) -> int:
    text = getattr(options, name)
    number = read_digits(text)
    if number is None or number < least:
        raise UsageError(
            f"--{name} = {show(text)} is not possible; it must be a whole number from {least}."
        )
    return number


def _read_share(options: argparse.Namespace, name: str) -> float:
    text = getattr(options, name)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"--{name} = {show(text)} is not possible; it must be from 0 to 1.")
    return share
