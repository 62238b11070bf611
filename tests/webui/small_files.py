"""A LoRA and a VAE for the tiny checkpoint, in the safetensors format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

LORA, VAE = "noticeable", "paler"
TEXT_LAYER = "lora_te_text_model_encoder_layers_0_mlp_fc1"
TYPES = {"F32": np.float32, "F16": np.float16}


def write_lora(folder: Path) -> None:
    """Changes the first text layer enough to be seen in the picture."""
    random = np.random.default_rng(0)
    arrays = {
        f"{TEXT_LAYER}.lora_down.weight": random.normal(size=(4, 768)),
        f"{TEXT_LAYER}.lora_up.weight": random.normal(size=(3072, 4)),
        f"{TEXT_LAYER}.alpha": np.array(4.0),
    }
    _write(folder / f"{LORA}.safetensors", arrays)


def write_vae(folder: Path, checkpoint: Path) -> None:
    """The checkpoint's own VAE, whose pictures come out paler."""
    first = "first_stage_model."
    arrays = {
        name.removeprefix(first): array
        for name, array in _read(checkpoint).items()
        if name.startswith(first)
    }
    for part in ("weight", "bias"):
        arrays[f"decoder.conv_out.{part}"] = 0.7 * arrays[f"decoder.conv_out.{part}"]
    _write(folder / f"{VAE}.safetensors", arrays)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    header, blobs, end = {}, [], 0
    for name, array in arrays.items():
        blobs.append(np.ascontiguousarray(array, dtype=np.float32).tobytes())
        start, end = end, end + len(blobs[-1])
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join([len(head).to_bytes(8, "little"), head, *blobs]))


def _read(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    arrays = {}
    for name, said in header.items():
        if said["dtype"] in TYPES:
            first, last = said["data_offsets"]
            raw = data[start + first : start + last]
            arrays[name] = np.frombuffer(raw, TYPES[said["dtype"]]).reshape(said["shape"])
    return arrays
