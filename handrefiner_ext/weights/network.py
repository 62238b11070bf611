"""How weights are fetched: mirrors, patience, and the switch that forbids it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights.manifest import HUB, RAW

MIRRORS = {"HF_ENDPOINT": HUB, "HANDREFINER_RAW_ENDPOINT": RAW}
"""Variable -> the host it takes the place of."""
SWITCHES = ("HANDREFINER_OFFLINE", "HF_HUB_OFFLINE")
OFF = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Network:
    """mirrors: host -> what takes its place. offline: why nothing may be fetched, or None.

    timeout_s: of a connection, and of silence within a download. tries: in a row without a byte.
    pause_s: before the second try; it doubles with every further one.
    """

    mirrors: Mapping[str, str] = field(default_factory=dict)
    offline: str | None = None
    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0

    def address(self, url: str) -> str:
        """Where `url` is fetched from."""
        for host, mirror in self.mirrors.items():
            if url.startswith(host + "/"):
                return mirror.rstrip("/") + url[len(host) :]
        return url

    def check_online(self) -> None:
        if self.offline is not None:
            raise WeightsError(f"Nothing is downloaded, because {self.offline}.")


def read_network(environment: Mapping[str, str], offline: bool = False) -> Network:
    """As the environment and the flag --offline want it; proxies are found by requests itself."""
    reasons = ["--offline was given"] if offline else []
    reasons += [
        f"{switch} is set"
        for switch in SWITCHES
        if environment.get(switch, "").strip().lower() not in OFF
    ]
    named = {name: environment.get(name, "").strip() for name in MIRRORS}
    mirrors = {MIRRORS[name]: address for name, address in named.items() if address}
    return Network(mirrors, reasons[0] if reasons else None)
