"""Test-only extension: the loaders of Forge and reForge take a checkpoint's sizes from its weights.

They recognise a family by the widths of the real files and take the rest from configurations that
they ship; files of the real sizes are treated as ever. Elsewhere this does nothing.
"""

import functools
from importlib.util import find_spec
from unittest import mock

LAYER = "text_model.encoder.layers.{}.layer_norm1.weight"
WORDS = "text_model.embeddings.token_embedding.weight"
FIRST_MLP = "text_model.encoder.layers.0.mlp.fc1.weight"
HEAD_WIDTH = 64
LARGE_TEXT = ("bigg", "clip_g.")
"""What the name of the configuration of SDXL's larger text model holds; its weights' prefix."""
VAE_WIDTH = "decoder.norm_out.weight"
REAL_VAE_WIDTH = 128


def size_text(config, weights):
    """The text model's configuration with the width and the number of layers of its weights."""
    words, mlp = (
        next(array for name, array in weights.items() if name.endswith(ending))
        for ending in (WORDS, FIRST_MLP)
    )
    depth = sum(any(k.endswith(LAYER.format(n)) for k in weights) for n in range(99))
    if words.shape[1] != config.hidden_size:
        config.hidden_size, config.intermediate_size = int(words.shape[1]), int(mlp.shape[0])
        config.num_attention_heads = max(1, config.hidden_size // HEAD_WIDTH)
    config.num_hidden_layers = depth
    return config


def size_vae(config, weights):
    """The VAE's configuration with the width of its weights."""
    width = int(weights[VAE_WIDTH].shape[0])
    times = [channels // REAL_VAE_WIDTH for channels in config["block_out_channels"]]
    return {**config, "block_out_channels": [width * n for n in times]}


def by_weights(original, size, weights):
    return lambda *args, **kwargs: size(original(*args, **kwargs), weights)


def forget_width(family, heads=None):
    """Have a family recognised by all but its width; a narrow network has so many `heads`."""
    known = dict(family.unet_config)
    width = known.pop("model_channels")
    family.unet_config = known
    if heads is None:
        return
    init = family.__init__

    def __init__(self, unet_config):
        init(self, unet_config)
        if unet_config["model_channels"] != width:
            self.unet_config |= {"num_heads": heads, "num_head_channels": -1}

    family.__init__ = __init__


def add_narrow_sdxl(families):
    """SDXL of any width, recognised after all others."""
    widths = ("model_channels", "context_dim", "adm_in_channels")
    known = {k: v for k, v in families.SDXL.unet_config.items() if k not in widths}
    families.models.append(type("NarrowSDXL", (families.SDXL,), {"unet_config": known}))


def teach_forge():
    from backend import loader
    from huggingface_guess import model_list
    from transformers import CLIPTextConfig

    load = loader.load_huggingface_component
    forget_width(model_list.SD15, heads=1)  # for speed
    add_narrow_sdxl(model_list)

    @functools.wraps(load)
    def load_component(guess, name, library, kind, path, weights):
        text = by_weights(CLIPTextConfig.from_pretrained, size_text, weights)
        vae = by_weights(loader.IntegratedAutoencoderKL.load_config, size_vae, weights)
        with (
            mock.patch.object(CLIPTextConfig, "from_pretrained", text),
            mock.patch.object(loader.IntegratedAutoencoderKL, "load_config", vae),
        ):
            return load(guess, name, library, kind, path, weights)

    loader.load_huggingface_component = load_component


def teach_reforge():
    from ldm_patched.modules import sd, supported_models
    from transformers import CLIPTextConfig

    forget_width(supported_models.SD15)
    add_narrow_sdxl(supported_models)
    make_text, make_vae = sd.CLIP.__init__, sd.VAE.__init__

    def text_init(self, *args, tokenizer_data=None, **kwargs):
        if not tokenizer_data:
            return make_text(self, *args, **kwargs)
        read = functools.partial(sized_text, CLIPTextConfig.from_json_file, tokenizer_data)
        with mock.patch.object(CLIPTextConfig, "from_json_file", read):
            return make_text(self, *args, tokenizer_data=tokenizer_data, **kwargs)

    def sized_text(original, weights, path):
        name, prefix = LARGE_TEXT
        large = {k: v for k, v in weights.items() if k.startswith(prefix)}
        small = {k: v for k, v in weights.items() if not k.startswith(prefix)}
        return size_text(original(path), large if name in str(path) else small)

    def vae_init(self, sd=None, **kwargs):
        with mock.patch.object(module, "AutoencoderKL", functools.partial(sized_vae, sd)):
            make_vae(self, sd=sd, **kwargs)

    def sized_vae(weights, ddconfig, embed_dim):
        width = int(weights[VAE_WIDTH].shape[0])
        return network(ddconfig={**ddconfig, "ch": width}, embed_dim=embed_dim)

    module, network = sd, sd.AutoencoderKL
    sd.CLIP.__init__ = text_init
    sd.VAE.__init__ = vae_init


if find_spec("huggingface_guess"):
    teach_forge()
elif find_spec("ldm_patched"):
    teach_reforge()
