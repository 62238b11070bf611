"""Checkpoints on disk and networks in memory (sd_models.py:56-210, 676-720, 762, 940-1020)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from modules import shared


@dataclass(frozen=True)
class CheckpointInfo:
    """A file. title: its name with a hash, as lists show it."""

    filename: str
    title: str
    sha256: str

    @property
    def name_for_extra(self) -> str:
        """The file's name alone, as infotexts have it (sd_models.py:88)."""
        return Path(self.filename).stem


@dataclass(eq=False)
class Network:
    """A loaded checkpoint. Its family is told by flags; the draws of tests stand in `offset`."""

    sd_checkpoint_info: CheckpointInfo
    is_sd1: bool = True
    is_sd2: bool = False
    is_sd3: bool = False
    is_sdxl: bool = False
    vae: str = "Automatic"
    token_merging: float = 0.0
    hooked: list[object] = field(default_factory=list)
    """Control units that change what is painted, as ControlNet hooks the UNet."""

    @property
    def offset(self) -> int:
        """What this network adds to every value that it paints, so that two paint differently."""
        return int(self.sd_checkpoint_info.sha256[:8], 16) % 97


class ModelData:
    """sd_model: the one in use. loaded_sd_models: all in memory, the oldest first."""

    def __init__(self) -> None:
        self.sd_model: Network | None = None
        self.loaded_sd_models: list[Network] = []
        self.reads = 0
        self.trashed: list[Network] = []


checkpoints_list: dict[str, CheckpointInfo] = {}
"""Title -> file."""
model_data = ModelData()


def add_checkpoint(path: Path) -> CheckpointInfo:
    """Make a file known to the list; only the stand-in has this."""
    digest = hashlib.sha256(path.name.encode()).hexdigest()
    info = CheckpointInfo(str(path), f"{path.name} [{digest[:10]}]", digest)
    checkpoints_list[info.title] = info
    return info


def checkpoint_tiles() -> list[str]:
    """Return the titles in the order of the alphabet; the name is the host's."""
    return sorted(checkpoints_list, key=str.lower)


def list_models() -> None:
    """Look for files again."""


def get_closet_checkpoint_match(search_string: str) -> CheckpointInfo | None:
    """Return the checkpoint of this title or, in the order of the alphabet, with it in its title.

    The name is the host's.
    """
    if not search_string:
        return None
    if search_string in checkpoints_list:
        return checkpoints_list[search_string]
    found = (info for title, info in sorted(checkpoints_list.items()) if search_string in title)
    return next(found, None)


def reload_model_weights() -> Network | None:
    """Put the checkpoint of the settings in use; reads it where it is not in memory."""
    info = get_closet_checkpoint_match(shared.opts.sd_model_checkpoint)
    if info is None:
        return model_data.sd_model
    loaded = model_data.loaded_sd_models
    known = [network for network in loaded if network.sd_checkpoint_info is info]
    if not known:
        while len(loaded) >= max(1, shared.opts.sd_checkpoints_limit):
            send_model_to_trash(loaded.pop(0))
        model_data.reads += 1
        known = [Network(info)]
        loaded += known
    model_data.sd_model = shared.sd_model = known[0]
    return known[0]


def send_model_to_trash(m: Network) -> None:
    """Free a network's memory."""
    model_data.trashed.append(m)


def apply_token_merging(sd_model: Network, token_merging_ratio: float) -> None:
    """Set the ratio in the network itself (sd_models.py:1011)."""
    sd_model.token_merging = token_merging_ratio
