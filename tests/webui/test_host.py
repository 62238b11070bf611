"""The host starts with the extension, beside ControlNet and ADetailer."""

from __future__ import annotations

from installed import A1111
from running_host import Host


def test_the_host_offers_the_scripts_that_the_tests_need(host: Host):
    offered = {script["name"].lower() for script in host.get("/sdapi/v1/script-info")}
    assert {"controlnet", "photograph"} <= offered
    assert "adetailer" in offered or host.kind != A1111
