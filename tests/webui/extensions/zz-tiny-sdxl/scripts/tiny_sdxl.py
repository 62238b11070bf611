"""Test-only extension: a ControlNet for SDXL has the size that its weights say.

sd-webui-controlnet knows one size; files of that size are treated as ever.
"""

import sys

from modules import script_callbacks

TEXT = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def read_sizes(weights):
    """The sizes that the real extension takes for granted."""
    return {
        "model_channels": int(weights["input_blocks.0.0.weight"].shape[0]),
        "adm_in_channels": int(weights["label_emb.0.0.weight"].shape[1]),
        "context_dim": int(weights[TEXT].shape[1]),
    }


def take_sizes_from_weights(*_):
    module = sys.modules.get("scripts.cldm")
    if module is None or hasattr(module.PlugableControlModel, "_sizes_from_weights"):
        return
    original = module.PlugableControlModel.__init__

    def __init__(self, config, state_dict=None):
        if state_dict and "label_emb.0.0.weight" in state_dict and TEXT in state_dict:
            config.update(read_sizes(state_dict))
        original(self, config, state_dict)

    module.PlugableControlModel.__init__ = __init__
    module.PlugableControlModel._sizes_from_weights = True


script_callbacks.on_before_ui(take_sizes_from_weights)
