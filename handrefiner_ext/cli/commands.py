"""Command line. Exit codes: 0 all done, 1 a picture or path failed, 2 wrong usage, 130 stopped."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from handrefiner_ext import __version__
from handrefiner_ext.cli.options import add_hints_options, add_refine_options
from handrefiner_ext.cli.reading import RefineCommand, read_hints, read_refine
from handrefiner_ext.errors import HandRefinerError, PictureError, UsageError, escape

# What works on pictures is imported when a command runs, so that --help answers at once.
if TYPE_CHECKING:
    from tqdm import tqdm

    from handrefiner_ext.files.log import Report
    from handrefiner_ext.files.naming import Job
    from handrefiner_ext.files.outputs import RefineFolders
    from handrefiner_ext.files.run import Start
    from handrefiner_ext.files.sources import Listing

DONE, FAILED, WRONG_USAGE, STOPPED = 0, 1, 2, 130
SECONDS_BETWEEN_LOG_LINES = 10.0


class SentenceParser(argparse.ArgumentParser):
    """Reports wrong usage in one sentence instead of printing all options."""

    def error(self, message: str) -> NoReturn:
        said = message.removeprefix("argument ").rstrip(".")
        raise UsageError(f"{said[:1].upper()}{said[1:]}. See {self.prog} --help.")

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file, flush=True)  # argparse hides that a disk is full


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    arguments: None = those of this process, which then is the command and nothing else. Several
    pictures are worked on in a process apart then, so that one that crashes it costs no other; a
    program that calls this function keeps its pictures to itself, unless it gives --jobs.
    """
    with _usable_streams():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    """Run the command line; whatever goes wrong is one sentence and an exit code."""
    try:
        options = build_parser().parse_args(arguments)
        options.apart = arguments is None
        code = int(options.run(options))
        sys.stdout.flush()  # a full disk behind it shows only now
        return code
    except UsageError as error:
        return _complain(error, WRONG_USAGE)
    except HandRefinerError as error:
        return _complain(error, FAILED)
    except BrokenPipeError:
        _drop_output()  # its reader is gone
        return FAILED
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return _complain(f"The system refused: {error.strerror}.", FAILED)
        if error.filename is None:
            _drop_output()
            return _complain(f"stdout cannot be written to: {error.strerror or error}.", FAILED)
        return _complain(f"{error.filename} cannot be used: {error.strerror or error}.", FAILED)
    except KeyboardInterrupt:
        return _complain("Stopped. The pictures finished so far have been written.", STOPPED)


@contextmanager
def _usable_streams() -> Iterator[None]:
    """Let a process without a console (pythonw, a service) print all the same, to nowhere.

    A console that lacks a letter of a file's name shows a question mark.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout, sys.stderr = (
            nowhere if stream is None or stream.closed else stream for stream in before
        )
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _drop_output() -> None:
    """Send stdout nowhere: Python would complain once more when it flushes it at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` in its namespace is the command's function."""
    from handrefiner_ext.cli.dataset import add_dataset
    from handrefiner_ext.cli.doctor import add_doctor
    from handrefiner_ext.cli.gestures import add_gestures
    from handrefiner_ext.cli.train import add_train
    from handrefiner_ext.cli.weights import add_weights

    parser = SentenceParser(
        prog="handrefiner",
        description="Finds badly drawn hands in generated pictures and repaints them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"handrefiner {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    hints = commands.add_parser(
        "hints",
        help="find hands; write depth, mask, overlay and JSON",
        description="Finds the hands of pictures and writes, for name.jpg, name_depth.png, "
        "name_mask.png, name_overlay.png and name_hands.json.",
        allow_abbrev=False,
    )
    hints.set_defaults(run=_run_hints)
    add_hints_options(hints)
    refine = commands.add_parser(
        "refine",
        help="repaint badly drawn hands",
        description="Repaints the hands of pictures and writes name_0.png for name.jpg; a picture "
        "that needs no repair is copied.",
        allow_abbrev=False,
    )
    refine.set_defaults(run=_run_refine)
    add_refine_options(refine)
    for add in (add_weights, add_gestures, add_dataset, add_train, add_doctor):
        add(commands)
    return parser


def _run_hints(options: argparse.Namespace) -> int:
    command = read_hints(options)
    from handrefiner_ext.files.beside import list_given_files
    from handrefiner_ext.files.naming import plan
    from handrefiner_ext.files.outputs import HintFolders, open_folder, open_optional_folder
    from handrefiner_ext.files.run import start_hints
    from handrefiner_ext.files.sources import expand

    places, recipe = command.places, command.recipe
    listing = _tell_notes(expand(command.images, places.all, command.recursive))
    out, more = open_folder(places.out), map(open_optional_folder, (places.mesh, places.pose))
    folders = HintFolders(out, *more)
    pictures = {each.source: each.under for each in listing.pictures}
    given = list_given_files(recipe.beside)
    jobs = plan(list(pictures), folders.kinds(), inputs=given, under=pictures)
    start = partial(start_hints, recipe, folders)
    processes = 1 if options.apart and len(jobs) > 1 else 0
    with _working(jobs, start, processes, folders=places.paths) as reports:
        return _report(reports, len(jobs))


@contextmanager
def _working(
    jobs: Sequence[Job],
    start: Start,
    processes: int,
    **more: Any,
) -> Iterator[Iterable[Report]]:
    """Yield the reports of all pictures; models are loaded, or the WebUI is asked, at once.

    processes: 0 = work in this one. more: what else `Crew` takes.
    """
    from handrefiner_ext.files.run import prepare_work, work_through

    if not processes:
        yield work_through(jobs, prepare_work(start))
        return
    from handrefiner_ext.files.workers import Crew

    with Crew(start, processes, **more) as crew:
        crew.prepare(len(jobs))
        yield crew.work_through(jobs)


def _run_refine(options: argparse.Namespace) -> int:
    command = read_refine(options)
    if command.on_ray:
        return _refine_on_ray(command)
    from handrefiner_ext.files.beside import list_given_files
    from handrefiner_ext.files.outputs import (
        RefineFolders,
        open_folder,
        open_optional_folder,
        plan_refine,
    )
    from handrefiner_ext.files.sources import find_sources
    from handrefiner_ext.files.tries import DeathRecord

    places = command.places
    listing = _tell_notes(find_sources(command.source, places.all))
    folders = RefineFolders(
        out=open_folder(places.out),
        depth=open_optional_folder(places.depth),
        mask=open_optional_folder(places.mask),
        candidates=open_optional_folder(places.candidates),
        count=command.count,
        resumes=command.resumes,
        backup=open_optional_folder(places.backup),
        pose=open_optional_folder(places.pose),
        **_describe_names(command),
    )
    _tell_seed(command)
    start = _choose_start(command, folders)
    given = list_given_files(command.recipe.beside)
    jobs = plan_refine(listing.pictures, folders, inputs=given)
    crew: dict[str, Any] = {
        "record": DeathRecord(folders.out, command.recipe.params),
        "resumes": command.resumes,
        "folders": places.paths,
    }
    with _working(jobs, start, _count_processes(command, len(jobs)), **crew) as reports:
        return _report(reports, len(jobs), command, command.resumes)


def _count_processes(command: RefineCommand, pictures: int) -> int:
    """Return how many processes work beside this one; 0 = this one works, as for one picture."""
    if command.jobs is not None and command.jobs > 1:
        return command.jobs if pictures else 0
    return 1 if command.apart and pictures > 1 else 0


def _describe_names(command: RefineCommand) -> dict[str, Any]:
    """Return what `RefineFolders` is told about names and formats."""
    several = command.count > 1 or command.source.prompts is not None
    return {
        "keeps": command.keeps,
        "numbers": several or not command.keeps,
        "quality": command.quality,
        "shows": command.report is not None,
    }


def _choose_start(command: RefineCommand, folders: RefineFolders) -> Start:
    """Return what begins the work; a WebUI is asked at once whether it can do it."""
    from handrefiner_ext.files.remote import RemoteRepainter, Server
    from handrefiner_ext.files.run import refine_picture, start_refining

    recipe = command.recipe
    if not command.url:
        return partial(start_refining, recipe, folders)
    server = Server(command.url, command.login)
    server.check()
    # Nothing is to be loaded: called, the outer one returns the inner, which refines a picture.
    remote = RemoteRepainter(server)
    return partial(partial, refine_picture, recipe=recipe, repainter=remote, folders=folders)


def _refine_on_ray(command: RefineCommand) -> int:
    """Refine a folder on the workers of this machine or of a cluster."""
    from handrefiner_ext.cluster.session import import_ray

    import_ray()
    from handrefiner_ext.cluster.run import Cluster, FolderRun, list_sources, make_assignment
    from handrefiner_ext.cluster.store import StoreShelf, locate_folders
    from handrefiner_ext.files.beside import list_given_files
    from handrefiner_ext.files.outputs import open_folder, plan_refine
    from handrefiner_ext.files.sources import find_sources

    places, urls = command.places, command.urls
    if "source" in urls:
        listing = list_sources(urls["source"], command.source.prompts)
    else:
        listing = find_sources(command.source, places.all)
    sources = _tell_notes(listing).pictures
    local = {what: getattr(places, what) for what in ("out", "depth", "mask", "pose")}
    opened = {what: open_folder(name) for what, name in local.items() if name and what not in urls}
    folders = locate_folders(opened, urls, command.count)
    folders = replace(folders, local=replace(folders.local, **_describe_names(command)))
    given = list_given_files(command.recipe.beside)
    jobs = plan_refine(sources, folders.local, StoreShelf(folders), given)
    assignment = make_assignment(command.recipe, folders)
    cluster = Cluster(command.address, command.jobs)
    work = FolderRun(jobs, assignment, command.source.place, cluster)
    left = work.begin()
    _tell_seed(command)
    before = len(jobs) - len(left)
    if before:
        print(f"{before} of {len(jobs)} pictures were finished by earlier runs.")
    appends = command.resumes or before > 0
    return _report(work.work_through(left), len(left), command, appends)


def _tell_notes(listing: Listing) -> Listing:
    """Print what the run skips, and why."""
    for note in listing.notes:
        print(escape(note))
    return listing


def _tell_seed(command: RefineCommand) -> None:
    if (seed := command.random_seed) is not None:
        print(f"The random seed is {seed}; --seed {seed} gives the same pictures again.")


def _report(
    reports: Iterable[Report],
    count: int,
    command: RefineCommand | None = None,
    appends: bool = False,
) -> int:
    """Say, log and show how each picture went, as it is done; return the exit code."""
    from handrefiner_ext.files.log import keep_log
    from handrefiner_ext.files.page import open_page

    log_json, page = (command.log_json, command.report) if command else (None, None)
    with keep_log(log_json, appends) as log, open_page(page) as show:
        keepers: list[Callable[[Report], None]] = [lambda report: log(report.records), show]
        failed = []

        def note(report: Report) -> None:
            for keep in tuple(keepers):
                try:
                    keep(report)
                except PictureError as error:  # a log that cannot be written costs no picture
                    keepers.remove(keep)
                    failed.append(_complain(error, FAILED))

        done = show_progress(reports, count, note) and not failed
    if page is not None:
        print(f"Every picture before and after: {escape(str(page))}")
    return DONE if done else FAILED


def _complain(error: Exception | str, code: int) -> int:
    with suppress(OSError):  # there is nowhere left to say it
        print(f"handrefiner: {escape(str(error))}", file=sys.stderr, flush=True)
    return code


# --- a line for every picture, a bar, a last line


def show_progress(
    reports: Iterable[Report], total: int, note: Callable[[Report], None] | None = None
) -> bool:
    """Show how each picture went; return whether all went well. note: called with each report."""
    if not total:
        print("There are no pictures to work on.")
    terminal = sys.stderr.isatty()
    heard = []
    with _open_bar(total, terminal) as bar:
        for report in reports:
            heard.append(report)
            if note is not None:
                note(report)
            # On a terminal the bar makes way for the line; in a log there is none in its way.
            say = bar.write if terminal else print
            say(_describe(report), file=sys.stderr if report.error else sys.stdout)
            bar.update()
    if total > 1:
        print(_summarise(heard))
    return not any(report.error for report in heard)


def _open_bar(total: int, terminal: bool) -> tqdm[NoReturn]:
    """Return a bar on stderr for several pictures; in a log file, it writes a line now and then."""
    from tqdm import tqdm

    log = {"mininterval": SECONDS_BETWEEN_LOG_LINES, "bar_format": "{l_bar}{bar}{r_bar}\n"}
    return tqdm(total=total, unit="picture", disable=total < 2, **({} if terminal else log))


def _describe(report: Report) -> str:
    if report.error:
        return f"handrefiner: {escape(report.error)}"
    source, lines = escape(str(report.source)), [f"  {escape(line)}" for line in report.lines]
    if not report.output:
        return "\n".join([f"{source}:", *lines])
    hands = "1 hand" if report.hands == 1 else f"{report.hands or 'no'} hands"
    repainted = f", {report.refined} repainted" if report.refined else ""
    return "\n".join([f"{source}: {hands}{repainted} -> {escape(report.output)}", *lines])


def _summarise(reports: Sequence[Report]) -> str:
    failed = sum(report.error is not None for report in reports)
    hands = sum(report.hands for report in reports)
    refined = sum(report.refined for report in reports)
    return (
        f"{len(reports)} pictures, {hands} hands found, {refined} repainted, "
        f"{failed} pictures failed."
    )
