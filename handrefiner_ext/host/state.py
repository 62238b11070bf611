"""What a nested run would leave changed in the WebUI, put back when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from modules import sd_samplers

from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.controlnet import find_script
from handrefiner_ext.host.patches import attribute, options

if TYPE_CHECKING:
    from modules.processing import StableDiffusionProcessing

QUIET_OPTIONS: Mapping[str, object] = {
    "overlay_inpaint": False,
    "save_init_img": False,
    "multiple_tqdm": False,
    "return_mask": False,
    "return_mask_composite": False,
    "save_mask": False,
    "save_mask_composite": False,
    "img2img_color_correction": False,
    "control_net_detectmap_autosaving": False,
    "control_net_no_detectmap": True,
    "control_net_allow_script_control": False,
}
"""So that a nested run gives one bare picture and writes no file."""
MAKE_SAMPLER = sd_samplers.create_sampler
"""As it is before any run. For the length of a run Tiled Diffusion hands out a sampler of its own,
whose tiles are those of the outer picture (its scripts/tilediffusion.py:364-366, 421-429)."""


@contextmanager
def _chance_kept() -> Iterator[None]:
    """Restore torch's global generator afterwards, as if nothing had been drawn from it."""
    import torch

    before = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


@contextmanager
def undisturbed(
    p: StableDiffusionProcessing, restore_model: Callable[[StableDiffusionProcessing], None]
) -> Iterator[None]:
    """Restore everything global that a nested run changes for the outer run `p`.

    restore_model: called before ControlNet hooks the network again.
    """
    from modules import shared

    text = shared.state.textinfo
    script = find_script(p.scripts)
    with ExitStack() as stack:
        stack.enter_context(_chance_kept())
        # In before the settings, out after them: it comes back under the outer run's own.
        if script is not None:
            stack.enter_context(the_host().outer_unhooked(script, p, restore_model))
        # params.txt holds the outer run's parameters; a nested run would write its own into it.
        stack.enter_context(attribute(shared.cmd_opts, "no_prompt_history", True))
        quiet = dict(QUIET_OPTIONS)
        if shared.state.job_count <= 1:
            # More jobs would turn the button into "finish this picture first".
            quiet["interrupt_after_current"] = False
        stack.enter_context(options(quiet))
        stack.enter_context(_without_batch_hijack())
        stack.enter_context(attribute(sd_samplers, "create_sampler", MAKE_SAMPLER))
        stack.enter_context(the_host().remarks_kept())
        try:
            yield
        finally:
            shared.state.textinfo = text
            the_host().merge_tokens(p)


@contextmanager
def counted_job(number: int, total: int) -> Iterator[None]:
    """Count one more job in the progress bar; whatever happens, it ends as done."""
    from modules import shared

    state = shared.state
    if state.job_count > 0:
        state.job_count += 1
    state.textinfo = f"HandRefiner: region {number} of {total}"
    after = state.job_no + 1
    try:
        yield
    finally:
        state.job_no = after


@contextmanager
def _without_batch_hijack() -> Iterator[None]:
    """Switch off ControlNet's batch mode, which would feed its own pictures to a nested run."""
    from modules import processing

    original = getattr(processing, "__controlnet_original_process_images_inner", None)
    if original is None:
        yield
        return
    hijack = getattr(processing.process_images_inner, "__self__", None)
    with ExitStack() as stack:
        stack.enter_context(attribute(processing, "process_images_inner", original))
        if hasattr(hijack, "is_batch"):
            stack.enter_context(attribute(hijack, "is_batch", False))
        yield
