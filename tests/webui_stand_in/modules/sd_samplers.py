"""Samplers by name (sd_samplers.py:24-70)."""

from __future__ import annotations

from dataclasses import dataclass

from modules.sd_models import Network


@dataclass(frozen=True)
class SamplerData:
    """A sampler that can be chosen."""

    name: str


@dataclass(frozen=True)
class Sampler:
    """A sampler that was made for one network, which it keeps."""

    name: str
    network: Network


all_samplers = [SamplerData("DPM++ 2M"), SamplerData("Euler"), SamplerData("Euler a")]
hidden: set[str] = set()


def visible_sampler_names() -> list[str]:
    """Return the names that the settings do not hide."""
    return [sampler.name for sampler in all_samplers if sampler.name not in hidden]


def create_sampler(name: str, model: Network) -> Sampler:
    """Return the sampler of this name for a network."""
    if name not in {sampler.name for sampler in all_samplers}:
        raise KeyError(name)
    return Sampler(name, model)
