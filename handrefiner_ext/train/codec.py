"""A VAE that begins as a linear code: means of blocks of pixels, in and out.

A VAE that is small and learns from random weights finds shapes first and colours very late. This
one has the right colours before it has learnt anything. Its encoder stays as it is; the decoder
learns to be sharp. Residual branches begin at nothing, halving is a mean, doubling a linear
interpolation. What remains are the activation and the normalisation before the last layer: a value
is carried as x and -x, for silu(x) - silu(-x) = x, and beside constants K and -K so large that a
picture hardly changes the mean and spread that it is normalised by.

Latents: luminance, two differences of colours, and how luminance falls along a diagonal of the
block; each is scaled to a spread of about 1, the slope to a fifth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

COLOURS = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, -0.5], [-0.25, 0.5, -0.25]])
GAINS = np.array([2.7, 6.7, 11.8])
"""One over the usual spread of luminance and of both differences."""
SLOPE = 0.6
"""The same for the slope of luminance, after its gain, but less: what is inside a mask cannot be
guessed from outside, and would be most of the loss."""
LATENTS = 4
PAIRS = 2 * LATENTS
"""Channels that carry the latents: x first, then -x."""
PLUS, MINUS = PAIRS, PAIRS + 1
"""Channels of the constants."""
FIXED = PAIRS + 2
K_ENCODER, K_DECODER = 32.0, 4.0
PROBED = 0.02
"""How far a linear code and its kernel may be apart, as a share of the largest latent."""
QUIET = 0.3
"""Size of the decoder's other channels, as a share of the usual; they learn."""


def make_linear(vae: Any) -> None:
    """Set the weights; every block of `vae` has FIXED channels at least, and one group."""
    import torch

    assert min(vae.config.block_out_channels) >= FIXED
    assert vae.config.norm_num_groups == 1
    with torch.no_grad():
        _make_encoder(vae.encoder)
        _make_decoder(vae.decoder)
        for conv in (vae.quant_conv, vae.post_quant_conv):
            size = conv.weight.shape[0]
            conv.weight.copy_(torch.eye(size)[..., None, None])
            conv.bias.zero_()


def _make_encoder(encoder: Any) -> None:
    import torch

    for each in encoder.modules():
        if isinstance(each, torch.nn.Conv2d):
            torch.nn.init.zeros_(each.weight)
            if each.bias is not None:
                torch.nn.init.zeros_(each.bias)
    weights = torch.from_numpy(COLOURS * GAINS[:, None]).float()
    encoder.conv_in.weight[:3, :, 1, 1] = weights
    encoder.conv_in.weight[LATENTS : LATENTS + 3, :, 1, 1] = -weights
    encoder.conv_in.bias[PLUS], encoder.conv_in.bias[MINUS] = K_ENCODER, -K_ENCODER
    halvings = [d.conv for block in encoder.down_blocks for d in block.downsamplers or ()]
    for conv in halvings:
        _carry(conv, range(FIXED), torch.full((2, 2), 0.25))
    last = halvings[-1].weight
    for channel, sign in ((LATENTS - 1, SLOPE), (PAIRS - 1, -SLOPE)):
        last[channel] = 0.0
        last[channel, 0, 0, 0], last[channel, 0, 1, 1] = sign, -sign
    _carry_shortcuts(encoder)
    _undo_norm(encoder.conv_norm_out, K_ENCODER)
    for latent in range(LATENTS):
        _sum_pair(encoder.conv_out, latent, latent)


def find_kernel(vae: Any) -> torch.Tensor | None:
    """Return what the encoder does to each block of pixels, (4, 3, f, f); None if it is another.

    One step in place of the whole encoder: at 256 pixels 0.5 ms instead of 80. It leaves out what
    the normalisation does to a picture of much contrast, a hundredth of it.
    """
    import torch

    latents = int(vae.config.latent_channels)
    halvings = len(vae.config.block_out_channels) - 1
    if halvings < 1 or latents != LATENTS:
        return None
    side = 2**halvings
    kernel = torch.zeros(LATENTS, 3, side, side)
    colours = torch.from_numpy(COLOURS * GAINS[:, None]).float()
    kernel[:3] = colours[..., None, None] / side**2
    half = side // 2
    slope = SLOPE * colours[0, :, None, None] / half**2
    kernel[LATENTS - 1, :, :half, :half] = slope
    kernel[LATENTS - 1, :, half:, half:] = -slope
    quant = vae.quant_conv.weight.detach()[:LATENTS, :LATENTS, 0, 0].float().cpu()
    kernel = torch.einsum("ij,jchw->ichw", quant, kernel)
    draws = torch.Generator().manual_seed(0)
    probe = torch.rand(1, 3, 8 * side, 8 * side, generator=draws) * 2 - 1
    with torch.no_grad():
        there = vae.encode(probe.to(vae.device, vae.dtype)).latent_dist.mean.float().cpu()
        by_kernel = torch.nn.functional.conv2d(probe, kernel, stride=side)
    return kernel if (there - by_kernel).abs().max() < PROBED * there.abs().max() else None


def _make_decoder(decoder: Any) -> None:
    import torch

    for each in decoder.modules():
        if isinstance(each, torch.nn.GroupNorm):
            _undo_norm(each, K_DECODER)
    _silence(decoder.conv_in)
    decoder.conv_in.weight *= QUIET
    decoder.conv_in.bias *= QUIET
    colours = np.linalg.inv(COLOURS) / GAINS
    weights = torch.from_numpy(colours).float()
    decoder.conv_in.weight[:3, :3, 1, 1] = weights
    decoder.conv_in.weight[LATENTS : LATENTS + 3, :3, 1, 1] = -weights
    decoder.conv_in.bias[PLUS], decoder.conv_in.bias[MINUS] = K_DECODER, -K_DECODER
    between = torch.tensor([0.25, 0.5, 0.25])
    for block in decoder.up_blocks:
        for each in block.upsamplers or ():
            _silence(each.conv)
            _carry(each.conv, range(PAIRS), torch.outer(between, between))
            for constant, value in ((PLUS, K_DECODER), (MINUS, -K_DECODER)):
                each.conv.bias[constant] = value  # no edge where the picture ends
    _carry_shortcuts(decoder)
    decoder.conv_out.weight.zero_()
    decoder.conv_out.bias.zero_()
    for colour in range(3):
        _sum_pair(decoder.conv_out, colour, colour)


def _silence(conv: Any) -> None:
    """The fixed channels are computed from nothing; what they shall carry is then set."""
    conv.weight[:FIXED] = 0.0
    conv.bias[:FIXED] = 0.0


def _carry(conv: Any, channels: range, kernel: torch.Tensor) -> None:
    rows, columns = kernel.shape
    for channel in channels:
        conv.weight[channel, channel, :rows, :columns] = kernel


def _carry_shortcuts(part: Any) -> None:
    import torch

    one = torch.ones(1, 1)
    blocks = getattr(part, "down_blocks", None) or part.up_blocks
    for attention in part.mid_block.attentions:
        if attention is not None:
            torch.nn.init.zeros_(attention.to_out[0].weight)
            torch.nn.init.zeros_(attention.to_out[0].bias)
    for resnet in [r for block in (part.mid_block, *blocks) for r in block.resnets]:
        resnet.conv2.weight.zero_()
        resnet.conv2.bias.zero_()
        if resnet.conv_shortcut is not None:
            _silence(resnet.conv_shortcut)
            _carry(resnet.conv_shortcut, range(FIXED), one)


def _undo_norm(norm: Any, constant: float) -> None:
    """Multiply by the spread that the two constants give a group of otherwise small channels."""
    norm.weight.fill_(constant * math.sqrt(2.0 / norm.num_channels))
    norm.bias.zero_()


def _sum_pair(conv: Any, out: int, channel: int) -> None:
    conv.weight[out, channel, 1, 1], conv.weight[out, LATENTS + channel, 1, 1] = 1.0, -1.0
