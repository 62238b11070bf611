"""install.py, preload.py and metadata.ini on a real WebUI."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path

import pytest
import running_host
from generation import FACES, GENTLE, SIZE, alike, img2img, load
from running_host import PROJECT, missing_for_a_host, start_host

OURS = ("mediapipe", "ai_edge_litert", "ai-edge-litert", "absl", "sounddevice", "_sounddevice")
HIDE = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mediapipe", "ai_edge_litert", "trimesh"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
PREFIX = "/handrefiner/v1"
pytestmark = pytest.mark.only_on("a1111", reason="the packages are compared with A1111's pins")


@pytest.fixture
def webui():
    if not os.environ.get("HANDREFINER_WEBUI"):
        pytest.skip(missing_for_a_host() or "starts hosts itself: HANDREFINER_WEBUI is not set")
    return Path(os.environ["HANDREFINER_WEBUI"])


@pytest.fixture
def own_host(webui, tmp_path, monkeypatch):
    """Starts one host with these flags and variables; it is ended with the test."""
    started = []

    def start(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        started.append(start_host(tmp_path, *arguments))
        return started[-1]

    yield start
    for host in started:
        host.stop()


@pytest.fixture(scope="session")
def photograph(photographs):
    return base64.b64encode((photographs / "1.jpg").read_bytes()).decode()


@pytest.fixture
def bare_environment(webui, tmp_path):
    """An environment that sees the WebUI's packages except those that install.py brings."""
    host = Path(os.environ["HANDREFINER_WEBUI_VENV"])
    folder = tmp_path / "venv"
    subprocess.run([host / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    seen = tmp_path / "seen"
    seen.mkdir()
    (source,) = (host / "lib").glob("python3*/site-packages")
    for entry in source.iterdir():
        if not entry.name.startswith(OURS):
            (seen / entry.name).symlink_to(entry)
    (site / "webui.pth").write_text(f"{seen}\n")
    return folder


def run_in(folder, *command, **options):
    return subprocess.run(
        [folder / "bin" / "python", *command], capture_output=True, text=True, **options
    )


def list_versions(folder):
    said = run_in(folder, "-m", "pip", "list", "--format=freeze", check=True).stdout
    return set(said.split())


def run_installer(folder, webui, **variables):
    """install.py as the WebUI runs it: its own function, its own working folder."""
    code = (
        "from modules import launch_utils\n"
        f"launch_utils.run_extension_installer({str(PROJECT)!r})\n"
    )
    return run_in(folder, "-c", code, cwd=webui, env={**os.environ, **variables})


def needs_the_package_index(folder):
    probe = run_in(
        folder, *["-m", "pip", "download", "--no-deps", "-q", "mediapipe==0.10.9", "-d"], folder
    )
    if probe.returncode:
        pytest.skip("needs a package index")


def test_with_a_detector_there_it_is_silent_and_takes_under_a_second(webui):
    host = Path(os.environ["HANDREFINER_WEBUI_VENV"])
    run_in(host, PROJECT / "install.py", cwd=webui)  # a host that never had the extension
    before = list_versions(host)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        done = run_in(host, PROJECT / "install.py", cwd=webui)
        took.append(time.perf_counter() - start)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(took) < 1.0
    assert list_versions(host) == before


def test_what_is_missing_is_added_and_nothing_else_changes(
    bare_environment, webui, own_host, photograph
):
    needs_the_package_index(bare_environment)
    before = list_versions(bare_environment)
    said = run_installer(bare_environment, webui)
    assert "HandRefiner: installing a hand detector" in said.stdout, said
    after = list_versions(bare_environment)
    assert before < after
    added = {line.partition("==")[0] for line in after - before}
    assert added <= {"mediapipe", "ai-edge-litert", "absl-py", "sounddevice", "flatbuffers"}
    assert "mediapipe==0.10.9" in after
    checked = run_in(bare_environment, "-m", "pip", "check").stdout
    complaints = [line for line in checked.splitlines() if "mediapipe" in line]
    # ADetailer raises protobuf; mediapipe works with it, as the host below shows.
    known = ("opencv-contrib-python, which is not installed", "but you have protobuf 4.25")
    assert all(any(words in line for words in known) for line in complaints), complaints
    again = run_installer(bare_environment, webui)
    assert "HandRefiner" not in again.stdout + again.stderr
    host = own_host(HANDREFINER_WEBUI_VENV=bare_environment)
    assert host.get(PREFIX + "/models")["backends"]["detector"]["mediapipe"] is None
    assert len(host.post(PREFIX + "/hints", {"image": photograph})["hands"]) == 1


def test_where_nothing_can_be_installed_the_webui_goes_on(bare_environment, webui):
    before = list_versions(bare_environment)
    said = run_installer(
        bare_environment, webui, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_NO_CACHE_DIR="1"
    )
    assert said.returncode == 0
    assert "no hand detector could be installed" in said.stdout
    assert "Traceback" not in said.stdout + said.stderr
    assert list_versions(bare_environment) == before


def test_offline_nothing_is_tried(bare_environment, webui):
    start = time.perf_counter()
    said = run_installer(bare_environment, webui, COMMANDLINE_ARGS="--api --handrefiner-offline")
    assert "nothing is installed offline" in said.stdout
    assert time.perf_counter() - start < 20


def test_without_any_of_our_packages_the_webui_starts_and_everything_explains_itself(
    own_host, tmp_path, photograph
):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE)
    host = own_host(PYTHONPATH=hidden)
    assert "Error loading script: handrefiner" not in host.read_log()
    reasons = host.get(PREFIX + "/models")["backends"]["detector"]
    missing_file = reasons.pop("yolo")
    assert "handrefiner weights download" in missing_file
    assert all("pip install" in reason for reason in reasons.values())
    answer = host.ask("POST", PREFIX + "/hints", {"image": photograph})
    assert answer.status == 503
    assert "pip install" in answer.body["detail"]
    body = {
        **{"init_images": [photograph], "denoising_strength": 0.05, "steps": 1, "seed": 1},
        **{"width": 128, "height": 128},
    }
    host.post("/sdapi/v1/img2img", body)  # the first one after a start may differ by a grey level
    without = host.post("/sdapi/v1/img2img", body)
    scripts = {"HandRefiner": {"args": [{"enabled": True}]}}
    with_us = host.post("/sdapi/v1/img2img", {**body, "alwayson_scripts": scripts})
    assert pixels(with_us) == pixels(without)
    assert "No detector can be used here" in with_us["info"]


def pixels(answer):
    import io

    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as picture:
        return picture.tobytes()


def test_the_flags_are_known_to_the_webui(own_host, tmp_path):
    host = own_host("--handrefiner-offline", "--handrefiner-models-dir", str(tmp_path))
    flags = host.get("/sdapi/v1/cmd-flags")
    assert flags["handrefiner_offline"] is True
    assert flags["handrefiner_models_dir"] == str(tmp_path)


@pytest.fixture
def real_folders(monkeypatch):
    """Extensions in folders of their own, ours cloned; the WebUI does not know linked ones."""
    make = running_host.make_data_folder

    def make_real(folder, webui):
        extensions = make(folder, webui) / "extensions"
        for name in ("handrefiner", "adetailer"):
            source = (extensions / name).resolve()
            (extensions / name).unlink()
            git = ["git", "-c", "safe.directory=*", "clone", "-q", "--no-hardlinks"]
            if name == "handrefiner":
                subprocess.run([*git, source, extensions / name], check=True)
            else:
                shutil.copytree(source, extensions / name)
        return folder

    monkeypatch.setattr(running_host, "make_data_folder", make_real)


def read_order() -> tuple[str, str]:
    """The WebUI's names of our callback and of ADetailer's, from metadata.ini."""
    metadata = ConfigParser()
    metadata.read(PROJECT / "metadata.ini")
    (section,) = [name for name in metadata.sections() if name.startswith("callbacks/")]
    return section.removeprefix("callbacks/"), metadata[section]["After"]


@pytest.mark.parametrize("hands_first", [False, True])
def test_hands_come_after_adetailer_unless_the_webuis_setting_says_otherwise(
    webui, real_folders, own_host, photographs, tmp_path, hands_first
):
    if not (webui / "extensions" / "adetailer").exists():
        pytest.skip("needs ADetailer in the WebUI")
    ours, theirs = read_order()
    setting = "prioritized_callbacks_script_postprocess_image"
    (tmp_path / "data").mkdir()
    config = {setting: [ours, theirs]} if hands_first else {}
    (tmp_path / "data" / "config.json").write_text(json.dumps(config), "utf-8")
    host = own_host()
    (shown,) = [
        component
        for component in host.get("/config")["components"]
        if component["props"].get("elem_id") == f"setting_{setting}"
    ]
    choices = shown["props"]["choices"]
    assert choices.index(theirs) < choices.index(ours), "the order without the setting"
    woman = load(photographs / "2.jpg")
    img2img(host, woman)
    plain = img2img(host, woman)
    hands = {**GENTLE, "extra_images": True}
    both = img2img(host, woman, hands, alwayson_scripts={"ADetailer": FACES})
    assert both.decisions == "1 right refined"
    assert "ADetailer model: mediapipe_face_full" in both.texts[0]
    assert not alike(both.image[: SIZE // 3], plain.image[: SIZE // 3]), "the face"
    before_the_hands = both.images[-1]
    assert alike(before_the_hands, plain.image) == hands_first
