"""Whether the detector yolo runs real networks as ultralytics does: one is trained here.

    python benchmarks/yolo.py --minutes 20 [--count 600] [--side 160] [--keep DIR]

Trains ultralytics' YOLOv8n from nothing on renderings of `handrefiner dataset`, writes it as ONNX
with ultralytics' own exporter, and compares on renderings that it has not seen:

- the output of the .pt and of the ONNX file, each run by HandRefiner;
- HandRefiner's boxes with those of ultralytics' own predictor, from the same file;
- the share of hands found by the network, by `litert`, and by `yolo` with that network.

Needs `pip install ultralytics onnx`. The weights are only as good as minutes of training make them;
they are for this comparison and not for use.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from report import positive, print_table, use_utf8

from handrefiner_ext.dataset import Options, iterate
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.detect.proposals import Letterbox, decode
from handrefiner_ext.detect.yolo import YoloDetector
from handrefiner_ext.detect.yolo_networks import YoloNetwork, open_network
from handrefiner_ext.geometry.boxes import intersection_over_union
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Image, ModelHome
from handrefiner_ext.weights.manifest import ADETAILER_HANDS, ANIME_HANDS

FOUND = 0.4
"""Overlap from which a box is that of a hand."""
LEAST_SCORE = 0.3
VISIBLE = 0.25
"""Share of a hand that must be seen for it to be learnt and to be counted."""
Truth = list[tuple[Image, list[Box]]]


def render(count: int, seed: int, size: int) -> Truth:
    """Return pictures and the boxes of the hands in them."""
    samples = iterate(seed=seed, count=count, options=Options(size=size))
    return [(s.image, [h.box for h in s.hands if h.visible >= VISIBLE]) for s in samples]


def write_set(folder: Path, pictures: Truth) -> None:
    """Write pictures and labels as ultralytics reads them."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, (image, boxes) in enumerate(pictures):
        height, width = image.shape[:2]
        PillowImage.fromarray(image).save(folder / "images" / f"{number}.png")
        rows = [
            f"0 {(b.x0 + b.x1) / 2 / width} {(b.y0 + b.y1) / 2 / height} "
            f"{b.width / width} {b.height / height}"
            for b in boxes
        ]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows), encoding="utf-8")


def train(folder: Path, side: int, minutes: float) -> Path:
    """Train on folder/train; return the folder that holds the .pt and the .onnx."""
    from ultralytics import YOLO

    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: train/images\nval: val/images\nnames:\n  0: hand\n")
    network = YOLO("yolov8n.yaml")
    network.train(
        data=str(data), imgsz=side, epochs=1000, time=minutes / 60, batch=16, device="cpu",
        workers=0, project=str(folder / "runs"), name="hand", plots=False, val=False,
        mosaic=0.0, optimizer="AdamW", lr0=0.002, verbose=False,
    )  # fmt: skip
    models = folder / "models"
    models.mkdir()
    trained = (folder / "runs" / "hand" / "weights" / "last.pt").rename(
        models / ADETAILER_HANDS[-1].name
    )
    YOLO(str(trained)).export(format="onnx", imgsz=side, opset=12, simplify=False)
    trained.with_suffix(".onnx").rename(models / ANIME_HANDS.name)
    return models


def run_ours(network: YoloNetwork, image: Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the raw output, and the boxes in the picture's pixels with their scores."""
    frame = Letterbox.around(image, network.side)
    output = network.run(frame.enter(image))
    boxes, scores = decode(output, network.names, LEAST_SCORE)
    return output, frame.leave(boxes), scores


def compare(models: Path, pictures: Truth) -> list[list[str]]:
    """Compare .pt with ONNX and with ultralytics' predictor; the largest differences in a row."""
    from ultralytics import YOLO

    home = ModelHome(models_dir=models, device="cpu")
    module = models / ADETAILER_HANDS[-1].name
    pair = [open_network(path, home) for path in (module, models / ANIME_HANDS.name)]
    theirs = YOLO(str(module))
    raw, placed, count = 0.0, 0.0, 0
    for image, _ in pictures:
        (first, boxes, _), (second, *_) = (run_ours(network, image) for network in pair)
        raw = max(raw, float(np.abs(first - second).max()))
        bgr = np.ascontiguousarray(image[..., ::-1])
        seen = theirs.predict(bgr, imgsz=pair[0].side, conf=LEAST_SCORE, iou=0.6, verbose=False)[0]
        other = seen.boxes.xyxy.numpy()
        if len(other) != len(boxes):
            placed = float("inf")
        elif len(other):
            apart = np.abs(other[:, None] - boxes[None]).max(axis=2).min(axis=1)
            placed, count = max(placed, float(apart.max())), count + len(other)
    return [
        ["largest difference of .pt and ONNX, pixels of the input", f"{raw:.4f}"],
        [f"largest difference of {count} boxes to ultralytics', pixels", f"{placed:.2f}"],
    ]


def count_found(boxes: Sequence[Box], truth: Sequence[Box]) -> tuple[int, int]:
    """Return how many hands are found, and how many boxes show none."""
    found = sum(any(intersection_over_union(t, b) >= FOUND for b in boxes) for t in truth)
    wrong = sum(all(intersection_over_union(t, b) < FOUND / 2 for t in truth) for b in boxes)
    return found, wrong


def measure(models: Path, pictures: Truth) -> list[list[str]]:
    """Return the hands found by the network alone, by litert and by yolo."""
    home = ModelHome(models_dir=models, device="cpu")
    network = open_network(models / ANIME_HANDS.name, home)
    detectors = {"litert": LitertDetector(), "yolo": YoloDetector(home)}
    params = RefineParams()

    def look(name: str, image: Image) -> list[Box]:
        if name in detectors:
            return [hand.box for hand in detectors[name].detect(image, params).hands]
        return [Box(*map(round, box)) for box in run_ours(network, image)[1].tolist()]

    rows = []
    for name in ("network alone", *detectors):
        counts = [count_found(look(name, image), truth) for image, truth in pictures]
        found, wrong = (sum(part) for part in zip(*counts, strict=True))
        rows.append([f"hands found, {name}", f"{found}/{sum(len(t) for _, t in pictures)}"])
        rows.append([f"boxes without a hand, {name}", str(wrong)])
    return rows


def main() -> None:
    use_utf8()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="time to train")
    parser.add_argument("--count", type=positive, default=600, help="pictures to learn from")
    parser.add_argument("--side", type=positive, default=160, help="side of the network's input")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder, and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        models, unseen = folder / "models", render(60, 99, 2 * options.side)
        if not models.exists():
            write_set(folder / "train", render(options.count, 5, 2 * options.side))
            write_set(folder / "val", unseen)
            models = train(folder, options.side, options.minutes)
        rows = [*compare(models, unseen), *measure(models, unseen)]
    print_table("A network trained here", ["", "measured"], rows)


if __name__ == "__main__":
    main()
