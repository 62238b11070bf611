"""Prepare installed WebUIs for the tests that drive a real one: tiny models, a tokenizer offline.

    HANDREFINER_WEBUI=<folder>[:<folder>…] HF_HOME=<a folder> python tools/prepare_webui.py

Installs nothing and changes no file that a WebUI came with; what is there already stays. The suite
finds its test-only extensions by itself. HANDREFINER_WEBUI and HANDREFINER_WEBUI_VENV are those of
the tests (docs/webui.md). Among several WebUIs one must have Stability AI's repository, as A1111
and reForge have: it makes the models, the others get them from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "webui"))

from installed import FOLDERS, Installed, find_installed  # noqa: E402

FILES = ROOT.parent / "shared" / "host"
LAYOUT = Path("repositories", "stable-diffusion-stability-ai")
MODELS = (
    Path("models", "Stable-diffusion", "tiny-sd15"),
    Path("models", "Stable-diffusion", "tiny-sd15-inpainting"),
    Path("models", "ControlNet", "control_sd15_inpaint_depth_hand_fp16"),
)
SUFFIXES = (".safetensors", ".yaml")
TOKENIZER = Path("hub", "models--openai--clip-vit-large-patch14")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--files", type=Path, default=FILES, help="the folder of make_tiny.py (%(default)s)"
    )
    files = parser.parse_args().files
    hosts, cache = find_installed(), os.environ.get("HF_HOME")
    if not hosts or not cache:
        parser.error(f"set {FOLDERS} to the WebUIs' folders and HF_HOME to a folder for caches")
    if not (files / "make_tiny.py").exists():
        parser.error(f"{files} has no make_tiny.py; name its folder with --files")
    for host in hosts:
        if not host.python.exists():
            parser.error(f"{host.folder} is not installed: {host.python} does not exist")
    maker = next((host for host in hosts if (host.folder / LAYOUT).exists()), None)
    if maker is None:
        parser.error(f"none of the WebUIs has {LAYOUT}; name an A1111 or reForge, too")
    prepare(maker, hosts, Path(cache).resolve(), files.resolve())


def prepare(maker: Installed, hosts: list[Installed], cache: Path, files: Path) -> None:
    """Write the tokenizer into `cache` and the models into every host."""
    small = cache / "tiny_clip"
    if not (cache / TOKENIZER).exists() or not small.exists():
        run(maker, files / "make_hf_cache.py", str(cache), str(small))
    if not all(path.exists() for path in paths_of(maker)):
        vae = files / "tiny_vae.safetensors"
        places = ("--webui", str(maker.folder), "--clip", str(small), "--vae", str(vae))
        run(maker, files / "make_tiny.py", *places)
    for host in hosts:
        for source, target in zip(paths_of(maker), paths_of(host), strict=True):
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        print(f"{host.folder} ({host.kind}) is prepared.")


def paths_of(host: Installed) -> list[Path]:
    return [host.folder / f"{model}{suffix}" for model in MODELS for suffix in SUFFIXES]


def run(host: Installed, script: Path, *arguments: str) -> None:
    """Run a script with the WebUI's own Python, whose packages hold the architecture."""
    done = subprocess.run([host.python, script, *arguments], check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed; its message stands above.")


if __name__ == "__main__":
    main()
