"""Train the network that tells well-formed from malformed hands (assets/hand_form.npz).

    python tools/train_form.py make CROPS --first 0 --last 4471    # can be split over processes
    python tools/train_form.py train CROPS [--epochs N]            # needs torch

Hands are the open hand in the training split of dataset/twins.py, setting `plain`; validation
pictures, another hand model and another renderer, are never seen here.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from handrefiner_ext.dataset.plain import HandModel, open_hand_model
from handrefiner_ext.dataset.twins import SETTINGS, all_pictures, make_twins
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.judge.form import INPUT_PX, KINDS, Jitter, make_planes
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import HandMesh

ASSET = Path(__file__).parent.parent / "handrefiner_ext" / "assets" / "hand_form.npz"
CROP_SIDE, CROP_SCALE = 144, 1.5
"""Crops are kept larger than the window, so that training can turn and move them."""
FAULTS_EACH = 3
ODD_FROM, ODD_SPREAD = 1500, 2.2
LAYERS = ((16, 5, 2), (24, 3, 2), (32, 3, 1), (48, 3, 2), (64, 3, 1), (96, 3, 2))
"""Channels, size and stride of each convolution."""
PARAMS = RefineParams(tiles="off", outline=False)


def make(folder: Path, first: int, last: int) -> None:
    """Write CROPS/<number>.npz: colours, depths and kinds of the twins of one number."""
    folder.mkdir(parents=True, exist_ok=True)
    detector, reconstructor = LitertDetector(), OpenHandReconstructor()
    for number in range(first, last):
        target = folder / f"{number:05d}.npz"
        if target.exists():
            continue
        rng = np.random.default_rng([number, 99])
        faults = tuple(str(f) for f in rng.choice(KINDS[1:], FAULTS_EACH, replace=False))
        hand = choose_hand(rng, number)
        twins = make_twins("train", number, hand, SETTINGS["plain"], faults)
        crops = []
        for kind, picture in all_pictures(twins):
            seen = detector.redetect(picture, (twins.truth.hand,), PARAMS)[0]
            mesh = None if seen is None else reconstructor.reconstruct(picture, seen, PARAMS)
            if isinstance(mesh, HandMesh):
                planes = make_planes(picture, mesh, CROP_SIDE, Jitter(size=CROP_SCALE))
                crops.append((KINDS.index(kind), np.rint(planes * 255).astype(np.uint8)))
        kinds = np.array([kind for kind, _ in crops], dtype=np.int64)
        np.savez(target, kinds=kinds, planes=np.array([planes for _, planes in crops]))


def choose_hand(rng: np.random.Generator, number: int) -> HandModel:
    """The open hand, with or without an arm; from ODD_FROM on with a wide spread of shapes."""
    hand = replace(open_hand_model(), has_cap=bool(rng.uniform() < 0.7))
    if number < ODD_FROM:
        return hand
    model = hand.model
    wide = replace(
        model,
        shape_vertices=model.shape_vertices * ODD_SPREAD,
        shape_joints=model.shape_joints * ODD_SPREAD,
    )
    return replace(hand, model=wide)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 3, CROP_SIDE, CROP_SIDE) uint8, (n,) kinds, (n,) numbers of the twins."""
    planes, kinds, numbers = [], [], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            if data["kinds"].size == 0:
                continue  # no hand was seen in any of its pictures
            planes.append(data["planes"])
            kinds.append(data["kinds"])
        numbers.append(np.full(len(kinds[-1]), int(path.stem)))
    return np.concatenate(planes), np.concatenate(kinds), np.concatenate(numbers)


def build_model():
    import torch

    layers, before = [], 3
    for channels, size, stride in LAYERS:
        layers += [
            torch.nn.Conv2d(before, channels, size, stride, size // 2, bias=False),
            torch.nn.BatchNorm2d(channels),
            torch.nn.ReLU(),
        ]
        before = channels
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.2)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(before, len(KINDS)))


def augment(crops, generator):
    """Move, relight, roughen and normalise crops; return (n, 3, INPUT_PX, INPUT_PX)."""
    import torch
    import torch.nn.functional as F

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    n = len(crops)
    turn, size = uniform(-0.3, 0.3, n), uniform(0.88, 1.12, n) / CROP_SCALE
    stretch = uniform(0.93, 1.07, n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = size * stretch * turn.cos(), -size * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = size * turn.sin(), size * turn.cos() / stretch
    theta[:, :, 2] = uniform(-0.05, 0.05, n, 2)
    bright, likely, depth = bend(resample(crops, theta), generator).unbind(1)
    depth = misplace(depth, generator)
    likely = thicken(likely, uniform(-1.0, 1.0, n, 1, 1))
    bright = bright * uniform(0.7, 1.3, n, 1, 1) + uniform(-0.2, 0.2, n, 1, 1)
    bright = bright + torch.randn(bright.shape, generator=generator) * uniform(0, 0.04, n, 1, 1)
    negative = (torch.rand(n, 1, 1, generator=generator) < 0.15).float()
    bright = bright * (1 - 2 * negative)
    blots = F.avg_pool2d(torch.randn(likely.shape, generator=generator), 5, 1, 2)
    likely = (likely + blots * uniform(0, 0.5, n, 1, 1)).clamp(0, 1)
    return normalised(torch.stack([bright, likely, depth], 1))


def smooth_noise(n, strength, generator):
    """(n, INPUT_PX, INPUT_PX, 2) displacements, smooth over the window."""
    import torch
    import torch.nn.functional as F

    coarse = torch.randn(n, 2, 5, 5, generator=generator) * strength[:, None, None, None]
    fine = F.interpolate(coarse, (INPUT_PX, INPUT_PX), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1)


def bend(planes, generator):
    """All planes bent alike: hands of other proportions."""
    import torch
    import torch.nn.functional as F

    n = len(planes)
    strength = 0.035 * torch.rand(n, generator=generator)
    grid = F.affine_grid(torch.eye(2, 3).repeat(n, 1, 1), planes.shape, align_corners=False)
    grid = grid + smooth_noise(n, strength, generator)
    return F.grid_sample(planes, grid, align_corners=False, padding_mode="border")


def misplace(depth, generator):
    """The mesh a little beside the hand, as one of other proportions is fitted."""
    import torch
    import torch.nn.functional as F

    n = len(depth)
    turn = 0.05 * torch.randn(n, generator=generator)
    size = 1.0 + 0.03 * torch.randn(n, generator=generator)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = size * turn.cos(), -size * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = size * turn.sin(), size * turn.cos()
    theta[:, :, 2] = 0.012 * torch.randn(n, 2, generator=generator)
    grid = F.affine_grid(theta, (n, 1, INPUT_PX, INPUT_PX), align_corners=False)
    strength = 0.02 * torch.rand(n, generator=generator)
    grid = grid + smooth_noise(n, strength, generator)
    return F.grid_sample(depth[:, None], grid, align_corners=False)[:, 0]


def thicken(likely, amount):
    """Fingers thicker (1) or thinner (-1) by a pixel than the mesh's."""
    import torch
    import torch.nn.functional as F

    thick = F.max_pool2d(likely[:, None], 3, 1, 1)[:, 0]
    thin = -F.max_pool2d(-likely[:, None], 3, 1, 1)[:, 0]
    return torch.where(
        amount > 0, torch.lerp(likely, thick, amount), torch.lerp(likely, thin, -amount)
    )


def resample(crops, theta):
    """(n, 3, INPUT_PX, INPUT_PX) in 0..1, what the maps `theta` (n, 2, 3) show of the crops."""
    import torch.nn.functional as F

    grid = F.affine_grid(theta, (len(crops), 3, INPUT_PX, INPUT_PX), align_corners=False)
    seen = F.grid_sample(crops.float() / 255, grid, align_corners=False, padding_mode="border")
    return seen


def normalised(planes):
    """As `form_network.normalise`, for many."""
    import torch

    bright, likely, depth = planes.unbind(1)
    mean = bright.mean(dim=(1, 2), keepdim=True)
    spread = bright.std(dim=(1, 2), keepdim=True, unbiased=False).clamp(min=0.02)
    return torch.stack([(bright - mean) / spread, 2 * likely - 1, depth], 1)


def straight(crops):
    """The windows as they are judged, normalised."""
    import torch

    return normalised(resample(crops, torch.eye(2, 3).repeat(len(crops), 1, 1) / CROP_SCALE))


def train(folder: Path, epochs: int) -> None:
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    planes, kinds, numbers = load(folder)
    held = numbers % 10 == 0
    x = torch.from_numpy(planes)
    y = torch.from_numpy(kinds)
    counts = torch.bincount(y[~torch.from_numpy(held)], minlength=len(KINDS)).float()
    weight = counts.sum() / len(KINDS) / counts.clamp(min=1)
    weight[0] *= 2.5
    model = build_model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.02)
    learn = torch.from_numpy(np.flatnonzero(~held))
    steps = epochs * (len(learn) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for batch in learn[torch.randperm(len(learn), generator=generator)].split(64):
            if len(batch) < 64:
                continue
            logits = model(augment(x[batch], generator))
            loss = F.cross_entropy(logits, y[batch], weight=weight, label_smoothing=0.03)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        report(epoch, total / max(len(learn) // 64, 1), model, x, y, held)
        save(model)


def report(epoch, loss, model, x, y, held) -> None:
    import torch

    model.eval()
    with torch.no_grad():
        chosen = torch.from_numpy(np.flatnonzero(held))
        logits = torch.cat([model(straight(x[part])) for part in chosen.split(128)])
    badness = (torch.logsumexp(logits[:, 1:], 1) - logits[:, 0]).numpy()
    kinds = y[chosen].numpy()
    areas = {
        KINDS[kind]: round(float((badness[kinds == kind][:, None] > badness[kinds == 0]).mean()), 3)
        for kind in range(1, len(KINDS))
        if (kinds == kind).any()
    }
    print(epoch, f"loss {loss:.3f}", areas, flush=True)


def save(model) -> None:
    """Batch norms folded into the convolutions, as float16."""
    arrays, number = {}, 0
    modules = list(model)
    for conv, norm in pairwise(modules):
        if not hasattr(norm, "running_var"):
            continue
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        arrays[f"w{number}"] = (conv.weight * scale[:, None, None, None]).detach().numpy()
        arrays[f"b{number}"] = (norm.bias - norm.running_mean * scale).detach().numpy()
        number += 1
    arrays["fw"], arrays["fb"] = (p.detach().numpy() for p in modules[-1].parameters())
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    np.savez_compressed(ASSET, strides=np.array([layer[2] for layer in LAYERS]), **halves)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=("make", "train"))
    parser.add_argument("crops", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=4471)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    if options.work == "make":
        make(options.crops, options.first, options.last)
    else:
        train(options.crops, options.epochs)


if __name__ == "__main__":
    main()
