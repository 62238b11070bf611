"""`handrefiner weights`: list, download, verify and convert files of weights."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import BackendUnavailable, WeightsError, how_to_install
from handrefiner_ext.weights.connection import Connection, read_connection
from handrefiner_ext.weights.manifest import GRAPHORMER, MANIFEST, Weights, WeightsFile, choose
from handrefiner_ext.weights.places import Places, find, standard_places

if TYPE_CHECKING:
    from tqdm import tqdm

    from handrefiner_ext.weights.places import Pin

DONE, FAILED = 0, 1


def add_weights(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its actions."""
    weights = commands.add_parser(
        "weights",
        help="list, download and verify files that do not ship with the package",
        description="Files of weights that do not ship with the package. Nothing here is needed "
        "for the embedded backends.",
        allow_abbrev=False,
    )
    weights.add_argument("--models_dir", metavar="D", help="folder to look in first, and to fill")
    actions = weights.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list all files, what each is for, and where it is")
    listing.set_defaults(run=_list)
    names = ", ".join(weights.name for weights in MANIFEST)
    fetching = actions.add_parser(
        "download", help="download files, or go on with an interrupted download"
    )
    fetching.add_argument("names", nargs="+", metavar="NAME", help=f"one of {names}")
    fetching.add_argument("--offline", action="store_true", help="do not use the network")
    fetching.set_defaults(run=_download)
    checking = actions.add_parser("verify", help="compare files with the checksums known for them")
    checking.add_argument("names", nargs="*", metavar="NAME", help="empty = all that are here")
    checking.set_defaults(run=_verify)
    unpinning = actions.add_parser(
        "unpin", help="forget the checksum of an earlier download, so that a new one is accepted"
    )
    unpinning.add_argument("names", nargs="+", metavar="FILE", help="a file's name, as list shows")
    unpinning.set_defaults(run=_unpin)
    converting = actions.add_parser(
        "convert", help="write graphormer's weights as .safetensors, which load faster"
    )
    converting.set_defaults(run=_convert)


def _places(options: argparse.Namespace) -> Places:
    return standard_places(Path(options.models_dir) if options.models_dir else None)


def _list(options: argparse.Namespace) -> int:
    places = _places(options)
    for weights in MANIFEST:
        print(f"{weights.name}: {weights.purpose}\n  licence: {weights.licence}")
        for file in weights.files:
            print(f"  {_describe(file, find(file.name, places))}")
    print(f"Downloads go to {places.target}.")
    return DONE


def _describe(file: WeightsFile, place: Path | None) -> str:
    if place is not None:
        return f"{file.name}: {place}"
    if file.url is None:
        return f"{file.name}: not here. {file.how}"
    size = f" ({file.size / 2**20:,.1f} MB)" if file.size else ""
    return f"{file.name}: not here{size}, from {file.url}"


def _download(options: argparse.Namespace) -> int:
    places, connection = _places(options), read_connection(os.environ, options.offline)
    chosen = [choose(name) for name in options.names]
    fetch = partial(_fetch, places=places, connection=connection)
    return _for_each([file for weights in chosen for file in weights.files], fetch)


def _fetch(file: WeightsFile, places: Places, connection: Connection) -> str:
    from handrefiner_ext.weights.download import download

    place = find(file.name, places)
    if place is not None:
        return f"{file.name} is here already: {place}"
    with _open_bar(file.name) as bar:
        place = download(file, places.target, connection, partial(_show, bar))
    return f"{file.name} -> {place}"


def _open_bar(name: str) -> tqdm[None]:
    from tqdm import tqdm

    return tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=None)


def _show(bar: tqdm[None], done: int, length: int | None) -> None:
    bar.total = length
    bar.update(done - bar.n)


def _verify(options: argparse.Namespace) -> int:
    places = _places(options)
    chosen: Iterable[Weights] = [choose(name) for name in options.names] or MANIFEST
    files = [file for weights in chosen for file in weights.files]
    here = files if options.names else [file for file in files if find(file.name, places)]
    if not here:
        print("There are no weights here to verify.")
    return _for_each(here, partial(_compare, places=places))


def _compare(file: WeightsFile, places: Places) -> str:
    """Return a sentence for a file that is as it should be; WeightsError for one that is not."""
    from handrefiner_ext.weights.places import measure

    place = find(file.name, places)
    if place is None:
        raise WeightsError(f"{file.name} is not here.")
    with _open_bar(file.name) as bar:
        found = measure(place, bar.update)
    expected = _known_pin(file, place)
    if expected is None:
        return f"{place}: {found.sha256}; no checksum is known to compare it with."
    if found.sha256 != expected:
        raise WeightsError(
            f"{place} has sha256 {found.sha256} but must have {expected}. Delete it and run: "
            "handrefiner weights download"
        )
    return f"{place}: as it must be ({found.sha256})."


def _unpin(options: argparse.Namespace) -> int:
    from handrefiner_ext.weights.places import remove_pin

    folder = _places(options).target
    for name in options.names:
        if not remove_pin(folder, name):
            raise WeightsError(f"No checksum of {name} is recorded in {folder}.")
        print(f"{name}: the checksum of the earlier download is forgotten.")
    return DONE


def _convert(options: argparse.Namespace) -> int:
    """Write MeshGraphormer's weights as .safetensors beside the file that they come from."""
    source = find(GRAPHORMER.name, _places(options))
    if source is None:
        raise WeightsError(
            f"{GRAPHORMER.name} is not here; run: handrefiner weights download graphormer"
        )
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise BackendUnavailable(f"Converting needs torch; run {how_to_install('torch')}.")
    from handrefiner_ext.mesh.graphormer.checkpoint import convert_to_safetensors

    target = source.with_suffix(".safetensors")
    convert_to_safetensors(source, target)
    print(f"{source} -> {target}; the mesh graphormer uses the new file from now on.")
    return DONE


def _known_pin(file: WeightsFile, place: Path) -> str | None:
    from handrefiner_ext.weights.places import read_pins

    pin: Pin | None = read_pins(place.parent).get(file.name)
    return file.sha256 or (pin.sha256 if pin else None)


def _for_each(files: Iterable[WeightsFile], work: Callable[[WeightsFile], str]) -> int:
    """Do the work for every file; a failure is reported and stops no other."""
    result = DONE
    for file in files:
        try:
            print(work(file))
        except WeightsError as error:
            print(f"handrefiner: {error}", file=sys.stderr)
            result = FAILED
    return result
