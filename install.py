"""Run by the WebUI at each start: installs what is missing, and never changes what is there.

The detector needs mediapipe or ai-edge-litert. Where neither works, mediapipe 0.10.9 is installed:
it is the last one that suits the WebUI's numpy, protobuf and controlnet_aux alike, and with it
present sd-webui-controlnet does not pull in the newest one, whose numpy 2 and OpenCV 5 end the
WebUI. ADetailer may raise it, to 0.10.15 at most, which works as well.
ai-edge-litert is put beside it where no other package has to change: with it people and faces are
seen too, and hands are searched better and in less time (docs/detection.md). That is tried once.
Its OpenCV is left out where there is one already. Where it cannot be had, ai-edge-litert is taken.
Every installed package is held at its version; a failure costs no more than a sentence.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
LITERT = "ai-edge-litert>=1.4"
TRIED = Path(__file__).resolve().parent / ".ai-edge-litert-unavailable"
"""Written where it cannot be had, so that no later start waits for it; delete it to try again."""
PIP_OPTIONS = ("--prefer-binary", "--disable-pip-version-check", "--retries=1", "--timeout=20")
LONGEST_S = 900


def main() -> int:
    """Install what is missing; return 0 whatever happens, so that the WebUI starts."""
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


def install(*arguments: str) -> bool:
    """Run pip under the constraints; return whether it succeeded, and show its errors if not."""
    with tempfile.TemporaryDirectory(prefix="handrefiner-") as folder:
        constraints = Path(folder) / "constraints.txt"
        limits = {**BOUNDS, **held_versions()}
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
