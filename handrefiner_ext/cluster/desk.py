"""A picture and its outputs on this machine, wherever their folders are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from handrefiner_ext.cluster.store import Store
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import RefineFolders


@dataclass(frozen=True)
class Desk:
    """Where one picture is worked on.

    urls: what lies in a folder ("source", "out", "depth", "mask") -> its address, where that is no
    local path. Pictures come from there into a temporary folder, and outputs go there from one.
    """

    folders: RefineFolders
    urls: Mapping[str, str]

    @contextmanager
    def fetch(self, job: Job) -> Iterator[Job]:
        """The job with its picture at hand."""
        if "source" not in self.urls:
            yield job
            return
        with TemporaryDirectory(prefix="handrefiner-") as folder:
            copy = Path(folder, job.source.name)
            copy.write_bytes(Store(self.urls["source"]).read(copy.name))
            yield replace(job, source=copy)

    @contextmanager
    def lay_out(self) -> Iterator[RefineFolders]:
        """Folders to write to; what was written is delivered unless an error leaves the block."""
        names = [name for name in ("depth", "mask", "out") if name in self.urls]
        if not names:
            yield self.folders
            return
        with TemporaryDirectory(prefix="handrefiner-") as folder:
            local: dict[str, Any] = {name: Path(folder, name) for name in names}
            for path in local.values():
                path.mkdir()
            yield replace(self.folders, **local)
            for name, path in local.items():
                self._deliver(path, Store(self.urls[name]))

    def describe_output(self, output: str) -> str:
        """A temporary file by its address; another path as it is."""
        if "out" not in self.urls or not output:
            return output
        names = (path.replace("\\", "/").rpartition("/")[2] for path in output.split(", "))
        return ", ".join(f"{self.urls['out']}/{name}" for name in names)

    def _deliver(self, folder: Path, store: Store) -> None:
        for file in sorted(folder.iterdir()):
            store.write(file.name, file.read_bytes())
