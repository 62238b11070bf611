"""What the options of `handrefiner hints` and `refine` ask for, checked together, as records."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handrefiner_ext.errors import PictureError, UsageError
from handrefiner_ext.knobs import CLI, DIFFUSERS, URL
from handrefiner_ext.params import fields_of
from handrefiner_ext.weights.manifest import PLAIN_DEPTH

# What works on pictures is imported when a command runs, so that --help answers at once.
if TYPE_CHECKING:
    from handrefiner_ext.files.run import Recipe
    from handrefiner_ext.files.sources import Prompted, Source
    from handrefiner_ext.types import ModelHome

from handrefiner_ext.cli.options import KEEP, MOST_OUTPUTS, MOST_RANDOM_SEED, RANDOM_SEED, RAY


@dataclass(frozen=True)
class Destinations:
    """Where to write, as the user named it: local folders, or addresses such as s3://bucket/out."""

    out: str
    depth: str | None = None
    mask: str | None = None
    candidates: str | None = None
    mesh: str | None = None
    backup: str | None = None
    pose: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Return those that were named."""
        return tuple(place for place in vars(self).values() if place)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return those that were named, as local folders."""
        return tuple(map(Path, self.all))


@dataclass(frozen=True)
class HintsCommand:
    """What one `handrefiner hints` asks for. images: files, folders and wildcards."""

    images: tuple[str, ...]
    places: Destinations
    recipe: Recipe
    recursive: bool = False


@dataclass(frozen=True)
class RefineCommand:
    """What one `handrefiner refine` asks for.

    random_seed: the seed that was drawn for --seed -1. count: outputs of each picture.
    jobs: pictures at a time, None = one (every core with Ray). url, login: of a running WebUI.
    on_ray: let Ray do the work. address: of a running Ray cluster, None = this machine.
    keeps: write under the name and in the format of the input. quality: of JPEG and WebP, None =
    the input's. apart: work on several pictures in a process of its own, since this one is nothing
    but the command.
    """

    source: Source
    places: Destinations
    recipe: Recipe
    random_seed: int | None = None
    count: int = 1
    resumes: bool = False
    log_json: Path | None = None
    report: Path | None = None
    jobs: int | None = None
    url: str = ""
    login: str = ""
    on_ray: bool = False
    address: str | None = None
    keeps: bool = False
    quality: int | None = None
    apart: bool = False

    @property
    def urls(self) -> dict[str, str]:
        """Return the folders that are addresses: "source", "out" or another output -> address."""
        folders = {"source": self.source.place, "out": self.places.out}
        folders |= {what: getattr(self.places, what) or "" for what in ("depth", "mask", "pose")}
        return {what: place.rstrip("/") for what, place in folders.items() if is_url(place)}


def read_hints(options: argparse.Namespace) -> HintsCommand:
    """Read and check the options of `handrefiner hints`."""
    values = _given_parameters(options)
    places = Destinations(options.out_dir, mesh=options.mesh_dir, pose=options.pose_dir)
    recipe = _read_recipe(options, values)
    return HintsCommand(tuple(options.images), places, recipe, bool(options.recursive))


def read_refine(options: argparse.Namespace) -> RefineCommand:
    """Read and check the options of `handrefiner refine`.

    UsageError is raised for what contradicts itself, before any picture is opened or folder made.
    """
    _check_source(options)
    _check_writing(options)
    _check_engine(options)
    values = _given_parameters(options)
    _translate_paper_options(options, values)
    random_seed = None
    if values.get("seed") == RANDOM_SEED:
        random_seed = values["seed"] = random.SystemRandom().randint(0, MOST_RANDOM_SEED)
    count = options.n_iter * options.num_samples
    if count > MOST_OUTPUTS:
        raise UsageError(f"--n_iter x --num_samples is {count}; at most {MOST_OUTPUTS} are made.")
    if options.prompt_file and values.get("prompt"):
        raise UsageError("--prompt and --prompt_file exclude each other; give one of them.")
    _check_painting(options, values)
    from handrefiner_ext.files.sources import Source

    source = options.input_img or options.input_dir
    command = RefineCommand(
        source=Source(
            source, not options.input_img, _read_prompt_file(options), bool(options.recursive)
        ),
        places=Destinations(
            options.out_dir or _find_folder(source, bool(options.input_img)),
            options.depth_dir,
            options.mask_dir,
            options.candidates_dir,
            backup=options.backup_dir,
            pose=options.pose_dir,
        ),
        recipe=_read_recipe(options, values, bool(options.eval)),
        random_seed=random_seed,
        count=count,
        resumes=bool(options.resume),
        log_json=Path(options.log_json) if options.log_json else None,
        report=Path(options.report) if options.report else None,
        jobs=options.jobs,
        url=options.url or "",
        login=options.login,
        on_ray=options.engine == RAY,
        address=options.address,
        keeps=options.name == KEEP or bool(options.in_place),
        quality=options.quality,
        apart=bool(getattr(options, "apart", False)),
    )
    _check_places(command)
    return command


def is_url(place: str | None) -> bool:
    """Return whether a folder is named by an address such as s3://bucket/pictures."""
    return place is not None and "://" in place


def _given_parameters(options: argparse.Namespace) -> dict[str, object]:
    """Return the parameters of the schema that the user gave, by name."""
    names = [f.name for surface in (CLI, URL) for f in fields_of(surface)]
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _read_recipe(
    options: argparse.Namespace, values: Mapping[str, object], evaluates: bool = False
) -> Recipe:
    """Check the parameters together and return what is to be done to every picture."""
    from handrefiner_ext.files.run import Recipe
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.pipeline import check_values

    params = RefineParams(**values)  # type: ignore[arg-type]  # the schema has read each of them
    check_values(params)
    drawn_mask, pose_file, depth_in = (
        Path(name) if name else None
        for name in (options.drawn_mask, options.pose_file, options.depth_in)
    )
    if params.mask == "drawn" and drawn_mask is None:
        raise UsageError("--mask drawn needs --drawn_mask with the mask's path.")
    if drawn_mask is not None and not params.uses_drawing:
        raise UsageError("--drawn_mask is used with --mask drawn or --mask union; add one of them.")
    if pose_file is not None and params.pose:
        raise UsageError("--pose and --pose_file exclude each other; give one of them.")
    if depth_in is not None and (params.pose or pose_file):
        raise UsageError("--depth_in and a pose exclude each other; give one of them.")
    for place in (drawn_mask, pose_file, depth_in):
        if place is not None and not place.exists():
            raise PictureError(f"{place} does not exist.")
    home = _read_home(options)
    return Recipe(params, frozenset(values), home, drawn_mask, evaluates, pose_file, depth_in)


def _read_home(options: argparse.Namespace) -> ModelHome:
    from handrefiner_ext.types import ModelHome

    folder = Path(options.models_dir).expanduser() if options.models_dir else None
    if folder is not None and not folder.is_dir():
        raise PictureError(f"--models_dir {folder} is not a folder.")
    return ModelHome(folder, options.device, keep_on_device=True, dtype=options.dtype)


def _translate_paper_options(options: argparse.Namespace, values: dict[str, object]) -> None:
    """Add to `values` the parameters that --weights and its like stand for."""
    implied = []
    if options.weights:
        implied += [("--weights", "checkpoint", options.weights), ("--weights", "backend", None)]
    if options.finetuned is False:
        name = "--finetuned False"
        implied += [(name, "control_model", PLAIN_DEPTH.name), (name, "backend", None)]
    for option, name, value in implied:
        if options.url:
            raise UsageError(
                f"{option} is for painting here; the WebUI behind --url has its own files. Leave "
                "out one of them."
            )
        _imply(values, name, value or DIFFUSERS, option)
    if options.adaptive_control:
        _imply(values, "adaptive_strength", "paper", "--adaptive_control")


def _imply(values: dict[str, object], name: str, value: str, option: str) -> None:
    """Set a parameter that another option implies; UsageError if it has another value."""
    given = values.setdefault(name, value)
    if given != value:
        raise UsageError(f"{option} means --{name} {value}, but --{name} {given} was given, too.")


def _check_source(options: argparse.Namespace) -> None:
    """Exactly one source is needed; an empty text counts as none, as in the paper's command."""
    given = [name for name in ("input_img", "input_dir") if getattr(options, name)]
    if len(given) != 1:
        wrong = "both were given" if given else "one of them is required"
        raise UsageError(f"Give either --input_img or --input_dir; {wrong}.")


def _check_writing(options: argparse.Namespace) -> None:
    """Refuse what contradicts itself about where and how pictures are written."""
    several = options.n_iter * options.num_samples > 1 or options.prompt_file
    if options.in_place:
        if options.out_dir:
            raise UsageError("--in_place writes no other pictures; leave out it or --out_dir.")
        if not options.backup_dir:
            raise UsageError("--in_place needs --backup_dir, to keep the pictures as they were.")
        if several:
            raise UsageError("--in_place gives one output of each picture; leave out the others.")
    elif options.backup_dir:
        raise UsageError("--backup_dir is for --in_place; add that, or leave it out.")
    elif not options.out_dir:
        raise UsageError("Give --out_dir, or --in_place with --backup_dir.")
    _check_extras(options)


def _check_extras(options: argparse.Namespace) -> None:
    """Refuse options that need another one, or exclude it."""
    if options.quality is not None and options.name != KEEP and not options.in_place:
        raise UsageError("--quality is for --name keep or --in_place; add one of them.")
    if options.candidates_dir and (options.engine == RAY or options.url):
        raise UsageError(
            "--candidates_dir works neither with --engine ray nor with --url; leave it out, or let "
            "this machine paint."
        )
    if options.recursive and not options.input_dir:
        raise UsageError("--recursive is for a folder; give --input_dir.")
    if options.backup_dir and options.input_dir and _is_same(options.backup_dir, options.input_dir):
        raise UsageError("--backup_dir must not be --input_dir; give another folder.")


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _find_folder(source: str, is_picture: bool) -> str:
    return str(Path(source).parent) if is_picture else source


def _check_engine(options: argparse.Namespace) -> None:
    """Refuse what Ray does not do, and what only Ray does."""
    if options.engine == RAY:
        for name in ("recursive", "in_place"):
            if getattr(options, name):
                raise UsageError(
                    f"--{name} does not work with --engine ray; leave out one of them."
                )
        if options.url:
            raise UsageError("--url lets a WebUI do the work; leave out it or --engine ray.")
        if not options.input_dir:
            raise UsageError("--engine ray works on a folder; give --input_dir.")
        return
    if options.address is not None:
        raise UsageError("--address is for --engine ray; add that, or leave it out.")
    for name in ("input_dir", "out_dir", "depth_dir", "mask_dir", "pose_dir"):
        if is_url(getattr(options, name)):
            raise UsageError(f"--{name} takes an address with :// only with --engine ray.")


def _check_painting(options: argparse.Namespace, values: Mapping[str, object]) -> None:
    """Refuse parameters of Stable Diffusion for a backend that does not read them."""
    backend = values.get("backend")
    for f in fields_of(URL):
        surfaces = f.metadata["knob"].surfaces
        if f.name in values and not options.url and backend not in surfaces:
            instead = f", or --backend {DIFFUSERS}" if DIFFUSERS in surfaces else ""
            raise UsageError(
                f"--{f.name} is a parameter of the WebUI's painting; give --url too, with the "
                f"address of a running WebUI{instead}."
            )


def _check_places(command: RefineCommand) -> None:
    """Outputs must not go to an address that pictures are read from.

    An output is known by the mark inside the file, which is not read when an address is listed; so
    the next run would take the outputs for pictures.
    """
    source = command.urls.get("source")
    for what in ("out", "depth", "mask", "pose"):
        if source is not None and command.urls.get(what) == source:
            raise UsageError(
                f"--{what}_dir must not be --input_dir where that is an address; give another "
                "folder."
            )


def _read_prompt_file(options: argparse.Namespace) -> tuple[Prompted, ...] | None:
    if not options.prompt_file:
        return None
    if not options.input_dir:
        raise UsageError(
            "--prompt_file names pictures of a folder; give --input_dir, or --prompt for a single "
            "picture."
        )
    from handrefiner_ext.files.sources import read_prompts

    return tuple(read_prompts(Path(options.prompt_file), Path(options.input_dir)))
