"""The model card that lies beside trained weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from handrefiner_ext import __version__
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES
from handrefiner_ext.inpaint.diffusion.loading import Models
from handrefiner_ext.train.settings import Settings

CARD = """---
tags:
- controlnet
- hands
- inpainting
---

# {name}

A depth ControlNet for hands in {family}, trained with `handrefiner train controlnet`
(HandRefiner {version}) for {steps} steps, on {pictures} rendered pictures.

- **Depth**: near is bright, 255 to 51 for each hand, 0 where no hand is.
- **Begun with**: a ControlNet {start}, beside the checkpoint {checkpoint}.
- **Not known**: how it paints. Look at `samples/`, and try it on pictures of your own.

## Data and licence

The pictures show the open hand of HandRefiner (MakeHuman's MPFB2 mesh, CC0) before generated
backgrounds; no photograph of a person and nothing of MANO was used, unless the set was made with
`--backgrounds` or `--drafts` on pictures of your own. The weights follow from those of the
checkpoint and of the ControlNet that the training began with: **their licences hold for them too**.

## Settings

{settings}
"""


def write_card(folder: Path, settings: Settings, name: str, models: Models, pictures: int) -> None:
    """Write README.md. name: of the weights. pictures: how many there were to learn from."""
    left_out = ("checkpoint", "control_model", "dataset", "out_dir")
    rows = [f"    {key}: {value}" for key, value in asdict(settings).items() if key not in left_out]
    text = CARD.format(
        name=name,
        family=FAMILY_NAMES[models.family],
        version=__version__,
        steps=settings.steps,
        pictures=f"{pictures:,}",
        start=models.control,
        checkpoint=Path(settings.checkpoint).name or "sd-v1-5-inpainting",
        settings="\n".join(rows),
    )
    (folder / "README.md").write_text(text, "utf-8")
