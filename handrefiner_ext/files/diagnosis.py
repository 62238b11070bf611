"""What a report of a fault needs: versions, backends, files, parameters and log lines.

Nothing personal is in it: paths keep their last part only, names of the user and the machine are
replaced, and prompts are left out.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from handrefiner_ext import __version__
from handrefiner_ext.errors import UsageError
from handrefiner_ext.infotext import MARK
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.pictures.decode import PARAMETERS
from handrefiner_ext.pictures.metadata import read_text
from handrefiner_ext.stages import list_obstacles
from handrefiner_ext.types import ModelHome
from handrefiner_ext.weights import find
from handrefiner_ext.weights.manifest import all_files

PACKAGES = (
    *("numpy", "Pillow", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    *("mediapipe", "ai-edge-litert", "protobuf", "torch", "safetensors", "diffusers"),
    *("transformers", "accelerate", "gradio", "fastapi", "pydantic", "ray", "pyrender"),
)
LOG_BYTES, LOG_LINES = 2**20, 60
"""Only the end of a log is read, and of it the last lines that concern HandRefiner."""
SHORTEST_NAME = 3
"""Characters; a shorter user name would be found within ordinary words."""
SETTING = re.compile(rf'({MARK}[^:,"\n]*): ("(?:\\.|[^"\\])*"|[^,\n]*)')
WINDOWS_PATH = re.compile(r"(?:\b[A-Za-z]:[\\/]|~\\|\\\\)(?:[^\\/:*?\"'<>|\r\n]+[\\/])*")
UNIX_PATH = re.compile(r"(?<![\w/.:~…])(?:~|\.{0,2})/(?=[^\s/])(?:[^\s/:\"'<>|]+/)*")
QUOTED_PATH = re.compile(r"(?<=[\"'])(?:/|~/)(?:[^\"'\r\n/]+/)*")
ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]+")


Section = tuple[str, Sequence[str]]
"""A title and the lines below it."""


def collect(home: ModelHome, *more: Section) -> str:
    """Return the report as Markdown.

    Arguments:
        home: models folder and device to look at the backends with.
        more: what is known besides versions, backends and weights.
    """
    sections = (
        ("Versions", describe_machine()),
        ("Backends", describe_backends(home)),
        ("Files of weights", describe_weights(home)),
        *more,
    )
    texts = ["\n".join([f"### {title}", *lines]) for title, lines in sections]
    return without_names("\n\n".join(texts)) + "\n"


def section_of_parameters(infotext: str) -> Section:
    """Return the HandRefiner parameters in the text of a picture, without prompts."""
    return "Parameters", list_settings(infotext) or [f"- no {MARK} in it"]


def section_of_log(lines: Iterable[str]) -> Section:
    """Return the last of the lines, without paths."""
    last = [without_paths(line) for line in lines][-LOG_LINES:]
    return "Log", ["```", *(last or ["nothing about HandRefiner"]), "```"]


def describe_machine() -> list[str]:
    """Return list items on versions, processors and GPU."""
    found = {name: version for name in PACKAGES if (version := _version(name))}
    missing = [name for name in PACKAGES if name not in found]
    return [
        f"- handrefiner {__version__}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.release()} {platform.machine()}, {os.cpu_count()} processors",
        f"- {', '.join(f'{name} {version}' for name, version in found.items())}",
        f"- not installed: {', '.join(missing)}",
        f"- GPU: {_describe_gpu()}",
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _describe_gpu() -> str:
    if _version("torch") is None:
        return "unknown, since torch is not installed"
    import torch

    if not torch.cuda.is_available():
        return "Apple's (mps)" if torch.backends.mps.is_available() else "none that torch can use"
    gpu = torch.cuda.get_device_properties(0)
    return f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GB"


def describe_backends(home: ModelHome) -> list[str]:
    """Return list items that say of every backend whether it can be used, and why not."""
    return [
        f"- {stage} {name}: {without_paths(reason) if reason else 'can be used'}"
        for stage, backends in list_obstacles(home).items()
        for name, reason in backends.items()
    ]


def describe_weights(home: ModelHome) -> list[str]:
    """Return list items that say which files of the manifest are here, and their sizes."""
    places = {file.name: find(file.name, home.models_dir) for file in all_files()}
    return [
        f"- {name}: {f'{place.stat().st_size:,} bytes' if place else 'not here'}"
        for name, place in places.items()
    ]


def read_infotext(picture: Path) -> str:
    """Return the text that a picture's maker put into it; empty where there is none."""
    texts = {chunk.keyword: read_text(chunk) for chunk in load_picture(picture).metadata}
    return texts.get(PARAMETERS) or ""


def list_settings(infotext: str) -> list[str]:
    """Return list items with the HandRefiner parameters, which stand in the last line."""
    return [
        f"- {key.strip()}: {without_paths(value.strip())}"
        for key, value in SETTING.findall(infotext.strip().rpartition("\n")[2])
        if "prompt" not in key.lower()
    ]


def read_log(path: Path) -> str:
    """Return the end of a log file."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"--log: {path} cannot be read: {error.strerror}.") from error


def pick_lines(text: str) -> list[str]:
    """Return the lines of a log that name HandRefiner or belong to a traceback with it."""
    return [line for block in _blocks(text) for line in block]


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield single lines, and tracebacks as wholes, that name HandRefiner."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        within = bool(block) and line.startswith((" ", "\t"))
        if not within:
            ends = bool(block) and not line.startswith("Traceback")
            block += [line] if ends else []  # the error itself stands under its traceback
            if any("handrefiner" in each.lower() for each in block):
                yield block
            if ends:
                block = []
                continue
            block = []
        if within or line.startswith("Traceback"):
            block.append(line)
        elif "handrefiner" in line.lower():
            yield [line]


def without_paths(text: str) -> str:
    """Return the text with only the last part of every path, and without the hosts of addresses."""
    text = ADDRESS.sub(r"\1://…", text)
    text = QUOTED_PATH.sub("…/", text)
    return UNIX_PATH.sub("…/", WINDOWS_PATH.sub("…/", text))


def without_names(text: str) -> str:
    """Return the text without the names of the user and of the machine."""
    for name, instead in ((_user(), "<user>"), (socket.gethostname(), "<machine>")):
        if len(name) >= SHORTEST_NAME:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, text, flags=re.IGNORECASE)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user's name
        return ""
