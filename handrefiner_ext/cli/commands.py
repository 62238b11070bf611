"""Command line. Exit codes: 0 all done, 1 a picture or path failed, 2 wrong usage, 130 stopped."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from handrefiner_ext import __version__
from handrefiner_ext.cli.options import (
    RunOptions,
    add_home_options,
    add_paper_options,
    add_run_options,
    read_home,
    read_run_options,
)
from handrefiner_ext.cluster.options import add_engine_options, find_urls, read_engine, read_jobs
from handrefiner_ext.errors import HandRefinerError, UsageError
from handrefiner_ext.params import CLI, WEBUI, Knob, RefineParams, fields_of

# What works on pictures is imported when a command runs, so that --help answers at once.
if TYPE_CHECKING:
    from handrefiner_ext.files.naming import Job
    from handrefiner_ext.files.outputs import RefineFolders
    from handrefiner_ext.files.run import RemoteRequest, Report

DONE, FAILED, WRONG_USAGE, STOPPED = 0, 1, 2, 130
NOT_OVER_URL = frozenset({"enabled", "skip_img2img", "extra_images"})
"""What only the WebUI's own tabs have."""
PAINTED_HERE = {
    "diffusers": frozenset(
        {
            *("checkpoint", "control_model", "prompt", "negative_prompt", "steps", "sampler"),
            *("cfg_scale", "denoising_strength", "guidance_start", "guidance_end"),
            *("region_size", "seed_step"),
        }
    )
}
"""Backend -> which of the WebUI's parameters it knows, too."""


class SentenceParser(argparse.ArgumentParser):
    """Answers wrong usage with one sentence instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        said = message[:1].upper() + message[1:].rstrip(".")
        self.exit(WRONG_USAGE, f"{self.prog}: {said}. See {self.prog} --help.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except UsageError as error:
        return _complain(error, WRONG_USAGE)
    except HandRefinerError as error:
        return _complain(error, FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(f"{error.filename} cannot be used: {error.strerror or error}.", FAILED)
    except KeyboardInterrupt:
        return _complain("Stopped. What was finished by then has been written.", STOPPED)


def build_parser() -> argparse.ArgumentParser:
    parser = SentenceParser(
        prog="handrefiner",
        description="Finds badly drawn hands in generated pictures and repaints them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"handrefiner {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_hints(commands)
    _add_refine(commands)
    _add_weights(commands)
    _add_dataset(commands)
    return parser


def _add_hints(commands: argparse._SubParsersAction[SentenceParser]) -> None:
    hints = commands.add_parser(
        "hints",
        help="find hands; write depth, mask, overlay and JSON",
        description="Finds the hands of pictures and writes, for name.jpg, name_depth.png, "
        "name_mask.png, name_overlay.png and name_hands.json.",
        allow_abbrev=False,
    )
    hints.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, or a folder of them")
    hints.add_argument("--out_dir", required=True, metavar="D", help="folder to write to")
    hints.add_argument("--mesh_dir", metavar="D", help="write meshes too: name_hand1.glb and so on")
    hints.set_defaults(run=_run_hints)
    _add_parameters(hints)


def _add_refine(commands: argparse._SubParsersAction[SentenceParser]) -> None:
    refine = commands.add_parser(
        "refine",
        help="repaint badly drawn hands",
        description="Repaints the hands of pictures and writes name_0.png for name.jpg; a picture "
        "where nothing is to fix is copied.",
        allow_abbrev=False,
    )
    refine.add_argument("--input_img", metavar="F", help="a picture")
    refine.add_argument("--input_dir", metavar="D", help="a folder of pictures")
    refine.add_argument("--out_dir", required=True, metavar="D", help="folder to write to")
    refine.add_argument("--depth_dir", metavar="D", help="write name_depth.png to this folder")
    refine.add_argument("--mask_dir", metavar="D", help="write name_mask.png to this folder")
    refine.add_argument(
        "--candidates_dir",
        metavar="D",
        help="write every candidate to this folder: name_0_candidate1.png and so on",
    )
    refine.add_argument(
        "--url",
        metavar="U",
        help="have a running WebUI with HandRefiner do the work, such as http://127.0.0.1:7860",
    )
    refine.add_argument(
        "--login",
        metavar="USER:PASSWORD",
        default=os.environ.get("HANDREFINER_LOGIN", ""),
        help="login of that WebUI; better put into the environment as HANDREFINER_LOGIN",
    )
    add_engine_options(refine)
    refine.set_defaults(run=_run_refine)
    add_paper_options(refine)
    add_run_options(refine)
    _add_parameters(refine)
    group = refine.add_argument_group(
        "parameters of Stable Diffusion, for --url and (but for a few) --backend diffusers"
    )
    for f in _fields_for_a_webui():
        _add_parameter(group, f)


def _add_weights(commands: argparse._SubParsersAction[SentenceParser]) -> None:
    from handrefiner_ext.cli.weights import add_weights

    add_weights(commands)


def _add_dataset(commands: argparse._SubParsersAction[SentenceParser]) -> None:
    from handrefiner_ext.cli.dataset import add_dataset

    add_dataset(commands)


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    """An option for every parameter, named as its field; values are read by the schema."""
    parser.add_argument(
        "--drawn_mask",
        metavar="F",
        help="the mask drawn by hand (white may change), or a folder with one per picture, named "
        "as it; for --mask drawn or union",
    )
    add_home_options(parser)
    group = parser.add_argument_group("parameters")
    for f in fields_of(CLI):
        _add_parameter(group, f)


def _add_parameter(group: argparse._ArgumentGroup, f: Field[Any]) -> None:
    knob: Knob = f.metadata["knob"]
    allowed = knob.describe_allowed(type(f.default))
    default = str(f.default).lower() if isinstance(f.default, bool) else f.default
    shown = f"{knob.help_on(CLI)} ({allowed}; {default if default != '' else 'empty'})"
    is_switch = {"nargs": "?", "const": "true"} if isinstance(f.default, bool) else {}
    group.add_argument(
        f"--{f.name}",
        default=argparse.SUPPRESS,
        metavar="V",
        help=shown.replace("%", "%%"),
        **is_switch,  # type: ignore[arg-type]
    )


def _fields_for_a_webui() -> list[Field[Any]]:
    """Parameters that only a WebUI's own painting has."""
    here = {f.name for f in fields_of(CLI)} | NOT_OVER_URL
    return [f for f in fields_of(WEBUI) if f.name not in here]


def _read_parameters(options: argparse.Namespace) -> RefineParams:
    given = vars(options)
    params = RefineParams(**{f.name: given[f.name] for f in fields_of(CLI) if f.name in given})
    from handrefiner_ext.pipeline import check_values

    check_values(params)
    if params.mask == "drawn" and not options.drawn_mask:
        raise UsageError("--mask drawn needs --drawn_mask with the mask's path.")
    if options.drawn_mask and not params.uses_drawing:
        raise UsageError("--drawn_mask is used with --mask drawn or --mask union; add one of them.")
    return params


def _run_hints(options: argparse.Namespace) -> int:
    params = _read_parameters(options)
    from handrefiner_ext.cli.sources import (
        expand,
        find_drawn_mask,
        open_folder,
        open_optional_folder,
    )
    from handrefiner_ext.files.naming import plan
    from handrefiner_ext.files.run import HintFolders, Request, write_hints
    from handrefiner_ext.stages import build_stages

    sources = expand(options.images, (options.out_dir, options.mesh_dir))
    folders = HintFolders(open_folder(options.out_dir), open_optional_folder(options.mesh_dir))
    stages = build_stages(params, read_home(options))
    request = Request(params, stages, find_drawn_mask(options))
    jobs = plan(sources, folders.targets())
    return _work(jobs, partial(write_hints, request=request, folders=folders))


def _work(jobs: Sequence[Job], work: Callable[[Job], Report], run: RunOptions | None = None) -> int:
    """Do every job, in one process or in several, and say what became of it."""
    from handrefiner_ext.files.parallel import work_in_parallel
    from handrefiner_ext.files.run import work_through

    run = run or RunOptions()
    parallel = run.workers > 1 and len(jobs) > 0
    reports = work_in_parallel(jobs, work, run.workers) if parallel else work_through(jobs, work)
    return _tell(reports, len(jobs), run)


def _tell(reports: Iterable[Report], count: int, run: RunOptions) -> int:
    """Say what became of every picture, as it is done."""
    from handrefiner_ext.cli.progress import show_progress
    from handrefiner_ext.files.log import keep_log

    with keep_log(run.log_json, run.resumes) as log:
        done = show_progress(reports, count, lambda report: log(report.records))
    return DONE if done else FAILED


def _run_refine(options: argparse.Namespace) -> int:
    _need_one_source(options)
    on_ray = read_engine(options)
    run = read_run_options(options)
    _read_parameters(options)
    values = _read_values_for_a_webui(options)
    if options.candidates_dir and (on_ray or options.url):
        raise UsageError("--candidates_dir works neither with --engine ray nor with --url.")
    if on_ray:
        return _run_on_ray(options, run, RefineParams(**values))  # type: ignore[arg-type]
    from handrefiner_ext.cli.sources import find_sources, open_folder, open_optional_folder
    from handrefiner_ext.files.outputs import RefineFolders, plan_refine

    sources = find_sources(options, run, (options.out_dir, options.depth_dir, options.mask_dir))
    folders = RefineFolders(
        open_folder(options.out_dir),
        open_optional_folder(options.depth_dir),
        open_optional_folder(options.mask_dir),
        run.count,
        run.resumes,
        open_optional_folder(options.candidates_dir),
    )
    _say_seed(options)
    work = _choose_work(options, run, values, folders)
    return _work(plan_refine(sources, folders), work, run)


def _run_on_ray(options: argparse.Namespace, run: RunOptions, params: RefineParams) -> int:
    """A folder, on the workers of this machine or of a cluster."""
    from handrefiner_ext.cluster.session import import_ray

    jobs, urls = read_jobs(options), find_urls(options)
    import_ray()
    from handrefiner_ext.cli.sources import (
        find_drawn_mask,
        find_sources,
        open_folder,
        open_optional_folder,
    )
    from handrefiner_ext.cluster.run import NOWHERE, Cluster, Run, list_sources, make_order
    from handrefiner_ext.files.outputs import RefineFolders, plan_refine

    outputs = {"out": options.out_dir, "depth": options.depth_dir, "mask": options.mask_dir}
    if "source" in urls:
        sources = list_sources(urls["source"], run.prompts)
    else:
        sources = find_sources(options, run, outputs.values())
    opened = {
        what: NOWHERE / what if what in urls else open_optional_folder(name)
        for what, name in outputs.items()
    }
    out = opened["out"] or open_folder(options.out_dir)
    folders = RefineFolders(out, opened["depth"], opened["mask"], run.count)
    order = make_order(params, folders, urls, find_drawn_mask(options))
    order = replace(order, home=read_home(options), evaluates=run.evaluates)
    planned = plan_refine(sources, folders)
    work = Run(planned, order, options.input_dir, Cluster(options.address, jobs))
    left = work.begin()
    _say_seed(options)
    before = len(planned) - len(left)
    if before:
        print(f"{before} of {len(planned)} pictures were finished by earlier runs.")
    run = replace(run, resumes=run.resumes or before > 0)
    return _tell(work.work_through(left), len(left), run)


def _choose_work(
    options: argparse.Namespace, run: RunOptions, values: dict[str, object], folders: RefineFolders
) -> Callable[[Job], Report]:
    """What is done to every picture."""
    from handrefiner_ext.cli.sources import find_drawn_mask
    from handrefiner_ext.files.parallel import Order, prepare, refine_by_order
    from handrefiner_ext.files.run import refine_picture, refine_remotely

    if options.url:
        remote = _prepare_remote(options, values, run.evaluates)
        return partial(refine_remotely, request=remote, folders=folders)
    params = RefineParams(**values)  # type: ignore[arg-type]  # the schema reads any value
    order = Order(params, read_home(options), find_drawn_mask(options), run.evaluates)
    if run.workers > 1:
        return partial(refine_by_order, order=order, folders=folders)
    return partial(refine_picture, request=prepare(order), folders=folders)


def _need_one_source(options: argparse.Namespace) -> None:
    """--input_img or --input_dir; an empty text is as good as none, as in the paper's."""
    given = [name for name in ("input_img", "input_dir") if getattr(options, name)]
    if len(given) != 1:
        wrong = "both were given" if given else "one of them is required"
        raise UsageError(f"Give either --input_img or --input_dir; {wrong}.")


def _say_seed(options: argparse.Namespace) -> None:
    drawn = getattr(options, "drawn_seed", None)
    if drawn is not None:
        print(f"The seed drawn is {drawn}; --seed {drawn} gives the same pictures again.")


def _read_values_for_a_webui(options: argparse.Namespace) -> dict[str, object]:
    """The parameters that were given; for the others the WebUI has its own defaults."""
    from handrefiner_ext.pipeline import check_values

    given = vars(options)
    remote = {f.name: given[f.name] for f in _fields_for_a_webui() if f.name in given}
    known = PAINTED_HERE.get(given.get("backend", ""), frozenset())
    foreign = [name for name in remote if name not in known]
    if foreign and not options.url:
        raise UsageError(
            f"--{foreign[0]} is a parameter of the WebUI's painting; give --url too, with the "
            f"address of a running WebUI{_name_backends(foreign[0])}."
        )
    values = remote | {f.name: given[f.name] for f in fields_of(CLI) if f.name in given}
    check_values(RefineParams(**values))
    return values


def _name_backends(parameter: str) -> str:
    names = [f", or --backend {name}" for name, known in PAINTED_HERE.items() if parameter in known]
    return "".join(names)


def _prepare_remote(
    options: argparse.Namespace, values: dict[str, object], evaluates: bool
) -> RemoteRequest:
    from handrefiner_ext.cli.sources import find_drawn_mask
    from handrefiner_ext.files.remote import Server
    from handrefiner_ext.files.run import RemoteRequest

    server = Server(options.url, options.login)
    server.check()
    return RemoteRequest(server, values, find_drawn_mask(options), evaluates)


def _complain(error: Exception | str, code: int) -> int:
    print(f"handrefiner: {error}", file=sys.stderr)
    return code
