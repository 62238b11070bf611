"""Where a checkpoint and a ControlNet lie: named by the user, or the best that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, InvalidParameter
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, choose_control
from handrefiner_ext.registry import AUTO
from handrefiner_ext.weights.manifest import HAND_CONTROLNET, INPAINTING, PLAIN_DEPTH

MODEL_ENDINGS = frozenset({".safetensors", ".pth", ".pt", ".ckpt", ".bin"})
CONTROL_FOLDERS = ("ControlNet", "models/ControlNet", "controlnet")
"""Under a models folder."""
WEBUI_FOLDERS = ("models/ControlNet", "extensions/sd-webui-controlnet/models")
"""Under a WebUI's root."""


def find_checkpoint(given: str, models_dir: Path | None) -> Path:
    """given: a path, a name in the models folders, or empty for the inpainting checkpoint."""
    if given:
        return _find_given(given, "checkpoint", models_dir)
    found = weights.find(INPAINTING.name, models_dir)
    if found is None:
        raise BackendUnavailable(
            f"The backend diffusers has no {INPAINTING.name}; run: handrefiner weights download "
            "inpainting, or name another file with --checkpoint."
        )
    return found


def find_control(given: str, family: str, models_dir: Path | None) -> Path:
    """given: a path, a name in the models folders, or auto for the best one for `family`."""
    if given not in (AUTO, ""):
        return _find_given(given, "control_model", models_dir)
    if family == SD1:
        found = weights.find(HAND_CONTROLNET.name, models_dir)
        if found is not None:
            return found
    installed = {path.name: path for path in _list_installed(models_dir)}
    best = choose_control(installed, family)
    if best is not None:
        return installed[best]
    if family == SD1:
        raise BackendUnavailable(
            f"The backend diffusers has no {HAND_CONTROLNET.name}; run: handrefiner weights "
            "download controlnet, or name another file with --control_model."
        )
    raise BackendUnavailable(
        f"No depth or union ControlNet for {FAMILY_NAMES[family]} is installed; put one with depth "
        "or union and xl in its name into the models folder or the WebUI's models/ControlNet, or "
        "name its file with --control_model."
    )


def _find_given(given: str, option: str, models_dir: Path | None) -> Path:
    path = Path(given).expanduser()
    if path.exists():
        return path
    installed = {each.name: each for each in _list_installed(models_dir)}
    found = weights.find(given, models_dir) or installed.get(given)
    if found is None and given == PLAIN_DEPTH.name:
        raise BackendUnavailable(
            f"The backend diffusers has no {given}; run: handrefiner weights download depth."
        )
    if found is None:
        raise InvalidParameter(
            f"{option} = {given!r} does not exist; give a file or folder, or the name of a file in "
            "the models folder."
        )
    return found


def _list_installed(models_dir: Path | None) -> Iterator[Path]:
    """Files of weights, and folders of diffusers, in every place where models lie."""
    places = weights.standard_places(models_dir)
    folders = [folder / sub for folder in places.folders for sub in ("", *CONTROL_FOLDERS)]
    folders += [places.webui / sub for sub in WEBUI_FOLDERS] if places.webui else []
    for folder in reversed(folders):  # the first that has a name wins
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in MODEL_ENDINGS or (path / "config.json").is_file():
                    yield path
