"""Run the paper's own sampler beside ours on shared tiny weights; measure, and keep its output.

    python tools/measure_paper_sampling.py --reference CLONE [--write tests/data/paper_sampling.npz]

CLONE is a clone of wenquanlu/HandRefiner (MIT); nothing of it comes into this repository but the
numbers that it computes. Beside this package's extra `diffusion`, its code needs einops,
pytorch_lightning and omegaconf. It runs on the CPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import paper_case  # noqa: E402

from handrefiner_ext.inpaint.diffusion import paper_sampling  # noqa: E402
from handrefiner_ext.inpaint.diffusion.loading import Loader  # noqa: E402
from handrefiner_ext.inpaint.diffusion.text import build_tokenizer  # noqa: E402

CHANNELS = paper_case.ARCHITECTURE.unet["block_out_channels"]
WIDTH = paper_case.ARCHITECTURE.text["hidden_size"]
SEED, PAPERS_STEPS = 12, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    state = paper_case.make_state()
    reference = Reference(options.reference, state)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "inpaint_depth_control.ckpt")
        torch.save({"state_dict": state}, place)
        loader = Loader("cpu", {"sd1": paper_case.ARCHITECTURE})
        pipeline = loader.load(place, find_none).pipeline
    for steps in (paper_case.STEPS, PAPERS_STEPS):
        noises = paper_case.make_noises(steps)
        theirs = reference.sample(noises, steps)
        if steps == paper_case.STEPS and options.write:
            write(options.write, theirs)
        ours = sample_ours(pipeline, paper_sampling.Noises(**noises), steps)
        print(f"{steps} steps, noise given: {compare(ours, theirs)}")
    drawn = paper_sampling.draw_noises(SEED, paper_case.LATENT, paper_case.STEPS)
    ours = sample_ours(pipeline, drawn, paper_case.STEPS)
    theirs = reference.sample_seeded(SEED, paper_case.STEPS)
    print(f"{paper_case.STEPS} steps, seed {SEED}: {compare(ours, theirs)}")


def write(place: Path, latents: torch.Tensor) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    np.savez_compressed(place, latents=latents.numpy(), made_with=np.array(versions))


def find_none(family: str) -> Path:
    """The checkpoint brings its own ControlNet."""
    raise AssertionError(family)


def compare(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    worst = float((ours - theirs).abs().max() / theirs.std())
    return f"differ by at most {worst:.2e} of the latents' standard deviation {theirs.std():.3f}"


@torch.inference_mode()
def sample_ours(pipeline: Any, noises: paper_sampling.Noises, steps: int) -> torch.Tensor:
    image, control, mask = paper_case.make_picture()
    wanted = paper_sampling.PaperTask(
        *(image, control, mask, paper_case.PROMPT, paper_case.NEGATIVE),
        strength=paper_case.STRENGTH,
        steps=steps,
    )
    return paper_sampling.sample(pipeline, wanted, noises)


class Reference:
    """The paper's network and sampler, built from its own classes at the case's size."""

    def __init__(self, clone: Path, state: dict[str, torch.Tensor]) -> None:
        sys.path.insert(0, str(clone))
        stand_in_for_what_is_not_used()
        from cldm.cldm import ControlLDM
        from cldm.ddim_hacked import DDIMSampler

        # Two places name CUDA outright.
        DDIMSampler.register_buffer = lambda self, name, value: setattr(self, name, value)
        self.model = ControlLDM(**describe_network()).eval()
        texts = {k: v for k, v in state.items() if k.startswith("cond_stage_model.")}
        rest = {k: v for k, v in state.items() if k not in texts}
        missing, unexpected = self.model.load_state_dict(rest, strict=False)
        # A quantising layer of its VAE, a loss, and schedules are no weights of ours.
        weights = [m for m in missing if m.startswith(("model.", "control_model.", "first_stage"))]
        assert not unexpected, unexpected[:5]
        assert not weights, weights[:5]
        self.texts = build_text_encoder(texts)
        self.sampler = DDIMSampler(self.model)

    def sample(self, noises: dict[str, torch.Tensor], steps: int) -> torch.Tensor:
        """With every noise given."""
        given = iter(noises["steps"])
        plain = type(self.model).q_sample
        self.model.q_sample = lambda x, t: plain(self.model, x, t, noise=next(given))
        posterior = iter((noises["masked"], noises["picture"]))
        self.steps = steps
        z = self._run(lambda found: found.mean + found.std * next(posterior), noises["initial"])
        del self.model.q_sample
        return z

    def sample_seeded(self, seed: int, steps: int) -> torch.Tensor:
        """As its command line does, with a seed before encoding and before sampling."""
        self.steps = steps
        return self._run(lambda found: found.sample(), None, seed)

    @torch.no_grad()
    def _run(self, draw: Any, initial: torch.Tensor | None, seed: int | None = None) -> Any:
        image, control, mask = paper_case.make_picture()
        source = (image.astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1)[None]
        whole = mask.astype(np.float32)[None, None]
        if seed is not None:
            torch.manual_seed(seed)
        encode, scale = self.model.first_stage_model.encode, self.model.scale_factor
        masked = scale * draw(encode(torch.from_numpy(source * (whole < 0.5))))
        z = scale * draw(encode(torch.from_numpy(source)))
        small = torch.nn.functional.interpolate(torch.from_numpy(whole), size=(64, 64))
        hint = torch.from_numpy(control.astype(np.float32) / 255.0)[None, None].repeat(1, 3, 1, 1)
        texts = self._read([paper_case.PROMPT]), self._read([paper_case.NEGATIVE])
        within, without = (
            {
                "c_concat": [torch.cat([small, masked], dim=1)],
                "c_control": [hint],
                "c_crossattn": [t],
            }
            for t in texts
        )
        self.model.control_scales = [paper_case.STRENGTH] * 13
        if seed is not None:
            torch.manual_seed(seed)
        found, _ = self.sampler.sample(
            *(self.steps, 1, (4, 64, 64), within),
            **{"verbose": False, "x_T": initial, "x0": z, "mask": small},
            unconditional_guidance_scale=paper_case.CFG,
            unconditional_conditioning=without,
        )
        return found

    def _read(self, texts: list[str]) -> torch.Tensor:
        tokens = build_tokenizer()(
            texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        )
        return self.texts(tokens.input_ids).last_hidden_state


def stand_in_for_what_is_not_used() -> None:
    """Its imports name a logger of pictures and an old place of a decorator."""
    import pytorch_lightning  # noqa: F401  # it looks for torchvision itself

    grids = types.ModuleType("torchvision.utils")
    grids.make_grid = None
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision.utils"] = grids
    old = types.ModuleType("pytorch_lightning.utilities.distributed")
    old.rank_zero_only = lambda function: function
    sys.modules["pytorch_lightning.utilities.distributed"] = old


def build_text_encoder(state: dict[str, torch.Tensor]) -> Any:
    """transformers' own class, which its code uses too."""
    from handrefiner_ext.inpaint.diffusion import single_file, text

    first = {single_file.FIRST_WEIGHT: torch.zeros(1)}
    return text.build_text_encoder({**state, **first}, paper_case.ARCHITECTURE)


def describe_network() -> dict[str, Any]:
    """What control_depth_inpaint.yaml says, at the case's size."""
    unet = {
        "image_size": 32,
        "in_channels": 9,
        "out_channels": 4,
        "model_channels": CHANNELS[0],
        "attention_resolutions": [2],
        "num_res_blocks": 1,
        "channel_mult": [channels // CHANNELS[0] for channels in CHANNELS],
        "num_heads": 4,
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": WIDTH,
        "use_checkpoint": False,
        "legacy": False,
    }
    control = {k: v for k, v in unet.items() if k != "out_channels"}
    control |= {"in_channels": 4, "hint_channels": 3}
    blocks = paper_case.ARCHITECTURE.vae["block_out_channels"]
    vae = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": blocks[0],
        "ch_mult": [b // blocks[0] for b in blocks],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    nothing = {"target": "torch.nn.Identity"}
    stage = {"embed_dim": 4, "ddconfig": vae, "lossconfig": nothing}
    return {
        "linear_start": 0.00085,
        "linear_end": 0.0120,
        "num_timesteps_cond": 1,
        "timesteps": 1000,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "control_key": "hint",
        "image_size": 64,
        "channels": 4,
        "cond_stage_trainable": False,
        "conditioning_key": "hybrid",
        "scale_factor": 0.18215,
        "use_ema": False,
        "only_mid_control": False,
        "control_stage_config": {"target": "cldm.cldm.ControlNet", "params": control},
        "unet_config": {"target": "cldm.cldm.ControlledUnetModel", "params": unet},
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": stage},
        "cond_stage_config": "__is_unconditional__",
    }


if __name__ == "__main__":
    main()
