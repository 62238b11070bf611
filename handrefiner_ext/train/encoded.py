"""A set that is encoded once: latents, masks and depth of every view, kept until all is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.train.codec import find_kernel
from handrefiner_ext.train.data import Draw, draw_mask
from handrefiner_ext.train.steps import Batch, Encoder
from handrefiner_ext.train.views import Pictures

if TYPE_CHECKING:
    import torch

MASKS = 1
"""Masks drawn for each view of a picture."""
AT_ONCE = 16
"""Pictures that are encoded at once."""


def encode_pictures(vae: Any, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the unscaled latents of pictures (n, 4, l, l)."""
    import torch

    kernel = find_kernel(vae)
    if kernel is not None:
        return np.concatenate([_encode_blocks(kernel, image) for image in images])
    parts = []
    with torch.no_grad():
        for first in range(0, len(images), AT_ONCE):
            some = np.stack(images[first : first + AT_ONCE]).transpose(0, 3, 1, 2)
            pixels = torch.from_numpy(some / np.float32(127.5) - 1).to(vae.device)
            parts.append(vae.encode(pixels).latent_dist.mean.cpu().numpy())
    return np.concatenate(parts)


def _encode_blocks(kernel: torch.Tensor, image: NDArray[Any]) -> NDArray[np.float32]:
    import torch

    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    said = torch.nn.functional.conv2d(pixels, kernel, stride=kernel.shape[-1])
    return np.asarray(said.numpy())


@dataclass(frozen=True)
class Encoded:
    """The n views of a set, ready to learn from.

    latents: (n, 4, l, l), unscaled, float16. controls: (n, s, s). masks: (n * MASKS, l, l).
    masked: (n * MASKS, 4, l, l), latents of the pictures that are grey under their masks.
    """

    latents: NDArray[np.float16]
    controls: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    masked: NDArray[np.float16]
    prompts: NDArray[np.str_]


def encode_once(vae: Any, hands: Pictures, seed: int, kept: Path) -> Encoded:
    """Encode every view with its masks, or read what an earlier run kept in a file."""
    if kept.is_file():
        with np.load(kept) as arrays:
            return Encoded(**arrays)
    encoded = encode_views(vae, hands, seed)
    partial = kept.with_suffix(".part.npz")
    np.savez(partial, **vars(encoded))
    partial.replace(kept)
    return encoded


def encode_views(vae: Any, hands: Pictures, seed: int) -> Encoded:
    """Encode every view, and each of its masks with what it hides."""
    parts = [
        _encode_some(vae, hands, range(first, min(first + AT_ONCE, len(hands))), seed)
        for first in range(0, len(hands), AT_ONCE)
    ]
    return Encoded(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Encoded)
        }
    )


def _encode_some(vae: Any, hands: Pictures, numbers: Sequence[int], seed: int) -> Encoded:
    examples = [hands[number] for number in numbers]
    masks, greyed = [], []
    for number, each in zip(numbers, examples, strict=True):
        for kind in range(MASKS):
            mask = draw_mask(each.control, np.random.default_rng([seed, number, kind]))
            masks.append(mask)
            greyed.append(np.where(mask[..., None], np.float32(127.5), each.image))
    latents = encode_pictures(vae, [each.image for each in examples])
    step = hands.size // latents.shape[-1]
    return Encoded(
        latents=latents.astype(np.float16),
        controls=np.stack([each.control for each in examples]),
        masks=np.stack(masks)[:, ::step, ::step],
        masked=encode_pictures(vae, greyed).astype(np.float16),
        prompts=np.array([each.prompt for each in examples]),
    )


class EncodedSet:
    """Makes batches as `Encoder.encode` does, of views that are encoded already."""

    def __init__(self, encoder: Encoder, encoded: Encoded) -> None:
        self.encoder, self.encoded = encoder, encoded
        self.size = encoded.controls.shape[-1]

    def make_batch(self, draws: Sequence[Draw]) -> Batch:
        """Return the batch of these views."""
        import torch

        encoded = self.encoded
        numbers = [draw.number for draw in draws]
        kinds = [
            n * MASKS + int(d.rng.integers(MASKS)) for n, d in zip(numbers, draws, strict=True)
        ]
        scale = float(self.encoder.pipeline.vae.config.scaling_factor)

        def scaled(kept: NDArray[np.float16], chosen: list[int]) -> torch.Tensor:
            return torch.from_numpy(kept[chosen].astype(np.float32)) * scale

        with torch.no_grad():
            noisy, target, timesteps = self.encoder.add_noise(
                scaled(encoded.latents, numbers), draws
            )
            prompts = [str(prompt) for prompt in encoded.prompts[numbers]]
            text, added = self.encoder.tell(prompts, draws, self.size)
            mask = torch.from_numpy(encoded.masks[kinds][:, None].astype(np.float32))
            depth = torch.from_numpy(encoded.controls[numbers][:, None] / np.float32(255.0))
            return Batch(
                noisy=noisy,
                target=target,
                timesteps=timesteps,
                control=depth.expand(-1, 3, -1, -1),
                masked=torch.cat([mask, scaled(encoded.masked, kinds)], dim=1),
                text=text,
                added=added,
                shows_control=torch.tensor([draw.shows_control for draw in draws]),
            )
