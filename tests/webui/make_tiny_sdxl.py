"""Writes a tiny SDXL checkpoint and a depth ControlNet for it, both with random weights.

Run by the WebUI's own Python, whose packages hold the architecture:

    python make_tiny_sdxl.py WEBUI HF_HOME FOLDER

The names of all weights are those of the real files, so the WebUI recognises SDXL by them; the
yaml beside the checkpoint makes it small. The VAE is the tiny SD1.5 checkpoint's, so that pictures
stay recognisable. The ControlNet is small, too; the real extension knows one size only, the
test-only extension zz-tiny-sdxl reads the size from the weights.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

CHECKPOINT, CONTROL = "tiny-sdxl", "tiny_depth_sdxl"
WIDTH, TEXT_WIDTH, OPEN_CLIP = 32, 64, ("ViT-S-32-alt", 256)
HINT = [(3, 16), (16, 16), (16, 32), (32, 32), (32, 96), (96, 96), (96, 256), (256, WIDTH)]
"""Input and output channels of the layers that read the control image."""
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")


def write_tokenizer(cache: Path, folder: Path) -> None:
    """CLIP's tokenizer from the hub's cache, and a narrow text model of the least depth.

    reForge takes the last layer but one, and refuses a model of two.
    """
    (snapshot,) = (cache / "hub" / "models--openai--clip-vit-large-patch14" / "snapshots").iterdir()
    shutil.copytree(snapshot, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    narrow = {"hidden_size": TEXT_WIDTH, "intermediate_size": TEXT_WIDTH, "projection_dim": 64}
    config["text_config"] |= {**narrow, "num_hidden_layers": 3, "num_attention_heads": 1}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def shrink(config, tokenizer: Path):
    """The configuration of SDXL at the size of a test."""
    params = config.model.params
    arch, width = OPEN_CLIP
    embedders = params.conditioner_config.params.emb_models
    embedders[0].params = {"version": str(tokenizer), "layer": "hidden", "layer_idx": 2}
    embedders[1].params.arch = arch
    sizes = sum(embedder.params.get("outdim", 0) * 2 for embedder in embedders)
    network = params.network_config.params
    network.model_channels = WIDTH
    network.context_dim = TEXT_WIDTH + width
    network.adm_in_channels = width + sizes
    params.first_stage_config.params.ddconfig.ch = 32
    return config


def fill_zeros(module) -> None:
    """Layers that start as zeros would make every random network do the same."""
    import torch

    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)) and not weight.any():
            torch.nn.init.kaiming_uniform_(layer.weight, a=5**0.5)


def make_checkpoint(config, tokenizer: Path, vae: Path) -> dict:
    import open_clip
    from omegaconf import OmegaConf
    from safetensors.torch import load_file
    from sgm.modules.diffusionmodules.openaimodel import UNetModel
    from transformers import CLIPConfig, CLIPTextModel

    unet = UNetModel(**OmegaConf.to_container(config.model.params.network_config.params))
    fill_zeros(unet)
    text = CLIPTextModel(CLIPConfig.from_pretrained(tokenizer).text_config)
    both = open_clip.create_model(OPEN_CLIP[0])
    words = {k: v for k, v in both.state_dict().items() if not k.startswith("visual.")}
    first = {k: v for k, v in load_file(vae).items() if k.startswith("first_stage_model.")}
    return {
        **with_prefix("model.diffusion_model.", unet.state_dict()),
        **with_prefix("conditioner.embedders.0.transformer.", text.state_dict()),
        **with_prefix("conditioner.embedders.1.model.", words),
        **first,
    }


def with_prefix(prefix: str, arrays: dict) -> dict:
    return {prefix + name: array for name, array in arrays.items()}


def make_control(checkpoint: dict) -> dict:
    """The network's encoder, layers for the control image, and one output for each block."""
    import torch

    prefix = "model.diffusion_model."
    own = {k.removeprefix(prefix): v for k, v in checkpoint.items() if k.startswith(prefix)}
    control = {k: v for k, v in own.items() if k.startswith(ENCODER)}
    for number, (given, made) in enumerate(HINT):
        put(control, f"input_hint_block.{2 * number}", torch.nn.Conv2d(given, made, 3))
    widths = [1, 1, 1, 1, 2, 2, 2, 4, 4]
    for number, times in enumerate(widths):
        put(control, f"zero_convs.{number}.0", torch.nn.Conv2d(times * WIDTH, times * WIDTH, 1))
    put(control, "middle_block_out.0", torch.nn.Conv2d(4 * WIDTH, 4 * WIDTH, 1))
    return control


def put(arrays: dict, name: str, layer) -> None:
    arrays[f"{name}.weight"], arrays[f"{name}.bias"] = layer.weight, layer.bias


def save(arrays: dict, path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {
        name: (array.detach().half() if array.is_floating_point() else array).contiguous().clone()
        for name, array in arrays.items()
    }
    save_file(halves, str(path), metadata={"format": "pt"})


def main(webui: Path, cache: Path, folder: Path) -> None:
    repository = webui / "repositories" / "generative-models"
    sys.path.insert(0, str(repository))
    import torch
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    tokenizer = folder / "tokenizer"
    write_tokenizer(cache, tokenizer)
    base = OmegaConf.load(repository / "configs" / "inference" / "sd_xl_base.yaml")
    config = shrink(base, tokenizer)
    vae = webui / "models" / "Stable-diffusion" / "tiny-sd15.safetensors"
    checkpoint = make_checkpoint(config, tokenizer, vae)
    path = folder / "checkpoints" / f"{CHECKPOINT}.safetensors"
    save(checkpoint, path)
    OmegaConf.save(config, path.with_suffix(".yaml"))
    save(make_control(checkpoint), folder / "controlnet" / f"{CONTROL}.safetensors")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
