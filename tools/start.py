"""From a fresh clone to the first result in one command, on Linux, macOS and Windows.

    python tools/start.py         install, then fix the hand in the example picture
    python tools/start.py test    install, then run the tests

Installs into the active virtual environment; where none is active, into a new one at .venv.
Needs nothing but Python 3.10 to 3.12; on Linux, Python's venv module may be a package of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = Path("examples", "badly_drawn_hand.png")
LOWEST, ABOVE = (3, 10), (3, 13)


def find_python() -> str:
    """The interpreter to install into: the active virtual environment's, or a new one's."""
    if sys.prefix != sys.base_prefix:
        return sys.executable
    place = ROOT / ".venv"
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Creating a virtual environment in {place}")
        try:
            venv.create(place, with_pip=True)
        except subprocess.CalledProcessError:
            raise SystemExit(
                "Python's venv module is incomplete here; on Debian and Ubuntu run "
                "'sudo apt install python3-venv', remove the folder .venv and try again."
            ) from None
    return str(python)


def run(python: str, *arguments: str) -> None:
    done = subprocess.run([python, *arguments], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def install(python: str, what: str) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", what)


def demonstrate(python: str) -> None:
    install(python, ".")
    command = ("-m", "handrefiner_ext")
    run(python, *command, "hints", str(EXAMPLE), "--out_dir", "out")
    run(python, *command, "refine", "--input_img", str(EXAMPLE), "--out_dir", "out")
    result = ROOT / "out" / f"{EXAMPLE.stem}_0.png"
    print(f"\nBefore: {ROOT / EXAMPLE}\nAfter:  {result}\nDepth, mask and overlay lie beside it.")


def test(python: str, *options: str) -> None:
    install(python, ".[test]")
    run(python, "-m", "pytest", *options)


def main(arguments: list[str]) -> None:
    if not LOWEST <= sys.version_info[:2] < ABOVE:
        raise SystemExit(
            f"HandRefiner needs Python 3.10, 3.11 or 3.12; this is {sys.version.split()[0]}. "
            "Start this script with one of those, for example 'python3.11 tools/start.py'."
        )
    if arguments[:1] == ["test"]:
        test(find_python(), *arguments[1:])
    elif not arguments:
        demonstrate(find_python())
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
