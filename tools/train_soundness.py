"""Train the network that tells well-formed from malformed hands in the picture alone.

    python tools/train_soundness.py make CROPS --last 8000              # can be split (--first)
    python tools/train_soundness.py train CROPS WEIGHTS [--minutes N]   # needs torch
    python tools/train_soundness.py bundle WEIGHTS [--share A]          # assets/hand_soundness.zip

It begins as MediaPipe's landmark network, which has seen many real hands, and learns from twins of
the generator (`handrefiner dataset --twins`): the same scene, once with a well-formed hand and once
with a malformed one, shown in the same light and noise. It is asked which of the two is better
(a ranking loss: Burges et al. 2005, "Learning to rank using gradient descent"), so that skin,
light and background of a rendering teach it nothing. What is bundled lies between the network
that it began as and the one that has learnt (Wortsman et al. 2022, arXiv 2109.01903): the more
it has learnt of renderings, the more it forgets of real hands. No real picture is used here.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bundle_networks import ASSETS, make_entry
from numpy.typing import NDArray
from soundness_pictures import Floats, Twins, draw_pair, load, make, unpack

from handrefiner_ext.judge.soundness import ANSWER, INPUT_PX, show
from handrefiner_ext.tflite import LANDMARK_NETWORK, SOUNDNESS_FILE, SOUNDNESS_NETWORK, read_network
from handrefiner_ext.types import View

BATCH, RATE, HELD_BACK = 12, 4e-4, 12
"""Pairs of a step, the largest learning rate, and one scene of how many is for measuring alone."""
SHARE = 0.5
"""Of what was learnt. On real close-ups this cue alone has an AUC of 0.80 from 0.4 to 0.6 and of
0.75 with all of it; on 104 other hands of a video 0.75, 0.74 and 0.67."""


class Buffers:
    """Finds the numbers of a tensor in a TFLite file (a FlatBuffer of schema_v3, by hand)."""

    def __init__(self, model: bytes) -> None:
        self._bytes = model
        root = self._follow(0)
        self._buffers = self._vector(self._field(root, 4))
        graph = self._vector(self._field(root, 2))[0]
        self._tensors = self._vector(self._field(graph, 0))

    def of(self, tensor: int) -> slice:
        field = self._field(self._tensors[tensor], 2)
        data = self._follow(self._field(self._buffers[self._number(field)], 0))
        return slice(data + 4, data + 4 + self._number(data))

    def _number(self, place: int, size: int = 4) -> int:
        return int.from_bytes(self._bytes[place : place + size], "little")

    def _follow(self, place: int) -> int:
        return place + self._number(place)

    def _field(self, table: int, number: int) -> int:
        signed = int.from_bytes(self._bytes[table : table + 4], "little", signed=True)
        return table + self._number(table - signed + 4 + 2 * number, 2)

    def _vector(self, place: int) -> list[int]:
        start = self._follow(place)
        return [self._follow(start + 4 + 4 * k) for k in range(self._number(start))]


class Layer(NamedTuple):
    """kind: conv, depthwise, add or mean. inputs, output: tensors. weights: fp16 tensors."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    weights: tuple[int, ...] = ()
    stride: int = 1
    has_relu6: bool = False


class Plan(NamedTuple):
    """layers: of the landmark network, without heads. values: of its fp16 tensors.

    head: the fp16 tensors (weights, bias) of the presence. others: those of the other heads.
    """

    layers: list[Layer]
    values: dict[int, Floats]
    head: tuple[int, ...]
    others: tuple[int, ...]
    entry: int


def read_plan() -> Plan:
    """Read how the landmark network is built, by running it once without any delegate."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    net = Interpreter(
        model_content=read_network(LANDMARK_NETWORK),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    net.allocate_tensors()
    entry = net.get_input_details()[0]["index"]
    noise = np.random.default_rng(0).random((1, 224, 224, 3)).astype(np.float32)
    net.set_tensor(entry, noise)
    net.invoke()
    wide = {t["index"]: t["shape"] for t in net.get_tensor_details()}
    stored: dict[int, int] = {}
    layers, heads = [], []
    made_of: dict[int, int] = {}
    for op in net._get_ops_details():
        name, inputs, output = op["op_name"], [int(i) for i in op["inputs"]], int(op["outputs"][0])
        made_of[output] = inputs[0]
        if name == "DEQUANTIZE":
            stored[output] = inputs[0]
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            kind = "conv" if name == "CONV_2D" else "depthwise"
            stride = round(wide[inputs[0]][1] / wide[output][1])
            weights = tuple(stored[i] for i in inputs[1:3])
            capped = float(net.get_tensor(output).min()) >= 0.0
            layers.append(Layer(kind, (inputs[0],), output, weights, stride, capped))
        elif name in ("ADD", "MEAN"):
            used = tuple(inputs[:2] if name == "ADD" else inputs[:1])
            layers.append(Layer(name.lower(), used, output))
        elif name == "FULLY_CONNECTED":
            heads.append((output, tuple(stored[i] for i in inputs[1:3])))
    values = {i: np.array(net.get_tensor(i), np.float32) for i in stored.values()}
    answers = [detail["index"] for detail in net.get_output_details()]
    presence = made_of[answers[ANSWER]]
    head = next(weights for output, weights in heads if output == presence)
    others = tuple(i for output, weights in heads if output != presence for i in weights)
    return Plan(layers, values, head, others, entry)


def build_model(plan: Plan) -> Any:
    """The landmark network in torch, with one new answer that begins as 0 for every picture."""
    import torch
    import torch.nn.functional as F

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            used = [i for layer in plan.layers for i in layer.weights]
            self.weights = torch.nn.ParameterDict(
                {str(i): torch.nn.Parameter(torch.from_numpy(plan.values[i])) for i in used}
            )
            self.head = torch.nn.Linear(plan.values[plan.head[0]].shape[1], 1)
            torch.nn.init.zeros_(self.head.weight)
            torch.nn.init.zeros_(self.head.bias)

        def forward(self, pictures: Any) -> Any:
            seen = {plan.entry: pictures.permute(0, 3, 1, 2)}
            for layer in plan.layers:
                first = seen[layer.inputs[0]]
                if layer.kind == "add":
                    seen[layer.output] = first + seen[layer.inputs[1]]
                elif layer.kind == "mean":
                    return self.head(F.dropout(first.mean((2, 3)), 0.2, self.training))[:, 0]
                else:
                    seen[layer.output] = self._convolve(layer, first)

        def _convolve(self, layer: Layer, x: Any) -> Any:
            weight, bias = (self.weights[str(i)] for i in layer.weights)
            is_deep = layer.kind == "depthwise"
            weight = weight.permute(3, 0, 1, 2) if is_deep else weight.permute(0, 3, 1, 2)
            side, size, stride = x.shape[-1], weight.shape[-1], layer.stride
            rim = max((-(-side // stride) - 1) * stride + size - side, 0)
            x = F.pad(x, (rim // 2, rim - rim // 2) * 2)  # TensorFlow's padding SAME
            x = F.conv2d(x, weight, bias, stride, groups=len(weight) if is_deep else 1)
            return F.relu6(x) if layer.has_relu6 else x

    return Model()


def train(crops: Path, weights: Path, minutes: float) -> None:
    """Learn from twins; WEIGHTS is written every few minutes, with a mean of the last steps."""
    import torch
    import torch.nn.functional as F

    plan = read_plan()
    model, twins = build_model(plan), load(crops)
    mean = {name: value.detach().clone() for name, value in model.named_parameters()}
    groups = [{"params": list(part.parameters())} for part in (model.weights, model.head)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    held = twins.scenes % HELD_BACK == 5
    pairs, asked = twins.pairs[~held], twins.pairs[held][:200]
    print(f"{len(pairs)} pairs to learn from, {held.sum()} held back", flush=True)
    rng, start, step, shown = np.random.default_rng(0), time.monotonic(), 0, 0.0
    while (passed := (time.monotonic() - start) / 60) < minutes:
        slow = min(1.0, step / 60) * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * passed / minutes)))
        for group, factor in zip(optimizer.param_groups, (1.0, 3.0), strict=True):
            group["lr"] = RATE * factor * slow
        drawn = [draw_pair(twins, pair, rng) for pair in pairs[rng.choice(len(pairs), BATCH)]]
        answers = model(torch.from_numpy(np.concatenate(drawn))).reshape(BATCH, 2)
        good, bad = answers[:, 0], answers[:, 1]
        ranked = F.softplus(bad - good).mean()
        named = (F.softplus(-good) + F.softplus(bad)).mean() / 2
        optimizer.zero_grad()
        (ranked + named).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, value in model.named_parameters():
                mean[name].lerp_(value, max(0.005, 9 / (10 + step)))
        if passed - shown > 2.5:
            shown = passed
            save(plan, mean, weights)
            print(step, round(passed, 1), f"ranking {ranked:.3f}", measure(weights, twins, asked))
    save(plan, mean, weights)
    print("held back:", measure(weights, twins, asked))


def save(plan: Plan, named: dict[str, Any], path: Path) -> None:
    """Write WEIGHTS: the number of each tensor of the network, and its values."""
    arrays = {n.split(".")[1]: v.numpy() for n, v in named.items() if n.startswith("weights")}
    head = {str(plan.head[0]): named["head.weight"], str(plan.head[1]): named["head.bias"]}
    np.savez(path, **arrays, **{name: value.numpy() for name, value in head.items()})


def build_network(weights: Path, share: float) -> bytes:
    """The landmark network with `share` of what was learnt; its other answers say nothing."""
    plan, model = read_plan(), bytearray(read_network(LANDMARK_NETWORK))
    buffers = Buffers(bytes(model))
    with np.load(weights) as learnt:
        for name in learnt.files:
            tensor, place = int(name), buffers.of(int(name))
            before = 0.0 if tensor in plan.head else plan.values[tensor]
            mixed = (1 - share) * before + share * learnt[name]
            packed = np.asarray(mixed, dtype="<f2").tobytes()
            if len(packed) != place.stop - place.start:
                raise ValueError(
                    f"Tensor {tensor} of {weights} has another size than the network's."
                )
            model[place] = packed
    for tensor in plan.others:
        place = buffers.of(tensor)
        model[place] = bytes(place.stop - place.start)
    return bytes(model)


def measure(weights: Path, twins: Twins, pairs: NDArray[np.int64]) -> str:
    """How often all that was learnt puts the well-formed twin first, in one view."""
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_content=build_network(weights, share=1.0))
    entry = net.get_input_details()[0]["index"]
    net.resize_tensor_input(entry, [1, INPUT_PX, INPUT_PX, 3])
    net.allocate_tensors()
    answer = net.get_output_details()[ANSWER]["index"]

    def ask(piece: bytes) -> float:
        net.set_tensor(entry, show(unpack(piece), View())[None])
        net.invoke()
        return float(net.get_tensor(answer)[0, 0])

    right = [ask(twins.pieces[good]) > ask(twins.pieces[bad]) for good, bad in pairs]
    return f"{np.mean(right):.3f} of {len(pairs)} pairs in order"


def bundle(weights: Path, share: float) -> None:
    """Write the network into the package; the same weights give the same bytes."""
    entry = make_entry(SOUNDNESS_NETWORK)
    entry.compress_type = zipfile.ZIP_DEFLATED
    network = build_network(weights, share)  # an error leaves the file as it was
    with zipfile.ZipFile(ASSETS / SOUNDNESS_FILE, "w") as target:
        target.writestr(entry, network, compresslevel=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("crops", type=Path)
    making.add_argument("--first", type=int, default=0)
    making.add_argument("--last", type=int, default=8000)
    making.add_argument("--seed", type=int, default=778)
    training = commands.add_parser("train")
    training.add_argument("crops", type=Path)
    training.add_argument("weights", type=Path)
    training.add_argument("--minutes", type=float, default=45.0)
    bundling = commands.add_parser("bundle")
    bundling.add_argument("weights", type=Path)
    bundling.add_argument("--share", type=float, default=SHARE)
    given = parser.parse_args()
    if given.command == "make":
        make(given.crops, given.first, given.last, given.seed)
    elif given.command == "train":
        train(given.crops, given.weights, given.minutes)
    else:
        bundle(given.weights, given.share)


if __name__ == "__main__":
    main()
