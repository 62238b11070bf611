"""Keep the WebUI's `ui-config.json` from holding on to the defaults of an older version.

The WebUI stores the default of every component the first time that it sees it, and from then on
takes the stored one (modules/ui_loadsave.py): a default that has changed would never arrive. So
before the WebUI reads the file, what an older version left there and the user never changed is
removed, and what it called otherwise is moved. A value that differs from the old default is the
user's and stays. Our version in the file says that this is done, so that a value chosen later stays
even if it is an old default.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from modules import shared

from handrefiner_ext import __version__
from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host.layout import FIELDS
from handrefiner_ext.infotext.migrations import FIRST, Past, as_of, parse_version, today
from handrefiner_ext.pictures.disk import write_atomically

logger = logging.getLogger(__name__)

OURS = "customscript/handrefiner.py/"
"""How the WebUI's keys for our components begin; then come tab, label and what is stored."""
VERSION_KEY = f"{OURS}version"
TABS = ("txt2img", "img2img")

Stored = dict[str, Any]


def upgrade_ui_config() -> None:
    """Bring our entries of the WebUI's file up to date; never stop the WebUI's start."""
    name = getattr(shared.cmd_opts, "ui_config_file", None)
    if name is None:
        return
    place = Path(name).resolve()  # a link stays a link
    try:
        stored = json.loads(place.read_text("utf-8")) if place.exists() else {}
        if isinstance(stored, dict):
            _upgrade(place, stored)
    except (OSError, ValueError, HandRefinerError) as error:
        logger.warning(
            "HandRefiner could not bring its defaults in %s up to date (%s). Compare them in the "
            "panel with those in the documentation.",
            place.name,
            error,
        )


def _upgrade(place: Path, stored: Stored) -> None:
    has_ours = any(key.startswith(OURS) for key in stored)
    version = stored.get(VERSION_KEY, FIRST if has_ours else __version__)
    if VERSION_KEY in stored and parse_version(version) >= parse_version(__version__):
        return
    said = upgrade_entries(stored, version)
    stored[VERSION_KEY] = __version__
    # As the WebUI itself writes it.
    text = json.dumps(stored, indent=4, ensure_ascii=False)
    write_atomically(place, text.encode("utf-8"))
    for sentence in said:
        logger.warning("HandRefiner: %s", sentence)


def upgrade_entries(stored: Stored, version: object) -> list[str]:
    """Change our entries, as `version` stored them, into today's; return what is worth saying."""
    said = []
    for f in FIELDS.values():
        past, now = as_of(f, version), today(f)
        for tab in TABS:
            _move(stored, f"{OURS}{tab}/{past.label}/", f"{OURS}{tab}/{now.label}/")
            key = f"{OURS}{tab}/{now.label}/value"
            if key in stored and _is_outdated(stored[key], past, now):
                said.append(
                    f"{now.label} ({tab}) is {_say(now.default)} by default since version "
                    f"{__version__}; {_say(stored[key])}, which the WebUI had stored as the "
                    "default, was removed from its ui-config.json. If you want it back, set it "
                    "and save it under Settings, Defaults."
                )
                del stored[key]
            elif isinstance(stored.get(key), str):
                stored[key] = past.translate(stored[key])
    return said


def _move(stored: Stored, old: str, new: str) -> None:
    if old == new:
        return
    for key in [key for key in stored if key.startswith(old)]:
        value = stored.pop(key)
        stored.setdefault(new + key.removeprefix(old), value)


def _is_outdated(value: object, past: Past, now: Past) -> bool:
    """Return whether a stored value is a default that has changed since."""
    return past.meant != now.default and value == past.default


def _say(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else repr(value)
