"""Downloads against a real server: whatever it does, a file is whole and right, or is not there."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_server import Behaviour, make_safetensors, serving

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights import download as downloading
from handrefiner_ext.weights.connection import Connection
from handrefiner_ext.weights.download import download
from handrefiner_ext.weights.manifest import HUB, WeightsFile
from handrefiner_ext.weights.places import LOCK_NAME, measure, read_pins, remove_pin

CONTENT, OTHER = make_safetensors(5), make_safetensors(6)
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
    with pytest.raises(WeightsError, match=r"the connection broke.* 300,000 bytes are kept"):
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
    changed = Behaviour(OTHER, tag='"of-other-bytes"')
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
    old = Behaviour(OTHER, cut_after=[300_000, 0, 0, 0])
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
        fetch(Behaviour(OTHER, tag=TAG), tmp_path)
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


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "TEXT/HTML", "Application/JSON"])
def test_a_web_page_is_not_taken_for_the_file(kind, tmp_path):
    with pytest.raises(WeightsError, match="web page"):
        fetch(Behaviour(b"<html>Please log in</html>", kind=kind), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><title>Please log in</title>" + b" " * 5000,
        b'{"error": "Repository not found"}' + b" " * 5000,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n",
        CONTENT[:5000],
        CONTENT + b"x",
        CONTENT[:8] + b"{" * (len(CONTENT) - 8),
        b"PK\x03\x04",
        b"",
    ],
    ids=["page", "json", "pointer", "cut", "longer", "bad header", "too short", "empty"],
)
def test_what_is_no_file_of_weights_is_neither_kept_nor_pinned(content, tmp_path):
    with pytest.raises(WeightsError, match=r"not a \.safetensors file|header does not|fewer than"):
        fetch(Behaviour(content, tag=TAG, kind="binary/octet-stream"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    good = Behaviour(CONTENT, tag=TAG)
    assert_whole(fetch(good, tmp_path), good)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        *(("a.pth", b"PK\x03\x04"), ("a.ckpt", b"\x80\x02\x8a\n"), ("a.bin", b"\x80\x02")),
        ("a.npz", b"PK\x03\x04"),
    ],
)
def test_each_kind_of_file_is_known_by_its_first_bytes(name, start, tmp_path):
    file = WeightsFile(name, f"{HUB}/{name}")
    for content in (start + b"x" * 5000, b"<html>" + b"x" * 5000):
        with serving(Behaviour(content, tag=TAG)) as address:
            connection = Connection({HUB: address}, timeout_s=0.5, tries=2, pause_s=0.0)
            if content.startswith(start):
                place = download(file, tmp_path, connection, lambda done, length: None)
                assert place.read_bytes() == content
                place.unlink()
                (tmp_path / LOCK_NAME).unlink()
            else:
                with pytest.raises(WeightsError, match=r"checkpoint of torch|a \.npz file"):
                    download(file, tmp_path, connection, lambda done, length: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", [OTHER, make_safetensors(6, 800_000)], ids=["same", "longer"])
@pytest.mark.parametrize("tag", ['"of-other-bytes"', ""])
def test_bytes_of_two_versions_are_not_joined_though_the_server_ignores_if_range(
    changed, tag, tmp_path
):
    old = Behaviour(CONTENT, tag=TAG, cut_after=[300_000, 0, 0, 0])
    with pytest.raises(WeightsError, match="bytes are kept"):
        fetch(old, tmp_path)
    new = Behaviour(changed, tag=tag, ignores_condition=True)
    assert_whole(fetch(new, tmp_path), new)
    assert new.ranges_asked()[-1] is None


def test_bytes_that_cannot_be_used_again_are_not_said_to_be_kept(tmp_path):
    behaviour = Behaviour(CONTENT, cut_after=[300_000, 0, 0, 0])  # neither tag nor checksum
    with pytest.raises(WeightsError, match="Try again later") as caught:
        fetch(behaviour, tmp_path)
    assert "kept" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_server_is_given_the_time_that_it_asks_for(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, statuses=[503], retry_after="1")
    begun = time.monotonic()
    assert_whole(fetch(behaviour, tmp_path), behaviour)
    assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize("wait", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_that_asks_for_hours_is_told_and_left(wait, tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, statuses=[429] * 9, retry_after=wait)
    with pytest.raises(WeightsError, match=r"HTTP 429 and asks to wait [0-9,]{6,} seconds"):
        fetch(behaviour, tmp_path)
    assert len(behaviour.requests) == 1


@pytest.mark.parametrize("wait", ["soon", "-5", "Fri, 99 Jan"])
def test_a_wait_that_is_none_is_passed_over(wait, tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, statuses=[503], retry_after=wait)
    assert_whole(fetch(behaviour, tmp_path), behaviour)


def test_a_wrong_length_is_refused_before_it_is_transferred(tmp_path):
    told = []
    file = WeightsFile(NAME, f"{HUB}/x", size=600_000, sha256="0" * 64)
    with serving(Behaviour(CONTENT, tag=TAG)) as address:
        connection = Connection({HUB: address}, timeout_s=0.5, tries=2, pause_s=0.0)
        with pytest.raises(WeightsError, match=r"has 700,000 bytes, but .* must have 600,000"):
            download(file, tmp_path, connection, lambda done, length: told.append(done))
    assert told == []


def test_a_server_that_drips_is_left(tmp_path):
    behaviour = Behaviour(CONTENT, tag=TAG, drip_s=0.05)
    begun = time.monotonic()
    with pytest.raises(WeightsError, match=r"only [0-9]+ bytes came in"):
        fetch(behaviour, tmp_path)
    assert time.monotonic() - begun < 10.0
    assert len(behaviour.requests) == 3


def test_an_unpinned_file_may_be_another(tmp_path):
    place = fetch(Behaviour(CONTENT, tag=TAG), tmp_path)
    place.unlink()
    with pytest.raises(WeightsError, match=f"weights unpin {NAME}"):
        fetch(Behaviour(OTHER, tag=TAG), tmp_path)
    assert remove_pin(tmp_path, NAME)
    assert not remove_pin(tmp_path, NAME)
    other = Behaviour(OTHER, tag=TAG)
    assert_whole(fetch(other, tmp_path), other)


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
    (tmp_path / (NAME + ".part")).write_bytes(OTHER[:5000])
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
