"""Starts and resets the stand-in of the WebUI, and makes requests of it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from modules import (
    errors,
    images,
    paths,
    processing,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    sd_vae,
    shared,
    ui_loadsave,
)
from PIL import Image

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
HAND = "control_sd15_inpaint_depth_hand_fp16 [09456e54]"


class WebUI:
    """A WebUI with the X/Y/Z plot, ControlNet and HandRefiner; two checkpoints and one VAE."""

    def __init__(self, folder: Path, *flags: str, controlnet: bool = True) -> None:
        self.folder = folder
        self._reset(flags)
        for name in ("base.safetensors", "other.safetensors"):
            (folder / name).write_bytes(b"weights")
            sd_models.add_checkpoint(folder / name)
        shared.opts.data["sd_model_checkpoint"] = "base.safetensors"
        sd_vae.vae_dict["soft.vae.pt"] = str(folder / "soft.vae.pt")
        sd_models.reload_model_weights()
        names = ["xyz_grid", *(["controlnet"] if controlnet else [])]
        for path in [*(HERE / "scripts" / f"{n}.py" for n in names), self.script]:
            scripts.load_script(path)
        if controlnet:
            self.add_control_model(HAND)
        for runner, is_img2img in self._runners():
            runner.initialize_scripts(is_img2img)

    script = PROJECT / "scripts" / "handrefiner.py"

    def _reset(self, flags: Sequence[str]) -> None:
        parser = ArgumentParser()
        scripts.load_module(PROJECT / "preload.py").preload(parser)
        values = {**shared.FLAGS, **vars(parser.parse_args(flags))}
        vars(shared.cmd_opts).clear()
        vars(shared.cmd_opts).update(values)
        paths.data_path = str(self.folder)
        paths.models_path = str(self.folder / "models")
        shared.cmd_opts.ui_config_file = str(self.folder / "ui-config.json")
        shared.opts.data = dict(shared.DEFAULTS)
        shared.opts.data["outdir_samples"] = str(self.folder / "samples")
        shared.opts.data_labels.clear()
        shared.state.__init__()  # type: ignore[misc]
        shared.sd_model = None
        vars(sd_models.model_data).update(vars(sd_models.ModelData()))
        for kept in (
            *(errors.reported, images.saved, processing.drawn_by_network),
            *(processing.prompt_history, scripts.scripts_data, scripts.after_component),
            *(sd_models.checkpoints_list, sd_vae.vae_dict),
            sd_samplers.hidden,
        ):
            kept.clear()  # type: ignore[attr-defined]
        script_callbacks.forget_all()
        gr.page.clear()
        scripts.scripts_txt2img = scripts.ScriptRunner()
        scripts.scripts_img2img = scripts.ScriptRunner()

    def _runners(self) -> list[tuple[scripts.ScriptRunner, bool]]:
        return [(scripts.scripts_txt2img, False), (scripts.scripts_img2img, True)]

    def build_page(self) -> None:
        """Build settings and tabs, in the host's order (ui.py:261-262, 1110-1172)."""
        script_callbacks.call("before_ui")
        script_callbacks.call("ui_settings")
        for runner, is_img2img in self._runners():
            runner.setup_ui()
            self._build_output("img2img" if is_img2img else "txt2img")
        defaults = ui_loadsave.UiLoadsave(shared.cmd_opts.ui_config_file)
        for runner, is_img2img in self._runners():
            for component in filter(None, runner.inputs):
                defaults.add_component("img2img" if is_img2img else "txt2img", component)
        defaults.dump_defaults()

    def _build_output(self, tab: str) -> None:
        """Build the gallery, its row of buttons, and what is said below (ui_common.py:164-245)."""
        last = "txt2img_upscale" if tab == "txt2img" else "img2img_send_to_extras"
        made: list[gr.Component] = [
            gr.Gallery(elem_id=f"{tab}_gallery"),
            gr.Button(elem_id=last),
            gr.HTML(elem_id=f"html_info_{tab}"),
            gr.HTML(elem_id=f"html_log_{tab}"),
            gr.Textbox(elem_id=f"generation_info_{tab}", visible=False),
        ]
        for component in made:
            for callback in scripts.after_component.get(str(component.elem_id), []):
                callback(scripts.OnComponent(component))

    def find(self, title: str, *, img2img: bool = False) -> Any:
        """Return the script of a title in one of the tabs."""
        runner = scripts.scripts_img2img if img2img else scripts.scripts_txt2img
        return next(script for script in runner.scripts if script.title() == title)

    @property
    def controlnet_state(self) -> Any:
        """What ControlNet's module knows about its models."""
        found = (data.module for data in scripts.scripts_data)
        return next(module.global_state for module in found if hasattr(module, "global_state"))

    def add_control_model(self, name: str, *, known: bool = True) -> None:
        """Put a model's file there; known: ControlNet has looked for it already."""
        path = self.folder / f"{name.partition(' ')[0]}.safetensors"
        path.write_bytes(b"weights")
        state = self.controlnet_state
        (state.cn_models if known else state.on_disk)[name] = str(path)

    def txt2img(self, pictures: Sequence[Any], hands: object = None, **values: Any) -> Any:
        """Return the request whose network draws `pictures`; hands: the script's first argument."""
        processing.drawn_by_network[:] = [Image.fromarray(picture) for picture in pictures]
        return self._ask(processing.StableDiffusionProcessingTxt2Img, hands, values)

    def img2img(self, picture: Any, hands: object = None, **values: Any) -> Any:
        """Return the request that repaints a picture."""
        given = {"init_images": [Image.fromarray(picture)], **values}
        return self._ask(processing.StableDiffusionProcessingImg2Img, hands, given)

    def _ask(self, kind: type[Any], hands: object, values: dict[str, Any]) -> Any:
        img2img = kind is processing.StableDiffusionProcessingImg2Img
        runner = scripts.scripts_img2img if img2img else scripts.scripts_txt2img
        ours = self.find("HandRefiner", img2img=img2img)
        args = [getattr(component, "value", None) for component in runner.inputs]
        if hands is not None:
            args[ours.args_from] = hands
        size = {"width": 512, "height": 512, "seed": 7, "subseed": 1, "prompt": "a hand"}
        outside = {"outpath_samples": str(self.folder / "samples"), "outpath_grids": ""}
        p = kind(**{**size, **outside, **values})
        p.scripts = runner
        p.script_args = args
        return p


def to_array(image: Image.Image) -> Any:
    """Return (H, W, 3) uint8."""
    return np.asarray(image.convert("RGB"))
