"""Routes of the last run: its hands with their candidates, and another one taken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import Response

from handrefiner_ext.api.body import Problem, to_text
from handrefiner_ext.api.editor import answer, read_members
from handrefiner_ext.api.last import KeptPicture, LastRun
from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.pictures import encode_png

MAX_TAKE_BYTES = 1 << 16
MOST_DIGITS = 10
BEFORE, AFTER = "before", "after"

Rewrite = Callable[[str, str], str]
"""Takes an infotext and what it is to say of the hands, returns the infotext."""


class LastRoutes:
    """The endpoints."""

    def __init__(self, last: LastRun, rewrite: Rewrite) -> None:
        self.last, self.rewrite = last, rewrite

    def list(self) -> Response:
        """Return the pictures of the last run, their hands and the candidates of each."""
        pictures = [{"id": n, **kept.describe()} for n, kept in self.last.list().items()]
        return answer({"pictures": pictures, "most_bytes": self.last.most_bytes})

    def picture(self, picture: str, which: str) -> Response:
        """Return a picture as it was before, or after, as PNG."""
        kept = self.last.get(picture)
        if which not in (BEFORE, AFTER):
            raise InvalidParameter(f"{show(which)} is not possible; it must be before or after.")
        return _png(encode_png(kept.before if which == BEFORE else kept.image))

    def candidate(self, picture: str, hand: str, candidate: str) -> Response:
        """Return a hand with one of its candidates, as PNG; 0 is the original hand."""
        place, version = _parse_count(hand, "hand"), _parse_count(candidate, "candidate")
        return _png(encode_png(self.last.get(picture).show(place, version)))

    def take(self, body: bytes) -> Response:
        """Take a candidate in place of the one that the judge chose; nothing is painted again."""
        if len(body) > MAX_TAKE_BYTES:
            raise Problem(413, f"The body is longer than {MAX_TAKE_BYTES >> 10} kB.")
        values = read_members(body, ("picture", "hand", "candidate"))
        hand, candidate = (_read_count(values, name) for name in ("hand", "candidate"))
        taken = take(self.last, self.rewrite, str(values.get("picture")), (hand, candidate))
        said = {"id": self.last.add(taken), **taken.describe()}
        return answer({**said, "image": to_text(encode_png(taken.image))})


def take(last: LastRun, rewrite: Rewrite, picture: str, chosen: tuple[int, int]) -> KeptPicture:
    """Return a picture of the last run with another candidate.

    chosen: the hand's number and the candidate's.
    """
    taken = last.get(picture).take(*chosen)
    return replace(taken, text=rewrite(taken.text, taken.words))


def _read_count(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidParameter(f"{name} = {show(value)} is not possible; it must be a number.")
    return value


def _parse_count(text: str, name: str) -> int:
    """Return a number of the address; FastAPI's own refusal is a list, not a sentence."""
    if not (text.isascii() and text.isdigit() and len(text) < MOST_DIGITS):
        raise InvalidParameter(f"{name} = {show(text)} is not possible; it must be a number.")
    return int(text)


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers={"Cache-Control": "no-store"})
