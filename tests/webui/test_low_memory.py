"""The WebUI's ways to save memory: hands are painted there, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from generation import GENTLE, as_mask, changed, decisions_of, img2img, load
from running_host import Host, missing_for_a_host, start_host

pytestmark = pytest.mark.only_on("a1111", reason="Forge has its own management of memory")


@pytest.fixture(params=["--medvram", "--lowvram"])
def saving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host that moves parts of the network to the device only while they are used."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    running = start_host(tmp_path_factory.mktemp("saving"), request.param)
    try:
        yield running
    finally:
        running.stop()


def test_hands_are_painted_and_nothing_else_changes(saving, photographs):
    woman = load(photographs / "2.jpg")
    img2img(saving, woman)  # a host's first picture is never quite repeated
    plain = img2img(saving, woman)
    hands = img2img(saving, woman, {**GENTLE, "extra_images": True, "strength": 0.4})
    other = img2img(saving, woman, {**GENTLE, "extra_images": True, "strength": 0.8})
    mask = as_mask(hands.images[-2])
    assert decisions_of(hands.texts[0]) == "1 right refined"
    difference = changed(hands.images[0], hands.images[-1])
    assert difference[mask].any()
    assert not difference[~mask].any()
    assert changed(hands.images[0], other.images[0])[mask].any(), "the ControlNet steers there, too"
    again = img2img(saving, woman)
    assert not changed(again.image, plain.image).any(), "the network is as it was"
