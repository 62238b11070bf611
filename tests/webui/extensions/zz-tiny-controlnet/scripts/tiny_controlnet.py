"""Test-only extension: a ControlNet for SD1.5 has the width that its weights say.

sd-webui-controlnet knows one width; files of that width are treated as ever.
"""

import sys

from modules import script_callbacks

FIRST = "input_blocks.0.0.weight"


def take_width_from_weights(*_):
    module = sys.modules.get("scripts.cldm")
    if module is None or hasattr(module.PlugableControlModel, "_width_from_weights"):
        return
    original = module.PlugableControlModel.__init__

    def __init__(self, config, state_dict=None):
        width = int(state_dict[FIRST].shape[0]) if FIRST in (state_dict or {}) else None
        if width not in (None, config["model_channels"]):
            config.update(model_channels=width, num_heads=1)
        original(self, config, state_dict)

    module.PlugableControlModel.__init__ = __init__
    module.PlugableControlModel._width_from_weights = True


script_callbacks.on_before_ui(take_width_from_weights)
