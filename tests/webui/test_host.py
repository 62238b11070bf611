"""The host starts with the extension, beside ControlNet and ADetailer."""

from __future__ import annotations

from running_host import Host


def test_the_host_offers_the_scripts_that_the_tests_need(host: Host):
    offered = {script["name"].lower() for script in host.get("/sdapi/v1/script-info")}
    assert {"controlnet", "adetailer", "photograph"} <= offered
