"""Define every parameter once; all surfaces and the tables of the docs derive from this schema."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from typing import Any

from handrefiner_ext.knobs import CLI, DIFFUSERS, URL, WEBUI, coerce, knob, span
from handrefiner_ext.registry import DETECTORS, INPAINTERS, RECONSTRUCTORS, RENDERERS

OFF = "off"
DRAWN, UNION = "drawn", "union"
"""Masks that use the drawing."""

SEEDS = 2**32
"""Number of seeds; past the last one they wrap around to 0."""
REGIONS, PAPER, PICTURE, DRAFT = "regions", "paper", "picture", "draft"

PAINTING = (WEBUI, URL, DIFFUSERS)
"""Surfaces of the parameters that only a diffusion model reads."""


@dataclass(frozen=True)
class RefineParams:
    """Every parameter of a refinement. The API takes them in this order, so append only."""

    strength: float = knob(
        0.55,
        "Strength",
        "Weight of the hand ControlNet; 0.4 to 0.8 works best.",
        in_draft="ignores it",
        main=True,
        **span(0.0, 1.0, 0.05),
    )
    padding_bbox: int = knob(
        30,
        "Mask padding",
        "Pixels added on each side of a hand's box; at least 15 % of the box is always added.",
        **span(0, 512, 1),
    )
    detector: str = knob(
        "auto", "Detector", "Which backend finds the hands.", choices=DETECTORS.choices()
    )
    mesh: str = knob(
        "auto", "Mesh", "Which backend reconstructs a hand.", choices=RECONSTRUCTORS.choices()
    )
    mask: str = knob(
        "box",
        "Mask",
        "What may be repainted: the padded box, the grown silhouette of the mesh, the mask drawn "
        "by hand, or all of them together.",
        choices=("box", "silhouette", DRAWN, UNION),
    )
    keep_best: bool = knob(
        True,
        "Keep the better hand",
        "Keep the original hand unless the new one is better drawn by Keep margin and matches its "
        "mesh.",
        key="Keep best",
    )
    backend: str = knob(
        "draft",
        "Backend",
        "Which backend paints the new hands.",
        surfaces=(CLI,),  # inside the WebUI, the WebUI itself paints
        choices=INPAINTERS.names(),
    )
    seed: int = knob(
        0,
        "Seed",
        "Random seed of the backend.",
        surfaces=(CLI,),
        cli_note="refine takes -1 for a random seed.",
        **span(0, SEEDS - 1, 1),
    )
    renderer: str = knob(
        "auto", "Renderer", "Which backend renders depth.", choices=RENDERERS.choices()
    )
    detection_threshold: float = knob(
        0.5,
        "Detection threshold",
        "Minimum score of the palm network.",
        **span(0.0, 1.0, 0.05),
    )
    presence_threshold: float = knob(
        0.5,
        "Presence threshold",
        "Minimum score of the landmark network for something to count as a hand.",
        **span(0.0, 1.0, 0.05),
    )
    tiles: str = knob(
        "auto",
        "Tiles",
        "Also search overlapping tiles, for small hands; auto does so in large pictures.",
        choices=("off", "auto", "on"),
    )
    min_hand_size: int = knob(
        24,
        "Smallest hand",
        "Leave hands alone whose box is smaller than this (its longer side, in pixels).",
        **span(1, 4096, 1),
    )
    boxes: str = knob(
        "",
        "Hand boxes",
        "Look for one hand in each of these boxes instead of searching: x0,y0,x1,y1;x0,y0,x1,y1",
    )
    outline: bool = knob(
        True,
        "Outline evidence",
        "Let the hand's outline in the picture correct the fitted mesh (up to 50 ms per hand).",
    )
    depth_range: str = knob(
        "hand",
        "Depth range",
        "Stretch the control image's grey values for each hand separately, as the hand ControlNet "
        "was trained, or for all hands together.",
        choices=("hand", "common"),
    )
    occlusion_order: str = knob(
        "",
        "Hands from near to far",
        "Numbers of the hands from nearest to farthest, such as 2,1, where hands overlap; empty = "
        "by depth.",
    )
    mask_blur: int = knob(
        8,
        "Mask blur",
        "Feather inside the mask's edge, in pixels.",
        **span(0, 64, 1),
    )
    hands: str = knob(
        "all",
        "Which hands",
        "Which hands to repaint, separated by commas: all, left, right, upper, lower, numbers "
        "from left to right, >120 or <300 (size in pixels), largest, smallest, leftmost, "
        "rightmost, topmost, bottommost. A minus excludes: all,-2. Words side by side must all "
        "apply: left >120.",
        cli_note="Where it begins with a minus, write --hands=-2.",
    )
    enabled: bool = knob(False, "Enable", "Repaint badly drawn hands.", surfaces=(WEBUI,))
    control_model: str = knob(
        "auto",
        "Control model",
        "The ControlNet model; auto takes the best one installed for the checkpoint.",
        surfaces=PAINTING,
    )
    guidance_start: float = knob(
        0.0,
        "Guidance start",
        "Fraction of the steps at which control begins.",
        surfaces=PAINTING,
        **span(0.0, 1.0, 0.01),
    )
    guidance_end: float = knob(
        1.0,
        "Guidance end",
        "Fraction of the steps at which control ends.",
        surfaces=PAINTING,
        **span(0.0, 1.0, 0.01),
    )
    control_mode: str = knob(
        "balanced",
        "Control mode",
        "Whether the prompt or the ControlNet is more important.",
        surfaces=(WEBUI, URL),
        choices=("balanced", "prompt", "controlnet"),
    )
    denoising_strength: float = knob(
        0.75,
        "Denoising strength",
        "How much of the old hand is replaced: 0 keeps it, 1 forgets it.",
        surfaces=PAINTING,
        **span(0.0, 1.0, 0.01),
    )
    prompt: str = knob(
        "",
        "Prompt",
        "Prompt for the hands; empty = the picture's, [PROMPT] stands for it, [SEP] separates the "
        "hands.",
        surfaces=PAINTING,
    )
    negative_prompt: str = knob(
        "",
        "Negative prompt",
        "Negative prompt for the hands; empty = the picture's.",
        surfaces=PAINTING,
    )
    steps: int = knob(
        0,
        "Steps",
        "Sampling steps; 0 = the picture's.",
        surfaces=PAINTING,
        **span(0, 150, 1),
    )
    sampler: str = knob("", "Sampler", "Empty = the picture's.", surfaces=PAINTING)
    scheduler: str = knob("", "Scheduler", "Empty = the picture's.", surfaces=(WEBUI, URL))
    cfg_scale: float = knob(
        0.0,
        "CFG scale",
        "0 = the picture's.",
        surfaces=PAINTING,
        **span(0.0, 30.0, 0.5),
    )
    checkpoint: str = knob(
        "",
        "Checkpoint",
        "Checkpoint for the hands, such as an SD1.5 inpainting one; empty = the picture's.",
        surfaces=PAINTING,
    )
    vae: str = knob("", "VAE", "VAE for the hands; empty = the picture's.", surfaces=(WEBUI, URL))
    region_size: int = knob(
        0,
        "Region size",
        "Long side, in pixels, at which a region is repainted; 0 = the checkpoint's own.",
        surfaces=PAINTING,
        **span(0, 2048, 8),
    )
    seed_step: int = knob(
        1,
        "Seed step",
        "Added to the picture's seed for each further region.",
        surfaces=PAINTING,
        **span(0, 1000, 1),
    )
    skip_img2img: bool = knob(
        False,
        "Skip img2img",
        "Only repaint the hands of the given picture, without running img2img on it first.",
        surfaces=(WEBUI,),
    )
    extra_images: bool = knob(
        False,
        "Extra images",
        "Also return the depth map, the mask and the picture before repainting.",
        surfaces=(WEBUI,),
    )
    adaptive_strength: str = knob(
        OFF,
        "Adaptive strength",
        "Search for the lowest strength that is enough for each region, instead of using "
        "Strength: paper tries 0.4 to 0.9 in turn (2 to 7 paintings), fast halves the range (3 or "
        "4).",
        in_draft="has no strength to search for",
        choices=(OFF, "paper", "fast"),
    )
    candidates: int = knob(
        1,
        "Tries",
        "How many candidates are painted of each region, each with the next seed; the best drawn "
        "hand is kept.",
        key="Candidates",
        in_draft="paints the same each time, so once is enough",
        **span(1, 8, 1),
    )
    skip_good: float = knob(
        0.0,
        "Skip good hands",
        "Leave hands of at least this quality (0 to 1) alone; 0 = repaint all.",
        **span(0.0, 1.0, 0.05),
    )
    keep_margin: float = knob(
        0.1,
        "Keep margin",
        "How much better a new hand must be to take the old one's place: 0.1 asks for 0.60 where "
        "the old one's quality is 0.50, and for 0.86 where it is 0.80.",
        **span(0.0, 1.0, 0.01),
    )
    sampling: str = knob(
        REGIONS,
        "Sampling",
        "Paint each region enlarged to the checkpoint's own resolution, or sample the whole "
        "picture as the paper did (for comparison).",
        surfaces=(CLI,),
        in_draft="ignores it",
        choices=(REGIONS, PAPER),
    )
    start: str = knob(
        PICTURE,
        "Start",
        "What denoising starts from: the picture with its old hand, or a draft of the new one, "
        "which has the right shape even at a low denoising strength.",
        surfaces=(CLI,),
        in_draft="ignores it",
        choices=(PICTURE, DRAFT),
    )
    another: int = knob(
        0,
        "Another mesh",
        "Which of a hand's different meshes to use if the depth map is bad: 0 = the best fit, 1, "
        "2 … = the next best; past the last one it wraps around to the best.",
        **span(0, 9, 1),
    )
    pose: str = knob(
        "",
        "Pose",
        "The hands themselves instead of a search: a pose as HandRefiner writes it, or OpenPose's "
        "JSON with hand keypoints.",
        cli_note="--pose_file reads it from a file.",
    )
    guard: bool = knob(
        True,
        "Guard surroundings",
        "Leave faces and hands that are not repainted out of the mask, and keep the original where "
        "a draft would change what is beside the hand. A mask drawn by hand is obeyed as it is.",
    )

    gesture: str = knob(
        "",
        "Gesture",
        "Fingers in a named pose, where the hand is: a name such as victory for all hands, or "
        "1: victory; left: fist. Such hands are painted as they are wished and not judged.",
        cli_note="handrefiner gestures lists the names.",
    )

    @property
    def uses_drawing(self) -> bool:
        """Whether a mask drawn by hand is used."""
        return self.mask in (DRAWN, UNION)

    @property
    def guards(self) -> bool:
        """Whether what is beside the hands is guarded; a drawn mask is the user's decision."""
        return self.guard and not self.uses_drawing

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, coerce(f, getattr(self, f.name)))


def fields_of(surface: str) -> tuple[Field[Any], ...]:
    """Return the parameters that a surface shows: the switch first, then in the schema's order."""
    shown = [f for f in fields(RefineParams) if surface in f.metadata["knob"].surfaces]
    return tuple(sorted(shown, key=lambda f: f.name != "enabled"))


MAIN = next(f for f in fields(RefineParams) if f.metadata["knob"].main)
"""The parameter that most people change; panel, XYZ plot and infotext show it first."""
