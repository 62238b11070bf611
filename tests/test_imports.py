"""Imports point one way, and heavy packages stay in the rooms that need them.

errors, topology ← registry, knobs ← params ← types ← protocols, geometry, tflite ← the five
stages ← hands ← repaint ← stages ← pipeline ← api ← files ← cluster ← dataset ← train ← cli:
right may import left. The stages never import one another.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import handrefiner_ext

PACKAGE = Path(handrefiner_ext.__file__).parent
STAGES = ("detect", "mesh", "render", "inpaint", "judge")
LEVELS = [
    ("", "errors", "topology"),
    ("registry", "knobs"),
    ("params",),
    ("infotext", "weights", "pickles"),
    ("types",),
    ("protocols", "geometry", "report", "tflite"),
    ("pictures",),
    STAGES,
    ("hands",),
    ("repaint",),
    ("stages",),
    ("pipeline",),
    ("api",),
    ("files", "simple"),
    ("cluster",),
    ("dataset",),
    ("train",),
    ("cli", "host"),
    ("__main__",),
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
"""Room -> how far right it stands; "" is the package itself."""

EVERYWHERE = {"numpy", "cv2", *sys.stdlib_module_names}
ONLY_IN = {
    "PIL": ("pictures", "api", "host"),
    "pillow_heif": ("pictures",),
    "pillow_jxl": ("pictures",),
    "tqdm": ("cli",),
    "requests": ("weights", "files.remote"),
    "urllib3": ("weights",),
    "mediapipe": ("detect",),
    "ai_edge_litert": ("tflite",),
    "pyrender": ("render",),
    "OpenGL": ("render",),
    "trimesh": ("render.renderers", "files.outputs"),
    "torch": (
        *("pickles", "mesh.graphormer", "inpaint.diffusion", "weights", "host"),
        *("detect.yolo_networks", "files.diagnosis", "train"),
    ),
    "safetensors": ("mesh.graphormer", "inpaint.diffusion", "weights", "train"),
    "diffusers": ("inpaint.diffusion", "train"),
    "accelerate": ("train",),
    "transformers": ("inpaint.diffusion", "train"),
    "ultralytics": ("detect",),
    "onnxruntime": ("detect",),
    "ray": ("cluster",),
    "pyarrow": ("cluster",),
    "fsspec": ("cluster",),
    "fastapi": ("api", "host"),
    "pydantic": ("api", "host"),
    "gradio": ("host",),
    "psutil": ("host",),
    "modules": ("host",),
}
"""Package from outside -> rooms that may name it; one that stands nowhere is named by none."""
AT_FIRST_USE = {
    *("mediapipe", "ai_edge_litert", "pyrender", "OpenGL", "trimesh"),
    *("torch", "diffusers", "accelerate", "transformers", "ray", "pyarrow", "fsspec", "requests"),
    *("pillow_heif", "pillow_jxl", "ultralytics", "onnxruntime"),
}
"""Packages too heavy, or too often missing, to be imported with a module outside its backend."""


def module_name(path: Path) -> str:
    """Name inside the package: detect/litert.py -> detect.litert."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(source: str) -> list[str]:
    """Absolute names of all that is imported, anywhere in the source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {name: find_imports(path.read_text("utf-8")) for name, path in MODULES.items()}


def own_module(imported: str) -> str | None:
    """The module of ours that an import names, or None for one from outside."""
    if imported.partition(".")[0] != "handrefiner_ext":
        return None
    name = imported.partition(".")[2]
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    return module.partition(".")[0]


def find_wrong_arrows(imports: dict[str, list[str]]) -> list[str]:
    """Every import of ours that does not point left."""
    wrong = []
    for module, names in imports.items():
        for target in {own_module(name) for name in names} - {None}:
            if room(target) == room(module):
                continue
            if LEVEL[room(target)] >= LEVEL[room(module)]:
                wrong.append(f"{module} imports {target}")
    return wrong


def find_strangers(imports: dict[str, list[str]]) -> list[str]:
    """Every import from outside that its room may not name."""
    wrong = []
    for module, names in imports.items():
        for package in {name.partition(".")[0] for name in names} - EVERYWHERE:
            allowed = ONLY_IN.get(package, ())
            fits = any(f"{module}.".startswith(f"{place}.") for place in allowed)
            if package != "handrefiner_ext" and not fits:
                wrong.append(f"{module} imports {package}")
    return wrong


def find_cycle(imports: dict[str, list[str]]) -> list[str]:
    """Modules of ours that import one another in a ring; empty where there is none."""
    arrows = {
        module: {own_module(name) for name in names} - {None, "", module}
        for module, names in imports.items()
    }
    # A module whose targets are all gone is in no ring; what can never go is in one or before it.
    while True:
        free = [module for module, targets in arrows.items() if not targets & set(arrows)]
        if not free:
            return sorted(arrows)
        for module in free:
            del arrows[module]


MOST_LINES, MOST_FUNCTION, MOST_AT_THE_TOP, SMALL, MOST_SMALL = 400, 60, 14, 50, 20


def test_files_and_functions_stay_of_a_size_that_can_be_read():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert max(lines.values()) <= MOST_LINES
    assert len([name for name in lines if "." not in name and MODULES[name].parent == PACKAGE]) <= (
        MOST_AT_THE_TOP
    )
    rooms = {path for path in MODULES.values() if path.name == "__init__.py"}
    small = [n for n, count in lines.items() if count <= SMALL and MODULES[n] not in rooms]
    assert len(small) <= MOST_SMALL
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                told = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.lineno + 1 - len(told.splitlines())
                assert length <= MOST_FUNCTION, f"{name}.{node.name}"


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES} <= set(LEVEL)


def test_imports_point_one_way():
    assert find_wrong_arrows(IMPORTS) == []


def test_packages_from_outside_are_named_only_where_they_belong():
    assert find_strangers(IMPORTS) == []


def test_no_modules_import_one_another_in_a_ring():
    assert find_cycle(IMPORTS) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("detect.litert", "from handrefiner_ext.mesh import open_hand"),
        ("geometry.boxes", "from handrefiner_ext.pipeline import refine"),
        ("types", "import handrefiner_ext.geometry.boxes"),
        ("repaint.deciding", "def f():\n    from handrefiner_ext.files.run import Job"),
    ],
)
def test_an_arrow_that_points_right_is_found(module, line):
    assert len(find_wrong_arrows({module: find_imports(line)})) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pipeline", "import torch"),
        ("cli", "from modules import shared"),
        ("cli", "import gradio as gr"),
        ("files.run", "def f():\n    import fastapi"),
        ("mesh.open_hand.fit", "from scipy.optimize import least_squares"),
        ("render.maps", "import mediapipe"),
    ],
)
def test_a_package_in_the_wrong_room_is_found(module, line):
    assert len(find_strangers({module: find_imports(line)})) == 1


def test_a_ring_is_found():
    ring = {"errors": ["handrefiner_ext.topology.X"], "topology": ["handrefiner_ext.errors.Y"]}
    assert find_cycle(ring) == ["errors", "topology"]


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; print(' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_starts_without_numpy():
    loaded = loaded_after("from handrefiner_ext.cli.commands import build_parser; build_parser()")
    assert not loaded & {"numpy", "cv2", "PIL", "tqdm", *AT_FIRST_USE}


def test_the_pipeline_starts_without_any_heavy_package():
    loaded = loaded_after("import handrefiner_ext.pipeline, handrefiner_ext.files.run")
    assert "numpy" in loaded
    assert not loaded & AT_FIRST_USE
