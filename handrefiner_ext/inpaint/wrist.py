"""Where the hand ends and the arm begins, and how the mesh is made to join the drawn arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.geometry.rasterize import is_usable
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur
from handrefiner_ext.topology import INDEX_MCP, LITTLE_MCP, MIDDLE_MCP, RING_MCP, WRIST
from handrefiner_ext.types import FloatArray, HandMesh, Mask

ARM_BEGINS = -0.04
"""Hand sizes behind the wrist joint from which on the drawn arm is kept."""
SHORTEST_STUB, LONGEST_STUB = 0.08, 0.35
BEND_BEGINS, BEND_ENDS = -0.20, 0.06
"""Hand sizes behind the wrist joint between which the mesh is bent, so that its stub of wrist
follows the drawn arm."""
FIT_BEGINS = -0.30
"""Hand sizes behind the wrist joint (negative, within the palm) from which on the mesh is scaled
to the arm's width."""
LARGEST_BEND = np.radians(70.0)
RING = (0.03, 0.13)
"""Hand sizes behind the arm's beginning between which the widths of arm and mesh are compared."""
WIDTH_RATIO = (0.75, 1.3)
LARGEST_OFFSET = 0.6
"""Share of the wrist's width; an arm farther beside the mesh than this is not the hand's."""
HEEL, HEEL_RIM, RIM_BLUR = -0.36, 0.08, 0.015
"""Hand sizes: how far along the palm, and how far beside the new hand, old skin stays, and how
soft its edge is."""
JOIN_RAMP, BULGE = 0.28, 0.07
"""Hand sizes before the arm's beginning over which the new hand gives way to the old skin's edge,
and how far it may extend beyond that edge at first."""
SKIN = 0.5
EDGES_REACH, EDGE_SAMPLES = 0.35, 9
"""Hand sizes behind the arm's beginning over which its edges are measured, and number of places."""


@dataclass(frozen=True)
class WristLine:
    """The line where arm and hand meet, in pixels of a close-up.

    origin: (2,) wrist joint. direction: (2,) unit vector towards the elbow of the drawn arm.
    stub: (2,) the same for the mesh. begin, end: distances along `direction` between which the
    mesh gives way to the drawn arm. size_px: the hand size in the close-up.
    """

    origin: FloatArray
    direction: FloatArray
    stub: FloatArray
    begin: float
    end: float
    size_px: float

    @property
    def across(self) -> FloatArray:
        """(2,) unit vector at right angles to the arm."""
        return np.array([-self.direction[1], self.direction[0]])

    def along(self, height: int, width: int) -> Floats:
        """Return (h, w) the distance of each pixel behind the wrist joint."""
        x = np.arange(width, dtype=np.float32) + 0.5 - self.origin[0]
        y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - self.origin[1]
        return np.asarray(x * self.direction[0] + y * self.direction[1], dtype=np.float32)

    def beside(self, height: int, width: int) -> Floats:
        """Return (h, w) the signed distance of each pixel from the arm's axis."""
        return replace(self, direction=self.across).along(height, width)

    def behind(self, height: int, width: int) -> Mask:
        """Return (h, w) bool: on the arm's side of the wrist."""
        return np.asarray(self.along(height, width) > self.begin)

    def zone(self, height: int, width: int) -> Mask:
        """Return (h, w) the wedge behind the wrist in which the arm can be."""
        along, across = self.along(height, width), self.beside(height, width)
        return np.asarray((along > 0.0) & (np.abs(across) < 0.35 * self.size_px + 0.5 * along))


@dataclass(frozen=True)
class DrawnArm:
    """The drawn arm.

    area: (h, w) where it is. edges: its two sides in the middle of RING, pixels from the axis.
    """

    area: Mask
    edges: tuple[float, float]


def find_wrist(mesh: HandMesh, pixels: FloatArray, view: Closeup, size_px: float) -> WristLine:
    """Return the wrist as the mesh has it, without regard to the drawn arm.

    Arguments:
        pixels: (n, 3) vertices in pixels of the picture.
        size_px: hand size in the close-up.
    """
    joints = np.nan_to_num(mesh.joints)
    backwards = joints[WRIST] - joints[[INDEX_MCP, MIDDLE_MCP, RING_MCP, LITTLE_MCP]].mean(axis=0)
    flat = backwards[:2] * view.scale
    length = np.linalg.norm(flat)
    direction = flat / length if length > 0.0 else np.array([0.0, 1.0])
    origin = view.to_local(np.nan_to_num(mesh.camera.project(joints[WRIST : WRIST + 1])))[0]
    local = view.to_local(pixels[is_usable(pixels)])[:, :2]
    reach = float(((local - origin) @ direction).max()) if len(local) else 0.0
    end = float(np.clip(reach, SHORTEST_STUB * size_px, LONGEST_STUB * size_px))
    return WristLine(origin, direction, direction, ARM_BEGINS * size_px, end, size_px)


def turn_to_arm(wrist: WristLine, skin: Floats, mask: Mask) -> WristLine:
    """Turn the wrist towards where drawn skin leaves the mask, if it does behind the wrist."""
    rim = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    inner_rim = rim & (skin > SKIN)
    rows, columns = np.nonzero(inner_rim)
    away = np.column_stack([columns, rows]) + 0.5 - wrist.origin
    distance = np.linalg.norm(away, axis=1)
    straight = (away @ wrist.direction) > 0.5 * distance
    if not straight.any():
        return wrist
    middle = away[straight].mean(axis=0)
    direction = middle / max(float(np.linalg.norm(middle)), 1e-6)
    return replace(wrist, direction=direction)


def find_arm(wrist: WristLine, skin: Mask) -> DrawnArm | None:
    """Return the drawn skin connected with the wrist line from behind; None if there is none."""
    along, across = wrist.along(*skin.shape), wrist.beside(*skin.shape)
    behind = (along > wrist.begin) & skin
    count, labels = cv2.connectedComponents(behind.astype(np.uint8), connectivity=4)
    line = behind & (along < wrist.begin + max(0.06 * wrist.size_px, 2.0))
    wanted = np.zeros(count, dtype=bool)
    wanted[np.unique(labels[line & (np.abs(across) < 0.3 * wrist.size_px)])] = True
    wanted[0] = False
    area = wanted[labels]
    edges = _arm_edges(wrist, area)
    if edges is None:
        return None
    low, high = (a + b * (along - wrist.begin) for a, b in edges)
    between = (across >= low) & (across <= high) & (along > wrist.begin)
    near = along < wrist.begin + EDGES_REACH * wrist.size_px
    middle = sum(RING) / 2.0 * wrist.size_px
    (low_at, low_slope), (high_at, high_slope) = edges
    ends = (low_at + low_slope * middle, high_at + high_slope * middle)
    return DrawnArm(area | (between & near), ends)


def _arm_edges(wrist: WristLine, area: Mask) -> tuple[tuple[float, float], ...] | None:
    """Fit a line to each edge of the arm: its place sideways at `begin`, and its slope."""
    # The Theil-Sen estimator is robust where a shadow or a sleeve hides a part of the arm.
    steps = np.linspace(0.02, EDGES_REACH, EDGE_SAMPLES) * wrist.size_px
    runs = [(s, run) for s in steps if (run := _skin_run(wrist, area, wrist.begin + s))]
    if not runs:
        return None
    at = np.array([s for s, _ in runs])
    lines = []
    for sides in np.array([run for _, run in runs]).T:
        i, j = np.triu_indices(len(at), 1)
        slopes = (sides[j] - sides[i]) / (at[j] - at[i])
        slope = float(np.clip(np.median(slopes), -0.7, 0.7)) if len(slopes) else 0.0
        lines.append((float(np.median(sides - slope * at)), slope))
    return tuple(lines)


def bend_to_arm(
    pixels: FloatArray, wrist: WristLine, arm: DrawnArm | None, view: Closeup
) -> FloatArray:
    """Return (n, 3) vertices with the wrist bent to the arm, then scaled to its width."""
    usable = is_usable(pixels)
    local = view.to_local(pixels[usable])[:, :2] - wrist.origin
    if arm is None or len(local) < 3:
        return pixels
    local = _fit_width(_bend(local, wrist), local @ wrist.stub, wrist, arm)
    moved = pixels.copy()
    moved[usable, :2] = (local + wrist.origin) / view.scale + (view.box.x0, view.box.y0)
    return np.asarray(moved)


def _bend(local: FloatArray, wrist: WristLine) -> FloatArray:
    """Turn the points of the stub, of (n, 2) around the wrist joint, to the arm's direction."""
    turn = np.arctan2(wrist.stub @ wrist.across, wrist.stub @ wrist.direction)
    if abs(turn) > LARGEST_BEND:
        return local
    begin, end = BEND_BEGINS * wrist.size_px, BEND_ENDS * wrist.size_px
    angle = -turn * smoothstep((local @ wrist.stub - begin) / (end - begin))
    c, s = np.cos(angle), np.sin(angle)
    x, y = local.T
    return np.column_stack([c * x - s * y, s * x + c * y])


def _fit_width(local: FloatArray, stub: FloatArray, wrist: WristLine, arm: DrawnArm) -> FloatArray:
    """Move (n, 2) points sideways until the stub's end reaches from edge to edge of the arm.

    stub: (n,) distance of each point behind the mesh's wrist joint.
    """
    begin, end = (wrist.begin + reach * wrist.size_px for reach in RING)
    ring = (stub > begin) & (stub < end)
    if np.count_nonzero(ring) < 3:
        return local
    across = local @ wrist.across
    low, high = float(across[ring].min()), float(across[ring].max())
    middle, width = (low + high) / 2.0, max(high - low, 1e-6)
    offset = (arm.edges[0] + arm.edges[1]) / 2.0 - middle
    if abs(offset) > LARGEST_OFFSET * width:
        return local
    ratio = float(np.clip((arm.edges[1] - arm.edges[0]) / width, *WIDTH_RATIO))
    first = FIT_BEGINS * wrist.size_px
    weight = smoothstep((stub - first) / (wrist.begin - first))
    shift = weight * ((across - middle) * (ratio - 1.0) + offset)
    return np.asarray(local + shift[:, None] * wrist.across)


def keep_arm(wrist: WristLine, skin: Floats, arm: DrawnArm | None, covered: Mask) -> Floats:
    """Return (h, w) 0..1 the old skin that stays: the arm, and a rim beside the new hand's heel.

    covered: (h, w) what the new hand covers.
    """
    # Without the rim a notch would show where the old hand was wider than the new one.
    area = np.zeros(skin.shape, dtype=np.float32)
    if arm is not None:
        area[arm.area] = 1.0
    away = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3)
    along = wrist.along(*skin.shape)
    reach = HEEL_RIM * wrist.size_px * (1.0 - smoothstep(along / (HEEL * wrist.size_px)))
    rim = skin * np.clip(0.5 * (reach - away), 0.0, 1.0)
    return np.asarray(np.maximum(area, rim), dtype=np.float32)


def fade_at_wrist(wrist: WristLine, skin: Floats, rim: Floats) -> Floats:
    """Return (h, w) 0..1 the opacity of the new hand.

    It is 1 on the hand, falls behind the wrist, where the drawn arm or no skin is, and fades into
    the kept `rim`.
    """
    along = wrist.along(*skin.shape)
    length = max(wrist.end - wrist.begin, 1.0)
    faded = smoothstep((along - wrist.begin) / length)
    ramp = JOIN_RAMP * wrist.size_px
    behind = smoothstep((along - wrist.begin + ramp) / max(ramp, 1.0))
    away = cv2.distanceTransform((skin < SKIN).astype(np.uint8), cv2.DIST_L2, 3)
    allowed = BULGE * wrist.size_px * (1.0 - behind)
    off_skin = np.clip(away - allowed, 0.0, 1.0) * (behind > 0.0)
    melting = np.clip(2.0 * blur(rim, RIM_BLUR * wrist.size_px), 0.0, 1.0)
    presence = (1.0 - faded) * (1.0 - off_skin) * (1.0 - melting)
    return np.asarray(presence, dtype=np.float32)


def _skin_run(wrist: WristLine, arm: Mask, at: float) -> tuple[float, float] | None:
    """Return the arm's extent sideways, `at` pixels behind the wrist; None if there is none."""
    reach = int(np.ceil(wrist.size_px))
    across = np.arange(-reach, reach + 1, dtype=np.float64)
    line = wrist.origin + at * wrist.direction + across[:, None] * wrist.across
    column, row = np.floor(line).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < arm.shape[1]) & (row < arm.shape[0])
    hit = np.zeros(len(across), dtype=bool)
    hit[inside] = arm[row[inside], column[inside]]
    if not hit.any():
        return None
    _, label = cv2.connectedComponents(hit[None].astype(np.uint8), connectivity=4)
    runs = label[0]
    nearest = runs[np.flatnonzero(hit)[np.abs(across[hit]).argmin()]]
    chosen = across[runs == nearest]
    at_edge = chosen[0] <= -reach or chosen[-1] >= reach
    return None if at_edge else (float(chosen[0]), float(chosen[-1]))


def smoothstep(x: FloatArray | Floats) -> FloatArray:
    """Rise smoothly from 0 at 0 to 1 at 1; NaN counts as 0."""
    with np.errstate(invalid="ignore"):
        t = np.clip(np.nan_to_num(x, nan=0.0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
