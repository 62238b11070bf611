"""Measure where the landmark network sees the open hand's joints: `model.LANDMARK_OFFSETS`.

    python tools/calibrate_landmarks.py [--count 300]

The rig's joints are where the bones of the mesh turn; the network learnt from people who marked
what they saw (the wrist's crease, the knuckles). This renders random hands of the training split,
detects them and solves, for each joint, the one offset in its bone's frame that explains the mean
difference: least squares over all views with a ridge. It prints the table with that added.
"""

from __future__ import annotations

import argparse

import numpy as np

from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.geometry.transforms import MIRROR, align
from handrefiner_ext.mesh.open_hand.model import LANDMARK_OFFSETS, load_open_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import DETECTORS
from handrefiner_ext.topology import JOINT_COUNT
from handrefiner_ext.types import FloatArray, Hand, HandMesh

RIDGE = 0.015
FAR_OFF = 0.12
"""Detections that miss by more than this many hand sizes are other poses, not offsets."""


def bone_frames(mesh: HandMesh) -> FloatArray:
    """(21, 3, 3) rotation of the bone that ends at each joint, from the rest pose."""
    model = load_open_hand()
    mirror = MIRROR if mesh.handedness == "left" else np.ones(3)
    frames = np.zeros((JOINT_COUNT, 3, 3))
    for joint in range(JOINT_COUNT):
        finger, place = divmod(joint - 1, 4)
        bone = 0 if joint == 0 or place == 0 else 3 * finger + place
        rigid = model.weights[:, bone] > 0.95
        found = align(model.vertices[rigid] * mirror, mesh.vertices[rigid])
        frames[joint] = found.rotation * mirror
    return frames


def nearest(hands: tuple[Hand, ...], truth: Hand) -> Hand | None:
    def error(hand: Hand) -> float:
        return float(np.linalg.norm(hand.landmarks - truth.landmarks, axis=1).mean())

    good = [h for h in hands if h.handedness == truth.handedness]
    best = min(good, key=error, default=None)
    return best if best is not None and error(best) < FAR_OFF * truth.size_px else None


def measure_offsets(count: int) -> FloatArray:
    """(21, 3) metres to add to the present offsets."""
    detector, params = DETECTORS.build("auto"), RefineParams(tiles="off")
    normal = RIDGE * count * np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    right = np.zeros((JOINT_COUNT, 3))
    for number in range(count):
        rng = generator("train", number)
        scene = make_scene(rng, 512, 512, (Placement(256, 230, rng.uniform(150, 280)),))
        truth = scene.hands[0].mesh
        seen = nearest(detector.detect(scene.image, params).hands, truth.hand)
        if seen is None:
            continue
        error = (seen.landmarks - truth.hand.landmarks) / truth.camera.scale
        views = bone_frames(truth)[:, :2]
        normal += np.transpose(views, (0, 2, 1)) @ views
        right += np.einsum("jki,jk->ji", views, error)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="pictures to render")
    offsets = LANDMARK_OFFSETS + measure_offsets(parser.parse_args().count)
    for row in 1000 * offsets:
        print("[" + ", ".join(f"{v:.1f}" for v in row) + "],")


if __name__ == "__main__":
    main()
