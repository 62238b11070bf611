"""Joint order, bones and fingers of a hand.

The order is that of MediaPipe Hands and of OpenPose's hand model: the wrist, then thumb to
little finger, each from its base to its tip (Zhang et al. 2020, arXiv 2006.10214, figure 2;
Simon et al. 2017, arXiv 1704.07809).
"""

from __future__ import annotations

JOINT_NAMES = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("little_mcp", "little_pip", "little_dip", "little_tip"),
)
JOINT_COUNT = len(JOINT_NAMES)

FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
FINGERS = {name: tuple(range(1 + 4 * i, 5 + 4 * i)) for i, name in enumerate(FINGER_NAMES)}
"""Name of a finger -> its four joints, base to tip."""

WRIST, THUMB_CMC, INDEX_MCP, MIDDLE_MCP, RING_MCP, LITTLE_MCP = 0, 1, 5, 9, 13, 17
PALM = (WRIST, THUMB_CMC, INDEX_MCP, MIDDLE_MCP, RING_MCP, LITTLE_MCP)
"""Joints around the palm."""
FINGERTIPS = tuple(joints[-1] for joints in FINGERS.values())

PARENTS = tuple(
    -1 if j == WRIST else WRIST if (j - 1) % 4 == 0 else j - 1 for j in range(JOINT_COUNT)
)
"""Parent of each joint; -1 for the wrist."""

BONES = tuple((PARENTS[j], j) for j in range(1, JOINT_COUNT))
"""The twenty (parent, child) pairs."""
