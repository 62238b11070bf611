"""Run by the WebUI at each start: installs what is missing, and never changes what is there.

The detector needs mediapipe or ai-edge-litert. Where neither works, mediapipe 0.10.9 is installed:
it is the last one that suits the WebUI's numpy, protobuf and controlnet_aux alike, and with it
present sd-webui-controlnet does not pull in the newest one, whose numpy 2 and OpenCV 5 end the
WebUI. ADetailer may raise it, to 0.10.15 at most, which works as well.
ai-edge-litert is put beside it where no other package has to change: with it people and faces are
seen too, and hands are searched better and in less time (docs/detection.md). That is tried once.
Its OpenCV is left out where there is one already. Where it cannot be had, ai-edge-litert is taken.

On a fresh WebUI the albumentations of sd-webui-controlnet bring along OpenCV 5 and with it numpy 2,
which ends that start. Where albumentations is asked for and not there yet, the OpenCV that it wants
is installed first, in the version that is there or that suits numpy 1. If numpy 2 has come already
(extensions install in the order in which the disk lists them), the WebUI's own numpy is put back,
as the WebUI does at its next start.
Every other installed package is held at its version; a failure costs no more than a sentence.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import invalidate_caches
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from handrefiner_ext.detect.mediapipe import find_obstacle, installed_version

OFFLINE_FLAG, OFFLINE_VARIABLE = "--handrefiner-offline", "HANDREFINER_OFFLINE"
BASICS = {
    "numpy": "numpy>=1.26",
    "PIL": "pillow>=9.5",
    "cv2": "opencv-python-headless>=4.8",
    "tqdm": "tqdm>=4.60",
}
"""Module -> requirement; every WebUI has them."""
BOUNDS = {
    **{"numpy": "<2", "protobuf": "<5", "opencv-python": "<5", "opencv-python-headless": "<5"},
    **{"opencv-contrib-python": "<5", "opencv-contrib-python-headless": "<5"},
}
"""For packages that are not there yet; the others are held anyway."""
MEDIAPIPE, MEDIAPIPE_PYTHON = "mediapipe==0.10.9", (3, 11)
MEDIAPIPE_NEEDS = {
    "absl": "absl-py",
    "attr": "attrs>=19.1.0",
    "flatbuffers": "flatbuffers>=2.0",
    "matplotlib": "matplotlib",
    "google.protobuf": "protobuf>=3.20,<4",
    "sounddevice": "sounddevice>=0.4.4",
}
HEADLESS, WANTS_HEADLESS = "opencv-python-headless", "albumentations"
OTHER_OPENCVS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
EXTENSIONS = Path(__file__).absolute().parent.parent
PINS = Path("requirements_versions.txt")
"""The WebUI's own, in the folder that it runs this file in."""
LITERT = "ai-edge-litert>=1.4"
TRIED = Path(__file__).resolve().parent / ".ai-edge-litert-unavailable"
"""Written where it cannot be had, so that no later start waits for it; delete it to try again."""
PIP_OPTIONS = ("--prefer-binary", "--disable-pip-version-check", "--retries=1", "--timeout=20")
LONGEST_S = 900


def main() -> int:
    """Install what is missing; return 0 whatever happens, so that the WebUI starts."""
    keep_numpy()
    missing = [need for module, need in BASICS.items() if not is_present(module)]
    detector = needs_detector()
    if missing or detector:
        wanted = [*missing, *(["a hand detector"] if detector else [])]
        if is_offline():
            say(f"{', '.join(wanted)}: missing, and nothing is installed offline.")
            return 0
        say(f"installing {', '.join(wanted)}")
        if missing:
            install(*missing)
        if detector:
            install_detector()
    if lacks_litert() and not is_offline():
        install_litert_beside()
    return 0


def keep_numpy() -> None:
    """Keep the numpy that the WebUI pins, whatever other extensions install."""
    if is_offline():
        return
    pinned = find_pin("numpy")
    if pinned is not None and is_newer(installed_version("numpy"), pinned):
        say(f"putting numpy {pinned} back, which the WebUI needs; an extension has replaced it")
        install(f"numpy=={pinned}", "--no-deps", held={"numpy": f"=={pinned}"})
    versions = [version for name in OTHER_OPENCVS if (version := installed_version(name))]
    if any(is_newer(version, "4") for version in versions):
        return
    if installed_version(HEADLESS) is None and is_albumentations_to_come():
        say(f"installing {HEADLESS}, so that no newer one brings another numpy")
        install(f"{HEADLESS}=={versions[0]}" if versions else BASICS["cv2"], "--no-deps")


def is_albumentations_to_come() -> bool:
    """Return whether another extension asks for albumentations, and it is not installed."""
    if installed_version(WANTS_HEADLESS) is not None:
        return False
    for listed in EXTENSIONS.glob("*/requirements.txt"):
        try:
            if WANTS_HEADLESS in listed.read_text("utf-8", errors="replace"):
                return True
        except OSError:
            continue
    return False


def find_pin(package: str) -> str | None:
    """Return the version that the WebUI pins a package to."""
    try:
        lines = PINS.read_text("utf-8").split()
    except (OSError, ValueError):
        return None
    start = f"{package}=="
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), None)


def is_newer(installed: str | None, pinned: str) -> bool:
    """Return whether a package is there in a higher main version than the one pinned."""
    numbers = [re.match(r"\d+", version or "") for version in (installed, pinned)]
    first, second = (int(number[0]) if number else 0 for number in numbers)
    return first > second > 0


def lacks_litert() -> bool:
    """Return whether the better detector is missing and no attempt to install it has failed."""
    return not is_present("ai_edge_litert") and not TRIED.exists()


def install_litert_beside() -> None:
    """Install ai-edge-litert beside a mediapipe that works; remember a failure."""
    say("installing ai-edge-litert, which finds more hands in less time")
    if install(LITERT):
        return
    try:
        TRIED.write_text("Delete this file to have ai-edge-litert tried again.\n", "utf-8")
    except OSError:
        say("the failure cannot be remembered, so that each start will try it again.")


def needs_detector() -> bool:
    """Return whether no installed package can find hands."""
    return not is_present("ai_edge_litert") and find_obstacle() is not None


def install_detector() -> None:
    """Install mediapipe if there is none and it fits, else ai-edge-litert beside it."""
    fits = sys.version_info[:2] <= MEDIAPIPE_PYTHON and installed_version("mediapipe") is None
    if fits and install_mediapipe():
        return
    if not install(LITERT):
        say(
            "no hand detector could be installed, so hands will not be found. Run in the WebUI's "
            f'environment: pip install "{LITERT}"'
        )


def install_mediapipe() -> bool:
    """Install mediapipe and what it needs; return whether it can be imported now."""
    needs = [need for module, need in MEDIAPIPE_NEEDS.items() if not is_present(module)]
    if not install(MEDIAPIPE, "--no-deps") or (needs and not install(*needs)):
        return False
    check = subprocess.run([sys.executable, "-c", "import mediapipe"], capture_output=True)
    return check.returncode == 0


def install(*arguments: str, held: Mapping[str, str] | None = None) -> bool:
    """Run pip under the constraints; return whether it succeeded, and show its errors if not.

    held: limits in place of those of the installed versions.
    """
    with tempfile.TemporaryDirectory(prefix="handrefiner-") as folder:
        constraints = Path(folder) / "constraints.txt"
        limits = {**BOUNDS, **held_versions(), **(held or {})}
        lines = [f"{name}{limit}\n" for name, limit in sorted(limits.items())]
        constraints.write_text("".join(lines), "utf-8")
        command = [sys.executable, "-m", "pip", "install", *PIP_OPTIONS, "-c", str(constraints)]
        succeeded, said = run([*command, *arguments])
    invalidate_caches()
    if not succeeded:
        say(f"{' '.join(arguments)} could not be installed: {said}")
    return succeeded


def run(command: Sequence[str]) -> tuple[bool, str]:
    """Run a command; return whether it succeeded, with its errors or else its last line."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LONGEST_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, str(error)
    lines = (done.stderr or done.stdout).strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR")]
    return done.returncode == 0, " ".join(errors or lines[-1:])


def held_versions() -> dict[str, str]:
    """Return every installed package with its version, as in a constraint."""
    held: dict[str, str] = {}
    for package in distributions():
        name, version = package.metadata["Name"] or "", package.version or ""
        # A broken or hand-made package may carry what pip would stumble over.
        if re.fullmatch(r"[\w.-]+", name) and re.fullmatch(r"\d[\w.!+]*", version):
            held.setdefault(re.sub(r"[-_.]+", "-", name).lower(), f"=={version}")
    return held


def is_present(module: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def is_offline() -> bool:
    """Return whether the user wants no downloads: by flag, as the WebUI passes it, or variable."""
    flags = shlex.split(os.environ.get("COMMANDLINE_ARGS", ""), posix=os.name != "nt")
    return OFFLINE_FLAG in flags or os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def say(sentence: str) -> None:
    print(f"HandRefiner: {sentence}")


if __name__ == "__main__":
    sys.exit(main())
