"""What the extension costs the host, and that it lives beside ADetailer, over many requests."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from generation import FACES, GENTLE, alike, changed, img2img, load
from running_host import Host, start_host

REQUESTS, SETTLED = 50, 10
HOSTS = 2
"""Of each kind, since two processes of the same host already differ by some percent."""
TIMED = 8
STARTS = 3
NAME = "handrefiner"


@pytest.fixture(scope="module")
def woman(photographs):
    return load(photographs / "2.jpg")


@pytest.fixture
def fresh_hosts(host, tmp_path):
    """Hosts that have just started, with the extension and with it switched off."""
    if host.process is None:
        pytest.skip("the host was started by somebody else; none can be started beside it")
    starts = {"with": start_host, "without": start_without_us}
    hosts: dict[str, list[Host]] = {name: [] for name in starts}
    for number in range(HOSTS):
        for name, start in starts.items():
            hosts[name].append(start(tmp_path / f"{name}{number}"))
    yield hosts
    for running in (*hosts["with"], *hosts["without"]):
        running.stop()


def start_without_us(folder: Path) -> Host:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "config.json").write_text(json.dumps({"disabled_extensions": [NAME]}))
    return start_host(folder)


def processor_s(host: Host) -> float:
    """Seconds of processor time that the host's process has used."""
    assert host.process is not None
    stat = Path(f"/proc/{host.process.pid}/stat")
    if not stat.exists():
        pytest.skip("processor time is read from /proc, which this system does not have")
    used = stat.read_text().rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(host: Host) -> float:
    """Memory of the host's process, MB."""
    if host.process is None:
        pytest.skip("the host was started by somebody else; its memory cannot be read")
    status = Path(f"/proc/{host.process.pid}/status")
    if not status.exists():
        pytest.skip("memory is read from /proc, which this system does not have")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status.read_text())[0]) / 1024


def started_in(host: Host) -> float:
    """Seconds of processor time of the start that can be ours: our script, and the page.

    The rest is the same with and without us, and far noisier.
    """
    said = re.findall(r"Processor time of (?:our script|the page): ([\d.]+) s", host.read_log())
    assert said, "the test-only extension 00-timed-start says it"
    return sum(map(float, said))


def test_with_keep_best_noise_does_not_replace_the_hand(host, woman):
    strong = {**GENTLE, "denoising_strength": 1.0}
    plain = img2img(host, woman)
    noise = img2img(host, woman, strong)
    kept = img2img(host, woman, {**strong, "keep_best": True})
    assert changed(noise.image, plain.image).any()
    assert alike(kept.image, plain.image)
    assert "original was kept" in kept.hands


@pytest.mark.only_on("a1111", reason="ADetailer is installed there")
def test_adetailer_and_we_both_run_once_in_one_request(host, woman):
    more = {"alwayson_scripts": {"ADetailer": FACES}}
    faces = img2img(host, woman, **more)
    both = img2img(host, woman, GENTLE, **more)
    assert "ADetailer model: mediapipe_face_full" in faces.texts[0]
    assert "ADetailer model: mediapipe_face_full" in both.texts[0]
    assert both.decisions == "1 right refined"
    assert both.texts[0].count("HandRefiner hands") == 1
    difference = changed(both.image, faces.image)
    assert difference.any()
    rows, _ = difference.nonzero()
    assert rows.min() > 512 // 3, "only the hand may differ, not the face that ADetailer repaints"


@pytest.mark.timeout(3600)  # 52 requests take over ten minutes on a machine that does other work
def test_memory_does_not_grow_and_nothing_stays_behind(host, woman):
    first = img2img(host, woman)
    for number in range(1, REQUESTS + 1):
        assert "refined" in img2img(host, woman, GENTLE, seed=number).hands
        if number == SETTLED:
            settled = resident_mb(host)
    assert resident_mb(host) < 1.05 * settled
    assert alike(img2img(host, woman).image, first.image)


def start_once(folder: Path, switched_off: bool) -> tuple[float, float]:
    """Seconds and megabytes of a start, with the extension or with it switched off."""
    running = start_without_us(folder) if switched_off else start_host(folder)
    try:
        return started_in(running), resident_mb(running)
    finally:
        running.stop()


def test_the_start_is_hardly_longer_and_needs_hardly_more_memory(host, tmp_path):
    """The least of several starts in turn: whatever else the machine does only adds."""
    if host.process is None:
        pytest.skip("the host was started by somebody else; none can be started beside it")
    measured: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(STARTS):
        for switched_off, starts in measured.items():
            starts.append(start_once(tmp_path / f"{number}{switched_off}", switched_off))
    without, within = (np.min(measured[switched_off], axis=0) for switched_off in (True, False))
    assert within[0] - without[0] < 0.5, f"{within[0]} s with, {without[0]} s without"
    assert within[1] - without[1] < 50, f"{within[1]:.0f} MB with, {without[1]:.0f} MB without"


@pytest.mark.timeout(1800)  # four starts and 36 requests
def test_with_the_checkbox_off_a_generation_is_that_of_a_host_without_us(fresh_hosts, woman):
    """The least of several, by the processor's time: the clock counts what others do, too."""
    pairs = list(zip(fresh_hosts["with"], fresh_hosts["without"], strict=True))
    for running in (host for pair in pairs for host in pair):
        img2img(running, woman)
    least = dict.fromkeys(fresh_hosts, float("inf"))
    for _ in range(TIMED):
        for pair in pairs:
            pictures = []
            for name, running in zip(("with", "without"), pair, strict=True):
                start = processor_s(running)
                pictures.append(img2img(running, woman).image)
                least[name] = min(least[name], processor_s(running) - start)
            assert (pictures[0] == pictures[1]).all()
    assert least["with"] < 1.05 * least["without"], f"{least} s"
