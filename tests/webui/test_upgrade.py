"""A real WebUI that ran version 0.1.0 goes on with today's code, and collects a report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from browser import LONG_MS, WebuiPage, keep_screenshot, open_page
from installed import A1111, FORGE, REFORGE
from running_host import Host, missing_for_a_host, start_host

import handrefiner_ext
from handrefiner_ext.host.ui_config import OURS, VERSION_KEY

OLD = Path(__file__).parents[1] / "data" / "0.1.0"
TABS = ("txt2img", "img2img")
HOSTS = {A1111: "- stable-diffusion-webui", FORGE: "- Forge f2", REFORGE: "- reForge f1"}
GRADIO = {A1111: "gradio 3.41.2", FORGE: "gradio 4.40.0", REFORGE: "gradio 3.41.2"}
LABEL = "Keep the better hand"
KEEP_BEST = {tab: f"{OURS}{tab}/{LABEL}/value" for tab in TABS}
STRENGTH = f"{OURS}txt2img/Strength/value"
STEPS = "customscript/sampler.py/txt2img/Sampling steps/value"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a WebUI ran 0.1.0: its file of defaults, with what the user chose in it."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    made = tmp_path_factory.mktemp("upgraded")
    (made / "data").mkdir()
    shutil.copy(OLD / "ui-config.json", made / "data")
    edit(made, {STRENGTH: 0.7, STEPS: 33})
    return made


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "data" / "ui-config.json").read_text("utf-8")))


def edit(folder: Path, values: dict[str, Any]) -> None:
    text = json.dumps({**read(folder), **values}, indent=4)
    (folder / "data" / "ui-config.json").write_text(text, "utf-8")


def is_checked(webui: WebuiPage, tab: str) -> bool:
    webui.go_to(tab)
    webui.unfold(tab)
    return bool(webui.panel(tab, "keep_best").locator("input").is_checked())


def test_a_webui_that_ran_0_1_0_keeps_no_wrong_default_and_what_was_chosen(
    folder: Path, browser: Any
) -> None:
    host = start_host(folder)
    try:
        assert f"{LABEL} (txt2img) is on by default since version" in host.read_log()
        with open_page(browser, host.url) as webui:
            assert all(is_checked(webui, tab) for tab in TABS)
            assert webui.get_number("handrefiner_txt2img_strength") == 0.7
            assert webui.get_number("handrefiner_img2img_strength") == 0.55
            assert webui.get_number("txt2img_steps") == 33
    finally:
        host.stop()
    stored = read(folder)
    assert stored[VERSION_KEY] == handrefiner_ext.__version__
    assert [stored[key] for key in KEEP_BEST.values()] == [True, True]
    assert (stored[STRENGTH], stored[STEPS]) == (0.7, 33)


def test_what_is_chosen_afterwards_stays_though_it_is_the_old_default(
    folder: Path, browser: Any, tmp_path: Path
) -> None:
    assert VERSION_KEY in read(folder)
    (tmp_path / "data").mkdir()
    shutil.copy(folder / "data" / "ui-config.json", tmp_path / "data")
    edit(tmp_path, {KEEP_BEST["txt2img"]: False})
    host = start_host(tmp_path)
    try:
        assert "by default since version" not in host.read_log()
        with open_page(browser, host.url) as webui:
            assert [is_checked(webui, tab) for tab in TABS] == [False, True]
    finally:
        host.stop()


def test_the_settings_page_collects_a_report_to_copy(
    host: Host, browser: Any, tmp_path: Path
) -> None:
    body = {"prompt": "SECRET", "steps": 1, "width": 64, "height": 64}
    asked = {"enabled": True, "strength": 0.65, "prompt": "SECRET"}
    host.post("/sdapi/v1/txt2img", {**body, "alwayson_scripts": {"HandRefiner": {"args": [asked]}}})
    with open_page(browser, host.url) as webui:
        webui.go_to("Settings")
        webui.press_tab("#settings", "HandRefiner")
        button = webui.page.locator("#setting_handrefiner_report")
        assert button.inner_text() == "Collect a report"
        button.click()
        text = webui.page.locator("#handrefiner_report_text textarea")
        text.wait_for(timeout=LONG_MS)
        said = text.input_value()
        assert webui.page.locator("#handrefiner_report_text button").first.is_visible()
        keep_screenshot(webui.page.locator("#settings_handrefiner"), "settings_report", tmp_path)
        # The other settings of the page can still be applied.
        webui.page.locator("#settings_submit").click()
        result = webui.page.locator("#settings_result")
        result.get_by_text(re.compile(r"settings changed")).wait_for()
    for expected in (
        *(f"handrefiner {handrefiner_ext.__version__}", GRADIO[host.kind], "### Backends"),
        *(HOSTS[host.kind], "zz-photograph", "checkpoint: sd1"),
        *("control_sd15_inpaint_depth_hand_fp16", "- HandRefiner strength: 0.65"),
    ):
        assert expected in said
    assert "SECRET" not in said
    assert str(Path.home()) not in said
    assert host.data is None or str(host.data) not in said
