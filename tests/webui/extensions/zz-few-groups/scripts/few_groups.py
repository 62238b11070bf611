"""Test-only extension: networks of `handrefiner train small --preset sd15`.

Their GroupNorm has fewer groups than 32, which Stable Diffusion's classes take for granted. The
configuration beside the checkpoint names the classes below; the ControlNet, which has none beside
it, is recognised by the width of the prompt. Every other file is treated as ever. On Forge and
reForge, which read no configurations, this does nothing.
"""

import functools
import sys
import types
from importlib.util import find_spec
from unittest import mock

MODULE = "few_groups"
"""Under this name the configuration finds the classes."""
TEXT_WIDTH, UNET_GROUPS = 32, 4


def set_groups(network, groups):
    from torch.nn import GroupNorm

    for layer in network.modules():
        if isinstance(layer, GroupNorm):
            layer.num_groups = groups


def offer_classes():
    from ldm.models import autoencoder
    from ldm.modules.diffusionmodules import model, openaimodel

    class UNetModel(openaimodel.UNetModel):
        def __init__(self, *args, num_groups, **kwargs):
            super().__init__(*args, **kwargs)
            set_groups(self, num_groups)

    class AutoencoderKL(autoencoder.AutoencoderKL):
        def __init__(self, *args, num_groups, **kwargs):
            fewer = functools.partial(model.Normalize, num_groups=num_groups)
            with mock.patch.object(model, "Normalize", fewer):
                super().__init__(*args, **kwargs)

    module = types.ModuleType(MODULE)
    module.UNetModel, module.AutoencoderKL = UNetModel, AutoencoderKL
    sys.modules[MODULE] = module


def normalise_controlnets(*_):
    module = sys.modules.get("scripts.cldm")
    if module is None or hasattr(module.PlugableControlModel, "_few_groups"):
        return
    original = module.PlugableControlModel.__init__

    def __init__(self, config, state_dict=None):
        original(self, config, state_dict)
        if config["context_dim"] == TEXT_WIDTH:
            set_groups(self.control_model, UNET_GROUPS)

    module.PlugableControlModel.__init__ = __init__
    module.PlugableControlModel._few_groups = True


if not find_spec("huggingface_guess") and not find_spec("ldm_patched"):
    from modules import script_callbacks

    offer_classes()
    script_callbacks.on_before_ui(normalise_controlnets)
