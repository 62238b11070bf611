"""`handrefiner doctor`: what a report of a fault needs, and a check of the user's own models."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from handrefiner_ext.errors import HandRefinerError, PictureError

if TYPE_CHECKING:
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.stages import Stages
    from handrefiner_ext.types import Hints, Image, ModelHome

DONE, FAILED = 0, 1
SIDE, HAND_PX, SCENE, STEPS = 512, 230, 3, 20
"""Pixels of the check's picture and of the hand in it, its number; steps of sampling."""
SHOWN = BEFORE, AFTER, WITHOUT_CONTROL = "before", "after", "without_control"
"""The pictures that are kept."""
LEAST_CHANGE = 1.0
"""Grey levels, on average within the mask, by which a ControlNet that is applied changes it."""

T = TypeVar("T")


def add_doctor(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command; what it needs is imported when it runs."""
    doctor = commands.add_parser(
        "doctor",
        help="collect what a report of a fault needs; check your models",
        description="Prints versions, backends, weights, and on request the parameters of a "
        "picture and the last lines of a log, without paths, names and prompts. Put it into your "
        "report.",
        allow_abbrev=False,
    )
    doctor.add_argument("--models_dir", metavar="D", help="folder to look for models in first")
    doctor.add_argument("--device", metavar="D", help="cpu, cuda, mps (the best there is)")
    doctor.add_argument("--input_img", metavar="F", help="add the parameters in this picture")
    doctor.add_argument("--log", metavar="F", help="add the last lines about HandRefiner")
    doctor.add_argument(
        "--try",
        action="store_true",
        dest="tries",
        help="repaint the hand of a rendered picture and say what each step did",
    )
    doctor.add_argument("--backend", default="diffusers", help="for --try (diffusers)")
    doctor.add_argument("--checkpoint", default="", metavar="F", help="for --try, as in refine")
    doctor.add_argument("--control_model", default="auto", metavar="F", help="likewise")
    doctor.add_argument("--out_dir", metavar="D", help="keep the pictures of --try here")
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from handrefiner_ext.files import diagnosis
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.types import ModelHome

    folder = Path(options.models_dir) if options.models_dir else None
    home = ModelHome(models_dir=folder, device=options.device)
    more = []
    if options.input_img:
        infotext = diagnosis.read_infotext(Path(options.input_img))
        more.append(diagnosis.section_of_parameters(infotext))
    if options.log:
        log = diagnosis.read_log(Path(options.log))
        more.append(diagnosis.section_of_log(diagnosis.pick_lines(log)))
    print(diagnosis.collect(home, *more))
    if not options.tries:
        return DONE
    if options.out_dir:
        _check_names_free(Path(options.out_dir))
    params = RefineParams(
        backend=options.backend,
        checkpoint=options.checkpoint,
        control_model=options.control_model,
        prompt="a photo of a hand, palm",
        steps=STEPS,
        seed=1,
        keep_best=False,
    )
    return _try(params, home, Path(options.out_dir) if options.out_dir else None)


def _check_names_free(folder: Path) -> None:
    """Raise PictureError where a file has the name of one that would be written."""
    taken = [name for name in map(_file_name, SHOWN) if (folder / name).exists()]
    if taken:
        raise PictureError(
            f"{folder} holds {', '.join(taken)} already; give another --out_dir, so that nothing "
            "is replaced."
        )


@dataclass
class Check:
    """Prints a line for every step as soon as it is done."""

    failed: list[str] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], T], say: Callable[[T], str]) -> T:
        """Do the work and print how long it took and what came out."""
        begun = time.monotonic()
        result = work()
        print(f"- {name}: {say(result)} ({time.monotonic() - begun:.1f} s)", flush=True)
        return result

    def expect(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.failed.append(sentence)


def _try(params: RefineParams, home: ModelHome, out: Path | None) -> int:
    """Repaint a rendered hand with the user's models and judge what came out."""
    from handrefiner_ext.files.diagnosis import without_names, without_paths

    print(f"### Check of the backend {params.backend}")
    check = Check()
    try:
        _repaint(check, params, home, out)
    except HandRefinerError as error:
        check.failed.append(str(error))
    for sentence in check.failed:
        print(without_names(without_paths(f"- FAILED: {sentence}")))
    if not check.failed:
        print("- All steps did what they should. Please say so in a report, with your models.")
    return FAILED if check.failed else DONE


def _repaint(check: Check, params: RefineParams, home: ModelHome, out: Path | None) -> None:
    from handrefiner_ext import pipeline
    from handrefiner_ext.dataset.plain import Placement, generator, make_scene
    from handrefiner_ext.stages import build_stages

    place = Placement(SIDE / 2, SIDE / 2, HAND_PX)
    image = make_scene(generator("validation", SCENE), SIDE, SIDE, (place,)).image
    stages = check.step("backends", lambda: build_stages(params, home), lambda _: "built")
    seen = check.step(
        "hands and meshes",
        lambda: pipeline.hints(image, params, stages),
        lambda seen: f"{len(seen.meshes)} found where there is 1",
    )
    check.expect(len(seen.meshes) == 1, "Not just the hand of the picture was found.")
    if not seen.meshes:
        return
    _save(out, BEFORE, image)
    guided = _paint(check, image, seen, replace(params, strength=1.0), stages)
    _save(out, AFTER, guided)
    if params.backend == "diffusers":
        free = _paint(check, image, seen, replace(params, strength=0.0), stages)
        _save(out, WITHOUT_CONTROL, free)
        change = float(abs(free.astype(float) - guided)[seen.maps.mask].mean())
        print(f"- the ControlNet changes the mask by {change:.1f} grey levels on average")
        check.expect(change >= LEAST_CHANGE, "The ControlNet has no effect on the picture.")


def _paint(check: Check, image: Image, seen: Hints, params: RefineParams, stages: Stages) -> Image:
    """Paint once and compare what was painted with the mesh."""
    from handrefiner_ext import pipeline

    result = check.step(
        f"painted at strength {params.strength:g}",
        lambda: pipeline.repaint(image, seen, params, stages),
        lambda result: "; ".join(d.reason for d in result.decisions),
    )
    agreement, *_ = stages.judge(stages.detector, result.image, seen.meshes, params)
    distance = agreement.mpjpe_px
    print(
        "  - no hand is found in what was painted"
        if distance is None
        else f"  - its joints lie {distance:.1f} pixels from those of the mesh, on average"
    )
    outside = ~seen.maps.mask
    same = (result.image[outside] == image[outside]).all()
    check.expect(bool(same), "Pixels outside the mask have changed.")
    changed = (result.image != image).any()
    check.expect(bool(changed), "Nothing was painted.")
    if params.strength > 0.0:
        check.expect(distance is not None, "What was painted under the mesh is no hand.")
    return result.image


def _save(folder: Path | None, name: str, image: Image) -> None:
    if folder is None:
        return
    from handrefiner_ext.pictures import encode_png, write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _file_name(name), encode_png(image))


def _file_name(name: str) -> str:
    return f"doctor_{name}.png"
