"""Measures the command line, or the stages one by one, in a process that has done nothing else.

    python fresh_process.py command refine --input_img a.png --out_dir d
    python fresh_process.py stages a.png tiles=on

The last line of the output is JSON. This file imports little before it is told what to measure.
"""

from __future__ import annotations

import ctypes
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

LINUX_STATUS = Path("/proc/self/status")
BYTES_PER_MB = 1e6


class CommandRun(NamedTuple):
    """Time from the start of the process to its end, its peak memory, and what it imported.

    cpu_s: of all processor cores together.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    torch: bool


def measure_command(*arguments: str) -> CommandRun:
    """Run `handrefiner` in a fresh process; ends the program where it fails."""
    start = time.perf_counter()
    answer = _run("command", *arguments)
    return CommandRun(time.perf_counter() - start, **answer)


def measure_stages(picture: Path, **params: str) -> dict[str, float]:
    """Run stage after stage in a fresh process; the highest memory so far after each, MB."""
    return _run("stages", str(picture), *(f"{name}={value}" for name, value in params.items()))


def peak_memory_mb() -> float:
    """The most memory that this process has ever held in RAM; not a number where unknown."""
    if sys.platform == "win32":
        return _peak_on_windows()
    # Linux's getrusage counts the parent's memory too, as it was when this process was started.
    if LINUX_STATUS.exists():
        for line in LINUX_STATUS.read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / BYTES_PER_MB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_PER_MB


def _peak_on_windows() -> float:
    """PROCESS_MEMORY_COUNTERS.PeakWorkingSetSize of K32GetProcessMemoryInfo."""
    size = ctypes.c_size_t

    class Counters(ctypes.Structure):
        _fields_ = (
            ("bytes", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", size),
            ("others", size * 7),
        )

    counters = Counters(bytes=ctypes.sizeof(Counters))
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    process = kernel.GetCurrentProcess()
    known = kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.bytes)
    return counters.peak_working_set / BYTES_PER_MB if known else math.nan


def _run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _report_command(arguments: list[str]) -> dict[str, Any]:
    from handrefiner_ext.cli.commands import main

    if code := main(arguments):
        sys.exit(code)
    torch = "torch" in sys.modules
    return {"cpu_s": time.process_time(), "peak_mb": peak_memory_mb(), "torch": torch}


def _report_stages(name: str, *options: str) -> dict[str, float]:
    from handrefiner_ext.params import RefineParams
    from handrefiner_ext.pictures import load_picture
    from handrefiner_ext.protocols import PaintRequest
    from handrefiner_ext.render.maps import build_maps
    from handrefiner_ext.stages import build_stages
    from handrefiner_ext.types import HandMesh, ModelHome

    params = RefineParams(**dict(option.split("=", 1) for option in options))  # type: ignore[arg-type]
    image = load_picture(Path(name)).image
    peaks = {"picture read": peak_memory_mb()}
    stages = build_stages(params, ModelHome())
    peaks["backends built"] = peak_memory_mb()
    hands = stages.detector.detect(image, params).hands
    peaks["detect"] = peak_memory_mb()
    fits = [stages.reconstructor.reconstruct(image, hand, params) for hand in hands]
    meshes = tuple(fit for fit in fits if isinstance(fit, HandMesh))
    peaks["reconstruct"] = peak_memory_mb()
    maps = build_maps(meshes, image.shape[:2], stages.renderer, params, image=image)
    peaks["render maps"] = peak_memory_mb()
    stages.inpainter.paint(PaintRequest(image, meshes, maps, params))
    peaks["inpaint (draft)"] = peak_memory_mb()
    stages.judge(stages.detector, image, meshes, params)
    peaks["judge"] = peak_memory_mb()
    return peaks


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    print(json.dumps(_report_command(rest) if what == "command" else _report_stages(*rest)))
