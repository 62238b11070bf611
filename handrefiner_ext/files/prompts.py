"""The paper's prompt file: JSON lines {"img": name, "txt": prompt} for pictures of a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from handrefiner_ext.errors import PictureError, UsageError

EXAMPLE = '{"img": "1.jpg", "txt": "a woman waving"}'


@dataclass(frozen=True)
class Prompted:
    """A picture and its own prompt (None = that of the run). origin: the line that names it."""

    source: Path
    prompt: str | None = None
    origin: str = ""


def read_prompts(path: Path, folder: Path) -> list[Prompted]:
    """The pictures of `folder` that the file names, in its order; empty lines are passed over.

    Raises UsageError with the number of the first line that cannot be understood.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8; save it as UTF-8.") from error
    lines = enumerate(text.split("\n"), start=1)
    return [_read_line(path, folder, n, line) for n, line in lines if line.strip()]


def _read_line(path: Path, folder: Path, number: int, line: str) -> Prompted:
    where = f"{path}, line {number}"
    try:
        said = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where} is no JSON ({error}); write it like {EXAMPLE}.") from error
    if not isinstance(said, dict):
        raise UsageError(f"{where} is no JSON object; write it like {EXAMPLE}.")
    for key in ("img", "txt"):
        if not isinstance(said.get(key), str):
            raise UsageError(f"{where} has no text under {key!r}; write it like {EXAMPLE}.")
    if not said["img"].strip():
        raise UsageError(f"{where} names no picture; write it like {EXAMPLE}.")
    return Prompted(folder / said["img"], said["txt"], where)
