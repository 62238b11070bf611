"""Downloads against a real server: whatever it does, a file is whole and right, or is not there."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_server import Behaviour, serving

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights import download as downloading
from handrefiner_ext.weights.download import Connection, download
from handrefiner_ext.weights.manifest import HUB, WeightsFile
from handrefiner_ext.weights.places import LOCK_NAME, measure, read_pins

CONTENT = np.random.default_rng(5).bytes(700_000)
TAG = '"of-these-bytes"'
NAME = "hand.safetensors"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetch(behaviour, folder, stated=None, report=lambda done, length: None, **connection):
    """Download from a server that behaves so; `stated` is the checksum of the manifest."""
    with serving(behaviour) as address:
        mirrors = {HUB: address}
        patience = Connection(
            mirrors, **{"timeout_s": 0.5, "tries": 3, "pause_s": 0.0, **connection}
        )
        file = WeightsFile(NAME, f"{HUB}/owner/name/resolve/main/{NAME}", sha256=stated)
        return download(file, folder, patience, report)


def assert_whole(place, behaviour):
    assert place.read_bytes() == behaviour.content
    names = {path.name for path in place.parent.iterdir()}
    assert names == {NAME, LOCK_NAME}, "something was left behind"


def assert_resumed(asked, *ends):
    """The requests after the first began behind what had come, but for the last block."""
    assert asked[0] is None
    assert len(asked) == len(ends) + 1
    for text, end in zip(asked[1:], ends, strict=True):
        start = int(text.removeprefix("bytes=").removesuffix("-"))
        assert end - downloading.BLOCK_BYTES < start <= end


def test_a_file_arrives_whole_and_is_pinned(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG)
    told = []
    place = fetch(behaviour, tmp_path, report=lambda done, length: told.append((done, length)))
    assert_whole(place, behaviour)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert read_pins(tmp_path) == {NAME: measure(place)}
    assert len(behaviour.requests) == 1


def test_a_broken_download_goes_on_where_it_ended(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, cut_after=[300_000, 100_000])
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    first, second = (headers["range"] for _, headers in behaviour.requests[1:])
    assert_resumed([None, first], 300_000)
    begun = int(first.removeprefix("bytes=").removesuffix("-"))
    assert_resumed([None, second], begun + 100_000)
    assert behaviour.requests[1][1]["if-range"] == TAG


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, cut_after=[300_000, 0, 0, 0])
    with pytest.raises(WeightsError, match=r"2[0-9]{2},[0-9]{3} bytes are kept"):
        fetch(behaviour, tmp_path)
    assert not (tmp_path / NAME).exists()
    behaviour.cut_after.clear()
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert_resumed([None, behaviour.ranges_asked()[-1]], 300_000)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 400_000), max_size=6), ranges=st.booleans(), tag=st.booleans())
def test_wherever_the_line_breaks_the_file_is_whole_or_absent(cuts, ranges, tag, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    behaviour = Behaviour(CONTENT, cut_after=cuts, ranges=ranges, tag=TAG if tag else "")
    with contextlib.suppress(WeightsError):
        fetch(behaviour, folder)
    place = folder / NAME
    if place.exists():
        assert_whole(place, behaviour)


def test_a_server_that_falls_silent_is_left_and_asked_again(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, stall_after=[200_000])
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert len(behaviour.requests) == 2


def test_a_server_that_refuses_ranges_sends_all_again(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, cut_after=[300_000], ranges=False)
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert_resumed(behaviour.ranges_asked(), 300_000)


def test_a_file_that_has_changed_meanwhile_is_fetched_whole(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, cut_after=[300_000, 0, 0, 0])
    with pytest.raises(WeightsError):
        fetch(behaviour, tmp_path)
    changed = Behaviour(CONTENT[::-1], tag='"of-other-bytes"')
    assert_whole(fetch(changed, tmp_path), changed)


def test_without_a_strong_tag_or_a_checksum_nothing_is_joined(tmp_path):
    behaviour = Behaviour(CONTENT, tag='W/"weak"', cut_after=[300_000])
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert behaviour.ranges_asked() == [None, None]


def test_with_a_known_checksum_it_goes_on_even_without_a_tag(tmp_path):
    behaviour = Behaviour(CONTENT, cut_after=[300_000])
    assert_whole(fetch(behaviour, tmp_path, stated=behaviour.sha256), behaviour)
    assert_resumed(behaviour.ranges_asked(), 300_000)


def test_a_wrong_joint_is_noticed_and_mended(tmp_path):
    old = Behaviour(CONTENT[::-1], cut_after=[300_000, 0, 0, 0])
    new = Behaviour(CONTENT)
    with pytest.raises(WeightsError):
        fetch(old, tmp_path, stated=new.sha256)
    assert_whole(fetch(new, tmp_path, stated=new.sha256), new)
    joined, whole = new.ranges_asked()
    assert_resumed([None, joined], 300_000)
    assert whole is None


def test_corrupt_bytes_are_fetched_once_more(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, corrupt=[True])
    assert_whole(fetch(behaviour, tmp_path, stated=behaviour.sha256), behaviour)


def test_bytes_that_stay_corrupt_are_never_kept(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, corrupt=[True, True])
    with pytest.raises(WeightsError, match=behaviour.sha256):
        fetch(behaviour, tmp_path, stated=behaviour.sha256)
    assert list(tmp_path.iterdir()) == []


def test_the_hubs_own_checksum_counts_where_none_is_stated(tmp_path):
    good = Behaviour(CONTENT, redirect=True, linked=True, tag=TAG, cut_after=[10_000])
    assert_whole(fetch(good, tmp_path / "good"), good)
    bad = Behaviour(CONTENT, redirect=True, linked=True, tag=TAG, corrupt=[True, True])
    with pytest.raises(WeightsError, match=bad.sha256):
        fetch(bad, tmp_path / "bad")


def test_redirections_keep_the_range(tmp_path):
    behaviour = Behaviour(CONTENT, redirect=True, tag=TAG, cut_after=[300_000])
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert_resumed(behaviour.ranges_asked(), 300_000)


def test_a_later_download_must_be_what_the_first_was(tmp_path):
    first = Behaviour(CONTENT, tag=TAG)
    place = fetch(first, tmp_path)
    place.unlink()
    with pytest.raises(WeightsError, match=LOCK_NAME):
        fetch(Behaviour(CONTENT[::-1], tag=TAG), tmp_path)
    assert not place.exists()
    assert_whole(fetch(first, tmp_path), first)


def test_a_damaged_lock_file_is_told_and_kept(tmp_path):
    (tmp_path / LOCK_NAME).write_text("{broken")
    with pytest.raises(WeightsError, match="delete it if"):
        fetch(Behaviour(CONTENT), tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == "{broken"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(tmp_path, status):
    behaviour = Behaviour(CONTENT, statuses=[status, status])
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    always = Behaviour(CONTENT, statuses=[status] * 9)
    with pytest.raises(WeightsError, match=f"HTTP {status}"):
        fetch(always, tmp_path / "always")
    assert len(always.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(tmp_path, status):
    behaviour = Behaviour(CONTENT, statuses=[status])
    with pytest.raises(WeightsError, match=f"HTTP {status}"):
        fetch(behaviour, tmp_path)
    assert len(behaviour.requests) == 1


def test_a_web_page_is_not_taken_for_the_file(tmp_path):
    with pytest.raises(WeightsError, match="web page"):
        fetch(Behaviour(b"<html>Please log in</html>", page=True), tmp_path)
    assert not (tmp_path / NAME).exists()


def test_a_length_that_nobody_tells_needs_a_checksum(tmp_path):
    silent = Behaviour(CONTENT, tells_length=False)
    with pytest.raises(WeightsError, match="does not say how long"):
        fetch(silent, tmp_path / "unknown")
    assert_whole(fetch(silent, tmp_path / "known", stated=silent.sha256), silent)


def test_a_part_without_its_notes_is_not_built_upon(tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(b"who knows what")
    behaviour = Behaviour(CONTENT, tag=TAG)
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert behaviour.ranges_asked() == [None]


def test_a_part_of_another_address_is_not_built_upon(tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(CONTENT[::-1][:5000])
    notes = {"url": "https://example.org/x", "size": 700_000, "sha256": None, "tag": TAG}
    (tmp_path / (NAME + ".part.json")).write_text(json.dumps(notes))
    behaviour = Behaviour(CONTENT, tag=TAG)
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert behaviour.ranges_asked() == [None]


def test_a_part_longer_than_the_file_starts_anew(tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(CONTENT + b"more")
    notes = {"url": f"{HUB}/owner/name/resolve/main/{NAME}", "size": 9, "sha256": None, "tag": TAG}
    (tmp_path / (NAME + ".part.json")).write_text(json.dumps(notes))
    behaviour = Behaviour(CONTENT, tag=TAG)
    assert_whole(fetch(behaviour, tmp_path), behaviour)


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": downloading.RESERVE + 5000})
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match="make room"):
        fetch(Behaviour(CONTENT), tmp_path)
    assert not (tmp_path / (NAME + ".part")).exists()


def test_nobody_there_is_a_sentence(tmp_path):
    with serving(Behaviour(CONTENT)) as address:
        pass
    connection = Connection({HUB: address}, timeout_s=0.5, tries=2, pause_s=0.0)
    with pytest.raises(WeightsError, match="could not be downloaded"):
        download(WeightsFile(NAME, f"{HUB}/x"), tmp_path, connection, lambda done, length: None)


def test_a_mirror_that_is_no_address_is_a_sentence(tmp_path):
    connection = Connection({HUB: "mirror.example"}, timeout_s=0.5, tries=2, pause_s=0.0)
    with pytest.raises(WeightsError, match=r"mirror\.example/x cannot be fetched"):
        download(WeightsFile(NAME, f"{HUB}/x"), tmp_path, connection, lambda done, length: None)


def test_offline_nothing_is_asked(tmp_path):
    behaviour = Behaviour(CONTENT)
    with pytest.raises(WeightsError, match="because --offline was given"):
        fetch(behaviour, tmp_path, offline="--offline was given")
    assert behaviour.requests == []


def test_a_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    behaviour = Behaviour(CONTENT, tag=TAG)
    with serving(behaviour) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        file = WeightsFile(NAME, "http://weights.example/file")
        connection = Connection(timeout_s=0.5, tries=1)
        assert_whole(download(file, tmp_path, connection, lambda done, length: None), behaviour)
    assert behaviour.requests[0][0] == "http://weights.example/file"
