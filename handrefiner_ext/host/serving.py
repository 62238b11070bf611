"""The routes of `handrefiner_ext.api`, served by the WebUI: its users, models, lock and checks."""

from __future__ import annotations

import logging
from typing import Any

from modules import call_queue, sd_models, sd_samplers, sd_schedulers, shared

from handrefiner_ext.api.access import guard_routes
from handrefiner_ext.api.routes import add_routes as add_own_routes
from handrefiner_ext.api.worker import ControlModel, ModelList, Services
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.host import controlnet
from handrefiner_ext.host.given_picture import refine_picture
from handrefiner_ext.host.lists import LISTS
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.params import RefineParams

logger = logging.getLogger(__name__)


def add_routes(app: Any) -> None:
    """On app start: guard the generation requests and add our own routes; never break the start."""
    try:
        guard_routes(app, check_names)
        add_own_routes(app, build_services())
    except Exception:
        logger.exception("HandRefiner could not add its API routes; the rest works without them.")


def build_services() -> Services:
    """What the WebUI gives to the routes."""
    flags = shared.cmd_opts
    return Services(
        host=describe_host(),
        users=read_users(flags.api_auth),
        heavy=bool(flags.api or flags.nowebui),
        home=read_model_home,
        list_models=list_models,
        check=check_names,
        refine=refine_picture,
        lock=call_queue.queue_lock,
    )


def describe_host() -> str:
    """Which WebUI this is, with its version."""
    try:
        from modules.launch_utils import git_tag

        return f"stable-diffusion-webui {git_tag()}"
    except Exception:
        logger.exception("HandRefiner could not read the WebUI's version.")
        return "stable-diffusion-webui"


def read_users(api_auth: str | None) -> dict[str, str]:
    """`user:password,user:password` of --api-auth."""
    pairs = (entry.partition(":") for entry in (api_auth or "").split(",") if entry)
    return {user: password for user, _, password in pairs}


def list_models() -> ModelList:
    """ControlNet's models and what `auto` takes for the loaded checkpoint."""
    names = controlnet.list_models()
    family = controlnet.checkpoint_family()
    auto = controlnet.choose_model(names, family)
    models = tuple(
        ControlModel(name, controlnet.choose_model(names, family, name).recommended_strength)
        for name in names
    )
    return ModelList(models, family, auto.name, auto.reason)


def check_names(params: RefineParams) -> None:
    """Raise InvalidParameter for a sampler, scheduler, VAE or checkpoint that is not installed.

    A control model is not checked here: whether one fits depends on the checkpoint that will be
    loaded, so the run says what is wrong with it.
    """
    samplers = {sampler.name.lower() for sampler in sd_samplers.all_samplers}
    found = {
        "sampler": params.sampler.lower() in samplers,
        "scheduler": params.scheduler in sd_schedulers.schedulers_map,
        "vae": params.vae in LISTS["vae"].read(),
        "checkpoint": sd_models.get_closet_checkpoint_match(params.checkpoint) is not None,
    }
    for name, is_installed in found.items():
        value = getattr(params, name)
        if value and not is_installed:
            listed = ", ".join(choice for choice in LISTS[name].read() if choice)
            raise InvalidParameter(
                f"{name} = {value!r} is not installed; it must be empty or one of {listed}."
            )
