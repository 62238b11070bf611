"""Collects every name that users depend on, from the surfaces that they use.

`python tests/public_names.py > tests/golden/public_names.json` wrote the golden file, with
PYTHONPATH at commit 31245b3, before the modules moved. It is not to be written again: a name that
is missing afterwards is one that somebody's script no longer finds. New names are added by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "badly_drawn_hand.png"


def collect():
    with tempfile.TemporaryDirectory() as folder:
        return {
            "python": list_python_names(),
            "options": list_options(),
            "choices": list_choices(),
            "infotext": list_infotext_keys(),
            "backends": list_backends(),
            "positions": list_positions(),
            **list_routes(),
            **list_written(Path(folder)),
        }


def list_python_names():
    package = import_module("handrefiner_ext")
    exported = [f"handrefiner_ext:{name}" for name in ("hints", "refine") if hasattr(package, name)]
    errors = vars(import_module("handrefiner_ext.errors")).values()
    named = [f"handrefiner_ext.errors:{e.__name__}" for e in errors if isinstance(e, type)]
    for place in ("cli:main", "cli:build_parser", "params:RefineParams", "pipeline:refine"):
        module, _, name = place.partition(":")
        if hasattr(import_module(f"handrefiner_ext.{module}"), name):
            named.append(f"handrefiner_ext.{place}")
    return sorted(exported + named)


def list_options():
    """Command -> its options; `weights` has commands of its own."""
    return dict(sorted(_walk(import_module("handrefiner_ext.cli").build_parser(), "handrefiner")))


def _walk(parser, command):
    names = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, under in action.choices.items():
                yield from _walk(under, f"{command} {name}")
        else:
            names += action.option_strings or [action.dest]
    yield command, sorted(names)


def list_choices():
    from handrefiner_ext.params import RefineParams

    knobs = {f.name: f.metadata["knob"] for f in RefineParams.__dataclass_fields__.values()}
    return {name: list(knob.choices or ()) for name, knob in knobs.items()}


def list_infotext_keys():
    """Parameter -> its key in the picture's text."""
    from handrefiner_ext.infotext import MARK, SWITCH, key_of, written_fields

    return {SWITCH: MARK, **{f.name: key_of(f) for f in written_fields()}}


def list_backends():
    registry = import_module("handrefiner_ext.registry")
    kinds = ("DETECTORS", "RECONSTRUCTORS", "RENDERERS", "INPAINTERS")
    return {getattr(registry, kind).kind: list(getattr(registry, kind).names()) for kind in kinds}


def list_positions():
    """The order of the arguments of alwayson_scripts."""
    from handrefiner_ext.api.body import describe_parameters

    placed = [said for said in describe_parameters() if said.position is not None]
    return [said.name for said in sorted(placed, key=lambda said: said.position)]


def list_routes():
    from fastapi import FastAPI

    from handrefiner_ext.api.routes import add_routes

    app = FastAPI()
    add_routes(app)
    written = app.openapi()
    models = written["components"]["schemas"]
    routes = {}
    for path, methods in written["paths"].items():
        for method, said in methods.items():
            answers = {status: _fields(answer) for status, answer in said["responses"].items()}
            routes[f"{method} {path}"] = {"takes": _fields(said.get("requestBody")), **answers}
    return {
        "routes": routes,
        "models": {
            name: sorted(model["properties"])
            for name, model in models.items()
            if name.startswith("HandRefiner")
        },
    }


def _fields(part):
    """The properties of a JSON body, or the name of its model."""
    schema = (part or {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    return sorted(schema.get("properties", ()))


def list_written(folder):
    """Keys of the JSON files and endings of the files that both commands write."""
    from PIL import Image

    from handrefiner_ext.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        small = folder / EXAMPLE.name  # in a quarter of the time
        Image.open(EXAMPLE).resize((384, 384)).save(small)
        hints = ["hints", small, "--out_dir", folder / "hints", "--mesh_dir", folder / "mesh"]
        assert main([str(argument) for argument in hints]) == 0
        refine = ["refine", "--input_img", small, "--out_dir", folder / "out", "--num_samples"]
        refine += ["2", "--depth_dir", folder / "depth", "--mask_dir", folder / "mask", "--eval"]
        refine += ["--log_json", folder / "log.jsonl"]
        assert main([str(argument) for argument in refine]) == 0
    said = json.loads((folder / "hints" / f"{EXAMPLE.stem}_hands.json").read_text())
    line = json.loads((folder / "log.jsonl").read_text().splitlines()[0])
    return {
        "files": {
            place.name: sorted(path.name.removeprefix(EXAMPLE.stem) for path in place.iterdir())
            for place in sorted(folder.iterdir())
            if place.is_dir()
        },
        "hands_json": {"": sorted(said), "hands": sorted(said["hands"][0])},
        "log_json": {"": sorted(line), "hands": sorted(line["hands"][0])},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(collect(), indent=1, sort_keys=True) + "\n")
