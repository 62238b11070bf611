"""The page of a run: every picture before and after, in one file that needs nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, refine_folder
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import DONE, FAILED
from handrefiner_ext.files.log import Report
from handrefiner_ext.files.page import make_thumbnails, open_page

pytestmark = pytest.mark.usefixtures("tiny_stages")
CHROMIUM = os.environ.get("HANDREFINER_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
ARTICLE = re.compile(r"<article data-decision=\"(\w+)\"([^>]*)>(.*?)</article>", re.DOTALL)


def open_in_browser(page, fragment=""):
    """The document after its script has run, and what the browser complained of."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", f"{page.resolve().as_uri()}{fragment}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def page(tmp_path):
    """A run over pictures that were repainted, kept, without hands, and broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture_with(BOTH)).save(folder / "<script>alert(1)<&\"'.png")
    Image.fromarray(picture_with(())).save(folder / "none.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    place = tmp_path / "made" / "report.html"
    assert refine_folder(folder, tmp_path / "out", "--report", place) == FAILED
    return place


def test_the_page_holds_all_it_shows(page):
    text = page.read_text("utf-8")
    assert names(page.parent) == ["report.html"]
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "http" not in text.replace("http-equiv", "")
    articles = {decision: body for decision, _, body in ARTICLE.findall(text)}
    assert set(articles) == {"repainted", "none", "failed"}
    shown = articles["repainted"]
    assert re.findall(r"<figcaption>(\w+)<", shown) == ["before", "after", "depth"]
    assert "Hand 1 (right): repainted" in shown
    assert "broken.png is" in articles["failed"]
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in shown


def test_what_was_kept_says_why(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture_with(BOTH)).save(folder / "a.png")
    more = ("--report", tmp_path / "r.html", "--skip_good", "0.05")
    assert refine_folder(folder, tmp_path / "out", *more) == DONE
    assert refine_folder(folder, tmp_path / "out", *more, "--resume") == DONE
    text = (tmp_path / "r.html").read_text("utf-8")
    assert 'data-decision="done"' in text
    assert "finished by an earlier run" in text


@needs_chromium
def test_a_browser_shows_the_page_and_filters_it(page):
    whole, complaints = open_in_browser(page)
    assert complaints == []
    assert [(kind, "hidden" in rest) for kind, rest, _ in ARTICLE.findall(whole)] == [
        ("repainted", False),
        ("failed", False),
        ("none", False),
    ]
    assert re.findall(r"<button[^>]*>([^<]*)</button>", whole) == [
        *("all (3)", "repainted (1)", "no hand found (1)", "failed (1)")
    ]
    some, _ = open_in_browser(page, "#repainted")
    hidden = {kind: "hidden" in rest for kind, rest, _ in ARTICLE.findall(some)}
    assert hidden == {"repainted": False, "failed": True, "none": True}


def write_many(place, count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)
    shown = make_thumbnails(pixels, pixels, pixels[..., 0])
    with open_page(place) as show:
        for number in range(count):
            kept = number % 2
            hand = {"number": 1, "handedness": "left", "refined": not kept, "reason": "No better."}
            hand |= {"quality_before": 0.5, "quality_after": 0.6}
            record = {"hands": [hand]}
            show(
                Report(
                    Path(f"{number}.png"),
                    f"out/{number}_0.png",
                    hands=1,
                    refined=1 - kept,
                    records=(record,),
                    thumbnails=(shown,),
                )
            )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_chromium
def test_a_thousand_pictures_fit_on_a_page(tmp_path):
    write_many(tmp_path / "r.html", 1000)
    assert (tmp_path / "r.html").stat().st_size < 120 << 20  # of noise, which compresses least
    text, complaints = open_in_browser(tmp_path / "r.html", "#kept")
    assert complaints == []
    articles = ARTICLE.findall(text)
    assert len(articles) == 1000
    assert sum("hidden" in rest for _, rest, _ in articles) == 500


def test_a_run_that_breaks_off_leaves_a_whole_page_of_what_was_done(tmp_path):
    def break_off():
        with open_page(tmp_path / "r.html") as show:
            show(Report(Path("a.png"), "out/a_0.png"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert names(tmp_path) == ["r.html"]
    text = (tmp_path / "r.html").read_text("utf-8")
    assert text.endswith("</html>\n")
    assert len(ARTICLE.findall(text)) == 1


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture_with(())).save(folder / "a.png")
    (tmp_path / "r.html").mkdir()
    assert refine_folder(folder, tmp_path / "out", "--report", tmp_path / "r.html") == FAILED
    assert "r.html cannot be written" in capsys.readouterr().err
