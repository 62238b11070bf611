"""Choose the adapter by what the running WebUI has, once."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from handrefiner_ext.host.adapters.protocol import Host


@cache
def the_host() -> Host:
    """Return the adapter of the WebUI that this runs in."""
    from modules import sd_models

    if hasattr(sd_models, "forge_model_reload"):
        from handrefiner_ext.host.adapters.forge import Forge

        return Forge()
    if find_spec("modules_forge") is None:
        from handrefiner_ext.host.adapters.a1111 import A1111

        return A1111()
    from handrefiner_ext.host.adapters.reforge import Classic, ReForge

    return ReForge() if find_spec("modules.sd_schedulers") is not None else Classic()
