"""Puts a model of `handrefiner train small --preset sd15` where a WebUI finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "HANDREFINER_SMALL_MODEL"
"""Names the --out_dir of the command."""
CHECKPOINT, CONTROL = "small_inpainting", "control_sd15_inpaint_depth_hand"
ENDING = ".safetensors"


def missing_small_model() -> str | None:
    """Why there is no such model here; None where there is."""
    place = os.environ.get(VARIABLE)
    if not place:
        return f"needs the small model of docs/training.md: {VARIABLE} is not set"
    for name in (CHECKPOINT, CONTROL):
        if not (Path(place) / f"{name}{ENDING}").is_file():
            return f"needs the small model of docs/training.md: {place} has no {name}{ENDING}"
    return None


def lay_out(model: Path, folder: Path, cache: Path) -> Path:
    """Link the weights into `folder`, with the configuration that the WebUI reads; return them.

    cache: HF_HOME, where CLIP's tokenizer is.
    """
    folder.mkdir()
    for name in (CHECKPOINT, CONTROL):
        (folder / f"{name}{ENDING}").symlink_to(model / f"{name}{ENDING}")
    text = folder / "text"
    text.mkdir()
    (snapshot,) = (cache / "hub" / "models--openai--clip-vit-large-patch14" / "snapshots").iterdir()
    for place in snapshot.iterdir():
        if place.name != "config.json":
            (text / place.name).symlink_to(place.resolve())
    written = _read(model, "text_encoder")
    (text / "config.json").write_text(json.dumps({**written, "model_type": "clip_text_model"}))
    # YAML understands JSON.
    config = json.dumps({"model": _describe(model, text)}, indent=2)
    (folder / f"{CHECKPOINT}.yaml").write_text(config)
    return folder / f"{CHECKPOINT}{ENDING}"


def _read(model: Path, part: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model / "checkpoint" / part / "config.json").read_text())
    return config


def _describe(model: Path, text: Path) -> dict[str, Any]:
    """The configuration of Stable Diffusion 1.5's inpainting checkpoint with the model's sizes.

    The classes are those of the test-only extension zz-few-groups.
    """
    unet, vae = _read(model, "unet"), _read(model, "vae")
    noise = json.loads((model / "checkpoint" / "scheduler" / "scheduler_config.json").read_text())
    assert noise["prediction_type"] == "v_prediction"
    return {
        "target": "ldm.models.diffusion.ddpm.LatentInpaintDiffusion",
        "params": {
            "parameterization": "v",
            "linear_start": noise["beta_start"],
            "linear_end": noise["beta_end"],
            "timesteps": noise["num_train_timesteps"],
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": 64,
            "channels": 4,
            "conditioning_key": "hybrid",
            "monitor": "val/loss_simple_ema",
            "scale_factor": vae["scaling_factor"],
            "finetune_keys": None,
            "unet_config": {
                "target": "few_groups.UNetModel",
                "params": {
                    "image_size": 32,
                    "in_channels": unet["in_channels"],
                    "out_channels": unet["out_channels"],
                    "model_channels": unet["block_out_channels"][0],
                    "channel_mult": _widths(unet),
                    "attention_resolutions": [4, 2, 1],
                    "num_res_blocks": unet["layers_per_block"],
                    "num_heads": unet["attention_head_dim"],
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": unet["cross_attention_dim"],
                    "use_checkpoint": False,
                    "legacy": False,
                    "num_groups": unet["norm_num_groups"],
                },
            },
            "first_stage_config": {
                "target": "few_groups.AutoencoderKL",
                "params": {
                    "embed_dim": vae["latent_channels"],
                    "monitor": "val/rec_loss",
                    "num_groups": vae["norm_num_groups"],
                    "lossconfig": {"target": "torch.nn.Identity"},
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": vae["latent_channels"],
                        "resolution": vae["sample_size"],
                        "in_channels": vae["in_channels"],
                        "out_ch": vae["out_channels"],
                        "ch": vae["block_out_channels"][0],
                        "ch_mult": _widths(vae),
                        "num_res_blocks": vae["layers_per_block"],
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"version": str(text)},
            },
        },
    }


def _widths(config: dict[str, Any]) -> list[int]:
    first, *_ = channels = config["block_out_channels"]
    return [each // first for each in channels]
