"""Generate forever, interrupted while hands are repainted: the picture stays, the next comes."""

from __future__ import annotations

import time

import pytest
from test_second_pass import wait_for_the_second_pass

MENU = "#context-menu"


def choose_from_menu(webui, button: str, entry: str) -> None:
    """Choose from the menu that the right mouse button opens."""
    webui.page.locator(button).click(button="right")
    webui.page.locator(MENU).get_by_text(entry, exact=True).click()


def wait_for_hands(webui, count: int, seconds: float = 240) -> list[str]:
    """What the log of the page's pictures says about the hands, once there are so many."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = webui.page.evaluate("window.handsSaid")
        if len(said) >= count:
            return said
        webui.page.wait_for_timeout(200)
    raise AssertionError(f"only {said} after {seconds} s")


NOTE_INFOTEXTS = """() => {
    window.handsSaid = [];
    const info = document.querySelector('#html_info_img2img');
    let last = info.innerText;
    new MutationObserver(() => {
        const text = info.innerText;
        if (text !== last && text.includes('HandRefiner hands:')) {
            window.handsSaid.push(text);
        }
        last = text;
    }).observe(info, {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture
def interrupting(host):
    """The button ends what is painted; as the WebUI comes, its first press lets a picture that has
    more than one part, such as one with hands, be finished (*Don't Interrupt in the middle*)."""
    host.post("/sdapi/v1/options", {"interrupt_after_current": False})
    yield
    host.post("/sdapi/v1/options", {"interrupt_after_current": True})


@pytest.mark.usefixtures("interrupting")
def test_generate_forever_goes_on_after_an_interrupt_in_the_second_pass(host, webui, photographs):
    webui.load_gently(photographs / "1.jpg")
    webui.page.locator("#img2img_seed input").first.fill("-1")  # each picture has its own text
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.unfold("img2img", "advanced")
    webui.press_tab("#handrefiner_img2img_tabs", "Painting")
    webui.set_number("handrefiner_img2img_steps", 40)
    webui.set_number("handrefiner_img2img_region_size", 256)
    webui.page.evaluate(NOTE_INFOTEXTS)
    choose_from_menu(webui, "#img2img_generate", "Generate forever")
    try:
        wait_for_the_second_pass(host)
        webui.page.locator("#img2img_interrupt").click()
        stopped = wait_for_hands(webui, 1)[0]
        assert "interrupted or skipped" in stopped
        assert " refined" not in stopped.partition("HandRefiner hands:")[2]
        went_on = wait_for_hands(webui, 2)[1]
        assert " refined" in went_on.partition("HandRefiner hands:")[2]
    finally:
        # What "Cancel generate forever" of the menu does; its button is there in some moments only.
        webui.page.evaluate("clearInterval(window.generateOnRepeatInterval)")
        host.post("/sdapi/v1/interrupt", {})
    webui.page.locator("#img2img_interrupt").wait_for(state="hidden")
    webui.page.wait_for_timeout(1500)
    assert webui.page.locator("#img2img_interrupt").is_hidden()
