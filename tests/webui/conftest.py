"""Fixtures of the tests that drive a real WebUI over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import FLAGS, WebuiPage, find_chromium, open_page
from generation import Outcome, img2img, load
from installed import A1111, ENVIRONMENTS, FOLDERS, Installed, find_installed
from running_host import Host, missing_for_a_host, start_host

IMAGES = Path(os.environ.get("HANDREFINER_IMAGES", Path(__file__).parents[3] / "shared" / "images"))

INSTALLED = find_installed()
"""All that the variables name; while a test runs, they name the one that it runs on."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.webui)


@pytest.fixture(
    scope="session", autouse=True, params=INSTALLED or [None], ids=lambda w: w and w.kind
)
def webui_under_test(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of WebUI under test; where several are installed, the suite runs on one by one."""
    own: Installed | None = request.param
    if own is None:
        yield A1111
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDERS, str(own.folder))
        patch.setenv(ENVIRONMENTS, str(own.environment))
        yield own.kind


@pytest.fixture(autouse=True)
def fitting(request: pytest.FixtureRequest, webui_under_test: str) -> None:
    """Skip what another kind of WebUI cannot do, or does not have."""
    mark = request.node.get_closest_marker("only_on")
    if mark is not None and webui_under_test not in mark.args:
        pytest.skip(f"only on {', '.join(mark.args)}: {mark.kwargs['reason']}")


@pytest.fixture(scope="session")
def host(webui_under_test: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A running WebUI with the extension in it: `host.get`, `host.post`, `host.ask`."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    url = os.environ.get("HANDREFINER_WEBUI_URL")
    if url:
        log = os.environ.get("HANDREFINER_WEBUI_LOG")
        yield Host(url.rstrip("/"), Path(log) if log else None, kind=webui_under_test)
        return
    running = start_host(tmp_path_factory.mktemp("webui"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def sdxl_maker() -> Installed:
    """The WebUI among those installed whose Python can write an SDXL checkpoint."""
    made = (own for own in INSTALLED if (own.folder / "repositories/generative-models").exists())
    maker = next(made, None)
    if maker is None:
        pytest.skip("none of the WebUIs has generative-models, with which A1111 makes SDXL")
    return maker


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of test photographs 1.jpg to 5.jpg."""
    if not (IMAGES / "1.jpg").exists():
        pytest.skip(f"needs the test photographs; {IMAGES} has none")
    return IMAGES


@pytest.fixture(scope="module")
def woman(photographs: Path, host: Host) -> np.ndarray:
    """Picture 2, one hand; the host has made its first picture, which is never quite repeated."""
    picture = load(photographs / "2.jpg")
    img2img(host, picture)
    return picture


@pytest.fixture(scope="module")
def plain(host: Host, woman: np.ndarray) -> Outcome:
    """The request without us."""
    return img2img(host, woman)


@pytest.fixture
def webui(host: Host, browser: Any) -> Iterator[WebuiPage]:
    """The WebUI's page, just opened."""
    with open_page(browser, host.url) as page:
        yield page
