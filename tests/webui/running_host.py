"""Starts a real WebUI on the CPU and loopback, in a data folder of its own, and talks to it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import installed
import small_files

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
LEFT_OUT: tuple[str, ...] = ()
"""Arguments without which hosts are started, for the length of a test."""


@dataclass(frozen=True)
class Answer:
    """What the host said: HTTP status and the decoded body."""

    status: int
    body: Any


@dataclass
class Host:
    """A running WebUI. log: its output, None where somebody else started it."""

    url: str
    log: Path | None = None
    data: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    kind: str = installed.A1111

    def count_loads(self) -> int:
        """How many checkpoints were read from disk since the start."""
        return self.read_log().count(installed.LOADING[self.kind])

    def ask(self, method: str, path: str, body: object = None, timeout_s: float = 300) -> Answer:
        """The answer to one request, whatever its status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return Answer(answer.status, _decode(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _decode(error.read()))

    def get(self, path: str) -> Any:
        return self._demand_ok(self.ask("GET", path), path)

    def post(self, path: str, body: object) -> Any:
        return self._demand_ok(self.ask("POST", path, body), path)

    def read_log(self) -> str:
        return "" if self.log is None else self.log.read_text("utf-8", errors="replace")

    def stop(self) -> None:
        """End the host if it is ours."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def _demand_ok(answer: Answer, path: str) -> Any:
        assert answer.status == 200, f"{path}: {answer.status} {str(answer.body)[:2000]}"
        return answer.body


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", errors="replace")


def missing_for_a_host() -> str | None:
    """Why no host can be started here; None where one can."""
    if os.environ.get("HANDREFINER_WEBUI_URL"):
        return None
    for name in (installed.FOLDERS, "HF_HOME"):
        if not os.environ.get(name):
            return f"needs a real WebUI: {name} is not set"
    (own,) = installed.find_installed()
    for place in (own.folder, own.python, Path(os.environ["HF_HOME"])):
        if not place.exists():
            return f"needs a real WebUI: {place} does not exist"
    return None


SETTINGS = {"emphasis": "No norm", "show_progress_type": "Approx cheap"}
"""Emphasis scales a prompt by the mean of its embedding, which a random text encoder can have at
exactly 0: then some prompts, others on another processor, give pictures of NaN. And the default
preview needs a file that only A1111 brings along; the others would download it."""


def make_data_folder(folder: Path, webui: Path) -> Path:
    """A data folder with the WebUI's models and extensions, ours and the test-only ones."""
    extensions = folder / "extensions"
    extensions.mkdir(parents=True)
    config = folder / "config.json"
    given = json.loads(config.read_text("utf-8")) if config.exists() else {}
    config.write_text(json.dumps({**SETTINGS, **given}), "utf-8")
    for name in ("models", "embeddings"):
        (folder / name).symlink_to(webui / name)
    (extensions / "handrefiner").symlink_to(PROJECT)
    for source in [*(webui / "extensions").iterdir(), *(HERE / "extensions").iterdir()]:
        if source.is_dir() and not (extensions / source.name).exists():
            (extensions / source.name).symlink_to(source.resolve())
    return folder


def start_host(
    folder: Path, *arguments: str, port: int | None = None, model: str = "tiny-sd15.safetensors"
) -> Host:
    """A host of our own in `folder`, ready to answer; its output is in folder/host.log."""
    (own,) = installed.find_installed()
    webui = own.folder
    data = make_data_folder(folder / "data", webui)
    port = port or _free_port()
    given = [argument for argument in own.arguments if argument not in LEFT_OUT]
    command = [str(own.python), "launch.py", *given, "--port", str(port), "--data-dir", str(data)]
    checkpoint = webui / "models" / "Stable-diffusion" / model
    small_files.write_lora(folder / "lora")
    small_files.write_vae(folder / "vae", checkpoint)
    command += ["--lora-dir", str(folder / "lora"), "--vae-dir", str(folder / "vae")]
    command += ["--ckpt", str(checkpoint), *arguments]
    log = folder / "host.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=webui, env=_environment(folder), stdout=output, stderr=subprocess.STDOUT
        )
    host = Host(f"http://127.0.0.1:{port}", log, data, process, own.kind)
    _wait_until_ready(host, float(os.environ.get("START_TIMEOUT", "400")))
    return host


def _environment(folder: Path) -> dict[str, str]:
    (own,) = installed.find_installed()
    venv = own.python.parent
    return {
        **os.environ,
        "PATH": f"{venv}{os.pathsep}{os.environ.get('PATH', '')}",
        **dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONUNBUFFERED"), "1"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HANDREFINER_GESTURES": str(folder / "gestures.json"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        "OMP_WAIT_POLICY": "PASSIVE",
        # Equal requests are to give equal pictures, however busy the machine is.
        **dict.fromkeys(("MKL_DYNAMIC", "OMP_DYNAMIC"), "FALSE"),
        "YOLO_OFFLINE": "true",
        "no_proxy": "127.0.0.1,localhost",
        # As at people's: where nothing is kept, each start compiles all our modules anew.
        "PYTHONDONTWRITEBYTECODE": "",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(host: Host, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    # The port must not be polled: a request before the API is complete kills the host.
    while not all(re.search(line, host.read_log()) for line in installed.READY[host.kind]):
        assert host.process is not None
        died = host.process.poll() is not None
        if died or time.monotonic() > end:
            host.stop()
            raise RuntimeError(f"The host did not start:\n{host.read_log()[-4000:]}")
        time.sleep(0.25)
    # Without a page it says so before it listens; to connect is no request.
    while not _is_listening(int(host.url.rpartition(":")[2])) and time.monotonic() < end:
        time.sleep(0.25)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
