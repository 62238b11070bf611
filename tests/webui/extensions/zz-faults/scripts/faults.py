"""Test-only extension: makes steps of the second pass fail for the length of a request."""

import contextlib
import functools
import importlib
import sys
from pathlib import Path
from unittest import mock

import torch
from modules import processing, scripts, shared
from PIL import Image

from handrefiner_ext import stages
from handrefiner_ext.host import controlnet
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS
from handrefiner_ext.repaint import regions

IMG2IMG = processing.StableDiffusionProcessingImg2Img
INNER = "_handrefiner_inner"


def inside(owner, name, fake):
    """Replace a method during second passes only; fake(self, original, *args)."""
    original = getattr(owner, name)

    def method(self, *args, **kwargs):
        if getattr(self, INNER, False):
            return fake(self, original, *args, **kwargs)
        return original(self, *args, **kwargs)

    return mock.patch.object(owner, name, method)


def fail(error):
    def fake(*args, **kwargs):
        raise error

    return fake


def nan_samples(self, original, *args, **kwargs):
    return original(self, *args, **kwargs) * float("nan")


def find_controlnet(p):
    return next(s for s in p.scripts.alwayson_scripts if s.title() == "ControlNet")


def break_controlnet(p, fake):
    script = find_controlnet(p)
    original = script.process

    def process(inner, *args, **kwargs):
        return fake() if getattr(inner, INNER, False) else original(inner, *args, **kwargs)

    return mock.patch.object(script, "process", process)


def give_images(images):
    original = processing.process_images

    def process_images(p):
        done = original(p)
        if getattr(p, INNER, False):
            done.images = images
        return done

    return mock.patch.object(processing, "process_images", process_images)


@contextlib.contextmanager
def lose(registry):
    """A backend whose package is gone; what was built before stays, for the next request."""
    where = {name: "a_package_that_is_gone.module:Backend" for name in registry.where}
    built = stages.CACHE.build

    def build(asked, name, home):
        return asked.build(name, home=home) if asked is registry else built(asked, name, home)

    gone = mock.patch.object(registry, "where", where)
    with gone, mock.patch.object(stages.CACHE, "build", build):
        yield


def break_backend(registry, method, error):
    backend = type(stages.CACHE.build(registry, "auto", read_model_home()))
    return mock.patch.object(backend, method, fail(error))


def rename(script):
    return mock.patch.object(script, "title", return_value="gone")


def take_family(family):
    return mock.patch.object(controlnet, "checkpoint_family", return_value=family)


OOM = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
FAULTS = {
    "detector gone": lambda p: lose(DETECTORS),
    "mesh gone": lambda p: lose(RECONSTRUCTORS),
    "detector breaks": lambda p: break_backend(DETECTORS, "detect", RuntimeError("no luck")),
    "mesh breaks": lambda p: break_backend(RECONSTRUCTORS, "reconstruct", ValueError("no fit")),
    "renderer breaks": lambda p: mock.patch.object(regions, "render_region", fail(OSError("GL"))),
    "controlnet gone": lambda p: rename(find_controlnet(p)),
    "controlnet raises": lambda p: break_controlnet(p, fail(RuntimeError("corrupt unit"))),
    "controlnet idle": lambda p: break_controlnet(p, lambda: None),
    "sampler raises": lambda p: inside(IMG2IMG, "sample", fail(RuntimeError("mat1 and mat2"))),
    "sampler gives nan": lambda p: inside(IMG2IMG, "sample", nan_samples),
    "nan unnoticed": lambda p: unnoticed(),
    "out of memory": lambda p: inside(IMG2IMG, "sample", fail(OOM)),
    "host memory": lambda p: inside(IMG2IMG, "init", fail(MemoryError())),
    "no picture": lambda p: give_images([]),
    "other size": lambda p: give_images([Image.new("RGB", (64, 64))]),
    "other family": lambda p: take_family("sd2"),
    "compositing breaks": lambda p: mock.patch.object(regions, "lay_over", fail(KeyError("x"))),
}


@contextlib.contextmanager
def unnoticed():
    unchecked = mock.patch.object(shared.cmd_opts, "disable_nan_check", True)
    with unchecked, inside(IMG2IMG, "sample", nan_samples):
        yield


@contextlib.contextmanager
def planned(p, plan):
    """The faults of a run of benchmarks/campaign.py. plan: the file that `Injector.save` wrote."""
    benchmarks = str(Path(stages.__file__).parents[1] / "benchmarks")
    if benchmarks not in sys.path:
        sys.path.append(benchmarks)
    faults = importlib.import_module("faults")
    injector = faults.Injector.load(Path(plan))
    injector.answers["interrupt"] = shared.state.interrupt
    run, control = processing.process_images, find_controlnet(p)
    process = control.process

    def trip(boundary, work, inner, *args, **kwargs):
        if getattr(inner, INNER, False):
            injector.trip(boundary)
        return work(inner, *args, **kwargs)

    with (
        faults.planted(injector, stages.build_stages),
        mock.patch.object(processing, "process_images", functools.partial(trip, "nested", run)),
        mock.patch.object(control, "process", functools.partial(trip, "control", process)),
    ):
        yield


class Faults(scripts.Script):
    """Arguments: names of faults, joined by +, and the file of a plan; empty = none."""

    def title(self):
        return "Faults"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        names = ("Fault", "Plan")
        return [gr.Textbox(label=name, value="", visible=False) for name in names]

    def process(self, p, fault, plan="", *args):
        if (fault or plan) and not getattr(p, INNER, False):
            p._fault = contextlib.ExitStack()
            if plan:
                p._fault.enter_context(planned(p, plan))
            for name in filter(None, fault.split("+")):
                p._fault.enter_context(FAULTS[name](p))

    def postprocess(self, p, processed, *args):
        stack = vars(p).pop("_fault", None)
        if stack is not None:
            stack.close()
