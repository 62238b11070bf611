"""The one schema of parameters, from which every surface and the tables of the docs derive."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.registry import DETECTORS, INPAINTERS, RECONSTRUCTORS, RENDERERS

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
OFF = "off"

SEEDS = 2**32
"""Number of seeds; past the last one they start again at 0."""
REGIONS, PAPER, PICTURE, DRAFT = "regions", "paper", "picture", "draft"

CLI, WEBUI, URL, DIFFUSERS = "cli", "webui", "url", "diffusers"
"""Surfaces: the command line, everything inside the WebUI (panel, API, infotext, XYZ), and what the
command line has only with --url or --backend diffusers."""
PAINTING = (WEBUI, URL, DIFFUSERS)


@dataclass(frozen=True)
class Knob:
    """What a surface needs to show one parameter.

    main: the one that most people change: first after the switch, and always in the infotext.
    """

    label: str
    help: str
    surfaces: tuple[str, ...] = (CLI, WEBUI)
    ge: float | None = None
    le: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    cli_note: str = ""
    main: bool = False

    def help_on(self, surface: str) -> str:
        """Return the help text, with the command line's own note where that is the surface."""
        return f"{self.help} {self.cli_note}".strip() if surface == CLI else self.help

    def describe_allowed(self, kind: type) -> str:
        """Return the allowed values in words, for messages and help texts."""
        if self.choices is not None:
            return "one of " + ", ".join(self.choices)
        if kind is bool:
            return "true or false"
        noun = {int: "a whole number", float: "a number", str: "text"}[kind]
        limits = [format_number(limit) for limit in (self.ge, self.le) if limit is not None]
        return f"{noun} from {' to '.join(limits)}" if limits else noun


def format_number(number: float) -> str:
    """Return a number as people write it: 4294967295, not 4.29497e+09, and 1, not 1.0."""
    return f"{number:.12g}"


def knob(default: bool | int | float | str, label: str, help: str, **limits: Any) -> Any:
    """Return a dataclass field whose metadata holds its `Knob`."""
    return field(default=default, metadata={"knob": Knob(label, help, **limits)})


def span(least: float, greatest: float, step: float) -> dict[str, float]:
    """Return the limits of a number, and a sensible step of a slider."""
    return {"ge": least, "le": greatest, "step": step}


@dataclass(frozen=True)
class RefineParams:
    """Every parameter of a refinement. The API takes them in this order, so append only."""

    strength: float = knob(
        0.55,
        "Strength",
        "Weight of the hand ControlNet; 0.4 to 0.8 works best.",
        cli_note="The draft backend ignores it.",
        main=True,
        **span(0.0, 1.0, 0.05),
    )
    padding_bbox: int = knob(
        30,
        "Mask padding",
        "Growth of a hand's box on each side, in pixels; at least 15 % of the box is always added.",
        **span(0, 512, 1),
    )
    detector: str = knob("auto", "Detector", "What finds the hands.", choices=DETECTORS.choices())
    mesh: str = knob("auto", "Mesh", "What reconstructs a hand.", choices=RECONSTRUCTORS.choices())
    mask: str = knob(
        "box",
        "Mask",
        "What may be repainted: the padded box, the grown silhouette of the mesh, the mask drawn "
        "by hand, or all of them together.",
        choices=("box", "silhouette", "drawn", "union"),
    )
    keep_best: bool = knob(
        True,
        "Keep best",
        "Keep the original hand where the new one is not better drawn by Keep margin, or is not "
        "the hand of the mesh.",
    )
    backend: str = knob(
        "draft",
        "Backend",
        "What paints the new hand.",
        surfaces=(CLI,),  # inside the WebUI, the WebUI itself paints
        choices=INPAINTERS.names(),
    )
    seed: int = knob(
        0,
        "Seed",
        "Seed of whatever is random in the backend.",
        surfaces=(CLI,),
        cli_note="refine takes -1 for a random seed.",
        **span(0, SEEDS - 1, 1),
    )
    renderer: str = knob("auto", "Renderer", "What renders depth.", choices=RENDERERS.choices())
    detection_threshold: float = knob(
        0.5,
        "Detection threshold",
        "Lowest score at which the palm network's answer counts.",
        **span(0.0, 1.0, 0.05),
    )
    presence_threshold: float = knob(
        0.5,
        "Presence threshold",
        "Lowest score at which the landmark network's answer counts as a hand.",
        **span(0.0, 1.0, 0.05),
    )
    tiles: str = knob(
        "auto",
        "Tiles",
        "Search overlapping tiles too, for small hands; auto does so in large pictures.",
        choices=("off", "auto", "on"),
    )
    min_hand_size: int = knob(
        24,
        "Smallest hand",
        "Hands whose box has a shorter long side than this many pixels are left alone.",
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
        "Let the hand's outline in the picture correct the fitted mesh (up to 50 ms a hand).",
    )
    depth_range: str = knob(
        "hand",
        "Depth range",
        "Stretch the control image's grey values for each hand on its own, as the hand ControlNet "
        "was trained, or over all hands in common.",
        choices=("hand", "common"),
    )
    occlusion_order: str = knob(
        "",
        "Hands from near to far",
        "Numbers of the hands from the nearest to the farthest, such as 2,1, where hands overlap; "
        "empty = by depth.",
    )
    mask_blur: int = knob(
        8, "Mask blur", "Feather inside the mask's edge, in pixels.", ge=0, le=64, step=1
    )
    hands: str = knob(
        "all",
        "Which hands",
        "Which hands to repaint, with commas between: all, left, right, upper, lower, numbers from "
        "left to right, >120 or <300 (size in pixels), largest, smallest, leftmost, rightmost, "
        "topmost, bottommost. A minus leaves out: all,-2. Words side by side must all hold: "
        "left >120.",
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
        ge=0.0,
        le=1.0,
        step=0.01,
    )
    guidance_end: float = knob(
        1.0,
        "Guidance end",
        "Fraction of the steps at which control ends.",
        surfaces=PAINTING,
        ge=0.0,
        le=1.0,
        step=0.01,
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
        ge=0.0,
        le=1.0,
        step=0.01,
    )
    prompt: str = knob(
        "",
        "Prompt",
        "Prompt for the hands; empty = the picture's, [PROMPT] stands for it, [SEP] parts the "
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
        0, "Steps", "Sampling steps; 0 = the picture's.", surfaces=PAINTING, ge=0, le=150, step=1
    )
    sampler: str = knob("", "Sampler", "Empty = the picture's.", surfaces=PAINTING)
    scheduler: str = knob("", "Scheduler", "Empty = the picture's.", surfaces=(WEBUI, URL))
    cfg_scale: float = knob(
        0.0, "CFG scale", "0 = the picture's.", surfaces=PAINTING, ge=0.0, le=30.0, step=0.5
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
        ge=0,
        le=2048,
        step=8,
    )
    seed_step: int = knob(
        1,
        "Seed step",
        "Added to the picture's seed for each further region.",
        surfaces=PAINTING,
        ge=0,
        le=1000,
        step=1,
    )
    skip_img2img: bool = knob(
        False,
        "Skip img2img",
        "Only repaint the hands of the picture given, without generating it again first.",
        surfaces=(WEBUI,),
    )
    extra_images: bool = knob(
        False,
        "Extra images",
        "Put depth, mask and the picture before into the results, too.",
        surfaces=(WEBUI,),
    )
    adaptive_strength: str = knob(
        OFF,
        "Adaptive strength",
        "Search each region's least strength that is enough, instead of using Strength: paper "
        "tries 0.4 to 0.9 in turn (2 to 7 paintings), fast halves the range (3 or 4).",
        cli_note="The draft backend has none.",
        choices=(OFF, "paper", "fast"),
    )
    candidates: int = knob(
        1,
        "Candidates",
        "How often each region is painted, each time with the next seed; the best drawn hand is "
        "kept.",
        cli_note="The draft backend paints the same each time.",
        **span(1, 8, 1),
    )
    skip_good: float = knob(
        0.0,
        "Skip good hands",
        "Hands of at least this quality (0 to 1) are left alone; 0 = none.",
        **span(0.0, 1.0, 0.05),
    )
    keep_margin: float = knob(
        0.1,
        "Keep margin",
        "By how much better a new hand must be to be kept under Keep best: 0.1 asks for 0.60 where "
        "the old one's quality is 0.50, and for 0.86 where it is 0.80.",
        **span(0.0, 1.0, 0.01),
    )
    sampling: str = knob(
        REGIONS,
        "Sampling",
        "Paint each region enlarged to the checkpoint's own resolution, or sample the whole "
        "picture as the paper did (for comparison).",
        surfaces=(CLI,),
        cli_note="Of the backend diffusers.",
        choices=(REGIONS, PAPER),
    )
    start: str = knob(
        PICTURE,
        "Start",
        "What denoising starts from: the picture with its old hand, or a draft of the new one, so "
        "that a low denoising strength has the right shape already.",
        surfaces=(CLI,),
        cli_note="Of the backend diffusers.",
        choices=(PICTURE, DRAFT),
    )
    another: int = knob(
        0,
        "Another mesh",
        "Which of a hand's different meshes to use where the depth map is bad: 0 = the best fit, "
        "1, 2 … = the next best; past the last one it starts again at the best.",
        **span(0, 9, 1),
    )

    @property
    def uses_drawing(self) -> bool:
        """Whether a mask drawn by hand counts."""
        return self.mask in ("drawn", "union")

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, coerce(f, getattr(self, f.name)))


def coerce(f: Field[Any], value: object) -> bool | int | float | str:
    """Return `value`, text or already typed, as the field's own type.

    Raises InvalidParameter, which names the value and the allowed ones.
    """
    knob_, kind = f.metadata["knob"], type(f.default)
    try:
        result = parse_bool(value) if kind is bool else _parse_number_or_text(kind, value)
    except (TypeError, ValueError, OverflowError):
        result = None
    if result is None or not _is_allowed(knob_, result):
        raise InvalidParameter(
            f"{f.name} = {value!r} is not possible; it must be {knob_.describe_allowed(kind)}."
        )
    return result


def parse_bool(value: object) -> bool | None:
    """Read a switch, as text or already typed; None where it is neither true nor false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None


def _parse_number_or_text(kind: type, value: object) -> int | float | str | None:
    if isinstance(value, bool):
        return None
    if kind is str:
        return value.strip() if isinstance(value, str) else None
    number = float(value)  # type: ignore[arg-type]  # TypeError is caught by the caller
    if kind is float:
        return number
    return int(number) if number == int(number) else None


def _is_allowed(knob_: Knob, value: bool | int | float | str) -> bool:
    if knob_.choices is not None:
        return value in knob_.choices
    if knob_.ge is None or isinstance(value, str):
        return True
    return knob_.ge <= value <= (knob_.le if knob_.le is not None else float("inf"))


def fields_of(surface: str) -> tuple[Field[Any], ...]:
    """Return the parameters that a surface shows: the switch first, then in the schema's order."""
    shown = [f for f in fields(RefineParams) if surface in f.metadata["knob"].surfaces]
    return tuple(sorted(shown, key=lambda f: f.name != "enabled"))


MAIN = next(f for f in fields(RefineParams) if f.metadata["knob"].main)
"""The parameter that most people change."""
