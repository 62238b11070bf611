"""What a release says of itself agrees: version, changelog, notes, and the WebUI's index entry."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest

from handrefiner_ext import __version__

ROOT = Path(__file__).parents[1]
CHANGELOG, NOTES = ROOT / "CHANGELOG.md", ROOT / "docs" / "release_notes.md"
HEADING = re.compile(r"^## \[(.+?)\](?: - (.+))?$", re.MULTILINE)
TAGS = (
    *("script", "localization", "tab", "dropdown", "ads", "installed", "training", "models"),
    *("UI related", "prompting", "editing", "manipulations", "online", "animation", "query"),
    *("science", "extras"),
)
"""Known to the index, the repository AUTOMATIC1111/stable-diffusion-webui-extensions."""

pytestmark = pytest.mark.skipif(not CHANGELOG.exists(), reason="the docs are not installed here")


def test_the_changelog_begins_with_what_is_to_come_and_then_this_version():
    (first, no_date), (version, date), *older = HEADING.findall(CHANGELOG.read_text("utf-8"))
    assert (first, no_date, version) == ("Unreleased", "", __version__)
    dates = [datetime.date.fromisoformat(d) for d in (date, *(d for _, d in older))]
    assert dates == sorted(dates, reverse=True)


def test_every_released_version_is_read_by_the_tests_of_migrations():
    released = [version for version, _ in HEADING.findall(CHANGELOG.read_text("utf-8"))[2:]]
    assert released
    for version in released:
        assert (ROOT / "tests" / "data" / version / "parameters.json").exists()


def test_the_release_notes_are_those_of_this_version():
    text = NOTES.read_text("utf-8")
    assert text.startswith(f"# Version {__version__}\n")
    assert "No real Stable Diffusion or hand ControlNet weights have been run" in text
    assert len(text.splitlines()) < 80


def test_the_entry_for_the_webuis_index_has_the_fields_of_that_index():
    text = (ROOT / "docs" / "extension_index.json").read_text("utf-8")
    entry = json.loads(text)
    assert list(entry) == ["name", "url", "description", "tags"]  # "added" is filled in there
    assert entry["name"] == "HandRefiner"
    assert re.fullmatch(r"https://[^ ]+\.git", entry["url"])
    assert entry["description"].isascii()
    assert 20 < len(entry["description"]) < 250
    assert entry["tags"]
    assert set(entry["tags"]) <= set(TAGS)
    # Only what talks to a server during regular use must say "online".
    assert "online" not in entry["tags"]
    assert text == json.dumps(entry, indent=4) + "\n"


def test_the_reports_that_are_asked_for_are_those_that_can_be_collected():
    forms = ROOT / ".github" / "ISSUE_TEMPLATE"
    fault, models = ((forms / f"{name}.yml").read_text("utf-8") for name in ("fault", "models"))
    assert "*Collect a report* (*Settings*, *HandRefiner*)" in fault
    assert "handrefiner doctor" in fault
    assert "handrefiner doctor --try --out_dir check" in models
