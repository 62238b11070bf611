"""What `refine` would know about the hands of a scene if it saw everything: meshes and maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handrefiner_ext.dataset.build import Part
from handrefiner_ext.dataset.faults import NO_FAULT
from handrefiner_ext.dataset.hands import Surface
from handrefiner_ext.dataset.records import RENDERER, TrueHand
from handrefiner_ext.dataset.scene import NEAREST_M, Lens, Scene, SceneHand
from handrefiner_ext.dataset.seeing import Seen
from handrefiner_ext.geometry.boxes import area, bounding_box, clip
from handrefiner_ext.geometry.rasterize import picture_points, z_buffer
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import shade_control
from handrefiner_ext.render.masks import MaskMaker, unite
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import (
    ControlMaps,
    FloatArray,
    Hand,
    HandMesh,
    WeakPerspective,
)

BACKEND = "truth"
SKETCH_PX = 160
"""Side of the small picture in which hidden parts and faults are looked for."""
ARM_FROM = 0.03
"""Metres behind the wrist joint, at rest: there the hand ends and the arm begins."""
LARGEST_SKETCH = 4
"""Pictures' sides; what lies farther outside is not counted."""


def find_truth(scene: Scene, sketch: Seen, parts: Sequence[Part]) -> tuple[TrueHand, ...]:
    """The well-formed hands. sketch: the scene seen small, for what is hidden; parts: its own."""
    return tuple(
        _true_hand(scene, number, hand, sketch, parts) for number, hand in enumerate(scene.hands)
    )


def _true_hand(
    scene: Scene, number: int, hand: SceneHand, sketch: Seen, parts: Sequence[Part]
) -> TrueHand:
    mesh = fold_mesh(scene, hand, None)
    return TrueHand(
        mesh=mesh,
        joints_3d=hand.place.put(hand.bent.joints()),
        landmarks_3d=hand.landmarks(),
        gesture=hand.gesture,
        build=hand.build,
        fault=NO_FAULT,
        painted_by=RENDERER,
        visible=_visible(mesh, number, scene.size, sketch, parts),
    )


def fold_mesh(scene: Scene, hand: SceneHand, surface: Surface | None) -> HandMesh:
    """The hand with the lens' perspective in its vertices, under a weak-perspective camera.

    surface: what is drawn in its place, if it is malformed.
    """
    bent, place = hand.bent, hand.place
    posed = bent.posed()
    wrist = place.put(np.zeros((1, 3)))[0]
    (shift,) = _project(scene.lens, wrist[None])
    scale = scene.lens.focal_px / max(float(wrist[2]), NEAREST_M)
    camera = WeakPerspective(scale, float(shift[0]), float(shift[1]))

    def fold(points: FloatArray) -> FloatArray:
        flat = (_project(scene.lens, points) - shift) / scale
        return np.column_stack([flat, points[:, 2] - wrist[2]])

    landmarks = place.put(np.asarray(posed.landmarks))
    folded = fold(landmarks)
    seen = camera.project(folded)
    body = bent.skin() if surface is None else surface.body
    faces = place.turn_faces(bent.model.faces)
    vertices = [fold(place.put(body))]
    for points, triangles in surface.extra if surface is not None else ():
        start = sum(len(v) for v in vertices)
        faces = np.concatenate([faces, place.turn_faces(triangles + start)])
        vertices.append(fold(place.put(points)))
    truth = Hand(
        handedness=place.side,
        handedness_score=1.0,
        score=1.0,
        box=clip(bounding_box(seen), scene.size, scene.size),
        landmarks=seen,
        landmark_depth=scale * (folded[:, 2] - folded[0, 2]),
        world_landmarks=landmarks - landmarks.mean(axis=0),
    )
    return HandMesh(truth, np.concatenate(vertices), faces, folded, camera, 0.0, BACKEND)


def _project(lens: Lens, points: FloatArray) -> FloatArray:
    """(n, 2) pixels; what lies too near is seen as if it lay at the nearest distance."""
    nearest = points.copy()
    nearest[:, 2] = np.maximum(nearest[:, 2], 1.001 * NEAREST_M)
    return lens.project(nearest)


def _visible(mesh: HandMesh, number: int, size: int, sketch: Seen, parts: Sequence[Part]) -> float:
    """Share of the hand's own pixels that are seen."""
    side = SKETCH_PX
    points = picture_points(mesh) * (side / size, side / size, 1.0)
    low, high = -LARGEST_SKETCH * side, (LARGEST_SKETCH + 1) * side
    box = bounding_box(np.clip(points[:, :2], low, high))
    depth, _ = z_buffer(points, mesh.faces, box)
    whole = int(np.isfinite(depth).sum())
    return min(1.0, count_seen(number, sketch, parts) / max(whole, 1))


def count_seen(number: int, sketch: Seen, parts: Sequence[Part]) -> int:
    """Samples that show the hand itself, without its arm."""
    own = [k for k, part in enumerate(parts) if part.hand == number and part.material == "skin"]
    seen = np.isin(sketch.part, own) & (sketch.values[:, 1] < ARM_FROM)
    return int(seen.sum())


def make_maps(hands: Sequence[TrueHand], wrists: Sequence[float], size: int) -> ControlMaps:
    """Control image and masks as `refine` makes them; wrists: distance of each from the lens.

    Who hides whom is decided pixel by pixel, since here the distances are known.
    """
    renderer, params, shape = RasterRenderer(), RefineParams(), (size, size)
    layers = tuple(renderer.render(hand.mesh, *shape) for hand in hands)
    distances = np.array(wrists, dtype=np.float64)
    owner = np.full(shape, -1, dtype=np.int16)
    nearest = np.full(shape, np.inf)
    for number, layer in enumerate(layers):
        if not area(layer.box):
            continue
        away = layer.depth + distances[number]
        nearer = away < nearest[layer.box.slices]
        nearest[layer.box.slices][nearer] = away[nearer]
        owner[layer.box.slices][nearer] = number
    control = shade_control(layers, owner, distances, params.depth_range)
    maker = MaskMaker(params.mask, params.padding_bbox, shape, None)
    masks = tuple(maker.make(hand.mesh, layer) for hand, layer in zip(hands, layers, strict=True))
    mask = np.zeros(shape, dtype=bool)
    if masks:
        box, inside = unite(masks)
        mask[box.slices] = inside
    return ControlMaps(layers, owner, control, mask, masks)
