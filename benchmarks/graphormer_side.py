"""Whole hints of one picture in a process that does nothing else: by us, or by the reference.

    python graphormer_side.py ours PICTURE MODELS COUNT
    python graphormer_side.py reference PICTURE MODELS COUNT MESHGRAPHORMER HANDREFINER

Started by benchmarks/graphormer.py; the last line of the output is JSON. The reference is the
user's own checkout, imported as it is: only its calls for CUDA are led to the CPU, and what it
imports for training alone is left out.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fresh_process import peak_memory_mb

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "graphormer_hand_state_dict.bin"
TRAINING_ONLY = {
    "datasets.build": ("make_hand_data_loader",),
    "utils.logger": ("setup_logger",),
    "utils.comm": ("synchronize", "is_main_process", "get_rank", "get_world_size", "all_gather"),
    "utils.miscellaneous": ("mkdir", "set_seed"),
    "utils.metric_logger": ("AverageMeter",),
    "utils.metric_pampjpe": ("reconstruction_error",),
    "utils.geometric_layers": ("orthographic_projection",),
}
"""Modules of the checkout that inference never calls -> names that are imported from them."""
STAGES = {
    "STAGE1": (1, "BOTTLENECK", [64]),
    "STAGE2": (1, "BASIC", [64, 128]),
    "STAGE3": (4, "BASIC", [64, 128, 256]),
    "STAGE4": (3, "BASIC", [64, 128, 256, 512]),
}
"""HRNet-W64: modules, blocks, channels."""


def main() -> None:
    side, picture, models, count, *checkouts = sys.argv[1:]
    import torch

    torch.set_num_threads(1)
    places = [Path(place).resolve() for place in (picture, models, *checkouts)]
    start = time.perf_counter()
    prepare = prepare_ours if side == "ours" else prepare_reference
    work = prepare(*places)
    loaded = time.perf_counter() - start
    times = [_time(work) for _ in range(int(count) + 1)]
    answer = {
        "load_s": loaded,
        "first_s": times[0],
        "best_s": min(times[1:]),
        "peak_mb": peak_memory_mb(),
    }
    print(json.dumps(answer))


def _time(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def prepare_ours(picture: Path, models: Path) -> Callable[[], None]:
    os.environ["HANDREFINER_MODELS"] = str(models)
    from handrefiner_ext.mesh.graphormer import backend
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.pictures import load_picture
    from handrefiner_ext.pipeline import hints
    from handrefiner_ext.stages import build_stages
    from handrefiner_ext.types import ModelHome

    backend.MOST_DISAGREEMENT = float("inf")  # the synthetic hand is not the drawn one
    params = RefineParams(mesh="graphormer", tiles="off")
    stages = build_stages(params, ModelHome())
    wanted = int(picture.stem.rpartition("_")[2])

    def work() -> None:
        found = hints(load_picture(picture).image, params, stages)
        assert len(found.meshes) == wanted, found.refused

    return work


def prepare_reference(
    picture: Path, models: Path, meshgraphormer: Path, handrefiner: Path
) -> Callable[[], None]:
    _lead_cuda_to_the_cpu()
    folder = Path(tempfile.mkdtemp())
    _lay_out(folder, models, meshgraphormer, handrefiner)
    os.chdir(folder)
    sys.path[:0] = [str(folder), str(meshgraphormer), str(meshgraphormer / "manopth")]
    _leave_out_training(models)
    from preprocessor import meshgraphormer as reference

    options = Namespace(**vars(reference.args))
    options.device = "cpu"
    options.model_name_or_path = str(meshgraphormer / "src/modeling/bert/bert-base-uncased")
    options.resume_checkpoint = str(models / WEIGHTS)
    worker = reference.MeshGraphormerMediapipe(options)

    def work() -> None:
        depth, _, _ = worker.get_depth(str(picture.parent), picture.name, 30)
        assert depth is not None
        assert depth.any()

    return work


def _lead_cuda_to_the_cpu() -> None:
    import torch

    move = torch.Tensor.to

    def to(self: torch.Tensor, *places: Any, **options: Any) -> torch.Tensor:
        places = tuple(
            "cpu" if isinstance(p, torch.device) and p.type == "cuda" else p for p in places
        )
        return move(self, *places, **options)

    torch.Tensor.to = to  # type: ignore[method-assign,assignment]
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[method-assign,assignment]
    torch.nn.Module.cuda = lambda self, *_: self  # type: ignore[method-assign,assignment]


def _lay_out(folder: Path, models: Path, meshgraphormer: Path, handrefiner: Path) -> None:
    """The folders as HandRefiner expects them around itself."""
    (folder / "MeshGraphormer").symlink_to(meshgraphormer)
    (folder / "src").symlink_to(meshgraphormer / "src")
    (folder / "preprocessor").mkdir()
    for source in (handrefiner / "preprocessor").glob("*.py"):
        (folder / "preprocessor" / source.name).symlink_to(source)
    task = ROOT / "handrefiner_ext/assets/hand_landmarker.task"
    (folder / "preprocessor/hand_landmarker.task").symlink_to(task)
    (folder / "config.py").write_text(f"handrefiner_root = {str(folder)!r}\n")


def _leave_out_training(models: Path) -> None:
    import pytorch_transformers as bert

    for name, wanted in TRAINING_ONLY.items():
        module = ModuleType(name)
        for attribute in wanted:
            setattr(module, attribute, lambda *_, **__: None)
        sys.modules[f"MeshGraphormer.src.{name}"] = module
    for root in ("src", "MeshGraphormer.src"):
        for name in ("modeling_bert", "modeling_utils", "file_utils"):
            sys.modules[f"{root}.modeling.bert.{name}"] = getattr(bert, name)
    import src.modeling.data.config as paths

    paths.MANO_sampling_matrix = str(models / "mano_downsampling.npz")
    _stand_in_for_chumpy(models / "MANO_RIGHT.pkl")
    import MeshGraphormer.src.modeling.hrnet.config as hrnet

    hrnet.update_config = _configure_hrnet


def _configure_hrnet(config: Any, _: str) -> None:
    config.defrost()
    for stage, (modules, block, channels) in STAGES.items():
        config.MODEL.EXTRA[stage] = type(config)(
            {
                "NUM_MODULES": modules,
                "NUM_BRANCHES": len(channels),
                "BLOCK": block,
                "NUM_BLOCKS": [4] * len(channels),
                "NUM_CHANNELS": channels,
                "FUSE_METHOD": "SUM",
            }
        )
    config.freeze()


def _stand_in_for_chumpy(mano: Path) -> None:
    """manopth reads its file through a part of MANO's own code, which needs chumpy."""

    class Array:
        def __init__(self, values: Any) -> None:
            self.r = values

    def read(_: str) -> dict[str, Any]:
        arrays: dict[str, Any] = pickle.loads(mano.read_bytes())  # made by this benchmark
        arrays["betas"] = arrays["shapedirs"][0, 0] * 0.0
        for name in ("betas", "shapedirs", "posedirs", "v_template", "weights"):
            arrays[name] = Array(arrays[name])
        return arrays

    for name in ("mano", "mano.webuser", "mano.webuser.smpl_handpca_wrapper_HAND_only"):
        sys.modules[name] = ModuleType(name)
    sys.modules[name].ready_arguments = read  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
